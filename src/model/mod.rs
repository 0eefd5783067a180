//! The transformer, written once for every engine.
//!
//! A model is made of parts. Each part is a small struct that knows its parameters by their
//! [`Param`](crate::params::Param) and has one generic `forward`:
//!
//! - [`Decoder`]: embeddings, blocks, head. Start here.
//! - [`Block`]: attention and a feed-forward network, with the normalisation before them or after.
//! - [`Attention`]: queries, keys, values, many heads.
//! - [`Positions`]: how a model knows where a token stands, in six ways.
//! - [`FeedForward`]: the two-layer network at every token.
//! - [`Linear`]: what multiplies by weights, in all of them.
//! - [`LoraConfig`]: adapters beside the layers of a decoder that is frozen.
//! - [`Norm`]: RMSNorm or LayerNorm, learned or not.
//! - [`Scale`]: learned factors, stored at one size and used at another.
//! - [`Sphere`]: the normalized transformer, another model made of the same parts.
//! - [`EncoderDecoder`]: a third, which reads one text and writes another; its decoder is made of [`CrossBlock`]s.
//!
//! [`DecoderConfig`] says which of their variants a model has; its presets are the models of this crate, and [`Preset`] has
//! the classic sizes.

mod attention;
mod block;
mod config;
mod decoder;
mod encoder_decoder;
mod feed_forward;
mod linear;
mod lora;
mod norm;
mod position;
mod presets;
mod scale;
mod spec;
mod sphere;

pub use attention::{Attention, AttentionBias};
pub use block::{Block, BlockPlace, Placement};
pub use config::{ConfigError, DecoderConfig, EmbeddingScale, ResidualInit, TiedEmbeddings, WeightInit};
pub use decoder::Decoder;
pub use encoder_decoder::{CrossBlock, EncoderDecoder, EncoderDecoderConfig, SharedEmbeddings};
pub use feed_forward::{Activation, FeedForward};
pub use linear::{Linear, LowRank};
pub use lora::{LoraConfig, LoraTarget};
pub use norm::{Norm, NormKind};
pub use position::{Position, Positions};
pub use presets::Preset;
pub use scale::Scale;
pub use spec::{ModelSpec, SavedModel};
pub use sphere::{
    AlphaSign, HiddenNorms, InnerScale, LogitScale, OutputAxis, Residual, SoftmaxScale, Sphere, SphereBlock,
    SphereConfig,
};

use std::ops::Range;

use smallvec::{SmallVec, smallvec};

use crate::counter_rng::CounterRng;
use crate::data::{Batch, Sequences};
use crate::params::{BoundParams, Layout};
use crate::tensor::{Memory, MemoryId, Tensor};

/// What training and generation need from a model.
pub trait Model: Sync {
    /// What its parameters are, and where each of them is in the flat buffer.
    fn layout(&self) -> &Layout;

    /// The loss of every token of a batch, in nats: `[tokens, 1]`.
    fn losses<T: Tensor>(&self, params: BoundParams<'_, T>, batch: &Batch, mode: Mode) -> T;

    /// Of how many stages [`losses`](Self::losses) is made, one after another: blocks, for instance. An engine may forget what a
    /// stage has computed, and compute it again for the gradient.
    fn stages(&self) -> usize {
        1
    }

    /// One of them: makes of what the stage before it hands on, nothing for the first, what it hands on itself. The last hands
    /// on the losses.
    fn stage<T: Tensor>(
        &self,
        params: BoundParams<'_, T>,
        (batch, mode): (&Batch, Mode),
        stage: usize,
        state: &[T],
    ) -> State<T> {
        debug_assert!(stage == 0 && state.is_empty());
        smallvec![self.losses(params, batch, mode)]
    }

    /// Reads more tokens of some sequences, whose earlier tokens are in the cache, and predicts what follows the last of each:
    /// logits `[sequences, vocab]`.
    fn decode<T: Tensor>(
        &self,
        w: BoundParams<'_, T>,
        sequences: Sequences<'_>,
        cache: &mut Cache<'_, T>,
    ) -> T;

    /// How many different tokens it knows.
    fn vocab_size(&self) -> usize;

    /// The longest sequence it can read.
    fn context(&self) -> usize;
}

/// What a stage of a model hands on to the next.
pub type State<T> = SmallVec<[T; 2]>;

/// The losses of a model, stage by stage.
fn losses_in_stages<M: Model, T: Tensor>(model: &M, w: BoundParams<'_, T>, batch: &Batch, mode: Mode) -> T {
    let mut state = State::new();
    for stage in 0..model.stages() {
        state = model.stage(w, (batch, mode), stage, &state);
    }
    state[0]
}

/// A model that reads a source, whatever it writes.
pub trait Translator: Model {
    /// Reads sources, and keeps in the memory what targets will look at, each row of a source in its place among `capacity`.
    /// The result is what it made of each token: `[n, n_embd]`.
    fn read_sources<T: Tensor>(
        &self,
        w: BoundParams<'_, T>,
        sources: Sequences<'_>,
        memory: (&mut dyn Memory<T>, &[usize], usize),
    ) -> T;
}

/// What differs between training and evaluation. The default evaluates.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Mode {
    /// Where the dropout masks come from; `None` drops nothing.
    pub dropout: Option<CounterRng>,
    /// Label smoothing of the loss.
    pub smoothing: f64,
}

impl Mode {
    /// Dropout at one point of the model. Each point has a number of its own, so that no two drop alike.
    fn dropout<T: Tensor>(self, x: T, rate: f64, point: usize, sequences: Sequences<'_>) -> T {
        match self.dropout_rng(rate, point, sequences, x.shape().1) {
            Some(rng) => x.dropout(rate, rng),
            None => x,
        }
    }

    /// What decides there which elements of rows of `cols` are dropped, if any are.
    fn dropout_rng(
        self,
        rate: f64,
        point: usize,
        sequences: Sequences<'_>,
        cols: usize,
    ) -> Option<CounterRng> {
        let rng = self.dropout.filter(|_| rate > 0.0)?;
        Some(rng.fork(point as u32).skip((sequences.rows_before * cols) as u32))
    }
}

/// The keys and values of the tokens that were read so far. They are computed only once, and kept in a memory of the engine, or
/// rather in two for each layer.
pub struct Cache<'a, T> {
    /// The memory.
    pub memory: &'a mut dyn Memory<T>,
    /// For each new token, its place in the memory: a row.
    pub places: &'a [usize],
    /// The rows of each sequence, those of its new tokens last.
    pub keys: &'a [Range<usize>],
    /// For each sequence the rows of its source, in the memory of sources; none if there are no sources.
    pub sources: &'a [Range<usize>],
    /// How many rows the memory has.
    pub capacity: usize,
}

impl<T: Tensor> Cache<'_, T> {
    // ANCHOR: append
    /// Keeps the keys and values of new tokens of a layer, and returns those of all tokens.
    fn append(&mut self, layer: usize, [k, v]: [T; 2]) -> [T; 2] {
        let ids = [2 * layer, 2 * layer + 1].map(MemoryId::Tokens);
        [(ids[0], k), (ids[1], v)].map(|(id, x)| self.memory.keep(id, self.capacity, self.places, x))
    }
    // ANCHOR_END: append
}

/// The last row of each sequence: `[n, width] → [sequences, width]`.
fn last_rows<T: Tensor>(x: T, sequences: Sequences<'_>) -> T {
    let last: SmallVec<[usize; 32]> = sequences.rows.iter().map(|rows| rows.end - 1).collect();
    x.gather_rows(&last)
}
