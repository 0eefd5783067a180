//! The types of numbers in a tensor: 32 and 16 bits, and blocks of 8-bit integers with a scale.

use std::fmt;

use crate::real::half::{from_bf16, from_f16, to_bf16, to_f16};

/// A block of `q8_0`: a scale in `f16`, and 32 integers.
const BLOCK: usize = 32;
const BLOCK_BYTES: usize = 2 + BLOCK;

/// How the numbers of a tensor are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TensorType {
    /// IEEE 754's binary32.
    F32,
    /// IEEE 754's binary16: 10 bits of fraction, up to 65,504.
    F16,
    /// The upper half of an `f32`: 7 bits of fraction.
    Bf16,
    /// Blocks of 32 integers of 8 bits, each block with a scale in `f16`: the largest number of a block is 127 times the scale.
    Q8_0,
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TensorType::F32 => "f32",
            TensorType::F16 => "f16",
            TensorType::Bf16 => "bf16",
            TensorType::Q8_0 => "q8_0",
        })
    }
}

/// The types of ggml that are not read here, by number, for messages.
const OTHERS: [(u32, &str); 30] = [
    (2, "q4_0"),
    (3, "q4_1"),
    (6, "q5_0"),
    (7, "q5_1"),
    (9, "q8_1"),
    (10, "q2_K"),
    (11, "q3_K"),
    (12, "q4_K"),
    (13, "q5_K"),
    (14, "q6_K"),
    (15, "q8_K"),
    (16, "iq2_xxs"),
    (17, "iq2_xs"),
    (18, "iq3_xxs"),
    (19, "iq1_s"),
    (20, "iq4_nl"),
    (21, "iq3_s"),
    (22, "iq2_s"),
    (23, "iq4_xs"),
    (24, "i8"),
    (25, "i16"),
    (26, "i32"),
    (27, "i64"),
    (28, "f64"),
    (29, "iq1_m"),
    (34, "tq1_0"),
    (35, "tq2_0"),
    (39, "mxfp4"),
    (40, "nvfp4"),
    (41, "q1_0"),
];

impl TensorType {
    /// All of them.
    pub const ALL: [TensorType; 4] = [TensorType::F32, TensorType::F16, TensorType::Bf16, TensorType::Q8_0];

    /// Its number in a file.
    pub(super) fn code(self) -> u32 {
        match self {
            TensorType::F32 => 0,
            TensorType::F16 => 1,
            TensorType::Q8_0 => 8,
            TensorType::Bf16 => 30,
        }
    }

    /// The type with a number, or what that is.
    pub(super) fn from_code(code: u32) -> Result<Self, String> {
        Self::ALL.into_iter().find(|kind| kind.code() == code).ok_or_else(|| {
            match OTHERS.iter().find(|(other, _)| *other == code) {
                Some((_, name)) => format!("is of type {name}, where gradus reads f32, f16, bf16 and q8_0"),
                None => format!("is of type {code}, which there is not"),
            }
        })
    }

    /// What a file calls itself whose matrices are of this type: `general.file_type`.
    pub(super) fn file_type(self) -> u32 {
        match self {
            TensorType::F32 => 0,
            TensorType::F16 => 1,
            TensorType::Q8_0 => 7,
            TensorType::Bf16 => 32,
        }
    }

    /// How many numbers are stored together.
    pub(super) fn block(self) -> usize {
        if self == TensorType::Q8_0 { BLOCK } else { 1 }
    }

    /// How many bytes those are.
    pub(super) fn block_bytes(self) -> usize {
        match self {
            TensorType::F32 => 4,
            TensorType::F16 | TensorType::Bf16 => 2,
            TensorType::Q8_0 => BLOCK_BYTES,
        }
    }

    /// Whether rows of this many numbers can be stored so.
    pub fn holds_rows_of(self, cols: usize) -> bool {
        cols.is_multiple_of(self.block())
    }

