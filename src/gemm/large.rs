//! Large products: both operands are packed, and the loops are in the order of Goto and van de Geijn (2008).
//!
//! In `blocked.rs` a row of tiles stays in the first cache, and all panels of `b` come by, from the second. That is best while
//! the second holds all of them. But a panel of `b` is nearly three times as much to read as a row of tiles. So where `b` is wide and
//! deep, a panel of it stays in the first cache, and all of `a` comes by, number by number from one end of a copy to the other:
//!
//! ```text
//! for each block of the depth:          so deep that a panel of b fits into half of the first cache
//!     for each group of rows:           pack them, tile by tile
//!         for each panel of b:          pack it
//!             for each tile of the group:   ask for a part of the next panel
//! ```
//!
//! Weights and results of a layer do not fit into any cache, so what a panel is packed from lies in the memory. With each tile, a few lines
//! of the next panel are asked for: they arrive while tiles are computed. To ask for all of them at once takes longer, since the
//! processor waits for no more than some dozens at a time.
//!
//! The depth is cut as in `blocked.rs`, and every number is added up in the same order, so which of the two computes a product
//! does not change a bit.

use std::ops::Range;

use super::blocked::{BLOCK, DEPTH, LINE, count, largest, split, with_scratch};
use super::pack::Panel;
use super::tile::{FOURTHS, Tile};
use super::vector::{Kernel, Large};
use super::{MatMut, MatRef};

/// The least depth of a large product, and the fewest rows. Below, packing both takes more time than it saves.
const LEAST: usize = 128;

/// The most rows of `a` that are packed at a time: a megabyte, which comes by from the third cache. The more there are, the fewer times a
/// panel of `b` is packed.
const GROUP: usize = 1024;

/// How the kernel computes this product, if it is large and the kernel has an order of its own for that. It is large if what
/// `blocked.rs` would keep of `b` in the second cache fills all the room that it has there.
pub(super) fn fitting<'k>(kernel: &'k Kernel, a: &MatRef, b: &MatRef) -> Option<&'k Large> {
    let fills = || b.cols.saturating_mul(largest(a.cols, count(a.cols, DEPTH))) >= BLOCK;
    kernel.large.as_ref().filter(|_| a.rows.min(a.cols) >= LEAST && fills())
}

/// `c = alpha * a·b + beta * c` with the vectors of `kernel`, whose large tiles are `large`.
///
/// # Safety
///
/// The processor must be able to run `kernel`, the shapes must match, and the product must be [`fitting`].
pub(super) unsafe fn multiply(
    (kernel, large): (&Kernel, &Large),
    alpha: f32,
    a: &MatRef,
    b: &MatRef,
    beta: f32,
    c: &mut MatMut,
) {
    let (m, n, k) = (a.rows, b.cols, a.cols);
    let c_data = c.data.as_mut_ptr();
    let lanes = 1 << kernel.lane_bits;
    let (tall, panel) = (large.rows, 2 * lanes);
    let (blocks, groups) = (count(k, DEPTH), count(m, GROUP));
    let deepest = largest(k, blocks);
    let most_tiles = count(largest(m, groups), tall);
    // A row that is packed is written as whole vectors, and the next one over its end. The last needs room for that.
    let tile_size = (tall * deepest + lanes).next_multiple_of(LINE);
    let panel_size = (panel * deepest).next_multiple_of(LINE);
    let pack_a = if a.col_stride == 1 { large.transpose } else { large.copy };
    let pack_b = if b.col_stride == 1 { kernel.copy } else { kernel.transpose };
    let (a_stride, b_stride) = (a.row_stride.max(a.col_stride), b.row_stride.max(b.col_stride));

    with_scratch(panel_size + most_tiles * tile_size, |b_copy| {
        let a_copy = b_copy.wrapping_add(panel_size);
        for (first, depth) in split(k, blocks) {
            for (top, group) in split(m, groups) {
                let tiles = || split(group, count(group, tall)).enumerate();
                for (at, (row, width)) in tiles() {
                    let from = (top + row) * a.row_stride + first * a.col_stride;
                    let (from, to) =
                        (a.data.as_ptr().wrapping_add(from), a_copy.wrapping_add(at * tile_size));
                    // SAFETY: the rows lie in `a`, and their copy in the scratch behind the panel.
                    unsafe { pack_a(&Panel { from, stride: a_stride, width, depth, to, to_stride: tall }) }
                }
                for start in (0..n).step_by(panel) {
                    let width = panel.min(n - start);
                    let from = b.data.as_ptr().wrapping_add(first * b.row_stride + start * b.col_stride);
                    let (stride, to) = (b_stride, b_copy);
                    // SAFETY: the panel lies in `b`, and its copy at the beginning of the scratch.
                    unsafe { pack_b(&Panel { from, stride, width, depth, to, to_stride: panel }) }
                    let next = start + width..n.min(start + width + panel);
                    let mut ahead = Ahead::of(b, first..first + depth, next, count(group, tall));
                    let (wide, full) = (width > lanes, width % lanes == 0);
                    for (at, (row, height)) in tiles() {
                        ahead.ask(large.prefetch);
                        let tile = Tile {
                            depth,
                            a: [a_copy.wrapping_add(at * tile_size).cast_const(); FOURTHS],
                            a_row: 1,
                            a_step: tall,
                            b: b_copy,
                            b_step: panel,
                            c: c_data.wrapping_add((top + row) * c.row_stride + start),
                            c_row: c.row_stride,
                            cols: width,
                            alpha,
                            beta: if first == 0 { beta } else { 1.0 },
                        };
                        // SAFETY: the tile lies in `c`, and its rows and columns in the two copies. A product that is so large
                        // has tiles of two heights: `tall`, and one less.
                        unsafe {
                            large.tiles[usize::from(height == tall)][usize::from(wide)][usize::from(full)](
                                &tile,
                            )
                        }
                    }
                }
            }
        }
    });
}

/// The lines of the panel that comes next, which are asked for a few at a time.
struct Ahead {
    from: *const f32,
    /// How many contiguous pieces the panel has, how far apart, and how many lines are in each.
    pieces: usize,
    stride: usize,
    lines: usize,
    /// How many lines are asked for at a time.
    each: usize,
    /// The next one: its piece, and its place there.
    at: (usize, usize),
}

impl Ahead {
    /// Those of some rows and columns of `b`, of which there may be none, asked for in so many `times`.
    fn of(b: &MatRef, rows: Range<usize>, columns: Range<usize>, times: usize) -> Self {
        let from = b.data.as_ptr().wrapping_add(rows.start * b.row_stride + columns.start * b.col_stride);
        let (pieces, length, stride) = match b.col_stride {
            1 => (rows.len(), columns.len(), b.row_stride),
            stride => (columns.len(), rows.len(), stride),
        };
        let lines = length.div_ceil(LINE);
        Ahead { from, pieces, stride, lines, each: (pieces * lines).div_ceil(times), at: (0, 0) }
    }

    /// Asks for some more.
    fn ask(&mut self, prefetch: fn(*const f32)) {
        for _ in 0..self.each {
            let (piece, line) = self.at;
            if line == self.lines {
                return;
            }
            prefetch(self.from.wrapping_add(piece * self.stride + line * LINE));
            self.at = if piece + 1 < self.pieces { (piece + 1, line) } else { (0, line + 1) };
        }
    }
}
