//! Byte-level BPE: tokens are strings of bytes that occur often.
//!
//! Byte pair encoding begins with the 256 single bytes. Training ([`BpeTrainer`]) counts which two tokens most often stand
//! side by side, makes a token of the two, and repeats that until the vocabulary is large enough. Encoding merges the same
//! pairs in the same order. Every text, and every other string of bytes, can be encoded, since single bytes remain
//! tokens; and decoding gives exactly the bytes that went in. (Gage, "A New Algorithm for Data Compression", 1994; Sennrich,
//! Haddow and Birch, "Neural Machine Translation of Rare Words with Subword Units", 2016; on bytes: Radford et al., "Language
//! Models are Unsupervised Multitask Learners", 2019.)
//!
//! `scanner.rs` cuts a text into pieces, which tokens never cross; `encode.rs` merges the bytes of a piece; `vocab.rs` has the
//! tokens and checks them; `train.rs` finds them. The tokens are the same as those of Hugging Face's `tokenizers`, and so
//! are the vocabularies that it trains on the same texts.

pub(super) mod added;
pub(crate) mod alphabet;
mod cache;
mod count;
mod encode;
pub(super) mod hash;
mod normalizer;
mod row;
mod scanner;
mod train;
mod vocab;

use std::fmt;
use std::sync::{Mutex, PoisonError};

pub use normalizer::Normalizer;
pub use scanner::Pattern;
pub use train::{BpeTrainer, TrainError, TrainProgress};
pub use vocab::BpeSpec;

use added::Stretch;
use encode::Scratch;
use vocab::{Token, Vocabulary};

use super::{SpecError, Tokenizer, TokenizerSpec, UnknownText};

/// A byte-level BPE tokenizer.
///
/// ```
/// use gradus::tokenizer::{BpeTrainer, Tokenizer};
/// let trainer = BpeTrainer { vocab_size: 1 + 256 + 3, special_tokens: vec!["<s>".to_owned()], ..BpeTrainer::default() };
/// let tokenizer = trainer.train(&["low lower lowest"])?;
/// let tokens = tokenizer.encode("slow <s>")?;
/// let parts: Vec<String> = tokens.iter().map(|&token| tokenizer.decode(&[token])).collect();
/// assert_eq!(parts, ["s", "low", " ", "<", "s", ">"]);
/// assert_eq!(tokenizer.special("<s>"), Some(0));
/// assert!(!tokens.contains(&0)); // no text becomes a special token
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct BpeTokenizer {
    normalizer: Normalizer,
    pattern: Pattern,
    vocabulary: Vocabulary,
    /// What calls of `encode` that are finished have left for those to come: one for each that ran at the same time.
    scratch: Mutex<Vec<Scratch>>,
}

impl BpeTokenizer {
    /// The tokenizer that a spec describes.
    ///
    /// # Errors
    /// If there is no such tokenizer: says which token or which merge is wrong.
    pub fn from_spec(spec: &BpeSpec) -> Result<Self, SpecError> {
        let vocabulary = Vocabulary::new(spec)?;
        let BpeSpec { normalizer, pattern, .. } = *spec;
        Ok(BpeTokenizer { normalizer, pattern, vocabulary, scratch: Mutex::default() })
    }

    /// How it cuts a text before it merges bytes.
    pub fn pattern(&self) -> Pattern {
        self.pattern
    }

    /// The tokens of any bytes, none of which is special. Where they are UTF-8, they are those of the text. Bytes that are
    /// not, as [`utf8_chunks`](slice::utf8_chunks) finds them, are pieces of their own.
    pub fn encode_bytes(&self, bytes: &[u8]) -> Vec<usize> {
        let mut scratch = self.lock().pop().unwrap_or_default();
        let mut tokens = Vec::with_capacity(bytes.len() / 4);
        for chunk in bytes.utf8_chunks() {
            for stretch in self.vocabulary.added.stretches(chunk.valid()) {
                match stretch {
                    Stretch::Text(text) => {
                        for piece in self.pattern.pieces(&self.normalizer.apply(text)) {
                            self.vocabulary.encode_piece(piece.as_bytes(), &mut scratch, &mut tokens);
                        }
                    }
                    Stretch::Added(token) => tokens.push(token as usize),
                }
            }
            if !chunk.invalid().is_empty() {
                self.vocabulary.encode_piece(chunk.invalid(), &mut scratch, &mut tokens);
            }
        }
        self.lock().push(scratch);
        tokens
    }

    /// Whether merging the bytes of each token leads to that token, so that it makes no difference if a piece that is a token
    /// becomes it without merges.
    pub(crate) fn merges_make_all(&self) -> bool {
        let mut scratch = self.lock().pop().unwrap_or_default();
        let mut made = Vec::new();
        let all = self.vocabulary.tokens.iter().enumerate().all(|(id, token)| {
            let Token::Bytes(bytes) = token else { return true };
            made.clear();
            self.vocabulary.encode_piece(bytes, &mut scratch, &mut made);
            made == [id]
        });
        self.lock().push(scratch);
        all
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Scratch>> {
        // Nothing is half done while the lock is held, whatever another thread panicked of.
        self.scratch.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tokenizer for BpeTokenizer {
    fn vocab_size(&self) -> usize {
        self.vocabulary.tokens.len()
    }

    fn encode(&self, text: &str) -> Result<Vec<usize>, UnknownText> {
        Ok(self.encode_bytes(text.as_bytes()))
    }

    fn push_bytes(&self, token: usize, bytes: &mut Vec<u8>) {
        match self.vocabulary.tokens.get(token) {
            Some(Token::Bytes(of_token)) => bytes.extend_from_slice(of_token),
            Some(Token::Added(text)) => bytes.extend_from_slice(text.as_bytes()),
            Some(Token::Special(_)) | None => {}
        }
    }

    fn special(&self, name: &str) -> Option<usize> {
        self.vocabulary.special.get(name).map(|&token| token as usize)
    }

    fn spec(&self) -> TokenizerSpec {
        TokenizerSpec::Bpe(self.vocabulary.spec(self.normalizer, self.pattern))
    }
}

impl Clone for BpeTokenizer {
    fn clone(&self) -> Self {
        let BpeTokenizer { normalizer, pattern, ref vocabulary, .. } = *self;
        BpeTokenizer { normalizer, pattern, vocabulary: vocabulary.clone(), scratch: Mutex::default() }
    }
}

/// What it is, without a hundred thousand tokens.
impl fmt::Debug for BpeTokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BpeTokenizer")
            .field("pattern", &self.pattern)
            .field("tokens", &self.vocabulary.tokens.len())
            .field("special", &self.vocabulary.special.len())
            .field("merges", &self.vocabulary.merges.len())
            .finish()
    }
}
