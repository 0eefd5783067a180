//! Matrix products, forward and backward, all through the one door to BLAS.
//!
//! If `C = A·B`, and `dC` is the gradient of the result, then every product `aᵢₖ·bₖⱼ` in `cᵢⱼ` hands `dcᵢⱼ·bₖⱼ` to `aᵢₖ` and
//! `dcᵢⱼ·aᵢₖ` to `bₖⱼ`. Summed up, that is two products again: `dA = dC·Bᵀ` and `dB = Aᵀ·dC`. For `C = A·Bᵀ`, as
//! in a layer of weights, likewise `dA = dC·B` and `dB = dCᵀ·A`.

use super::gemm::{MatMut, MatRef, gemm};
use super::tape::{Gradients, Id, Matrix, Op};

/// `a · b`.
pub(super) fn matmul<'t>(a: Matrix<'t>, b: Matrix<'t>) -> Matrix<'t> {
    assert_eq!(a.cols, b.rows, "matmul: {:?} · {:?}", (a.rows, a.cols), (b.rows, b.cols));
    a.pass.compute(Op::Matmul { a: a.id, b: b.id }, (a.rows, b.cols), |earlier, y, _| {
        let x = MatRef::new(earlier.data(a.id), a.rows, a.cols);
        let z = MatRef::new(earlier.data(b.id), b.rows, b.cols);
        gemm(1.0, x, z, 0.0, MatMut::new(y, a.rows, b.cols));
    })
}

/// `dA = dC·Bᵀ`, `dB = Aᵀ·dC`.
pub(super) fn matmul_backward(out: &mut Gradients, a: Id, b: Id, dy: &[f32]) {
    let (n, k) = shape(out, a);
    let (_, m) = shape(out, b);
    let dy = MatRef::new(dy, n, m);
    out.add(a, |earlier, da, more| {
        let b = MatRef::new(earlier.data(b), k, m);
        gemm(1.0, dy, b.t(), beta(more), MatMut::new(da, n, k));
    });
    out.add(b, |earlier, db, more| {
        let a = MatRef::new(earlier.data(a), n, k);
        gemm(1.0, a.t(), dy, beta(more), MatMut::new(db, k, m));
    });
}

/// `a · bᵀ`.
pub(super) fn matmul_t<'t>(a: Matrix<'t>, b: Matrix<'t>) -> Matrix<'t> {
    assert_eq!(a.cols, b.cols, "matmul_t: {:?} · {:?}ᵀ", (a.rows, a.cols), (b.rows, b.cols));
    a.pass.compute(Op::MatmulT { a: a.id, b: b.id }, (a.rows, b.rows), |earlier, y, _| {
        let x = MatRef::new(earlier.data(a.id), a.rows, a.cols);
        let z = MatRef::new(earlier.data(b.id), b.rows, b.cols);
        gemm(1.0, x, z.t(), 0.0, MatMut::new(y, a.rows, b.rows));
    })
}

/// `dA = dC·B`, `dB = dCᵀ·A`.
// ANCHOR: matmul_t_backward
pub(super) fn matmul_t_backward(out: &mut Gradients, a: Id, b: Id, dy: &[f32]) {
    let (n, k) = shape(out, a);
    let (m, _) = shape(out, b);
    let dy = MatRef::new(dy, n, m);
    out.add(a, |earlier, da, more| {
        let b = MatRef::new(earlier.data(b), m, k);
        gemm(1.0, dy, b, beta(more), MatMut::new(da, n, k));
    });
    out.add(b, |earlier, db, more| {
        let a = MatRef::new(earlier.data(a), n, k);
        gemm(1.0, dy.t(), a, beta(more), MatMut::new(db, m, k));
    });
}
// ANCHOR_END: matmul_t_backward

/// What the product is added to: nothing, or what is there.
fn beta(more: bool) -> f32 {
    if more { 1.0 } else { 0.0 }
}

fn shape(out: &Gradients, id: Id) -> (usize, usize) {
    let node = &out.earlier.nodes[id as usize];
    (node.rows, node.cols)
}
