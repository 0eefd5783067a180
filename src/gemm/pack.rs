//! Packing: a panel of `b`, or of a transposed `a`, is copied so that each step of the depth finds its numbers
//! side by side.

use super::blocked::LINE;
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
/// the width rounded up to whole vectors, by nobody else.
#[inline(always)]
pub(super) unsafe fn copy<S: Vector, const AHEAD: bool>(panel: &Panel) {
    let whole = (panel.width - 1) / S::LANES * S::LANES;
    // SAFETY: every access stays within what the caller vouches for.
    unsafe {
        let last = S::mask(panel.width - whole);
        for p in 0..panel.depth {
            let from = panel.from.add(p * panel.stride);
            let to = panel.to.add(p * panel.to_stride);
            if AHEAD {
                S::prefetch(from.wrapping_add(panel.width.max(LINE)));
            }
            for j in (0..whole).step_by(S::LANES) {
                S::load(from.add(j)).store(to.add(j));
            }
            S::load_part(from.add(whole), last).store(to.add(whole));
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
