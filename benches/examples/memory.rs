//! Measures the memory of a training step of the preset `llama`, with every means against it: what the system says, and what
//! `gradus::cost` has foreseen, where it foresees it.
//!
//! ```text
//! cargo run --release --example memory -p gradus-benches
//! cargo run --release --example memory -p gradus-benches -- --sequences 2 --length 256
//! ```
//!
//! Each line is a program of its own, which ends before the next begins: the system says the most that a program has ever had.

use std::env::current_exe;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::{Parser, ValueEnum};
use gradus::cost::{Activations, Moments, TrainingMemory};
use gradus::data::Batch;
use gradus::fast::{FastEngine, Precision};
use gradus::model::{Decoder, DecoderConfig, LoraConfig, Mode, Model};
use gradus::optim::{Adam, AdamSettings};
use gradus::random::Random;
use gradus::thread_pool::ThreadPool;
use gradus::train::{Settings, Trainer};
use support::units::bytes;
use support::{peak_memory, say};

/// The vocabulary of the preset.
const VOCAB: usize = 32_000;

/// The first step asks for all memory. The second is timed.
const STEPS: usize = 2;

/// AdamW as the example `chat` trains with it.
const ADAMW: AdamSettings =
    AdamSettings { beta1: 0.9, beta2: 0.99, eps: 1e-8, weight_decay: 0.01, decay_embeddings: true };

/// Measures what a step of training holds in memory, on one thread where nothing else is said.
#[derive(Parser)]
struct Args {
    /// Sequences in a step
    #[arg(long, value_name = "N", default_value_t = 4)]
    sequences: usize,
    /// Tokens of each of them
    #[arg(long, value_name = "N", default_value_t = 512)]
    length: usize,
    /// Only this one, in this program itself
    #[arg(long, value_enum)]
    only: Option<Way>,
}

/// How the step is made.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    TwoThreads,
    Plain,
    Checkpointing,
    Bf16,
    Lora,
    LoraAndCheckpointing,
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Way::TwoThreads => "nothing, on two threads",
            Way::Plain => "nothing, on one",
            Way::Checkpointing => "checkpointing",
            Way::Bf16 => "results in bf16",
            Way::Lora => "adapters of rank 16",
            Way::LoraAndCheckpointing => "adapters and checkpointing",
        }
    }

    /// The model, without dropout: AdamW's moments are of what it trains.
    fn model(self, length: usize) -> Result<Decoder> {
        let model = Decoder::new(DecoderConfig { context: length, ..DecoderConfig::llama(VOCAB) })?;
        Ok(match self {
            Way::Lora | Way::LoraAndCheckpointing => {
                model.with_adapters(&LoraConfig { dropout: 0.0, ..LoraConfig::default() })?
            }
            _ => model,
        })
    }

    fn threads(self) -> usize {
        if self == Way::TwoThreads { 2 } else { 1 }
    }

    fn engine(self) -> FastEngine {
        let engine = FastEngine::new(ThreadPool::new(self.threads()));
        match self {
            Way::TwoThreads | Way::Plain | Way::Lora => engine,
            Way::Bf16 => engine.with_precision(Precision::Bf16),
            Way::Checkpointing | Way::LoraAndCheckpointing => engine.with_checkpointing(),
        }
    }

    /// What `gradus::cost` foresees, which knows neither of 16 bits nor of what is computed again.
    fn foreseen(self, sequences: usize, length: usize) -> Result<Option<f64>> {
        if !matches!(self, Way::TwoThreads | Way::Plain | Way::Lora) {
            return Ok(None);
        }
        let model = self.model(length)?;
        let one = |sequences, length| {
            let mut batch = Batch::new();
            (0..sequences).for_each(|_| batch.push(vec![0; length + 1]));
            batch
        };
        let activations = Activations::measure(&model, Mode::default(), one);
        let moments = Moments::adamw(model.layout());
        let memory =
            TrainingMemory::new(model.layout(), moments, activations, (sequences, length), self.threads());
        Ok(Some(memory.total()))
    }

    /// Makes the steps. Returns the most bytes that this program has had, and the seconds of the last step.
    fn measure(self, sequences: usize, length: usize) -> Result<[f64; 2]> {
        let model = self.model(length)?;
        let params = model.layout().initial(&mut Random::new(1));
        let optimizer = Box::new(Adam::new(model.layout(), ADAMW));
        let settings = Settings { steps: STEPS, learning_rate: 2e-4, clip: Some(1.0), ..Settings::default() };
        let mut trainer = Trainer::with_optimizer(model, self.engine(), optimizer, settings, params);
        let (mut batch, mut random) = (Batch::new(), Random::new(1));
        (0..sequences).for_each(|_| batch.push((0..=length).map(|_| random.below(VOCAB))));
        let mut seconds = 0.0;
        for _ in 0..STEPS {
            let start = Instant::now();
            trainer.step(&batch);
            seconds = start.elapsed().as_secs_f64();
        }
        let peak = peak_memory().context("this system does not say how much memory a program has had")?;
        Ok([peak, seconds])
    }
}

fn main() -> Result<()> {
    let Args { sequences, length, only } = Args::parse();
    ensure!(
        (1..=64).contains(&sequences) && (1..=4096).contains(&length),
        "1 to 64 sequences of 1 to 4096 tokens"
    );
    if let Some(way) = only {
        let [peak, seconds] = way.measure(sequences, length)?;
        say!("{peak} {seconds}");
        return Ok(());
    }
    say!("the preset llama, AdamW, {sequences} x {length} tokens a step\n");
    say!("| against memory | peak | foreseen | seconds |\n|---|---:|---:|---:|");
    for way in Way::value_variants() {
        let value = way.to_possible_value().context("no way is skipped")?;
        let [sequences_given, length_given] = [sequences, length].map(|number| number.to_string());
        let output = Command::new(current_exe()?)
            .args(["--only", value.get_name(), "--sequences", &sequences_given, "--length", &length_given])
            .output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{}: {}", way.name(), said.trim());
        let printed = String::from_utf8(output.stdout)?;
        let (peak, seconds) = printed.trim().split_once(' ').context("two numbers")?;
        let (peak, seconds): (f64, f64) = (peak.parse()?, seconds.parse()?);
        let foreseen = way.foreseen(sequences, length)?.map_or_else(String::new, bytes);
        say!("| {} | {} | {foreseen} | {seconds:.1} |", way.name(), bytes(peak));
    }
    Ok(())
}
