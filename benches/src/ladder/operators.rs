//! The operators of a matrix.

/// Implements `+`, `-`, `*`, `/` with another matrix by the matrix's method `combine`, and with an `f64`, as well as unary
/// `-`, by [`Tensor::apply`](gradus::Tensor::apply). The brackets hold the generics: `operators!(['g] Matrix<'g>)`.
macro_rules! operators {
    ([$($generics:tt)*] $matrix:ty) => {
        operators!(@both [$($generics)*] $matrix, Add add, gradus::UnaryOp::Shift);
        operators!(@both [$($generics)*] $matrix, Sub sub, |c: f64| gradus::UnaryOp::Shift(-c));
        operators!(@both [$($generics)*] $matrix, Mul mul, gradus::UnaryOp::Scale);
        operators!(@both [$($generics)*] $matrix, Div div, |c: f64| gradus::UnaryOp::Scale(1.0 / c));

        impl<$($generics)*> std::ops::Neg for $matrix {
            type Output = Self;
            fn neg(self) -> Self {
                gradus::Tensor::apply(self, gradus::UnaryOp::Neg)
            }
        }
    };
    (@both [$($generics:tt)*] $matrix:ty, $op:ident $method:ident, $with_number:expr) => {
        impl<$($generics)*> std::ops::$op for $matrix {
            type Output = Self;
            fn $method(self, b: Self) -> Self {
                self.combine(b, gradus::BinaryOp::$op)
            }
        }

        impl<$($generics)*> std::ops::$op<f64> for $matrix {
            type Output = Self;
            fn $method(self, c: f64) -> Self {
                gradus::Tensor::apply(self, $with_number(c))
            }
        }
    };
}
pub(super) use operators;
