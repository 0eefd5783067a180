//! Products of whole numbers of 8 bits, in plain Rust and for AVX2: the same sums, the same bits.
//!
//! The products of a block are whole numbers, and so is their sum: it has no rounding and no order. Each block is then one
//! multiply-add in `f32`, `sum * (scale of the weights * scale of the inputs) + total`, one block after the other.

use super::super::vector::Loop;
use super::blocks::{BLOCK, PANEL, PanelBlock, place, quantize};
use super::few::TALLEST;
use crate::real::half::from_f16;

/// The loops for one instruction set.
pub(super) struct Int8 {
    /// `few[rows - 1]` multiplies `rows` rows by a panel.
    pub few: [Loop<Few>; TALLEST],
    /// Quantizes inputs.
    pub inputs: Loop<Inputs>,
}

/// A few rows of the outputs of one panel.
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

/// Rows of `cols` numbers to quantize. The last block of each is filled up with zeros.
pub(super) struct Inputs {
    pub rows: usize,
    pub cols: usize,
    pub x: *const f32,
    pub to: *mut i8,
    pub scales: *mut f32,
}

/// # Safety
///
/// All that [`Inputs`] describes must be readable, and its results writable, by nobody else.
#[inline(always)]
unsafe fn inputs(i: &Inputs) {
    let blocks = i.cols.div_ceil(BLOCK);
    for row in 0..i.rows {
        for block in 0..blocks {
            let (at, first) = (row * blocks + block, block * BLOCK);
            // SAFETY: the block lies in the row, or begins in it, and the results have a place for it.
            unsafe {
                let (x, to) =
                    (i.x.add(row * i.cols + first), &mut *i.to.add(at * BLOCK).cast::<[i8; BLOCK]>());
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

pub(super) static PORTABLE: Int8 = Int8 { few: [few::<1>, few::<2>, few::<3>, few::<4>], inputs };

#[cfg(target_arch = "x86_64")]
pub(super) static AVX2: Int8 = {
    use super::int8_avx2::few_avx2;

    #[target_feature(enable = "avx2")]
    unsafe fn inputs_avx2(i: &Inputs) {
        // SAFETY: what `inputs` asks for is asked of our own caller.
        unsafe { inputs(i) }
    }
    Int8 { few: [few_avx2::<1>, few_avx2::<2>, few_avx2::<3>, few_avx2::<4>], inputs: inputs_avx2 }
};

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
/// As many of the outputs as `cols` says must be writable.
unsafe fn store(totals: &[f32; PANEL], to: *mut f32, cols: usize) {
    for (i, total) in totals.iter().enumerate().take(cols) {
        // SAFETY: the caller vouches for it.
        unsafe { *to.add(i) = *total }
    }
}
