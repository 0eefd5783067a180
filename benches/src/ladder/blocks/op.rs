//! How the numbers of a block were made.

use gradus::{BinaryOp, UnaryOp};

use super::view::View;

/// The operation behind all numbers of one block, and the matrices that hold the operands.
///
/// The result is stored row by row, so the position of a number says which operands are its own. A graph of single nodes
/// has to write them down for each number.
#[derive(Clone, Copy)]
pub(super) enum Op<'g> {
    /// Made from nothing in the graph: given from outside, or the maximum of a row, which no gradient flows through.
    Leaf,
    /// `f(x)`, element by element.
    Unary(UnaryOp, &'g View<'g>),
    /// `a ∘ b`, element by element. A single row or column of an operand is repeated (broadcasting).
    Binary(BinaryOp, &'g View<'g>, &'g View<'g>),
    /// The sum of each row: `[n, m] → [n, 1]`.
    RowSum(&'g View<'g>),
    /// The dot product of each row of `a` with the same row of `b`: `[n, k], [n, k] → [n, 1]`.
    RowDot(&'g View<'g>, &'g View<'g>),
    /// The dot product of each row of `a` with each row of `b`: `[n, k] · [m, k]ᵀ → [n, m]`.
    MatmulT(&'g View<'g>, &'g View<'g>),
    /// The dot product of each row of `a` with each column of `b`: `[n, k] · [k, m] → [n, m]`.
    Matmul(&'g View<'g>, &'g View<'g>),
    /// Copies of the rows with these indices.
    GatherRows(&'g View<'g>, &'g [usize]),
    /// A copy of one element of each row: `[n, m] → [n, 1]`.
    Pick(&'g View<'g>, &'g [usize]),
    /// Copies of several matrices side by side.
    ConcatCols(&'g [&'g View<'g>]),
    /// Copies of several matrices one below another.
    ConcatRows(&'g [&'g View<'g>]),
}

impl<'g> Op<'g> {
    /// Calls `visit` with every matrix that holds operands.
    #[inline]
    pub(super) fn operands(&self, mut visit: impl FnMut(&View<'g>)) {
        match self {
            Op::Leaf => {}
            Op::Unary(_, x) | Op::RowSum(x) | Op::GatherRows(x, _) | Op::Pick(x, _) => visit(x),
            Op::Binary(_, a, b) | Op::RowDot(a, b) | Op::MatmulT(a, b) | Op::Matmul(a, b) => {
                visit(a);
                visit(b);
            }
            Op::ConcatCols(parts) | Op::ConcatRows(parts) => parts.iter().for_each(|part| visit(part)),
        }
    }
}
