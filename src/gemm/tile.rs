//! The innermost loops, written once for every kind of vector.
//!
//! A *tile* is a small block of `c`: `ROWS` rows of `VECTORS` vectors each, held in registers while
//! the whole depth of the product passes by. Each step of the depth reads `VECTORS` vectors of `b`
//! and `ROWS` single numbers of `a`, and does `ROWS * VECTORS` multiply-adds with them: the taller and
//! wider the tile, the more arithmetic a loaded number pays for. The registers of the processor are
//! the limit, so each instruction set has its own largest tile; the code is the same.

use super::vector::Vector;

/// No tile has more than `4 * FOURTHS` rows.
pub(super) const FOURTHS: usize = 7;

/// What a tile is computed from. All strides count numbers, not bytes.
pub(super) struct Tile {
    /// How many products are added up in each number of the tile.
    pub depth: usize,
    /// Where every fourth row of `a` begins. One pointer would do, but with a single one the compiler
    /// walks from row to row by additions that wait for each other, longer than the multiply-adds take.
    pub a: [*const f32; FOURTHS],
    /// From a row of `a` to the next, and from a number to the next of the same row.
    pub a_row: usize,
    pub a_step: usize,
    /// Where `b` begins, and from a row of it to the next. Its columns are contiguous.
    pub b: *const f32,
    pub b_step: usize,
    /// Where the tile lies, and from a row of it to the next.
    pub c: *mut f32,
    pub c_row: usize,
    /// Width of the tile. Only the last vector may be partly outside.
    pub cols: usize,
    pub alpha: f32,
    pub beta: f32,
}

/// `c = alpha * a·b + beta * c` for one tile.
///
/// Every number of `c` has a lane of its own, and the products are added to it one after the other in
/// the order of the depth. So its value does not depend on the tile that it happens to lie in, which is
/// why splitting a product by rows does not change a single bit.
///
/// # Safety
///
/// The processor must have the instructions of `S`. All that [`Tile`] describes must be readable, and
/// `c` also writable, by nobody else. `cols` must end in the last vector, and at its end if `FULL`.
#[inline(always)]
pub(super) unsafe fn tile<S: Vector, const ROWS: usize, const VECTORS: usize, const FULL: bool>(t: &Tile) {
    // SAFETY: every access stays within what the caller vouches for.
    unsafe {
        let mask = S::mask(t.cols - (VECTORS - 1) * S::LANES);
        let whole = |v: usize| FULL || v + 1 < VECTORS;
        let mut sums = [[S::splat(0.0); VECTORS]; ROWS];
        let (mut a, mut b) = (t.a, t.b);
        // ANCHOR: tile
        for _ in 0..t.depth {
            let mut row = [S::splat(0.0); VECTORS];
            for (v, x) in row.iter_mut().enumerate() {
                let at = b.add(v * S::LANES);
                *x = if whole(v) { S::load(at) } else { S::load_part(at, mask) };
            }
            for (r, sums) in sums.iter_mut().enumerate() {
                let x = S::splat(*a[r / 4].add(r % 4 * t.a_row));
                for (sum, y) in sums.iter_mut().zip(row) {
                    *sum = x.mul_add(y, *sum);
                }
            }
            a = a.map(|a| a.wrapping_add(t.a_step));
            b = b.wrapping_add(t.b_step);
        }
        // ANCHOR_END: tile
        write::<S, ROWS, VECTORS, FULL>(t, sums);
    }
}

/// So many steps of the depth are unrolled in the loop of a large product. Counting and jumping take instructions, too, which a core that
/// two programs share has no time for.
const UNROLLED: usize = 4;

/// The same for a tile whose operands are both packed: `a` in rows of `TALL` numbers, of which the first `ROWS` count, and `b`
/// in rows of two vectors. So all is found at fixed distances from two pointers. The tile of `c` is asked for before the depth
/// passes by.
///
/// # Safety
///
/// As for [`tile`], and the vectors of `b` must be readable as a whole.
#[inline(always)]
pub(super) unsafe fn packed<
    S: Vector,
    const ROWS: usize,
    const TALL: usize,
    const VECTORS: usize,
    const FULL: bool,
