//! Names: one short document on each line.

use std::ops::Range;
use std::path::Path;

use super::text::check_known;
use super::{Batch, DataError, LARGEST, read_text};
use crate::random::Random;
use crate::tokenizer::{CharTokenizer, Tokenizer};

/// Documents of one line each, with the tokenizer of their characters.
#[derive(Clone, Debug)]
pub struct Names {
    text: String,
    /// Where in the text each name stands, in the order of training. No text is so large that 32 bits are too few.
    names: Vec<Range<u32>>,
    tokenizer: CharTokenizer,
}

impl Names {
    /// The names in a file.
    ///
    /// # Errors
    /// If it cannot be read as UTF-8, or holds no name.
    pub fn read(path: &Path) -> Result<Self, DataError> {
        Self::from_text(read_text(path)?).map_err(|error| match error {
            DataError::Empty { .. } => DataError::Empty { name: path.display().to_string() },
            other => other,
        })
    }

    /// The names in a file, in the characters of a tokenizer that is there already: that of a model to be trained further.
    ///
    /// # Errors
    /// As for [`read`](Self::read), and if a name has a character that the tokenizer does not have.
    pub fn read_with(path: &Path, tokenizer: CharTokenizer) -> Result<Self, DataError> {
        let names = Self::read(path)?;
        let places = names.names.iter().flat_map(|name| {
            let start = name.start as usize;
            names.text[start..name.end as usize].char_indices().map(move |(at, c)| (start + at, c))
        });
        check_known(&path.display().to_string(), &names.text, places, &tokenizer)?;
        Ok(Names { tokenizer, ..names })
    }

    /// The names in a text: its lines, without blanks at their ends. Blank lines are skipped.
    ///
    /// # Errors
    /// If there is none.
    ///
    /// # Panics
    /// If the text is larger than [`LARGEST`](super::LARGEST).
    pub fn from_text(text: impl Into<String>) -> Result<Self, DataError> {
        let text = text.into();
        assert!(
            text.len() as u64 <= LARGEST,
            "Names: a text of {} bytes, and {LARGEST} are the most",
            text.len()
        );
        let place = |name: &str| {
            let start = name.as_ptr() as usize - text.as_ptr() as usize;
            start as u32..(start + name.len()) as u32
        };
        let names: Vec<_> = text.lines().map(str::trim).filter(|name| !name.is_empty()).map(place).collect();
        if names.is_empty() {
            return Err(DataError::Empty { name: "the text".to_owned() });
        }
        let chars = names.iter().flat_map(|name| text[name.start as usize..name.end as usize].chars());
        let tokenizer = CharTokenizer::of(chars);
        Ok(Names { text, names, tokenizer })
    }

    /// Shuffles the names: training takes them in the new order.
    pub fn shuffle(&mut self, random: &mut Random) {
        random.shuffle(&mut self.names);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there is none, which no constructor allows.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// All names in the order of training.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(|name| &self.text[name.start as usize..name.end as usize])
    }

    /// The tokenizer of their characters.
    pub fn tokenizer(&self) -> &CharTokenizer {
        &self.tokenizer
    }

    /// The number of its tokens.
    pub fn vocab_size(&self) -> usize {
        self.tokenizer.vocab_size()
    }

    /// How many names do not fit into `context` tokens with BOS before them, and are cut.
    pub fn count_truncated(&self, context: usize) -> usize {
        self.iter().filter(|name| name.chars().count() >= context).count()
    }

    // ANCHOR: fill
    /// Fills a batch with the next `size` names: those from number `step * size` on. Each stands between two BOS and is
    /// cut after `context` tokens. After the last name comes the first.
    pub fn fill(&self, batch: &mut Batch, step: usize, size: usize, context: usize) {
        batch.clear();
        for at in step * size..(step + 1) * size {
            let name = &self.names[at % self.names.len()];
            let name = &self.text[name.start as usize..name.end as usize];
            let bos = std::iter::once(self.tokenizer.bos());
            let tokens = name.chars().filter_map(|c| self.tokenizer.token(c));
            batch.push(bos.clone().chain(tokens).chain(bos).take(context + 1));
        }
    }
    // ANCHOR_END: fill
}
