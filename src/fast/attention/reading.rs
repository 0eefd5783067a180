//! Attention where nothing is trained: a model reads, token by token or a prompt at once.
//!
//! Nothing is saved, and what a query sees is computed from its own row, in an order that depends on nothing but which keys it
//! sees. So its result has the same bits whether it is read alone or among others, and on any number of threads.
//!
//! The softmax is the running one of `blocked.rs`, block after block of keys, which begin where the number of a key is a
//! multiple of [`KEYS`]. A block of keys and values stays in the fastest cache while all queries that share it pass by: those of
//! a tile, and the heads of a group. What a single new token costs is the reading of keys and values, each of them once.

use std::array::from_fn;
use std::ops::Range;
use std::sync::Mutex;

use smallvec::SmallVec;

use super::bias::BoundBias;
use super::{Attention, Sequence};
use crate::crew::Crew;
use crate::fast::simd::{self, LANES};
use crate::fast::tape::TapeView;
use crate::real::{Real, fma};
use crate::tensor::Mask;

/// Keys in a block.
const KEYS: usize = 64;

/// Queries of a sequence that meet a block of keys together.
const QUERIES: usize = 16;

/// Queries of several heads that meet a block of keys together.
const ROWS: usize = 64;

/// Multiplications from which on it is worth to wake the other threads: some microseconds.
const WORTH_SHARING: usize = 1 << 16;

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

/// A part for one thread: neighbouring queries of a sequence, in some of the heads.
struct Part<'a> {
    /// The rows of the sequence's queries and keys.
    sequence: (Range<usize>, Range<usize>),
    /// Which of its queries.
    queries: Range<usize>,
    kv_heads: Range<usize>,
    /// Their results, query by query.
    out: &'a mut [f32],
}

pub fn forward(op: Attention, view: TapeView<'_>, crew: &Crew, y: &mut [f32]) {
    let [q, k, v] = [op.q, op.k, op.v].map(|id| view.data(id));
    let (n_head, n_kv_head, d) = (op.n_head as usize, op.n_kv_head as usize, op.d as usize);
    let bias = op.bias.map(|bias| bias.bound(view));
    let reading = Reading { q, k, v, n_head, n_kv_head, d, scale: op.scale, mask: op.mask, bias };
    let scores: usize = op.sequences(view).map(|s| s.queries.len() * s.keys.len()).sum();
    let parts = parts(&reading, op.sequences(view), y);
    if crew.count() > 1 && scores * n_head * d >= WORTH_SHARING {
        let parts: SmallVec<[_; 64]> = parts.map(Mutex::new).collect();
        crew.each(parts.len(), |at| {
            reading.part(&mut parts[at].lock().expect("a part that nobody else has"))
        });
    } else {
        parts.for_each(|mut part| reading.part(&mut part));
    }
}

/// The work in parts whose results lie one after another: tiles of queries, or where there is a single query, the groups of heads
/// that share keys.
fn parts<'a>(
    reading: &Reading<'_>,
    sequences: impl Iterator<Item = Sequence>,
    y: &'a mut [f32],
) -> impl Iterator<Item = Part<'a>> {
    let (width, n_kv_head) = (reading.n_head * reading.d, reading.n_kv_head);
    let (mut rest, mut row) = (y, 0);
    let tiles = sequences.flat_map(|Sequence { queries, keys, .. }| {
        let count = queries.len();
        let tile = move |start: usize| (queries.clone(), keys.clone(), start..count.min(start + QUERIES));
        (0..count).step_by(QUERIES).map(tile)
    });
    tiles.flat_map(move |(of_queries, keys, queries)| {
        let (first, len) = (of_queries.start + queries.start, queries.len());
        let (own, after) = std::mem::take(&mut rest)[(first - row) * width..].split_at_mut(len * width);
        (rest, row) = (after, first + len);
        let heads = if len == 1 { 1 } else { n_kv_head };
        own.chunks_mut(len * width / n_kv_head * heads).enumerate().map(move |(at, out)| Part {
            sequence: (of_queries.clone(), keys.clone()),
            queries: queries.clone(),
            kv_heads: at * heads..(at + 1) * heads,
            out,
        })
    })
}

/// A query in one head, while it passes by the keys.
#[derive(Clone, Copy)]
struct Row {
    /// Its number in the sequence, and its head.
    query: usize,
    head: usize,
    /// Its greatest score so far, and the sum of `e^(score - greatest)`.
    greatest: f32,
    total: f32,
}

