//! (0) The graph as everybody writes it first, in an arena: nodes point at what they were made from and keep the slopes.

use std::collections::HashSet;

use bumpalo::Bump;
use gradus::{BinaryOp, UnaryOp};

use super::graph::{Graph, Memory, Node, Origin, Rung};
use super::number::Shortcuts;
use super::sort::{Sorted, Visited};

/// The rung.
pub struct Naive;

impl Rung for Naive {
    type Memory = Fresh;
    type Origin<'g> = Slopes<'g, Self>;
    type Walk = Sorted<Addresses>;
    type Shortcuts = Primitives;
}

// ANCHOR: memory
/// A new arena for each step.
#[derive(Default)]
pub struct Fresh(Bump);

impl Memory for Fresh {
    fn empty(&mut self) -> &Bump {
        self.0 = Bump::new();
        &self.0
    }
}
// ANCHOR_END: memory

// ANCHOR: origin
/// Up to two operands, and the slope toward each.
pub struct Slopes<'g, R: Rung>([Option<(&'g Node<'g, R>, f64)>; 2]);

impl<'g, R: Rung> Origin<'g, R> for Slopes<'g, R> {
    #[inline]
    fn leaf() -> Self {
        Slopes([None, None])
    }

    #[inline]
    fn unary(f: UnaryOp, x: &'g Node<'g, R>, y: f64) -> Self {
        Slopes([Some((x, f.slope(x.data, y))), None])
    }

    #[inline]
    fn binary(op: BinaryOp, a: &'g Node<'g, R>, b: &'g Node<'g, R>, y: f64) -> Self {
        let (to_a, to_b) = op.slopes(a.data, b.data, y);
        Slopes([Some((a, to_a)), Some((b, to_b))])
    }

    #[inline]
    fn operand(&self, n: usize) -> Option<&'g Node<'g, R>> {
        self.0.get(n)?.map(|(operand, _)| operand)
    }

    #[inline]
    fn backward(&self, _: f64, grad: f64) {
        for (operand, slope) in self.0.iter().flatten() {
            operand.add_grad(grad * slope);
        }
    }
}
// ANCHOR_END: origin

// ANCHOR: visited
/// The addresses of all visited nodes.
pub struct Addresses;

impl Visited for Addresses {
    type Mark = ();
    type Set = HashSet<*const ()>;

    fn is_new(set: &mut Self::Set, address: *const (), _: &(), _: u32) -> bool {
        set.insert(address)
    }
}
// ANCHOR_END: visited

// ANCHOR: shortcuts
/// None: everything is made of primitives.
pub struct Primitives;

impl<'g, R: Rung> Shortcuts<'g, Graph<'g, R>> for Primitives {}
// ANCHOR_END: shortcuts
