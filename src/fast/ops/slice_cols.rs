//! Some neighbouring columns: `[n, m] → [n, cols.len()]`. Backward: they get the gradient, the other columns none.

use std::ops::Range;

use super::Op;
use crate::fast::tape::{Gradients, Id, Matrix, Node, write_or_add};

#[derive(Clone, Copy, Debug)]
pub struct SliceCols {
    x: Id,
    start: u32,
}

impl SliceCols {
    pub fn forward(x: Matrix<'_>, cols: Range<usize>) -> Matrix<'_> {
        assert!(cols.end <= x.cols, "slice_cols: {cols:?} of {:?}", (x.rows, x.cols));
        let (op, width) = (SliceCols { x: x.id, start: cols.start as u32 }, cols.len());
        x.recording.compute(Op::SliceCols(op), (x.rows, width), |view, y, _| {
            let rows = view.data(x.id).chunks_exact(x.cols);
            y.chunks_exact_mut(width).zip(rows).for_each(|(y, row)| y.copy_from_slice(&row[cols.clone()]));
        })
    }

    pub fn backward(self, grads: &mut Gradients, node: &Node, dy: &[f32]) {
        let (_, cols) = grads.view.shape(self.x);
        grads.add(self.x, |_, dx, accumulate| {
            if !accumulate {
                dx.fill(0.0);
            }
            for (dx, dy) in dx.chunks_exact_mut(cols).zip(dy.chunks_exact(node.cols)) {
                write_or_add(&mut dx[self.start as usize..][..node.cols], true, dy.iter().copied());
            }
        });
    }
}
