//! Numbers under names, with a description as JSON, in one safetensors file that is never half written.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::de::{DeserializeOwned, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::CheckpointError;
use crate::real::Real;

/// The key of the metadata under which the description stands.
const KEY: &str = "gradus";

/// A matrix to be written: its name, rows and columns, and numbers.
pub type Entry<'a, R> = (&'a str, [usize; 2], &'a [R]);

/// Writes a description and matrices. A file that was there before is replaced in one instant, or stays whole if
/// anything fails.
///
/// # Errors
/// If the system refuses.
///
/// # Panics
/// If a matrix has not as many numbers as its shape says, or two have the same name.
pub fn write<R: Real>(
    path: &Path,
    description: &impl Serialize,
    entries: &[Entry<'_, R>],
) -> Result<(), CheckpointError> {
    let description = serde_json::to_string(description).expect("a description is plain JSON");
    let numbers: Vec<Vec<u8>> = entries.iter().map(|(_, _, numbers)| to_bytes(numbers)).collect();
    let views = entries.iter().zip(&numbers).map(|((name, shape, _), bytes)| {
        let view = TensorView::new(dtype::<R>(), shape.to_vec(), bytes);
        (*name, view.expect("as many numbers as the shape says"))
    });
    let metadata = HashMap::from([(KEY.to_owned(), description)]);
    let bytes = safetensors::serialize(views, Some(metadata)).expect("names are distinct");
    write_atomically(path, &bytes)
}

/// A file's description and matrices, checked on the way out.
pub struct TensorFile<'a, D> {
    /// What the file says about itself.
    pub description: D,
    tensors: SafeTensors<'a>,
}

impl<'a, D: DeserializeOwned> TensorFile<'a, D> {
    /// Understands the bytes of a file.
    ///
    /// # Errors
    /// Says what is wrong with them.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, String> {
        let (length, header) = SafeTensors::read_metadata(bytes).map_err(|error| error.to_string())?;
        // The crate would take the last of two matrices with the same name; here neither is trusted.
        serde_json::from_slice::<DistinctKeys>(&bytes[8..8 + length]).map_err(|error| error.to_string())?;
        let text = header.metadata().as_ref().and_then(|metadata| metadata.get(KEY));
        let text = text.ok_or("its metadata does not describe anything of gradus")?;
        let description =
            serde_json::from_str(text).map_err(|error| format!("its description does not parse: {error}"))?;
        let tensors = SafeTensors::deserialize(bytes).map_err(|error| error.to_string())?;
        Ok(TensorFile { description, tensors })
    }

    /// How many matrices there are.
    pub fn len(&self) -> usize {
        self.tensors.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds the numbers of a matrix to `to`. It must have the given shape, and every number must be finite.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn read<R: Real>(&self, name: &str, [rows, cols]: [usize; 2], to: &mut Vec<R>) -> Result<(), String> {
        let view = self.tensors.tensor(name).map_err(|_| format!("{name} is missing"))?;
        if view.shape() != [rows, cols] {
            return Err(format!("{name} is {:?} instead of [{rows}, {cols}]", view.shape()));
        }
        let start = to.len();
        match view.dtype() {
            Dtype::F64 => to.extend(numbers(view.data(), f64::from_le_bytes).map(R::from_f64)),
            Dtype::F32 => {
                to.extend(numbers(view.data(), |b| f64::from(f32::from_le_bytes(b))).map(R::from_f64))
            }
            other => return Err(format!("{name} holds {other} numbers, not F32 or F64")),
        }
        match to[start..].iter().position(|w| !w.to_f64().is_finite()) {
            Some(at) => Err(format!("{name} holds {} at place {at}", to[start + at])),
            None => Ok(()),
        }
    }
}

/// Reads a file and lets `understand` make something of its bytes.
///
/// # Errors
/// If it cannot be read, or if `understand` says that it is damaged.
pub fn read<T>(
    path: &Path,
    understand: impl FnOnce(&[u8]) -> Result<T, String>,
) -> Result<T, CheckpointError> {
    let bytes = fs::read(path).map_err(|source| CheckpointError::Io {
        doing: "read",
        path: path.to_owned(),
        source,
    })?;
    understand(&bytes).map_err(|problem| CheckpointError::Damaged { path: path.to_owned(), problem })
}

/// A JSON object of which nothing is kept, but which must not have the same key twice.
struct DistinctKeys;

impl<'de> Deserialize<'de> for DistinctKeys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = DistinctKeys;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<DistinctKeys, A::Error> {
                let mut seen = HashSet::new();
                while let Some((key, IgnoredAny)) = map.next_entry::<String, _>()? {
                    if let Some(key) = seen.replace(key) {
                        return Err(serde::de::Error::custom(format!("{key} stands there twice")));
                    }
                }
                Ok(DistinctKeys)
            }
        }
        deserializer.deserialize_map(Keys)
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
    // Always under the same name: what a killed process left behind is written over by the next.
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".part");
    let beside = folder.join(name);
    let written = OpenOptions::new().write(true).create(true).truncate(false).open(&beside);
    let mut file = written.map_err(fail("written", path))?;
    // Whoever else is writing the same file right now has locked it.
    file.try_lock().map_err(|error| fail("written", path)(error.into()))?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        // It may have done its work since, and put in its place what was opened here.
        let same = |a: fs::Metadata, b: fs::Metadata| (a.dev(), a.ino()) == (b.dev(), b.ino());
        let there = fs::metadata(&beside).and_then(|there| Ok(same(there, file.metadata()?)));
        if !there.is_ok_and(|same| same) {
            let busy = std::io::Error::new(std::io::ErrorKind::WouldBlock, "another program is writing it");
            return Err(fail("written", path)(busy));
        }
    }
    let result = file.set_len(0).and_then(|()| file.write_all(bytes)).and_then(|()| file.sync_all());
    result.and_then(|()| fs::rename(&beside, path)).map_err(|error| {
        fs::remove_file(&beside).ok();
        fail("written", path)(error)
    })?;
    // On systems where a folder cannot be opened, the rename itself has to do.
    if let Ok(folder) = File::open(folder) {
        folder.sync_all().ok();
    }
    Ok(())
}
