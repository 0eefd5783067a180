//! The sum of each row: `[n, m] → [n, 1]`. Backward: every element of a row gets the gradient of its sum.

use super::Op;
use crate::fast::simd;
use crate::fast::tape::{Gradients, Id, Matrix, Node, write_or_add};

#[derive(Clone, Copy, Debug)]
pub struct RowSum {
    x: Id,
}

impl RowSum {
    pub fn forward(x: Matrix<'_>) -> Matrix<'_> {
        x.recording.compute(Op::RowSum(RowSum { x: x.id }), (x.rows, 1), |view, y, _| {
            let rows = view.data(x.id).chunks_exact(x.cols);
            y.iter_mut().zip(rows).for_each(|(y, row)| *y = simd::sum(row.len(), |i| row[i]));
        })
    }

    pub fn backward(self, grads: &mut Gradients, _: &Node, dy: &[f32]) {
        let (_, cols) = grads.view.shape(self.x);
        grads.add(self.x, |_, dx, accumulate| {
            for (dx, dy) in dx.chunks_exact_mut(cols).zip(dy) {
                write_or_add(dx, accumulate, std::iter::repeat_n(*dy, cols));
            }
        });
    }
}
