//! Memory of a training step on the fast engine: what it keeps of a forward pass is read off its tape.

use crate::data::Batch;
use crate::engine::{Engine, GradientTo};
use crate::fast::{AttentionBlocks, FastEngine, NodeInfo};
use crate::model::{Mode, Model};
use crate::params::{Layout, ParamKind};
use crate::thread_pool::ThreadPool;

/// The bytes of a number of the fast engine.
const BYTES: f64 = size_of::<f32>() as f64;

/// The longest sequences that are tried. Twice as long as the least from which the memory grows by the same rule.
const LONGEST: usize = 32;

/// How many numbers a batch of equally long sequences needs: a polynomial of their length.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Amount {
    /// Whatever the batch.
    pub fixed: f64,
    /// For each token.
    pub per_token: f64,
    /// For each pair of tokens in the same sequence: of `n` tokens there are `n²`.
    pub per_pair: f64,
}

impl Amount {
    /// That of some sequences of this length.
    pub fn of(self, sequences: usize, length: usize) -> f64 {
        let (tokens, length) = (sequences as f64 * length as f64, length as f64);
        self.fixed + tokens * (self.per_token + self.per_pair * length)
    }

    /// The polynomial through three measurements: one sequence of the first length, two of them, and one of the second
    /// length.
    fn through([first, second]: [usize; 2], [one, two, longer]: [f64; 3]) -> Self {
        let [first, second] = [first, second].map(|length| length as f64);
        let fixed = one - (two - one);
        // What a token needs in a sequence of either length. It grows with the length by what a pair needs.
        let (short, long) = ((two - one) / first, (longer - fixed) / second);
        let per_pair = if second > first { (long - short).max(0.0) / (second - first) } else { 0.0 };
        Amount { fixed, per_token: short - per_pair * first, per_pair }
    }
}

/// How many numbers the fast engine keeps of a batch of which it computes the gradient.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Activations {
    /// Results, and what operations save beside them, until the way back comes by.
    pub results: Amount,
    /// The buffers for their gradients. A buffer has room for a power of two, and serves one gradient after another, so this
    /// is right to about a third.
    pub gradients: Amount,
}

impl Activations {
    /// Measures them: the engine computes the gradient of three small batches, and its tape says what it kept. `batch` makes
    /// a batch of some sequences of some length. `mode` is that of the training.
    ///
    /// Of attention it keeps what a full context keeps: the probabilities, or what brings them back where the context is so long
    /// that the engine computes it block by block ([`AttentionBlocks`]).
    ///
    /// All parameters are 0, which changes no size. A model that is frozen as a whole ([`Layout::freeze`]) spares the memory
    /// of their gradient.
    pub fn measure<M: Model>(model: &M, mode: Mode, batch: impl Fn(usize, usize) -> Batch) -> Self {
        Self::measure_with(|engine| engine, model, mode, batch)
    }

    /// The same for an engine in another precision, which `prepare` makes of a plain one. Results of 16 bits count as half a
    /// number. It is not for one with checkpointing, of whose results most are gone when they are counted.
    pub fn measure_with<M: Model>(
        prepare: impl Fn(FastEngine) -> FastEngine,
        model: &M,
        mode: Mode,
        batch: impl Fn(usize, usize) -> Batch,
    ) -> Self {
        let params = vec![0.0; model.layout().len()];
        let mut gradient = vec![0.0; model.layout().trainable_len()];
        let blocks = AttentionBlocks::default();
        let in_blocks = model.context() >= blocks.min_keys;
        let min_keys = if in_blocks { 1 } else { usize::MAX };
        let blocks = AttentionBlocks { min_keys, ..blocks };
        let mut kept = |sequences, length| {
            let mut engine = prepare(FastEngine::new(ThreadPool::new(1)).with_attention_blocks(blocks));
            let (batch, to) = (batch(sequences, length), GradientTo::Write(&mut gradient));
            engine.accumulate(model, &params, &batch, mode, batch.total_loss_weight(), to);
            let stored = |node: &NodeInfo| node.bytes as f64 / BYTES + node.saved as f64;
            let results: f64 = engine.tape().iter().map(stored).sum();
            (results, engine.gradient_buffers() as f64)
        };
        let long = LONGEST.min(model.context());
        let lengths = [long.div_ceil(2), long];
        let measured = [kept(1, lengths[0]), kept(2, lengths[0]), kept(1, lengths[1])];
        let results = Amount::through(lengths, measured.map(|(results, _)| results));
        let mut gradients = Amount::through(lengths, measured.map(|(_, gradients)| gradients));
        if in_blocks {
            // A block of a short text is as large as its square, but that of a long one is no larger than a block.
            gradients.per_pair = 0.0;
        }
        Activations { results, gradients }
    }
}

