//! The sizes and variants of a decoder, and the presets.

use serde::{Deserialize, Serialize};

/// How a decoder knows the position of a token in its sequence.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Position {
    /// A learned vector for each position, added to the token's (GPT).
    Learned,
    /// Queries and keys are rotated by an angle that grows with the position (RoPE).
    Rope {
        /// The slowest pair of columns rotates about this many times slower than the fastest; usually 10,000.
        base: f64,
    },
}

/// What the feed-forward network computes between its layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `down · relu(up · x)`.
    Relu,
    /// `down · (silu(gate · x) * (up · x))`.
    Swiglu,
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
    /// How it knows positions.
    pub position: Position,
    /// Added to the mean square before the root, in every normalisation.
    pub norm_eps: f64,
    /// Whether normalisations have a learned gain.
    pub norm_gain: bool,
    /// Whether the embeddings are normalised before the first block.
    pub embedding_norm: bool,
    /// Whether the output of the last block is normalised before the head.
    pub final_norm: bool,
    /// Whether queries and keys are normalised, head by head, before they are rotated.
    pub qk_norm: bool,
    /// The probability that an element is dropped after attention and after the feed-forward network, during training.
    pub dropout: f64,
    /// The standard deviation of fresh weight matrices and embeddings.
    pub init_std: f64,
}

/// More than any transformer has had.
const MOST_LAYERS: usize = 10_000;

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
            position: Position::Learned,
            norm_eps: 1e-5,
            norm_gain: false,
            embedding_norm: true,
            final_norm: false,
            qk_norm: false,
            dropout: 0.0,
            init_std: 0.08,
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
            position: Position::Rope { base: 10_000.0 },
            norm_eps: 1e-6,
            norm_gain: true,
            embedding_norm: false,
            final_norm: true,
            qk_norm: true,
            dropout: 0.1,
            init_std: 0.05,
        }
    }

    /// The width of one head.
    pub fn head_dim(&self) -> usize {
        self.n_embd / self.n_head
    }

    /// Checks that there can be such a model.
    ///
    /// # Errors
    /// Says which two numbers do not fit together, and what would.
    pub fn check(&self) -> Result<(), ConfigError> {
        let err = |message: String| Err(ConfigError(message));
        let sizes = [
            ("vocab_size", self.vocab_size),
            ("context", self.context),
            ("n_layer", self.n_layer),
            ("n_embd", self.n_embd),
            ("n_head", self.n_head),
            ("n_kv_head", self.n_kv_head),
            ("n_ffn", self.n_ffn),
        ];
        for (name, size) in sizes {
            if size == 0 {
                return err(format!("{name} is 0, but a model needs at least one"));
            }
        }
        let numbers = [("norm_eps", self.norm_eps, 0.0), ("init_std", self.init_std, 0.0)];
        let base = match self.position {
            Position::Rope { base } => base,
            Position::Learned => 1.0,
        };
        for (name, x, least) in numbers.into_iter().chain([("the base of the rotary positions", base, 1.0)]) {
            if !(x >= least && x.is_finite()) {
                return err(format!("{name} is {x}, but it has to be a number of at least {least}"));
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
        if !self.n_embd.is_multiple_of(self.n_head) {
            let fits: Vec<String> =
                (1..=self.n_embd).filter(|n| self.n_embd.is_multiple_of(*n)).map(|n| n.to_string()).collect();
            return err(format!(
                "{} heads do not divide a width of {}: choose one of {}",
                self.n_head,
                self.n_embd,
                fits.join(", ")
            ));
        }
        if !self.n_head.is_multiple_of(self.n_kv_head) {
            return err(format!("{} key heads do not divide {} query heads", self.n_kv_head, self.n_head));
        }
        if matches!(self.position, Position::Rope { .. }) && !self.head_dim().is_multiple_of(2) {
            return err(format!("rotary positions need heads of even width, not {}", self.head_dim()));
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return err(format!("a dropout of {} is no probability below 1", self.dropout));
        }
        Ok(())
    }

    /// At least as many parameters as the matrices have together, or `None` if that overflows.
    fn parameters(&self) -> Option<usize> {
        let sides = self.vocab_size.checked_mul(2)?.checked_add(self.context)?.checked_mul(self.n_embd)?;
        let attention = self.n_embd.checked_mul(self.n_embd)?.checked_mul(4)?;
        let ffn = self.n_embd.checked_mul(self.n_ffn)?.checked_mul(3)?;
        attention.checked_add(ffn)?.checked_mul(self.n_layer)?.checked_add(sides)
    }
}
