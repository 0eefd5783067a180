//! Matrices of equal width one below another. Backward: each part gets its rows of the gradient.

use super::Op;
use crate::fast::tape::{Gradients, Matrix, Node, Span, write_or_add};

#[derive(Clone, Copy, Debug)]
pub struct ConcatRows {
    parts: Span,
}

impl ConcatRows {
    pub fn forward<'t>(parts: &[Matrix<'t>]) -> Matrix<'t> {
        let Matrix { recording, cols, .. } = parts[0];
        assert!(parts.iter().all(|part| part.cols == cols), "concat_rows: unequal widths");
        let rows = parts.iter().map(|part| part.rows).sum();
        let op = ConcatRows { parts: recording.span(parts.iter().map(|part| part.id as usize)) };
        recording.compute(Op::ConcatRows(op), (rows, cols), |view, y, _| {
            let mut rest = y;
            for part in parts {
                let from = view.data(part.id);
                let (to, after) = rest.split_at_mut(from.len());
                to.copy_from_slice(from);
                rest = after;
            }
        })
    }

    pub fn backward(self, grads: &mut Gradients, node: &Node, dy: &[f32]) {
        let mut rest = dy;
        for &part in grads.view.indices(self.parts) {
            let (rows, _) = grads.view.shape(part);
            let (here, after) = rest.split_at(rows * node.cols);
            grads.add(part, |_, dx, accumulate| write_or_add(dx, accumulate, here.iter().copied()));
            rest = after;
        }
    }
}
