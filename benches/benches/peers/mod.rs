//! Other crates' matrix products, each with one thread.
//!
//! Two of them take pointers, and so their calls are `unsafe`; they are sound because every slice is as long as its shape
//! says, which [`fits`] checks.

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};

use super::{Multiply, Shape};

/// All of them.
pub const ALL: &[(&str, Multiply)] =
    &[("matrixmultiply", by_matrixmultiply), ("gemm", by_gemm), ("faer", by_faer)];

/// How far apart rows and columns lie in the operands: `a` as `[m, k]` and `b` as `[k, n]`.
fn strides(Shape { m, n, k, a_t, b_t, .. }: Shape) -> [(isize, isize); 2] {
    let lie = |width: usize, height: usize, turned: bool| match turned {
        true => (1, height as isize),
        false => (width as isize, 1),
    };
    [lie(k, m, a_t), lie(n, k, b_t)]
}

/// Checks that the slices hold the matrices of the shape.
fn fits(Shape { m, n, k, .. }: Shape, a: &[f32], b: &[f32], c: &[f32]) {
    assert_eq!((a.len(), b.len(), c.len()), (m * k, k * n, m * n));
}

fn by_matrixmultiply(shape: Shape, a: &[f32], b: &[f32], c: &mut [f32]) {
    fits(shape, a, b, c);
    let Shape { m, n, k, .. } = shape;
    let [(a_row, a_col), (b_row, b_col)] = strides(shape);
    let (a, b, c) = (a.as_ptr(), b.as_ptr(), c.as_mut_ptr());
    // SAFETY: the slices are as long as the shape says, and the strides reach each of their elements once.
    unsafe {
        matrixmultiply::sgemm(m, k, n, 1.0, a, a_row, a_col, b, b_row, b_col, 0.0, c, n as isize, 1);
    }
}

fn by_gemm(shape: Shape, a: &[f32], b: &[f32], c: &mut [f32]) {
    fits(shape, a, b, c);
    let Shape { m, n, k, .. } = shape;
    let [(a_row, a_col), (b_row, b_col)] = strides(shape);
    let (a, b, c) = (a.as_ptr(), b.as_ptr(), c.as_mut_ptr());
    let (c_col, alone) = (1, gemm::Parallelism::None);
    // SAFETY: the slices are as long as the shape says, and the strides reach each of their elements once.
    unsafe {
        gemm::gemm(
            m, n, k, c, c_col, n as isize, false, a, a_col, a_row, b, b_col, b_row, 0.0, 1.0, false, false,
            false, alone,
        );
    }
}

fn by_faer(shape: Shape, a: &[f32], b: &[f32], c: &mut [f32]) {
    let Shape { m, n, k, .. } = shape;
    let a = match shape.a_t {
        true => MatRef::from_row_major_slice(a, k, m).transpose(),
        false => MatRef::from_row_major_slice(a, m, k),
    };
    let b = match shape.b_t {
        true => MatRef::from_row_major_slice(b, n, k).transpose(),
        false => MatRef::from_row_major_slice(b, k, n),
    };
    matmul(MatMut::from_row_major_slice_mut(c, m, n), Accum::Replace, a, b, 1.0, Par::Seq);
}
