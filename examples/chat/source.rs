//! What a folder or a file holds, and how it is read.

use std::fmt;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};
use gradus::checkpoint::adapter::{self, Adapter};
use gradus::checkpoint::{self, LanguageModel, gguf, llama, llama2c};
use gradus::fast::StoredParams;
use gradus::gemm::Dtype;
use gradus::model::Decoder;
use serde_json::Value;

use crate::folder;

/// The formats that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A folder of Hugging Face's: `config.json`, weights as safetensors, `tokenizer.json`.
    HuggingFace,
    /// A single file for llama.cpp and its kin.
    Gguf,
    /// A checkpoint of llama2.c, with its tokenizer beside it.
    Llama2c,
    /// A folder of this project.
    Gradus,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Format::HuggingFace => "a folder of Hugging Face's",
            Format::Gguf => "a GGUF file",
            Format::Llama2c => "a checkpoint of llama2.c",
            Format::Gradus => "a checkpoint of gradus",
        })
    }
}

/// What is known of a place before its weights are read.
#[derive(Clone, Debug)]
pub struct Source {
    /// The folder or file.
    pub path: PathBuf,
    pub format: Format,
    /// The file of the tokenizer of llama2.c, if it has another name than usual.
    tokenizer: Option<PathBuf>,
    /// A folder of peft that is added to the weights.
    adapter: Option<PathBuf>,
}

impl Source {
    /// Finds out by its content what a path leads to. A file of a folder stands for the folder.
    ///
    /// # Errors
    /// If it leads to nothing, or to nothing that is known here.
    pub fn at(path: &Path, tokenizer: Option<&Path>) -> Result<Self> {
        let source = |path: &Path, format| Source {
            path: path.to_owned(),
            format,
            tokenizer: tokenizer.map(Path::to_owned),
            adapter: None,
        };
        let meta = fs::metadata(path).with_context(|| format!("{} cannot be read", path.display()))?;
        if meta.is_dir() {
            return Ok(source(path, folder_format(path)?));
        }
        let mut start = Vec::new();
        let opened = File::open(path).and_then(|file| file.take(28).read_to_end(&mut start));
        opened.with_context(|| format!("{} cannot be read", path.display()))?;
        if start.starts_with(b"GGUF") {
            return Ok(source(path, Format::Gguf));
        }
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.ends_with(".safetensors") || name.ends_with(".json") {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            let folder = folder.unwrap_or(Path::new("."));
            return Ok(source(folder, folder_format(folder)?));
        }
        if looks_like_llama2c(&start, meta.len()) {
            return Ok(source(path, Format::Llama2c));
        }
        bail!(
            "{} is no model that is known here: it begins neither as a GGUF nor as a checkpoint of llama2.c. {KNOWN}",
            path.display()
        )
    }

    /// The same with an adapter, or without.
    pub fn with_adapter(self, adapter: Option<&Path>) -> Self {
        Source { adapter: adapter.map(Path::to_owned), ..self }
    }

    /// Reads all of it, an adapter merged into the weights.
    ///
    /// # Errors
    /// If it is damaged, or a model that has no place here, or if the adapter does not fit the model.
    pub fn read(&self) -> Result<LanguageModel> {
        let mut language_model = match self.format {
            Format::HuggingFace => llama::import(&self.path)?,
            Format::Gguf => gguf::import(&self.path)?,
            Format::Llama2c => llama2c::import(&self.path, &self.tokenizer()?)?,
            Format::Gradus => folder::read(&self.path)?,
        };
        if let Some(folder) = &self.adapter {
            let found = read_adapter(folder, &language_model.model)?;
            language_model.params = found.model.merge(&found.on(&language_model.params));
        }
        Ok(language_model)
    }

