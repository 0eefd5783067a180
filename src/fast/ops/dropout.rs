//! Dropout: `y = x / (1 - rate)` where an element is kept, else 0.
//!
//! Backward sends `dy` through the same mask. It is not kept but computed again: whether an element is dropped is a
//! function of the counter-based `rng` and of the element's place.

use super::Op;
use crate::counter_rng::CounterRng;
use crate::fast::tape::{Gradients, Id, Matrix, Node, write_or_add};

#[derive(Clone, Copy, Debug)]
pub struct Dropout {
    pub(super) x: Id,
    pub(super) rate: f64,
    pub(super) rng: CounterRng,
}

impl Dropout {
    pub fn forward(x: Matrix<'_>, rate: f64, rng: CounterRng) -> Matrix<'_> {
        let op = Dropout { x: x.id, rate, rng };
        x.recording.compute(Op::Dropout(op), (x.rows, x.cols), |view, y, _| {
            op.masked(view.data(x.id)).zip(y).for_each(|(x, y)| *y = x);
        })
    }

    pub fn backward(self, grads: &mut Gradients, _: &Node, dy: &[f32]) {
        grads.add(self.x, |_, dx, accumulate| write_or_add(dx, accumulate, self.masked(dy)));
    }

    /// The mask is laid over the bits of each product. Of an `if` the compiler would make a branch, and no processor
    /// can guess random branches; without one, the loop becomes vector instructions and takes a tenth of the time.
    pub(super) fn masked(self, x: &[f32]) -> impl Iterator<Item = f32> {
        let (keep, threshold) = ((1.0 / (1.0 - self.rate)) as f32, CounterRng::threshold(self.rate));
        x.iter().enumerate().map(move |(at, x)| {
            let kept = self.rng.bits(at as u32) >= threshold;
            f32::from_bits((x * keep).to_bits() & u32::from(kept).wrapping_neg())
        })
    }
}
