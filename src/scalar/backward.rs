//! How numbers hand their gradients down to what they were made from.

use std::array::from_fn;
use std::cell::Cell;

use super::made::Made;
use super::value::{Block, Value};
use super::view::{Row, View};
use crate::function::{BinaryOp, UnaryOp};

/// Hands the gradients of all numbers of a block down to their operands, which lie in earlier blocks.
pub(super) fn hand_down<'g>(y: &'g Block<'g>, generation: u64) {
    // Before anything is added there: what is left of an earlier pass goes.
    y.made.views(|x| _ = x.block.reach(generation));
    match y.made {
        Made::Given => {}
        Made::Unary(f, x) => unary(f, *x, y),
        Made::Binary(op, a, b) => binary(op, *a, *b, y),
        Made::RowSum(x) => {
            for (row, g) in y.grad.iter().enumerate() {
                x.row(row).grad.iter().for_each(|to_x| add(to_x, g.get()));
            }
        }
        Made::RowDot(a, b) => {
            for (row, g) in y.grad.iter().enumerate() {
                dots(a.row(row), |_| b.row(row), std::slice::from_ref(g));
            }
        }
        Made::MatmulT(a, b) => {
            for (row, grads) in y.grad.chunks_exact(b.shape().0).enumerate() {
                dots(a.row(row), |n| b.row(n), grads);
            }
        }
        Made::Matmul(a, b) => {
            for (row, grads) in y.grad.chunks_exact(b.shape().1).enumerate() {
                matmul_row(a.row(row), b, grads);
            }
        }
        Made::GatherRows(x, rows) => {
            for (&row, grads) in rows.iter().zip(y.grad.chunks_exact(x.shape().1)) {
                copied(x.row(row), grads);
            }
        }
        Made::Pick(x, cols) => {
            for (row, (&col, g)) in cols.iter().zip(y.grad).enumerate() {
                add(&x.row(row).grad[col], g.get());
            }
        }
        Made::ConcatCols(parts) => {
            let mut rest = y.grad;
            for row in 0..parts[0].shape().0 {
                for part in parts {
                    let (grads, after) = rest.split_at(part.shape().1);
                    copied(part.row(row), grads);
                    rest = after;
                }
            }
        }
        Made::ConcatRows(parts) => {
            let mut rest = y.grad;
            for part in parts {
                for row in 0..part.shape().0 {
                    let (grads, after) = rest.split_at(part.shape().1);
                    copied(part.row(row), grads);
                    rest = after;
                }
            }
        }
        Made::Sum(terms) => {
            let g = y.grad[0].get();
            terms.iter().for_each(|x| add(x.reach(generation), g));
        }
        Made::Dot(pairs) => {
            let g = y.grad[0].get();
            for (a, b) in pairs {
                add(a.reach(generation), handed(g, b.data()));
                add(b.reach(generation), handed(g, a.data()));
            }
        }
    }
}

/// Adds to a gradient.
#[inline]
fn add(grad: &Cell<f64>, term: f64) {
    grad.set(grad.get() + term);
}

// ANCHOR: handed
/// What a number with gradient `g` hands down to an operand: `g` times the slope toward that operand.
///
/// If the gradient is zero, that is zero, even where the slope is infinite: the result does not depend on this number.
#[inline]
fn handed(g: f64, slope: f64) -> f64 {
    if g != 0.0 { g * slope } else { 0.0 }
}
// ANCHOR_END: handed

/// `y = x`.
fn copied(x: Row<'_>, grads: &[Cell<f64>]) {
    x.grad.iter().zip(grads).for_each(|(to_x, g)| add(to_x, g.get()));
}

/// `y = f(x)`. The frequent functions have a loop of their own, in which nothing is asked; the others ask for each number
/// which function it was.
fn unary<'g>(f: UnaryOp, x: View<'g>, y: &'g Block<'g>) {
    match f {
        UnaryOp::Identity | UnaryOp::Shift(_) => unary_rows(x, y, |_, _| 1.0),
        UnaryOp::Scale(c) => unary_rows(x, y, |_, _| c),
        UnaryOp::Relu => unary_rows(x, y, |x, y| UnaryOp::Relu.slope(x, y)),
        UnaryOp::Exp => unary_rows(x, y, |x, y| UnaryOp::Exp.slope(x, y)),
        f => unary_rows(x, y, |x, y| f.slope(x, y)),
    }
}

// ANCHOR: unary
fn unary_rows<'g>(x: View<'g>, y: &'g Block<'g>, slope: impl Fn(f64, f64) -> f64) {
    let view = x.flat();
    let (rows, cols) = view.shape();
    for row in 0..rows {
        let (operands, results) = (view.row(row), y.stretch(row * cols..(row + 1) * cols));
        for (((x, to_x), y), g) in operands.data.iter().zip(operands.grad).zip(results.data).zip(results.grad)
        {
            add(to_x, handed(g.get(), slope(*x, *y)));
        }
    }
}
// ANCHOR_END: unary

