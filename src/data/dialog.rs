//! Dialogues, or any other text: a stream of characters to train on, and another to validate with.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use super::text::{check_known, fingerprint};
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

    /// The text in a file, in the characters of a tokenizer that is there already: that of a model to be trained further.
    ///
    /// # Errors
    /// As for [`read`](Self::read), and if the text has a character that the tokenizer does not have.
    pub fn read_with(path: &Path, context: usize, tokenizer: CharTokenizer) -> Result<Self, DataError> {
        Self::with_tokenizer(&path.display().to_string(), &read_text(path)?, context, Some(tokenizer))
    }

    /// The paragraphs of a text. A tenth of its characters is kept for validation, within a hundredth of the text wherever it
    /// allows that: paragraphs in the order of their fingerprints, so that one that occurs twice is never in both parts. Where
    /// paragraphs are too large for that, one of them is cut at the end of a line, or between words if its lines are too
    /// long as well, and its end is kept.
    ///
    /// # Errors
    /// If it is too short for sequences of `context` in both parts, or is the same paragraph again and again.
    pub fn from_text(name: &str, text: &str, context: usize) -> Result<Self, DataError> {
        Self::with_tokenizer(name, text, context, None)
    }

    /// The text in a file, in its order: nine tenths to train on, and the last tenth for validation. Other people's figures
    /// for the plays of Shakespeare are measured so. There may be a tokenizer already, as for
    /// [`read_with`](Self::read_with).
    ///
    /// # Errors
    /// As for [`read_with`](Self::read_with).
    pub fn read_in_order(
        path: &Path,
        context: usize,
        tokenizer: Option<CharTokenizer>,
    ) -> Result<Self, DataError> {
        let name = path.display().to_string();
        let Prepared { text, tokenizer, length, .. } =
            Prepared::new(&name, &read_text(path)?, context, tokenizer)?;
        let tokens: Vec<u32> = text.chars().filter_map(|c| tokenizer.token(c)).map(|t| t as u32).collect();
        let (train, validation) = tokens.split_at(length - length.div_ceil(VALIDATION));
        let (train, validation) = (train.to_vec(), validation.to_vec());
        Ok(Dialogs {
            tokenizer,
            train,
            validation,
            paragraphs: [1, 1],
            fingerprint: fingerprint(text.bytes()),
        })
    }

    fn with_tokenizer(
        name: &str,
        text: &str,
        context: usize,
        tokenizer: Option<CharTokenizer>,
    ) -> Result<Self, DataError> {
        let Prepared { text, tokenizer, length, need } = Prepared::new(name, text, context, tokenizer)?;
        let paragraphs = paragraphs(&text);
        let Some(kept) = Kept::of(&paragraphs) else {
            return Err(DataError::Repeats { name: name.to_owned() });
        };
        let separator = if paragraphs.len() > 1 { "\n\n" } else { "" };
        let (mut parts, mut counts) = ([Vec::new(), Vec::new()], [0, 0]);
        for paragraph in &paragraphs {
            let (head, tail) = paragraph.split_at(kept.start(paragraph));
            for (part, piece) in [head, tail].into_iter().enumerate().filter(|(_, piece)| !piece.is_empty()) {
                let chars = piece.chars().chain(separator.chars());
                parts[part].extend(chars.filter_map(|c| tokenizer.token(c)).map(|token| token as u32));
                counts[part] += 1;
            }
        }
        let [train, validation] = parts;
        let least = train.len().min(validation.len());
        if least <= context {
            let need = length + need - least * VALIDATION;
            return Err(DataError::TooShort { name: name.to_owned(), have: length, need });
        }
        Ok(Dialogs {
            tokenizer,
            train,
            validation,
            paragraphs: counts,
            fingerprint: fingerprint(text.bytes()),
        })
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

    /// Batches of all the validation text in stretches that overlap by half of the context: of each but the first, only the
    /// second half has a weight in the loss. So every character counts once, and is predicted from at least half a context.
    pub fn overlapping(&self, size: usize, context: usize) -> Vec<Batch> {
        let last = self.validation.len() - 1;
        let half = context.div_ceil(2);
        let (mut batches, mut counted) = (Vec::new(), 0);
        while counted < last {
            let mut batch = Batch::new();
            while counted < last && batch.sequences().lengths.len() < size {
                let start = (counted + half).saturating_sub(context);
                let end = (start + context).min(last);
                let seen = batch.len() + counted - start;
                let before = batch.len();
                batch.push(self.validation[start..=end].iter().map(|&token| token as usize));
                batch.loss_weights_mut()[before..seen].fill(0.0);
                counted = end;
            }
            batches.push(batch);
        }
        batches
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

/// A text that is long enough, with plain line ends, and the tokenizer of its characters.
struct Prepared {
    text: String,
    tokenizer: CharTokenizer,
    /// How many characters it has, and how many it needs at least.
    length: usize,
    need: usize,
}

impl Prepared {
    fn new(
        name: &str,
        text: &str,
        context: usize,
        tokenizer: Option<CharTokenizer>,
    ) -> Result<Self, DataError> {
        let text = text.replace("\r\n", "\n");
        let tokenizer = match tokenizer {
            Some(tokenizer) => {
                check_known(name, &text, text.char_indices(), &tokenizer).map(|()| tokenizer)?
            }
            None => CharTokenizer::of(text.chars()),
        };
        let length = text.chars().count();
        let need = (context + 1) * VALIDATION;
        if length < need {
            return Err(DataError::TooShort { name: name.to_owned(), have: length, need });
        }
        Ok(Prepared { text, tokenizer, length, need })
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

/// What of a text is kept for validation.
struct Kept<'a> {
    paragraphs: HashSet<&'a str>,
    /// A paragraph of which only the end is kept, and the byte at which that begins.
    cut: Option<(&'a str, usize)>,
}

impl<'a> Kept<'a> {
    /// A tenth of all characters, within a hundredth of them if that can be done; `None` if all paragraphs are the same and
    /// there is no good place to cut it.
    fn of(paragraphs: &[&'a str]) -> Option<Self> {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        paragraphs.iter().for_each(|paragraph| *counts.entry(paragraph).or_default() += 1);
        let mut different: Vec<(&str, usize)> = counts.into_iter().collect();
        different.sort_by_key(|(paragraph, _)| fingerprint(paragraph.bytes()));
        let size = |&(paragraph, count): &(&str, usize)| paragraph.chars().count() * count;
        let total: usize = different.iter().map(size).sum();
        // ANCHOR: kept
        let [least, wanted, most] = [9, 10, 11].map(|percent| total * percent / 100);
        let (mut kept, mut taken) = (HashSet::new(), 0);
        for paragraph in &different {
            if taken < wanted && taken + size(paragraph) <= most {
                kept.insert(paragraph.0);
                taken += size(paragraph);
            }
        }
        // ANCHOR_END: kept
        if taken >= least && taken > 0 {
            return Some(Kept { paragraphs: kept, cut: None });
        }
        // So all that is left is too large. The best place is the end of a line, the next best one between words.
        let repeats = matches!(different[..], [(_, 2..)]);
        let places: [fn(char) -> bool; 3] = [|c| c == '\n', char::is_whitespace, |_| true];
        let allowed = if repeats { &places[..1] } else { &places[..] };
        let left: Vec<_> = different.iter().filter(|(paragraph, _)| !kept.contains(paragraph)).collect();
        let cut = allowed.iter().find_map(|place| {
            left.iter().find_map(|(paragraph, count)| {
                let [least, wanted, most] = [least, wanted, most].map(|size| (size - taken) / count);
                Some((*paragraph, nearest(paragraph, place, [least, wanted, most])?))
            })
        });
        (cut.is_some() || !repeats).then_some(Kept { paragraphs: kept, cut })
    }

    /// Where the part of a paragraph begins that is kept: at its end if nothing is.
    fn start(&self, paragraph: &str) -> usize {
        match self.cut {
            _ if self.paragraphs.contains(paragraph) => 0,
            Some((cut, start)) if cut == paragraph => start,
            _ => paragraph.len(),
        }
    }
}

/// The byte behind a character of some kind, from which on there are as nearly as possible `wanted` characters, and in any case
/// from `least` to `most` of them.
fn nearest(text: &str, kind: impl Fn(char) -> bool, [least, wanted, most]: [usize; 3]) -> Option<usize> {
    let places = text.char_indices().rev().zip(1..).take_while(|(_, count)| *count <= most);
    let fits = |((at, _), count): &((usize, char), usize)| *count >= least && text[..*at].ends_with(&kind);
    places.filter(fits).min_by_key(|(_, count)| count.abs_diff(wanted)).map(|((at, _), _)| at)
}
