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
    /// Saves of each row the greatest logit and one divided by the total. Where there are many tokens, `p` itself would be
    /// one of the largest matrices of a step.
    pub fn forward<'t>(x: Matrix<'t>, targets: &[usize], smoothing: f64) -> Matrix<'t> {
        assert_eq!(x.rows, targets.len(), "cross_entropy: {} rows but {} targets", x.rows, targets.len());
        let smoothing = smoothing as f32;
        let op = CrossEntropy { x: x.id, targets: x.recording.span(targets.iter().copied()), smoothing };
        x.recording.compute(Op::CrossEntropy(op), (x.rows, 1), |view, losses, saved| {
            saved.clear();
            let rows = view.data(x.id).chunks_exact(x.cols);
            for (x, (loss, &target)) in rows.zip(losses.iter_mut().zip(targets)) {
                let max = simd::max(x);
                let total = simd::sum_exp(x, max);
                let log_total = total.ln();
                *loss = log_total - (x[target] - max);
                if smoothing > 0.0 {
                    let mean = simd::sum(x.len(), |i| x[i] - max) / x.len() as f32;
                    *loss += smoothing * (log_total - mean - *loss);
                }
                saved.extend([max, 1.0 / total]);
            }
        })
    }

    // ANCHOR: backward
    pub fn backward(self, grads: &mut Gradients, node: &Node, dy: &[f32]) {
        let (_, vocab) = grads.view.shape(self.x);
        grads.add(self.x, |view, dx, accumulate| {
            let even = self.smoothing / vocab as f32;
            let rows = dx.chunks_exact_mut(vocab).zip(view.data(self.x).chunks_exact(vocab));
            let (saved, _) = node.saved.as_chunks();
            for (((dx, x), &[max, share]), (dy, &target)) in
                rows.zip(saved).zip(dy.iter().zip(view.indices(self.targets)))
            {
                let p = x.iter().map(|x| simd::probability(Real::exp(x - max) * share));
                write_or_add(dx, accumulate, p.map(|p| dy * (p - even)));
                dx[target as usize] -= dy * (1.0 - self.smoothing);
            }
        });
    }
    // ANCHOR_END: backward
}
