//! A number that remembers how it was made.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::ops::Range;
use std::ptr;

use bumpalo::Bump;
use wide::{bytemuck, f64x8};

use super::backward::hand_down;
use super::diagram::{Diagram, DiagramNode};
use super::made::Made;
use super::view::{Row, View};
use crate::function::{BinaryOp, UnaryOp};

/// The memory of a graph, to be used again for the next one.
///
/// ```
/// use gradus::scalar::Arena;
///
/// let mut arena = Arena::new();
/// for step in 1..=3 {
///     let graph = arena.graph(); // the graph of the step before is gone
///     let x = graph.value(step as f64);
///     let y = x * x;
///     y.backward();
///     assert_eq!(x.grad(), 2.0 * step as f64);
/// }
/// ```
///
/// A value cannot outlive its graph. To keep one past the next call of [`Arena::graph`] does not compile:
///
/// ```compile_fail,E0499
/// use gradus::scalar::Arena;
///
/// let mut arena = Arena::new();
/// let old = arena.graph().value(1.0);
/// let graph = arena.graph();
/// println!("{}", old.data()); // error: `arena` was borrowed again while `old` still needs it
/// ```
#[derive(Default)]
pub struct Arena {
    bump: Bump,
}

impl Arena {
    /// An empty arena, which has not asked the system for memory yet.
    pub fn new() -> Self {
        Self::default()
    }

    // ANCHOR: arena
    /// Forgets the last graph and starts an empty one in the same memory.
    pub fn graph(&mut self) -> &Graph<'_> {
        self.bump.reset();
        let bump = &self.bump;
        bump.alloc(Graph {
            bump,
            newest: Cell::new(None),
            generation: Cell::new(0),
            values: Cell::new(0),
            labels: Cell::new(None),
        })
    }
    // ANCHOR_END: arena

    /// The bytes that the arena holds at present.
    pub fn bytes(&self) -> usize {
        self.bump.allocated_bytes()
    }
}

/// A calculation in the making: it hands out values and remembers the order in which they came.
pub struct Graph<'g> {
    bump: &'g Bump,
    newest: Cell<Option<&'g Block<'g>>>,
    generation: Cell<u64>,
    values: Cell<usize>,
    labels: Cell<Option<&'g Label<'g>>>,
}

// ANCHOR: block
/// Numbers that were made together. Their values never change; their gradients do.
pub(super) struct Block<'g> {
    pub(super) graph: &'g Graph<'g>,
    /// The block made just before this one. Followed to its end, this is the creation order backward.
    pub(super) earlier: Option<&'g Block<'g>>,
    pub(super) data: &'g [f64],
    pub(super) grad: &'g [Cell<f64>],
    /// How they were made.
    pub(super) made: Made<'g>,
    /// The last backward pass that reached this block.
    reached: Cell<u64>,
}
// ANCHOR_END: block

/// A name that somebody gave to a value.
struct Label<'g> {
    value: Value<'g>,
    text: &'g str,
    earlier: Option<&'g Label<'g>>,
}

impl<'g> Graph<'g> {
    /// A number from outside: a leaf.
    pub fn value(&'g self, data: f64) -> Value<'g> {
        self.single(data, Made::Given)
    }

    /// How many values the graph holds.
    pub fn len(&self) -> usize {
        self.values.get()
    }

    /// Whether nothing has been calculated yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of the last backward pass.
    pub(super) fn generation(&self) -> u64 {
        self.generation.get()
    }

    /// Memory that lives as long as the graph.
    pub(super) fn bump(&self) -> &'g Bump {
        self.bump
    }

    /// Copies of numbers from outside: leaves.
    pub(super) fn leaves(&'g self, numbers: &[f64]) -> &'g Block<'g> {
        let (data, grad) = self.room(numbers.len());
        data.copy_from_slice(numbers);
        self.block(data, grad, Made::Given)
    }

    /// New numbers, with how they were made.
    #[inline]
    pub(super) fn block(&'g self, data: &'g [f64], grad: &'g [Cell<f64>], made: Made<'g>) -> &'g Block<'g> {
        let block = &*self.bump.alloc_with(|| Block {
            graph: self,
            earlier: self.newest.get(),
            data,
            grad,
            made,
            reached: Cell::new(0),
        });
        self.newest.set(Some(block));
        self.values.set(self.values.get() + block.data.len());
        block
    }

