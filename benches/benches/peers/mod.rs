//! Other crates' matrix products, each with one thread.
//!
//! Two of them take pointers, and so their calls are `unsafe`; they are sound because every slice is as long as its shape says,
//! which [`fits`] checks.

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};

use super::{Multiply, Shape};

/// All of them.
pub const ALL: &[(&str, Multiply)] =
    &[("matrixmultiply", by_matrixmultiply), ("gemm", by_gemm), ("faer", by_faer)];
