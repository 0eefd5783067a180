//! A training as a program runs it: reports on the way, the best model kept, stopped at any time and resumed.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Result, bail, ensure};
use gradus::checkpoint::Checkpoint;
use gradus::data::Batch;
use gradus::fast::FastEngine;
use gradus::gemm;
use gradus::model::SavedModel;
use gradus::random::Random;
use gradus::thread_pool::ThreadPool;
use gradus::tokenizer::Tokenizer;
use gradus::train::{Trainer, Weighting};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::args::{at_least_1, positive, whole};
use crate::history::{History, Report, RunState};
use crate::losses::{check_finite, mean};
use crate::{Chart, Given, Interrupt, ModelFolder, OutputArgs, Outputs, Progress, TrainArgs, Usage, say};

/// Steps between reports, if nothing else is said.
const VALIDATE_EVERY: usize = 250;

/// How a run is carried out: nothing on which its result depends.
#[derive(clap::Args, Clone, Debug)]
pub struct RunArgs {
    /// The folder of the model: written in training, read by --generate
    #[arg(long, value_name = "DIR")]
    pub save: PathBuf,
    /// Go on with the training that was stopped in this folder, bit for bit
    #[arg(long, value_name = "DIR", conflicts_with = "save")]
    resume: Option<PathBuf>,
    /// Replace the run or the model that is in the folder
    #[arg(long, conflicts_with = "resume")]
    overwrite: bool,
    /// Threads, at most 1024 [default: all that the machine has]
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true, value_parser = whole(0..=1024))]
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
    #[command(flatten)]
    outputs: OutputArgs,
}

impl RunArgs {
    /// What to train: as the command line says, or, with `--resume`, as the run was begun with.
    pub fn recipe<R>(&self, asked: &R, given: &Given) -> Result<R>
    where
        R: Clone + Serialize + DeserializeOwned,
    {
        let Some(folder) = &self.resume else { return Ok(asked.clone()) };
        let saved = peek::<R>(folder)?.recipe;
        let Value::Object(fields) = serde_json::to_value(&saved)? else { return Ok(saved) };
        if let Some((field, value)) = fields.iter().find(|(field, _)| given.has(field)) {
            bail!(Usage(format!(
                "--{} cannot be changed with --resume: the training in {} was begun with {value}. Leave it out",
                field.replace('_', "-"),
                folder.display()
            )));
        }
        Ok(saved)
    }
}

/// The state of the run in a folder, but for the numbers.
fn peek<R: DeserializeOwned>(folder: &Path) -> Result<RunState<R>> {
    // What is read here is the same for every model and engine: these two are as good as any.
    Ok(Trainer::<gradus::model::Decoder, FastEngine>::peek_state(folder)?)
}

/// A text to train on.
pub struct Data<'a> {
    /// What people call it.
    pub name: &'a str,
    /// Its file.
    pub path: PathBuf,
    /// A number that follows from all of it.
    pub fingerprint: u64,
}

/// What is trained, and on what. A program says it; [`Run`] does the rest.
pub trait Task {
    /// The model.
    type Model: SavedModel;
    /// All options on which the result depends.
    type Recipe: Clone + Serialize + DeserializeOwned;
    /// The program's name, for advice on how to go on.
    const PROGRAM: &'static str;
    /// What losses are counted in.
    const UNIT: &'static str;

    /// What the run is begun with, and remembers.
    fn recipe(&self) -> &Self::Recipe;

    /// The part of it that every training has.
    fn train_args(&self) -> &TrainArgs;

    /// The model, without weights.
    fn model(&self) -> Result<Self::Model>;

    /// What its tokens mean.
    fn tokenizer(&self) -> &dyn Tokenizer;

    /// What it is trained on. A run goes on with the same data only.
    fn data(&self) -> Data<'_>;

    /// Fills the batch of the next step.
    fn fill(&self, batch: &mut Batch, random: &mut Random);

    /// What to validate with, always the same.
    fn validation(&self) -> Vec<Batch>;

    /// What the model says so far, for people to read.
    fn sample(&self, trainer: &mut Trainer<Self::Model, FastEngine>, random: &mut Random) -> String;
}

/// A run at work.
pub struct Run<'a, T: Task> {
    task: T,
    args: &'a RunArgs,
    folder: ModelFolder,
    /// What the folder holds of another run, as long as nothing has taken its place.
    replaces: Option<String>,
    validate_every: usize,
    threads: ThreadPool,
    trainer: Trainer<T::Model, FastEngine>,
    random: Random,
    history: History,
    outputs: Outputs,
}

impl<'a, T: Task> Run<'a, T> {
    /// A run before its first step, or where the resumed one was stopped. All that can be wrong with its folder and its
    /// outputs is found here.
    pub fn start(task: T, args: &'a RunArgs) -> Result<Self> {
        let folder = args.resume.as_ref().unwrap_or(&args.save);
        Outputs::check(&args.outputs, &task.data().path)?;
        let train = task.train_args();
        let threads = ThreadPool::new(args.threads);
        let mut random = Random::new(train.seed);
        let mut trainer = train.trainer(task.model()?, &threads, &mut random);
        let folder = ModelFolder::lock(folder)?;
        let mut history = History::new(train.patience);
        let mut before = None;
        let mut replaces = None;
        if args.resume.is_none() {
            folder.check_free(args.overwrite)?;
            replaces = folder.content();
        } else {
            let Data { name, fingerprint, .. } = task.data();
            ensure!(
                peek::<T::Recipe>(folder.path())?.fingerprint == fingerprint,
                "{name} is no longer the text that the training in {} began with: bring that text back, or begin anew",
                folder.path().display()
            );
            let state: RunState<T::Recipe> = trainer.restore_state(folder.path())?;
            random = Random::restore(&state.random)?;
            history = state.history;
            before = Some(state.validate_every);
        }
        let validate_every = args.validate_every.or(before).unwrap_or(VALIDATE_EVERY);
        let outputs = Outputs::open(&args.outputs, trainer.steps_done() > 0)?;
        Ok(Run { task, args, folder, replaces, validate_every, threads, trainer, random, history, outputs })
    }

