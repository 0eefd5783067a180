//! Matrices of numbers in blocks: forward.

use std::cell::Cell;
use std::ops::Range;

use gradus::tensor::{Tensor, broadcast};
use gradus::{BinaryOp, UnaryOp};

use super::block::Graph;
use super::dot::dot;
use super::op::Op;
use super::view::View;
use crate::ladder::operators::operators;

/// A matrix of at least one row and column: a view of a block. Slicing makes another view; every other operation makes a
/// new block.
#[derive(Clone, Copy)]
pub struct Matrix<'g>(&'g View<'g>);

impl<'g> Graph<'g> {
    /// A matrix of given numbers, row by row: leaves of the graph.
    ///
    /// # Panics
    /// If they are not `rows · cols`, or none.
    pub fn matrix(&'g self, rows: usize, cols: usize, numbers: &[f64]) -> Matrix<'g> {
        assert_eq!(numbers.len(), rows * cols, "matrix: numbers for {rows} x {cols}");
        self.compute((rows, cols), Op::Leaf, |data| data.copy_from_slice(numbers))
    }

    /// A new block and a view of all of it: `forward` writes the values over zeros.
    #[inline]
    fn compute(
        &'g self,
        (rows, cols): (usize, usize),
        op: Op<'g>,
        forward: impl FnOnce(&mut [f64]),
    ) -> Matrix<'g> {
        let (data, grad) = self.alloc(rows * cols);
        forward(data);
        let block = self.block(data, grad, op);
        let [rows, cols] = [rows, cols].map(|n| n as u32);
        Matrix(self.bump.alloc(View { block, start: 0, rows, cols, stride: cols }))
    }
}

