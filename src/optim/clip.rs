//! A limit on how far one step can be thrown.

use crate::real::Real;

/// Scales the whole gradient down so that its length (global norm) is at most `max_norm` (Pascanu et al. 2013). Returns the
/// length it had.
pub fn clip<R: Real>(gradient: &mut [R], max_norm: f64) -> f64 {
    // Squares are added up in f64, in lanes, so that the order and the precision depend on nothing else.
    let mut sums = [0.0; 8];
    let (chunks, rest) = gradient.as_chunks::<8>();
    for chunk in chunks {
        for (sum, g) in sums.iter_mut().zip(chunk) {
            *sum += g.to_f64() * g.to_f64();
        }
    }
    let rest: f64 = rest.iter().map(|g| g.to_f64() * g.to_f64()).sum();
    let norm = (sums.iter().sum::<f64>() + rest).sqrt();
    let factor = max_norm / (norm + 1e-6);
    if factor < 1.0 {
        let factor = R::from_f64(factor);
        gradient.iter_mut().for_each(|g| *g *= factor);
    }
    norm
}
