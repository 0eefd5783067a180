//! What a run has seen so far.

use gradus::random::RandomState;
use gradus::tokenizer::TokenizerSpec;
use gradus::train::EarlyStopping;
use serde::{Deserialize, Serialize};

use crate::TrainArgs;
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
}

impl Report {
    /// The line that is printed.
    pub fn line(&self) -> String {
        let Report { step, train, val, weight, tokens_per_second, .. } = self;
        let speed = tokens_per_second / 1000.0;
        format!("Step: {step} | Train: {train:.4} | Val: {val:.4} | W: {weight:.2} | TPS: {speed:.0}K")
    }
}

impl History {
    /// The history of a run before its first step.
    pub fn new(patience: usize) -> Self {
        let stopping = EarlyStopping::new(patience);
        History { stopping, reports: Vec::new(), seconds: 0.0, losses: Vec::new() }
    }

    /// The curves of all reports: that of the weights only where there are any.
    pub fn curves(&self, train: &TrainArgs) -> Vec<Curve> {
        let curve = |name, y: fn(&Report) -> f64| Curve {
            name,
            points: self.reports.iter().map(|report| (report.step as f64, y(report))).collect(),
        };
        let training = match (train.smoothing > 0.0, train.weighting) {
            (false, false) => "training",
            (true, false) => "training (smoothed)",
            (false, true) => "training (weighted)",
            (true, true) => "training (smoothed, weighted)",
        };
        let mut curves =
            vec![curve(training, |report| report.train), curve("validation", |report| report.val)];
        if train.weighting {
            curves.push(curve("W", |report| report.weight));
        }
        curves
    }
}
