//! The fast engine at work: a batch is cut into shards, and their gradients are added up in order. How a batch is cut depends
//! on nothing but the batch, so the result is the same to the last bit on any number of threads.
//!
//! As many shards as there are threads are worked on at a time, each on a tape of its own. The next ones find the same tapes. So a
//! step keeps the results of a few shards, not of the whole batch. The largest come first: then those at a time take about as long
//! as each other, and no thread waits for long.

use std::cmp::Reverse;
use std::ops::Range;

use smallvec::SmallVec;

use super::attention::AttentionBlocks;
use super::backward::backward;
use super::precision::Precision;
use super::stages::{Stages, Work};
use super::tape::{NodeInfo, Recording, Tape, write_or_add};
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
    /// What each thread works on.
    workers: Vec<Worker>,
    losses: Vec<f64>,
    checkpointing: bool,
    blocks: AttentionBlocks,
    precision: Precision,
    /// In mixed precision the weights as the model sees them: rounded to 16 bits.
    rounded: Vec<f32>,
    /// What generation writes on, apart from the shards: it may happen between two steps of training.
    decode_tape: Tape,
}

/// A part of a batch, and what came out.
#[derive(Default)]
struct Shard {
    batch: Batch,
    losses: Vec<f64>,
    loss: f64,
    /// How many results were on the tape.
    nodes: usize,
}

/// All that is needed to work on a shard alone. The next one writes over it.
#[derive(Default)]
struct Worker {
    tape: Tape,
    gradient: Vec<f32>,
    stages: Stages,
}

