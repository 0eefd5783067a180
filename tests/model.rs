//! What holds for every model: every parameter has a name of its own and learns, the cache changes nothing, no token
//! looks ahead, and a configuration that cannot work is an error that says why.

use std::collections::HashSet;

use gradus::Engine;
use gradus::engine::Session;
use gradus::model::{ConfigError, Decoder, DecoderConfig, Model, Position};
use gradus::params::{Init, ParamKind};
use gradus::random::Random;
use gradus::scalar::ScalarEngine;
use gradus::train::{Settings, Trainer};

#[path = "common/variants.rs"]
mod variants;

fn decoder(config: DecoderConfig) -> Decoder {
    Decoder::new(config).expect("a variant is right")
}

/// All variants, and in full size the preset that they have in a small one.
fn all() -> Vec<(&'static str, DecoderConfig)> {
    [variants::variants(), vec![("dialog in full", DecoderConfig::dialog(40))]].concat()
}

/// Not only every matrix but every single number in it: the batch has each token at each position.
#[test]
fn every_parameter_moves_after_one_step() {
    for (name, config) in all() {
        let batch = variants::batch(&DecoderConfig { context: config.context.min(16), ..config.clone() });
        let model = decoder(config);
        let mut random = Random::new(5);
        let settings = Settings::default();
        let mut trainer = Trainer::new(model, ScalarEngine::new(), settings, &mut random);
        let before = trainer.params().to_vec();
        let step = trainer.step(&batch);
        assert!(step.loss.is_finite() && step.learning_rate > 0.0);
        for spec in trainer.model().layout().specs() {
            let moved = |at: &usize| before[*at] != trainer.params()[*at];
            let still = spec.range().filter(|at| !moved(at)).count();
            assert_eq!(still, 0, "{name}: numbers of {} that stayed", spec.name);
        }
    }
}

#[test]
fn layouts_have_distinct_names_and_no_gaps() {
    for (name, config) in all() {
        let model = decoder(config);
        let specs = model.layout().specs();
        let names: HashSet<&str> = specs.iter().map(|spec| spec.name.as_str()).collect();
        assert_eq!(names.len(), specs.len(), "{name}: distinct names");
        let mut end = 0;
        for spec in specs {
            assert!(spec.rows > 0 && spec.cols > 0, "{name}: {}", spec.name);
            assert_eq!(spec.offset, end, "{name}: {} begins where the one before ends", spec.name);
            assert_eq!(spec.range().len(), spec.rows * spec.cols);
            end = spec.range().end;
            let gain = spec.name.contains("norm") && spec.name.ends_with(".weight");
            assert_eq!(spec.kind == ParamKind::Bias, spec.name.ends_with(".bias"), "{name}: {}", spec.name);
            assert_eq!(spec.kind == ParamKind::Gain, gain, "{name}: {}", spec.name);
            assert_eq!(spec.init == Init::Constant(1.0), gain, "{name}: {}", spec.name);
            let bias = spec.kind == ParamKind::Bias;
            assert_eq!(spec.init == Init::Constant(0.0), bias, "{name}: {}", spec.name);
        }
        assert_eq!(model.layout().len(), end);
    }
}

