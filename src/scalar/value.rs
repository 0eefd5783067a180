//! A number that remembers how it was made.
//!
//! All numbers of a calculation lie in a [`Graph`] in the order in which they were made, and a [`Value`] is the place of one of
//! them. A number that was made from others has a line on the graph's tape that says how: its operation and its operands.
//! Reading the tape from its end, the chain rule finds all gradients (Wengert 1964, Linnainmaa 1970).

use std::{array::from_fn, cell::RefCell, ops::Range};

use bumpalo::collections::Vec;

use super::arena::Arena;
use crate::function::{BinaryOp, UnaryOp};

/// One number of a calculation. `Copy`: only its place in the graph.
///
/// The operators work on two values, and on a value and an `f64` in either order. (`x / c` is `x · (1/c)`, which may
/// differ in the last digit, and is infinite where `1/c` is.) Values of two graphs do not mix: that panics.
///
/// ```
/// let mut arena = gradus::scalar::Arena::new();
/// let graph = arena.graph();
/// let (a, b) = (graph.value(2.0), graph.value(-3.0));
/// let y = a * b + a.tanh();
/// y.backward();
/// assert_eq!(format!("{:.4} {:.4} {:.4}", y.data(), a.grad(), b.grad()), "-5.0360 -2.9293 2.0000");
/// ```
#[derive(Clone, Copy)]
pub struct Value<'g> {
    pub(super) graph: &'g Graph<'g>,
    pub(super) place: u32,
}

/// A calculation in the making.
pub struct Graph<'g> {
    pub(super) arena: &'g Arena,
    pub(super) nodes: RefCell<Nodes<'g>>,
    pub(super) labels: RefCell<Vec<'g, (u32, &'g str)>>,
}

/// The numbers of a graph, each at its place in `data` and in `grad`, and the tape.
pub(super) struct Nodes<'g> {
    pub(super) data: Vec<'g, f64>,
    pub(super) grad: Vec<'g, f64>,
    /// For each number, the last backward pass that visited it. Passes count from 1.
    pub(super) visited: Vec<'g, u32>,
    /// The number of the last backward pass.
    pub(super) generation: u32,
    /// For each number that was made from others its place, and how it was made.
    pub(super) tape: Vec<'g, (u32, Op)>,
}

/// An operation, and the places of its operands. They are all older than the result.
#[derive(Clone, Copy)]
pub(super) enum Op {
    /// `f(x)`.
    Unary(UnaryOp, u32),
    /// `a ∘ b`.
    Binary(BinaryOp, u32, u32),
    /// The sum of `len` numbers side by side, the first at `x`.
    Sum { x: u32, len: u32 },
    /// `a₀·b₀ + a₁·b₁ + …`: `len` numbers from `a` on, each times one from `b` on, `stride` places apart.
    Dot { a: u32, b: u32, len: u32, stride: u32 },
}

impl Op {
    // ANCHOR: forward
    /// The number that the operation makes of older ones.
    #[inline(always)]
    fn forward(self, data: &[f64]) -> f64 {
        match self {
            Op::Unary(f, x) => f.eval(data[x as usize]),
            Op::Binary(op, a, b) => op.eval(data[a as usize], data[b as usize]),
            Op::Sum { x, len } => data[span(x, len)].iter().sum(),
            Op::Dot { a, b, len, stride: 1 } => dot(&data[span(a, len)], &data[span(b, len)]),
            Op::Dot { a, b, len, stride } => {
                let column = data[b as usize..].iter().step_by(stride as usize);
                data[span(a, len)].iter().zip(column).map(|(a, b)| a * b).sum()
            }
        }
    }
    // ANCHOR_END: forward