    /// That a block is one of this graph. The gradients of another would be those of another pass.
    #[inline]
    pub(super) fn check(&self, block: &Block<'g>) {
        assert!(ptr::eq(self, block.graph), "operands from two graphs: make both from the same `Graph`");
    }

    /// Room for numbers and for their gradients, all zero. Both begin where a cache line of 64 bytes does. (Rows inside of
    /// them do if their width is a multiple of 8.)
    #[inline(always)]
    pub(super) fn room(&self, len: usize) -> (&'g mut [f64], &'g [Cell<f64>]) {
        assert!(
            len > 0 && u32::try_from(len).is_ok(),
            "a matrix of {len} numbers: it must have 1 to 2³² - 1"
        );
        let registers = len.div_ceil(8);
        let room = self.bump.alloc_slice_fill_copy(2 * registers, f64x8::ZERO);
        let (data, grad) = bytemuck::cast_slice_mut(room).split_at_mut(8 * registers);
        (&mut data[..len], Cell::from_mut(&mut grad[..len]).as_slice_of_cells())
    }

    /// A number by itself, with how it was made.
    #[inline]
    fn single(&'g self, data: f64, made: Made<'g>) -> Value<'g> {
        let (data, grad) = self.bump.alloc([data, 0.0]).split_at_mut(1);
        self.block(data, Cell::from_mut(grad).as_slice_of_cells(), made).value(0)
    }

    /// A matrix of one number.
    fn one(&self, Value { block, index }: Value<'g>) -> &'g View<'g> {
        self.bump.alloc(View { block, start: index, rows: 1, cols: 1, stride: 1 })
    }

    /// The label of a value, if it has one.
    fn label(&self, value: Value<'g>) -> Option<&'g str> {
        let mut next = self.labels.get();
        while let Some(label) = next {
            if label.value.place() == value.place() {
                return Some(label.text);
            }
            next = label.earlier;
        }
        None
    }
}

impl<'g> Block<'g> {
    pub(super) fn value(&'g self, index: u32) -> Value<'g> {
        assert!((index as usize) < self.data.len(), "value {index} of a block of {}", self.data.len());
        Value { block: self, index }
    }

    /// Numbers side by side.
    #[inline]
    pub(super) fn stretch(&self, range: Range<usize>) -> Row<'g> {
        Row { data: &self.data[range.clone()], grad: &self.grad[range] }
    }

    // ANCHOR: reach
    /// Prepares the gradients for this backward pass, and returns them.
    ///
    /// The generation is the visited mark. A block not yet marked with it is reached for the first time, so
    /// its gradients, perhaps left over from an earlier pass, start afresh. So no pass of its own has to clear them, and a
    /// second `backward` on the same graph is right too. (Generations count from 1. A block never reached bears a 0, and its
    /// gradients are the zeros that it was born with.)
    #[inline]
    pub(super) fn reach(&self, generation: u64) -> &'g [Cell<f64>] {
        let last = self.reached.replace(generation);
        if last != generation && last != 0 {
            for grad in self.grad {
                grad.set(0.0);
            }
        }
        self.grad
    }
    // ANCHOR_END: reach
}

/// One number of a calculation. `Copy`: only a handle to where the number lies in its graph.
///
/// The operators work on two values, and on a value and an `f64` in either order. (`x / c` is `x · (1/c)`, which may
/// differ in the last digit, and is infinite where `1/c` is.) Values of two graphs do not mix: that panics.
///
/// ```
/// use gradus::scalar::Arena;
///
/// let mut arena = Arena::new();
/// let graph = arena.graph();
/// let a = graph.value(-4.0);
/// let b = graph.value(2.0);
/// let mut c = a + b;
/// let mut d = a * b + b.pow(3.0);
/// c = c + c + 1.0;
/// c = c + 1.0 + c + (-a);
/// d = d + d * 2.0 + (b + a).relu();
/// d = d + 3.0 * d + (b - a).relu();
/// let e = c - d;
/// let f = e.pow(2.0);
/// let g = f / 2.0 + 10.0 / f;
/// g.backward();
/// assert_eq!(format!("{:.4} {:.4} {:.4}", g.data(), a.grad(), b.grad()), "24.7041 138.8338 645.5773");
/// ```
#[derive(Clone, Copy)]
pub struct Value<'g> {
    pub(super) block: &'g Block<'g>,
    pub(super) index: u32,
}

