//! Where numbers live: blocks, and the graph that they form.

use std::cell::Cell;
use std::ops::Range;
use std::ptr;

use bumpalo::Bump;

use super::op::Op;
use super::view::Row;

/// The memory of a graph, reused for the next one.
#[derive(Default)]
pub struct Arena {
    bump: Bump,
}

impl Arena {
    /// Drops the last graph and starts an empty one in the same memory.
    pub fn graph(&mut self) -> &Graph<'_> {
        self.bump.reset();
        let bump = &self.bump;
        bump.alloc(Graph {
            bump,
            newest: Cell::new(None),
            generation: Cell::new(0),
            node_count: Cell::new(0),
        })
    }
}

/// One computation: a linked list of blocks, newest first.
pub struct Graph<'g> {
    pub(super) bump: &'g Bump,
    newest: Cell<Option<&'g Block<'g>>>,
    /// The number of the last backward pass.
    pub(super) generation: Cell<u64>,
    node_count: Cell<usize>,
}

/// Numbers that were made together. Their values never change; their gradients do.
pub(super) struct Block<'g> {
    pub(super) graph: &'g Graph<'g>,
    /// The block made just before this one. Following these links visits every block in reverse creation order.
    pub(super) previous: Option<&'g Block<'g>>,
    pub(super) data: &'g [f64],
    pub(super) grad: &'g [Cell<f64>],
    /// How all of them were made.
    pub(super) op: Op<'g>,
    /// The last backward pass that visited this block.
    visited: Cell<u64>,
}

impl<'g> Graph<'g> {
    /// How many numbers the graph holds.
    pub fn node_count(&self) -> usize {
        self.node_count.get()
    }

    /// A new block at the head of the list.
    #[inline]
    pub(super) fn block(&'g self, data: &'g [f64], grad: &'g [Cell<f64>], op: Op<'g>) -> &'g Block<'g> {
        let previous = self.newest.get();
        let block =
            &*self.bump.alloc_with(|| Block { graph: self, previous, data, grad, op, visited: Cell::new(0) });
        self.newest.set(Some(block));
        self.node_count.set(self.node_count() + data.len());
        block
    }

    /// Memory for `len` values and `len` gradients, all zero.
    #[inline]
    pub(super) fn alloc(&self, len: usize) -> (&'g mut [f64], &'g [Cell<f64>]) {
        // A view counts in `u32`, which makes it half as large.
        assert!(
            len > 0 && u32::try_from(len).is_ok(),
            "a matrix of {len} numbers: it must have 1 to 2³² - 1"
        );
        let (data, grad) = self.bump.alloc_slice_fill_copy(2 * len, 0.0).split_at_mut(len);
        (data, Cell::from_mut(grad).as_slice_of_cells())
    }

    /// Panics if a block belongs to another graph: the visited marks of the two would not agree.
    #[inline]
    pub(super) fn check(&self, block: &Block<'g>) {
        assert!(ptr::eq(self, block.graph), "operands from two graphs: make both from the same `Graph`");
    }
}

impl<'g> Block<'g> {
    /// Neighbouring numbers.
    #[inline]
    pub(super) fn slice(&self, range: Range<usize>) -> Row<'g> {
        Row { data: &self.data[range.clone()], grad: &self.grad[range] }
    }

    /// Whether this backward pass has visited the block.
    pub(super) fn visited(&self, generation: u64) -> bool {
        self.visited.get() == generation
    }

    /// Marks the block as visited in this backward pass, and returns its gradients. On the first visit, gradients that an
    /// earlier pass left behind are set to zero; so a second `backward` on the same graph is right, and no pass has to
    /// clear all gradients up front.
    ///
    /// One mark serves a whole matrix. In a graph of single nodes, this test runs once for every operand of every number.
    /// (Passes are numbered from 1. A mark of 0 means "never visited", and such a block still has the zeros it was
    /// allocated with.)
    #[inline]
    pub(super) fn mark_visited(&self, generation: u64) -> &'g [Cell<f64>] {
        let last = self.visited.replace(generation);
        if last != generation && last != 0 {
            self.grad.iter().for_each(|grad| grad.set(0.0));
        }
        self.grad
    }
}
