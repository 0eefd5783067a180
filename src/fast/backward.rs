//! The backward pass: it walks the tape from the last result to the first, and each operation adds to the gradients of its
//! operands.

use super::ops::Op;
use super::tape::{Gradients, Pool, TapeView};

/// The gradient of the last result, a single number, with respect to all weights, written over `gradient`.
pub(super) fn backward(tape: TapeView<'_>, pool: &mut Pool, gradient: &mut [f32]) {
    let last = tape.nodes.len() - 1;
    let grads = &mut Gradients::new(tape, pool, gradient);
    grads.add(last as u32, |_, dy, _| dy.fill(1.0));
    walk(grads, &mut []);
    grads.finish();
}

/// Walks the tape back. The gradients of what an earlier stage has handed on are written to `handed_on`.
///
/// The match has no `_` arm: an operation without a gradient does not compile.
// ANCHOR: backward
pub(super) fn walk(grads: &mut Gradients, handed_on: &mut [Vec<f32>]) {
    let mut widened = grads.take_widened();
    for (id, node) in grads.view.nodes.iter().enumerate().rev() {
        let Some(dy) = grads.take(id as u32) else { continue };
        widened.clear();
        let grads = &mut grads.of(id as u32, &widened);
        match node.op {
            Op::Param { .. } | Op::Stored(_) | Op::Constant | Op::Kept(_) => {}
            Op::HandedOn(at) => handed_on[at as usize].copy_from_slice(&dy),
            Op::Unary(op) => op.backward(grads, node, &dy),
            Op::Binary(op) => {
                op.backward(grads, node, dy);
                continue; // which has kept `dy`, or given it back
            }
            Op::Matmul(op) => op.backward(grads, node, &dy),
            Op::MatmulT(op) => op.backward(grads, node, &dy),
            Op::RowSum(op) => op.backward(grads, node, &dy),
            Op::GatherRows(op) => op.backward(grads, node, &dy),
            Op::Pick(op) => op.backward(grads, node, &dy),
            Op::SliceCols(op) => op.backward(grads, node, &dy),
            Op::SliceRows(op) => op.backward(grads, node, &dy),
            Op::ConcatCols(op) => op.backward(grads, node, &dy),
            Op::ConcatRows(op) => op.backward(grads, node, &dy),
            Op::RmsNorm(op) => op.backward(grads, node, &dy),
            Op::LayerNorm(op) => op.backward(grads, node, &dy),
            Op::StepToward(op) => op.backward(grads, node, &dy),
            Op::Rope(op) => op.backward(grads, node, &dy),
            Op::Swiglu(op) => op.backward(grads, node, &dy),
            Op::Attention(op) => op.backward(grads, node, &dy),
            Op::CrossEntropy(op) => op.backward(grads, node, &dy),
            Op::Dropout(op) => op.backward(grads, node, &dy),
            Op::DropoutLinear(op) => op.backward(grads, node, &dy),
            Op::LinearSum(op) => op.backward(grads, node, &dy),
        }
        grads.give(dy);
    }
    grads.give_widened(widened);
}
// ANCHOR_END: backward
