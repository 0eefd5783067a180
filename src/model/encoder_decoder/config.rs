//! The sizes and variants of an encoder-decoder.

use serde::{Deserialize, Serialize};

use crate::model::{
    Activation, AttentionBias, ConfigError, DecoderConfig, EmbeddingScale, NormKind, Placement, Position,
    ResidualInit, TiedEmbeddings, WeightInit,
};
use crate::tensor::Mask;

/// Which of its three tables of tokens are one and the same: the source's, the target's, and the head's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SharedEmbeddings {
    /// None.
    None,
    /// The target's and the head's (Press & Wolf 2016).
    Output,
    /// All three (Vaswani et al. 2017, section 3.4): both languages have the same tokens.
    #[default]
    All,
}

/// Sizes and variants of an [`EncoderDecoder`](super::EncoderDecoder): those of its decoder, which the encoder shares, and what
/// only the two together have.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EncoderDecoderConfig {
    /// Blocks of the encoder.
    pub encoder_layers: usize,
    /// Which tables are shared.
    #[serde(default)]
    pub shared_embeddings: SharedEmbeddings,
    /// Whether the logits have a bias.
    #[serde(default)]
    pub head_bias: bool,
    /// The decoder. The encoder is like it, but each of its tokens sees all others. Its `tied_embeddings` say nothing here.
    pub decoder: DecoderConfig,
}

impl EncoderDecoderConfig {
    /// The first transformer in small (Vaswani et al. 2017): post-norm, LayerNorm, sines and cosines, ReLU, biases, one table for
    /// all; 3 + 3 layers, 256 wide, 4 heads. Sequences have at most 128 tokens.
    pub fn classic(vocab_size: usize) -> Self {
        let decoder = DecoderConfig {
            vocab_size,
            context: 128,
            n_layer: 3,
            n_embd: 256,
            n_head: 4,
            n_kv_head: 4,
            n_ffn: 1024,
            activation: Activation::Relu,
            ffn_bias: true,
            position: Position::Sinusoidal,
            mask: Mask::Causal,
            head_dim: None,
            attention_bias: AttentionBias::All,
            norm: NormKind::Layer,
            placement: Placement::Post,
            norm_eps: 1e-5,
            norm_gain: true,
            embedding_norm: false,
            final_norm: false,
            qk_norm: false,
            dropout: 0.1,
            init_std: 1.0 / 16.0,
            weight_init: WeightInit::XavierUniform,
            residual_init: ResidualInit::Plain,
            tied_embeddings: TiedEmbeddings::None,
            embedding_scale: EmbeddingScale::RootWidth,
        };
        EncoderDecoderConfig {
            encoder_layers: 3,
            shared_embeddings: SharedEmbeddings::All,
            head_bias: false,
            decoder,
        }
    }

    /// The same sizes as they would be chosen today: pre-norm, RMSNorm, RoPE, SwiGLU with an inner width of 704 (as many
    /// parameters), no biases.
    pub fn modern(vocab_size: usize) -> Self {
        let classic = Self::classic(vocab_size);
        let decoder = DecoderConfig {
            n_ffn: 704,
            activation: Activation::Swiglu,
            ffn_bias: false,
            position: Position::rope(10_000.0),
            attention_bias: AttentionBias::None,
            norm: NormKind::Rms,
            placement: Placement::Pre,
            norm_eps: 1e-6,
            final_norm: true,
            ..classic.decoder
        };
        EncoderDecoderConfig { decoder, ..classic }
    }

    /// The encoder, as parts see it.
    pub fn encoder(&self) -> DecoderConfig {
        DecoderConfig { n_layer: self.encoder_layers, mask: Mask::Full, ..self.decoder.clone() }
    }

    /// Checks that there can be such a model.
    ///
    /// # Errors
    /// Says which two numbers do not fit together, and what would.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.decoder.check()?;
        // What an encoder needs beyond that: all but the mask, which a decoder may not have.
        DecoderConfig { mask: Mask::Causal, ..self.encoder() }.check()?;
        self.decoder.position.check(&self.encoder())?;
        if self.decoder.tied_embeddings != TiedEmbeddings::None {
            let message =
                "an encoder-decoder's tables are shared as shared_embeddings says: take tied_embeddings none";
            return Err(ConfigError(message.to_owned()));
        }
        Ok(())
    }
}
