//! Expressions, written once for every engine, and engines that evaluate them.

use gradus::Tensor;
use gradus::scalar::{Arena, Matrix, Value};

/// A matrix of plain numbers, row by row.
#[derive(Clone, Debug)]
pub struct Numbers {
    pub rows: usize,
    pub cols: usize,
    pub data: Vec<f64>,
}

/// A calculation on matrices.
pub trait Expression: Sync {
    fn of<T: Tensor>(&self, x: &[T]) -> T;
}

/// The result of evaluating an expression.
pub struct Outcome {
    pub output: Numbers,
    /// The gradient, with respect to each input, of the sum of all outputs, each times its `upstream`.
    pub gradients: Vec<Numbers>,
}

/// An engine, as the tests of operations see it.
pub trait Autograd {
    /// Evaluates an expression and the gradients of its inputs, given `upstream`: the gradient of the n-th element of the
    /// output, row by row.
    fn evaluate(
        &mut self,
        expression: &impl Expression,
        inputs: &[Numbers],
        upstream: &dyn Fn(usize) -> f64,
    ) -> Outcome;
}

/// The scalar engine.
#[derive(Default)]
pub struct OnScalar(Arena);

impl Autograd for OnScalar {
    fn evaluate(
        &mut self,
        expression: &impl Expression,
        inputs: &[Numbers],
        upstream: &dyn Fn(usize) -> f64,
    ) -> Outcome {
        let graph = self.0.graph();
        let matrix = |m: &Numbers| graph.matrix(m.rows, m.cols, &m.data);
        let x: Vec<_> = inputs.iter().map(matrix).collect();
        let y = expression.of(&x);
        let (rows, cols) = y.shape();
        let values: Vec<Value> = (0..rows * cols).map(|n| y.at(n / cols, n % cols)).collect();
        let terms: Vec<Value> = values.iter().enumerate().map(|(n, &y)| y * upstream(n)).collect();
        Value::sum(&terms).backward();
        let gradient = |(x, m): (Matrix, &Numbers)| {
            let grad = |n| x.at(n / m.cols, n % m.cols).grad();
            Numbers { data: (0..m.rows * m.cols).map(grad).collect(), ..*m }
        };
        Outcome {
            output: Numbers { rows, cols, data: values.iter().map(|y| y.data()).collect() },
            gradients: x.into_iter().zip(inputs).map(gradient).collect(),
        }
    }
}
