//! Generation with stored weights: tokens a second, and how near that is to what the memory allows. To write a token, a model
//! reads all of its weights once, and the keys and values of all tokens before; it cannot be faster than that.
//!
//! ```text
//! cargo bench --bench generate
//! cargo bench --bench generate -- --dtypes int8 --threads 1,2 --seconds 2
//! cargo bench --bench generate -- --context 4000 --plot decode.svg
//! cargo bench --bench generate -- --dtypes f32,int8 --threads 2 --rows 1,2,4,8
//! ```
//!
//! The model is a Llama of 512 x 8 with random weights. The first table is of memory: how fast so many threads read a large
//! buffer. In the second, `share` is how much of that bandwidth a token uses, and `prompt` is 512 tokens read at once. The plot
//! has milliseconds a token against the tokens before, and below each curve what the reading of the bytes alone would take.
//! `--rows` adds a table of several sequences in one step, as a server reads them: `drawing` is the choice of the next tokens, on
//! one thread, and `times` is the tokens a second against those of a single sequence.

use std::borrow::Cow;
use std::hint::black_box;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use gradus::checkpoint::write_atomically;
use gradus::crew::Crew;
use gradus::engine::{Room, Session};
use gradus::fast::{InferenceEngine, StoredParams};
use gradus::gemm::Dtype;
use gradus::generate::strategy::greedy;
use gradus::model::{Decoder, DecoderConfig, Model, TiedEmbeddings};
use gradus::random::Random;
use gradus_benches::measure::median;
use support::plot::{Chart, Curve};

/// The tokens of a prompt.
const PROMPT: usize = 512;

/// Numbers of 64 bits in the buffer that is read to measure the memory: far more than fit into a cache.
const BUFFER: usize = 1 << 25;

/// Tokens that are measured at each point of the plot.
const POINT: usize = 16;

/// Measures generation with a Llama of 512 x 8 and random weights.
#[derive(Parser)]
struct Args {
    /// How weights are stored: f32, bf16, int8
    #[arg(long, value_name = "D,D,...", value_delimiter = ',', default_values_t = [Dtype::F32, Dtype::Bf16, Dtype::Int8])]
    dtypes: Vec<Dtype>,
    /// Threads [default: one, and one for each processor]
    #[arg(long, value_name = "N,N,...", value_delimiter = ',')]
    threads: Vec<usize>,
    /// Seconds for each measurement
    #[arg(long, value_name = "X", default_value_t = 2.0)]
    seconds: f64,
    /// Also steps of so many sequences at once, at most 64
    #[arg(long, value_name = "N,N,...", value_delimiter = ',')]
    rows: Vec<usize>,
    /// Tokens before the last point of the plot
    #[arg(long, value_name = "N", default_value_t = 4000)]
    context: usize,
    /// Draw milliseconds a token against the tokens before, as SVG
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// What cargo says to every bench
    #[arg(long, hide = true)]
    bench: bool,
}

fn llama(context: usize) -> Result<Decoder> {
    let config = DecoderConfig {
        context,
        n_layer: 8,
        n_embd: 512,
        n_head: 8,
        n_kv_head: 4,
        n_ffn: 1536,
        qk_norm: false,
        dropout: 0.0,
        init_std: 0.02,
        tied_embeddings: TiedEmbeddings::Output,
        ..DecoderConfig::dialog(32_000)
    };
    Ok(Decoder::new(config)?)
}

/// Bytes a second that so many threads read from a large buffer, the best of several times: what the memory can do.
fn bandwidth(threads: usize, seconds: f64) -> f64 {
    let crew = Crew::new(threads);
    let buffer: Vec<u64> = (0..BUFFER as u64).collect();
    let parts = crew.count() * 8;
    let read = || {
        crew.each(parts, |part| {
            black_box(sum(&buffer[part * BUFFER / parts..(part + 1) * BUFFER / parts]));
        });
    };
    let best = times(seconds, read).into_iter().fold(f64::INFINITY, f64::min);
    size_of_val(&buffer[..]) as f64 / best
}

