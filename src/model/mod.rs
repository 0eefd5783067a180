//! The transformer, written once for every engine.
//!
//! A model is made of parts. Each part is a small struct that knows its parameters by their
//! [`Param`](crate::params::Param) and has one generic `forward`:
//!
//! - [`Decoder`]: embeddings, blocks, head. Start here.
//! - [`Block`]: attention and a feed-forward network, with the normalisation before ([`PreNormBlock`]) or after
//!   ([`PostNormBlock`]).
//! - [`Attention`]: queries, keys, values, many heads.
//! - [`Positions`]: how a model knows where a token stands, in six ways.
//! - [`FeedForward`]: the two-layer network at every token.
//! - [`Linear`]: what multiplies by weights, in all of them.
//! - [`Norm`]: RMSNorm or LayerNorm, learned or not.
//! - [`Scale`]: learned factors, stored at one size and used at another.
//! - [`Sphere`]: the normalized transformer, another model made of the same parts.
//!
//! [`DecoderConfig`] says which of their variants a model has; its presets are the models of this crate.

mod attention;
mod block;
mod config;
mod decoder;
mod feed_forward;
mod linear;
mod norm;
mod position;
mod scale;
mod spec;
mod sphere;

pub use attention::{Attention, AttentionBias};
pub use block::{Block, Placement, PostNormBlock, PreNormBlock};
pub use config::{ConfigError, DecoderConfig, EmbeddingScale, ResidualInit, TiedEmbeddings, WeightInit};
pub use decoder::Decoder;
pub use feed_forward::{Activation, FeedForward};
pub use linear::{Linear, LowRank};
pub use norm::{Norm, NormKind};
pub use position::{Position, Positions};
pub use scale::Scale;
pub use spec::{ModelSpec, SavedModel};
pub use sphere::{
    AlphaSign, HiddenNorms, InnerScale, LogitScale, OutputAxis, Residual, SoftmaxScale, Sphere, SphereBlock,
    SphereConfig,
};

use crate::counter_rng::CounterRng;
use crate::data::Batch;
use crate::params::{BoundParams, Layout};
use crate::tensor::Tensor;

/// What training and generation need from a model.
pub trait Model: Sync {
    /// What its parameters are, and where each of them is in the flat buffer.
    fn layout(&self) -> &Layout;

    /// The loss of every token of a batch, in nats: `[tokens, 1]`.
    fn losses<T: Tensor>(&self, params: BoundParams<'_, T>, batch: &Batch, mode: Mode) -> T;

    /// Reads more tokens of one sequence, whose earlier tokens are in the cache, and predicts what follows each of them:
    /// logits `[tokens, vocab]`.
    fn decode<T: Tensor>(&self, params: BoundParams<'_, T>, tokens: &[usize], cache: &mut Cache<T>) -> T;

    /// How many different tokens it knows.
    fn vocab_size(&self) -> usize;

    /// The longest sequence it can read.
    fn context(&self) -> usize;
}

/// What differs between training and evaluation. The default evaluates.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Mode {
    /// Where the dropout masks come from; `None` drops nothing.
    pub dropout: Option<CounterRng>,
    /// Label smoothing of the loss.
    pub smoothing: f64,
    /// How many rows of the batch come before these, if this is a shard of it: then a shard drops what the whole batch
    /// would.
    pub first_row: usize,
}

impl Mode {
    /// Dropout at one point of the model. Each point has a number of its own, so that no two drop alike.
    fn dropout<T: Tensor>(self, x: T, rate: f64, point: usize) -> T {
        match self.dropout {
            Some(rng) if rate > 0.0 => {
                let before = self.first_row * x.shape().1;
                x.dropout(rate, rng.fork(point as u32).skip(before as u32))
            }
            _ => x,
        }
    }
}

/// Keys and values of the tokens read so far, so that generation computes them only once.
pub struct Cache<T> {
    /// For each layer, keys and values `[tokens, n_kv_head · head_dim]`.
    layers: Vec<(T, T)>,
    /// How many tokens every layer has seen.
    length: usize,
}

impl<T> Default for Cache<T> {
    fn default() -> Self {
        Cache { layers: Vec::new(), length: 0 }
    }
}

impl<T: Tensor> Cache<T> {
    /// How many tokens it holds.
    pub fn length(&self) -> usize {
        self.length
    }

    /// Forgets the keys and values of all tokens from the `length`-th on.
    ///
    /// # Panics
    /// If it holds fewer.
    pub fn truncate(&mut self, length: usize) {
        assert!(length <= self.length, "truncate: {length} tokens of a cache of {}", self.length);
        if length == 0 {
            self.layers.clear();
        }
        for (k, v) in &mut self.layers {
            (*k, *v) = (k.slice_rows(0..length), v.slice_rows(0..length));
        }
        self.length = length;
    }

    // ANCHOR: append
    /// Adds the keys and values of new tokens to those of a block (a layer, in names), and returns those of all tokens.
    fn append(&mut self, layer: usize, k: T, v: T) -> (T, T) {
        if layer == self.layers.len() {
            self.layers.push((k, v));
        } else {
            let (old_k, old_v) = self.layers[layer];
            self.layers[layer] = (T::concat_rows(&[old_k, k]), T::concat_rows(&[old_v, v]));
        }
        self.layers[layer]
    }
    // ANCHOR_END: append
}
