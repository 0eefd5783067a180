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
    down: Linear,
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
        let up = self.up.forward(w, x); // [n, n_ffn]
        let inner = match self.gate {
            Some(gate) => gate.forward(w, x).swiglu(up),
            None => up.apply(UnaryOp::Relu),
        };
        self.down.forward(w, inner) // [n, n_embd]
    }
}
