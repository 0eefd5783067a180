//! How weights learn from their gradients.

mod adam;
mod clip;
mod ema;
mod muon;
mod schedule;

pub use adam::{Adam, AdamSettings};
pub use clip::clip;
pub use ema::Ema;
pub use muon::{Momentum, Muon, MuonSettings, orthogonalize};
pub use schedule::Schedule;

use crate::real::Real;

/// Changes weights according to their gradient.
pub trait Optimizer<R: Real> {
    /// One step. The learning rate is the current one.
    ///
    /// # Panics
    /// If the slices are not as long as the optimizer expects.
    fn update(&mut self, params: &mut [R], gradient: &[R], learning_rate: f64);

    /// What it remembers from step to step: buffers with their names, to be saved and restored.
    fn state(&mut self) -> Vec<(&'static str, &mut [R])>;

    /// How many steps it has made.
    fn steps(&self) -> usize;

    /// Goes on from so many steps, after its memory has been restored.
    fn set_steps(&mut self, steps: usize);
}
