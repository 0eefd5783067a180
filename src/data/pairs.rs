//! Sentence pairs for a translator: a sentence in one language, and the same in another.
//!
//! A file has one pair on each line, with a tab between the two sentences. Such files are at manythings.org/anki, for
//! example, made from the sentences of the Tatoeba project.
//!
//! `batches.rs` says which pairs stand in a batch, `tokens.rs` turns pairs into tokens, and `error.rs` has what can be wrong.

mod batches;
mod error;
mod tokens;

use std::collections::{HashMap, HashSet};
use std::path::Path;

use unicode_normalization::UnicodeNormalization;

pub use batches::PairBatches;
pub use error::PairsError;
pub use tokens::{Marks, Side, Skipped, TokenPairs};

use super::read_text;
use super::text::fingerprint;

/// One source sentence in ten is held out.
const HELD_OUT: u64 = 10;

/// Which column of a file is translated into which.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// The first column into the second.
    #[default]
    Forward,
    /// The second column into the first.
    Reverse,
}

/// A sentence and a translation of it, both [cleaned](clean_sentence).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The line of the file, from 1.
    pub line: usize,
    /// The sentence to translate.
    pub source: String,
    /// Its translation.
    pub target: String,
}

/// The pairs of a file: some to train on, and others held out, to judge a translator by.
///
/// Whether a pair is held out depends on its source sentence alone: the upper 32 bits of the FNV-1a hash of its bytes are
/// a multiple of 10. So all translations of a sentence are on the same side, no sentence that is held out is trained on, and a
/// sentence stays on its side when lines are added, removed or put in another order. A split line by line would not do:
/// the same short sentences come again and again, each time with another translation.
///
/// ```
/// use gradus::data::{Direction, Pairs};
/// let text = "I read.\tJe lis.\nYou read.\tTu lis.\nYou read.\tVous lisez.\n";
/// let pairs = Pairs::from_text("fra.txt", text, Direction::Forward, None)?;
/// assert_eq!(pairs.train()[0].target, "Je lis.");
/// let held_out: Vec<_> = pairs.references().collect();
/// assert_eq!(held_out, [("You read.", vec!["Tu lis.", "Vous lisez."])]);
/// # Ok::<(), gradus::data::PairsError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Pairs {
    name: String,
    train: Vec<Pair>,
    /// All translations of a sentence side by side.
    held_out: Vec<Pair>,
}

impl Pairs {
    /// The pairs in a file, all of them or the first `limit`.
    ///
    /// # Errors
    /// If it cannot be read as UTF-8, and as for [`from_text`](Self::from_text).
    pub fn read(path: &Path, direction: Direction, limit: Option<usize>) -> Result<Self, PairsError> {
        Self::from_text(&path.display().to_string(), &read_text(path)?, direction, limit)
    }

    /// The pairs in a text, all of them or the first `limit`. A pair that is there twice stays there twice. Blank lines are
    /// skipped.
    ///
    /// The first two columns count. There may be more, such as the attribution in a file for Anki, if every line has the same
    /// number of them. Where the number changes, a sentence has a tab in it or a line is broken, and nobody knows which
    /// columns are the pair.
    ///
    /// Nothing in a text says which language it is in. Where that matters, show people the first pair.
    ///
    /// # Errors
    /// If a line has a single column, or another number of columns than the first one; if a sentence is empty; if there is
    /// no pair, none to train on, or none that is held out. `name` is the name of the text in these messages.
    pub fn from_text(
        name: &str,
        text: &str,
        direction: Direction,
        limit: Option<usize>,
    ) -> Result<Self, PairsError> {
        let (mut train, mut held_out) = (Vec::new(), Vec::new());
        // Where each sentence that is held out comes first.
        let mut first_lines = HashMap::new();
        let mut columns = None;
        let lines = text.lines().zip(1..).filter(|(text, _)| !text.trim().is_empty());
        for (text, line) in lines.take(limit.unwrap_or(usize::MAX)) {
            let pair = pair(name, text, line, direction, &mut columns)?;
            if is_held_out(&pair.source) {
                first_lines.entry(pair.source.clone()).or_insert(line);
                held_out.push(pair);
            } else {
                train.push(pair);
            }
        }
        let (name, pairs) = (name.to_owned(), train.len() + held_out.len());
        match (train.is_empty(), held_out.is_empty()) {
            (true, true) => return Err(PairsError::Empty { name }),
            (true, false) => return Err(PairsError::AllHeldOut { name, pairs }),
            (false, true) => return Err(PairsError::NothingHeldOut { name, pairs }),
            (false, false) => {}
        }
        held_out.sort_by_key(|pair| first_lines[&pair.source]);
        Ok(Pairs { name, train, held_out })
    }

