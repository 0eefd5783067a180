//! The fast engine's [`Tensor`]: the table of contents of `ops/`.

use std::array::from_fn;
use std::ops::Range;

use super::ops::*;
use super::simd;
use super::tape::Matrix;
use crate::counter_rng::CounterRng;
use crate::function::{BinaryOp, UnaryOp};
use crate::tensor::{AttentionSpec, Rotation, Tensor, added};

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
        Unary::forward(self, f)
    }

    fn matmul(self, b: Self) -> Self {
        Matmul::forward(self, b)
    }

    fn matmul_t(self, b: Self) -> Self {
        MatmulT::forward(self, b)
    }

    fn row_sum(self) -> Self {
        RowSum::forward(self)
    }

    fn row_max(self) -> Self {
        self.recording.compute(Op::Constant, (self.rows, 1), |view, y, _| {
            let rows = view.data(self.id).chunks_exact(self.cols);
            y.iter_mut().zip(rows).for_each(|(y, row)| *y = simd::max(row));
        })
    }

    fn gather_rows(self, rows: &[usize]) -> Self {
        GatherRows::forward(self, rows)
    }

    fn pick(self, cols: &[usize]) -> Self {
        Pick::forward(self, cols)
    }

    fn slice_cols(self, cols: Range<usize>) -> Self {
        SliceCols::forward(self, cols)
    }

    fn concat_cols(parts: &[Self]) -> Self {
        ConcatCols::forward(parts)
    }

    fn concat_rows(parts: &[Self]) -> Self {
        ConcatRows::forward(parts)
    }

    // From here on, what has a default body that is faster as one operation.

    /// In one go where weights are stored for generation. In training it would be nothing but one operation instead of several.
    fn linear_all<const N: usize>(self, weights: [Self; N]) -> [Self; N] {
        match weights.iter().all(|weight| weight.is_stored()) {
            true => MatmulT::forward_all(self, weights),
            false => weights.map(|weight| self.linear(weight)),
        }
    }

    fn linear_all_adapted<const N: usize>(
        self,
        weights: [Self; N],
        adapters: [Option<(Self, Self)>; N],
    ) -> [Self; N] {
        if weights.iter().all(|weight| weight.is_stored()) {
            return added(self.linear_all(weights), adapters);
        }
        from_fn(|at| match adapters[at] {
            Some(adapter) => LinearSum::forward([(self, weights[at]), adapter]),
            None => self.linear(weights[at]),
        })
    }

    fn dropout_linear(self, rate: f64, rng: CounterRng, weight: Self) -> Self {
        match weight.is_stored() {
            true => self.dropout(rate, rng).linear(weight),
            false => DropoutLinear::forward(self, rate, rng, weight),
        }
    }

    fn slice_rows(self, rows: Range<usize>) -> Self {
        SliceRows::forward(self, rows)
    }

    fn rms_norm(self, gain: Option<Self>, eps: f64) -> Self {
        RmsNorm::forward(self, gain, 1, eps)
    }

    fn rms_norm_heads(self, gain: Option<Self>, heads: usize, eps: f64) -> Self {
        RmsNorm::forward(self, gain, heads, eps)
    }

    fn layer_norm(self, gain: Option<Self>, bias: Option<Self>, eps: f64) -> Self {
        LayerNorm::forward(self, gain, bias, 1, eps)
    }

    fn layer_norm_heads(self, gain: Option<Self>, bias: Option<Self>, heads: usize, eps: f64) -> Self {
        LayerNorm::forward(self, gain, bias, heads, eps)
    }

    fn step_toward(self, to: Self, alpha: Self) -> Self {
        StepToward::forward(self, to, alpha)
    }

    fn rope(self, positions: &[usize], heads: usize, rotation: Rotation) -> Self {
        Rope::forward(self, positions, heads, rotation)
    }

    fn sinusoids(self, positions: &[usize], width: usize) -> Self {
        rope::sinusoids(self, positions, width)
    }

    fn swiglu(self, up: Self) -> Self {
        Swiglu::forward(self, up)
    }

    fn attention(self, k: Self, v: Self, spec: AttentionSpec<'_, Self>) -> Self {
        Attention::forward(self, k, v, spec)
    }

    fn cross_entropy(self, targets: &[usize], smoothing: f64) -> Self {
        CrossEntropy::forward(self, targets, smoothing)
    }

    fn dropout(self, rate: f64, rng: CounterRng) -> Self {
        Dropout::forward(self, rate, rng)
    }
}

impl<'t> Matrix<'t> {
    fn combine(self, b: Self, op: BinaryOp) -> Self {
        Binary::forward(self, b, op)
    }
}

crate::tensor::operators!(Matrix<'t>);
