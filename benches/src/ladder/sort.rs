//! Backward in topological order, which a depth-first search finds, as everybody writes it first.

use std::marker::PhantomData;

use super::graph::{Graph, Node, Origin, Rung, Walk};

/// A sort with a way to know which nodes were visited.
pub struct Sorted<V>(PhantomData<V>);

/// How the search knows which nodes it has visited.
pub trait Visited: 'static {
    /// What a node carries for it.
    type Mark: Default + 'static;
    /// What is kept elsewhere.
    type Set: Default;
    /// Whether the node with this address and mark is new, which from now on it is not.
    fn is_new(set: &mut Self::Set, address: *const (), mark: &Self::Mark, generation: u32) -> bool;
}

impl<R: Rung<Walk = Self>, V: Visited> Walk<R> for Sorted<V> {
    type Link<'g> = V::Mark;

    fn link<'g>(_: &Graph<'g, R>) -> V::Mark {
        V::Mark::default()
    }

    // ANCHOR: sort
    fn walk<'g>(graph: &Graph<'g, R>, root: &'g Node<'g, R>) {
        let mut set = V::Set::default();
        let mut is_new = |node: &Node<'g, R>| {
            V::is_new(&mut set, (&raw const *node).cast(), &node.link, graph.generation())
        };
        is_new(root);
        let mut order = Vec::new();
        let mut path = vec![(root, 0)];
        while let Some((node, n)) = path.pop() {
            match node.origin.operand(n) {
                Some(operand) => {
                    path.push((node, n + 1));
                    if is_new(operand) {
                        path.push((operand, 0));
                    }
                }
                None => order.push(node), // all that it was made from is in the list already
            }
        }
        while let Some(node) = order.pop() {
            node.backward();
        }
    }
    // ANCHOR_END: sort
}
