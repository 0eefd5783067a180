//! A training as a program runs it: reports on the way, the best model kept, stopped at any time and resumed.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use gradus::checkpoint::{Checkpoint, CheckpointError, TrainedModel};
use gradus::data::{self, Batch, quoted};
use gradus::fast::{FastEngine, Precision};
use gradus::gemm;
use gradus::model::{Model, SavedModel};
use gradus::optim::{MuonSettings, angles, norms};
use gradus::random::Random;
use gradus::thread_pool::ThreadPool;
use gradus::tokenizer::{Tokenizer, TokenizerSpec};
use gradus::train::{EarlyStopping, Settings, Trainer, Weighting};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::args::{MANY, positive, whole};
use crate::checkpoints;
use crate::history::{History, OnTheSphere, Report, RunState};
use crate::load::{cannot_learn, command, or_train};
use crate::losses::{check_finite, check_scale, mean};
use crate::{Chart, Given, Interrupt, ModelFolder, OutputArgs, Outputs, Progress, TrainArgs, Usage, say};

/// Steps between reports, if nothing else is said.
const VALIDATE_EVERY: usize = 250;

/// Options that may change when a run is resumed, since nothing that has happened so far follows from them. It may find its
/// data in another place, too, as long as they are the same.
const FREE: [&str; 5] = ["steps", "patience", "learning_rate", "data", "pretrain"];

/// How a run is carried out: nothing on which its result depends.
#[derive(clap::Args, Clone, Debug)]
pub struct RunArgs {
    /// The folder of the model: written in training, read by --generate
    #[arg(long, value_name = "DIR")]
    pub save: PathBuf,
    /// Go on with the training that was stopped in this folder, bit for bit. It keeps the options that it was begun with;
    /// --steps, --patience and --learning-rate may be changed for what is to come, and --data if the text has moved
    #[arg(long, value_name = "DIR", conflicts_with = "save")]
    resume: Option<PathBuf>,
    /// Begin a new training with the weights of the model in this folder, on another text for example
    #[arg(long, value_name = "DIR", conflicts_with = "resume")]
    pub load: Option<PathBuf>,
    /// Replace the run or the model that is in the folder
    #[arg(long, conflicts_with = "resume")]
    overwrite: bool,
    /// Threads: at most 1024 [default: all that the machine has]
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true, value_parser = whole(0..=1024))]
    threads: usize,
    /// Forget what a block has computed, and compute it again for the gradient: less memory, and up to a third more time
    #[arg(long)]
    checkpointing: bool,
    /// Validate, report and save after every N steps: at most 1000000000 [default: 250, or as before]
    #[arg(long, value_name = "N", value_parser = whole(1..=MANY))]
    validate_every: Option<usize>,
    /// Show a sample after every N steps: at most 1000000000
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = whole(1..=MANY))]
    sample_every: usize,
    /// Stop after this time, in minutes, but not before the first step. What a resumed training took before does not count
    #[arg(long, value_name = "MINUTES", value_parser = positive)]
    minutes: Option<f64>,
    #[command(flatten)]
    outputs: OutputArgs,
}

/// Where a training begins.
pub struct Beginning<R, M> {
    /// What to train, and how.
    pub recipe: R,
    /// How text becomes tokens, unless that is still to be found out from the data.
    pub tokenizer: Option<TokenizerSpec>,
    /// The model of `--load`.
    pub loaded: Option<TrainedModel<M, f32>>,
}

impl RunArgs {
    /// The folder of a model that is there already, or else of the one to come.
    pub fn folder(&self) -> &Path {
        self.load.as_ref().or(self.resume.as_ref()).unwrap_or(&self.save)
    }

    /// The folder that is written: a new one, or that of the run that goes on.
    pub fn folder_to_write(&self) -> &Path {
        self.resume.as_ref().unwrap_or(&self.save)
    }

    /// What to train: as the command line says, or, with `--resume`, as the run was begun with.
    pub fn begin<R, M>(&self, program: &str, asked: &R, given: &Given) -> Result<Beginning<R, M>>
    where
        R: Clone + Serialize + DeserializeOwned,
        M: SavedModel,
    {
        let recipe = asked.clone();
        if let Some(folder) = &self.load {
            let loaded = or_train(Checkpoint::load_as::<M>(folder), program, folder)?;
            return Ok(Beginning { recipe, tokenizer: Some(loaded.tokenizer.spec()), loaded: Some(loaded) });
        }
        let Some(folder) = &self.resume else {
            return Ok(Beginning { recipe, tokenizer: None, loaded: None });
        };
        let RunState { program: owner, recipe, tokenizer, .. } = or_train(peek(folder), program, folder)?;
        let problem = format!(
            "the training in {} is one of the example {owner}: go on with it there",
            folder.display()
        );
        ensure!(owner == program, Usage(problem));
        let recipe = go_on(recipe, asked, given, &FREE, folder)?;
        Ok(Beginning { recipe, tokenizer: Some(tokenizer), loaded: None })
    }

