//! Attention of short sequences: with at most [`LANES`] keys, a row of scores is a single vector.
//!
//! The names GPT has many tiny products, of 7 queries with 7 keys of width 4. As calls of a general matrix product, they
//! would spend their time on the way there. Here keys and values are transposed into columns, one vector for each of the `D`
//! columns of a head, and then everything that concerns a query is a handful of vector operations. The derivation is in
//! `attention.rs`.
//!
//! All columns of a sequence are transposed before any is used, and kept for the way back. To read a vector whose numbers were
//! just written one by one, the processor would wait until they have all arrived in the cache.

use std::array::from_fn;

use wide::f32x16;

use super::simd::{self, LANES};

/// One number for each key. What lies beyond the last key is zero.
pub(super) type Keys = [f32; LANES];

/// Keys or values of one head of width `D`: for each column, its number of each key.
type Columns<const D: usize> = [f32x16; D];

/// RotaryTable the rows of all keys into columns.
pub(super) fn transpose(rows: &[f32], columns: &mut [Keys]) {
    columns.fill([0.0; LANES]);
    for (key, row) in rows.chunks_exact(columns.len()).enumerate() {
        columns.iter_mut().zip(row).for_each(|(column, x)| column[key] = *x);
    }
}

/// The columns of a head, as vectors.
#[inline]
fn vectors<const D: usize>(columns: &[Keys]) -> Columns<D> {
    columns.first_chunk::<D>().expect("the columns of the head").map(f32x16::from)
}

/// Evaluates an expression with the constant `$D` equal to `$d`, a width of head that [`fits`].
macro_rules! by_width {
    ($d:expr, $D:ident => $work:expr) => {
        match $d {
            4 => by_width!(@with 4, $D => $work),
            _ => by_width!(@with 8, $D => $work),
        }
    };
    (@with $number:literal, $D:ident => $work:expr) => {{
        const $D: usize = $number;
        $work
    }};
}
pub(super) use by_width;

/// Whether attention over so many keys in a head of width `d` is done here. For wider heads general matrix products are
/// faster, as measured.
pub(super) fn fits(keys: usize, d: usize) -> bool {
    keys <= LANES && matches!(d, 4 | 8)
}

/// Some rows of a matrix from a head's first column on.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    pub(super) data: &'a [f32],
    pub(super) count: usize,
    pub(super) stride: usize,
}

impl<'a> Rows<'a> {
    fn each<const D: usize>(self) -> impl Iterator<Item = &'a [f32; D]> {
        let rows = self.data.chunks(self.stride).take(self.count);
        rows.map(|row| row.first_chunk().expect("a row of the head"))
    }
}

/// The same to be added to, or written.
pub(super) struct RowsMut<'a> {
    pub(super) data: &'a mut [f32],
    pub(super) count: usize,
    pub(super) stride: usize,
}

impl RowsMut<'_> {
    fn each<const D: usize>(&mut self) -> impl Iterator<Item = &mut [f32; D]> {
        let rows = self.data.chunks_mut(self.stride).take(self.count);
        rows.map(|row| row.first_chunk_mut().expect("a row of the head"))
    }

    fn add_columns<const D: usize>(&mut self, columns: Columns<D>) {
        let columns = columns.map(f32x16::to_array);
        for (key, row) in self.each::<D>().enumerate() {
            for (to, column) in row.iter_mut().zip(columns) {
                *to += column[key];
            }
        }
    }
}

/// Writes the probabilities `p` of each query, of which the one in row `row` sees the first `seen(row)` keys, and into `out`
/// the values mixed by them.
pub(super) fn forward<const D: usize>(
    q: Rows<'_>,
    [k, v]: [&[Keys]; 2],
    scale: f32,
    seen: impl Fn(usize) -> usize,
    p: &mut [Keys],
    mut out: RowsMut<'_>,
) {
    let (k, v) = (vectors::<D>(k), vectors::<D>(v));
    for (row, ((p, q), out)) in p.iter_mut().zip(q.each()).zip(out.each::<D>()).enumerate() {
        let weights = softmax(mix(q, &k) * scale, seen(row));
        *p = weights.to_array();
        *out = from_fn(|at| (weights * v[at]).reduce_add());
    }
}

// ANCHOR: softmax
/// Scores as probabilities, of which the query sees the first `seen`. What the others are does not matter.
#[inline(always)]
pub(super) fn softmax(scores: f32x16, seen: usize) -> f32x16 {
    let visible = f32x16::from(VISIBLE[seen]);
    let scores = visible.simd_eq(f32x16::ONE).select(scores, HIDDEN);
    let weights = (scores - simd::fold(scores.to_array(), simd::greater)).exp() * visible;
    weights / weights.reduce_add()
}
// ANCHOR_END: softmax

/// The score of keys that a query does not see, far below all others.
const HIDDEN: f32x16 = f32x16::new([-1e30; LANES]);

/// For every number of keys that are seen, 1 for each of them and 0 for the others.
static VISIBLE: [Keys; LANES + 1] = {
    let mut table = [[0.0; LANES]; LANES + 1];
    let mut seen = 0;
    while seen <= LANES {
        let mut key = 0;
        while key < seen {
            table[seen][key] = 1.0;
            key += 1;
        }
        seen += 1;
    }
    table
};

/// `dv += pᵀ·dy`.
pub(super) fn backward_values<const D: usize>(p: &[Keys], dy: Rows<'_>, mut dv: RowsMut<'_>) {
    dv.add_columns(outer::<D>(p, dy, 1.0));
}

/// From the gradient of the result to that of the scores: `ds = p · (dp - Σ p·dp)` with `dp = dy·vᵀ`.
pub(super) fn backward_scores<const D: usize>(p: &[Keys], dy: Rows<'_>, v: &[Keys], ds: &mut [Keys]) {
    let v = vectors::<D>(v);
    for ((ds, p), dy) in ds.iter_mut().zip(p).zip(dy.each()) {
        let (p, dp) = (f32x16::from(*p), mix(dy, &v));
        *ds = (p * (dp - (p * dp).reduce_add())).to_array();
    }
}

/// `dq += scale · ds·k`.
pub(super) fn backward_queries<const D: usize>(ds: &[Keys], k: &[Keys], scale: f32, mut dq: RowsMut<'_>) {
    let k = vectors::<D>(k);
    for (ds, dq) in ds.iter().zip(dq.each::<D>()) {
        let ds = f32x16::from(*ds) * scale;
        dq.iter_mut().zip(&k).for_each(|(dq, k)| *dq += (ds * *k).reduce_add());
    }
}

/// `dk += scale · dsᵀ·q`.
pub(super) fn backward_keys<const D: usize>(ds: &[Keys], q: Rows<'_>, scale: f32, mut dk: RowsMut<'_>) {
    dk.add_columns(outer::<D>(ds, q, scale));
}

/// The sum of columns, each times its number of a row.
#[inline]
fn mix<const D: usize>(row: &[f32; D], columns: &Columns<D>) -> f32x16 {
    row.iter().zip(columns).fold(f32x16::ZERO, |sum, (x, column)| column.mul_add(f32x16::splat(*x), sum))
}

/// For each column, the sum of all vectors of `keys`, each times its row's number in that column.
#[inline]
fn outer<const D: usize>(keys: &[Keys], rows: Rows<'_>, scale: f32) -> Columns<D> {
    let mut columns = [f32x16::ZERO; D];
    for (keys, row) in keys.iter().zip(rows.each::<D>()) {
        let keys = f32x16::from(*keys) * scale;
        columns = from_fn(|at| keys.mul_add(f32x16::splat(row[at]), columns[at]));
    }
    columns
}
