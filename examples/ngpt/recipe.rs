//! The options on which results depend.

use clap::ValueEnum;
use gradus::model::{
    AlphaSign, DecoderConfig, InnerScale, LogitScale, OutputAxis, Residual, SoftmaxScale, SphereConfig,
};
use gradus::optim::UnitStep;
use serde::{Deserialize, Serialize};
use support::args::{MANY, at_least_1, positive, share, whole};
use support::{SizeArgs, TrainArgs};

/// What is compared. It is saved with the comparison.
#[derive(clap::Args, Clone, Debug, Serialize, Deserialize)]
#[command(next_help_heading = "Comparison")]
pub struct Recipe {
    /// A text to learn from: a file, the name of one in datasets/, or - for standard input. At most 4 GiB
    /// [default: tinyshakespeare.txt if it was fetched, else dialog.txt]
    #[arg(long, value_name = "FILE")]
    pub data: Option<String>,
    /// What to train
    #[arg(long, value_enum, value_delimiter = ',', default_value = "baseline,ngpt")]
    pub arms: Vec<Arch>,
    /// A learning rate for each of them, in place of --learning-rate
    #[arg(long, value_name = "R,R", value_delimiter = ',', value_parser = positive)]
    pub rates: Vec<f64>,
    /// Train variants of them
    #[arg(long, value_enum)]
    pub sweep: Option<Sweep>,
    /// Train everything with N seeds, from --seed on: at most 1000
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = whole(1..=1000))]
    pub seeds: usize,
    #[command(flatten)]
    #[serde(flatten)]
    pub sizes: SizeArgs,
    /// The inner width of the feed-forward networks [default: four times the width]
    #[arg(long, value_name = "N", value_parser = at_least_1)]
    pub ffn: Option<usize>,
    /// How likely an activation is dropped in training
    #[arg(long, value_name = "P", default_value_t = 0.0, value_parser = share)]
    pub dropout: f64,
    #[command(flatten)]
    #[serde(flatten)]
    pub sphere: SphereArgs,
    #[command(flatten)]
    #[serde(flatten)]
    pub train: TrainArgs,
}

/// A kind of model.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Arch {
    /// A pre-norm transformer: RMSNorm with gains, QK-norm, RoPE and SwiGLU
    Baseline,
    /// The normalized transformer
    Ngpt,
}

/// What is varied.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sweep {
    /// The first value of alpha, its sign, and how outputs join the hidden state
    Alpha,
    /// What cosines are multiplied by to be logits
    LogitScale,
    /// Queries and keys of length 1 or not, and the scale of attention's scores
    QkNorm,
    /// Each scaling of the paper taken away in turn
    Ablation,
    /// Learning rates, for each arm with each optimizer
    Rate,
    /// Learning rates at widths of 64, 128 and 256
    Width,
    /// What may help the normalized transformer in a short training
    Remedies,
    /// An experiment of 200 steps of 256 tokens
    Laptop,
}

/// What cosines are multiplied by, apart from the first value.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Logits {
    /// A learned factor for each token
    PerToken,
    /// A single learned factor
    Scalar,
    /// A constant
    Fixed,
}

/// A named value of an option that is an enum of the library: `value_parser = named(&["paper", "sum"])`.
macro_rules! named {
    ($($name:literal => $value:expr),+ $(,)?) => {
        clap::builder::TypedValueParser::map(
            clap::builder::PossibleValuesParser::new([$($name),+]),
            |name: String| match name.as_str() { $($name => $value,)+ _ => unreachable!("a possible value") },
        )
    };
}

