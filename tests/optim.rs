//! Optimizers, clipping, averaging and schedules compute what PyTorch's do, in the 32 bits of the fast engine.
//!
//! `golden/optim.json` holds what PyTorch computed in `f64`. `torch.rs` compares Adam in `f64` with it, to twelve digits.

use std::collections::BTreeMap;

use gradus::optim::{
    Adam, AdamSettings, Decay, Ema, Momentum, Muon, MuonSettings, Optimizer, Schedule, UnitStep, clip,
    orthogonalize,
};
use gradus::params::{Init, Layout, ParamKind, ParamSpec};
use gradus::real::Real;
use gradus::thread_pool::ThreadPool;
use serde::Deserialize;
use serde::de::DeserializeOwned;

#[path = "common/param_groups.rs"]
mod param_groups;

use param_groups::spec;

/// How far a number of 32 bits may be from PyTorch's: a few of its last bits, after ten steps.
const NARROW: f64 = 5e-7;

/// The same after Newton-Schulz iterations, each of which multiplies the error of a small singular value by 3.4.
const ORTHOGONAL: f64 = 5e-6;

/// How far a number of 64 bits may be from it.
const WIDE: f64 = 1e-14;

#[derive(Clone, Deserialize)]
struct Matrix {
    rows: usize,
    cols: usize,
    data: Vec<f64>,
}

type Matrices = BTreeMap<String, Matrix>;

/// All cases of an algorithm with their names.
fn golden<C: DeserializeOwned>(algorithm: &str, count: usize) -> Vec<(String, C)> {
    #[derive(Deserialize)]
    struct File {
        cases: Vec<serde_json::Value>,
    }
    let File { cases } = serde_json::from_str(include_str!("golden/optim.json")).expect("optim.json parses");
    let named = |case: serde_json::Value| {
        let name = case["name"].as_str().expect("a name").to_owned();
        (name, serde_json::from_value(case).expect("the fields of its algorithm"))
    };
    let cases: Vec<_> = cases.into_iter().filter(|case| case["algorithm"] == algorithm).map(named).collect();
    assert_eq!(cases.len(), count, "cases of {algorithm}");
    cases
}

/// All matrices one after another, as in a model's flat buffer.
fn flat<R: Real>(matrices: &Matrices) -> Vec<R> {
    matrices.values().flat_map(|m| &m.data).map(|&x| R::from_f64(x)).collect()
}

/// A layout of these matrices; `spec` says what each of them is.
fn layout(matrices: &Matrices, spec: impl Fn(&str, usize, usize) -> ParamSpec) -> Layout {
    param_groups::layout(matrices.iter().map(|(name, m)| spec(name, m.rows, m.cols)))
}

fn embedding(name: &str, rows: usize, cols: usize) -> ParamSpec {
    ParamSpec::embedding(name, rows, cols, Init::Constant(0.0))
}

fn assert_close<R: Real>(what: &str, ours: &[R], theirs: &[f64], tolerance: f64) {
    assert_eq!(ours.len(), theirs.len(), "{what}");
    for (at, (ours, &theirs)) in ours.iter().zip(theirs).enumerate() {
        let difference = (ours.to_f64() - theirs).abs();
        assert!(difference <= tolerance * theirs.abs().max(1.0), "{what}, number {at}: {ours}, not {theirs}");
    }
}

#[derive(Deserialize)]
struct AdamCase {
    settings: AdamRun,
    initial: Matrices,
    gradients: Vec<Matrices>,
    params: Vec<Matrices>,
}

#[derive(Deserialize)]
struct AdamRun {
    beta1: f64,
    beta2: f64,
    eps: f64,
    weight_decay: f64,
    decay_embeddings: Option<bool>,
    lrs: Vec<f64>,
}

impl AdamRun {
    fn adam(&self) -> AdamSettings {
        let AdamRun { beta1, beta2, eps, weight_decay, .. } = *self;
        let decay_embeddings = self.decay_embeddings.unwrap_or(true);
        AdamSettings { beta1, beta2, eps, weight_decay, decay_embeddings }
    }
}

