//! The scalar engine: every number is a node of a graph, in `f64`. Transparent and exact: the specification by which every
//! other engine is judged.
//!
//! Every [`Value`] is one number of a calculation. It knows its operation and its operands, so the whole
//! calculation is a graph, and [`Value::backward`] walks it from the result to the beginning to find how
//! much the result would change with every number in it: the gradient. That is all of automatic
//! differentiation (in reverse mode; Linnainmaa 1970), and all that a neural network needs in order to learn.
//!
//! # Where the numbers live
//!
//! In an [`Arena`]: memory that is filled from one end and emptied all at once. [`Arena::graph`] empties it and starts a new
//! [`Graph`] there, with as much room as the last one needed, so that after the first few training steps nothing is asked
//! of the system. The numbers of a graph lie side by side, in the order in which they were made, and a [`Value`] is the
//! place of one of them. So the rows of a matrix lie side by side too, and a dot product reads two stretches of memory from
//! left to right, which is what processors are good at.
//!
//! A model sees none of this: it computes with [`Matrix`], the engine's [`Tensor`](crate::Tensor).

mod arena;
mod diagram;
mod drawing;
mod engine;
mod matrix;
mod value;

pub use arena::Arena;
pub use diagram::{Diagram, DiagramNode};
pub use engine::ScalarEngine;
pub use matrix::{Bound, Matrix};
pub use value::{Graph, Value};
