//! `{% generation %} … {% endgeneration %}`, the tag that `transformers` has added to Jinja.
//!
//! It becomes a call block, `{% call … %} … {% endcall %}`, which any Jinja knows: the function gets what stands between the two
//! tags, and puts marks around it. Both are blocks, so white space around them is treated in the same way.

/// The function of the call block.
pub const FUNCTION: &str = "__generated__";

/// A tag of a template: where the word is that says which, and what it is.
struct Word<'a> {
    start: usize,
    text: &'a str,
}

/// The template with calls in place of the tags.
pub fn rewrite(source: &str) -> String {
    let mut rewritten = String::with_capacity(source.len());
    let mut copied = 0;
    for Word { start, text } in words(source) {
        let instead = match text {
            "generation" => format!("call {FUNCTION}()"),
            "endgeneration" => "endcall".to_owned(),
            _ => continue,
        };
        rewritten.push_str(&source[copied..start]);
        rewritten.push_str(&instead);
        copied = start + text.len();
    }
    rewritten + &source[copied..]
}

/// Whether there is such a tag.
pub fn is_marked(source: &str) -> bool {
    words(source).iter().any(|word| word.text == "generation")
}

/// The first word of each block, `{% word … %}`. What looks like one within a comment, an expression or raw text is none.
fn words(source: &str) -> Vec<Word<'_>> {
    let mut words = Vec::new();
    let mut at = 0;
    while let Some(found) = source[at..].find('{') {
        at += found;
        let rest = &source[at..];
        at += match rest.as_bytes().get(1) {
            Some(b'#') => rest.find("#}").map_or(rest.len(), |end| end + 2),
            Some(b'{') => 2 + end_of_code(&rest[2..], "}}"),
            Some(b'%') => {
                let word = rest[2..].trim_start_matches(['-', '+']).trim_start();
                let start = source.len() - word.len();
                let len = word.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(word.len());
                words.push(Word { start, text: &word[..len] });
                let block = 2 + end_of_code(&rest[2..], "%}");
                match &word[..len] {
                    "raw" => rest[block..].find("endraw").map_or(rest.len(), |end| block + end),
                    _ => block,
                }
            }
            _ => 1,
        };
    }
    words
}

/// Where code ends, with the bracket that ends it: not within a string.
fn end_of_code(code: &str, bracket: &str) -> usize {
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in code.char_indices() {
        match quote {
            None if code[at..].starts_with(bracket) => return at + bracket.len(),
            None if c == '"' || c == '\'' => quote = Some(c),
            None => {}
            Some(_) if escaped => escaped = false,
            Some(_) if c == '\\' => escaped = true,
            Some(end) if c == end => quote = None,
            Some(_) => {}
        }
    }
    code.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_become_calls() {
        let source = "a{% generation %}b{%- endgeneration -%}{%+generation%}{% if x %}";
        let calls = "a{% call __generated__() %}b{%- endcall -%}{%+call __generated__()%}{% if x %}";
        assert_eq!(rewrite(source), calls);
        assert!(is_marked(source));
    }

    #[test]
    fn what_only_looks_like_a_tag_stays() {
        for source in [
            "{# {% generation %} #}",
            "{{ '{% generation %}' }}",
            "{{ \"\\\"{% generation %}\" }}",
            "{% if x == '%} {% generation %}' %}{% endif %}",
            "{% raw %}{% generation %}{% endraw %}",
            "{% generations %}",
            "generation {generation}",
            "{",
            "{{",
            "{%",
            "{#",
            "{% generatio",
        ] {
            assert_eq!(rewrite(source), source);
            assert!(!is_marked(source), "{source}");
        }
    }
}
