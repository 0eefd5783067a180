//! The product of a matrix and a transposed one, `C = A·Bᵀ`, as in a layer of weights.
//!
//! Weights that are stored for generation are multiplied by all threads, and those that read the same by one product.
//!
//! Here `cᵢⱼ = Σₖ aᵢₖ·bⱼₖ`, so `aᵢₖ` gets `Σⱼ dcᵢⱼ·bⱼₖ` and `bⱼₖ` gets `Σᵢ dcᵢⱼ·aᵢₖ`: `dA = dC·B` and `dB = dCᵀ·A`.

use super::Op;
use super::matmul::beta;
use crate::fast::tape::{Gradients, Id, Matrix, Node};
use crate::gemm::{MatMut, MatRef, gemm, products};

#[derive(Clone, Copy, Debug)]
pub struct MatmulT {
    a: Id,
    b: Id,
}

impl MatmulT {
    pub fn forward<'t>(a: Matrix<'t>, b: Matrix<'t>) -> Matrix<'t> {
        a.check(b);
        let op = Op::MatmulT(MatmulT { a: a.id, b: b.id });
        a.recording.compute(op, (a.rows, b.rows), |view, c, _| match view.stored(b.id) {
            Some(b) => products(view.crew(), view.data(a.id), a.rows, &[b], &mut [c]),
            None => gemm(1.0, view.matrix(a.id), view.matrix(b.id).t(), 0.0, MatMut::new(c, a.rows, b.rows)),
        })
    }

    /// The products with several stored matrices.
    pub fn forward_all<'t, const N: usize>(a: Matrix<'t>, all: [Matrix<'t>; N]) -> [Matrix<'t>; N] {
        all.iter().for_each(|b| a.check(*b));
        let results = all.map(|b| (Op::MatmulT(MatmulT { a: a.id, b: b.id }), (a.rows, b.rows)));
        a.recording.compute_all(results, |view, mut outs| {
            let all = all.map(|b| view.stored(b.id).expect("weights that are stored"));
            products(view.crew(), view.data(a.id), a.rows, &all, &mut outs);
        })
    }

    // ANCHOR: backward
    pub fn backward(self, grads: &mut Gradients, node: &Node, dc: &[f32]) {
        let MatmulT { a, b } = self;
        let (n, m, k) = (node.rows, node.cols, grads.view.shape(a).1);
        let dc = MatRef::new(dc, n, m);
        grads.add(a, |view, da, accumulate| {
            gemm(1.0, dc, view.matrix(b), beta(accumulate), MatMut::new(da, n, k)); // dA = dC·B
        });
        grads.add(b, |view, db, accumulate| {
            gemm(1.0, dc.t(), view.matrix(a), beta(accumulate), MatMut::new(db, m, k)); // dB = dCᵀ·A
        });
    }
    // ANCHOR_END: backward
}

impl Matrix<'_> {
    fn check(self, b: Self) {
        assert_eq!(self.cols, b.cols, "matmul_t: {:?} · {:?}ᵀ", (self.rows, self.cols), (b.rows, b.cols));
    }
}
