//! The names GPT: reads a file of names, learns how they are spelled, and invents new ones.
//!
//! ```text
//! cargo run --example names
//! cargo run --example names -- korean.txt
//! cargo run --example names -- --help
//! ```

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, bail, ensure};
use clap::{Parser, ValueEnum};
use gradus::Engine;
use gradus::checkpoint::Checkpoint;
use gradus::data::{self, Batch, Names};
use gradus::fast::FastEngine;
use gradus::generate::{Sampler, Sampling, Stop, generate};
use gradus::model::{Decoder, DecoderConfig, Model};
use gradus::random::Random;
use gradus::real::Real;
use gradus::scalar::ScalarEngine;
use gradus::thread_pool::ThreadPool;
use gradus::train::{Settings, Trainer};

#[path = "support/check.rs"]
mod check;
#[path = "support/exit.rs"]
mod exit;
#[path = "support/interrupt.rs"]
mod interrupt;
#[path = "support/metrics.rs"]
mod metrics;
#[path = "support/plot.rs"]
mod plot;
#[path = "support/progress.rs"]
mod progress;

use exit::Usage;
use interrupt::Interrupt;
use metrics::Metrics;
use progress::Progress;

/// How many of the last losses the figure shown is the mean of.
const RUNNING: usize = 100;

/// A longer context than this is a slip of the finger.
const LONGEST: usize = 1 << 20;

const EXAMPLES: &str = "\
Examples:
  cargo run --example names                              the names in datasets/names.txt
  cargo run --example names -- korean.txt                a bare name is looked for here, then in datasets/
  cargo run --example names -- ~/cities.txt --steps 5000 any file with one name on each line
  cargo run --example names -- --save my-model           keep what was learned
  cargo run --example names -- --load my-model --steps 0 only invent, with what was learned before
  cargo run --example names -- --plot loss.svg           a picture of how it learned
  cargo run --example names -- --engine fast --batch 16  the same model on whole matrices, 16 names a step";

/// A GPT that learns to invent names.
#[derive(Parser)]
#[command(after_help = EXAMPLES)]
struct Args {
    /// A file with one name on each line
    #[arg(default_value = "names.txt")]
    file: String,
    /// What calculates: an autograd of single numbers in 64 bits, or of whole matrices in 32
    #[arg(long, value_enum, default_value_t = EngineName::Scalar)]
    engine: EngineName,
    /// Names in a step
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = batch_size)]
    batch: usize,
    /// Steps of training
    #[arg(long, value_name = "N", default_value_t = 1000)]
    steps: usize,
    /// What all randomness follows from
    #[arg(long, value_name = "N", default_value_t = 42)]
    seed: u64,
    /// Names to invent
    #[arg(long, value_name = "N", default_value_t = 20)]
    samples: usize,
    /// Below 1 the names become more ordinary, above 1 wilder; 0 is always the likeliest letter
    #[arg(long, value_name = "T", default_value_t = 0.5, value_parser = not_negative)]
    temperature: f64,
    /// The learning rate of the first step, from which it falls to zero
    #[arg(long, value_name = "R", default_value_t = 0.01, value_parser = not_negative)]
    learning_rate: f64,
    /// Blocks of the transformer [default: 1]
    #[arg(long, value_name = "N")]
    layers: Option<usize>,
    /// Its width [default: 16]
    #[arg(long, value_name = "N")]
    embd: Option<usize>,
    /// Heads of attention, which must divide the width [default: 4]
    #[arg(long, value_name = "N")]
    heads: Option<usize>,
    /// The longest sequence it can read [default: 16]
    #[arg(long, value_name = "N")]
    context: Option<usize>,
    /// Draw the loss of every step into this SVG file
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// Write a JSON object for every step into this file
    #[arg(long, value_name = "FILE")]
    metrics: Option<PathBuf>,
    /// Save the trained model into this folder
    #[arg(long, value_name = "DIR")]
    save: Option<PathBuf>,
    /// Begin with the model in this folder
    #[arg(long, value_name = "DIR")]
    load: Option<PathBuf>,
    /// Draw random numbers as Python does, and so repeat microgpt.py: the same names, and losses to 14 digits
    #[arg(long)]
    python_random: bool,
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq)]
enum EngineName {
    Scalar,
    Fast,
}

