//! A trained model on disk: one safetensors file with the weights under their names, and in its metadata, as JSON,
//! which model and which tokenizer they belong to.
//!
//! One file, because one file can be replaced in one instant: the new one is written beside the old one, synced, and
//! renamed over it. Whenever the power goes, a reader finds the old model or the new one.
//!
//! A file format is a file here: `safetensors.rs` is that of a checkpoint; [`llama`] and [`marian`] are the folders of language
//! models and translators that other programs can open, and [`adapter`] is that of adapters alone. [`LanguageModel`] is what
//! all formats of language models are read into. What a checkpoint consists of is neither a particular model nor a particular
//! tokenizer: see [`ModelSpec`] and [`TokenizerSpec`].

pub mod adapter;
mod atomic;
pub mod gguf;
mod hugging_face;
mod language_model;
pub mod llama;
pub mod llama2c;
mod mapped;
pub mod marian;
mod pieces_json;
mod rope_rows;
mod safetensors;
mod tokenizer_json;

use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use atomic::write_atomically;
pub use hugging_face::FolderError;
pub use language_model::{EndTokens, GenerationDefaults, LanguageModel, StoredAs};
pub use safetensors::{Entry, TensorFile, read, write};
pub use tokenizer_json::OtherTokenizer;

use crate::model::{ConfigError, ModelSpec, SavedModel};
use crate::params::Layout;
use crate::real::Real;
use crate::tokenizer::{SpecError, Tokenizer, TokenizerSpec};

/// The file's name in a checkpoint's folder.
pub const FILE: &str = "model.safetensors";

/// A model with its weights and what its tokens mean.
#[derive(Clone, Debug)]
pub struct Checkpoint<R> {
    /// Which model.
    pub model: ModelSpec,
    /// What its tokens mean.
    pub tokenizer: TokenizerSpec,
    /// Its weights, in the order of its layout.
    pub params: Vec<R>,
}

/// A checkpoint of a known family of models, ready for use.
pub struct TrainedModel<M, R> {
    /// The model.
    pub model: M,
    /// Its tokenizer.
    pub tokenizer: Box<dyn Tokenizer>,
    /// Its weights, in the order of its layout.
    pub params: Vec<R>,
}

/// All of a checkpoint but the numbers.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    model: ModelSpec,
    tokenizer: TokenizerSpec,
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
    #[error("{} is damaged or no checkpoint of gradus: {}. Train it again, or take a copy that is whole", path.display(), shortened(problem))]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A number to be written is NaN or infinite. Nothing was written.
    #[error("{} was not written: {name} has a number that is {number}, and what was there before stays", path.display())]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// The matrix.
        name: String,
        /// The number.
        number: f64,
    },
    /// The file holds a model of another family.
    #[error("{} holds {found}, where {wanted} is needed", path.display())]
    OtherFamily {
        /// The file.
        path: PathBuf,
        /// What it holds.
        found: &'static str,
        /// What was asked for.
        wanted: &'static str,
    },
}

/// The beginning of a problem: what a damaged file calls a key or a tensor may fill a page.
fn shortened(problem: &str) -> Cow<'_, str> {
    const LONGEST: usize = 600;
    match problem.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &problem[..end]).into(),
        None => problem.into(),
    }
}

impl<R: Real> Checkpoint<R> {
    /// The checkpoint of a model.
    pub fn of(model: &impl SavedModel, tokenizer: &dyn Tokenizer, params: &[R]) -> Self {
        Checkpoint { model: model.spec(), tokenizer: tokenizer.spec(), params: params.to_vec() }
    }

    /// Writes the checkpoint into a folder, which is made if it does not exist. A checkpoint that was there before is
    /// replaced in one instant, or stays whole if anything fails.
    ///
    /// # Errors
    /// If the system refuses, or a weight is NaN or infinite.
    ///
    /// # Panics
    /// If there is no such model, or it has another number of weights.
    pub fn save(&self, folder: &Path) -> Result<(), CheckpointError> {
        let description = Description { model: self.model.clone(), tokenizer: self.tokenizer.clone() };
        let layout = self.model.layout().expect("a model that there is");
        assert_eq!(self.params.len(), layout.len(), "as many weights as the model has");
        let entries: Vec<Entry<'_, R>> = layout
            .specs()
            .iter()
            .map(|spec| (spec.name.as_str(), [spec.rows, spec.cols], &self.params[spec.range()]))
            .collect();
        write(&folder.join(FILE), &description, &entries)
    }

    /// Reads the checkpoint in a folder, of whichever family it is.
    ///
    /// # Errors
    /// If it is not there, or is not whole: every name, shape and number is checked.
    pub fn load(folder: &Path) -> Result<Self, CheckpointError> {
        read(&folder.join(FILE), |bytes| {
            let (file, layout) = open(bytes)?;
            let mut params = Vec::new();
            for spec in layout.specs() {
                file.read(&spec.name, [spec.rows, spec.cols], &mut params)?;
            }
            let Description { model, tokenizer } = file.description;
            Ok(Checkpoint { model, tokenizer, params })
        })
    }

    /// Reads the checkpoint in a folder and builds its model, which must be of the family `M`.
    ///
    /// # Errors
    /// As [`load`](Self::load), and if it is of another family.
    pub fn load_as<M: SavedModel>(folder: &Path) -> Result<TrainedModel<M, R>, CheckpointError> {
        let Checkpoint { model, tokenizer, params } = Self::load(folder)?;
        let path = folder.join(FILE);
        let (found, wanted) = (model.family(), M::FAMILY);
        if found != wanted {
            return Err(CheckpointError::OtherFamily { path, found, wanted });
        }
        let damaged = |problem| CheckpointError::Damaged { path, problem };
        let built = tokenizer.build().map_err(|SpecError(problem)| problem);
        let built = built.and_then(|tokenizer| {
            let model = M::from_spec(model).map_err(|ConfigError(problem)| problem)?;
            Ok(TrainedModel { model, tokenizer, params })
        });
        built.map_err(damaged)
    }
}

/// Parses a checkpoint's file and checks that its parts fit together.
fn open(bytes: &[u8]) -> Result<(TensorFile<'_, Description>, Layout), String> {
    let file = TensorFile::<Description>::parse(bytes)?;
    let Description { model, tokenizer } = &file.description;
    let known = tokenizer.build().map_err(|SpecError(problem)| problem)?.vocab_size();
    if known != model.vocab_size() {
        return Err(format!(
            "its tokenizer has {known} tokens, but its model a vocabulary of {}",
            model.vocab_size()
        ));
    }
    // Before a layout of this size is built.
    if model.least_matrices() > file.len() {
        return Err(format!(
            "it holds {} matrices where the model has at least {}",
            file.len(),
            model.least_matrices()
        ));
    }
    let layout = model.layout().map_err(|ConfigError(problem)| problem)?;
    if file.len() != layout.specs().len() {
        return Err(format!("it holds {} matrices where the model has {}", file.len(), layout.specs().len()));
    }
    Ok((file, layout))
}
