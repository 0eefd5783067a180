//! (0) The graph as most people write it first: nodes point at their operands and store the slopes. It has an arena from
//! the start, because in Rust that is the easiest way to write a graph.

use std::collections::HashSet;

use bumpalo::Bump;
use gradus::{BinaryOp, UnaryOp};

use super::graph::{GradFn, Graph, Node, StepArena, Variant};
use super::scalar_graph::DerivedOps;
use super::sort::{TopologicalSort, Visited};

/// The rung.
pub struct Naive;

impl Variant for Naive {
    type Arena = FreshArena;
    type GradFn<'g> = Slopes<'g, Self>;
    type Order = TopologicalSort<AddressSet>;
    type Derived = FromPrimitives;
}

// ANCHOR: arena
/// A new arena for each step.
#[derive(Default)]
pub struct FreshArena(Bump);

impl StepArena for FreshArena {
    fn reset(&mut self) -> &Bump {
        self.0 = Bump::new();
        &self.0
    }
}
// ANCHOR_END: arena

// ANCHOR: slopes
/// Up to two operands, and the slope toward each, computed during forward.
pub struct Slopes<'g, V: Variant>([Option<(&'g Node<'g, V>, f64)>; 2]);

impl<'g, V: Variant> GradFn<'g, V> for Slopes<'g, V> {
    #[inline]
    fn leaf() -> Self {
        Slopes([None, None])
    }

    #[inline]
    fn unary(f: UnaryOp, x: &'g Node<'g, V>, y: f64) -> Self {
        Slopes([Some((x, f.slope(x.data, y))), None])
    }

    #[inline]
    fn binary(op: BinaryOp, a: &'g Node<'g, V>, b: &'g Node<'g, V>, y: f64) -> Self {
        let (a_slope, b_slope) = op.slopes(a.data, b.data, y);
        Slopes([Some((a, a_slope)), Some((b, b_slope))])
    }

    #[inline]
    fn operand(&self, index: usize) -> Option<&'g Node<'g, V>> {
        self.0.get(index)?.map(|(operand, _)| operand)
    }

    #[inline]
    fn backward(&self, _: f64, grad: f64) {
        for (operand, slope) in self.0.iter().flatten() {
            operand.add_grad(grad * slope);
        }
    }
}
// ANCHOR_END: slopes

// ANCHOR: visited
/// A set with the addresses of all visited nodes.
pub struct AddressSet;

impl Visited for AddressSet {
    type Mark = ();
    type Set = HashSet<*const ()>;

    fn is_first_visit(set: &mut Self::Set, address: *const (), _: &(), _: u32) -> bool {
        set.insert(address)
    }
}
// ANCHOR_END: visited

// ANCHOR: derived
/// Everything is made from primitives.
pub struct FromPrimitives;

impl<'g, V: Variant> DerivedOps<'g, Graph<'g, V>> for FromPrimitives {}
// ANCHOR_END: derived
