//! Some neighbouring rows: `[n, m] → [rows.len(), m]`. Backward: they get the gradient, the other rows none.

use std::ops::Range;

use super::Op;
use crate::fast::tape::{Gradients, Id, Matrix, Node, rows_of, write_or_add};

#[derive(Clone, Copy, Debug)]
pub struct SliceRows {
    x: Id,
    start: u32,
}

impl SliceRows {
    pub fn forward(x: Matrix<'_>, rows: Range<usize>) -> Matrix<'_> {
        assert!(rows.end <= x.rows, "slice_rows: {rows:?} of {:?}", (x.rows, x.cols));
        let op = SliceRows { x: x.id, start: rows.start as u32 };
        x.recording.compute(Op::SliceRows(op), (rows.len(), x.cols), |view, y, _| {
            y.copy_from_slice(&view.data(x.id)[rows_of(rows, x.cols)]);
        })
    }

    pub fn backward(self, grads: &mut Gradients, node: &Node, dy: &[f32]) {
        let start = self.start as usize * node.cols;
        grads.add(self.x, |_, dx, accumulate| {
            if !accumulate {
                dx.fill(0.0);
            }
            write_or_add(&mut dx[start..][..dy.len()], true, dy.iter().copied());
        });
    }
}
