//! How the learning rate changes in the course of training.

/// The learning rate as a share of its highest value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Schedule {
    /// A straight line down to zero, which the step after the last would reach.
    Linear,
}

impl Schedule {
    /// The share at `step` (from 0) of `steps`.
    pub fn share(self, step: usize, steps: usize) -> f64 {
        match self {
            Schedule::Linear => 1.0 - step as f64 / steps as f64,
        }
    }
}
