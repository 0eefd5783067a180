//! The scalar engine: every number is a node of a graph, in `f64`. It is transparent and exact, and the specification that
//! every other engine is tested against.
//!
//! Every [`Value`] is one number of a calculation. It knows its operation and its operands, so the whole calculation is a
//! graph. [`Value::backward`] walks the graph from the result back to the inputs and computes how much the result changes
//! with each number in it: the gradient. That is all of automatic differentiation (reverse mode; Linnainmaa 1970), and
//! all that a neural network needs in order to learn.
//!
//! # Where the numbers live
//!
//! In an [`Arena`]: memory that is filled from one end and emptied all at once. [`Arena::graph`] empties it and starts a new
//! [`Graph`] there, with as much memory as the last one needed, so that after the first few training steps no more memory is
//! allocated. The numbers of a graph lie side by side in the order of their creation, and a [`Value`] is the index of one of
//! them. So the rows of a matrix lie side by side too, and a dot product reads two contiguous pieces of memory, which is
//! what processors are good at.
//!
//! Models see none of this: they compute with [`Matrix`], the engine's [`Tensor`](crate::Tensor).

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
