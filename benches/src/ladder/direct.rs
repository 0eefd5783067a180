//! (2) One node for what took two or three.

use gradus::{BinaryOp, UnaryOp};

use super::generation::Generation;
use super::graph::Rung;
use super::naive::Slopes;
use super::number::{Numbers, Shortcuts};

/// The rung.
pub struct Direct;

impl Rung for Direct {
    type Memory = <Generation as Rung>::Memory;
    type Origin<'g> = Slopes<'g, Self>;
    type Walk = <Generation as Rung>::Walk;
    type Shortcuts = OneNode;
}

/// Negation, subtraction, division and constants, each as a node of its own.
pub struct OneNode;

impl<'g, G: Numbers<'g>> Shortcuts<'g, G> for OneNode {
    fn scale(g: &'g G, x: G::Number, c: f64) -> G::Number {
        g.unary(UnaryOp::Scale(c), x)
    }

    fn shift(g: &'g G, x: G::Number, c: f64) -> G::Number {
        g.unary(UnaryOp::Shift(c), x)
    }

    fn neg(g: &'g G, x: G::Number) -> G::Number {
        g.unary(UnaryOp::Neg, x)
    }

    fn sub(g: &'g G, a: G::Number, b: G::Number) -> G::Number {
        g.binary(BinaryOp::Sub, a, b)
    }

    fn div(g: &'g G, a: G::Number, b: G::Number) -> G::Number {
        g.binary(BinaryOp::Div, a, b)
    }
}
