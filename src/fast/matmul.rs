//! Matrix products, forward and backward, all through the one door to BLAS.
//!
//! If `C = A·B`, and `dC` is the gradient of the result, then every product `aᵢₖ·bₖⱼ` in `cᵢⱼ` hands `dcᵢⱼ·bₖⱼ` to `aᵢₖ` and
//! `dcᵢⱼ·aᵢₖ` to `bₖⱼ`. Summed up, that is two products again: `dA = dC·Bᵀ` and `dB = Aᵀ·dC`. For `C = A·Bᵀ`, as
//! in a layer of weights, likewise `dA = dC·B` and `dB = dCᵀ·A`.

use super::tape::{Gradients, Id, Matrix, Op};
use crate::gemm::{MatMut, MatRef, gemm};

/// `a · b`.
pub(super) fn matmul<'t>(a: Matrix<'t>, b: Matrix<'t>) -> Matrix<'t> {
    assert_eq!(a.cols, b.rows, "matmul: {:?} · {:?}", (a.rows, a.cols), (b.rows, b.cols));
    a.recording.compute(Op::Matmul { a: a.id, b: b.id }, (a.rows, b.cols), |view, y, _| {
        let x = MatRef::new(view.data(a.id), a.rows, a.cols);
        let z = MatRef::new(view.data(b.id), b.rows, b.cols);
        gemm(1.0, x, z, 0.0, MatMut::new(y, a.rows, b.cols));
    })
}

/// `dA = dC·Bᵀ`, `dB = Aᵀ·dC`.
pub(super) fn matmul_backward(grads: &mut Gradients, a: Id, b: Id, dy: &[f32]) {
    let (n, k) = shape(grads, a);
    let (_, m) = shape(grads, b);
    let dy = MatRef::new(dy, n, m);
    grads.add(a, |view, da, accumulate| {
        let b = MatRef::new(view.data(b), k, m);
        gemm(1.0, dy, b.t(), beta(accumulate), MatMut::new(da, n, k));
    });
    grads.add(b, |view, db, accumulate| {
        let a = MatRef::new(view.data(a), n, k);
        gemm(1.0, a.t(), dy, beta(accumulate), MatMut::new(db, k, m));
    });
}

/// `a · bᵀ`.
pub(super) fn matmul_t<'t>(a: Matrix<'t>, b: Matrix<'t>) -> Matrix<'t> {
    assert_eq!(a.cols, b.cols, "matmul_t: {:?} · {:?}ᵀ", (a.rows, a.cols), (b.rows, b.cols));
    a.recording.compute(Op::MatmulT { a: a.id, b: b.id }, (a.rows, b.rows), |view, y, _| {
        let x = MatRef::new(view.data(a.id), a.rows, a.cols);
        let z = MatRef::new(view.data(b.id), b.rows, b.cols);
        gemm(1.0, x, z.t(), 0.0, MatMut::new(y, a.rows, b.rows));
    })
}

/// `dA = dC·B`, `dB = dCᵀ·A`.
// ANCHOR: matmul_t_backward
pub(super) fn matmul_t_backward(grads: &mut Gradients, a: Id, b: Id, dy: &[f32]) {
    let (n, k) = shape(grads, a);
    let (m, _) = shape(grads, b);
    let dy = MatRef::new(dy, n, m);
    grads.add(a, |view, da, accumulate| {
        let b = MatRef::new(view.data(b), m, k);
        gemm(1.0, dy, b, beta(accumulate), MatMut::new(da, n, k));
    });
    grads.add(b, |view, db, accumulate| {
        let a = MatRef::new(view.data(a), n, k);
        gemm(1.0, dy.t(), a, beta(accumulate), MatMut::new(db, m, k));
    });
}
// ANCHOR_END: matmul_t_backward

/// What the product is added to: nothing, or what is there.
fn beta(accumulate: bool) -> f32 {
    if accumulate { 1.0 } else { 0.0 }
}

fn shape(grads: &Gradients, id: Id) -> (usize, usize) {
    let node = &grads.view.nodes[id as usize];
    (node.rows, node.cols)
}
