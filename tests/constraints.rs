//! Constraints: rows or columns of length 1, restored by the trainer before the first step and after each one, on every
//! engine and for every optimizer.

use gradus::data::{Batch, Sequences};
use gradus::model::{Cache, Linear, Mode, Model};
use gradus::optim::{Ema, constrain, normalize};
use gradus::params::{BoundParams, Init, Layout, Param, ParamSpec, UnitNorm};
use gradus::random::Random;
use gradus::real::Real;
use gradus::train::{Settings, Trainer};
use gradus::{Engine, Tensor, UnaryOp};

#[path = "common/method.rs"]
mod method;
#[path = "common/scalar_trainer.rs"]
mod scalar_trainer;

use method::{METHODS, SETTINGS};
use scalar_trainer::on_scalar;

const VOCAB: usize = 7;
const WIDTH: usize = 70; // more than one strip of columns
const INNER: usize = 12;

/// The lengths of all rows, or of all columns, of a matrix.
fn lengths<R: Real>(matrix: &[R], cols: usize, vectors: UnitNorm) -> Vec<f64> {
    let rows = matrix.len() / cols;
    let length = |numbers: &mut dyn Iterator<Item = usize>| {
        numbers.map(|at| matrix[at].to_f64().powi(2)).sum::<f64>().sqrt()
    };
    match vectors {
        UnitNorm::Rows => (0..rows).map(|row| length(&mut (row * cols..(row + 1) * cols))).collect(),
        UnitNorm::Cols => (0..cols).map(|col| length(&mut (col..matrix.len()).step_by(cols))).collect(),
    }
}

/// How far the length of any vector is from 1.
fn deviation<R: Real>(matrix: &[R], cols: usize, vectors: UnitNorm) -> f64 {
    lengths(matrix, cols, vectors).into_iter().map(|length| (length - 1.0).abs()).fold(0.0, f64::max)
}

#[test]
fn every_row_or_column_gets_length_one_and_keeps_its_direction() {
    fn check<R: Real>(tolerance: f64) {
        let mut random = Random::new(4);
        for (rows, cols) in [(1, 1), (1, 9), (9, 1), (3, 8), (5, 63), (4, 64), (7, 65), (130, 200), (2, 3000)]
        {
            for (vectors, other) in [(UnitNorm::Rows, UnitNorm::Cols), (UnitNorm::Cols, UnitNorm::Rows)] {
                let matrix: Vec<R> = (0..rows * cols).map(|_| R::from_f64(random.gauss(0.1, 20.0))).collect();
                let before = lengths(&matrix, cols, vectors);
                let mut unit = matrix.clone();
                normalize(&mut unit, cols, vectors);
                let what = format!("{rows} x {cols}, {vectors:?}");
                assert!(deviation(&unit, cols, vectors) < tolerance, "{what}");
                for (at, (x, y)) in matrix.iter().zip(&unit).enumerate() {
                    let length = before[if vectors == UnitNorm::Rows { at / cols } else { at % cols }];
                    let expected = x.to_f64() / length;
                    assert!(
                        (y.to_f64() - expected).abs() <= tolerance * expected.abs(),
                        "{what}, number {at}"
                    );
                }
                if rows > 1 && cols > 1 {
                    assert!(
                        deviation(&unit, cols, other) > 1e-3,
                        "{what}: the other vectors are no unit vectors"
                    );
                }
            }
        }
    }
    check::<f64>(1e-14);
    check::<f32>(1e-7);
}

#[test]
fn a_vector_of_zeros_stays_and_tiny_ones_do_not_overflow() {
    for vectors in [UnitNorm::Rows, UnitNorm::Cols] {
        let mut zero = [0.0_f32; 6];
        normalize(&mut zero, 3, vectors);
        assert_eq!(zero, [0.0; 6]);
        let mut tiny = [1e-40_f32, -1e-40, 1e-30, 1e30];
        normalize(&mut tiny, 2, vectors);
        assert!(deviation(&tiny, 2, vectors) < 1e-6, "{tiny:?}");
    }
}

/// A small network with both constraints, one parameter without any, and one that is frozen.
struct Sphere {
    layout: Layout,
    table: Param,
    gain: Param,
    up: Linear,
    down: Linear,
    head: Linear,
}

fn sphere() -> Sphere {
    let mut layout = Layout::default();
    let init = Init::Normal(0.3);
    let unit = |spec: ParamSpec, vectors| spec.with_constraint(vectors);
    let table = layout.add(unit(ParamSpec::embedding("table", VOCAB, WIDTH, init), UnitNorm::Rows));
    let gain = layout.add(ParamSpec::gain("gain", WIDTH));
    let up = Linear::of(layout.add(unit(ParamSpec::matrix("up", INNER, WIDTH, init), UnitNorm::Rows)));
    let down = Linear::of(layout.add(unit(ParamSpec::matrix("down", WIDTH, INNER, init), UnitNorm::Cols)));
    let head = unit(ParamSpec::embedding("head", VOCAB, WIDTH, init), UnitNorm::Rows).frozen();
    let head = Linear::of(layout.add(head));
    Sphere { layout, table, gain, up, down, head }
}

impl Model for Sphere {
    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn losses<T: Tensor>(&self, w: BoundParams<'_, T>, batch: &Batch, mode: Mode) -> T {
        let x = w[self.table].gather_rows(batch.sequences().tokens) * w[self.gain]; // [n, WIDTH]
        let inner = self.up.forward(w, x).apply(UnaryOp::Silu); // [n, INNER]
        let x = x + self.down.forward(w, inner);
        self.head.forward(w, x).cross_entropy(batch.targets(), mode.smoothing)
    }

