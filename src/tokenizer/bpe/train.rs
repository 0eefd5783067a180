//! Training: which tokens are worth having.
//!
//! Which pair of neighbours occurs most often? It becomes a token, everywhere, and then the question is asked again. Counting
//! again each time would take days, so:
//!
//! 1. A word that occurs a thousand times is kept once, with its number (`count.rs`). Tokens never cross words.
//! 2. Every pair has a count and a list of the places where it occurs. A merge visits those places only, and corrects the
//!    counts of the pairs beside them. Each merge at a place leaves one token less there, so in all there are fewer than
//!    the words have bytes: one word of a megabyte takes no longer than a megabyte of words.
//! 3. A heap finds the pair with the highest count. When a count falls, the heap is not told: a pair that comes out with a
//!    count that is no longer true goes in again with the true one. That suffices because counts never rise: a pair
//!    first occurs when the later of its two tokens is made, and in all its places at once.
//!
//! Of several pairs with the same count, the one with the lowest tokens is merged first, the left one compared before the
//! right one. That is what Hugging Face's `BpeTrainer` does; with it, the same texts give the same merges.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::hash_map::Entry;

use super::count::count_words;
use super::hash::FastMap;
use super::row::{TOKEN_LIMIT, TokenRow};
use super::vocab::key;
use super::{BpeSpec, BpeTokenizer, Normalizer, Pattern, alphabet};
use crate::thread_pool::ThreadPool;

/// How a vocabulary is trained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BpeTrainer {
    /// How many tokens it shall have: special ones, 256 bytes, and merges. If too few pairs occur often enough, it has fewer.
    pub vocab_size: usize,
    /// How often a pair must occur to become a token.
    pub min_frequency: u64,
    /// The names of special tokens, which become the first tokens. No merge ever makes a token with such a name.
    pub special_tokens: Vec<String>,
    /// How texts are cut.
    pub pattern: Pattern,
    /// Bytes that no merge takes in, so that each stays a token of its own wherever it stands. With the digits here, numbers are
    /// read digit by digit, as those of Llama 2 are (Touvron et al. 2023, section 2.2). With the space, a word has the same
    /// tokens after a space as after a quotation mark, which makes it easier to copy and longer to say.
    pub separate: Vec<u8>,
}

/// 32,000 tokens that occur at least twice, none of them special, in the pieces of Llama 3, with no byte set apart.
impl Default for BpeTrainer {
    fn default() -> Self {
        BpeTrainer {
            vocab_size: 32_000,
            min_frequency: 2,
            special_tokens: Vec::new(),
            pattern: Pattern::Llama3,
            separate: Vec::new(),
        }
    }
}

/// How far a training has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrainProgress {
    /// Words are counted.
    Counting {
        /// Bytes that were read.
        done: usize,
        /// Bytes of all texts.
        total: usize,
    },
    /// Tokens are merged.
    Merging {
        /// Merges that were made.
        done: usize,
        /// Merges that a full vocabulary has.
        total: usize,
    },
}

/// Why a vocabulary cannot be trained.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrainError {
    /// Not even bytes and special tokens fit.
    #[error(
        "a vocabulary of {vocab_size} tokens is too small: {least} are needed for the 256 bytes and the special tokens"
    )]
    TooSmall {
        /// The size that was asked for.
        vocab_size: usize,
        /// The least size there can be.
        least: usize,
    },
    /// More tokens than there can be.
    #[error("a vocabulary of {vocab_size} tokens is too large: tokens are numbers of 32 bits")]
    TooLarge {
        /// The size that was asked for.
        vocab_size: usize,
    },
    /// The name of a special token is missing, is there twice, or is that of a single byte.
    #[error("{name:?} cannot be the name of a special token: {problem}")]
    SpecialToken {
        /// The name.
        name: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Places in words are counted with 32 bits.
    #[error("the distinct words of the texts have {bytes} bytes in all, and 4 GB are the most")]
    TooMuchText {
        /// The bytes of all distinct words.
        bytes: usize,
    },
}

impl BpeTrainer {
    /// Trains on some texts. No token spans two of them.
    ///
    /// # Errors
    /// If there is no such vocabulary: see [`TrainError`].
    pub fn train<S: AsRef<str>>(&self, texts: &[S]) -> Result<BpeTokenizer, TrainError> {
        self.train_with(texts, &ThreadPool::new(1), |_| ())
    }

