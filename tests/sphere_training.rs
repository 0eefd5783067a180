//! Training on the sphere: all that is to have length 1 has it after every step, with either optimizer and at rates
//! ten times too large. Every parameter moves, Muon turns vectors by its rate, schedules do what they say, and what
//! is saved is read back.

use gradus::Engine;
use gradus::checkpoint::{Checkpoint, CheckpointError};
use gradus::fast::FastEngine;
use gradus::model::{
    Decoder, DecoderConfig, HiddenNorms, Model, ModelSpec, SavedModel, Sphere, SphereConfig,
};
use gradus::optim::{
    Adam, AdamSettings, Decay, Momentum, Muon, MuonSettings, Optimizer, Schedule, Spread, UnitStep, angles,
    constrain, norms,
};
use gradus::params::{Init, Layout, ParamKind, ParamSpec, UnitNorm};
use gradus::random::Random;
use gradus::real::Real;
use gradus::scalar::ScalarEngine;
use gradus::thread_pool::ThreadPool;
use gradus::tokenizer::CharTokenizer;
use gradus::train::{Growth, Settings, Trainer};

#[path = "common/sphere_variants.rs"]
mod sphere_variants;

use sphere_variants::{sphere_batch, sphere_variants, sphere_with_params};

fn fast() -> FastEngine {
    FastEngine::new(ThreadPool::new(1))
}

const ADAM: AdamSettings =
    AdamSettings { beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.0, decay_embeddings: true };

const MUON: MuonSettings = MuonSettings {
    momentum: 0.95,
    order: Momentum::Nesterov,
    iterations: 5,
    weight_decay: 0.0,
    rate: 1.0,
    unit_step: UnitStep::Free,
    adam: ADAM,
};