    /// Trains until the steps are done, the time is over, nothing gets better any more, or Ctrl-C. Then it saves, says why
    /// it ended and how to go on, and draws the plot.
    pub fn train(mut self, interrupt: &Interrupt) -> Result<()> {
        say!("num params: {}", self.trainer.params().len());
        say!("matrix products: {}, {} threads", gemm::backend(), self.threads.count());
        if self.trainer.steps_done() > 0 {
            say!("going on after step {}", self.trainer.steps_done());
        }
        let why = self.steps(interrupt)?;
        let (step, folder) = (self.trainer.steps_done(), self.folder.path().display().to_string());
        if let Some(content) = &self.replaces {
            say!("{why} after step {step}, before the first validation: {folder} still holds {content}");
            return self.finish();
        }
        self.save()?;
        say!("{why} after step {step} and {:.0} seconds", self.history.seconds);
        if step < self.task.train_args().steps {
            say!("to go on: cargo run --release --example {} -- --resume {folder}", T::PROGRAM);
        }
        if let Some(best) = self.history.stopping.best() {
            say!("best validation loss: {best:.4} {}; the model is in {folder}", T::UNIT);
        }
        self.finish()
    }

    fn finish(self) -> Result<()> {
        let curves = self.history.curves();
        self.outputs.finish(&Chart {
            title: "Losses of a training",
            x: "step",
            y: T::UNIT,
            curves: &curves,
            levels: &[],
        })
    }

    /// The steps, and why there are no more of them.
    fn steps(&mut self, interrupt: &Interrupt) -> Result<&'static str> {
        let steps = self.task.train_args().steps;
        let validation = self.task.validation();
        let progress = Progress::new(steps, self.trainer.steps_done());
        let limit = self.args.minutes.map_or(f64::INFINITY, |minutes| minutes * 60.0);
        let mut batch = Batch::new();
        let mut line = String::new();
        let (mut since, mut tokens) = (Instant::now(), 0);
        let why = loop {
            if self.trainer.steps_done() >= steps {
                break "done";
            } else if self.history.stopping.should_stop() {
                break "stopped early, since the validation loss does not fall any more,";
            } else if interrupt.requested() {
                break "interrupted";
            } else if self.history.seconds + since.elapsed().as_secs_f64() > limit {
                break "the time is over";
            }
            self.task.fill(&mut batch, &mut self.random);
            let done = self.trainer.step(&batch);
            check_finite("loss", done.loss, done.number, &self.task.train_args().rates())?;
            self.history.losses.push(done.loss);
            tokens += batch.len();
            if done.number.is_multiple_of(self.validate_every) || done.number == steps {
                let took = since.elapsed().as_secs_f64();
                self.history.seconds += took;
                line = self.report(&validation, tokens as f64 / took)?.line();
                progress.line(true, &line);
                (since, tokens) = (Instant::now(), 0);
            }
            if done.number.is_multiple_of(self.args.sample_every) {
                // Its own random numbers, so that looking does not change the training.
                let mut random = Random::new(done.number as u64);
                progress.line(true, &self.task.sample(&mut self.trainer, &mut random));
            }
            progress.step(done.number, || line.clone());
        };
        self.history.seconds += since.elapsed().as_secs_f64();
        progress.finish();
        Ok(why)
    }

    /// Validates, and saves the model if there was none better.
    fn report(&mut self, validation: &[Batch], tokens_per_second: f64) -> Result<Report> {
        let losses = std::mem::take(&mut self.history.losses);
        let report = Report {
            step: self.trainer.steps_done(),
            train: mean(&losses),
            val: self.trainer.validate(validation),
            weight: self.trainer.weighting().map_or(1.0, Weighting::mean),
            tokens_per_second,
            seconds: self.history.seconds,
        };
        check_finite("validation loss", report.val, report.step, &self.task.train_args().rates())?;
        self.history.reports.push(report);
        if self.history.stopping.record(report.val) {
            let (model, params) = (self.trainer.model(), self.trainer.eval_params());
            Checkpoint::of(model, self.task.tokenizer(), &params).save(self.folder.path())?;
        }
        self.replaces = None;
        self.save()?;
        self.outputs.record(&report);
        self.outputs.flush();
        Ok(report)
    }

    /// Saves all that is needed to go on.
    fn save(&mut self) -> Result<()> {
        let state = RunState {
            recipe: self.task.recipe().clone(),
            fingerprint: self.task.data().fingerprint,
            validate_every: self.validate_every,
            random: self.random.state(),
            history: self.history.clone(),
        };
        Ok(self.trainer.save_state(self.folder.path(), state)?)
    }
}