impl AdamCase {
    /// Lets an optimizer make all steps and compares each.
    fn follow(&self, what: &str, optimizer: &mut impl Optimizer<f32>) {
        let mut params = flat::<f32>(&self.initial);
        let steps = self.settings.lrs.iter().zip(&self.gradients).zip(&self.params);
        for (step, ((lr, gradient), expected)) in steps.enumerate() {
            assert_eq!(optimizer.steps(), step);
            optimizer.update(&mut params, &flat::<f32>(gradient), *lr);
            assert_close(&format!("{what}, step {step}"), &params, &flat::<f64>(expected), NARROW);
        }
        assert_eq!(optimizer.steps(), 10);
    }
}

fn muon(settings: MuonSettings, layout: &Layout) -> Muon {
    Muon::new(layout, settings, ThreadPool::new(1))
}

const MUON: MuonSettings = MuonSettings {
    momentum: 0.95,
    order: Momentum::Nesterov,
    iterations: 5,
    weight_decay: 0.0,
    rate: 1.0,
    unit_step: UnitStep::Free,
    adam: AdamSettings::MICROGPT,
};

#[test]
fn adam_and_adamw() {
    let groups = golden("adamw_groups", 2);
    for (name, case) in golden::<AdamCase>("adam", 1).into_iter().chain(golden("adamw", 1)).chain(groups) {
        case.follow(&name, &mut Adam::new(&layout(&case.initial, spec), case.settings.adam()));
        // Muon leaves everything but matrices to it.
        if case.settings.decay_embeddings != Some(false) {
            let others = |name: &str, rows, cols| match spec(name, rows, cols) {
                ParamSpec { kind: ParamKind::Matrix, .. } => embedding(name, rows, cols),
                other => other,
            };
            let settings = MuonSettings { adam: case.settings.adam(), rate: 7.0, weight_decay: 0.5, ..MUON };
            case.follow(&name, &mut muon(settings, &layout(&case.initial, others)));
        }
    }
}

#[derive(Deserialize)]
struct MuonCase {
    initial: Matrices,
    gradients: Vec<Matrices>,
    runs: Vec<MuonRun>,
}

#[derive(Deserialize)]
struct MuonRun {
    settings: TorchMuon,
    params64: Vec<Matrices>,
}

#[derive(Deserialize)]
struct TorchMuon {
    lr: f64,
    weight_decay: f64,
    momentum: f64,
    nesterov: bool,
    ns_steps: usize,
    adjust_lr_fn: String,
    ns_coefficients: [f64; 3],
}

#[test]
fn muon_in_both_of_pytorchs_orders() {
    let (_, case) = golden::<MuonCase>("muon", 1).remove(0);
    let mut runs = 0;
    for run in &case.runs {
        let s = &run.settings;
        assert_eq!(s.ns_coefficients, [3.4445, -4.775, 2.0315]);
        // PyTorch can scale a step to the shape of its matrix in another way, which is not here.
        if s.adjust_lr_fn != "original" {
            continue;
        }
        runs += 1;
        // The learning rate is a third of PyTorch's, and Muon's is three times the learning rate.
        let settings = MuonSettings {
            momentum: s.momentum,
            order: if s.nesterov { Momentum::Nesterov } else { Momentum::Plain },
            iterations: s.ns_steps,
            weight_decay: s.weight_decay,
            rate: 3.0,
            unit_step: UnitStep::Free,
            adam: AdamSettings::MICROGPT,
        };
        let mut muon = muon(settings, &layout(&case.initial, spec));
        let mut params = flat::<f32>(&case.initial);
        for (step, (gradient, expected)) in case.gradients.iter().zip(&run.params64).enumerate() {
            muon.update(&mut params, &flat::<f32>(gradient), s.lr / 3.0);
            let what = format!("Nesterov: {}, step {step}", s.nesterov);
            assert_close(&what, &params, &flat::<f64>(expected), ORTHOGONAL);
        }
    }
    assert_eq!(runs, 2, "with Nesterov's look ahead and without");
}

#[derive(Deserialize)]
struct Iterated {
    settings: Iterations,
    input: Matrix,
    output64: Matrix,
}

#[derive(Deserialize)]
struct Iterations {
    ns_steps: usize,
}

