//! `y = a ∘ b`, element by element, where a single row or column of one is repeated to the shape of the other.
//!
//! Backward: `da = dy · ∂y/∂a` and `db = dy · ∂y/∂b`, with the slopes of `src/function.rs`. An element that was repeated
//! acts on several results, so its gradient is the sum over them.

use std::ops::Range;

use super::Op;
use crate::fast::tape::{Gradients, Id, Matrix, Node, write_or_add};
use crate::function::{BinaryOp, specialize};
use crate::tensor::broadcast;

#[derive(Clone, Copy, Debug)]
pub struct Binary {
    a: Id,
    b: Id,
    op: BinaryOp,
}

impl Binary {
    pub fn forward<'t>(a: Matrix<'t>, b: Matrix<'t>, op: BinaryOp) -> Matrix<'t> {
        let (a_shape, b_shape) = ((a.rows, a.cols), (b.rows, b.cols));
        let shape = broadcast(op.sign(), a_shape, b_shape);
        a.recording.compute(Op::Binary(Binary { a: a.id, b: b.id, op }), shape, |view, y, _| {
            let ([a_rows, b_rows], cols) = Repeated::both(a_shape, b_shape);
            let (a, b) = (view.data(a.id), view.data(b.id));
            specialize!(BinaryOp, op => for (row, y) in y.chunks_exact_mut(cols).enumerate() {
                match (&a[a_rows.row(row)], &b[b_rows.row(row)]) {
                    (&[a], b) => y.iter_mut().zip(b).for_each(|(y, b)| *y = op.eval(a, *b)),
                    (a, &[b]) => y.iter_mut().zip(a).for_each(|(y, a)| *y = op.eval(*a, b)),
                    (a, b) => y.iter_mut().zip(a).zip(b).for_each(|((y, a), b)| *y = op.eval(*a, *b)),
                }
            });
        })
    }

    /// Takes `dy` itself: in a sum, such as a residual connection, it becomes the gradient of `a` without being copied.
    pub fn backward(self, grads: &mut Gradients, node: &Node, dy: Vec<f32>) {
        let Binary { a, b, op } = self;
        let whole = |id| grads.view.shape(id) == (node.rows, node.cols);
        let (a_is_whole, b_is_whole) = (whole(a), whole(b));
        let sum = matches!(op, BinaryOp::Add | BinaryOp::Sub); // whose slopes are the same for all elements
        if sum && b_is_whole {
            let (_, slope) = op.slopes(0.0, 0.0, 0.0);
            grads.add(b, |_, db, accumulate| write_or_add(db, accumulate, dy.iter().map(|dy| dy * slope)));
        } else {
            self.operand(grads, node, &dy, b, |(_, to_b)| to_b);
        }
        if sum && a_is_whole {
            grads.pass_on(a, dy); // the slope toward `a` is 1
        } else {
            self.operand(grads, node, &dy, a, |(to_a, _)| to_a);
            grads.give(dy);
        }
    }

    /// Adds the gradient of the operand `id`; `toward` takes its slope out of both.
    fn operand(
        self,
        grads: &mut Gradients,
        node: &Node,
        dy: &[f32],
        id: Id,
        toward: impl Fn((f32, f32)) -> f32,
    ) {
        let Binary { a, b, op } = self;
        let repeated = grads.view.shape(id) != (node.rows, node.cols);
        let y = grads.result();
        grads.add(id, |view, grad, accumulate| {
            if repeated && !accumulate {
                grad.fill(0.0);
            }
            let accumulate = repeated || accumulate;
            let ([a_rows, b_rows], cols) = Repeated::both(view.shape(a), view.shape(b));
            let to = if id == a { a_rows } else { b_rows };
            let (a, b) = (view.data(a), view.data(b));
            let rows = dy.chunks_exact(cols).zip(y.chunks_exact(cols)).enumerate();
            specialize!(BinaryOp, op => for (row, (dy, y)) in rows {
                let (each, to) = (dy.iter().zip(y), &mut grad[to.row(row)]);
                let term = |dy: &f32, a, b, y: &f32| dy * toward(op.slopes(a, b, *y));
                match (&a[a_rows.row(row)], &b[b_rows.row(row)]) {
                    (&[a], b) => add(to, accumulate, each.zip(b).map(|((dy, y), b)| term(dy, a, *b, y))),
                    (a, &[b]) => add(to, accumulate, each.zip(a).map(|((dy, y), a)| term(dy, *a, b, y))),
                    (a, b) => add(to, accumulate, each.zip(a.iter().zip(b)).map(|((dy, y), (a, b))| term(dy, *a, *b, y))),
                }
            });
        });
    }
}

/// The terms of a row go to as many elements, or all to a single one.
fn add(to: &mut [f32], accumulate: bool, terms: impl Iterator<Item = f32>) {
    match to {
        [only] => write_or_add(std::slice::from_mut(only), accumulate, std::iter::once(terms.sum())),
        to => write_or_add(to, accumulate, terms),
    }
}

/// Where the row of an operand lies that belongs to a row of the result: always the same if it has only one.
#[derive(Clone, Copy)]
struct Repeated {
    stride: usize,
    cols: usize,
}

impl Repeated {
    /// The rows of two operands, and the columns of the result. Two of the same shape are taken as one long row.
    fn both(a: (usize, usize), b: (usize, usize)) -> ([Repeated; 2], usize) {
        if a == b {
            let all = a.0 * a.1;
            return ([Repeated { stride: 0, cols: all }; 2], all.max(1));
        }
        let rows = |(rows, cols)| Repeated { stride: if rows == 1 { 0 } else { cols }, cols };
        ([rows(a), rows(b)], a.1.max(b.1))
    }

    fn row(self, row: usize) -> Range<usize> {
        row * self.stride..row * self.stride + self.cols
    }
}