    /// The name of the file or text.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The pairs to train on, in the order of the text.
    pub fn train(&self) -> &[Pair] {
        &self.train
    }

    /// The pairs that are held out. All pairs of a source sentence stand side by side, at the place of the first.
    pub fn held_out(&self) -> &[Pair] {
        &self.held_out
    }

    /// The source sentences that are held out, each once, with its references: its different translations in the order of
    /// the text.
    pub fn references(&self) -> impl Iterator<Item = (&str, Vec<&str>)> {
        self.held_out.chunk_by(|a, b| a.source == b.source).map(|pairs| {
            let mut seen = HashSet::new();
            let targets = pairs.iter().map(|pair| pair.target.as_str());
            (pairs[0].source.as_str(), targets.filter(|target| seen.insert(*target)).collect())
        })
    }

    /// A number that follows from all pairs and their direction. A run that goes on with another number goes on with other
    /// data, or in the other direction.
    pub fn fingerprint(&self) -> u64 {
        let pairs = self.train.iter().chain(&self.held_out);
        fingerprint(pairs.flat_map(|pair| format!("{}\t{}\n", pair.source, pair.target).into_bytes()))
    }
}

/// The pair in a line. `columns` is the first line and the number of its columns, once there is one.
fn pair(
    name: &str,
    text: &str,
    line: usize,
    direction: Direction,
    columns: &mut Option<(usize, usize)>,
) -> Result<Pair, PairsError> {
    let name = || name.to_owned();
    let mut cells = text.split('\t');
    let (Some(first), Some(second)) = (cells.next(), cells.next()) else {
        return Err(PairsError::OneColumn {
            name: name(),
            line,
            text: text.trim().chars().take(40).collect(),
        });
    };
    let have = 2 + cells.count();
    let (first_line, expected) = *columns.get_or_insert((line, have));
    if have != expected {
        return Err(PairsError::Columns { name: name(), line, have, first_line, expected });
    }
    let cells = [first, second].map(clean_sentence);
    if let Some(empty) = cells.iter().position(String::is_empty) {
        return Err(PairsError::EmptyCell { name: name(), line, column: empty + 1 });
    }
    let [first, second] = cells;
    Ok(match direction {
        Direction::Forward => Pair { line, source: first, target: second },
        Direction::Reverse => Pair { line, source: second, target: first },
    })
}

fn is_held_out(source: &str) -> bool {
    (fingerprint(source.bytes()) >> 32).is_multiple_of(HELD_OUT)
}

/// A sentence as a translator reads and writes it, so that the same words are the same tokens. Characters are composed (NFC,
/// Unicode Standard Annex 15), curly apostrophes (U+2019) are straight, and runs of white space, no-break and thin spaces
/// among them, are one space; none is left at the ends. Clean a sentence to be translated as well.
///
/// ```
/// # use gradus::data::clean_sentence;
/// assert_eq!(clean_sentence(" Qu\u{2019}est-ce que\u{202f}c'e\u{301}tait\u{a0}?\n"), "Qu'est-ce que c'était ?");
/// ```
pub fn clean_sentence(text: &str) -> String {
    let text: String = text.nfc().map(|c| if c == '\u{2019}' { '\'' } else { c }).collect();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
