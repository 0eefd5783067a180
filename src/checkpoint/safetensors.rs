//! The safetensors format: tensors under names, and in the file's metadata a description as JSON.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::fs;
use std::path::Path;

use ::safetensors::tensor::{Dtype, SafeTensors, TensorView, View};
use serde::de::{DeserializeOwned, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::{CheckpointError, write_atomically};
use crate::real::Real;
use crate::real::half::{from_bf16, from_f16, to_bf16, to_f16};

/// The key of the metadata under which the description stands.
const KEY: &str = "gradus";

/// A matrix to be written: its name, rows and columns, and numbers.
pub type Entry<'a, R> = (&'a str, [usize; 2], &'a [R]);

/// Writes a description and matrices. A file that was there before is replaced in one instant, or stays whole if
/// anything fails.
///
/// # Errors
/// If the system refuses, or a number is NaN or infinite.
///
/// # Panics
/// If a matrix does not have as many numbers as its shape says, or two have the same name.
pub fn write<R: Real>(
    path: &Path,
    description: &impl Serialize,
    entries: &[Entry<'_, R>],
) -> Result<(), CheckpointError> {
    let description = serde_json::to_string(description).expect("a description is plain JSON");
    let entries: Vec<(&str, &[usize], &[R])> =
        entries.iter().map(|(name, shape, numbers)| (*name, &shape[..], *numbers)).collect();
    let dtype = if size_of::<R>() == 8 { Dtype::F64 } else { Dtype::F32 };
    write_tensors(path, [KEY, &description], &entries, dtype)
}

/// The same for tensors of any number of dimensions, with one entry of metadata, its key and its text, and in any type of
/// numbers: F64, F32, F16 or BF16.
pub(super) fn write_tensors<R: Real>(
    path: &Path,
    metadata: [&str; 2],
    entries: &[(&str, &[usize], &[R])],
    dtype: Dtype,
) -> Result<(), CheckpointError> {
    let stored = |x: f64| match dtype {
        Dtype::F64 => x,
        Dtype::F16 => f64::from(from_f16(to_f16(x as f32))),
        Dtype::BF16 => f64::from(from_bf16(to_bf16(x as f32))),
        _ => f64::from(x as f32),
    };
    for (name, _, numbers) in entries {
        let infinite = |x: &R| !stored(x.to_f64()).is_finite();
        if let Some(number) = numbers.iter().copied().find(infinite).map(|x| x.to_f64()) {
            return Err(CheckpointError::NotFinite {
                path: path.to_owned(),
                name: (*name).to_owned(),
                number,
            });
        }
    }
    let views = entries.iter().map(|&(name, shape, numbers)| {
        assert_eq!(
            numbers.len(),
            shape.iter().product::<usize>(),
            "{name} has as many numbers as its shape says"
        );
        (name, Stored { shape, numbers, dtype })
    });
    let [key, text] = metadata.map(str::to_owned);
    let metadata = [(key, text)].into_iter().collect();
    let bytes = ::safetensors::serialize(views, Some(metadata)).expect("names are distinct");
    write_atomically(path, &bytes)
}

/// Numbers that become bytes when it is their turn to be written.
struct Stored<'a, R> {
    shape: &'a [usize],
    numbers: &'a [R],
    dtype: Dtype,
}

impl<R: Real> View for Stored<'_, R> {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let numbers = self.numbers.iter().map(|x| x.to_f64());
        match self.dtype {
            Dtype::F64 => numbers.flat_map(f64::to_le_bytes).collect(),
            Dtype::F16 => numbers.flat_map(|x| to_f16(x as f32).to_le_bytes()).collect(),
            Dtype::BF16 => numbers.flat_map(|x| to_bf16(x as f32).to_le_bytes()).collect(),
            _ => numbers.flat_map(|x| (x as f32).to_le_bytes()).collect(),
        }
    }

    fn data_len(&self) -> usize {
        self.numbers.len() * self.dtype.bitsize() / 8
    }
}

/// A file's description and matrices, checked as they are read.
pub struct TensorFile<'a, D> {
    /// What the file says about itself.
    pub description: D,
    tensors: Tensors<'a>,
}

impl<'a, D: DeserializeOwned> TensorFile<'a, D> {
    /// Parses the bytes of a file.
    ///
    /// # Errors
    /// Says what is wrong with them.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, String> {
        let tensors = Tensors::parse(bytes)?;
        let text = tensors.description.as_ref().ok_or("its metadata does not describe anything of gradus")?;
        let description =
            serde_json::from_str(text).map_err(|error| format!("its description does not parse: {error}"))?;
        Ok(TensorFile { description, tensors })
    }

    /// How many matrices there are.
    pub fn len(&self) -> usize {
        self.tensors.names().len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds the numbers of a matrix to `to`. It must have the given shape, and every number must be finite.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn read<R: Real>(&self, name: &str, shape: [usize; 2], to: &mut Vec<R>) -> Result<(), String> {
        self.tensors.read(name, &shape, to)
    }
}

