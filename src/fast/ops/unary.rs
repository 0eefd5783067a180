//! `y = f(x)`, element by element. Backward: `dx = dy · f'(x)`.
//!
//! Value and slope come from the one table of derivatives, in `src/function.rs`.

use super::Op;
use crate::fast::tape::{Gradients, Id, Matrix, Node, write_or_add};
use crate::function::{UnaryOp, specialize};

#[derive(Clone, Copy, Debug)]
pub struct Unary {
    x: Id,
    f: UnaryOp,
}

impl Unary {
    pub fn forward(x: Matrix<'_>, f: UnaryOp) -> Matrix<'_> {
        let op = Op::Unary(Unary { x: x.id, f });
        x.recording.compute(op, (x.rows, x.cols), |view, y, _| {
            let each = y.iter_mut().zip(view.data(x.id));
            specialize!(UnaryOp, f => each.for_each(|(y, x)| *y = f.eval(*x)));
        })
    }

    pub fn backward(self, grads: &mut Gradients, _: &Node, dy: &[f32]) {
        let (Unary { x, f }, y) = (self, grads.result());
        grads.add(x, |view, dx, accumulate| {
            let each = dy.iter().zip(view.data(x)).zip(y);
            specialize!(UnaryOp, f => write_or_add(dx, accumulate, each.map(|((dy, x), y)| dy * f.slope(*x, *y))));
        });
    }
}
