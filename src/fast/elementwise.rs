//! Functions of every element, the four operators, SwiGLU and dropout.

use super::simd::{exp, sigmoid};
use super::tape::{Earlier, Gradients, Id, Matrix, Op, accumulate};
use crate::function::{Binary, Function};
use crate::hash::Hash;
use crate::tensor::broadcast;

/// `y = f(x)`.
pub(super) fn apply<'t>(x: Matrix<'t>, f: Function) -> Matrix<'t> {
    x.pass.compute(Op::Unary { x: x.id, f }, (x.rows, x.cols), |earlier, y, _| {
        let x = earlier.data(x.id);
        let each = |y: &mut [f32], f: &dyn Fn(f32) -> f32| y.iter_mut().zip(x).for_each(|(y, &x)| *y = f(x));
        match f {
            Function::Relu => y.iter_mut().zip(x).for_each(|(y, &x)| *y = if x < 0.0 { 0.0 } else { x }),
            Function::Scale(c) => y.iter_mut().zip(x).for_each(|(y, &x)| *y = x * c as f32),
            Function::Shift(c) => y.iter_mut().zip(x).for_each(|(y, &x)| *y = x + c as f32),
            Function::Exp => y.iter_mut().zip(x).for_each(|(y, &x)| *y = exp(x)),
            Function::Silu => y.iter_mut().zip(x).for_each(|(y, &x)| *y = x * sigmoid(x)),
            other => each(y, &|x| other.value(f64::from(x)) as f32),
        }
    })
}

/// `dx = dy · f'(x)`.
pub(super) fn apply_backward(out: &mut Gradients, id: Id, x: Id, f: Function, dy: &[f32]) {
    let y = out.earlier.data(id);
    out.add(x, |earlier, dx, more| {
        let x = earlier.data(x);
        match f {
            Function::Relu => {
                accumulate(dx, more, dy.iter().zip(x).map(|(dy, &x)| if x > 0.0 { *dy } else { 0.0 }));
            }
            Function::Scale(c) => accumulate(dx, more, dy.iter().map(|dy| dy * c as f32)),
            Function::Shift(_) | Function::Identity => accumulate(dx, more, dy.iter().copied()),
            Function::Exp => accumulate(dx, more, dy.iter().zip(y).map(|(dy, y)| dy * y)),
            f => {
                let slope = |x: &f32, y: &f32| f.slope(f64::from(*x), f64::from(*y)) as f32;
                accumulate(dx, more, dy.iter().zip(x.iter().zip(y)).map(|(dy, (x, y))| dy * slope(x, y)));
            }
        }
    });
}

