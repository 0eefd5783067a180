//! Weights stored for generation, in 32, 16 or 8 bits, and the products with them.

use std::fmt;
use std::str::FromStr;

use crate::crew::Crew;

/// How the numbers of a weight matrix are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Dtype {
    /// 32 bits, as they were trained.
    #[default]
    F32,
    /// The upper half of an `f32`, rounded to the nearest: two to three decimal digits.
    Bf16,
    /// Blocks of 32 whole numbers from -127 to 127 with one scale: GGUF's `q8_0`.
    Int8,
}

impl Dtype {
    const ALL: [(Dtype, &str); 3] = [(Dtype::F32, "f32"), (Dtype::Bf16, "bf16"), (Dtype::Int8, "int8")];
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let name = Self::ALL.iter().find(|(dtype, _)| dtype == self).map_or("", |(_, name)| name);
        f.pad(name)
    }
}

/// A name that no [`Dtype`] has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("weights are not stored as {0:?}: f32, bf16 and int8 are known")]
pub struct UnknownDtype(pub String);

impl FromStr for Dtype {
    type Err = UnknownDtype;

    fn from_str(name: &str) -> Result<Self, UnknownDtype> {
        let found = Self::ALL.iter().find(|(_, known)| *known == name);
        found.map(|(dtype, _)| *dtype).ok_or_else(|| UnknownDtype(name.to_string()))
    }
}

/// A weight matrix `[rows = outputs, cols = inputs]`.
#[derive(Debug)]
pub struct StoredMatrix {
    dtype: Dtype,
    rows: usize,
    cols: usize,
    numbers: Vec<f32>,
}

impl StoredMatrix {
    /// Stores `rows` rows of `cols` numbers, one row after the other.
    ///
    /// # Panics
    /// If there are not `rows * cols` numbers.
    #[track_caller]
    pub fn new(dtype: Dtype, numbers: &[f32], rows: usize, cols: usize) -> Self {
        assert!(
            rows.checked_mul(cols) == Some(numbers.len()),
            "StoredMatrix: {} numbers are not {rows}x{cols}",
            numbers.len()
        );
        StoredMatrix { dtype, rows, cols, numbers: numbers.to_vec() }
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

    /// The memory that the numbers take.
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.numbers)
    }

    /// The numbers of a row as they are stored, rounded.
    ///
    /// # Panics
    /// If there is no such row, or `to` does not have room for just `cols` numbers.
    #[track_caller]
    pub fn read_row(&self, row: usize, to: &mut [f32]) {
        to.copy_from_slice(&self.numbers[row * self.cols..][..self.cols]);
    }
}

/// `outs[i] = x · matrices[i]ᵀ`, where `x` is `[n, cols]` and `outs[i]` is `[n, matrices[i].rows()]`. All matrices have
/// the same `cols`.
///
/// # Panics
/// If the shapes do not match.
#[track_caller]
pub fn products(crew: &Crew, x: &[f32], n: usize, matrices: &[&StoredMatrix], outs: &mut [&mut [f32]]) {
    assert!(matrices.len() == outs.len(), "products: {} matrices, {} results", matrices.len(), outs.len());
    let jobs = std::sync::Mutex::new(matrices.iter().zip(outs).collect::<Vec<_>>());
    crew.each(matrices.len(), |_| {
        let Some((matrix, out)) = jobs.lock().ok().and_then(|mut jobs| jobs.pop()) else { return };
        assert!(
            x.len() == n * matrix.cols && out.len() == n * matrix.rows,
            "products: the shapes do not match"
        );
        for row in 0..n {
            for output in 0..matrix.rows {
                let weights = &matrix.numbers[output * matrix.cols..][..matrix.cols];
                let x = &x[row * matrix.cols..][..matrix.cols];
                out[row * matrix.rows + output] = weights.iter().zip(x).map(|(w, x)| w * x).sum();
            }
        }
    });
}
