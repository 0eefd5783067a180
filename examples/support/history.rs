//! What a run has seen so far.

use gradus::random::RandomState;
use gradus::tokenizer::TokenizerSpec;
use gradus::train::{EarlyStopping, Step};
use serde::{Deserialize, Serialize};

use crate::TrainArgs;
use crate::losses::mean;
use crate::plot::Curve;

/// A run as its folder keeps it, beside what the trainer itself remembers.
#[derive(Serialize, Deserialize)]
pub struct RunState<R> {
    /// The program that can go on with it.
    pub program: String,
    /// What the run was begun with.
    pub recipe: R,
    /// A number that follows from its data.
    pub fingerprint: u64,
    /// How that became tokens.
    pub tokenizer: TokenizerSpec,
    pub validate_every: usize,
    pub random: RandomState,
    pub history: History,
}

/// The figures of a run.
#[derive(Clone, Serialize, Deserialize)]
pub struct History {
    pub stopping: EarlyStopping,
    pub reports: Vec<Report>,
    /// Time spent, without validation.
    pub seconds: f64,
    /// The training losses since the last report.
    pub losses: Vec<f64>,
    /// The tokens that were trained on.
    #[serde(default)] // runs that were begun before they were counted
    pub tokens: u64,
    /// What was said between reports.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub logs: Vec<Log>,
    /// The validation loss before the first step, if it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<f64>,
    /// The steps whose models are in folders of their own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checkpoints: Vec<usize>,
}

/// The figures between reports.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct Log {
    pub step: usize,
    /// The mean training loss since the last of these, or since the last report if that was later.
    pub loss: f64,
    /// The learning rate of the step.
    pub learning_rate: f64,
}

impl Log {
    /// The line that is printed.
    pub fn line(&self, tokens_per_second: f64) -> String {
        let Log { step, loss, learning_rate } = self;
        format!("Step: {step} | Loss: {loss:.4} | Rate: {learning_rate:.1e} | TPS: {tokens_per_second:.0}")
    }
}

/// The figures of one report.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct Report {
    pub step: usize,
    /// The mean training loss since the report before.
    pub train: f64,
    /// The validation loss.
    pub val: f64,
    /// The mean weight of bigrams in the loss; 1 if none are weighed.
    pub weight: f64,
    pub tokens_per_second: f64,
    pub seconds: f64,
    /// How many steps were skipped so far; only where losses are scaled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped: Option<usize>,
    /// Of a model on the sphere alone.
    #[serde(flatten, default, skip_serializing_if = "Option::is_none")]
    pub sphere: Option<OnTheSphere>,
    /// 1 while it learns what comes first, and 2 from then on; only where something does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<u8>,
}

/// The lengths of what is to have length 1, and how far a step turns it.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct OnTheSphere {
    /// The least and the greatest length of a weight vector.
    pub shortest: f64,
    pub longest: f64,
    /// The same of a hidden state.
    pub hidden: Option<[f64; 2]>,
    /// The mean angle between the weight vectors before and after the last step, in radians.
    pub angle: f64,
}

impl Report {
    /// The line that is printed.
    pub fn line(&self) -> String {
        let Report { step, train, val, weight, tokens_per_second, .. } = self;
        let speed = tokens_per_second / 1000.0;
        let mut line =
            format!("Step: {step} | Train: {train:.4} | Val: {val:.4} | W: {weight:.2} | TPS: {speed:.0}K");
        if let Some(skipped @ 1..) = self.skipped {
            line += &format!(" | Skipped: {skipped}");
        }
        let Some(OnTheSphere { angle, .. }) = self.sphere else { return line };
        let far = self.off_the_sphere();
        format!("{line} | Lengths: 1 ± {far:.0e} | Angle: {angle:.4}")
    }
}

impl Report {
    /// How far the length of a weight vector or a hidden state is from 1, at most; 0 without a sphere.
    pub fn off_the_sphere(&self) -> f64 {
        let lengths = self
            .sphere
            .iter()
            .flat_map(|on| [on.shortest, on.longest].into_iter().chain(on.hidden.into_iter().flatten()));
        lengths.map(|length| (length - 1.0).abs()).fold(0.0, f64::max)
    }
}

impl History {
    /// The history of a run before its first step.
    pub fn new(patience: usize) -> Self {
        let stopping = EarlyStopping::new(patience);
        let (reports, losses, logs, checkpoints) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        History { stopping, reports, seconds: 0.0, losses, tokens: 0, logs, first: None, checkpoints }
    }

    /// The step with the least validation loss, among those whose losses can be compared.
    pub fn best_step(&self) -> Option<usize> {
        let (best, stage) = (self.stopping.best()?, self.last()?.stage);
        let is_best = |report: &&Report| report.stage == stage && report.val == best;
        self.reports.iter().find(is_best).map(|report| report.step)
    }

    /// Goes on in another folder, which has no model but that of the last report.
    pub(crate) fn branch(&mut self) {
        self.checkpoints.clear();
        self.stopping = EarlyStopping::new(usize::MAX);
        if let Some(loss) = self.last().map(|report| report.val) {
            self.stopping.record(loss);
        }
    }

    /// Notes the mean loss of the last `count` steps, of which this is the last.
    pub(crate) fn log(&mut self, done: &Step, count: usize) -> Log {
        let recent = &self.losses[self.losses.len().saturating_sub(count)..];
        let log = Log { step: done.number, loss: mean(recent), learning_rate: done.learning_rate };
        self.logs.push(log);
        log
    }

    /// The last of its reports.
    pub fn last(&self) -> Option<&Report> {
        self.reports.last()
    }

    /// The curves of all reports: that of the weights only where there are any.
    pub fn curves(&self, train: &TrainArgs) -> Vec<Curve> {
        let of_stage = |name: &'static str, first: bool, y: fn(&Report) -> f64| {
            let reports = self.reports.iter().filter(|report| (report.stage == Some(1)) == first);
            Curve {
                name: name.into(),
                points: reports.map(|report| (report.step as f64, y(report))).collect(),
            }
        };
        let curve = |name, y| of_stage(name, false, y);
        let training = match (train.smoothing > 0.0, train.weighting) {
            (false, false) => "training",
            (true, false) => "training (smoothed)",
            (false, true) => "training (weighted)",
            (true, true) => "training (smoothed, weighted)",
        };
        let mut curves =
            vec![curve(training, |report| report.train), curve("validation", |report| report.val)];
        if let Some(first) = self.first {
            curves[1].points.insert(0, (0.0, first));
        }
        if self.reports.iter().any(|report| report.stage.is_some()) {
            curves.push(of_stage("pretraining", true, |report| report.train));
            curves.push(of_stage("its validation", true, |report| report.val));
        }
        if train.weighting {
            curves.push(curve("W", |report| report.weight));
        }
        curves
    }
}
