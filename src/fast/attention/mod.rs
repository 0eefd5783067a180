//! Attention over packed sequences, head by head, without a node for each score.
//!
//! Three files compute it. `general.rs` has matrix products of whole sequences, and the derivation. `small.rs` does short
//! sequences with narrow heads in single vectors, and `blocked.rs` long ones without a matrix of probabilities. Which of the
//! three takes a sequence is decided here, by [`Attention::sequences`], and nowhere else. Where weights are stored for generation,
//! a fourth, `reading.rs`, takes all of them.

mod bias;
mod blocked;
mod general;
mod reading;
mod small;

use std::ops::Range;

use smallvec::SmallVec;

use super::ops::Op;
use super::tape::{Gradients, Id, Matrix, Node, Span, TapeView};
use crate::tensor::{AttentionSpec, Mask};
use bias::BiasOp;
pub use blocked::AttentionBlocks;

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
    blocks: AttentionBlocks,
    /// Of each sequence the first row and one past the last.
    queries: Span,
    keys: Span,
}

/// A sequence: the rows of its queries, those of its keys, where its part of what is saved lies, and who computes it.
struct Sequence {
    queries: Range<usize>,
    keys: Range<usize>,
    saved: Range<usize>,
    method: Method,
}

/// Who computes a sequence: the file of this name.
#[derive(Clone, Copy)]
enum Method {
    Small,
    General,
    Blocked,
}

/// One head of one sequence, or a block of it: some rows and `d` columns of the queries, the results and their gradients,
/// which are matrices `[all queries, n_head · d]`. It begins at `q_start`, and its rows lie `q_stride` apart. The same for
/// keys and values.
struct HeadSlice {
    /// Which head.
    at: usize,
    d: usize,
    queries: usize,
    q_start: usize,
    q_stride: usize,
    keys: usize,
    kv_start: usize,
    kv_stride: usize,
}

impl Attention {
    /// Saves the probabilities, or what brings them back.
    pub fn forward<'t>(
        q: Matrix<'t>,
        k: Matrix<'t>,
        v: Matrix<'t>,
        spec: AttentionSpec<'_, Matrix<'t>>,
    ) -> Matrix<'t> {
        let d = spec.head_dim(q, k, v);
        let longest = spec.queries.iter().chain(spec.keys).map(Range::len).max().unwrap_or(0);
        let ends = |rows: &[Range<usize>]| {
            let ends: SmallVec<[usize; 64]> = rows.iter().flat_map(|rows| [rows.start, rows.end]).collect();
            q.recording.span(ends)
        };
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
            blocks: q.recording.tape.blocks,
            queries: ends(spec.queries),
            keys: ends(spec.keys),
        };
        let has_gaps = spec.queries.iter().map(Range::len).sum::<usize>() < q.rows;
        q.recording.compute(Op::Attention(op), (q.rows, q.cols), |view, y, saved| {
            if has_gaps {
                y.fill(0.0);
            }
            if let Some(crew) = view.weights.crew() {
                return reading::forward(op, view, crew, y);
            }
            saved.resize(op.sequences(view).last().map_or(0, |last| last.saved.end), 0.0);
            for sequence in op.sequences(view) {
                let saved = &mut saved[sequence.saved.clone()];
                match sequence.method {
                    Method::Small => small::forward(op, &sequence, view, y, saved),
                    Method::General => general::forward(op, &sequence, view, y, saved),
                    Method::Blocked => {
                        let pool = &mut q.recording.tape.pool.borrow_mut();
                        blocked::forward(op, &sequence, (view, pool), y, saved);
                    }
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
            match sequence.method {
                Method::Small => small::backward(self, &sequence, grads, saved, dy),
                Method::General => general::backward(self, &sequence, grads, saved, dy),
                Method::Blocked => {
                    let o = grads.result();
                    blocked::backward(self, &sequence, grads, saved, (o, dy));
                }
            }
        }
    }

    /// The sequences that have a query.
    fn sequences<'a>(self, view: TapeView<'a>) -> impl Iterator<Item = Sequence> + 'a {
        // With wider heads matrix products are faster, as measured.
        let narrow = matches!(self.d, 4 | 8) && self.bias.is_none();
        let rows = |ends: &[u32]| ends[0] as usize..ends[1] as usize;
        let sequences =
            view.indices(self.queries).chunks_exact(2).zip(view.indices(self.keys).chunks_exact(2));
        let mut saved = 0;
        let sequences = sequences.map(move |(queries, keys)| {
            let (queries, keys) = (rows(queries), rows(keys));
            let (method, saved_per_query) = if narrow && queries.len().max(keys.len()) <= small::MOST {
                (Method::Small, small::MOST)
            } else if keys.len() >= self.blocks.min_keys {
                (Method::Blocked, blocked::SAVED)
            } else {
                (Method::General, keys.len())
            };
            let size = self.n_head as usize * queries.len() * saved_per_query;
            saved += size;
            Sequence { queries, keys, saved: saved - size..saved, method }
        });
        sequences.filter(|sequence| !sequence.queries.is_empty())
    }

    fn heads(self, sequence: &Sequence) -> impl Iterator<Item = HeadSlice> + '_ {
        let (n_head, n_kv_head, d) = (self.n_head as usize, self.n_kv_head as usize, self.d as usize);
        let (q_stride, kv_stride) = (n_head * d, n_kv_head * d);
        (0..n_head).map(move |head| HeadSlice {
            at: head,
            d,
            queries: sequence.queries.len(),
            q_start: sequence.queries.start * q_stride + head * d,
            q_stride,
            keys: sequence.keys.len(),
            kv_start: sequence.keys.start * kv_stride + head * n_kv_head / n_head * d, // shared by a group of heads
            kv_stride,
        })
    }
}

impl Sequence {
    /// How many queries and keys it has.
    fn lengths(&self) -> (usize, usize) {
        (self.queries.len(), self.keys.len())
    }

    /// How far a key lies before a query. The last query stands at the last key.
    fn distance(&self, query: usize, key: usize) -> isize {
        (query + self.keys.len()) as isize - (key + self.queries.len()) as isize
    }
}