    fn decode<T: Tensor>(&self, _: BoundParams<'_, T>, _: Sequences<'_>, _: &mut Cache<'_, T>) -> T {
        unreachable!("it is only trained")
    }

    fn vocab_size(&self) -> usize {
        VOCAB
    }

    fn context(&self) -> usize {
        usize::MAX
    }
}

fn batch() -> Batch {
    let mut batch = Batch::new();
    for row in 0..4 {
        batch.push((0..=9).map(|at| (row + at * (row + 1)) % VOCAB));
    }
    batch
}

fn initial(model: &impl Model) -> Vec<f32> {
    model.layout().initial(&mut Random::new(8))
}

/// All constraints hold for the trainable parameters, and the frozen one is as it was.
fn check<R: Real>(what: &str, layout: &Layout, params: &[R], initial: &[f32]) {
    let mut constrained = 0;
    for spec in layout.specs() {
        let own = &params[spec.range()];
        match spec.constraint {
            Some(vectors) if spec.trainable => {
                let deviation = deviation(own, spec.cols, vectors);
                assert!(deviation < 1e-6, "{what}: {} is {deviation} from the sphere", spec.name);
                constrained += 1;
            }
            _ if !spec.trainable => {
                let same = own.iter().zip(&initial[spec.range()]).all(|(a, &b)| a.to_f64() == f64::from(b));
                assert!(same, "{what}: {} is frozen", spec.name);
            }
            _ => assert!(deviation(own, spec.cols, UnitNorm::Rows) > 1.0, "{what}: {} is free", spec.name),
        }
    }
    assert_eq!(constrained, 3);
}

#[test]
fn lengths_are_one_before_the_first_step_and_after_each() {
    fn follow<M: Model, E: Engine>(what: &str, mut trainer: Trainer<M, E>, initial: &[f32]) -> f64 {
        check(&format!("{what}, before"), trainer.model().layout(), trainer.params(), initial);
        let mut first = None;
        let mut last = 0.0;
        for step in 1..=20 {
            last = trainer.step(&batch()).loss;
            assert!(last.is_finite(), "{what}, step {step}");
            first.get_or_insert(last);
            let layout = trainer.model().layout();
            check(&format!("{what}, step {step}"), layout, trainer.params(), initial);
            check(&format!("{what}, average of step {step}"), layout, &trainer.eval_params(), initial);
        }
        last - first.expect("a step was made")
    }
    for method in METHODS {
        for (rate, learns) in [(SETTINGS.learning_rate, true), (3.0, false)] {
            let settings = Settings { learning_rate: rate, ..SETTINGS };
            let what = format!("{method:?} at {rate}");
            let params = initial(&sphere());
            let scalar = follow(&what, on_scalar(method, sphere(), settings, &params), &params);
            let fast = follow(&what, method.on_fast(sphere(), settings, 2, params.clone()), &params);
            assert!(!learns || (scalar < 0.0 && fast < 0.0), "{what}: {scalar}, {fast}");
        }
    }
}

/// Fresh parameters and given ones, and without the trainer's help they do not stay on the sphere.
#[test]
fn the_trainer_is_what_restores_them() {
    let model = sphere();
    let layout = model.layout();
    let mut params = initial(&model);
    let up = layout.specs().iter().find(|spec| spec.name == "up").expect("it is there");
    assert!(
        deviation(&params[up.range()], WIDTH, UnitNorm::Rows) > 0.1,
        "fresh ones are drawn, not normalised"
    );
    constrain(layout, &mut params);
    check("constrained", layout, &params, &initial(&model));
    for method in METHODS {
        let mut moved = params.clone();
        let mut optimizer = method.optimizer(layout, &gradus::thread_pool::ThreadPool::new(1));
        let gradient: Vec<f32> = (0..layout.trainable_len()).map(|at| (at as f32).sin()).collect();
        optimizer.update(&mut moved, &gradient, 0.01);
        assert!(deviation(&moved[up.range()], WIDTH, UnitNorm::Rows) > 1e-4, "{method:?}");
    }
    // The average of two unit vectors is shorter than they are.
    let mut ema = Ema::new(layout, &params);
    let opposite: Vec<f32> = params.iter().rev().copied().collect();
    ema.update(layout, &opposite, 0.5);
    let average = &ema.average()[up.grad_range().expect("it is trainable")];
    assert!(deviation(average, WIDTH, UnitNorm::Rows) < 1e-6);
}

#[test]
fn a_run_is_resumed_bit_for_bit() {
    for method in METHODS {
        let trainer = || method.on_fast(sphere(), SETTINGS, 1, initial(&sphere()));
        let folder = tempfile::tempdir().expect("a folder");
        let (mut whole, mut half, mut rest) = (trainer(), trainer(), trainer());
        let losses = |trainer: &mut Trainer<_, _>, steps: usize| -> Vec<f64> {
            (0..steps).map(|_| trainer.step(&batch()).loss).collect()
        };
        let expected = losses(&mut whole, 10);
        let mut ours = losses(&mut half, 5);
        half.save_state(folder.path(), ()).expect("it can be saved");
        losses(&mut rest, 2);
        rest.restore_state::<()>(folder.path()).expect("it can be restored");
        assert_eq!(rest.params(), half.params(), "{method:?}: nothing is normalised once more");
        ours.extend(losses(&mut rest, 5));
        assert_eq!(ours, expected, "{method:?}");
        assert_eq!(rest.params(), whole.params(), "{method:?}");
        assert_eq!(rest.eval_params(), whole.eval_params(), "{method:?}");
    }
}
