//! What attention can vary in: heads, lengths, who sees whom, and what is added to the scores.

use std::ops::Range;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::Tensor;

/// The variant of attention: how many heads there are, how long the packed sequences are, which keys a query sees, and
/// what is added to the scores.
///
/// A sequence is some rows of the queries and some rows of the keys and values. Packed sequences lie one after another
/// ([`packed`]); but there may be rows between them that belong to none, as in a batch with padding or in a cache, and several
/// sequences may share their keys, as translations of one sentence do. Queries that belong to no sequence get zeros.
///
/// The last query of a sequence stands at its last key, so that the earlier keys may come from a cache. Among `k` keys and
/// `q` queries of a sequence, query `i` has the position `k - q + i`, and key `j` the position `j`.
#[derive(Clone, Copy, Debug)]
pub struct AttentionSpec<'a, T> {
    /// Query heads.
    pub n_head: usize,
    /// Key and value heads; `n_head` is a multiple of it.
    pub n_kv_head: usize,
    /// What the products of queries and keys are multiplied by, by custom `1 / √d`.
    pub scale: f64,
    /// Which keys a query sees.
    pub mask: Mask,
    /// What is added to the scores.
    pub bias: Option<Bias<'a, T>>,
    /// The rows of each sequence's queries, one sequence after another.
    pub queries: &'a [Range<usize>],
    /// The rows of each sequence's keys and values; at least as many as queries, unless the mask is [`Mask::Full`].
    pub keys: &'a [Range<usize>],
}

/// The rows of sequences of these lengths that lie one after another, without a gap.
pub fn packed(lengths: &[usize]) -> Vec<Range<usize>> {
    let mut end = 0;
    let rows = lengths.iter().map(|length| {
        end += length;
        end - length..end
    });
    rows.collect()
}

/// Which keys of its sequence a query sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mask {
    /// All of them, as in an encoder and in cross-attention.
    Full,
    /// Those up to its own position.
    Causal,
    /// The last so many of those, itself included: sliding window attention (Beltagy et al. 2020, section 3.1), causal.
    /// At least 1.
    Window(usize),
}

/// What is added to the score of a query and a key, by how far they are apart.
#[derive(Clone, Copy, Debug)]
pub enum Bias<'a, T> {
    /// ALiBi (Press et al. 2022, section 3): `-slope · distance`, with a slope for each query head, as
    /// [`alibi_slopes`] has them. The paper is about causal attention; with [`Mask::Full`] the distance counts in both
    /// directions.
    Alibi(&'a [f64]),
    /// A number for each bucket of distances and each query head, learned: `[buckets, n_head]`. Relative positions as in T5
    /// (Raffel et al. 2020, section 2.1).
    Table(T, Buckets),
}

/// How T5 puts distances into buckets: each small distance into one of its own, larger ones together with their
/// neighbours, in steps that grow logarithmically up to `max_distance`, and all from there on into the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buckets {
    /// How many there are: at least 2, or if bidirectional 4, and then even. T5 has 32.
    pub count: usize,
    /// From this distance on, all are in the last bucket; more than half of `count`. T5 has 128.
    pub max_distance: usize,
    /// Whether one half of the buckets is for earlier keys and the other for later ones, as in an encoder. If not, all later
    /// keys are in bucket 0, with the key at the query's own position.
    pub bidirectional: bool,
}

impl Mask {
    /// The keys that query number `query` of `queries` sees, among `keys`.
    pub fn seen(self, query: usize, queries: usize, keys: usize) -> Range<usize> {
        let upto = || keys - (queries - 1 - query);
        match self {
            Mask::Full => 0..keys,
            Mask::Causal => 0..upto(),
            Mask::Window(size) => upto().saturating_sub(size)..upto(),
        }
    }
}

