//! The linear layer with its bias and its low-rank adapter: what it computes, its gradients, and that an adapter changes
//! nothing at first and trains nothing but itself.

use gradus::data::Batch;
use gradus::fast::FastEngine;
use gradus::model::{Linear, Mode, Model};
use gradus::params::{BoundParams, Init, Layout, ParamKind, ParamSpec};
use gradus::random::Random;
use gradus::real::Real;
use gradus::scalar::ScalarEngine;
use gradus::thread_pool::ThreadPool;
use gradus::train::{Settings, Trainer};
use gradus::{Engine, Tensor, UnaryOp};

#[path = "common/default_bodies.rs"]
mod default_bodies;
#[path = "common/method.rs"]
mod method;
#[path = "common/model_adapter.rs"]
mod model_adapter;
#[path = "common/scalar_trainer.rs"]
mod scalar_trainer;

use default_bodies::DefaultBodies;
use method::{METHODS, SETTINGS};
use model_adapter::{ModelAdapter, TokenColumn, elements, tokens};
use scalar_trainer::on_scalar;

const INPUTS: usize = 5;
const INNER: usize = 7;
const OUTPUTS: usize = 4;
const RANK: usize = 2;
const SCALE: f64 = 1.5;

/// What the layers of a network have beside their weights.
#[derive(Clone, Copy, Debug, PartialEq)]
struct With {
    bias: bool,
    adapter: bool,
}

const ALL: [With; 4] = [
    With { bias: false, adapter: false },
    With { bias: true, adapter: false },
    With { bias: false, adapter: true },
    With { bias: true, adapter: true },
];

/// Two layers with an activation between them, on a table of inputs. Adapters come last, so that what stands before them
/// is the same with and without.
struct Network {
    table: gradus::params::Param,
    first: Linear,
    second: Linear,
    unfused: bool,
    /// Whether it computes losses, or its outputs one below another.
    losses: bool,
}

fn network(with: With, unfused: bool, losses: bool) -> ModelAdapter<Network> {
    let mut layout = Layout::default();
    let table = layout.add(ParamSpec::embedding("table", OUTPUTS, INPUTS, Init::Normal(0.7)));
    let mut first = Linear::new(&mut layout, "first", INPUTS, INNER, Init::Normal(0.5));
    let mut second = Linear::new(&mut layout, "second", INNER, OUTPUTS, Init::Normal(0.5));
    if with.bias {
        first = first.with_bias(&mut layout);
        second = second.with_bias(&mut layout);
    }
    if with.adapter {
        layout.freeze(|_| true);
        first = first.with_adapter(&mut layout, RANK, SCALE);
        second = second.with_adapter(&mut layout, RANK, -SCALE);
    }
    ModelAdapter::new(layout, Network { table, first, second, unfused, losses })
}

impl Network {
    fn outputs<T: Tensor>(&self, w: BoundParams<'_, T>, batch: &Batch) -> T {
        let x = w[self.table].gather_rows(batch.sequences().tokens); // [n, INPUTS]
        self.second.forward(w, self.first.forward(w, x).apply(UnaryOp::Silu)) // [n, OUTPUTS]
    }

    fn column<T: Tensor>(&self, w: BoundParams<'_, T>, batch: &Batch, mode: Mode) -> T {
        if self.losses {
            self.outputs(w, batch).cross_entropy(batch.targets(), mode.smoothing)
        } else {
            elements(self.outputs(w, &self::batch()))
        }
    }
}

impl TokenColumn for Network {
    fn of<T: Tensor>(&self, w: BoundParams<'_, T>, batch: &Batch, mode: Mode) -> T {
        if self.unfused {
            let plain: Vec<_> = w.tensors().iter().map(|&tensor| DefaultBodies(tensor)).collect();
            self.column(BoundParams::new(&plain), batch, mode).0
        } else {
            self.column(w, batch, mode)
        }
    }
}

/// Two sequences of six tokens in all.
fn batch() -> Batch {
    let mut batch = Batch::new();
    batch.push([0, 1, 2, 3, 0]);
    batch.push([3, 3, 1]);
    batch
}

/// Every number of a layout drawn at random, zero or not at first.
fn drawn(layout: &Layout) -> Vec<f32> {
    let mut random = Random::new(6);
    (0..layout.len()).map(|_| random.gauss(0.0, 0.6) as f32).collect()
}

fn wide<R: Real>(numbers: &[f32]) -> Vec<R> {
    numbers.iter().map(|&x| R::from_f64(f64::from(x))).collect()
}

/// Loss, token losses (or outputs) and gradient.
fn run<E: Engine>(
    mut engine: E,
    model: &impl Model,
    params: &[f32],
    batch: &Batch,
) -> (f64, Vec<f64>, Vec<f64>) {
    let mut gradient = vec![E::Real::from_f64(f64::NAN); model.layout().trainable_len()];
    let loss = engine.gradient(model, &wide(params), batch, Mode::default(), &mut gradient);
    let gradient = gradient.into_iter().map(Real::to_f64).collect();
    (loss, engine.token_losses().to_vec(), gradient)
}