impl<'g> Matrix<'g> {
    /// The values of a row.
    pub fn row(self, row: usize) -> &'g [f64] {
        self.0.row(row).data
    }

    /// The gradients of a row, as of the last [`backward`](Matrix::backward) in this graph: all zero if its root does not
    /// depend on this matrix.
    pub fn row_grad(self, row: usize) -> impl Iterator<Item = f64> {
        self.0.block.mark_visited(self.graph().generation.get());
        self.0.row(row).grad.iter().map(Cell::get)
    }

    /// Computes the gradient of a `[1, 1]` matrix with respect to every number it depends on.
    ///
    /// # Panics
    /// If it has another shape.
    pub fn backward(self) {
        assert_eq!(self.shape(), (1, 1), "backward: the root has to be a single number");
        self.graph().backward(self.0);
    }

    /// `rows x cols` elements of a contiguous matrix, from `start` on.
    pub(super) fn window(self, start: usize, rows: usize, cols: usize) -> Self {
        let [start, rows, cols] = [start, rows, cols].map(|n| n as u32);
        self.view(View { start: self.0.start + start, rows, cols, stride: cols, ..*self.0 })
    }

    pub(super) fn graph(self) -> &'g Graph<'g> {
        self.0.block.graph
    }

    fn view(self, view: View<'g>) -> Self {
        Matrix(self.graph().bump.alloc(view))
    }

    /// A slice that lives as long as the graph.
    fn slice<T>(self, items: impl ExactSizeIterator<Item = T>) -> &'g [T] {
        self.graph().bump.alloc_slice_fill_iter(items)
    }

    #[inline]
    fn map(self, op: UnaryOp, f: impl Fn(f64) -> f64) -> Self {
        self.graph().compute(self.shape(), Op::Unary(op, self.0), |out| {
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
        self.graph().compute(shape, Op::Binary(op, self.0, b.0), |out| {
            let (a, b) = View::flat_pair(*self.0, *b.0);
            let cols = a.cols.max(b.cols) as usize;
            for (row, out) in out.chunks_exact_mut(cols).enumerate() {
                match (a.row_broadcast(row).data, b.row_broadcast(row).data) {
                    (&[a], b) => out.iter_mut().zip(b).for_each(|(y, &b)| *y = f(a, b)),
                    (a, &[b]) => out.iter_mut().zip(a).for_each(|(y, &a)| *y = f(a, b)),
                    (a, b) => out.iter_mut().zip(a).zip(b).for_each(|((y, &a), &b)| *y = f(a, b)),
                }
            }
        })
    }

    /// Each operator gets a loop of its own without a branch in it.
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

    /// The frequent functions get a loop of their own without a branch in it.
    fn apply(self, f: UnaryOp) -> Self {
        match f {
            UnaryOp::Scale(c) => self.map(f, |x| UnaryOp::Scale(c).eval(x)),
            UnaryOp::Relu => self.map(f, |x| UnaryOp::Relu.eval(x)),
            UnaryOp::Exp => self.map(f, |x| UnaryOp::Exp.eval(x)),
            _ => self.map(f, |x| f.eval(x)),
        }
    }

    fn matmul(self, b: Self) -> Self {
        let ((rows, inner), (b_rows, cols)) = (self.shape(), b.shape());
        assert_eq!(inner, b_rows, "matmul: {:?} · {:?}", self.shape(), b.shape());
        self.graph().check(b.0.block);
        self.graph().compute((rows, cols), Op::Matmul(self.0, b.0), |out| {
            for (row, out) in out.chunks_exact_mut(cols).enumerate() {
                for (k, x) in self.row(row).iter().enumerate() {
                    out.iter_mut().zip(b.row(k)).for_each(|(y, w)| *y += x * w);
                }
            }
        })
    }

    fn matmul_t(self, b: Self) -> Self {
        let ((rows, inner), (cols, b_inner)) = (self.shape(), b.shape());
        assert_eq!(inner, b_inner, "matmul_t: {:?} · {:?}ᵀ", self.shape(), b.shape());
        self.graph().check(b.0.block);
        self.graph().compute((rows, cols), Op::MatmulT(self.0, b.0), |out| {
            for (row, out) in out.chunks_exact_mut(cols).enumerate() {
                let a = self.row(row);
                out.iter_mut().enumerate().for_each(|(col, y)| *y = dot(a, b.row(col)));
            }
        })
    }

    fn row_sum(self) -> Self {
        let (rows, _) = self.shape();
        self.graph().compute((rows, 1), Op::RowSum(self.0), |out| {
            out.iter_mut().enumerate().for_each(|(row, y)| *y = self.row(row).iter().sum());
        })
    }

    /// A leaf, so that no gradient flows through it.
    fn row_max(self) -> Self {
        let (rows, _) = self.shape();
        self.graph().compute((rows, 1), Op::Leaf, |out| {
            for (row, y) in out.iter_mut().enumerate() {
                *y = self.row(row).iter().copied().fold(f64::NEG_INFINITY, f64::max);
            }
        })
    }

    fn gather_rows(self, rows: &[usize]) -> Self {
        let (height, cols) = self.shape();
        assert!(!rows.is_empty(), "gather_rows: no rows of {:?}", self.shape());
        for row in rows {
            assert!(*row < height, "gather_rows: row {row} of {:?}", self.shape());
        }
        let rows = self.slice(rows.iter().copied());
        self.graph().compute((rows.len(), cols), Op::GatherRows(self.0, rows), |out| {
            for (out, &row) in out.chunks_exact_mut(cols).zip(rows) {
                out.copy_from_slice(self.row(row));
            }
        })
    }

    fn pick(self, cols: &[usize]) -> Self {
        let (rows, width) = self.shape();
        assert_eq!(rows, cols.len(), "pick: {:?} with {} columns", self.shape(), cols.len());
        for col in cols {
            assert!(*col < width, "pick: column {col} of {:?}", self.shape());
        }
        let cols = self.slice(cols.iter().copied());
        self.graph().compute((rows, 1), Op::Pick(self.0, cols), |out| {
            for (row, (y, &col)) in out.iter_mut().zip(cols).enumerate() {
                *y = self.row(row)[col];
            }
        })
    }

    /// A view: nothing is copied.
    fn slice_cols(self, cols: Range<usize>) -> Self {
        assert!(
            cols.start < cols.end && cols.end <= self.shape().1,
            "slice_cols: {cols:?} of {:?}",
            self.shape()
        );
        self.view(View { start: self.0.start + cols.start as u32, cols: cols.len() as u32, ..*self.0 })
    }

    fn concat_cols(parts: &[Self]) -> Self {
        let first = *parts.first().expect("concat_cols of nothing");
        let (rows, _) = first.shape();
        for part in parts {
            assert_eq!(part.shape().0, rows, "concat_cols: {:?} beside {:?}", part.shape(), first.shape());
            first.graph().check(part.0.block);
        }
        let cols = parts.iter().map(|part| part.shape().1).sum();
        let op = Op::ConcatCols(first.slice(parts.iter().map(|part| part.0)));
        first.graph().compute((rows, cols), op, |mut out| {
            for row in 0..rows {
                for part in parts {
                    let here = out.split_off_mut(..part.shape().1).expect("the parts fill the row");
                    here.copy_from_slice(part.row(row));
                }
            }
        })
    }

    fn concat_rows(parts: &[Self]) -> Self {
        let first = *parts.first().expect("concat_rows of nothing");
        let (_, cols) = first.shape();
        for part in parts {
            assert_eq!(part.shape().1, cols, "concat_rows: {:?} below {:?}", part.shape(), first.shape());
            first.graph().check(part.0.block);
        }
        let rows = parts.iter().map(|part| part.shape().0).sum();
        let op = Op::ConcatRows(first.slice(parts.iter().map(|part| part.0)));
        first.graph().compute((rows, cols), op, |out| {
            let sources = parts.iter().flat_map(|part| (0..part.shape().0).map(|row| part.row(row)));
            out.chunks_exact_mut(cols).zip(sources).for_each(|(out, row)| out.copy_from_slice(row));
        })
    }

    /// A view: nothing is copied.
    fn slice_rows(self, rows: Range<usize>) -> Self {
        assert!(
            rows.start < rows.end && rows.end <= self.shape().0,
            "slice_rows: {rows:?} of {:?}",
            self.shape()
        );
        let start = self.0.start + rows.start as u32 * self.0.stride;
        self.view(View { start, rows: rows.len() as u32, ..*self.0 })
    }

    /// One dot product a row, in place of a matrix of products and the sums of its rows.
    fn row_dot(self, b: Self) -> Self {
        assert_eq!(self.shape(), b.shape(), "row_dot: {:?} and {:?}", self.shape(), b.shape());
        self.graph().check(b.0.block);
        let (rows, _) = self.shape();
        self.graph().compute((rows, 1), Op::RowDot(self.0, b.0), |out| {
            out.iter_mut().enumerate().for_each(|(row, y)| *y = dot(self.row(row), b.row(row)));
        })
    }
}

operators!(['g] Matrix<'g>);
