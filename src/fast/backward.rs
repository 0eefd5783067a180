//! The way back: every operation of the tape, from the last to the first, hands its gradient to its operands.

use super::tape::{Earlier, Gradients, Op, Pool};
use super::{attention, elementwise, loss, matmul, norm, rope, rows};

/// The gradient of the last result, a single number, with respect to all weights, written over `gradient`.
// ANCHOR: backward
pub(super) fn backward(tape: Earlier<'_>, pool: &mut Pool, gradient: &mut [f32]) {
    let last = tape.nodes.len() - 1;
    let out = &mut Gradients::new(tape, pool, gradient);
    out.add(last as u32, |_, dy, _| dy.fill(1.0));
    for (id, node) in tape.nodes.iter().enumerate().rev() {
        let Some(dy) = out.take(id as u32) else { continue };
        let id = id as u32;
        match node.op {
            Op::Weight { .. } | Op::Constant => {}
            Op::Binary { a, b, op } => {
                elementwise::combine_backward(out, a, b, op, dy);
                continue; // which has kept, or given back, `dy`
            }
            Op::Unary { x, f } => elementwise::apply_backward(out, id, x, f, &dy),
            Op::Swiglu { gate, up } => elementwise::swiglu_backward(out, gate, up, &dy),
            Op::Dropout { x, rate, hash } => elementwise::dropout_backward(out, x, rate, hash, &dy),
            Op::Matmul { a, b } => matmul::matmul_backward(out, a, b, &dy),
            Op::MatmulT { a, b } => matmul::matmul_t_backward(out, a, b, &dy),
            Op::RowSum { x } => rows::row_sum_backward(out, x, &dy),
            Op::Gather { x, rows } => rows::gather_backward(out, x, rows, &dy),
            Op::Pick { x, cols } => rows::pick_backward(out, x, cols, &dy),
            Op::SliceCols { x, start } => rows::slice_cols_backward(out, x, start, node.cols, &dy),
            Op::SliceRows { x, start } => rows::slice_rows_backward(out, x, start, &dy),
            Op::ConcatCols { parts } => rows::concat_cols_backward(out, parts, node.cols, &dy),
            Op::ConcatRows { parts } => rows::concat_rows_backward(out, parts, &dy),
            Op::RmsNorm { x, gain, heads } => norm::rms_norm_backward(out, id, x, gain, heads as usize, &dy),
            Op::Rope { x, heads } => rope::rope_backward(out, id, x, heads as usize, &dy),
            Op::Attention { q, k, v, shape } => attention::attention_backward(out, id, [q, k, v], shape, &dy),
            Op::CrossEntropy { x, targets, smoothing } => {
                loss::cross_entropy_backward(out, id, x, targets, smoothing, &dy);
            }
        }
        out.give(dy);
    }
    out.finish();
}
// ANCHOR_END: backward
