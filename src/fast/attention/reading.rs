//! Attention where nothing is trained: a model reads, token by token or a prompt at once.
//!
//! Nothing is saved, and what a query sees is computed from its own row, in an order that depends on nothing but which keys it
//! sees. So its result has the same bits whether it is read alone or among others, and on any number of threads.
//!
//! Each block of keys, which begins where the number of a key is a multiple of [`KEYS`], has a softmax of its own. The blocks are
//! joined one after another, as in `blocked.rs`: whichever has the greater score scales the other down. All queries of a tile meet a
//! block of keys together, and so do the heads that share it (`gemm/stored/keys.rs`). What a single new token costs is the reading of
//! keys and values as they lie in memory, all heads of a block before the next block, so blocks are what threads share.

use std::cell::RefCell;
use std::ops::Range;
use std::sync::Mutex;

use smallvec::{SmallVec, smallvec};

use super::bias::BoundBias;
use super::{Attention, Sequence};
use crate::crew::Crew;
use crate::fast::simd;
use crate::fast::tape::TapeView;
use crate::gemm::{MatMut, MatRef, mix, scores};
use crate::real::Real;
use crate::tensor::Mask;

/// Keys in a block.
const KEYS: usize = 64;

/// Queries of a sequence that meet a block of keys together. With two heads for each head of keys, their scores lie in the first
/// cache.
const QUERIES: usize = 16;

/// The most parts into which the blocks of a single query are divided.
const PARTS: usize = 16;

/// For so many blocks room is asked for at once, so that a sequence that goes on asks for no more: 4,096 keys.
const FIRST_BLOCKS: usize = 64;

/// Multiplications from which on it is worth to wake the other threads: some microseconds.
const WORTH_SHARING: usize = 1 << 16;

thread_local! {
    /// What single queries make of each block, until all are joined. It grows to the largest size ever asked for and stays.
    static BLOCKS: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// What all parts of the work read.
struct Reading<'a> {
    q: &'a [f32],
    k: &'a [f32],
    v: &'a [f32],
    n_head: usize,
    n_kv_head: usize,
    d: usize,
    scale: f32,
    mask: Mask,
    bias: Option<BoundBias<'a>>,
}

/// The rows of a sequence's queries and keys.
#[derive(Clone)]
struct Rows {
    queries: Range<usize>,
    keys: Range<usize>,
}

/// A part for one thread.
enum Part<'a> {
    /// Some neighbouring queries of a sequence, and their results.
    Tile { rows: Rows, queries: Range<usize>, out: &'a mut [f32] },
    /// Some blocks of the keys that a single query sees, and what each of its heads makes of each.
    Blocks { rows: Rows, blocks: Range<usize>, out: &'a mut [f32] },
}

pub fn forward(op: Attention, view: TapeView<'_>, crew: &Crew, y: &mut [f32]) {
    let [q, k, v] = [op.q, op.k, op.v].map(|id| view.data(id));
    let (n_head, n_kv_head, d) = (op.n_head as usize, op.n_kv_head as usize, op.d as usize);
    let bias = op.bias.map(|bias| bias.bound(view));
    let reading = Reading { q, k, v, n_head, n_kv_head, d, scale: op.scale, mask: op.mask, bias };
    let sequences = || op.sequences(view).map(|Sequence { queries, keys, .. }| Rows { queries, keys });
    let scores: usize = sequences().map(|rows| rows.queries.len() * rows.keys.len()).sum();
    let singles = || sequences().filter(|rows| rows.queries.len() == 1);
    let room: usize = singles().map(|rows| reading.blocks_of(&rows).len() * reading.block_len()).sum();
    BLOCKS.with_borrow_mut(|blocks| {
        if blocks.len() < room {
            blocks.resize(room.max(singles().count() * FIRST_BLOCKS * reading.block_len()), 0.0);
        }
        let parts = reading.parts(sequences(), y, blocks);
        if crew.count() > 1 && scores * n_head * d >= WORTH_SHARING {
            let parts: SmallVec<[_; 64]> = parts.map(Mutex::new).collect();
            crew.each(parts.len(), |at| {
                reading.part(&mut parts[at].lock().expect("a part that nobody else has"))
            });
        } else {
            parts.for_each(|mut part| reading.part(&mut part));
        }
        let mut rest = &blocks[..];
        for rows in singles() {
            let (own, after) = rest.split_at(reading.blocks_of(&rows).len() * reading.block_len());
            rest = after;
            let width = n_head * d;
            reading.join(own, &mut y[rows.queries.start * width..][..width]);
        }
    });
}

/// The softmax over some keys, in parts: the greatest score, the sum of `e^(score - greatest)`, and the same sum with values.
struct Softmax<'a> {
    greatest: f32,
    total: f32,
    values: &'a mut [f32],
}

impl<'a> Softmax<'a> {
    /// That over no keys.
    fn empty(values: &'a mut [f32]) -> Self {
        values.fill(0.0);
        Softmax { greatest: f32::NEG_INFINITY, total: 0.0, values }
    }