/// The variants of the normalized transformer.
#[derive(clap::Args, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[command(next_help_heading = "nGPT")]
pub struct SphereArgs {
    /// How an output joins the hidden state: a step toward its direction, or a sum
    #[arg(long, default_value = "paper", value_parser = named!("paper" => Residual::Paper, "sum" => Residual::Sum))]
    pub residual: Residual,
    /// How far such a step goes at first, from 0 to 1; 0.05 in the paper, for long trainings
    #[arg(long, value_name = "X", default_value_t = 0.25, value_parser = positive)]
    pub alpha: f64,
    /// Use alpha with its sign instead of its absolute value
    #[arg(long)]
    pub signed_alpha: bool,
    /// Let alpha grow to X times its value over the first half of the steps, in addition to what it learns
    #[arg(long, value_name = "X", default_value_t = 1.0, value_parser = positive)]
    pub grow_alpha: f64,
    /// What cosines are multiplied by to be logits
    #[arg(long, value_enum, default_value_t = Logits::PerToken)]
    pub logit_scale: Logits,
    /// Its first value; 1 in the paper, for long trainings
    #[arg(long, value_name = "X", default_value_t = 10.0, value_parser = positive)]
    pub logit_start: f64,
    /// What the scores of attention are multiplied by: the root of the width of a head, or its inverse
    #[arg(long, default_value = "root", value_parser = named!("root" => SoftmaxScale::Root, "inverse-root" => SoftmaxScale::InverseRoot))]
    pub softmax_scale: SoftmaxScale,
    /// Leave queries and keys as long as they are
    #[arg(long)]
    pub no_qk_norm: bool,
    /// What the inputs of the feed-forward networks' activations are multiplied by: learned factors and the root of the
    /// width, the root alone, or nothing
    #[arg(long, default_value = "learned", value_parser = named!(
        "learned" => InnerScale::Learned, "root" => InnerScale::Root, "none" => InnerScale::None
    ))]
    pub inner_scale: InnerScale,
    /// Which vectors of the output matrices have length 1: those along the embedding, or, by mistake, along the last axis
    #[arg(long, default_value = "embedding", value_parser = named!("embedding" => OutputAxis::Embedding, "last" => OutputAxis::Last))]
    pub output_axis: OutputAxis,
    /// Bring the weights back to length 1 after every N steps, at most 1000000000; 0 is never
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = whole(0..=MANY))]
    pub constrain_every: usize,
    /// Let Muon turn vectors by angles whose mean is the learning rate
    #[arg(long)]
    pub tangent: bool,
}

impl SphereArgs {
    /// How Muon updates vectors of length 1.
    pub fn unit_step(&self) -> UnitStep {
        if self.tangent { UnitStep::Tangent } else { UnitStep::Free }
    }

    fn logits(&self) -> LogitScale {
        let start = self.logit_start;
        match self.logit_scale {
            Logits::PerToken => LogitScale::PerToken { start },
            Logits::Scalar => LogitScale::Scalar { start },
            Logits::Fixed => LogitScale::Fixed { value: start },
        }
    }
}

impl Recipe {
    /// A heading.
    pub fn title(&self) -> &'static str {
        match self.sweep {
            None => "The normalized transformer and the usual one",
            Some(Sweep::Alpha) => "How far a block moves the hidden state",
            Some(Sweep::LogitScale) => "From cosines to logits",
            Some(Sweep::QkNorm) => "Queries, keys and the scale of their scores",
            Some(Sweep::Ablation) => "Each scaling taken away in turn",
            Some(Sweep::Rate) => "Learning rates of each arm and optimizer",
            Some(Sweep::Width) => "Learning rates at three widths",
            Some(Sweep::Remedies) => "What may help in a short training",
            Some(Sweep::Laptop) => "The experiment on a laptop",
        }
    }

    /// The usual transformer of these sizes.
    pub fn decoder(&self, vocab_size: usize) -> DecoderConfig {
        let preset = self.sizes.of(DecoderConfig::dialog(vocab_size));
        DecoderConfig { n_ffn: self.ffn(), dropout: self.dropout, ..preset }
    }

    /// The normalized transformer of these sizes.
    pub fn sphere(&self, vocab_size: usize) -> SphereConfig {
        let SizeArgs { layers, embd, heads, context } = self.sizes;
        let SphereArgs { residual, alpha, softmax_scale, inner_scale, output_axis, .. } = self.sphere;
        SphereConfig {
            context,
            n_layer: layers,
            n_embd: embd,
            n_head: heads,
            n_ffn: self.ffn(),
            residual,
            alpha,
            alpha_sign: if self.sphere.signed_alpha { AlphaSign::Signed } else { AlphaSign::Absolute },
            qk_norm: !self.sphere.no_qk_norm,
            softmax_scale,
            inner_scale,
            logit_scale: self.sphere.logits(),
            output_axis,
            dropout: self.dropout,
            ..SphereConfig::paper(vocab_size)
        }
    }

    fn ffn(&self) -> usize {
        self.ffn.unwrap_or_else(|| self.sizes.embd.saturating_mul(4))
    }
}
