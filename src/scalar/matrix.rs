//! Matrices of values: the scalar engine's [`Tensor`].
//!
//! A matrix is a view into a block, so cutting off rows or columns copies nothing. Every other operation makes a new block
//! of numbers, each of them a node with operands of its own.

use std::array::from_fn;
use std::ops::Range;

use super::made::Made;
use super::value::{Block, Graph, Value};
use super::view::View;
use crate::function::{BinaryOp, UnaryOp};
use crate::params::{BoundParams, Layout};
use crate::tensor::{Tensor, broadcast};

/// A matrix of at least one row and column, whose every element is a [`Value`].
#[derive(Clone, Copy)]
pub struct Matrix<'g>(&'g View<'g>);

impl<'g> Graph<'g> {
    /// A matrix of given numbers, row by row: leaves of the graph.
    ///
    /// # Panics
    /// If they are not `rows · cols`, or none.
    pub fn matrix(&'g self, rows: usize, cols: usize, data: &[f64]) -> Matrix<'g> {
        let fits = rows.checked_mul(cols) == Some(data.len());
        assert!(fits, "matrix: {} numbers for {rows} x {cols}", data.len());
        Matrix::of(self.leaves(data), 0, rows, cols)
    }

    /// All weights of a model as leaves of this graph.
    ///
    /// # Panics
    /// If they are not as many as the layout has, or a window has no row or column.
    pub fn bind(&'g self, layout: &Layout, params: &[f64]) -> Bound<'g> {
        assert_eq!(params.len(), layout.len(), "bind: params against those of the layout");
        let block = self.leaves(params);
        let windows = layout.specs();
        let matrices = self.bump().alloc_slice_fill_with(windows.len(), |at| {
            let window = &windows[at];
            assert!(!window.range().is_empty(), "bind: {} is empty", window.name);
            Matrix::of(block, window.offset, window.rows, window.cols)
        });
        let trainable = self.bump().alloc_slice_fill_with(windows.len(), |at| {
            if windows[at].trainable { windows[at].range() } else { 0..0 }
        });
        Bound { params: BoundParams::new(matrices), block, trainable }
    }
}

/// A model's weights in a graph.
#[derive(Clone, Copy)]
pub struct Bound<'g> {
    /// The matrices, by their parameter.
    pub params: BoundParams<'g, Matrix<'g>>,
    block: &'g Block<'g>,
    /// The places of each parameter in the block; none if it is frozen.
    trainable: &'g [Range<usize>],
}

impl Bound<'_> {
    /// Copies the gradients of the trainable parameters out of the graph, one after another in the order of the layout:
    /// those of the last [`Value::backward`], all zero if it did not come here.
    ///
    /// # Panics
    /// If `out` is not as long as there are trainable numbers.
    pub fn gradient(self, mut out: &mut [f64]) {
        let len: usize = self.trainable.iter().map(Range::len).sum();
        assert_eq!(out.len(), len, "gradient: the numbers to write against the trainable ones");
        let grads = self.block.reach(self.block.graph.generation());
        for range in self.trainable {
            let here = out.split_off_mut(..range.len()).expect("as many as there are trainable numbers");
            here.iter_mut().zip(&grads[range.clone()]).for_each(|(out, grad)| *out = grad.get());
        }
    }
}

impl<'g> Matrix<'g> {
    /// `rows` rows that lie one after another in a block, from `start` on.
    fn of(block: &'g Block<'g>, start: usize, rows: usize, cols: usize) -> Self {
        let [start, rows, cols] = [start, rows, cols].map(|n| n as u32);
        Matrix::view(View { block, start, rows, cols, stride: cols })
    }

    fn view(view: View<'g>) -> Self {
        Matrix(view.block.graph.bump().alloc(view))
    }

    fn graph(self) -> &'g Graph<'g> {
        self.0.block.graph
    }