    /// Joins that over other keys.
    fn join(&mut self, greatest: f32, total: f32, values: &[f32]) {
        let new = simd::greater(self.greatest, greatest);
        let [old, other] =
            [self.greatest, greatest].map(|greatest| simd::probability(Real::exp(greatest - new)));
        (self.greatest, self.total) = (new, self.total * old + total * other);
        self.values.iter_mut().zip(values).for_each(|(o, v)| *o = *o * old + v * other);
    }

    /// The mean of the values.
    fn finish(self) {
        let share = 1.0 / self.total;
        self.values.iter_mut().for_each(|o| *o *= share);
    }
}

impl Reading<'_> {
    /// The work in parts whose results lie one after another: tiles of queries, and of single queries some blocks of keys.
    fn parts<'a>(
        &self,
        sequences: impl Iterator<Item = Rows>,
        y: &'a mut [f32],
        blocks: &'a mut [f32],
    ) -> impl Iterator<Item = Part<'a>> {
        let (width, block_len) = (self.n_head * self.d, self.block_len());
        let (mut rest, mut row, mut free) = (y, 0, blocks);
        sequences.flat_map(move |rows| {
            let count = rows.queries.len();
            let mut parts: SmallVec<[Part<'a>; PARTS]> = SmallVec::new();
            if count == 1 {
                let all = self.blocks_of(&rows);
                let each = all.len().div_ceil(PARTS);
                for start in all.clone().step_by(each) {
                    let blocks = start..all.end.min(start + each);
                    let (out, after) = std::mem::take(&mut free).split_at_mut(blocks.len() * block_len);
                    free = after;
                    parts.push(Part::Blocks { rows: rows.clone(), blocks, out });
                }
                return parts;
            }
            for start in (0..count).step_by(QUERIES) {
                let queries = start..count.min(start + QUERIES);
                let (first, len) = (rows.queries.start + start, queries.len());
                let (out, after) =
                    std::mem::take(&mut rest)[(first - row) * width..].split_at_mut(len * width);
                (rest, row) = (after, first + len);
                parts.push(Part::Tile { rows: rows.clone(), queries, out });
            }
            parts
        })
    }

    /// The blocks that hold keys which a single query sees.
    fn blocks_of(&self, rows: &Rows) -> Range<usize> {
        let seen = self.mask.seen(0, 1, rows.keys.len());
        seen.start / KEYS..seen.end.div_ceil(KEYS)
    }

    /// How many numbers all heads make of a block: greatest score, total and values.
    fn block_len(&self) -> usize {
        self.n_head * (2 + self.d)
    }

    fn part(&self, part: &mut Part<'_>) {
        match part {
            Part::Tile { rows, queries, out } => self.tile(rows, queries.clone(), out),
            Part::Blocks { rows, blocks, out } => self.blocks(rows, blocks.clone(), out),
        }
    }

    /// Leads some queries past all blocks of keys, one head of keys after the other.
    fn tile(&self, rows: &Rows, queries: Range<usize>, out: &mut [f32]) {
        let (d, group) = (self.d, self.n_head / self.n_kv_head);
        let seen = |query| self.mask.seen(query, rows.queries.len(), rows.keys.len());
        let all = seen(queries.start).start..seen(queries.end - 1).end;
        let mut softmax: SmallVec<[Softmax<'_>; QUERIES * 8]> =
            out.chunks_exact_mut(d).map(Softmax::empty).collect();
        let scratch = &mut Scratch::default();
        scratch.scores.resize(queries.len() * group * KEYS, 0.0);
        scratch.softmax.resize(queries.len() * group, (0.0, 0.0));
        let mut values: SmallVec<[f32; 2 * QUERIES * 64]> = smallvec![0.0; queries.len() * group * d];
        let mut q: SmallVec<[f32; 2 * QUERIES * 64]> = SmallVec::new();
        for kv_head in 0..self.n_kv_head {
            q.clear();
            queries.clone().for_each(|query| q.extend_from_slice(self.queries(rows, query, kv_head)));
            for block in all.start / KEYS..all.end.div_ceil(KEYS) {
                // Where some see more of a block than others, each query meets it alone.
                let alike = within(block, seen(queries.start)) == within(block, seen(queries.end - 1));
                let together = if alike { QUERIES } else { 1 };
                for start in queries.clone().step_by(together) {
                    let some = start..queries.end.min(start + together);
                    let keys = within(block, seen(start));
                    if keys.is_empty() {
                        continue;
                    }
                    let (first, n) = (start - queries.start, some.len() * group);
                    let q = MatRef::new(&q[first * group * d..][..n * d], n, d);
                    let to = MatMut::new(&mut values[..n * d], n, d);
                    self.block(rows, (some, kv_head..kv_head + 1), q, keys, scratch, to);
                    let made = scratch.softmax.iter().zip(values.chunks_exact(d)).take(n);
                    for (row, (&(greatest, total), values)) in made.enumerate() {
                        let head = kv_head * group + row % group;
                        softmax[(first + row / group) * self.n_head + head].join(greatest, total, values);
                    }
                }
            }
        }
        softmax.into_iter().for_each(Softmax::finish);
    }

    /// Leads a single query past some blocks of keys, all heads past each.
    fn blocks(&self, rows: &Rows, blocks: Range<usize>, out: &mut [f32]) {
        let seen = self.mask.seen(0, 1, rows.keys.len());
        let (d, n) = (self.d, self.n_head);
        let q = MatRef::new(&self.q[rows.queries.start * n * d..][..n * d], n, d);
        let scratch = &mut Scratch::default();
        scratch.scores.resize(n * KEYS, 0.0);
        scratch.softmax.resize(n, (0.0, 0.0));
        for (block, out) in blocks.zip(out.chunks_exact_mut(self.block_len())) {
            let to = MatMut::strided(&mut out[2..], n, d, 2 + d);
            self.block(rows, (0..1, 0..self.n_kv_head), q, within(block, seen.clone()), scratch, to);
            for (out, &(greatest, total)) in out.chunks_exact_mut(2 + d).zip(&scratch.softmax) {
                out[..2].copy_from_slice(&[greatest, total]);
            }
        }
    }

    /// The heads of a query that share a head of keys, `[group, d]`.
    fn queries(&self, rows: &Rows, query: usize, kv_head: usize) -> &[f32] {
        let width = self.n_head / self.n_kv_head * self.d;
        &self.q[((rows.queries.start + query) * self.n_kv_head + kv_head) * width..][..width]
    }

    /// What a single query sees in all blocks.
    fn join(&self, blocks: &[f32], out: &mut [f32]) {
        for (head, out) in out.chunks_exact_mut(self.d).enumerate() {
            let mut softmax = Softmax::empty(out);
            for block in blocks.chunks_exact(self.block_len()) {
                let block = &block[head * (2 + self.d)..][..2 + self.d];
                softmax.join(block[0], block[1], &block[2..]);
            }
            softmax.finish();
        }
    }

    /// Some queries, with all heads that share some heads of keys, meet the keys of a block that they see. The rows of `q` are those of
    /// the first head of keys, query by query, then those of the next one. The values that each mixes go to `to`, its greatest score
    /// and its total to the scratch.
    fn block(
        &self,
        rows: &Rows,
        (queries, kv_heads): (Range<usize>, Range<usize>),
        q: MatRef,
        seen: Range<usize>,
        scratch: &mut Scratch,
        to: MatMut,
    ) {
        let (d, kv_width, count) = (self.d, self.n_kv_head * self.d, seen.len());
        let (each, group) = (queries.len() * self.n_head / self.n_kv_head, self.n_head / self.n_kv_head);
        let n = kv_heads.len() * each;
        let start = (rows.keys.start + seen.start) * kv_width + kv_heads.start * d;
        let [k, v] =
            [self.k, self.v].map(|of| MatRef::strided(&of[start..], count, kv_heads.len() * d, kv_width));
        let Scratch { scores: all, softmax } = scratch;
        let all = &mut all[..n * count];
        scores(self.scale, q, k, v, MatMut::new(all, n, count));
        for (row, (scores, softmax)) in all.chunks_exact_mut(count).zip(softmax.iter_mut()).enumerate() {
            if let Some(bias) = self.bias {
                let query = queries.start + row % each / group;
                let head = (kv_heads.start + row / each) * group + row % group;
                let distance =
                    (query + rows.keys.len()) as isize - (seen.start + rows.queries.len()) as isize;
                bias.add_to(head, distance, scores);
            }
            let greatest = simd::max(scores);
            *softmax = (greatest, weigh(scores, greatest));
        }
        mix(MatRef::new(all, n, count), v, to);
    }
}

/// What rows make of a block of keys. For usual sizes it is on the stack.
#[derive(Default)]
struct Scratch {
    /// The scores of each row, then what they become.
    scores: SmallVec<[f32; 2 * QUERIES * KEYS]>,
    /// Of each row the greatest score and the total.
    softmax: SmallVec<[(f32, f32); 2 * QUERIES]>,
}

/// The keys of a block that are seen.
fn within(block: usize, seen: Range<usize>) -> Range<usize> {
    let (start, end) = (block * KEYS, (block + 1) * KEYS);
    seen.start.clamp(start, end)..seen.end.clamp(start, end)
}

/// Makes `e^(score - greatest)` of scores, and answers their sum. Not inlined: by itself, the compiler makes vector instructions of it.
#[inline(never)]
fn weigh(scores: &mut [f32], greatest: f32) -> f32 {
    scores.iter_mut().for_each(|s| *s = simd::probability(Real::exp(*s - greatest)));
    simd::sum(scores.len(), |at| scores[at])
}
