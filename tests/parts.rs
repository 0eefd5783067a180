//! The parts of a decoder fit together, whichever are chosen: every combination, in the smallest size, learns on the fast
//! engine and reads on with a cache as it reads at once. And what holds for single parts.

use gradus::Engine;
use gradus::data::Batch;
use gradus::engine::Session;
use gradus::fast::FastEngine;
use gradus::model::{
    Activation, AttentionBias, Decoder, DecoderConfig, EmbeddingScale, EncoderDecoder, EncoderDecoderConfig,
    Mode, Model, NormKind, Placement, Position, ResidualInit, SharedEmbeddings, TiedEmbeddings, WeightInit,
};
use gradus::params::{Init, ParamKind};
use gradus::random::Random;
use gradus::scalar::ScalarEngine;
use gradus::tensor::Mask;
use gradus::thread_pool::ThreadPool;
use gradus::train::{Settings, Trainer};

const POSITIONS: [Position; 6] = [
    Position::None,
    Position::Sinusoidal,
    Position::Learned,
    Position::rope(100.0),
    Position::Alibi,
    Position::Relative { buckets: 4, max_distance: 3 }, // the distances 0 to 3, as far as the window
];
const NORMS: [(NormKind, bool); 4] =
    [(NormKind::Rms, false), (NormKind::Rms, true), (NormKind::Layer, false), (NormKind::Layer, true)];
const PLACEMENTS: [Placement; 2] = [Placement::Pre, Placement::Post];
const ACTIVATIONS: [Activation; 6] = [
    Activation::Relu,
    Activation::Gelu,
    Activation::GeluTanh,
    Activation::Glu,
    Activation::Geglu,
    Activation::Swiglu,
];
const MASKS: [Mask; 2] = [Mask::Causal, Mask::Window(4)];
const KV_HEADS: [usize; 2] = [2, 1];
const BIASES: [AttentionBias; 2] = [AttentionBias::None, AttentionBias::Qvo];
const TIED: [TiedEmbeddings; 2] = [TiedEmbeddings::None, TiedEmbeddings::Output];

/// A tiny decoder. What it does not say is varied by [`product`].
fn tiny() -> DecoderConfig {
    DecoderConfig {
        context: 6,
        n_layer: 2,
        n_embd: 4,
        n_head: 2,
        n_kv_head: 2,
        n_ffn: 5,
        init_std: 0.5,
        ..DecoderConfig::microgpt(5)
    }
}

/// Every combination of positions, norms, placements, activations, masks, heads, biases and tied embeddings. The parts that
/// only say how a model begins go round with them, as do wide heads and biases of the feed-forward network.
fn product() -> Vec<DecoderConfig> {
    let mut all = vec![tiny()];
    fn times<V: Copy>(all: &mut Vec<DecoderConfig>, values: &[V], set: impl Fn(&mut DecoderConfig, V)) {
        let each = |config: &DecoderConfig| {
            let with = |&value| {
                let mut config = config.clone();
                set(&mut config, value);
                config
            };
            values.iter().map(with).collect::<Vec<_>>()
        };
        *all = all.iter().flat_map(each).collect();
    }
    times(&mut all, &POSITIONS, |config, position| config.position = position);
    times(&mut all, &NORMS, |config, (norm, learned)| (config.norm, config.norm_gain) = (norm, learned));
    times(&mut all, &PLACEMENTS, |config, placement| config.placement = placement);
    times(&mut all, &ACTIVATIONS, |config, activation| config.activation = activation);
    times(&mut all, &MASKS, |config, mask| config.mask = mask);
    times(&mut all, &KV_HEADS, |config, heads| config.n_kv_head = heads);
    times(&mut all, &BIASES, |config, bias| config.attention_bias = bias);
    times(&mut all, &TIED, |config, tied| config.tied_embeddings = tied);
    for (at, config) in all.iter_mut().enumerate() {
        config.ffn_bias = config.attention_bias == AttentionBias::Qvo;
        config.final_norm = at % 3 == 0;
        config.head_dim = (at % 5 == 0).then_some(4);
        config.weight_init = [WeightInit::Normal, WeightInit::XavierUniform][at % 7 / 4];
        config.residual_init = [ResidualInit::Plain, ResidualInit::Scaled][at % 11 / 6];
        config.embedding_scale = [EmbeddingScale::One, EmbeddingScale::RootWidth][at % 13 / 7];
    }
    all
}

