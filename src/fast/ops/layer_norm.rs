//! Layer normalisation, head by head.
//!
//! With the mean `m` of `d` numbers and `r = 1 / √(mean((x - m)²) + eps)`, let `n = r·(x - m)`. The result is
//! `y = n·gain + bias`. Let `g = dy·gain` be the gradient of `n`. A change of `xᵢ` acts on `nᵢ` directly, with the slope `r`,
//! and on all of the row in two ways. Through the mean, `∂m/∂xᵢ = 1/d`, it lowers every `nⱼ` by `r/d`. Through `r`,
//! `∂r/∂xᵢ = -r²·nᵢ/d` (that of the mean adds nothing here, since the `n` of a row add up to zero), it changes every `nⱼ` by
//! `-r·nᵢ·nⱼ/d`. So `dxᵢ = r·(gᵢ - mean(g) - nᵢ·mean(g·n))`: of `g`, what points along a constant row and along `n` is taken
//! away, as neither changes the result. And `dgain = Σ dy·n`, `dbias = Σ dy`, over all rows and heads.

use super::Op;
use crate::fast::simd;
use crate::fast::tape::{Gradients, Id, Matrix, Node, write_or_add};

#[derive(Clone, Copy, Debug)]
pub struct LayerNorm {
    x: Id,
    gain: Option<Id>,
    bias: Option<Id>,
    heads: u32,
}

impl LayerNorm {
    /// Normalises each of `heads` parts of each row by itself. Saves `m` and `r` of each.
    pub fn forward<'t>(
        x: Matrix<'t>,
        gain: Option<Matrix<'t>>,
        bias: Option<Matrix<'t>>,
        heads: usize,
        eps: f64,
    ) -> Matrix<'t> {
        let d = x.cols / heads;
        assert_eq!(d * heads, x.cols, "layer_norm: {} columns do not divide into {heads} heads", x.cols);
        for row in gain.iter().chain(&bias) {
            assert_eq!((row.rows, row.cols), (1, d), "layer_norm: a gain or bias for {heads} heads of {d}");
        }
        let [gain_id, bias_id] = [gain, bias].map(|row| row.map(|row| row.id));
        let op = LayerNorm { x: x.id, gain: gain_id, bias: bias_id, heads: heads as u32 };
        x.recording.compute(Op::LayerNorm(op), (x.rows, x.cols), |view, y, saved| {
            let [gain, bias] = [gain_id, bias_id].map(|row| row.map(|row| view.data(row)));
            saved.clear();
            for (x, y) in view.data(x.id).chunks_exact(d).zip(y.chunks_exact_mut(d)) {
                let m = simd::sum(d, |i| x[i]) / d as f32;
                let variance = simd::sum(d, |i| (x[i] - m) * (x[i] - m)) / d as f32;
                let r = 1.0 / (variance + eps as f32).sqrt();
                saved.extend([m, r]);
                y.iter_mut().zip(x).for_each(|(y, x)| *y = r * (x - m));
                if let Some(gain) = gain {
                    y.iter_mut().zip(gain).for_each(|(y, gain)| *y *= gain);
                }
                if let Some(bias) = bias {
                    y.iter_mut().zip(bias).for_each(|(y, bias)| *y += bias);
                }
            }
        })
    }

    pub fn backward(self, grads: &mut Gradients, node: &Node, dy: &[f32]) {
        let d = node.cols / self.heads as usize;
        let x = grads.view.data(self.x).chunks_exact(d);
        let heads = || dy.chunks_exact(d).zip(x.clone().zip(node.saved.as_chunks::<2>().0));
        if let Some(bias) = self.bias {
            grads.add(bias, |_, dbias, accumulate| {
                if !accumulate {
                    dbias.fill(0.0);
                }
                heads().for_each(|(dy, _)| write_or_add(dbias, true, dy.iter().copied()));
            });
        }
        if let Some(gain) = self.gain {
            grads.add(gain, |_, dgain, accumulate| {
                if !accumulate {
                    dgain.fill(0.0);
                }
                for (dy, (x, [m, r])) in heads() {
                    write_or_add(dgain, true, dy.iter().zip(x).map(|(dy, x)| dy * r * (x - m)));
                }
            });
        }
        let [mut g, mut n] = [(); 2].map(|()| grads.scratch(d));
        grads.add(self.x, |view, dx, accumulate| {
            let gain = self.gain.map(|gain| view.data(gain));
            for (dx, (dy, (x, [m, r]))) in dx.chunks_exact_mut(d).zip(heads()) {
                n.iter_mut().zip(x).for_each(|(n, x)| *n = r * (x - m));
                match gain {
                    Some(gain) => {
                        g.iter_mut().zip(dy.iter().zip(gain)).for_each(|(g, (dy, gain))| *g = dy * gain)
                    }
                    None => g.copy_from_slice(dy),
                }
                let along_ones = simd::sum(d, |i| g[i]) / d as f32;
                let along_n = simd::dot(&g, &n) / d as f32;
                let each = g.iter().zip(&n).map(|(g, n)| r * (g - along_ones - n * along_n));
                write_or_add(dx, accumulate, each);
            }
        });
        grads.give(g);
        grads.give(n);
    }
}
