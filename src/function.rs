//! Functions of one and of two numbers, each with its slope: the one table of derivatives that every
//! engine shares.
//!
//! The chain rule needs nothing else. If `y = f(x)` and the loss changes by `g` per unit of `y`, then it
//! changes by `g · f'(x)` per unit of `x`: [`Function::slope`] is that `f'(x)`. [`Binary`] is the same for
//! the four operators, which have one slope toward each operand.

/// A function of one number.
///
/// ```
/// use gradus::Function;
/// let y = Function::Tanh.value(0.5);
/// assert_eq!(y, 0.5_f64.tanh());
/// assert_eq!(Function::Tanh.slope(0.5, y), 1.0 - y * y);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Function {
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

impl Function {
    /// One of each, with an ordinary constant where one is needed: what the gradient checks walk over.
    pub const EXAMPLES: [Function; 12] = [
        Function::Identity,
        Function::Neg,
        Function::Shift(0.7),
        Function::Scale(-1.3),
        Function::Over(2.0),
        Function::Power(3.0),
        Function::Exp,
        Function::Ln,
        Function::Relu,
        Function::Tanh,
        Function::Sigmoid,
        Function::Silu,
    ];

    /// `f(x)`.
    #[inline]
    pub fn value(self, x: f64) -> f64 {
        match self {
            Function::Identity => x,
            Function::Neg => -x,
            Function::Shift(c) => x + c,
            Function::Scale(c) => x * c,
            Function::Over(c) => c / x,
            Function::Power(-0.5) => 1.0 / x.sqrt(), // that of normalisation: instructions, not a library's powf
            Function::Power(p) => x.powf(p),
            Function::Exp => x.exp(),
            Function::Ln => x.ln(),
            // Not `x.max(0.0)`, which would turn NaN into 0.
            Function::Relu if x < 0.0 => 0.0,
            Function::Relu => x,
            Function::Tanh => x.tanh(),
            Function::Sigmoid => sigmoid(x),
            Function::Silu => x * sigmoid(x),
        }
    }

    /// `f'(x)`, given `x` and the value `y = f(x)` that the forward pass kept: many slopes are cheaper
    /// from `y` (that of `eˣ` is `y` itself).
    #[inline]
    pub fn slope(self, x: f64, y: f64) -> f64 {
        match self {
            Function::Identity | Function::Shift(_) => 1.0,
            Function::Neg => -1.0,
            Function::Scale(c) => c,
            Function::Over(_) => -y / x,
            Function::Power(0.0) => 0.0, // even at 0, where the rule below says 0 · ∞
            Function::Power(-0.5) => -0.5 * y / x,
            Function::Power(p) => p * x.powf(p - 1.0),
            Function::Exp => y,
            Function::Ln => 1.0 / x,
            Function::Relu => f64::from(x > 0.0),
            Function::Tanh => 1.0 - y * y,
            Function::Sigmoid => y * (1.0 - y),
            Function::Silu => {
                let s = sigmoid(x);
                s + y * (1.0 - s)
            }
        }
    }

    /// A short sign for drawings: `relu`, `** 3`, `* 2`.
    pub fn sign(self) -> String {
        match self {
            Function::Identity => "copy".to_owned(),
            Function::Neg => "neg".to_owned(),
            Function::Shift(c) if c < 0.0 => format!("- {}", -c),
            Function::Shift(c) => format!("+ {c}"),
            Function::Scale(c) => format!("* {c}"),
            Function::Over(c) => format!("{c} /"),
            Function::Power(p) => format!("** {p}"),
            Function::Exp => "exp".to_owned(),
            Function::Ln => "ln".to_owned(),
            Function::Relu => "relu".to_owned(),
            Function::Tanh => "tanh".to_owned(),
            Function::Sigmoid => "sigmoid".to_owned(),
            Function::Silu => "silu".to_owned(),
        }
    }
}

#[inline]
fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// A function of two numbers: the four operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binary {
    /// `a + b`.
    Add,
    /// `a - b`.
    Sub,
    /// `a · b`.
    Mul,
    /// `a / b`.
    Div,
}

impl Binary {
    /// All four.
    pub const ALL: [Binary; 4] = [Binary::Add, Binary::Sub, Binary::Mul, Binary::Div];

    /// `a ∘ b`.
    #[inline]
    pub fn value(self, a: f64, b: f64) -> f64 {
        match self {
            Binary::Add => a + b,
            Binary::Sub => a - b,
            Binary::Mul => a * b,
            Binary::Div => a / b,
        }
    }

    /// The slopes toward `a` and toward `b`, given both and the value `y = a ∘ b`.
    #[inline]
    pub fn slopes(self, a: f64, b: f64, y: f64) -> (f64, f64) {
        match self {
            Binary::Add => (1.0, 1.0),
            Binary::Sub => (1.0, -1.0),
            Binary::Mul => (b, a),
            Binary::Div => (1.0 / b, -y / b),
        }
    }

    /// The operator's sign, for drawings.
    pub fn sign(self) -> &'static str {
        match self {
            Binary::Add => "+",
            Binary::Sub => "-",
            Binary::Mul => "*",
            Binary::Div => "/",
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
        for f in Function::EXAMPLES {
            for x in [0.3, 1.7, -0.8] {
                if f == Function::Ln && x < 0.0 {
                    continue;
                }
                let slope = f.slope(x, f.value(x));
                assert!(close(slope, numeric(|x| f.value(x), x)), "{f:?} at {x}: {slope}");
            }
        }
        for op in Binary::ALL {
            for (a, b) in [(0.3, 1.7), (-0.8, 0.4), (2.0, -1.5)] {
                let (to_a, to_b) = op.slopes(a, b, op.value(a, b));
                assert!(close(to_a, numeric(|a| op.value(a, b), a)), "{op:?} toward a");
                assert!(close(to_b, numeric(|b| op.value(a, b), b)), "{op:?} toward b");
            }
        }
    }

    #[test]
    fn relu_has_slope_zero_at_its_corner() {
        assert_eq!(Function::Relu.slope(0.0, 0.0), 0.0);
    }
}
