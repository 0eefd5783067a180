//! What the model folders of Hugging Face have in common, whatever the architecture: `config.json` and other JSON, and
//! `model.safetensors`, which holds the weights in `f32` under the names that they have in `transformers`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use ::safetensors::Dtype;
use ::safetensors::tensor::TensorView;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::mapped::FileBytes;
use super::safetensors::{Tensors, check_view, read_numbers, write_tensors};
use super::{CheckpointError, FILE, StoredAs, shortened, write_atomically};
use crate::real::half::{from_f16, to_f16};

/// The file with sizes and variants.
pub(super) const CONFIG: &str = "config.json";

/// What helps with a file that was cut off or changed.
pub(super) const TAKE_A_COPY: &str = "Take a copy that is whole, or save the model again with transformers";

/// Why a model folder could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// The system refused, or a number to be written is NaN or infinite.
    #[error(transparent)]
    File(#[from] CheckpointError),
    /// A model of ours that the class has no place for. Nothing was written.
    #[error("this is no {class}: its {field} is {found}, and would have to be {needed}")]
    Unfit {
        /// The class of `transformers`.
        class: &'static str,
        /// What does not fit: a field of the configuration, a token, the tokenizer.
        field: &'static str,
        /// What it is.
        found: String,
        /// What it would have to be.
        needed: String,
    },
    /// A file of the folder is damaged, or describes what cannot be read.
    #[error("{}: {}. {cure}", path.display(), shortened(problem))]
    Wrong {
        /// The file.
        path: PathBuf,
        /// What is wrong, beginning with the key or the name of the tensor where there is one.
        problem: String,
        /// What to do about it.
        cure: String,
    },
}

/// The error of a file with a problem, and its cure.
pub(super) fn wrong(path: &Path, problem: impl Into<String>, cure: impl Into<String>) -> FolderError {
    FolderError::Wrong { path: path.to_owned(), problem: problem.into(), cure: cure.into() }
}

/// A field of a configuration that may have some values only. Fields and values are named as in our own checkpoints.
pub(super) fn fit<V: Serialize + PartialEq>(
    class: &'static str,
    field: &'static str,
    found: &V,
    possible: &[V],
) -> Result<(), FolderError> {
    if possible.contains(found) {
        return Ok(());
    }
    let json = |value| serde_json::to_string(value).expect("a plain value");
    let needed = possible.iter().map(json).collect::<Vec<_>>().join(" or ");
    Err(FolderError::Unfit { class, field, found: json(found), needed })
}

/// The bytes of a file.
pub(super) fn read_bytes(path: &Path) -> Result<Vec<u8>, FolderError> {
    let io = |source| CheckpointError::Io { doing: "read", path: path.to_owned(), source };
    fs::read(path).map_err(|source| io(source).into())
}

/// The text of a file.
pub(super) fn read_text(path: &Path) -> Result<String, FolderError> {
    String::from_utf8(read_bytes(path)?).map_err(|_| wrong(path, "it is not UTF-8", TAKE_A_COPY))
}

/// A JSON file that is being read, key by key. Errors name the file and the key.
pub(super) struct JsonFile {
    path: PathBuf,
    pub value: Value,
}

impl JsonFile {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self, FolderError> {
        match serde_json::from_slice(&read_bytes(path)?) {
            Ok(value) => Ok(JsonFile { path: path.to_owned(), value }),
            Err(error) => Err(wrong(path, format!("it is not JSON: {error}"), TAKE_A_COPY)),
        }
    }

    /// Reads a file that may be missing.
    pub fn read_if_there(path: &Path) -> Result<Option<Self>, FolderError> {
        if path.exists() { Self::read(path).map(Some) } else { Ok(None) }
    }

