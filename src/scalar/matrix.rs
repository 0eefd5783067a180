//! Rows of values: the scalar engine's [`Tensor`].
//!
//! A matrix is a list of its rows, and a row is the first of some values that lie side by side in a block. So to take
//! rows, or columns, or to put rows one below another copies no number: it writes a new list. Every other
//! operation makes a new block of numbers, each of them a node with operands of its own.

use std::ops::Range;

use super::made::{Column, Made, dot};
use super::value::{Block, Graph, Value};
use crate::function::{Binary, Function};
use crate::params::{Layout, Weights};
use crate::tensor::{Tensor, broadcast};

/// A matrix whose every element is a [`Value`].
#[derive(Clone, Copy)]
pub struct Matrix<'g> {
    graph: &'g Graph<'g>,
    rows: &'g [Value<'g>],
    cols: usize,
}

impl<'g> Graph<'g> {
    /// A matrix of given numbers, row by row: leaves of the graph.
    pub fn matrix(&'g self, rows: usize, cols: usize, data: &[f64]) -> Matrix<'g> {
        assert_eq!(data.len(), rows * cols, "matrix: {} numbers for {rows} x {cols}", data.len());
        Matrix::of(self.leaves(self.bump().alloc_slice_copy(data)), 0, rows, cols)
    }

    /// All weights of a model as leaves of this graph, read where they lie.
    pub fn bind(&'g self, layout: &Layout, weights: &'g [f64]) -> Bound<'g> {
        let block = self.leaves(weights);
        let windows = layout.windows();
        let matrices = self.bump().alloc_slice_fill_with(windows.len(), |at| {
            let window = &windows[at];
            Matrix::of(block, window.offset, window.rows, window.cols)
        });
        Bound { weights: Weights::new(matrices), block }
    }
}

/// A model's weights in a graph.
#[derive(Clone, Copy)]
pub struct Bound<'g> {
    /// The matrices, by their parameter.
    pub weights: Weights<'g, Matrix<'g>>,
    block: &'g Block<'g>,
}

impl Bound<'_> {
    /// Copies the gradients of all weights out of the graph, in the order of the layout.
    pub fn gradient(self, out: &mut [f64]) {
        let generation = self.block.graph.generation();
        for (out, grad) in out.iter_mut().zip(self.block.reach(generation)) {
            *out = grad.get();
        }
    }
}

impl<'g> Matrix<'g> {
    /// `rows` rows that lie one after another in a block, from `start` on.
    fn of(block: &'g Block<'g>, start: usize, rows: usize, cols: usize) -> Self {
        let graph = block.graph;
        let first = |row| Value { block, index: (start + row * cols) as u32 };
        Matrix { graph, rows: graph.bump().alloc_slice_fill_with(rows, first), cols }
    }

    /// The number in one place.
    pub fn value(self, row: usize, col: usize) -> Value<'g> {
        assert!(col < self.cols, "value: column {col} of {}", self.cols);
        self.rows[row].later(col as u32)
    }

    /// All numbers of a row.
    pub fn row(self, row: usize) -> &'g [f64] {
        let first = self.rows[row];
        &first.block.data[first.run(self.cols)]
    }

    /// New numbers: `fill` computes a row of them at a time, `operands` names what the number in a row and column is made
    /// from, and `made` the operation.
    #[inline]
    fn compute<O: 'g>(
        self,
        (rows, cols): (usize, usize),
        mut fill: impl FnMut(usize, &mut [f64]),
        mut operands: impl FnMut(usize, u32) -> O,
        made: impl FnOnce(&'g [O]) -> Made<'g>,
    ) -> Self {
        let bump = self.graph.bump();
        let numbers = bump.alloc_slice_fill_copy(rows * cols, 0.0);
        for row in 0..rows {
            fill(row, &mut numbers[row * cols..][..cols]);
        }
        let (mut row, mut col) = (0, 0);
        let list = bump.alloc_slice_fill_with(rows * cols, |_| {
            let operands = operands(row, col);
            col += 1;
            if col as usize == cols {
                (row, col) = (row + 1, 0);
            }
            operands
        });
        Matrix::of(self.graph.block(numbers, made(list)), 0, rows, cols)
    }

    fn combine(self, b: Self, op: Binary) -> Self {
        let shape = broadcast(op.sign(), self.shape(), b.shape());
        // Where an operand has a single row or column, its index stays 0.
        let row_of = |m: Self, row: usize| if m.rows.len() == 1 { 0 } else { row };
        let (a_step, b_step) = (u32::from(self.cols > 1), u32::from(b.cols > 1));
        self.compute(
            shape,
            |row, out| {
                let (a, b) = (self.row(row_of(self, row)), b.row(row_of(b, row)));
                match (a.len(), b.len()) {
                    (1, m) if m > 1 => out.iter_mut().zip(b).for_each(|(y, &b)| *y = op.value(a[0], b)),
                    (_, 1) => out.iter_mut().zip(a).for_each(|(y, &a)| *y = op.value(a, b[0])),
                    _ => out.iter_mut().zip(a).zip(b).for_each(|((y, &a), &b)| *y = op.value(a, b)),
                }
            },
            |row, col| {
                let (a, b) = (self.rows[row_of(self, row)], b.rows[row_of(b, row)]);
                (a.later(col * a_step), b.later(col * b_step))
            },
            |pairs| Made::Binary(op, pairs),
        )
    }
}

impl<'g> Tensor for Matrix<'g> {
    fn shape(self) -> (usize, usize) {
        (self.rows.len(), self.cols)
    }

