//! A tensor that has a shape but no numbers, and counts what would be computed.

use std::cell::Cell;
use std::ops::Range;

use super::Operations;
use crate::counter_rng::CounterRng;
use crate::function::{BinaryOp, UnaryOp};
use crate::params::Layout;
use crate::tensor::{AttentionSpec, Mask, Memory, MemoryId, Rotation, Tensor, broadcast};

/// What was computed on the shapes that belong to it.
#[derive(Debug, Default)]
pub struct Counter {
    counted: Cell<Operations>,
}

/// Rows and columns, and who counts.
#[derive(Clone, Copy, Debug)]
pub struct Shape<'c> {
    counter: &'c Counter,
    rows: usize,
    cols: usize,
}

impl Counter {
    /// Nothing was computed yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A matrix without numbers.
    pub fn shape(&self, rows: usize, cols: usize) -> Shape<'_> {
        Shape { counter: self, rows, cols }
    }

    /// All parameters of a model, to be given to it as [`BoundParams`](crate::params::BoundParams).
    pub fn bind(&self, layout: &Layout) -> Vec<Shape<'_>> {
        layout.specs().iter().map(|spec| self.shape(spec.rows, spec.cols)).collect()
    }

    /// What was computed so far.
    pub fn operations(&self) -> Operations {
        self.counted.get()
    }

    /// Forgets what was computed.
    pub fn reset(&self) {
        self.counted.take();
    }

    fn count(&self, add: impl FnOnce(&mut Operations)) {
        let mut counted = self.counted.get();
        add(&mut counted);
        self.counted.set(counted);
    }
}

impl Shape<'_> {
    /// The same counter, another shape.
    fn resized(self, rows: usize, cols: usize) -> Self {
        Shape { rows, cols, ..self }
    }

    /// A result of this shape, each of whose elements takes this many operations.
    fn each(self, rows: usize, cols: usize, operations: u64) -> Self {
        self.counter.count(|counted| counted.elementwise += operations * product(&[rows, cols]));
        self.resized(rows, cols)
    }

    /// A product of matrices: a multiplication and an addition for each element and each step of the inner dimension.
    fn product(self, rows: usize, inner: usize, cols: usize) -> Self {
        self.counter.count(|counted| counted.products += 2 * product(&[rows, inner, cols]));
        self.resized(rows, cols)
    }

    fn combine(self, b: Self, op: BinaryOp) -> Self {
        let (rows, cols) = broadcast(op.sign(), self.shape(), b.shape());
        self.each(rows, cols, 1)
    }
}

fn product(sizes: &[usize]) -> u64 {
    sizes.iter().map(|&size| size as u64).product()
}

/// How many pairs of a query and a key that it sees there are in a sequence.
fn pairs(mask: Mask, queries: usize, keys: usize) -> u64 {
    let (queries, keys) = (queries as u64, keys as u64);
    // The first query sees all keys up to its own, and each further one sees one more.
    let up_to = |most: u64| {
        let first = keys - queries + 1; // keys of the first query
        let last = most.clamp(first - 1, keys); // keys of the last query that sees all of them
        (last + 1 - first) * (first + last) / 2 + (keys - last) * most
    };
    match mask {
        Mask::Full => queries * keys,
        _ if queries == 0 => 0,
        Mask::Causal => up_to(keys),
        Mask::Window(size) => up_to((size as u64).min(keys)),
    }
}

