//! The dialog transformer: learns from a text of dialogues, character by character, and then talks.
//!
//! ```text
//! cargo run --release --example dialog
//! cargo run --release --example dialog -- --generate "A: Hello"
//! cargo run --release --example dialog -- --help
//! ```

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Result, ensure};
use clap::{Parser, ValueEnum};
use gradus::checkpoint::Checkpoint;
use gradus::data::{self, Batch, Dialogs};
use gradus::fast::FastEngine;
use gradus::generate::{Sampler, Sampling, Stop, generate};
use gradus::model::{Decoder, DecoderConfig, Model};
use gradus::optim::{Adam, AdamSettings, Momentum, Muon, MuonSettings, Optimizer, Schedule};
use gradus::random::{Random, RandomState};
use gradus::thread_pool::ThreadPool;
use gradus::train::{EarlyStopping, Settings, Trainer, Weighting};
use serde::{Deserialize, Serialize};

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

/// How many stretches of the validation text are looked at for a report.
const VALIDATION: usize = 512;

/// Steps between reports, if nothing else is said.
const VALIDATE_EVERY: usize = 250;

const EXAMPLES: &str = "\
Examples:
  cargo run --release --example dialog                                learn from datasets/dialog.txt
  cargo run --release --example dialog -- --data dailydialog.txt      from DailyDialog (see the example `fetch`)
  cargo run --release --example dialog -- --data book.txt --save book from any text, into the folder book
  cargo run --release --example dialog -- --resume dialog-model       go on where Ctrl-C stopped
  cargo run --release --example dialog -- --generate 'A: Hello'       talk with what was learned
  cargo run --release --example dialog -- --layers 4 --heads 2        another model";

/// A small transformer that learns to talk, on an engine of whole matrices.
#[derive(Parser)]
#[command(after_help = EXAMPLES)]
struct Args {
    /// A text to learn from; dialogues in it are parted by empty lines
    #[arg(long, value_name = "FILE", default_value = "dialog.txt")]
    data: String,
    /// The folder of the model: written in training, read by --generate
    #[arg(long, value_name = "DIR", default_value = "dialog-model")]
    save: PathBuf,
    /// Go on with the training that was stopped in this folder, bit for bit
    #[arg(long, value_name = "DIR", conflicts_with_all = ["save", "data", "Run"])]
    resume: Option<PathBuf>,
    /// Continue this text with the saved model instead of training
    #[arg(long, value_name = "TEXT", conflicts_with = "resume")]
    generate: Option<String>,
    /// ThreadPool [default: all that the machine has]
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    threads: usize,
    /// Validate, report and save every so many steps [default: 250, or as before]
    #[arg(long, value_name = "N", value_parser = at_least_1)]
    validate_every: Option<usize>,
    /// Show a sample every so many steps
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = at_least_1)]
    sample_every: usize,
    /// Stop after this time, in minutes
    #[arg(long, value_name = "MINUTES", value_parser = positive)]
    minutes: Option<f64>,
    /// Draw the losses into this SVG file
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// Write the figures of every report into this file: CSV, or JSON lines if its name ends in .jsonl
    #[arg(long, value_name = "FILE")]
    metrics: Option<PathBuf>,
    #[command(flatten)]
    run: Run,
    #[command(flatten)]
    sampling: SamplingArgs,
}

