//! The two products of attention where nothing is trained: rows of queries with keys, and their weights with values.
//!
//! Keys and values are read where they lie, a few of them for all rows before the next few, since the memory is the limit here
//! too. So the heads that share keys read them once.

use super::super::blocked::{count, split};
use super::super::tile::Tile;
use super::super::vector::Vector;
use super::super::{MatMut, MatRef};
use super::few::{LINE, prefetch};
use super::kernels::{self, Floats};

/// `scores[r][j] = scale · q[r]·k[j]`, for each head: `k` is `[keys, heads · d]`, `q` is `[heads · rows, d]`, the rows of one head after
/// those of another, and `scores` is `[heads · rows, keys]`. Of `next`, which has as many rows as `k`, the lines are asked for: it is
/// what is read after this.
///
/// A score depends on its row and its key alone, not on how many others there are.
///
/// # Panics
/// If the shapes do not match, or the numbers of a row are not contiguous.
#[track_caller]
pub(crate) fn scores(scale: f32, q: MatRef, k: MatRef, next: MatRef, scores: MatMut) {
    scores_with(kernels::best().floats, scale, q, k, next, scores)
}

#[track_caller]
pub(super) fn scores_with(floats: &Floats, scale: f32, q: MatRef, k: MatRef, next: MatRef, scores: MatMut) {
    let heads = k.cols / q.cols.max(1);
    let fit = k.cols == heads * q.cols && q.rows.is_multiple_of(heads.max(1)) && next.rows == k.rows;
    assert!(fit, "scores: {}x{} and {}x{}", q.rows, q.cols, k.rows, k.cols);
    assert!(scores.rows == q.rows && scores.cols == k.rows, "scores: {}x{}", scores.rows, scores.cols);
    assert!(q.col_stride == 1 && k.col_stride == 1 && next.col_stride == 1, "scores: rows are contiguous");
    let scores = Scores {
        heads,
        depth: q.cols,
        rows: q.rows / heads.max(1),
        q: q.data.as_ptr(),
        q_row: q.row_stride,
        keys: k.rows,
        k: k.data.as_ptr(),
        k_row: k.row_stride,
        next,
        scale,
        to: scores.data.as_mut_ptr(),
        to_row: scores.row_stride,
    };
    // SAFETY: the processor can run these loops, and the shapes match.
    unsafe { (floats.scores)(&scores) }
}

/// `out[r] = Σ_j weights[r][j] · v[j]`, for each head: `v` is `[keys, heads · d]`, `weights` is `[heads · rows, keys]` and `out` is
/// `[heads · rows, d]`.
///
/// A row of the results depends on its weights and on the values alone.
///
/// # Panics
/// As [`scores`].
#[track_caller]
pub(crate) fn mix(weights: MatRef, v: MatRef, out: MatMut) {
    mix_with(kernels::best().floats, weights, v, out)
}

#[track_caller]
pub(super) fn mix_with(floats: &Floats, weights: MatRef, v: MatRef, out: MatMut) {
    let (d, heads) = (out.cols, v.cols / out.cols.max(1));
    let fit = v.cols == heads * d && out.rows.is_multiple_of(heads.max(1)) && weights.rows == out.rows;
    assert!(
        fit && weights.cols == v.rows,
        "mix: {}x{} and {}x{}",
        weights.rows,
        weights.cols,
        v.rows,
        v.cols
    );
    assert!(weights.col_stride == 1 && v.col_stride == 1, "mix: rows are contiguous");
    if out.rows == 0 {
        return;
    }
    let (tiles, lanes, c) = (floats.tiles, 1 << floats.tiles.lane_bits, out.data.as_mut_ptr());
    let each = out.rows / heads.max(1);
    let heights = count(each, tiles.rows[usize::from(d > lanes)]);
    for (head, (top, rows)) in (0..heads).flat_map(|head| split(each, heights).map(move |rows| (head, rows)))
    {
        let row = head * each + top;
        let a = weights.data.as_ptr().wrapping_add(row * weights.row_stride);
        let (sizes, mut start) = (tiles.tiles[rows - 1], 0);
        while start < d {
            let vectors = (d - start).div_ceil(lanes);
            let size = sizes.len().min(vectors.ilog2() as usize + 1) - 1;
            let cols = (d - start).min(lanes << size);
            let tile = Tile {
                depth: weights.cols,
                a: std::array::from_fn(|i| a.wrapping_add(4 * i * weights.row_stride)),
                a_row: weights.row_stride,
                a_step: 1,
                b: v.data.as_ptr().wrapping_add(head * d + start),
                b_step: v.row_stride,
                c: c.wrapping_add(row * out.row_stride + start),
                c_row: out.row_stride,
                cols,
                alpha: 1.0,
                beta: 0.0,
            };
            let full = usize::from(cols == lanes << size);
            // SAFETY: the processor can run these tiles, and this one lies in the result, with its rows and columns in the
            // weights and the values.
            unsafe { sizes[size][full](&tile) }
            start += cols;
        }
    }
}

