//! Parameters averaged over time, which often do better than the last ones.

use super::normalize;
use crate::params::Layout;
use crate::real::Real;

/// An exponential moving average of the trainable parameters (Polyak & Juditsky 1992).
#[derive(Clone, Debug)]
pub struct Ema<R> {
    average: Vec<R>,
}

impl<R: Real> Ema<R> {
    /// An average that starts at the given parameters.
    pub fn new(layout: &Layout, params: &[R]) -> Self {
        Ema { average: layout.gather_trainable(params) }
    }

    /// Keeps `decay` of the average and mixes in `1 - decay` of the parameters.
    ///
    /// An average of vectors of length 1 is shorter than 1, so constraints are restored here, too.
    pub fn update(&mut self, layout: &Layout, params: &[R], decay: f64) {
        let (keep, take) = (R::from_f64(decay), R::from_f64(1.0 - decay));
        for (spec, range, grad_range) in layout.trainable() {
            let average = &mut self.average[grad_range];
            average.iter_mut().zip(&params[range]).for_each(|(a, w)| *a = keep * *a + take * *w);
            if let Some(vectors) = spec.constraint {
                normalize(average, spec.cols, vectors);
            }
        }
    }

    /// The averages, laid out like a gradient.
    pub fn average(&self) -> &[R] {
        &self.average
    }

    /// The same, to be restored.
    pub fn average_mut(&mut self) -> &mut [R] {
        &mut self.average
    }
}