/// `y = a ∘ b`. What the operator is, is asked once for all numbers.
fn binary<'g>(op: BinaryOp, a: View<'g>, b: View<'g>, y: &'g Block<'g>) {
    match op {
        BinaryOp::Add => binary_rows(a, b, y, |a, b, y| BinaryOp::Add.slopes(a, b, y)),
        BinaryOp::Sub => binary_rows(a, b, y, |a, b, y| BinaryOp::Sub.slopes(a, b, y)),
        BinaryOp::Mul => binary_rows(a, b, y, |a, b, y| BinaryOp::Mul.slopes(a, b, y)),
        BinaryOp::Div => binary_rows(a, b, y, |a, b, y| BinaryOp::Div.slopes(a, b, y)),
    }
}

fn binary_rows<'g>(a: View<'g>, b: View<'g>, y: &'g Block<'g>, slopes: impl Fn(f64, f64, f64) -> (f64, f64)) {
    let (a, b) = View::flat_pair(a, b);
    let (rows, cols) = (a.rows.max(b.rows) as usize, a.cols.max(b.cols) as usize);
    for row in 0..rows {
        let (a, b, y) = (a.row_or_only(row), b.row_or_only(row), y.stretch(row * cols..(row + 1) * cols));
        let result = y.data.iter().zip(y.grad.iter().map(Cell::get));
        match (a.data, b.data) {
            // The only number of a row stands for all, so it gets the sum of what all results hand down.
            (&[a_data], _) => {
                let mut sum = 0.0;
                for ((&b, to_b), (&y, g)) in b.data.iter().zip(b.grad).zip(result) {
                    let slopes = slopes(a_data, b, y);
                    sum += handed(g, slopes.0);
                    add(to_b, handed(g, slopes.1));
                }
                add(&a.grad[0], sum);
            }
            (_, &[b_data]) => {
                let mut sum = 0.0;
                for ((&a, to_a), (&y, g)) in a.data.iter().zip(a.grad).zip(result) {
                    let slopes = slopes(a, b_data, y);
                    add(to_a, handed(g, slopes.0));
                    sum += handed(g, slopes.1);
                }
                add(&b.grad[0], sum);
            }
            _ => {
                let operands = a.data.iter().zip(a.grad).zip(b.data.iter().zip(b.grad));
                for (((&a, to_a), (&b, to_b)), (&y, g)) in operands.zip(result) {
                    let slopes = slopes(a, b, y);
                    add(to_a, handed(g, slopes.0));
                    add(to_b, handed(g, slopes.1));
                }
            }
        }
    }
}

// ANCHOR: dots
/// Dot products of one row `a` with others: the gradient of the n-th toward `a` is `gₙ·bₙ`, and toward `bₙ` it is `gₙ·a`.
/// In strips of columns: 16 sums fill two of the largest registers, 4 is the width of a head of the names GPT, 1 is what
/// is left.
fn dots<'g>(a: Row<'g>, b: impl Fn(usize) -> Row<'g>, grads: &[Cell<f64>]) {
    let mut done = 0;
    while a.data.len() - done >= 16 {
        dots_strip::<16>(a, &b, grads, done);
        done += 16;
    }
    while a.data.len() - done >= 4 {
        dots_strip::<4>(a, &b, grads, done);
        done += 4;
    }
    while a.data.len() - done >= 1 {
        dots_strip::<1>(a, &b, grads, done);
        done += 1;
    }
}

/// The same for a strip of `N` columns. Since all the dot products add to the gradient of the same `a`, its sum is kept in
/// registers while they pass by, instead of being loaded and stored for each.
#[inline]
fn dots_strip<'g, const N: usize>(
    a: Row<'g>,
    b: impl Fn(usize) -> Row<'g>,
    grads: &[Cell<f64>],
    from: usize,
) {
    let a_data: [f64; N] = from_fn(|k| a.data[from..][..N][k]);
    let mut sum = [0.0; N];
    for (n, g) in grads.iter().enumerate() {
        let (b, g) = (b(n), g.get());
        let (b_data, to_b) = (&b.data[from..][..N], &b.grad[from..][..N]);
        // All is read before anything is written, so that the compiler may do it in one go.
        let grad: [f64; N] = from_fn(|k| to_b[k].get() + handed(g, a_data[k]));
        sum = from_fn(|k| sum[k] + handed(g, b_data[k]));
        to_b.iter().zip(grad).for_each(|(to_b, grad)| to_b.set(grad));
    }
    // Only now, since `b` may be `a` itself.
    a.grad[from..].iter().zip(sum).for_each(|(to_a, sum)| add(to_a, sum));
}
// ANCHOR_END: dots

/// A row of a product of matrices, which is the sum of the rows of `b`, each times a number of `a`.
fn matmul_row<'g>(a: Row<'g>, b: &View<'g>, grads: &[Cell<f64>]) {
    for (n, (a, to_a)) in a.data.iter().zip(a.grad).enumerate() {
        let b = b.row(n);
        let mut sum = 0.0;
        for ((b, to_b), g) in b.data.iter().zip(b.grad).zip(grads) {
            sum += handed(g.get(), *b);
            add(to_b, handed(g.get(), *a));
        }
        add(to_a, sum);
    }
}

impl<'g> Value<'g> {
    /// Its gradient, prepared for this backward pass.
    #[inline]
    fn reach(self, generation: u64) -> &'g Cell<f64> {
        &self.block.reach(generation)[self.index as usize]
    }
}
