//! A tokenizer as it is written to disk.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{BpeSpec, BpeTokenizer, CharTokenizer, Pattern, PieceSpec, PieceTokenizer, Tokenizer};

/// Which tokenizer: all that is needed to build it, a variant for each kind. In JSON the field `type` tells them
/// apart: `{"type": "characters", "characters": "abc"}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum TokenizerSpec {
    /// A [`CharTokenizer`].
    Characters {
        /// Its characters, each once and in order.
        characters: String,
    },
    /// A [`BpeTokenizer`].
    Bpe(BpeSpec),
    /// A [`PieceTokenizer`].
    Pieces(PieceSpec),
}

/// In words, for messages.
impl fmt::Display for TokenizerSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TokenizerSpec::Characters { characters } => {
                write!(f, "the {} characters {characters:?}", characters.chars().count())
            }
            TokenizerSpec::Bpe(BpeSpec { pattern, tokens, special, .. }) => {
                let pattern = match pattern {
                    Pattern::Gpt2 => "GPT-2",
                    Pattern::Llama3 => "Llama 3",
                    Pattern::Qwen2 => "Qwen 2",
                };
                let (tokens, special) = (tokens.len(), special.len());
                write!(
                    f,
                    "{tokens} tokens of byte-level BPE, {special} of them special, in the pieces of {pattern}"
                )
            }
            TokenizerSpec::Pieces(PieceSpec { pieces, .. }) => {
                let special = pieces.iter().filter(|piece| piece.kind.is_special()).count();
                write!(f, "{} pieces with scores, {special} of them special", pieces.len())
            }
        }
    }
}

/// A spec that no tokenizer has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SpecError(pub(crate) String);

impl TokenizerSpec {
    /// How many tokens it has.
    pub fn token_count(&self) -> usize {
        match self {
            TokenizerSpec::Characters { characters } => characters.chars().count() + 1,
            TokenizerSpec::Bpe(spec) => spec.tokens.len(),
            TokenizerSpec::Pieces(spec) => spec.pieces.len(),
        }
    }

    /// The text of a token as it is written in the spec; of a special token, its name. A character has none there.
    pub fn token_text(&self, token: usize) -> Option<&str> {
        match self {
            TokenizerSpec::Characters { characters } => {
                (token == characters.chars().count()).then_some(CharTokenizer::BOS)
            }
            TokenizerSpec::Bpe(spec) => spec.tokens.get(token).map(String::as_str),
            TokenizerSpec::Pieces(spec) => spec.pieces.get(token).map(|piece| piece.text.as_str()),
        }
    }

    /// The special token of a name.
    pub fn special(&self, name: &str) -> Option<usize> {
        let named = |token: &usize| self.token_text(*token) == Some(name);
        match self {
            TokenizerSpec::Characters { characters } => Some(characters.chars().count()).filter(named),
            TokenizerSpec::Bpe(spec) => spec.special.iter().copied().find(named),
            TokenizerSpec::Pieces(spec) => {
                (0..spec.pieces.len()).find(|token| spec.pieces[*token].kind.is_special() && named(token))
            }
        }
    }

    /// A tokenizer with exactly these characters, for data that is cut into characters.
    ///
    /// # Errors
    /// If it is a tokenizer of another kind.
    pub fn characters(&self) -> Result<CharTokenizer, SpecError> {
        match self {
            TokenizerSpec::Characters { characters } => Ok(CharTokenizer::of(characters.chars())),
            TokenizerSpec::Bpe(_) | TokenizerSpec::Pieces(_) => Err(SpecError(format!(
                "its text is cut into {self}, where a model of single characters is needed"
            ))),
        }
    }

    /// The tokenizer.
    ///
    /// # Errors
    /// If there is no such tokenizer: says what is wrong with the spec.
    pub fn build(&self) -> Result<Box<dyn Tokenizer>, SpecError> {
        match self {
            TokenizerSpec::Characters { characters } => {
                let tokenizer = CharTokenizer::of(characters.chars());
                if !tokenizer.chars().iter().copied().eq(characters.chars()) {
                    return Err(SpecError("its characters are not in order".to_owned()));
                }
                Ok(Box::new(tokenizer))
            }
            TokenizerSpec::Bpe(spec) => Ok(Box::new(BpeTokenizer::from_spec(spec)?)),
            TokenizerSpec::Pieces(spec) => Ok(Box::new(PieceTokenizer::from_spec(spec)?)),
        }
    }
}
