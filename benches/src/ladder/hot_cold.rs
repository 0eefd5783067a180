//! (8) Hot and cold data apart: value and gradient, which every use touches, here; the operation, which backward reads
//! once, there.

use std::cell::Cell;
use std::marker::PhantomData;

use bumpalo::Bump;
use gradus::{BinaryOp, UnaryOp};

use super::engine::GraphArena;
use super::nary::{NaryGraph, NaryNode};
use super::scalar_graph::ScalarGraph;

/// The arena of these graphs.
#[derive(Default)]
pub struct HotColdArena<D = OneByOne>(Bump, PhantomData<D>);

/// The hot part of a node, 16 bytes.
pub struct Value {
    pub(super) data: f64,
    pub(super) grad: Cell<f64>,
}

/// The cold part. Leaves have none.
pub struct TapeEntry<'g> {
    pub(super) output: &'g Value,
    pub(super) op: Op<'g>,
    /// The entry made just before this one.
    pub(super) previous: Option<&'g TapeEntry<'g>>,
}

/// An operation and its operands.
#[derive(Clone, Copy)]
pub enum Op<'g> {
    Unary(UnaryOp, &'g Value),
    Binary(BinaryOp, &'g Value, &'g Value),
    Sum(&'g [&'g Value]),
    Dot(&'g [&'g Value], &'g [&'g Value]),
}

/// The backward of dot products.
pub trait DotBackward: Default + 'static {
    /// The backward of `entry`, which is the dot product of `a` and `b`, and perhaps of entries before it. Returns the next
    /// entry to visit.
    fn backward<'g>(
        entry: &'g TapeEntry<'g>,
        a: &'g [&'g Value],
        b: &'g [&'g Value],
    ) -> Option<&'g TapeEntry<'g>>;
}

/// All values of one computation, and the newest entry of the tape.
pub struct Graph<'g, D> {
    bump: &'g Bump,
    newest: Cell<Option<&'g TapeEntry<'g>>>,
    node_count: Cell<usize>,
    dots: PhantomData<D>,
}

impl Value {
    #[inline]
    pub(super) fn add_grad(&self, term: f64) {
        self.grad.set(self.grad.get() + term);
    }
}

impl<'g, D: DotBackward> Graph<'g, D> {
    #[inline]
    fn record(&'g self, data: f64, op: Op<'g>) -> &'g Value {
        let output = self.leaf(data);
        let previous = self.newest.get();
        self.newest.set(Some(self.bump.alloc(TapeEntry { output, op, previous })));
        output
    }
}

impl<'g, D: DotBackward> ScalarGraph<'g> for Graph<'g, D> {
    type Value = &'g Value;
    type Derived = NaryNode;

    #[inline]
    fn leaf(&'g self, data: f64) -> &'g Value {
        self.node_count.set(self.node_count.get() + 1);
        self.bump.alloc(Value { data, grad: Cell::new(0.0) })
    }

    #[inline]
    fn data(&'g self, x: &'g Value) -> f64 {
        x.data
    }

    #[inline]
    fn unary(&'g self, f: UnaryOp, x: &'g Value) -> &'g Value {
        self.record(f.eval(x.data), Op::Unary(f, x))
    }

    #[inline]
    fn binary(&'g self, op: BinaryOp, a: &'g Value, b: &'g Value) -> &'g Value {
        self.record(op.eval(a.data, b.data), Op::Binary(op, a, b))
    }

    fn backward(&'g self, root: &'g Value) {
        root.grad.set(1.0);
        let mut next = self.newest.get();
        while let Some(entry) = next {
            let (y, grad) = (entry.output.data, entry.output.grad.get());
            next = entry.previous;
            match entry.op {
                Op::Dot(a, b) => next = D::backward(entry, a, b),
                Op::Unary(f, x) => x.add_grad(grad * f.slope(x.data, y)),
                Op::Binary(op, a, b) => {
                    let (a_slope, b_slope) = op.slopes(a.data, b.data, y);
                    a.add_grad(grad * a_slope);
                    b.add_grad(grad * b_slope);
                }
                Op::Sum(terms) => terms.iter().for_each(|x| x.add_grad(grad)),
            }
        }
    }

    fn grad(&'g self, x: &'g Value) -> f64 {
        x.grad.get()
    }

    fn alloc_slice(&'g self, len: usize, mut fill: impl FnMut(usize) -> &'g Value) -> &'g [&'g Value] {
        self.bump.alloc_slice_fill_with(len, &mut fill)
    }

    fn node_count(&self) -> usize {
        self.node_count.get()
    }
}

impl<'g, D: DotBackward> NaryGraph<'g> for Graph<'g, D> {
    fn sum(&'g self, terms: &'g [&'g Value]) -> &'g Value {
        self.record(terms.iter().map(|x| x.data).sum(), Op::Sum(terms))
    }

    fn dot(&'g self, a: &'g [&'g Value], b: &'g [&'g Value]) -> &'g Value {
        self.record(a.iter().zip(b).map(|(a, b)| a.data * b.data).sum(), Op::Dot(a, b))
    }
}

// ANCHOR: dots
/// Each dot product by itself.
#[derive(Default)]
pub struct OneByOne;

impl DotBackward for OneByOne {
    #[inline]
    fn backward<'g>(
        entry: &'g TapeEntry<'g>,
        a: &'g [&'g Value],
        b: &'g [&'g Value],
    ) -> Option<&'g TapeEntry<'g>> {
        let grad = entry.output.grad.get();
        if grad != 0.0 {
            for (a, b) in a.iter().zip(b) {
                a.add_grad(grad * b.data);
                b.add_grad(grad * a.data);
            }
        }
        entry.previous
    }
}
// ANCHOR_END: dots

impl<D: DotBackward> GraphArena for HotColdArena<D> {
    type Graph<'g> = Graph<'g, D>;

    fn graph(&mut self) -> &Graph<'_, D> {
        self.0.reset();
        let bump = &self.0;
        bump.alloc(Graph { bump, newest: Cell::new(None), node_count: Cell::new(0), dots: PhantomData })
    }
}
