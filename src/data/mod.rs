//! Training data: text files, sentence pairs, and batches of their tokens.

mod batch;
mod dialog;
#[cfg(feature = "fetch")]
pub mod fetch;
mod names;
mod pairs;
mod recognize;
mod text;

pub use batch::{Batch, Sequences};
pub use dialog::Dialogs;
pub use names::Names;
pub use pairs::{
    Direction, Marks, Pair, PairBatches, Pairs, PairsError, Side, Skipped, TokenPairs, clean_sentence,
};
pub use text::{DataError, LARGEST, STDIN, find, quoted, read_text};
