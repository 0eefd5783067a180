//! The sizes and variants of a decoder, and the presets.

use serde::{Deserialize, Serialize};

use super::{Activation, AttentionBias, Norm, NormKind, Placement, Position};
use crate::params::{Init, Layout};
use crate::tensor::Mask;

/// Which tables are one and the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TiedEmbeddings {
    /// None: the head has a matrix of its own.
    #[default]
    None,
    /// The head's matrix is the table of tokens (Press & Wolf 2016).
    Output,
}

/// What embeddings are multiplied by before positions are added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EmbeddingScale {
    /// Nothing.
    #[default]
    One,
    /// `√n_embd` (Vaswani et al. 2017, section 3.4): beside sines and cosines, whose size is about 1, or where the head shares
    /// the table, which wants it small.
    RootWidth,
}

/// How the weight matrices of layers are drawn. Embeddings and an untied head are drawn from `N(0, init_std²)` either way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WeightInit {
    /// From `N(0, init_std²)`, whatever their shape. GPT-2 has an `init_std` of 0.02.
    #[default]
    Normal,
    /// Evenly between `±√(6 / (inputs + outputs))` (Glorot & Bengio 2010, equation 16): the variance is kept about the same
    /// from layer to layer, forward and backward.
    XavierUniform,
}

/// How the two layers that write to the residual stream, of attention and of the feed-forward network, are drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResidualInit {
    /// Like all others.
    #[default]
    Plain,
    /// Smaller by `1/√(2·n_layer)` (Radford et al. 2019, section 2.3): the stream is a sum of `2·n_layer` outputs, and so
    /// begins at the same size however many blocks there are.
    Scaled,
}

/// Sizes and variants of a [`Decoder`](super::Decoder).
///
/// ```
/// use gradus::model::DecoderConfig;
/// let wider = DecoderConfig { n_embd: 32, ..DecoderConfig::microgpt(27) };
/// assert!(wider.check().is_ok());
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecoderConfig {
    /// How many different tokens there are.
    pub vocab_size: usize,
    /// The longest sequence.
    pub context: usize,
    /// Blocks, one after another.
    pub n_layer: usize,
    /// The width of the residual stream.
    pub n_embd: usize,
    /// Query heads.
    pub n_head: usize,
    /// Key and value heads.
    pub n_kv_head: usize,
    /// The inner width of the feed-forward network.
    pub n_ffn: usize,
    /// Its activation.
    pub activation: Activation,
    /// Whether its layers have biases.
    #[serde(default)]
    pub ffn_bias: bool,
    /// How it knows positions.
    pub position: Position,
    /// Which earlier tokens a token sees: [`Mask::Causal`] or [`Mask::Window`]. ([`Mask::Full`] is for encoders, which are made
    /// of the same parts; a decoder would see what it has to predict.)
    #[serde(default = "causal")]
    pub mask: Mask,
    /// The width of a head, if it is not `n_embd / n_head`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head_dim: Option<usize>,
    /// Which layers of attention have a bias.
    #[serde(default)]
    pub attention_bias: AttentionBias,
    /// Which normalisation, everywhere.
    #[serde(default)]
    pub norm: NormKind,
    /// Where a block normalises.
    #[serde(default)]
    pub placement: Placement,
    /// Added to the mean square or the variance before the root, in every normalisation.
    pub norm_eps: f64,
    /// Whether normalisations are learned: a gain, and LayerNorm also a bias.
    pub norm_gain: bool,
    /// Whether the embeddings are normalised before the first block.
    pub embedding_norm: bool,
    /// Whether the output of the last block is normalised before the head.
    pub final_norm: bool,
    /// Whether queries and keys are normalised, head by head, before they are rotated. (If nothing rotates them, LayerNorm's
    /// bias of the keys does nothing, as with [`AttentionBias`].)
    pub qk_norm: bool,
    /// The probability that an element is dropped after attention and after the feed-forward network, during training.
    pub dropout: f64,
    /// The standard deviation of fresh embeddings, and of fresh weight matrices if `weight_init` is normal.
    pub init_std: f64,
    /// How fresh weight matrices are drawn.
    #[serde(default)]
    pub weight_init: WeightInit,
    /// How those that write to the residual stream are drawn.
    #[serde(default)]
    pub residual_init: ResidualInit,
    /// Whether the head shares the table of tokens.
    #[serde(default)]
    pub tied_embeddings: TiedEmbeddings,
    /// What embeddings are multiplied by.
    #[serde(default)]
    pub embedding_scale: EmbeddingScale,
}

