//! Where a text is cut before its bytes are merged.
//!
//! No token spans two pieces: without the cut, `dog`, `dog.` and `dog!` would each become a token. Pieces are described by a
//! regular expression that comes with the vocabulary, and other programs know only those of well-known models. So there are
//! three here, those of GPT-2, Llama 3 and Qwen 2, and each is read by a scanner that looks ahead by one character and never
//! goes back, so its time is in proportion to the text whatever the text is.

use serde::{Deserialize, Serialize};
use unicode_general_category::{GeneralCategory, get_general_category};

/// How a text is cut into pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Pattern {
    /// As GPT-2 does: a blank belongs to the word after it, and letters, digits and all else are apart.
    #[serde(rename = "gpt-2")]
    Gpt2,
    /// As Llama 3 does: also a mark before a word belongs to it, numbers are cut after three digits, and lines end with
    /// their newlines. Its name is the one it has in GGUF files.
    #[serde(rename = "llama-bpe")]
    Llama3,
    /// As Qwen 2 does: like Llama 3, but each digit is by itself.
    #[serde(rename = "qwen2")]
    Qwen2,
}

impl Pattern {
    /// All of them.
    pub const ALL: [Pattern; 3] = [Pattern::Gpt2, Pattern::Llama3, Pattern::Qwen2];

    /// The same as a regular expression, as other programs write it.
    pub fn regex(self) -> &'static str {
        match self {
            Pattern::Gpt2 => r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
            Pattern::Llama3 => concat!(
                r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}",
                r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
            ),
            Pattern::Qwen2 => concat!(
                r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}",
                r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
            ),
        }
    }

    /// The pieces of a text, in order. Together they are the text.
    ///
    /// ```
    /// use gradus::tokenizer::Pattern;
    /// let pieces: Vec<&str> = Pattern::Gpt2.pieces("It's  2026, isn't it?").collect();
    /// assert_eq!(pieces, ["It", "'s", " ", " 2026", ",", " isn", "'t", " it", "?"]);
    /// let pieces: Vec<&str> = Pattern::Llama3.pieces("It's  2026, isn't it?").collect();
    /// assert_eq!(pieces, ["It", "'s", " ", " ", "202", "6", ",", " isn", "'t", " it", "?"]);
    /// ```
    pub fn pieces(self, text: &str) -> impl Iterator<Item = &str> {
        let mut start = 0;
        std::iter::from_fn(move || {
            (start < text.len()).then(|| {
                let end = self.end(text, start);
                let piece = &text[start..end];
                start = end;
                piece
            })
        })
    }

    /// Where the piece ends that starts at `start`, which is not the end of the text.
    #[inline]
    fn end(self, text: &str, start: usize) -> usize {
        match self {
            Pattern::Gpt2 => gpt2(text, start),
            Pattern::Llama3 => llama3(text, start, 3),
            Pattern::Qwen2 => llama3(text, start, 1),
        }
    }
}

/// What the patterns tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    /// `\p{L}`: letters, without the marks that combine with them.
    Letter,
    /// `\p{N}`: digits, and numbers such as `½` and `Ⅷ`.
    Number,
    /// `\s`: white space.
    Space,
    /// All else: `[^\s\p{L}\p{N}]`.
    Other,
}
use Class::{Letter, Number, Other, Space};

/// The classes of ASCII, which most texts mostly are.
const ASCII: [Class; 128] = {
    let mut classes = [Other; 128];
    let mut byte = 0;
    while byte < 128 {
        classes[byte] = match byte as u8 {
            b'A'..=b'Z' | b'a'..=b'z' => Letter,
            b'0'..=b'9' => Number,
            b' ' | b'\t'..=b'\r' => Space,
            _ => Other,
        };
        byte += 1;
    }
    classes
};

/// The class of a character beyond ASCII. The standard library's `is_alphabetic` and `is_numeric` are other sets.
fn class_of(c: char) -> Class {
    use GeneralCategory::{
        DecimalNumber, LetterNumber, LowercaseLetter, ModifierLetter, OtherLetter, OtherNumber,
        TitlecaseLetter, UppercaseLetter,
    };
    match get_general_category(c) {
        UppercaseLetter | LowercaseLetter | TitlecaseLetter | ModifierLetter | OtherLetter => Letter,
        DecimalNumber | LetterNumber | OtherNumber => Number,
        _ if c.is_whitespace() => Space,
        _ => Other,
    }
}

