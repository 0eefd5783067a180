//! A solution of exercise 3.4.

use std::ops::Range;

#[derive(Clone, Copy)]
pub struct View {
    pub start: usize,
    pub rows: usize,
    pub cols: usize,
    pub row_stride: usize,
    pub col_stride: usize,
}

impl View {
    pub fn whole(start: usize, rows: usize, cols: usize) -> View {
        View { start, rows, cols, row_stride: cols, col_stride: 1 }
    }

    pub fn place(self, row: usize, col: usize) -> usize {
        self.start + row * self.row_stride + col * self.col_stride
    }

    pub fn transpose(self) -> View {
        let View { start, rows, cols, row_stride, col_stride } = self;
        View { start, rows: cols, cols: rows, row_stride: col_stride, col_stride: row_stride }
    }

    pub fn part(self, rows: Range<usize>, cols: Range<usize>) -> View {
        View { start: self.place(rows.start, cols.start), rows: rows.len(), cols: cols.len(), ..self }
    }
}
