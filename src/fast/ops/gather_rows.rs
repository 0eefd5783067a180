//! Some rows in a given order, any of them any number of times: `[n, m] → [rows.len(), m]`. An embedding is this, of a
//! table. Backward: each row's gradient is added to the row it was taken from.

use smallvec::SmallVec;

use super::Op;
use crate::fast::tape::{Gradients, Id, Matrix, Node, Span, rows_of, write_or_add};

#[derive(Clone, Copy, Debug)]
pub struct GatherRows {
    x: Id,
    rows: Span,
}

impl GatherRows {
    pub fn forward<'t>(x: Matrix<'t>, rows: &[usize]) -> Matrix<'t> {
        let most = rows.iter().max();
        assert!(most.is_none_or(|&row| row < x.rows), "gather_rows: row {most:?} of {:?}", (x.rows, x.cols));
        let op = GatherRows { x: x.id, rows: x.recording.span(rows.iter().copied()) };
        x.recording.compute(Op::GatherRows(op), (rows.len(), x.cols), |view, y, _| {
            let to = y.chunks_exact_mut(x.cols).zip(rows);
            match view.stored(x.id) {
                Some(x) => to.for_each(|(y, &row)| x.read_row(row, y)),
                None => {
                    let x_data = view.data(x.id);
                    to.for_each(|(y, &row)| y.copy_from_slice(&x_data[rows_of(row..row + 1, x.cols)]));
                }
            }
        })
    }

    /// All rows, such as those of a stored table in 32 bits.
    pub fn all(x: Matrix<'_>) -> Matrix<'_> {
        Self::forward(x, &(0..x.rows).collect::<SmallVec<[usize; 64]>>())
    }

    pub fn backward(self, grads: &mut Gradients, node: &Node, dy: &[f32]) {
        grads.add(self.x, |view, dx, accumulate| {
            if !accumulate {
                dx.fill(0.0);
            }
            for (dy, &row) in dy.chunks_exact(node.cols).zip(view.indices(self.rows)) {
                let row = row as usize;
                write_or_add(&mut dx[rows_of(row..row + 1, node.cols)], true, dy.iter().copied());
            }
        });
    }
}
