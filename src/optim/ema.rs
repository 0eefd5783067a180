//! BoundParams averaged over time, which often do better than the last ones.

use crate::real::Real;

/// An exponential moving average of the weights (Polyak & Juditsky 1992).
#[derive(Clone, Debug)]
pub struct Ema<R> {
    average: Vec<R>,
}

impl<R: Real> Ema<R> {
    /// Begins at the given weights.
    pub fn new(params: &[R]) -> Self {
        Ema { average: params.to_vec() }
    }

    /// Keeps a share `decay` of the average and takes the rest from the weights.
    pub fn update(&mut self, params: &[R], decay: f64) {
        let (keep, take) = (R::from_f64(decay), R::from_f64(1.0 - decay));
        self.average.iter_mut().zip(params).for_each(|(a, w)| *a = keep * *a + take * *w);
    }

    /// The averaged weights.
    pub fn params(&self) -> &[R] {
        &self.average
    }

    /// The same, to be restored.
    pub fn params_mut(&mut self) -> &mut [R] {
        &mut self.average
    }
}
