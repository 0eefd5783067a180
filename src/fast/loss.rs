//! Cross entropy, from logits to a loss for each row.
//!
//! With `p = softmax(logits)` and `t` the target distribution (all on one token, or with a share spread evenly for label
//! smoothing), the loss is `-Σ t·ln p`, and since both sum to one its gradient is simply `p - t`.

use super::simd;
use super::tape::{Gradients, Id, Matrix, Op, Span, write_or_add};

/// The loss of each row. Saves `p`.
pub(super) fn cross_entropy<'t>(x: Matrix<'t>, targets: &[usize], smoothing: f64) -> Matrix<'t> {
    assert_eq!(x.rows, targets.len(), "cross_entropy: {} rows but {} targets", x.rows, targets.len());
    let span = x.recording.span(targets.iter().copied());
    let op = Op::CrossEntropy { x: x.id, targets: span, smoothing: smoothing as f32 };
    x.recording.compute(op, (x.rows, 1), |view, losses, p| {
        let x_data = view.data(x.id);
        p.resize(x_data.len(), 0.0);
        let rows = x_data.chunks_exact(x.cols).zip(p.chunks_exact_mut(x.cols));
        for ((x, p), (loss, &target)) in rows.zip(losses.iter_mut().zip(targets)) {
            let max = simd::max(x);
            p.iter_mut().zip(x).for_each(|(p, x)| *p = simd::exp(x - max));
            let total = simd::sum(p.len(), |i| p[i]);
            let log_total = total.ln();
            *loss = log_total - (x[target] - max);
            if smoothing > 0.0 {
                let mean = simd::sum(x.len(), |i| x[i] - max) / x.len() as f32;
                *loss += smoothing as f32 * (log_total - mean - *loss);
            }
            let share = 1.0 / total;
            p.iter_mut().for_each(|p| *p *= share);
        }
    })
}

/// `dx = dy · (p - t)`.
// ANCHOR: cross_entropy_backward
pub(super) fn cross_entropy_backward(
    grads: &mut Gradients,
    id: Id,
    x: Id,
    targets: Span,
    smoothing: f32,
    dy: &[f32],
) {
    let vocab = grads.view.nodes[x as usize].cols;
    let p = &grads.view.nodes[id as usize].saved;
    grads.add(x, |view, dx, accumulate| {
        let even = smoothing / vocab as f32;
        let rows = dx.chunks_exact_mut(vocab).zip(p.chunks_exact(vocab));
        for ((dx, p), (dy, &target)) in rows.zip(dy.iter().zip(view.indices(targets))) {
            write_or_add(dx, accumulate, p.iter().map(|p| dy * (p - even)));
            dx[target as usize] -= dy * (1.0 - smoothing);
        }
    });
}
// ANCHOR_END: cross_entropy_backward