fn batch_size(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(n) if (1..=4096).contains(&n) => Ok(n),
        _ => Err("it must be a whole number from 1 to 4096".to_owned()),
    }
}

fn not_negative(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(x) if x >= 0.0 && x.is_finite() => Ok(x),
        _ => Err("it must be a number, and not below 0".to_owned()),
    }
}

fn main() -> ExitCode {
    sigpipe::reset(); // `… | head` ends this program quietly, as it does any other
    exit::with(run(&Args::parse()))
}

fn run(args: &Args) -> Result<()> {
    if args.steps == 0 && args.load.is_none() {
        bail!(Usage(
            "--steps 0 trains nothing: give at least 1, or --load a trained model to sample from".to_owned()
        ));
    }
    args.save.as_deref().map_or(Ok(()), check::folder)?;
    for file in [&args.plot, &args.metrics].into_iter().flatten() {
        check::file(file)?;
    }
    let mut random = if args.python_random { Random::python(args.seed) } else { Random::new(args.seed) };
    let mut names = Names::read(&data::find(&args.file)?)?;
    names.shuffle(&mut random);
    println!("num docs: {}", names.len());
    println!("vocab size: {}", names.vocab_size());

    match args.engine {
        EngineName::Scalar => learn(ScalarEngine::new(), args, &names, &mut random),
        EngineName::Fast => learn(FastEngine::new(ThreadPool::new(1)), args, &names, &mut random),
    }
}

/// Trains on any engine, and lets the model invent.
fn learn<E: Engine>(engine: E, args: &Args, names: &Names, random: &mut Random) -> Result<()> {
    let settings = Settings { steps: args.steps, learning_rate: args.learning_rate, ..Settings::default() };
    let mut trainer = match &args.load {
        Some(folder) => {
            let Checkpoint { model, params, .. } = load(folder, args, names)?;
            Trainer::from_params(model, engine, settings, params)
        }
        None => {
            let config = configure(args, DecoderConfig::microgpt(names.vocab_size()));
            ensure!(
                config.context < LONGEST,
                Usage(format!("--context {} makes more parameters than a model can have", config.context))
            );
            let model = Decoder::new(config).map_err(|error| Usage(error.to_string()))?;
            Trainer::new(model, engine, settings, random)
        }
    };
    println!("num params: {}", trainer.params().len());
    let context = trainer.model().context();
    let cut = names.count_truncated(context);
    if cut > 0 {
        println!("note: {cut} of the names do not fit into a context of {context} and are cut (--context)");
    }

    let losses = train(&mut trainer, names, args)?;
    if let Some(path) = &args.plot {
        plot::curves(path, "nats a token", &[("", points(&losses)), ("loss", points(&smooth(&losses)))])?;
    }
    if let Some(folder) = &args.save {
        let (_, model, params) = trainer.split_mut();
        let tokenizer = names.tokenizer().clone();
        Checkpoint { model: model.clone(), params: params.to_vec(), tokenizer }.save(folder)?;
        println!("saved to {}", folder.display());
    }
    invent(&mut trainer, names, args, random);
    Ok(())
}

/// Trains for the steps that were asked for, or until Ctrl-C. Returns the loss of each.
fn train<E: Engine>(trainer: &mut Trainer<Decoder, E>, names: &Names, args: &Args) -> Result<Vec<f64>> {
    let interrupt = Interrupt::watch();
    let mut metrics = args.metrics.as_ref().map(|path| Metrics::open(path, false)).transpose()?;
    let mut losses = Vec::new();
    let mut batch = Batch::new();
    let progress = Progress::new(args.steps, 0);
    for step in 0..args.steps {
        if interrupt.requested() {
            break;
        }
        names.fill(&mut batch, step, args.batch, trainer.model().context());
        let done = trainer.step(&batch);
        ensure!(
            done.loss.is_finite(),
            "the loss is {} at step {}: training ran away. Give a smaller --learning-rate than {}",
            done.loss,
            done.number,
            args.learning_rate
        );
        losses.push(done.loss);
        if let Some(metrics) = &mut metrics {
            metrics.write(&serde_json::json!({
                "step": done.number, "loss": done.loss, "learning_rate": done.learning_rate,
            }))?;
        }
        let message = || format!("loss {:.4}", mean_of_last(&losses));
        if done.number.is_multiple_of(args.steps.div_ceil(10)) || done.number == args.steps {
            progress.line(false, &format!("step {:4} / {} | {}", done.number, args.steps, message()));
        }
        progress.step(done.number, message);
    }
    if let Some(mut metrics) = metrics {
        metrics.flush()?;
    }
    progress.finish();
    if losses.len() < args.steps {
        println!("stopped after step {} of {}", losses.len(), args.steps);
    }
    if !losses.is_empty() {
        println!("mean loss of the last {} steps: {:.4}", losses.len().min(RUNNING), mean_of_last(&losses));
    }
    Ok(losses)
}

