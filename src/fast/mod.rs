//! The fast engine: whole matrices in `f32`, products through BLAS, and a hand-written backward for each operation.
//!
//! It computes what the default bodies of [`Tensor`](crate::Tensor) say, and the tests hold it to that. Each file has forward
//! and backward of a family of operations side by side, with the derivation.

mod attention;
mod backward;
mod elementwise;
mod engine;
mod loss;
mod matmul;
mod matrix;
mod norm;
mod rope;
mod rows;
mod short;
mod simd;
mod tape;

pub use engine::FastEngine;
pub use tape::Matrix;
