//! Cross entropy, from logits to a loss for each row: `[n, vocab] → [n, 1]`.
//!
//! With `p = softmax(x)` and the target as probabilities `t` (1 for one token, or less and an even share for all with label
//! smoothing), the loss is `-Σ tᵢ·ln pᵢ = ln Σ eˣ - Σ tᵢ·xᵢ`. The slope of `ln Σ eˣ` toward `xᵢ` is `pᵢ`, so
//! `dx = dy · (p - t)`.

use super::Op;
use crate::fast::simd;
use crate::fast::tape::{Gradients, Id, Matrix, Node, Span, write_or_add};
use crate::real::Real;

#[derive(Clone, Copy, Debug)]
pub struct CrossEntropy {
    x: Id,
    targets: Span,
    smoothing: f32,
}

impl CrossEntropy {
    /// Saves `p`.
    pub fn forward<'t>(x: Matrix<'t>, targets: &[usize], smoothing: f64) -> Matrix<'t> {
        assert_eq!(x.rows, targets.len(), "cross_entropy: {} rows but {} targets", x.rows, targets.len());
        let smoothing = smoothing as f32;
        let op = CrossEntropy { x: x.id, targets: x.recording.span(targets.iter().copied()), smoothing };
        x.recording.compute(Op::CrossEntropy(op), (x.rows, 1), |view, losses, p| {
            let x_data = view.data(x.id);
            p.resize(x_data.len(), 0.0);
            let rows = x_data.chunks_exact(x.cols).zip(p.chunks_exact_mut(x.cols));
            for ((x, p), (loss, &target)) in rows.zip(losses.iter_mut().zip(targets)) {
                let max = simd::max(x);
                p.iter_mut().zip(x).for_each(|(p, x)| *p = Real::exp(x - max));
                let total = simd::sum(p.len(), |i| p[i]);
                let log_total = total.ln();
                *loss = log_total - (x[target] - max);
                if smoothing > 0.0 {
                    let mean = simd::sum(x.len(), |i| x[i] - max) / x.len() as f32;
                    *loss += smoothing * (log_total - mean - *loss);
                }
                let share = 1.0 / total;
                p.iter_mut().for_each(|p| *p = simd::probability(*p * share));
            }
        })
    }

    // ANCHOR: backward
    pub fn backward(self, grads: &mut Gradients, node: &Node, dy: &[f32]) {
        let (_, vocab) = grads.view.shape(self.x);
        grads.add(self.x, |view, dx, accumulate| {
            let even = self.smoothing / vocab as f32;
            let rows = dx.chunks_exact_mut(vocab).zip(node.saved.chunks_exact(vocab)); // of dx and p
            for ((dx, p), (dy, &target)) in rows.zip(dy.iter().zip(view.indices(self.targets))) {
                write_or_add(dx, accumulate, p.iter().map(|p| dy * (p - even)));
                dx[target as usize] -= dy * (1.0 - self.smoothing);
            }
        });
    }
    // ANCHOR_END: backward
}
