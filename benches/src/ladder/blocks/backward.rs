//! Backward: the walk over the blocks, and the chain rule for each op.

use std::cell::Cell;
use std::slice;

use gradus::{BinaryOp, UnaryOp};

use super::block::{Block, Graph};
use super::dot::dot_rows_backward;
use super::op::Op;
use super::view::{Row, View};

impl<'g> Graph<'g> {
    /// Computes the gradient of a number, given as a `[1, 1]` matrix, with respect to every number it depends on.
    ///
    /// The order of creation, in reverse, is a valid order here as well: an operand is always in an older block than its
    /// result. But the walk makes one stop a matrix, not one a number.
    pub(super) fn backward(&self, root: &View<'g>) {
        let generation = self.generation.get() + 1;
        self.generation.set(generation);
        root.block.mark_visited(generation)[root.start as usize].set(1.0);
        let mut next = Some(root.block);
        while let Some(block) = next {
            if block.visited(generation) {
                block.backward(generation);
            }
            next = block.previous;
        }
    }
}

impl<'g> Block<'g> {
    /// Adds to the gradients of the operands what the gradients of this block contribute.
    fn backward(&'g self, generation: u64) {
        // First, so that gradients left behind by an earlier pass are gone before anything is added.
        self.op.operands(|x| _ = x.block.mark_visited(generation));
        let grad = self.grad;
        match self.op {
            Op::Leaf => {}
            Op::Unary(f, x) => unary(f, *x, self),
            Op::Binary(op, a, b) => binary(op, *a, *b, self),
            Op::RowSum(x) => {
                for (row, g) in grad.iter().enumerate() {
                    x.row(row).grad.iter().for_each(|x_grad| add(x_grad, g.get()));
                }
            }
            Op::RowDot(a, b) => {
                for (row, g) in grad.iter().enumerate() {
                    dot_rows_backward(a.row(row), b.row_view(row), slice::from_ref(g));
                }
            }
            Op::MatmulT(a, b) => {
                for (row, grads) in grad.chunks_exact(b.shape().0).enumerate() {
                    dot_rows_backward(a.row(row), *b, grads);
                }
            }
            Op::Matmul(a, b) => {
                for (row, grads) in grad.chunks_exact(b.shape().1).enumerate() {
                    matmul_row_backward(a.row(row), b, grads);
                }
            }
            Op::GatherRows(x, rows) => {
                for (&row, grads) in rows.iter().zip(grad.chunks_exact(x.shape().1)) {
                    copy_backward(x.row(row), grads);
                }
            }
            Op::Pick(x, cols) => {
                for (row, (&col, g)) in cols.iter().zip(grad).enumerate() {
                    add(&x.row(row).grad[col], g.get());
                }
            }
            Op::ConcatCols(parts) => {
                let mut rest = grad;
                for row in 0..parts[0].shape().0 {
                    for part in parts {
                        let (grads, after) = rest.split_at(part.shape().1);
                        copy_backward(part.row(row), grads);
                        rest = after;
                    }
                }
            }
            Op::ConcatRows(parts) => {
                let mut rest = grad;
                for part in parts {
                    for row in 0..part.shape().0 {
                        let (grads, after) = rest.split_at(part.shape().1);
                        copy_backward(part.row(row), grads);
                        rest = after;
                    }
                }
            }
        }
    }
}

/// Adds to a gradient.
#[inline]
pub(super) fn add(grad: &Cell<f64>, term: f64) {
    grad.set(grad.get() + term);
}

/// The chain rule: the gradient `g` of a result times the slope toward an operand.
///
/// If `g` is zero, the product is zero even where the slope is infinite: the root does not depend on this result.
#[inline]
pub(super) fn chain(g: f64, slope: f64) -> f64 {
    if g != 0.0 { g * slope } else { 0.0 }
}

/// `y = x`.
fn copy_backward(x: Row<'_>, grads: &[Cell<f64>]) {
    x.grad.iter().zip(grads).for_each(|(x_grad, g)| add(x_grad, g.get()));
}

/// `y = f(x)`. The frequent functions get a loop of their own without a branch in it; the others look up the function for
/// every element.
fn unary<'g>(f: UnaryOp, x: View<'g>, y: &'g Block<'g>) {
    match f {
        UnaryOp::Identity | UnaryOp::Shift(_) => unary_rows(x, y, |_, _| 1.0),
        UnaryOp::Scale(c) => unary_rows(x, y, |_, _| c),
        UnaryOp::Relu => unary_rows(x, y, |x, y| UnaryOp::Relu.slope(x, y)),
        UnaryOp::Exp => unary_rows(x, y, |x, y| UnaryOp::Exp.slope(x, y)),
        f => unary_rows(x, y, |x, y| f.slope(x, y)),
    }
}

fn unary_rows<'g>(x: View<'g>, y: &'g Block<'g>, slope: impl Fn(f64, f64) -> f64) {
    let x = x.flat();
    let (rows, cols) = x.shape();
    for row in 0..rows {
        let (x, y) = (x.row(row), y.slice(row * cols..(row + 1) * cols));
        for (((x, x_grad), y), g) in x.data.iter().zip(x.grad).zip(y.data).zip(y.grad) {
            add(x_grad, chain(g.get(), slope(*x, *y)));
        }
    }
}

/// `y = a ∘ b`. The operator is looked up once for the whole matrix.
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
        let (a, b) = (a.row_broadcast(row), b.row_broadcast(row));
        let y = y.slice(row * cols..(row + 1) * cols);
        let y = y.data.iter().zip(y.grad.iter().map(Cell::get));
        match (a.data, b.data) {
            // A single element is repeated along the row, so its gradient is a sum over the row.
            (&[a_data], _) => {
                let mut sum = 0.0;
                for ((&b, b_grad), (&y, g)) in b.data.iter().zip(b.grad).zip(y) {
                    let (a_slope, b_slope) = slopes(a_data, b, y);
                    sum += chain(g, a_slope);
                    add(b_grad, chain(g, b_slope));
                }
                add(&a.grad[0], sum);
            }
            (_, &[b_data]) => {
                let mut sum = 0.0;
                for ((&a, a_grad), (&y, g)) in a.data.iter().zip(a.grad).zip(y) {
                    let (a_slope, b_slope) = slopes(a, b_data, y);
                    add(a_grad, chain(g, a_slope));
                    sum += chain(g, b_slope);
                }
                add(&b.grad[0], sum);
            }
            _ => {
                let operands = a.data.iter().zip(a.grad).zip(b.data.iter().zip(b.grad));
                for (((&a, a_grad), (&b, b_grad)), (&y, g)) in operands.zip(y) {
                    let (a_slope, b_slope) = slopes(a, b, y);
                    add(a_grad, chain(g, a_slope));
                    add(b_grad, chain(g, b_slope));
                }
            }
        }
    }
}

/// One row of `a · b`: the sum of the rows of `b`, each times an element of that row of `a`.
fn matmul_row_backward<'g>(a: Row<'g>, b: &View<'g>, grads: &[Cell<f64>]) {
    for (n, (a, a_grad)) in a.data.iter().zip(a.grad).enumerate() {
        let b = b.row(n);
        let mut sum = 0.0;
        for ((b, b_grad), g) in b.data.iter().zip(b.grad).zip(grads) {
            sum += chain(g.get(), *b);
            add(b_grad, chain(g.get(), *a));
        }
        add(a_grad, sum);
    }
}
