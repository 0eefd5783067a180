//! SwiGLU: `y = silu(gate) · up`, element by element, in one go.
//!
//! By the product rule, `dup = dy · silu(gate)` and `dgate = dy · up · silu'(gate)`. Both the value and the slope of SiLU come
//! from `src/function.rs`. Forward could keep `silu(gate)`. It is computed again instead: one matrix less to write and read.
//! Backward needs it for both gradients, and so computes them in one loop.

use std::array::from_fn;

use super::Op;
use crate::fast::tape::{Gradients, Id, Matrix, Node};
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
        let [mut dgate, mut dup] = from_fn(|_| grads.scratch(dy.len()));
        let each = dy.iter().zip(grads.view.data(gate)).zip(grads.view.data(up));
        for (((dy, &gate), up), (dgate, dup)) in each.zip(dgate.iter_mut().zip(&mut dup)) {
            let silu = Silu.eval(gate);
            *dgate = dy * up * Silu.slope(gate, silu);
            *dup = dy * silu;
        }
        grads.pass_on(up, dup);
        grads.pass_on(gate, dgate);
    }
    // ANCHOR_END: backward
}
