//! (9) One backward for a run of dot products that share an operand.

use smallvec::SmallVec;

use super::hot_cold::{DotBackward, Op, TapeEntry, Value};

/// All dot products with the same `a` that were made one after the other, as in a row of a matrix product. Their
/// contributions to the gradient of `a` are added up before they are written.
#[derive(Default)]
pub struct RunOfDots;

impl DotBackward for RunOfDots {
    #[inline]
    fn backward<'g>(
        entry: &'g TapeEntry<'g>,
        a: &'g [&'g Value],
        _: &'g [&'g Value],
    ) -> Option<&'g TapeEntry<'g>> {
        let mut sums = SmallVec::<[f64; 64]>::from_elem(0.0, a.len());
        let mut next = Some(entry);
        while let Some(entry) = next
            && let Op::Dot(same, b) = entry.op
            && std::ptr::eq(same, a)
        {
            let grad = entry.output.grad.get();
            if grad != 0.0 {
                for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
                    *sum += grad * b.data;
                    b.add_grad(grad * a.data);
                }
            }
            next = entry.previous;
        }
        a.iter().zip(&sums).for_each(|(a, &sum)| a.add_grad(sum));
        next
    }
}
