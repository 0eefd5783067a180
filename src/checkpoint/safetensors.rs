//! The safetensors format: tensors under names, and in the file's metadata a description as JSON.

use std::collections::HashSet;
use std::fmt;
use std::fs;
use std::path::Path;

use ::safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::de::{DeserializeOwned, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::{CheckpointError, write_atomically};
use crate::real::Real;

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
    write_tensors(path, [KEY, &description], &entries)
}

/// The same for tensors of any number of dimensions, with one entry of metadata: its key and its text.
pub(super) fn write_tensors<R: Real>(
    path: &Path,
    metadata: [&str; 2],
    entries: &[(&str, &[usize], &[R])],
) -> Result<(), CheckpointError> {
    for (name, _, numbers) in entries {
        if let Some(number) = numbers.iter().map(|x| x.to_f64()).find(|x| !x.is_finite()) {
            return Err(CheckpointError::NotFinite {
                path: path.to_owned(),
                name: (*name).to_owned(),
                number,
            });
        }
    }
    let bytes: Vec<Vec<u8>> = entries.iter().map(|(_, _, numbers)| to_bytes(numbers)).collect();
    let views = entries.iter().zip(&bytes).map(|((name, shape, _), bytes)| {
        let view = TensorView::new(dtype::<R>(), shape.to_vec(), bytes);
        (*name, view.expect("as many numbers as the shape says"))
    });
    write_views(path, metadata, views.collect())
}

/// What does not depend on the type of the numbers.
fn write_views(
    path: &Path,
    metadata: [&str; 2],
    views: Vec<(&str, TensorView<'_>)>,
) -> Result<(), CheckpointError> {
    let [key, text] = metadata.map(str::to_owned);
    let metadata = [(key, text)].into_iter().collect();
    let bytes = ::safetensors::serialize(views, Some(metadata)).expect("names are distinct");
    write_atomically(path, &bytes)
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

    /// Adds the numbers of a tensor to `to`, or says what is wrong with it. It must have the given shape, and every number must
    /// be finite.
    pub fn read<R: Real>(&self, name: &str, shape: &[usize], to: &mut Vec<R>) -> Result<(), String> {
        let view = self.tensors.tensor(name).map_err(|_| format!("{name} is missing"))?;
        if view.shape() != shape {
            return Err(format!("{name} is {:?} instead of {shape:?}", view.shape()));
        }
        let start = to.len();
        match view.dtype() {
            Dtype::F64 => to.extend(numbers(view.data(), f64::from_le_bytes).map(R::from_f64)),
            Dtype::F32 => {
                to.extend(numbers(view.data(), |b| f64::from(f32::from_le_bytes(b))).map(R::from_f64))
            }
            Dtype::F16 => to.extend(numbers(view.data(), from_f16).map(R::from_f64)),
            Dtype::BF16 => to.extend(numbers(view.data(), from_bf16).map(R::from_f64)),
            other => return Err(format!("{name} holds {other} numbers, not F16, BF16, F32 or F64")),
        }
        match to[start..].iter().position(|w| !w.to_f64().is_finite()) {
            Some(at) => Err(format!("{name} holds {} at place {at}", to[start + at])),
            None => Ok(()),
        }
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

fn numbers<const N: usize>(bytes: &[u8], read: impl Fn([u8; N]) -> f64) -> impl Iterator<Item = f64> {
    bytes.as_chunks::<N>().0.iter().map(move |&bytes| read(bytes))
}

/// A number of IEEE 754's binary16: a sign, 5 bits of exponent, 10 of fraction.
fn from_f16(bytes: [u8; 2]) -> f64 {
    let bits = u16::from_le_bytes(bytes);
    let (exponent, fraction) = (i32::from(bits >> 10 & 0x1f), f64::from(bits & 0x3ff));
    let size = match exponent {
        0 => fraction * 2_f64.powi(-24),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (1024.0 + fraction) * 2_f64.powi(exponent - 25),
    };
    if bits >> 15 == 1 { -size } else { size }
}

/// A bfloat16: the upper half of an `f32`.
fn from_bf16(bytes: [u8; 2]) -> f64 {
    f64::from(f32::from_bits(u32::from(u16::from_le_bytes(bytes)) << 16))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_two_bytes() {
        let f16 = |bits: u16| from_f16(bits.to_le_bytes());
        // One, the largest, the smallest of normal size, the smallest, a third, and some below zero.
        let cases = [
            (0x3c00, 1.0),
            (0x7bff, 65504.0),
            (0x0400, 2_f64.powi(-14)),
            (0x0001, 2_f64.powi(-24)),
            (0x3555, 0.33325195),
            (0xc000, -2.0),
            (0x8001, -2_f64.powi(-24)),
            (0xfc00, f64::NEG_INFINITY),
        ];
        for (bits, number) in cases {
            assert!((f16(bits) - number).abs() <= 1e-8 * number.abs() || f16(bits) == number, "{bits:#06x}");
        }
        assert!(f16(0x7c01).is_nan() && f16(0x8000) == 0.0 && f16(0x8000).is_sign_negative());
        let bf16 = |bits: u16| from_bf16(bits.to_le_bytes());
        assert_eq!(
            [bf16(0x3f80), bf16(0xc049), bf16(0x0080)],
            [1.0, -3.140625, f64::from(f32::MIN_POSITIVE)]
        );
        assert!(bf16(0x7f80).is_infinite() && bf16(0x7fc0).is_nan());
    }
}
