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
//! In an [`Arena`]: memory that is filled from one end and emptied all at once. [`Arena::graph`] empties it and
//! starts a new [`Graph`] there, so that after the first few training steps nothing is asked of the system.
//! Numbers that are born together (the elements of a row, of a whole matrix) lie together in one block:
//! their values in one array, their gradients in another, and how they were made noted once. A number made by
//! itself is a block of one. So a [`Value`] is a block and an index, and a dot product reads two stretches
//! of memory from left to right, which is what processors are good at.
//!
//! A model sees none of this: it computes with [`Matrix`], the engine's [`Tensor`](crate::Tensor).

mod backward;
mod diagram;
mod engine;
mod made;
mod matrix;
mod value;
mod view;

pub use diagram::{Diagram, DiagramNode};
pub use engine::ScalarEngine;
pub use matrix::{Bound, Matrix};
pub use value::{Arena, Graph, Value};
