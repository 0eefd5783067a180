//! Attention over packed sequences, head by head, without a node for each score.
//!
//! Two files compute it. `general.rs` has matrix products of whole sequences, and the derivation. `small.rs` does short
//! sequences with narrow heads in single vectors. Which of the two takes a sequence is decided here, in
//! [`Attention::is_small`], and nowhere else.

mod bias;
mod general;
mod small;

use std::ops::Range;

use super::ops::Op;
use super::tape::{Gradients, Id, Matrix, Node, Span, TapeView};
use crate::tensor::{AttentionSpec, Mask};
use bias::BiasOp;

#[derive(Clone, Copy, Debug)]
pub struct Attention {
    q: Id,
    k: Id,
    v: Id,
    n_head: u32,
    n_kv_head: u32,
    /// The width of a head.
    d: u32,
    scale: f32,
    mask: Mask,
    bias: Option<BiasOp>,
    queries: Span,
    keys: Span,
}

/// A sequence: the rows of its queries, those of its keys, and where its part of what is saved lies.
struct Sequence {
    queries: Range<usize>,
    keys: Range<usize>,
    saved: Range<usize>,
}

/// One head of one sequence: some rows and `d` columns of queries and results, and of keys and values.
struct HeadSlice {
    /// Which head.
    at: usize,
    queries: Range<usize>,
    keys: Range<usize>,
    /// The first column in queries and results, and in keys and values.
    q_col: usize,
    kv_col: usize,
    /// How many columns these matrices have.
    q_cols: usize,
    kv_cols: usize,
    d: usize,
}

impl Attention {
    /// Saves what the two ways need for backward: probabilities, above all.
    pub fn forward<'t>(
        q: Matrix<'t>,
        k: Matrix<'t>,
        v: Matrix<'t>,
        spec: AttentionSpec<'_, Matrix<'t>>,
    ) -> Matrix<'t> {
        let d = spec.head_dim(q, k, v);
        let longest = spec.queries.iter().chain(spec.keys).copied().max().unwrap_or(0);
        let op = Attention {
            q: q.id,
            k: k.id,
            v: v.id,
            n_head: spec.n_head as u32,
            n_kv_head: spec.n_kv_head as u32,
            d: d as u32,
            scale: spec.scale as f32,
            mask: spec.mask,
            bias: spec.bias.map(|bias| BiasOp::new(q.recording, bias, longest)),
            queries: q.recording.span(spec.queries.iter().copied()),
            keys: q.recording.span(spec.keys.iter().copied()),
        };
        q.recording.compute(Op::Attention(op), (q.rows, q.cols), |view, y, saved| {
            saved.resize(op.sequences(view).last().map_or(0, |last| last.saved.end), 0.0);
            for sequence in op.sequences(view) {
                let saved = &mut saved[sequence.saved.clone()];
                if op.is_small(sequence.keys.len()) {
                    small::forward(op, &sequence, view, y, saved);
                } else {
                    general::forward(op, &sequence, view, y, saved);
                }
            }
        })
    }

    pub fn backward(self, grads: &mut Gradients, node: &Node, dy: &[f32]) {
        // Several heads and sequences add to the same gradients, so these begin at zero.
        for id in [self.q, self.k, self.v].into_iter().chain(self.bias.and_then(BiasOp::learned)) {
            grads.add(id, |_, gradient, accumulate| {
                if !accumulate {
                    gradient.fill(0.0);
                }
            });
        }
        for sequence in self.sequences(grads.view) {
            let saved = &node.saved[sequence.saved.clone()];
            if self.is_small(sequence.keys.len()) {
                small::backward(self, &sequence, grads, saved, dy);
            } else {
                general::backward(self, &sequence, grads, saved, dy);
            }
        }
    }

    /// Whether a sequence of so many keys is done in single vectors. With wider heads matrix products are faster, as
    /// measured.
    fn is_small(self, keys: usize) -> bool {
        keys <= small::KEYS && matches!(self.d, 4 | 8) && self.bias.is_none()
    }

    fn sequences<'a>(self, view: TapeView<'a>) -> impl Iterator<Item = Sequence> + 'a {
        let lengths = view.indices(self.queries).iter().zip(view.indices(self.keys));
        let (mut q, mut k, mut saved) = (0, 0, 0);
        lengths.map(move |(&queries, &keys)| {
            let (queries, keys) = (queries as usize, keys as usize);
            let (n_head, kv_cols) = (self.n_head as usize, (self.n_kv_head * self.d) as usize);
            let size = match self.is_small(keys) {
                true => small::saved(n_head, queries, kv_cols),
                false => general::saved(n_head, queries, keys),
            };
            let sequence =
                Sequence { queries: q..q + queries, keys: k..k + keys, saved: saved..saved + size };
            (q, k, saved) = (q + queries, k + keys, saved + size);
            sequence
        })
    }

    fn heads(self, sequence: &Sequence) -> impl Iterator<Item = HeadSlice> + '_ {
        let (n_head, n_kv_head, d) = (self.n_head as usize, self.n_kv_head as usize, self.d as usize);
        (0..n_head).map(move |head| HeadSlice {
            at: head,
            queries: sequence.queries.clone(),
            keys: sequence.keys.clone(),
            q_col: head * d,
            kv_col: head * n_kv_head / n_head * d, // heads of a group share keys and values
            q_cols: n_head * d,
            kv_cols: n_kv_head * d,
            d,
        })
    }
}

impl Sequence {
    /// How far a key lies before a query. The last query stands at the last key.
    fn distance(&self, query: usize, key: usize) -> isize {
        (query + self.keys.len()) as isize - (key + self.queries.len()) as isize
    }
}

impl HeadSlice {
    /// Where it begins in queries, results and their gradients.
    fn q_start(&self) -> usize {
        self.queries.start * self.q_cols + self.q_col
    }

    /// Where it begins in keys, values and their gradients.
    fn kv_start(&self) -> usize {
        self.keys.start * self.kv_cols + self.kv_col
    }
}