    fn list<T>(self, items: impl ExactSizeIterator<Item = T>) -> &'g [T] {
        self.graph().bump().alloc_slice_fill_iter(items)
    }

    /// The number in one place.
    ///
    /// # Panics
    /// If there is no such place.
    pub fn at(self, row: usize, col: usize) -> Value<'g> {
        let (rows, cols) = self.shape();
        assert!(row < rows && col < cols, "at: row {row}, column {col} of {rows} x {cols}");
        self.0.value_or_only(row, col)
    }

    /// All numbers of a row.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn row(self, row: usize) -> &'g [f64] {
        let (rows, _) = self.shape();
        assert!(row < rows, "row: {row} of {rows}");
        self.0.row(row).data
    }

    /// New numbers: `made` says how, and `fill` computes them in room that holds zeros.
    #[inline]
    fn compute(self, (rows, cols): (usize, usize), made: Made<'g>, fill: impl FnOnce(&mut [f64])) -> Self {
        let (data, grad) = self.graph().room(rows * cols);
        fill(data);
        Matrix::of(self.graph().block(data, grad, made), 0, rows, cols)
    }

    #[inline]
    fn map(self, function: UnaryOp, f: impl Fn(f64) -> f64) -> Self {
        self.compute(self.shape(), Made::Unary(function, self.0), |out| {
            let x = self.0.flat();
            for (row, out) in out.chunks_exact_mut(x.shape().1).enumerate() {
                out.iter_mut().zip(x.row(row).data).for_each(|(y, &x)| *y = f(x));
            }
        })
    }

    #[inline]
    fn zip(self, b: Self, op: BinaryOp, f: impl Fn(f64, f64) -> f64) -> Self {
        let shape = broadcast(op.sign(), self.shape(), b.shape());
        self.graph().check(b.0.block);
        self.compute(shape, Made::Binary(op, self.0, b.0), |out| {
            let (a, b) = View::flat_pair(*self.0, *b.0);
            let cols = a.cols.max(b.cols) as usize;
            for (row, out) in out.chunks_exact_mut(cols).enumerate() {
                match (a.row_or_only(row).data, b.row_or_only(row).data) {
                    (&[a], b) => out.iter_mut().zip(b).for_each(|(y, &b)| *y = f(a, b)),
                    (a, &[b]) => out.iter_mut().zip(a).for_each(|(y, &a)| *y = f(a, b)),
                    (a, b) => out.iter_mut().zip(a).zip(b).for_each(|((y, &a), &b)| *y = f(a, b)),
                }
            }
        })
    }

    /// Each operator has a loop of its own, in which nothing is asked.
    fn combine(self, b: Self, op: BinaryOp) -> Self {
        match op {
            BinaryOp::Add => self.zip(b, op, |a, b| BinaryOp::Add.eval(a, b)),
            BinaryOp::Sub => self.zip(b, op, |a, b| BinaryOp::Sub.eval(a, b)),
            BinaryOp::Mul => self.zip(b, op, |a, b| BinaryOp::Mul.eval(a, b)),
            BinaryOp::Div => self.zip(b, op, |a, b| BinaryOp::Div.eval(a, b)),
        }
    }
}

impl<'g> Tensor for Matrix<'g> {
    fn shape(self) -> (usize, usize) {
        self.0.shape()
    }

    fn constant(self, rows: usize, cols: usize, data: &[f64]) -> Self {
        self.graph().matrix(rows, cols, data)
    }

    /// The frequent functions have a loop of their own, in which nothing is asked.
    fn apply(self, f: UnaryOp) -> Self {
        match f {
            UnaryOp::Scale(c) => self.map(f, |x| UnaryOp::Scale(c).eval(x)),
            UnaryOp::Relu => self.map(f, |x| UnaryOp::Relu.eval(x)),
            UnaryOp::Exp => self.map(f, |x| UnaryOp::Exp.eval(x)),
            _ => self.map(f, |x| f.eval(x)),
        }
    }

    fn matmul(self, b: Self) -> Self {
        let ((rows, len), (b_rows, cols)) = (self.shape(), b.shape());
        assert_eq!(len, b_rows, "matmul: {:?} · {:?}", self.shape(), b.shape());
        self.graph().check(b.0.block);
        self.compute((rows, cols), Made::Matmul(self.0, b.0), |out| {
            for (row, out) in out.chunks_exact_mut(cols).enumerate() {
                for (at, x) in self.row(row).iter().enumerate() {
                    out.iter_mut().zip(b.row(at)).for_each(|(y, w)| *y += x * w);
                }
            }
        })
    }

    fn matmul_t(self, b: Self) -> Self {
        let ((rows, len), (cols, b_len)) = (self.shape(), b.shape());
        assert_eq!(len, b_len, "matmul_t: {:?} · {:?}ᵀ", self.shape(), b.shape());
        self.graph().check(b.0.block);
        self.compute((rows, cols), Made::MatmulT(self.0, b.0), |out| {
            for (row, out) in out.chunks_exact_mut(cols).enumerate() {
                let a = self.row(row);
                for (at, y) in out.iter_mut().enumerate() {
                    *y = dot(a, b.0.row(at).data);
                }
            }
        })
    }

    fn row_sum(self) -> Self {
        let (rows, _) = self.shape();
        self.compute((rows, 1), Made::RowSum(self.0), |out| {
            for (row, y) in out.iter_mut().enumerate() {
                *y = self.row(row).iter().sum();
            }
        })
    }

    fn row_max(self) -> Self {
        let (rows, _) = self.shape();
        self.compute((rows, 1), Made::Given, |out| {
            for (row, y) in out.iter_mut().enumerate() {
                *y = self.row(row).iter().copied().fold(f64::NEG_INFINITY, f64::max);
            }
        })
    }

