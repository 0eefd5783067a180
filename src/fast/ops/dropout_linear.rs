//! A layer of weights that reads with dropout, `Y = D(X)·Wᵀ`, where `D` is the mask of `dropout.rs` with its factor.
//!
//! What is left of `X` is written into a buffer of the tape, which the next such operation writes over. Backward computes it
//! again: `dW = dYᵀ·D(X)`, and `dX = D(dY·W)`.

use super::matmul::beta;
use super::{Dropout, Op};
use crate::counter_rng::CounterRng;
use crate::fast::tape::{Gradients, Id, Matrix, Node, write_or_add};
use crate::gemm::{MatMut, MatRef, gemm};

#[derive(Clone, Copy, Debug)]
pub struct DropoutLinear {
    dropout: Dropout,
    weight: Id,
}

impl DropoutLinear {
    pub fn forward<'t>(x: Matrix<'t>, rate: f64, rng: CounterRng, w: Matrix<'t>) -> Matrix<'t> {
        let (n, k, m) = (x.rows, x.cols, w.rows);
        assert_eq!(k, w.cols, "dropout_linear: {:?} · {:?}ᵀ", (n, k), (m, w.cols));
        let dropout = Dropout { x: x.id, rate, rng };
        let mut scratch = x.recording.tape.scratch.borrow_mut();
        if scratch.len() < n * k {
            scratch.resize(n * k, 0.0);
        }
        let left = &mut scratch[..n * k];
        let op = Op::DropoutLinear(DropoutLinear { dropout, weight: w.id });
        x.recording.compute(op, (n, m), |view, y, _| {
            write_or_add(left, false, dropout.masked(view.data(x.id)));
            gemm(1.0, MatRef::new(left, n, k), view.matrix(w.id).t(), 0.0, MatMut::new(y, n, m));
        })
    }

    pub fn backward(self, grads: &mut Gradients, node: &Node, dy: &[f32]) {
        let DropoutLinear { dropout, weight } = self;
        let (n, m, k) = (node.rows, node.cols, grads.view.shape(dropout.x).1);
        let dy = MatRef::new(dy, n, m);
        let mut buffer = grads.scratch(n * k);
        grads.add(weight, |view, dw, accumulate| {
            write_or_add(&mut buffer, false, dropout.masked(view.data(dropout.x)));
            gemm(1.0, dy.t(), MatRef::new(&buffer, n, k), beta(accumulate), MatMut::new(dw, m, k));
        });
        grads.add(dropout.x, |view, dx, accumulate| {
            gemm(1.0, dy, view.matrix(weight), 0.0, MatMut::new(&mut buffer, n, k));
            write_or_add(dx, accumulate, dropout.masked(&buffer));
        });
        grads.give(buffer);
    }
}