#[test]
fn presets_have_the_sizes_they_are_known_for() {
    let microgpt = decoder(DecoderConfig::microgpt(27));
    assert_eq!(microgpt.layout().len(), 4192);
    let (width, inner, vocab) = (128, 512, 1000);
    let layer = 4 * width * width + 3 * width * inner + 2 * width + 2 * width; // two norms, and those of q and k
    let dialog = decoder(DecoderConfig::dialog(vocab));
    assert_eq!(dialog.layout().len(), 2 * vocab * width + 3 * layer + width);
    let (_, everything) = variants::variants().pop().expect("there are variants");
    let names: Vec<String> = decoder(everything).layout().specs().iter().map(|w| w.name.clone()).collect();
    let layer = |n: usize| {
        [
            "input_layernorm",
            "self_attn.q_proj",
            "self_attn.k_proj",
            "self_attn.v_proj",
            "self_attn.o_proj",
            "self_attn.q_norm",
            "self_attn.k_norm",
            "post_attention_layernorm",
            "mlp.gate_proj",
            "mlp.up_proj",
            "mlp.down_proj",
        ]
        .map(|part| format!("model.layers.{n}.{part}.weight"))
    };
    let mut expected: Vec<String> = ["lm_head", "model.embed_norm", "model.embed_tokens", "model.norm"]
        .map(|part| format!("{part}.weight"))
        .into();
    expected.extend(layer(0));
    expected.extend(layer(1));
    assert_eq!(HashSet::<String>::from_iter(names), HashSet::from_iter(expected));
}

#[test]
fn fresh_parameters_are_drawn_as_the_layout_says() {
    let (_, everything) = variants::variants().pop().expect("there are variants");
    let model = decoder(DecoderConfig { init_std: 0.3, ..everything });
    let params: Vec<f64> = model.layout().initial(&mut Random::new(1));
    let again: Vec<f64> = model.layout().initial(&mut Random::new(1));
    let other: Vec<f64> = model.layout().initial(&mut Random::new(2));
    assert_eq!(params, again);
    assert_ne!(params, other);
    let (mut sum, mut squares, mut count) = (0.0, 0.0, 0.0);
    for spec in model.layout().specs() {
        let own = &params[spec.range()];
        match spec.init {
            Init::Constant(x) => assert!(own.iter().all(|w| *w == x), "{}", spec.name),
            Init::Uniform(_) => unreachable!("no variant draws evenly"),
            Init::Normal(std) => {
                assert_eq!(std, 0.3);
                sum += own.iter().sum::<f64>();
                squares += own.iter().map(|w| w * w).sum::<f64>();
                count += own.len() as f64;
            }
        }
    }
    let (mean, std) = (sum / count, (squares / count).sqrt());
    assert!(mean.abs() < 0.04 && (std - 0.3).abs() < 0.03, "mean {mean}, standard deviation {std}");
}

/// The logits after each token of a sequence that the model reads in pieces: its `first` tokens at once, then one at a
/// time.
fn logits(model: &Decoder, params: &[f64], tokens: &[usize], first: usize) -> Vec<Vec<f64>> {
    let mut engine = ScalarEngine::new();
    let mut session = Session::single(&mut engine, model, params);
    let mut all = vec![session.feed(0, &tokens[..first]).to_vec()];
    all.extend(tokens[first..].iter().map(|token| session.feed(0, &[*token]).to_vec()));
    all
}

#[test]
fn a_cache_changes_nothing() {
    for (name, config) in variants::variants() {
        let tokens: Vec<usize> = (0..config.context).map(|at| (at * at + 3) % config.vocab_size).collect();
        let model = decoder(DecoderConfig { init_std: 0.4, ..config });
        let params: Vec<f64> = model.layout().initial(&mut Random::new(9));
        let one_by_one = logits(&model, &params, &tokens, 1);
        assert_eq!(one_by_one.len(), tokens.len());
        for read_first in 2..=tokens.len() {
            let rest = &one_by_one[read_first - 1..];
            let at_once = logits(&model, &params, &tokens, read_first);
            assert_eq!(at_once.len(), rest.len());
            for (a, b) in at_once.iter().flatten().zip(rest.iter().flatten()) {
                assert!((a - b).abs() <= 1e-12, "{name}, {read_first} tokens at once: {a} and {b}");
            }
        }
    }
}

