//! Few rows times stored weights of 32 or 16 bits: what writes one more word. Each weight is needed once for each row,
//! so all depends on reading them as fast as the memory gives them.

use super::super::blocked::{DEPTH, count, split};
use super::super::vector::Vector;

/// The most rows that one loop multiplies.
pub(super) const TALLEST: usize = 4;

/// How many bytes ahead of the multiply-adds weights are asked for. The processor does so by itself, but not across the
/// borders of the pages of the memory, 4 KiB each.
pub(super) const AHEAD: usize = 4096;

/// Bytes in a line of the caches.
pub(super) const LINE: usize = 64;

/// Asks for a line of the caches. Any address will do: one without memory behind it is left alone.
#[inline(always)]
pub(super) fn prefetch(at: *const u8) {
    // SAFETY: every x86-64 processor has the instruction, and it changes nothing but the caches.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(at.cast())
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}

/// What a few rows of some outputs are computed from. Rows are counted in numbers, panels in bytes.
pub(super) struct Few {
    pub depth: usize,
    pub x: *const f32,
    pub x_row: usize,
    /// Where the first of some panels begins, and from one to the next.
    pub panel: *const u8,
    pub panel_bytes: usize,
    pub c: *mut f32,
    pub c_row: usize,
    /// Outputs that are left from the first panel on. Those behind the last one exist in the panel alone.
    pub cols: usize,
}

/// How the numbers of a panel are stored.
pub(super) trait Numbers<S: Vector> {
    /// The bytes of two vectors.
    const PAIR: usize;
    /// Loads two vectors.
    ///
    /// # Safety
    /// As for [`Vector::load`].
    unsafe fn load(from: *const u8) -> [S; 2];
}

/// Numbers of 32 bits.
pub(super) struct F32;

/// Bfloat16, two vectors interleaved.
pub(super) struct Bf16;

impl<S: Vector> Numbers<S> for F32 {
    const PAIR: usize = 2 * S::LANES * size_of::<f32>();

    #[inline(always)]
    unsafe fn load(from: *const u8) -> [S; 2] {
        // SAFETY: the caller vouches for two vectors.
        unsafe { [S::load(from.cast()), S::load(from.cast::<f32>().add(S::LANES))] }
    }
}

impl<S: Vector> Numbers<S> for Bf16 {
    const PAIR: usize = 2 * S::LANES * size_of::<u16>();

    #[inline(always)]
    unsafe fn load(from: *const u8) -> [S; 2] {
        // SAFETY: as above.
        unsafe { S::load_bf16(from.cast()) }
    }
}

/// `ROWS` rows of the outputs of `PANELS` panels. Several panels at once make enough sums that do not wait for each other.
///
/// The sums are rounded as those of [`tile`](super::super::tile::tile) are where it runs over the same panel: the products
/// are added one after the other in a block of the depth, and the blocks one after the other.
///
/// # Safety
///
/// The processor must have the instructions of `S`. All that [`Few`] describes must be readable, and `c` also writable, by
/// nobody else.
#[inline(always)]
pub(super) unsafe fn few<S: Vector, N: Numbers<S>, const ROWS: usize, const PANELS: usize>(f: &Few) {
    // SAFETY: every access stays within what the caller vouches for.
    unsafe {
        let zero = S::splat(0.0);
        let mut totals = [[[zero; 2]; PANELS]; ROWS];
        let (mut x, mut panel) = (f.x, f.panel);
        // Behind the end of these panels the next ones follow.
        let lead = (AHEAD / (PANELS * N::PAIR)).min(f.depth);
        let (mut ahead, mut left) = (panel.wrapping_add(lead * N::PAIR), f.depth - lead);
        // One or two panels alone are too few streams for the memory: then the next ones are asked for, four quarters of each
        // side by side.
        let quarters = PANELS < 4 && N::PAIR >= LINE;
        let (next, quarter) = (panel.wrapping_add(PANELS * f.panel_bytes), f.depth.div_ceil(4));
        let mut step = 0;
        for (_, depth) in split(f.depth, count(f.depth, DEPTH)) {
            let mut sums = [[[zero; 2]; PANELS]; ROWS];
            for _ in 0..depth {
                if left == 0 {
                    ahead = ahead.wrapping_add((PANELS - 1) * f.panel_bytes);
                    left = f.depth;
                }
                left -= 1;
                let in_quarter = next.wrapping_add((step % 4 * quarter + step / 4) * N::PAIR);
                let soon = if quarters { in_quarter } else { ahead };
                step += 1;
                let mut weights = [[zero; 2]; PANELS];
                for (i, weights) in weights.iter_mut().enumerate() {
                    prefetch(soon.wrapping_add(i * f.panel_bytes));
                    *weights = N::load(panel.add(i * f.panel_bytes));
                }
                ahead = ahead.wrapping_add(N::PAIR);
                for (r, sums) in sums.iter_mut().enumerate() {
                    let x = S::splat(*x.add(r * f.x_row));
                    for (sums, weights) in sums.iter_mut().zip(weights) {
                        sums[0] = x.mul_add(weights[0], sums[0]);
                        sums[1] = x.mul_add(weights[1], sums[1]);
                    }
                }
                x = x.wrapping_add(1);
                panel = panel.wrapping_add(N::PAIR);
            }
            let one = S::splat(1.0);
            for (totals, sums) in totals.as_flattened_mut().iter_mut().zip(sums.as_flattened()) {
                for (total, sum) in totals.iter_mut().zip(sums) {
                    *total = total.mul_add(one, *sum);
                }
            }
        }
        for (r, totals) in totals.iter().enumerate() {
            for (v, total) in totals.as_flattened().iter().enumerate() {
                let at = f.c.wrapping_add(r * f.c_row + v * S::LANES);
                match f.cols.saturating_sub(v * S::LANES) {
                    0 => {}
                    left if left < S::LANES => total.store_part(at, S::mask(left)),
                    _ => total.store(at),
                }
            }
        }
    }
}

/// Numbers of 16 bits to widen.
pub(super) struct Widen {
    pub from: *const u8,
    /// How many pairs of vectors there are.
    pub pairs: usize,
    pub to: *mut f32,
}

/// The same numbers in 32 bits, in the order that tiles read.
///
/// # Safety
///
/// The processor must have the instructions of `S`. All that [`Widen`] describes must be readable, and its copy writable, by
/// nobody else.
#[inline(always)]
pub(super) unsafe fn widen<S: Vector>(w: &Widen) {
    for p in 0..w.pairs {
        // SAFETY: every access stays within what the caller vouches for.
        unsafe {
            let from = w.from.add(p * <Bf16 as Numbers<S>>::PAIR);
            prefetch(from.wrapping_add(AHEAD));
            let pair: [S; 2] = Bf16::load(from);
            pair[0].store(w.to.add(2 * p * S::LANES));
            pair[1].store(w.to.add((2 * p + 1) * S::LANES));
        }
    }
}
