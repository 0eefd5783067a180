//! From text to pieces.
//!
//! The rule is: of all neighbours that are merged, take those whose piece has the highest score, of several equal ones the
//! leftmost; merge them; begin again. Followed word for word, it takes a time that grows with the square of the text. Here
//! all pairs wait in a heap, and the symbols are a linked list: a merge takes one out and looks at two new pairs.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::vocab::{Vocabulary, key};
use crate::tokenizer::bpe::added::Stretch;

/// A character that no piece stands for. It is never merged.
const UNKNOWN: u32 = u32::MAX;
/// A symbol that was merged into the one before it.
const GONE: u32 = u32::MAX - 1;
/// No symbol: before the first, after the last.
const NONE: usize = usize::MAX;

/// A piece of the text, still to be merged.
struct Symbol {
    token: u32,
    /// Where it starts in the text.
    start: usize,
    before: usize,
    after: usize,
}

/// A pair of symbols: its rank, the left one, and the tokens that they were when it was noted. The lowest is merged first.
type Pair = Reverse<(u32, usize, [u32; 2])>;

/// What encoding a word needs, kept from one to the next.
#[derive(Default)]
struct Scratch {
    symbols: Vec<Symbol>,
    pairs: BinaryHeap<Pair>,
}

impl Vocabulary {
    /// Appends the tokens of a text. `is_first` says that no token stands before it.
    pub fn encode(&self, text: &str, mut is_first: bool, out: &mut Vec<usize>) {
        let mut scratch = Scratch::default();
        for stretch in self.defined.stretches(text) {
            let is_first = std::mem::replace(&mut is_first, false);
            let prefixed;
            let mut rest = match stretch {
                Stretch::Text(text) if self.space_prefix.is_before(text, is_first) => {
                    prefixed = format!(" {text}");
                    prefixed.as_str()
                }
                Stretch::Text(text) => text,
                Stretch::Added(token) => {
                    out.push(token as usize);
                    continue;
                }
            };
            while !rest.is_empty() {
                let (word, others) = rest.split_at(if self.words { word_end(rest) } else { rest.len() });
                self.encode_word(word, &mut scratch, out);
                rest = others;
            }
        }
    }

    /// Appends the tokens of a text within which everything may be merged.
    fn encode_word(&self, word: &str, scratch: &mut Scratch, out: &mut Vec<usize>) {
        let Scratch { symbols, pairs } = scratch;
        symbols.clear();
        for (at, (start, character)) in word.char_indices().enumerate() {
            let token = self.characters.get(&u32::from(character)).copied().unwrap_or(UNKNOWN);
            symbols.push(Symbol { token, start, before: at.wrapping_sub(1), after: at + 1 });
        }
        if let Some(last) = symbols.last_mut() {
            last.after = NONE;
        }
        pairs.clear();
        let pair = |symbols: &[Symbol], left: usize| -> Option<Pair> {
            let symbol = symbols.get(left)?;
            let both = [symbol.token, symbols.get(symbol.after)?.token];
            let made = self.pairs.get(&key(both))?;
            Some(Reverse((self.ranks[*made as usize], left, both)))
        };
        pairs.extend((0..symbols.len()).filter_map(|left| pair(symbols, left)));
        while let Some(Reverse((_, left, both))) = pairs.pop() {
            let Symbol { token, before, after, .. } = symbols[left];
            // One of the two has been merged since the pair was noted.
            if token != both[0] || symbols.get(after).is_none_or(|right| right.token != both[1]) {
                continue;
            }
            let next = symbols[after].after;
            symbols[after].token = GONE;
            symbols[left].token = self.pairs[&key(both)];
            symbols[left].after = next;
            if let Some(next) = symbols.get_mut(next) {
                next.before = left;
            }
            pairs.extend(pair(symbols, before).into_iter().chain(pair(symbols, left)));
        }
        for symbol in symbols.iter() {
            match symbol.token {
                GONE => {}
                UNKNOWN => {
                    let character = word[symbol.start..].chars().next().expect("it starts there");
                    let bytes = &word.as_bytes()[symbol.start..][..character.len_utf8()];
                    out.extend(bytes.iter().map(|&byte| self.bytes[usize::from(byte)] as usize));
                }
                token => out.push(token as usize),
            }
        }
    }
}

/// Where the first word ends: before a blank that follows something else.
fn word_end(text: &str) -> usize {
    let bytes = text.as_bytes();
    let border = |at: &usize| bytes[*at] == b' ' && bytes[*at - 1] != b' ';
    (1..bytes.len()).find(border).unwrap_or(bytes.len())
}
