//! Taking matrices apart and putting them together. Backward is the same movement the other way.

use std::ops::Range;

use super::simd;
use super::tape::{Gradients, Id, Matrix, Op, Span, rows_of, write_or_add};

/// The sum of each row.
pub(super) fn row_sum<'t>(x: Matrix<'t>) -> Matrix<'t> {
    x.recording.compute(Op::RowSum { x: x.id }, (x.rows, 1), |view, y, _| {
        let rows = view.data(x.id).chunks_exact(x.cols);
        y.iter_mut().zip(rows).for_each(|(y, row)| *y = simd::sum(row.len(), |i| row[i]));
    })
}

/// Every element of a row gets the gradient of its sum.
pub(super) fn row_sum_backward(grads: &mut Gradients, x: Id, dy: &[f32]) {
    let cols = grads.view.nodes[x as usize].cols;
    grads.add(x, |_, dx, accumulate| {
        for (dx, dy) in dx.chunks_exact_mut(cols).zip(dy) {
            write_or_add(dx, accumulate, std::iter::repeat_n(*dy, cols));
        }
    });
}

/// The named rows.
pub(super) fn gather<'t>(x: Matrix<'t>, rows: &[usize]) -> Matrix<'t> {
    let most = rows.iter().max();
    assert!(most.is_none_or(|&row| row < x.rows), "gather_rows: row {most:?} of {:?}", (x.rows, x.cols));
    let span = x.recording.span(rows.iter().copied());
    x.recording.compute(Op::Gather { x: x.id, rows: span }, (rows.len(), x.cols), |view, y, _| {
        let x_data = view.data(x.id);
        for (y, &row) in y.chunks_exact_mut(x.cols).zip(rows) {
            y.copy_from_slice(&x_data[rows_of(row..row + 1, x.cols)]);
        }
    })
}

/// Each row's gradient is added to that of the row it was taken from.
pub(super) fn gather_backward(grads: &mut Gradients, x: Id, rows: Span, dy: &[f32]) {
    let cols = grads.view.nodes[x as usize].cols;
    grads.add(x, |view, dx, accumulate| {
        if !accumulate {
            dx.fill(0.0);
        }
        for (dy, &row) in dy.chunks_exact(cols).zip(view.indices(rows)) {
            let row = row as usize;
            write_or_add(&mut dx[rows_of(row..row + 1, cols)], true, dy.iter().copied());
        }
    });
}

/// One element of each row.
pub(super) fn pick<'t>(x: Matrix<'t>, cols: &[usize]) -> Matrix<'t> {
    assert_eq!(x.rows, cols.len(), "pick: {:?} with {} columns", (x.rows, x.cols), cols.len());
    let span = x.recording.span(cols.iter().copied());
    x.recording.compute(Op::Pick { x: x.id, cols: span }, (x.rows, 1), |view, y, _| {
        let rows = view.data(x.id).chunks_exact(x.cols);
        y.iter_mut().zip(rows).zip(cols).for_each(|((y, row), &col)| *y = row[col]);
    })
}

/// Only the picked elements get a gradient.
pub(super) fn pick_backward(grads: &mut Gradients, x: Id, cols: Span, dy: &[f32]) {
    let width = grads.view.nodes[x as usize].cols;
    grads.add(x, |view, dx, accumulate| {
        if !accumulate {
            dx.fill(0.0);
        }
        let rows = dx.chunks_exact_mut(width).zip(view.indices(cols));
        rows.zip(dy).for_each(|((dx, &col), dy)| dx[col as usize] += dy);
    });
}

/// Some neighbouring columns.
pub(super) fn slice_cols<'t>(x: Matrix<'t>, cols: Range<usize>) -> Matrix<'t> {
    assert!(cols.end <= x.cols, "slice_cols: {cols:?} of {:?}", (x.rows, x.cols));
    let op = Op::SliceCols { x: x.id, start: cols.start as u32 };
    x.recording.compute(op, (x.rows, cols.len()), |view, y, _| {
        let rows = view.data(x.id).chunks_exact(x.cols);
        y.chunks_exact_mut(cols.len()).zip(rows).for_each(|(y, row)| y.copy_from_slice(&row[cols.clone()]));
    })
}