    /// The folder to go on in, if there is one.
    pub(crate) fn resumed(&self) -> Option<&Path> {
        self.resume.as_deref()
    }

    /// Whether what is in the folder may be replaced.
    pub fn overwrites(&self) -> bool {
        self.overwrite
    }

    /// How long a training may take, in minutes.
    pub(crate) fn minutes(&self) -> Option<f64> {
        self.minutes
    }

    /// Whether what a block has computed is forgotten.
    pub fn checkpoints_blocks(&self) -> bool {
        self.checkpointing
    }

    /// Steps from one validation to the next, if a training begins.
    pub fn validation_interval(&self) -> usize {
        self.validate_every.unwrap_or(VALIDATE_EVERY)
    }

    /// How many threads there will be.
    ///
    /// # Errors
    /// As [`thread_pool`](Self::thread_pool).
    pub fn threads(&self) -> Result<usize> {
        Ok(self.thread_pool()?.count())
    }

    /// The threads.
    pub fn thread_pool(&self) -> Result<ThreadPool> {
        ThreadPool::try_new(self.threads).context("give fewer --threads")
    }

    /// An engine that works with these threads and stores results like this.
    pub(crate) fn engine(&self, threads: &ThreadPool, precision: Precision) -> FastEngine {
        let engine = FastEngine::new(threads.clone()).with_precision(precision);
        if self.checkpointing { engine.with_checkpointing() } else { engine }
    }

    /// What is written beside the model.
    pub(crate) fn outputs(&self) -> &OutputArgs {
        &self.outputs
    }

    /// How one of several trainings is carried out: into a folder of its own, where it may go on, and without a plot or
    /// metrics of its own. What it has of its time is what it did not take before.
    pub(crate) fn one_of(&self, folder: PathBuf, before: Option<&History>) -> Self {
        RunArgs {
            resume: before.map(|_| folder.clone()),
            minutes: self.minutes.map(|all| all - before.map_or(0.0, |history| history.seconds / 60.0)),
            save: folder,
            load: None,
            overwrite: true, // what is there belongs to the same comparison, or to one that may be replaced
            outputs: OutputArgs { plot: None, metrics: None },
            ..self.clone()
        }
    }

    /// What it means that a text has a character which the model or the run that is there already does not know.
    pub fn cannot_learn(&self, data: &str) -> String {
        let folder = self.folder();
        if self.resume.is_some() { changed(data, folder) } else { cannot_learn(folder) }
    }

    /// The path of the data ([`data::find`]).
    pub fn find(&self, data: &str) -> Result<PathBuf> {
        let found = data::find(data);
        if self.resume.is_none() {
            return Ok(found?);
        }
        found.context(
            "the text of this training is not where it was: if it has moved, give its new place to --data",
        )
    }
}

/// The recipe that something was begun with, in the folder where it is to go on. Options that stand on the command line may
/// differ from it only if they are free to.
pub(crate) fn go_on<R: Serialize + DeserializeOwned>(
    recipe: Value,
    asked: &R,
    given: &Given,
    free: &[&str],
    folder: &Path,
) -> Result<R> {
    let damaged = || format!("the training in {} is damaged", folder.display());
    // Read and written again, so that options which it was begun without have the values that they had then.
    let begun: R = serde_json::from_value(recipe).with_context(damaged)?;
    let (mut recipe, asked) = (serde_json::to_value(begun)?, serde_json::to_value(asked)?);
    for (field, value) in asked.as_object().into_iter().flatten() {
        let before = &mut recipe[field];
        if given.has(field) && before != value {
            ensure!(free.contains(&field.as_str()), Usage(unchangeable(field, before, folder)));
            *before = value.clone();
        }
    }
    serde_json::from_value(recipe).with_context(damaged)
}

/// Why a run cannot go on with this text.
pub(crate) fn changed(data: &str, folder: &Path) -> String {
    let folder = folder.display();
    format!(
        "{data} is no longer the text that the training in {folder} began with: bring that text back, or begin a new training"
    )
}