    /// Appends the bytes of some numbers, whole blocks of them. If a number is not finite, or too large for this type, it is
    /// returned.
    pub(super) fn encode(self, numbers: &[f32], to: &mut Vec<u8>) -> Result<(), f32> {
        for block in numbers.chunks(self.block()) {
            let largest = block.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
            let finite = block.iter().all(|x| x.is_finite());
            match self {
                TensorType::F32 => to.extend(block.iter().flat_map(|x| x.to_le_bytes())),
                TensorType::F16 => to.extend(block.iter().flat_map(|&x| to_f16(x).to_le_bytes())),
                TensorType::Bf16 => to.extend(block.iter().flat_map(|&x| to_bf16(x).to_le_bytes())),
                TensorType::Q8_0 => encode_block(block, largest, to),
            }
            if !finite || !self.rounded(largest).is_finite() {
                let wrong = |x: &&f32| !x.is_finite() || !self.rounded(**x).is_finite();
                return Err(block.iter().find(wrong).copied().unwrap_or(largest));
            }
        }
        Ok(())
    }

    /// What becomes of the largest number of a block. (That of `q8_0` is as large as its scale allows.)
    fn rounded(self, x: f32) -> f32 {
        match self {
            TensorType::F32 => x,
            TensorType::F16 => from_f16(to_f16(x)),
            TensorType::Bf16 => from_bf16(to_bf16(x)),
            TensorType::Q8_0 => from_f16(to_f16(x / 127.0)),
        }
    }

    /// Appends the numbers of some bytes, whole blocks of them.
    pub(super) fn decode(self, bytes: &[u8], to: &mut Vec<f32>) {
        let halves = || bytes.as_chunks::<2>().0.iter().map(|&two| u16::from_le_bytes(two));
        match self {
            TensorType::F32 => {
                to.extend(bytes.as_chunks::<4>().0.iter().map(|&four| f32::from_le_bytes(four)))
            }
            TensorType::F16 => to.extend(halves().map(from_f16)),
            TensorType::Bf16 => to.extend(halves().map(from_bf16)),
            TensorType::Q8_0 => {
                for [low, high, integers @ ..] in bytes.as_chunks::<BLOCK_BYTES>().0 {
                    let scale = from_f16(u16::from_le_bytes([*low, *high]));
                    to.extend(integers.iter().map(|&q| scale * f32::from(q as i8)));
                }
            }
        }
    }
}

/// A block of `q8_0`. The scale is `largest / 127`, rounded to `f16` only as it is stored: so does ggml.
fn encode_block(block: &[f32], largest: f32, to: &mut Vec<u8>) {
    let scale = largest / 127.0;
    let inverse = if scale > 0.0 { scale.recip() } else { 0.0 };
    to.extend(to_f16(scale).to_le_bytes());
    to.extend(block.iter().map(|x| (x * inverse).round() as i8 as u8));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_those_of_ggml() {
        let mut numbers = [0.0_f32; 32];
        (numbers[0], numbers[1], numbers[2], numbers[31]) = (-2.54, 1.28, 0.03, 0.01);
        let mut bytes = Vec::new();
        TensorType::Q8_0.encode(&numbers, &mut bytes).expect("finite");
        assert_eq!(bytes.len(), 34);
        assert_eq!(bytes[..2], 0x251f_u16.to_le_bytes(), "0.02 as f16");
        assert_eq!(bytes[2..4], [(-127_i8) as u8, 64]);
        let mut read = Vec::new();
        TensorType::Q8_0.decode(&bytes, &mut read);
        for (x, y) in numbers.iter().zip(&read) {
            // Half a step, and 127 times what the scale is off by in f16.
            assert!((x - y).abs() <= 0.011, "{x} and {y}");
        }
        bytes.clear();
        TensorType::Q8_0.encode(&[0.0; 64], &mut bytes).expect("finite");
        assert_eq!(bytes, [0; 68]);
    }

    #[test]
    fn numbers_that_do_not_fit_are_returned() {
        let with = |x: f32| {
            let mut numbers = [1.0_f32; 64];
            numbers[40] = x;
            TensorType::ALL.map(|kind| kind.encode(&numbers, &mut Vec::new()).err())
        };
        assert_eq!(with(-60_000.0), [None; 4]);
        assert_eq!(with(-70_000.0), [None, Some(-70_000.0), None, None]);
        assert_eq!(with(f32::MAX), [None, Some(f32::MAX), Some(f32::MAX), Some(f32::MAX)]);
        assert_eq!(with(f32::INFINITY), [Some(f32::INFINITY); 4]);
        assert!(with(f32::NAN).iter().all(|x| x.is_some_and(f32::is_nan)));
    }
}
