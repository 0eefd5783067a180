//! The fast engine at work: a batch is cut into shards, each with a tape of its own, and their gradients are added up in
//! order. How a batch is cut depends on nothing but the batch, so the result is the same to the last bit on any
//! number of threads.

use std::ops::Range;

use smallvec::SmallVec;

use super::attention::AttentionBlocks;
use super::backward::backward;
use super::precision::Precision;
use super::stages::{Stages, Work};
use super::tape::{NodeInfo, Recording, Tape};
use super::weights::Weights;
use crate::data::Batch;
use crate::engine::{Engine, GradientTo, Pass, Reader};
use crate::model::{Mode, Model};
use crate::params::{BoundParams, Layout};
use crate::tensor::Tensor;
use crate::thread_pool::ThreadPool;

/// The most shards of a batch, and so the most threads that can work on it.
const SHARDS: usize = 8;

/// A batch is cut only into shards of about so many tokens or more: below that, cutting costs more than it gains.
const SHARD_TOKENS: usize = 256;

/// The gradients of shards are added up in blocks of so many weights, each by one thread.
const BLOCK: usize = 1 << 14;

/// The [`Engine`] of whole matrices.
pub struct FastEngine {
    threads: ThreadPool,
    shards: Vec<Shard>,
    /// How many of them the last batch was cut into.
    active: usize,
    losses: Vec<f64>,
    checkpointing: bool,
    blocks: AttentionBlocks,
    precision: Precision,
    /// In mixed precision the weights as the model sees them: rounded to 16 bits.
    rounded: Vec<f32>,
    /// What generation writes on, apart from the shards: it may happen between two steps of training.
    decode_tape: Tape,
}

/// A part of a batch with all that is needed to work on it alone.
#[derive(Default)]
struct Shard {
    tape: Tape,
    batch: Batch,
    gradient: Vec<f32>,
    losses: Vec<f64>,
    loss: f64,
    stages: Stages,
}

impl FastEngine {
    /// An engine that works with these threads.
    pub fn new(threads: ThreadPool) -> Self {
        FastEngine {
            threads,
            shards: Vec::new(),
            active: 0,
            losses: Vec::new(),
            checkpointing: false,
            blocks: AttentionBlocks::default(),
            precision: Precision::F32,
            rounded: Vec::new(),
            decode_tape: Tape::default(),
        }
    }

    /// The same engine, which forgets what each stage of a model has computed, and computes it again for the gradient: less
    /// memory, one more forward, the same numbers to the last bit.
    pub fn with_checkpointing(self) -> Self {
        FastEngine { checkpointing: true, ..self }
    }

    /// The same engine with other blocks for attention: to measure them, or to save memory earlier.
    ///
    /// # Panics
    /// If blocks are empty.
    pub fn with_attention_blocks(mut self, blocks: AttentionBlocks) -> Self {
        assert!(blocks.queries > 0 && blocks.keys > 0, "attention: {blocks:?}, blocks of nothing");
        self.blocks = blocks;
        self.decode_tape.blocks = blocks;
        self.shards.iter_mut().for_each(|shard| shard.tape.blocks = blocks);
        self
    }

    /// The same engine, which stores results in this precision: *mixed precision*, if that is not 32 bits. With 16 bits every
    /// result on the tape is rounded, and its gradient as well. So are the weights that the model sees, a copy of those
    /// that the optimizer changes. All is computed in 32 bits, and losses and the gradients of weights stay so. So do all
    /// numbers of [`Reader::run`](crate::engine::Reader::run), such as in a [`Session`](crate::engine::Session).
    pub fn with_precision(self, precision: Precision) -> Self {
        FastEngine { precision, shards: Vec::new(), active: 0, ..self }
    }

    /// How many results the tapes hold.
    pub fn nodes(&self) -> usize {
        self.shards.iter().map(|shard| shard.tape.len()).sum()
    }

