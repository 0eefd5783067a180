//! Functions of every element, the four operators, SwiGLU and dropout.

use super::simd::{exp, sigmoid};
use super::tape::{Gradients, Id, Matrix, Op, TapeView, write_or_add};
use crate::counter_rng::CounterRng;
use crate::function::{BinaryOp, UnaryOp};
use crate::tensor::broadcast;

/// `y = f(x)`.
pub(super) fn apply<'t>(x: Matrix<'t>, f: UnaryOp) -> Matrix<'t> {
    x.recording.compute(Op::Unary { x: x.id, f }, (x.rows, x.cols), |view, y, _| {
        let x = view.data(x.id);
        let each = |y: &mut [f32], f: &dyn Fn(f32) -> f32| y.iter_mut().zip(x).for_each(|(y, &x)| *y = f(x));
        match f {
            UnaryOp::Relu => y.iter_mut().zip(x).for_each(|(y, &x)| *y = if x < 0.0 { 0.0 } else { x }),
            UnaryOp::Scale(c) => y.iter_mut().zip(x).for_each(|(y, &x)| *y = x * c as f32),
            UnaryOp::Shift(c) => y.iter_mut().zip(x).for_each(|(y, &x)| *y = x + c as f32),
            UnaryOp::Exp => y.iter_mut().zip(x).for_each(|(y, &x)| *y = exp(x)),
            UnaryOp::Silu => y.iter_mut().zip(x).for_each(|(y, &x)| *y = x * sigmoid(x)),
            other => each(y, &|x| other.eval(f64::from(x)) as f32),
        }
    })
}

/// `dx = dy · f'(x)`.
pub(super) fn apply_backward(grads: &mut Gradients, id: Id, x: Id, f: UnaryOp, dy: &[f32]) {
    let y = grads.view.data(id);
    grads.add(x, |view, dx, accumulate| {
        let x = view.data(x);
        match f {
            UnaryOp::Relu => {
                write_or_add(
                    dx,
                    accumulate,
                    dy.iter().zip(x).map(|(dy, &x)| if x > 0.0 { *dy } else { 0.0 }),
                );
            }
            UnaryOp::Scale(c) => write_or_add(dx, accumulate, dy.iter().map(|dy| dy * c as f32)),
            UnaryOp::Shift(_) | UnaryOp::Identity => write_or_add(dx, accumulate, dy.iter().copied()),
            UnaryOp::Exp => write_or_add(dx, accumulate, dy.iter().zip(y).map(|(dy, y)| dy * y)),
            f => {
                let slope = |x: &f32, y: &f32| f.slope(f64::from(*x), f64::from(*y)) as f32;
                write_or_add(
                    dx,
                    accumulate,
                    dy.iter().zip(x.iter().zip(y)).map(|(dy, (x, y))| dy * slope(x, y)),
                );
            }
        }
    });
}

/// `y = a ∘ b`, where a single row or column is repeated.
pub(super) fn combine<'t>(a: Matrix<'t>, b: Matrix<'t>, op: BinaryOp) -> Matrix<'t> {
    let (rows, cols) = broadcast(op.sign(), (a.rows, a.cols), (b.rows, b.cols));
    a.recording.compute(Op::Binary { a: a.id, b: b.id, op }, (rows, cols), |view, y, _| {
        let (x, z) = (view.data(a.id), view.data(b.id));
        if (a.rows, a.cols) == (b.rows, b.cols) {
            let each = y.iter_mut().zip(x.iter().zip(z));
            match op {
                BinaryOp::Add => each.for_each(|(y, (a, b))| *y = a + b),
                BinaryOp::Sub => each.for_each(|(y, (a, b))| *y = a - b),
                BinaryOp::Mul => each.for_each(|(y, (a, b))| *y = a * b),
                BinaryOp::Div => each.for_each(|(y, (a, b))| *y = a / b),
            }
            return;
        }
        let (x, z) = (Repeated::new(x, a.rows, a.cols), Repeated::new(z, b.rows, b.cols));
        for (at, y) in y.iter_mut().enumerate() {
            let (row, col) = (at / cols, at % cols);
            *y = value(op, x.at(row, col), z.at(row, col));
        }
    })
}

