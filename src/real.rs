//! The two types of number that weights can have.

use std::fmt::{Debug, Display};
use std::iter::Sum;
use std::ops::{Add, AddAssign, Div, Mul, MulAssign, Neg, Sub, SubAssign};

/// `f32` or `f64`: as much arithmetic as optimizers and checkpoints need, so that they are written once.
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
}

macro_rules! real {
    ($($type:ident)*) => {$(
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
        }
    )*};
}

real!(f32 f64);
