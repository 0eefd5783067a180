//! The decoders that tests of models go through: the presets, and each variant of a configuration.

use gradus::data::Batch;
use gradus::model::{
    Activation, AttentionBias, DecoderConfig, EmbeddingScale, NormKind, Placement, Position, ResidualInit,
    TiedEmbeddings, WeightInit,
};
use gradus::tensor::{Mask, RopeScaling};

/// Every preset (a large one made small), every variant on its own, and all of them at once.
pub fn variants() -> Vec<(&'static str, DecoderConfig)> {
    let microgpt = DecoderConfig::microgpt(27);
    let dialog = DecoderConfig { context: 8, n_embd: 16, n_ffn: 24, ..DecoderConfig::dialog(11) };
    let small = DecoderConfig { context: 8, n_embd: 8, n_head: 4, n_ffn: 12, ..DecoderConfig::microgpt(11) };
    let rope = Position::rope(100.0);
    let llama3 = RopeScaling::Llama3 {
        factor: 8.0,
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_context: 32,
    };
    let llama = DecoderConfig {
        context: 8,
        n_embd: 16,
        n_head: 4,
        n_kv_head: 2,
        n_ffn: 24,
        n_layer: 2,
        ..DecoderConfig::llama(11)
    };
    let everything = DecoderConfig {
        n_layer: 2,
        n_kv_head: 2,
        activation: Activation::Swiglu,
        position: rope,
        norm_gain: true,
        embedding_norm: true,
        final_norm: true,
        qk_norm: true,
        dropout: 0.1,
        ..small.clone()
    };
    let layer_norm = DecoderConfig { norm: NormKind::Layer, norm_gain: true, ..small.clone() };
    let two_heads = DecoderConfig { n_head: 2, n_kv_head: 2, ..small.clone() };
    // As in the first transformer, but for its encoder; GPT-2; and T5's decoder, as far as there are the parts. (With sines
    // and cosines much larger than fresh embeddings, some of so few ReLUs would be off for every token, hence GELU.)
    let classic = DecoderConfig {
        n_layer: 2,
        activation: Activation::Gelu,
        position: Position::Sinusoidal,
        norm: NormKind::Layer,
        norm_gain: true,
        placement: Placement::Post,
        embedding_norm: false,
        attention_bias: AttentionBias::Qvo,
        ffn_bias: true,
        weight_init: WeightInit::XavierUniform,
        tied_embeddings: TiedEmbeddings::Output,
        embedding_scale: EmbeddingScale::RootWidth,
        ..two_heads.clone()
    };
    let gpt2 = DecoderConfig {
        position: Position::Learned,
        placement: Placement::Pre,
        final_norm: true,
        activation: Activation::GeluTanh,
        weight_init: WeightInit::Normal,
        residual_init: ResidualInit::Scaled,
        embedding_scale: EmbeddingScale::One,
        ..classic.clone()
    };
    let relative = Position::Relative { buckets: 4, max_distance: 5 };
    let t5 = DecoderConfig {
        n_layer: 2,
        head_dim: Some(6),
        position: relative,
        activation: Activation::Geglu,
        norm_gain: true,
        final_norm: true,
        ..two_heads.clone()
    };
    vec![
        ("microgpt", microgpt),
        ("dialog", dialog),
        ("llama", llama),
        ("small", small.clone()),
        ("swiglu", DecoderConfig { activation: Activation::Swiglu, ..small.clone() }),
        ("rope", DecoderConfig { position: rope, ..small.clone() }),
        (
            "rope, scaled as in Llama 3",
            DecoderConfig { position: Position::Rope { base: 100.0, scaling: llama3 }, ..small.clone() },
        ),
        ("norm_gain", DecoderConfig { norm_gain: true, ..small.clone() }),
        ("no embedding_norm", DecoderConfig { embedding_norm: false, ..small.clone() }),
        ("final_norm", DecoderConfig { final_norm: true, ..small.clone() }),
        ("qk_norm", DecoderConfig { qk_norm: true, ..small.clone() }),
        ("qk_norm with gain", DecoderConfig { qk_norm: true, norm_gain: true, ..small.clone() }),
        ("grouped heads", DecoderConfig { n_kv_head: 2, ..small.clone() }),
        ("one key head", DecoderConfig { n_kv_head: 1, ..small.clone() }),
        ("one head", DecoderConfig { n_head: 1, n_kv_head: 1, ..small.clone() }),
        ("three layers", DecoderConfig { n_layer: 3, ..small.clone() }),
        ("no positions", DecoderConfig { position: Position::None, ..small.clone() }),
        (
            "sinusoidal",
            DecoderConfig { position: Position::Sinusoidal, activation: Activation::Gelu, ..small.clone() },
        ),
        ("alibi", DecoderConfig { position: Position::Alibi, ..small.clone() }),
        ("relative", DecoderConfig { position: relative, ..small.clone() }),
        ("gelu", DecoderConfig { activation: Activation::Gelu, ..small.clone() }),
        ("gelu_tanh", DecoderConfig { activation: Activation::GeluTanh, ffn_bias: true, ..small.clone() }),
        ("glu", DecoderConfig { activation: Activation::Glu, ffn_bias: true, ..small.clone() }),
        ("geglu", DecoderConfig { activation: Activation::Geglu, ..small.clone() }),
        ("layer norm", layer_norm.clone()),
        ("layer norm, not learned", DecoderConfig { norm_gain: false, ..layer_norm.clone() }),
        (
            // Rotated, as without that a bias of keys has no gradient (`tests/parts.rs`).
            "layer norm of queries and keys, rotated",
            DecoderConfig { qk_norm: true, n_head: 2, n_kv_head: 2, position: rope, ..layer_norm },
        ),
        ("post-norm", DecoderConfig { placement: Placement::Post, norm_gain: true, ..small.clone() }),
        (
            "biases, rotated",
            DecoderConfig { attention_bias: AttentionBias::All, position: rope, ..small.clone() },
        ),
        (
            "biases of what reads, rotated",
            DecoderConfig { attention_bias: AttentionBias::Qkv, position: rope, ..small.clone() },
        ),
        ("wide heads", DecoderConfig { head_dim: Some(3), n_kv_head: 2, ..small.clone() }),
        ("window", DecoderConfig { mask: Mask::Window(3), ..small.clone() }),
        (
            "window with alibi",
            DecoderConfig { mask: Mask::Window(3), position: Position::Alibi, ..small.clone() },
        ),
        ("tied", DecoderConfig { tied_embeddings: TiedEmbeddings::Output, ..small.clone() }),
        ("xavier", DecoderConfig { weight_init: WeightInit::XavierUniform, ..small.clone() }),
        ("dropout", DecoderConfig { dropout: 0.1, ..small }),
        ("classic", classic),
        ("gpt2", gpt2),
        ("t5", t5),
        ("everything", everything),
    ]
}

/// Sequences of unequal lengths and loss weights, with every token and every position among them.
pub fn batch(config: &DecoderConfig) -> Batch {
    let mut batch = Batch::new();
    let (vocab, block) = (config.vocab_size, config.context);
    for row in 0..8 {
        let length = if row == 3 { 2 } else { block + 1 };
        batch.push((0..length).map(|at| (row * block + at * (row % 3 + 1)) % vocab));
    }
    batch.loss_weights_mut().iter_mut().enumerate().for_each(|(at, w)| *w = 0.5 + (at % 3) as f64);
    batch
}
