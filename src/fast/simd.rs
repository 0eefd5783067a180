//! Loops that the compiler turns into vector instructions: sums, maxima and a softmax in parallel lanes.

use std::array::from_fn;

use crate::real::Real;

/// How many numbers a loop takes at a time: a vector register of 512 bits, or several smaller ones.
pub(super) const LANES: usize = 16;

/// The sum of `f(i)` for all `i` below `len`, in [`LANES`] running sums.
#[inline]
pub(super) fn sum(len: usize, f: impl Fn(usize) -> f32) -> f32 {
    let mut sums = [0.0; LANES];
    let whole = len / LANES * LANES;
    let mut i = 0;
    while i < whole {
        for (lane, sum) in sums.iter_mut().enumerate() {
            *sum += f(i + lane);
        }
        i += LANES;
    }
    let rest: f32 = (whole..len).map(&f).sum();
    fold(sums, |a, b| a + b) + rest
}

/// The dot product of two slices of equal length.
#[inline]
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let b = &b[..a.len()];
    sum(a.len(), |i| a[i] * b[i])
}

/// The greatest of all; negative infinity of none.
#[inline]
pub(super) fn max(x: &[f32]) -> f32 {
    let mut most = [f32::NEG_INFINITY; LANES];
    let (chunks, rest) = x.as_chunks::<LANES>();
    for chunk in chunks {
        for (most, x) in most.iter_mut().zip(chunk) {
            *most = greater(*x, *most);
        }
    }
    rest.iter().fold(fold(most, greater), |most, x| greater(*x, most))
}

/// The sum of `e^(x - max)` for all `x`, in [`LANES`] running sums as in [`sum`].
#[inline]
pub(super) fn sum_exp(x: &[f32], max: f32) -> f32 {
    let mut sums = [0.0; LANES];
    let (chunks, rest) = x.as_chunks::<LANES>();
    // First some exponentials, then their sum: each loop is simple enough to become vector instructions.
    let mut some = [[0.0; LANES]; 8];
    for chunks in chunks.chunks(some.len()) {
        let all = some.as_flattened_mut().iter_mut().zip(chunks.as_flattened());
        all.for_each(|(e, x)| *e = Real::exp(x - max));
        for chunk in &some[..chunks.len()] {
            sums.iter_mut().zip(chunk).for_each(|(sum, e)| *sum += e);
        }
    }
    let rest: f32 = rest.iter().map(|x| Real::exp(x - max)).sum();
    fold(sums, |a, b| a + b) + rest
}

/// The greater of two; the second if the first is no number.
#[inline]
pub(super) fn greater(x: f32, y: f32) -> f32 {
    if x > y { x } else { y }
}

/// All lanes combined into one: the upper half with the lower, again and again.
#[inline]
pub(super) fn fold(lanes: [f32; LANES], f: impl Fn(f32, f32) -> f32) -> f32 {
    let x: [f32; 8] = from_fn(|i| f(lanes[i], lanes[i + 8]));
    let x: [f32; 4] = from_fn(|i| f(x[i], x[i + 4]));
    f(f(x[0], x[2]), f(x[1], x[3]))
}

/// Numbers as probabilities, in place.
#[inline]
pub(super) fn softmax(x: &mut [f32]) {
    let max = max(x);
    x.iter_mut().for_each(|x| *x = Real::exp(*x - max));
    let share = 1.0 / sum(x.len(), |i| x[i]);
    x.iter_mut().for_each(|x| *x = probability(*x * share));
}

/// A probability, or zero if it is so small that its products would be subnormal: nearer to zero than the smallest normal
/// number, and slow on many processors. Beside the others of its row, which add up to 1, it is nothing.
#[inline]
pub(super) fn probability(p: f32) -> f32 {
    if p < 1e-18 { 0.0 } else { p }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_maxima_and_softmax_do_not_forget_the_rest() {
        for len in [0, 1, 15, 16, 17, 50] {
            let x: Vec<f32> = (0..len).map(|i| i as f32 - 3.0).collect();
            assert_eq!(sum(len, |i| x[i]), x.iter().sum::<f32>());
            assert_eq!(dot(&x, &x), x.iter().map(|x| x * x).sum::<f32>());
            assert_eq!(max(&x), x.iter().copied().fold(f32::NEG_INFINITY, f32::max));
            let total: f64 = x.iter().map(|&x| f64::from(x).exp()).sum();
            let right: Vec<f64> = x.iter().map(|&x| f64::from(x).exp() / total).collect();
            let shifted = sum_exp(&x, 2.0);
            let wanted = total / 2_f64.exp();
            assert!((f64::from(shifted) - wanted).abs() <= 1e-6 * wanted, "{shifted} instead of {wanted}");
            let mut p = x;
            softmax(&mut p);
            let close = |(p, right): (&f32, &f64)| (f64::from(*p) - right).abs() < 1e-6;
            assert!(p.iter().zip(&right).all(close), "{p:?} instead of {right:?}");
        }
    }
}