/// Packed sequences of unequal lengths, with every token at many positions.
fn batch(config: &DecoderConfig) -> Batch {
    let mut batch = Batch::new();
    for row in 0..8 {
        let length = if row == 5 { 2 } else { config.context + 1 };
        batch.push(
            (0..length).map(|at| (3 * row + at * (row % 4 + 1) + at * at * (row % 2)) % config.vocab_size),
        );
    }
    batch
}

#[test]
fn every_combination_of_parts_learns_and_reads_on() {
    let all = product();
    assert_eq!(all.len(), 6 * 4 * 2 * 6 * 2 * 2 * 2 * 2);
    let tokens = [1, 4, 2, 2, 0, 3];
    let mut idle = Vec::new();
    for config in all {
        let what = format!("{config:?}");
        let model = Decoder::new(config.clone()).expect("a combination is valid");
        let engine = FastEngine::new(ThreadPool::new(1));
        let settings = Settings { learning_rate: 0.02, ..Settings::default() };
        let mut trainer = Trainer::new(model, engine, settings, &mut Random::new(7));
        let before = trainer.params().to_vec();
        let step = trainer.step(&batch(&config));
        assert!(step.loss.is_finite() && step.loss > 0.0, "{what}: a loss of {}", step.loss);
        for spec in trainer.model().layout().specs() {
            let still = spec.range().all(|at| before[at] == trainer.params()[at]);
            if still {
                idle.push(format!("{} of {what}", spec.name));
            }
        }

        let (model, params) = (trainer.model(), trainer.params());
        let mut engine = FastEngine::new(ThreadPool::new(1));
        let mut session = Session::single(&mut engine, model, params);
        let at_once = session.feed(0, &tokens).to_vec();
        session.truncate(0, 0);
        session.feed(0, &tokens[..2]);
        session.feed(0, &tokens[2..3]);
        session.feed(0, &tokens[3..5]);
        let in_pieces = session.feed(0, &tokens[5..]);
        let greatest = at_once.iter().fold(1.0, |greatest: f64, x| greatest.max(x.abs()));
        for (a, b) in at_once.iter().zip(in_pieces) {
            assert!((a - b).abs() <= 1e-5 * greatest, "{what}: {a} at once, {b} with a cache");
        }
    }
    assert!(
        idle.is_empty(),
        "{} parameters that stayed, such as\n{}",
        idle.len(),
        idle[..idle.len().min(5)].join("\n")
    );
}

/// Losses and gradients of a batch, packed and padded: the losses are the same to the last bit, the gradients but for the
/// rounding of sums over more rows.
fn padding_changes_nothing(what: &str, model: &impl Model, params: &[f32], batch: &Batch) {
    let padded = batch.padded();
    assert!(padded.len() > batch.len());
    let learn = |batch: &Batch| {
        let mut engine = FastEngine::new(ThreadPool::new(1));
        let mut gradient = vec![f32::NAN; params.len()];
        engine.gradient(model, params, batch, Mode::default(), &mut gradient);
        let rows = batch.sequences().rows.iter();
        let losses: Vec<f64> = rows.flat_map(|rows| engine.token_losses()[rows.clone()].to_vec()).collect();
        (losses, gradient)
    };
    let ((losses, gradient), (padded_losses, padded_gradient)) = (learn(batch), learn(&padded));
    assert_eq!(losses, padded_losses, "{what}");
    let greatest = gradient.iter().fold(1e-3, |greatest: f32, g| greatest.max(g.abs()));
    for (a, b) in gradient.iter().zip(&padded_gradient) {
        assert!((a - b).abs() <= 1e-5 * greatest, "{what}: {a} packed, {b} padded");
    }
}