/// The mask of checkpoints that were written before there was a choice.
fn causal() -> Mask {
    Mask::Causal
}

/// More than any transformer has had.
const MOST_LAYERS: usize = 10_000;
const MOST_HEADS: usize = 10_000;

/// A configuration that does not describe a model. The message says which numbers do not fit, and what would.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub(crate) String);

impl DecoderConfig {
    /// Karpathy's microgpt: 1 layer, 16 wide, 4 heads, at most 16 tokens, no biases, no gains. It has 4,192 parameters
    /// with the 27 tokens of his names.
    pub fn microgpt(vocab_size: usize) -> Self {
        DecoderConfig {
            vocab_size,
            context: 16,
            n_layer: 1,
            n_embd: 16,
            n_head: 4,
            n_kv_head: 4,
            n_ffn: 64,
            activation: Activation::Relu,
            ffn_bias: false,
            position: Position::Learned,
            mask: Mask::Causal,
            head_dim: None,
            attention_bias: AttentionBias::None,
            norm: NormKind::Rms,
            placement: Placement::Pre,
            norm_eps: 1e-5,
            norm_gain: false,
            embedding_norm: true,
            final_norm: false,
            qk_norm: false,
            dropout: 0.0,
            init_std: 0.08,
            weight_init: WeightInit::Normal,
            residual_init: ResidualInit::Plain,
            tied_embeddings: TiedEmbeddings::None,
            embedding_scale: EmbeddingScale::One,
        }
    }

    /// The dialog model, after nn.zig: 3 layers, 128 wide, a single head, 64 characters of context; RoPE, QK-norm, SwiGLU
    /// with an inner width of 512, dropout of 0.1, RMSNorm with gains, no biases.
    pub fn dialog(vocab_size: usize) -> Self {
        DecoderConfig {
            vocab_size,
            context: 64,
            n_layer: 3,
            n_embd: 128,
            n_head: 1,
            n_kv_head: 1,
            n_ffn: 512,
            activation: Activation::Swiglu,
            ffn_bias: false,
            position: Position::rope(10_000.0),
            mask: Mask::Causal,
            head_dim: None,
            attention_bias: AttentionBias::None,
            norm: NormKind::Rms,
            placement: Placement::Pre,
            norm_eps: 1e-6,
            norm_gain: true,
            embedding_norm: false,
            final_norm: true,
            qk_norm: true,
            dropout: 0.1,
            init_std: 0.05,
            weight_init: WeightInit::Normal,
            residual_init: ResidualInit::Plain,
            tied_embeddings: TiedEmbeddings::None,
            embedding_scale: EmbeddingScale::One,
        }
    }

    /// A small Llama (Touvron et al. 2023): 8 layers, 512 wide, 8 query heads and 4 of keys and values, 4,096 tokens of
    /// context; RoPE, SwiGLU with an inner width of 1,536, RMSNorm with gains, no biases, one table for tokens and head. It
    /// has 41.6 million parameters with 32,000 tokens.
    pub fn llama(vocab_size: usize) -> Self {
        DecoderConfig {
            vocab_size,
            context: 4096,
            n_layer: 8,
            n_embd: 512,
            n_head: 8,
            n_kv_head: 4,
            n_ffn: 1536,
            activation: Activation::Swiglu,
            ffn_bias: false,
            position: Position::rope(10_000.0),
            mask: Mask::Causal,
            head_dim: None,
            attention_bias: AttentionBias::None,
            norm: NormKind::Rms,
            placement: Placement::Pre,
            norm_eps: 1e-6,
            norm_gain: true,
            embedding_norm: false,
            final_norm: true,
            qk_norm: false,
            dropout: 0.0,
            init_std: 0.02,
            weight_init: WeightInit::Normal,
            residual_init: ResidualInit::Plain,
            tied_embeddings: TiedEmbeddings::Output,
            embedding_scale: EmbeddingScale::One,
        }
    }

    /// The width of one head.
    pub fn head_dim(&self) -> usize {
        self.head_dim.unwrap_or(self.n_embd / self.n_head)
    }

