//! (11) Blocks: numbers that are made together share one record.
//!
//! In a graph of single nodes, every number has an op of its own. A matrix product `[7, 16] · [64, 16]ᵀ` makes 448
//! numbers, so 448 ops are written during forward, and backward reads and decodes each of them again. But all of them say
//! the same: "the dot product of a row of `a` with a row of `b`". Which rows these are follows from where the number stands
//! in the result.
//!
//! Here the numbers of a matrix form one *block*. A block stores
//!
//! - their values in one array and their gradients in another,
//! - one `Op` for all of them: the operation and the matrices that hold the operands,
//! - one visited mark for all of them.
//!
//! Every number still is a node of the graph: it has a value, a gradient and operands of its own. Only the record of how
//! it was made is shared. Two things make this faster than single nodes:
//!
//! 1. **Fewer decisions.** The `match` on the operation and the visited mark happen once a matrix, and bounds checks once a
//!    row. What is left inside is a loop over floats, which the compiler turns into vector instructions.
//! 2. **Backward sees neighbours.** The dot products of one row of `a` all add to the gradient of that row. A node that
//!    knows only itself has to load and store this gradient; a block keeps it in registers while they all pass by
//!    (`dot.rs`).
//!
//! A matrix is a `View` of a block: a start, a shape and a stride, as in NumPy and PyTorch. Cutting out rows or columns
//! makes no nodes, and gradients arrive in the right place by themselves.
//!
//! The price is that a number on its own is a block of one, which costs more than a single node. A model makes few of
//! those.
//!
//! Read `block.rs` (where numbers live) first, then `op.rs`, `view.rs`, `matrix.rs` (forward), `backward.rs` and `dot.rs`.

mod backward;
mod block;
mod dot;
mod engine;
mod matrix;
mod op;
mod view;

pub use block::{Arena, Graph};
pub use engine::BlocksEngine;
pub use matrix::Matrix;
