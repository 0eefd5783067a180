//! Exercise 3.4: a matrix as a start and two strides.
//!
//! Set `DONE` to `true`; `cargo test --test exercises exercise_3_4` then fails until your code is right.

use std::ops::Range;

/// Whether you have written it.
pub const DONE: bool = false;

/// A matrix over a long list of numbers: where it begins, its size, and how far it is from one row to the next
/// and from one column to the next.
#[derive(Clone, Copy, Default)]
pub struct View {
    pub start: usize,
    pub rows: usize,
    pub cols: usize,
    pub row_stride: usize,
    pub col_stride: usize,
}

impl View {
    /// A matrix whose rows lie one after another, from `start` on.
    pub fn whole(start: usize, rows: usize, cols: usize) -> View {
        let _ = (start, rows, cols); // your code
        View::default()
    }

    /// The index in the list of the number in this row and column.
    pub fn place(self, row: usize, col: usize) -> usize {
        let _ = (row, col); // your code
        0
    }

    /// The same numbers with rows and columns exchanged. Nothing is copied.
    pub fn transpose(self) -> View {
        self // your code
    }

    /// Some neighbouring rows and columns of it. Nothing is copied.
    pub fn part(self, rows: Range<usize>, cols: Range<usize>) -> View {
        let _ = (rows, cols); // your code
        self
    }
}
