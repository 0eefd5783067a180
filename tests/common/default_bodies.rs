//! An engine without its overrides.

use std::ops::{Add, Div, Mul, Neg, Range, Sub};

use gradus::{Tensor, UnaryOp};

/// A wrapper of any engine's matrix that passes on the required operations only, so every derived operation runs its
/// default body. If another operation becomes required, this does not compile until it is added.
#[derive(Clone, Copy)]
pub struct DefaultBodies<T>(pub T);

macro_rules! operators {
    ($($operator:ident $method:ident),*) => {$(
        impl<T: Tensor> $operator for DefaultBodies<T> {
            type Output = Self;
            fn $method(self, b: Self) -> Self {
                DefaultBodies(self.0.$method(b.0))
            }
        }

        impl<T: Tensor> $operator<f64> for DefaultBodies<T> {
            type Output = Self;
            fn $method(self, b: f64) -> Self {
                DefaultBodies(self.0.$method(b))
            }
        }
    )*};
}

operators!(Add add, Sub sub, Mul mul, Div div);

impl<T: Tensor> Neg for DefaultBodies<T> {
    type Output = Self;
    fn neg(self) -> Self {
        DefaultBodies(-self.0)
    }
}

impl<T: Tensor> Tensor for DefaultBodies<T> {
    fn shape(self) -> (usize, usize) {
        self.0.shape()
    }

    fn constant(self, rows: usize, cols: usize, data: &[f64]) -> Self {
        DefaultBodies(self.0.constant(rows, cols, data))
    }

    fn apply(self, f: UnaryOp) -> Self {
        DefaultBodies(self.0.apply(f))
    }

    fn matmul(self, b: Self) -> Self {
        DefaultBodies(self.0.matmul(b.0))
    }

    fn matmul_t(self, b: Self) -> Self {
        DefaultBodies(self.0.matmul_t(b.0))
    }

    fn row_sum(self) -> Self {
        DefaultBodies(self.0.row_sum())
    }

    fn row_max(self) -> Self {
        DefaultBodies(self.0.row_max())
    }

    fn gather_rows(self, rows: &[usize]) -> Self {
        DefaultBodies(self.0.gather_rows(rows))
    }

    fn pick(self, cols: &[usize]) -> Self {
        DefaultBodies(self.0.pick(cols))
    }

    fn slice_cols(self, cols: Range<usize>) -> Self {
        DefaultBodies(self.0.slice_cols(cols))
    }

    fn concat_cols(parts: &[Self]) -> Self {
        DefaultBodies(T::concat_cols(&parts.iter().map(|part| part.0).collect::<Vec<_>>()))
    }

    fn concat_rows(parts: &[Self]) -> Self {
        DefaultBodies(T::concat_rows(&parts.iter().map(|part| part.0).collect::<Vec<_>>()))
    }
}