/// How many numbers an optimizer has beside parameters and gradient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moments {
    /// What it remembers from step to step.
    pub kept: usize,
    /// What it works on within a step, and does not give back.
    pub work: usize,
}

impl Moments {
    /// AdamW: two running means of each trainable number.
    pub fn adamw(layout: &Layout) -> Self {
        Moments { kept: 2 * layout.trainable_len(), work: 0 }
    }

    /// Muon: one running mean of each matrix, and AdamW's two of everything else. It works on a copy of each matrix, another
    /// one, and two squares of its shorter side.
    pub fn muon(layout: &Layout) -> Self {
        let mut moments = Moments { kept: 0, work: 0 };
        for (spec, range, _) in layout.trainable() {
            if spec.kind == ParamKind::Matrix {
                moments.kept += range.len();
                moments.work += 2 * range.len() + 2 * spec.rows.min(spec.cols).pow(2);
            } else {
                moments.kept += 2 * range.len();
            }
        }
        moments
    }
}

/// The memory of a training step on the fast engine, in bytes. What holds the text and the program itself comes on top.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrainingMemory {
    /// Parameters.
    pub parameters: f64,
    /// Their gradient.
    pub gradient: f64,
    /// The gradients of the shards ([`FastEngine::shards`]) that are worked on at the same time, one on each thread.
    pub shards: f64,
    /// What the optimizer has.
    pub moments: f64,
    /// Results that are kept for the way back, of these shards.
    pub results: f64,
    /// The part of them that grows with the square of a sequence's length.
    pub squares: f64,
    /// Gradients of results.
    pub result_gradients: f64,
}

impl TrainingMemory {
    /// Of how many of these sequences a step keeps the results at the same time: of those in as many shards as there are threads.
    pub fn held(sequences: usize, length: usize, threads: usize) -> usize {
        let shards = FastEngine::shards(sequences, sequences.saturating_mul(length));
        sequences.div_ceil(shards) * shards.min(threads.max(1))
    }

    /// That of a step on some sequences of this length, on so many threads.
    pub fn new(
        layout: &Layout,
        moments: Moments,
        activations: Activations,
        (sequences, length): (usize, usize),
        threads: usize,
    ) -> Self {
        let trainable = layout.trainable_len() as f64;
        let shards = FastEngine::shards(sequences, sequences * length).min(threads.max(1));
        let held = Self::held(sequences, length, threads);
        let at_once = |amount: Amount| BYTES * amount.of(held, length);
        let Activations { results, gradients } = activations;
        let squares = Amount { per_pair: results.per_pair, ..Amount::default() };
        TrainingMemory {
            parameters: BYTES * layout.len() as f64,
            gradient: BYTES * trainable,
            shards: BYTES * trainable * shards as f64,
            moments: BYTES * (moments.kept as f64 + moments.work as f64),
            results: at_once(results),
            squares: at_once(squares),
            result_gradients: at_once(gradients),
        }
    }

    /// All of it.
    pub fn total(&self) -> f64 {
        let TrainingMemory { parameters, gradient, shards, moments, results, squares: _, result_gradients } =
            self;
        parameters + gradient + shards + moments + results + result_gradients
    }
}
