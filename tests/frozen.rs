//! Frozen parameters stay bit for bit, and nothing is kept for them: no gradient, no moments, no average, nothing on disk.
//! The others train as if nothing were frozen.

use gradus::Engine;
use gradus::data::Batch;
use gradus::fast::FastEngine;
use gradus::model::{Decoder, DecoderConfig, Mode, Model};
use gradus::optim::{Adam, Optimizer};
use gradus::params::{ParamKind, ParamSpec};
use gradus::random::Random;
use gradus::real::Real;
use gradus::scalar::ScalarEngine;
use gradus::thread_pool::ThreadPool;
use gradus::tokenizer::Tokenizer;
use gradus::train::{Settings, Trainer};

#[path = "common/dialog_trainer.rs"]
mod dialog_trainer;
#[path = "common/method.rs"]
mod method;
#[path = "common/scalar_trainer.rs"]
mod scalar_trainer;
#[path = "common/state.rs"]
mod state;
#[path = "common/variants.rs"]
mod variants;

use dialog_trainer::dialogs;
use method::{ADAMW, METHODS, Method, SETTINGS};
use scalar_trainer::on_scalar;
use state::{FILE, state};

type Which = fn(&ParamSpec) -> bool;

/// What is frozen: by kind, in one layer, between others, all but one.
const PATTERNS: [(&str, Which); 6] = [
    ("matrices", |spec| spec.kind == ParamKind::Matrix),
    ("embeddings", |spec| spec.kind == ParamKind::Embedding),
    ("gains", |spec| spec.kind == ParamKind::Gain),
    ("the first layer", |spec| spec.name.contains("layers.0.")),
    ("keys and gates", |spec| spec.name.contains("k_proj") || spec.name.contains("gate_proj")),
    ("all but one matrix", |spec| !spec.name.contains("layers.1.mlp.up_proj")),
];

/// The decoder with every variant at once, small.
fn config() -> DecoderConfig {
    let (name, config) = variants::variants().pop().expect("there are variants");
    assert_eq!(name, "everything");
    config
}

fn decoder(which: Which) -> Decoder {
    let mut model = Decoder::new(config()).expect("it fits");
    model.freeze(which);
    model
}

fn params(model: &Decoder) -> Vec<f32> {
    model.layout().initial(&mut Random::new(3))
}

fn bits<R: Real>(numbers: &[R]) -> Vec<u64> {
    numbers.iter().map(|x| x.to_f64().to_bits()).collect()
}

/// Names and places of the frozen parameters and of the trainable ones.
fn split(model: &Decoder) -> [Vec<&ParamSpec>; 2] {
    let (trainable, frozen): (Vec<_>, Vec<_>) =
        model.layout().specs().iter().partition(|spec| spec.trainable);
    assert!(!frozen.is_empty() && !trainable.is_empty());
    [frozen, trainable]
}

#[test]
fn places_in_the_gradient_are_dense() {
    for (name, which) in PATTERNS {
        let model = decoder(which);
        let layout = model.layout();
        let mut end = 0;
        for spec in layout.specs() {
            assert_eq!(spec.trainable, !which(spec), "{name}: {}", spec.name);
            match spec.grad_range() {
                Some(range) => {
                    assert_eq!(
                        (range.start, range.len()),
                        (end, spec.range().len()),
                        "{name}: {}",
                        spec.name
                    );
                    end = range.end;
                }
                None => assert!(which(spec), "{name}: {}", spec.name),
            }
        }
        assert_eq!(layout.trainable_len(), end, "{name}");
        assert!(end < layout.len(), "{name}");
        // Without its frozen parameters, a buffer is laid out like the gradient, and can be put back.
        let all = params(&model);
        let gathered = layout.gather_trainable(&all);
        assert_eq!(gathered.len(), end);
        let mut zero = vec![0.0; all.len()];
        layout.scatter_trainable(&gathered, &mut zero);
        for spec in layout.specs() {
            let expected = if spec.trainable { &all[spec.range()] } else { &vec![0.0; spec.range().len()] };
            assert_eq!(&zero[spec.range()], expected, "{name}: {}", spec.name);
        }
        let unfrozen = decoder(|_| false);
        assert_eq!(all, params(&unfrozen), "{name}: the same random numbers");
        for spec in unfrozen.layout().specs() {
            assert_eq!(spec.grad_range(), Some(spec.range()), "nothing is frozen");
        }
    }
}

