//! (4) The stack and the result of the sort as linked lists through the nodes themselves, instead of two vectors.

use std::cell::Cell;

use super::graph::{BackwardOrder, GradFn, Graph, Node, Variant};
use super::naive::Slopes;
use super::one_arena::OneArena;

/// The rung.
pub struct Intrusive;

impl Variant for Intrusive {
    type Arena = <OneArena as Variant>::Arena;
    type GradFn<'g> = Slopes<'g, Self>;
    type Order = IntrusiveSort;
    type Derived = <OneArena as Variant>::Derived;
}

/// The sort of the rungs before, with intrusive lists.
pub struct IntrusiveSort;

/// What a node stores for the sort.
pub struct SortState<'g, V: Variant> {
    /// The visited mark.
    generation: Cell<u32>,
    /// The next operand to look at.
    index: Cell<u32>,
    /// The next node on the stack, later the next in sorted order: a node is never in both lists.
    next: Cell<Option<&'g Node<'g, V>>>,
}

impl<V: Variant<Order = Self>> BackwardOrder<V> for IntrusiveSort {
    type NodeField<'g> = SortState<'g, V>;

    #[inline]
    fn node_field<'g>(_: &Graph<'g, V>) -> SortState<'g, V> {
        SortState { generation: Cell::new(0), index: Cell::new(0), next: Cell::new(None) }
    }

    fn visit<'g>(graph: &Graph<'g, V>, root: &'g Node<'g, V>) {
        let generation = graph.generation.get();
        root.order.generation.set(generation);
        let mut sorted = None;
        let mut stack = Some(root);
        while let Some(node) = stack {
            match node.grad_fn.operand(node.order.index.get() as usize) {
                Some(operand) => {
                    node.order.index.set(node.order.index.get() + 1);
                    if operand.order.generation.replace(generation) != generation {
                        operand.order.next.set(stack);
                        stack = Some(operand);
                    }
                }
                None => {
                    stack = node.order.next.replace(sorted);
                    sorted = Some(node);
                }
            }
        }
        while let Some(node) = sorted {
            node.backward();
            sorted = node.order.next.get();
        }
    }
}
