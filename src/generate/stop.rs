//! Where generation ends: stop tokens, stop strings, and the maximum length.

use std::borrow::Cow;

/// Where generation ends: at whatever comes first.
///
/// ```
/// use gradus::generate::Stop;
/// let stop = Stop { strings: vec!["\nA:".to_owned()], max_tokens: Some(200), ..Stop::default() };
/// assert_eq!(Stop::after(200), Stop { strings: Vec::new(), ..stop });
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stop {
    /// At any of these tokens, which is not part of the result.
    pub tokens: Vec<usize>,
    /// Before any of these strings, wherever in the text it is: it may begin and end within tokens. An empty one stops nothing.
    pub strings: Vec<String>,
    /// After this many tokens. There may be more than the context holds: whenever it is full, the model reads its last half
    /// again and continues from there. Without a maximum, generation ends when prompt and result together fill the context.
    pub max_tokens: Option<usize>,
}

impl Stop {
    /// At this token, or when the context is full.
    pub fn at(token: usize) -> Self {
        Stop { tokens: vec![token], ..Stop::default() }
    }

    /// After this many tokens.
    pub fn after(count: usize) -> Self {
        Stop { max_tokens: Some(count), ..Stop::default() }
    }
}

/// Why generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// A stop token or a stop string came.
    Stop,
    /// The maximum was reached, or the context was full.
    Length,
}

/// Looks for stop strings in a text that comes piece by piece.
///
/// It gives out what can be shown, and holds back an end that may be the beginning of a stop string: after a line break,
/// nobody knows yet whether `"\nA:"` begins there. How the text was cut into pieces does not matter. Of several stop strings,
/// the one that is complete first counts; of several that end at the same place, the longest.
///
/// ```
/// use gradus::generate::StopStrings;
/// let strings = ["\nA:".to_owned()];
/// let (mut watch, mut shown) = (StopStrings::new(&strings), String::new());
/// assert!(!watch.push("Hi.\n", &mut shown));
/// assert_eq!(shown, "Hi.");
/// assert!(!watch.push("Bye.\nA", &mut shown));
/// assert_eq!(shown, "Hi.\nBye.");
/// assert!(watch.push(": Well", &mut shown));
/// assert_eq!(shown, "Hi.\nBye.");
/// ```
#[derive(Clone, Debug)]
pub struct StopStrings<'a> {
    strings: Cow<'a, [String]>,
    /// The end of the text so far, as far as it may be the beginning of a stop string.
    held: String,
}

impl<'a> StopStrings<'a> {
    /// A text that has not begun yet. The strings may be borrowed or given away.
    pub fn new(strings: impl Into<Cow<'a, [String]>>) -> Self {
        StopStrings { strings: strings.into(), held: String::new() }
    }

    /// Reads on. Appends to `shown` what is certain to stand before any stop string. Returns whether a stop string is
    /// complete; then the text has ended, and the rest of `piece` is dropped.
    pub fn push(&mut self, piece: &str, shown: &mut String) -> bool {
        for c in piece.chars() {
            self.held.push(c);
            let complete = self.strings.iter().filter(|string| self.held.ends_with(*string));
            if let Some(length) = complete.map(String::len).max().filter(|&length| length > 0) {
                shown.push_str(&self.held[..self.held.len() - length]);
                self.held.clear();
                return true;
            }
        }
        let certain = self.held.len() - self.begun();
        shown.extend(self.held.drain(..certain));
        false
    }

    /// The rest of the text, if no stop string came: what was held back is the beginning of none.
    pub fn finish(self) -> String {
        self.held
    }

    /// How many bytes at the end are the beginning of a stop string. At most, since a longer one may become complete first.
    fn begun(&self) -> usize {
        let begun = self.strings.iter().flat_map(|string| {
            let lengths = string.char_indices().map(|(length, _)| length);
            lengths.filter(|&length| self.held.ends_with(&string[..length]))
        });
        begun.max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    /// The text before a stop string, and whether there was one, if the text comes in these pieces.
    fn read<'a>(strings: &[String], pieces: impl IntoIterator<Item = &'a str>) -> (String, bool) {
        let (mut watch, mut shown) = (StopStrings::new(strings), String::new());
        for piece in pieces {
            if watch.push(piece, &mut shown) {
                return (shown, true);
            }
        }
        (shown + &watch.finish(), false)
    }