/// `y = a ∘ b`, where a single row or column is repeated.
pub(super) fn combine<'t>(a: Matrix<'t>, b: Matrix<'t>, op: Binary) -> Matrix<'t> {
    let (rows, cols) = broadcast(op.sign(), (a.rows, a.cols), (b.rows, b.cols));
    a.pass.compute(Op::Binary { a: a.id, b: b.id, op }, (rows, cols), |earlier, y, _| {
        let (x, z) = (earlier.data(a.id), earlier.data(b.id));
        if (a.rows, a.cols) == (b.rows, b.cols) {
            let each = y.iter_mut().zip(x.iter().zip(z));
            match op {
                Binary::Add => each.for_each(|(y, (a, b))| *y = a + b),
                Binary::Sub => each.for_each(|(y, (a, b))| *y = a - b),
                Binary::Mul => each.for_each(|(y, (a, b))| *y = a * b),
                Binary::Div => each.for_each(|(y, (a, b))| *y = a / b),
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
pub(super) fn combine_backward(out: &mut Gradients, a: Id, b: Id, op: Binary, dy: Vec<f32>) {
    let shape = |id: Id| (out.earlier.nodes[id as usize].rows, out.earlier.nodes[id as usize].cols);
    let (a_shape, b_shape) = (shape(a), shape(b));
    if a_shape == b_shape && matches!(op, Binary::Add | Binary::Sub) {
        let sign = if op == Binary::Add { 1.0 } else { -1.0 };
        out.add(b, |_, db, more| accumulate(db, more, dy.iter().map(|dy| sign * dy)));
        return out.pass_on(a, dy);
    }
    let (rows, cols) = (a_shape.0.max(b_shape.0), a_shape.1.max(b_shape.1));
    for (toward_a, id, shape) in [(true, a, a_shape), (false, b, b_shape)] {
        out.add(id, |earlier, grad, more| {
            if !more {
                grad.fill(0.0);
            }
            let x = Repeated::new(earlier.data(a), a_shape.0, a_shape.1);
            let z = Repeated::new(earlier.data(b), b_shape.0, b_shape.1);
            let to = Repeated::new(&[], shape.0, shape.1);
            for (at, dy) in dy.iter().take(rows * cols).enumerate() {
                let (row, col) = (at / cols, at % cols);
                let (x, z) = (x.at(row, col), z.at(row, col));
                let slope = match (op, toward_a) {
                    (Binary::Add, _) | (Binary::Sub, true) => 1.0,
                    (Binary::Sub, false) => -1.0,
                    (Binary::Mul, true) => z,
                    (Binary::Mul, false) => x,
                    (Binary::Div, true) => 1.0 / z,
                    (Binary::Div, false) => -x / (z * z),
                };
                grad[to.place(row, col)] += dy * slope;
            }
        });
    }
    out.give(dy);
}

fn value(op: Binary, a: f32, b: f32) -> f32 {
    match op {
        Binary::Add => a + b,
        Binary::Sub => a - b,
        Binary::Mul => a * b,
        Binary::Div => a / b,
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
    gate.pass.compute(Op::Swiglu { gate: gate.id, up: up.id }, (gate.rows, gate.cols), |earlier, y, _| {
        let (gate, up) = (earlier.data(gate.id), earlier.data(up.id));
        y.iter_mut().zip(gate.iter().zip(up)).for_each(|(y, (&g, &u))| *y = g * sigmoid(g) * u);
    })
}

/// With `s = sigmoid(g)`: `dup = dy · g·s`, and `dgate = dy · up · (s + g·s·(1 - s))`, the slope of `g·s`.
// ANCHOR: swiglu_backward
pub(super) fn swiglu_backward(out: &mut Gradients, gate: Id, up: Id, dy: &[f32]) {
    out.add(up, |earlier, dup, more| {
        let gate = earlier.data(gate);
        accumulate(dup, more, dy.iter().zip(gate).map(|(dy, &g)| dy * g * sigmoid(g)));
    });
    out.add(gate, |earlier, dgate, more| {
        let (gate, up) = (earlier.data(gate), earlier.data(up));
        let each = dy.iter().zip(gate.iter().zip(up));
        accumulate(
            dgate,
            more,
            each.map(|(dy, (&g, &u))| {
                let s = sigmoid(g);
                dy * u * (s + g * s * (1.0 - s))
            }),
        );
    });
}
// ANCHOR_END: swiglu_backward

/// `y = x / (1 - rate)` where the element is kept, else 0.
pub(super) fn dropout<'t>(x: Matrix<'t>, rate: f64, hash: Hash) -> Matrix<'t> {
    let op = Op::Dropout { x: x.id, rate, hash };
    x.pass.compute(op, (x.rows, x.cols), |earlier: Earlier<'_>, y, _| {
        masked(earlier.data(x.id), rate, hash).zip(y).for_each(|(x, y)| *y = x);
    })
}

/// `dx` is `dy` through the same mask, which is computed again.
pub(super) fn dropout_backward(out: &mut Gradients, x: Id, rate: f64, hash: Hash, dy: &[f32]) {
    out.add(x, |_, dx, more| accumulate(dx, more, masked(dy, rate, hash)));
}

fn masked(x: &[f32], rate: f64, hash: Hash) -> impl Iterator<Item = f32> {
    let (keep, threshold) = ((1.0 / (1.0 - rate)) as f32, Hash::threshold(rate));
    x.iter().zip(0u32..).map(move |(x, at)| if hash.bits(at) < threshold { 0.0 } else { x * keep })
}
