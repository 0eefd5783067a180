//! Attention of long sequences, block by block, without a matrix of probabilities.
//!
//! `general.rs` keeps `P`, a number for each query and key: for 8,192 tokens that is 256 MiB a head. Here some queries, a
//! block, meet one block of keys after another, and of the scores only those between the two exist at a time. Two numbers
//! are kept for each query and head (FlashAttention, Dao et al. 2022, section 3.1).
//!
//! **Forward.** A softmax needs the greatest score of its row and a total, which nobody knows before the last block. So they
//! are running ones. Let `m` be the greatest score so far, `l = Σ e^(s - m)` and `o = Σ e^(s - m)·v`. A block of more scores
//! may raise the greatest to `m'`. All that was summed relative to `m` then changes by one factor, `r = e^(m - m')`:
//!
//! ```text
//! l' = r·l + Σ e^(s - m')          both sums over the scores s and the values v of the block
//! o' = r·o + Σ e^(s - m')·v
//! ```
//!
//! After the last block `O = o / l`. For `m` and `l` this is the online softmax (Milakov & Gimelshein 2018, section 3), and
//! with `o` it is Algorithm 1 of FlashAttention.
//!
//! **Backward** computes the scores again. With the last `m` and `1 / l`, which are saved, `p = e^(s - m) / l` is what the
//! softmax of the whole row gives. (Dao 2023 saves one number instead, `m + ln l`. Near 10,000, numbers of 32 bits lie 0.001
//! apart, and to round it is to change every `p` of the row by as large a share.) The derivation in `general.rs` holds for a
//! block as for the whole: `dV`, `dQ` and `dK` are sums over keys or queries, and each block adds its part. Only
//! `Σₖ pₖ·dpₖ` is about a whole row. But with `dpₖ = dO·vₖ` it is the dot product of `dO` and `Σₖ pₖ·vₖ`, the row's result,
//! which is on the tape. So `D = rowsum(dO ∘ O)` is known before the first block (Dao 2023, section 3.1).
//!
//! **Masks.** The keys that a query sees are neighbours, and both ends move forward from query to query. So a block of
//! queries sees a range of keys, and blocks outside of it are never computed: nearly half of all if the mask is causal.
//! Inside, a query may still see no key of a block. Its numbers then stay as they are. Before its first key, `m` is negative
//! infinity, and `r` zero.

use std::array::from_fn;
use std::ops::Range;

use super::{Attention, HeadSlice, Sequence};
use crate::fast::simd;
use crate::fast::tape::{Gradients, Pool, TapeView};
use crate::gemm::{MatMut, MatRef, gemm};
use crate::real::Real;
use crate::tensor::Mask;

/// From this many keys on, a sequence is computed in blocks: there it is a fifth faster with a causal mask. With a full one it is
/// slower up to some thousand keys, which the memory is worth.
const MIN_KEYS: usize = 512;

/// Which sequences the fast engine's attention computes block by block, and how large the blocks are. It decides about time and
/// memory; the results differ by rounding alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttentionBlocks {
    /// The fewest keys of such a sequence. [`usize::MAX`]: no sequence is computed in blocks.
    pub min_keys: usize,
    /// Queries in a block, at least 1.
    pub queries: usize,
    /// Keys in a block, at least 1.
    pub keys: usize,
}

impl Default for AttentionBlocks {
    fn default() -> Self {
        AttentionBlocks { min_keys: MIN_KEYS, queries: 128, keys: 128 }
    }
}

/// How many numbers are saved for each query and head: the greatest score of the row, and one divided by its total.
pub const SAVED: usize = 2;

/// Some queries and some keys of one head.
struct Block {
    slice: HeadSlice,
    queries: Range<usize>,
    keys: Range<usize>,
    /// Whether these queries have met no other keys before.
    first: bool,
}

