//! The simplest matrix: a slice of values, each a node of its own. It implements the library's [`Tensor`] on any graph of
//! scalar values.

use std::ops::Range;

use gradus::tensor::{Tensor, broadcast};
use gradus::{BinaryOp, UnaryOp};

use super::operators::operators;
use super::scalar_graph::{DerivedOps, ScalarGraph};

/// A matrix, row by row.
pub struct Matrix<'g, G: ScalarGraph<'g>> {
    graph: &'g G,
    values: &'g [G::Value],
    rows: usize,
    cols: usize,
}

impl<'g, G: ScalarGraph<'g>> Clone for Matrix<'g, G> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<'g, G: ScalarGraph<'g>> Copy for Matrix<'g, G> {}

impl<'g, G: ScalarGraph<'g>> Matrix<'g, G> {
    /// A matrix of these values.
    pub fn new(graph: &'g G, values: &'g [G::Value], rows: usize, cols: usize) -> Self {
        assert_eq!(values.len(), rows * cols, "a matrix of {rows} x {cols}");
        Matrix { graph, values, rows, cols }
    }

    /// All its values, row by row.
    pub fn values(self) -> &'g [G::Value] {
        self.values
    }

    fn fill(self, rows: usize, cols: usize, mut fill: impl FnMut(usize, usize) -> G::Value) -> Self {
        let (mut row, mut col) = (0, 0);
        let values = self.graph.alloc_slice(rows * cols, |_| {
            if col == cols {
                (row, col) = (row + 1, 0);
            }
            col += 1;
            fill(row, col - 1)
        });
        Matrix { values, rows, cols, ..self }
    }

    fn row(self, row: usize) -> &'g [G::Value] {
        &self.values[row * self.cols..][..self.cols]
    }

    fn at(self, row: usize, col: usize) -> G::Value {
        self.values[row * self.cols + col]
    }

    fn combine(self, b: Self, op: BinaryOp) -> Self {
        let (rows, cols) = broadcast(op.sign(), self.shape(), b.shape());
        let get = |m: Self, row: usize, col: usize| m.at(row.min(m.rows - 1), col.min(m.cols - 1));
        let g = self.graph;
        self.fill(rows, cols, |row, col| {
            let (a, b) = (get(self, row, col), get(b, row, col));
            match op {
                BinaryOp::Sub => G::Derived::sub(g, a, b),
                BinaryOp::Div => G::Derived::div(g, a, b),
                primitive => g.binary(primitive, a, b),
            }
        })
    }
}

impl<'g, G: ScalarGraph<'g>> Tensor for Matrix<'g, G> {
    fn shape(self) -> (usize, usize) {
        (self.rows, self.cols)
    }

    fn constant(self, rows: usize, cols: usize, data: &[f64]) -> Self {
        self.fill(rows, cols, |row, col| self.graph.leaf(data[row * cols + col]))
    }

    fn apply(self, f: UnaryOp) -> Self {
        let g = self.graph;
        self.fill(self.rows, self.cols, |row, col| {
            let x = self.at(row, col);
            match f {
                UnaryOp::Identity => x,
                UnaryOp::Neg => G::Derived::neg(g, x),
                UnaryOp::Shift(c) => G::Derived::shift(g, x, c),
                UnaryOp::Scale(c) => G::Derived::scale(g, x, c),
                UnaryOp::Over(c) => G::Derived::div(g, g.leaf(c), x),
                primitive => g.unary(primitive, x),
            }
        })
    }

    fn matmul(self, b: Self) -> Self {
        assert_eq!(self.cols, b.rows, "matmul: {:?} · {:?}", self.shape(), b.shape());
        let transposed = b.fill(b.cols, b.rows, |row, col| b.at(col, row));
        self.matmul_t(transposed)
    }

    fn matmul_t(self, b: Self) -> Self {
        assert_eq!(self.cols, b.cols, "matmul_t: {:?} · {:?}ᵀ", self.shape(), b.shape());
        self.fill(self.rows, b.rows, |row, col| G::Derived::dot(self.graph, self.row(row), b.row(col)))
    }

    fn row_sum(self) -> Self {
        self.fill(self.rows, 1, |row, _| G::Derived::sum(self.graph, self.row(row)))
    }

    fn row_max(self) -> Self {
        let values = |row| self.row(row).iter().map(|&x| self.graph.data(x));
        self.fill(self.rows, 1, |row, _| self.graph.leaf(values(row).fold(f64::NEG_INFINITY, f64::max)))
    }

    fn gather_rows(self, rows: &[usize]) -> Self {
        self.fill(rows.len(), self.cols, |row, col| self.at(rows[row], col))
    }

    fn pick(self, cols: &[usize]) -> Self {
        self.fill(self.rows, 1, |row, _| self.row(row)[cols[row]])
    }

    fn slice_cols(self, cols: Range<usize>) -> Self {
        self.fill(self.rows, cols.len(), |row, col| self.row(row)[cols.start + col])
    }

    fn concat_cols(parts: &[Self]) -> Self {
        let cols = parts.iter().map(|part| part.cols).sum();
        parts[0].fill(parts[0].rows, cols, |row, mut col| {
            let mut at = 0;
            while col >= parts[at].cols {
                col -= parts[at].cols;
                at += 1;
            }
            parts[at].at(row, col)
        })
    }

    fn concat_rows(parts: &[Self]) -> Self {
        let mut values = parts.iter().flat_map(|part| part.values);
        let rows = parts.iter().map(|part| part.rows).sum();
        parts[0].fill(rows, parts[0].cols, |_, _| *values.next().expect("as many as were counted"))
    }

    /// Rows are contiguous: part of the same slice.
    fn slice_rows(self, rows: Range<usize>) -> Self {
        let values = &self.values[rows.start * self.cols..rows.end * self.cols];
        Matrix { values, rows: rows.len(), ..self }
    }

    /// A dot product a row, in place of products and a sum.
    fn row_dot(self, b: Self) -> Self {
        assert_eq!(self.shape(), b.shape(), "row_dot: {:?} and {:?}", self.shape(), b.shape());
        self.fill(self.rows, 1, |row, _| G::Derived::dot(self.graph, self.row(row), b.row(row)))
    }
}

operators!(['g, G: ScalarGraph<'g>] Matrix<'g, G>);
