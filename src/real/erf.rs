//! The error function, `erf(x) = 2/√π · ∫₀ˣ e^(-t²) dt`, in both precisions. It grows from -1 to 1, and
//! `(1 + erf(x/√2)) / 2` is the share of a normal distribution that lies below `x`.

use std::f32::consts::FRAC_2_SQRT_PI as TWO_OVER_ROOT_PI;
use std::f64::consts::{FRAC_2_SQRT_PI, PI};

use super::fma;

/// In `f64`, within a few units of the last place. Near zero a series whose terms all have one sign, so that nothing
/// cancels (Abramowitz & Stegun 1964, 7.1.6):
///
/// `erf(x) = 2/√π · e^(-x²) · (x + 2x³/3 + 4x⁵/(3·5) + 8x⁷/(3·5·7) + …)`
///
/// Far from zero what is missing to 1, as a continued fraction (7.1.14):
///
/// `1 - erf(x) = e^(-x²)/√π · 1/(x + (1/2)/(x + (2/2)/(x + (3/2)/(x + …))))`
pub(super) fn wide(x: f64) -> f64 {
    let size = x.abs();
    if size < 2.0 {
        let (mut term, mut sum) = (x, x);
        for odd in (3..).step_by(2).map(f64::from) {
            term *= 2.0 * x * x / odd;
            if sum + term == sum {
                break;
            }
            sum += term;
        }
        return FRAC_2_SQRT_PI * (-x * x).exp() * sum;
    }
    if size > 6.0 {
        return x.signum(); // what is missing is less than the last digit
    }
    let fraction = (1..=40).rev().fold(0.0, |rest, n| 0.5 * f64::from(n) / (size + rest));
    let missing = (-x * x).exp() / PI.sqrt() / (size + fraction);
    (1.0 - missing).copysign(x)
}

/// In `f32`, within 4e-7 and without branches, so that loops over it become vector instructions: `x·P(x²)/Q(x²)`, for
/// `x` clamped to where the result is not 1 yet. The coefficients are a least squares fit with weights that were
/// adapted until the greatest relative error was least, 2.5e-8 before rounding (Lawson 1961). The first is the slope at 0.
#[inline]
pub(super) fn narrow(x: f32) -> f32 {
    const P: [f32; 6] =
        [TWO_OVER_ROOT_PI, 0.193_543_51, 0.053_101_547, 0.003_883_281, 2.845_650_4e-4, 1.986_8e-6];
    const Q: [f32; 6] = [1.0, 0.504_856_05, 0.115_349_37, 0.015_207_122, 1.185_557_1e-3, 3.742_031_7e-5];
    let x = x.clamp(-4.0, 4.0);
    let polynomial = |c: [f32; 6], t: f32| {
        let [c0, c1, c2, c3, c4, c5] = c;
        fma(fma(fma(fma(fma(c5, t, c4), t, c3), t, c2), t, c1), t, c0)
    };
    (x * polynomial(P, x * x) / polynomial(Q, x * x)).clamp(-1.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By mpmath, a program for arithmetic of any precision, rounded to that of `f64`.
    const REFERENCE: [(f64, f64); 10] = [
        (1e-10, 1.128_379_167_095_512_6e-10),
        (0.1, 0.112_462_916_018_284_9),
        (0.5, 0.520_499_877_813_046_5),
        (1.0, 0.842_700_792_949_714_9),
        (1.5, 0.966_105_146_475_310_8),
        (2.0, 0.995_322_265_018_952_7),
        (2.5, 0.999_593_047_982_555),
        (3.0, 0.999_977_909_503_001_4),
        (4.0, 0.999_999_984_582_742_1),
        (5.0, 0.999_999_999_998_462_6),
    ];

    #[test]
    fn reference_values() {
        for (x, right) in REFERENCE {
            for (x, right) in [(x, right), (-x, -right)] {
                let gap = (wide(x) / right - 1.0).abs();
                assert!(gap < 1e-15, "erf({x}): off by {gap:e}");
                let gap = (f64::from(narrow(x as f32)) - wide(f64::from(x as f32))).abs();
                assert!(gap < 4e-7 * right.abs(), "erf({x}) in f32: off by {gap:e}");
            }
        }
    }

    /// The slope is the bell curve, so the series and the continued fraction, which know nothing of each other, must
    /// both grow by it.
    #[test]
    fn its_slope_is_the_bell_curve() {
        for i in -6_500..6_500 {
            let (x, step) = (f64::from(i) / 1000.0 + 2.5e-4, 5e-4);
            let slope = (wide(x + step) - wide(x - step)) / (2.0 * step);
            let bell = FRAC_2_SQRT_PI * (-x * x).exp();
            assert!((slope - bell).abs() < 1e-6, "erf at {x}: {slope} instead of {bell}");
        }
    }

    #[test]
    fn both_precisions_agree_everywhere() {
        for i in -60_000..60_000 {
            let x = i as f32 / 10_000.0;
            let gap = (f64::from(narrow(x)) - wide(f64::from(x))).abs();
            assert!(gap < 4e-7, "erf({x}): off by {gap:e}");
        }
    }

    #[test]
    fn the_ends_and_no_number() {
        for (x, right) in [(0.0, 0.0), (7.0, 1.0), (-1e30, -1.0), (f64::INFINITY, 1.0)] {
            assert_eq!(wide(x), right);
            assert_eq!(f64::from(narrow(x as f32)), right);
        }
        assert!(wide(f64::NAN).is_nan() && narrow(f32::NAN).is_nan());
    }
}