pub fn forward(
    op: Attention,
    sequence: &Sequence,
    (view, pool): (TapeView<'_>, &mut Pool),
    y: &mut [f32],
    saved: &mut [f32],
) {
    let v = view.data(op.v);
    let mut scratch = pool.take(largest(op, sequence));
    for (head, saved) in op.heads(sequence).zip(saved.chunks_exact_mut(SAVED * sequence.queries.len())) {
        let (greatest, total) = saved.split_at_mut(sequence.queries.len());
        greatest.fill(f32::NEG_INFINITY);
        total.fill(0.0);
        for block in head.blocks(op, sequence) {
            let s = &mut scratch[..block.len()];
            block.scores(op, sequence, view, s);
            let rows = block.rows(op, sequence, s).zip(block.slice.o_rows_mut(y));
            // ANCHOR: forward
            for ((query, seen, s), o) in rows {
                let s = &mut s[seen];
                let (old, new) = (greatest[query], simd::greater(greatest[query], simd::max(s))); // m, m'
                if new > old {
                    let factor = simd::probability(Real::exp(old - new)); // r
                    greatest[query] = new;
                    total[query] *= factor;
                    if !block.first {
                        o.iter_mut().for_each(|o| *o *= factor);
                    }
                }
                s.iter_mut().for_each(|s| *s = simd::probability(Real::exp(*s - new)));
                total[query] += simd::sum(s.len(), |key| s[key]);
            }
            let (weights, beta) = (block.matrix(s), if block.first { 0.0 } else { 1.0 });
            gemm(1.0, weights, block.slice.kv(v), beta, block.slice.q_mut(y)); // o' = r·o + Σ e^(s - m')·v
            // ANCHOR_END: forward
        }
        total.iter_mut().for_each(|total| *total = 1.0 / *total);
        for (o, share) in head.o_rows_mut(y).zip(total) {
            o.iter_mut().for_each(|o| *o *= *share); // O = o / l
        }
    }
    pool.give(scratch);
}

/// `o` are the results, `[all queries, n_head · d]`.
pub fn backward(
    op: Attention,
    sequence: &Sequence,
    grads: &mut Gradients,
    saved: &[f32],
    (o, dy): (&[f32], &[f32]),
) {
    let [q, k, v] = [op.q, op.k, op.v].map(|id| grads.view.data(id));
    let [mut p_scratch, mut ds_scratch] = from_fn(|_| grads.scratch(largest(op, sequence)));
    let mut means = grads.scratch(sequence.queries.len());
    for (head, saved) in op.heads(sequence).zip(saved.chunks_exact(SAVED * sequence.queries.len())) {
        let (greatest, share) = saved.split_at(sequence.queries.len());
        let rows = head.o_rows(o).zip(head.o_rows(dy));
        means.iter_mut().zip(rows).for_each(|(mean, (o, dy))| *mean = simd::dot(o, dy)); // D
        for block in head.blocks(op, sequence) {
            let (p, ds) = (&mut p_scratch[..block.len()], &mut ds_scratch[..block.len()]);
            block.scores(op, sequence, grads.view, p);
            for (query, seen, p) in block.rows(op, sequence, p) {
                let (m, share) = (greatest[query], share[query]);
                p[seen].iter_mut().for_each(|p| *p = simd::probability(Real::exp(*p - m) * share)); // P
            }
            let (slice, dy) = (&block.slice, block.slice.q(dy));
            let p_matrix = block.matrix(p);
            grads.add(op.v, |_, dv, _| gemm(1.0, p_matrix.t(), dy, 1.0, slice.kv_mut(dv))); // dV = Pᵀ·dO
            gemm(1.0, dy, slice.kv(v).t(), 0.0, block.matrix_mut(ds)); // dP = dO·Vᵀ
            let rows = ds.chunks_exact_mut(block.keys.len()).zip(p.chunks_exact(block.keys.len()));
            for ((ds, p), mean) in rows.zip(&means[block.queries.clone()]) {
                ds.iter_mut().zip(p).for_each(|(ds, p)| *ds = p * (*ds - mean)); // dS
            }
            let product = block.matrix(ds);
            grads.add(op.q, |_, dq, _| gemm(op.scale, product, slice.kv(k), 1.0, slice.q_mut(dq))); // dQ = scale·dS·K
            grads.add(op.k, |_, dk, _| gemm(op.scale, product.t(), slice.q(q), 1.0, slice.kv_mut(dk))); // dK = scale·dSᵀ·Q
            if let Some(bias) = op.bias {
                for (ds, query) in ds.chunks_exact(block.keys.len()).zip(block.queries.clone()) {
                    bias.backward(grads, head.at, sequence.distance(query, block.keys.start), ds);
                }
            }
        }
    }
    [p_scratch, ds_scratch, means].into_iter().for_each(|buffer| grads.give(buffer));
}

/// How many scores the largest block of a sequence has.
fn largest(op: Attention, sequence: &Sequence) -> usize {
    op.blocks.queries.min(sequence.queries.len()) * op.blocks.keys.min(sequence.keys.len())
}

/// The blocks of at most `size` of so many queries, each with all of the keys that any of its queries sees.
fn query_blocks(
    mask: Mask,
    (queries, keys): (usize, usize),
    size: usize,
) -> impl Iterator<Item = (Range<usize>, Range<usize>)> {
    blocks(0..queries, size).map(move |block| {
        let [first, last] = [block.start, block.end - 1].map(|query| mask.seen(query, queries, keys));
        (block, first.start..last.end)
    })
}

/// A range in blocks of at most `size`.
fn blocks(range: Range<usize>, size: usize) -> impl Iterator<Item = Range<usize>> {
    let end = range.end;
    range.step_by(size).map(move |start| start..end.min(start.saturating_add(size)))
}

impl Block {
    /// How many scores it has.
    fn len(&self) -> usize {
        self.queries.len() * self.keys.len()
    }

    /// Its scores as a matrix: `[queries, keys]`.
    fn matrix<'a>(&self, scores: &'a [f32]) -> MatRef<'a> {
        MatRef::new(scores, self.queries.len(), self.keys.len())
    }

    /// The same, to be written.
    fn matrix_mut<'a>(&self, scores: &'a mut [f32]) -> MatMut<'a> {
        MatMut::new(scores, self.queries.len(), self.keys.len())
    }

    /// For each query its place in the sequence, which keys of the block it sees, and its row of scores.
    fn rows<'a>(
        &self,
        op: Attention,
        sequence: &Sequence,
        scores: &'a mut [f32],
    ) -> impl Iterator<Item = (usize, Range<usize>, &'a mut [f32])> {
        let (queries, keys) = sequence.lengths();
        let Range { start, end } = self.keys;
        let rows = scores.chunks_exact_mut(self.keys.len()).zip(self.queries.clone());
        rows.map(move |(row, query)| {
            let seen = op.mask.seen(query, queries, keys);
            (query, seen.start.clamp(start, end) - start..seen.end.clamp(start, end) - start, row)
        })
    }

    /// Its scores, `S = scale·Q·Kᵀ (+ bias)`, and 0 for keys that a query does not see.
    fn scores(&self, op: Attention, sequence: &Sequence, view: TapeView<'_>, s: &mut [f32]) {
        let (q, k) = (self.slice.q(view.data(op.q)), self.slice.kv(view.data(op.k)));
        gemm(op.scale, q, k.t(), 0.0, self.matrix_mut(s));
        for (query, seen, s) in self.rows(op, sequence, s) {
            s[..seen.start].fill(0.0);
            s[seen.end..].fill(0.0);
            if let Some(bias) = op.bias.filter(|_| !seen.is_empty()) {
                let distance = sequence.distance(query, self.keys.start + seen.start);
                bias.add_to(view, self.slice.at, distance, &mut s[seen]);
            }
        }
    }
}

