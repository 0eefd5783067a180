//! A trained model on disk: one safetensors file that holds the weights under their names, and beside them, in the
//! file's metadata, the configuration and the vocabulary as JSON.
//!
//! One file, because one file can be replaced in one instant: it is written beside the old one, synced, renamed over
//! it, and the folder is synced. Whoever reads it finds the old model or the new one, whenever the power went.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};

use crate::model::{ConfigError, Decoder, DecoderConfig, Model};
use crate::params::Window;
use crate::real::Real;
use crate::tokenizer::Characters;

/// The file's name in a checkpoint's folder.
pub const FILE: &str = "model.safetensors";

/// The key of the metadata under which the description stands.
const KEY: &str = "gradus";

/// A model with its weights and what its tokens mean.
#[derive(Clone, Debug)]
pub struct Checkpoint<R> {
    /// The model.
    pub model: Decoder,
    /// Its weights, in the order of its layout.
    pub weights: Vec<R>,
    /// Its vocabulary.
    pub tokenizer: Characters,
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
    #[error("{} cannot be {doing}: {source}", path.display())]
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
        let description = serde_json::to_string(&description).expect("a description is plain JSON");
        let numbers = to_bytes(&self.weights);
        let size = size_of::<R>();
        let views = self.model.layout().windows().iter().map(|window| {
            let bytes = &numbers[window.range().start * size..window.range().end * size];
            let view = TensorView::new(dtype::<R>(), vec![window.rows, window.cols], bytes);
            (window.name.as_str(), view.expect("the window's range has its shape's size"))
        });
        let metadata = HashMap::from([(KEY.to_owned(), description)]);
        let bytes = safetensors::serialize(views, Some(metadata)).expect("windows have distinct names");
        write_atomically(&folder.join(FILE), &bytes)
    }

    /// Reads the checkpoint in a folder.
    ///
    /// # Errors
    /// If it is not there, or is not whole: every name, shape and number is checked before a model is made.
    pub fn load(folder: &Path) -> Result<Self, CheckpointError> {
        let path = folder.join(FILE);
        let bytes = fs::read(&path).map_err(|source| CheckpointError::Io {
            doing: "read",
            path: path.clone(),
            source,
        })?;
        Self::from_bytes(&bytes).map_err(|problem| CheckpointError::Damaged { path, problem })
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(|error| error.to_string())?;
        let text = header.metadata().as_ref().and_then(|metadata| metadata.get(KEY));
        let text = text.ok_or("its metadata does not describe a model of gradus")?;
        let Description { config, characters } =
            serde_json::from_str(text).map_err(|error| format!("its description does not parse: {error}"))?;
        let tokenizer = Characters::of(characters.chars());
        if tokenizer.vocab_size() != config.vocab_size {
            return Err(format!(
                "it has {} characters and a mark, but a vocabulary of {}",
                tokenizer.chars().len(),
                config.vocab_size
            ));
        }
        let tensors = SafeTensors::deserialize(bytes).map_err(|error| error.to_string())?;
        if config.n_layer > tensors.len() {
            return Err(format!("it has {} layers, but only {} matrices", config.n_layer, tensors.len()));
        }
        let model = Decoder::new(config).map_err(|ConfigError(problem)| problem)?;
        let windows = model.layout().windows();
        if tensors.len() != windows.len() {
            return Err(format!("it holds {} matrices where the model has {}", tensors.len(), windows.len()));
        }
        let mut weights = Vec::new();
        for window in windows {
            read_window(&tensors, window, &mut weights)?;
        }
        Ok(Checkpoint { model, weights, tokenizer })
    }
}

/// Reads one matrix, whose shape and numbers must be right.
fn read_window<R: Real>(tensors: &SafeTensors, window: &Window, weights: &mut Vec<R>) -> Result<(), String> {
    let name = &window.name;
    let view = tensors.tensor(name).map_err(|_| format!("{name} is missing"))?;
    if view.shape() != [window.rows, window.cols] {
        return Err(format!("{name} is {:?} instead of [{}, {}]", view.shape(), window.rows, window.cols));
    }
    match view.dtype() {
        Dtype::F64 => weights.extend(numbers(view.data(), f64::from_le_bytes).map(R::from_f64)),
        Dtype::F32 => {
            weights.extend(numbers(view.data(), |b| f64::from(f32::from_le_bytes(b))).map(R::from_f64))
        }
        other => return Err(format!("{name} holds {other} numbers, not F32 or F64")),
    }
    match weights[window.range()].iter().position(|w| !w.to_f64().is_finite()) {
        Some(at) => Err(format!("{name} holds {} at place {at}", weights[window.range().start + at])),
        None => Ok(()),
    }
}

fn numbers<const N: usize>(bytes: &[u8], read: impl Fn([u8; N]) -> f64) -> impl Iterator<Item = f64> {
    bytes.as_chunks::<N>().0.iter().map(move |&bytes| read(bytes))
}

fn dtype<R: Real>() -> Dtype {
    if size_of::<R>() == 8 { Dtype::F64 } else { Dtype::F32 }
}

fn to_bytes<R: Real>(weights: &[R]) -> Vec<u8> {
    let wide = size_of::<R>() == 8;
    let mut bytes = Vec::with_capacity(size_of_val(weights));
    for w in weights {
        if wide {
            bytes.extend(w.to_f64().to_le_bytes());
        } else {
            bytes.extend((w.to_f64() as f32).to_le_bytes());
        }
    }
    bytes
}

/// Replaces a file, or writes a new one, so that it is never half written: beside it, synced, renamed, and then the
/// folder synced.
///
/// # Errors
/// If the system refuses; then what was there before is there still.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), CheckpointError> {
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let fail = |doing, path: &Path| {
        let path = path.to_owned();
        move |source| CheckpointError::Io { doing, path, source }
    };
    fs::create_dir_all(folder).map_err(fail("made", folder))?;
    let mut beside = tempfile::NamedTempFile::new_in(folder).map_err(fail("written to", folder))?;
    beside.write_all(bytes).map_err(fail("written", path))?;
    beside.as_file().sync_all().map_err(fail("synced", path))?;
    beside.persist(path).map_err(|error| fail("replaced", path)(error.error))?;
    // On systems where a folder cannot be opened, the rename itself has to do.
    if let Ok(folder) = File::open(folder) {
        folder.sync_all().ok();
    }
    Ok(())
}