/// A model must not look ahead: later tokens, and other sequences, change no loss before them.
#[test]
fn no_token_sees_a_later_one_or_another_sequence() {
    let losses = |model: &Decoder, params: &[f64], sequences: &[&[usize]]| {
        let mut batch = gradus::data::Batch::new();
        sequences.iter().for_each(|sequence| batch.push(sequence.iter().copied()));
        let mut engine = ScalarEngine::new();
        engine.loss(model, params, &batch);
        engine.token_losses().to_vec()
    };
    for (name, config) in variants::variants() {
        let model = decoder(DecoderConfig { init_std: 0.4, ..config });
        let params: Vec<f64> = model.layout().initial(&mut Random::new(9));
        let alone = losses(&model, &params, &[&[1, 2, 3, 4, 5]]);
        let continued = losses(&model, &params, &[&[1, 2, 3, 4, 5, 9, 9]]);
        let packed = losses(&model, &params, &[&[7, 7, 8], &[1, 2, 3, 4, 5], &[9, 1]]);
        assert_eq!((alone.len(), continued.len(), packed.len()), (4, 6, 7));
        assert_eq!(continued[..4], alone, "{name}");
        assert_eq!(packed[2..6], alone, "{name}");
    }
}

#[test]
fn configurations_that_no_model_can_have() {
    type Change = fn(&mut DecoderConfig);
    let wrong: [(&str, Change); 22] = [
        ("vocab_size", |c| c.vocab_size = 0),
        ("context", |c| c.context = 0),
        ("n_layer", |c| c.n_layer = 0),
        ("n_embd", |c| c.n_embd = 0),
        ("n_head", |c| c.n_head = 0),
        ("n_kv_head", |c| c.n_kv_head = 0),
        ("n_ffn", |c| c.n_ffn = 0),
        ("3 heads do not divide a width of 16: choose one of 1, 2, 4, 8, 16", |c| c.n_head = 3),
        ("17 heads", |c| c.n_head = 17),
        ("3 key heads do not divide 4 query heads", |c| c.n_kv_head = 3),
        ("8 key heads", |c| c.n_kv_head = 8),
        ("even width, not 1", |c| {
            (c.n_head, c.n_kv_head, c.position) = (16, 16, Position::rope(10_000.0));
        }),
        ("dropout of 1", |c| c.dropout = 1.0),
        ("dropout of -0.1", |c| c.dropout = -0.1),
        ("dropout of NaN", |c| c.dropout = f64::NAN),
        ("more parameters", |c| c.n_embd = 1 << 40),
        ("more parameters", |c| c.n_embd = usize::MAX),
        ("more parameters", |c| (c.n_embd, c.n_head) = (usize::MAX, 3)),
        ("more parameters", |c| c.n_layer = 1_000_000_000),
        ("more parameters", |c| c.context = usize::MAX),
        ("more parameters", |c| c.vocab_size = usize::MAX / 2 + 1),
        ("more parameters", |c| c.n_ffn = usize::MAX),
    ];
    for (problem, change) in wrong {
        let mut config = DecoderConfig::microgpt(27);
        config.check().expect("the preset is right");
        change(&mut config);
        let error: ConfigError = config.check().expect_err(problem);
        let text = error.to_string();
        assert!(text.contains(problem), "{problem:?} is not in {text:?}");
        assert_eq!(Decoder::new(config).expect_err(problem), error);
    }
}

#[test]
fn numbers_with_which_nothing_can_be_calculated() {
    type Change = fn(&mut DecoderConfig);
    let unusable: [(&str, Change); 6] = [
        ("norm_eps", |c| c.norm_eps = -1.0),
        ("norm_eps", |c| c.norm_eps = f64::NAN),
        ("init_std", |c| c.init_std = -0.1),
        ("init_std", |c| c.init_std = f64::INFINITY),
        ("base", |c| c.position = Position::rope(0.0)),
        ("base", |c| c.position = Position::rope(f64::NAN)),
    ];
    for (problem, change) in unusable {
        let mut config = DecoderConfig::microgpt(27);
        change(&mut config);
        let error = config.check().expect_err(problem);
        assert!(error.to_string().contains(problem), "{problem:?} is not in {error}");
    }
}
