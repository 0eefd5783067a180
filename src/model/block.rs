//! A block: attention, then the feed-forward network, each beside a residual connection.
//!
//! The residual stream is what the blocks hand on. In a pre-norm block nothing ever normalises it: each part reads a
//! normalised copy, and adds its output. The gradient reaches every block directly, so deep models train without warmup
//! (Xiong et al. 2020). In a post-norm block, as in the first transformer, each sum is normalised, and what is handed on has
//! the same size after every block.

use serde::{Deserialize, Serialize};

use super::{Attention, Cache, DecoderConfig, FeedForward, Linear, Mode, Norm, Positions};
use crate::data::Sequences;
use crate::params::{BoundParams, Layout};
use crate::tensor::Tensor;

/// Where a block normalises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Placement {
    /// What each part reads: `x + part(norm(x))` (GPT-2, Llama).
    #[default]
    Pre,
    /// The sum of what it read and what it answers: `norm(x + part(x))` (Vaswani et al. 2017, section 3.1).
    Post,
}

/// A residual connection: what a part answers is added to what it was asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Residual {
    placement: Placement,
    norm: Norm,
    dropout: f64,
    /// Where in the model it is. No two places drop alike.
    point: usize,
}

impl Residual {
    /// A residual connection whose normalisation has this name.
    pub fn new(config: &DecoderConfig, norm: &str, point: usize, layout: &mut Layout) -> Self {
        let norm = config.norm(layout, norm, config.n_embd);
        Residual { placement: config.placement, norm, dropout: config.dropout, point }
    }

    // ANCHOR: residual
    /// What the part reads: `[n, n_embd] → [n, n_embd]`.
    pub fn reads<T: Tensor>(&self, w: BoundParams<'_, T>, x: T) -> T {
        match self.placement {
            Placement::Pre => self.norm.forward(w, x),
            Placement::Post => x,
        }
    }

    /// The stream after the part has answered: `[n, n_embd] → [n, n_embd]`.
    pub fn add<T: Tensor>(&self, w: BoundParams<'_, T>, x: T, out: T, here: (Sequences<'_>, Mode)) -> T {
        let (sequences, mode) = here;
        let sum = x + mode.dropout(out, self.dropout, self.point, sequences);
        match self.placement {
            Placement::Pre => sum,
            Placement::Post => self.norm.forward(w, sum),
        }
    }
    // ANCHOR_END: residual
}

/// Where a block is in a model: what its parameters are called, and which of those that drop and remember it is.
#[derive(Clone, Copy, Debug)]
pub struct BlockPlace<'a> {
    /// What the names of its parameters begin with.
    pub name: &'a str,
    /// Its number among the blocks that keep keys and values.
    pub layer: usize,
    /// The number of the first of its places that drop.
    pub dropout_point: usize,
}

/// Self-attention and a feed-forward network, of a decoder or an encoder.
#[derive(Clone, Debug)]
pub struct Block {
    attention_residual: Residual,
    attention: Attention,
    feed_forward_residual: Residual,
    feed_forward: FeedForward,
}

impl Block {
    /// A block of a model with this configuration and these positions.
    pub fn new(
        config: &DecoderConfig,
        positions: &Positions,
        BlockPlace { name, layer, dropout_point }: BlockPlace<'_>,
        layout: &mut Layout,
    ) -> Self {
        // Llama's names before, BERT's after.
        let [attention_norm, feed_forward_norm] = match config.placement {
            Placement::Pre => ["input_layernorm", "post_attention_layernorm"],
            Placement::Post => ["self_attn_layer_norm", "final_layer_norm"],
        };
        let residual = |layout: &mut Layout, norm: &str, point| {
            Residual::new(config, &format!("{name}.{norm}"), point, layout)
        };
        Block {
            attention_residual: residual(layout, attention_norm, dropout_point),
            attention: Attention::new(config, positions, (&format!("{name}.self_attn"), layer), layout),
            feed_forward_residual: residual(layout, feed_forward_norm, dropout_point + 1),
            feed_forward: FeedForward::new(config, &format!("{name}.mlp"), layout),
        }
    }

    /// `[n, n_embd] → [n, n_embd]`. With a cache, the tokens go on where the cache ends.
    pub fn forward<T: Tensor>(
        &self,
        w: BoundParams<'_, T>,
        x: T,
        sequences: Sequences<'_>,
        mode: Mode,
        cache: Option<&mut Cache<'_, T>>,
    ) -> T {
        let here = (sequences, mode);
        // ANCHOR: block
        let attn_out = self.attention.forward(w, self.attention_residual.reads(w, x), here, cache);
        let x = self.attention_residual.add(w, x, attn_out, here);
        let mlp_out = self.feed_forward.forward(w, self.feed_forward_residual.reads(w, x), here);
        self.feed_forward_residual.add(w, x, mlp_out, here)
        // ANCHOR_END: block
    }

    /// Its layers of weights, in the order of their parameters.
    pub(super) fn layers_mut(&mut self) -> impl Iterator<Item = &mut Linear> {
        self.attention.layers_mut().chain(self.feed_forward.layers_mut())
    }
}
