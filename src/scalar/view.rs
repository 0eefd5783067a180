//! Matrices as they lie in blocks.

use std::cell::Cell;

use super::value::{Block, Value};

// ANCHOR: view
/// A matrix in a block, row by row.
#[derive(Clone, Copy)]
pub(super) struct View<'g> {
    pub(super) block: &'g Block<'g>,
    pub(super) rows: u32,
    /// The place of the first number.
    pub(super) start: u32,
    pub(super) cols: u32,
    /// From the beginning of one row to that of the next: `cols` if nothing lies between.
    pub(super) stride: u32,
}
// ANCHOR_END: view

/// The numbers of a row and their gradients.
#[derive(Clone, Copy)]
pub(super) struct Row<'g> {
    pub(super) data: &'g [f64],
    pub(super) grad: &'g [Cell<f64>],
}

impl<'g> View<'g> {
    /// How many rows and columns there are.
    #[inline]
    pub(super) fn shape(&self) -> (usize, usize) {
        (self.rows as usize, self.cols as usize)
    }

    /// A row.
    #[inline]
    pub(super) fn row(&self, at: usize) -> Row<'g> {
        let first = self.start as usize + at * self.stride as usize;
        self.block.stretch(first..first + self.cols as usize)
    }

    /// A row, or the only one, which stands for all.
    #[inline]
    pub(super) fn row_or_only(&self, at: usize) -> Row<'g> {
        self.row(if self.rows == 1 { 0 } else { at })
    }

    /// The number in a place. The only row or column stands for all.
    pub(super) fn value_or_only(&self, row: usize, col: usize) -> Value<'g> {
        let row = if self.rows == 1 { 0 } else { row as u32 };
        let col = if self.cols == 1 { 0 } else { col as u32 };
        self.block.value(self.start + row * self.stride + col)
    }

    /// The same numbers as one long row if nothing lies between the rows, otherwise unchanged: one long loop is faster than
    /// many short ones.
    #[inline]
    pub(super) fn flat(self) -> Self {
        let len = self.rows * self.cols;
        if self.stride == self.cols { View { rows: 1, cols: len, stride: len, ..self } } else { self }
    }

    /// Two matrices of one shape as one long row each, if that can be done to both; otherwise both unchanged.
    #[inline]
    pub(super) fn flat_pair(a: Self, b: Self) -> (Self, Self) {
        let same = a.shape() == b.shape() && a.stride == a.cols && b.stride == b.cols;
        if same { (a.flat(), b.flat()) } else { (a, b) }
    }
}
