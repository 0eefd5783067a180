//! Where the numbers of a graph live: in memory that is used again for the next graph.

use std::cell::{Cell, RefCell};
use std::{fmt, ops::Range, ptr};

use bumpalo::{Bump, collections::Vec};

use super::value::{Graph, Nodes, Op, Value};
use crate::function::UnaryOp;

/// The memory of a graph, which is filled from one end and emptied all at once.
///
/// ```
/// use gradus::scalar::Arena;
///
/// let mut arena = Arena::new();
/// for step in 1..=3 {
///     let graph = arena.graph(); // forgets the graph of the step before
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
    /// Room that the last graph had, for numbers and for nodes of the tape. The next one begins with as much, so that in
    /// training, where one graph is much like the other, it never has to grow.
    capacity: Cell<(usize, usize)>,
}

impl Arena {
    /// An empty arena, which has not asked the system for memory yet.
    pub fn new() -> Self {
        Self::default()
    }

    // ANCHOR: graph
    /// Forgets the last graph and starts an empty one in the same memory.
    pub fn graph(&mut self) -> &Graph<'_> {
        self.bump.reset();
        let (arena, bump) = (&*self, &self.bump);
        let (numbers, nodes) = self.capacity.get();
        let data = Vec::with_capacity_in(numbers, bump);
        let grad = Vec::with_capacity_in(numbers, bump);
        let visited = Vec::with_capacity_in(numbers, bump);
        let tape = Vec::with_capacity_in(nodes, bump);
        let nodes = Nodes { data, grad, visited, generation: 0, tape };
        bump.alloc(Graph { arena, nodes: RefCell::new(nodes), labels: RefCell::new(Vec::new_in(bump)) })
    }
    // ANCHOR_END: graph

    /// The bytes that the arena holds.
    pub fn bytes(&self) -> usize {
        self.bump.allocated_bytes()
    }

    pub(super) fn bump(&self) -> &Bump {
        &self.bump
    }
}

impl<'g> Graph<'g> {
    /// A number from outside: a leaf.
    pub fn value(&'g self, data: f64) -> Value<'g> {
        Value { graph: self, place: self.leaves(&[data]) }
    }

    /// How many numbers the graph holds.
    pub fn len(&self) -> usize {
        self.nodes.borrow().data.len()
    }

    /// Whether nothing has been calculated yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Leaves side by side. Returns the place of the first.
    pub(super) fn leaves(&self, numbers: &[f64]) -> u32 {
        let nodes = &mut *self.nodes.borrow_mut();
        let first = self.reserve(nodes, numbers.len());
        nodes.data.extend_from_slice_copy(numbers);
        first
    }

    /// Makes room for more numbers. Returns the place of the first.
    pub(super) fn reserve(&self, nodes: &mut Nodes<'_>, more: usize) -> u32 {
        let first = nodes.data.len();
        assert!(u32::try_from(first + more).is_ok(), "a graph has at most 2³² numbers");
        nodes.data.reserve(more);
        nodes.tape.reserve(more);
        self.arena.capacity.set((nodes.data.capacity(), nodes.tape.capacity()));
        first as u32
    }

    /// Panics if another graph is not this one: a place would mean another number there.
    pub(super) fn check(&self, other: &Graph<'g>) {
        assert!(ptr::eq(self, other), "operands from two graphs: make both from the same `Graph`");
    }

    /// The first of some values, if they lie side by side, or else of copies that do.
    pub(super) fn side_by_side(values: &[Value<'g>]) -> Value<'g> {
        let first = *values.first().expect("no values: a sum of nothing is `graph.value(0.0)`");
        values.iter().for_each(|x| first.graph.check(x.graph));
        if values.iter().zip(first.place..).all(|(x, place)| x.place == place) {
            return first;
        }
        let copy = |_, at: usize| Op::Unary(UnaryOp::Identity, values[at].place);
        Value { place: first.graph.make(1, values.len(), copy), ..first }
    }
}

impl Nodes<'_> {
    /// Gives the gradients of numbers side by side to `put`, each with its place in `out`. They are zero where the last
    /// pass did not come.
    pub(super) fn read_gradients(&self, places: Range<usize>, out: &mut [f64], put: impl Fn(&mut f64, f64)) {
        let (Some(grad), Some(visited)) = (self.grad.get(places.clone()), self.visited.get(places)) else {
            return out.iter_mut().for_each(|out| put(out, 0.0)); // newer than the last pass, if there was any
        };
        for (out, (grad, visited)) in out.iter_mut().zip(grad.iter().zip(visited)) {
            put(out, if *visited == self.generation { *grad } else { 0.0 });
        }
    }
}

impl fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Value(data={}, grad={})", self.data(), self.grad())
    }
}
