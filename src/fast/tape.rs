//! The tape: what was computed, in order, with all that backward needs.
//!
//! A [`Matrix`] is a handle to a node of the tape. Each operation appends a node: its result, what it saves for
//! backward, and an [`Op`] that names its operands. The buffers stay in their place on the tape: the next step computes
//! the same things in the same order and finds each of them ready in the right size. So from the second step on
//! nothing is allocated, and nothing has to be set to zero.

use std::cell::{Cell, RefCell};
use std::ops::Range;

use super::attention::AttentionBlocks;
use super::ops::{Op, RotaryTable};
use super::precision::{Half, Precision, Widened};
use super::weights::Weights;
use crate::gemm::MatRef;
use crate::tensor::Memories;

/// A place on the tape.
pub(super) type Id = u32;

/// Some neighbours in the tape's list of indices: the first, and one past the last.
pub(super) type Span = (u32, u32);

// ANCHOR: node
/// One result on the tape.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) rows: usize,
    pub(super) cols: usize,
    pub(super) op: Op,
    /// The result, row by row. Empty for weights, which are read where they lie.
    pub(super) data: Vec<f32>,
    /// The same in mixed precision: one of the two is empty.
    pub(super) half: Vec<u16>,
    /// What forward keeps for backward.
    pub(super) saved: Vec<f32>,
}
// ANCHOR_END: node

/// A node of the tape, to be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeInfo {
    /// The name of the operation.
    pub op: String,
    /// Rows and columns of the result.
    pub shape: (usize, usize),
    /// How many numbers of the result the node holds: none of a parameter's, which is read where it lies.
    pub data: usize,
    /// How many bytes these take.
    pub bytes: usize,
    /// How many it keeps for backward.
    pub saved: usize,
}

/// The memory of an engine: nodes, whose buffers are used again in each step.
#[derive(Default)]
pub struct Tape {
    /// In what results are stored that are not stored in 32 bits.
    half: Option<Half>,
    /// Where an operation finds its operands in 32 bits, and writes its result before it is rounded.
    widened: RefCell<Widened>,
    unrounded: RefCell<Vec<f32>>,
    /// Where an operation writes what it needs only while it computes its result.
    pub(super) scratch: RefCell<Vec<f32>>,
    nodes: RefCell<Vec<Node>>,
    used: Cell<usize>,
    indices: RefCell<Vec<u32>>,
    /// What stays from one pass to the next.
    pub(super) kept: RefCell<Memories<f32>>,
    pub(super) rotary: RefCell<RotaryTable>,
    pub(super) pool: RefCell<Pool>,
    pub(super) blocks: AttentionBlocks,
}

/// One pass over the tape, with the weights it reads.
pub(super) struct Recording<'t> {
    pub(super) tape: &'t Tape,
    pub(super) weights: Weights<'t>,
}

/// A result that one stage hands on to the next, stored as it is on the tape.
#[derive(Default)]
pub(super) struct HandedOn {
    rows: usize,
    cols: usize,
    data: Vec<f32>,
    half: Vec<u16>,
}

impl HandedOn {
    /// Copies a result over what is there.
    pub(super) fn copy(&mut self, view: TapeView<'_>, x: Matrix<'_>) {
        (self.rows, self.cols) = (x.rows, x.cols);
        self.data.clear();
        self.half.clear();
        match view.half_of(x.id) {
            Some(_) => self.half.extend_from_slice(&view.nodes[x.id as usize].half),
            None => self.data.extend_from_slice(view.data(x.id)),
        }
    }

    /// How many numbers it has.
    pub(super) fn len(&self) -> usize {
        self.rows * self.cols
    }
}

/// A matrix of the fast engine: a handle to a node.
#[derive(Clone, Copy)]
pub struct Matrix<'t> {
    pub(super) recording: &'t Recording<'t>,
    pub(super) id: Id,
    pub(super) rows: usize,
    pub(super) cols: usize,
}

