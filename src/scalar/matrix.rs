//! Matrices of values: the scalar engine's [`Tensor`].
//!
//! A matrix is a start and two strides: how far it is in the graph from one row to the next, and from one column to the next.
//! So a part of a matrix, or a row that stands for all, copies nothing. Every other operation makes new numbers, each a node
//! with an operation of its own.

use std::ops::Range;

use super::value::{Graph, Op, Value};
use crate::function::{BinaryOp, UnaryOp};
use crate::params::{BoundParams, Layout};
use crate::tensor::{Tensor, broadcast};

// ANCHOR: matrix
/// A matrix of at least one row and column, whose every element is a [`Value`].
#[derive(Clone, Copy)]
pub struct Matrix<'g> {
    graph: &'g Graph<'g>,
    start: u32,
    rows: u32,
    cols: u32,
    row_stride: u32,
    col_stride: u32,
}
// ANCHOR_END: matrix

impl<'g> Graph<'g> {
    /// A matrix of given numbers, row by row: leaves of the graph.
    ///
    /// # Panics
    /// If they are not `rows · cols`, or none.
    pub fn matrix(&'g self, rows: usize, cols: usize, data: &[f64]) -> Matrix<'g> {
        let fits = rows.checked_mul(cols) == Some(data.len()) && !data.is_empty();
        assert!(fits, "matrix: {} numbers for {rows} x {cols}", data.len());
        Matrix::new(self, self.leaves(data), rows, cols)
    }

    /// All parameters of a model as leaves of this graph.
    ///
    /// # Panics
    /// If they are not as many as the layout has, if a matrix has no row or column, or if the graph is not empty.
    pub fn bind(&'g self, layout: &Layout, params: &[f64]) -> Bound<'g> {
        assert_eq!(params.len(), layout.len(), "bind: parameters against those of the layout");
        assert!(self.is_empty(), "bind: parameters come first in a graph");
        self.leaves(params);
        let specs = layout.specs();
        let matrices = self.arena.bump().alloc_slice_fill_with(specs.len(), |at| {
            let spec = &specs[at];
            assert!(!spec.range().is_empty(), "bind: {} is empty", spec.name);
            Matrix::new(self, spec.offset as u32, spec.rows, spec.cols)
        });
        let trainable = self.arena.bump().alloc_slice_fill_with(specs.len(), |at| {
            if specs[at].trainable { specs[at].range() } else { 0..0 }
        });
        Bound { params: BoundParams::new(matrices), graph: self, trainable }
    }
}

/// A model's parameters in a graph.
#[derive(Clone, Copy)]
pub struct Bound<'g> {
    /// The matrices, to be taken by their [`Param`](crate::params::Param).
    pub params: BoundParams<'g, Matrix<'g>>,
    graph: &'g Graph<'g>,
    /// The places of each parameter in the graph; none if it is frozen.
    trainable: &'g [Range<usize>],
}

impl Bound<'_> {
    /// Copies the gradients of the trainable parameters out of the graph, one after another in the order of the layout:
    /// those of the last [`Value::backward`], and zero where it did not come.
    ///
    /// # Panics
    /// If `out` is not as long as there are trainable numbers.
    pub fn gradient(self, out: &mut [f64]) {
        self.read_gradients(out, |out, grad| *out = grad);
    }

    /// The same, added to what is in `out`.
    ///
    /// # Panics
    /// As [`gradient`](Self::gradient).
    pub fn add_gradient(self, out: &mut [f64]) {
        self.read_gradients(out, |out, grad| *out += grad);
    }

    fn read_gradients(self, mut out: &mut [f64], put: impl Fn(&mut f64, f64)) {
        let len: usize = self.trainable.iter().map(Range::len).sum();
        assert_eq!(out.len(), len, "gradient: the numbers to write against the trainable ones");
        let nodes = self.graph.nodes.borrow();
        for range in self.trainable.iter().filter(|range| !range.is_empty()) {
            let here = out.split_off_mut(..range.len()).expect("as many as there are trainable numbers");
            nodes.read_gradients(range.clone(), here, &put);
        }
    }
}

