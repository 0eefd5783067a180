//! From text to tokens and back.

mod characters;

pub use characters::CharTokenizer;
