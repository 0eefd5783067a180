//! The fast engine: whole matrices in `f32`, and a hand-written backward for each operation.
//!
//! It computes what the default bodies of [`Tensor`](crate::Tensor) say, and the tests hold it to that. `tape.rs` records
//! what was computed, `ops/` has one operation a file with the derivation of its gradient, `attention/` the largest of
//! them, and `backward.rs` walks the tape back.

mod attention;
mod backward;
mod engine;
mod inference;
mod matrix;
mod memory;
mod ops;
mod precision;
mod simd;
mod stages;
mod tape;
mod weights;

pub use attention::AttentionBlocks;
pub use engine::FastEngine;
pub use inference::InferenceEngine;
pub use precision::Precision;
pub use tape::{Matrix, NodeInfo};
pub use weights::StoredParams;
