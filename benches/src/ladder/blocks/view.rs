//! A matrix as a window into a block.

use std::cell::Cell;

use super::block::Block;

/// Rows and columns within a block. Slicing a matrix makes another view of the same block: no number is copied, and the
/// slice needs no backward, since its gradients are those of the block.
#[derive(Clone, Copy)]
pub(super) struct View<'g> {
    pub(super) block: &'g Block<'g>,
    /// The index of the first element.
    pub(super) start: u32,
    pub(super) rows: u32,
    pub(super) cols: u32,
    /// From the start of one row to the start of the next. It is `cols` unless columns were cut off.
    pub(super) stride: u32,
}

/// The values of a row and their gradients.
#[derive(Clone, Copy)]
pub(super) struct Row<'g> {
    pub(super) data: &'g [f64],
    pub(super) grad: &'g [Cell<f64>],
}

impl<'g> View<'g> {
    /// Rows and columns.
    #[inline]
    pub(super) fn shape(&self) -> (usize, usize) {
        (self.rows as usize, self.cols as usize)
    }

    /// A row.
    #[inline]
    pub(super) fn row(&self, row: usize) -> Row<'g> {
        let first = self.start as usize + row * self.stride as usize;
        self.block.slice(first..first + self.cols as usize)
    }

    /// A matrix of that row alone.
    #[inline]
    pub(super) fn row_view(&self, row: usize) -> Self {
        View { start: self.start + row as u32 * self.stride, rows: 1, ..*self }
    }

    /// A row, where a matrix of a single row repeats it.
    #[inline]
    pub(super) fn row_broadcast(&self, row: usize) -> Row<'g> {
        self.row(if self.rows == 1 { 0 } else { row })
    }

    /// The same elements as one long row if the rows are contiguous, otherwise unchanged. One long loop is faster than many
    /// short ones.
    #[inline]
    pub(super) fn flat(self) -> Self {
        let len = self.rows * self.cols;
        if self.stride == self.cols { View { rows: 1, cols: len, stride: len, ..self } } else { self }
    }

    /// Two matrices of one shape as one long row each if both are contiguous, otherwise both unchanged.
    #[inline]
    pub(super) fn flat_pair(a: Self, b: Self) -> (Self, Self) {
        let contiguous = a.stride == a.cols && b.stride == b.cols;
        if contiguous && a.shape() == b.shape() { (a.flat(), b.flat()) } else { (a, b) }
    }
}