fn fast() -> FastEngine {
    FastEngine::new(ThreadPool::new(1))
}

fn outputs<E: Engine>(engine: E, with: With, params: &[f32]) -> Vec<f64> {
    run(engine, &network(with, false, false), params, &tokens(batch().len() * OUTPUTS)).1
}

#[test]
fn names_kinds_and_shapes() {
    let model = network(With { bias: true, adapter: true }, false, true);
    let said: Vec<(&str, [usize; 2], ParamKind, bool)> = (model.layout().specs().iter())
        .map(|spec| (spec.name.as_str(), [spec.rows, spec.cols], spec.kind, spec.trainable))
        .collect();
    let expected = [
        ("table", [OUTPUTS, INPUTS], ParamKind::Embedding, false),
        ("first.weight", [INNER, INPUTS], ParamKind::Matrix, false),
        ("second.weight", [OUTPUTS, INNER], ParamKind::Matrix, false),
        ("first.bias", [1, INNER], ParamKind::Bias, false),
        ("second.bias", [1, OUTPUTS], ParamKind::Bias, false),
        ("first.lora_A.weight", [RANK, INPUTS], ParamKind::Matrix, true),
        ("first.lora_B.weight", [INNER, RANK], ParamKind::Matrix, true),
        ("second.lora_A.weight", [RANK, INNER], ParamKind::Matrix, true),
        ("second.lora_B.weight", [OUTPUTS, RANK], ParamKind::Matrix, true),
    ];
    assert_eq!(said, expected);
    assert_eq!(model.layout().trainable_len(), RANK * (INPUTS + INNER + INNER + OUTPUTS));
    // A is drawn evenly between ±1/√inputs, B and the biases are zero.
    let params: Vec<f64> = model.layout().initial(&mut Random::new(2));
    for spec in model.layout().specs() {
        let own = &params[spec.range()];
        let largest = own.iter().fold(0.0, |largest: f64, x| largest.max(x.abs()));
        if spec.name.ends_with("lora_A.weight") {
            let bound = (spec.cols as f64).sqrt().recip();
            assert!(largest <= bound && largest > 0.7 * bound, "{}: {largest}", spec.name);
            assert!(own.iter().any(|x| *x < 0.0) && own.iter().any(|x| *x > 0.0), "{}", spec.name);
        } else {
            let zero = spec.name.ends_with("lora_B.weight") || spec.kind == ParamKind::Bias;
            assert_eq!(largest == 0.0, zero, "{}", spec.name);
        }
    }
}

/// The layer written out in plain loops: `x·Wᵀ + b + scale · (x·Aᵀ)·Bᵀ`.
#[test]
fn the_output_is_what_the_paper_says() {
    for with in ALL {
        let model = network(with, false, false);
        let params = drawn(model.layout());
        let find = |name: String| {
            let spec = model.layout().specs().iter().find(|spec| spec.name == name)?;
            Some((spec.cols, wide::<f64>(&params[spec.range()])))
        };
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let times = |x: &[f64], (cols, matrix): &(usize, Vec<f64>)| -> Vec<f64> {
            matrix.chunks(*cols).map(|row| dot(x, row)).collect()
        };
        let layer = |name: &str, scale: f64, x: &[f64]| -> Vec<f64> {
            let mut y = times(x, &find(format!("{name}.weight")).expect("a weight"));
            if with.bias {
                let (_, bias) = find(format!("{name}.bias")).expect("a bias");
                y.iter_mut().zip(bias).for_each(|(y, b)| *y += b);
            }
            if with.adapter {
                let [a, b] =
                    ["A", "B"].map(|part| find(format!("{name}.lora_{part}.weight")).expect("a part"));
                y.iter_mut().zip(times(&times(x, &a), &b)).for_each(|(y, low)| *y += scale * low);
            }
            y
        };
        let (_, table) = find("table".to_owned()).expect("a table");
        let mut expected = Vec::new();
        for &token in batch().sequences().tokens {
            let inner = layer("first", SCALE, &table[token * INPUTS..(token + 1) * INPUTS]);
            let inner: Vec<f64> = inner.into_iter().map(|x| x / (1.0 + (-x).exp())).collect();
            expected.extend(layer("second", -SCALE, &inner));
        }
        let ours =
            [(outputs(ScalarEngine::new(), with, &params), 1e-14), (outputs(fast(), with, &params), 1e-6)];
        for (ours, tolerance) in ours {
            assert_eq!(ours.len(), expected.len());
            for (a, b) in ours.iter().zip(&expected) {
                assert!((a - b).abs() <= tolerance * b.abs().max(1.0), "{with:?}: {a} instead of {b}");
            }
        }
    }
}

