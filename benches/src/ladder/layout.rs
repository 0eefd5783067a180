//! (5) A smaller node: the operation instead of the slopes, which are found again when they are needed.

use gradus::{Binary, Function};

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

/// An operation and its operands.
pub enum Operation<'g, R: Rung> {
    Leaf,
    Unary(Function, &'g Node<'g, R>),
    Binary(Binary, &'g Node<'g, R>, &'g Node<'g, R>),
}

impl<'g, R: Rung> Origin<'g, R> for Operation<'g, R> {
    #[inline]
    fn leaf() -> Self {
        Operation::Leaf
    }

    #[inline]
    fn unary(f: Function, x: &'g Node<'g, R>, _: f64) -> Self {
        Operation::Unary(f, x)
    }

    #[inline]
    fn binary(op: Binary, a: &'g Node<'g, R>, b: &'g Node<'g, R>, _: f64) -> Self {
        Operation::Binary(op, a, b)
    }

    #[inline]
    fn operand(&self, n: usize) -> Option<&'g Node<'g, R>> {
        match (self, n) {
            (Operation::Unary(_, x), 0) => Some(x),
            (Operation::Binary(_, a, _), 0) => Some(a),
            (Operation::Binary(_, _, b), 1) => Some(b),
            _ => None,
        }
    }

    #[inline]
    fn hand_down(&self, y: f64, grad: f64) {
        match self {
            Operation::Leaf => {}
            Operation::Unary(f, x) => x.add_grad(grad * f.slope(x.data, y)),
            Operation::Binary(op, a, b) => {
                let (to_a, to_b) = op.slopes(a.data, b.data, y);
                a.add_grad(grad * to_a);
                b.add_grad(grad * to_b);
            }
        }
    }
}
