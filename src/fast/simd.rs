//! Loops that the compiler turns into vector instructions: sums, maxima and a softmax in parallel lanes.

use std::array::from_fn;
use std::ops::Range;

use crate::real::Real;

/// How many numbers a loop takes at a time: a vector register of 512 bits, or several smaller ones.
pub(super) const LANES: usize = 16;

/// So many numbers.
pub(super) type Lanes = [f32; LANES];

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

/// The dot product of two stretches of equal length.
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

/// The greater of two; the second if the first is no number.
#[inline]
pub(super) fn greater(x: f32, y: f32) -> f32 {
    if x > y { x } else { y }
}

/// All lanes as one, the upper half onto the lower again and again.
#[inline]
pub(super) fn fold(lanes: [f32; LANES], f: impl Fn(f32, f32) -> f32) -> f32 {
    let x: [f32; 8] = from_fn(|i| f(lanes[i], lanes[i + 8]));
    let x: [f32; 4] = from_fn(|i| f(x[i], x[i + 4]));
    f(f(x[0], x[2]), f(x[1], x[3]))
}

// ANCHOR: softmax
/// Scores as probabilities of those in `seen`, and 0 for all others, whatever their scores are.
#[inline(always)]
pub(super) fn softmax(scores: &mut [Lanes], seen: Range<usize>) {
    let chunks = seen.start / LANES..seen.end.div_ceil(LANES);
    scores[..chunks.start].fill([0.0; LANES]);
    scores[chunks.end..].fill([0.0; LANES]);
    let scores = &mut scores[chunks.clone()];
    let mut most = [HIDDEN; LANES];
    for (scores, visible) in scores.iter_mut().zip(visible(chunks.start, &seen)) {
        *scores = from_fn(|lane| if visible[lane] > 0.0 { scores[lane] } else { HIDDEN });
        most = from_fn(|lane| greater(scores[lane], most[lane]));
    }
    let most = fold(most, greater);
    let mut sums = [0.0; LANES];
    for (scores, visible) in scores.iter_mut().zip(visible(chunks.start, &seen)) {
        *scores = from_fn(|lane| Real::exp(scores[lane] - most) * visible[lane]);
        sums = from_fn(|lane| sums[lane] + scores[lane]);
    }
    let share = 1.0 / fold(sums, |a, b| a + b);
    scores.iter_mut().for_each(|scores| *scores = scores.map(|score| score * share));
}
// ANCHOR_END: softmax

/// A score far below all that occur.
const HIDDEN: f32 = -1e30;

/// From chunk `first` on, 1 for each lane in `seen` and 0 for the others.
#[inline(always)]
fn visible(first: usize, seen: &Range<usize>) -> impl Iterator<Item = Lanes> {
    (first..).map(|chunk| {
        let within = |at: usize| at.saturating_sub(chunk * LANES).min(LANES);
        let (start, end) = (FIRST[within(seen.start)], FIRST[within(seen.end)]);
        from_fn(|lane| end[lane] - start[lane])
    })
}

/// For every number of lanes, 1 for so many of them and 0 for the others.
static FIRST: [Lanes; LANES + 1] = {
    let mut table = [[0.0; LANES]; LANES + 1];
    let mut count = 0;
    while count <= LANES {
        let mut lane = 0;
        while lane < count {
            table[count][lane] = 1.0;
            lane += 1;
        }
        count += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_and_maxima_do_not_forget_the_rest() {
        for len in [0, 1, 15, 16, 17, 50] {
            let x: Vec<f32> = (0..len).map(|i| i as f32 - 3.0).collect();
            assert_eq!(sum(len, |i| x[i]), x.iter().sum::<f32>());
            assert_eq!(dot(&x, &x), x.iter().map(|x| x * x).sum::<f32>());
            assert_eq!(max(&x), x.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        }
    }

    #[test]
    fn softmax_sees_what_it_should() {
        for seen in [0..1, 0..7, 0..16, 3..4, 5..16, 0..17, 16..20, 15..33, 20..48, 0..48] {
            let x: [f32; 48] = from_fn(|i| if seen.contains(&i) { (i as f32).sin() * 9.0 } else { f32::NAN });
            let total: f64 = x[seen.clone()].iter().map(|&x| f64::from(x).exp()).sum();
            let mut p = x;
            softmax(p.as_chunks_mut().0, seen.clone());
            for (at, (p, x)) in p.into_iter().zip(x).enumerate() {
                let right = if seen.contains(&at) { f64::from(x).exp() / total } else { 0.0 };
                assert!(
                    (f64::from(p) - right).abs() < 1e-6 && (p == 0.0) == (right == 0.0),
                    "{at} in {seen:?}: {p}"
                );
            }
        }
    }
}
