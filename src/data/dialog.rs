//! Dialogues, or any other text: a stream of characters to train on, and another to validate with.

use std::collections::HashSet;
use std::path::Path;

use super::{Batch, DataError, read_text};
use crate::random::Random;
use crate::tokenizer::{CharTokenizer, Tokenizer};

/// One in so many characters is kept for validation.
const VALIDATION: usize = 10;

/// Text cut into training and validation by paragraph. A paragraph, that is lines up to an empty one, is a dialogue in
/// files of dialogues.
#[derive(Clone, Debug)]
pub struct Dialogs {
    tokenizer: CharTokenizer,
    train: Vec<u32>,
    validation: Vec<u32>,
    paragraphs: [usize; 2],
    fingerprint: u64,
}

impl Dialogs {
    /// The text in a file.
    ///
    /// # Errors
    /// If it cannot be read as UTF-8, or is too short for sequences of `context`.
    pub fn read(path: &Path, context: usize) -> Result<Self, DataError> {
        Self::from_text(&path.display().to_string(), &read_text(path)?, context)
    }

    /// The paragraphs of a text. About a tenth of it is kept for validation: those paragraphs whose fingerprints are the
    /// smallest. So one that occurs twice is never in both parts. A text that is all
    /// one paragraph, but for a title perhaps, is cut at a line.
    ///
    /// # Errors
    /// If it is too short for sequences of `context` in both parts, or is the same paragraph again and again.
    pub fn from_text(name: &str, text: &str, context: usize) -> Result<Self, DataError> {
        let text = text.replace("\r\n", "\n");
        let paragraphs = paragraphs(&text);
        let tokenizer = CharTokenizer::of(text.chars());
        let encode = |text: &str| -> Vec<u32> {
            text.chars().filter_map(|c| tokenizer.token(c)).map(|token| token as u32).collect()
        };
        let need = (context + 1) * VALIDATION;
        if text.chars().count() < need {
            return Err(DataError::TooShort { name: name.to_owned(), have: text.chars().count(), need });
        }
        let (mut train, mut validation, mut counts) = (Vec::new(), Vec::new(), [0, 0]);
        let longest = paragraphs.iter().map(|paragraph| paragraph.len()).max().unwrap_or(0);
        if longest > text.len() - text.len() / VALIDATION {
            let (head, tail) = split_at_line(&text);
            (train, validation, counts) = (encode(head), encode(tail), [1, 1]);
        } else {
            let kept = kept(&paragraphs);
            if kept.len() == paragraphs.iter().collect::<HashSet<_>>().len() {
                return Err(DataError::Repeats { name: name.to_owned() });
            }
            for paragraph in &paragraphs {
                let part = usize::from(kept.contains(paragraph));
                let to = if part == 0 { &mut train } else { &mut validation };
                to.extend(encode(paragraph));
                to.extend(encode("\n\n"));
                counts[part] += 1;
            }
        }
        let least = train.len().min(validation.len());
        if least <= context {
            let have = train.len() + validation.len();
            return Err(DataError::TooShort {
                name: name.to_owned(),
                have,
                need: have + need - least * VALIDATION,
            });
        }
        Ok(Dialogs { tokenizer, train, validation, paragraphs: counts, fingerprint: fingerprint(&text) })
    }

    /// A number that follows from the whole text.
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// The tokenizer of all characters.
    pub fn tokenizer(&self) -> &CharTokenizer {
        &self.tokenizer
    }

    /// The number of its tokens.
    pub fn vocab_size(&self) -> usize {
        self.tokenizer.vocab_size()
    }

    /// How many characters there are to train on, and to validate with.
    pub fn sizes(&self) -> [usize; 2] {
        [self.train.len(), self.validation.len()]
    }

    /// How many paragraphs that is.
    pub fn paragraphs(&self) -> [usize; 2] {
        self.paragraphs
    }

    /// Fills a batch with `size` stretches of the training text, from anywhere.
    pub fn fill(&self, batch: &mut Batch, random: &mut Random, size: usize, context: usize) {
        batch.clear();
        for _ in 0..size {
            let start = random.below(self.train.len() - context);
            batch.push(self.train[start..=start + context].iter().map(|&token| token as usize));
        }
    }

    /// Batches of stretches of the validation text, side by side; if that would be more than `most`, so many of them,
    /// evenly spread.
    pub fn validation(&self, most: usize, size: usize, context: usize) -> Vec<Batch> {
        let all = (self.validation.len() - 1) / context;
        let count = all.min(most).max(1);
        let starts: Vec<usize> = (0..count).map(|at| at * all / count * context).collect();
        let fill = |starts: &[usize]| {
            let mut batch = Batch::new();
            for &start in starts {
                batch.push(self.validation[start..=start + context].iter().map(|&token| token as usize));
            }
            batch
        };
        starts.chunks(size).map(fill).collect()
    }
}

/// The stretches of a text between lines that are empty, or look so.
fn paragraphs(text: &str) -> Vec<&str> {
    let mut paragraphs = Vec::new();
    let (mut start, mut at) = (0, 0);
    for line in text.split_inclusive('\n').chain([""]) {
        if line.trim().is_empty() {
            if !text[start..at].is_empty() {
                paragraphs.push(text[start..at].trim_end_matches('\n'));
            }
            start = at + line.len();
        }
        at += line.len();
    }
    paragraphs
}

// ANCHOR: kept
/// The paragraphs for validation: different ones in the order of their fingerprints, until they are a tenth of all.
fn kept<'a>(paragraphs: &[&'a str]) -> HashSet<&'a str> {
    let mut different: Vec<&str> = paragraphs.iter().copied().collect::<HashSet<_>>().into_iter().collect();
    different.sort_by_key(|paragraph| (fingerprint(paragraph), *paragraph));
    let total: usize = different.iter().map(|paragraph| paragraph.len()).sum();
    let mut taken = 0;
    let needed = |paragraph: &&str| {
        let more = taken * VALIDATION < total;
        taken += paragraph.len();
        more
    };
    different.into_iter().take_while(needed).collect()
}
// ANCHOR_END: kept

/// Cuts a text at a line's end about nine tenths of the way.
fn split_at_line(text: &str) -> (&str, &str) {
    let mut at = text.len() - text.len() / VALIDATION;
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    let at = text[..at].rfind('\n').map_or(at, |line| line + 1);
    text.split_at(at)
}

/// A number that follows from all bytes of a text (FNV-1a).
fn fingerprint(text: &str) -> u64 {
    let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    text.bytes().fold(0xcbf2_9ce4_8422_2325, mix)
}