/// Everything on which the result of a training depends. It is saved with it.
#[derive(clap::Args, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[command(next_help_heading = "Model and training")]
struct Run {
    /// Steps of training
    #[arg(long, value_name = "N", default_value_t = 4000, value_parser = at_least_1)]
    steps: usize,
    /// Sequences in a step
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = at_least_1)]
    batch: usize,
    /// What all randomness follows from
    #[arg(long, value_name = "N", default_value_t = 42)]
    seed: u64,
    /// Blocks of the transformer
    #[arg(long, value_name = "N", default_value_t = 3)]
    layers: usize,
    /// Its width
    #[arg(long, value_name = "N", default_value_t = 128)]
    embd: usize,
    /// The inner width of its feed-forward networks
    #[arg(long, value_name = "N", default_value_t = 512)]
    ffn: usize,
    /// Heads of attention, which must divide the width
    #[arg(long, value_name = "N", default_value_t = 4)]
    heads: usize,
    /// CharTokenizer that it sees at once
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = at_least_1)]
    context: usize,
    /// How likely an activation is dropped in training
    #[arg(long, value_name = "P", default_value_t = 0.0)]
    dropout: f64,
    /// Muon for matrices and AdamW for the rest, or AdamW for all
    #[arg(long, value_enum, default_value_t = Method::Muon)]
    optimizer: Method,
    /// Muon's order: momentum with a look ahead, plain, or of the orthogonalised gradient
    #[arg(long, value_enum, default_value_t = Order::Nesterov)]
    momentum: Order,
    /// The highest learning rate of AdamW
    #[arg(long, value_name = "R", default_value_t = 0.003, value_parser = positive)]
    learning_rate: f64,
    /// Muon's, as a multiple of it
    #[arg(long, value_name = "X", default_value_t = 5.0, value_parser = positive)]
    muon_rate: f64,
    /// Steps in which the learning rate rises, before it falls along a cosine
    #[arg(long, value_name = "N", default_value_t = 100)]
    warmup: usize,
    /// The share of every weight, times the learning rate, that is taken away in a step
    #[arg(long, value_name = "X", default_value_t = 0.01, value_parser = not_negative)]
    weight_decay: f64,
    /// The greatest length of the gradient
    #[arg(long, value_name = "X", default_value_t = 1.0, value_parser = positive)]
    clip: f64,
    /// Label smoothing
    #[arg(long, value_name = "S", default_value_t = 0.0)]
    smoothing: f64,
    /// How much of the averaged weights stays from step to step
    #[arg(long, value_name = "D", default_value_t = 0.995)]
    ema: f64,
    /// Weigh characters in the loss by how difficult they are at present
    #[arg(long)]
    weighting: bool,
    /// Stop when so many validations in a row brought nothing better
    #[arg(long, value_name = "N", default_value_t = 12, value_parser = at_least_1)]
    patience: usize,
}

/// How the model talks.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Generation")]
struct SamplingArgs {
    /// CharTokenizer to say
    #[arg(long, value_name = "N", default_value_t = 300)]
    tokens: usize,
    /// Below 1 it says more ordinary things, above 1 wilder ones
    #[arg(long, value_name = "T", default_value_t = 0.8, value_parser = positive)]
    temperature: f64,
    /// Choose only among so many of the likeliest characters
    #[arg(long, value_name = "K", default_value_t = 40)]
    top_k: usize,
    /// Choose only among the likeliest characters that together have this probability
    #[arg(long, value_name = "P", value_parser = positive)]
    top_p: Option<f64>,
    /// Above 1 it says less of what it said just before
    #[arg(long, value_name = "X", default_value_t = 1.2, value_parser = positive)]
    repetition_penalty: f64,
    /// Always choose the likeliest character
    #[arg(long)]
    greedy: bool,
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
enum Method {
    Muon,
    Adamw,
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
enum Order {
    Nesterov,
    Plain,
    OfOrthogonal,
}

/// A run as its folder keeps it, beside what the trainer itself remembers.
#[derive(Serialize, Deserialize)]
struct RunState {
    run: Run,
    data: String,
    fingerprint: u64,
    validate_every: usize,
    random: RandomState,
    history: History,
}

/// What a run has seen so far.
#[derive(Clone, Serialize, Deserialize)]
struct History {
    stopping: EarlyStopping,
    reports: Vec<Report>,
    /// Time spent, without validation.
    seconds: f64,
    /// The training losses since the last report.
    losses: Vec<f64>,
}

/// The figures of one report.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct Report {
    step: usize,
    train: f64,
    val: f64,
    weight: f64,
    tokens_per_second: f64,
    seconds: f64,
}

impl Report {
    fn line(&self) -> String {
        let Report { step, train, val, weight, tokens_per_second, .. } = self;
        let speed = tokens_per_second / 1000.0;
        format!("Step: {step} | Train: {train:.4} | Val: {val:.4} | W: {weight:.2} | TPS: {speed:.0}K")
    }
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(x) if x > 0.0 && x.is_finite() => Ok(x),
        _ => Err("it must be a number above 0".to_owned()),
    }
}

fn not_negative(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(x) if x >= 0.0 && x.is_finite() => Ok(x),
        _ => Err("it must be a number, and not below 0".to_owned()),
    }
}