impl<'g> Value<'g> {
    /// The number itself.
    #[inline]
    pub fn data(self) -> f64 {
        self.block.data[self.index as usize]
    }

    /// How much the value on which [`backward`](Value::backward) was called last changes per unit of this
    /// one. Zero if it does not depend on it.
    pub fn grad(self) -> f64 {
        let current = self.block.reached.get() == self.graph().generation.get();
        if current { self.block.grad[self.index as usize].get() } else { 0.0 }
    }

    /// Gives the value a name, for the drawing. The last one given counts.
    pub fn label(self, text: &str) -> Self {
        let graph = self.graph();
        let text = graph.bump.alloc_str(text);
        let earlier = graph.labels.get();
        graph.labels.set(Some(graph.bump.alloc(Label { value: self, text, earlier })));
        self
    }

    /// Any [`UnaryOp`] of one number.
    #[inline]
    pub fn apply(self, f: UnaryOp) -> Self {
        let graph = self.graph();
        graph.single(f.eval(self.data()), Made::Unary(f, graph.one(self)))
    }

    // ANCHOR: combine
    #[inline]
    fn combine(self, other: Self, op: BinaryOp) -> Self {
        let graph = self.graph();
        graph.check(other.block);
        let data = op.eval(self.data(), other.data());
        graph.single(data, Made::Binary(op, graph.one(self), graph.one(other)))
    }
    // ANCHOR_END: combine

    /// `xᵖ`.
    pub fn pow(self, p: f64) -> Self {
        self.apply(UnaryOp::Power(p))
    }

    /// `eˣ`.
    pub fn exp(self) -> Self {
        self.apply(UnaryOp::Exp)
    }

    /// The natural logarithm.
    pub fn ln(self) -> Self {
        self.apply(UnaryOp::Ln)
    }

    /// `max(x, 0)`.
    pub fn relu(self) -> Self {
        self.apply(UnaryOp::Relu)
    }

    /// The hyperbolic tangent.
    pub fn tanh(self) -> Self {
        self.apply(UnaryOp::Tanh)
    }

    /// `1 / (1 + e⁻ˣ)`.
    pub fn sigmoid(self) -> Self {
        self.apply(UnaryOp::Sigmoid)
    }

    /// `x · sigmoid(x)`.
    pub fn silu(self) -> Self {
        self.apply(UnaryOp::Silu)
    }

    /// The sum of all `terms` as one node: a chain of additions would be one node for each of them.
    ///
    /// # Panics
    /// If there is no term, since a sum of nothing belongs to no graph.
    pub fn sum(terms: &[Self]) -> Self {
        let first = terms.first().expect("Value::sum of no terms: use graph.value(0.0)");
        let graph = first.graph();
        terms.iter().for_each(|x| graph.check(x.block));
        let terms = &*graph.bump.alloc_slice_copy(terms);
        graph.single(terms.iter().map(|x| x.data()).sum(), Made::Sum(terms))
    }

    /// The dot product `a₀·b₀ + a₁·b₁ + …` as one node.
    ///
    /// # Panics
    /// If the lengths differ or are zero.
    pub fn dot(a: &[Self], b: &[Self]) -> Self {
        assert_eq!(a.len(), b.len(), "Value::dot: {} numbers against {}", a.len(), b.len());
        let graph = a.first().expect("Value::dot of no terms: use graph.value(0.0)").graph();
        a.iter().chain(b).for_each(|x| graph.check(x.block));
        let pairs = &*graph.bump.alloc_slice_fill_iter(a.iter().copied().zip(b.iter().copied()));
        let data = pairs.iter().map(|(a, b)| a.data() * b.data()).sum();
        graph.single(data, Made::Dot(pairs))
    }

