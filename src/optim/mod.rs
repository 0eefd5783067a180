//! How parameters follow their gradients.
//!
//! - [`Adam`]: a step size for each number; AdamW with weight decay.
//! - [`Muon`]: orthogonal steps for matrices, Adam for the rest.
//! - [`norms`], [`angles`]: the lengths of vectors that are to have length 1, and how far a step turned them.
//! - [`clip`], [`Ema`], [`constrain`], [`Schedule`]: what happens before and after a step.
//!
//! All of them see plain slices. They know from the [`Layout`](crate::params::Layout) which numbers are trainable,
//! which of them decay, and which make a matrix.

mod adam;
mod clip;
mod constrain;
mod ema;
mod muon;
mod schedule;
mod sphere;

pub use adam::{Adam, AdamSettings};
pub use clip::clip;
pub use constrain::{constrain, normalize};
pub use ema::Ema;
pub use muon::{Momentum, Muon, MuonSettings, UnitStep, orthogonalize};
pub use schedule::{Decay, Schedule};
pub use sphere::{Spread, angles, lengths, norms};

use crate::real::Real;

/// Changes a model's parameters according to their gradient.
pub trait Optimizer<R: Real> {
    /// Makes one step. `params` is the flat buffer of the layout that the optimizer was made for, `gradient` has the
    /// trainable numbers alone, and the learning rate is the current one. Frozen parameters stay as they are.
    ///
    /// # Panics
    /// If the slices are not as long as that layout says.
    fn update(&mut self, params: &mut [R], gradient: &[R], learning_rate: f64);

    /// What it remembers from step to step: named buffers, to be saved and restored.
    fn state(&mut self) -> Vec<(&'static str, &mut [R])>;

    /// How many steps it has made.
    fn steps(&self) -> usize;

    /// Continues after this many steps, once its state has been restored.
    fn set_steps(&mut self, steps: usize);
}