impl Reading<'_> {
    fn part(&self, part: &mut Part<'_>) {
        part.out.fill(0.0);
        let group = self.n_head / self.n_kv_head;
        let heads_at_once = (ROWS / part.queries.len()).max(1);
        for kv_head in part.kv_heads.clone() {
            let heads = kv_head * group..(kv_head + 1) * group;
            for first in heads.clone().step_by(heads_at_once) {
                let heads = first..heads.end.min(first + heads_at_once);
                let new = |head| {
                    part.queries.clone().map(move |query| Row {
                        query,
                        head,
                        greatest: f32::NEG_INFINITY,
                        total: 0.0,
                    })
                };
                let mut rows: SmallVec<[Row; ROWS]> = heads.flat_map(new).collect();
                self.rows(&mut rows, kv_head, part);
            }
        }
    }

    /// Leads some rows, which share a head of keys, past all blocks.
    fn rows(&self, rows: &mut [Row], kv_head: usize, part: &mut Part<'_>) {
        let (queries, keys) = (part.sequence.0.len(), part.sequence.1.len());
        let seen = |query| self.mask.seen(query, queries, keys);
        let all = seen(part.queries.start).start..seen(part.queries.end - 1).end;
        let mut start = all.start / KEYS * KEYS;
        while start < all.end {
            for row in rows.iter_mut() {
                let seen = seen(row.query);
                let block = seen.start.clamp(start, start + KEYS)..seen.end.clamp(start, start + KEYS);
                if !block.is_empty() {
                    self.block(row, block, kv_head, part);
                }
            }
            start += KEYS;
        }
        for row in rows {
            let share = 1.0 / row.total;
            self.out(row, part).iter_mut().for_each(|o| *o *= share);
        }
    }

    /// A query meets the keys of a block that it sees.
    fn block(&self, row: &mut Row, block: Range<usize>, kv_head: usize, part: &mut Part<'_>) {
        let (d, kv_width) = (self.d, self.n_kv_head * self.d);
        let (of_queries, of_keys) = (part.sequence.0.clone(), part.sequence.1.clone());
        let q = &self.q[((of_queries.start + row.query) * self.n_head + row.head) * d..][..d];
        let start = (of_keys.start + block.start) * kv_width + kv_head * d;
        let mut scores = [0.0; KEYS];
        let scores = &mut scores[..block.len()];
        score(q, &self.k[start..], kv_width, self.scale, scores);
        if let Some(bias) = self.bias {
            let distance = (row.query + of_keys.len()) as isize - (block.start + of_queries.len()) as isize;
            bias.add_to(row.head, distance, scores);
        }
        let (old, new) = (row.greatest, simd::greater(row.greatest, simd::max(scores)));
        let o = self.out(row, part);
        if new > old {
            let factor = simd::probability(Real::exp(old - new));
            (row.greatest, row.total) = (new, row.total * factor);
            o.iter_mut().for_each(|o| *o *= factor);
        }
        row.total += weigh(scores, new);
        mix(scores, &self.v[start..], kv_width, o);
    }

    /// Where the result of a row is.
    fn out<'a>(&self, row: &Row, part: &'a mut Part<'_>) -> &'a mut [f32] {
        let group = self.n_head / self.n_kv_head;
        let (query, head) = (row.query - part.queries.start, row.head - part.kv_heads.start * group);
        &mut part.out[(query * part.kv_heads.len() * group + head) * self.d..][..self.d]
    }
}

// The inner loops are functions of their own that are not inlined: by themselves, the compiler makes vector instructions of them.

/// `scale · q · k` for each of the keys, whose rows lie `stride` apart.
#[inline(never)]
fn score(q: &[f32], keys: &[f32], stride: usize, scale: f32, scores: &mut [f32]) {
    let (q_chunks, q_rest) = q.as_chunks::<LANES>();
    for (score, k) in scores.iter_mut().zip(keys.chunks(stride)) {
        let (k_chunks, k_rest) = k[..q.len()].as_chunks::<LANES>();
        let mut sums = [0.0; LANES];
        for (q, k) in q_chunks.iter().zip(k_chunks) {
            sums = from_fn(|lane| fma(q[lane], k[lane], sums[lane]));
        }
        let rest = q_rest.iter().zip(k_rest).fold(0.0, |sum, (q, k)| fma(*q, *k, sum));
        *score = scale * (simd::fold(sums, |a, b| a + b) + rest);
    }
}

/// Makes `e^(score - greatest)` of scores, and answers their sum.
#[inline(never)]
fn weigh(scores: &mut [f32], greatest: f32) -> f32 {
    scores.iter_mut().for_each(|s| *s = simd::probability(Real::exp(*s - greatest)));
    simd::sum(scores.len(), |at| scores[at])
}

/// `o += Σ weight · v`, one value after another, whose rows lie `stride` apart.
#[inline(never)]
fn mix(weights: &[f32], values: &[f32], stride: usize, o: &mut [f32]) {
    let d = o.len();
    let mut values = values.chunks(stride).map(|v| &v[..d]);
    let (fours, rest) = weights.as_chunks::<4>();
    for [a, b, c, d] in fours {
        // Four at a time, so that what is summed is read and written once for all of them.
        let [v, w, x, y] = [(); 4].map(|()| values.next().expect("a value for each weight"));
        for (o, (((v, w), x), y)) in o.iter_mut().zip(v.iter().zip(w).zip(x).zip(y)) {
            *o = fma(*d, *y, fma(*c, *x, fma(*b, *w, fma(*a, *v, *o))));
        }
    }
    for (weight, v) in rest.iter().zip(values) {
        o.iter_mut().zip(v).for_each(|(o, v)| *o = fma(*weight, *v, *o));
    }
}
