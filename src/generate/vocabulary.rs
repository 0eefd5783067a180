//! The tokens of a tokenizer by what they stand for, so that those which may come are found without a try of each.
//!
//! Sorted by their bytes, tokens with the same beginning are neighbours: where a byte cannot come, all that go on from it are passed
//! over. And within a string of JSON nearly every token may come, always the same ones: they are known beforehand.

use super::Guide;
use crate::tokenizer::Tokenizer;

/// What each token stands for. It is made once for a tokenizer, and many replies share it.
#[derive(Clone, Debug)]
pub struct Vocabulary {
    /// The bytes of all tokens, and where those of each end.
    bytes: Vec<u8>,
    ends: Vec<usize>,
    special: Vec<(String, usize)>,
    /// All tokens that stand for text.
    all: Sorted,
    /// Those that a string may go on with, and how many more bytes complete it than before; and those with which it may end.
    inside: Vec<(usize, usize)>,
    leaving: Sorted,
}

/// Tokens in the order of their bytes, each with how many of them it has in common with the one before.
#[derive(Clone, Debug)]
struct Sorted(Vec<(usize, usize)>);

/// Something that goes on byte by byte.
pub(super) trait Follow: Clone {
    /// Goes on by a byte, if it can come.
    fn follow(&mut self, byte: u8) -> bool;

    /// How many bytes it takes at the least until all is complete.
    fn bytes_left(&self) -> usize;

    /// Whether it is in a string, between two of its characters.
    fn is_in_string(&self) -> bool;
}

impl Vocabulary {
    /// The tokens of a tokenizer.
    pub fn new(tokenizer: &dyn Tokenizer) -> Self {
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        for token in 0..tokenizer.vocab_size() {
            tokenizer.push_bytes(token, &mut bytes);
            ends.push(bytes.len());
        }
        let special = tokenizer.special_tokens();
        let [all, leaving] = [(); 2].map(|()| Sorted(Vec::new()));
        let mut vocabulary = Vocabulary { bytes, ends, special, all, inside: Vec::new(), leaving };
        let texts = (0..vocabulary.ends.len()).filter(|&token| !vocabulary.bytes_of(token).is_empty());
        let texts: Vec<usize> = texts.collect();
        let more = |&token: &usize| Some((token, Guide::stays_in_string(vocabulary.bytes_of(token))?));
        let inside: Vec<(usize, usize)> = texts.iter().filter_map(more).collect();
        let ends_it = |token: &usize| vocabulary.bytes_of(*token).contains(&b'"');
        let leaving = vocabulary.sorted(texts.iter().copied().filter(ends_it).collect());
        let all = vocabulary.sorted(texts);
        (vocabulary.inside, vocabulary.all, vocabulary.leaving) = (inside, all, leaving);
        vocabulary
    }

    fn sorted(&self, mut tokens: Vec<usize>) -> Sorted {
        tokens.sort_unstable_by_key(|&token| self.bytes_of(token));
        let mut before: &[u8] = &[];
        let shared = tokens.into_iter().map(|token| {
            let bytes = self.bytes_of(token);
            let shared = bytes.iter().zip(before).take_while(|(a, b)| a == b).count();
            before = bytes;
            (token, shared)
        });
        Sorted(shared.collect())
    }

    /// The bytes that a token stands for: none for a special one, and for one that is not in the vocabulary.
    pub fn bytes_of(&self, token: usize) -> &[u8] {
        let Some(&end) = self.ends.get(token) else { return &[] };
        let start = token.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start..end]
    }

    /// All tokens that stand for text.
    pub(super) fn texts(&self) -> impl Iterator<Item = (usize, &[u8])> {
        self.all.0.iter().map(|&(token, _)| (token, self.bytes_of(token)))
    }

    /// The special token whose name a text begins with; the longest, where several do.
    pub(super) fn special_at(&self, text: &str) -> Option<(&str, usize)> {
        let begins = self.special.iter().filter(|(name, _)| !name.is_empty() && text.starts_with(name));
        begins.max_by_key(|(name, _)| name.len()).map(|(name, token)| (name.as_str(), *token))
    }

    /// The first character of a text that no tokens write: neither one for it, nor one for each of its bytes.
    pub(super) fn unwritable(&self, text: &str) -> Option<char> {
        let is_token = |bytes: &[u8]| {
            self.all.0.binary_search_by_key(&bytes, |&(token, _)| self.bytes_of(token)).is_ok()
        };
        text.chars().find(|c| {
            let mut buffer = [0; 4];
            let bytes = c.encode_utf8(&mut buffer).as_bytes();
            !is_token(bytes) && !bytes.chunks(1).all(is_token)
        })
    }

    /// Calls `allow` with each token that may come, and leaves at most so many bytes to come after it.
    pub(super) fn each_that_fits<F: Follow>(&self, from: &F, most: usize, mut allow: impl FnMut(usize)) {
        if !from.is_in_string() {
            return self.walk(&self.all, from, most, allow);
        }
        let left = from.bytes_left();
        let fits = |more: usize| left.saturating_add(more) <= most;
        self.inside.iter().filter(|(_, more)| fits(*more)).for_each(|&(token, _)| allow(token));
        self.walk(&self.leaving, from, most, allow);
    }

    fn walk<F: Follow>(&self, list: &Sorted, from: &F, most: usize, mut allow: impl FnMut(usize)) {
        // Where it is after each byte that could come of the token before, and whether all of them could.
        let mut path = vec![from.clone()];
        let mut all_came = true;
        for &(token, shared) in &list.0 {
            let came = path.len() - 1;
            if !all_came && shared > came {
                continue; // it has the byte that could not come
            }
            path.truncate(shared.min(came) + 1);
            let bytes = self.bytes_of(token);
            all_came = bytes[path.len() - 1..].iter().all(|&byte| {
                let mut next = path[path.len() - 1].clone();
                let came = next.follow(byte);
                if came {
                    path.push(next);
                }
                came
            });
            if all_came && path[path.len() - 1].bytes_left() <= most {
                allow(token);
            }
        }
    }
}
