//! Weights stored for generation, in 32, 16 or 8 bits, and the products with them.
//!
//! To write one more word, a model reads each of its weights once and does one multiply-add with it. The memory is the
//! limit, not the arithmetic: what counts is how many bytes a weight takes, and that they are read one after the other.
//! Training is the opposite case, and so a [`StoredMatrix`] is for reading alone. It is repacked once, in panels of as many
//! outputs as two vectors have lanes, each with one input after the other; in whole numbers of 8 bits, with one block of 32
//! inputs after the other (`blocks.rs`).
//!
//! - In 8 bits (`int8.rs`), and for not too many rows in 32 and 16 bits (`few.rs`), weights go from the memory to the
//!   registers and are widened there, for up to four rows of `x` at once.
//! - For many rows, as a prompt has, panels of 32 and 16 bits run on the tiles of [`gemm`](super::gemm). Those of 16 bits are
//!   widened for them, a block of a panel that fits in the first cache at a time (`product.rs`).
//!
//! **Which bits come out.** An output depends on its row of `x`, its row of weights and the instruction set, and on nothing
//! else: not on how many rows there are, nor on threads, nor on which matrices share a call. In 8 bits it does not even
//! depend on the instruction set.
//!
//! Numbers of 8 bits have loops for AVX2, which run on processors with AVX-512 too, and plain ones for all others: the
//! instructions for such products that newer processors have, x86's VNNI and ARM's dot products, are not used.

mod blocks;
mod few;
mod int8;
#[cfg(target_arch = "x86_64")]
mod int8_avx2;
mod kernels;
mod keys;
mod product;
#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;

use blocks::{BLOCK, PANEL, PanelBlock};
use kernels::Kernels;
pub(crate) use keys::{mix, scores};
pub use product::products;

use crate::real::half::{from_bf16, to_bf16};

/// How the numbers of a weight matrix are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Dtype {
    /// 32 bits, as they were trained.
    #[default]
    F32,
    /// Bfloat16, the upper half of an `f32`, rounded to the nearest: two to three decimal digits.
    Bf16,
    /// Whole numbers from -127 to 127 in blocks of 32 along the inputs, each with a scale in float16: GGUF's `q8_0`.
    /// A product rounds its inputs in the same way.
    Int8,
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.pad(match self {
            Dtype::F32 => "f32",
            Dtype::Bf16 => "bf16",
            Dtype::Int8 => "int8",
        })
    }
}

/// A name that no [`Dtype`] has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("weights cannot be stored as {0:?}: take f32, bf16 or int8")]
pub struct UnknownDtype(pub String);

impl FromStr for Dtype {
    type Err = UnknownDtype;

    fn from_str(name: &str) -> Result<Self, UnknownDtype> {
        let all = [Dtype::F32, Dtype::Bf16, Dtype::Int8];
        all.into_iter().find(|dtype| dtype.to_string() == name).ok_or_else(|| UnknownDtype(name.to_string()))
    }
}

/// A weight matrix `[rows = outputs, cols = inputs]`, packed for the registers of this machine.
pub struct StoredMatrix {
    dtype: Dtype,
    rows: usize,
    cols: usize,
    kernels: Kernels,
    lines: Vec<Line>,
}

/// A line of the caches: where the packed numbers begin, a line begins.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
struct Line([u8; 64]);

/// What a packed matrix is made of.
///
/// # Safety
///
/// Any bytes must be a value, and a line's beginning must suit it.
unsafe trait Packed: Copy {}

// SAFETY: these are numbers and arrays of numbers, without gaps.
unsafe impl Packed for f32 {}
// SAFETY: as above.
unsafe impl Packed for u16 {}
// SAFETY: as above: the scales take 32 bytes, the numbers 512.
unsafe impl Packed for PanelBlock {}

impl StoredMatrix {
    /// Stores `rows` rows of `cols` numbers, one row after the other.
    ///
    /// Numbers that are not finite stay so: the products with them are not finite either. In 8 bits that holds for the whole
    /// block; also, numbers above 65504 * 127 become that there, and a block whose numbers are all below 3e-6 becomes zero.
    ///
    /// # Panics
    /// If there are not `rows * cols` numbers.
    #[track_caller]
    pub fn new(dtype: Dtype, numbers: &[f32], rows: usize, cols: usize) -> Self {
        Self::with_kernels(kernels::best(), dtype, numbers, rows, cols)
    }

