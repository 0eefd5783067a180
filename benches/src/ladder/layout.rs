//! (5) A smaller node: the operation instead of the slopes, which are found again when they are needed.

use gradus::{BinaryOp, UnaryOp};

use super::graph::{Node, Origin, Rung};
use super::threaded::Threaded;

/// The rung.
pub struct Layout;

impl Rung for Layout {
    type Memory = <Threaded as Rung>::Memory;
    type Origin<'g> = Operation<'g, Self>;
    type Walk = <Threaded as Rung>::Walk;
    type Shortcuts = <Threaded as Rung>::Shortcuts;
}

/// An operation and its operands. (A single variant for all of two operands would make it 8 bytes longer.)
pub enum Operation<'g, R: Rung> {
    Leaf,
    Unary(UnaryOp, &'g Node<'g, R>),
    Add(&'g Node<'g, R>, &'g Node<'g, R>),
    Sub(&'g Node<'g, R>, &'g Node<'g, R>),
    Mul(&'g Node<'g, R>, &'g Node<'g, R>),
    Div(&'g Node<'g, R>, &'g Node<'g, R>),
}

impl<'g, R: Rung> Operation<'g, R> {
    /// The operation on its two operands, if it has so many.
    #[inline]
    fn of_two(&self) -> Option<(BinaryOp, &'g Node<'g, R>, &'g Node<'g, R>)> {
        Some(match self {
            Operation::Leaf | Operation::Unary(..) => return None,
            Operation::Add(a, b) => (BinaryOp::Add, a, b),
            Operation::Sub(a, b) => (BinaryOp::Sub, a, b),
            Operation::Mul(a, b) => (BinaryOp::Mul, a, b),
            Operation::Div(a, b) => (BinaryOp::Div, a, b),
        })
    }
}

impl<'g, R: Rung> Origin<'g, R> for Operation<'g, R> {
    #[inline]
    fn leaf() -> Self {
        Operation::Leaf
    }

    #[inline]
    fn unary(f: UnaryOp, x: &'g Node<'g, R>, _: f64) -> Self {
        Operation::Unary(f, x)
    }

    #[inline]
    fn binary(op: BinaryOp, a: &'g Node<'g, R>, b: &'g Node<'g, R>, _: f64) -> Self {
        match op {
            BinaryOp::Add => Operation::Add(a, b),
            BinaryOp::Sub => Operation::Sub(a, b),
            BinaryOp::Mul => Operation::Mul(a, b),
            BinaryOp::Div => Operation::Div(a, b),
        }
    }

    #[inline]
    fn operand(&self, n: usize) -> Option<&'g Node<'g, R>> {
        match (self, self.of_two(), n) {
            (Operation::Unary(_, x), _, 0) => Some(x),
            (_, Some((_, a, _)), 0) => Some(a),
            (_, Some((_, _, b)), 1) => Some(b),
            _ => None,
        }
    }

    #[inline]
    fn backward(&self, y: f64, grad: f64) {
        if let Operation::Unary(f, x) = self {
            x.add_grad(grad * f.slope(x.data, y));
        } else if let Some((op, a, b)) = self.of_two() {
            let (to_a, to_b) = op.slopes(a.data, b.data, y);
            a.add_grad(grad * to_a);
            b.add_grad(grad * to_b);
        }
    }
}

#[cfg(target_pointer_width = "64")]
const _: () = assert!(size_of::<Node<'_, Threaded>>() == 64 && size_of::<Node<'_, Layout>>() == 56);
