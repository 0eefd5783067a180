//! How a tokenizer that is made here cuts texts.

use clap::ValueEnum;
use gradus::tokenizer::{BpeTrainer, CHAT_TOKENS, Pattern};
use serde::{Deserialize, Serialize};

/// Where a text is cut before tokens are merged, and what is merged with nothing.
#[derive(clap::Args, Clone, Debug, Default, Serialize, Deserialize)]
pub struct Cut {
    /// How texts are cut before tokens are merged
    #[arg(long, value_enum, default_value_t)]
    #[serde(default)]
    pieces: Pieces,
    /// Characters, of ASCII, that are merged with no others. With " 0123456789", numbers are read digit by digit, and a word has the
    /// same tokens wherever it stands, so that it is copied more easily
    #[arg(long, value_name = "CHARACTERS", default_value = "", value_parser = ascii)]
    #[serde(default)]
    separate: String,
}

/// The rules that other programs know, but for that of Qwen.
#[derive(ValueEnum, Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
enum Pieces {
    /// Numbers are cut after three digits
    #[default]
    #[value(name = "llama3")]
    Llama3,
    /// Numbers are not cut
    #[value(name = "gpt2")]
    Gpt2,
}

impl Cut {
    /// The options that say what a model that is there already has.
    pub const OPTIONS: [&str; 2] = ["pieces", "separate"];

    /// What trains a tokenizer with the special tokens of conversations.
    pub fn trainer(&self, vocab_size: usize, min_frequency: u64) -> BpeTrainer {
        BpeTrainer {
            vocab_size,
            min_frequency,
            special_tokens: CHAT_TOKENS.map(str::to_owned).to_vec(),
            pattern: match self.pieces {
                Pieces::Llama3 => Pattern::Llama3,
                Pieces::Gpt2 => Pattern::Gpt2,
            },
            separate: self.separate.clone().into_bytes(),
        }
    }
}

/// A text of ASCII, so that each of its characters is a byte.
fn ascii(text: &str) -> Result<String, String> {
    match text.chars().find(|character| !character.is_ascii()) {
        None => Ok(text.to_owned()),
        Some(other) => {
            Err(format!("{other:?} is more than one byte: only characters of ASCII can be set apart"))
        }
    }
}