    fn gather_rows(self, rows: &[usize]) -> Self {
        let (all, cols) = self.shape();
        assert!(!rows.is_empty(), "gather_rows: no rows of {:?}", self.shape());
        for row in rows {
            assert!(*row < all, "gather_rows: row {row} of {:?}", self.shape());
        }
        let rows = self.list(rows.iter().copied());
        self.compute((rows.len(), cols), Made::GatherRows(self.0, rows), |out| {
            for (out, &row) in out.chunks_exact_mut(cols).zip(rows) {
                out.copy_from_slice(self.row(row));
            }
        })
    }

    fn pick(self, cols: &[usize]) -> Self {
        let (rows, all) = self.shape();
        assert_eq!(rows, cols.len(), "pick: {:?} with {} columns", self.shape(), cols.len());
        for col in cols {
            assert!(*col < all, "pick: column {col} of {all}");
        }
        let cols = self.list(cols.iter().copied());
        self.compute((rows, 1), Made::Pick(self.0, cols), |out| {
            for (row, (y, &col)) in out.iter_mut().zip(cols).enumerate() {
                *y = self.row(row)[col];
            }
        })
    }

    /// The same numbers, seen otherwise: nothing is copied.
    fn slice_cols(self, cols: Range<usize>) -> Self {
        assert!(
            cols.start < cols.end && cols.end <= self.shape().1,
            "slice_cols: {cols:?} of {:?}",
            self.shape()
        );
        Matrix::view(View { start: self.0.start + cols.start as u32, cols: cols.len() as u32, ..*self.0 })
    }

    fn concat_cols(parts: &[Self]) -> Self {
        let (rows, _) = parts.first().expect("concat_cols of nothing").shape();
        for part in parts {
            assert_eq!(part.shape().0, rows, "concat_cols: {:?} beside {:?}", part.shape(), parts[0].shape());
            parts[0].graph().check(part.0.block);
        }
        let cols = parts.iter().map(|part| part.shape().1).sum();
        let made = Made::ConcatCols(parts[0].list(parts.iter().map(|part| part.0)));
        parts[0].compute((rows, cols), made, |mut out| {
            for row in 0..rows {
                for part in parts {
                    let here = out.split_off_mut(..part.shape().1).expect("the parts fill the row");
                    here.copy_from_slice(part.row(row));
                }
            }
        })
    }

    fn concat_rows(parts: &[Self]) -> Self {
        let (_, cols) = parts.first().expect("concat_rows of nothing").shape();
        for part in parts {
            assert_eq!(part.shape().1, cols, "concat_rows: {:?} below {:?}", part.shape(), parts[0].shape());
            parts[0].graph().check(part.0.block);
        }
        let rows = parts.iter().map(|part| part.shape().0).sum();
        let made = Made::ConcatRows(parts[0].list(parts.iter().map(|part| part.0)));
        parts[0].compute((rows, cols), made, |mut out| {
            for part in parts {
                for row in 0..part.shape().0 {
                    let here = out.split_off_mut(..cols).expect("the parts fill the rows");
                    here.copy_from_slice(part.row(row));
                }
            }
        })
    }

    /// The same numbers, seen otherwise: nothing is copied.
    fn slice_rows(self, rows: Range<usize>) -> Self {
        assert!(
            rows.start < rows.end && rows.end <= self.shape().0,
            "slice_rows: {rows:?} of {:?}",
            self.shape()
        );
        let start = self.0.start + rows.start as u32 * self.0.stride;
        Matrix::view(View { start, rows: rows.len() as u32, ..*self.0 })
    }

    /// One dot node a row instead of a product for each element and their sum.
    fn row_dot(self, b: Self) -> Self {
        assert_eq!(self.shape(), b.shape(), "row_dot: {:?} and {:?}", self.shape(), b.shape());
        self.graph().check(b.0.block);
        let (rows, _) = self.shape();
        self.compute((rows, 1), Made::RowDot(self.0, b.0), |out| {
            for (row, y) in out.iter_mut().enumerate() {
                *y = dot(self.row(row), b.row(row));
            }
        })
    }
}

/// How many running sums there are in a dot product: as many as an `f64` register can hold at present.
const LANES: usize = 8;

// ANCHOR: dot
/// The dot product of two rows, in [`LANES`] running sums that are added up at the end. The order of the additions is
/// fixed, so the result is the same on every machine.
#[inline]
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let (a_chunks, a_rest) = a.as_chunks::<LANES>();
    let (b_chunks, b_rest) = b.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        sums = from_fn(|k| sums[k] + a[k] * b[k]);
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    if a_chunks.is_empty() { rest } else { total(sums) + rest }
}
// ANCHOR_END: dot

/// The sum of running sums: half of them is added to the other half, until one is left.
#[inline]
fn total(mut sums: [f64; LANES]) -> f64 {
    let mut left = LANES;
    while left > 1 {
        left /= 2;
        for k in 0..left {
            sums[k] += sums[k + left];
        }
    }
    sums[0]
}

crate::tensor::operators!(Matrix<'g>);
