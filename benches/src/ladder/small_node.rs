//! (5) A smaller node: it stores the operation, and backward computes the slopes.

use gradus::{BinaryOp, UnaryOp};

use super::graph::{GradFn, Node, Variant};
use super::intrusive::Intrusive;

/// The rung.
pub struct SmallNode;

impl Variant for SmallNode {
    type Arena = <Intrusive as Variant>::Arena;
    type GradFn<'g> = Op<'g, Self>;
    type Order = <Intrusive as Variant>::Order;
    type Derived = <Intrusive as Variant>::Derived;
}

/// An operation and its operands. (A single variant `Binary(BinaryOp, a, b)` would be 8 bytes larger.)
pub enum Op<'g, V: Variant> {
    Leaf,
    Unary(UnaryOp, &'g Node<'g, V>),
    Add(&'g Node<'g, V>, &'g Node<'g, V>),
    Sub(&'g Node<'g, V>, &'g Node<'g, V>),
    Mul(&'g Node<'g, V>, &'g Node<'g, V>),
    Div(&'g Node<'g, V>, &'g Node<'g, V>),
}

impl<'g, V: Variant> Op<'g, V> {
    /// The operator and its two operands, if there are two.
    #[inline]
    fn as_binary(&self) -> Option<(BinaryOp, &'g Node<'g, V>, &'g Node<'g, V>)> {
        Some(match self {
            Op::Leaf | Op::Unary(..) => return None,
            Op::Add(a, b) => (BinaryOp::Add, a, b),
            Op::Sub(a, b) => (BinaryOp::Sub, a, b),
            Op::Mul(a, b) => (BinaryOp::Mul, a, b),
            Op::Div(a, b) => (BinaryOp::Div, a, b),
        })
    }
}

impl<'g, V: Variant> GradFn<'g, V> for Op<'g, V> {
    #[inline]
    fn leaf() -> Self {
        Op::Leaf
    }

    #[inline]
    fn unary(f: UnaryOp, x: &'g Node<'g, V>, _: f64) -> Self {
        Op::Unary(f, x)
    }

    #[inline]
    fn binary(op: BinaryOp, a: &'g Node<'g, V>, b: &'g Node<'g, V>, _: f64) -> Self {
        match op {
            BinaryOp::Add => Op::Add(a, b),
            BinaryOp::Sub => Op::Sub(a, b),
            BinaryOp::Mul => Op::Mul(a, b),
            BinaryOp::Div => Op::Div(a, b),
        }
    }

    #[inline]
    fn operand(&self, index: usize) -> Option<&'g Node<'g, V>> {
        match (self, self.as_binary(), index) {
            (Op::Unary(_, x), _, 0) => Some(x),
            (_, Some((_, a, _)), 0) => Some(a),
            (_, Some((_, _, b)), 1) => Some(b),
            _ => None,
        }
    }

    #[inline]
    fn backward(&self, y: f64, grad: f64) {
        if let Op::Unary(f, x) = self {
            x.add_grad(grad * f.slope(x.data, y));
        } else if let Some((op, a, b)) = self.as_binary() {
            let (a_slope, b_slope) = op.slopes(a.data, b.data, y);
            a.add_grad(grad * a_slope);
            b.add_grad(grad * b_slope);
        }
    }
}

#[cfg(target_pointer_width = "64")]
const _: () = assert!(size_of::<Node<'_, Intrusive>>() == 64 && size_of::<Node<'_, SmallNode>>() == 56);
