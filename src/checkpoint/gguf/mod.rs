//! GGUF, the file of llama.cpp and of what is built on it: one file with weights, configuration, tokenizer and chat template.
//!
//! `container.rs` and `writer.rs` are the format itself, keys and tensors; `types.rs` how numbers are stored. What the keys and
//! tensors of a Llama mean is in `config.rs`, `tensors.rs` and `tokenizer.rs`, each both ways. `modelfile.rs` writes what a
//! local runner needs beside it.
//!
//! | architecture | what it is here |
//! |---|---|
//! | `llama` | a Llama, perhaps with biases; queries and keys are stored in the interleaved layout of RoPE |
//! | `qwen2` | a Llama with biases of queries, keys and values |
//! | `qwen3` | a Llama with normalised queries and keys |

mod config;
mod container;
mod modelfile;
mod tensors;
mod tokenizer;
mod types;
mod writer;

use std::path::Path;

pub use container::{Array, GgufFile, TensorView, Value};
pub use modelfile::{export_modelfile, modelfile};
pub use types::TensorType;

use config::{Arch, Keys};
use tensors::Found;
use writer::MetadataWriter;

use super::atomic::write_atomically_with;
use super::hugging_face::{FolderError, wrong};
use super::mapped::FileBytes;
use super::{CheckpointError, GenerationDefaults, LanguageModel, adapter};
use crate::fast::StoredParams;
use crate::gemm::Dtype;

/// What helps with a file that was cut off or changed.
const TAKE_A_COPY: &str = "Take a copy that is whole, or convert the model again, to f32, f16, bf16 or q8_0";
/// What helps with a model that has no place here.
const ANOTHER_MODEL: &str = "Take another model, or make such a model possible in src/model";

/// What is wrong with a file, or with what it describes.
#[derive(Debug)]
enum Trouble {
    /// It contradicts itself, or ends too early.
    Damaged(String),
    /// It is a model that has no place here.
    Variant(String),
}

impl From<String> for Trouble {
    fn from(problem: String) -> Self {
        Trouble::Damaged(problem)
    }
}

impl Trouble {
    /// The error of a file.
    fn of(self, path: &Path) -> FolderError {
        match self {
            Trouble::Damaged(problem) => wrong(path, problem, TAKE_A_COPY),
            Trouble::Variant(problem) => wrong(path, problem, ANOTHER_MODEL),
        }
    }
}

/// Writes a file. What was there before is replaced in one instant. Matrices are stored as `kind` says, or in `f16` where their
/// rows are no whole blocks of `q8_0`; gains and biases are stored in `f32`.
///
/// # Errors
/// If it is no model of the three architectures, if it has adapters, if it has no tokenizer that the format knows or no token that ends a text, if a
/// number is not finite or too large for the type, or if the system refuses. Nothing is written then.
pub fn export(path: &Path, language_model: &LanguageModel, kind: TensorType) -> Result<(), FolderError> {
    let LanguageModel { model, params, tokens, chat_template, defaults, .. } = language_model;
    let arch = Arch::of(model.config())?;
    adapter::refuse("GGUF", model)?;
    let mut metadata = MetadataWriter::default();
    metadata.string("general.architecture", arch.name());
    metadata.string("general.type", "model");
    if let Some(name) = path.file_stem() {
        metadata.string("general.name", &name.to_string_lossy());
    }
    metadata.u32("general.file_type", kind.file_type());
    metadata.u32("general.quantization_version", 2);
    write_defaults(&mut metadata, defaults);
    config::write(&mut metadata, arch, model.config())?;
    tokenizer::write(&mut metadata, language_model)?;
    tokenizer::write_tokens(&mut metadata, tokens, model.config().vocab_size)?;
    if let Some(template) = chat_template {
        metadata.string("tokenizer.chat_template", template);
    }
    let factors = config::rotation_factors(model.config());
    let outgoing = tensors::outgoing(arch, model, params, factors.as_deref(), kind);
    for tensor in &outgoing {
        if let Some(number) = tensor.unfit() {
            let problem = format!("{} holds {number}, for which {} has no place", tensor.name, tensor.kind);
            let cure = "Nothing was written. Take another type, or train with a smaller learning rate";
            return Err(wrong(path, problem, cure));
        }
    }
    Ok(write_atomically_with(path, |to| writer::write(to, &metadata, &outgoing))?)
}

/// Reads a file. Where the system can, it is mapped into memory, so that beside the weights in `f32` nothing is held of it.
///
/// # Errors
/// If it is damaged, or describes a model that has no place here. The error names the byte, the key or the tensor.
pub fn import(path: &Path) -> Result<LanguageModel, FolderError> {
    let io = |source| CheckpointError::Io { doing: "read", path: path.to_owned(), source };
    let bytes = FileBytes::open(path).map_err(io)?;
    read(&bytes, |found| found.params()).map_err(|trouble| trouble.of(path))
}

/// Reads a file for generation alone: its weights are stored as `dtype` says, one matrix after the other, and never all of them in 32
/// bits.
///
/// # Errors
/// As [`import`].
pub fn import_stored(path: &Path, dtype: Dtype) -> Result<LanguageModel<StoredParams>, FolderError> {
    let io = |source| CheckpointError::Io { doing: "read", path: path.to_owned(), source };
    let bytes = FileBytes::open(path).map_err(io)?;
    read(&bytes, |found| found.stored(dtype)).map_err(|trouble| trouble.of(path))
}

fn read<P>(
    bytes: &FileBytes,
    take: impl FnOnce(&Found<'_>) -> Result<P, Trouble>,
) -> Result<LanguageModel<P>, Trouble> {
    let file = GgufFile::parse(bytes)?;
    let keys = Keys::of(&file)?;
    let config = config::read(&keys)?;
    let tokenizer = tokenizer::read(&keys, config.vocab_size)?;
    let tokens = tokenizer::read_tokens(&keys, config.vocab_size)?;
    let found = Found::new(&keys, config, bytes)?;
    Ok(LanguageModel {
        params: take(&found)?,
        model: found.model,
        tokenizer,
        tokens,
        chat_template: keys.string("tokenizer.chat_template")?.map(str::to_owned),
        defaults: read_defaults(&keys)?,
    })
}

/// How the model is to write, as far as the format has keys for it.
fn write_defaults(metadata: &mut MetadataWriter, defaults: &GenerationDefaults) {
    let temperature = if defaults.do_sample == Some(false) { Some(0.0) } else { defaults.temperature };
    let numbers =
        [("temp", temperature), ("top_p", defaults.top_p), ("penalty_repeat", defaults.repetition_penalty)];
    for (key, number) in numbers {
        if let Some(number) = number {
            metadata.f32(&format!("general.sampling.{key}"), number as f32);
        }
    }
    if let Some(top_k) = defaults.top_k {
        metadata.u32("general.sampling.top_k", u32::try_from(top_k).unwrap_or(u32::MAX));
    }
}

fn read_defaults(keys: &Keys<'_>) -> Result<GenerationDefaults, Trouble> {
    let temperature = keys.float("general.sampling.temp")?;
    Ok(GenerationDefaults {
        // A temperature of 0 is how llama.cpp takes the likeliest token.
        do_sample: temperature.map(|temperature| temperature > 0.0),
        temperature: temperature.filter(|temperature| *temperature > 0.0),
        top_k: keys.size("general.sampling.top_k")?,
        top_p: keys.float("general.sampling.top_p")?,
        repetition_penalty: keys.float("general.sampling.penalty_repeat")?,
        max_new_tokens: None,
    })
}