    /// The same with the words counted by several threads. Calls `progress` from time to time, and at the end. The result
    /// does not depend on the threads.
    ///
    /// # Errors
    /// As for [`train`](Self::train).
    pub fn train_with<S: AsRef<str>>(
        &self,
        texts: &[S],
        pool: &ThreadPool,
        mut progress: impl FnMut(TrainProgress),
    ) -> Result<BpeTokenizer, TrainError> {
        self.check()?;
        let texts: Vec<&str> = texts.iter().map(AsRef::as_ref).collect();
        let words = count_words(self.pattern, &texts, pool, &mut progress);
        let words =
            words.into_iter().flat_map(|(word, count)| self.parts(word).map(move |part| (part, count)));
        let mut training = Training::new(&self.special_tokens, words.collect())?;
        let total = self.vocab_size - training.base_size();
        let every = (total / 200).max(1);
        while training.merges.len() < total && training.merge_most_frequent(self.min_frequency) {
            if training.merges.len().is_multiple_of(every) {
                progress(TrainProgress::Merging { done: training.merges.len(), total });
            }
        }
        progress(TrainProgress::Merging { done: training.merges.len(), total });
        let spec = training.into_spec(self.pattern, &self.special_tokens);
        Ok(BpeTokenizer::from_spec(&spec).expect("what was trained is a vocabulary"))
    }

    /// What of a word can be merged: the parts between the bytes that stay alone.
    fn parts<'a>(&self, word: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        word.split(|byte| self.separate.contains(byte)).filter(|part| !part.is_empty())
    }

    fn check(&self) -> Result<(), TrainError> {
        let BpeTrainer { vocab_size, ref special_tokens, .. } = *self;
        let least = special_tokens.len() + 256;
        if vocab_size < least {
            return Err(TrainError::TooSmall { vocab_size, least });
        }
        if vocab_size >= TOKEN_LIMIT {
            return Err(TrainError::TooLarge { vocab_size });
        }
        for (at, name) in special_tokens.iter().enumerate() {
            let problem = if name.is_empty() {
                "it is empty"
            } else if special_tokens[..at].contains(name) {
                "it is there twice"
            } else if alphabet::to_bytes(name).is_ok_and(|bytes| bytes.len() == 1) {
                "a single byte is written like that"
            } else {
                continue;
            };
            return Err(TrainError::SpecialToken { name: name.clone(), problem });
        }
        Ok(())
    }
}

/// A pair of neighbours.
#[derive(Debug, Default)]
struct PairStats {
    /// How often it occurs in the texts.
    count: i64,
    /// Where it occurs in the row, in order. Some of the places may be out of date.
    places: Vec<u32>,
}

/// All that changes while tokens are merged.
struct Training {
    /// The bytes of each token, special ones without any.
    tokens: Vec<Box<[u8]>>,
    /// How many these are.
    lengths: Vec<u32>,
    merges: Vec<[u32; 2]>,
    /// What no merge may make: the names of special tokens that could be tokens.
    forbidden: Vec<Vec<u8>>,
    /// All words, each once.
    row: TokenRow,
    /// Which word stands at each place of the row.
    word_at: Vec<u32>,
    /// How often each word occurs in the texts.
    word_counts: Vec<u64>,
    /// All pairs that occur, by their [`key`].
    pairs: FastMap<u64, PairStats>,
    /// The pairs by their count, which may be out of date. Of equal counts, the lowest pair comes out first.
    queue: BinaryHeap<(i64, Reverse<[u32; 2]>)>,
    /// Pairs that were not there before the merge that is going on.
    new_pairs: Vec<[u32; 2]>,
}

