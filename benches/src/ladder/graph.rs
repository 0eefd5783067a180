//! A graph of nodes that point at their operands, in exchangeable parts. A rung chooses one implementation of each: the
//! arena, what a node stores of its operation, the order of backward, and the derived operations.

use std::cell::Cell;

use bumpalo::Bump;
use gradus::{BinaryOp, UnaryOp};

use super::engine::GraphArena;
use super::scalar_graph::{DerivedOps, ScalarGraph};

/// A variant of the graph: one choice for each part.
pub trait Variant: Sized + 'static {
    /// Where nodes are allocated.
    type Arena: StepArena;
    /// What a node stores of the operation that made it.
    type GradFn<'g>: GradFn<'g, Self>;
    /// In which order backward visits the nodes.
    type Order: BackwardOrder<Self>;
    /// The operations that are not primitive.
    type Derived: for<'g> DerivedOps<'g, Graph<'g, Self>>;
}

/// An arena for the nodes of one training step.
pub trait StepArena: Default {
    /// Drops the nodes of the last step.
    fn reset(&mut self) -> &Bump;
}

/// The operation that made a node, with its operands: what PyTorch calls `grad_fn`.
pub trait GradFn<'g, V: Variant>: 'g {
    /// That of a leaf.
    fn leaf() -> Self;
    /// That of `y = f(x)`.
    fn unary(f: UnaryOp, x: &'g Node<'g, V>, y: f64) -> Self;
    /// That of `y = a ∘ b`.
    fn binary(op: BinaryOp, a: &'g Node<'g, V>, b: &'g Node<'g, V>, y: f64) -> Self;
    /// The operand with this index, or `None` past the last.
    fn operand(&self, index: usize) -> Option<&'g Node<'g, V>>;
    /// The chain rule: given the value of the result and its gradient, adds to the gradients of the operands.
    fn backward(&self, y: f64, grad: f64);
}

/// An order in which backward may visit the nodes: any that reaches a node only after everything computed from it.
pub trait BackwardOrder<V: Variant> {
    /// What each node stores for it.
    type NodeField<'g>: 'g;
    /// That of a new node.
    fn node_field<'g>(graph: &Graph<'g, V>) -> Self::NodeField<'g>;
    /// Calls [`Node::backward`] on every node that `root` depends on.
    fn visit<'g>(graph: &Graph<'g, V>, root: &'g Node<'g, V>);
}

/// A value, its gradient, and what backward needs to know about it.
pub struct Node<'g, V: Variant> {
    pub(super) data: f64,
    pub(super) grad: Cell<f64>,
    pub(super) grad_fn: V::GradFn<'g>,
    pub(super) order: <V::Order as BackwardOrder<V>>::NodeField<'g>,
}

impl<'g, V: Variant> Node<'g, V> {
    /// Adds to its gradient.
    #[inline]
    pub(super) fn add_grad(&self, term: f64) {
        self.grad.set(self.grad.get() + term);
    }

    /// Adds to the gradients of its operands.
    #[inline]
    pub(super) fn backward(&self) {
        self.grad_fn.backward(self.data, self.grad.get());
    }
}

/// All nodes of one computation.
pub struct Graph<'g, V: Variant> {
    bump: &'g Bump,
    pub(super) newest: Cell<Option<&'g Node<'g, V>>>,
    /// The number of the last backward pass.
    pub(super) generation: Cell<u32>,
    node_count: Cell<usize>,
}

impl<'g, V: Variant> Graph<'g, V> {
    /// A new node.
    #[inline]
    pub(super) fn node(&self, data: f64, grad_fn: V::GradFn<'g>) -> &'g Node<'g, V> {
        let order = V::Order::node_field(self);
        let node = &*self.bump.alloc(Node { data, grad: Cell::new(0.0), grad_fn, order });
        self.newest.set(Some(node));
        self.node_count.set(self.node_count.get() + 1);
        node
    }
}

impl<'g, V: Variant> ScalarGraph<'g> for Graph<'g, V> {
    type Value = &'g Node<'g, V>;
    type Derived = V::Derived;

    #[inline]
    fn leaf(&'g self, x: f64) -> Self::Value {
        self.node(x, GradFn::leaf())
    }

    #[inline]
    fn data(&'g self, x: Self::Value) -> f64 {
        x.data
    }

    #[inline]
    fn unary(&'g self, f: UnaryOp, x: Self::Value) -> Self::Value {
        let y = f.eval(x.data);
        self.node(y, GradFn::unary(f, x, y))
    }

    #[inline]
    fn binary(&'g self, op: BinaryOp, a: Self::Value, b: Self::Value) -> Self::Value {
        let y = op.eval(a.data, b.data);
        self.node(y, GradFn::binary(op, a, b, y))
    }

    fn backward(&'g self, root: Self::Value) {
        self.generation.set(self.generation.get() + 1);
        root.grad.set(1.0);
        V::Order::visit(self, root);
    }

    fn grad(&'g self, x: Self::Value) -> f64 {
        x.grad.get()
    }

    fn alloc_slice(&'g self, len: usize, mut fill: impl FnMut(usize) -> Self::Value) -> &'g [Self::Value] {
        self.bump.alloc_slice_fill_with(len, &mut fill)
    }

    fn node_count(&self) -> usize {
        self.node_count.get()
    }
}

/// The arena of a variant's graphs.
pub struct NodeArena<V: Variant>(V::Arena);

impl<V: Variant> Default for NodeArena<V> {
    fn default() -> Self {
        NodeArena(Default::default())
    }
}

impl<V: Variant> GraphArena for NodeArena<V> {
    type Graph<'g> = Graph<'g, V>;

    fn graph(&mut self) -> &Graph<'_, V> {
        let bump = self.0.reset();
        let (newest, generation, node_count) = Default::default();
        bump.alloc(Graph { bump, newest, generation, node_count })
    }
}
