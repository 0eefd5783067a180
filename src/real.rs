//! The two types of number that a model can be computed in.

mod erf;
pub(crate) mod half;

use std::fmt::{Debug, Display};
use std::iter::Sum;
use std::ops::{Add, AddAssign, Div, Mul, MulAssign, Neg, Sub, SubAssign};

/// `f32` or `f64`: the arithmetic that functions, optimizers and checkpoints need, so that each is written once.
pub trait Real:
    Copy
    + Default
    + PartialOrd
    + Debug
    + Display
    + Send
    + Sync
    + 'static
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
    + SubAssign
    + MulAssign
    + Sum
{
    /// The nearest number of this type.
    fn from_f64(x: f64) -> Self;
    /// The same number with 64 bits.
    fn to_f64(self) -> f64;
    /// The square root.
    fn sqrt(self) -> Self;
    /// `eˣ`. In `f32` without branches and within two units of the last place, so that loops over it become vector
    /// instructions; arguments are clamped to the range in which the result is a normal number.
    fn exp(self) -> Self;
    /// The natural logarithm.
    fn ln(self) -> Self;
    /// The hyperbolic tangent.
    fn tanh(self) -> Self;
    /// The error function (`src/real/erf.rs`). In `f32` without branches and within 4e-7.
    fn erf(self) -> Self;
    /// `xᵖ`.
    fn powf(self, p: Self) -> Self;
    /// The same number, or zero if it is subnormal: nearer to zero than the smallest normal number. Many processors take a
    /// hundred cycles for one of those.
    fn normal_or_zero(self) -> Self;
}

macro_rules! real {
    ($($type:ident, exp: $exp:path, erf: $erf:path;)*) => {$(
        impl Real for $type {
            #[inline]
            fn from_f64(x: f64) -> Self {
                x as $type
            }
            #[inline]
            fn to_f64(self) -> f64 {
                f64::from(self)
            }
            #[inline]
            fn sqrt(self) -> Self {
                $type::sqrt(self)
            }
            #[inline]
            fn exp(self) -> Self {
                $exp(self)
            }
            #[inline]
            fn ln(self) -> Self {
                $type::ln(self)
            }
            #[inline]
            fn tanh(self) -> Self {
                $type::tanh(self)
            }
            #[inline]
            fn erf(self) -> Self {
                $erf(self)
            }
            #[inline]
            fn powf(self, p: Self) -> Self {
                $type::powf(self, p)
            }
            #[inline]
            fn normal_or_zero(self) -> Self {
                if self.abs() < $type::MIN_POSITIVE { 0.0 } else { self }
            }
        }
    )*};
}

real! {
    f32, exp: exp, erf: erf::narrow;
    f64, exp: f64::exp, erf: erf::wide;
}

/// `eˣ` in `f32`. `x = n·ln 2 + r` with an integer n and `|r| <= ln 2 / 2`, so `eˣ = 2ⁿ·eʳ`: the exponent field of the
/// number, and a polynomial (Cephes, Moshier 1989).
#[inline]
fn exp(x: f32) -> f32 {
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
pub(crate) fn fma(a: f32, b: f32, c: f32) -> f32 {
    if cfg!(target_feature = "fma") || cfg!(target_arch = "aarch64") { a.mul_add(b, c) } else { a * b + c }
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
}