impl Buckets {
    /// The bucket of a distance: the query's position minus the key's, so that earlier keys have a positive one.
    pub fn bucket(self, distance: isize) -> usize {
        let (count, first) = match self.bidirectional {
            true => (self.count / 2, if distance < 0 { self.count / 2 } else { 0 }),
            false => (self.count, 0),
        };
        let far = if self.bidirectional { distance.unsigned_abs() } else { distance.max(0) as usize };
        let exact = count / 2; // so many distances have a bucket of their own
        if far < exact {
            return first + far;
        }
        let ratio = |x: usize| (x as f64 / exact as f64).ln();
        let step = ratio(far) / ratio(self.max_distance) * (count - exact) as f64;
        first + (exact + step as usize).min(count - 1)
    }
}

/// The slopes of ALiBi (Press et al. 2022, section 3): for `n` heads the geometric sequence that begins with `2^(-8/n)` and has
/// that as its ratio. Where `n` is no power of two, as in the authors' code: those for the next smaller power of two, and then
/// every other one of those for the next larger.
pub fn alibi_slopes(n_head: usize) -> Vec<f64> {
    let slopes = |n: usize| (1..=n).map(move |head| (-8.0 * head as f64 / n as f64).exp2());
    if n_head == 0 {
        return Vec::new();
    }
    let power = 1 << n_head.ilog2();
    slopes(power).chain(slopes(2 * power).step_by(2)).take(n_head).collect()
}

impl<T: Tensor> Bias<'_, T> {
    /// Adds it to the scores of one query and head, given how far each key lies before the query: `[1, seen] → [1, seen]`.
    pub(super) fn add_to(self, scores: T, head: usize, distances: impl Iterator<Item = isize>) -> T {
        match self {
            Bias::Alibi(slopes) => {
                let bias = distances.map(|distance| -slopes[head] * distance.unsigned_abs() as f64);
                let bias: SmallVec<[f64; 32]> = bias.collect();
                scores + scores.constant(1, bias.len(), &bias)
            }
            Bias::Table(table, buckets) => {
                let rows: SmallVec<[usize; 32]> =
                    distances.map(|distance| buckets.bucket(distance)).collect();
                let column = table.gather_rows(&rows).slice_cols(head..head + 1); // [seen, 1]
                scores + scores.constant(1, 1, &[1.0]).matmul_t(column) // [1, seen]
            }
        }
    }
}