    fn constant(self, rows: usize, cols: usize, data: &[f64]) -> Self {
        self.graph.matrix(rows, cols, data)
    }

    fn apply(self, f: Function) -> Self {
        self.compute(
            self.shape(),
            |row, out| out.iter_mut().zip(self.row(row)).for_each(|(y, &x)| *y = f.value(x)),
            |row, col| self.rows[row].later(col),
            |xs| Made::Unary(f, xs),
        )
    }

    fn matmul(self, b: Self) -> Self {
        assert_eq!(self.cols, b.rows.len(), "matmul: {:?} · {:?}", self.shape(), b.shape());
        self.compute(
            (self.rows.len(), b.cols),
            |row, out| {
                for (at, a) in self.row(row).iter().enumerate() {
                    out.iter_mut().zip(b.row(at)).for_each(|(y, b)| *y += a * b);
                }
            },
            |row, col| (self.rows[row], Column { rows: b.rows, offset: col }),
            Made::DotColumn,
        )
    }

    fn matmul_t(self, b: Self) -> Self {
        assert_eq!(self.cols, b.cols, "matmul_t: {:?} · {:?}ᵀ", self.shape(), b.shape());
        self.compute(
            (self.rows.len(), b.rows.len()),
            |row, out| {
                let a = self.row(row);
                for (at, y) in out.iter_mut().enumerate() {
                    *y = dot(a, b.row(at));
                }
            },
            |row, col| (self.rows[row], b.rows[col as usize]),
            |pairs| Made::DotRun(self.cols, pairs),
        )
    }

    fn row_sum(self) -> Self {
        self.compute(
            (self.rows.len(), 1),
            |row, out| out[0] = self.row(row).iter().sum(),
            |row, _| self.rows[row],
            |firsts| Made::SumRun(self.cols, firsts),
        )
    }

    fn row_max(self) -> Self {
        let max = |row| self.row(row).iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let data = self.graph.bump().alloc_slice_fill_with(self.rows.len(), max);
        Matrix::of(self.graph.leaves(data), 0, data.len(), 1)
    }

    fn gather_rows(self, rows: &[usize]) -> Self {
        let row = |at: usize| {
            assert!(rows[at] < self.rows.len(), "gather_rows: row {} of {:?}", rows[at], self.shape());
            self.rows[rows[at]]
        };
        let rows = self.graph.bump().alloc_slice_fill_with(rows.len(), row);
        Matrix { rows, ..self }
    }

    fn pick(self, cols: &[usize]) -> Self {
        assert_eq!(self.rows.len(), cols.len(), "pick: {:?} with {} columns", self.shape(), cols.len());
        let pick = |row: usize| {
            assert!(cols[row] < self.cols, "pick: column {} of {}", cols[row], self.cols);
            self.rows[row].later(cols[row] as u32)
        };
        Matrix { rows: self.graph.bump().alloc_slice_fill_with(cols.len(), pick), cols: 1, ..self }
    }

    fn slice_cols(self, cols: Range<usize>) -> Self {
        assert!(cols.end <= self.cols, "slice_cols: {cols:?} of {:?}", self.shape());
        let slice = |row: usize| self.rows[row].later(cols.start as u32);
        Matrix {
            rows: self.graph.bump().alloc_slice_fill_with(self.rows.len(), slice),
            cols: cols.len(),
            ..self
        }
    }

    fn concat_cols(parts: &[Self]) -> Self {
        let cols = parts.iter().map(|part| part.cols).sum();
        let first = parts[0];
        assert!(parts.iter().all(|part| part.rows.len() == first.rows.len()), "concat_cols: unequal heights");
        first.compute(
            (first.rows.len(), cols),
            |row, out| {
                let mut rest = out;
                for part in parts {
                    let (here, after) = rest.split_at_mut(part.cols);
                    here.copy_from_slice(part.row(row));
                    rest = after;
                }
            },
            |row, mut col| {
                let mut parts = parts.iter();
                loop {
                    let part = parts.next().expect("every column is in one of the parts");
                    if (col as usize) < part.cols {
                        return part.rows[row].later(col);
                    }
                    col -= part.cols as u32;
                }
            },
            |xs| Made::Unary(Function::Identity, xs),
        )
    }

    fn concat_rows(parts: &[Self]) -> Self {
        let first = parts[0];
        assert!(parts.iter().all(|part| part.cols == first.cols), "concat_rows: unequal widths");
        let count = parts.iter().map(|part| part.rows.len()).sum();
        let mut rows = parts.iter().flat_map(|part| part.rows);
        let next = |_| *rows.next().expect("as many rows as were counted");
        Matrix { rows: first.graph.bump().alloc_slice_fill_with(count, next), ..first }
    }

    /// The rows lie in a list already: a part of that list.
    fn slice_rows(self, rows: Range<usize>) -> Self {
        assert!(rows.end <= self.rows.len(), "slice_rows: {rows:?} of {:?}", self.shape());
        Matrix { rows: &self.rows[rows], ..self }
    }

    /// One dot node a row instead of a product for each element and their sum.
    fn row_dot(self, b: Self) -> Self {
        assert_eq!(self.shape(), b.shape(), "row_dot: {:?} and {:?}", self.shape(), b.shape());
        self.compute(
            (self.rows.len(), 1),
            |row, out| out[0] = dot(self.row(row), b.row(row)),
            |row, _| (self.rows[row], b.rows[row]),
            |pairs| Made::DotRun(self.cols, pairs),
        )
    }
}

crate::tensor::operators!(Matrix<'g>);