fn at_least_1(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(n) if n > 0 => Ok(n),
        _ => Err("it must be a whole number of at least 1".to_owned()),
    }
}

fn main() -> ExitCode {
    sigpipe::reset(); // `… | head` ends this program quietly, as it does any other
    let args = Args::parse();
    exit::with(match &args.generate {
        Some(prompt) => chat(&args, prompt),
        None => train(&args),
    })
}

/// Continues a text with a saved model.
fn chat(args: &Args, prompt: &str) -> Result<()> {
    let Checkpoint { model, params, tokenizer } = Checkpoint::<f32>::load(&args.save)?;
    ensure!(
        !prompt.is_empty(),
        Usage("--generate needs a text to continue, for example 'A: Hello'".to_owned())
    );
    let tokens = prompt.chars().map(|c| {
        let known = || tokenizer.chars().iter().filter(|c| !c.is_control()).collect::<String>();
        tokenizer.encode(c).ok_or_else(|| {
            Usage(format!("the model in {} has never seen {c:?}. It knows {}", args.save.display(), known()))
        })
    });
    let tokens = tokens.collect::<Result<Vec<_>, _>>()?;
    let mut engine = FastEngine::new(ThreadPool::new(1));
    let mut random = Random::new(args.run.seed);
    let start = Instant::now();
    let answer = continue_text(&mut engine, &model, &params, &tokens, &args.sampling, &mut random);
    println!("{prompt}{}", tokenizer.text(&answer));
    eprintln!("{:.0} characters a second", answer.len() as f64 / start.elapsed().as_secs_f64());
    Ok(())
}

fn continue_text(
    engine: &mut FastEngine,
    model: &Decoder,
    params: &[f32],
    prompt: &[usize],
    args: &SamplingArgs,
    random: &mut Random,
) -> Vec<usize> {
    let sampling = Sampling {
        temperature: if args.greedy { 0.0 } else { args.temperature },
        top_k: Some(args.top_k),
        top_p: args.top_p,
        repetition_penalty: args.repetition_penalty,
        suppress: Some(model.vocab_size() - 1), // BOS, which these texts do not have
    };
    generate(engine, model, params, prompt, Stop::After(args.tokens), &mut Sampler::new(sampling), random)
}

type DialogTrainer = Trainer<Decoder, FastEngine>;

fn configure(run: &Run, vocab_size: usize) -> DecoderConfig {
    DecoderConfig {
        n_layer: run.layers,
        n_embd: run.embd,
        n_ffn: run.ffn,
        n_head: run.heads,
        n_kv_head: run.heads,
        context: run.context,
        dropout: run.dropout,
        ..DecoderConfig::dialog(vocab_size)
    }
}

/// A trainer at its beginning.
fn prepare(run: &Run, vocab_size: usize, threads: &ThreadPool, random: &mut Random) -> Result<DialogTrainer> {
    let model = Decoder::new(configure(run, vocab_size)).map_err(|error| Usage(error.to_string()))?;
    let adam = AdamSettings {
        beta1: 0.9,
        beta2: 0.99,
        eps: 1e-8,
        weight_decay: run.weight_decay,
        decay_embeddings: true,
    };
    let optimizer: Box<dyn Optimizer<f32>> = match run.optimizer {
        Method::Adamw => Box::new(Adam::new(model.layout(), adam)),
        Method::Muon => {
            let order = match run.momentum {
                Order::Nesterov => Momentum::Nesterov,
                Order::Plain => Momentum::Plain,
                Order::OfOrthogonal => Momentum::OfOrthogonal,
            };
            let settings = MuonSettings {
                momentum: 0.95,
                order,
                iterations: 5,
                weight_decay: run.weight_decay,
                rate: run.muon_rate,
                adam,
            };
            Box::new(Muon::new(model.layout(), settings, threads.clone()))
        }
    };
    let settings = Settings {
        steps: run.steps,
        learning_rate: run.learning_rate,
        schedule: Schedule::Cosine { warmup: run.warmup, floor: 0.02 },
        clip: Some(run.clip),
        smoothing: run.smoothing,
        ema_decay: Some(run.ema),
        dropout_seed: Some(run.seed),
        weighting: run.weighting,
    };
    let params = model.layout().initial(random);
    Ok(Trainer::with_optimizer(model, FastEngine::new(threads.clone()), optimizer, settings, params))
}

