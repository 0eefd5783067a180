//! Root mean square normalisation, head by head.
//!
//! With `r = 1 / √(mean(x²) + eps)` the result is `y = r·x·gain`. Let `g = dy·gain` be the gradient of `r·x`. A change of `xᵢ`
//! acts on `yᵢ` directly, and through `r` on the whole row: `∂r/∂xᵢ = -r³·xᵢ/d`. So
//! `dxᵢ = r·gᵢ - r³·xᵢ·(Σ gⱼxⱼ)/d`, and `dgain = Σ dy·r·x` over all rows, and over all heads if
//! they share one.

use std::ops::Range;

use super::Op;
use crate::fast::simd;
use crate::fast::tape::{Gradients, Id, Matrix, Node, write_or_add};

#[derive(Clone, Copy, Debug)]
pub struct RmsNorm {
    x: Id,
    gain: Option<Id>,
    heads: u32,
}

impl RmsNorm {
    /// Normalises each of `heads` parts of each row by itself. Saves `r` of each.
    pub fn forward<'t>(x: Matrix<'t>, gain: Option<Matrix<'t>>, heads: usize, eps: f64) -> Matrix<'t> {
        let d = x.cols / heads;
        assert_eq!(d * heads, x.cols, "rms_norm: {} columns do not divide into {heads} heads", x.cols);
        if let Some(gain) = gain {
            let fits = gain.rows == 1 && (gain.cols == d || gain.cols == x.cols);
            let (gain, x) = ((gain.rows, gain.cols), (x.rows, x.cols));
            assert!(fits, "rms_norm: a gain of {gain:?} for {x:?}, {heads} heads");
        }
        let op = RmsNorm { x: x.id, gain: gain.map(|gain| gain.id), heads: heads as u32 };
        x.recording.compute(Op::RmsNorm(op), (x.rows, x.cols), |view, y, saved| {
            let gain = gain.map(|gain| view.data(gain.id));
            saved.clear();
            let each = view.data(x.id).chunks_exact(d).zip(y.chunks_exact_mut(d));
            for (head, (x, y)) in each.enumerate() {
                let r = 1.0 / (simd::dot(x, x) / d as f32 + eps as f32).sqrt();
                saved.push(r);
                match gain.map(|gain| &gain[own(gain, d, head)]) {
                    Some(gain) => y.iter_mut().zip(x).zip(gain).for_each(|((y, x), gain)| *y = r * x * gain),
                    None => y.iter_mut().zip(x).for_each(|(y, x)| *y = r * x),
                }
            }
        })
    }

    // ANCHOR: backward
    pub fn backward(self, grads: &mut Gradients, node: &Node, dy: &[f32]) {
        let d = node.cols / self.heads as usize;
        let x = grads.view.data(self.x);
        let heads = || x.chunks_exact(d).zip(dy.chunks_exact(d)).zip(&node.saved);
        if let Some(gain) = self.gain {
            grads.add(gain, |_, dgain, accumulate| {
                if !accumulate {
                    dgain.fill(0.0);
                }
                for (head, ((x, dy), r)) in heads().enumerate() {
                    let own = own(dgain, d, head);
                    let each = dgain[own].iter_mut().zip(dy.iter().zip(x));
                    each.for_each(|(dgain, (dy, x))| *dgain += dy * r * x);
                }
            });
        }
        let mut gained = grads.scratch(d); // g
        grads.add(self.x, |view, dx, accumulate| {
            let gain = self.gain.map(|gain| view.data(gain));
            for (head, (dx, ((x, dy), &r))) in dx.chunks_exact_mut(d).zip(heads()).enumerate() {
                let g = match gain.map(|gain| &gain[own(gain, d, head)]) {
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
    // ANCHOR_END: backward
}

/// Where the gain of a part of a row lies, `head` being its number among all parts of all rows: the heads share one
/// of width `d`, or have one each.
fn own(gain: &[f32], d: usize, head: usize) -> Range<usize> {
    let start = head * d % gain.len();
    start..start + d
}