/// A sum, in four streams: the processor fetches several in advance.
fn sum(numbers: &[u64]) -> u64 {
    let quarter = numbers.len() / 4;
    let mut streams = numbers.chunks_exact(quarter).take(4);
    let [a, b, c, d] = [(); 4].map(|()| streams.next().expect("four quarters"));
    let fours = a.iter().zip(b).zip(c.iter().zip(d));
    fours.fold(0, |sum, ((a, b), (c, d))| sum.wrapping_add(a ^ b).wrapping_add(c ^ d))
}

/// How long some work takes, again and again, three times at least.
fn times(seconds: f64, mut work: impl FnMut()) -> Vec<f64> {
    let (begin, limit) = (Instant::now(), Duration::from_secs_f64(seconds));
    let mut all = Vec::new();
    while all.len() < 3 || begin.elapsed() < limit {
        let start = Instant::now();
        work();
        all.push(start.elapsed().as_secs_f64());
    }
    all
}

/// Bytes of keys and values that a token reads after so many others, its own among them.
fn cache_bytes(config: &DecoderConfig, before: usize) -> usize {
    2 * config.n_layer * config.n_kv_head * config.head_dim() * (before + 1) * size_of::<f32>()
}

/// A row of the table: decoding after a prompt of one token, and a prompt.
fn measure(model: &Decoder, params: &StoredParams, threads: usize, seconds: f64) -> (Vec<f64>, Vec<f64>) {
    let mut engine = InferenceEngine::new(threads);
    let room = Room { sequences: 1, tokens: 2 * PROMPT, source_tokens: 0 };
    let mut session = Session::new(&mut engine, model, params, room);
    let prompt: Vec<usize> = (0..PROMPT).map(|at| (at * 977 + 1) % model.vocab_size()).collect();
    session.feed(0, &prompt); // what is new takes memory
    let prompts = times(seconds, || {
        session.truncate(0, 0);
        session.feed(0, &prompt);
    });
    let mut token = 1;
    session.truncate(0, 0);
    let tokens = times(seconds, || {
        if session.len(0) == PROMPT {
            session.truncate(0, 0);
        }
        token = greedy(session.feed(0, &[token]));
    });
    (tokens, prompts)
}

/// Steps in which so many sequences get a token each: seconds of the reading, and of the choice of the tokens.
fn steps(
    model: &Decoder,
    params: &StoredParams,
    threads: usize,
    rows: usize,
    seconds: f64,
) -> (Vec<f64>, Vec<f64>) {
    let mut engine = InferenceEngine::new(threads);
    let room = Room { sequences: rows, tokens: PROMPT, source_tokens: 0 };
    let mut session = Session::new(&mut engine, model, params, room);
    let mut tokens: Vec<usize> = (1..=rows).collect();
    let mut drawing = Vec::new();
    let mut step = |all: &mut Vec<f64>| {
        if session.len(0) == PROMPT {
            (0..rows).for_each(|row| session.truncate(row, 0));
        }
        let new: Vec<(usize, &[usize])> = tokens.chunks(1).enumerate().collect();
        let logits = session.feed_all(&new);
        let start = Instant::now();
        tokens = logits.chunks_exact(model.vocab_size()).map(greedy).collect();
        all.push(start.elapsed().as_secs_f64());
    };
    step(&mut Vec::new()); // what is new takes memory
    let all = times(seconds, || step(&mut drawing));
    let reading = all.iter().zip(&drawing).map(|(all, drawing)| all - drawing).collect();
    (reading, drawing)
}

/// The table of steps with several sequences.
fn print_steps(model: &Decoder, params: &StoredParams, threads: usize, rows: &[usize], seconds: f64) {
    let measure = |rows| {
        let (reading, drawing) = steps(model, params, threads, rows, seconds);
        let (reading, drawing) = (median(reading), median(drawing));
        (reading, drawing, rows as f64 / (reading + drawing))
    };
    let alone = measure(1).2;
    println!("\n  rows  ms/step  drawing, ms  tokens/s  times");
    for &rows in rows {
        let (reading, drawing, tokens) = measure(rows);
        let (reading, drawing, times) = (reading * 1e3, drawing * 1e3, tokens / alone);
        println!("  {rows:4}  {reading:7.3}  {drawing:11.3}  {tokens:8.1}  {times:5.2}");
    }
}

