//! How numbers were made.

use super::value::Value;
use super::view::View;
use crate::function::{BinaryOp, UnaryOp};

/// The operation behind the numbers of one block, and the matrices in which the operands of each are found.
///
/// The block holds the result row by row. Where an operand of [`Made::Binary`] has a single row or column, it stands for
/// all.
#[derive(Clone, Copy)]
pub(super) enum Made<'g> {
    /// Not from other numbers: given from outside, or the maximum of a row, which hands nothing on.
    Given,
    /// `f(x)`.
    Unary(UnaryOp, &'g View<'g>),
    /// `a ∘ b`.
    Binary(BinaryOp, &'g View<'g>, &'g View<'g>),
    /// One number a row: the sum of its numbers.
    RowSum(&'g View<'g>),
    /// One number a row: the dot product of the rows `a` and `b`.
    RowDot(&'g View<'g>, &'g View<'g>),
    /// The dot product of each row of `a` with each row of `b`.
    MatmulT(&'g View<'g>, &'g View<'g>),
    /// The dot product of each row of `a` with each column of `b`.
    Matmul(&'g View<'g>, &'g View<'g>),
    /// Copies of some of the rows.
    GatherRows(&'g View<'g>, &'g [usize]),
    /// A copy of one number of each row.
    Pick(&'g View<'g>, &'g [usize]),
    /// Copies of the rows of several matrices, side by side.
    ConcatCols(&'g [&'g View<'g>]),
    /// Copies of the rows of several matrices, one below another.
    ConcatRows(&'g [&'g View<'g>]),
    /// The sum of any values.
    Sum(&'g [Value<'g>]),
    /// The dot product of any values.
    Dot(&'g [(Value<'g>, Value<'g>)]),
}

impl<'g> Made<'g> {
    /// Calls `visit` with every matrix that the operands are taken from.
    #[inline]
    pub(super) fn views(&self, mut visit: impl FnMut(&View<'g>)) {
        match self {
            Made::Given | Made::Sum(_) | Made::Dot(_) => {}
            Made::Unary(_, x) | Made::RowSum(x) | Made::GatherRows(x, _) | Made::Pick(x, _) => visit(x),
            Made::Binary(_, a, b) | Made::RowDot(a, b) | Made::MatmulT(a, b) | Made::Matmul(a, b) => {
                visit(a);
                visit(b);
            }
            Made::ConcatCols(parts) | Made::ConcatRows(parts) => parts.iter().for_each(|part| visit(part)),
        }
    }

    /// Calls `visit` with every operand of the `n`-th number, once for each time it is used.
    pub(super) fn operands(&self, n: usize, mut visit: impl FnMut(Value<'g>)) {
        match *self {
            Made::Given => {}
            Made::Unary(_, x) => {
                let (_, cols) = x.shape();
                visit(x.value_or_only(n / cols, n % cols));
            }
            Made::Binary(_, a, b) => {
                let cols = a.shape().1.max(b.shape().1);
                visit(a.value_or_only(n / cols, n % cols));
                visit(b.value_or_only(n / cols, n % cols));
            }
            Made::RowSum(x) => (0..x.shape().1).for_each(|k| visit(x.value_or_only(n, k))),
            Made::RowDot(a, b) => {
                for k in 0..a.shape().1 {
                    visit(a.value_or_only(n, k));
                    visit(b.value_or_only(n, k));
                }
            }
            Made::MatmulT(a, b) => {
                let (cols, len) = b.shape();
                for k in 0..len {
                    visit(a.value_or_only(n / cols, k));
                    visit(b.value_or_only(n % cols, k));
                }
            }
            Made::Matmul(a, b) => {
                let (len, cols) = b.shape();
                for k in 0..len {
                    visit(a.value_or_only(n / cols, k));
                    visit(b.value_or_only(k, n % cols));
                }
            }
            Made::GatherRows(x, rows) => {
                let (_, cols) = x.shape();
                visit(x.value_or_only(rows[n / cols], n % cols));
            }
            Made::Pick(x, cols) => visit(x.value_or_only(n, cols[n])),
            Made::ConcatCols(parts) => {
                let cols: usize = parts.iter().map(|part| part.shape().1).sum();
                let (row, mut col) = (n / cols, n % cols);
                for part in parts {
                    if col < part.shape().1 {
                        return visit(part.value_or_only(row, col));
                    }
                    col -= part.shape().1;
                }
            }
            Made::ConcatRows(parts) => {
                let (_, cols) = parts[0].shape();
                let (mut row, col) = (n / cols, n % cols);
                for part in parts {
                    if row < part.shape().0 {
                        return visit(part.value_or_only(row, col));
                    }
                    row -= part.shape().0;
                }
            }
            Made::Sum(terms) => terms.iter().for_each(|&x| visit(x)),
            Made::Dot(pairs) => {
                for &(a, b) in pairs {
                    visit(a);
                    visit(b);
                }
            }
        }
    }

    /// The operation's sign, for the drawing; none for a leaf.
    pub(super) fn sign(&self) -> Option<String> {
        match self {
            Made::Given => None,
            Made::Unary(f, _) => Some(f.sign()),
            Made::Binary(op, ..) => Some(op.sign().to_owned()),
            Made::RowSum(_) | Made::Sum(_) => Some("sum".to_owned()),
            Made::RowDot(..) | Made::MatmulT(..) | Made::Matmul(..) | Made::Dot(_) => Some("dot".to_owned()),
            Made::GatherRows(..) | Made::Pick(..) | Made::ConcatCols(_) | Made::ConcatRows(_) => {
                Some(UnaryOp::Identity.sign())
            }
        }
    }
}