/// The mean of the last [`RUNNING`] losses: a single name's loss says little.
fn mean_of_last(losses: &[f64]) -> f64 {
    let last = &losses[losses.len().saturating_sub(RUNNING)..];
    last.iter().sum::<f64>() / last.len() as f64
}

fn points(losses: &[f64]) -> Vec<(f64, f64)> {
    (1..).map(f64::from).zip(losses.iter().copied()).collect()
}

/// The running mean, in which a loss of long ago counts ever less.
fn smooth(losses: &[f64]) -> Vec<f64> {
    let keep = 1.0 - 1.0 / (losses.len() as f64 / 40.0).max(1.0);
    let (mut mean, mut weight) = (0.0, 0.0);
    let mut next = |loss: &f64| {
        mean = keep * mean + (1.0 - keep) * loss;
        weight = keep * weight + (1.0 - keep);
        mean / weight
    };
    losses.iter().map(&mut next).collect()
}

/// Lets the model invent names and prints them.
fn invent<E: Engine>(trainer: &mut Trainer<Decoder, E>, names: &Names, args: &Args, random: &mut Random) {
    let mut sampler = Sampler::new(Sampling { temperature: args.temperature, ..Sampling::default() });
    let bos = names.tokenizer().bos();
    let (engine, model, params) = trainer.split_mut();
    for number in 1..=args.samples {
        let tokens = generate(engine, model, &params, &[bos], Stop::At(bos), &mut sampler, random);
        println!("sample {number:2}: {}", names.tokenizer().text(&tokens));
    }
}

/// A model's sizes, with those that were asked for.
fn configure(args: &Args, config: DecoderConfig) -> DecoderConfig {
    let n_embd = args.embd.unwrap_or(config.n_embd);
    let n_head = args.heads.unwrap_or(config.n_head);
    DecoderConfig {
        n_layer: args.layers.unwrap_or(config.n_layer),
        n_embd,
        n_head,
        n_kv_head: n_head,
        n_ffn: n_embd.saturating_mul(4),
        context: args.context.unwrap_or(config.context),
        ..config
    }
}

/// The model in a folder, if it is one for these names and of the sizes that were asked for.
fn load<R: Real>(folder: &Path, args: &Args, names: &Names) -> Result<Checkpoint<R>> {
    let checkpoint = Checkpoint::load(folder)?;
    let (own, theirs) = (names.tokenizer().chars(), checkpoint.tokenizer.chars());
    ensure!(
        own == theirs,
        "the model in {} knows the {} characters {:?}, but {} has {} others or fewer: {:?}. \
         Load it with the file it was trained on",
        folder.display(),
        theirs.len(),
        theirs.iter().collect::<String>(),
        args.file,
        own.len(),
        own.iter().collect::<String>(),
    );
    let config = checkpoint.model.config();
    let asked = [
        ("--layers", args.layers, config.n_layer),
        ("--embd", args.embd, config.n_embd),
        ("--heads", args.heads, config.n_head),
        ("--context", args.context, config.context),
    ];
    for (option, asked, has) in asked {
        if asked.is_some_and(|asked| asked != has) {
            bail!(Usage(format!("the model in {} has {option} {has}: leave {option} out", folder.display())));
        }
    }
    Ok(checkpoint)
}
