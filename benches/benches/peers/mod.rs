//! Matrix products of other crates, each with one thread.
//!
//! Two of them take pointers, so calling them is `unsafe`. The calls are sound because every slice is as long as the shape
//! says, which [`check_lengths`] asserts.

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};

use super::{Multiply, Shape};

/// All of them.
pub const ALL: &[(&str, Multiply)] =
    &[("matrixmultiply", by_matrixmultiply), ("gemm", by_gemm), ("faer", by_faer)];

/// The row and column strides of `a` as `[m, k]` and of `b` as `[k, n]`.
fn strides(Shape { m, n, k, a_t, b_t, .. }: Shape) -> [(isize, isize); 2] {
    let strides = |rows: usize, cols: usize, transposed: bool| match transposed {
        true => (1, rows as isize),
        false => (cols as isize, 1),
    };
    [strides(m, k, a_t), strides(k, n, b_t)]
}

/// Asserts that the slices are as long as the shape says.
fn check_lengths(Shape { m, n, k, .. }: Shape, a: &[f32], b: &[f32], c: &[f32]) {
    assert_eq!((a.len(), b.len(), c.len()), (m * k, k * n, m * n));
}

fn by_matrixmultiply(shape: Shape, a: &[f32], b: &[f32], c: &mut [f32]) {
    check_lengths(shape, a, b, c);
    let Shape { m, n, k, .. } = shape;
    let [(a_row, a_col), (b_row, b_col)] = strides(shape);
    let (a, b, c) = (a.as_ptr(), b.as_ptr(), c.as_mut_ptr());
    // SAFETY: the slices are as long as the shape says, and the strides stay within them.
    unsafe {
        matrixmultiply::sgemm(m, k, n, 1.0, a, a_row, a_col, b, b_row, b_col, 0.0, c, n as isize, 1);
    }
}

fn by_gemm(shape: Shape, a: &[f32], b: &[f32], c: &mut [f32]) {
    check_lengths(shape, a, b, c);
    let Shape { m, n, k, .. } = shape;
    let [(a_row, a_col), (b_row, b_col)] = strides(shape);
    let (a, b, c) = (a.as_ptr(), b.as_ptr(), c.as_mut_ptr());
    let (c_col, parallelism) = (1, gemm::Parallelism::None);
    // SAFETY: the slices are as long as the shape says, and the strides stay within them.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            c,
            c_col,
            n as isize,
            false,
            a,
            a_col,
            a_row,
            b,
            b_col,
            b_row,
            0.0,
            1.0,
            false,
            false,
            false,
            parallelism,
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