impl<'a, T: Tensor> AttentionSpec<'a, T> {
    /// For each sequence, the rows of its queries and the rows of its keys.
    pub fn sequences(self) -> impl Iterator<Item = (Range<usize>, Range<usize>)> + 'a {
        self.queries.iter().cloned().zip(self.keys.iter().cloned())
    }

    /// The width of a head, after a check that the three matrices and the bias fit this shape and each other.
    pub fn head_dim(self, q: T, k: T, v: T) -> usize {
        let ((queries, width), (keys, kv_width)) = (q.shape(), k.shape());
        let (n_head, n_kv_head) = (self.n_head, self.n_kv_head);
        let d = width / n_head;
        assert_eq!(k.shape(), v.shape(), "attention: keys and values differ in shape");
        assert!(
            d * n_head == width && d * n_kv_head == kv_width && n_head.is_multiple_of(n_kv_head),
            "attention: queries of {width} columns and keys of {kv_width} do not divide into {n_head} and {n_kv_head} \
             heads of the same width",
        );
        assert_eq!(
            self.queries.len(),
            self.keys.len(),
            "attention: sequences of queries against those of keys"
        );
        let mut end = 0;
        for (of_queries, of_keys) in self.sequences() {
            let inside = end <= of_queries.start && of_queries.end <= queries && of_keys.end <= keys;
            assert!(
                inside,
                "attention: the rows {of_queries:?} and {of_keys:?} of a sequence, among {queries} queries, the first {end} \
                 of them taken, and {keys} keys",
            );
            end = end.max(of_queries.end);
            let keyless = !of_queries.is_empty() && of_keys.is_empty();
            assert!(!keyless, "attention: a sequence has queries without keys");
            let fits = self.mask == Mask::Full || of_queries.len() <= of_keys.len();
            assert!(fits, "attention: more queries than keys in a sequence, which only Mask::Full allows");
        }
        assert!(
            self.mask != Mask::Window(0),
            "attention: Mask::Window(0) sees nothing; 1 is a query's own key"
        );
        match self.bias {
            Some(Bias::Alibi(slopes)) => {
                assert_eq!(slopes.len(), n_head, "attention: slopes of ALiBi for {n_head} heads");
            }
            Some(Bias::Table(table, Buckets { count, max_distance, bidirectional })) => {
                let shape = table.shape();
                assert_eq!(shape, (count, n_head), "attention: a table for {count} buckets, {n_head} heads");
                let each = if bidirectional { count / 2 } else { count };
                assert!(
                    each >= 2 && max_distance > each / 2 && !(bidirectional && count % 2 == 1),
                    "attention: {count} buckets cannot hold distances up to {max_distance}",
                );
            }
            None => {}
        }
        d
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_by_hand() {
        // Two new queries after three cached keys stand at the positions 3 and 4.
        let seen = |mask: Mask| [0, 1].map(|query| mask.seen(query, 2, 5));
        assert_eq!(seen(Mask::Full), [0..5, 0..5]);
        assert_eq!(seen(Mask::Causal), [0..4, 0..5]);
        assert_eq!(seen(Mask::Window(2)), [2..4, 3..5]);
        assert_eq!(seen(Mask::Window(9)), seen(Mask::Causal));
        assert_eq!(seen(Mask::Window(1)), [3..4, 4..5]);
    }

    /// Those that the paper writes down, and the authors' list for twelve heads.
    #[test]
    fn slopes_of_alibi() {
        assert_eq!(alibi_slopes(8), [1, 2, 3, 4, 5, 6, 7, 8].map(|n| 0.5_f64.powi(n)));
        assert_eq!(alibi_slopes(1), [1.0 / 256.0]);
        assert_eq!(alibi_slopes(2), [1.0 / 16.0, 1.0 / 256.0]);
        let sixteen = alibi_slopes(16);
        assert!((sixteen[0] - 0.5_f64.sqrt()).abs() < 1e-15 && sixteen[1] == 0.5);
        let twelve = [&alibi_slopes(8)[..], &[0, 2, 4, 6].map(|head| sixteen[head])].concat();
        assert_eq!(alibi_slopes(12), twelve);
        assert!(alibi_slopes(0).is_empty());
    }

    /// 32 buckets up to a distance of 128, as in T5. In a decoder the distances 0 to 15 have one each, and from 16 to 128 the
    /// other 16 buckets grow by a factor of `8^(1/16) = 1.139`: bucket 17 begins at 18.2, bucket 31 at 112.3. An encoder has
    /// half as many each way: 0 to 7, and then `16^(1/8) = √2` from 8 to 128, so 8, 11.3, 16, 22.6, 32, 45.3, 64, 90.5.
    #[test]
    fn buckets_of_t5() {
        let decoder = Buckets { count: 32, max_distance: 128, bidirectional: false };
        let buckets = |b: Buckets, distances: &[isize]| -> Vec<usize> {
            distances.iter().map(|&distance| b.bucket(distance)).collect()
        };
        assert!((0..16).all(|distance| decoder.bucket(distance) == distance as usize));
        let far = [16, 18, 19, 20, 21, 112, 113, 127, 128, 129, 100_000];
        assert_eq!(buckets(decoder, &far), [16, 16, 17, 17, 18, 30, 31, 31, 31, 31, 31]);
        assert_eq!(buckets(decoder, &[-1, -20, -1000]), [0, 0, 0]);

        let encoder = Buckets { bidirectional: true, ..decoder };
        let each = [0, 1, 7, 8, 11, 12, 15, 16, 22, 23, 31, 32, 45, 46, 63, 64, 90, 91, 128, 1000];
        let expected = [0, 1, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13, 14, 14, 15, 15, 15];
        assert_eq!(buckets(encoder, &each), expected);
        let later: Vec<usize> = each[1..].iter().map(|&distance| encoder.bucket(-distance)).collect();
        assert!(later.iter().zip(&expected[1..]).all(|(later, earlier)| *later == earlier + 16));

        let smallest = Buckets { count: 2, max_distance: 2, bidirectional: false };
        assert_eq!(buckets(smallest, &[0, 1, 2, 5]), [0, 1, 1, 1]);
    }
}