    // ANCHOR: backward
    /// The chain rule: each operand's gradient grows by `g`, the gradient of the result `y`, times the slope toward that
    /// operand. It grows rather than is set, since an operand may have several uses.
    #[inline(always)]
    fn backward<const AGAIN: bool>(self, y: f64, g: f64, data: &[f64], grads: &mut Gradients<'_, AGAIN>) {
        match self {
            Op::Unary(f, x) => *grads.at(x) += g * f.slope(data[x as usize], y),
            Op::Binary(op, a, b) => {
                let (to_a, to_b) = op.slopes(data[a as usize], data[b as usize], y);
                *grads.at(a) += g * to_a;
                *grads.at(b) += g * to_b;
            }
            Op::Sum { x, len } => grads.of(x, len).iter_mut().for_each(|to_x| *to_x += g),
            Op::Dot { a, b, len, stride: 1 } => {
                add_scaled(grads.of(a, len), g, &data[span(b, len)]);
                add_scaled(grads.of(b, len), g, &data[span(a, len)]);
            }
            Op::Dot { a, b, len, stride } => {
                for (a, b) in (a..a + len).zip((b..).step_by(stride as usize)) {
                    *grads.at(a) += g * data[b as usize];
                    *grads.at(b) += g * data[a as usize];
                }
            }
        }
    }
    // ANCHOR_END: backward
}

impl Graph<'_> {
    /// Makes the numbers of a matrix, row by row, each by an operation of its own. Returns the place of the first.
    #[inline(always)]
    pub(super) fn make(&self, rows: usize, cols: usize, op: impl Fn(usize, usize) -> Op) -> u32 {
        let nodes = &mut *self.nodes.borrow_mut();
        let (first, line) = (self.reserve(nodes, rows * cols), nodes.tape.len());
        nodes.data.resize(first as usize + rows * cols, 0.0);
        nodes.tape.resize(line + rows * cols, (first, op(0, 0)));
        let (older, new) = nodes.data.split_at_mut(first as usize);
        let new = new.chunks_exact_mut(cols).zip(nodes.tape[line..].chunks_exact_mut(cols));
        for (row, (numbers, lines)) in new.enumerate() {
            for (col, (y, line)) in numbers.iter_mut().zip(lines).enumerate() {
                let op = op(row, col);
                (*y, *line) = (op.forward(older), (first + (row * cols + col) as u32, op));
            }
        }
        first
    }
}

/// The places of `len` numbers side by side.
#[inline(always)]
fn span(first: u32, len: u32) -> Range<usize> {
    first as usize..first as usize + len as usize
}

// ANCHOR: dot
/// A dot product in four running sums, which fit a vector register. Their order is fixed, and so is the result.
#[inline(always)]
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<4>(), b.as_chunks::<4>());
    let mut s = [0.0; 4];
    for (a, b) in a.iter().zip(b) {
        s = from_fn(|k| s[k] + a[k] * b[k]);
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    s.iter().sum::<f64>() + rest
}
// ANCHOR_END: dot

/// `to += g · from`.
#[inline(always)]
fn add_scaled(to: &mut [f64], g: f64, from: &[f64]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to += g * from);
}

/// The gradients of all numbers during a backward pass. If it is the first over its graph, all were zero before. A pass that
/// comes `AGAIN` finds gradients of the last one, and needs the marks to know them from its own.
struct Gradients<'a, const AGAIN: bool> {
    grad: &'a mut [f64],
    visited: &'a mut [u32],
    generation: u32,
}

impl<const AGAIN: bool> Gradients<'_, AGAIN> {
    // ANCHOR: visit
    /// The gradient of a number, to be added to. At the first visit it starts from zero.
    #[inline(always)]
    fn at(&mut self, place: u32) -> &mut f64 {
        let at = place as usize;
        if AGAIN && self.visited[at] != self.generation {
            self.visited[at] = self.generation;
            self.grad[at] = 0.0;
        }
        &mut self.grad[at]
    }
    // ANCHOR_END: visit

    /// The same for `len` numbers side by side.
    #[inline(always)]
    fn of(&mut self, first: u32, len: u32) -> &mut [f64] {
        if AGAIN {
            (first..first + len).for_each(|place| _ = self.at(place));
        }
        &mut self.grad[span(first, len)]
    }
}

impl<'g> Value<'g> {
    // ANCHOR: pass
    /// Finds the gradient of this value with respect to every value that it was made from, to be read with [`Value::grad`].
    ///
    /// No sort is needed: operands are older than their result, so from the tape's end we reach a number only after all that
    /// was made from it. No recursion either, however deep the graph. A gradient of zero does not flow on.
    pub fn backward(self) {
        let nodes = &mut *self.graph.nodes.borrow_mut();
        nodes.generation += 1;
        nodes.grad.resize(nodes.data.len(), 0.0);
        nodes.visited.resize(nodes.data.len(), nodes.generation);
        if nodes.generation == 1 { self.pass::<false>(nodes) } else { self.pass::<true>(nodes) }
    }

