//! The transformer, written once for every engine.
//!
//! A model is made of parts, and each part is a small struct that knows its weights by [`Param`](crate::params::Param)
//! and has one generic `forward`:
//!
//! - [`Decoder`]: embeddings, blocks, head. Start here.
//! - [`Attention`]: queries, keys, values, many heads.
//! - [`FeedForward`]: the two-layer network at every token.
//! - [`Norm`]: root mean square normalisation with or without a gain.
//!
//! [`DecoderConfig`] says which of their variants a model has; its presets are the models of this crate.

mod attention;
mod config;
mod decoder;
mod feed_forward;
mod norm;
mod spec;

pub use attention::Attention;
pub use config::{Activation, ConfigError, DecoderConfig, Position};
pub use decoder::Decoder;
pub use feed_forward::FeedForward;
pub use norm::Norm;
pub use spec::{ModelSpec, SavedModel};

use crate::counter_rng::CounterRng;
use crate::data::Batch;
use crate::params::{BoundParams, Layout};
use crate::tensor::Tensor;

/// What training and generation ask of a model.
pub trait Model: Sync {
    /// Where its weights lie.
    fn layout(&self) -> &Layout;

    /// The loss of every token of a batch, in nats: `[tokens, 1]`.
    fn losses<T: Tensor>(&self, params: BoundParams<'_, T>, batch: &Batch, mode: Mode) -> T;

    /// Reads more tokens of one sequence, whose earlier tokens are in the cache, and tells what may follow
    /// each of them: logits `[tokens, vocab]`.
    fn decode<T: Tensor>(&self, params: BoundParams<'_, T>, tokens: &[usize], cache: &mut Cache<T>) -> T;

    /// How many tokens it knows.
    fn vocab_size(&self) -> usize;

    /// The longest sequence it can read.
    fn context(&self) -> usize;
}

/// What distinguishes a pass for training from one for evaluation; the default evaluates.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Mode {
    /// Where the dropout masks come from; `None` drops nothing.
    pub dropout: Option<CounterRng>,
    /// Label smoothing of the loss.
    pub smoothing: f64,
    /// How many rows of the batch come before these, where it is split: so that a part of it drops what the whole would.
    pub first_row: usize,
}

impl Mode {
    /// Dropout in one place of the model, told apart from all others by its number.
    fn dropout<T: Tensor>(self, x: T, rate: f64, place: usize) -> T {
        match self.dropout {
            Some(rng) if rate > 0.0 => {
                let before = self.first_row * x.shape().1;
                x.dropout(rate, rng.fork(place as u32).skip(before as u32))
            }
            _ => x,
        }
    }
}

/// Tokens of one or more sequences, one sequence after another.
#[derive(Clone, Copy, Debug)]
pub struct Sequences<'a> {
    /// The tokens of all sequences.
    pub tokens: &'a [usize],
    /// The place of each token in its sequence, from 0.
    pub positions: &'a [usize],
    /// How many tokens each sequence has.
    pub lengths: &'a [usize],
}

/// Keys and values of the tokens read so far, so that generation computes each of them once.
pub struct Cache<T> {
    /// For each layer, keys and values `[tokens, n_kv_head · head_dim]`.
    layers: Vec<(T, T)>,
    /// How many tokens all layers have seen.
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

    // ANCHOR: append
    /// Adds the keys and values of new tokens to a layer, and returns those of all tokens.
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
