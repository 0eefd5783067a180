//! Several trainings side by side: the same data for all, one table and one plot. It can be stopped at any time and
//! resumed: every training has a folder of its own, and one that is done is not made again.

mod drawing;
mod table;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use gradus::checkpoint::write_atomically;
use gradus::data::quoted;
use gradus::random::Random;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::history::{History, Report};
use crate::losses::RanAway;
use crate::metrics::Metrics;
use crate::run::{End, changed, go_on, peek};
use crate::{Data, Given, Interrupt, ModelFolder, Outputs, RunArgs, Task, Usage, say};

/// The file in a comparison's folder that says what is compared.
const FILE: &str = "comparison.json";

/// One of the trainings.
#[derive(Clone)]
pub struct Entry<R> {
    /// What it shows. Several trainings of the same arm differ in their seed.
    pub arm: String,
    /// Where its randomness begins.
    pub seed: u64,
    /// All that its result depends on.
    pub recipe: R,
    /// The parameters of its model.
    pub params: usize,
    /// Tokens in one of its steps.
    pub tokens: usize,
    /// Its steps.
    pub steps: usize,
}

/// What one training came to.
pub struct Outcome {
    arm: String,
    seed: u64,
    params: usize,
    tokens: usize,
    /// `None` if it ran away.
    history: Option<History>,
}

/// What is compared: all that its table and its plot have to say.
pub struct Comparison<'a> {
    /// The program, for advice on how to go on.
    pub program: &'a str,
    /// A heading.
    pub title: &'a str,
    /// What losses are counted in.
    pub unit: &'a str,
    /// The loss of knowing nothing.
    pub chance: f64,
    /// What all learn from.
    pub data: Data<'a>,
}

/// How a program trains one of several.
pub trait Contest {
    /// All that the result of a training depends on.
    type Recipe: Clone + Serialize + DeserializeOwned;

    /// About how many seconds a training will take.
    fn estimate(&self, recipe: &Self::Recipe, args: &RunArgs) -> Result<f64>;

    /// Trains with [`Run::start`](crate::Run::start) and [`Run::compete`](crate::Run::compete).
    fn train(&self, recipe: &Self::Recipe, args: &RunArgs, interrupt: &Interrupt) -> Result<(End, History)>;
}

/// About how many seconds all steps and validations of a training will take, by the time of a few.
pub fn estimate<T: Task>(task: &T, params: Vec<f32>, args: &RunArgs) -> Result<f64> {
    let threads = args.thread_pool()?;
    let mut random = Random::new(0);
    let engine = args.engine(&threads, task.train_args().precision());
    let mut trainer = task.trainer(Some(params), engine, &threads, &mut random)?;
    let mut batches = Vec::new();
    task.fill_step(0, &mut batches, &mut random);
    trainer.step_accumulated(&mut batches); // asks for memory
    let start = Instant::now();
    (0..3).for_each(|_| _ = trainer.step_accumulated(&mut batches));
    let step = start.elapsed().as_secs_f64() / 3.0;
    let validation = task.validation();
    let start = Instant::now();
    trainer.validate(&validation[..1]);
    let validate = start.elapsed().as_secs_f64() * validation.len() as f64;
    let steps = task.train_args().steps;
    Ok(step * steps as f64 + validate * steps.div_ceil(args.validation_interval()) as f64)
}

#[derive(Serialize, Deserialize)]
struct Saved {
    program: String,
    recipe: Value,
    /// A number that follows from the data.
    fingerprint: u64,
}

/// What to compare: as the command line says, or, with `--resume`, as the comparison was begun with. Only `--data` may be
/// another then, if the same text has moved.
pub fn begin_comparison<R>(args: &RunArgs, program: &str, asked: &R, given: &Given) -> Result<R>
where
    R: Clone + Serialize + DeserializeOwned,
{
    let Some(folder) = args.resumed() else { return Ok(asked.clone()) };
    let Some(saved) = read(folder)? else {
        let problem = "holds no comparison to go on with. To begin one there";
        let (shown, save) = (folder.display(), quoted(folder));
        bail!("{shown} {problem}: cargo run --release --example {program} -- --save {save}");
    };
    let problem = format!("what is in {} belongs to the example {}", folder.display(), saved.program);
    ensure!(saved.program == program, Usage(problem));
    go_on(saved.recipe, asked, given, &["data"], folder)
}

