//! The feed-forward network: where each token thinks by itself.

use super::{Activation, DecoderConfig};
use crate::function::UnaryOp;
use crate::params::{BoundParams, Init, Layout, Param, ParamKind};
use crate::tensor::Tensor;

/// Two layers of weights with an activation between them, of which SwiGLU has a third as its gate.
#[derive(Clone, Copy, Debug)]
pub struct FeedForward {
    gate: Option<Param>,
    up: Param,
    down: Param,
}

impl FeedForward {
    /// The feed-forward network of block `layer`.
    pub(super) fn new(config: &DecoderConfig, layer: usize, layout: &mut Layout) -> Self {
        let (width, inner) = (config.n_embd, config.n_ffn);
        let mut matrix = |part: &str, rows, cols| {
            let name = format!("model.layers.{layer}.mlp.{part}.weight");
            layout.add(name, rows, cols, ParamKind::Matrix, Init::Normal(config.init_std))
        };
        match config.activation {
            Activation::Relu => {
                FeedForward { gate: None, up: matrix("fc1", inner, width), down: matrix("fc2", width, inner) }
            }
            Activation::Swiglu => FeedForward {
                gate: Some(matrix("gate_proj", inner, width)),
                up: matrix("up_proj", inner, width),
                down: matrix("down_proj", width, inner),
            },
        }
    }

    /// `[n, n_embd] → [n, n_embd]`.
    pub fn forward<T: Tensor>(&self, w: BoundParams<'_, T>, x: T) -> T {
        let up = x.linear(w[self.up]); // [n, n_ffn]
        let inner = match self.gate {
            Some(gate) => x.linear(w[gate]).swiglu(up),
            None => up.apply(UnaryOp::Relu),
        };
        inner.linear(w[self.down])
    }
}
