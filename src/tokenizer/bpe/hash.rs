//! A hash map for small keys, such as pairs of tokens and words.
//!
//! The standard hasher withstands people who choose keys that collide, and pays for it with most of the time of a
//! look-up. Here keys come from a vocabulary, or from the text that somebody trains on.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A hash map with the hasher below.
pub(in crate::tokenizer) type FastMap<K, V> = HashMap<K, V, BuildHasherDefault<FoldHasher>>;

/// Multiplies 64 bits by an odd constant and adds the halves of the product, so that each bit of the key can change each
/// bit of the hash.
#[derive(Clone, Copy, Default)]
pub(in crate::tokenizer) struct FoldHasher(u64);

/// 2⁶⁴ divided by the golden ratio: its bits have no pattern.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// The hash of 64 bits that follow those which gave the hash `before`.
pub(super) fn fold(before: u64, word: u64) -> u64 {
    let product = u128::from(before.rotate_left(23) ^ word) * u128::from(FACTOR);
    product as u64 ^ (product >> 64) as u64
}

impl Hasher for FoldHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks();
        for word in words {
            self.write_u64(u64::from_le_bytes(*word));
        }
        if !rest.is_empty() {
            let last = rest.iter().rev().fold(0, |last, &byte| last << 8 | u64::from(byte));
            self.write_u64(last);
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = fold(self.0, word);
    }

    fn write_u32(&mut self, word: u32) {
        self.write_u64(word.into());
    }

    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }
}
