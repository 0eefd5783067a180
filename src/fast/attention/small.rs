//! Attention of short sequences with narrow heads: with at most [`KEYS`] keys, a row of scores is a single vector.
//!
//! The names GPT has many tiny products, of 7 queries with 7 keys of width 4. As calls of a general matrix product they
//! would spend their time on the way there. Here keys and values are transposed into columns, one vector for each of the
//! `D` columns of a head. Then everything about a query is a handful of vector operations. The derivation is in
//! `general.rs`.
//!
//! All columns of a sequence are transposed before any is used, and saved for backward. A vector whose numbers were
//! just written one by one cannot be read at once: the processor waits until they have all arrived in the cache.

use std::array::from_fn;
use std::ops::Range;

use wide::f32x16;

use super::{Attention, HeadSlice, Sequence};
use crate::fast::simd::{self, LANES};
use crate::fast::tape::{Gradients, TapeView, rows_of};

/// The most keys of a sequence.
pub const KEYS: usize = LANES;

/// One number for each key. What lies beyond the last key is zero.
type Keys = [f32; KEYS];

/// Keys or values of one head of width `D`: for each column, its number of each key.
type Columns<const D: usize> = [f32x16; D];

/// How many numbers a sequence saves: a row of `P` for each head and query, and its keys and values as columns.
pub fn saved(n_head: usize, queries: usize, kv_cols: usize) -> usize {
    KEYS * (n_head * queries + 2 * kv_cols)
}

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
    let kv_cols = op.n_kv_head as usize * D;
    let (p, columns) = saved.as_chunks_mut().0.split_at_mut(op.n_head as usize * queries);
    let (k, v) = columns.split_at_mut(kv_cols);
    let rows = rows_of(sequence.keys.clone(), kv_cols);
    transpose(&view.data(op.k)[rows.clone()], k); // [keys, kv_cols] → [kv_cols, KEYS]
    transpose(&view.data(op.v)[rows], v);
    for head in op.heads(sequence) {
        let (k, v) = (head.columns::<D>(k), head.columns::<D>(v));
        let rows = head.q_rows(view.data(op.q)).zip(head.q_rows_mut::<D>(y));
        for (query, (p, (q, out))) in p[head.at * queries..].iter_mut().zip(rows).enumerate() {
            let weights = softmax(mix(q, &k) * op.scale, op.mask.seen(query, queries, keys));
            *p = weights.to_array();
            *out = from_fn(|at| (weights * v[at]).reduce_add());
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
    let queries = sequence.queries.len();
    let (p, columns) = saved.as_chunks().0.split_at(op.n_head as usize * queries);
    let (k, v) = columns.split_at(op.n_kv_head as usize * D);
    grads.add(op.v, |_, dv, _| {
        for head in op.heads(sequence) {
            let p = &p[head.at * queries..];
            head.add_columns::<D>(dv, outer(p, head.q_rows(dy), 1.0)); // dV = Pᵀ·dO
        }
    });
    let mut scratch = grads.scratch(KEYS * p.len());
    let (ds, _) = scratch.as_chunks_mut();
    for head in op.heads(sequence) {
        let v = head.columns::<D>(v);
        let rows = ds[head.at * queries..].iter_mut().zip(&p[head.at * queries..]);
        for ((ds, p), dy) in rows.zip(head.q_rows(dy)) {
            let (p, dp) = (f32x16::from(*p), mix(dy, &v)); // dP = dO·Vᵀ
            *ds = (p * (dp - (p * dp).reduce_add())).to_array(); // dS
        }
    }
    grads.add(op.q, |_, dq, _| {
        for head in op.heads(sequence) {
            let k = head.columns::<D>(k);
            for (ds, dq) in ds[head.at * queries..].iter().zip(head.q_rows_mut::<D>(dq)) {
                let ds = f32x16::from(*ds) * op.scale;
                dq.iter_mut().zip(&k).for_each(|(dq, k)| *dq += (ds * *k).reduce_add()); // dQ = scale·dS·K
            }
        }
    });
    grads.add(op.k, |view, dk, _| {
        let q = view.data(op.q);
        for head in op.heads(sequence) {
            let ds = &ds[head.at * queries..];
            head.add_columns::<D>(dk, outer(ds, head.q_rows(q), op.scale)); // dK = scale·dSᵀ·Q
        }
    });
    grads.give(scratch);
}

/// Transposes the rows of all keys into columns.
fn transpose(rows: &[f32], columns: &mut [Keys]) {
    columns.fill([0.0; KEYS]);
    for (key, row) in rows.chunks_exact(columns.len()).enumerate() {
        columns.iter_mut().zip(row).for_each(|(column, x)| column[key] = *x);
    }
}

// ANCHOR: softmax
/// Scores as probabilities of the keys that the query sees, and 0 for the others, whatever their scores are.
#[inline(always)]
fn softmax(scores: f32x16, seen: Range<usize>) -> f32x16 {
    let visible = f32x16::from(FIRST[seen.end]) - f32x16::from(FIRST[seen.start]);
    let scores = visible.simd_eq(f32x16::ONE).select(scores, HIDDEN);
    let weights = (scores - simd::fold(scores.to_array(), simd::greater)).exp() * visible;
    weights / weights.reduce_add()
}
// ANCHOR_END: softmax

/// The score of keys that a query does not see, far below all others.
const HIDDEN: f32x16 = f32x16::new([-1e30; KEYS]);

/// For every number of keys, 1 for so many of them and 0 for the others.
static FIRST: [Keys; KEYS + 1] = {
    let mut table = [[0.0; KEYS]; KEYS + 1];
    let mut count = 0;
    while count <= KEYS {
        let mut key = 0;
        while key < count {
            table[count][key] = 1.0;
            key += 1;
        }
        count += 1;
    }
    table
};

/// The sum of columns, each times its number of a row.
#[inline]
fn mix<const D: usize>(row: &[f32; D], columns: &Columns<D>) -> f32x16 {
    row.iter().zip(columns).fold(f32x16::ZERO, |sum, (x, column)| column.mul_add(f32x16::splat(*x), sum))
}

/// For each column, the sum of all vectors of `keys`, each times its row's number in that column.
#[inline]
fn outer<'a, const D: usize>(
    keys: &[Keys],
    rows: impl Iterator<Item = &'a [f32; D]>,
    scale: f32,
) -> Columns<D> {
    let mut columns = [f32x16::ZERO; D];
    for (keys, row) in keys.iter().zip(rows) {
        let keys = f32x16::from(*keys) * scale;
        columns = from_fn(|at| keys.mul_add(f32x16::splat(row[at]), columns[at]));
    }
    columns
}

