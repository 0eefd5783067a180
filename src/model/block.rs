//! A block: attention, then the feed-forward network, each beside a residual connection. Where it normalises makes two kinds.
//!
//! The residual stream is what the blocks hand on. In a pre-norm block nothing ever normalises it: each part reads a
//! normalised copy, and adds its output. The gradient reaches every block directly, so deep models train without warmup
//! (Xiong et al. 2020). In a post-norm block, as in the first transformer, each sum is normalised, and what is handed on has
//! the same size after every block.

use serde::{Deserialize, Serialize};

use super::{Attention, Cache, DecoderConfig, FeedForward, Mode, Norm, Positions};
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

/// A block of either kind.
#[derive(Clone, Debug)]
pub enum Block {
    /// It normalises what its parts read.
    PreNorm(PreNormBlock),
    /// It normalises its sums.
    PostNorm(PostNormBlock),
}

/// `x + attention(norm(x))`, then the same with the feed-forward network.
#[derive(Clone, Debug)]
pub struct PreNormBlock {
    layer: usize,
    dropout: f64,
    attention_norm: Norm,
    attention: Attention,
    feed_forward_norm: Norm,
    feed_forward: FeedForward,
}

/// `norm(x + attention(x))`, then the same with the feed-forward network.
#[derive(Clone, Debug)]
pub struct PostNormBlock {
    layer: usize,
    dropout: f64,
    attention: Attention,
    attention_norm: Norm,
    feed_forward: FeedForward,
    feed_forward_norm: Norm,
}

impl Block {
    /// Block number `layer` of a model with this configuration and these positions.
    pub fn new(config: &DecoderConfig, positions: &Positions, layer: usize, layout: &mut Layout) -> Self {
        match config.placement {
            Placement::Pre => Block::PreNorm(PreNormBlock::new(config, positions, layer, layout)),
            Placement::Post => Block::PostNorm(PostNormBlock::new(config, positions, layer, layout)),
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
        match self {
            Block::PreNorm(block) => block.forward(w, x, sequences, mode, cache),
            Block::PostNorm(block) => block.forward(w, x, sequences, mode, cache),
        }
    }
}

impl PreNormBlock {
    fn new(config: &DecoderConfig, positions: &Positions, layer: usize, layout: &mut Layout) -> Self {
        let norm = |layout: &mut Layout, part: &str| {
            config.norm(layout, &format!("model.layers.{layer}.{part}"), config.n_embd)
        };
        PreNormBlock {
            layer,
            dropout: config.dropout,
            attention_norm: norm(layout, "input_layernorm"),
            attention: Attention::new(config, positions, layer, layout),
            feed_forward_norm: norm(layout, "post_attention_layernorm"),
            feed_forward: FeedForward::new(config, layer, layout),
        }
    }

    fn forward<T: Tensor>(
        &self,
        w: BoundParams<'_, T>,
        x: T,
        sequences: Sequences<'_>,
        mode: Mode,
        cache: Option<&mut Cache<'_, T>>,
    ) -> T {
        // ANCHOR: block
        let attn_out = self.attention.forward(w, self.attention_norm.forward(w, x), sequences, cache);
        let x = x + mode.dropout(attn_out, self.dropout, 2 * self.layer, sequences);
        let mlp_out = self.feed_forward.forward(w, self.feed_forward_norm.forward(w, x));
        x + mode.dropout(mlp_out, self.dropout, 2 * self.layer + 1, sequences)
        // ANCHOR_END: block
    }
}

impl PostNormBlock {
    fn new(config: &DecoderConfig, positions: &Positions, layer: usize, layout: &mut Layout) -> Self {
        let norm = |layout: &mut Layout, part: &str| {
            config.norm(layout, &format!("model.layers.{layer}.{part}"), config.n_embd)
        };
        PostNormBlock {
            layer,
            dropout: config.dropout,
            attention: Attention::new(config, positions, layer, layout),
            attention_norm: norm(layout, "self_attn_layer_norm"),
            feed_forward: FeedForward::new(config, layer, layout),
            feed_forward_norm: norm(layout, "final_layer_norm"),
        }
    }

    fn forward<T: Tensor>(
        &self,
        w: BoundParams<'_, T>,
        x: T,
        sequences: Sequences<'_>,
        mode: Mode,
        cache: Option<&mut Cache<'_, T>>,
    ) -> T {
        let attn_out = self.attention.forward(w, x, sequences, cache);
        let x = self
            .attention_norm
            .forward(w, x + mode.dropout(attn_out, self.dropout, 2 * self.layer, sequences));
        let mlp_out = self.feed_forward.forward(w, x);
        self.feed_forward_norm
            .forward(w, x + mode.dropout(mlp_out, self.dropout, 2 * self.layer + 1, sequences))
    }
}
