//! Parameters whose rows or columns have length 1.

use super::clip::sum_of_squares;
use crate::params::{Layout, UnitNorm};
use crate::real::Real;

/// Restores the constraint of every trainable parameter that has one, as the normalized transformer does after each
/// update (Loshchilov et al. 2024, section 2.1). Frozen parameters stay as they are.
pub fn constrain<R: Real>(layout: &Layout, params: &mut [R]) {
    for (spec, range, _) in layout.trainable() {
        if let Some(vectors) = spec.constraint {
            normalize(&mut params[range], spec.cols, vectors);
        }
    }
}

/// Divides each row, or each column, of a matrix with `cols` columns by its length. A vector of zeros has no direction
/// and stays.
///
/// The arithmetic is in `f64` for both types of numbers: however long a vector is, its length is then 1 within the
/// rounding of a single number.
pub fn normalize<R: Real>(matrix: &mut [R], cols: usize, vectors: UnitNorm) {
    match vectors {
        UnitNorm::Rows => {
            for row in matrix.chunks_exact_mut(cols) {
                let factor = inverse_length(sum_of_squares(row));
                row.iter_mut().for_each(|x| *x = R::from_f64(x.to_f64() * factor));
            }
        }
        UnitNorm::Cols => {
            // A strip of columns at a time, so that memory is read along the rows and the sums fit on the stack.
            for start in (0..cols).step_by(STRIP) {
                let strip = start..cols.min(start + STRIP);
                let mut squares = [0.0; STRIP];
                for row in matrix.chunks_exact(cols) {
                    let sums = squares.iter_mut().zip(&row[strip.clone()]);
                    sums.for_each(|(sum, x)| *sum += x.to_f64() * x.to_f64());
                }
                let factors = squares.map(inverse_length);
                for row in matrix.chunks_exact_mut(cols) {
                    let numbers = row[strip.clone()].iter_mut().zip(factors);
                    numbers.for_each(|(x, factor)| *x = R::from_f64(x.to_f64() * factor));
                }
            }
        }
    }
}

/// How many columns are summed at once.
const STRIP: usize = 64;

/// What a vector with this sum of squares is multiplied by.
fn inverse_length(squares: f64) -> f64 {
    if squares > 0.0 { squares.sqrt().recip() } else { 1.0 }
}
