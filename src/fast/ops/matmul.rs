//! The product of two matrices, `C = A·B`.
//!
//! Every product `aᵢₖ·bₖⱼ` in `cᵢⱼ` has the slope `bₖⱼ` toward `aᵢₖ`, so `aᵢₖ` gets `Σⱼ dcᵢⱼ·bₖⱼ`, and `bₖⱼ` gets
//! `Σᵢ dcᵢⱼ·aᵢₖ`. These sums are products again: `dA = dC·Bᵀ` and `dB = Aᵀ·dC`.

use super::Op;
use crate::fast::tape::{Gradients, Id, Matrix, Node};
use crate::gemm::{MatMut, MatRef, gemm};

#[derive(Clone, Copy, Debug)]
pub struct Matmul {
    a: Id,
    b: Id,
}

impl Matmul {
    pub fn forward<'t>(a: Matrix<'t>, b: Matrix<'t>) -> Matrix<'t> {
        assert_eq!(a.cols, b.rows, "matmul: {:?} · {:?}", (a.rows, a.cols), (b.rows, b.cols));
        let op = Op::Matmul(Matmul { a: a.id, b: b.id });
        a.recording.compute(op, (a.rows, b.cols), |view, c, _| {
            gemm(1.0, view.matrix(a.id), view.matrix(b.id), 0.0, MatMut::new(c, a.rows, b.cols));
        })
    }

    pub fn backward(self, grads: &mut Gradients, node: &Node, dc: &[f32]) {
        let Matmul { a, b } = self;
        let (n, m, k) = (node.rows, node.cols, grads.view.shape(a).1);
        let dc = MatRef::new(dc, n, m);
        grads.add(a, |view, da, accumulate| {
            gemm(1.0, dc, view.matrix(b).t(), beta(accumulate), MatMut::new(da, n, k)); // dA = dC·Bᵀ
        });
        grads.add(b, |view, db, accumulate| {
            gemm(1.0, view.matrix(a).t(), dc, beta(accumulate), MatMut::new(db, k, m)); // dB = Aᵀ·dC
        });
    }
}

/// The factor of what is there already: 1 to add to it, 0 to write over it.
pub(super) fn beta(accumulate: bool) -> f32 {
    if accumulate { 1.0 } else { 0.0 }
}
