//! The fast engine's [`Tensor`]: which operation goes to which file.

use std::ops::Range;

use super::tape::{Matrix, Op};
use super::{attention, elementwise, loss, matmul, norm, rope, rows, simd};
use crate::counter_rng::CounterRng;
use crate::function::{BinaryOp, UnaryOp};
use crate::tensor::{AttentionSpec, Tensor};

impl Tensor for Matrix<'_> {
    fn shape(self) -> (usize, usize) {
        (self.rows, self.cols)
    }

    fn constant(self, rows: usize, cols: usize, data: &[f64]) -> Self {
        assert_eq!(data.len(), rows * cols, "constant: {} numbers for {rows} x {cols}", data.len());
        self.recording.compute(Op::Constant, (rows, cols), |_, y, _| {
            y.iter_mut().zip(data).for_each(|(y, x)| *y = *x as f32);
        })
    }

    fn apply(self, f: UnaryOp) -> Self {
        elementwise::apply(self, f)
    }

    fn matmul(self, b: Self) -> Self {
        matmul::matmul(self, b)
    }

    fn matmul_t(self, b: Self) -> Self {
        matmul::matmul_t(self, b)
    }

    fn row_sum(self) -> Self {
        rows::row_sum(self)
    }

    fn row_max(self) -> Self {
        self.recording.compute(Op::Constant, (self.rows, 1), |view, y, _| {
            let rows = view.data(self.id).chunks_exact(self.cols);
            y.iter_mut().zip(rows).for_each(|(y, row)| *y = simd::max(row));
        })
    }

    fn gather_rows(self, rows: &[usize]) -> Self {
        rows::gather(self, rows)
    }

    fn pick(self, cols: &[usize]) -> Self {
        rows::pick(self, cols)
    }

    fn slice_cols(self, cols: Range<usize>) -> Self {
        rows::slice_cols(self, cols)
    }

    fn concat_cols(parts: &[Self]) -> Self {
        rows::concat_cols(parts)
    }

    fn concat_rows(parts: &[Self]) -> Self {
        rows::concat_rows(parts)
    }

    fn slice_rows(self, rows: Range<usize>) -> Self {
        rows::slice_rows(self, rows)
    }

    fn rms_norm(self, gain: Option<Self>, eps: f64) -> Self {
        norm::rms_norm(self, gain, 1, eps)
    }

    fn rms_norm_heads(self, gain: Option<Self>, heads: usize, eps: f64) -> Self {
        norm::rms_norm(self, gain, heads, eps)
    }

    fn rope(self, positions: &[usize], heads: usize, base: f64) -> Self {
        rope::rope(self, positions, heads, base)
    }

    fn swiglu(self, up: Self) -> Self {
        elementwise::swiglu(self, up)
    }

    fn attention(self, k: Self, v: Self, shape: AttentionSpec<'_>) -> Self {
        attention::attention(self, k, v, shape)
    }

    fn cross_entropy(self, targets: &[usize], smoothing: f64) -> Self {
        loss::cross_entropy(self, targets, smoothing)
    }

    fn dropout(self, rate: f64, rng: CounterRng) -> Self {
        elementwise::dropout(self, rate, rng)
    }
}

impl<'t> Matrix<'t> {
    fn combine(self, b: Self, op: BinaryOp) -> Self {
        elementwise::combine(self, b, op)
    }
}

crate::tensor::operators!(Matrix<'t>);
