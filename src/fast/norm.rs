//! Root mean square normalisation, head by head.
//!
//! With `r = 1 / √(mean(x²) + eps)` the result is `y = r·x·gain`. Let `g = dy·gain` be the gradient that reaches `r·x`. A change
//! of `xᵢ` acts on `yᵢ` directly, and through `r` on all of the row: `∂r/∂xᵢ = -r³·xᵢ/d`. So
//! `dxᵢ = r·gᵢ - r³·xᵢ·(Σ gⱼxⱼ)/d`, and `dgain = Σ dy·r·x` over all rows.

use super::simd;
use super::tape::{Gradients, Id, Matrix, Op, write_or_add};

/// Normalises `heads` parts of each row by themselves. Saves `r` of each.
pub(super) fn rms_norm<'t>(x: Matrix<'t>, gain: Option<Matrix<'t>>, heads: usize, eps: f64) -> Matrix<'t> {
    let d = x.cols / heads;
    assert_eq!(d * heads, x.cols, "rms_norm: {} columns do not divide into {heads} heads", x.cols);
    if let Some(gain) = gain {
        assert_eq!((gain.rows, gain.cols), (1, d), "rms_norm: a gain of another width than {d}");
    }
    let op = Op::RmsNorm { x: x.id, gain: gain.map(|gain| gain.id), heads: heads as u32 };
    x.recording.compute(op, (x.rows, x.cols), |view, y, saved| {
        let gain = gain.map(|gain| view.data(gain.id));
        saved.clear();
        for (x, y) in view.data(x.id).chunks_exact(d).zip(y.chunks_exact_mut(d)) {
            let r = 1.0 / (simd::dot(x, x) / d as f32 + eps as f32).sqrt();
            saved.push(r);
            match gain {
                Some(gain) => y.iter_mut().zip(x).zip(gain).for_each(|((y, x), gain)| *y = r * x * gain),
                None => y.iter_mut().zip(x).for_each(|(y, x)| *y = r * x),
            }
        }
    })
}

/// See the derivation at the top of this file.
// ANCHOR: rms_norm_backward
pub(super) fn rms_norm_backward(
    grads: &mut Gradients,
    id: Id,
    x: Id,
    gain: Option<Id>,
    heads: usize,
    dy: &[f32],
) {
    let node = &grads.view.nodes[id as usize];
    let d = node.cols / heads;
    let saved = &node.saved;
    let x_data = grads.view.data(x);
    let parts = || x_data.chunks_exact(d).zip(dy.chunks_exact(d)).zip(saved);
    if let Some(gain) = gain {
        grads.add(gain, |_, dgain, accumulate| {
            if !accumulate {
                dgain.fill(0.0);
            }
            for ((x, dy), r) in parts() {
                dgain.iter_mut().zip(dy.iter().zip(x)).for_each(|(dgain, (dy, x))| *dgain += dy * r * x);
            }
        });
    }
    let mut gained = grads.scratch(d); // g: the gradient that reaches r·x
    grads.add(x, |view, dx, accumulate| {
        let gain = gain.map(|gain| view.data(gain));
        for (dx, ((x, dy), &r)) in dx.chunks_exact_mut(d).zip(parts()) {
            let g = match gain {
                Some(gain) => {
                    gained.iter_mut().zip(dy.iter().zip(gain)).for_each(|(g, (dy, gain))| *g = dy * gain);
                    &gained
                }
                None => dy,
            };
            let c = r * r * r * simd::dot(g, x) / d as f32;
            write_or_add(dx, accumulate, g.iter().zip(x).map(|(g, x)| r * g - c * x));
        }
    });
    grads.give(gained);
}
// ANCHOR_END: rms_norm_backward