#[test]
fn every_combination_of_parts_is_the_same_with_padding() {
    for config in product() {
        let model = Decoder::new(config.clone()).expect("a combination is valid");
        let params = model.layout().initial(&mut Random::new(7));
        padding_changes_nothing(&format!("{config:?}"), &model, &params, &batch(&config));
    }
}

/// The same parts in an encoder-decoder: each combination makes a step in which every parameter moves, packed and padded alike.
#[test]
fn every_combination_of_parts_makes_an_encoder_decoder() {
    let shared = [SharedEmbeddings::All, SharedEmbeddings::Output, SharedEmbeddings::None];
    let untied = product().into_iter().filter(|config| config.tied_embeddings == TiedEmbeddings::None);
    let mut idle = Vec::new();
    for (at, decoder) in untied.enumerate() {
        let config = EncoderDecoderConfig {
            encoder_layers: 1 + at % 2,
            shared_embeddings: shared[at % 3],
            head_bias: at % 5 == 0,
            decoder,
        };
        let what = format!("{config:?}");
        let mut batch = Batch::new();
        for row in 0..6 {
            let tokens =
                |factor: usize, len: usize| (0..len).map(move |at| (factor * row + at * (row + 1)) % 5);
            batch.push_pair(tokens(2, 6 - row % 3), tokens(3, 2 + row));
        }
        let model = EncoderDecoder::new(config).expect("a combination is valid");
        let engine = FastEngine::new(ThreadPool::new(1));
        let settings = Settings { learning_rate: 0.02, ..Settings::default() };
        let mut trainer = Trainer::new(model, engine, settings, &mut Random::new(7));
        let before = trainer.params().to_vec();
        padding_changes_nothing(&what, trainer.model(), &before, &batch);
        let step = trainer.step(&batch);
        assert!(step.loss.is_finite() && step.loss > 0.0, "{what}: a loss of {}", step.loss);
        for spec in trainer.model().layout().specs() {
            if spec.range().all(|at| before[at] == trainer.params()[at]) {
                idle.push(format!("{} of {what}", spec.name));
            }
        }
    }
    assert!(
        idle.is_empty(),
        "{} parameters that stayed, such as\n{}",
        idle.len(),
        idle[..idle.len().min(5)].join("\n")
    );
}

/// Positions matter: with every kind but none, a token that was moved is another.
#[test]
fn every_kind_of_position_tells_the_order() {
    for position in POSITIONS {
        let config = DecoderConfig { position, n_layer: 1, ..tiny() };
        let model = Decoder::new(config).expect("a valid configuration");
        let params: Vec<f64> = model.layout().initial(&mut Random::new(3));
        let last = |tokens: &[usize]| {
            Session::single(&mut ScalarEngine::new(), &model, &params).feed(0, tokens).to_vec()
        };
        let gap = last(&[1, 2, 4, 3])
            .iter()
            .zip(last(&[2, 1, 4, 3]))
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f64::max);
        assert_eq!(gap > 1e-6, position != Position::None, "{position:?}: a gap of {gap}");
    }
}

/// What depends on distances alone does not depend on where a sequence begins.
#[test]
fn a_window_forgets_what_came_before() {
    for position in [Position::None, Position::Alibi, Position::Relative { buckets: 4, max_distance: 3 }] {
        let config = DecoderConfig { position, n_layer: 1, context: 8, mask: Mask::Window(3), ..tiny() };
        let model = Decoder::new(config).expect("a valid configuration");
        let params: Vec<f64> = model.layout().initial(&mut Random::new(3));
        let last = |tokens: &[usize]| {
            Session::single(&mut ScalarEngine::new(), &model, &params).feed(0, tokens).to_vec()
        };
        assert_eq!(last(&[4, 0, 1, 2, 3]), last(&[1, 2, 3]), "{position:?}");
        assert_ne!(last(&[4, 1, 2, 3]), last(&[4, 1, 0, 3]), "{position:?}");
    }
}

