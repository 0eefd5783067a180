//! A tokenizer as it is written to disk.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{CharTokenizer, Tokenizer};

/// Which tokenizer: all that is needed to build it, a variant for each kind. In JSON the field `type` tells them
/// apart: `{"type": "characters", "characters": "abc"}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum TokenizerSpec {
    /// A [`CharTokenizer`].
    Characters {
        /// Its characters, each once and in order.
        characters: String,
    },
}

/// In words, for messages.
impl fmt::Display for TokenizerSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TokenizerSpec::Characters { characters } => {
                write!(f, "the {} characters {characters:?}", characters.chars().count())
            }
        }
    }
}

/// A spec that no tokenizer has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SpecError(pub(crate) String);

impl TokenizerSpec {
    /// A tokenizer with exactly these characters, for data that is cut into characters.
    pub fn characters(&self) -> CharTokenizer {
        match self {
            TokenizerSpec::Characters { characters } => CharTokenizer::of(characters.chars()),
        }
    }

    /// The tokenizer.
    ///
    /// # Errors
    /// If there is no such tokenizer: says what is wrong with the spec.
    pub fn build(&self) -> Result<Box<dyn Tokenizer>, SpecError> {
        match self {
            TokenizerSpec::Characters { characters } => {
                let tokenizer = self.characters();
                if !tokenizer.chars().iter().copied().eq(characters.chars()) {
                    return Err(SpecError("its characters are not in order".to_owned()));
                }
                Ok(Box::new(tokenizer))
            }
        }
    }
}
