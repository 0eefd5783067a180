//! The decoders that tests of models go through: the presets, and each variant of a configuration.

use gradus::data::Batch;
use gradus::model::{Activation, DecoderConfig, Position};

/// Every preset (a large one made small), every variant on its own, and all of them at once.
pub fn variants() -> Vec<(&'static str, DecoderConfig)> {
    let microgpt = DecoderConfig::microgpt(27);
    let dialog = DecoderConfig { context: 8, n_embd: 16, n_ffn: 24, ..DecoderConfig::dialog(11) };
    let small = DecoderConfig { context: 8, n_embd: 8, n_head: 4, n_ffn: 12, ..DecoderConfig::microgpt(11) };
    let rope = Position::Rope { base: 100.0 };
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
    vec![
        ("microgpt", microgpt),
        ("dialog", dialog),
        ("small", small.clone()),
        ("swiglu", DecoderConfig { activation: Activation::Swiglu, ..small.clone() }),
        ("rope", DecoderConfig { position: rope, ..small.clone() }),
        ("norm_gain", DecoderConfig { norm_gain: true, ..small.clone() }),
        ("no embedding_norm", DecoderConfig { embedding_norm: false, ..small.clone() }),
        ("final_norm", DecoderConfig { final_norm: true, ..small.clone() }),
        ("qk_norm", DecoderConfig { qk_norm: true, ..small.clone() }),
        ("qk_norm with gain", DecoderConfig { qk_norm: true, norm_gain: true, ..small.clone() }),
        ("grouped heads", DecoderConfig { n_kv_head: 2, ..small.clone() }),
        ("one key head", DecoderConfig { n_kv_head: 1, ..small.clone() }),
        ("one head", DecoderConfig { n_head: 1, n_kv_head: 1, ..small.clone() }),
        ("three layers", DecoderConfig { n_layer: 3, ..small.clone() }),
        ("dropout", DecoderConfig { dropout: 0.1, ..small }),
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