/// All nodes before the one that is being computed, to be read.
#[derive(Clone, Copy)]
pub(super) struct TapeView<'a> {
    pub(super) nodes: &'a [Node],
    pub(super) weights: Weights<'a>,
    pub(super) indices: &'a [u32],
    pub(super) kept: &'a Memories<f32>,
    half: Option<Half>,
    widened: &'a Widened,
}

impl<'a> TapeView<'a> {
    /// The numbers of a node.
    pub(super) fn data(self, id: Id) -> &'a [f32] {
        let node = &self.nodes[id as usize];
        match node.op {
            Op::Param { offset, .. } => &self.weights.numbers()[offset..offset + node.rows * node.cols],
            Op::Stored(_) => panic!(
                "{:?}: a stored matrix is multiplied by or looked up, and nothing else",
                self.shape(id)
            ),
            Op::Kept(memory) => self.kept.read(memory).0,
            _ => match self.half_of(id) {
                Some(half) => self.widened.numbers(id, half, &node.half),
                None => &node.data,
            },
        }
    }

    /// The format of a node that is stored in 16 bits.
    pub(super) fn half_of(self, id: Id) -> Option<Half> {
        self.half.filter(|_| !self.nodes[id as usize].half.is_empty())
    }

    /// The same as a matrix, to be multiplied.
    pub(super) fn matrix(self, id: Id) -> MatRef<'a> {
        let (rows, cols) = self.shape(id);
        MatRef::new(self.data(id), rows, cols)
    }

    /// Rows and columns of a node.
    pub(super) fn shape(self, id: Id) -> (usize, usize) {
        let node = &self.nodes[id as usize];
        (node.rows, node.cols)
    }

    /// Indices that were remembered with [`Recording::span`].
    pub(super) fn indices(self, span: Span) -> &'a [u32] {
        &self.indices[span.0 as usize..span.1 as usize]
    }
}

impl Tape {
    /// A tape whose results are stored like this.
    pub(super) fn new(precision: Precision) -> Self {
        Tape { half: precision.half(), ..Tape::default() }
    }

    /// Begins at the start again. The buffers stay.
    pub(super) fn rewind(&self) {
        self.used.set(0);
        self.indices.borrow_mut().clear();
    }

    /// How a result was made.
    pub(super) fn op(&self, id: Id) -> Op {
        self.nodes.borrow()[id as usize].op
    }

    /// How many results are on the tape.
    pub(super) fn len(&self) -> usize {
        self.used.get()
    }

    /// All results on the tape, in order.
    pub(super) fn describe(&self) -> Vec<NodeInfo> {
        let name = |op: Op| format!("{op:?}").split(['(', ' ']).next().unwrap_or_default().to_owned();
        let info = |node: &Node| NodeInfo {
            op: name(node.op),
            shape: (node.rows, node.cols),
            data: node.data.len() + node.half.len(),
            bytes: size_of_val(&node.data[..]) + size_of_val(&node.half[..]),
            saved: node.saved.len(),
        };
        self.nodes.borrow()[..self.len()].iter().map(info).collect()
    }

    /// Calls `read` with everything on the tape.
    pub(super) fn read<R>(&self, weights: Weights<'_>, read: impl FnOnce(TapeView<'_>) -> R) -> R {
        let (nodes, indices, kept) = (self.nodes.borrow(), self.indices.borrow(), self.kept.borrow());
        let mut widened = self.widened.borrow_mut();
        widened.clear();
        read(TapeView {
            nodes: &nodes[..self.used.get()],
            weights,
            indices: &indices,
            kept: &kept,
            half: self.half,
            widened: &widened,
        })
    }
}

