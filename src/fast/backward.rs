//! The way back: every operation of the tape, from the last to the first, hands its gradient to its operands.

use super::tape::{Gradients, Op, Pool, TapeView};
use super::{attention, elementwise, loss, matmul, norm, rope, rows};

/// The gradient of the last result, a single number, with respect to all weights, written over `gradient`.
// ANCHOR: backward
pub(super) fn backward(tape: TapeView<'_>, pool: &mut Pool, gradient: &mut [f32]) {
    let last = tape.nodes.len() - 1;
    let grads = &mut Gradients::new(tape, pool, gradient);
    grads.add(last as u32, |_, dy, _| dy.fill(1.0));
    for (id, node) in tape.nodes.iter().enumerate().rev() {
        let Some(dy) = grads.take(id as u32) else { continue };
        let id = id as u32;
        match node.op {
            Op::Weight { .. } | Op::Constant => {}
            Op::Binary { a, b, op } => {
                elementwise::combine_backward(grads, a, b, op, dy);
                continue; // which has kept, or given back, `dy`
            }
            Op::Unary { x, f } => elementwise::apply_backward(grads, id, x, f, &dy),
            Op::Swiglu { gate, up } => elementwise::swiglu_backward(grads, gate, up, &dy),
            Op::Dropout { x, rate, rng } => elementwise::dropout_backward(grads, x, rate, rng, &dy),
            Op::Matmul { a, b } => matmul::matmul_backward(grads, a, b, &dy),
            Op::MatmulT { a, b } => matmul::matmul_t_backward(grads, a, b, &dy),
            Op::RowSum { x } => rows::row_sum_backward(grads, x, &dy),
            Op::Gather { x, rows } => rows::gather_backward(grads, x, rows, &dy),
            Op::Pick { x, cols } => rows::pick_backward(grads, x, cols, &dy),
            Op::SliceCols { x, start } => rows::slice_cols_backward(grads, x, start, node.cols, &dy),
            Op::SliceRows { x, start } => rows::slice_rows_backward(grads, x, start, &dy),
            Op::ConcatCols { parts } => rows::concat_cols_backward(grads, parts, node.cols, &dy),
            Op::ConcatRows { parts } => rows::concat_rows_backward(grads, parts, &dy),
            Op::RmsNorm { x, gain, heads } => {
                norm::rms_norm_backward(grads, id, x, gain, heads as usize, &dy)
            }
            Op::Rope { x, heads } => rope::rope_backward(grads, id, x, heads as usize, &dy),
            Op::Attention { q, k, v, shape } => {
                attention::attention_backward(grads, id, [q, k, v], shape, &dy)
            }
            Op::CrossEntropy { x, targets, smoothing } => {
                loss::cross_entropy_backward(grads, id, x, targets, smoothing, &dy);
            }
        }
        grads.give(dy);
    }
    grads.finish();
}
// ANCHOR_END: backward