    /// What is on the tapes: the results of the last step, in order, with the sizes of their buffers.
    pub fn tape(&self) -> Vec<NodeInfo> {
        self.shards.iter().flat_map(|shard| shard.tape.describe()).collect()
    }

    /// How many numbers fit into the buffers that backward has needed so far for the gradients of results. They stay for the
    /// next step. Those of parameters are not among them.
    pub fn gradient_buffers(&self) -> usize {
        self.shards.iter().map(|shard| shard.tape.pool.borrow().numbers()).sum()
    }

    /// Into how many shards a batch is cut. Each has a gradient of all trainable parameters, beside their sum.
    pub fn shards(sequences: usize, tokens: usize) -> usize {
        (tokens / SHARD_TOKENS).clamp(1, SHARDS).min(sequences.max(1))
    }

    /// Cuts a batch. The weights of the tokens become their shares in the mean loss of the whole.
    // ANCHOR: shard
    fn shard(&mut self, batch: &Batch, total_loss_weight: f64) -> &mut [Shard] {
        let share = 1.0 / total_loss_weight;
        let rows = batch.sequences().rows;
        let count = Self::shards(rows.len(), batch.len());
        if self.shards.len() < count {
            self.shards.resize_with(count, || Shard::new(self.blocks, self.precision));
        }
        let mut first = 0;
        for (at, shard) in self.shards[..count].iter_mut().enumerate() {
            let aim = batch.len() * (at + 1) / count;
            let len = rows[first..].iter().take_while(|rows| rows.start < aim).count();
            shard.batch.copy_sequences(batch, first..first + len, share);
            first += len;
        }
        self.active = count;
        &mut self.shards[..count]
    }
    // ANCHOR_END: shard

    /// The weights as the model sees them.
    fn weights<'a>(&self, params: &'a [f32], rounded: &'a mut Vec<f32>) -> &'a [f32] {
        let Some(half) = self.precision.half() else { return params };
        rounded.resize(params.len(), 0.0);
        self.threads.for_each_chunk(rounded, BLOCK, |block, to| {
            to.copy_from_slice(&params[block * BLOCK..][..to.len()]);
            half.round(to);
        });
        rounded
    }

    /// Lets all threads work on the shards of a batch, and collects their losses in order.
    fn each_shard(
        &mut self,
        params: &[f32],
        batch: &Batch,
        total_loss_weight: f64,
        work: impl Fn(&mut Shard, &[f32]) + Send + Sync,
    ) -> f64 {
        let threads = self.threads.clone();
        let mut rounded = std::mem::take(&mut self.rounded);
        let params = self.weights(params, &mut rounded);
        threads.for_each(self.shard(batch, total_loss_weight), |shard| work(shard, params));
        self.rounded = rounded;
        let shards = &self.shards[..self.active];
        self.losses.clear();
        self.losses.extend(shards.iter().flat_map(|shard| &shard.losses));
        shards.iter().map(|shard| shard.loss).sum()
    }
}

impl Shard {
    fn new(blocks: AttentionBlocks, precision: Precision) -> Self {
        let mut shard = Shard { tape: Tape::new(precision), ..Shard::default() };
        shard.tape.blocks = blocks;
        shard
    }

    /// The loss of this shard, and on `tape` all that it was made of, or with checkpointing what its last stage has computed.
    fn forward<M: Model>(&mut self, model: &M, params: &[f32], mode: Mode, checkpointing: bool) {
        self.losses.clear();
        self.loss = 0.0;
        if self.batch.is_empty() {
            return;
        }
        if checkpointing {
            let work = Work { model, weights: Weights::Flat(params), batch: &self.batch, mode };
            self.loss = self.stages.forward(&self.tape, &work, &mut self.losses);
            return;
        }
        self.tape.rewind();
        let weights = Weights::Flat(params);
        let on = Recording { tape: &self.tape, weights };
        let matrices = on.bind(model.layout());
        let losses = model.losses(BoundParams::new(&matrices), &self.batch, mode);
        let loss = losses.weighted_sum(self.batch.loss_weights());
        self.tape.read(weights, |tape| {
            self.loss = f64::from(tape.data(loss.id)[0]);
            self.losses.extend(tape.data(losses.id).iter().map(|&loss| f64::from(loss)));
        });
    }

