//! Names: one short document on each line.

use std::ops::Range;
use std::path::Path;

use super::{Batch, DataError, read_text};
use crate::random::Random;
use crate::tokenizer::{CharTokenizer, Tokenizer};

/// Documents of one line each, with the tokenizer of their characters.
#[derive(Clone, Debug)]
pub struct Names {
    text: String,
    /// Where in the text each name stands, in the order of training.
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

    /// The names in a text: its lines, without blanks at their ends. Blank lines are skipped.
    ///
    /// # Errors
    /// If there is none.
    pub fn from_text(text: impl Into<String>) -> Result<Self, DataError> {
        let text = text.into();
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
