//! Loops that the compiler turns into vector instructions: sums in parallel lanes, and an exponential without
//! branches.

use std::array::from_fn;

/// How many numbers a loop takes at a time: a vector register of 512 bits, or several smaller ones.
pub(super) const LANES: usize = 16;

/// `eˣ`, within two units of the last place. Arguments are cut to the range in which the result is a normal number.
///
/// `x = n·ln 2 + r` with an integer n and `|r| <= ln 2 / 2`, so `eˣ = 2ⁿ·eʳ`: the exponent field of the number, and a
/// polynomial (Cephes, Moshier 1989).
#[inline]
pub(super) fn exp(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0; // 1.5·2²³: adding it leaves the nearest integer in the last bits
    let x = x.clamp(-87.3, 88.3);
    let shifted = fma(x, std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = fma(n, -0.693_359_4, x);
    let r = fma(n, 2.121_944_4e-4, r);
    let p = fma(1.987_569_1e-4, r, 1.398_199_9e-3);
    let p = fma(p, r, 8.333_452e-3);
    let p = fma(p, r, 4.166_579_6e-2);
    let p = fma(p, r, 1.666_666_5e-1);
    let p = fma(p, r, 0.5);
    let y = fma(p, r * r, r) + 1.0;
    f32::from_bits(y.to_bits().wrapping_add(shifted.to_bits() << 23))
}

/// `a·b + c`, in one rounding where the machine has an instruction for it.
#[inline]
pub(super) fn fma(a: f32, b: f32, c: f32) -> f32 {
    if cfg!(target_feature = "fma") || cfg!(target_arch = "aarch64") { a.mul_add(b, c) } else { a * b + c }
}

/// `1 / (1 + e⁻ˣ)`.
#[inline]
pub(super) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_right_to_the_last_digits() {
        for i in -87_000..88_000 {
            let x = i as f32 / 1000.0;
            let right = f64::from(x).exp();
            let gap = (f64::from(exp(x)) - right).abs() / right;
            assert!(gap < 2.5e-7, "exp({x}): off by {gap:e}");
        }
        assert!(exp(-1e30) < 2e-38 && exp(1e30) > 1e38 && exp(f32::NAN).is_nan());
    }

    #[test]
    fn sums_and_maxima_do_not_forget_the_rest() {
        for len in [0, 1, 15, 16, 17, 50] {
            let x: Vec<f32> = (0..len).map(|i| i as f32 - 3.0).collect();
            assert_eq!(sum(len, |i| x[i]), x.iter().sum::<f32>());
            assert_eq!(dot(&x, &x), x.iter().map(|x| x * x).sum::<f32>());
            assert_eq!(max(&x), x.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        }
    }
}
