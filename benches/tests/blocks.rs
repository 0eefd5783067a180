//! The engine of blocks computes what the scalar engine of the library computes, for every operation of the contract.

use gradus::{Tensor, UnaryOp};
use gradus_benches::ladder::blocks::{Arena, Matrix};

#[path = "../../tests/common/cases.rs"]
mod cases;
#[path = "../../tests/common/engines.rs"]
mod engines;

use engines::{Autograd, Expression, Numbers, OnScalar, Outcome};

/// Sums of floats may be taken in another order.
const TOLERANCE: f64 = 1e-12;

#[derive(Default)]
struct OnBlocks(Arena);

impl Autograd for OnBlocks {
    fn evaluate(
        &mut self,
        expression: &impl Expression,
        inputs: &[Numbers],
        upstream: &dyn Fn(usize) -> f64,
    ) -> Outcome {
        let graph = self.0.graph();
        let x: Vec<Matrix> = inputs.iter().map(|m| graph.matrix(m.rows, m.cols, &m.data)).collect();
        let y = expression.of(&x);
        let (rows, cols) = y.shape();
        let upstream: Vec<f64> = (0..rows * cols).map(upstream).collect();
        let loss = (y * y.constant(rows, cols, &upstream)).row_sum().weighted_sum(&vec![1.0; rows]);
        (loss * loss).backward(); // a second pass must not add to what the first has left behind
        loss.backward();
        let gradient = |(x, m): (&Matrix, &Numbers)| Numbers {
            data: (0..m.rows).flat_map(|row| x.row_grad(row).collect::<Vec<_>>()).collect(),
            ..*m
        };
        Outcome {
            output: Numbers { rows, cols, data: (0..rows).flat_map(|row| y.row(row)).copied().collect() },
            gradients: x.iter().zip(inputs).map(gradient).collect(),
        }
    }
}

/// What differs between the two engines.
#[derive(Default)]
struct Differences {
    cases: usize,
    wrong: Vec<String>,
}

impl cases::Visitor for Differences {
    fn case(&mut self, name: &str, inputs: &[Numbers], expression: &impl Expression) {
        let upstream = |n: usize| 0.2 + (n as f64 * 1.7 + 0.5).sin();
        let ours = OnBlocks::default().evaluate(expression, inputs, &upstream);
        let exact = OnScalar::default().evaluate(expression, inputs, &upstream);
        let pairs =
            ours.gradients.iter().chain([&ours.output]).zip(exact.gradients.iter().chain([&exact.output]));
        for (ours, exact) in pairs {
            assert_eq!(ours.data.len(), exact.data.len(), "{name}");
            let scale = exact.data.iter().fold(1.0, |most: f64, x| most.max(x.abs()));
            let close = |(a, b): (&f64, &f64)| (a - b).abs() <= TOLERANCE * scale;
            if !ours.data.iter().zip(&exact.data).all(close) {
                self.wrong.push(format!("{name}: {:?} instead of {:?}", ours.data, exact.data));
            }
        }
        self.cases += 1;
    }
}

#[test]
fn every_operation_as_on_the_scalar_engine() {
    let mut differences = Differences::default();
    cases::all(&mut differences);
    assert!(differences.cases > 100, "only {} cases", differences.cases);
    assert!(differences.wrong.is_empty(), "{}", differences.wrong.join("\n"));
}

#[test]
fn a_block_that_the_root_does_not_depend_on_has_no_gradient() {
    let mut arena = Arena::default();
    let graph = arena.graph();
    let x = graph.matrix(1, 2, &[1.0, 2.0]);
    let exp = x.apply(UnaryOp::Exp);
    let first = exp.row_sum();
    let second = (x * x).row_sum();
    first.backward();
    assert_eq!(exp.row_grad(0).collect::<Vec<_>>(), [1.0, 1.0]);
    second.backward();
    assert_eq!(x.row_grad(0).collect::<Vec<_>>(), [2.0, 4.0]);
    assert_eq!(exp.row_grad(0).collect::<Vec<_>>(), [0.0, 0.0]);
}

/// `∞ · 0` is no number, but a result that does not count has no gradient, however steep it is.
#[test]
fn nothing_flows_through_an_infinite_slope_that_does_not_count() {
    let mut arena = Arena::default();
    let x = arena.graph().matrix(1, 1, &[0.0]);
    (x.apply(UnaryOp::Ln).apply(UnaryOp::Exp)).backward();
    assert_eq!(x.row_grad(0).collect::<Vec<_>>(), [0.0]);
}

#[test]
#[should_panic(expected = "operands from two graphs")]
fn matrices_of_two_graphs_do_not_mix() {
    let (mut one, mut other) = (Arena::default(), Arena::default());
    let _ = one.graph().matrix(1, 1, &[1.0]) + other.graph().matrix(1, 1, &[1.0]);
}