impl<'t> Recording<'t> {
    /// What an earlier stage has handed on, number `at` of it.
    pub(super) fn handed_on(&'t self, at: usize, x: &HandedOn) -> Matrix<'t> {
        self.push(Op::HandedOn(at as u32), x.rows, x.cols, |_, node| {
            node.data.clone_from(&x.data);
            node.half.clone_from(&x.half);
        })
    }

    /// Remembers indices for as long as the step takes.
    pub(super) fn span(&self, indices: impl IntoIterator<Item = usize>) -> Span {
        let mut all = self.tape.indices.borrow_mut();
        let start = all.len() as u32;
        all.extend(indices.into_iter().map(|index| index as u32));
        (start, all.len() as u32)
    }

    /// A new node. `compute` gets all earlier nodes to read, and two buffers to write: the result, and what is saved for
    /// backward. Both hold leftovers of an earlier step.
    #[inline]
    pub(super) fn compute(
        &'t self,
        op: Op,
        (rows, cols): (usize, usize),
        compute: impl FnOnce(TapeView<'_>, &mut [f32], &mut Vec<f32>),
    ) -> Matrix<'t> {
        self.append(op, rows, cols, rows * cols, compute)
    }

    #[inline]
    pub(super) fn append(
        &'t self,
        op: Op,
        rows: usize,
        cols: usize,
        len: usize,
        compute: impl FnOnce(TapeView<'_>, &mut [f32], &mut Vec<f32>),
    ) -> Matrix<'t> {
        self.push(op, rows, cols, |view, node| {
            let half = view.half.filter(|_| is_rounded(op, cols));
            let mut unrounded = self.tape.unrounded.borrow_mut();
            let y = match half {
                Some(_) => {
                    if unrounded.len() < len {
                        unrounded.resize(len, 0.0);
                    }
                    node.data.clear();
                    &mut unrounded[..len]
                }
                None => {
                    node.half.clear();
                    node.data.resize(len, 0.0);
                    &mut node.data[..]
                }
            };
            compute(view, y, &mut node.saved);
            if let Some(half) = half {
                half.narrow(y, &mut node.half);
            }
        })
    }

    /// Several new nodes at once, none of which is rounded: as [`compute`](Self::compute), but nothing is saved.
    pub(super) fn compute_all<const N: usize>(
        &'t self,
        results: [(Op, (usize, usize)); N],
        compute: impl FnOnce(TapeView<'_>, [&mut [f32]; N]),
    ) -> [Matrix<'t>; N] {
        let made = results.map(|(op, (rows, cols))| self.append(op, rows, cols, rows * cols, |_, _, _| ()));
        let (mut nodes, indices) = (self.tape.nodes.borrow_mut(), self.tape.indices.borrow());
        let (kept, widened) = (self.tape.kept.borrow(), self.tape.widened.borrow());
        let (earlier, later) = nodes.split_at_mut(self.tape.used.get() - N);
        let outs = later
            .first_chunk_mut()
            .expect("the nodes that were just made")
            .each_mut()
            .map(|node: &mut Node| &mut node.data[..]);
        let (weights, half) = (self.weights, self.tape.half);
        compute(
            TapeView { nodes: earlier, weights, indices: &indices, kept: &kept, half, widened: &widened },
            outs,
        );
        made
    }

    /// A new node, which is filled with all earlier nodes to read.
    #[inline]
    fn push(
        &'t self,
        op: Op,
        rows: usize,
        cols: usize,
        fill: impl FnOnce(TapeView<'_>, &mut Node),
    ) -> Matrix<'t> {
        let id = self.tape.used.get();
        let (mut nodes, indices) = (self.tape.nodes.borrow_mut(), self.tape.indices.borrow());
        let (kept, mut widened) = (self.tape.kept.borrow(), self.tape.widened.borrow_mut());
        widened.clear();
        if id == nodes.len() {
            nodes.push(Node { rows, cols, op, data: Vec::new(), half: Vec::new(), saved: Vec::new() });
        }
        let (view, later) = nodes.split_at_mut(id);
        let node = &mut later[0];
        (node.rows, node.cols, node.op) = (rows, cols, op);
        let (weights, half) = (self.weights, self.tape.half);
        fill(
            TapeView { nodes: view, weights, indices: &indices, kept: &kept, half, widened: &widened },
            node,
        );
        self.tape.used.set(id + 1);
        Matrix { recording: self, id: id as Id, rows, cols }
    }
}

/// Whether mixed precision stores a result in 16 bits. It does not where that would lose much and gain little: columns of single
/// numbers, one a row, such as losses, their weighted sum, and the sums and maxima within a softmax; and constants, which are
/// exact. Weights are rounded before, once for all.
fn is_rounded(op: Op, cols: usize) -> bool {
    cols > 1 && !matches!(op, Op::Param { .. } | Op::Stored(_) | Op::Constant | Op::Kept(_))
}

/// Buffers to work in, and those for gradients, which come and go while backward walks the tape.
#[derive(Default)]
pub(super) struct Pool {
    /// Free buffers, by the power of two that they can hold.
    free: Vec<Vec<Vec<f32>>>,
    /// The gradient of each node, where there is one already.
    slots: Vec<Option<Vec<f32>>>,
    /// Which weights have a gradient already.
    reached: Vec<bool>,
    /// Where backward finds operands in 32 bits.
    widened: Widened,
}

impl Pool {
    /// How many numbers fit into the free buffers: after backward, into all.
    pub(super) fn numbers(&self) -> usize {
        self.free.iter().flatten().map(Vec::capacity).sum()
    }

    /// A buffer to work in. What it holds is left over from earlier.
    pub(super) fn take(&mut self, len: usize) -> Vec<f32> {
        let class = len.next_power_of_two().trailing_zeros() as usize;
        if self.free.len() <= class {
            self.free.resize_with(class + 1, Vec::new);
        }
        let mut buffer = self.free[class].pop().unwrap_or_else(|| Vec::with_capacity(1 << class));
        buffer.resize(len, 0.0);
        buffer
    }

    /// Gives a buffer back.
    pub(super) fn give(&mut self, buffer: Vec<f32>) {
        let class = (usize::BITS - 1 - buffer.capacity().leading_zeros()) as usize;
        if let Some(free) = self.free.get_mut(class) {
            free.push(buffer);
        }
    }
}

/// The gradients as far as they are known, while backward walks the tape from its end.
pub(super) struct Gradients<'a> {
    pub(super) view: TapeView<'a>,
    pool: &'a mut Pool,
    /// The gradient of the trainable parameters, one after another.
    params: &'a mut [f32],
    /// The operation that is being passed back.
    at: Id,
}

impl<'a> Gradients<'a> {
    /// Nothing has a gradient yet.
    pub(super) fn new(view: TapeView<'a>, pool: &'a mut Pool, params: &'a mut [f32]) -> Self {
        pool.reached.clear();
        Self::go_on(view, pool, params)
    }

