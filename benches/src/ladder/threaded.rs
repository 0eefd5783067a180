//! (4) No lists.

use std::cell::Cell;

use super::graph::{Graph, Node, Origin, Rung, Walk};
use super::naive::Slopes;
use super::reset::Reset;

/// The rung.
pub struct Threaded;

impl Rung for Threaded {
    type Memory = <Reset as Rung>::Memory;
    type Origin<'g> = Slopes<'g, Self>;
    type Walk = Thread;
    type Shortcuts = <Reset as Rung>::Shortcuts;
}

pub struct Thread;

pub struct Links<'g, R: Rung> {
    generation: Cell<u32>,
    n: Cell<u32>,
    next: Cell<Option<&'g Node<'g, R>>>,
}

impl<R: Rung<Walk = Self>> Walk<R> for Thread {
    type Link<'g> = Links<'g, R>;

    #[inline]
    fn link<'g>(_: &Graph<'g, R>) -> Links<'g, R> {
        Links { generation: Cell::new(0), n: Cell::new(0), next: Cell::new(None) }
    }

    fn walk<'g>(graph: &Graph<'g, R>, root: &'g Node<'g, R>) {
        let generation = graph.generation();
        root.link.generation.set(generation);
        let mut order = None;
        let mut path = Some(root);
        while let Some(node) = path {
            match node.origin.operand(node.link.n.get() as usize) {
                Some(operand) => {
                    node.link.n.set(node.link.n.get() + 1);
                    if operand.link.generation.replace(generation) != generation {
                        operand.link.next.set(path);
                        path = Some(operand);
                    }
                }
                None => {
                    path = node.link.next.replace(order);
                    order = Some(node);
                }
            }
        }
        while let Some(node) = order {
            node.backward();
            order = node.link.next.get();
        }
    }
}
