//! Products of whole numbers of 8 bits, in plain Rust and for AVX2: the same sums, the same bits.
//!
//! The products of a block are whole numbers, and so is their sum: it has no rounding and no order. Each block is then one
//! multiply-add in `f32`, `sum * (scale of the weights * scale of the inputs) + total`, one block after the other.

use super::super::vector::Loop;
use super::blocks::{BLOCK, PANEL, PanelBlock, place, quantize};
use crate::half::from_f16;

/// The most rows of a tile. Their twelve sums, two vectors of weights and one of inputs fill 15 registers.
pub(super) const TALLEST: usize = 6;

/// The loops for one instruction set.
pub(super) struct Int8 {
    /// `few[rows - 1]` multiplies the weights as they are stored.
    pub few: [Loop<Few>; super::few::FEW],
    pub widen: Loop<Widen>,
    /// `tiles[rows - 1]` multiplies widened weights.
    pub tiles: [Loop<Tile>; TALLEST],
    /// Quantizes inputs for `few`.
    pub narrow_inputs: Loop<Inputs<i8>>,
    /// Quantizes inputs for tiles.
    pub wide_inputs: Loop<Inputs<i16>>,
}

/// A few rows of the outputs of one panel, from the weights as they are stored.
pub(super) struct Few {
    pub blocks: usize,
    /// `blocks * BLOCK` numbers a row.
    pub x: *const i8,
    /// `blocks` scales a row.
    pub x_scales: *const f32,
    pub panel: *const PanelBlock,
    pub c: *mut f32,
    pub c_row: usize,
    /// Outputs that are left from this panel on. Those behind the last one exist in the panel alone.
    pub cols: usize,
}

/// A block of a panel in 16 bits, two inputs of eight outputs in each vector: the order in which an instruction
/// multiplies them and adds the two products.
#[repr(C, align(64))]
pub(super) struct WideBlock {
    pub scales: [f32; PANEL],
    pub numbers: [i16; PANEL * BLOCK],
}

/// Where the number of an output and an input lies in a [`WideBlock`].
fn wide_place(output: usize, input: usize) -> usize {
    (input / 2 * 2 + output / 8) * 16 + output % 8 * 2 + input % 2
}

/// A panel to widen.
pub(super) struct Widen {
    pub blocks: usize,
    pub from: *const PanelBlock,
    pub to: *mut WideBlock,
}

/// Some rows of the outputs of one panel, from widened weights.
pub(super) struct Tile {
    pub blocks: usize,
    pub x: *const i16,
    pub x_scales: *const f32,
    pub panel: *const WideBlock,
    pub c: *mut f32,
    pub c_row: usize,
    pub cols: usize,
}

/// Rows of `cols` numbers to quantize. The last block of each is filled up with zeros.
pub(super) struct Inputs<T> {
    pub rows: usize,
    pub cols: usize,
    pub x: *const f32,
    pub to: *mut T,
    pub scales: *mut f32,
}

/// # Safety
///
/// All that [`Inputs`] describes must be readable, and its results writable, by nobody else.
#[inline(always)]
unsafe fn inputs<T: From<i8>>(i: &Inputs<T>) {
    let blocks = i.cols.div_ceil(BLOCK);
    for row in 0..i.rows {
        for block in 0..blocks {
            let (at, first) = (row * blocks + block, block * BLOCK);
            // SAFETY: the block lies in the row, or begins in it, and the results have a place for it.
            unsafe {
                let (x, to) =
                    (i.x.add(row * i.cols + first), &mut *i.to.add(at * BLOCK).cast::<[T; BLOCK]>());
                *i.scales.add(at) = if first + BLOCK <= i.cols {
                    quantize(&*x.cast(), to)
                } else {
                    let mut part = [0.0; BLOCK];
                    part[..i.cols - first].copy_from_slice(std::slice::from_raw_parts(x, i.cols - first));
                    quantize(&part, to)
                };
            }
        }
    }
}