#[test]
fn newton_schulz_iterations() {
    for (name, case) in golden::<Iterated>("newton_schulz", 5) {
        let Matrix { rows, cols, data } = &case.input;
        let mut x: Vec<f32> = data.iter().map(|&x| x as f32).collect();
        orthogonalize(&mut x, *rows, *cols, case.settings.ns_steps);
        assert_close(&name, &x, &case.output64.data, ORTHOGONAL);
        // The length of the gradient does not matter, only its directions do.
        for factor in [1e-3, 1e6] {
            let mut x: Vec<f32> = data.iter().map(|&x| (x * factor) as f32).collect();
            orthogonalize(&mut x, *rows, *cols, case.settings.ns_steps);
            assert_close(&name, &x, &case.output64.data, ORTHOGONAL);
        }
        let mut zero = vec![0.0; data.len()];
        orthogonalize(&mut zero, *rows, *cols, case.settings.ns_steps);
        assert!(zero.iter().all(|x| *x == 0.0), "{name}: no gradient, no direction");
    }
}

/// nn.zig's order: the running mean of orthogonal gradients. PyTorch does not have it, but it has the orthogonal gradients.
#[test]
fn muon_in_the_order_of_nn_zig() {
    for (name, case) in golden::<Iterated>("newton_schulz", 5) {
        let Matrix { rows, cols, data } = &case.input;
        let matrices = BTreeMap::from([(name.clone(), case.input.clone())]);
        let order = Momentum::OfOrthogonal;
        let mut muon = muon(MuonSettings { order, weight_decay: 0.1, ..MUON }, &layout(&matrices, spec));
        let mut params = vec![1.0_f32; data.len()];
        let (mut expected, mut mean) = (vec![1.0; data.len()], vec![0.0; data.len()]);
        let tall = (*rows as f64 / *cols as f64).max(1.0).sqrt();
        for step in 0..3 {
            muon.update(&mut params, &flat::<f32>(&matrices), 0.02);
            for ((w, m), d) in expected.iter_mut().zip(&mut mean).zip(&case.output64.data) {
                *m = 0.95 * *m + 0.05 * d;
                *w = *w * (1.0 - 0.02 * 0.1) - 0.02 * tall * *m;
            }
            assert_close(&format!("{name}, step {step}"), &params, &expected, ORTHOGONAL);
        }
    }
}

#[derive(Deserialize)]
struct Clipped {
    settings: MaxNorm,
    gradients: Matrices,
    norm: f64,
    clipped: Matrices,
}

#[derive(Deserialize)]
struct MaxNorm {
    max_norm: f64,
}

#[test]
fn clipping_by_the_global_norm() {
    fn check<R: Real>(name: &str, case: &Clipped, tolerance: f64) {
        let mut gradient = flat::<R>(&case.gradients);
        let norm = clip(&mut gradient, case.settings.max_norm);
        assert_close(name, &[norm], &[case.norm], tolerance);
        assert_close(name, &gradient, &flat::<f64>(&case.clipped), tolerance);
    }
    for (name, case) in golden::<Clipped>("clip_grad_norm", 4) {
        check::<f64>(&name, &case, WIDE);
        check::<f32>(&name, &case, NARROW);
    }
}

#[derive(Deserialize)]
struct Averaged {
    settings: Averaging,
    initial: Matrices,
    weights: Vec<Matrices>,
    averages: Vec<Matrices>,
}

#[derive(Deserialize)]
struct Averaging {
    decay: f64,
}

#[test]
fn averages_of_parameters() {
    fn check<R: Real>(name: &str, case: &Averaged, tolerance: f64) {
        let layout = layout(&case.initial, spec);
        let mut ema = Ema::new(&layout, &flat::<R>(&case.initial));
        for (params, average) in case.weights.iter().zip(&case.averages) {
            ema.update(&layout, &flat::<R>(params), case.settings.decay);
            assert_close(name, ema.average(), &flat::<f64>(average), tolerance);
        }
    }
    for (name, case) in golden::<Averaged>("ema", 1) {
        assert_eq!(case.averages.len(), 10);
        check::<f64>(&name, &case, WIDE);
        check::<f32>(&name, &case, NARROW);
    }
}

#[derive(Deserialize)]
struct Scheduled {
    settings: Cosine,
    lrs: Vec<f64>,
}

#[derive(Deserialize)]
struct Cosine {
    convention: String,
    lr: f64,
    min_lr: f64,
    warmup_steps: usize,
    total_steps: usize,
}

