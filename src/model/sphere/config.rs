//! The sizes and variants of the normalized transformer.

use serde::{Deserialize, Serialize};

use crate::model::{
    Activation, AttentionBias, ConfigError, DecoderConfig, EmbeddingScale, NormKind, Placement, Position,
    ResidualInit, TiedEmbeddings, WeightInit,
};
use crate::params::UnitNorm;
use crate::tensor::Mask;

/// How the output of attention or of the feed-forward network joins the hidden state `h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Residual {
    /// A step toward its direction: `unit(h + α·(unit(out) - h))`, as in the paper.
    Paper,
    /// A plain sum, brought back to the sphere: `unit(h + α·out)`.
    Sum,
}

/// What is made of the stored numbers of `α`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlphaSign {
    /// Their absolute values, as in the authors' code: a block can only be followed.
    Absolute,
    /// As they are: a block can also be turned away from.
    Signed,
}

/// What the scores of attention are multiplied by, given the width `d` of a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SoftmaxScale {
    /// `√d`, as in the paper: products of unit vectors have a variance of `1/d`.
    Root,
    /// `1/√d`, as in other transformers.
    InverseRoot,
}

/// What the two inputs of the activation are multiplied by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InnerScale {
    /// `s·√d`, with factors `s` learned for each of them, as in the paper; `d` is the width of the hidden state.
    Learned,
    /// `√d` alone.
    Root,
    /// Nothing.
    None,
}

/// What turns the cosines between the hidden state and the rows of the head into logits.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogitScale {
    /// A learned factor for each token, as in the paper.
    PerToken {
        /// Its first value.
        start: f64,
    },
    /// A single learned factor.
    Scalar {
        /// Its first value.
        start: f64,
    },
    /// A constant.
    Fixed {
        /// Its value.
        value: f64,
    },
}

/// Which vectors of the two output matrices (attention's and the feed-forward network's) have length 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutputAxis {
    /// Those that point into the hidden state, which are columns, as in the paper.
    Embedding,
    /// Rows, the last axis, as those of all other matrices. A mistake that is easily made, to be compared with.
    Last,
}

/// Sizes and variants of a [`Sphere`](super::Sphere).
///
/// ```
/// use gradus::model::{Residual, SphereConfig};
/// let sum = SphereConfig { residual: Residual::Sum, alpha: 1.0 / 4.0, ..SphereConfig::paper(65) };
/// assert!(sum.check().is_ok());
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SphereConfig {
    /// How many different tokens there are.
    pub vocab_size: usize,
    /// The longest sequence.
    pub context: usize,
    /// Blocks, one after another.
    pub n_layer: usize,
    /// The width of the hidden state.
    pub n_embd: usize,
    /// Heads.
    pub n_head: usize,
    /// The inner width of the feed-forward network.
    pub n_ffn: usize,
    /// The base of the rotary positions; usually 10,000.
    pub rope_base: f64,
    /// How the outputs of a block join the hidden state.
    pub residual: Residual,
    /// How far toward them a step goes at first, from 0 (nowhere) to 1 (all the way). 0.05 in the paper.
    pub alpha: f64,
    /// What is made of the stored numbers of `α`.
    pub alpha_sign: AlphaSign,
    /// Whether queries and keys are brought to length 1, head by head, before they are multiplied by their factors.
    pub qk_norm: bool,
    /// What scores are multiplied by.
    pub softmax_scale: SoftmaxScale,
    /// What the inputs of the activation are multiplied by.
    pub inner_scale: InnerScale,
    /// What cosines are multiplied by to be logits.
    pub logit_scale: LogitScale,
    /// Which vectors of the output matrices have length 1.
    pub output_axis: OutputAxis,
    /// The probability that an element of an output is dropped, during training. 0 in the paper, whose models see no
    /// text twice.
    pub dropout: f64,
}

impl SphereConfig {
    /// The model of the paper in a small size: 4 layers, 128 wide, 4 heads, 128 tokens of context, an inner width of
    /// 512.
    pub fn paper(vocab_size: usize) -> Self {
        SphereConfig {
            vocab_size,
            context: 128,
            n_layer: 4,
            n_embd: 128,
            n_head: 4,
            n_ffn: 512,
            rope_base: 10_000.0,
            residual: Residual::Paper,
            alpha: 0.05,
            alpha_sign: AlphaSign::Absolute,
            qk_norm: true,
            softmax_scale: SoftmaxScale::Root,
            inner_scale: InnerScale::Learned,
            logit_scale: LogitScale::PerToken { start: 1.0 },
            output_axis: OutputAxis::Embedding,
            dropout: 0.0,
        }
    }

    /// `1/√n_embd`: the typical size of a number in a vector of length 1, and the size at which most factors are
    /// stored.
    pub fn base_scale(&self) -> f64 {
        (self.n_embd as f64).sqrt().recip()
    }

    /// Checks that there can be such a model.
    ///
    /// # Errors
    /// Says which number does not fit, and what would.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.parts().check()?;
        let logits = match self.logit_scale {
            LogitScale::PerToken { start } | LogitScale::Scalar { start } => start,
            LogitScale::Fixed { value } => value,
        };
        for (name, x) in [("alpha", self.alpha), ("the scale of the logits", logits)] {
            if !(x > 0.0 && x.is_finite()) {
                return Err(ConfigError(format!("{name} is {x}, but it has to be a number above 0")));
            }
        }
        Ok(())
    }

    /// The parts that a decoder has as well, as its configuration describes them.
    pub(super) fn parts(&self) -> DecoderConfig {
        DecoderConfig {
            vocab_size: self.vocab_size,
            context: self.context,
            n_layer: self.n_layer,
            n_embd: self.n_embd,
            n_head: self.n_head,
            n_kv_head: self.n_head,
            n_ffn: self.n_ffn,
            activation: Activation::Swiglu,
            ffn_bias: false,
            position: Position::rope(self.rope_base),
            mask: Mask::Causal,
            head_dim: None,
            attention_bias: AttentionBias::None,
            norm: NormKind::Rms,
            placement: Placement::Pre,
            norm_eps: 0.0,
            norm_gain: false,
            embedding_norm: false,
            final_norm: false,
            qk_norm: false,
            dropout: self.dropout,
            init_std: self.base_scale(),
            weight_init: WeightInit::Normal,
            residual_init: ResidualInit::Plain,
            tied_embeddings: TiedEmbeddings::None,
            embedding_scale: EmbeddingScale::One,
        }
    }

    /// The width of one head.
    pub fn head_dim(&self) -> usize {
        self.n_embd / self.n_head
    }

    /// What holds for the output matrices.
    pub(super) fn output_norm(&self) -> UnitNorm {
        match self.output_axis {
            OutputAxis::Embedding => UnitNorm::Cols,
            OutputAxis::Last => UnitNorm::Rows,
        }
    }
}