    fn strings(strings: &[&str]) -> Vec<String> {
        strings.iter().map(|&string| string.to_owned()).collect()
    }

    #[test]
    fn only_a_possible_beginning_is_held_back() {
        let stops = strings(&["aab", "é!"]);
        let (mut watch, mut shown) = (StopStrings::new(&stops), String::new());
        let mut show = |piece| {
            shown.clear();
            (watch.push(piece, &mut shown), shown.clone())
        };
        let not_yet = |text: &str| (false, text.to_owned());
        assert_eq!(show("xa"), not_yet("x"));
        assert_eq!(show("a"), not_yet(""));
        assert_eq!(show("a"), not_yet("a"), "the first a of three begins nothing any more");
        assert_eq!(show("é"), not_yet("aa"));
        assert_eq!(show("a"), not_yet("é"));
        assert_eq!(show("ab!"), (true, String::new()));
    }

    #[test]
    fn the_string_that_is_complete_first_counts() {
        assert_eq!(read(&strings(&["abc", "b"]), ["abc"]), ("a".to_owned(), true));
        assert_eq!(read(&strings(&["c", "abc"]), ["xabc"]), ("x".to_owned(), true));
        assert_eq!(read(&strings(&["c", "abc"]), ["xbc"]), ("xb".to_owned(), true));
        assert_eq!(read(&strings(&["", "q"]), ["abc"]), ("abc".to_owned(), false));
        assert_eq!(read(&[], ["a", "", "bc"]), ("abc".to_owned(), false));
        assert_eq!(read(&strings(&["ab"]), ["ab"]), (String::new(), true));
    }

    /// Against the definition, on texts of few letters, where beginnings overlap all the time.
    #[test]
    fn how_a_text_is_cut_into_pieces_does_not_matter() {
        let mut random = Random::new(11);
        let mut stopped = 0;
        for _ in 0..2_000 {
            let mut text = |most: usize| -> String {
                (0..random.below(most)).map(|_| ['a', 'b', 'é'][random.below(3)]).collect()
            };
            let (text, stops) = (text(20), [text(6), text(4)]);
            let ends = |length: usize| {
                stops
                    .iter()
                    .filter(|stop| !stop.is_empty() && text[..length].ends_with(*stop))
                    .map(|stop| length - stop.len())
                    .min()
            };
            let mut lengths = (0..=text.len()).filter(|&length| text.is_char_boundary(length));
            let expected = match lengths.find_map(ends) {
                Some(length) => (text[..length].to_owned(), true),
                None => (text.clone(), false),
            };
            stopped += usize::from(expected.1);
            assert_eq!(read(&stops, [&*text]), expected, "{text} {stops:?}");
            let letters = text.char_indices().map(|(at, c)| &text[at..at + c.len_utf8()]);
            assert_eq!(read(&stops, letters), expected, "{text} {stops:?}");
        }
        assert!((500..1_900).contains(&stopped), "{stopped}");
    }

    /// What was shown once is never taken back, and what was held back comes as soon as it is certain.
    #[test]
    fn nothing_is_held_back_longer_than_it_has_to_be() {
        let stops = strings(&["abab", "bb"]);
        let (mut watch, mut shown) = (StopStrings::new(&stops), String::new());
        let mut text = String::new();
        for c in "cabacababa".chars() {
            text.push(c);
            if watch.push(&c.to_string(), &mut shown) {
                break;
            }
            let begins = |at: &usize| stops.iter().any(|stop| stop.starts_with(&text[*at..]));
            let certain = (0..text.len()).find(begins).unwrap_or(text.len());
            assert_eq!(shown, text[..certain]);
        }
        assert_eq!((text.as_str(), shown.as_str()), ("cabacabab", "cabac"));
    }
}
