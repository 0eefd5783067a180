//! One token for each character.

/// The distinct characters (Unicode scalar values) of a text in order, and one token more that marks where a
/// document begins and ends.
///
/// ```
/// use gradus::tokenizer::CharTokenizer;
/// let tokenizer = CharTokenizer::of("가나 banana".chars().filter(|c| *c != ' '));
/// assert_eq!(tokenizer.vocab_size(), 6); // a b n 가 나, and the mark
/// assert_eq!(tokenizer.encode('b'), Some(1));
/// assert_eq!(tokenizer.decode(3), Some('가'));
/// assert_eq!(tokenizer.decode(tokenizer.bos()), None);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CharTokenizer {
    chars: Vec<char>,
}

impl CharTokenizer {
    /// The vocabulary of all characters that occur.
    pub fn of(text: impl IntoIterator<Item = char>) -> Self {
        let mut chars: Vec<char> = Vec::new();
        for c in text {
            if let Err(at) = chars.binary_search(&c) {
                chars.insert(at, c);
            }
        }
        CharTokenizer { chars }
    }

    /// The characters in the order of their tokens.
    pub fn chars(&self) -> &[char] {
        &self.chars
    }

    /// How many tokens there are, the mark included.
    pub fn vocab_size(&self) -> usize {
        self.chars.len() + 1
    }

    /// The mark at both ends of a document, called BOS (beginning of sequence): the last token.
    pub fn bos(&self) -> usize {
        self.chars.len()
    }

    /// The token of a character, if it is in the vocabulary.
    pub fn encode(&self, c: char) -> Option<usize> {
        self.chars.binary_search(&c).ok()
    }

    /// The character of a token; none for the mark or beyond.
    pub fn decode(&self, token: usize) -> Option<char> {
        self.chars.get(token).copied()
    }

    /// The text of some tokens, without marks.
    pub fn text(&self, tokens: &[usize]) -> String {
        tokens.iter().filter_map(|&token| self.decode(token)).collect()
    }
}
