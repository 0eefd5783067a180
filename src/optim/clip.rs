//! A limit on the length of one step.

use crate::real::Real;

/// Scales a whole gradient down so that its length (its global norm) is at most `max_norm` (Pascanu et al. 2013).
/// Returns the length it had.
///
/// # Panics
/// If `max_norm` is not above zero: a negative one would turn the gradient around.
pub fn clip<R: Real>(gradient: &mut [R], max_norm: f64) -> f64 {
    assert!(max_norm > 0.0, "clip: a gradient cannot have the length {max_norm}");
    let norm = sum_of_squares(gradient).sqrt();
    let factor = max_norm / (norm + 1e-6);
    if factor < 1.0 {
        let factor = R::from_f64(factor);
        gradient.iter_mut().for_each(|g| *g *= factor);
    }
    norm
}

/// The squares are summed in `f64`, in a fixed number of lanes, so the result is the same on every machine.
pub(super) fn sum_of_squares<R: Real>(numbers: &[R]) -> f64 {
    let mut sums = [0.0; 8];
    let (chunks, rest) = numbers.as_chunks::<8>();
    for chunk in chunks {
        for (sum, x) in sums.iter_mut().zip(chunk) {
            *sum += x.to_f64() * x.to_f64();
        }
    }
    let rest: f64 = rest.iter().map(|x| x.to_f64() * x.to_f64()).sum();
    sums.iter().sum::<f64>() + rest
}