impl FastEngine {
    /// An engine that works with these threads.
    pub fn new(threads: ThreadPool) -> Self {
        FastEngine {
            threads,
            shards: Vec::new(),
            active: 0,
            workers: Vec::new(),
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
        self.workers.iter_mut().for_each(|worker| worker.tape.blocks = blocks);
        self
    }

    /// The same engine, which stores results in this precision: *mixed precision*, if that is not 32 bits. With 16 bits every
    /// result on the tape is rounded, and its gradient as well. So are the weights that the model sees, a copy of those
    /// that the optimizer changes. All is computed in 32 bits, and losses and the gradients of weights stay so. So do all
    /// numbers of [`Reader::run`](crate::engine::Reader::run), such as in a [`Session`](crate::engine::Session).
    pub fn with_precision(self, precision: Precision) -> Self {
        FastEngine { precision, workers: Vec::new(), ..self }
    }

    /// How many results the last batch had.
    pub fn nodes(&self) -> usize {
        self.shards[..self.active].iter().map(|shard| shard.nodes).sum()
    }

    /// What is on the tapes, of which there is one for each thread that had something to do: the results of the last shards, in
    /// order, with the sizes of their buffers.
    pub fn tape(&self) -> Vec<NodeInfo> {
        self.workers.iter().flat_map(|worker| worker.tape.describe()).collect()
    }

    /// How many numbers fit into the buffers that backward has needed so far for the gradients of results. They stay for the
    /// next step. Those of parameters are not among them.
    pub fn gradient_buffers(&self) -> usize {
        self.workers.iter().map(|worker| worker.tape.pool.borrow().numbers()).sum()
    }

    /// Into how many shards a batch is cut. Each that is worked on at the same time has a gradient of all trainable parameters,
    /// beside their sum. It is one or an even number, since with an odd one the second of two threads would wait for the last.
    pub fn shards(sequences: usize, tokens: usize) -> usize {
        let count = (tokens / SHARD_TOKENS).clamp(1, SHARDS).min(sequences.max(1));
        if count == 1 { 1 } else { count / 2 * 2 }
    }

    /// Cuts a batch, each time as near as possible to where all shards would have as many tokens, and puts the largest first. The
    /// weights of the tokens become their shares in the mean loss of the whole.
    // ANCHOR: shard
    fn shard(&mut self, batch: &Batch, total_loss_weight: f64) -> &mut [Shard] {
        let share = 1.0 / total_loss_weight;
        let rows = batch.sequences().rows;
        let count = Self::shards(rows.len(), batch.len());
        if self.shards.len() < count {
            self.shards.resize_with(count, Shard::default);
        }
        let shards = &mut self.shards[..count];
        let mut first = 0;
        for (at, shard) in shards.iter_mut().enumerate() {
            let aim = batch.len() * (at + 1) / count;
            let before = |rows: &&Range<usize>| (rows.start + rows.end) / 2 <= aim;
            let len = rows[first..].iter().take_while(before).count();
            shard.batch.copy_sequences(batch, first..first + len, share);
            first += len;
        }
        shards.sort_by_key(|shard| Reverse(shard.batch.len()));
        self.active = shards.iter().take_while(|shard| !shard.batch.is_empty()).count();
        &mut self.shards[..self.active]
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

    /// Lets all threads work on the shards of a batch, as many at a time as there are threads, and collects their losses in the
    /// order of the batch. After each time, `collect` gets the number of the first of these shards and what they were worked on
    /// with.
    fn each_shard(
        &mut self,
        params: &[f32],
        batch: &Batch,
        total_loss_weight: f64,
        work: impl Fn(&mut Shard, &mut Worker, &[f32]) + Send + Sync,
        mut collect: impl FnMut(usize, &[Worker]),
    ) -> f64 {
        let threads = self.threads.clone();
        let mut rounded = std::mem::take(&mut self.rounded);
        let params = self.weights(params, &mut rounded);
        let at_once = threads.count().min(self.shard(batch, total_loss_weight).len());
        if self.workers.len() < at_once {
            self.workers.resize_with(at_once, || Worker::new(self.blocks, self.precision));
        }
        for (wave, shards) in self.shards[..self.active].chunks_mut(at_once).enumerate() {
            let workers = &mut self.workers[..shards.len()];
            let mut pairs: SmallVec<[_; SHARDS]> = shards.iter_mut().zip(workers.iter_mut()).collect();
            threads.for_each(&mut pairs, |(shard, worker)| work(shard, worker, params));
            drop(pairs);
            collect(wave * at_once, workers);
        }
        self.rounded = rounded;
        let mut shards: SmallVec<[&Shard; SHARDS]> = self.shards[..self.active].iter().collect();
        shards.sort_by_key(|shard| shard.batch.sequences().rows_before);
        self.losses.clear();
        self.losses.extend(shards.iter().flat_map(|shard| &shard.losses));
        shards.iter().map(|shard| shard.loss).sum()
    }
}

impl Worker {
    fn new(blocks: AttentionBlocks, precision: Precision) -> Self {
        let mut worker = Worker { tape: Tape::new(precision), ..Worker::default() };
        worker.tape.blocks = blocks;
        worker
    }

    /// The loss of a shard, and on `tape` all that it was made of, or with checkpointing what its last stage has computed.
    fn forward<M: Model>(
        &mut self,
        shard: &mut Shard,
        (model, params, mode): (&M, &[f32], Mode),
        checkpointing: bool,
    ) {
        let Shard { batch, losses, loss, nodes } = shard;
        losses.clear();
        self.tape.rewind();
        let weights = Weights::Flat(params);
        if checkpointing {
            *loss = self.stages.forward(&self.tape, &Work { model, weights, batch, mode }, losses);
        } else {
            let on = Recording { tape: &self.tape, weights };
            let matrices = on.bind(model.layout());
            let column = model.losses(BoundParams::new(&matrices), batch, mode);
            let sum = column.weighted_sum(batch.loss_weights());
            self.tape.read(weights, |tape| {
                *loss = f64::from(tape.data(sum.id)[0]);
                losses.extend(tape.data(column.id).iter().map(|&loss| f64::from(loss)));
            });
        }
        *nodes = self.tape.len();
    }

    /// Its gradient, after `forward`.
    fn backward<M: Model>(
        &mut self,
        batch: &Batch,
        (model, params, mode): (&M, &[f32], Mode),
        checkpointing: bool,
    ) {
        self.gradient.resize(model.layout().trainable_len(), 0.0);
        if checkpointing {
            let work = Work { model, weights: Weights::Flat(params), batch, mode };
            self.stages.backward(&self.tape, &work, &mut self.gradient);
        } else {
            let mut pool = self.tape.pool.borrow_mut();
            self.tape.read(Weights::Flat(params), |tape| backward(tape, &mut pool, &mut self.gradient));
        }
    }
}

impl Engine for FastEngine {
    type Real = f32;

    /// To the last bit the gradient of one batch, if that is cut into the very shards into which its micro-batches are, and they are
    /// worked on in the same order: so it is where all are of the same size.
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
        let (gradient, writes) = match gradient {
            GradientTo::Write(gradient) => (gradient, true),
            GradientTo::Add(gradient) => (gradient, false),
        };
        let len = model.layout().trainable_len();
        assert_eq!(gradient.len(), len, "gradient: the numbers to write against the trainable ones");
        let (checkpointing, threads) = (self.checkpointing, self.threads.clone());
        let work = |shard: &mut Shard, worker: &mut Worker, params: &[f32]| {
            worker.forward(shard, (model, params, mode), checkpointing);
            worker.backward(&shard.batch, (model, params, mode), checkpointing);
        };
        self.each_shard(params, batch, total_loss_weight, work, |first, workers| {
            let parts: SmallVec<[&[f32]; SHARDS]> =
                workers.iter().map(|worker| &worker.gradient[..]).collect();
            // ANCHOR: sum
            threads.for_each_chunk(gradient, BLOCK, |block, sum| {
                let range = block * BLOCK..block * BLOCK + sum.len();
                for (at, part) in parts.iter().enumerate() {
                    write_or_add(sum, !writes || first + at > 0, part[range.clone()].iter().copied());
                }
            });
            // ANCHOR_END: sum
        })
    }

    fn loss<M: Model>(&mut self, model: &M, params: &[f32], batch: &Batch) -> f64 {
        let total = batch.total_loss_weight();
        let checkpointing = self.checkpointing;
        let work = |shard: &mut Shard, worker: &mut Worker, params: &[f32]| {
            worker.forward(shard, (model, params, Mode::default()), checkpointing);
        };
        self.each_shard(params, batch, total, work, |_, _| ())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    /// Every sequence is in one shard, in order. The largest comes first, each ends no farther from where it should than half of a
    /// sequence, and those that are worked on together differ by little.
    #[test]
    fn a_batch_of_uneven_sequences_is_cut_into_shards_of_like_size() {
        let (mut random, mut engine) = (Random::new(1), FastEngine::new(ThreadPool::new(1)));
        let (mut slowest, mut fastest) = (0, 0);
        for _ in 0..200 {
            let mut batch = Batch::new();
            let lengths: Vec<usize> = (0..16).map(|_| 20 + random.below(220)).collect();
            lengths.iter().for_each(|length| batch.push((0..=*length).map(|at| at % 7)));
            let longest = lengths.iter().max().expect("sixteen");
            let shards = engine.shard(&batch, 1.0);
            let sizes: Vec<usize> = shards.iter().map(|shard| shard.batch.len()).collect();
            assert!(sizes.is_sorted_by(|a, b| a >= b) && sizes.len().is_multiple_of(2), "{sizes:?}");
            slowest += sizes.iter().step_by(2).sum::<usize>();
            fastest += batch.len().div_ceil(2);
            shards.sort_by_key(|shard| shard.batch.sequences().rows_before);
            let again: Vec<usize> =
                shards.iter().flat_map(|shard| shard.batch.sequences().rows).map(Range::len).collect();
            assert_eq!(again, lengths);
            let mut end = 0;
            for (at, shard) in shards.iter().enumerate() {
                end += shard.batch.len();
                let aim = batch.len() * (at + 1) / sizes.len();
                assert!(
                    end.abs_diff(aim) <= longest / 2 + 1,
                    "shard {at} ends at {end}, not {aim}: {lengths:?}"
                );
            }
        }
        // On two threads, a step waits for the larger shard of each two.
        assert!(slowest * 100 < fastest * 110, "{slowest} tokens one after the other, {fastest} at best");
    }
}
