//! A layer of weights and its low-rank adapter in one result: `Y = X·Wᵀ + L·Bᵀ`, where `L` is what the adapter has made of `X`
//! so far.
//!
//! The second product is added to the first where that stands, so neither is kept by itself. Backward is that of both products:
//! `dX = dY·W` and `dW = dYᵀ·X`, `dL = dY·B` and `dB = dYᵀ·L`.

use super::Op;
use super::matmul::beta;
use crate::fast::tape::{Gradients, Id, Matrix, Node};
use crate::gemm::{MatMut, MatRef, gemm};

#[derive(Clone, Copy, Debug)]
pub struct LinearSum {
    /// `X` and `W`, `L` and `B`.
    products: [(Id, Id); 2],
}

impl LinearSum {
    pub fn forward<'t>(products: [(Matrix<'t>, Matrix<'t>); 2]) -> Matrix<'t> {
        let [(x, w), (low, b)] = products;
        for (x, w) in products {
            assert_eq!(x.cols, w.cols, "linear_sum: {:?} · {:?}ᵀ", (x.rows, x.cols), (w.rows, w.cols));
        }
        let fits = (x.rows, w.rows) == (low.rows, b.rows);
        assert!(fits, "linear_sum: {:?} and {:?} cannot be added", (x.rows, w.rows), (low.rows, b.rows));
        let ids = products.map(|(x, w)| (x.id, w.id));
        x.recording.compute(Op::LinearSum(LinearSum { products: ids }), (x.rows, w.rows), |view, y, _| {
            for (at, (x, w)) in ids.into_iter().enumerate() {
                let (n, m) = (view.shape(x).0, view.shape(w).0);
                gemm(1.0, view.matrix(x), view.matrix(w).t(), beta(at > 0), MatMut::new(y, n, m));
            }
        })
    }

    pub fn backward(self, grads: &mut Gradients, node: &Node, dy: &[f32]) {
        let (n, m) = (node.rows, node.cols);
        let dy = MatRef::new(dy, n, m);
        for (x, w) in self.products {
            let k = grads.view.shape(x).1;
            grads.add(x, |view, dx, accumulate| {
                gemm(1.0, dy, view.matrix(w), beta(accumulate), MatMut::new(dx, n, k)); // dX = dY·W
            });
            grads.add(w, |view, dw, accumulate| {
                gemm(1.0, dy.t(), view.matrix(x), beta(accumulate), MatMut::new(dw, m, k)); // dW = dYᵀ·X
            });
        }
    }
}
