//! The loss of every step.

use std::fmt;

use anyhow::{Result, bail};
use gradus::real::Real;
use gradus::train::Step;

use crate::{Chart, Curve, Level, say};

/// The losses of a run, none of which is NaN or infinite.
#[derive(Clone, Debug, Default)]
pub struct Losses(Vec<f64>);

impl Losses {
    /// The loss that is shown is the mean of so many: that of a single small batch says little.
    const RECENT: usize = 100;

    /// Takes note of a step's loss.
    pub fn push(&mut self, done: &Step, learning_rate: f64) -> Result<()> {
        check_finite("loss", done.loss, done.number, &format!("--learning-rate than {learning_rate:?}"))?;
        self.0.push(done.loss);
        Ok(())
    }

    /// The mean of the last of them.
    pub fn recent(&self) -> f64 {
        mean(&self.0[self.0.len().saturating_sub(Self::RECENT)..])
    }

    /// Says where training ended, and if it was before the steps that were asked for.
    pub fn conclude(&self, steps: usize) {
        let count = self.0.len();
        if count < steps {
            say!("stopped after step {count} of {steps}");
        }
        if count > 0 {
            say!("mean loss of the last {} steps: {:.4}", count.min(Self::RECENT), self.recent());
        }
    }

    /// Each of them, pale, and their running mean.
    pub fn curves(&self) -> [Curve; 2] {
        let curve = |name: &'static str, losses: &[f64]| Curve {
            name: name.into(),
            points: (1..).map(f64::from).zip(losses.iter().copied()).collect(),
        };
        [curve("", &self.0), curve("running mean", &smooth(&self.0))]
    }

    /// Where the curves ended, if there was a step.
    pub fn level(&self) -> Option<Level> {
        let name = format!("last {} steps", self.0.len().min(Self::RECENT));
        (!self.0.is_empty()).then(|| Level { name, value: self.recent() })
    }

    /// The picture of a training.
    pub fn chart<'a>(&self, curves: &'a [Curve], levels: &'a [Level]) -> Chart<'a> {
        Chart {
            title: "The loss of each step, and its running mean",
            x: "step",
            y: "nats a token",
            curves,
            levels,
        }
    }
}

/// A training whose numbers are not finite any more.
#[derive(Debug)]
pub struct RanAway(String);

impl fmt::Display for RanAway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for RanAway {}

/// Fails if training ran away: from then on every loss would be NaN.
pub fn check_finite(what: &str, loss: f64, step: usize, smaller: &str) -> Result<()> {
    if loss.is_finite() {
        return Ok(());
    }
    bail!(RanAway(format!(
        "the {what} is {loss} at step {step}: training ran away. Give a smaller {smaller}"
    )))
}

/// Fails if a step was skipped although its loss was not multiplied any more: then all further ones will be.
pub fn check_scale(done: &Step) -> Result<()> {
    if done.skipped && done.loss_scale == Some(1.0) {
        let step = done.number;
        bail!(RanAway(format!(
            "the gradient at step {step} does not fit into float16, however small the loss scale: give --precision bf16"
        )));
    }
    Ok(())
}

/// Fails if the last step made a parameter NaN or infinite, of which no loss has told yet.
pub fn check_params<R: Real>(params: &[R], steps: usize, learning_rate: f64) -> Result<()> {
    let worst = params.iter().map(|x| x.to_f64()).find(|x| !x.is_finite()).unwrap_or(0.0);
    check_finite("value of a parameter", worst, steps, &format!("--learning-rate than {learning_rate:?}"))
}

/// The mean of some numbers; NaN if there are none.
pub fn mean(numbers: &[f64]) -> f64 {
    numbers.iter().sum::<f64>() / numbers.len() as f64
}

/// The running mean, in which a loss counts the less the longer ago it was.
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
