//! Attention over packed sequences, head by head, as matrix products of whole sequences.
//!
//! For one head of one sequence, with `S = scale·Q·Kᵀ` and `P` its rows as probabilities (zero where a key is later than
//! the query), the result is `O = P·V`. Backward, with `dO` given: `dV = Pᵀ·dO` and `dP = dO·Vᵀ`. Through the softmax of a
//! row, `dsⱼ = pⱼ·(dpⱼ - Σ pₖ·dpₖ)`. At last `dQ = scale·dS·K` and `dK = scale·dSᵀ·Q`.

use std::ops::Range;

use super::short::{self, Keys, Rows, RowsMut, by_width};
use super::simd::{self, LANES};
use super::tape::{Gradients, Id, Matrix, Op, Span, TapeView, rows_of};
use crate::gemm::{MatMut, MatRef, gemm};
use crate::tensor::AttentionSpec;

/// [`AttentionSpec`] on the tape.
#[derive(Clone, Copy, Debug)]
pub(super) struct AttentionOp {
    n_head: u32,
    n_kv_head: u32,
    d: u32,
    scale: f32,
    causal: bool,
    queries: Span,
    keys: Span,
}

/// One head of one sequence: where its numbers lie.
struct HeadSlice {
    /// The rows of its queries, and of its keys and values.
    queries: Range<usize>,
    keys: Range<usize>,
    /// The first column of the head, in queries and in keys.
    q_col: usize,
    k_col: usize,
    /// Where its probabilities lie among all that is saved.
    saved: Range<usize>,
    /// Where the keys of its whole sequence lie there, transposed into columns, if it is short. The values follow.
    transposed: usize,
}

/// How far apart rows of probabilities are saved: those of short sequences fill whole vectors.
fn row_len(keys: usize) -> usize {
    keys.max(LANES)
}

/// What one matrix of a sequence takes when it is transposed.
fn transposed_len(keys: usize, d: usize, cols: usize) -> usize {
    if short::fits(keys, d) { LANES * cols } else { 0 }
}

impl HeadSlice {
    /// Whether it is done as in `short.rs`.
    fn is_short(&self, d: usize) -> bool {
        short::fits(self.keys.len(), d)
    }

    /// Its probabilities, or gradients of scores, as whole vectors.
    fn vectors<'a>(&self, saved: &'a [f32]) -> &'a [Keys] {
        saved[self.saved.clone()].as_chunks().0
    }

    /// The columns of its keys and of its values, of which a sequence has `cols` each, from what was transposed on.
    fn columns<'a>(&self, transposed: &'a [f32], cols: usize) -> [&'a [Keys]; 2] {
        let (all, _) = transposed[..2 * LANES * cols].as_chunks();
        let (k, v) = all.split_at(cols);
        [&k[self.k_col..], &v[self.k_col..]]
    }
}

impl AttentionOp {
    fn parts<'a>(&'a self, view: TapeView<'a>) -> impl Iterator<Item = HeadSlice> + 'a {
        let (n_head, group) = (self.n_head as usize, (self.n_head / self.n_kv_head) as usize);
        let d = self.d as usize;
        let lengths = view.indices(self.queries).iter().zip(view.indices(self.keys));
        let (mut q, mut k, mut saved) = (0, 0, 0);
        lengths.flat_map(move |(&queries, &keys)| {
            let (queries, keys) = (queries as usize, keys as usize);
            let (first_q, first_k, first_saved) = (q, k, saved);
            let size = queries * row_len(keys);
            let transposed = first_saved + n_head * size;
            (q, k, saved) =
                (q + queries, k + keys, transposed + 2 * transposed_len(keys, d, d * n_head / group));
            (0..n_head).map(move |head| {
                let start = first_saved + head * size;
                HeadSlice {
                    queries: first_q..first_q + queries,
                    keys: first_k..first_k + keys,
                    q_col: head * d,
                    k_col: head / group * d,
                    saved: start..start + size,
                    transposed,
                }
            })
        })
    }