/// AdamW, Muon as it is, and Muon on the sphere.
fn optimizers(layout: &Layout) -> [(&'static str, Box<dyn Optimizer<f32>>); 3] {
    let muon = |unit_step| -> Box<dyn Optimizer<f32>> {
        Box::new(Muon::new(layout, MuonSettings { unit_step, ..MUON }, ThreadPool::new(1)))
    };
    [
        ("AdamW", Box::new(Adam::new(layout, ADAM))),
        ("Muon", muon(UnitStep::Free)),
        ("Muon on the sphere", muon(UnitStep::Tangent)),
    ]
}

fn settings(steps: usize, learning_rate: f64) -> Settings {
    let schedule = Schedule { warmup: 0, decay: Decay::Cosine { floor: 0.0 } };
    Settings { steps, learning_rate, schedule, clip: Some(1.0), ..Settings::default() }
}

fn trainer(
    config: &SphereConfig,
    optimizer: usize,
    settings: Settings,
) -> (&'static str, Trainer<Sphere, FastEngine>) {
    let model = Sphere::new(config.clone()).expect("a variant is right");
    let params = model.layout().initial(&mut Random::new(5));
    let mut all = optimizers(model.layout()).into_iter();
    let (name, optimizer) = all.nth(optimizer).expect("one of three");
    (name, Trainer::with_optimizer(model, fast(), optimizer, settings, params))
}

/// Every length of every weight vector that should be 1 is 1.
fn on_the_sphere<R: Real>(what: &str, layout: &Layout, params: &[R]) {
    let mut vectors = 0;
    for norm in norms(layout, params) {
        let far = (norm.min - 1.0).abs().max((norm.max - 1.0).abs());
        assert!(far < 1e-6, "{what}: {norm:?}");
        assert!(norm.min <= norm.mean && norm.mean <= norm.max, "{what}: {norm:?}");
        vectors += norm.count;
    }
    assert!(vectors > 0);
}

#[test]
fn weights_and_hidden_states_have_length_one_after_every_step() {
    for (name, config) in sphere_variants() {
        for optimizer in 0..3 {
            let (method, mut trainer) = trainer(&config, optimizer, settings(10, 0.03));
            let what = format!("{name}, {method}");
            on_the_sphere(&what, trainer.model().layout(), trainer.params());
            for _ in 0..5 {
                trainer.step(&sphere_batch(&config));
                on_the_sphere(&what, trainer.model().layout(), trainer.params());
            }
            let (engine, model, params) = trainer.split_mut();
            for blocks in 0..=config.n_layer {
                engine.loss(&HiddenNorms::after(model, blocks), &params, &sphere_batch(&config));
                let far = engine.token_losses().iter().map(|length| (length - 1.0).abs()).fold(0.0, f64::max);
                assert!(far < 1e-6, "{what}, after {blocks} blocks: {far}");
            }
        }
    }
    // In f64 as well.
    let (_, config) = sphere_variants().swap_remove(0);
    let model = Sphere::new(config.clone()).expect("a variant is right");
    let mut trainer = Trainer::new(model, ScalarEngine::new(), settings(10, 0.03), &mut Random::new(1));
    trainer.step(&sphere_batch(&config));
    on_the_sphere("the scalar engine", trainer.model().layout(), trainer.params());
}

#[test]
fn a_long_run_and_a_rate_ten_times_too_large_have_no_nan() {
    let (_, config) = sphere_variants().swap_remove(0);
    for (steps, rate) in [(1000, 0.01), (300, 0.1), (300, 1.0)] {
        for optimizer in 0..3 {
            let (method, mut trainer) = trainer(&config, optimizer, settings(steps, rate));
            let losses: Vec<f64> = (0..steps).map(|_| trainer.step(&sphere_batch(&config)).loss).collect();
            let what = format!("{method}, {steps} steps of {rate}: {:?}", losses.last());
            assert!(losses.iter().all(|loss| loss.is_finite()), "{what}");
            assert!(trainer.params().iter().all(|x| x.is_finite()), "{what}");
            assert!(rate > 0.1 || losses[steps - 1] < losses[0], "{what}");
            on_the_sphere(&what, trainer.model().layout(), trainer.params());
        }
    }
}

#[test]
fn every_parameter_moves_after_one_step() {
    for (name, config) in sphere_variants() {
        for optimizer in 0..3 {
            let (method, mut trainer) = trainer(&config, optimizer, settings(10, 0.03));
            let before = trainer.params().to_vec();
            trainer.step(&sphere_batch(&config));
            for spec in trainer.model().layout().specs() {
                let still = spec.range().filter(|&at| before[at] == trainer.params()[at]).count();
                assert!(
                    still <= spec.range().len() / 20,
                    "{name}, {method}: {still} of {} stayed",
                    spec.name
                );
            }
        }
    }
}

#[test]
fn constraints_can_be_restored_more_rarely() {
    let (_, config) = sphere_variants().swap_remove(0);
    let far = |trainer: &Trainer<Sphere, FastEngine>| {
        let far = |norm: Spread<'_>| (norm.min - 1.0).abs().max((norm.max - 1.0).abs());
        norms(trainer.model().layout(), trainer.params()).into_iter().map(far).fold(0.0, f64::max)
    };
    for (every, restored) in [(1, "1111111"), (3, "0010010"), (0, "0000000")] {
        let settings = Settings { constrain_every: every, ..settings(100, 0.03) };
        let (_, mut trainer) = trainer(&config, 0, settings);
        assert!(far(&trainer) < 1e-6, "before the first step");
        for (step, restored) in restored.bytes().enumerate() {
            trainer.step(&sphere_batch(&config));
            let far = far(&trainer);
            let expected = if restored == b'1' { far < 1e-6 } else { far > 1e-3 };
            assert!(expected, "every {every} steps, step {step}: {far}");
        }
    }
}

#[test]
fn alpha_grows_by_its_schedule() {
    let (_, config) = sphere_variants().swap_remove(0);
    let growth = Growth { names: "alpha", factor: 4.0, steps: 6 };
    // With a rate of zero nothing else moves.
    let (_, mut trainer) = trainer(&config, 0, Settings { growth: Some(growth), ..settings(100, 0.0) });
    let start = trainer.params().to_vec();
    for step in 1..=9 {
        trainer.step(&sphere_batch(&config));
        let factor = 1.0 + 3.0 * (step.min(6) as f64 / 6.0);
        for spec in trainer.model().layout().specs().iter().filter(|spec| spec.constraint.is_none()) {
            let grows = spec.name.ends_with("alpha");
            for at in spec.range() {
                let expected = f64::from(start[at]) * if grows { factor } else { 1.0 };
                let ours = f64::from(trainer.params()[at]);
                assert!((ours - expected).abs() < 1e-6 * expected, "{}, step {step}: {ours}", spec.name);
            }
        }
    }
}

/// Muon's tangent step: the mean angle is the rate, lengths stay by themselves, and nothing depends on what the
/// momentum has along the vectors.
#[test]
fn muon_turns_by_the_rate() {
    let mut layout = Layout::default();
    let normal = Init::Normal(1.0);
    layout.add(ParamSpec::matrix("rows", 6, 9, normal).with_constraint(UnitNorm::Rows));
    layout.add(ParamSpec::matrix("cols", 8, 5, normal).with_constraint(UnitNorm::Cols));
    layout.add(ParamSpec::matrix("free", 4, 4, normal));
    layout.add(ParamSpec::embedding("table", 3, 4, normal).with_constraint(UnitNorm::Rows));
    let mut random = Random::new(2);
    let mut params: Vec<f32> = layout.initial(&mut random);
    constrain(&layout, &mut params);
    for order in [Momentum::Nesterov, Momentum::Plain, Momentum::OfOrthogonal] {
        for rate in [0.001, 0.1, 1.0] {
            let tangent = MuonSettings { order, unit_step: UnitStep::Tangent, weight_decay: 0.1, ..MUON };
            let free = MuonSettings { unit_step: UnitStep::Free, ..tangent };
            let [mut tangent, mut free] = [tangent, free].map(|settings| {
                Muon::new(&layout, MuonSettings { rate: 2.0, ..settings }, ThreadPool::new(1))
            });
            let gradient: Vec<f32> = layout.initial(&mut random);
            let [mut turned, mut moved] = [params.clone(), params.clone()];
            tangent.update(&mut turned, &gradient, rate / 2.0);
            free.update(&mut moved, &gradient, rate / 2.0);
            let what = format!("{order:?}, rate {rate}");
            let all = angles(&layout, &params, &turned);
            assert_eq!(all.iter().map(|angle| angle.name).collect::<Vec<_>>(), ["rows", "cols", "table"]);
            for angle in &all[..2] {
                assert!((angle.mean / rate - 1.0).abs() < 1e-3, "{what}: {angle:?}");
                assert!(angle.min < angle.mean && angle.mean < angle.max, "{what}: {angle:?}");
            }
            for norm in &norms(&layout, &turned)[..2] {
                assert!((norm.min - 1.0).abs() < 1e-6 && (norm.max - 1.0).abs() < 1e-6, "{what}: {norm:?}");
            }
            let [rows, _, free, table] = layout.specs() else { panic!("four parameters") };
            for spec in [free, table] {
                assert_eq!(turned[spec.range()], moved[spec.range()], "{what}: {}", spec.name);
            }
            // Each vector turns in the plane of itself and its step, and away from the step as a step without decay
            // does.
            for row in 0..rows.rows {
                let part = |all: &[f32]| -> Vec<f64> {
                    all[row * rows.cols..(row + 1) * rows.cols].iter().map(|&x| f64::from(x)).collect()
                };
                let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
                let across = |x: &[f64], w: &[f64]| -> Vec<f64> {
                    let along = dot(x, w);
                    x.iter().zip(w).map(|(x, w)| x - along * w).collect()
                };
                let w = part(&params);
                let (ours, theirs) = (across(&part(&turned), &w), across(&part(&moved), &w));
                let cosine = dot(&ours, &theirs) / (dot(&ours, &ours) * dot(&theirs, &theirs)).sqrt();
                assert!(cosine > 1.0 - 1e-4, "{what}, row {row}: {cosine}");
            }
        }
    }
}

#[test]
fn a_direction_without_a_tangent_turns_nothing() {
    let mut layout = Layout::default();
    layout.add(ParamSpec::matrix("w", 1, 2, Init::Constant(1.0)).with_constraint(UnitNorm::Rows));
    let settings = MuonSettings { unit_step: UnitStep::Tangent, ..MUON };
    for gradient in [[0.0, 0.0], [3.0, 0.0]] {
        let mut params = [1.0_f32, 0.0];
        Muon::new(&layout, settings, ThreadPool::new(1)).update(&mut params, &gradient, 0.1);
        assert_eq!(params, [1.0, 0.0], "{gradient:?}");
    }
}

#[test]
fn angles_are_exact_however_small() {
    let mut layout = Layout::default();
    layout.add(ParamSpec::matrix("w", 1, 2, Init::Constant(1.0)).with_constraint(UnitNorm::Rows));
    for angle in [1e-9, 1e-4, 1.0, 3.0] {
        let (sin, cos) = f64::sin_cos(angle);
        let found = angles(&layout, &[2.0, 0.0], &[3.0 * cos, 3.0 * sin])[0];
        assert!((found.mean / angle - 1.0).abs() < 1e-12, "{angle}: {found:?}");
    }
}

#[test]
fn frozen_parameters_stay_and_take_no_memory() {
    let (_, config) = sphere_variants().swap_remove(0);
    let mut model = Sphere::new(config.clone()).expect("it fits");
    model.freeze(|spec| spec.kind == ParamKind::Scale || spec.name.contains("embed_tokens"));
    let (trainable, all) = (model.layout().trainable_len(), model.layout().len());
    assert!(trainable < all);
    let optimizer = Box::new(Adam::new(model.layout(), ADAM));
    let params: Vec<f32> = model.layout().initial(&mut Random::new(5));
    let mut trainer = Trainer::with_optimizer(model, fast(), optimizer, settings(9, 0.1), params.clone());
    trainer.step(&sphere_batch(&config));
    assert_eq!(trainer.gradient().len(), trainable);
    for spec in trainer.model().layout().specs() {
        let (before, after) = (&params[spec.range()], &trainer.params()[spec.range()]);
        assert_eq!(before == after, !spec.trainable, "{}", spec.name);
    }
}

#[test]
fn what_is_saved_is_read_back_and_brought_to_the_sphere_for_training() {
    let folder = tempfile::tempdir().expect("a folder");
    let tokenizer = CharTokenizer::of("abcdefghij".chars());
    for (name, config) in sphere_variants() {
        let (model, params) = sphere_with_params(&config);
        let mut params: Vec<f32> = params.iter().map(|&x| x as f32).collect();
        params.iter_mut().for_each(|x| *x *= 1.5);
        Checkpoint::of(&model, &tokenizer, &params).save(folder.path()).expect("it can be saved");
        let read = Checkpoint::<f32>::load_as::<Sphere>(folder.path()).expect("it can be read");
        assert_eq!((read.model.config(), &read.params), (&config, &params), "{name}");
        let layout = read.model.layout().clone();
        let trainer = Trainer::from_params(read.model, fast(), settings(1, 0.1), read.params);
        on_the_sphere(name, &layout, trainer.params());
    }
    let error = Checkpoint::<f32>::load_as::<Decoder>(folder.path()).map(|_| ()).expect_err("another family");
    assert!(matches!(error, CheckpointError::OtherFamily { .. }), "{error}");
    assert!(
        error.to_string().contains("holds a normalized transformer, where a decoder is needed"),
        "{error}"
    );
    let error = Decoder::from_spec(ModelSpec::Sphere(SphereConfig::paper(9))).expect_err("another family");
    assert_eq!(error.to_string(), "the spec describes a normalized transformer, where a decoder is needed");
    let error =
        Sphere::from_spec(ModelSpec::Decoder(DecoderConfig::microgpt(9))).expect_err("another family");
    assert_eq!(error.to_string(), "the spec describes a decoder, where a normalized transformer is needed");
}
