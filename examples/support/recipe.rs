//! How a model is trained: optimizer, rates and schedule, as options that are saved with the run.

use clap::ValueEnum;
use gradus::fast::Precision;
use gradus::optim::{Adam, AdamSettings, Decay, Momentum, Muon, MuonSettings, Optimizer, Schedule, UnitStep};
use gradus::params::Layout;
use gradus::thread_pool::ThreadPool;
use gradus::train::{LossScaler, Settings};
use serde::{Deserialize, Serialize};

use crate::args::{MANY, not_negative, positive, seed, share, whole};

/// The options of a training on which its result depends, whatever the model.
#[derive(clap::Args, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[command(next_help_heading = "Training")]
pub struct TrainArgs {
    /// Steps of training: at most 1000000000
    #[arg(long, value_name = "N", default_value_t = 4000, value_parser = whole(1..=MANY))]
    pub steps: usize,
    /// Sequences in a step, or in each of its micro-batches: at most 65536
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = whole(1..=1 << 16))]
    pub batch: usize,
    /// Micro-batches in a step: at most 65536. They count as one batch, but need the memory of one of them only
    #[arg(long, value_name = "K", default_value_t = 1, value_parser = whole(1..=1 << 16))]
    #[serde(default = "one")] // runs that were begun before there was a choice
    pub accumulate: usize,
    /// What all randomness follows from
    #[arg(long, value_name = "N", default_value_t = 42, value_parser = seed)]
    pub seed: u64,
    /// Muon for matrices and AdamW for the rest, or AdamW for all
    #[arg(long, value_enum, default_value_t = Method::Muon)]
    pub optimizer: Method,
    /// Muon's order: momentum with a look ahead, plain, or of the orthogonalised gradient
    #[arg(long, value_enum, default_value_t = Order::Nesterov)]
    momentum: Order,
    /// The highest learning rate of AdamW
    #[arg(long, value_name = "R", default_value_t = 0.003, value_parser = positive)]
    pub learning_rate: f64,
    /// Muon's, as a multiple of it
    #[arg(long, value_name = "X", default_value_t = 5.0, value_parser = positive)]
    pub muon_rate: f64,
    /// How the learning rate falls after the warmup: along a cosine, in a straight line, as 1 / √step, or not at all
    #[arg(long, value_enum, default_value_t = DecayKind::Cosine)]
    #[serde(default)] // as above
    pub schedule: DecayKind,
    /// Steps in which the learning rate rises, before it falls: at most 1000000000
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = whole(0..=MANY))]
    pub warmup: usize,
    /// The share of every weight, times the learning rate, that is taken away in a step
    #[arg(long, value_name = "X", default_value_t = 0.01, value_parser = not_negative)]
    pub weight_decay: f64,
    /// The greatest length of the gradient
    #[arg(long, value_name = "X", default_value_t = 1.0, value_parser = positive)]
    pub clip: f64,
    /// Label smoothing
    #[arg(long, value_name = "S", default_value_t = 0.0, value_parser = share)]
    pub smoothing: f64,
    /// How much of the averaged weights stays from step to step
    #[arg(long, value_name = "D", default_value_t = 0.995, value_parser = share)]
    pub ema: f64,
    /// What results are stored in: 32 bits, or 16 for less memory, with sums and weights in 32. f16 is finer than bf16, has less
    /// reach, and scales the loss
    #[arg(long, value_enum, default_value_t = Format::F32)]
    #[serde(default)] // as above
    precision: Format,
    /// Weigh characters in the loss by how difficult they still are
    #[arg(long)]
    pub weighting: bool,
    /// Stop when N validations in a row brought nothing better: at most 1000000000
    #[arg(long, value_name = "N", default_value_t = 12, value_parser = whole(1..=MANY))]
    pub patience: usize,
}

/// An optimizer.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")] // as on the command line
pub enum Method {
    Muon,
    Adamw,
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")] // as on the command line
enum Order {
    Nesterov,
    Plain,
    OfOrthogonal,
}

/// How a learning rate falls. What is left of it at the end, the program says.
#[derive(ValueEnum, Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")] // as on the command line
pub enum DecayKind {
    #[default]
    Cosine,
    Linear,
    InverseSqrt,
    Constant,
}

/// What results are stored in.
#[derive(ValueEnum, Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")] // as on the command line
enum Format {
    #[default]
    F32,
    Bf16,
    F16,
}

fn one() -> usize {
    1
}

impl Method {
    /// What it is called on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Method::Muon => "muon",
            Method::Adamw => "adamw",
        }
    }
}

impl TrainArgs {
    /// What the trainer is to do, beside what the optimizer does.
    pub fn settings(&self) -> Settings {
        Settings {
            steps: self.steps,
            learning_rate: self.learning_rate,
            schedule: self.schedule(0.02),
            clip: Some(self.clip),
            smoothing: self.smoothing,
            ema_decay: Some(self.ema),
            dropout_seed: Some(self.seed),
            weighting: self.weighting,
            loss_scaler: (self.precision == Format::F16).then(LossScaler::default),
            ..Settings::default()
        }
    }

    /// What results are stored in.
    pub fn precision(&self) -> Precision {
        match self.precision {
            Format::F32 => Precision::F32,
            Format::Bf16 => Precision::Bf16,
            Format::F16 => Precision::F16,
        }
    }

    /// The schedule that was chosen. Where it has an end, this fraction of the rate is left there.
    pub fn schedule(&self, floor: f64) -> Schedule {
        let decay = match self.schedule {
            DecayKind::Cosine => Decay::Cosine { floor },
            DecayKind::Linear => Decay::Linear { floor },
            DecayKind::InverseSqrt => Decay::InverseSqrt,
            DecayKind::Constant => Decay::Constant,
        };
        Schedule { warmup: self.warmup, decay }
    }

    /// The tokens of a micro-batch and those of a step, if all sequences are as long as the context.
    pub fn tokens(&self, context: usize) -> [usize; 2] {
        let tokens = self.batch.saturating_mul(context);
        [tokens, tokens.saturating_mul(self.accumulate)]
    }

    /// The settings of Muon, and of AdamW within.
    pub fn muon(&self) -> MuonSettings {
        let weight_decay = self.weight_decay;
        let adam = AdamSettings { beta1: 0.9, beta2: 0.99, eps: 1e-8, weight_decay, decay_embeddings: true };
        let order = match self.momentum {
            Order::Nesterov => Momentum::Nesterov,
            Order::Plain => Momentum::Plain,
            Order::OfOrthogonal => Momentum::OfOrthogonal,
        };
        let (rate, unit_step) = (self.muon_rate, UnitStep::Free);
        MuonSettings { momentum: 0.95, order, iterations: 5, weight_decay, rate, unit_step, adam }
    }

    /// The optimizer that was chosen, with these settings.
    pub(crate) fn optimizer(
        &self,
        layout: &Layout,
        muon: MuonSettings,
        threads: &ThreadPool,
    ) -> Box<dyn Optimizer<f32>> {
        match self.optimizer {
            Method::Adamw => Box::new(Adam::new(layout, muon.adam).on(threads.clone())),
            Method::Muon => Box::new(Muon::new(layout, muon, threads.clone())),
        }
    }

    /// The options that are at fault if a training runs away, with what they are.
    pub(crate) fn rates(&self) -> String {
        format!("--learning-rate than {:?} or --muon-rate than {:?}", self.learning_rate, self.muon_rate)
    }
}