/// What scores are computed from. All strides count numbers.
pub(super) struct Scores<'a> {
    pub heads: usize,
    pub depth: usize,
    /// Of each head.
    pub rows: usize,
    pub q: *const f32,
    pub q_row: usize,
    pub keys: usize,
    pub k: *const f32,
    pub k_row: usize,
    pub next: MatRef<'a>,
    pub scale: f32,
    pub to: *mut f32,
    pub to_row: usize,
}

/// Keys that meet the rows together: with two rows, eight sums keep the multiply-add units busy. They are the first of each
/// quarter, then the second, and so on, since memory is read fastest in several streams.
const TOGETHER: usize = 4;

/// All scores: a few keys meet all rows of all heads before the next few come.
///
/// # Safety
///
/// The processor must have the instructions of `S`. All that [`Scores`] describes must be readable, and `to` also writable, by
/// nobody else.
#[inline(always)]
pub(super) unsafe fn all_scores<S: Vector>(s: &Scores) {
    let quarter = s.keys.div_ceil(TOGETHER);
    for first in 0..quarter {
        let keys = std::array::from_fn(|i| first + i * quarter);
        for head in 0..s.heads {
            for key in keys {
                let next =
                    s.next.data.as_ptr().wrapping_add(key * s.next.row_stride + head * s.depth).cast::<u8>();
                (0..s.depth * size_of::<f32>()).step_by(LINE).for_each(|at| prefetch(next.wrapping_add(at)));
            }
            // SAFETY: what is asked of the caller.
            unsafe {
                let whole = s.rows / 2 * 2;
                (0..whole).step_by(2).for_each(|row| some_scores::<S, 2>(s, (head, row), keys));
                if whole < s.rows {
                    some_scores::<S, 1>(s, (head, whole), keys);
                }
            }
        }
    }
}

/// The scores of some rows of a head and some keys. Where fewer keys are left, the last one takes the place of the missing ones.
///
/// # Safety
///
/// As for [`all_scores`]; the rows and the first key must exist.
#[inline(always)]
unsafe fn some_scores<S: Vector, const ROWS: usize>(
    s: &Scores,
    (head, row): (usize, usize),
    keys: [usize; TOGETHER],
) {
    let (row, last) = (head * s.rows + row, s.keys - 1);
    let whole = s.depth / S::LANES * S::LANES;
    // SAFETY: every access stays within what the caller vouches for.
    unsafe {
        let q: [*const f32; ROWS] = std::array::from_fn(|r| s.q.wrapping_add((row + r) * s.q_row));
        let k = keys.map(|key| s.k.wrapping_add(last.min(key) * s.k_row + head * s.depth));
        let mut sums = [[S::splat(0.0); ROWS]; TOGETHER];
        for p in (0..whole).step_by(S::LANES) {
            let mut x = [S::splat(0.0); ROWS];
            for (x, q) in x.iter_mut().zip(q) {
                *x = S::load(q.add(p));
            }
            for (sums, k) in sums.iter_mut().zip(k) {
                let y = S::load(k.add(p));
                for (sum, x) in sums.iter_mut().zip(x) {
                    *sum = x.mul_add(y, *sum);
                }
            }
        }
        if whole < s.depth {
            let mask = S::mask(s.depth - whole);
            for (sums, k) in sums.iter_mut().zip(k) {
                let y = S::load_part(k.add(whole), mask);
                for (sum, q) in sums.iter_mut().zip(q) {
                    *sum = S::load_part(q.add(whole), mask).mul_add(y, *sum);
                }
            }
        }
        for (key, sums) in keys.into_iter().zip(sums) {
            for (r, sum) in sums.into_iter().enumerate() {
                *s.to.add((row + r) * s.to_row + last.min(key)) = s.scale * sum.sum();
            }
        }
    }
}
