//! Functions of one and of two numbers, each with its slope: the one table of derivatives, for every engine and for
//! both `f32` and `f64`.
//!
//! The chain rule needs nothing else. If `y = f(x)` and the loss changes by `g` per unit of `y`, then it
//! changes by `g · f'(x)` per unit of `x`: [`UnaryOp::slope`] is that `f'(x)`. [`BinaryOp`] is the same for
//! the four operators, which have one slope toward each operand.

use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

use crate::real::Real;

/// A function of one number.
///
/// ```
/// use gradus::UnaryOp;
/// let y = UnaryOp::Tanh.eval(0.5);
/// assert_eq!(y, 0.5_f64.tanh());
/// assert_eq!(UnaryOp::Tanh.slope(0.5, y), 1.0 - y * y);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum UnaryOp {
    /// `x`: a copy.
    Identity,
    /// `-x`.
    Neg,
    /// `x + c`.
    Shift(f64),
    /// `x · c`.
    Scale(f64),
    /// `c / x`.
    Over(f64),
    /// `xᵖ`.
    Power(f64),
    /// `eˣ`.
    Exp,
    /// The natural logarithm.
    Ln,
    /// `max(x, 0)`; its slope at 0 is taken as 0.
    Relu,
    /// The hyperbolic tangent.
    Tanh,
    /// `1 / (1 + e⁻ˣ)`.
    Sigmoid,
    /// `x · sigmoid(x)`, also called swish (Elfwing et al. 2017; Ramachandran et al. 2017).
    Silu,
    /// `x · Φ(x)`, where `Φ` is the share of a standard normal distribution that lies below `x` (Hendrycks & Gimpel
    /// 2016).
    Gelu,
    /// The same by its approximation with a hyperbolic tangent, as in GPT-2 (the same paper, section 2):
    /// `x/2 · (1 + tanh(√(2/π) · (x + 0.044715 · x³)))`.
    GeluTanh,
}

impl UnaryOp {
    /// One of each, with an ordinary constant where one is needed: what the gradient checks walk over.
    pub const EXAMPLES: [UnaryOp; 14] = [
        UnaryOp::Identity,
        UnaryOp::Neg,
        UnaryOp::Shift(0.7),
        UnaryOp::Scale(-1.3),
        UnaryOp::Over(2.0),
        UnaryOp::Power(3.0),
        UnaryOp::Exp,
        UnaryOp::Ln,
        UnaryOp::Relu,
        UnaryOp::Tanh,
        UnaryOp::Sigmoid,
        UnaryOp::Silu,
        UnaryOp::Gelu,
        UnaryOp::GeluTanh,
    ];

    /// `f(x)`.
    #[inline]
    pub fn eval<R: Real>(self, x: R) -> R {
        let [zero, one] = [0.0, 1.0].map(R::from_f64);
        match self {
            UnaryOp::Identity => x,
            UnaryOp::Neg => -x,
            UnaryOp::Shift(c) => x + R::from_f64(c),
            UnaryOp::Scale(c) => x * R::from_f64(c),
            UnaryOp::Over(c) => R::from_f64(c) / x,
            UnaryOp::Power(-0.5) => one / x.sqrt(), // that of normalisation: instructions, not a library's powf
            UnaryOp::Power(p) => x.powf(R::from_f64(p)),
            UnaryOp::Exp => x.exp(),
            UnaryOp::Ln => x.ln(),
            // Not the maximum with 0, which would turn NaN into 0.
            UnaryOp::Relu if x < zero => zero,
            UnaryOp::Relu => x,
            UnaryOp::Tanh => x.tanh(),
            UnaryOp::Sigmoid => sigmoid(x),
            UnaryOp::Silu => x * sigmoid(x),
            UnaryOp::Gelu => x * normal_share(x),
            UnaryOp::GeluTanh => x * sigmoid(gelu_curve(x).0),
        }
    }