#[test]
fn gradients_are_what_differences_say() {
    for with in ALL {
        let model = network(with, false, true);
        let mut params: Vec<f64> = wide(&drawn(model.layout()));
        let mut engine = ScalarEngine::new();
        let mut gradient = vec![0.0; model.layout().trainable_len()];
        let mut scratch = gradient.clone();
        engine.gradient(&model, &params, &batch(), Mode::default(), &mut gradient);
        let places: Vec<usize> = model.layout().trainable().flat_map(|(_, range, _)| range).collect();
        assert_eq!(places.len(), gradient.len());
        for (at, grad) in places.into_iter().zip(&gradient) {
            let w = params[at];
            let mut moved = |to: f64| {
                params[at] = to;
                engine.gradient(&model, &params, &batch(), Mode::default(), &mut scratch)
            };
            let numeric = (moved(w + 1e-6) - moved(w - 1e-6)) / 2e-6;
            params[at] = w;
            let close = (grad - numeric).abs() <= 1e-8 + 1e-6 * numeric.abs();
            assert!(close, "{with:?}, number {at}: {grad}, but {numeric} by differences");
        }
    }
}

#[test]
fn engines_agree_fused_and_unfused() {
    for with in ALL {
        let [fused, unfused] = [false, true].map(|unfused| network(with, unfused, true));
        let params = drawn(fused.layout());
        let exact = run(ScalarEngine::new(), &fused, &params, &batch());
        let ways = [
            ("scalar, unfused", run(ScalarEngine::new(), &unfused, &params, &batch()), 1e-12),
            ("fast", run(fast(), &fused, &params, &batch()), 1e-5),
            ("fast, unfused", run(fast(), &unfused, &params, &batch()), 1e-5),
        ];
        for (way, (loss, losses, gradient), tolerance) in ways {
            assert!((loss - exact.0).abs() < tolerance, "{with:?}, {way}: {loss} instead of {}", exact.0);
            for (what, ours, theirs) in [("losses", &losses, &exact.1), ("gradient", &gradient, &exact.2)] {
                let greatest = theirs.iter().fold(0.0, |greatest: f64, x| greatest.max(x.abs()));
                assert_eq!(ours.len(), theirs.len());
                for (a, b) in ours.iter().zip(theirs) {
                    assert!((a - b).abs() < tolerance * greatest, "{with:?}, {way}, {what}: {a} and {b}");
                }
            }
        }
    }
}

/// `B` is zero at first: the output is the base's to the last digit, whatever `A` is.
#[test]
fn an_adapter_changes_nothing_at_first() {
    for bias in [false, true] {
        let [base, adapted] = [false, true].map(|adapter| With { bias, adapter });
        let model = network(adapted, false, false);
        let params: Vec<f32> = model.layout().initial(&mut Random::new(5));
        let base_len = network(base, false, false).layout().len();
        assert!(params[base_len..].iter().any(|x| *x != 0.0), "A is not zero");
        let own = &params[..base_len];
        assert_eq!(outputs(ScalarEngine::new(), adapted, &params), outputs(ScalarEngine::new(), base, own));
        assert_eq!(outputs(fast(), adapted, &params), outputs(fast(), base, own));
    }
}

/// On a frozen base only `A` and `B` are trained, and they learn.
#[test]
fn an_adapter_trains_nothing_but_itself() {
    fn check<M: Model, E: Engine>(what: &str, mut trainer: Trainer<M, E>) {
        let before = trainer.params().to_vec();
        let first = trainer.step(&batch()).loss;
        assert_eq!(trainer.gradient().len(), RANK * (INPUTS + INNER + INNER + OUTPUTS), "{what}");
        for _ in 0..40 {
            trainer.step(&batch());
        }
        let last = trainer.step(&batch()).loss;
        assert!(last < first - 0.02, "{what}: {first} at first, {last} at last");
        for spec in trainer.model().layout().specs() {
            let range = spec.range();
            let moved =
                before[range.clone()].iter().zip(&trainer.params()[range]).filter(|(a, b)| a != b).count();
            let expected = if spec.name.contains("lora") { spec.range().len() } else { 0 };
            assert_eq!(moved, expected, "{what}: {}", spec.name);
        }
    }
    let settings = Settings { weighting: false, ..SETTINGS };
    for method in METHODS {
        for bias in [false, true] {
            let model = || network(With { bias, adapter: true }, false, true);
            let params: Vec<f32> = model().layout().initial(&mut Random::new(7));
            let what = format!("{method:?}, bias: {bias}");
            check(&format!("{what}, scalar"), on_scalar(method, model(), settings, &params));
            check(&format!("{what}, fast"), method.on_fast(model(), settings, 1, params));
        }
    }
}
