//! What can be wrong with a file of sentence pairs.

use std::path::Path;

use super::Side;
use crate::data::{DataError, quoted};
use crate::tokenizer::UnknownText;

/// Why there are no pairs, or no tokens of them. Every message names the file, the line if one is at fault, and the cure.
#[derive(Debug, thiserror::Error)]
pub enum PairsError {
    /// The file is no text, or cannot be read.
    #[error(transparent)]
    Text(#[from] DataError),
    /// A line without a tab.
    #[error(
        "line {line} of {name} has no tab: {text:?}. Each line has to be a sentence, a tab, and its translation: \
         delete this line, or put a tab in it"
    )]
    OneColumn {
        /// The file, or a name for the text.
        name: String,
        /// The line, from 1.
        line: usize,
        /// Its beginning.
        text: String,
    },
    /// A line with more or fewer columns than the first.
    #[error(
        "line {line} of {name} has {have} columns, and line {first_line} has {expected}. If the pair is in the first two \
         columns of every line, this keeps only those: cut -f 1,2 {} > new.txt. Otherwise correct the line",
        quoted(Path::new(name))
    )]
    Columns {
        /// The file, or a name for the text.
        name: String,
        /// The first line that differs, from 1.
        line: usize,
        /// How many columns it has.
        have: usize,
        /// The first line with a pair, from 1.
        first_line: usize,
        /// How many columns that one has.
        expected: usize,
    },
    /// A sentence without a character.
    #[error(
        "line {line} of {name} has nothing in column {column}: write the sentence there, or delete the line"
    )]
    EmptyCell {
        /// The file, or a name for the text.
        name: String,
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
    },
    /// No pair at all.
    #[error("{name} holds no pairs: each line has to be a sentence, a tab, and its translation")]
    Empty {
        /// The file, or a name for the text.
        name: String,
    },
    /// Nothing to train on.
    #[error(
        "all of the {pairs} pairs of {name} are held out, and none is left to train on: use more pairs, of different \
         sentences. About one sentence in ten is held out"
    )]
    AllHeldOut {
        /// The file, or a name for the text.
        name: String,
        /// How many pairs it has.
        pairs: usize,
    },
    /// Nothing to judge a translator by.
    #[error(
        "none of the {pairs} pairs of {name} is held out, and a translator is judged by those: use more pairs, of \
         different sentences. About one sentence in ten is held out"
    )]
    NothingHeldOut {
        /// The file, or a name for the text.
        name: String,
        /// How many pairs it has.
        pairs: usize,
    },
    /// A sentence that the tokenizer has no tokens for.
    #[error(
        "the {side} in line {line} of {name} cannot be cut into tokens: {unknown}. \
         Delete the line, or use byte-level BPE, which has tokens for every text"
    )]
    Unknown {
        /// The file, or a name for the text.
        name: String,
        /// The line, from 1.
        line: usize,
        /// Which of the two sentences.
        side: Side,
        /// What is unknown in it.
        unknown: UnknownText,
    },
    /// Not one pair that is short enough.
    #[error(
        "no pair of {name} fits into a context of {limit}: the shortest needs {least}. Use a larger --context"
    )]
    TooLong {
        /// The file, or a name for the text.
        name: String,
        /// The context, in tokens.
        limit: usize,
        /// What the shortest pair needs.
        least: usize,
    },
}