/// The warmup is nanoGPT's and starts above zero; Hugging Face's starts at zero. The way down is the same.
#[test]
fn cosine_schedules() {
    for (name, Scheduled { settings: s, lrs }) in golden::<Scheduled>("cosine_schedule", 5) {
        let decay = Decay::Cosine { floor: s.min_lr / s.lr };
        let schedule = Schedule { warmup: s.warmup_steps, decay };
        assert_eq!(lrs.len(), s.total_steps + 3, "three steps after the last");
        let ours: Vec<f64> = (0..lrs.len()).map(|step| s.lr * schedule.factor(step, s.total_steps)).collect();
        let first = if s.convention == "nanogpt" { 0 } else { s.warmup_steps };
        assert_close(&name, &ours[first..], &lrs[first..], WIDE);
    }
}

#[test]
fn a_straight_line() {
    let at =
        |warmup, floor, step, steps| Schedule { warmup, decay: Decay::Linear { floor } }.factor(step, steps);
    // microgpt.py's, to the last bit: `1 - step / num_steps`.
    for step in 0..1000 {
        assert_eq!(at(0, 0.0, step, 1000), 1.0 - step as f64 / 1000.0, "step {step}");
    }
    assert_eq!([0, 1, 2, 3, 4, 9].map(|step| at(0, 0.0, step, 4)), [1.0, 0.75, 0.5, 0.25, 0.0, 0.0]);
    // Three steps up, four down to a half.
    let steps = [0, 1, 2, 3, 4, 5, 6, 7, 8].map(|step| at(3, 0.5, step, 7));
    assert_eq!(steps, [0.25, 0.5, 0.75, 1.0, 0.875, 0.75, 0.625, 0.5, 0.5]);
}

/// The formula of the paper, divided by its highest value, which it has in the last step of its warmup.
#[test]
fn the_inverse_square_root_of_the_paper() {
    let paper = |step_num: f64, warmup_steps: f64| {
        512_f64.powf(-0.5) * step_num.powf(-0.5).min(step_num * warmup_steps.powf(-1.5))
    };
    for warmup in [0, 1, 7, 3999] {
        let warmup_steps = warmup as f64 + 1.0;
        let schedule = Schedule { warmup, decay: Decay::InverseSqrt };
        for step in [0, 1, 2, 6, 7, 8, 100, 3998, 3999, 4000, 100_000] {
            let expected = paper(step as f64 + 1.0, warmup_steps) / paper(warmup_steps, warmup_steps);
            // It depends on no end.
            for steps in [1, 4000, usize::MAX] {
                let factor = schedule.factor(step, steps);
                assert!((factor - expected).abs() < 1e-12, "{warmup} {step}: {factor}, {expected}");
            }
        }
        assert_eq!(schedule.factor(warmup, 10), 1.0);
        assert_eq!(schedule.factor(4 * warmup + 3, 10), 0.5, "four times as many steps, half the rate");
    }
}

/// The warmup is the same for all, whatever follows; no rate is above the highest, below zero or no number, and none ever
/// rises again.
#[test]
fn every_schedule_rises_and_falls() {
    let floors = [0.0, 0.02, 1.0];
    let ends = floors.map(|floor| [Decay::Linear { floor }, Decay::Cosine { floor }]);
    for decay in ends.into_iter().flatten().chain([Decay::InverseSqrt, Decay::Constant]) {
        // With runs that end before the warmup, in it, or with it.
        for (warmup, steps) in [(0, 0), (0, 1), (0, 40), (5, 0), (5, 3), (5, 5), (5, 6), (5, 40)] {
            let schedule = Schedule { warmup, decay };
            let factors: Vec<f64> = (0..60).map(|step| schedule.factor(step, steps)).collect();
            let what = format!("{schedule:?}, {steps} steps: {factors:?}");
            for (step, factor) in factors[..warmup].iter().enumerate() {
                assert_eq!(*factor, (step + 1) as f64 / (warmup + 1) as f64, "{what}");
            }
            assert_eq!(factors[warmup], 1.0, "{what}");
            assert!(factors.iter().all(|factor| (0.0..=1.0).contains(factor)), "{what}");
            assert!(factors[warmup..].is_sorted_by(|before, after| before >= after), "{what}");
            let last = match decay {
                Decay::Constant => 1.0,
                Decay::InverseSqrt => ((warmup + 1) as f64 / 60.0).sqrt(),
                Decay::Linear { floor } | Decay::Cosine { floor } => floor,
            };
            assert!((factors[59] - last).abs() < 1e-15, "{what}");
        }
    }
}
