//! Functions of one and of two numbers, each with its slope: the one table of derivatives that every
//! engine shares.
//!
//! The chain rule needs nothing else. If `y = f(x)` and the loss changes by `g` per unit of `y`, then it
//! changes by `g · f'(x)` per unit of `x`: [`UnaryOp::slope`] is that `f'(x)`. [`BinaryOp`] is the same for
//! the four operators, which have one slope toward each operand.

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
}

impl UnaryOp {
    /// One of each, with an ordinary constant where one is needed: what the gradient checks walk over.
    pub const EXAMPLES: [UnaryOp; 12] = [
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
    ];

    /// `f(x)`.
    #[inline]
    pub fn eval(self, x: f64) -> f64 {
        match self {
            UnaryOp::Identity => x,
            UnaryOp::Neg => -x,
            UnaryOp::Shift(c) => x + c,
            UnaryOp::Scale(c) => x * c,
            UnaryOp::Over(c) => c / x,
            UnaryOp::Power(-0.5) => 1.0 / x.sqrt(), // that of normalisation: instructions, not a library's powf
            UnaryOp::Power(p) => x.powf(p),
            UnaryOp::Exp => x.exp(),
            UnaryOp::Ln => x.ln(),
            // Not `x.max(0.0)`, which would turn NaN into 0.
            UnaryOp::Relu if x < 0.0 => 0.0,
            UnaryOp::Relu => x,
            UnaryOp::Tanh => x.tanh(),
            UnaryOp::Sigmoid => sigmoid(x),
            UnaryOp::Silu => x * sigmoid(x),
        }
    }

    /// `f'(x)`, given `x` and the value `y = f(x)` that the forward pass kept: many slopes are cheaper
    /// from `y` (that of `eˣ` is `y` itself).
    #[inline]
    pub fn slope(self, x: f64, y: f64) -> f64 {
        match self {
            UnaryOp::Identity | UnaryOp::Shift(_) => 1.0,
            UnaryOp::Neg => -1.0,
            UnaryOp::Scale(c) => c,
            UnaryOp::Over(_) => -y / x,
            UnaryOp::Power(0.0) => 0.0, // even at 0, where the rule below says 0 · ∞
            UnaryOp::Power(-0.5) => -0.5 * y / x,
            UnaryOp::Power(p) => p * x.powf(p - 1.0),
            UnaryOp::Exp => y,
            UnaryOp::Ln => 1.0 / x,
            UnaryOp::Relu => f64::from(x > 0.0),
            UnaryOp::Tanh => 1.0 - y * y,
            UnaryOp::Sigmoid => y * (1.0 - y),
            UnaryOp::Silu => {
                let s = sigmoid(x);
                s + y * (1.0 - s)
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
        }
    }
}

#[inline]
fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
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
    pub fn eval(self, a: f64, b: f64) -> f64 {
        match self {
            BinaryOp::Add => a + b,
            BinaryOp::Sub => a - b,
            BinaryOp::Mul => a * b,
            BinaryOp::Div => a / b,
        }
    }

    /// The slopes toward `a` and toward `b`, given both and the value `y = a ∘ b`.
    #[inline]
    pub fn slopes(self, a: f64, b: f64, y: f64) -> (f64, f64) {
        match self {
            BinaryOp::Add => (1.0, 1.0),
            BinaryOp::Sub => (1.0, -1.0),
            BinaryOp::Mul => (b, a),
            BinaryOp::Div => (1.0 / b, -y / b),
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
    }
}
