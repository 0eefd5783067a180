//! SwiGLU: `y = silu(gate) · up`, element by element, in one go.
//!
//! By the product rule, `dup = dy · silu(gate)` and `dgate = dy · up · silu'(gate)`. Both the value and the slope of SiLU come
//! from `src/function.rs`. Forward could keep `silu(gate)`. It is computed again instead: one matrix less to write and read.

use super::Op;
use crate::fast::tape::{Gradients, Id, Matrix, Node, write_or_add};
use crate::function::UnaryOp::Silu;

#[derive(Clone, Copy, Debug)]
pub struct Swiglu {
    gate: Id,
    up: Id,
}

impl Swiglu {
    pub fn forward<'t>(gate: Matrix<'t>, up: Matrix<'t>) -> Matrix<'t> {
        let shape = (gate.rows, gate.cols);
        assert_eq!(shape, (up.rows, up.cols), "swiglu: gate and up must have the same shape");
        let op = Op::Swiglu(Swiglu { gate: gate.id, up: up.id });
        gate.recording.compute(op, shape, |view, y, _| {
            let each = view.data(gate.id).iter().zip(view.data(up.id));
            y.iter_mut().zip(each).for_each(|(y, (&gate, up))| *y = Silu.eval(gate) * up);
        })
    }

    // ANCHOR: backward
    pub fn backward(self, grads: &mut Gradients, _: &Node, dy: &[f32]) {
        let Swiglu { gate, up } = self;
        grads.add(up, |view, dup, accumulate| {
            let each = dy.iter().zip(view.data(gate));
            write_or_add(dup, accumulate, each.map(|(dy, &gate)| dy * Silu.eval(gate)));
        });
        grads.add(gate, |view, dgate, accumulate| {
            let each = dy.iter().zip(view.data(gate)).zip(view.data(up));
            let slope = |gate| Silu.slope(gate, Silu.eval(gate));
            write_or_add(dgate, accumulate, each.map(|((dy, &gate), up)| dy * up * slope(gate)));
        });
    }
    // ANCHOR_END: backward
}