#[test]
fn what_is_frozen_stays_frozen() {
    let [(_, matrices), (_, embeddings), ..] = PATTERNS;
    let mut in_two = decoder(matrices);
    in_two.freeze(embeddings);
    let at_once = decoder(|spec| spec.kind == ParamKind::Matrix || spec.kind == ParamKind::Embedding);
    assert_eq!(in_two.layout(), at_once.layout());
}

#[test]
fn the_gradient_is_that_of_the_unfrozen_model() {
    fn check<E: Engine>(mut engine: E, times: usize) {
        let mut batch = Batch::new();
        for row in 0..8 * times {
            batch.push((0..9).map(|at| (row + at * (row % 3 + 1)) % config().vocab_size));
        }
        let mut gradient = |model: &Decoder| {
            let params: Vec<E::Real> =
                params(model).iter().map(|&w| E::Real::from_f64(f64::from(w))).collect();
            let mut gradient = vec![E::Real::from_f64(f64::NAN); model.layout().trainable_len()];
            let loss = engine.gradient(model, &params, &batch, Mode::default(), &mut gradient);
            (loss.to_bits(), gradient)
        };
        let unfrozen = decoder(|_| false);
        let (loss, all) = gradient(&unfrozen);
        for (name, which) in PATTERNS {
            let model = decoder(which);
            let (frozen_loss, own) = gradient(&model);
            assert_eq!(frozen_loss, loss, "{name}");
            assert_eq!(bits(&own), bits(&model.layout().gather_trainable(&all)), "{name}");
            assert!(own.iter().all(|g| *g != E::Real::default()), "{name}: a gradient everywhere");
        }
    }
    check(ScalarEngine::new(), 1);
    check(FastEngine::new(ThreadPool::new(2)), 1);
    check(FastEngine::new(ThreadPool::new(2)), 12); // several shards, whose gradients are added up
}

#[test]
#[should_panic(expected = "gradient")]
fn a_gradient_of_another_length_on_the_fast_engine() {
    let model = decoder(PATTERNS[0].1);
    let (params, batch) = (params(&model), variants::batch(&config()));
    let mut gradient = vec![0.0; params.len()];
    FastEngine::new(ThreadPool::new(1)).gradient(&model, &params, &batch, Mode::default(), &mut gradient);
}

/// Trains a little. Returns the parameters before and after.
fn train<E: Engine>(
    what: &str,
    trainer: &mut Trainer<Decoder, E>,
    steps: usize,
    batch: &Batch,
) -> [Vec<E::Real>; 2] {
    let before = trainer.params().to_vec();
    for _ in 0..steps {
        assert!(trainer.step(batch).loss.is_finite(), "{what}");
    }
    [before, trainer.params().to_vec()]
}

/// The frozen parameters stay to the last bit, all others move, and no buffer is longer than it must be.
fn check_training<E: Engine>(what: &str, mut trainer: Trainer<Decoder, E>) {
    let batch = variants::batch(&config());
    let [before, after] = train(what, &mut trainer, 5, &batch);
    let [frozen, trainable] = split(trainer.model());
    for spec in frozen {
        let name = format!("{what}: {}", spec.name);
        assert_eq!(bits(&before[spec.range()]), bits(&after[spec.range()]), "{name}");
        assert_eq!(
            bits(&before[spec.range()]),
            bits(&trainer.eval_params()[spec.range()]),
            "{name}, averaged"
        );
    }
    for spec in trainable {
        let still = spec.range().filter(|&at| before[at] == after[at]).count();
        assert_eq!(still, 0, "{what}: numbers of {} that stayed", spec.name);
        let average = &trainer.eval_params()[spec.range()];
        assert!(average.iter().zip(&after[spec.range()]).all(|(a, w)| a != w), "{what}: {}", spec.name);
    }
    assert_eq!(trainer.gradient().len(), trainer.model().layout().trainable_len(), "{what}");
    assert!(trainer.validate(&[batch]).is_finite());
}

