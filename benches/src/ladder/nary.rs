//! (6) A sum or a dot product of any length as one node.

use gradus::{BinaryOp, UnaryOp};

use super::direct::OneNode;
use super::graph::{Graph, Node, Origin, Rung};
use super::layout::{Layout, Operation};
use super::number::{Numbers, Shortcuts};

/// The rung.
pub struct Nary;

impl Rung for Nary {
    type Memory = <Layout as Rung>::Memory;
    type Origin<'g> = Long<'g, Self>;
    type Walk = <Layout as Rung>::Walk;
    type Shortcuts = Short;
}

/// An operation of one or two operands, or one of as many as there are in lists.
pub enum Long<'g, R: Rung> {
    Few(Operation<'g, R>),
    Sum(&'g [&'g Node<'g, R>]),
    Dot(&'g [&'g Node<'g, R>], &'g [&'g Node<'g, R>]),
}

impl<'g, R: Rung> Origin<'g, R> for Long<'g, R> {
    #[inline]
    fn leaf() -> Self {
        Long::Few(Operation::leaf())
    }

    #[inline]
    fn unary(f: UnaryOp, x: &'g Node<'g, R>, y: f64) -> Self {
        Long::Few(Operation::unary(f, x, y))
    }

    #[inline]
    fn binary(op: BinaryOp, a: &'g Node<'g, R>, b: &'g Node<'g, R>, y: f64) -> Self {
        Long::Few(Operation::binary(op, a, b, y))
    }

    #[inline]
    fn operand(&self, n: usize) -> Option<&'g Node<'g, R>> {
        match self {
            Long::Few(operation) => operation.operand(n),
            Long::Sum(terms) => terms.get(n).copied(),
            Long::Dot(a, b) => a.get(n).or_else(|| b.get(n - a.len())).copied(),
        }
    }

    #[inline]
    fn backward(&self, y: f64, grad: f64) {
        match self {
            Long::Few(operation) => operation.backward(y, grad),
            Long::Sum(terms) => terms.iter().for_each(|x| x.add_grad(grad)),
            Long::Dot(a, b) => {
                for (a, b) in a.iter().zip(*b) {
                    a.add_grad(grad * b.data);
                    b.add_grad(grad * a.data);
                }
            }
        }
    }
}

// ANCHOR: shortcuts
/// A graph that has sums and dot products of any length.
pub trait AnyLength<'g>: Numbers<'g> {
    /// `x₀ + x₁ + …`.
    fn sum(&'g self, terms: &'g [Self::Number]) -> Self::Number;
    /// `a₀·b₀ + a₁·b₁ + …`.
    fn dot(&'g self, a: &'g [Self::Number], b: &'g [Self::Number]) -> Self::Number;
}

/// As before, and sums and dot products.
pub struct Short;

impl<'g, G: AnyLength<'g>> Shortcuts<'g, G> for Short {
    fn scale(g: &'g G, x: G::Number, c: f64) -> G::Number {
        OneNode::scale(g, x, c)
    }

    fn shift(g: &'g G, x: G::Number, c: f64) -> G::Number {
        OneNode::shift(g, x, c)
    }

    fn neg(g: &'g G, x: G::Number) -> G::Number {
        OneNode::neg(g, x)
    }

    fn sub(g: &'g G, a: G::Number, b: G::Number) -> G::Number {
        OneNode::sub(g, a, b)
    }

    fn div(g: &'g G, a: G::Number, b: G::Number) -> G::Number {
        OneNode::div(g, a, b)
    }

    fn sum(g: &'g G, terms: &'g [G::Number]) -> G::Number {
        g.sum(terms)
    }

    fn dot(g: &'g G, a: &'g [G::Number], b: &'g [G::Number]) -> G::Number {
        g.dot(a, b)
    }
}
// ANCHOR_END: shortcuts

impl<'g, R: Rung<Origin<'g> = Long<'g, R>>> AnyLength<'g> for Graph<'g, R> {
    fn sum(&'g self, terms: &'g [&'g Node<'g, R>]) -> &'g Node<'g, R> {
        self.node(terms.iter().map(|x| x.data).sum(), Long::Sum(terms))
    }

    fn dot(&'g self, a: &'g [&'g Node<'g, R>], b: &'g [&'g Node<'g, R>]) -> &'g Node<'g, R> {
        self.node(a.iter().zip(b).map(|(a, b)| a.data * b.data).sum(), Long::Dot(a, b))
    }
}
