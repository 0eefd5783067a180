//! Attention as matrix products of whole sequences.
//!
//! For one head of one sequence, forward is
//!
//! ```text
//! S = scale·Q·Kᵀ (+ bias)     [queries, keys]
//! P = softmax of each row over the keys that the query sees, and 0 elsewhere
//! O = P·V                     [queries, d]
//! ```
//!
//! Backward, with `dO` given, from the end to the beginning. The product `O = P·V` gives `dV = Pᵀ·dO` and `dP = dO·Vᵀ`. In a
//! row of the softmax a higher score `sⱼ` raises `pⱼ` and lowers the others: `∂pₖ/∂sⱼ = pₖ·([k = j] - pⱼ)`. Summed over `k`,
//! that is `dsⱼ = pⱼ·(dpⱼ - Σₖ pₖ·dpₖ)`. Where `p` is 0 so is `ds`: nothing has to be masked again. The product
//! `S = scale·Q·Kᵀ` gives `dQ = scale·dS·K` and `dK = scale·dSᵀ·Q`.

use super::{Attention, HeadSlice, Sequence};
use crate::fast::simd;
use crate::fast::tape::{Gradients, TapeView};
use crate::gemm::{MatMut, MatRef, gemm};

pub fn forward(op: Attention, sequence: &Sequence, view: TapeView<'_>, y: &mut [f32], saved: &mut [f32]) {
    let (queries, keys) = (sequence.queries.len(), sequence.keys.len());
    let [q, k, v] = [op.q, op.k, op.v].map(|id| view.data(id));
    for (head, p) in op.heads(sequence).zip(saved.chunks_exact_mut(queries * keys)) {
        gemm(op.scale, head.q(q), head.kv(k).t(), 0.0, MatMut::new(p, queries, keys)); // S = scale·Q·Kᵀ
        for (query, s) in p.chunks_exact_mut(keys).enumerate() {
            let seen = op.mask.seen(query, queries, keys);
            if let Some(bias) = op.bias {
                let distance = sequence.distance(query, seen.start);
                bias.add_to(view, head.at, distance, &mut s[seen.clone()]);
            }
            simd::softmax(&mut s[seen.clone()]); // P
            s[..seen.start].fill(0.0);
            s[seen.end..].fill(0.0);
        }
        gemm(1.0, MatRef::new(p, queries, keys), head.kv(v), 0.0, head.q_mut(y)); // O = P·V
    }
}

pub fn backward(op: Attention, sequence: &Sequence, grads: &mut Gradients, saved: &[f32], dy: &[f32]) {
    let (queries, keys) = (sequence.queries.len(), sequence.keys.len());
    let [q, k, v] = [op.q, op.k, op.v].map(|id| grads.view.data(id));
    let mut scratch = grads.scratch(queries * keys);
    for (head, p) in op.heads(sequence).zip(saved.chunks_exact(queries * keys)) {
        // ANCHOR: backward
        let (p_rows, p, dy) = (p.chunks_exact(keys), MatRef::new(p, queries, keys), head.q(dy));
        grads.add(op.v, |_, dv, _| gemm(1.0, p.t(), dy, 1.0, head.kv_mut(dv))); // dV = Pᵀ·dO
        gemm(1.0, dy, head.kv(v).t(), 0.0, MatMut::new(&mut scratch, queries, keys)); // dP = dO·Vᵀ
        for (ds, p) in scratch.chunks_exact_mut(keys).zip(p_rows) {
            let mean = simd::dot(p, ds);
            ds.iter_mut().zip(p).for_each(|(ds, p)| *ds = p * (*ds - mean)); // dS
        }
        let ds = MatRef::new(&scratch, queries, keys);
        grads.add(op.q, |_, dq, _| gemm(op.scale, ds, head.kv(k), 1.0, head.q_mut(dq))); // dQ = scale·dS·K
        grads.add(op.k, |_, dk, _| gemm(op.scale, ds.t(), head.q(q), 1.0, head.kv_mut(dk))); // dK = scale·dSᵀ·Q
        // ANCHOR_END: backward
        if let Some(bias) = op.bias {
            for (query, ds) in scratch.chunks_exact(keys).enumerate() {
                bias.backward(grads, head.at, sequence.distance(query, 0), ds);
            }
        }
    }
    grads.give(scratch);
}

impl HeadSlice {
    /// Its part of queries, results or their gradients: `[queries, d]`.
    pub(super) fn q<'a>(&self, data: &'a [f32]) -> MatRef<'a> {
        MatRef::strided(&data[self.q_start..], self.queries, self.d, self.q_stride)
    }

    /// Its part of keys, values or their gradients: `[keys, d]`.
    pub(super) fn kv<'a>(&self, data: &'a [f32]) -> MatRef<'a> {
        MatRef::strided(&data[self.kv_start..], self.keys, self.d, self.kv_stride)
    }

    /// The first, to be written.
    pub(super) fn q_mut<'a>(&self, data: &'a mut [f32]) -> MatMut<'a> {
        MatMut::strided(&mut data[self.q_start..], self.queries, self.d, self.q_stride)
    }

    /// The second, to be written.
    pub(super) fn kv_mut<'a>(&self, data: &'a mut [f32]) -> MatMut<'a> {
        MatMut::strided(&mut data[self.kv_start..], self.keys, self.d, self.kv_stride)
    }
}
