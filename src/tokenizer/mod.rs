//! From text to tokens and back.
//!
//! A [`Tokenizer`] cuts text into tokens, which models see as plain numbers, and turns tokens into text again. Tokens
//! that stand for no text, such as the one before the first of a document, are *special*: they are asked for by
//! name, and no text ever encodes to them.
//!
//! [`CharTokenizer`] has one token for each character, [`BpeTokenizer`] one for each string of bytes that occurs often, and
//! [`PieceTokenizer`] one for each piece of text with a score, as the first Llamas do.
//! [`TokenizerSpec`] is what a checkpoint keeps of a tokenizer.

mod bpe;
mod characters;
mod pieces;
mod spec;
mod stream;
#[cfg(feature = "chat")]
pub mod template;

pub(crate) use bpe::alphabet;
pub use bpe::{BpeSpec, BpeTokenizer, BpeTrainer, Normalizer, Pattern, TrainError, TrainProgress};
pub use characters::CharTokenizer;
pub use pieces::{Piece, PieceKind, PieceSpec, PieceTokenizer, SpacePrefix};
pub use spec::{SpecError, TokenizerSpec};
pub use stream::TextStream;

/// The special tokens of a model that converses: first those of any text, then a pair for each who may speak.
pub const CHAT_TOKENS: [&str; 12] = [
    "<unk>",
    "<s>",
    "</s>",
    "<pad>",
    "<user>",
    "</user>",
    "<assistant>",
    "</assistant>",
    "<system>",
    "</system>",
    "<tool>",
    "</tool>",
];

/// Cuts text into tokens, and puts tokens together again.
///
/// ```
/// use gradus::tokenizer::{CharTokenizer, Tokenizer};
/// let tokenizer: &dyn Tokenizer = &CharTokenizer::of("banana".chars());
/// let tokens = tokenizer.encode("nab")?;
/// assert_eq!(tokens, [2, 0, 1]);
/// assert_eq!(tokenizer.decode(&tokens), "nab");
/// # Ok::<(), gradus::tokenizer::UnknownText>(())
/// ```
pub trait Tokenizer: Send + Sync {
    /// How many tokens there are, special ones included: tokens are the numbers below it.
    fn vocab_size(&self) -> usize;

    /// The tokens of a text, none of which is special.
    ///
    /// # Errors
    /// [`UnknownText`] if no token stands for a part of it.
    fn encode(&self, text: &str) -> Result<Vec<usize>, UnknownText>;

    /// The tokens of a text that goes on after a special token. Some tokenizers begin only the first text with a blank.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    fn encode_after(&self, text: &str) -> Result<Vec<usize>, UnknownText> {
        self.encode(text)
    }

    /// Appends the bytes that a token stands for. They are UTF-8 together with those of its neighbours, not always by
    /// themselves. A special token, or one beyond the vocabulary, stands for none.
    fn push_bytes(&self, token: usize, bytes: &mut Vec<u8>);

    /// The special token of this name, for example [`CharTokenizer::BOS`], if there is one.
    fn special(&self, name: &str) -> Option<usize>;

    /// All special tokens and their names, in the order of the tokens.
    fn special_tokens(&self) -> Vec<(String, usize)>;

    /// What a checkpoint keeps of it.
    fn spec(&self) -> TokenizerSpec;

    /// Whether encoding puts a blank before a text. The first token of a text is then shown without it.
    fn space_prefix(&self) -> bool {
        false
    }

    /// The text of some tokens. Bytes that are not UTF-8 become U+FFFD.
    fn decode(&self, tokens: &[usize]) -> String {
        let mut stream = TextStream::default();
        let mut text = String::new();
        for &token in tokens {
            text.push_str(&stream.push(self, token));
        }
        text + &stream.finish()
    }
}

/// A text that a tokenizer has no token for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{character:?}, character {position} of the text, is none of those it knows: {known}")]
pub struct UnknownText {
    /// The first character that is unknown.
    pub character: char,
    /// Which character of the text that is, from 1.
    pub position: usize,
    /// The characters that are known, without those that cannot be printed.
    pub known: String,
}
