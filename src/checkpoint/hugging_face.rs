//! What the model folders of Hugging Face have in common, whatever the architecture: `config.json` and other JSON, and
//! `model.safetensors`, which holds the weights in `f32` under the names that they have in `transformers`.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use ::safetensors::Dtype;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::mapped::FileBytes;
use super::safetensors::{Tensors, write_tensors};
use super::{CheckpointError, FILE, StoredAs, write_atomically};
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
    #[error("{}: {problem}. {cure}", path.display())]
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

/// Where the weights of a folder are.
pub(super) struct WeightFiles {
    /// The only file, or the index of several.
    path: PathBuf,
    /// The files, and how many tensors the index says each holds. Of the only file nobody says it.
    files: BTreeMap<PathBuf, Option<usize>>,
}

impl WeightFiles {
    /// Finds them: one file, or several with an index.
    pub fn find(folder: &Path) -> Result<Self, FolderError> {
        let path = folder.join(FILE);
        if path.exists() {
            return Ok(WeightFiles { files: [(path.clone(), None)].into(), path });
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
        let mut files = BTreeMap::new();
        for (tensor, name) in map {
            // A name that leads out of the folder would have other files read.
            if Path::new(&name).file_name() != Some(name.as_ref()) {
                return Err(file
                    .wrong(format!("weight_map: {tensor} is in {name:?}, no name of a file"), TAKE_A_COPY));
            }
            *files.entry(folder.join(name)).or_insert(Some(0)).get_or_insert(0) += 1;
        }
        if files.is_empty() {
            return Err(file.wrong("weight_map is empty", TAKE_A_COPY));
        }
        Ok(WeightFiles { path: index, files })
    }

    /// The file that errors name where it is about all of them.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How many tensors there are.
    pub fn tensors(&self) -> Result<usize, FolderError> {
        let mut count = 0;
        for (path, indexed) in &self.files {
            count += match indexed {
                Some(indexed) => *indexed,
                None => with_tensors(path, |tensors| Ok(tensors.names().len()))?,
            };
        }
        Ok(count)
    }

    /// How many bytes they have together.
    pub fn bytes(&self) -> Result<u64, FolderError> {
        let length = |path: &Path| {
            let io = |source| CheckpointError::Io { doing: "read", path: path.to_owned(), source };
            Ok(fs::metadata(path).map_err(io)?.len())
        };
        self.files.keys().map(|path| length(path)).sum()
    }

    /// Opens one after another. What goes wrong is an error of that file.
    pub fn for_each(
        &self,
        mut read: impl FnMut(&Tensors<'_>) -> Result<(), String>,
    ) -> Result<(), FolderError> {
        for path in self.files.keys() {
            with_tensors(path, &mut read)?;
        }
        Ok(())
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
    with_tensors(&path, read)
}

/// Opens a file of tensors.
fn with_tensors<T>(
    path: &Path,
    read: impl FnOnce(&Tensors<'_>) -> Result<T, String>,
) -> Result<T, FolderError> {
    let io = |source| CheckpointError::Io { doing: "read", path: path.to_owned(), source };
    let bytes = FileBytes::open(path).map_err(io)?;
    let read = Tensors::parse(&bytes).and_then(|tensors| read(&tensors));
    read.map_err(|problem| wrong(path, problem, TAKE_A_COPY))
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