/// The folder of the model with the lowest validation loss of all that were compared in a folder; the folder itself, if
/// nothing was compared there.
pub fn best_of(folder: &Path) -> Result<PathBuf> {
    if read(folder)?.is_none() {
        return Ok(folder.to_owned());
    }
    let mut best = (f64::INFINITY, folder.to_owned());
    for entry in fs::read_dir(folder).with_context(|| format!("{} cannot be read", folder.display()))? {
        let path = entry?.path();
        let loss = peek(&path).ok().and_then(|state| state.history.stopping.best());
        if let Some(loss) = loss.filter(|loss| *loss < best.0) {
            best = (loss, path);
        }
    }
    Ok(best.1)
}

/// Whether a comparison was begun in this folder.
pub fn is_comparison(folder: &Path) -> bool {
    folder.join(FILE).exists()
}

fn read(folder: &Path) -> Result<Option<Saved>> {
    let path = folder.join(FILE);
    let Ok(text) = fs::read_to_string(&path) else { return Ok(None) };
    let damaged = || format!("{} is damaged: begin the comparison again with --overwrite", path.display());
    serde_json::from_str(&text).with_context(damaged).map(Some)
}

impl Comparison<'_> {
    /// Makes all trainings that are not done yet, and shows what came of them.
    pub fn run<C: Contest>(
        &self,
        contest: &C,
        recipe: &impl Serialize,
        entries: &[Entry<C::Recipe>],
        args: &RunArgs,
    ) -> Result<()> {
        let folder = args.resumed().unwrap_or(&args.save);
        let place = |entry: &Entry<C::Recipe>| folder.join(format!("{}-{}", slug(&entry.arm), entry.seed));
        let mut places = BTreeSet::new();
        for entry in entries {
            ensure!(places.insert(place(entry)), Usage(format!("{} is named twice", entry.arm)));
        }
        let _lock = self.prepare(folder, recipe, &places, args)?;
        let interrupt = Interrupt::watch();
        let before: Vec<_> = entries.iter().map(|entry| self.done_before(entry, &place(entry))).collect();
        self.announce(contest, entries, &before, args)?;
        let mut outcomes = Vec::new();
        let mut stopped = false;
        for (number, (entry, before)) in entries.iter().zip(before).enumerate() {
            let Entry { arm, seed, params, tokens, .. } = entry;
            let outcome = |history| Outcome {
                arm: arm.clone(),
                seed: *seed,
                params: *params,
                tokens: *tokens,
                history,
            };
            let is_done = |history: &History| {
                history.last().is_some_and(|report| report.step == entry.steps)
                    || args.minutes().is_some_and(|minutes| history.seconds >= 60.0 * minutes)
            };
            if before.as_ref().is_some_and(is_done) {
                outcomes.push(outcome(before));
                continue;
            }
            say!("[{}/{}] {arm}, seed {seed}", number + 1, entries.len());
            match contest.train(&entry.recipe, &args.one_of(place(entry), before.as_ref()), &interrupt) {
                Ok((End::Interrupted, _)) => {
                    stopped = true;
                    break;
                }
                Ok((_, history)) => outcomes.push(outcome(Some(history))),
                Err(error) if error.is::<RanAway>() => {
                    say!("{error:#}");
                    outcomes.push(outcome(None));
                }
                Err(error) => return Err(error),
            }
            // One that cannot be written stops no training; the last attempt reports it.
            self.write(&outcomes, args).ok();
        }
        say!("{}", table::table(self, &outcomes));
        self.write(&outcomes, args)?;
        let go_on = format!("cargo run --release --example {} -- --resume {}", self.program, quoted(folder));
        if stopped {
            say!("interrupted after {} of {} trainings. To go on: {go_on}", outcomes.len(), entries.len());
        }
        Ok(())
    }

    /// Finds whatever is wrong with the folder and the outputs before the work begins. Notes what is compared, or sees to it
    /// that it is the same as before.
    fn prepare(
        &self,
        folder: &Path,
        recipe: &impl Serialize,
        places: &BTreeSet<PathBuf>,
        args: &RunArgs,
    ) -> Result<ModelFolder> {
        let own = places.iter().flat_map(|place| ModelFolder::files(place));
        let files: Vec<_> = own.chain([folder.join(FILE), self.data.path.clone()]).collect();
        Outputs::check(args.outputs(), &files)?;
        let lock = ModelFolder::lock(folder)?;
        if args.resumed().is_some() {
            let same = read(folder)?.is_some_and(|saved| saved.fingerprint == self.data.fingerprint);
            ensure!(same, "{}", changed(self.data.name, folder));
        } else {
            self.check_free(&lock, args)?;
            let (program, recipe) = (self.program.to_owned(), serde_json::to_value(recipe)?);
            let saved = Saved { program, recipe, fingerprint: self.data.fingerprint };
            write_atomically(&folder.join(FILE), &serde_json::to_vec_pretty(&saved)?)?;
        }
        Ok(lock)
    }

    /// Fails if something is in the folder already and nobody said `--overwrite`.
    fn check_free(&self, folder: &ModelFolder, args: &RunArgs) -> Result<()> {
        folder.check_free(args.overwrites())?;
        let path = folder.path();
        let Some(saved) = read(path).unwrap_or(None).filter(|_| !args.overwrites()) else { return Ok(()) };
        let (shown, quoted) = (path.display(), quoted(path));
        bail!(
            "{shown} holds a comparison. Go on with it by --resume (cargo run --release --example {} -- --resume {quoted}), \
             replace it by --overwrite, or give another folder to --save",
            saved.program
        );
    }

    /// What there is already of a training: of the very same one, since equal recipes and data have equal results.
    fn done_before<R>(&self, entry: &Entry<R>, folder: &Path) -> Option<History>
    where
        R: Serialize + DeserializeOwned,
    {
        let state = peek(folder).ok()?;
        let recipe: R = serde_json::from_value(state.recipe).ok()?;
        let same = state.fingerprint == self.data.fingerprint
            && serde_json::to_value(recipe).ok()? == serde_json::to_value(&entry.recipe).ok()?
            && state.program == self.program;
        same.then_some(state.history)
    }

    /// Says what is to come, and how long it will take.
    fn announce<C: Contest>(
        &self,
        contest: &C,
        entries: &[Entry<C::Recipe>],
        before: &[Option<History>],
        args: &RunArgs,
    ) -> Result<()> {
        let mut seconds = 0.0;
        let mut known: Vec<(String, f64)> = Vec::new();
        for (entry, before) in entries.iter().zip(before) {
            let done = before.as_ref().and_then(History::last).map_or(0, |report| report.step);
            let left = 1.0 - done as f64 / entry.steps as f64;
            // Trainings of the same arm take the same time.
            let time = match known.iter().find(|(arm, _)| *arm == entry.arm) {
                Some((_, time)) => *time,
                None => contest.estimate(&entry.recipe, args)?,
            };
            known.push((entry.arm.clone(), time));
            seconds += time * left;
        }
        let minutes = seconds / 60.0;
        say!("{}: {} trainings, about {minutes:.0} minutes in all", self.title, entries.len());
        Ok(())
    }

    /// Writes the plot and the metrics of what is done so far.
    fn write(&self, outcomes: &[Outcome], args: &RunArgs) -> Result<()> {
        let outputs = args.outputs();
        if let Some(path) = &outputs.plot {
            let drawn = write_atomically(path, drawing::draw(self, outcomes).as_bytes());
            drawn.with_context(|| format!("{} cannot be drawn", path.display()))?;
        }
        let Some(path) = &outputs.metrics else { return Ok(()) };
        let mut metrics = Metrics::open(path, false)?;
        for outcome in outcomes {
            for report in outcome.history.iter().flat_map(|history| &history.reports) {
                metrics.write(&outcome.row(report));
            }
        }
        metrics.finish()
    }
}

impl Outcome {
    /// A report as a row of the metrics. All rows have the same columns.
    fn row(&self, report: &Report) -> Value {
        let sphere = report.sphere;
        let hidden = sphere.and_then(|on| on.hidden);
        json!({
            "arm": self.arm,
            "seed": self.seed,
            "step": report.step,
            "tokens": report.step * self.tokens,
            "seconds": report.seconds,
            "train": report.train,
            "val": report.val,
            "tokens_per_second": report.tokens_per_second,
            "shortest_weight": sphere.map(|on| on.shortest),
            "longest_weight": sphere.map(|on| on.longest),
            "shortest_hidden": hidden.map(|[shortest, _]| shortest),
            "longest_hidden": hidden.map(|[_, longest]| longest),
            "angle": sphere.map(|on| on.angle),
        })
    }

    fn last(&self) -> Option<&Report> {
        self.history.as_ref().and_then(History::last)
    }
}

/// A name for a folder.
fn slug(arm: &str) -> String {
    let kept = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' };
    arm.chars().map(kept).collect()
}