/// Trains until the steps are done, the time is over, nothing gets better any more, or Ctrl-C.
fn train(args: &Args) -> Result<()> {
    let interrupt = Interrupt::watch();
    let folder = args.resume.as_ref().unwrap_or(&args.save);
    check::folder(folder)?;
    for file in [&args.plot, &args.metrics].into_iter().flatten() {
        check::file(file)?;
    }
    let stopped =
        args.resume.as_ref().map(|folder| DialogTrainer::peek_state::<RunState>(folder)).transpose()?;
    let (run, name) = match &stopped {
        Some(stopped) => (stopped.run.clone(), stopped.data.clone()),
        None => (args.run.clone(), args.data.clone()),
    };
    for (option, x) in [("--dropout", run.dropout), ("--smoothing", run.smoothing), ("--ema", run.ema)] {
        ensure!(
            (0.0..1.0).contains(&x),
            Usage(format!("{option} {x} is no share: give a number from 0 to below 1"))
        );
    }
    let text = Dialogs::read(&data::find(&name)?, run.context)?;
    if let Some(stopped) = &stopped {
        let same = stopped.fingerprint == text.fingerprint();
        ensure!(
            same,
            "{name} is not the text any more that this training began with: bring that text back, or begin anew"
        );
    }
    let before = stopped.as_ref().map(|stopped| stopped.validate_every);
    let validate_every = args.validate_every.or(before).unwrap_or(VALIDATE_EVERY);
    let threads = ThreadPool::new(args.threads);
    let mut random = Random::new(run.seed);
    let mut trainer = prepare(&run, text.tokenizer().vocab_size(), &threads, &mut random)?;
    let stopping = EarlyStopping::new(run.patience);
    let mut history = History { stopping, reports: Vec::new(), seconds: 0.0, losses: Vec::new() };
    if stopped.is_some() {
        let stopped: RunState = trainer.restore_state(folder)?;
        random = Random::restore(&stopped.random)?;
        history = stopped.history;
    }
    introduce(&name, &text, &trainer, &threads);
    let metrics =
        args.metrics.as_ref().map(|path| Metrics::open(path, trainer.steps_done() > 0)).transpose()?;
    let mut session =
        Session { args, run, name, text: &text, folder, validate_every, trainer, random, history, metrics };
    let why = session.work(&interrupt)?;
    session.save()?;
    println!("{why} after step {} and {:.0} seconds", session.trainer.steps_done(), session.history.seconds);
    if session.trainer.steps_done() < session.run.steps {
        println!("to go on: cargo run --release --example dialog -- --resume {}", folder.display());
    }
    if let Some(best) = session.history.stopping.best() {
        println!("best validation loss: {best:.4} nats a character; the model is in {}", folder.display());
    }
    if let Some(path) = &args.plot {
        session.plot(path)?;
    }
    Ok(())
}

fn introduce(name: &str, text: &Dialogs, trainer: &DialogTrainer, threads: &ThreadPool) {
    let ([train, val], [train_dialogs, val_dialogs]) = (text.sizes(), text.paragraphs());
    println!("text: {name}, {train} characters in {train_dialogs} dialogues to learn from");
    println!("validation: {val} characters in {val_dialogs} other dialogues");
    println!("vocab size: {}", text.tokenizer().vocab_size());
    println!("num params: {}", trainer.params().len());
    println!("matrix products: {}, {} threads", gradus::gemm::backend(), threads.count());
    if trainer.steps_done() > 0 {
        println!("going on after step {}", trainer.steps_done());
    }
}

/// A run at work.
struct Session<'a> {
    args: &'a Args,
    run: Run,
    name: String,
    text: &'a Dialogs,
    folder: &'a Path,
    validate_every: usize,
    trainer: DialogTrainer,
    random: Random,
    history: History,
    metrics: Option<Metrics>,
}

