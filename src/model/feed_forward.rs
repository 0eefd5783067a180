//! The feed-forward network: what a block computes for each token by itself.

use super::{Activation, DecoderConfig, Linear};
use crate::function::UnaryOp;
use crate::params::{BoundParams, Init, Layout};
use crate::tensor::Tensor;

/// Up to a greater width, an activation, and down again. SwiGLU has a third layer, the gate.
#[derive(Clone, Copy, Debug)]
pub struct FeedForward {
    gate: Option<Linear>,
    up: Linear,
    pub(super) down: Linear,
}

impl FeedForward {
    /// The feed-forward network of block `layer`.
    pub(super) fn new(config: &DecoderConfig, layer: usize, layout: &mut Layout) -> Self {
        let (width, inner) = (config.n_embd, config.n_ffn);
        let mut linear = |part: &str, inputs, outputs| {
            let name = format!("model.layers.{layer}.mlp.{part}");
            Linear::new(layout, &name, inputs, outputs, Init::Normal(config.init_std))
        };
        match config.activation {
            Activation::Relu => {
                FeedForward { gate: None, up: linear("fc1", width, inner), down: linear("fc2", inner, width) }
            }
            Activation::Swiglu => FeedForward {
                gate: Some(linear("gate_proj", width, inner)),
                up: linear("up_proj", width, inner),
                down: linear("down_proj", inner, width),
            },
        }
    }

    /// `[n, n_embd] → [n, n_embd]`.
    pub fn forward<T: Tensor>(&self, w: BoundParams<'_, T>, x: T) -> T {
        let (gate, up) = self.project(w, x);
        self.activate(w, gate, up)
    }

    /// The first half of [`forward`](Self::forward): the gate, if there is one, and what it lets
    /// through, `[n, n_ffn]` each.
    pub(super) fn project<T: Tensor>(&self, w: BoundParams<'_, T>, x: T) -> (Option<T>, T) {
        let up = self.up.forward(w, x);
        (self.gate.map(|gate| gate.forward(w, x)), up)
    }

    /// The second half: the activation, and back to `[n, n_embd]`. What a model does to gate and input of its own
    /// lies between the two.
    pub(super) fn activate<T: Tensor>(&self, w: BoundParams<'_, T>, gate: Option<T>, up: T) -> T {
        let inner = match gate {
            Some(gate) => gate.swiglu(up),
            None => up.apply(UnaryOp::Relu),
        };
        self.down.forward(w, inner)
    }
}
