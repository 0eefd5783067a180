//! One token for each character.

use super::{Tokenizer, TokenizerSpec, UnknownText};

/// The distinct characters (Unicode scalar values) of a text in order, and one token more, [`BOS`](Self::BOS), that
/// stands before and after each document.
///
/// ```
/// use gradus::tokenizer::{CharTokenizer, Tokenizer};
/// let tokenizer = CharTokenizer::of("가나 banana".chars().filter(|c| *c != ' '));
/// assert_eq!(tokenizer.vocab_size(), 6); // a b n 가 나, and BOS
/// assert_eq!(tokenizer.token('b'), Some(1));
/// assert_eq!(tokenizer.decode(&[3]), "가");
/// assert_eq!(tokenizer.decode(&[tokenizer.bos()]), "");
/// let error = tokenizer.encode("bad").unwrap_err();
/// assert_eq!((error.character, error.position), ('d', 3));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CharTokenizer {
    chars: Vec<char>,
}

impl CharTokenizer {
    /// The name of the special token at both ends of a document (beginning of sequence).
    pub const BOS: &str = "<bos>";

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

    /// The token of a character, if it is in the vocabulary.
    pub fn token(&self, c: char) -> Option<usize> {
        self.chars.binary_search(&c).ok()
    }

    /// The token named [`BOS`](Self::BOS).
    pub fn bos(&self) -> usize {
        self.chars.len()
    }
}

impl Tokenizer for CharTokenizer {
    fn vocab_size(&self) -> usize {
        self.chars.len() + 1
    }

    fn encode(&self, text: &str) -> Result<Vec<usize>, UnknownText> {
        let unknown = |at: usize, character: char| UnknownText {
            character,
            position: at + 1,
            known: self.chars.iter().filter(|c| !c.is_control()).collect(),
        };
        text.chars().enumerate().map(|(at, c)| self.token(c).ok_or_else(|| unknown(at, c))).collect()
    }

    fn push_bytes(&self, token: usize, bytes: &mut Vec<u8>) {
        if let Some(c) = self.chars.get(token) {
            bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }

    fn special(&self, name: &str) -> Option<usize> {
        (name == Self::BOS).then(|| self.bos())
    }

    fn special_tokens(&self) -> Vec<(String, usize)> {
        vec![(Self::BOS.to_owned(), self.bos())]
    }

    fn spec(&self) -> TokenizerSpec {
        TokenizerSpec::Characters { characters: self.chars.iter().collect() }
    }
}
