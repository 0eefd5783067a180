//! Small encoder-decoders, one for each way in which they can differ, and pairs for them.

use gradus::data::Batch;
use gradus::model::{
    Activation, AttentionBias, DecoderConfig, EmbeddingScale, EncoderDecoderConfig, NormKind, Placement,
    Position, SharedEmbeddings,
};

/// Sources and targets of several lengths, a source longer than its target and the other way round.
pub const PAIRS: [(&[usize], &[usize]); 4] = [
    (&[3, 1, 4, 1, 5], &[0, 2, 6, 5]),
    (&[2], &[0, 3, 5, 6, 4, 3]),
    (&[6, 5, 3, 5], &[0, 1]),
    (&[4, 4, 2], &[0, 5, 1, 2]),
];

pub fn batch() -> Batch {
    let mut batch = Batch::new();
    for (source, target) in PAIRS {
        batch.push_pair(source.iter().copied(), target.iter().copied());
    }
    batch
}

/// Seven tokens, 2 + 2 layers, 8 wide.
pub fn tiny() -> EncoderDecoderConfig {
    let classic = EncoderDecoderConfig::classic(7);
    let decoder = DecoderConfig {
        context: 8,
        n_layer: 2,
        n_embd: 8,
        n_head: 2,
        n_kv_head: 2,
        n_ffn: 12,
        init_std: 0.4,
        dropout: 0.0,
        ..classic.decoder
    };
    EncoderDecoderConfig { encoder_layers: 2, decoder, ..classic }
}

pub fn variants() -> Vec<(String, EncoderDecoderConfig)> {
    let mut all = vec![("classic".to_owned(), tiny())];
    let mut add = |name: &str, change: &dyn Fn(&mut EncoderDecoderConfig)| {
        let mut config = tiny();
        change(&mut config);
        all.push((name.to_owned(), config));
    };
    add("modern", &|config| {
        config.decoder = DecoderConfig {
            vocab_size: 7,
            context: 8,
            n_layer: 2,
            n_embd: 8,
            n_head: 2,
            n_kv_head: 1,
            n_ffn: 12,
            init_std: 0.4,
            dropout: 0.0,
            qk_norm: true,
            ..EncoderDecoderConfig::modern(7).decoder
        };
    });
    add("pre-norm", &|config| {
        config.decoder.placement = Placement::Pre;
        config.decoder.final_norm = true;
    });
    for position in [
        Position::None,
        Position::Learned,
        Position::rope(100.0),
        Position::Alibi,
        Position::Relative { buckets: 6, max_distance: 4 },
    ] {
        add(&format!("{position:?}"), &|config| config.decoder.position = position);
    }
    for shared in [SharedEmbeddings::None, SharedEmbeddings::Output] {
        add(&format!("embeddings shared: {shared:?}"), &|config| config.shared_embeddings = shared);
    }
    add("a bias of the logits, one layer and three, grouped queries", &|config| {
        config.head_bias = true;
        config.encoder_layers = 1;
        config.decoder.n_layer = 3;
        config.decoder.n_kv_head = 1;
    });
    add("RMSNorm without gains, embeddings normalised, GLU without biases", &|config| {
        config.decoder.norm = NormKind::Rms;
        config.decoder.norm_gain = false;
        config.decoder.embedding_norm = true;
        config.decoder.embedding_scale = EmbeddingScale::One;
        config.decoder.activation = Activation::Glu;
        config.decoder.ffn_bias = false;
        config.decoder.attention_bias = AttentionBias::None;
    });
    all
}