#[test]
fn training_on_both_engines_with_both_optimizers() {
    for (name, which) in PATTERNS {
        for method in METHODS {
            let model = decoder(which);
            let what = format!("{name} frozen, {method:?}");
            let params = params(&model);
            check_training(&format!("{what}, scalar"), on_scalar(method, model.clone(), SETTINGS, &params));
            check_training(&format!("{what}, fast"), method.on_fast(model, SETTINGS, 2, params));
        }
    }
}

/// Without clipping, which looks at all gradients at once, the others make the steps that they would make anyway.
#[test]
fn the_first_step_is_that_of_the_unfrozen_model() {
    let batch = variants::batch(&config());
    let settings = Settings { clip: None, ..SETTINGS };
    for (name, which) in PATTERNS {
        for method in METHODS {
            let step = |which: Which| {
                let model = decoder(which);
                let params = params(&model);
                let scalar = on_scalar(method, model.clone(), settings, &params);
                let fast = method.on_fast(model, settings, 1, params);
                fn after<E: Engine>(mut trainer: Trainer<Decoder, E>, batch: &Batch) -> Vec<u64> {
                    let [_, after] = train("one step", &mut trainer, 1, batch);
                    bits(&after)
                }
                [after(scalar, &batch), after(fast, &batch)]
            };
            let (unfrozen, frozen) = (step(|_| false), step(which));
            for spec in split(&decoder(which)).into_iter().flatten() {
                for (engine, (a, b)) in unfrozen.iter().zip(&frozen).enumerate() {
                    let same = a[spec.range()] == b[spec.range()];
                    assert_eq!(same, spec.trainable, "{name}, {method:?}, engine {engine}: {}", spec.name);
                }
            }
        }
    }
}

#[test]
fn optimizers_remember_nothing_for_them() {
    for (name, which) in PATTERNS {
        let model = decoder(which);
        let layout = model.layout();
        let matrices: usize = (layout.trainable())
            .filter(|(spec, ..)| spec.kind == ParamKind::Matrix)
            .map(|(_, range, _)| range.len())
            .sum();
        let trainable = layout.trainable_len();
        let lengths = |mut optimizer: Box<dyn Optimizer<f32>>| -> Vec<usize> {
            optimizer.state().iter().map(|(_, numbers)| numbers.len()).collect()
        };
        assert_eq!(lengths(Box::new(Adam::new(layout, ADAMW))), [trainable; 2], "{name}");
        let muon = Method::Muon.optimizer(layout, &ThreadPool::new(1));
        assert_eq!(lengths(muon), [trainable - matrices, trainable - matrices, matrices], "{name}");
    }
}

/// A trainer whose trainable parameters come from a seed, while the frozen ones are always the same.
fn from_seed(method: Method, which: Which, seed: u64) -> Trainer<Decoder, FastEngine> {
    let model = decoder(which);
    let (mut params, fresh) = (params(&model), model.layout().initial(&mut Random::new(seed)));
    model.layout().scatter_trainable(&model.layout().gather_trainable::<f32>(&fresh), &mut params);
    method.on_fast(model, SETTINGS, 1, params)
}