/// The class of the character at a place, and the place after it. Nothing at the end of the text.
#[inline]
fn look(text: &str, at: usize) -> Option<(Class, usize)> {
    let byte = *text.as_bytes().get(at)?;
    if byte.is_ascii() {
        return Some((ASCII[usize::from(byte)], at + 1));
    }
    let c = text[at..].chars().next()?;
    Some((class_of(c), at + c.len_utf8()))
}

/// The end of the characters of one class that follow a place.
#[inline]
fn skip(class: Class, text: &str, mut at: usize) -> usize {
    while let Some((next, after)) = look(text, at)
        && next == class
    {
        at = after;
    }
    at
}

/// `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
fn gpt2(text: &str, start: usize) -> usize {
    let rest = &text.as_bytes()[start..];
    match *rest {
        [b'\'', b's' | b't' | b'm' | b'd', ..] => return start + 2,
        [b'\'', b'r' | b'v', b'e', ..] | [b'\'', b'l', b'l', ..] => return start + 3,
        _ => {}
    }
    // ` ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+`: a run of one class, with the blank before it.
    let run = if rest[0] == b' ' { start + 1 } else { start };
    match look(text, run) {
        Some((class @ (Letter | Number | Other), after)) => skip(class, text, after),
        Some((Space, _)) | None => white_space(text, start).end,
    }
}

/// `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
///
/// Qwen 2 differs in the most digits of a piece: 1 instead of 3.
#[inline]
fn llama3(text: &str, start: usize, most_digits: usize) -> usize {
    let rest = &text.as_bytes()[start..];
    if rest[0] == b'\''
        && let Some(len) = contraction(&rest[1..])
    {
        return start + 1 + len;
    }
    let Some((first, second)) = look(text, start) else { return start };
    match first {
        Letter => return skip(Letter, text, second),
        Number => return digits(text, second, most_digits),
        Space | Other => {}
    }
    // `[^\r\n\p{L}\p{N}]?\p{L}+`: a word, with the mark or blank before it.
    let next = look(text, second);
    if let Some((Letter, third)) = next
        && !is_newline(rest[0])
    {
        return skip(Letter, text, third);
    }
    // ` ?[^\s\p{L}\p{N}]+[\r\n]*`: marks, with the blank before and the newlines after them.
    let marks = match (first, next) {
        (Other, _) => Some(second),
        (Space, Some((Other, third))) if rest[0] == b' ' => Some(third),
        _ => None,
    };
    if let Some(marks) = marks {
        let end = skip(Other, text, marks);
        return end + text.as_bytes()[end..].iter().take_while(|&&byte| is_newline(byte)).count();
    }
    // `\s*[\r\n]+`: white space up to its last newline; or else as in GPT-2.
    let space = white_space(text, start);
    space.after_newline.unwrap_or(space.end)
}

/// The length of what follows the apostrophe in `(?i:'s|'t|'re|'ve|'m|'ll|'d)`. Regular expressions that ignore case take
/// the long s, `ſ`, for an s.
fn contraction(rest: &[u8]) -> Option<usize> {
    let lower = |at: usize| rest.get(at).map_or(0, u8::to_ascii_lowercase);
    match [lower(0), lower(1)] {
        [b's' | b't' | b'm' | b'd', _] => Some(1),
        [b'r' | b'v', b'e'] | [b'l', b'l'] => Some(2),
        _ => rest.starts_with("ſ".as_bytes()).then_some("ſ".len()),
    }
}

/// The end of `\p{N}{1,most}` after its first digit.
fn digits(text: &str, mut at: usize, most: usize) -> usize {
    for _ in 1..most {
        match look(text, at) {
            Some((Number, after)) => at = after,
            _ => break,
        }
    }
    at
}

/// A stretch of white space.
struct WhiteSpace {
    /// The end of `\s+(?!\S)|\s+`: all of it, but the last character is left to the word that follows, if there is one.
    end: usize,
    /// The place after its last newline.
    after_newline: Option<usize>,
}

/// The white space that begins at a place.
fn white_space(text: &str, start: usize) -> WhiteSpace {
    let (mut last, mut at, mut after_newline) = (start, start, None);
    while let Some((Space, after)) = look(text, at) {
        if is_newline(text.as_bytes()[at]) {
            after_newline = Some(after);
        }
        (last, at) = (at, after);
    }
    let all = at == text.len() || last == start;
    WhiteSpace { end: if all { at } else { last }, after_newline }
}

