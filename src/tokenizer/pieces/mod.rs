//! Pieces with scores: the BPE of SentencePiece, which Llama 2 and its relatives have.
//!
//! It begins with characters, not with bytes. Of all neighbours whose joined text is a piece, those with the highest score are
//! merged first, of several equal ones the leftmost. A character that no piece stands for becomes its bytes, each of which is a
//! piece of its own, so that every text can be encoded. Nothing cuts the text before; instead a blank is put in front of it,
//! so that the first word is the same piece as it would be further on. (Kudo and Richardson, "SentencePiece: A simple and
//! language independent subword tokenizer and detokenizer for Neural Text Processing", 2018.)
//!
//! `vocab.rs` has the pieces and checks them, `encode.rs` merges.

mod encode;
mod vocab;

use std::fmt;

pub use vocab::{Piece, PieceKind, PieceSpec, SpacePrefix};

use vocab::Vocabulary;

use super::{SpecError, Tokenizer, TokenizerSpec, UnknownText};

/// A tokenizer of pieces with scores.
///
/// ```
/// use gradus::tokenizer::{Piece, PieceKind, PieceSpec, PieceTokenizer, SpacePrefix, Tokenizer};
/// let piece = |text: &str, score: f32, kind| Piece { text: text.to_owned(), score, kind };
/// let mut pieces = vec![piece("<s>", 0.0, PieceKind::Control)];
/// pieces.extend((0..=255).map(|byte| piece(&format!("<0x{byte:02X}>"), 0.0, PieceKind::Byte)));
/// for (at, text) in [" ", "a", "n", "an", " an", "na"].into_iter().enumerate() {
///     pieces.push(piece(text, -(at as f32), PieceKind::Normal));
/// }
/// let tokenizer = PieceTokenizer::from_spec(&PieceSpec { pieces, space_prefix: SpacePrefix::Prepend })?;
/// let tokens = tokenizer.encode("anna é")?;
/// // " an", since a blank was put before the text; "na"; a blank; and é, which is no piece, as its two bytes.
/// assert_eq!(tokens, [261, 262, 257, 1 + 0xc3, 1 + 0xa9]);
/// assert_eq!(tokenizer.decode(&tokens), "anna é");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct PieceTokenizer {
    vocabulary: Vocabulary,
}

impl PieceTokenizer {
    /// The tokenizer that a spec describes.
    ///
    /// # Errors
    /// If there is no such tokenizer: says which piece is wrong, or missing.
    pub fn from_spec(spec: &PieceSpec) -> Result<Self, SpecError> {
        Ok(PieceTokenizer { vocabulary: Vocabulary::new(spec)? })
    }

    /// All pairs of tokens that are merged, each with the token that it becomes, first those that are merged first.
    pub fn merges(&self) -> Vec<([usize; 2], usize)> {
        self.vocabulary.merges()
    }
}

impl Tokenizer for PieceTokenizer {
    fn vocab_size(&self) -> usize {
        self.vocabulary.pieces.len()
    }

    fn encode(&self, text: &str) -> Result<Vec<usize>, UnknownText> {
        let mut tokens = Vec::with_capacity(text.len() / 3);
        self.vocabulary.encode(text, true, &mut tokens);
        Ok(tokens)
    }

    fn encode_after(&self, text: &str) -> Result<Vec<usize>, UnknownText> {
        let mut tokens = Vec::with_capacity(text.len() / 3);
        self.vocabulary.encode(text, false, &mut tokens);
        Ok(tokens)
    }

    fn push_bytes(&self, token: usize, bytes: &mut Vec<u8>) {
        self.vocabulary.push_bytes(token, bytes);
    }

    fn special(&self, name: &str) -> Option<usize> {
        self.vocabulary.special.get(name).copied()
    }

    fn special_tokens(&self) -> Vec<(String, usize)> {
        let special = self.vocabulary.special.iter().map(|(name, &token)| (name.clone(), token));
        let mut special: Vec<(String, usize)> = special.collect();
        special.sort_unstable_by_key(|&(_, token)| token);
        special
    }

    fn spec(&self) -> TokenizerSpec {
        TokenizerSpec::Pieces(self.vocabulary.spec())
    }

    fn space_prefix(&self) -> bool {
        self.vocabulary.space_prefix != SpacePrefix::Never
    }
}

/// What it is, without tens of thousands of pieces.
impl fmt::Debug for PieceTokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PieceTokenizer")
            .field("pieces", &self.vocabulary.pieces.len())
            .field("special", &self.vocabulary.special.len())
            .field("space_prefix", &self.vocabulary.space_prefix)
            .finish()
    }
}
