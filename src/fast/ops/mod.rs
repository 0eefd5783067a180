//! The operations, one a file: what the tape keeps of it (a small struct), `forward`, `backward`, and the derivation.
//!
//! To add one: its file and its line in [`Op`] here, and its arm in `backward.rs`, without which nothing compiles. Where
//! it overrides a default body of [`Tensor`](crate::Tensor), `matrix.rs` has its method.

mod binary;
mod concat_cols;
mod concat_rows;
mod cross_entropy;
mod dropout;
mod dropout_linear;
mod gather_rows;
mod layer_norm;
mod linear_sum;
mod matmul;
mod matmul_t;
mod pick;
mod rms_norm;
pub mod rope;
mod row_sum;
mod slice_cols;
mod slice_rows;
mod step_toward;
mod swiglu;
mod unary;

use crate::tensor::MemoryId;

pub use super::attention::Attention;
pub use binary::Binary;
pub use concat_cols::ConcatCols;
pub use concat_rows::ConcatRows;
pub use cross_entropy::CrossEntropy;
pub use dropout::Dropout;
pub use dropout_linear::DropoutLinear;
pub use gather_rows::GatherRows;
pub use layer_norm::LayerNorm;
pub use linear_sum::LinearSum;
pub use matmul::Matmul;
pub use matmul_t::MatmulT;
pub use pick::Pick;
pub use rms_norm::RmsNorm;
pub use rope::{Rope, RotaryTable};
pub use row_sum::RowSum;
pub use slice_cols::SliceCols;
pub use slice_rows::SliceRows;
pub use step_toward::StepToward;
pub use swiglu::Swiglu;
pub use unary::Unary;

/// How a node was made: the operation, its operands' places on the tape, and what else backward must know.
#[derive(Clone, Copy, Debug)]
pub enum Op {
    /// A parameter: a matrix in the flat buffer. `grad` is where its gradient begins, if it is trainable.
    Param {
        offset: usize,
        grad: Option<usize>,
    },
    /// A parameter that is stored for generation, without a gradient: the matrix of this number.
    Stored(u32),
    /// Given numbers, without a gradient.
    Constant,
    /// What was kept from an earlier pass, without a gradient.
    Kept(MemoryId),
    /// What an earlier stage of the model has handed on, number so many of it. Its gradient is what that stage needs.
    HandedOn(u32),
    Unary(Unary),
    Binary(Binary),
    Matmul(Matmul),
    MatmulT(MatmulT),
    RowSum(RowSum),
    GatherRows(GatherRows),
    Pick(Pick),
    SliceCols(SliceCols),
    SliceRows(SliceRows),
    ConcatCols(ConcatCols),
    ConcatRows(ConcatRows),
    RmsNorm(RmsNorm),
    LayerNorm(LayerNorm),
    StepToward(StepToward),
    Rope(Rope),
    Swiglu(Swiglu),
    Attention(Attention),
    CrossEntropy(CrossEntropy),
    Dropout(Dropout),
    DropoutLinear(DropoutLinear),
    LinearSum(LinearSum),
}