impl HeadSlice {
    /// The columns of its keys or values, of those of all heads.
    #[inline]
    fn columns<const D: usize>(&self, columns: &[Keys]) -> Columns<D> {
        columns[self.kv_col..].first_chunk::<D>().expect("the columns of the head").map(f32x16::from)
    }

    /// Its rows of queries, or of the gradients of results.
    fn q_rows<'a, const D: usize>(&self, data: &'a [f32]) -> impl Iterator<Item = &'a [f32; D]> {
        let rows = data[self.q_start()..].chunks(self.q_cols).take(self.queries.len());
        rows.map(|row| row.first_chunk().expect("a row of the head"))
    }

    /// Its rows of results, or of the gradients of queries.
    fn q_rows_mut<'a, const D: usize>(&self, data: &'a mut [f32]) -> impl Iterator<Item = &'a mut [f32; D]> {
        let rows = data[self.q_start()..].chunks_mut(self.q_cols).take(self.queries.len());
        rows.map(|row| row.first_chunk_mut().expect("a row of the head"))
    }

    /// Adds columns to its rows of the gradients of keys or values.
    fn add_columns<const D: usize>(&self, data: &mut [f32], columns: Columns<D>) {
        let columns = columns.map(f32x16::to_array);
        let rows = data[self.kv_start()..].chunks_mut(self.kv_cols).take(self.keys.len());
        for (key, row) in rows.enumerate() {
            row.iter_mut().zip(columns).for_each(|(to, column)| *to += column[key]);
        }
    }
}