/// A bias of keys that are not rotated adds the same to all scores of a query.
#[test]
fn a_bias_of_keys_does_nothing_unless_they_are_rotated() {
    for position in POSITIONS {
        let config = DecoderConfig { position, attention_bias: AttentionBias::All, ..tiny() };
        let model = Decoder::new(config.clone()).expect("a valid configuration");
        let params: Vec<f64> = model.layout().initial(&mut Random::new(3));
        let mut gradient = vec![0.0; params.len()];
        ScalarEngine::new().gradient(&model, &params, &batch(&config), Mode::default(), &mut gradient);
        for spec in model.layout().specs().iter().filter(|spec| spec.name.ends_with(".bias")) {
            let greatest = gradient[spec.range()].iter().fold(0.0, |greatest: f64, g| greatest.max(g.abs()));
            let idle = spec.name.ends_with("k_proj.bias") && !matches!(position, Position::Rope { .. });
            assert_eq!(greatest < 1e-12, idle, "{position:?}: {} has a gradient of {greatest}", spec.name);
        }
    }
}

#[test]
fn a_tied_head_is_the_table_of_tokens() {
    let free = Decoder::new(tiny()).expect("a valid configuration");
    let tied =
        Decoder::new(DecoderConfig { tied_embeddings: TiedEmbeddings::Output, ..tiny() }).expect("another");
    let (vocab, width) = (tiny().vocab_size, tiny().n_embd);
    assert_eq!(free.layout().len() - tied.layout().len(), vocab * width);
    // With the same numbers in both of its tables, the free model computes the same, and its two gradients add up.
    let params: Vec<f64> = tied.layout().initial(&mut Random::new(5));
    let own =
        |name: &str| tied.layout().specs().iter().find(|spec| spec.name == name).map(|spec| spec.range());
    let table = own("model.embed_tokens.weight").expect("the table of tokens");
    let both: Vec<f64> = free
        .layout()
        .specs()
        .iter()
        .flat_map(|spec| &params[own(&spec.name).unwrap_or(table.clone())])
        .copied()
        .collect();
    let gradient = |model: &Decoder, params: &[f64]| {
        let mut gradient = vec![0.0; params.len()];
        let loss =
            ScalarEngine::new().gradient(model, params, &batch(&tiny()), Mode::default(), &mut gradient);
        (loss, gradient)
    };
    let ((loss, tied_gradient), (same, free_gradient)) = (gradient(&tied, &params), gradient(&free, &both));
    assert_eq!(loss, same);
    let part = |name: &str| {
        let spec = free.layout().specs().iter().find(|spec| spec.name == name).expect("a table");
        &free_gradient[spec.range()]
    };
    let sums = part("model.embed_tokens.weight").iter().zip(part("lm_head.weight")).map(|(a, b)| a + b);
    assert!(tied_gradient[table].iter().zip(sums).all(|(ours, sum)| (ours - sum).abs() < 1e-14));
}

