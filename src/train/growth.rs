//! Factors that grow by a schedule.

use crate::params::Layout;
use crate::real::Real;

/// Lets some parameters grow during training, beside what they learn: in a straight line over a number of steps,
/// until they are `factor` times as large as they would be. In the normalized transformer that is `alpha`, so that
/// its blocks begin with short steps.
///
/// The parameters themselves are multiplied in each step. So validation, generation and checkpoints need not know.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Growth {
    /// Which: all trainable parameters whose names contain this.
    pub names: &'static str,
    /// By what they are multiplied in all; above 0.
    pub factor: f64,
    /// Over how many steps.
    pub steps: usize,
}

impl Growth {
    /// By what the parameters have been multiplied after this many steps.
    fn after(self, steps: usize) -> f64 {
        let progress = if steps < self.steps { steps as f64 / self.steps as f64 } else { 1.0 };
        1.0 + (self.factor - 1.0) * progress
    }

    /// The growth of the step after `done` others.
    ///
    /// # Panics
    /// If the factor is not above 0.
    pub(super) fn apply<R: Real>(self, layout: &Layout, params: &mut [R], done: usize) {
        assert!(self.factor > 0.0, "Growth: by a factor of {}", self.factor);
        if done >= self.steps {
            return;
        }
        let ratio = R::from_f64(self.after(done + 1) / self.after(done));
        for (_, range, _) in layout.trainable().filter(|(spec, ..)| spec.name.contains(self.names)) {
            params[range].iter_mut().for_each(|x| *x *= ratio);
        }
    }
}