    /// `f'(x)`, given `x` and the value `y = f(x)` that the forward pass kept: many slopes are cheaper
    /// from `y` (that of `eˣ` is `y` itself).
    #[inline]
    pub fn slope<R: Real>(self, x: R, y: R) -> R {
        let [zero, one] = [0.0, 1.0].map(R::from_f64);
        match self {
            UnaryOp::Identity | UnaryOp::Shift(_) => one,
            UnaryOp::Neg => -one,
            UnaryOp::Scale(c) => R::from_f64(c),
            UnaryOp::Over(_) => -y / x,
            UnaryOp::Power(0.0) => zero, // even at 0, where the rule below says 0 · ∞
            UnaryOp::Power(-0.5) => R::from_f64(-0.5) * y / x,
            UnaryOp::Power(p) => R::from_f64(p) * x.powf(R::from_f64(p - 1.0)),
            UnaryOp::Exp => y,
            UnaryOp::Ln => one / x,
            UnaryOp::Relu if x > zero => one,
            UnaryOp::Relu => zero,
            UnaryOp::Tanh => one - y * y,
            UnaryOp::Sigmoid => y * (one - y),
            UnaryOp::Silu => {
                let s = sigmoid(x);
                s + y * (one - s)
            }
            // The slope of Φ is the bell curve, `e^(-x²/2) / √(2π)`.
            UnaryOp::Gelu => {
                let bell =
                    (x * x * R::from_f64(-0.5)).exp() * R::from_f64(0.5 * FRAC_2_SQRT_PI * FRAC_1_SQRT_2);
                normal_share(x) + x * bell
            }
            UnaryOp::GeluTanh => {
                let (curve, slope) = gelu_curve(x);
                let s = sigmoid(curve);
                s + y * (one - s) * slope
            }
        }
    }

    /// A short sign for drawings: `relu`, `** 3`, `* 2`.
    pub fn sign(self) -> String {
        match self {
            UnaryOp::Identity => "copy".to_owned(),
            UnaryOp::Neg => "neg".to_owned(),
            UnaryOp::Shift(c) if c < 0.0 => format!("- {}", -c),
            UnaryOp::Shift(c) => format!("+ {c}"),
            UnaryOp::Scale(c) => format!("* {c}"),
            UnaryOp::Over(c) => format!("{c} /"),
            UnaryOp::Power(p) => format!("** {p}"),
            UnaryOp::Exp => "exp".to_owned(),
            UnaryOp::Ln => "ln".to_owned(),
            UnaryOp::Relu => "relu".to_owned(),
            UnaryOp::Tanh => "tanh".to_owned(),
            UnaryOp::Sigmoid => "sigmoid".to_owned(),
            UnaryOp::Silu => "silu".to_owned(),
            UnaryOp::Gelu => "gelu".to_owned(),
            UnaryOp::GeluTanh => "gelu_tanh".to_owned(),
        }
    }
}

#[inline]
fn sigmoid<R: Real>(x: R) -> R {
    let one = R::from_f64(1.0);
    one / (one + (-x).exp())
}

/// `Φ(x)`: the share of a standard normal distribution that lies below `x`.
#[inline]
fn normal_share<R: Real>(x: R) -> R {
    R::from_f64(0.5) * (R::from_f64(1.0) + (x * R::from_f64(FRAC_1_SQRT_2)).erf())
}

/// `2·√(2/π) · (x + 0.044715·x³)`, and its slope. With the 2, as `(1 + tanh(u)) / 2` is `sigmoid(2u)`.
#[inline]
fn gelu_curve<R: Real>(x: R) -> (R, R) {
    let [one, c, factor] = [1.0, 0.044_715, 2.0 * FRAC_2_SQRT_PI * FRAC_1_SQRT_2].map(R::from_f64);
    let bent = c * x * x;
    (factor * x * (one + bent), factor * (one + R::from_f64(3.0) * bent))
}

/// A function of two numbers: the four operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BinaryOp {
    /// `a + b`.
    Add,
    /// `a - b`.
    Sub,
    /// `a · b`.
    Mul,
    /// `a / b`.
    Div,
}

impl BinaryOp {
    /// All four.
    pub const ALL: [BinaryOp; 4] = [BinaryOp::Add, BinaryOp::Sub, BinaryOp::Mul, BinaryOp::Div];

    /// `a ∘ b`.
    #[inline]
    pub fn eval<R: Real>(self, a: R, b: R) -> R {
        match self {
            BinaryOp::Add => a + b,
            BinaryOp::Sub => a - b,
            BinaryOp::Mul => a * b,
            BinaryOp::Div => a / b,
        }
    }

    /// The slopes toward `a` and toward `b`, given both and the value `y = a ∘ b`.
    #[inline]
    pub fn slopes<R: Real>(self, a: R, b: R, y: R) -> (R, R) {
        let one = R::from_f64(1.0);
        match self {
            BinaryOp::Add => (one, one),
            BinaryOp::Sub => (one, -one),
            BinaryOp::Mul => (b, a),
            BinaryOp::Div => (one / b, -y / b),
        }
    }

