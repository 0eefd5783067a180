//! How the learning rate changes during training.

/// The learning rate as a fraction of its highest value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Schedule {
    /// Down to zero in a straight line, which the step after the last would reach.
    Linear,
    /// Up in a straight line (warmup), then down along half a cosine (Loshchilov & Hutter 2016).
    Cosine {
        /// Steps of warmup.
        warmup: usize,
        /// The fraction that is left at the end.
        floor: f64,
    },
}

impl Schedule {
    /// The fraction at `step` (from 0) of `steps`.
    pub fn factor(self, step: usize, steps: usize) -> f64 {
        match self {
            Schedule::Linear => 1.0 - step as f64 / steps as f64,
            Schedule::Cosine { warmup, .. } if step < warmup => (step + 1) as f64 / (warmup + 1) as f64,
            Schedule::Cosine { warmup, floor } => {
                let progress = (step - warmup) as f64 / (steps.saturating_sub(warmup)).max(1) as f64;
                floor + (1.0 - floor) * 0.5 * (1.0 + (std::f64::consts::PI * progress.min(1.0)).cos())
            }
        }
    }
}