    /// The part of a matrix that belongs to some rows and one head.
    fn view<'a>(&self, data: &'a [f32], rows: &Range<usize>, col: usize, cols: usize) -> MatRef<'a> {
        MatRef::strided(&data[rows.start * cols + col..], rows.len(), self.d as usize, cols)
    }

    /// The same for `short.rs`.
    fn rows<'a>(&self, data: &'a [f32], rows: &Range<usize>, col: usize, cols: usize) -> Rows<'a> {
        Rows { data: &data[rows.start * cols + col..], count: rows.len(), stride: cols }
    }

    /// The same for `short.rs`, to be written.
    fn rows_mut<'a>(&self, data: &'a mut [f32], rows: &Range<usize>, col: usize, cols: usize) -> RowsMut<'a> {
        RowsMut { data: &mut data[rows.start * cols + col..], count: rows.len(), stride: cols }
    }

    /// The same, to be written.
    fn view_mut<'a>(&self, data: &'a mut [f32], rows: &Range<usize>, col: usize, cols: usize) -> MatMut<'a> {
        MatMut::strided(&mut data[rows.start * cols + col..], rows.len(), self.d as usize, cols)
    }

    /// How many keys the query in some row of its sequence sees.
    fn seen(&self, part: &HeadSlice, row: usize) -> usize {
        if self.causal { part.keys.len() - (part.queries.len() - 1 - row) } else { part.keys.len() }
    }
}

/// Attention. Saves `P`, and of short sequences `K` and `V` as columns.
pub(super) fn attention<'t>(
    q: Matrix<'t>,
    k: Matrix<'t>,
    v: Matrix<'t>,
    shape: AttentionSpec<'_>,
) -> Matrix<'t> {
    let d = shape.head_dim(q, k, v);
    let op = AttentionOp {
        n_head: shape.n_head as u32,
        n_kv_head: shape.n_kv_head as u32,
        d: d as u32,
        scale: shape.scale as f32,
        causal: shape.causal,
        queries: q.recording.span(shape.queries.iter().copied()),
        keys: q.recording.span(shape.keys.iter().copied()),
    };
    let tape_op = Op::Attention { q: q.id, k: k.id, v: v.id, shape: op };
    q.recording.compute(tape_op, (q.rows, q.cols), |view, y, saved| {
        let len =
            |q: usize, keys: usize| shape.n_head * q * row_len(keys) + 2 * transposed_len(keys, d, k.cols);
        saved.resize(shape.queries.iter().zip(shape.keys).map(|(q, keys)| len(*q, *keys)).sum(), 0.0);
        let (q_data, k_data, v_data) = (view.data(q.id), view.data(k.id), view.data(v.id));
        for part in op.parts(view) {
            let (queries, keys) = (part.queries.len(), part.keys.len());
            if part.is_short(d) {
                if part.q_col == 0 {
                    // The first head turns keys and values for all heads of the sequence: [keys, cols] → [cols, LANES].
                    let (columns, _) = saved[part.transposed..][..2 * LANES * k.cols].as_chunks_mut();
                    let (k_columns, v_columns) = columns.split_at_mut(k.cols);
                    let rows = rows_of(part.keys.clone(), k.cols);
                    short::transpose(&k_data[rows.clone()], k_columns);
                    short::transpose(&v_data[rows], v_columns);
                }
                let (p, columns) = saved.split_at_mut(part.transposed);
                let (p, _) = p[part.saved.clone()].as_chunks_mut();
                let columns = part.columns(columns, k.cols);
                let q_rows = op.rows(q_data, &part.queries, part.q_col, q.cols);
                let seen = |row| op.seen(&part, row);
                let out = op.rows_mut(y, &part.queries, part.q_col, q.cols);
                by_width!(d, D => short::forward::<D>(q_rows, columns, op.scale, seen, p, out));
                continue;
            }
            let p = &mut saved[part.saved.clone()];
            let (q_view, k_view) = (
                op.view(q_data, &part.queries, part.q_col, q.cols),
                op.view(k_data, &part.keys, part.k_col, k.cols),
            );
            gemm(op.scale, q_view, k_view.t(), 0.0, MatMut::strided(p, queries, keys, row_len(keys))); // [queries, keys]
            for (row, p) in p.chunks_exact_mut(row_len(keys)).enumerate() {
                let seen = op.seen(&part, row);
                if let Ok(p) = <&mut Keys>::try_from(&mut *p) {
                    *p = short::softmax((*p).into(), seen).to_array();
                } else {
                    let (seen, later) = p.split_at_mut(seen);
                    softmax(seen);
                    later.fill(0.0);
                }
            }
            let v_view = op.view(v_data, &part.keys, part.k_col, v.cols);
            let out = op.view_mut(y, &part.queries, part.q_col, q.cols);
            gemm(1.0, MatRef::strided(p, queries, keys, row_len(keys)), v_view, 0.0, out); // [queries, d]
        }
    })
}

fn softmax(x: &mut [f32]) {
    let max = simd::max(x);
    x.iter_mut().for_each(|x| *x = simd::exp(*x - max));
    let share = 1.0 / simd::sum(x.len(), |i| x[i]);
    x.iter_mut().for_each(|x| *x *= share);
}