impl Training {
    /// Words of single bytes, and the pairs in them.
    fn new(special_tokens: &[String], words: Vec<(&[u8], u64)>) -> Result<Self, TrainError> {
        let places: usize = words.iter().map(|(word, _)| word.len() + 1).sum();
        if u32::try_from(places).is_err() {
            return Err(TrainError::TooMuchText { bytes: places - words.len() });
        }
        let mut tokens: Vec<Box<[u8]>> = special_tokens.iter().map(|_| Box::default()).collect();
        let mut byte_token = [0; 256];
        for byte in alphabet::in_order() {
            byte_token[usize::from(byte)] = tokens.len() as u32;
            tokens.push(Box::new([byte]));
        }
        let mut training = Training {
            lengths: tokens.iter().map(|bytes| bytes.len() as u32).collect(),
            tokens,
            merges: Vec::new(),
            forbidden: special_tokens.iter().filter_map(|name| alphabet::to_bytes(name).ok()).collect(),
            row: TokenRow::default(),
            word_at: Vec::with_capacity(places + 1),
            word_counts: Vec::with_capacity(words.len()),
            pairs: FastMap::default(),
            queue: BinaryHeap::new(),
            new_pairs: Vec::new(),
        };
        for (word, count) in words {
            let tokens = || word.iter().map(|&byte| byte_token[usize::from(byte)]);
            let start = training.row.push_word(tokens());
            training.word_at.resize(training.row.len(), training.word_counts.len() as u32);
            training.word_counts.push(count);
            for (place, (left, right)) in (start..).zip(tokens().zip(tokens().skip(1))) {
                training.add([left, right], count as i64, place);
            }
        }
        training.queue_new_pairs();
        Ok(training)
    }

    /// How many tokens there were before the first merge.
    fn base_size(&self) -> usize {
        self.tokens.len() - self.merges.len()
    }

    /// One pair more, at a place.
    fn add(&mut self, pair: [u32; 2], count: i64, place: usize) {
        let stats = match self.pairs.entry(key(pair)) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                self.new_pairs.push(pair);
                entry.insert(PairStats::default())
            }
        };
        stats.count += count;
        stats.places.push(place as u32);
    }

    /// One pair less. Its place stays in the list, and will be found out of date.
    fn remove(&mut self, pair: [u32; 2], count: i64) {
        if let Some(stats) = self.pairs.get_mut(&key(pair)) {
            stats.count -= count;
        }
    }

    fn queue_new_pairs(&mut self) {
        for pair in self.new_pairs.drain(..) {
            let count = self.pairs[&key(pair)].count;
            self.queue.push((count, Reverse(pair)));
        }
    }

    /// Merges the pair that occurs most often. Returns false if there is none that occurs often enough.
    fn merge_most_frequent(&mut self, min_frequency: u64) -> bool {
        // ANCHOR: most_frequent
        while let Some((count, Reverse(pair))) = self.queue.pop() {
            let now = self.pairs[&key(pair)].count;
            if now != count {
                self.queue.push((now, Reverse(pair)));
                continue;
            }
            if count < 1 || (count as u64) < min_frequency {
                return false;
            }
            let made = [self.bytes(pair[0]), self.bytes(pair[1])].concat();
            if !self.forbidden.contains(&made) {
                self.merge(pair, made);
                return true;
            }
        }
        false
        // ANCHOR_END: most_frequent
    }

    fn bytes(&self, token: u32) -> &[u8] {
        &self.tokens[token as usize]
    }

    /// Makes a token of a pair, wherever it stands.
    fn merge(&mut self, pair: [u32; 2], bytes: Vec<u8>) {
        let made = self.tokens.len() as u32;
        self.lengths.push(bytes.len() as u32);
        self.tokens.push(bytes.into());
        self.merges.push(pair);
        let [left, right] = pair;
        let places = self.pairs.remove(&key(pair)).unwrap_or_default().places;
        // From left to right, so that of `aaa` the first two are merged.
        for place in places {
            let place = place as usize;
            let Some(neighbours) = self.row.merge(place, pair, made, &self.lengths) else { continue };
            let count = self.word_counts[self.word_at[place] as usize] as i64;
            if let Some((start, before)) = neighbours.before {
                self.remove([before, left], count);
                self.add([before, made], count, start);
            }
            if let Some(after) = neighbours.after {
                self.remove([right, after], count);
                self.add([made, after], count, place);
            }
        }
        self.queue_new_pairs();
    }

    /// What was trained.
    fn into_spec(self, pattern: Pattern, special_tokens: &[String]) -> BpeSpec {
        let texts = self.tokens[special_tokens.len()..].iter().map(|bytes| alphabet::to_text(bytes));
        BpeSpec {
            pattern,
            tokens: special_tokens.iter().cloned().chain(texts).collect(),
            special: (0..special_tokens.len()).collect(),
            added: Vec::new(),
            merges: self.merges.iter().map(|pair| pair.map(|token| token as usize)).collect(),
            ignore_merges: false,
            normalizer: Normalizer::None,
        }
    }
}