    /// The operator's sign, for drawings.
    pub fn sign(self) -> &'static str {
        match self {
            BinaryOp::Add => "+",
            BinaryOp::Sub => "-",
            BinaryOp::Mul => "*",
            BinaryOp::Div => "/",
        }
    }
}

/// `specialize!(UnaryOp, f => work)` is `work` in a match over all functions, in which `f` is a constant: a loop over
/// many numbers asks once which function it is, and not for each of them, and can become vector instructions.
macro_rules! specialize {
    (UnaryOp, $f:ident => $work:expr) => {
        $crate::function::specialize!(@ UnaryOp, $f, $work,
            [Identity Neg Exp Ln Relu Tanh Sigmoid Silu Gelu GeluTanh] [Shift Scale Over Power])
    };
    (BinaryOp, $f:ident => $work:expr) => {
        $crate::function::specialize!(@ BinaryOp, $f, $work, [Add Sub Mul Div] [])
    };
    (@ $type:ident, $f:ident, $work:expr, [$($plain:ident)*] [$($with_number:ident)*]) => {
        match $f {
            $($crate::$type::$plain => {
                let $f = $crate::$type::$plain;
                $work
            })*
            $($crate::$type::$with_number(c) => {
                let $f = $crate::$type::$with_number(c);
                $work
            })*
        }
    };
}
pub(crate) use specialize;

#[cfg(test)]
mod tests {
    use super::*;

    /// The slope by central differences.
    fn numeric(f: impl Fn(f64) -> f64, x: f64) -> f64 {
        let eps = 1e-6;
        (f(x + eps) - f(x - eps)) / (2.0 * eps)
    }

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() <= 1e-5 + 1e-3 * b.abs()
    }

    #[test]
    fn every_slope_is_the_limit_of_a_difference() {
        for f in UnaryOp::EXAMPLES {
            for x in [0.3, 1.7, -0.8] {
                if f == UnaryOp::Ln && x < 0.0 {
                    continue;
                }
                let slope = f.slope(x, f.eval(x));
                assert!(close(slope, numeric(|x| f.eval(x), x)), "{f:?} at {x}: {slope}");
            }
        }
        for op in BinaryOp::ALL {
            for (a, b) in [(0.3, 1.7), (-0.8, 0.4), (2.0, -1.5)] {
                let (to_a, to_b) = op.slopes(a, b, op.eval(a, b));
                assert!(close(to_a, numeric(|a| op.eval(a, b), a)), "{op:?} toward a");
                assert!(close(to_b, numeric(|b| op.eval(a, b), b)), "{op:?} toward b");
            }
        }
    }

    #[test]
    fn relu_has_slope_zero_at_its_corner() {
        assert_eq!(UnaryOp::Relu.slope(0.0, 0.0), 0.0);
        assert!(UnaryOp::Relu.eval(f64::NAN).is_nan());
    }

    /// The same table in both types of number, up to the digits that the smaller has.
    #[test]
    fn both_types_of_number_agree() {
        let close = |narrow: f32, wide: f64| (f64::from(narrow) - wide).abs() <= 1e-6 * wide.abs().max(1.0);
        for f in UnaryOp::EXAMPLES.into_iter().chain([UnaryOp::Power(-0.5), UnaryOp::Power(0.0)]) {
            for x in [0.25, 1.75, 3.5, -0.75] {
                if x < 0.0 && matches!(f, UnaryOp::Ln | UnaryOp::Power(-0.5)) {
                    continue;
                }
                let (narrow, wide) = (f.eval(x as f32), f.eval(x));
                assert!(close(narrow, wide), "{f:?} of {x}: {narrow} and {wide}");
                let (narrow, wide) = (f.slope(x as f32, narrow), f.slope(x, wide));
                assert!(close(narrow, wide), "slope of {f:?} at {x}: {narrow} and {wide}");
            }
        }
        for op in BinaryOp::ALL {
            let (narrow, wide) = (op.eval(0.75_f32, -1.25), op.eval(0.75, -1.25));
            let (n, w) = (op.slopes(0.75_f32, -1.25, narrow), op.slopes(0.75, -1.25, wide));
            assert!(close(narrow, wide) && close(n.0, w.0) && close(n.1, w.1), "{op:?}");
        }
    }
}