    /// What stands under a key.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Result<T, FolderError> {
        let value =
            self.value.get(key).ok_or_else(|| self.wrong(format!("{key} is missing"), TAKE_A_COPY))?;
        T::deserialize(value).map_err(|error| self.wrong(format!("{key}: {error}"), TAKE_A_COPY))
    }

    /// The same, or a default where it is missing or null.
    pub fn get_or<T: DeserializeOwned>(&self, key: &str, default: T) -> Result<T, FolderError> {
        match self.value.get(key) {
            None | Some(Value::Null) => Ok(default),
            Some(_) => self.get(key),
        }
    }

    /// A key that may have one value only, and may be missing if there is a default.
    pub fn expect<T>(&self, key: &str, needed: T, default: Option<T>) -> Result<(), FolderError>
    where
        T: DeserializeOwned + PartialEq + Display,
    {
        let found = match default {
            Some(default) => self.get_or(key, default)?,
            None => self.get(key)?,
        };
        if found == needed { Ok(()) } else { Err(self.variant(key, &found, &needed)) }
    }

    /// The error of a key with a value that our model has no place for.
    pub fn variant(&self, key: &str, found: &dyn Display, needed: &dyn Display) -> FolderError {
        let problem = format!("{key} is {found}, where gradus has {needed} in such a model");
        self.wrong(problem, "Take another model, or make such a model possible in src/model")
    }

    /// The error of a problem, and its cure.
    pub fn wrong(&self, problem: impl Into<String>, cure: impl Into<String>) -> FolderError {
        wrong(&self.path, problem, cure)
    }
}

/// Writes a JSON file, in lines that people can read.
pub(super) fn write_json(path: &Path, value: &Value) -> Result<(), FolderError> {
    Ok(write_atomically(path, format!("{value:#}\n").as_bytes())?)
}

/// The index of weights that are in several files.
const INDEX: &str = "model.safetensors.index.json";

/// The weights of a folder: files that are open.
pub(super) struct WeightFiles {
    /// The only file, or the index of several.
    path: PathBuf,
    files: Vec<(PathBuf, FileBytes)>,
}

impl WeightFiles {
    /// Opens them: one file, or several with an index.
    pub fn open(folder: &Path) -> Result<Self, FolderError> {
        let path = folder.join(FILE);
        if path.exists() {
            return Ok(WeightFiles { files: vec![opened(path.clone())?], path });
        }
        let index = folder.join(INDEX);
        if !index.exists() {
            let other = folder.join("pytorch_model.bin");
            if other.exists() {
                let cure = "Save it again with transformers: save_pretrained(folder)";
                return Err(wrong(&other, format!("its weights are not in {FILE}"), cure));
            }
            let source = io::Error::from(io::ErrorKind::NotFound);
            return Err(CheckpointError::Io { doing: "read", path, source }.into());
        }
        let file = JsonFile::read(&index)?;
        let map: BTreeMap<String, String> = file.get("weight_map")?;
        for (tensor, name) in &map {
            // A name that leads out of the folder would have other files read.
            if Path::new(name).file_name() != Some(name.as_ref()) {
                return Err(file
                    .wrong(format!("weight_map: {tensor} is in {name:?}, no name of a file"), TAKE_A_COPY));
            }
        }
        let names: BTreeSet<String> = map.into_values().collect();
        if names.is_empty() {
            return Err(file.wrong("weight_map is empty", TAKE_A_COPY));
        }
        let files = names.into_iter().map(|name| opened(folder.join(name))).collect::<Result<_, _>>()?;
        Ok(WeightFiles { path: index, files })
    }

    /// The file that errors name where it is about all of them.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How many bytes they have together.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|(_, bytes)| bytes.len() as u64).sum()
    }

    /// The tensors of all files, file by file. Their numbers are read when they are asked for.
    pub fn tensors(&self) -> Result<Vec<StoredTensor<'_>>, FolderError> {
        let mut all = Vec::new();
        for (path, bytes) in &self.files {
            let tensors = Tensors::parse(bytes).map_err(|problem| wrong(path, problem, TAKE_A_COPY))?;
            let views = tensors.views().into_iter();
            all.extend(views.map(|(name, view)| StoredTensor { name, path, bytes, view }));
        }
        Ok(all)
    }
}

/// A file that is mapped into memory, with its path.
fn opened(path: PathBuf) -> Result<(PathBuf, FileBytes), FolderError> {
    match FileBytes::open(&path) {
        Ok(bytes) => Ok((path, bytes)),
        Err(source) => Err(CheckpointError::Io { doing: "read", path, source }.into()),
    }
}