impl Tensor for Shape<'_> {
    fn shape(self) -> (usize, usize) {
        (self.rows, self.cols)
    }

    fn constant(self, rows: usize, cols: usize, data: &[f64]) -> Self {
        assert_eq!(data.len(), rows * cols, "constant: {} numbers for {rows} x {cols}", data.len());
        self.resized(rows, cols)
    }

    /// One operation for each element, whatever the function. A processor needs more for an exponential, but that is its own
    /// business.
    fn apply(self, _: UnaryOp) -> Self {
        self.each(self.rows, self.cols, 1)
    }

    fn matmul(self, b: Self) -> Self {
        assert_eq!(self.cols, b.rows, "matmul: {:?} · {:?}", self.shape(), b.shape());
        self.product(self.rows, self.cols, b.cols)
    }

    fn matmul_t(self, b: Self) -> Self {
        assert_eq!(self.cols, b.cols, "matmul_t: {:?} · {:?}ᵀ", self.shape(), b.shape());
        self.product(self.rows, self.cols, b.rows)
    }

    fn row_sum(self) -> Self {
        self.each(self.rows, self.cols, 1).resized(self.rows, 1)
    }

    /// Comparisons count like additions.
    fn row_max(self) -> Self {
        self.row_sum()
    }

    fn gather_rows(self, rows: &[usize]) -> Self {
        if let Some(row) = rows.iter().find(|row| **row >= self.rows) {
            panic!("gather_rows: row {row} of {:?}", self.shape());
        }
        self.resized(rows.len(), self.cols)
    }

    fn pick(self, cols: &[usize]) -> Self {
        assert_eq!(self.rows, cols.len(), "pick: {:?} with {} columns", self.shape(), cols.len());
        if let Some(col) = cols.iter().find(|col| **col >= self.cols) {
            panic!("pick: column {col} of {}", self.cols);
        }
        self.resized(self.rows, 1)
    }

    fn slice_cols(self, cols: Range<usize>) -> Self {
        let fits = cols.start <= cols.end && cols.end <= self.cols;
        assert!(fits, "slice_cols: {cols:?} of {:?}", self.shape());
        self.resized(self.rows, cols.len())
    }

    fn concat_cols(parts: &[Self]) -> Self {
        let first = parts.first().expect("concat_cols of nothing");
        let equal = parts.iter().all(|part| part.rows == first.rows);
        assert!(equal, "concat_cols: matrices that differ in height from the first, {:?}", first.shape());
        first.resized(first.rows, parts.iter().map(|part| part.cols).sum())
    }

    fn concat_rows(parts: &[Self]) -> Self {
        let first = parts.first().expect("concat_rows of nothing");
        let equal = parts.iter().all(|part| part.cols == first.cols);
        assert!(equal, "concat_rows: matrices that differ in width from the first, {:?}", first.shape());
        first.resized(parts.iter().map(|part| part.rows).sum(), first.cols)
    }

    // From here on, what would take long by its default body: the same counts, without the loops.

    fn slice_rows(self, rows: Range<usize>) -> Self {
        let fits = rows.start <= rows.end && rows.end <= self.rows;
        assert!(fits, "slice_rows: {rows:?} of {:?}", self.shape());
        self.resized(rows.len(), self.cols)
    }

    /// Two products and a sum for each element. Sines and cosines are constants.
    fn rope(self, positions: &[usize], heads: usize, _: Rotation) -> Self {
        let fits = self.rows == positions.len() && self.cols.is_multiple_of(2 * heads);
        assert!(fits, "rope: {:?} with {} positions and {heads} heads", self.shape(), positions.len());
        self.each(self.rows, self.cols, 3)
    }

    fn sinusoids(self, positions: &[usize], width: usize) -> Self {
        self.resized(positions.len(), width)
    }

    /// For each head, its queries are scaled. For each key that a query sees, there are two products of the width of a head,
    /// a bias if there is one, and the softmax. (The default body turns a column of learned biases into a row by a product with
    /// 1, which is not counted here.)
    fn attention(self, k: Self, v: Self, spec: AttentionSpec<'_, Self>) -> Self {
        const SOFTMAX: u64 = 5; // maximum, difference, exponential, sum, quotient
        let d = spec.head_dim(self, k, v);
        let seen: u64 =
            spec.sequences().map(|(queries, keys)| pairs(spec.mask, queries.len(), keys.len())).sum();
        let seen = spec.n_head as u64 * seen;
        let bias = u64::from(spec.bias.is_some());
        self.counter.count(|counted| {
            counted.attention += 4 * d as u64 * seen;
            counted.elementwise += product(&[self.rows, self.cols]) + (SOFTMAX + bias) * seen;
        });
        self
    }

    /// The mask is a constant.
    fn dropout(self, _: f64, _: CounterRng) -> Self {
        self.each(self.rows, self.cols, 1)
    }
}

crate::tensor::operators!(Shape<'c>);

/// What a model keeps from one pass to the next, without its numbers.
#[derive(Debug, Default)]
pub struct KeptShapes {
    kept: Vec<Kept>,
}

#[derive(Debug)]
struct Kept {
    id: MemoryId,
    capacity: usize,
    cols: usize,
    /// One more than the last row that was written.
    written: usize,
}

impl KeptShapes {
    /// How many numbers there is room for.
    pub fn numbers(&self) -> u64 {
        self.kept.iter().map(|kept| product(&[kept.capacity, kept.cols])).sum()
    }
}

impl<'c> Memory<Shape<'c>> for KeptShapes {
    fn keep(&mut self, id: MemoryId, capacity: usize, places: &[usize], x: Shape<'c>) -> Shape<'c> {
        let written = places.iter().map(|place| place + 1).max().unwrap_or(0);
        assert!(written <= capacity, "keep: row {written} of {capacity}");
        match self.kept.iter_mut().find(|kept| kept.id == id) {
            Some(kept) => kept.written = kept.written.max(written),
            None => self.kept.push(Kept { id, capacity, cols: x.cols, written }),
        }
        self.kept(id, x)
    }

    fn kept(&mut self, id: MemoryId, like: Shape<'c>) -> Shape<'c> {
        let kept = self.kept.iter().find(|kept| kept.id == id);
        let kept = kept.unwrap_or_else(|| panic!("{id:?} is read before anything was kept in it"));
        like.resized(kept.written, kept.cols)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_what_each_query_sees() {
        let masks = [Mask::Full, Mask::Causal].into_iter().chain((1..9).map(Mask::Window));
        for mask in masks.chain([Mask::Window(usize::MAX)]) {
            for (queries, keys) in (0..7).flat_map(|queries| (queries..8).map(move |keys| (queries, keys))) {
                let seen = |query| mask.seen(query, queries, keys).len() as u64;
                let expected: u64 = (0..queries).map(seen).sum();
                assert_eq!(pairs(mask, queries, keys), expected, "{mask:?}, {queries} queries, {keys} keys");
            }
        }
    }
}
