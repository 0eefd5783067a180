//! What a model costs: parameters, floating-point operations and memory. Nothing here is a formula for one architecture: all
//! figures follow from the model itself, so they hold for any.
//!
//! - [`Part`], [`parameters`]: how many parameters each part of a model has, by the names in its [`Layout`](crate::params::Layout).
//! - [`Operations`]: how much a forward pass computes. [`Shape`] is a tensor without numbers: a model runs on it as on any
//!   engine, and nothing happens but that every operation is counted.
//! - [`Generation`]: the same for the next token of a text, with what is kept of the tokens before it.
//! - [`Activations`]: how much the fast engine keeps of a forward pass until the way back, read off its tape;
//!   [`TrainingMemory`] adds what else a step of training needs.

mod memory;
mod operations;
mod parts;
mod shape;

pub use memory::{Activations, Amount, Moments, TrainingMemory};
pub use operations::{Generation, Operations};
pub use parts::{Part, parameters};
pub use shape::{Counter, KeptShapes, Shape};
