//! (9) Dot products that share an operand hand down together.

use smallvec::SmallVec;

use super::split::{Dots, Made, Number, Origin};

/// All dot products of a row that were made one after the other, as those of a matrix product are. What they say about the
/// row is added up before it is written.
#[derive(Default)]
pub struct Together;

impl Dots for Together {
    #[inline]
    fn backward<'g>(
        origin: &'g Origin<'g>,
        a: &'g [&'g Number],
        _: &'g [&'g Number],
    ) -> Option<&'g Origin<'g>> {
        let mut sums = SmallVec::<[f64; 64]>::from_elem(0.0, a.len());
        let mut next = Some(origin);
        while let Some(origin) = next
            && let Made::Dot(same, b) = origin.made
            && std::ptr::eq(same, a)
        {
            let grad = origin.result.grad.get();
            if grad != 0.0 {
                for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
                    *sum += grad * b.data;
                    b.add_grad(grad * a.data);
                }
            }
            next = origin.earlier;
        }
        a.iter().zip(&sums).for_each(|(a, &sum)| a.add_grad(sum));
        next
    }
}