    /// Reads all of it for generation, its weights stored as `dtype` says.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_stored(&self, dtype: Dtype) -> Result<LanguageModel<StoredParams>> {
        Ok(match self.format {
            Format::Gguf if self.adapter.is_none() => gguf::import_stored(&self.path, dtype)?,
            _ => self.read()?.stored(dtype),
        })
    }

    /// The tokenizer beside a checkpoint of llama2.c: `tokenizer.bin`, or the only file whose name begins with `tok`.
    fn tokenizer(&self) -> Result<PathBuf> {
        if let Some(path) = &self.tokenizer {
            return Ok(path.clone());
        }
        let usual = self.path.with_file_name("tokenizer.bin");
        if usual.exists() {
            return Ok(usual);
        }
        let folder = usual.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let is_one = |path: &PathBuf| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            name.starts_with("tok") && name.ends_with(".bin")
        };
        let files = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
        match &files.filter(is_one).collect::<Vec<_>>()[..] {
            [only] => Ok(only.clone()),
            found => bail!(
                "{} has {} beside it. Say where the tokenizer of llama2.c is: --tokenizer tokenizer.bin",
                self.path.display(),
                if found.is_empty() { "no tokenizer.bin" } else { "several files tok*.bin" }
            ),
        }
    }

    /// The bytes of the weights on the disk, and of what else is in their files.
    pub fn bytes(&self) -> u64 {
        let size = |path: &Path| fs::metadata(path).map_or(0, |meta| meta.len());
        weights(self).iter().map(|path| size(path)).sum()
    }

    /// The types of numbers in the weights with how many there are of each, if the files say so: of safetensors.
    pub fn types(&self) -> Vec<(String, u64)> {
        let mut types: Vec<(String, u64)> = Vec::new();
        for path in
            weights(self).iter().filter(|path| path.extension().is_some_and(|end| end == "safetensors"))
        {
            let header = header(path).unwrap_or_default();
            for tensor in header.as_object().into_iter().flatten().filter(|(name, _)| *name != "__metadata__")
            {
                let count = tensor.1["shape"].as_array().map(Vec::as_slice).unwrap_or_default();
                let count = count.iter().filter_map(Value::as_u64).fold(1_u64, u64::saturating_mul);
                let name = tensor.1["dtype"].as_str().unwrap_or("?").to_lowercase();
                match types.iter_mut().find(|(known, _)| *known == name) {
                    Some((_, sum)) => *sum = sum.saturating_add(count),
                    None => types.push((name, count)),
                }
            }
        }
        types
    }
}

/// An adapter for a model.
///
/// # Errors
/// If it is none, or does not fit the model.
pub fn read_adapter(folder: &Path, base: &Decoder) -> Result<Adapter> {
    let is_model = folder.join("config.json").exists() && !folder.join(adapter::CONFIG).exists();
    ensure!(
        !is_model,
        "{} is a whole model, and no adapter: give it to --model, or a folder with {} to --adapter",
        folder.display(),
        adapter::CONFIG
    );
    let found = adapter::import(folder, base);
    found.with_context(|| format!("the adapter in {} cannot be merged into this model", folder.display()))
}

/// The most bytes of a header that the format allows.
const LONGEST_HEADER: u64 = 100_000_000;

/// What there is to choose from.
const KNOWN: &str = "Known are folders of Hugging Face's (with config.json and safetensors), .gguf files, checkpoints of llama2.c of \
                     version 0, and folders that this program has written";

/// The files with the weights.
fn weights(source: &Source) -> Vec<PathBuf> {
    if source.path.is_file() {
        return vec![source.path.clone()];
    }
    let files = fs::read_dir(&source.path).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> =
        files.filter(|path| path.extension().is_some_and(|end| end == "safetensors")).collect();
    files.sort();
    files
}

/// What a folder holds.
fn folder_format(folder: &Path) -> Result<Format> {
    let file = folder.join(checkpoint::FILE);
    let ours = header(&file).is_some_and(|header| header["__metadata__"].get("gradus").is_some());
    if ours {
        return Ok(Format::Gradus);
    }
    if folder.join("config.json").exists() {
        return Ok(Format::HuggingFace);
    }
    let files = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let one = files.filter(|path| path.extension().is_some_and(|end| end == "gguf" || end == "bin")).min();
    let cure = match one {
        Some(path) => format!("Did you mean {}?", path.display()),
        None => KNOWN.to_owned(),
    };
    Err(anyhow!(
        "{} is no model: it has no config.json, and no {} of gradus. {cure}",
        folder.display(),
        checkpoint::FILE
    ))
}

/// The header of a file of safetensors, if it has one that is not longer than the file.
fn header(path: &Path) -> Option<Value> {
    let mut file = File::open(path).ok()?;
    let whole = file.metadata().ok()?.len();
    let mut length = [0; 8];
    file.read_exact(&mut length).ok()?;
    let length = u64::from_le_bytes(length);
    if length > whole.saturating_sub(8).min(LONGEST_HEADER) {
        return None;
    }
    let mut text = Vec::new();
    file.take(length).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

/// Whether seven integers can be the sizes of a Llama in a file of this length: version 0 of llama2.c has no name for itself.
fn looks_like_llama2c(start: &[u8], length: u64) -> bool {
    let numbers: Vec<i64> = start
        .chunks_exact(4)
        .map(|four| i32::from_le_bytes([four[0], four[1], four[2], four[3]]).into())
        .collect();
    let &[width, hidden, layers, heads, kv_heads, vocab, context] = &numbers[..] else { return false };
    // A vocabulary below zero says that the head is a matrix of its own.
    let positive =
        [width, hidden, layers, heads, kv_heads, vocab.abs(), context].iter().all(|&size| size > 0);
    positive && width % heads == 0 && heads % kv_heads == 0 && (width * vocab.abs()) as u64 <= length / 4
}