>(
    t: &Tile,
) {
    // SAFETY: as above.
    unsafe {
        for row in 0..ROWS {
            let at = t.c.wrapping_add(row * t.c_row);
            S::prefetch(at);
            S::prefetch(at.wrapping_add(t.cols - 1));
        }
        let mut sums = [[S::splat(0.0); VECTORS]; ROWS];
        let (mut a, mut b) = (t.a[0], t.b);
        let mut step = || {
            let row: [S; VECTORS] = std::array::from_fn(|v| S::load(b.add(v * S::LANES)));
            for (r, sums) in sums.iter_mut().enumerate() {
                let x = S::splat(*a.add(r));
                for (sum, y) in sums.iter_mut().zip(row) {
                    *sum = x.mul_add(y, *sum);
                }
            }
            a = a.wrapping_add(TALL);
            b = b.wrapping_add(2 * S::LANES);
        };
        for _ in 0..t.depth / UNROLLED {
            for _ in 0..UNROLLED {
                step();
            }
        }
        for _ in 0..t.depth % UNROLLED {
            step();
        }
        write::<S, ROWS, VECTORS, FULL>(t, sums);
    }
}

/// `c = alpha * sums + beta * c` for one tile.
///
/// # Safety
///
/// As for [`tile`].
#[inline(always)]
unsafe fn write<S: Vector, const ROWS: usize, const VECTORS: usize, const FULL: bool>(
    t: &Tile,
    sums: [[S; VECTORS]; ROWS],
) {
    // SAFETY: as above.
    unsafe {
        let mask = S::mask(t.cols - (VECTORS - 1) * S::LANES);
        let whole = |v: usize| FULL || v + 1 < VECTORS;
        let (alpha, beta) = (S::splat(t.alpha), S::splat(t.beta));
        for (r, sums) in sums.into_iter().enumerate() {
            for (v, sum) in sums.into_iter().enumerate() {
                let at = t.c.add(r * t.c_row + v * S::LANES);
                let mut x = sum.mul(alpha);
                // With beta = 0 the old `c` is not even looked at: it may be NaN.
                if t.beta != 0.0 {
                    let old = if whole(v) { S::load(at) } else { S::load_part(at, mask) };
                    x = old.mul_add(beta, x);
                }
                if whole(v) { x.store(at) } else { x.store_part(at, mask) }
            }
        }
    }
}

/// What a row of dot products is computed from.
pub(super) struct Dots {
    pub depth: usize,
    pub a: *const f32,
    /// Where the first of `count` contiguous columns of `b` begins, and from a column to the next.
    pub b: *const f32,
    pub stride: usize,
    pub count: usize,
    pub c: *mut f32,
    pub alpha: f32,
    pub beta: f32,
}

/// `c = alpha * a·b + beta * c` for a single row `a` and columns of `b` that are contiguous: the
/// product that writes one more word with weights stored as `outputs x inputs`.
///
/// It needs each number of `b` only once, so packing would cost more than multiplying, and all depends
/// on reading `b` as it lies in memory. For that the lanes are parts of one sum here, to be added up at
/// the end: rounded in another order than in a tile.
///
/// # Safety
///
/// As for [`tile`].
#[inline(always)]
pub(super) unsafe fn dots<S: Vector>(d: &Dots) {
    /// Columns at a time: enough sums to keep the multiply-add units busy.
    const COLS: usize = 8;
    let whole = d.depth / S::LANES * S::LANES;
    // SAFETY: every access stays within what the caller vouches for.
    unsafe {
        let mask = S::mask(d.depth - whole);
        for first in (0..d.count).step_by(COLS) {
            let last = d.count.min(first + COLS) - 1;
            // Where fewer are left, the last column takes the place of the missing ones.
            let b: [*const f32; COLS] =
                std::array::from_fn(|i| d.b.wrapping_add(last.min(first + i) * d.stride));
            let mut sums = [S::splat(0.0); COLS];
            for p in (0..whole).step_by(S::LANES) {
                let x = S::load(d.a.add(p));
                for (sum, b) in sums.iter_mut().zip(b) {
                    *sum = S::load(b.add(p)).mul_add(x, *sum);
                }
            }
            if whole < d.depth {
                let x = S::load_part(d.a.add(whole), mask);
                for (sum, b) in sums.iter_mut().zip(b) {
                    *sum = S::load_part(b.add(whole), mask).mul_add(x, *sum);
                }
            }
            for (j, sum) in (first..=last).zip(sums) {
                let c = d.c.add(j);
                let old = if d.beta == 0.0 { 0.0 } else { d.beta * *c };
                *c = d.alpha * sum.sum() + old;
            }
        }
    }
}