/// The same, but for the last bit of one frozen number.
fn from_another_base(method: Method, which: Which, seed: u64) -> Trainer<Decoder, FastEngine> {
    let trainer = from_seed(method, which, seed);
    let (model, mut params) = (trainer.model().clone(), trainer.params().to_vec());
    let [frozen, _] = split(&model);
    let at = frozen[frozen.len() / 2].range().end - 1;
    params[at] = f32::from_bits(params[at].to_bits() ^ 1);
    method.on_fast(model, SETTINGS, 1, params)
}

#[test]
fn a_run_is_saved_without_them_and_resumed_bit_for_bit() {
    let batch = variants::batch(&config());
    for (name, which) in PATTERNS {
        for method in METHODS {
            let what = format!("{name} frozen, {method:?}");
            let folder = tempfile::tempdir().expect("a folder");
            let mut whole = from_seed(method, which, 2);
            train(&what, &mut whole, 6, &batch);
            let mut half = from_seed(method, which, 2);
            train(&what, &mut half, 3, &batch);
            half.save_state(folder.path(), "caller").expect("it can be saved");

            let on_disk = state(folder.path());
            let layout = half.model().layout();
            let length =
                |key: &str| on_disk.numbers.get(key).map_or(0, |bytes| bytes.len() / size_of::<f32>());
            assert_eq!(length("params"), layout.trainable_len(), "{what}");
            assert_eq!(length("ema"), layout.trainable_len(), "{what}");
            let moments = length("adam.m") + length("muon.momentum");
            assert_eq!(moments, layout.trainable_len(), "{what}");

            // Other trainable numbers: they come out of the file.
            let mut rest = from_seed(method, which, 9);
            assert_eq!(rest.restore_state::<String>(folder.path()).expect("it can be restored"), "caller");
            train(&what, &mut rest, 3, &batch);
            assert_eq!(bits(rest.params()), bits(whole.params()), "{what}");
            assert_eq!(bits(&rest.eval_params()), bits(&whole.eval_params()), "{what}");

            // Other frozen numbers, or none: they do not.
            let others = [from_another_base(method, which, 2), from_seed(method, |_| false, 2)];
            for (at, mut other) in others.into_iter().enumerate() {
                let error =
                    other.restore_state::<String>(folder.path()).expect_err("another base").to_string();
                assert!(error.contains("frozen") && error.contains(FILE), "{what}, other {at}: {error}");
            }
        }
    }
}

/// A state that was saved without anything frozen does not fit a model in which something is.
#[test]
fn a_run_cannot_be_frozen_in_the_middle() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut trainer = from_seed(Method::Adamw, |_| false, 2);
    trainer.save_state(folder.path(), "caller").expect("it can be saved");
    assert!(state(folder.path()).description.get("frozen").is_none());
    for (name, which) in PATTERNS {
        let mut frozen = from_seed(Method::Adamw, which, 2);
        assert!(frozen.restore_state::<String>(folder.path()).is_err(), "{name}");
    }
}

/// With everything but the head frozen, the dialog model still learns.
#[test]
fn a_head_alone_learns() {
    let text = dialogs(32);
    let config = DecoderConfig {
        n_layer: 1,
        n_embd: 32,
        n_ffn: 32,
        context: 32,
        ..DecoderConfig::dialog(text.tokenizer().vocab_size())
    };
    let unfrozen = Method::Adamw.learner(&config, 1, 1);
    let (mut model, params) = (unfrozen.model().clone(), unfrozen.params().to_vec());
    model.freeze(|spec| spec.name != "lm_head.weight");
    let mut trainer = Method::Adamw.on_fast(model, Settings { learning_rate: 0.02, ..SETTINGS }, 1, params);
    let (mut batch, mut random) = (Batch::new(), Random::new(3));
    let validation = text.validation(20, 20, 32);
    let before = trainer.validate(&validation);
    for _ in 0..30 {
        text.fill(&mut batch, &mut random, 16, 32);
        trainer.step(&batch);
    }
    let after = trainer.validate(&validation);
    assert!(after < 0.9 * before, "{before} before, {after} after");
}