/// For numbers of tokens from none to `context`: milliseconds of the next one.
fn curve(model: &Decoder, params: &StoredParams, threads: usize, context: usize) -> Vec<(f64, f64)> {
    let mut engine = InferenceEngine::new(threads);
    let mut session = Session::single(&mut engine, model, params);
    let points = 8.min(context);
    (0..=points)
        .map(|point| {
            let before = (context * point / points).max(1);
            let more: Vec<usize> =
                (session.len(0)..before).map(|at| (at * 977 + 1) % model.vocab_size()).collect();
            if !more.is_empty() {
                session.feed(0, &more);
            }
            let mut token = 1;
            let all = (0..POINT).map(|_| {
                let start = Instant::now();
                token = greedy(session.feed(0, &[token]));
                start.elapsed().as_secs_f64() * 1e3
            });
            let milliseconds = median(all.collect());
            session.truncate(0, before);
            (before as f64, milliseconds)
        })
        .collect()
}

fn main() -> Result<()> {
    let args = Args::parse();
    ensure!(args.seconds > 0.0 && args.seconds <= 3600.0, "--seconds: more than 0, and at most 3600");
    ensure!((1..=100_000).contains(&args.context), "--context: from 1 to 100000");
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let mut threads = if args.threads.is_empty() { vec![1, processors] } else { args.threads.clone() };
    ensure!(threads.iter().all(|threads| (1..=1024).contains(threads)), "--threads: from 1 to 1024 each");
    threads.dedup();
    ensure!(args.rows.iter().all(|rows| (1..=64).contains(rows)), "--rows: from 1 to 64 each");
    let model = llama(args.context.max(2 * PROMPT) + POINT)?;
    let params: Vec<f32> = model.layout().initial(&mut Random::new(42));
    println!("Llama, 512 wide, 8 layers, 32000 tokens: {:.1} million parameters", params.len() as f64 / 1e6);
    println!("\nthreads  memory, GB/s");
    let bandwidths: Vec<f64> = threads.iter().map(|&threads| bandwidth(threads, args.seconds)).collect();
    threads
        .iter()
        .zip(&bandwidths)
        .for_each(|(threads, bytes)| println!("{threads:7}  {:12.1}", bytes / 1e9));
    println!("\ndtype  threads  tokens/s  ms/token  MB/token  GB/s  share  prompt, tokens/s");
    let mut curves = Vec::new();
    for dtype in args.dtypes {
        let stored = StoredParams::new(model.layout(), &params, dtype);
        for (&threads, bandwidth) in threads.iter().zip(&bandwidths) {
            let (tokens, prompts) = measure(&model, &stored, threads, args.seconds);
            // The median token comes after half of all that a session reads before it begins again.
            let before = tokens.len().min(PROMPT) / 2;
            let bytes = (stored.bytes() + cache_bytes(model.config(), before)) as f64;
            let (token, prompt) = (median(tokens), median(prompts));
            println!(
                "{dtype:5}  {threads:7}  {:8.1}  {:8.3}  {:8.1}  {:4.1}  {:4.0}%  {:16.1}",
                1.0 / token,
                token * 1e3,
                bytes / 1e6,
                bytes / token / 1e9,
                100.0 * bytes / token / bandwidth,
                PROMPT as f64 / prompt,
            );
            if !args.rows.is_empty() {
                print_steps(&model, &stored, threads, &args.rows, args.seconds);
            }
        }
        if args.plot.is_some() {
            let (&threads, bandwidth) = threads.iter().zip(&bandwidths).next_back().context("no threads")?;
            let points = curve(&model, &stored, threads, args.context);
            let bytes = |before: f64| (stored.bytes() + cache_bytes(model.config(), before as usize)) as f64;
            let least = points.iter().map(|&(before, _)| (before, bytes(before) / bandwidth * 1e3)).collect();
            curves.push(Curve { name: Cow::Borrowed(""), points: least });
            points.iter().for_each(|(before, time)| println!("  after {before} tokens: {time:.3} ms"));
            curves.push(Curve { name: Cow::Owned(format!("{dtype}, {threads} threads")), points });
        }
    }
    if let Some(path) = args.plot {
        let (title, x, y) = ("A token and the tokens before", "tokens before", "milliseconds a token");
        let chart = Chart { title, x, y, curves: &curves, levels: &[] };
        write_atomically(&path, chart.draw().as_bytes())
            .with_context(|| format!("{} cannot be written", path.display()))?;
    }
    Ok(())
}