impl Session<'_> {
    /// Learns, and says at the end why it ended.
    fn work(&mut self, interrupt: &Interrupt) -> Result<&'static str> {
        let validation = self.text.validation(VALIDATION, self.run.batch, self.run.context);
        let progress = Progress::new(self.run.steps, self.trainer.steps_done());
        let mut batch = Batch::new();
        let mut line = String::new();
        let (mut since, mut steps) = (Instant::now(), 0);
        let limit = self.args.minutes.map_or(f64::INFINITY, |minutes| minutes * 60.0);
        let why = loop {
            if self.trainer.steps_done() >= self.run.steps {
                break "done";
            } else if self.history.stopping.should_stop() {
                break "stopped early, since the validation loss does not fall any more,";
            } else if interrupt.requested() {
                break "stopped by Ctrl-C";
            } else if self.history.seconds + since.elapsed().as_secs_f64() > limit {
                break "the time is over";
            }
            self.text.fill(&mut batch, &mut self.random, self.run.batch, self.run.context);
            let done = self.trainer.step(&batch);
            ensure!(
                done.loss.is_finite(),
                "the loss is {} at step {}: training ran away. Give a smaller --learning-rate than {}",
                done.loss,
                done.number,
                self.run.learning_rate,
            );
            self.history.losses.push(done.loss);
            steps += 1;
            if done.number.is_multiple_of(self.validate_every) || done.number == self.run.steps {
                let took = since.elapsed().as_secs_f64();
                self.history.seconds += took;
                let report = self.report(&validation, (steps * batch.len()) as f64 / took)?;
                line = report.line();
                progress.line(true, &line);
                (since, steps) = (Instant::now(), 0);
            }
            if done.number.is_multiple_of(self.args.sample_every) {
                progress.line(true, &self.sample());
            }
            progress.step(done.number, || line.clone());
        };
        self.history.seconds += since.elapsed().as_secs_f64();
        progress.finish();
        Ok(why)
    }

    /// Validates and saves.
    fn report(&mut self, validation: &[Batch], tokens_per_second: f64) -> Result<Report> {
        let losses = std::mem::take(&mut self.history.losses);
        let report = Report {
            step: self.trainer.steps_done(),
            train: losses.iter().sum::<f64>() / losses.len() as f64,
            val: self.trainer.validate(validation),
            weight: self.trainer.weighting().map_or(1.0, Weighting::mean),
            tokens_per_second,
            seconds: self.history.seconds,
        };
        self.history.reports.push(report);
        if self.history.stopping.record(report.val) {
            let (model, params) = (self.trainer.model().clone(), self.trainer.eval_params().to_vec());
            Checkpoint { model, params, tokenizer: self.text.tokenizer().clone() }.save(self.folder)?;
        }
        self.save()?;
        if let Some(metrics) = &mut self.metrics {
            metrics.write(&serde_json::to_value(report)?)?;
            metrics.flush()?;
        }
        Ok(report)
    }

    /// Saves all that is needed to go on.
    fn save(&mut self) -> Result<()> {
        let stopped = RunState {
            run: self.run.clone(),
            data: self.name.clone(),
            fingerprint: self.text.fingerprint(),
            validate_every: self.validate_every,
            random: self.random.state(),
            history: self.history.clone(),
        };
        Ok(self.trainer.save_state(self.folder, stopped)?)
    }

    /// What the model says at present. It has dice of its own, so that looking does not change the training.
    fn sample(&mut self) -> String {
        let tokenizer = self.text.tokenizer();
        let start: Vec<usize> = "A: ".chars().filter_map(|c| tokenizer.encode(c)).collect();
        let start = if start.is_empty() { vec![0] } else { start };
        let mut random = Random::new(self.trainer.steps_done() as u64);
        let (engine, model, params) = self.trainer.split_mut();
        let said = continue_text(engine, model, &params, &start, &self.args.sampling, &mut random);
        format!("\n{}{}\n", tokenizer.text(&start), tokenizer.text(&said).trim_end())
    }

    fn plot(&self, path: &Path) -> Result<()> {
        let points = |y: fn(&Report) -> f64| -> Vec<(f64, f64)> {
            self.history.reports.iter().map(|report| (report.step as f64, y(report))).collect()
        };
        let curves = [
            ("training (smoothed, weighted)", points(|report| report.train)),
            ("validation", points(|report| report.val)),
            ("W", points(|report| report.weight)),
        ];
        plot::curves(path, "nats a character", &curves)
    }
}