    /// Weights have what they got from another tape, on which they were in the same places.
    pub(super) fn go_on(view: TapeView<'a>, pool: &'a mut Pool, params: &'a mut [f32]) -> Self {
        let count = view.nodes.len();
        pool.slots.clear();
        pool.slots.resize_with(count, || None);
        pool.reached.resize(count, false);
        Gradients { view, pool, params, at: 0 }
    }

    /// The same for one operation, which finds its operands in `widened`.
    pub(super) fn of<'b>(&'b mut self, at: Id, widened: &'b Widened) -> Gradients<'b> {
        Gradients { view: TapeView { widened, ..self.view }, pool: self.pool, params: self.params, at }
    }

    /// The result of this operation.
    pub(super) fn result(&self) -> &'a [f32] {
        self.view.data(self.at)
    }

    /// Adds to the gradient of a node. `add` gets the buffer, and whether it is to be added to (`true`) or holds anything
    /// at all and is to be written over (`false`).
    // ANCHOR: add
    pub(super) fn add(&mut self, id: Id, add: impl FnOnce(TapeView<'_>, &mut [f32], bool)) {
        let node = &self.view.nodes[id as usize];
        let len = node.rows * node.cols;
        match node.op {
            Op::Constant | Op::Kept(_) | Op::Stored(_) | Op::Param { grad: None, .. } => {}
            Op::Param { grad: Some(start), .. } => {
                let accumulate = std::mem::replace(&mut self.pool.reached[id as usize], true);
                add(self.view, &mut self.params[start..start + len], accumulate);
            }
            _ => {
                let (mut buffer, accumulate) = match self.pool.slots[id as usize].take() {
                    Some(buffer) => (buffer, true),
                    None => (self.pool.take(len), false),
                };
                add(self.view, &mut buffer, accumulate);
                self.pool.slots[id as usize] = Some(buffer);
            }
        }
    }
    // ANCHOR_END: add

    /// Adds a finished gradient to that of a node of the same shape; if that has none yet, the buffer itself becomes it.
    pub(super) fn pass_on(&mut self, id: Id, gradient: Vec<f32>) {
        let node = &self.view.nodes[id as usize];
        let fresh = self.pool.slots[id as usize].is_none();
        if fresh && !matches!(node.op, Op::Param { .. } | Op::Stored(_) | Op::Constant | Op::Kept(_)) {
            self.pool.slots[id as usize] = Some(gradient);
        } else {
            self.add(id, |_, to, accumulate| write_or_add(to, accumulate, gradient.iter().copied()));
            self.pool.give(gradient);
        }
    }

    /// Takes out the gradient of a node that backward has reached; `None` if nothing depends on it. It is rounded as the node is.
    /// That of a result which an earlier stage has handed on is not yet: that stage may add to it.
    pub(super) fn take(&mut self, id: Id) -> Option<Vec<f32>> {
        let mut gradient = self.pool.slots[id as usize].take()?;
        let handed_on = matches!(self.view.nodes[id as usize].op, Op::HandedOn(_));
        if let Some(half) = self.view.half_of(id).filter(|_| !handed_on) {
            half.round(&mut gradient);
        }
        Some(gradient)
    }

    /// Lends the memory in which backward finds operands in 32 bits, until it is given back.
    pub(super) fn take_widened(&mut self) -> Widened {
        std::mem::take(&mut self.pool.widened)
    }

    /// Gives it back.
    pub(super) fn give_widened(&mut self, widened: Widened) {
        self.pool.widened = widened;
    }

    /// Gives a buffer back.
    pub(super) fn give(&mut self, buffer: Vec<f32>) {
        self.pool.give(buffer);
    }

    /// A buffer to work in. What it holds is left over from earlier.
    pub(super) fn scratch(&mut self, len: usize) -> Vec<f32> {
        self.pool.take(len)
    }

    /// After the walk: the gradients of weights on which nothing depends are zero.
    pub(super) fn finish(&mut self) {
        for (node, reached) in self.view.nodes.iter().zip(&self.pool.reached) {
            if let (Op::Param { grad: Some(start), .. }, false) = (node.op, reached) {
                self.params[start..start + node.rows * node.cols].fill(0.0);
            }
        }
    }
}

/// Writes, or adds, a series of numbers.
#[inline]
pub(super) fn write_or_add(to: &mut [f32], accumulate: bool, from: impl Iterator<Item = f32>) {
    if accumulate {
        to.iter_mut().zip(from).for_each(|(to, x)| *to += x);
    } else {
        to.iter_mut().zip(from).for_each(|(to, x)| *to = x);
    }
}

/// The rows that some part of a matrix covers, as a range of its numbers.
pub(super) fn rows_of(rows: Range<usize>, cols: usize) -> Range<usize> {
    rows.start * cols..rows.end * cols
}