impl HeadSlice {
    /// Its blocks: for some queries after others, some keys after others.
    fn blocks(&self, op: Attention, sequence: &Sequence) -> impl Iterator<Item = Block> {
        let size = op.blocks;
        query_blocks(op.mask, sequence.lengths(), size.queries).flat_map(move |(queries, seen)| {
            blocks(seen.clone(), size.keys).map(move |keys| Block {
                slice: HeadSlice {
                    queries: queries.len(),
                    q_start: self.q_start + queries.start * self.q_stride,
                    keys: keys.len(),
                    kv_start: self.kv_start + keys.start * self.kv_stride,
                    ..*self
                },
                queries: queries.clone(),
                first: keys.start == seen.start,
                keys,
            })
        })
    }

    /// Its rows of results, or of their gradients.
    fn o_rows<'a>(&self, data: &'a [f32]) -> impl Iterator<Item = &'a [f32]> + use<'a> {
        let d = self.d;
        data[self.q_start..].chunks(self.q_stride).take(self.queries).map(move |row| &row[..d])
    }

    /// Its rows of results, to be written.
    fn o_rows_mut<'a>(&self, data: &'a mut [f32]) -> impl Iterator<Item = &'a mut [f32]> + use<'a> {
        let d = self.d;
        data[self.q_start..].chunks_mut(self.q_stride).take(self.queries).map(move |row| &mut row[..d])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The blocks of queries and keys that are computed.
    fn computed(
        mask: Mask,
        lengths: (usize, usize),
        size: (usize, usize),
    ) -> Vec<(Range<usize>, Range<usize>)> {
        let keys = |(queries, seen): (Range<usize>, _)| {
            blocks(seen, size.1).map(move |keys| (queries.clone(), keys))
        };
        query_blocks(mask, lengths, size.0).flat_map(keys).collect()
    }

    #[test]
    fn blocks_that_nobody_sees_are_left_out() {
        assert_eq!(computed(Mask::Full, (8, 8), (2, 2)).len(), 16);
        assert_eq!(computed(Mask::Causal, (8, 8), (2, 2)).len(), 4 + 3 + 2 + 1);
        let window = [(0..2, 0..2), (2..4, 1..3), (2..4, 3..4), (4..6, 3..5), (4..6, 5..6)];
        assert_eq!(computed(Mask::Window(2), (6, 6), (2, 2)), window);
        let cached = [(0..2, 0..4), (0..2, 4..8), (2..3, 0..4), (2..3, 4..8), (2..3, 8..9)];
        assert_eq!(computed(Mask::Causal, (3, 9), (2, 4)), cached);
        assert_eq!(computed(Mask::Window(3), (2, 100), (2, 8)), [(0..2, 96..100)]);
    }

    #[test]
    fn the_last_block_is_what_is_left() {
        assert_eq!(
            computed(Mask::Full, (3, 5), (2, 4)),
            [(0..2, 0..4), (0..2, 4..5), (2..3, 0..4), (2..3, 4..5)]
        );
        assert_eq!(computed(Mask::Full, (3, 5), (usize::MAX, usize::MAX)), [(0..3, 0..5)]);
    }
}
