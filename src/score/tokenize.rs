//! The tokens that BLEU counts: 13a, after the version of the program `mteval-v13a.pl` that defined them.

use super::is_white_space;

/// Cuts a text into words and punctuation, as sacrebleu's tokenizer `13a` does (Post 2018).
///
/// 1. White space at the end goes, and so does `<skipped>`. A word that a hyphen divides between two lines is joined.
/// 2. The entities `&quot;`, `&amp;`, `&lt;` and `&gt;` become what they stand for, in this order. So `&amp;lt;` becomes `<`.
/// 3. Every ASCII symbol becomes a token of its own, but for the apostrophe, the comma, the hyphen and the full stop.
/// 4. Comma and full stop do too, unless they stand between two digits: `1,5` and `3.14` stay whole. Of two in a row,
///    the second stays with a digit that follows: `..5` becomes `.` and `.5`, since the original's rules overlap so.
/// 5. A hyphen after a digit is cut off on both sides: `1990-95` becomes `1990`, `-`, `95`, and `well-known` stays.
///
/// What white space is, Unicode says: the no-break spaces U+00A0 and U+202F, which French has before `!` and `?`, part tokens
/// like any other. Punctuation beyond ASCII, such as `«` or `…`, sticks to the word beside it.
///
/// ```
/// use gradus::score::tokenize_13a;
/// assert_eq!(tokenize_13a("L'été, c'est 1,5\u{a0}km!"), ["L'été", ",", "c'est", "1,5", "km", "!"]);
/// ```
pub fn tokenize_13a(text: &str) -> Vec<String> {
    let text = text.trim_end_matches(is_white_space).replace("<skipped>", "");
    let text = text.replace("-\n", "").replace('\n', " ");
    let text = text.replace("&quot;", "\"").replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">");

    let mut spaced = String::from(" ");
    for c in text.chars() {
        if is_symbol(c) {
            spaced.extend([' ', c, ' ']);
        } else {
            spaced.push(c);
        }
    }
    spaced.push(' ');

    let digit = |c: char| c.is_ascii_digit();
    let point = |c: char| c == '.' || c == ',';
    let text = rewrite_pairs(&spaced, |a, b| !digit(a) && point(b), |a, b| [a, ' ', b, ' ']);
    let text = rewrite_pairs(&text, |a, b| point(a) && !digit(b), |a, b| [' ', a, ' ', b]);
    let text = rewrite_pairs(&text, |a, b| digit(a) && b == '-', |a, b| [a, ' ', b, ' ']);
    text.split(is_white_space).filter(|token| !token.is_empty()).map(str::to_owned).collect()
}

/// The symbols that are always tokens of their own.
fn is_symbol(c: char) -> bool {
    c.is_ascii_punctuation() && !['\'', ',', '-', '.'].contains(&c)
}

/// Replaces two neighbours that fit by four characters. A character that was the second of such a pair is not the first of
/// another, as in the regular expressions by which 13a is defined.
fn rewrite_pairs(
    text: &str,
    fit: impl Fn(char, char) -> bool,
    replace: impl Fn(char, char) -> [char; 4],
) -> String {
    let mut rewritten = String::with_capacity(2 * text.len());
    let mut chars = text.chars().peekable();
    while let Some(a) = chars.next() {
        match chars.next_if(|&b| fit(a, b)) {
            Some(b) => rewritten.extend(replace(a, b)),
            None => rewritten.push(a),
        }
    }
    rewritten
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str) -> String {
        tokenize_13a(text).join(" ")
    }

    #[test]
    fn symbols_are_tokens_and_apostrophes_are_not() {
        assert_eq!(tokens("\"What's that?\" (he said)"), "\" What's that ? \" ( he said )");
        assert_eq!(tokens("a/b_c\\d"), "a / b _ c \\ d");
        assert_eq!(tokens("« Oui… »"), "« Oui… »");
    }

    #[test]
    fn points_stay_between_digits_only() {
        assert_eq!(tokens("1,000.5 a,b .5 5. x.5"), "1,000.5 a , b . 5 5 . x . 5");
        assert_eq!(tokens("Wait...Now,,1"), "Wait . . . Now , ,1");
    }

    #[test]
    fn hyphens_are_cut_off_after_digits_only() {
        assert_eq!(tokens("1990-95 well-known -5 3-"), "1990 - 95 well-known -5 3 -");
    }

    #[test]
    fn lines_entities_and_white_space() {
        assert_eq!(tokens("trans-\nlation\nnow <skipped>\n"), "translation now");
        assert_eq!(tokens("&quot;a &amp; b&quot; &amp;lt; &apos;"), "\" a & b \" < & apos ;");
        assert_eq!(tokens("a\u{a0}b\u{202f}c\u{2028}d\u{1c}e\u{200b}f \u{a0}"), "a b c d e\u{200b}f");
        assert_eq!(tokens(" \n\u{a0}"), "");
    }
}