/// `da = dy · ∂y/∂a` and `db = dy · ∂y/∂b`, summed over the repetitions of a single row or column.
pub(super) fn combine_backward(grads: &mut Gradients, a: Id, b: Id, op: BinaryOp, dy: Vec<f32>) {
    let shape = |id: Id| (grads.view.nodes[id as usize].rows, grads.view.nodes[id as usize].cols);
    let (a_shape, b_shape) = (shape(a), shape(b));
    if a_shape == b_shape && matches!(op, BinaryOp::Add | BinaryOp::Sub) {
        let sign = if op == BinaryOp::Add { 1.0 } else { -1.0 };
        grads.add(b, |_, db, accumulate| write_or_add(db, accumulate, dy.iter().map(|dy| sign * dy)));
        return grads.pass_on(a, dy);
    }
    let (rows, cols) = (a_shape.0.max(b_shape.0), a_shape.1.max(b_shape.1));
    for (toward_a, id, shape) in [(true, a, a_shape), (false, b, b_shape)] {
        grads.add(id, |view, grad, accumulate| {
            if !accumulate {
                grad.fill(0.0);
            }
            let x = Repeated::new(view.data(a), a_shape.0, a_shape.1);
            let z = Repeated::new(view.data(b), b_shape.0, b_shape.1);
            let to = Repeated::new(&[], shape.0, shape.1);
            for (at, dy) in dy.iter().take(rows * cols).enumerate() {
                let (row, col) = (at / cols, at % cols);
                let (x, z) = (x.at(row, col), z.at(row, col));
                let slope = match (op, toward_a) {
                    (BinaryOp::Add, _) | (BinaryOp::Sub, true) => 1.0,
                    (BinaryOp::Sub, false) => -1.0,
                    (BinaryOp::Mul, true) => z,
                    (BinaryOp::Mul, false) => x,
                    (BinaryOp::Div, true) => 1.0 / z,
                    (BinaryOp::Div, false) => -x / (z * z),
                };
                grad[to.place(row, col)] += dy * slope;
            }
        });
    }
    grads.give(dy);
}

fn value(op: BinaryOp, a: f32, b: f32) -> f32 {
    match op {
        BinaryOp::Add => a + b,
        BinaryOp::Sub => a - b,
        BinaryOp::Mul => a * b,
        BinaryOp::Div => a / b,
    }
}

/// A matrix whose single row or column stands for as many as are asked for.
#[derive(Clone, Copy)]
struct Repeated<'a> {
    data: &'a [f32],
    row_step: usize,
    col_step: usize,
}

impl<'a> Repeated<'a> {
    fn new(data: &'a [f32], rows: usize, cols: usize) -> Self {
        Repeated { data, row_step: if rows == 1 { 0 } else { cols }, col_step: usize::from(cols > 1) }
    }

    fn place(self, row: usize, col: usize) -> usize {
        row * self.row_step + col * self.col_step
    }

    fn at(self, row: usize, col: usize) -> f32 {
        self.data[self.place(row, col)]
    }
}

/// `y = silu(gate) · up`.
pub(super) fn swiglu<'t>(gate: Matrix<'t>, up: Matrix<'t>) -> Matrix<'t> {
    assert_eq!((gate.rows, gate.cols), (up.rows, up.cols), "swiglu: gate and up differ in shape");
    gate.recording.compute(Op::Swiglu { gate: gate.id, up: up.id }, (gate.rows, gate.cols), |view, y, _| {
        let (gate, up) = (view.data(gate.id), view.data(up.id));
        y.iter_mut().zip(gate.iter().zip(up)).for_each(|(y, (&g, &u))| *y = g * sigmoid(g) * u);
    })
}

/// With `s = sigmoid(g)`: `dup = dy · g·s`, and `dgate = dy · up · (s + g·s·(1 - s))`, the slope of `g·s`.
// ANCHOR: swiglu_backward
pub(super) fn swiglu_backward(grads: &mut Gradients, gate: Id, up: Id, dy: &[f32]) {
    grads.add(up, |view, dup, accumulate| {
        let gate = view.data(gate);
        write_or_add(dup, accumulate, dy.iter().zip(gate).map(|(dy, &g)| dy * g * sigmoid(g)));
    });
    grads.add(gate, |view, dgate, accumulate| {
        let (gate, up) = (view.data(gate), view.data(up));
        let each = dy.iter().zip(gate.iter().zip(up));
        write_or_add(
            dgate,
            accumulate,
            each.map(|(dy, (&g, &u))| {
                let s = sigmoid(g);
                dy * u * (s + g * s * (1.0 - s))
            }),
        );
    });
}
// ANCHOR_END: swiglu_backward

/// `y = x / (1 - rate)` where the element is kept, else 0.
pub(super) fn dropout<'t>(x: Matrix<'t>, rate: f64, rng: CounterRng) -> Matrix<'t> {
    let op = Op::Dropout { x: x.id, rate, rng };
    x.recording.compute(op, (x.rows, x.cols), |view: TapeView<'_>, y, _| {
        masked(view.data(x.id), rate, rng).zip(y).for_each(|(x, y)| *y = x);
    })
}

/// `dx` is `dy` through the same mask, which is computed again.
pub(super) fn dropout_backward(grads: &mut Gradients, x: Id, rate: f64, rng: CounterRng, dy: &[f32]) {
    grads.add(x, |_, dx, accumulate| write_or_add(dx, accumulate, masked(dy, rate, rng)));
}

fn masked(x: &[f32], rate: f64, rng: CounterRng) -> impl Iterator<Item = f32> {
    let (keep, threshold) = ((1.0 / (1.0 - rate)) as f32, CounterRng::threshold(rate));
    x.iter().zip(0u32..).map(move |(x, at)| if rng.bits(at) < threshold { 0.0 } else { x * keep })
}
