//! Matrices of equal height side by side. Backward: each part gets its columns of the gradient.

use super::Op;
use crate::fast::tape::{Gradients, Matrix, Node, Span, write_or_add};

#[derive(Clone, Copy, Debug)]
pub struct ConcatCols {
    parts: Span,
}

impl ConcatCols {
    pub fn forward<'t>(parts: &[Matrix<'t>]) -> Matrix<'t> {
        let Matrix { recording, rows, .. } = parts[0];
        assert!(parts.iter().all(|part| part.rows == rows), "concat_cols: unequal heights");
        let cols = parts.iter().map(|part| part.cols).sum();
        let op = ConcatCols { parts: recording.span(parts.iter().map(|part| part.id as usize)) };
        recording.compute(Op::ConcatCols(op), (rows, cols), |view, y, _| {
            let mut start = 0;
            for part in parts {
                let rows = view.data(part.id).chunks_exact(part.cols);
                let to = y.chunks_exact_mut(cols).map(|y| &mut y[start..start + part.cols]);
                to.zip(rows).for_each(|(to, row)| to.copy_from_slice(row));
                start += part.cols;
            }
        })
    }

    pub fn backward(self, grads: &mut Gradients, node: &Node, dy: &[f32]) {
        let mut start = 0;
        for &part in grads.view.indices(self.parts) {
            let (_, width) = grads.view.shape(part);
            grads.add(part, |_, dx, accumulate| {
                for (dx, dy) in dx.chunks_exact_mut(width).zip(dy.chunks_exact(node.cols)) {
                    write_or_add(dx, accumulate, dy[start..start + width].iter().copied());
                }
            });
            start += width;
        }
    }
}
