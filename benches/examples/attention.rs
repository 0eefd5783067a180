//! Measures attention of one long sequence, with whole matrices and in blocks: time and saved bytes.
//!
//! ```text
//! cargo run --release --example attention
//! cargo run --release --example attention -- --lengths 256,512,1024 --block-queries 64 --block-keys 256
//! ```
//!
//! The length from which blocks pay is a constant in `src/fast/attention/blocked.rs`, and so are their sizes.

use std::time::Instant;

use anyhow::{Result, ensure};
use clap::Parser;
use gradus::data::{Batch, Sequences};
use gradus::engine::Engine;
use gradus::fast::{AttentionBlocks, FastEngine};
use gradus::model::{Cache, Mode, Model};
use gradus::params::{BoundParams, Init, Layout, Param, ParamSpec};
use gradus::random::Random;
use gradus::tensor::{AttentionSpec, Mask, Tensor, packed};
use gradus::thread_pool::ThreadPool;
use gradus_benches::measure::median;

/// Measures attention of one sequence on one thread, with whole matrices and in blocks.
#[derive(Parser)]
struct Args {
    /// Tokens of the sequence
    #[arg(long, value_name = "N,N,...", value_delimiter = ',', default_values_t = [512, 2048, 8192])]
    lengths: Vec<usize>,
    /// Heads
    #[arg(long, value_name = "N", default_value_t = 4)]
    heads: usize,
    /// The width of a head
    #[arg(long, value_name = "N", default_value_t = 64)]
    width: usize,
    /// Queries in a block
    #[arg(long, value_name = "N", default_value_t = AttentionBlocks::default().queries)]
    block_queries: usize,
    /// Keys in a block
    #[arg(long, value_name = "N", default_value_t = AttentionBlocks::default().keys)]
    block_keys: usize,
    /// Measurements of each kind, by turns; the median counts
    #[arg(long, value_name = "N", default_value_t = 5)]
    runs: usize,
}

/// Attention by itself: queries, keys and values are parameters, and the loss of a token is the sum of what it gets.
struct AttentionAlone {
    layout: Layout,
    qkv: [Param; 3],
    heads: usize,
    width: usize,
    mask: Mask,
}

impl AttentionAlone {
    fn new(tokens: usize, heads: usize, width: usize, mask: Mask) -> Self {
        let mut layout = Layout::default();
        let spec = || ParamSpec::matrix("", tokens, heads * width, Init::Normal(1.0));
        let qkv = [(); 3].map(|()| layout.add(spec()));
        AttentionAlone { layout, qkv, heads, width, mask }
    }
}

impl Model for AttentionAlone {
    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn losses<T: Tensor>(&self, params: BoundParams<'_, T>, batch: &Batch, _: Mode) -> T {
        let [q, k, v] = self.qkv.map(|param| params[param]);
        let rows = packed(&[batch.len()]);
        let spec = AttentionSpec {
            n_head: self.heads,
            n_kv_head: self.heads,
            scale: (self.width as f64).sqrt().recip(),
            mask: self.mask,
            bias: None,
            queries: &rows,
            keys: &rows,
        };
        q.attention(k, v, spec).row_sum()
    }

    fn decode<T: Tensor>(&self, _: BoundParams<'_, T>, _: Sequences<'_>, _: &mut Cache<'_, T>) -> T {
        unreachable!("nothing is generated here")
    }

    fn vocab_size(&self) -> usize {
        1
    }

    fn context(&self) -> usize {
        usize::MAX
    }
}

/// Seconds that some work takes.
fn seconds(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_secs_f64()
}

/// An engine, what it saves, and its times.
struct Contender {
    engine: FastEngine,
    forward: Vec<f64>,
    both: Vec<f64>,
}

impl Contender {
    fn new(blocks: AttentionBlocks) -> Self {
        let engine = FastEngine::new(ThreadPool::new(1)).with_attention_blocks(blocks);
        Contender { engine, forward: Vec::new(), both: Vec::new() }
    }

    fn measure(&mut self, model: &AttentionAlone, params: &[f32], batch: &Batch, gradient: &mut [f32]) {
        self.forward.push(seconds(|| _ = self.engine.loss(model, params, batch)));
        self.both.push(seconds(|| _ = self.engine.gradient(model, params, batch, Mode::default(), gradient)));
    }

    /// Forward and forward with backward in milliseconds, and saved kilobytes. The first measurement fills the buffers.
    fn figures(self) -> [f64; 3] {
        let milliseconds = |times: &[f64]| median(times[1..].to_vec()) * 1e3;
        let saved: usize = self.engine.tape().iter().map(|node| node.saved * size_of::<f32>()).sum();
        [milliseconds(&self.forward), milliseconds(&self.both), saved as f64 / 1e3]
    }
}

fn main() -> Result<()> {
    let args = Args::parse();
    let Args { heads, width, block_queries: queries, block_keys: keys, runs, .. } = args;
    let sizes = [heads, width, queries, keys, runs].into_iter().chain(args.lengths.iter().copied());
    ensure!(sizes.min() > Some(0), "all numbers must be at least 1");
    println!("{heads} heads of width {width}, blocks of {queries} queries and {keys} keys, one thread,");
    println!("{}; milliseconds, and kilobytes that are saved for backward", gradus::gemm::backend());
    println!();
    println!("                     forward              with backward            saved");
    println!("tokens  mask       whole    blocks       whole    blocks       whole    blocks");
    for &tokens in &args.lengths {
        for (name, mask) in [("causal", Mask::Causal), ("full", Mask::Full)] {
            let model = AttentionAlone::new(tokens, heads, width, mask);
            let params: Vec<f32> = model.layout().initial(&mut Random::new(42));
            let mut gradient = vec![0.0; params.len()];
            let mut batch = Batch::new();
            batch.push(vec![0; tokens + 1]);
            let [mut whole, mut blocks] =
                [usize::MAX, 1].map(|min_keys| Contender::new(AttentionBlocks { min_keys, queries, keys }));
            for _ in 0..=runs {
                whole.measure(&model, &params, &batch, &mut gradient);
                blocks.measure(&model, &params, &batch, &mut gradient);
            }
            let columns = whole.figures().into_iter().zip(blocks.figures());
            let cells: Vec<String> = columns.map(|(a, b)| format!("{a:>10.2}{b:>10.2}")).collect();
            println!("{tokens:>6}  {name:<6}  {}", cells.join("  "));
        }
    }
    Ok(())
}
