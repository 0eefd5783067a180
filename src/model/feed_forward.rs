//! The feed-forward network: what a block computes for each token by itself.

use serde::{Deserialize, Serialize};

use super::{DecoderConfig, Linear, Mode};
use crate::data::Sequences;
use crate::function::UnaryOp;
use crate::params::{BoundParams, Init, Layout};
use crate::tensor::Tensor;

/// What the feed-forward network computes between its layers. The first three are functions of one layer's output; the
/// others are gated: they multiply it by a function of another layer's output, the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `down · relu(up · x)`, as in the first transformer (Vaswani et al. 2017, section 3.3).
    Relu,
    /// `down · gelu(up · x)`, the exact one (Hendrycks & Gimpel 2016), as in BERT.
    Gelu,
    /// The same with the approximation by a hyperbolic tangent, as in GPT-2.
    GeluTanh,
    /// `down · (sigmoid(gate · x) * (up · x))` (Dauphin et al. 2016).
    Glu,
    /// `down · (gelu(gate · x) * (up · x))`, with the exact GELU (Shazeer 2020).
    Geglu,
    /// `down · (silu(gate · x) * (up · x))` (Shazeer 2020), as in Llama.
    Swiglu,
}

impl Activation {
    /// Whether it needs a gate.
    pub fn is_gated(self) -> bool {
        match self {
            Activation::Relu | Activation::Gelu | Activation::GeluTanh => false,
            Activation::Glu | Activation::Geglu | Activation::Swiglu => true,
        }
    }

    /// `[n, n_ffn] → [n, n_ffn]`.
    fn apply<T: Tensor>(self, gate: Option<T>, up: T) -> T {
        let gate = || gate.expect("what is gated has a gate");
        match self {
            Activation::Relu => up.apply(UnaryOp::Relu),
            Activation::Gelu => up.apply(UnaryOp::Gelu),
            Activation::GeluTanh => up.apply(UnaryOp::GeluTanh),
            Activation::Glu => gate().glu(up),
            Activation::Geglu => gate().geglu(up),
            Activation::Swiglu => gate().swiglu(up),
        }
    }
}

/// Up to a greater width, an activation, and down again. Gated activations have a third layer, the gate.
#[derive(Clone, Copy, Debug)]
pub struct FeedForward {
    activation: Activation,
    gate: Option<Linear>,
    up: Linear,
    pub(super) down: Linear,
}

impl FeedForward {
    /// A feed-forward network whose parameters' names begin with `name`.
    pub(super) fn new(config: &DecoderConfig, name: &str, layout: &mut Layout) -> Self {
        let (width, inner, activation) = (config.n_embd, config.n_ffn, config.activation);
        let mut linear = |part: &str, inputs, outputs, init: Init| {
            let linear = Linear::new(layout, &format!("{name}.{part}"), inputs, outputs, init);
            if config.ffn_bias { linear.with_bias(layout) } else { linear }
        };
        let (inward, outward) = (config.matrix_init(width, inner), config.output_init(inner, width));
        if activation.is_gated() {
            FeedForward {
                activation,
                gate: Some(linear("gate_proj", width, inner, inward)),
                up: linear("up_proj", width, inner, inward),
                down: linear("down_proj", inner, width, outward),
            }
        } else {
            FeedForward {
                activation,
                gate: None,
                up: linear("fc1", width, inner, inward),
                down: linear("fc2", inner, width, outward),
            }
        }
    }

    /// `[n, n_embd] → [n, n_embd]`.
    pub fn forward<T: Tensor>(&self, w: BoundParams<'_, T>, x: T, here: (Sequences<'_>, Mode)) -> T {
        let (gate, up) = self.project(w, x, here);
        self.activate(w, gate, up, here)
    }

    /// Its layers, in the order of their parameters.
    pub(super) fn layers_mut(&mut self) -> impl Iterator<Item = &mut Linear> {
        self.gate.iter_mut().chain([&mut self.up, &mut self.down])
    }

    /// The first half of [`forward`](Self::forward): the gate, if there is one, and what it lets
    /// through, `[n, n_ffn]` each.
    pub(super) fn project<T: Tensor>(
        &self,
        w: BoundParams<'_, T>,
        x: T,
        here: (Sequences<'_>, Mode),
    ) -> (Option<T>, T) {
        let Some(gate) = &self.gate else { return (None, self.up.forward_in(w, x, here)) };
        let [up, gate] = Linear::forward_all([&self.up, gate], w, x, here);
        (Some(gate), up)
    }

    /// The second half: the activation, and back to `[n, n_embd]`. What a model does to gate and input of its own
    /// lies between the two.
    pub(super) fn activate<T: Tensor>(
        &self,
        w: BoundParams<'_, T>,
        gate: Option<T>,
        up: T,
        here: (Sequences<'_>, Mode),
    ) -> T {
        self.down.forward_in(w, self.activation.apply(gate, up), here)
    }
}
