//! (8) What every use of a number touches, apart from what is read once.

use std::cell::Cell;
use std::marker::PhantomData;

use bumpalo::Bump;
use gradus::{BinaryOp, UnaryOp};

use super::engine::Storage;
use super::nary::{AnyLength, Short};
use super::number::Numbers;

/// Numbers of 16 bytes, and beside them the origins of those that are no leaves.
#[derive(Default)]
pub struct Split<D = OneByOne>(Bump, PhantomData<D>);

/// A number: what every use of it touches, and nothing else.
pub struct Number {
    pub(super) data: f64,
    pub(super) grad: Cell<f64>,
}

/// How a number was made, which backward reads once.
pub struct Origin<'g> {
    pub(super) result: &'g Number,
    pub(super) made: Made<'g>,
    pub(super) earlier: Option<&'g Origin<'g>>,
}

/// An operation and its operands.
#[derive(Clone, Copy)]
pub enum Made<'g> {
    Unary(UnaryOp, &'g Number),
    Binary(BinaryOp, &'g Number, &'g Number),
    Sum(&'g [&'g Number]),
    Dot(&'g [&'g Number], &'g [&'g Number]),
}

/// How dot products hand their gradients down.
pub trait Dots: Default + 'static {
    /// Those of the newest, which is `origin`, and perhaps of more. Returns the origin that is next.
    fn backward<'g>(
        origin: &'g Origin<'g>,
        a: &'g [&'g Number],
        b: &'g [&'g Number],
    ) -> Option<&'g Origin<'g>>;
}

/// All numbers of one calculation, and the newest of their origins.
pub struct Graph<'g, D> {
    bump: &'g Bump,
    newest: Cell<Option<&'g Origin<'g>>>,
    nodes: Cell<usize>,
    dots: PhantomData<D>,
}

impl Number {
    #[inline]
    pub(super) fn add_grad(&self, term: f64) {
        self.grad.set(self.grad.get() + term);
    }
}

impl<'g, D: Dots> Graph<'g, D> {
    #[inline]
    fn made(&'g self, data: f64, made: Made<'g>) -> &'g Number {
        let result = self.leaf(data);
        let earlier = self.newest.get();
        self.newest.set(Some(self.bump.alloc(Origin { result, made, earlier })));
        result
    }
}

impl<'g, D: Dots> Numbers<'g> for Graph<'g, D> {
    type Number = &'g Number;
    type Shortcuts = Short;

    #[inline]
    fn leaf(&'g self, data: f64) -> &'g Number {
        self.nodes.set(self.nodes.get() + 1);
        self.bump.alloc(Number { data, grad: Cell::new(0.0) })
    }

    #[inline]
    fn value(&'g self, x: &'g Number) -> f64 {
        x.data
    }

    #[inline]
    fn unary(&'g self, f: UnaryOp, x: &'g Number) -> &'g Number {
        self.made(f.eval(x.data), Made::Unary(f, x))
    }

    #[inline]
    fn binary(&'g self, op: BinaryOp, a: &'g Number, b: &'g Number) -> &'g Number {
        self.made(op.eval(a.data, b.data), Made::Binary(op, a, b))
    }

    fn backward(&'g self, root: &'g Number) {
        root.grad.set(1.0);
        let mut next = self.newest.get();
        while let Some(origin) = next {
            let (y, grad) = (origin.result.data, origin.result.grad.get());
            next = origin.earlier;
            match origin.made {
                Made::Dot(a, b) => next = D::backward(origin, a, b),
                Made::Unary(f, x) => x.add_grad(grad * f.slope(x.data, y)),
                Made::Binary(op, a, b) => {
                    let (to_a, to_b) = op.slopes(a.data, b.data, y);
                    a.add_grad(grad * to_a);
                    b.add_grad(grad * to_b);
                }
                Made::Sum(terms) => terms.iter().for_each(|x| x.add_grad(grad)),
            }
        }
    }

    fn grad(&'g self, x: &'g Number) -> f64 {
        x.grad.get()
    }

    fn list(&'g self, len: usize, mut fill: impl FnMut(usize) -> &'g Number) -> &'g [&'g Number] {
        self.bump.alloc_slice_fill_with(len, &mut fill)
    }

    fn len(&self) -> usize {
        self.nodes.get()
    }
}

impl<'g, D: Dots> AnyLength<'g> for Graph<'g, D> {
    fn sum(&'g self, terms: &'g [&'g Number]) -> &'g Number {
        self.made(terms.iter().map(|x| x.data).sum(), Made::Sum(terms))
    }

    fn dot(&'g self, a: &'g [&'g Number], b: &'g [&'g Number]) -> &'g Number {
        self.made(a.iter().zip(b).map(|(a, b)| a.data * b.data).sum(), Made::Dot(a, b))
    }
}

// ANCHOR: dots
/// Each for itself.
#[derive(Default)]
pub struct OneByOne;

impl Dots for OneByOne {
    #[inline]
    fn backward<'g>(
        origin: &'g Origin<'g>,
        a: &'g [&'g Number],
        b: &'g [&'g Number],
    ) -> Option<&'g Origin<'g>> {
        let grad = origin.result.grad.get();
        if grad != 0.0 {
            for (a, b) in a.iter().zip(b) {
                a.add_grad(grad * b.data);
                b.add_grad(grad * a.data);
            }
        }
        origin.earlier
    }
}
// ANCHOR_END: dots

impl<D: Dots> Storage for Split<D> {
    type Graph<'g> = Graph<'g, D>;

    fn graph(&mut self) -> &Graph<'_, D> {
        self.0.reset();
        let bump = &self.0;
        bump.alloc(Graph { bump, newest: Cell::new(None), nodes: Cell::new(0), dots: PhantomData })
    }
}
