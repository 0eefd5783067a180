//! What an engine keeps from one pass to the next: the keys and values of tokens that were read before.

use std::ops::Range;

use super::Tensor;
use crate::real::Real;

/// Rows of tensors that stay from one pass of an engine to the next, as constants.
pub trait Memory<T> {
    /// Writes the rows of `x` to their places among `capacity` rows, over what was there before, and returns all rows up to the
    /// last that was ever written. Only what is seen of them afterwards has to be written first.
    fn keep(&mut self, id: MemoryId, capacity: usize, places: &[usize], x: T) -> T;

    /// All rows up to the last that was ever written, in the graph of `like`.
    fn kept(&mut self, id: MemoryId, like: T) -> T;
}

/// Which rows: those of one layer's keys, for instance. Each memory has a width of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryId {
    /// Of the tokens that a model reads and writes. It grows with every token.
    Tokens(usize),
    /// Of the source that a translator reads once.
    Source(usize),
}

/// The memories of an engine, made when they are written to for the first time.
#[derive(Debug, Default)]
pub struct Memories<R> {
    tokens: Vec<Rows<R>>,
    source: Vec<Rows<R>>,
}

/// The rows of one memory.
#[derive(Debug, Default)]
struct Rows<R> {
    cols: usize,
    /// As many rows as there is room for.
    data: Vec<R>,
    /// One more than the last row that was written.
    written: usize,
}

impl<R: Real> Memories<R> {
    /// Writes rows of `cols` numbers, each to its place among `capacity` rows. Where the memory had another size before, it is
    /// empty at first.
    ///
    /// # Panics
    /// If there are fewer numbers than rows need, or if a row is beyond the capacity.
    pub fn write(&mut self, id: MemoryId, capacity: usize, cols: usize, rows: &[usize], numbers: &[R]) {
        let (memories, at) = match id {
            MemoryId::Tokens(at) => (&mut self.tokens, at),
            MemoryId::Source(at) => (&mut self.source, at),
        };
        if memories.len() <= at {
            memories.resize_with(at + 1, || Rows { cols: 0, data: Vec::new(), written: 0 });
        }
        let memory = &mut memories[at];
        if memory.cols != cols || memory.data.len() != capacity * cols {
            *memory = Rows { cols, data: vec![R::default(); capacity * cols], written: 0 };
        }
        for (&row, numbers) in rows.iter().zip(numbers.chunks_exact(cols)) {
            memory.data[row * cols..(row + 1) * cols].copy_from_slice(numbers);
            memory.written = memory.written.max(row + 1);
        }
    }

    /// All rows up to the last that was ever written, and how many numbers a row has.
    ///
    /// # Panics
    /// If nothing was written.
    pub fn read(&self, id: MemoryId) -> (&[R], usize) {
        let rows = match id {
            MemoryId::Tokens(at) => self.tokens.get(at),
            MemoryId::Source(at) => self.source.get(at),
        };
        let rows = rows.unwrap_or_else(|| panic!("{id:?} is read before anything was kept in it"));
        (&rows.data[..rows.written * rows.cols], rows.cols)
    }

    /// Copies rows of all memories of tokens to the place that begins at row `to`. A memory that has no such rows is one that
    /// another model left behind, and stays as it is.
    pub fn copy_tokens(&mut self, from: Range<usize>, to: usize) {
        let end = to + from.len();
        for Rows { cols, data, written } in &mut self.tokens {
            if from.end.max(end) * *cols <= data.len() {
                data.copy_within(from.start * *cols..from.end * *cols, to * *cols);
                *written = (*written).max(end);
            }
        }
    }
}

/// The memory of an engine that copies what was kept into each new graph. `read` appends the numbers of a tensor to a list, row
/// by row.
pub struct CopiedMemory<'a, Read> {
    memories: &'a mut Memories<f64>,
    read: Read,
    numbers: Vec<f64>,
}

impl<'a, Read> CopiedMemory<'a, Read> {
    /// A memory whose numbers are kept in `memories`.
    pub fn new(memories: &'a mut Memories<f64>, read: Read) -> Self {
        CopiedMemory { memories, read, numbers: Vec::new() }
    }
}

impl<T: Tensor, Read: FnMut(T, &mut Vec<f64>)> Memory<T> for CopiedMemory<'_, Read> {
    fn keep(&mut self, id: MemoryId, capacity: usize, places: &[usize], x: T) -> T {
        self.numbers.clear();
        (self.read)(x, &mut self.numbers);
        self.memories.write(id, capacity, x.shape().1, places, &self.numbers);
        self.kept(id, x)
    }

    fn kept(&mut self, id: MemoryId, like: T) -> T {
        let (numbers, cols) = self.memories.read(id);
        like.constant(numbers.len() / cols, cols, numbers)
    }
}
