//! A step on the sphere: `y = unit(x + α·(u - x))` with `u = unit(a)`, row by row, `α` column by column.
//!
//! With `z = x + α·(u - x)` and `r = 1 / |z|` the result is `y = r·z`. Normalising takes away what points along the
//! row: a change of `z` acts on `y` only across it, so `dz = r·(dy - y·(Σ yⱼ·dyⱼ))`. The same rule
//! leads from `u` to `a`: with `s = 1 / |a|`, `da = s·(du - u·(Σ uⱼ·duⱼ))`. Between the two, `du = α·dz`,
//! `dx = (1 - α)·dz`, and `dα = Σ dz·(u - x)` over all rows.

use super::Op;
use crate::fast::simd;
use crate::fast::tape::{Gradients, Id, Matrix, Node, write_or_add};
use crate::tensor::UNIT_EPS;

#[derive(Clone, Copy, Debug)]
pub struct StepToward {
    x: Id,
    to: Id,
    alpha: Id,
}

/// One over the length of a row.
fn inverse_length(row: &[f32]) -> f32 {
    let mean_square = simd::dot(row, row) / row.len() as f32;
    1.0 / ((mean_square + UNIT_EPS as f32).sqrt() * (row.len() as f32).sqrt())
}

impl StepToward {
    /// Saves `s` and `r` of each row.
    pub fn forward<'t>(x: Matrix<'t>, to: Matrix<'t>, alpha: Matrix<'t>) -> Matrix<'t> {
        let shape = (x.rows, x.cols);
        assert_eq!(shape, (to.rows, to.cols), "step_toward: where it starts and where it goes");
        assert_eq!((alpha.rows, alpha.cols), (1, x.cols), "step_toward: alpha, for rows of {shape:?}");
        let op = StepToward { x: x.id, to: to.id, alpha: alpha.id };
        x.recording.compute(Op::StepToward(op), shape, |view, y, saved| {
            let alpha = view.data(alpha.id);
            let rows = view.data(x.id).chunks_exact(shape.1).zip(view.data(to.id).chunks_exact(shape.1));
            saved.clear();
            for (y, (x, to)) in y.chunks_exact_mut(shape.1).zip(rows) {
                let s = inverse_length(to);
                let each = x.iter().zip(to).zip(alpha);
                y.iter_mut().zip(each).for_each(|(y, ((x, to), alpha))| *y = x + alpha * (s * to - x));
                let r = inverse_length(y);
                y.iter_mut().for_each(|y| *y *= r);
                saved.extend([s, r]);
            }
        })
    }

    pub fn backward(self, grads: &mut Gradients, node: &Node, dy: &[f32]) {
        let StepToward { x, to, alpha } = self;
        let cols = node.cols;
        let rows = || node.saved.as_chunks::<2>().0.iter();
        let mut dz = grads.scratch(dy.len());
        let each =
            dz.chunks_exact_mut(cols).zip(dy.chunks_exact(cols)).zip(grads.result().chunks_exact(cols));
        for (((dz, dy), y), [_, r]) in each.zip(rows()) {
            let along = simd::dot(y, dy);
            dz.iter_mut().zip(dy.iter().zip(y)).for_each(|(dz, (dy, y))| *dz = r * (dy - along * y));
        }
        grads.add(alpha, |view, dalpha, accumulate| {
            if !accumulate {
                dalpha.fill(0.0);
            }
            let each = view.data(x).chunks_exact(cols).zip(view.data(to).chunks_exact(cols));
            for ((dz, (x, to)), [s, _]) in dz.chunks_exact(cols).zip(each).zip(rows()) {
                let terms = dz.iter().zip(x.iter().zip(to)).map(|(dz, (x, to))| dz * (s * to - x));
                write_or_add(dalpha, true, terms);
            }
        });
        let mut du = grads.scratch(cols);
        grads.add(to, |view, dto, accumulate| {
            let (to, alpha) = (view.data(to).chunks_exact(cols), view.data(alpha));
            let each = dto.chunks_exact_mut(cols).zip(to).zip(dz.chunks_exact(cols)).zip(rows());
            for (((dto, to), dz), [s, _]) in each {
                du.iter_mut().zip(dz.iter().zip(alpha)).for_each(|(du, (dz, alpha))| *du = alpha * dz);
                let along = s * s * simd::dot(to, &du); // the second s is of the u that it is multiplied by
                write_or_add(dto, accumulate, du.iter().zip(to).map(|(du, to)| s * (du - along * to)));
            }
        });
        grads.give(du);
        grads.add(x, |view, dx, accumulate| {
            let alpha = view.data(alpha);
            for (dx, dz) in dx.chunks_exact_mut(cols).zip(dz.chunks_exact(cols)) {
                write_or_add(dx, accumulate, dz.iter().zip(alpha).map(|(dz, alpha)| (1.0 - alpha) * dz));
            }
        });
        grads.give(dz);
    }
}