/// The columns get their gradient; the others none.
pub(super) fn slice_cols_backward(grads: &mut Gradients, x: Id, start: u32, width: usize, dy: &[f32]) {
    let cols = grads.view.nodes[x as usize].cols;
    grads.add(x, |_, dx, accumulate| {
        if !accumulate {
            dx.fill(0.0);
        }
        for (dx, dy) in dx.chunks_exact_mut(cols).zip(dy.chunks_exact(width)) {
            write_or_add(&mut dx[start as usize..][..width], true, dy.iter().copied());
        }
    });
}

/// Some neighbouring rows.
pub(super) fn slice_rows<'t>(x: Matrix<'t>, rows: Range<usize>) -> Matrix<'t> {
    assert!(rows.end <= x.rows, "slice_rows: {rows:?} of {:?}", (x.rows, x.cols));
    let op = Op::SliceRows { x: x.id, start: rows.start as u32 };
    x.recording.compute(op, (rows.len(), x.cols), |view, y, _| {
        y.copy_from_slice(&view.data(x.id)[rows_of(rows, x.cols)]);
    })
}

/// The rows get their gradient; the others none.
pub(super) fn slice_rows_backward(grads: &mut Gradients, x: Id, start: u32, dy: &[f32]) {
    let start = start as usize * grads.view.nodes[x as usize].cols;
    grads.add(x, |_, dx, accumulate| {
        if !accumulate {
            dx.fill(0.0);
        }
        write_or_add(&mut dx[start..][..dy.len()], true, dy.iter().copied());
    });
}

/// Matrices side by side.
pub(super) fn concat_cols<'t>(parts: &[Matrix<'t>]) -> Matrix<'t> {
    let Matrix { recording, rows, .. } = parts[0];
    assert!(parts.iter().all(|part| part.rows == rows), "concat_cols: unequal heights");
    let cols = parts.iter().map(|part| part.cols).sum();
    let span = recording.span(parts.iter().map(|part| part.id as usize));
    recording.compute(Op::ConcatCols { parts: span }, (rows, cols), |view, y, _| {
        let mut start = 0;
        for part in parts {
            let rows = view.data(part.id).chunks_exact(part.cols);
            let to = y.chunks_exact_mut(cols).map(|y| &mut y[start..start + part.cols]);
            to.zip(rows).for_each(|(to, row)| to.copy_from_slice(row));
            start += part.cols;
        }
    })
}

/// Each part gets its columns of the gradient.
pub(super) fn concat_cols_backward(grads: &mut Gradients, parts: Span, cols: usize, dy: &[f32]) {
    let mut start = 0;
    for &part in grads.view.indices(parts) {
        let width = grads.view.nodes[part as usize].cols;
        grads.add(part, |_, dx, accumulate| {
            for (dx, dy) in dx.chunks_exact_mut(width).zip(dy.chunks_exact(cols)) {
                write_or_add(dx, accumulate, dy[start..start + width].iter().copied());
            }
        });
        start += width;
    }
}

/// Matrices one below another.
pub(super) fn concat_rows<'t>(parts: &[Matrix<'t>]) -> Matrix<'t> {
    let Matrix { recording, cols, .. } = parts[0];
    assert!(parts.iter().all(|part| part.cols == cols), "concat_rows: unequal widths");
    let rows = parts.iter().map(|part| part.rows).sum();
    let span = recording.span(parts.iter().map(|part| part.id as usize));
    recording.compute(Op::ConcatRows { parts: span }, (rows, cols), |view, y, _| {
        let mut rest = y;
        for part in parts {
            let from = view.data(part.id);
            let (to, after) = rest.split_at_mut(from.len());
            to.copy_from_slice(from);
            rest = after;
        }
    })
}

/// Each part gets its rows of the gradient.
pub(super) fn concat_rows_backward(grads: &mut Gradients, parts: Span, dy: &[f32]) {
    let mut rest = dy;
    for &part in grads.view.indices(parts) {
        grads.add(part, |_, dx, accumulate| {
            let (here, after) = rest.split_at(dx.len());
            write_or_add(dx, accumulate, here.iter().copied());
            rest = after;
        });
    }
}
