//! (7) No sort: operands are older than their result, so creation order, in reverse, is a topological order already.

use super::graph::{BackwardOrder, Graph, Node, Variant};
use super::nary::{Nary, NaryOp};

/// The rung.
pub struct CreationOrder;

impl Variant for CreationOrder {
    type Arena = <Nary as Variant>::Arena;
    type GradFn<'g> = NaryOp<'g, Self>;
    type Order = NewestFirst;
    type Derived = <Nary as Variant>::Derived;
}

/// From the newest node to the oldest.
pub struct NewestFirst;

impl<V: Variant<Order = Self>> BackwardOrder<V> for NewestFirst {
    /// The node made just before this one.
    type NodeField<'g> = Option<&'g Node<'g, V>>;

    #[inline]
    fn node_field<'g>(graph: &Graph<'g, V>) -> Option<&'g Node<'g, V>> {
        graph.newest.get()
    }

    // ANCHOR: visit
    fn visit<'g>(_: &Graph<'g, V>, root: &'g Node<'g, V>) {
        let mut next = Some(root);
        while let Some(node) = next {
            // Zero if `root` does not depend on this node, or only through a ReLU that is off.
            if node.grad.get() != 0.0 {
                node.backward();
            }
            next = node.order;
        }
    }
    // ANCHOR_END: visit
}