fn is_newline(byte: u8) -> bool {
    byte == b'\r' || byte == b'\n'
}

#[cfg(test)]
mod tests {
    use fancy_regex::Regex;

    use super::*;
    use crate::random::Random;

    fn assert_as_regex(pattern: Pattern, regex: &Regex, text: &str) {
        let own: Vec<&str> = pattern.pieces(text).collect();
        let expected: Vec<&str> = regex.find_iter(text).map(|found| found.expect("small").as_str()).collect();
        assert_eq!(own, expected, "{pattern:?} on {text:?}");
        assert_eq!(own.concat(), text, "{pattern:?}");
    }

    /// All characters there are.
    fn all_chars() -> impl Iterator<Item = char> {
        (0..=u32::from(char::MAX)).filter_map(char::from_u32)
    }

    /// In a text of all characters, one after another, the runs of each class are those that the expression finds.
    #[test]
    fn classes_are_those_of_regular_expressions() {
        let text: String = all_chars().collect();
        let regexes =
            [(Letter, r"\p{L}+"), (Number, r"\p{N}+"), (Space, r"\s+"), (Other, r"[^\s\p{L}\p{N}]+")];
        let mut found = 0;
        for (class, regex) in regexes {
            let regex = Regex::new(regex).expect("valid");
            let mut end = 0;
            for run in regex.find_iter(&text).map(|run| run.expect("small")) {
                let wrong = text[end..run.start()]
                    .chars()
                    .find(|&c| look(&c.to_string(), 0).map(|it| it.0) == Some(class));
                assert_eq!(wrong, None, "not {class:?}");
                assert_eq!(skip(class, &text, run.start()), run.end(), "{class:?} {:?}", run.as_str());
                end = run.end();
                found += run.as_str().len();
            }
        }
        assert_eq!(found, text.len());
    }

    /// Texts of up to 12 characters, some drawn from all of Unicode, most from those that the patterns name.
    #[test]
    fn pieces_are_those_of_the_regular_expressions() {
        const NAMED: &[&str] = &[
            "'",
            "'",
            "s",
            "t",
            "re",
            "ve",
            "m",
            "ll",
            "d",
            "S",
            "LL",
            "rE",
            "ſ",
            "K",
            "a",
            "é",
            "가",
            "中",
            "ß",
            "1",
            "23",
            "²",
            "Ⅷ",
            "٣",
            " ",
            " ",
            "  ",
            "\t",
            "\n",
            "\r",
            "\r\n",
            "\u{a0}",
            "\u{3000}",
            "\u{85}",
            "\u{2028}",
            "\u{b}",
            "\u{1c}",
            "\u{200b}",
            ".",
            "!?",
            "\u{301}",
            "🦀",
            "👩\u{200d}🚀",
            "_",
            "\0",
        ];
        let all: Vec<char> = all_chars().collect();
        let mut random = Random::new(15);
        for pattern in Pattern::ALL {
            let regex = Regex::new(pattern.regex()).expect("valid");
            for _ in 0..10_000 {
                let mut text = String::new();
                for _ in 0..random.below(13) {
                    match random.below(5) {
                        0 => text.push(all[random.below(all.len())]),
                        1 => text.push(all[random.below(0x600)]),
                        _ => text.push_str(NAMED[random.below(NAMED.len())]),
                    }
                }
                assert_as_regex(pattern, &regex, &text);
            }
        }
    }

    /// Characters of all classes between letters, digits, marks and blanks.
    #[test]
    fn every_kind_of_character_is_cut_as_the_regular_expressions_cut_it() {
        let mut chars: Vec<char> = all_chars().take_while(|&c| c < '\u{600}').collect();
        chars.extend(all_chars().filter(|&c| class_of(c) == Space));
        chars.extend(all_chars().filter(|&c| class_of(c) == Number).step_by(7));
        chars.extend(all_chars().filter(|&c| class_of(c) == Letter).step_by(101));
        chars.extend(all_chars().filter(|&c| class_of(c) == Other).step_by(1001));
        for pattern in Pattern::ALL {
            let regex = Regex::new(pattern.regex()).expect("valid");
            for c in &chars {
                assert_as_regex(pattern, &regex, &format!("a{c}a {c}1{c}. {c}{c} \n{c}'{c}"));
            }
        }
    }
}