#[test]
fn fresh_weights_are_as_large_as_the_configuration_says() {
    let config =
        DecoderConfig { n_embd: 8, n_ffn: 24, n_layer: 4, head_dim: Some(2), init_std: 0.02, ..tiny() };
    let inits = |weight_init, residual_init| {
        let model =
            Decoder::new(DecoderConfig { weight_init, residual_init, ..config.clone() }).expect("valid");
        let specs = model.layout().specs().to_vec();
        move |end: &str| specs.iter().find(|spec| spec.name.ends_with(end)).expect("a matrix").init
    };
    let plain = inits(WeightInit::Normal, ResidualInit::Plain);
    let gpt2 = inits(WeightInit::Normal, ResidualInit::Scaled);
    let xavier = inits(WeightInit::XavierUniform, ResidualInit::Plain);
    let both = inits(WeightInit::XavierUniform, ResidualInit::Scaled);
    for reads in ["q_proj.weight", "k_proj.weight", "v_proj.weight", "fc1.weight", "embed_tokens.weight"] {
        assert_eq!((plain(reads), gpt2(reads)), (Init::Normal(0.02), Init::Normal(0.02)), "{reads}");
    }
    let share = (8.0_f64).sqrt().recip(); // two outputs in each of four layers
    for writes in ["o_proj.weight", "fc2.weight"] {
        assert_eq!(
            (plain(writes), gpt2(writes)),
            (Init::Normal(0.02), Init::Normal(0.02 * share)),
            "{writes}"
        );
    }
    let bound = |sum: f64| (6.0 / sum).sqrt();
    assert_eq!(xavier("q_proj.weight"), Init::Uniform(bound(8.0 + 4.0)));
    assert_eq!(xavier("o_proj.weight"), Init::Uniform(bound(4.0 + 8.0)));
    assert_eq!(xavier("fc1.weight"), Init::Uniform(bound(8.0 + 24.0)));
    assert_eq!(both("fc2.weight"), Init::Uniform(bound(24.0 + 8.0) * share));
    assert_eq!(xavier("embed_tokens.weight"), Init::Normal(0.02));
}

#[test]
fn parts_that_do_not_fit() {
    type Change = fn(&mut DecoderConfig);
    let wrong: [(&str, Change); 13] = [
        ("even width, not 5", |c| {
            (c.position, c.n_embd, c.n_head, c.n_kv_head) = (Position::Sinusoidal, 5, 5, 5)
        }),
        ("even width, not 3", |c| (c.position, c.head_dim) = (Position::rope(10.0), Some(3))),
        ("at least 2 buckets, not 1", |c| c.position = Position::Relative { buckets: 1, max_distance: 9 }),
        ("more than 4, not 4", |c| c.position = Position::Relative { buckets: 8, max_distance: 4 }),
        ("more parameters", |c| {
            c.position = Position::Relative { buckets: usize::MAX, max_distance: usize::MAX }
        }),
        ("more parameters", |c| c.position = Position::Relative { buckets: 1 << 40, max_distance: 1 << 41 }),
        ("head_dim is 0", |c| c.head_dim = Some(0)),
        ("more parameters", |c| c.head_dim = Some(usize::MAX)),
        ("more parameters", |c| (c.head_dim, c.n_head) = (Some(1), 1 << 40)),
        ("65536 heads", |c| (c.head_dim, c.n_head, c.n_kv_head) = (Some(1), 1 << 16, 1)),
        ("3 key heads", |c| (c.head_dim, c.n_kv_head) = (Some(7), 3)),
        ("a window of 0", |c| c.mask = Mask::Window(0)),
        ("full mask", |c| c.mask = Mask::Full),
    ];
    for (problem, change) in wrong {
        let mut config = tiny();
        config.check().expect("the tiny one is valid");
        change(&mut config);
        let error = Decoder::new(config).expect_err(problem).to_string();
        assert!(error.contains(problem), "{problem:?} is not in {error:?}");
    }
    // Heads that do not divide the width are no problem where their own is given.
    Decoder::new(DecoderConfig { n_head: 3, n_kv_head: 3, head_dim: Some(2), ..tiny() })
        .expect("a valid one");
}

/// The decay of an optimizer follows the kind of a parameter: no bias and no table of positions is a matrix.
#[test]
fn only_weights_of_layers_are_matrices() {
    for config in product().into_iter().step_by(97) {
        let model = Decoder::new(config).expect("a combination is valid");
        for spec in model.layout().specs() {
            let layer = spec.name.ends_with("_proj.weight") || spec.name.contains(".fc");
            let expected = layer && !spec.name.ends_with(".bias");
            assert_eq!(spec.kind == ParamKind::Matrix, expected, "{}", spec.name);
        }
    }
}
