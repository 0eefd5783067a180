//! One element of each row: `[n, m] → [n, 1]`. Backward: the picked elements get the gradient, all others none.

use super::Op;
use crate::fast::tape::{Gradients, Id, Matrix, Node, Span};

#[derive(Clone, Copy, Debug)]
pub struct Pick {
    x: Id,
    cols: Span,
}

impl Pick {
    pub fn forward<'t>(x: Matrix<'t>, cols: &[usize]) -> Matrix<'t> {
        assert_eq!(x.rows, cols.len(), "pick: {:?} with {} columns", (x.rows, x.cols), cols.len());
        let op = Pick { x: x.id, cols: x.recording.span(cols.iter().copied()) };
        x.recording.compute(Op::Pick(op), (x.rows, 1), |view, y, _| {
            let rows = view.data(x.id).chunks_exact(x.cols);
            y.iter_mut().zip(rows).zip(cols).for_each(|((y, row), &col)| *y = row[col]);
        })
    }

    pub fn backward(self, grads: &mut Gradients, _: &Node, dy: &[f32]) {
        let (_, width) = grads.view.shape(self.x);
        grads.add(self.x, |view, dx, accumulate| {
            if !accumulate {
                dx.fill(0.0);
            }
            let rows = dx.chunks_exact_mut(width).zip(view.indices(self.cols));
            rows.zip(dy).for_each(|((dx, &col), dy)| dx[col as usize] += dy);
        });
    }
}