/// The loops of an instruction set as a table.
macro_rules! int8 {
    ($few:ident, $tile:ident, $widen:ident $(, #[$features:meta])?) => {
        Int8 {
            few: [$few::<1>, $few::<2>, $few::<3>, $few::<4>],
            widen: $widen,
            tiles: [$tile::<1>, $tile::<2>, $tile::<3>, $tile::<4>, $tile::<5>, $tile::<6>],
            narrow_inputs: {
                $(#[$features])?
                unsafe fn run(i: &Inputs<i8>) {
                    // SAFETY: what `inputs` asks for is asked of our own caller.
                    unsafe { inputs(i) }
                }
                run
            },
            wide_inputs: {
                $(#[$features])?
                unsafe fn run(i: &Inputs<i16>) {
                    // SAFETY: as above.
                    unsafe { inputs(i) }
                }
                run
            },
        }
    };
}

pub(super) static PORTABLE: Int8 = int8!(few, tile, widen);

#[cfg(target_arch = "x86_64")]
pub(super) static AVX2: Int8 =
    int8!(few_avx2, tile_avx2, widen_avx2, #[target_feature(enable = "avx2,fma,f16c")]);

#[cfg(target_arch = "x86_64")]
use super::int8_avx2::{few_avx2, tile_avx2, widen_avx2};

/// # Safety
///
/// All that [`Few`] describes must be readable, and `c` also writable, by nobody else.
unsafe fn few<const ROWS: usize>(f: &Few) {
    for r in 0..ROWS {
        let mut totals = [0.0; PANEL];
        for b in 0..f.blocks {
            let at = r * f.blocks + b;
            // SAFETY: the blocks of this row and panel are among those that the caller vouches for.
            let (block, x, scale) = unsafe {
                (&*f.panel.add(b), &*f.x.add(at * BLOCK).cast::<[i8; BLOCK]>(), *f.x_scales.add(at))
            };
            for (output, total) in totals.iter_mut().enumerate() {
                let product = |input| i32::from(block.numbers[place(output, input)]) * i32::from(x[input]);
                let sum: i32 = (0..BLOCK).map(product).sum();
                *total = (sum as f32).mul_add(from_f16(block.scales[output]) * scale, *total);
            }
        }
        // SAFETY: the outputs of this row are `c`'s.
        unsafe { store(&totals, f.c.add(r * f.c_row), f.cols) }
    }
}

/// # Safety
///
/// As for [`few`].
unsafe fn tile<const ROWS: usize>(t: &Tile) {
    for r in 0..ROWS {
        let mut totals = [0.0; PANEL];
        for b in 0..t.blocks {
            let at = r * t.blocks + b;
            // SAFETY: as above.
            let (block, x, scale) = unsafe {
                (&*t.panel.add(b), &*t.x.add(at * BLOCK).cast::<[i16; BLOCK]>(), *t.x_scales.add(at))
            };
            for (output, total) in totals.iter_mut().enumerate() {
                let product =
                    |input| i32::from(block.numbers[wide_place(output, input)]) * i32::from(x[input]);
                let sum: i32 = (0..BLOCK).map(product).sum();
                *total = (sum as f32).mul_add(block.scales[output] * scale, *total);
            }
        }
        // SAFETY: as above.
        unsafe { store(&totals, t.c.add(r * t.c_row), t.cols) }
    }
}

/// # Safety
///
/// As many of the outputs as `cols` says must be writable.
unsafe fn store(totals: &[f32; PANEL], to: *mut f32, cols: usize) {
    for (i, total) in totals.iter().enumerate().take(cols) {
        // SAFETY: the caller vouches for it.
        unsafe { *to.add(i) = *total }
    }
}

/// # Safety
///
/// The panel must be readable, and its copy writable, by nobody else.
unsafe fn widen(w: &Widen) {
    for b in 0..w.blocks {
        // SAFETY: the caller vouches for so many blocks.
        let (from, to) = unsafe { (&*w.from.add(b), &mut *w.to.add(b)) };
        for output in 0..PANEL {
            to.scales[output] = from_f16(from.scales[output]);
            for input in 0..BLOCK {
                to.numbers[wide_place(output, input)] = i16::from(from.numbers[place(output, input)]);
            }
        }
    }
}