impl<'g> Matrix<'g> {
    fn new(graph: &'g Graph<'g>, start: u32, rows: usize, cols: usize) -> Self {
        Matrix { graph, start, rows: rows as u32, cols: cols as u32, row_stride: cols as u32, col_stride: 1 }
    }

    /// New numbers, each by an operation of its own.
    #[inline(always)]
    fn make(self, rows: usize, cols: usize, op: impl Fn(usize, usize) -> Op) -> Self {
        Matrix::new(self.graph, self.graph.make(rows, cols, op), rows, cols)
    }

    /// The place of a number in the graph.
    #[inline(always)]
    fn place(self, row: usize, col: usize) -> u32 {
        self.start + row as u32 * self.row_stride + col as u32 * self.col_stride
    }

    /// The number in one place.
    ///
    /// # Panics
    /// If there is no such place.
    pub fn at(self, row: usize, col: usize) -> Value<'g> {
        let (rows, cols) = self.shape();
        assert!(row < rows && col < cols, "at: row {row}, column {col} of {rows} x {cols}");
        Value { graph: self.graph, place: self.place(row, col) }
    }

    /// Calls `read` with all numbers of a row.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn read_row<R>(self, row: usize, read: impl FnOnce(&[f64]) -> R) -> R {
        assert!(row < self.rows as usize, "read_row: {row} of {}", self.rows);
        read(&self.graph.nodes.borrow().data[self.place(row, 0) as usize..][..self.cols as usize])
    }

    /// The same numbers, of which a single row or column stands for as many as are asked for.
    fn broadcast(self) -> Self {
        let row_stride = if self.rows == 1 { 0 } else { self.row_stride };
        let col_stride = if self.cols == 1 { 0 } else { self.col_stride };
        Matrix { row_stride, col_stride, ..self }
    }

    fn combine(self, b: Self, op: BinaryOp) -> Self {
        let (rows, cols) = broadcast(op.sign(), self.shape(), b.shape());
        self.graph.check(b.graph);
        let (a, b) = (self.broadcast(), b.broadcast());
        self.make(rows, cols, |row, col| Op::Binary(op, a.place(row, col), b.place(row, col)))
    }

    fn copy(self) -> Self {
        let (rows, cols) = self.shape();
        self.make(rows, cols, |row, col| copy_of(self.place(row, col)))
    }
}

fn copy_of(place: u32) -> Op {
    Op::Unary(UnaryOp::Identity, place)
}

impl<'g> Tensor for Matrix<'g> {
    fn shape(self) -> (usize, usize) {
        (self.rows as usize, self.cols as usize)
    }

    fn constant(self, rows: usize, cols: usize, data: &[f64]) -> Self {
        self.graph.matrix(rows, cols, data)
    }

    fn apply(self, f: UnaryOp) -> Self {
        let (rows, cols) = self.shape();
        self.make(rows, cols, |row, col| Op::Unary(f, self.place(row, col)))
    }

    fn matmul(self, b: Self) -> Self {
        let ((rows, len), (b_rows, cols)) = (self.shape(), b.shape());
        assert_eq!(len, b_rows, "matmul: {:?} · {:?}", self.shape(), b.shape());
        self.graph.check(b.graph);
        let (len, stride) = (len as u32, b.row_stride);
        self.make(rows, cols, |row, col| Op::Dot { a: self.place(row, 0), b: b.place(0, col), len, stride })
    }

    fn matmul_t(self, b: Self) -> Self {
        let ((rows, len), (cols, b_len)) = (self.shape(), b.shape());
        assert_eq!(len, b_len, "matmul_t: {:?} · {:?}ᵀ", self.shape(), b.shape());
        self.graph.check(b.graph);
        let (len, stride) = (len as u32, 1);
        self.make(rows, cols, |row, col| Op::Dot { a: self.place(row, 0), b: b.place(col, 0), len, stride })
    }

