//! (6) A sum or a dot product of any length as one node.

use gradus::{BinaryOp, UnaryOp};

use super::direct_ops::OneNode;
use super::graph::{GradFn, Graph, Node, Variant};
use super::scalar_graph::{DerivedOps, ScalarGraph};
use super::small_node::{Op, SmallNode};

/// The rung.
pub struct Nary;

impl Variant for Nary {
    type Arena = <SmallNode as Variant>::Arena;
    type GradFn<'g> = NaryOp<'g, Self>;
    type Order = <SmallNode as Variant>::Order;
    type Derived = NaryNode;
}

/// An operation on one or two operands, or on slices of any length.
pub enum NaryOp<'g, V: Variant> {
    Simple(Op<'g, V>),
    Sum(&'g [&'g Node<'g, V>]),
    Dot(&'g [&'g Node<'g, V>], &'g [&'g Node<'g, V>]),
}

impl<'g, V: Variant> GradFn<'g, V> for NaryOp<'g, V> {
    #[inline]
    fn leaf() -> Self {
        NaryOp::Simple(Op::leaf())
    }

    #[inline]
    fn unary(f: UnaryOp, x: &'g Node<'g, V>, y: f64) -> Self {
        NaryOp::Simple(Op::unary(f, x, y))
    }

    #[inline]
    fn binary(op: BinaryOp, a: &'g Node<'g, V>, b: &'g Node<'g, V>, y: f64) -> Self {
        NaryOp::Simple(Op::binary(op, a, b, y))
    }

    #[inline]
    fn operand(&self, index: usize) -> Option<&'g Node<'g, V>> {
        match self {
            NaryOp::Simple(op) => op.operand(index),
            NaryOp::Sum(terms) => terms.get(index).copied(),
            NaryOp::Dot(a, b) => a.get(index).or_else(|| b.get(index - a.len())).copied(),
        }
    }

    #[inline]
    fn backward(&self, y: f64, grad: f64) {
        match self {
            NaryOp::Simple(op) => op.backward(y, grad),
            NaryOp::Sum(terms) => terms.iter().for_each(|x| x.add_grad(grad)),
            NaryOp::Dot(a, b) => {
                for (a, b) in a.iter().zip(*b) {
                    a.add_grad(grad * b.data);
                    b.add_grad(grad * a.data);
                }
            }
        }
    }
}

// ANCHOR: derived
/// A graph with sums and dot products of any length.
pub trait NaryGraph<'g>: ScalarGraph<'g> {
    /// `x₀ + x₁ + …` as one node.
    fn sum(&'g self, terms: &'g [Self::Value]) -> Self::Value;
    /// `a₀·b₀ + a₁·b₁ + …` as one node.
    fn dot(&'g self, a: &'g [Self::Value], b: &'g [Self::Value]) -> Self::Value;
}

/// Sums and dot products as one node, too.
pub struct NaryNode;

impl<'g, G: NaryGraph<'g>> DerivedOps<'g, G> for NaryNode {
    fn scale(g: &'g G, x: G::Value, c: f64) -> G::Value {
        OneNode::scale(g, x, c)
    }

    fn shift(g: &'g G, x: G::Value, c: f64) -> G::Value {
        OneNode::shift(g, x, c)
    }

    fn neg(g: &'g G, x: G::Value) -> G::Value {
        OneNode::neg(g, x)
    }

    fn sub(g: &'g G, a: G::Value, b: G::Value) -> G::Value {
        OneNode::sub(g, a, b)
    }

    fn div(g: &'g G, a: G::Value, b: G::Value) -> G::Value {
        OneNode::div(g, a, b)
    }

    fn sum(g: &'g G, terms: &'g [G::Value]) -> G::Value {
        g.sum(terms)
    }

    fn dot(g: &'g G, a: &'g [G::Value], b: &'g [G::Value]) -> G::Value {
        g.dot(a, b)
    }
}
// ANCHOR_END: derived

impl<'g, V: Variant<GradFn<'g> = NaryOp<'g, V>>> NaryGraph<'g> for Graph<'g, V> {
    fn sum(&'g self, terms: &'g [&'g Node<'g, V>]) -> &'g Node<'g, V> {
        self.node(terms.iter().map(|x| x.data).sum(), NaryOp::Sum(terms))
    }

    fn dot(&'g self, a: &'g [&'g Node<'g, V>], b: &'g [&'g Node<'g, V>]) -> &'g Node<'g, V> {
        self.node(a.iter().zip(b).map(|(a, b)| a.data * b.data).sum(), NaryOp::Dot(a, b))
    }
}