/// See the derivation at the top of this file.
pub(super) fn attention_backward(
    grads: &mut Gradients,
    id: Id,
    [q, k, v]: [Id; 3],
    op: AttentionOp,
    dy: &[f32],
) {
    let view = grads.view;
    let saved = &view.nodes[id as usize].saved;
    let d = op.d as usize;
    let (q_cols, k_cols) = (view.nodes[q as usize].cols, view.nodes[k as usize].cols);
    let (q_data, k_data, v_data) = (view.data(q), view.data(k), view.data(v));
    let square = |data, part: &HeadSlice| {
        MatRef::strided(data, part.queries.len(), part.keys.len(), row_len(part.keys.len()))
    };

    grads.add(v, |_, dv, accumulate| {
        start(dv, accumulate);
        for part in op.parts(view) {
            if part.is_short(d) {
                let dy = op.rows(dy, &part.queries, part.q_col, q_cols);
                let dv = op.rows_mut(dv, &part.keys, part.k_col, k_cols);
                by_width!(d, D => short::backward_values::<D>(part.vectors(saved), dy, dv));
                continue;
            }
            // ANCHOR: values
            let p = square(&saved[part.saved.clone()], &part);
            let dy = op.view(dy, &part.queries, part.q_col, q_cols);
            gemm(1.0, p.t(), dy, 1.0, op.view_mut(dv, &part.keys, part.k_col, k_cols));
            // ANCHOR_END: values
        }
    });
    let mut ds = grads.scratch(saved.len());
    for part in op.parts(view) {
        let ds = &mut ds[part.saved.clone()];
        if part.is_short(d) {
            let [_, v] = part.columns(&saved[part.transposed..], k_cols);
            let dy = op.rows(dy, &part.queries, part.q_col, q_cols);
            let (ds, _) = ds.as_chunks_mut();
            by_width!(d, D => short::backward_scores::<D>(part.vectors(saved), dy, v, ds));
            continue;
        }
        let (queries, keys) = (part.queries.len(), part.keys.len());
        let dy = op.view(dy, &part.queries, part.q_col, q_cols);
        let v = op.view(v_data, &part.keys, part.k_col, k_cols);
        // ANCHOR: scores
        gemm(1.0, dy, v.t(), 0.0, MatMut::strided(ds, queries, keys, row_len(keys)));
        let rows = ds.chunks_exact_mut(row_len(keys)).zip(saved[part.saved].chunks_exact(row_len(keys)));
        for (ds, p) in rows {
            let (ds, p) = (&mut ds[..keys], &p[..keys]);
            let shared = simd::dot(p, ds);
            ds.iter_mut().zip(p).for_each(|(ds, p)| *ds = p * (*ds - shared));
        }
        // ANCHOR_END: scores
    }
    grads.add(q, |_, dq, accumulate| {
        start(dq, accumulate);
        for part in op.parts(view) {
            if part.is_short(d) {
                let [k, _] = part.columns(&saved[part.transposed..], k_cols);
                let dq = op.rows_mut(dq, &part.queries, part.q_col, q_cols);
                by_width!(d, D => short::backward_queries::<D>(part.vectors(&ds), k, op.scale, dq));
                continue;
            }
            let k = op.view(k_data, &part.keys, part.k_col, k_cols);
            let ds = square(&ds[part.saved.clone()], &part);
            // ANCHOR: queries
            gemm(op.scale, ds, k, 1.0, op.view_mut(dq, &part.queries, part.q_col, q_cols));
            // ANCHOR_END: queries
        }
    });
    grads.add(k, |_, dk, accumulate| {
        start(dk, accumulate);
        for part in op.parts(view) {
            if part.is_short(d) {
                let q = op.rows(q_data, &part.queries, part.q_col, q_cols);
                let dk = op.rows_mut(dk, &part.keys, part.k_col, k_cols);
                by_width!(d, D => short::backward_keys::<D>(part.vectors(&ds), q, op.scale, dk));
                continue;
            }
            let q = op.view(q_data, &part.queries, part.q_col, q_cols);
            let ds = square(&ds[part.saved.clone()], &part);
            // ANCHOR: keys
            gemm(op.scale, ds.t(), q, 1.0, op.view_mut(dk, &part.keys, part.k_col, k_cols));
            // ANCHOR_END: keys
        }
    });
    grads.give(ds);
}

/// A gradient that several heads add to begins at zero, unless there is something already.
fn start(gradient: &mut [f32], accumulate: bool) {
    if !accumulate {
        gradient.fill(0.0);
    }
}
