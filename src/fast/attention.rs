//! Attention over packed sequences, head by head, as matrix products of whole sequences.
//!
//! For one head of one sequence, with `S = scale·Q·Kᵀ` and `P` its rows as probabilities (zero where a key is later than
//! the query), the result is `O = P·V`. Backward, with `dO` given: `dV = Pᵀ·dO` and `dP = dO·Vᵀ`. Through the softmax of a
//! row, `dsⱼ = pⱼ·(dpⱼ - Σ pₖ·dpₖ)`. At last `dQ = scale·dS·K` and `dK = scale·dSᵀ·Q`.

use std::ops::Range;

use super::gemm::{MatMut, MatRef, gemm};
use super::simd;
use super::tape::{Earlier, Gradients, Id, Matrix, Op, Span};
use crate::tensor::AttentionShape;

/// [`AttentionShape`] on the tape.
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
struct Part {
    /// The rows of its queries, and of its keys and values.
    queries: Range<usize>,
    keys: Range<usize>,
    /// The first column of the head, in queries and in keys.
    q_col: usize,
    k_col: usize,
    /// Where its probabilities lie among all that are saved.
    saved: Range<usize>,
    /// Whether it is the first query head of those that share this key head.
    first: bool,
}

impl AttentionOp {
    fn parts<'a>(&'a self, earlier: Earlier<'a>) -> impl Iterator<Item = Part> + 'a {
        let (n_head, group) = (self.n_head as usize, (self.n_head / self.n_kv_head) as usize);
        let d = self.d as usize;
        let lengths = earlier.indices(self.queries).iter().zip(earlier.indices(self.keys));
        let (mut q, mut k, mut saved) = (0, 0, 0);
        lengths.flat_map(move |(&queries, &keys)| {
            let (queries, keys) = (queries as usize, keys as usize);
            let (first_q, first_k, first_saved) = (q, k, saved);
            (q, k, saved) = (q + queries, k + keys, saved + n_head * queries * keys);
            (0..n_head).map(move |head| {
                let start = first_saved + head * queries * keys;
                Part {
                    queries: first_q..first_q + queries,
                    keys: first_k..first_k + keys,
                    q_col: head * d,
                    k_col: head / group * d,
                    saved: start..start + queries * keys,
                    first: head % group == 0,
                }
            })
        })
    }

    /// The part of a matrix that belongs to some rows and one head.
    fn view<'a>(&self, data: &'a [f32], rows: &Range<usize>, col: usize, cols: usize) -> MatRef<'a> {
        MatRef::strided(&data[rows.start * cols + col..], rows.len(), self.d as usize, cols)
    }

    /// The same, to be written.
    fn view_mut<'a>(&self, data: &'a mut [f32], rows: &Range<usize>, col: usize, cols: usize) -> MatMut<'a> {
        MatMut::strided(&mut data[rows.start * cols + col..], rows.len(), self.d as usize, cols)
    }

    /// How many keys the query in some row of its sequence sees.
    fn seen(&self, part: &Part, row: usize) -> usize {
        if self.causal { part.keys.len() - (part.queries.len() - 1 - row) } else { part.keys.len() }
    }
}

/// Attention. Saves `P`.
pub(super) fn attention<'t>(
    q: Matrix<'t>,
    k: Matrix<'t>,
    v: Matrix<'t>,
    shape: AttentionShape<'_>,
) -> Matrix<'t> {
    let d = shape.head_dim(q, k, v);
    let op = AttentionOp {
        n_head: shape.n_head as u32,
        n_kv_head: shape.n_kv_head as u32,
        d: d as u32,
        scale: shape.scale as f32,
        causal: shape.causal,
        queries: q.pass.span(shape.queries.iter().copied()),
        keys: q.pass.span(shape.keys.iter().copied()),
    };
    let tape_op = Op::Attention { q: q.id, k: k.id, v: v.id, shape: op };
    q.pass.compute(tape_op, (q.rows, q.cols), |earlier, y, saved| {
        let pairs: usize = shape.queries.iter().zip(shape.keys).map(|(q, k)| q * k).sum();
        saved.resize(shape.n_head * pairs, 0.0);
        let (q_data, k_data, v_data) = (earlier.data(q.id), earlier.data(k.id), earlier.data(v.id));
        for part in op.parts(earlier) {
            let (queries, keys) = (part.queries.len(), part.keys.len());
            let p = &mut saved[part.saved.clone()];
            let (q_view, k_view) = (
                op.view(q_data, &part.queries, part.q_col, q.cols),
                op.view(k_data, &part.keys, part.k_col, k.cols),
            );
            gemm(op.scale, q_view, k_view.t(), 0.0, MatMut::new(p, queries, keys)); // [queries, keys]
            for (row, p) in p.chunks_exact_mut(keys).enumerate() {
                let (seen, later) = p.split_at_mut(op.seen(&part, row));
                softmax(seen);
                later.fill(0.0);
            }
            let v_view = op.view(v_data, &part.keys, part.k_col, v.cols);
            let out = op.view_mut(y, &part.queries, part.q_col, q.cols);
            gemm(1.0, MatRef::new(p, queries, keys), v_view, 0.0, out); // [queries, d]
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
    out: &mut Gradients,
    id: Id,
    [q, k, v]: [Id; 3],
    op: AttentionOp,
    dy: &[f32],
) {
    let earlier = out.earlier;
    let saved = &earlier.nodes[id as usize].saved;
    let (q_cols, k_cols) = (earlier.nodes[q as usize].cols, earlier.nodes[k as usize].cols);
    let beta = |more: bool, part: &Part| if more || !part.first { 1.0 } else { 0.0 };
    let p = |part: &Part| MatRef::new(&saved[part.saved.clone()], part.queries.len(), part.keys.len());

    out.add(v, |_, dv, more| {
        for part in op.parts(earlier) {
            let dy = op.view(dy, &part.queries, part.q_col, q_cols);
            gemm(1.0, p(&part).t(), dy, beta(more, &part), op.view_mut(dv, &part.keys, part.k_col, k_cols));
        }
    });
    let mut ds = out.scratch(saved.len());
    for part in op.parts(earlier) {
        let (queries, keys) = (part.queries.len(), part.keys.len());
        let ds = &mut ds[part.saved.clone()];
        let dy = op.view(dy, &part.queries, part.q_col, q_cols);
        let v = op.view(earlier.data(v), &part.keys, part.k_col, k_cols);
        gemm(1.0, dy, v.t(), 0.0, MatMut::new(ds, queries, keys));
        for (ds, p) in ds.chunks_exact_mut(keys).zip(saved[part.saved].chunks_exact(keys)) {
            let shared = simd::dot(p, ds);
            ds.iter_mut().zip(p).for_each(|(ds, p)| *ds = p * (*ds - shared));
        }
    }
    let ds_of = |part: &Part| MatRef::new(&ds[part.saved.clone()], part.queries.len(), part.keys.len());
    out.add(q, |_, dq, more| {
        for part in op.parts(earlier) {
            let k = op.view(earlier.data(k), &part.keys, part.k_col, k_cols);
            let beta = if more { 1.0 } else { 0.0 };
            gemm(op.scale, ds_of(&part), k, beta, op.view_mut(dq, &part.queries, part.q_col, q_cols));
        }
    });
    out.add(k, |_, dk, more| {
        for part in op.parts(earlier) {
            let q = op.view(earlier.data(q), &part.queries, part.q_col, q_cols);
            let to = op.view_mut(dk, &part.keys, part.k_col, k_cols);
            gemm(op.scale, ds_of(&part).t(), q, beta(more, &part), to);
        }
    });
    out.give(ds);
}