/// The tensors of a file, of any program.
pub(super) struct Tensors<'a> {
    /// The text of the description, if there is one: the file is ours.
    pub description: Option<String>,
    tensors: SafeTensors<'a>,
}

impl<'a> Tensors<'a> {
    /// Parses the bytes of a file, or says what is wrong with them.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, String> {
        let (length, header) = SafeTensors::read_metadata(bytes).map_err(|error| error.to_string())?;
        // The crate would take the last of two tensors with the same name; here such a file is refused.
        serde_json::from_slice::<DistinctKeys>(&bytes[8..8 + length]).map_err(|error| error.to_string())?;
        let description = header.metadata().as_ref().and_then(|metadata| metadata.get(KEY)).cloned();
        let tensors = SafeTensors::deserialize(bytes).map_err(|error| error.to_string())?;
        Ok(Tensors { description, tensors })
    }

    /// The names of all tensors.
    pub fn names(&self) -> Vec<&str> {
        self.tensors.names()
    }

    /// All of them with their names, in the order of these.
    pub fn views(&self) -> Vec<(String, TensorView<'a>)> {
        let mut views = self.tensors.tensors();
        views.sort_by(|(a, _), (b, _)| a.cmp(b));
        views
    }

    /// Adds the numbers of a tensor to `to`, or says what is wrong with it. It must have the given shape, and every number must
    /// be finite.
    pub fn read<R: Real>(&self, name: &str, shape: &[usize], to: &mut Vec<R>) -> Result<(), String> {
        let view = self.find(name, shape)?;
        let start = to.len();
        to.resize(start + shape.iter().product::<usize>(), R::default());
        read_numbers(name, view.dtype(), view.data(), &mut to[start..])
    }

    /// A tensor of this shape, of numbers that are read here. So it has as many bytes as that needs.
    fn find(&self, name: &str, shape: &[usize]) -> Result<TensorView<'a>, String> {
        let view = self.tensors.tensor(name).map_err(|_| format!("{name} is missing"))?;
        check_view(name, &view, shape)?;
        Ok(view)
    }
}

/// That a tensor has a shape, and numbers that are read here.
pub(super) fn check_view(name: &str, view: &TensorView<'_>, shape: &[usize]) -> Result<(), String> {
    if view.shape() != shape {
        return Err(format!("{name} is {:?} instead of {shape:?}", view.shape()));
    }
    match view.dtype() {
        Dtype::F64 | Dtype::F32 | Dtype::F16 | Dtype::BF16 => Ok(()),
        other => Err(format!("{name} holds {other} numbers, not F16, BF16, F32 or F64")),
    }
}

/// Writes numbers of a tensor over those in a slice of the same length. Every one must be finite. The type is one of those that
/// are read here.
pub(super) fn read_numbers<R: Real>(
    name: &str,
    dtype: Dtype,
    bytes: &[u8],
    to: &mut [R],
) -> Result<(), String> {
    match dtype {
        Dtype::F64 => convert(bytes, f64::from_le_bytes, to),
        Dtype::F32 => convert(bytes, |b| f64::from(f32::from_le_bytes(b)), to),
        Dtype::F16 => convert(bytes, |b| f64::from(from_f16(u16::from_le_bytes(b))), to),
        Dtype::BF16 => convert(bytes, |b| f64::from(from_bf16(u16::from_le_bytes(b))), to),
        other => return Err(format!("{name} holds {other} numbers, not F16, BF16, F32 or F64")),
    }
    match to.iter().position(|w| !w.to_f64().is_finite()) {
        Some(at) => Err(format!("{name} holds {} at place {at}", to[at])),
        None => Ok(()),
    }
}

fn convert<const N: usize, R: Real>(bytes: &[u8], number: impl Fn([u8; N]) -> f64, to: &mut [R]) {
    for (to, &bytes) in to.iter_mut().zip(bytes.as_chunks::<N>().0) {
        *to = R::from_f64(number(bytes));
    }
}

/// Reads a file and parses its bytes.
///
/// # Errors
/// If it cannot be read, or if `parse` says that it is damaged.
pub fn read<T>(path: &Path, parse: impl FnOnce(&[u8]) -> Result<T, String>) -> Result<T, CheckpointError> {
    let bytes = fs::read(path).map_err(|source| CheckpointError::Io {
        doing: "read",
        path: path.to_owned(),
        source,
    })?;
    parse(&bytes).map_err(|problem| CheckpointError::Damaged { path: path.to_owned(), problem })
}

/// Any JSON object without two equal keys. Nothing of it is kept.
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
