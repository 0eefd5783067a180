//! Training data: text files, and batches of their tokens.

mod batch;
mod dialog;
#[cfg(feature = "fetch")]
pub mod fetch;
mod names;
mod recognize;
mod text;

pub use batch::{Batch, Sequences};
pub use dialog::Dialogs;
pub use names::Names;
pub use text::{DataError, LARGEST, STDIN, find, quoted, read_text};
