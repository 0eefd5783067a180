//! Packing: a panel of `b`, or of a transposed `a`, is copied so that each step of the depth finds its numbers
//! side by side.

use super::blocked::{LINE, STRIP};
use super::vector::Vector;

/// A panel to pack: `depth` rows and `width` columns.
pub(super) struct Panel {
    pub from: *const f32,
    /// How far apart the contiguous pieces of the source are: its rows, or its columns.
    pub stride: usize,
    pub width: usize,
    pub depth: usize,
    pub to: *mut f32,
    /// How far apart the packed rows are. The last vector of each of them is written whole.
    pub to_stride: usize,
}

/// Packs a panel whose rows are contiguous. With `AHEAD`, the panel beside it is asked for, which is as wide or less.
///
/// # Safety
///
/// The processor must have the instructions of `S`. The panel must be readable, and its copy writable,
/// the width rounded up to whole vectors, by nobody else. It must be at least one number wide, and at most [`STRIP`] vectors.
#[inline(always)]
pub(super) unsafe fn copy<S: Vector, const AHEAD: bool>(panel: &Panel) {
    const { assert!(STRIP == 3, "there is a case for each number of vectors") };
    debug_assert!((1..=STRIP * S::LANES).contains(&panel.width), "a panel {} wide", panel.width);
    // SAFETY: the caller vouches for it.
    unsafe {
        match panel.width.div_ceil(S::LANES) {
            1 => copy_rows::<S, 1, AHEAD>(panel),
            2 => copy_rows::<S, 2, AHEAD>(panel),
            _ => copy_rows::<S, STRIP, AHEAD>(panel),
        }
    }
}

/// [`copy`] for panels of so many vectors, the last of which may be incomplete. A row is so short that a loop over its vectors would
/// take as long as copying them; with their number known, there is none.
///
/// # Safety
///
/// As for [`copy`].
#[inline(always)]
unsafe fn copy_rows<S: Vector, const VECTORS: usize, const AHEAD: bool>(panel: &Panel) {
    let last = (VECTORS - 1) * S::LANES;
    let full = panel.width == VECTORS * S::LANES;
    let (mut from, mut to) = (panel.from, panel.to);
    // SAFETY: every access stays within what the caller vouches for.
    unsafe {
        let mask = S::mask(panel.width - last);
        for _ in 0..panel.depth {
            if AHEAD {
                S::prefetch(from.wrapping_add(panel.width.max(LINE)));
            }
            for at in (0..last).step_by(S::LANES) {
                S::load(from.add(at)).store(to.add(at));
            }
            let end = from.add(last);
            let x = if full { S::load(end) } else { S::load_part(end, mask) };
            x.store(to.add(last));
            from = from.wrapping_add(panel.stride);
            to = to.wrapping_add(panel.to_stride);
        }
    }
}

/// Packs a panel whose columns are contiguous, block by block. With `AHEAD`, the panel below it is asked for.
///
/// # Safety
///
/// As for [`copy`].
#[inline(always)]
pub(super) unsafe fn transpose<S: Vector, const AHEAD: bool>(panel: &Panel) {
    for j in (0..panel.width).step_by(S::LANES) {
        for p in (0..panel.depth).step_by(S::LANES) {
            if AHEAD && p % LINE == 0 {
                for row in 0..S::LANES {
                    S::prefetch(panel.from.wrapping_add((j + panel.width + row) * panel.stride + p));
                }
            }
            // SAFETY: every access stays within what the caller vouches for.
            unsafe {
                S::transpose(
                    panel.from.add(j * panel.stride + p),
                    panel.stride,
                    S::LANES.min(panel.width - j),
                    S::LANES.min(panel.depth - p),
                    panel.to.add(p * panel.to_stride + j),
                    panel.to_stride,
                )
            }
        }
    }
}