/// Why an option makes no sense with `--resume`.
fn unchangeable(field: &str, before: &Value, folder: &Path) -> String {
    let (option, folder) = (field.replace('_', "-"), quoted(folder));
    format!(
        "--{option} cannot be changed with --resume: the training in {folder} was begun with {before}, and all that it has \
         learned follows from that. Leave it out, or begin a new training from its model by --load {folder}"
    )
}

/// The state of the run in a folder, but for the numbers. The recipe is whatever its program has saved.
pub fn peek(folder: &Path) -> Result<RunState<Value>, CheckpointError> {
    // What is read here is the same for every model and engine: these two are as good as any.
    Trainer::<gradus::model::Decoder, FastEngine>::peek_state(folder)
}

/// The recipe that the run in a folder was begun with, by this program.
pub fn begun_with<R: DeserializeOwned>(folder: &Path, program: &str) -> Result<R> {
    let RunState { program: owner, recipe, .. } = or_train(peek(folder), program, folder)?;
    let folder = folder.display();
    ensure!(owner == program, Usage(format!("the training in {folder} is one of the example {owner}")));
    serde_json::from_value(recipe).with_context(|| format!("the training in {folder} is damaged"))
}

/// A text to train on.
#[derive(Clone)]
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
    /// Steps between reports, if nothing else is said.
    const VALIDATE_EVERY: usize = VALIDATE_EVERY;

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

    /// The files that it reads, which nothing may be written over.
    fn files(&self) -> Vec<PathBuf> {
        vec![self.data().path]
    }

    /// Steps between lines that say the training loss alone; 0 for no such lines.
    fn log_every(&self) -> usize {
        0
    }

    /// Fills the next micro-batch. It is number `number` of the training, from 0: that of a step, if each has only one.
    fn fill(&self, number: usize, batch: &mut Batch, random: &mut Random);

    /// Fills all micro-batches of the step that comes after `done` others. They hold what one batch of all their sequences
    /// would.
    fn fill_step(&self, done: usize, batches: &mut Vec<Batch>, random: &mut Random) {
        let count = self.train_args().accumulate;
        batches.resize_with(count, Batch::new);
        for (number, batch) in (done * count..).zip(batches) {
            self.fill(number, batch, random);
        }
    }

    /// What to validate with, always the same.
    fn validation(&self) -> Vec<Batch>;

    /// Whether the model is validated before its first step, too: where it knows something already.
    fn validates_first(&self) -> bool {
        false
    }

    /// How many of the first steps are about something else than the rest, from which it learns first; 0 for none.
    fn pretrain_steps(&self) -> usize {
        0
    }

    /// What to validate with in those steps.
    fn pretrain_validation(&self) -> Vec<Batch> {
        Vec::new()
    }

    /// How many of the newest models stay beside the best, each in a folder `checkpoint-N`; 0 if there are to be no such folders.
    fn keep(&self) -> usize {
        0
    }

    /// What the model says so far, for people to read.
    fn sample(&self, trainer: &mut Trainer<Self::Model, FastEngine>, random: &mut Random) -> String;

    /// How the trainer trains.
    fn settings(&self) -> Settings {
        self.train_args().settings()
    }

    /// How Muon does its steps, and AdamW within.
    fn muon(&self) -> MuonSettings {
        self.train_args().muon()
    }

    /// Writes the model into the folder of the run, where it takes the place of the one before.
    fn save_model(&self, folder: &Path, model: &Self::Model, params: &[f32]) -> Result<()> {
        Ok(Checkpoint::of(model, self.tokenizer(), params).save(folder)?)
    }

    /// Writes what other programs want to know of the run, whenever its state was saved.
    fn save_more(&self, _: &Path, _: Standing<'_>) -> Result<()> {
        Ok(())
    }

    /// Writes what follows from the model in the folder, at the end of a run.
    fn conclude(&self, _: &Path) -> Result<()> {
        Ok(())
    }

    /// The least and the greatest length of a hidden state, if the model keeps them at length 1.
    fn hidden_lengths(&self, _: &mut Trainer<Self::Model, FastEngine>, _: &Batch) -> Option<[f64; 2]> {
        None
    }

    /// A trainer before its first step, with parameters that are given, or else drawn from `random`.
    fn trainer(
        &self,
        params: Option<Vec<f32>>,
        engine: FastEngine,
        threads: &ThreadPool,
        random: &mut Random,
    ) -> Result<Trainer<Self::Model, FastEngine>> {
        let model = self.model()?;
        let optimizer = self.train_args().optimizer(model.layout(), self.muon(), threads);
        let params = params.unwrap_or_else(|| model.layout().initial(random));
        Ok(Trainer::with_optimizer(model, engine, optimizer, self.settings(), params))
    }
}