    #[track_caller]
    fn with_kernels(kernels: Kernels, dtype: Dtype, numbers: &[f32], rows: usize, cols: usize) -> Self {
        assert!(
            rows.checked_mul(cols) == Some(numbers.len()),
            "StoredMatrix: {} numbers are not {rows}x{cols}",
            numbers.len()
        );
        let mut matrix = StoredMatrix { dtype, rows, cols, kernels, lines: Vec::new() };
        // A matrix without inputs may have any number of outputs, and the other way round.
        let bytes = if numbers.is_empty() { 0 } else { matrix.panels() * matrix.panel_bytes() };
        matrix.lines = vec![Line([0; 64]); bytes.div_ceil(size_of::<Line>())];
        let (width, lanes) = (matrix.panel_width(), kernels.lanes());
        let rows = numbers
            .chunks_exact(cols.max(1))
            .enumerate()
            .map(|(row, numbers)| (row / width, row % width, numbers));
        match dtype {
            Dtype::F32 => {
                let to = matrix.packed_mut::<f32>();
                for (panel, output, numbers) in rows {
                    let panel = to[panel * cols * width..].iter_mut().skip(output).step_by(width);
                    panel.zip(numbers).for_each(|(to, x)| *to = *x);
                }
            }
            Dtype::Bf16 => {
                let to = matrix.packed_mut::<u16>();
                for (panel, output, numbers) in rows {
                    let output = interleaved(output, lanes);
                    let panel = to[panel * cols * width..].iter_mut().skip(output).step_by(width);
                    panel.zip(numbers).for_each(|(to, x)| *to = to_bf16(*x));
                }
            }
            Dtype::Int8 => {
                let blocks = cols.div_ceil(BLOCK);
                let to = matrix.packed_mut::<PanelBlock>();
                for (panel, output, numbers) in rows {
                    for (to, numbers) in to[panel * blocks..].iter_mut().zip(numbers.chunks(BLOCK)) {
                        let mut block = [0.0; BLOCK];
                        block[..numbers.len()].copy_from_slice(numbers);
                        to.put(output, &block);
                    }
                }
            }
        }
        matrix
    }

    /// The number of outputs.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The number of inputs.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// How the numbers are stored.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// The memory that the packed numbers take.
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.lines)
    }

    /// The numbers of a row as they are stored, rounded.
    ///
    /// # Panics
    /// If there is no such row, or `to` does not have room for just `cols` numbers.
    #[track_caller]
    pub fn read_row(&self, row: usize, to: &mut [f32]) {
        let (rows, cols) = (self.rows, self.cols);
        assert!(row < rows, "read_row: there is no row {row} among {rows}");
        assert!(to.len() == cols, "read_row: {} places for a row of {cols} numbers", to.len());
        let width = self.panel_width();
        let (panel, output) = (row / width, row % width);
        let to = to.iter_mut().enumerate();
        match self.dtype {
            Dtype::F32 => {
                let numbers = self.packed::<f32>();
                to.for_each(|(i, to)| *to = numbers[(panel * cols + i) * width + output]);
            }
            Dtype::Bf16 => {
                let (numbers, output) = (self.packed::<u16>(), interleaved(output, self.kernels.lanes()));
                to.for_each(|(i, to)| *to = from_bf16(numbers[(panel * cols + i) * width + output]));
            }
            Dtype::Int8 => {
                let (blocks, first) = (self.packed::<PanelBlock>(), panel * cols.div_ceil(BLOCK));
                to.for_each(|(i, to)| *to = blocks[first + i / BLOCK].get(output, i % BLOCK));
            }
        }
    }

    /// How many outputs a panel has.
    fn panel_width(&self) -> usize {
        if self.dtype == Dtype::Int8 { PANEL } else { 2 * self.kernels.lanes() }
    }

    fn panels(&self) -> usize {
        self.rows.div_ceil(self.panel_width())
    }

    fn panel_bytes(&self) -> usize {
        match self.dtype {
            Dtype::F32 => self.cols * self.panel_width() * size_of::<f32>(),
            Dtype::Bf16 => self.cols * self.panel_width() * size_of::<u16>(),
            Dtype::Int8 => self.cols.div_ceil(BLOCK) * size_of::<PanelBlock>(),
        }
    }

    fn packed<T: Packed>(&self) -> &[T] {
        // SAFETY: any bytes are a `T`, and a line begins where one may begin.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.bytes() / size_of::<T>()) }
    }

    fn packed_mut<T: Packed>(&mut self) -> &mut [T] {
        // SAFETY: as above, and a `T` is nothing but bytes.
        unsafe {
            std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.bytes() / size_of::<T>())
        }
    }
}

impl fmt::Debug for StoredMatrix {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "StoredMatrix({}x{} {})", self.rows, self.cols, self.dtype)
    }
}

/// Where an output has its place if the two vectors of a panel lie interleaved.
fn interleaved(output: usize, lanes: usize) -> usize {
    output % lanes * 2 + output / lanes
}
