//! (2) Negation, subtraction, division and constants as one node instead of two or three.

use gradus::{BinaryOp, UnaryOp};

use super::generation_counter::GenerationCounter;
use super::graph::Variant;
use super::naive::Slopes;
use super::scalar_graph::{DerivedOps, ScalarGraph};

/// The rung.
pub struct DirectOps;

impl Variant for DirectOps {
    type Arena = <GenerationCounter as Variant>::Arena;
    type GradFn<'g> = Slopes<'g, Self>;
    type Order = <GenerationCounter as Variant>::Order;
    type Derived = OneNode;
}

/// Each as a node of its own.
pub struct OneNode;

impl<'g, G: ScalarGraph<'g>> DerivedOps<'g, G> for OneNode {
    fn scale(g: &'g G, x: G::Value, c: f64) -> G::Value {
        g.unary(UnaryOp::Scale(c), x)
    }

    fn shift(g: &'g G, x: G::Value, c: f64) -> G::Value {
        g.unary(UnaryOp::Shift(c), x)
    }

    fn neg(g: &'g G, x: G::Value) -> G::Value {
        g.unary(UnaryOp::Neg, x)
    }

    fn sub(g: &'g G, a: G::Value, b: G::Value) -> G::Value {
        g.binary(BinaryOp::Sub, a, b)
    }

    fn div(g: &'g G, a: G::Value, b: G::Value) -> G::Value {
        g.binary(BinaryOp::Div, a, b)
    }
}