/// How far a run has come.
#[derive(Clone, Copy)]
pub struct Standing<'a> {
    /// The folder of the run.
    pub folder: &'a Path,
    /// The steps that were made.
    pub step: usize,
    /// Steps from one validation to the next.
    pub validate_every: usize,
    /// Its figures.
    pub history: &'a History,
}

/// Why there are no more steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// All have been made.
    Done,
    /// The validation loss does not fall any more.
    Early,
    /// Ctrl-C, or a signal that ends programs.
    Interrupted,
    /// The time that was given is over.
    Time,
}

impl End {
    fn words(self) -> &'static str {
        match self {
            End::Done => "done",
            End::Early => "stopped early, since the validation loss does not fall any more,",
            End::Interrupted => "interrupted",
            End::Time => "the time is over",
        }
    }
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
    /// A run before its first step, with fresh or with given parameters, or where the resumed one was stopped. All that can
    /// be wrong with its folder and its outputs is found here.
    pub fn start(task: T, args: &'a RunArgs, params: Option<Vec<f32>>) -> Result<Self> {
        let folder = args.folder_to_write();
        let folders = args.load.as_deref().into_iter().chain([folder]);
        let files = folders.flat_map(ModelFolder::files).chain(task.files());
        Outputs::check(&args.outputs, &files.collect::<Vec<_>>())?;
        let train = task.train_args();
        let threads = args.thread_pool()?;
        let mut random = Random::new(train.seed);
        let mut trainer =
            task.trainer(params, args.engine(&threads, train.precision()), &threads, &mut random)?;
        let folder = ModelFolder::lock(folder)?;
        let mut history = History::new(train.patience);
        let mut before = None;
        let mut replaces = None;
        if args.resume.is_none() {
            folder.check_free(args.overwrite)?;
            replaces = folder.content();
        } else {
            let Data { name, fingerprint, .. } = task.data();
            ensure!(peek(folder.path())?.fingerprint == fingerprint, "{}", changed(name, folder.path()));
            let state: RunState<T::Recipe> = trainer.restore_state(folder.path())?;
            random = Random::restore(&state.random)?;
            history = state.history;
            if checkpoints::step_of(folder.path()) == Some(trainer.steps_done()) {
                history.branch(); // what was better is in another folder
            }
            history.stopping.set_patience(train.patience);
            let (done, asked) = (trainer.steps_done(), train.steps);
            let problem = "steps that the training has made already: give more to --steps";
            ensure!(done <= asked, Usage(format!("{asked} steps are fewer than the {done} {problem}")));
            before = Some(state.validate_every);
        }
        let validate_every = args.validate_every.or(before).unwrap_or(T::VALIDATE_EVERY);
        let outputs = Outputs::open(&args.outputs, trainer.steps_done() > 0)?;
        Ok(Run { task, args, folder, replaces, validate_every, threads, trainer, random, history, outputs })
    }

    /// Where the model is saved.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Trains until the steps are done, the time is over, nothing gets better any more, or Ctrl-C. Then it saves, says why
    /// it ended and how to go on, and draws the plot.
    pub fn train(mut self, interrupt: &Interrupt) -> Result<()> {
        let (all, trained) = (self.trainer.params().len(), self.trainer.model().layout().trainable_len());
        if trained < all {
            let share = 100.0 * trained as f64 / all as f64;
            say!("num params: {all}, of which {trained} are trained ({share:.2} %)");
        } else {
            say!("num params: {all}");
        }
        say!("matrix products: {}, {} threads", gemm::backend(), self.threads.count());
        let end = self.steps_and_save(interrupt)?;
        let (why, step) = (end.words(), self.trainer.steps_done());
        if let Some(content) = &self.replaces {
            let folder = self.folder.path().display();
            say!("{why} after step {step}, before the first validation: {folder} still holds {content}");
            return self.finish();
        }
        let folder = self.folder.path().display();
        say!("{why} after step {step} and {:.0} seconds", self.history.seconds);
        if let Some(best) = self.history.stopping.best() {
            say!("best validation loss: {best:.4} {}; the model is in {folder}", T::UNIT);
        } else if ![0, self.task.pretrain_steps()].contains(&step) {
            say!("there was no validation yet: the model in {folder} is that of step {step}");
        }
        if step > 0 {
            self.task.conclude(self.folder.path())?;
        }
        let (resume, train) = (quoted(self.folder.path()), self.task.train_args());
        let more = match end {
            End::Done => format!(" --steps {}", train.steps.saturating_mul(2)),
            End::Early => format!(" --patience {}", train.patience.saturating_mul(2)),
            End::Interrupted | End::Time => String::new(),
        };
        say!("to go on: {} --resume {resume}{more}", command(T::PROGRAM));
        self.finish()
    }

    /// Trains as one of several: says only what differs from the others, and answers why it ended, and its figures.
    pub fn compete(mut self, interrupt: &Interrupt) -> Result<(End, History)> {
        let end = self.steps_and_save(interrupt)?;
        let (why, step) = (end.words(), self.trainer.steps_done());
        say!("{why} after step {step} and {:.0} seconds", self.history.seconds);
        Ok((end, self.history))
    }

    fn steps_and_save(&mut self, interrupt: &Interrupt) -> Result<End> {
        if self.trainer.steps_done() > 0 {
            say!("going on after step {}", self.trainer.steps_done());
        }
        let end = self.steps(interrupt)?;
        if self.replaces.is_none() {
            if self.history.stopping.best().is_none()
                && ![0, self.task.pretrain_steps()].contains(&self.trainer.steps_done())
            {
                self.save_model(self.folder.path())?; // a run that had no time for a validation has a model all the same
            }
            self.save()?;
        }
        Ok(end)
    }

    fn finish(self) -> Result<()> {
        let curves = self.history.curves(self.task.train_args());
        self.outputs.finish(&Chart {
            title: "Losses of a training",
            x: "step",
            y: T::UNIT,
            curves: &curves,
            levels: &[],
        })
    }

    /// The steps, and why there are no more of them.
    fn steps(&mut self, interrupt: &Interrupt) -> Result<End> {
        let steps = self.task.train_args().steps;
        let (pretrain_steps, validation) = (self.task.pretrain_steps(), self.task.validation());
        let pretrain_validation = self.task.pretrain_validation();
        if self.trainer.steps_done() == 0 && self.task.validates_first() {
            let loss = self.trainer.validate(&validation);
            say!("before the first step: validation loss {loss:.4} {}", T::UNIT);
            self.history.first = Some(loss);
        }
        let progress = Progress::new(steps, self.trainer.steps_done());
        let limit = self.args.minutes.map_or(f64::INFINITY, |minutes| minutes * 60.0);
        let (start, first) = (Instant::now(), self.trainer.steps_done());
        let log_every = self.task.log_every();
        let constrained = self.trainer.model().layout().specs().iter().any(|spec| spec.constraint.is_some());
        let mut batches = Vec::new();
        let mut line = String::new();
        let (mut since, mut tokens) = (Instant::now(), 0);
        let end = loop {
            if self.trainer.steps_done() >= steps {
                break End::Done;
            } else if self.trainer.steps_done() >= pretrain_steps && self.history.stopping.should_stop() {
                break End::Early;
            } else if interrupt.requested() {
                break End::Interrupted;
            } else if self.trainer.steps_done() > first && start.elapsed().as_secs_f64() > limit {
                break End::Time;
            }
            let number = self.trainer.steps_done() + 1;
            self.task.fill_step(number - 1, &mut batches, &mut self.random);
            let due = number.is_multiple_of(self.validate_every) || [pretrain_steps, steps].contains(&number);
            let before = (due && constrained).then(|| self.trainer.params().to_vec());
            let done = self.trainer.step_accumulated(&mut batches);
            check_finite("loss", done.loss, done.number, &self.task.train_args().rates())?;
            check_scale(&done)?;
            self.history.losses.push(done.loss);
            let read = batches.iter().map(Batch::len).sum::<usize>();
            tokens += read;
            self.history.tokens += read as u64;
            if log_every > 0 && done.number.is_multiple_of(log_every) {
                let log = self.history.log(&done, log_every);
                line = log.line(tokens as f64 / since.elapsed().as_secs_f64());
                progress.line(true, &line);
            }
            if due {
                let took = since.elapsed().as_secs_f64();
                self.history.seconds += took;
                let sphere = before.map(|before| self.on_the_sphere(&before, &batches));
                let validation = if number <= pretrain_steps { &pretrain_validation } else { &validation };
                line = self.report(validation, tokens as f64 / took, sphere)?.line();
                progress.line(true, &line);
                if number == pretrain_steps {
                    progress.line(true, "pretraining is over: what follows is another loss, of another text");
                }
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
        Ok(end)
    }

    /// The lengths of all that should have length 1, and how far the weights turned since `before`.
    fn on_the_sphere(&mut self, before: &[f32], batches: &[Batch]) -> OnTheSphere {
        let all = batches.iter().filter_map(|batch| self.task.hidden_lengths(&mut self.trainer, batch));
        let hidden = all.reduce(|a, b| [a[0].min(b[0]), a[1].max(b[1])]);
        let (layout, params) = (self.trainer.model().layout(), self.trainer.params());
        let (norms, angles) = (norms(layout, params), angles(layout, before, params));
        let count = angles.iter().map(|spread| spread.count as f64).sum::<f64>();
        OnTheSphere {
            shortest: norms.iter().map(|spread| spread.min).fold(f64::INFINITY, f64::min),
            longest: norms.iter().map(|spread| spread.max).fold(0.0, f64::max),
            hidden,
            angle: angles.iter().map(|spread| spread.mean * spread.count as f64).sum::<f64>() / count,
        }
    }

    /// Validates, and saves the model if there was none better.
    fn report(
        &mut self,
        validation: &[Batch],
        tokens_per_second: f64,
        sphere: Option<OnTheSphere>,
    ) -> Result<Report> {
        let losses = std::mem::take(&mut self.history.losses);
        let (step, pretrain_steps) = (self.trainer.steps_done(), self.task.pretrain_steps());
        let report = Report {
            step,
            train: mean(&losses),
            val: self.trainer.validate(validation),
            weight: self.trainer.weighting().map_or(1.0, Weighting::mean),
            tokens_per_second,
            seconds: self.history.seconds,
            skipped: self.trainer.loss_scaler().map(|scaler| scaler.skipped),
            sphere,
            stage: (pretrain_steps > 0).then_some(if step <= pretrain_steps { 1 } else { 2 }),
        };
        check_finite("validation loss", report.val, report.step, &self.task.train_args().rates())?;
        self.history.reports.push(report);
        if self.history.stopping.record(report.val) {
            self.save_model(self.folder.path())?;
        }
        if step == pretrain_steps {
            // Losses of one text say nothing about those of another.
            self.history.stopping = EarlyStopping::new(self.task.train_args().patience);
        }
        let replaced = self.replaces.take().is_some();
        self.save_checkpoint(step, replaced)?;
        self.outputs.record(&report);
        self.outputs.flush();
        Ok(report)
    }

    /// Saves the state, and the model of this step in a folder of its own, if there are to be any.
    fn save_checkpoint(&mut self, step: usize, replaced: bool) -> Result<()> {
        let keep = self.task.keep();
        if replaced {
            checkpoints::remove_all(self.folder.path())?;
        }
        if keep == 0 {
            return self.save();
        }
        self.history.checkpoints.retain(|there| *there != step);
        self.history.checkpoints.push(step);
        self.save()?;
        let folder = self.folder.path();
        checkpoints::add(folder, step, |part| {
            self.save_model(part)?;
            self.task.save_more(part, self.standing())
        })?;
        let best = self.history.best_step();
        checkpoints::thin_out(self.folder.path(), &mut self.history.checkpoints, keep, best)
    }

    fn save_model(&self, folder: &Path) -> Result<()> {
        self.task.save_model(folder, self.trainer.model(), &self.trainer.eval_params())
    }

    fn standing(&self) -> Standing<'_> {
        Standing {
            folder: self.folder.path(),
            step: self.trainer.steps_done(),
            validate_every: self.validate_every,
            history: &self.history,
        }
    }

    /// Saves all that is needed to go on.
    fn save(&mut self) -> Result<()> {
        let state = RunState {
            program: T::PROGRAM.to_owned(),
            recipe: self.task.recipe().clone(),
            fingerprint: self.task.data().fingerprint,
            tokenizer: self.task.tokenizer().spec(),
            validate_every: self.validate_every,
            random: self.random.state(),
            history: self.history.clone(),
        };
        self.trainer.save_state(self.folder.path(), state)?;
        self.task.save_more(self.folder.path(), self.standing())
    }
}