    // ANCHOR: backward
    /// Finds the gradient of this value with respect to every value it was made from, to be read with
    /// [`Value::grad`].
    ///
    /// Why no sort is needed: an operand must exist before its result, so the order of creation is already a
    /// topological order. Walking it backward, a block's gradients are complete when its turn comes, since
    /// all that was made from it came later and has been visited. And why no recursion: the walk is a
    /// list, so a graph a million nodes deep is nothing special.
    pub fn backward(self) {
        let graph = self.graph();
        let generation = graph.generation.get() + 1;
        graph.generation.set(generation);
        self.block.reach(generation)[self.index as usize].set(1.0);
        let mut next = Some(self.block);
        while let Some(block) = next {
            if block.reached.get() == generation {
                hand_down(block, generation);
            }
            next = block.earlier;
        }
    }
    // ANCHOR_END: backward

    /// The calculation behind this value, to be drawn. All values it was made from are in it, in the order of their
    /// creation; any others of the graph are not. The gradients are those of the last [`Value::backward`], from whichever
    /// value.
    pub fn diagram(self) -> Diagram {
        let mut needed = HashSet::from([self.place()]);
        let mut values = Vec::new();
        let mut next = Some(self.block);
        while let Some(block) = next {
            for index in (0..block.data.len() as u32).rev() {
                let value = Value { block, index };
                if needed.contains(&value.place()) {
                    values.push(value);
                    value.operands(|operand| _ = needed.insert(operand.place()));
                }
            }
            next = block.earlier;
        }
        values.reverse();
        let numbers: HashMap<_, _> = values.iter().enumerate().map(|(n, value)| (value.place(), n)).collect();
        let mut edges = Vec::new();
        let mut nodes = Vec::new();
        for (result, value) in values.iter().enumerate() {
            value.operands(|operand| edges.push((numbers[&operand.place()], result)));
            nodes.push(DiagramNode {
                label: self.graph().label(*value).map(str::to_owned),
                op: value.block.made.sign(),
                data: value.data(),
                grad: value.grad(),
            });
        }
        Diagram { nodes, edges }
    }

    fn operands(self, visit: impl FnMut(Value<'g>)) {
        self.block.made.operands(self.index as usize, visit);
    }

    /// What tells this node from every other, however equal their numbers.
    fn place(self) -> (*const Block<'g>, u32) {
        (self.block, self.index)
    }

    #[inline]
    fn graph(self) -> &'g Graph<'g> {
        self.block.graph
    }
}

impl fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Value(data={}, grad={})", self.data(), self.grad())
    }
}

/// The operators: value with value, value with `f64`, `f64` with value.
macro_rules! operators {
    ($($trait:ident $method:ident, $right:expr, $left:expr;)*) => {$(
        impl<'g> std::ops::$trait for Value<'g> {
            type Output = Self;
            #[inline]
            fn $method(self, other: Self) -> Self {
                self.combine(other, BinaryOp::$trait)
            }
        }
        impl<'g> std::ops::$trait<f64> for Value<'g> {
            type Output = Self;
            #[inline]
            fn $method(self, c: f64) -> Self {
                let apply: fn(Self, f64) -> Self = $right;
                apply(self, c)
            }
        }
        impl<'g> std::ops::$trait<Value<'g>> for f64 {
            type Output = Value<'g>;
            #[inline]
            fn $method(self, x: Value<'g>) -> Value<'g> {
                let apply: fn(f64, Value<'g>) -> Value<'g> = $left;
                apply(self, x)
            }
        }
    )*};
}

operators! {
    Add add, |x, c| x.apply(UnaryOp::Shift(c)), |c, x| x + c;
    Sub sub, |x, c| x.apply(UnaryOp::Shift(-c)), |c, x| -x + c;
    Mul mul, |x, c| x.apply(UnaryOp::Scale(c)), |c, x| x * c;
    Div div, |x, c| x.apply(UnaryOp::Scale(1.0 / c)), |c, x| x.apply(UnaryOp::Over(c));
}

impl std::ops::Neg for Value<'_> {
    type Output = Self;
    #[inline]
    fn neg(self) -> Self {
        self.apply(UnaryOp::Neg)
    }
}