    fn row_sum(self) -> Self {
        let (rows, len) = (self.rows as usize, self.cols);
        self.make(rows, 1, |row, _| Op::Sum { x: self.place(row, 0), len })
    }

    fn row_max(self) -> Self {
        let (start, rows) = (self.graph.len() as u32, self.rows as usize);
        for row in 0..rows {
            let max = self.read_row(row, |x| x.iter().copied().fold(f64::NEG_INFINITY, f64::max));
            self.graph.leaves(&[max]);
        }
        Matrix::new(self.graph, start, rows, 1)
    }

    fn gather_rows(self, rows: &[usize]) -> Self {
        let (all, cols) = self.shape();
        assert!(!rows.is_empty(), "gather_rows: no rows of {:?}", self.shape());
        for row in rows {
            assert!(*row < all, "gather_rows: row {row} of {:?}", self.shape());
        }
        self.make(rows.len(), cols, |row, col| copy_of(self.place(rows[row], col)))
    }

    fn pick(self, cols: &[usize]) -> Self {
        let (rows, all) = self.shape();
        assert_eq!(rows, cols.len(), "pick: {:?} with {} columns", self.shape(), cols.len());
        for col in cols {
            assert!(*col < all, "pick: column {col} of {all}");
        }
        self.make(rows, 1, |row, _| copy_of(self.place(row, cols[row])))
    }

    /// The same numbers, seen otherwise: nothing is copied.
    fn slice_cols(self, cols: Range<usize>) -> Self {
        let fits = cols.start < cols.end && cols.end <= self.cols as usize;
        assert!(fits, "slice_cols: {cols:?} of {:?}", self.shape());
        Matrix { start: self.place(0, cols.start), cols: cols.len() as u32, ..self }
    }

    /// The same numbers, seen otherwise: nothing is copied.
    fn slice_rows(self, rows: Range<usize>) -> Self {
        let fits = rows.start < rows.end && rows.end <= self.rows as usize;
        assert!(fits, "slice_rows: {rows:?} of {:?}", self.shape());
        Matrix { start: self.place(rows.start, 0), rows: rows.len() as u32, ..self }
    }

    /// Copies, one row of one part after the other, so that they lie as one matrix.
    fn concat_cols(parts: &[Self]) -> Self {
        let first = *parts.first().expect("concat_cols of nothing");
        for part in parts {
            assert_eq!(part.rows, first.rows, "concat_cols: {:?} beside {:?}", part.shape(), first.shape());
            first.graph.check(part.graph);
        }
        let start = first.graph.len() as u32;
        for row in 0..first.rows as usize {
            parts.iter().for_each(|part| _ = part.slice_rows(row..row + 1).copy());
        }
        let cols = parts.iter().map(|part| part.cols as usize).sum();
        Matrix::new(first.graph, start, first.rows as usize, cols)
    }

    fn concat_rows(parts: &[Self]) -> Self {
        let first = *parts.first().expect("concat_rows of nothing");
        for part in parts {
            assert_eq!(part.cols, first.cols, "concat_rows: {:?} below {:?}", part.shape(), first.shape());
            first.graph.check(part.graph);
        }
        let start = first.graph.len() as u32;
        parts.iter().for_each(|part| _ = part.copy());
        let rows = parts.iter().map(|part| part.rows as usize).sum();
        Matrix::new(first.graph, start, rows, first.cols as usize)
    }

    /// One dot node a row instead of a product for each element and their sum.
    fn row_dot(self, b: Self) -> Self {
        assert_eq!(self.shape(), b.shape(), "row_dot: {:?} and {:?}", self.shape(), b.shape());
        self.graph.check(b.graph);
        let (rows, len) = (self.rows as usize, self.cols);
        self.make(rows, 1, |row, _| Op::Dot { a: self.place(row, 0), b: b.place(row, 0), len, stride: 1 })
    }
}

crate::tensor::operators!(Matrix<'g>);
