//! Backward in topological order, found by a depth-first search: what most people write first.

use std::marker::PhantomData;

use super::graph::{BackwardOrder, GradFn, Graph, Node, Variant};

/// A sort, with a way to tell which nodes have been visited.
pub struct TopologicalSort<S>(PhantomData<S>);

/// How the search tells which nodes it has visited.
pub trait Visited: 'static {
    /// What each node stores for it.
    type Mark: Default + 'static;
    /// What is stored elsewhere.
    type Set: Default;
    /// Marks a node as visited. Returns whether this pass visits it for the first time.
    fn is_first_visit(set: &mut Self::Set, address: *const (), mark: &Self::Mark, generation: u32) -> bool;
}

impl<V: Variant<Order = Self>, S: Visited> BackwardOrder<V> for TopologicalSort<S> {
    type NodeField<'g> = S::Mark;

    fn node_field<'g>(_: &Graph<'g, V>) -> S::Mark {
        S::Mark::default()
    }

    // ANCHOR: sort
    fn visit<'g>(graph: &Graph<'g, V>, root: &'g Node<'g, V>) {
        let mut set = S::Set::default();
        let mut is_first_visit = |node: &Node<'g, V>| {
            S::is_first_visit(&mut set, (&raw const *node).cast(), &node.order, graph.generation.get())
        };
        is_first_visit(root);
        let mut sorted = Vec::new();
        let mut stack = vec![(root, 0)];
        while let Some((node, index)) = stack.pop() {
            match node.grad_fn.operand(index) {
                Some(operand) => {
                    stack.push((node, index + 1));
                    if is_first_visit(operand) {
                        stack.push((operand, 0));
                    }
                }
                None => sorted.push(node), // all its operands are in the list already
            }
        }
        while let Some(node) = sorted.pop() {
            node.backward();
        }
    }
    // ANCHOR_END: sort
}