    /// The loop over the tape, from its end.
    fn pass<const AGAIN: bool>(self, Nodes { data, grad, visited, generation, tape }: &mut Nodes<'g>) {
        let grads = &mut Gradients::<AGAIN> { grad, visited, generation: *generation };
        *grads.at(self.place) = 1.0;
        for &(place, op) in tape.iter().rev() {
            let at = place as usize;
            if grads.grad[at] != 0.0 && (!AGAIN || grads.visited[at] == grads.generation) {
                op.backward(data[at], grads.grad[at], data, grads);
            }
        }
    }
    // ANCHOR_END: pass

    /// The number itself.
    pub fn data(self) -> f64 {
        self.graph.nodes.borrow().data[self.place as usize]
    }

    /// How much the value on which [`backward`](Value::backward) was called last changes per unit of this one.
    pub fn grad(self) -> f64 {
        let (nodes, at) = (self.graph.nodes.borrow(), self.place as usize);
        if nodes.visited.get(at) == Some(&nodes.generation) { nodes.grad[at] } else { 0.0 }
    }

    fn make(self, op: Op) -> Self {
        Value { place: self.graph.make(1, 1, |_, _| op), ..self }
    }

    /// Any [`UnaryOp`] of this number.
    pub fn apply(self, f: UnaryOp) -> Self {
        self.make(Op::Unary(f, self.place))
    }

    fn combine(self, b: Self, op: BinaryOp) -> Self {
        self.graph.check(b.graph);
        self.make(Op::Binary(op, self.place, b.place))
    }

    /// `xᵖ`.
    pub fn pow(self, p: f64) -> Self {
        self.apply(UnaryOp::Power(p))
    }

    /// The sum of all `terms` as one node. (If they do not lie side by side, they are copied first.)
    pub fn sum(terms: &[Self]) -> Self {
        let x = Graph::side_by_side(terms);
        x.make(Op::Sum { x: x.place, len: terms.len() as u32 })
    }

    /// The dot product `a₀·b₀ + a₁·b₁ + …` of lists of one length, at least one, as one node.
    pub fn dot(a: &[Self], b: &[Self]) -> Self {
        assert_eq!(a.len(), b.len(), "Value::dot: {} numbers against {}", a.len(), b.len());
        let (len, a, b) = (a.len() as u32, Graph::side_by_side(a), Graph::side_by_side(b));
        a.graph.check(b.graph);
        a.make(Op::Dot { a: a.place, b: b.place, len, stride: 1 })
    }
}

/// Functions that have a method, and the operators: value with value, value with `f64`, `f64` with value.
#[rustfmt::skip]
macro_rules! operators {
    ([$($function:ident $name:ident),*] $($op:ident $method:ident, $with_number:expr, $number_first:expr;)*) => {
        $(impl std::ops::$op for Value<'_> {
            type Output = Self;
            fn $method(self, b: Self) -> Self { self.combine(b, BinaryOp::$op) }
        }
        impl std::ops::$op<f64> for Value<'_> {
            type Output = Self;
            fn $method(self, c: f64) -> Self { self.apply($with_number(c)) }
        }
        impl<'g> std::ops::$op<Value<'g>> for f64 {
            type Output = Value<'g>;
            fn $method(self, x: Value<'g>) -> Value<'g> { $number_first(self, x) }
        })*
        impl std::ops::Neg for Value<'_> {
            type Output = Self;
            fn neg(self) -> Self { self.apply(UnaryOp::Neg) }
        }
        impl Value<'_> {$(
            #[doc = concat!("[`UnaryOp::", stringify!($function), "`].")]
            pub fn $name(self) -> Self { self.apply(UnaryOp::$function) }
        )*}
    };
}
operators! {
    [Exp exp, Ln ln, Relu relu, Tanh tanh, Sigmoid sigmoid, Silu silu, Gelu gelu]
    Add add, UnaryOp::Shift, |c: f64, x: Value<'g>| x + c;
    Sub sub, |c: f64| UnaryOp::Shift(-c), |c: f64, x: Value<'g>| -x + c;
    Mul mul, UnaryOp::Scale, |c: f64, x: Value<'g>| x * c;
    Div div, |c: f64| UnaryOp::Scale(1.0 / c), |c: f64, x: Value<'g>| x.apply(UnaryOp::Over(c));
}