    /// Its gradient, after `forward`.
    fn backward<M: Model>(
        &mut self,
        (model, params, mode): (&M, &[f32], Mode),
        checkpointing: bool,
        gradient: &mut [f32],
    ) {
        if self.batch.is_empty() {
            gradient.fill(0.0);
        } else if checkpointing {
            let work = Work { model, weights: Weights::Flat(params), batch: &self.batch, mode };
            self.stages.backward(&self.tape, &work, gradient);
        } else {
            let mut pool = self.tape.pool.borrow_mut();
            self.tape.read(Weights::Flat(params), |tape| backward(tape, &mut pool, gradient));
        }
    }
}

impl Engine for FastEngine {
    type Real = f32;

    /// To the last bit the gradient of one batch, if that is cut into the very shards into which its micro-batches are.
    fn accumulate<M: Model>(
        &mut self,
        model: &M,
        params: &[f32],
        batch: &Batch,
        mode: Mode,
        total_loss_weight: f64,
        gradient: GradientTo<'_, f32>,
    ) -> f64 {
        assert!(!batch.is_empty(), "an empty batch has no loss");
        let len = model.layout().trainable_len();
        let checkpointing = self.checkpointing;
        let loss = self.each_shard(params, batch, total_loss_weight, |shard, params| {
            shard.forward(model, params, mode, checkpointing);
            let mut own = std::mem::take(&mut shard.gradient);
            own.resize(len, 0.0);
            shard.backward((model, params, mode), checkpointing, &mut own);
            shard.gradient = own;
        });
        let parts: SmallVec<[&[f32]; SHARDS]> =
            self.shards[..self.active].iter().map(|shard| shard.gradient.as_slice()).collect();
        let (gradient, first, others) = match gradient {
            GradientTo::Write(gradient) => (gradient, Some(parts[0]), &parts[1..]),
            GradientTo::Add(gradient) => (gradient, None, &parts[..]),
        };
        assert_eq!(gradient.len(), len, "gradient: the numbers to write against the trainable ones");
        // ANCHOR: sum
        self.threads.for_each_chunk(gradient, BLOCK, |block, sum| {
            let range = block * BLOCK..block * BLOCK + sum.len();
            if let Some(first) = first {
                sum.copy_from_slice(&first[range.clone()]);
            }
            for part in others {
                sum.iter_mut().zip(&part[range.clone()]).for_each(|(sum, g)| *sum += g);
            }
        });
        // ANCHOR_END: sum
        loss
    }

    fn loss<M: Model>(&mut self, model: &M, params: &[f32], batch: &Batch) -> f64 {
        let total = batch.total_loss_weight();
        let checkpointing = self.checkpointing;
        self.each_shard(params, batch, total, |shard, params| {
            shard.forward(model, params, Mode::default(), checkpointing);
        })
    }

    fn token_losses(&self) -> &[f64] {
        &self.losses
    }
}

impl Reader for FastEngine {
    type Params = [f32];

    fn run(&mut self, layout: &Layout, params: &[f32], pass: impl Pass, out: &mut Vec<f64>) {
        let tape = &self.decode_tape;
        tape.rewind();
        let weights = Weights::Flat(params);
        let on = Recording { tape, weights };
        let matrices = on.bind(layout);
        let result = pass.run(BoundParams::new(&matrices), &mut &on);
        out.clear();
        tape.read(weights, |view| out.extend(view.data(result.id).iter().map(|&x| f64::from(x))));
    }

    fn copy_kept(&mut self, from: Range<usize>, to: usize) {
        self.decode_tape.kept.get_mut().copy_tokens(from, to);
    }
}