/// A tensor in one of the files of a folder.
pub(super) struct StoredTensor<'a> {
    pub name: String,
    path: &'a Path,
    bytes: &'a FileBytes,
    view: TensorView<'a>,
}

impl StoredTensor<'_> {
    /// That it has a shape, and numbers that are read here.
    pub fn check(&self, shape: &[usize]) -> Result<(), FolderError> {
        check_view(&self.name, &self.view, shape).map_err(|problem| self.wrong(problem))
    }

    /// Adds its numbers to others. Every one must be finite.
    pub fn append(&self, to: &mut Vec<f32>) -> Result<(), FolderError> {
        let start = to.len();
        to.resize(start + self.view.shape().iter().product::<usize>(), 0.0);
        let (name, dtype) = (self.name.as_str(), self.view.dtype());
        let read = self
            .bytes
            .read_once(self.view.data(), |bytes| read_numbers(name, dtype, bytes, &mut to[start..]));
        read.map_err(|problem| self.wrong(problem))
    }

    /// Whether it holds these numbers. There are as many as it has.
    pub fn equals(&self, numbers: &[f32]) -> Result<bool, FolderError> {
        const ROWS: usize = 1 << 14;
        let (name, dtype) = (self.name.as_str(), self.view.dtype());
        let mut some = vec![0.0; ROWS.min(numbers.len())];
        let mut equal = true;
        // A part at a time, so that a table is not held twice.
        let parts = self.view.data().chunks(ROWS * dtype.bitsize() / 8);
        for (bytes, numbers) in parts.zip(numbers.chunks(ROWS)) {
            let some = &mut some[..numbers.len()];
            let read = self.bytes.read_once(bytes, |bytes| read_numbers(name, dtype, bytes, some));
            read.map_err(|problem| self.wrong(problem))?;
            equal &= some == numbers;
        }
        Ok(equal)
    }

    /// The error of the file that it is in.
    pub fn wrong(&self, problem: impl Into<String>) -> FolderError {
        wrong(self.path, problem, TAKE_A_COPY)
    }
}

/// Reads the weights of a model that is always in one file.
pub(super) fn read_one_file<T>(
    folder: &Path,
    read: impl FnOnce(&Tensors<'_>) -> Result<T, String>,
) -> Result<T, FolderError> {
    let path = folder.join(FILE);
    for other in [INDEX, "pytorch_model.bin"] {
        if !path.exists() && folder.join(other).exists() {
            let cure = "Save it again with transformers: save_pretrained(folder, max_shard_size='100GB')";
            return Err(wrong(&folder.join(other), format!("its weights are not in {FILE}"), cure));
        }
    }
    let (path, bytes) = opened(path)?;
    let read = Tensors::parse(&bytes).and_then(|tensors| read(&tensors));
    read.map_err(|problem| wrong(&path, problem, TAKE_A_COPY))
}

/// Writes the file with the weights: names, shapes and numbers. A checkpoint of ours, which has the same name, is not
/// replaced.
pub(super) fn write_weights(
    folder: &Path,
    entries: &[(&str, &[usize], &[f32])],
    stored_as: StoredAs,
) -> Result<(), FolderError> {
    let path = folder.join(FILE);
    let there = fs::read(&path).unwrap_or_default();
    if Tensors::parse(&there).is_ok_and(|tensors| tensors.description.is_some()) {
        let problem = "it is a checkpoint of gradus, and stays as it is";
        return Err(wrong(&path, problem, "Export into another folder"));
    }
    if stored_as == StoredAs::F16 {
        let large = |(name, _, numbers): &(&str, &[usize], &[f32])| {
            let number = numbers.iter().find(|x| x.is_finite() && from_f16(to_f16(**x)).is_infinite())?;
            Some(format!("{name} has a number that is {number}, more than the 65504 of float16"))
        };
        if let Some(problem) = entries.iter().find_map(large) {
            return Err(wrong(&path, problem, "Export it in bfloat16 or 32 bits. Nothing was written"));
        }
    }
    let dtype = match stored_as {
        StoredAs::F32 => Dtype::F32,
        StoredAs::F16 => Dtype::F16,
        StoredAs::Bf16 => Dtype::BF16,
    };
    Ok(write_tensors(&path, ["format", "pt"], entries, dtype)?)
}
