//! (7) No sort: a node can only be made of older ones, so the order of creation, backward, is right.

use super::graph::{Graph, Node, Rung, Walk};
use super::nary::{Long, Nary};

/// The rung.
pub struct Creation;

impl Rung for Creation {
    type Memory = <Nary as Rung>::Memory;
    type Origin<'g> = Long<'g, Self>;
    type Walk = Newest;
    type Shortcuts = <Nary as Rung>::Shortcuts;
}

/// From the newest node to the oldest.
pub struct Newest;

impl<R: Rung<Walk = Self>> Walk<R> for Newest {
    /// The node that was made just before.
    type Link<'g> = Option<&'g Node<'g, R>>;

    #[inline]
    fn link<'g>(graph: &Graph<'g, R>) -> Option<&'g Node<'g, R>> {
        graph.newest.get()
    }

    // ANCHOR: walk
    fn walk<'g>(_: &Graph<'g, R>, root: &'g Node<'g, R>) {
        let mut next = Some(root);
        while let Some(node) = next {
            // What `root` does not depend on has no gradient, and behind a shut ReLU there is none either.
            if node.grad.get() != 0.0 {
                node.backward();
            }
            next = node.link;
        }
    }
    // ANCHOR_END: walk
}
