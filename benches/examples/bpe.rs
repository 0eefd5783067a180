//! Trains a byte-level BPE vocabulary on some files, encodes them, and says how long both take.
//!
//! ```text
//! cargo run --release --example bpe -- FILE...
//! cargo run --release --example bpe -- --out DIR FILE...
//! python3 tests/golden/bpe.py --compare DIR FILE...
//! ```
//!
//! The last line, with Hugging Face's `tokenizers` installed, does the same by it, and compares merges and tokens.

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Parser;
use gradus::thread_pool::ThreadPool;
use gradus::tokenizer::{BpeTrainer, Pattern, Tokenizer, TokenizerSpec, TrainProgress};

/// Trains a byte-level BPE vocabulary on some files, and encodes them with it, on one thread.
#[derive(Parser)]
struct Args {
    /// Texts; a blank line ends a document
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Tokens of the vocabulary
    #[arg(long, value_name = "N", default_value_t = 32_000)]
    vocab_size: usize,
    /// How often a pair of tokens must occur to become a token
    #[arg(long, value_name = "N", default_value_t = 2)]
    min_frequency: u64,
    /// Cut texts as GPT-2 does, not as Llama 3 does
    #[arg(long)]
    gpt2: bool,
    /// Threads that count words; 0 means one for each processor
    #[arg(long, value_name = "N", default_value_t = 0)]
    threads: usize,
    /// Train with a vocabulary that was written before (its `spec.json`) instead of a new one
    #[arg(long, value_name = "FILE")]
    spec: Option<PathBuf>,
    /// Write the vocabulary, and the tokens of all documents, into this folder, to be compared
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let mut files = Vec::new();
    for path in &args.files {
        files.push(fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?);
    }
    let documents: Vec<&str> =
        files.iter().flat_map(|text| text.split("\n\n")).filter(|text| !text.is_empty()).collect();
    let megabytes = documents.iter().map(|text| text.len()).sum::<usize>() as f64 / 1e6;

    let tokenizer = match &args.spec {
        Some(path) => serde_json::from_str::<TokenizerSpec>(&fs::read_to_string(path)?)?.build()?,
        None => train(&args, &documents, megabytes)?,
    };
    let (start, processor) = (Instant::now(), processor_time());
    let mut tokens = Vec::new();
    for document in &documents {
        tokens.push(tokenizer.encode(document)?);
    }
    let seconds = start.elapsed().as_secs_f64();
    let count: usize = tokens.iter().map(Vec::len).sum();
    print!("encode {megabytes:.1} MB, {count} tokens: {seconds:.2} s, {:.1} MB/s", megabytes / seconds);
    match processor.zip(processor_time()).map(|(before, after)| after - before) {
        Some(seconds) => println!("; {seconds:.2} s on a processor, {:.1} MB/s", megabytes / seconds),
        None => println!(),
    }

    if let Some(folder) = &args.out {
        fs::create_dir_all(folder)?;
        fs::write(folder.join("spec.json"), serde_json::to_string(&tokenizer.spec())?)?;
        // Each document: how many tokens, then the tokens; all as 32 bits, low ones first.
        let mut bytes = Vec::new();
        for tokens in &tokens {
            bytes.extend_from_slice(&(tokens.len() as u32).to_le_bytes());
            bytes.extend(tokens.iter().flat_map(|&token| (token as u32).to_le_bytes()));
        }
        fs::write(folder.join("tokens.bin"), bytes)?;
    }
    Ok(())
}

fn train(args: &Args, documents: &[&str], megabytes: f64) -> Result<Box<dyn Tokenizer>> {
    let trainer = BpeTrainer {
        vocab_size: args.vocab_size,
        min_frequency: args.min_frequency,
        pattern: if args.gpt2 { Pattern::Gpt2 } else { Pattern::Llama3 },
        ..BpeTrainer::default()
    };
    let pool = ThreadPool::try_new(args.threads)?;
    let start = Instant::now();
    let mut counted = 0.0;
    let tokenizer = trainer.train_with(documents, &pool, |progress| {
        if let TrainProgress::Counting { .. } = progress {
            counted = start.elapsed().as_secs_f64();
        }
    })?;
    let (seconds, size, threads) = (start.elapsed().as_secs_f64(), tokenizer.vocab_size(), pool.count());
    println!(
        "train  {megabytes:.1} MB to {size} tokens: {seconds:.2} s, {counted:.2} s of it counting ({threads} threads)"
    );
    Ok(Box::new(tokenizer))
}

/// How many seconds the main thread has been on a processor, where Linux says so: on a busy machine it waits as well.
fn processor_time() -> Option<f64> {
    let statistics = fs::read_to_string("/proc/self/schedstat").ok()?;
    let nanoseconds: f64 = statistics.split(' ').next()?.parse().ok()?;
    Some(nanoseconds / 1e9)
}
