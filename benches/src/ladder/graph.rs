//! A graph of nodes in an arena, in parts that a rung chooses: where nodes lie, what they know of their origin, in
//! which order backward visits them, and what is made in one go.

use std::cell::Cell;

use bumpalo::Bump;
use gradus::{BinaryOp, UnaryOp};

use super::engine::Storage;
use super::number::{Numbers, Shortcuts};

/// A rung: one choice for each part.
pub trait Rung: Sized + 'static {
    /// Where nodes lie.
    type Memory: Memory;
    /// What a node knows of its origin.
    type Origin<'g>: Origin<'g, Self>;
    /// In which order backward visits nodes.
    type Walk: Walk<Self>;
    /// What is made in one go.
    type Shortcuts: for<'g> Shortcuts<'g, Graph<'g, Self>>;
}

/// Where nodes lie.
pub trait Memory: Default {
    /// An arena without anything in it.
    fn empty(&mut self) -> &Bump;
}

/// What a node knows of how it was made.
pub trait Origin<'g, R: Rung>: 'g {
    /// A number from outside.
    fn leaf() -> Self;
    /// `y = f(x)`.
    fn unary(f: UnaryOp, x: &'g Node<'g, R>, y: f64) -> Self;
    /// `y = a ∘ b`.
    fn binary(op: BinaryOp, a: &'g Node<'g, R>, b: &'g Node<'g, R>, y: f64) -> Self;
    /// The `n`-th operand, if there are so many.
    fn operand(&self, n: usize) -> Option<&'g Node<'g, R>>;
    /// Adds to the gradients of the operands what the gradient of the result says.
    fn backward(&self, y: f64, grad: f64);
}

/// In which order backward visits nodes: any in which a node comes after all that were made from it.
pub trait Walk<R: Rung> {
    /// What a node carries for it.
    type Link<'g>: 'g;
    /// That of a new node.
    fn link<'g>(graph: &Graph<'g, R>) -> Self::Link<'g>;
    /// Lets each node that `root` was made from hand its gradient down.
    fn walk<'g>(graph: &Graph<'g, R>, root: &'g Node<'g, R>);
}

/// A number and all that the way back needs of it.
pub struct Node<'g, R: Rung> {
    pub(super) data: f64,
    pub(super) grad: Cell<f64>,
    pub(super) origin: R::Origin<'g>,
    pub(super) link: <R::Walk as Walk<R>>::Link<'g>,
}

impl<'g, R: Rung> Node<'g, R> {
    /// Adds to its gradient.
    #[inline]
    pub(super) fn add_grad(&self, term: f64) {
        self.grad.set(self.grad.get() + term);
    }

    /// Hands its gradient down.
    #[inline]
    pub(super) fn backward(&self) {
        self.origin.backward(self.data, self.grad.get());
    }
}

/// All nodes of one calculation.
pub struct Graph<'g, R: Rung> {
    bump: &'g Bump,
    pub(super) newest: Cell<Option<&'g Node<'g, R>>>,
    generation: Cell<u32>,
    nodes: Cell<usize>,
}

impl<'g, R: Rung> Graph<'g, R> {
    /// How many nodes there are.
    pub(super) fn nodes(&self) -> usize {
        self.nodes.get()
    }

    /// The number of the backward pass.
    pub(super) fn generation(&self) -> u32 {
        self.generation.get()
    }

    /// A new node.
    #[inline]
    pub(super) fn node(&self, data: f64, origin: R::Origin<'g>) -> &'g Node<'g, R> {
        let link = R::Walk::link(self);
        let node = &*self.bump.alloc(Node { data, grad: Cell::new(0.0), origin, link });
        self.newest.set(Some(node));
        self.nodes.set(self.nodes.get() + 1);
        node
    }
}

impl<'g, R: Rung> Numbers<'g> for Graph<'g, R> {
    type Number = &'g Node<'g, R>;
    type Shortcuts = R::Shortcuts;

    #[inline]
    fn leaf(&'g self, x: f64) -> Self::Number {
        self.node(x, Origin::leaf())
    }

    #[inline]
    fn value(&'g self, x: Self::Number) -> f64 {
        x.data
    }

    #[inline]
    fn unary(&'g self, f: UnaryOp, x: Self::Number) -> Self::Number {
        let y = f.eval(x.data);
        self.node(y, Origin::unary(f, x, y))
    }

    #[inline]
    fn binary(&'g self, op: BinaryOp, a: Self::Number, b: Self::Number) -> Self::Number {
        let y = op.eval(a.data, b.data);
        self.node(y, Origin::binary(op, a, b, y))
    }

    fn backward(&'g self, root: Self::Number) {
        self.generation.set(self.generation.get() + 1);
        root.grad.set(1.0);
        R::Walk::walk(self, root);
    }

    fn grad(&'g self, x: Self::Number) -> f64 {
        x.grad.get()
    }

    fn list(&'g self, len: usize, mut fill: impl FnMut(usize) -> Self::Number) -> &'g [Self::Number] {
        self.bump.alloc_slice_fill_with(len, &mut fill)
    }

    fn len(&self) -> usize {
        self.nodes()
    }
}

/// The room of a rung's graphs.
pub struct Pointers<R: Rung>(R::Memory);

impl<R: Rung> Default for Pointers<R> {
    fn default() -> Self {
        Pointers(Default::default())
    }
}

impl<R: Rung> Storage for Pointers<R> {
    type Graph<'g> = Graph<'g, R>;

    fn graph(&mut self) -> &Graph<'_, R> {
        let bump = self.0.empty();
        let (newest, generation, nodes) = Default::default();
        bump.alloc(Graph { bump, newest, generation, nodes })
    }
}
