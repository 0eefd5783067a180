//! A trained model on disk: one safetensors file that holds the weights under their names, and beside them, in the
//! file's metadata, the configuration and the vocabulary as JSON.
//!
//! One file, because one file can be replaced in one instant: it is written beside the old one, synced, renamed over
//! it, and the folder is synced. Whoever reads it finds the old model or the new one, whenever the power went.

mod file;

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use file::{Entry, TensorFile, read, write, write_atomically};

use crate::model::{ConfigError, Decoder, DecoderConfig, Model};
use crate::real::Real;
use crate::tokenizer::CharTokenizer;

/// The file's name in a checkpoint's folder.
pub const FILE: &str = "model.safetensors";

/// A model with its weights and what its tokens mean.
#[derive(Clone, Debug)]
pub struct Checkpoint<R> {
    /// The model.
    pub model: Decoder,
    /// Its weights, in the order of its layout.
    pub params: Vec<R>,
    /// Its vocabulary.
    pub tokenizer: CharTokenizer,
}

/// All of a checkpoint but the numbers.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    config: DecoderConfig,
    characters: String,
}

/// Why a checkpoint could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The system refused.
    #[error("{} cannot be {doing}", path.display())]
    Io {
        /// What was to be done.
        doing: &'static str,
        /// To which file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is not what it should be.
    #[error("{} is damaged or no checkpoint of gradus: {problem}. Train it again, or take a copy that is whole", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
}

impl<R: Real> Checkpoint<R> {
    /// Writes the checkpoint into a folder, which is made if it does not exist. A checkpoint that was there before is
    /// replaced in one instant, or stays whole if anything fails.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn save(&self, folder: &Path) -> Result<(), CheckpointError> {
        let description = Description {
            config: self.model.config().clone(),
            characters: self.tokenizer.chars().iter().collect(),
        };
        let entries: Vec<Entry<'_, R>> = self
            .model
            .layout()
            .specs()
            .iter()
            .map(|window| (window.name.as_str(), [window.rows, window.cols], &self.params[window.range()]))
            .collect();
        write(&folder.join(FILE), &description, &entries)
    }

    /// Reads the checkpoint in a folder.
    ///
    /// # Errors
    /// If it is not there, or is not whole: every name, shape and number is checked before a model is made.
    pub fn load(folder: &Path) -> Result<Self, CheckpointError> {
        read(&folder.join(FILE), |bytes| {
            let contents = TensorFile::<Description>::parse(bytes)?;
            let Description { config, characters } = &contents.description;
            let tokenizer = CharTokenizer::of(characters.chars());
            if !tokenizer.chars().iter().copied().eq(characters.chars()) {
                return Err("its characters are not in order".to_owned());
            }
            if tokenizer.vocab_size() != config.vocab_size {
                return Err(format!(
                    "it has {} characters and a mark, but a vocabulary of {}",
                    tokenizer.chars().len(),
                    config.vocab_size
                ));
            }
            if config.n_layer > contents.len() {
                return Err(format!(
                    "it has {} layers, but only {} matrices",
                    config.n_layer,
                    contents.len()
                ));
            }
            let model = Decoder::new(config.clone()).map_err(|ConfigError(problem)| problem)?;
            let windows = model.layout().specs();
            if contents.len() != windows.len() {
                return Err(format!(
                    "it holds {} matrices where the model has {}",
                    contents.len(),
                    windows.len()
                ));
            }
            let mut params = Vec::new();
            for window in windows {
                contents.read(&window.name, [window.rows, window.cols], &mut params)?;
            }
            Ok(Checkpoint { model, params, tokenizer })
        })
    }
}
