//! Dialogues, or any other text: a stream of characters to train on, and another to validate with.

use std::path::Path;

use super::{Batch, DataError, read_text};
use crate::random::Random;
use crate::tokenizer::Characters;

/// One in so many paragraphs is kept for validation.
const VALIDATION: u64 = 10;

/// Text cut into training and validation by paragraph. A paragraph, that is lines up to an empty one, is a dialogue in
/// files of dialogues.
#[derive(Clone, Debug)]
pub struct Dialogs {
    tokenizer: Characters,
    train: Vec<u32>,
    validation: Vec<u32>,
    paragraphs: [usize; 2],
}

impl Dialogs {
    /// The text in a file.
    ///
    /// # Errors
    /// If it cannot be read as UTF-8, or is too short for sequences of `block_size`.
    pub fn read(path: &Path, block_size: usize) -> Result<Self, DataError> {
        Self::from_text(&path.display().to_string(), &read_text(path)?, block_size)
    }

    /// The paragraphs of a text. Which of the two parts one belongs to depends on nothing but its words, so that one which
    /// occurs twice is not in both.
    ///
    /// # Errors
    /// If one of the parts is shorter than a sequence of `block_size` characters and its target.
    pub fn from_text(name: &str, text: &str, block_size: usize) -> Result<Self, DataError> {
        let text = text.replace('\r', "");
        let paragraphs: Vec<&str> =
            text.split("\n\n").map(|p| p.trim_matches('\n')).filter(|p| !p.trim().is_empty()).collect();
        // A text without paragraphs is cut at a line, nine tenths of the way.
        let tail = if paragraphs.len() < 2 * VALIDATION as usize { Some(cut(&text)) } else { None };
        let tokenizer = Characters::of(text.chars());
        let mut parts = [Vec::new(), Vec::new()];
        let mut counts = [0, 0];
        let mut add = |part: usize, text: &str| {
            let tokens = text.chars().filter_map(|c| tokenizer.encode(c));
            parts[part].extend(tokens.map(|token| token as u32));
        };
        match tail {
            Some((head, tail)) => {
                add(0, head);
                add(1, tail);
                counts = [1, 1];
            }
            None => {
                for paragraph in paragraphs {
                    let part = usize::from(fingerprint(paragraph).is_multiple_of(VALIDATION));
                    add(part, paragraph);
                    add(part, "\n\n");
                    counts[part] += 1;
                }
            }
        }
        let [train, validation] = parts;
        if train.len().min(validation.len()) <= block_size {
            let (have, need) = (train.len() + validation.len(), (block_size + 1) * VALIDATION as usize);
            return Err(DataError::TooShort { name: name.to_owned(), have, need });
        }
        Ok(Dialogs { tokenizer, train, validation, paragraphs: counts })
    }

    /// The tokenizer of all characters.
    pub fn tokenizer(&self) -> &Characters {
        &self.tokenizer
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
    pub fn fill(&self, batch: &mut Batch, random: &mut Random, size: usize, block_size: usize) {
        batch.clear();
        for _ in 0..size {
            let start = random.below(self.train.len() - block_size);
            batch.push(self.train[start..=start + block_size].iter().map(|&token| token as usize));
        }
    }

    /// Batches of stretches of the validation text, side by side; if that would be more than `most`, so many of them,
    /// evenly spread.
    pub fn validation(&self, most: usize, size: usize, block_size: usize) -> Vec<Batch> {
        let all = (self.validation.len() - 1) / block_size;
        let count = all.min(most).max(1);
        let starts: Vec<usize> = (0..count).map(|at| at * all / count * block_size).collect();
        let fill = |starts: &[usize]| {
            let mut batch = Batch::new();
            for &start in starts {
                batch.push(self.validation[start..=start + block_size].iter().map(|&token| token as usize));
            }
            batch
        };
        starts.chunks(size).map(fill).collect()
    }
}

/// Cuts a text at a line's end about nine tenths of the way.
fn cut(text: &str) -> (&str, &str) {
    let mut at = text.len() - text.len() / VALIDATION as usize;
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