    /// Checks that there can be such a model.
    ///
    /// # Errors
    /// Says which two numbers do not fit together, and what would.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.check_sizes()?;
        self.check_heads()?;
        self.position.check(self)?;
        let err = |message: String| Err(ConfigError(message));
        for (name, x) in [("norm_eps", self.norm_eps), ("init_std", self.init_std)] {
            if !(x >= 0.0 && x.is_finite()) {
                return err(format!("{name} is {x}, but it has to be a number of at least 0"));
            }
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return err(format!("a dropout of {} is no probability below 1", self.dropout));
        }
        match self.mask {
            Mask::Causal => Ok(()),
            Mask::Window(0) => err("a window of 0 sees nothing: 1 is a token by itself".to_owned()),
            Mask::Window(_) => Ok(()),
            Mask::Full => {
                err("with a full mask a decoder sees the tokens that it has to predict: take causal"
                    .to_owned())
            }
        }
    }

    fn check_sizes(&self) -> Result<(), ConfigError> {
        let err = |message: String| Err(ConfigError(message));
        let sizes = [
            ("vocab_size", self.vocab_size),
            ("context", self.context),
            ("n_layer", self.n_layer),
            ("n_embd", self.n_embd),
            ("n_head", self.n_head),
            ("n_kv_head", self.n_kv_head),
            ("n_ffn", self.n_ffn),
            ("head_dim", self.head_dim.unwrap_or(1)),
        ];
        for (name, size) in sizes {
            if size == 0 {
                return err(format!("{name} is 0, but a model needs at least one"));
            }
        }
        if self.parameters().is_none_or(|count| count > u32::MAX as usize) {
            return err(
                "a model of this size has more parameters than the 2³² that one buffer holds".to_owned()
            );
        }
        if self.n_layer > MOST_LAYERS {
            return err(format!(
                "{} layers are more than the {MOST_LAYERS} that a model may have",
                self.n_layer
            ));
        }
        Ok(())
    }

    fn check_heads(&self) -> Result<(), ConfigError> {
        let err = |message: String| Err(ConfigError(message));
        if self.head_dim.is_none() && !self.n_embd.is_multiple_of(self.n_head) {
            // Not all of them: the width may come from a damaged file.
            let most = self.n_embd.min(MOST_HEADS);
            let fits = (1..=most).filter(|n| self.n_embd.is_multiple_of(*n)).take(40);
            let fits: Vec<String> = fits.map(|n| n.to_string()).collect();
            return err(format!(
                "{} heads do not divide a width of {}: choose one of {}",
                self.n_head,
                self.n_embd,
                fits.join(", ")
            ));
        }
        if self.n_head > MOST_HEADS {
            return err(format!(
                "{} heads are more than the {MOST_HEADS} that a model may have",
                self.n_head
            ));
        }
        if !self.n_head.is_multiple_of(self.n_kv_head) {
            return err(format!("{} key heads do not divide {} query heads", self.n_kv_head, self.n_head));
        }
        Ok(())
    }

    /// At least as many parameters as the matrices have together, or `None` if that overflows.
    fn parameters(&self) -> Option<usize> {
        let sides = self.vocab_size.checked_mul(2)?.checked_add(self.context)?.checked_mul(self.n_embd)?;
        let buckets = match self.position {
            Position::Relative { buckets, .. } => buckets.checked_mul(self.n_head)?,
            _ => 0,
        };
        let attention = self.n_embd.checked_mul(self.n_head.checked_mul(self.head_dim())?)?.checked_mul(4)?;
        let ffn = self.n_embd.checked_mul(self.n_ffn)?.checked_mul(3)?;
        let blocks = attention.checked_add(ffn)?.checked_mul(self.n_layer)?;
        blocks.checked_add(sides)?.checked_add(buckets)
    }

    /// A normalisation of this model.
    pub(super) fn norm(&self, layout: &mut Layout, name: &str, width: usize) -> Norm {
        if self.norm_gain {
            Norm::learned(self.norm, layout, name, width, self.norm_eps)
        } else {
            Norm::plain(self.norm, self.norm_eps)
        }
    }

    /// How the weights of a layer are drawn.
    pub(super) fn matrix_init(&self, inputs: usize, outputs: usize) -> Init {
        match self.weight_init {
            WeightInit::Normal => Init::Normal(self.init_std),
            WeightInit::XavierUniform => Init::Uniform((6.0 / (inputs + outputs) as f64).sqrt()),
        }
    }

    /// The same for a layer that writes to the residual stream.
    pub(super) fn output_init(&self, inputs: usize, outputs: usize) -> Init {
        let factor = match self.residual_init {
            ResidualInit::Plain => return self.matrix_init(inputs, outputs),
            ResidualInit::Scaled => (2.0 * self.n_layer as f64).sqrt().recip(),
        };
        match self.matrix_init(inputs, outputs) {
            Init::Normal(std) => Init::Normal(std * factor),
            Init::Uniform(bound) => Init::Uniform(bound * factor),
            Init::Constant(x) => Init::Constant(x * factor),
        }
    }
}
