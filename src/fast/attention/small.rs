//! Attention of short sequences with narrow heads: with at most [`MOST`] keys, a row of scores is a single vector.
//!
//! The names GPT has many tiny products, of 7 queries with 7 keys of width 4. As calls of a general matrix product they
//! would spend their time on the way there. Here everything about one query is a handful of vector operations, of two
//! kinds. A row of scores, `S` or `dP`, has one number for each key: it is a sum of columns, for which keys and values are
//! transposed. A row of `O`, `dQ`, `dK` or `dV` has `D` numbers: it is a sum of rows, as they lie. The derivation is in
//! `general.rs`.
//!
//! The vectors are plain arrays of constant length. The compiler makes vector instructions of the loops over them.

use std::array::from_fn;
use std::ops::Range;

use super::{Attention, HeadSlice, Sequence};
use crate::fast::simd::{self, LANES};
use crate::fast::tape::{Gradients, TapeView};
use crate::real::{Real, fma};

/// The most keys of a sequence, and the most queries.
pub const MOST: usize = LANES;

/// One number for each key. What lies beyond the last key is zero.
type Keys = [f32; MOST];

/// One row of a head of width `D` for each key or query.
type Rows<const D: usize> = [[f32; D]; MOST];

pub fn forward(op: Attention, sequence: &Sequence, view: TapeView<'_>, y: &mut [f32], saved: &mut [f32]) {
    match op.d {
        4 => forward_heads::<4>(op, sequence, view, y, saved),
        _ => forward_heads::<8>(op, sequence, view, y, saved),
    }
}

pub fn backward(op: Attention, sequence: &Sequence, grads: &mut Gradients, saved: &[f32], dy: &[f32]) {
    match op.d {
        4 => backward_heads::<4>(op, sequence, grads, saved, dy),
        _ => backward_heads::<8>(op, sequence, grads, saved, dy),
    }
}

fn forward_heads<const D: usize>(
    op: Attention,
    sequence: &Sequence,
    view: TapeView<'_>,
    y: &mut [f32],
    saved: &mut [f32],
) {
    let (queries, keys) = (sequence.queries.len(), sequence.keys.len());
    let (p, _) = saved.as_chunks_mut();
    for head in op.heads(sequence) {
        let p = &mut p[head.at * queries..][..queries];
        let (q, k, v) = (
            head.q_rows(view.data(op.q)),
            transposed::<D>(&head.kv_rows(view.data(op.k))),
            head.kv_rows(view.data(op.v)),
        );
        for (query, (p, q)) in p.iter_mut().zip(&q).enumerate() {
            *p = sum_of_columns(q, &k, op.scale); // S = scale·Q·Kᵀ
            softmax(p, op.mask.seen(query, queries, keys)); // P
        }
        for (p, o) in p.iter().zip(head.q_rows_mut::<D>(y)) {
            *o = sum_of_rows(p[..keys].iter(), &v); // O = P·V
        }
    }
}

fn backward_heads<const D: usize>(
    op: Attention,
    sequence: &Sequence,
    grads: &mut Gradients,
    saved: &[f32],
    dy: &[f32],
) {
    let (queries, keys) = (sequence.queries.len(), sequence.keys.len());
    let [q, k, v] = [op.q, op.k, op.v].map(|id| grads.view.data(id));
    for head in op.heads(sequence) {
        let p = &saved.as_chunks::<MOST>().0[head.at * queries..][..queries];
        let (dy, q, k, v) = (
            head.q_rows::<D>(dy),
            head.q_rows::<D>(q),
            head.kv_rows::<D>(k),
            transposed::<D>(&head.kv_rows(v)),
        );
        grads.add(op.v, |_, dv, _| {
            for (key, dv) in head.kv_rows_mut(dv).enumerate() {
                add(dv, sum_of_rows(p.iter().map(|p| &p[key]), &dy)); // dV = Pᵀ·dO
            }
        });
        let mut ds = [[0.0; MOST]; MOST];
        for ((ds, p), dy) in ds.iter_mut().zip(p).zip(&dy) {
            let dp = sum_of_columns(dy, &v, 1.0); // dP = dO·Vᵀ
            let mean = simd::fold(from_fn(|key| p[key] * dp[key]), |a, b| a + b);
            *ds = from_fn(|key| p[key] * (dp[key] - mean) * op.scale); // scale·dS
        }
        let ds = &ds[..queries];
        grads.add(op.q, |_, dq, _| {
            for (ds, dq) in ds.iter().zip(head.q_rows_mut(dq)) {
                add(dq, sum_of_rows(ds[..keys].iter(), &k)); // dQ = scale·dS·K
            }
        });
        grads.add(op.k, |_, dk, _| {
            for (key, dk) in head.kv_rows_mut(dk).enumerate() {
                add(dk, sum_of_rows(ds.iter().map(|ds| &ds[key]), &q)); // dK = scale·dSᵀ·Q
            }
        });
    }
}

