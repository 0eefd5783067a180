//! Loss scaling (Micikevicius et al. 2017, "Mixed Precision Training", section 3.2), dynamic as in PyTorch's `GradScaler`.

use serde::{Deserialize, Serialize};

use crate::real::Real;

/// Keeps gradients within the reach of float16, which rounds everything below 3e-8 to zero and everything from 65520 on to
/// infinity.
///
/// The loss is multiplied by a large factor. By the chain rule so is every gradient, and those that were too small are not
/// rounded to zero any more. The finished gradient, which has 32 bits, is divided by the factor before anything else is done
/// with it. The factor is a power of two: it moves the exponents and rounds nothing.
///
/// It finds the factor by trying. If it is too large, some number of the gradient is infinite or none at all: the step is
/// skipped, and the factor is halved. After many good steps in a row it is doubled.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LossScaler {
    /// The factor of the next step: a power of two, 65536 at first and never below 1.
    pub scale: f64,
    /// After how many good steps in a row it is doubled: 2000, as long as nothing else is said.
    pub growth_interval: usize,
    /// How many good steps there were in a row.
    pub good_steps: usize,
    /// How many steps of the run were skipped.
    pub skipped: usize,
}

impl Default for LossScaler {
    fn default() -> Self {
        LossScaler { scale: 65536.0, growth_interval: 2000, good_steps: 0, skipped: 0 }
    }
}

impl LossScaler {
    /// Divides a gradient by the factor, and says whether all its numbers are finite. The factor follows from that.
    pub fn unscale<R: Real>(&mut self, gradient: &mut [R]) -> bool {
        let share = R::from_f64(1.0 / self.scale);
        // Zero times a finite number is zero; times infinity or NaN it is NaN. So one sum is enough, without a branch.
        let mut zero = R::from_f64(0.0);
        for g in gradient {
            *g *= share;
            zero += *g * R::from_f64(0.0);
        }
        let finite = zero.to_f64().is_finite();
        self.update(finite);
        finite
    }

    /// A step was good, or it was skipped.
    fn update(&mut self, good: bool) {
        // ANCHOR: update
        if !good {
            self.scale = (self.scale / 2.0).max(1.0);
            self.good_steps = 0;
            self.skipped += 1;
            return;
        }
        self.good_steps += 1;
        if self.good_steps >= self.growth_interval {
            self.scale *= 2.0;
            self.good_steps = 0;
        }
        // ANCHOR_END: update
    }

    /// The same before the first step of a run.
    pub(super) fn at_start(self) -> Self {
        LossScaler { good_steps: 0, skipped: 0, ..self }
    }

    /// Whether it may be the state of a run after so many steps.
    pub(super) fn is_plausible(&self, steps: usize) -> bool {
        self.scale.is_finite() && self.scale >= 1.0 && self.skipped <= steps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_halves_at_once_and_doubles_after_good_steps_in_a_row() {
        let mut scaler = LossScaler { scale: 8.0, growth_interval: 3, ..LossScaler::default() };
        let mut scales = Vec::new();
        for bad in [0.0, 0.0, 0.0, f32::NAN, 0.0, 0.0, f32::NEG_INFINITY, 0.0, 0.0, 0.0, 0.0] {
            let mut gradient = [16.0, bad, -1.0];
            let scale = scaler.scale as f32;
            assert_eq!(scaler.unscale(&mut gradient), bad == 0.0);
            assert_eq!((gradient[0], gradient[2]), (16.0 / scale, -1.0 / scale));
            scales.push(scaler.scale);
        }
        assert_eq!(scales, [8.0, 8.0, 16.0, 8.0, 8.0, 8.0, 4.0, 4.0, 4.0, 8.0, 8.0]);
        assert_eq!((scaler.skipped, scaler.good_steps), (2, 1));
    }

    #[test]
    fn it_never_falls_below_1() {
        let mut scaler = LossScaler { scale: 4.0, ..LossScaler::default() };
        (0..5).for_each(|_| assert!(!scaler.unscale(&mut [f64::INFINITY])));
        assert_eq!(scaler.scale, 1.0);
        assert!(scaler.unscale(&mut [f64::MAX, -f64::MAX]));
    }
}
