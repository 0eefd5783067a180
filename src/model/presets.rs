//! The sizes of a decoder that have a name: GPT-2's architecture (Radford et al. 2019), from one that any machine trains to one
//! that shows why others were built, and a small Llama.

use super::{
    Activation, AttentionBias, DecoderConfig, EmbeddingScale, NormKind, Placement, Position, ResidualInit,
    TiedEmbeddings, WeightInit,
};
use crate::tensor::Mask;

/// How many tokens GPT-2 knows: 256 bytes, 50,000 merges, and one that ends a text.
const GPT2_VOCAB: usize = 50_257;

/// A decoder as GPT-2 has it, in one of three sizes, or a Llama ([`DecoderConfig::llama`]). GPT-2 has learned positions and a
/// context of 1,024; LayerNorm before each part and at the end; GELU by tanh; biases everywhere but in the head, which shares
/// the table of tokens; matrices drawn from `N(0, 0.02²)`, those that write to the residual stream smaller.
///
/// Nothing is dropped: a model that hardly ever sees a text twice has no use for it. The biases of the keys
/// are there because GPT-2 has them, but they do nothing ([`AttentionBias`]).
///
/// ```
/// use gradus::model::{Decoder, Model, Preset};
/// let model = Decoder::new(Preset::Small.config(Preset::Small.vocab_size()))?;
/// assert_eq!(model.layout().len(), 124_439_808);
/// # Ok::<(), gradus::model::ConfigError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// 4 layers, 256 wide, 4 heads: 10.0 million parameters with 25,600 tokens. (With GPT-2's 50,257 they would be 16.3 million,
    /// of which 12.9 would be the table of tokens.)
    Tiny,
    /// A Llama: 8 layers, 512 wide, 8 heads, 41.6 million parameters with 32,000 tokens.
    Llama,
    /// GPT-2's smallest: 12 layers, 768 wide, 12 heads, 124.4 million parameters.
    Small,
    /// GPT-2's second: 24 layers, 1,024 wide, 16 heads, 354.8 million parameters.
    Medium,
}

impl Preset {
    /// All of them, from the smallest to the largest.
    pub const ALL: [Preset; 4] = [Preset::Tiny, Preset::Llama, Preset::Small, Preset::Medium];

    /// How many tokens it has, if nothing else is asked for.
    pub fn vocab_size(self) -> usize {
        match self {
            Preset::Tiny => 25_600,
            Preset::Llama => 32_000,
            Preset::Small | Preset::Medium => GPT2_VOCAB,
        }
    }

    /// The configuration for a vocabulary of this size.
    pub fn config(self, vocab_size: usize) -> DecoderConfig {
        let (n_layer, n_embd, n_head) = match self {
            Preset::Tiny => (4, 256, 4),
            Preset::Llama => return DecoderConfig::llama(vocab_size),
            Preset::Small => (12, 768, 12),
            Preset::Medium => (24, 1024, 16),
        };
        DecoderConfig {
            vocab_size,
            context: 1024,
            n_layer,
            n_embd,
            n_head,
            n_kv_head: n_head,
            n_ffn: 4 * n_embd,
            activation: Activation::GeluTanh,
            ffn_bias: true,
            position: Position::Learned,
            mask: Mask::Causal,
            head_dim: None,
            attention_bias: AttentionBias::All,
            norm: NormKind::Layer,
            placement: Placement::Pre,
            norm_eps: 1e-5,
            norm_gain: true,
            embedding_norm: false,
            final_norm: true,
            qk_norm: false,
            dropout: 0.0,
            init_std: 0.02,
            weight_init: WeightInit::Normal,
            residual_init: ResidualInit::Scaled,
            tied_embeddings: TiedEmbeddings::Output,
            embedding_scale: EmbeddingScale::One,
        }
    }
}