/// The columns of some rows: `[MOST, D] → [D, MOST]`.
#[inline]
fn transposed<const D: usize>(rows: &Rows<D>) -> [Keys; D] {
    from_fn(|col| from_fn(|key| rows[key][col]))
}

/// `scale · row · columns`: `[D] · [D, MOST] → [MOST]`.
#[inline]
fn sum_of_columns<const D: usize>(row: &[f32; D], columns: &[Keys; D], scale: f32) -> Keys {
    let mut sum = [0.0; MOST];
    for (x, column) in row.iter().zip(columns) {
        let x = x * scale;
        sum.iter_mut().zip(column).for_each(|(sum, y)| *sum = fma(x, *y, *sum));
    }
    sum
}

/// The sum of rows, each times its weight: `[n] · [n, D] → [D]`.
#[inline]
fn sum_of_rows<'a, const D: usize>(weights: impl Iterator<Item = &'a f32>, rows: &Rows<D>) -> [f32; D] {
    let mut sum = [0.0; D];
    for (weight, row) in weights.zip(rows) {
        sum.iter_mut().zip(row).for_each(|(sum, x)| *sum = fma(*weight, *x, *sum));
    }
    sum
}

#[inline]
fn add<const D: usize>(to: &mut [f32; D], row: [f32; D]) {
    to.iter_mut().zip(row).for_each(|(to, x)| *to += x);
}

// ANCHOR: softmax
/// Scores as probabilities of the keys that the query sees, and 0 for the others, whatever their scores are.
#[inline]
fn softmax(scores: &mut Keys, seen: Range<usize>) {
    let visible: Keys = from_fn(|key| FIRST[seen.end][key] - FIRST[seen.start][key]);
    let masked: Keys = from_fn(|key| if visible[key] > 0.0 { scores[key] } else { HIDDEN });
    let most = simd::fold(masked, simd::greater);
    let weights: Keys = from_fn(|key| Real::exp(masked[key] - most) * visible[key]);
    let share = 1.0 / simd::fold(weights, |a, b| a + b);
    *scores = weights.map(|weight| simd::probability(weight * share));
}
// ANCHOR_END: softmax

/// The score of keys that a query does not see, far below all others.
const HIDDEN: f32 = -1e30;

/// For every number of keys, 1 for so many of them and 0 for the others.
static FIRST: [Keys; MOST + 1] = {
    let mut table = [[0.0; MOST]; MOST + 1];
    let mut count = 0;
    while count <= MOST {
        let mut key = 0;
        while key < count {
            table[count][key] = 1.0;
            key += 1;
        }
        count += 1;
    }
    table
};

impl HeadSlice {
    /// Its rows of queries, or of the gradients of results.
    fn q_rows<const D: usize>(&self, data: &[f32]) -> Rows<D> {
        rows(&data[self.q_start..], self.q_stride, self.queries)
    }

    /// Its rows of keys or values.
    fn kv_rows<const D: usize>(&self, data: &[f32]) -> Rows<D> {
        rows(&data[self.kv_start..], self.kv_stride, self.keys)
    }

    /// Its rows of results, or of the gradients of queries.
    fn q_rows_mut<'a, const D: usize>(&self, data: &'a mut [f32]) -> impl Iterator<Item = &'a mut [f32; D]> {
        rows_mut(&mut data[self.q_start..], self.q_stride, self.queries)
    }

    /// Its rows of the gradients of keys or values.
    fn kv_rows_mut<'a, const D: usize>(&self, data: &'a mut [f32]) -> impl Iterator<Item = &'a mut [f32; D]> {
        rows_mut(&mut data[self.kv_start..], self.kv_stride, self.keys)
    }
}

/// Copies `count` rows that lie `stride` apart.
#[inline(always)]
fn rows<const D: usize>(data: &[f32], stride: usize, count: usize) -> Rows<D> {
    let mut rows = [[0.0; D]; MOST];
    for (row, from) in rows.iter_mut().zip(data.chunks(stride).take(count)) {
        *row = *from.first_chunk().expect("a row of the head");
    }
    rows
}

/// The same rows, to be written.
fn rows_mut<const D: usize>(
    data: &mut [f32],
    stride: usize,
    count: usize,
) -> impl Iterator<Item = &mut [f32; D]> {
    data.chunks_mut(stride).take(count).map(|row| row.first_chunk_mut().expect("a row of the head"))
}
