//! Products with stored weights: who computes which part, and by which loops.

use std::cell::RefCell;
use std::ops::Range;

use smallvec::SmallVec;

use super::super::blocked::{DEPTH, count, split, with_scratch};
use super::super::tile::{FOURTHS, Tile};
use super::blocks::{BLOCK, PANEL, PanelBlock};
use super::few::{FEW, Few, Widen};
use super::int8::{self, Inputs, TALLEST, WideBlock};
use super::{Dtype, StoredMatrix};
use crate::crew::Crew;

/// How many rows of `x` meet a panel before the next one comes: with a depth of 256, they are a quarter of a usual second
/// cache. Tiles with 2, 3, 4, 6 or 12 rows leave no rest.
const ROWS: usize = 96;

/// Parts of a job for each thread. A thread that was interrupted does fewer.
const PARTS: usize = 4;

/// `outs[i] = x · matrices[i]ᵀ`, where `x` is `[n, cols]` and `outs[i]` is `[n, matrices[i].rows()]`. All matrices have the
/// same `cols`.
///
/// All of them are one job of the crew, and inputs are rounded to 8 bits once, if a matrix asks for it.
///
/// # Panics
/// If the shapes do not match.
#[track_caller]
pub fn products(crew: &Crew, x: &[f32], n: usize, matrices: &[&StoredMatrix], outs: &mut [&mut [f32]]) {
    let is = |len: usize, cols: usize| n.checked_mul(cols) == Some(len);
    assert!(matrices.len() == outs.len(), "products: {} matrices and {} results", matrices.len(), outs.len());
    for (i, (matrix, out)) in matrices.iter().zip(&*outs).enumerate() {
        let (rows, cols) = (matrix.rows, matrix.cols);
        assert!(is(x.len(), cols), "products: x has {} numbers, not {n}x{cols}, for matrix {i}", x.len());
        assert!(is(out.len(), rows), "products: result {i} has {} numbers, not {n}x{rows}", out.len());
    }
    if n == 0 || x.is_empty() {
        return outs.iter_mut().for_each(|out| out.fill(0.0)); // sums of nothing
    }
    let mut job = Job { n, x: x.as_ptr(), rounded: None, products: SmallVec::new(), bytes: 0 };
    let mut panels = 0;
    for (matrix, out) in matrices.iter().zip(outs) {
        job.products.push(Product { matrix, out: out.as_mut_ptr(), first_byte: job.bytes });
        job.bytes += matrix.panels() * matrix.panel_bytes();
        panels += matrix.panels();
    }
    let parts = if crew.count() == 1 { 1 } else { panels.min(PARTS * crew.count()) };
    let Some(first) = matrices.iter().find(|matrix| matrix.dtype == Dtype::Int8) else {
        return crew.each(parts, |part| job.part(part, parts));
    };
    INPUTS.with_borrow_mut(|buffers| {
        job.rounded = Some(buffers.round(crew, first.kernels.int8, x, n));
        crew.each(parts, |part| job.part(part, parts));
    });
}

/// A call of [`products`].
struct Job<'a> {
    n: usize,
    /// `[n, cols]`
    x: *const f32,
    /// `x` in 8 bits, if it is needed.
    rounded: Option<Rounded>,
    products: SmallVec<[Product<'a>; 4]>,
    /// Of all panels.
    bytes: usize,
}

// SAFETY: threads read through the pointers, but for what `part` writes: each part has outputs of its own.
unsafe impl Sync for Job<'_> {}

struct Product<'a> {
    matrix: &'a StoredMatrix,
    /// `[n, matrix.rows]`
    out: *mut f32,
    /// The bytes of all matrices before this one.
    first_byte: usize,
}

/// Inputs in 8 bits, or the same numbers in 16, `[n, blocks * BLOCK]`, and their scales, `[n, blocks]`.
#[derive(Clone, Copy)]
struct Rounded {
    narrow: *const i8,
    wide: *const i16,
    scales: *const f32,
}

impl Job<'_> {
    /// The panels that begin in this part of the bytes.
    fn part(&self, part: usize, parts: usize) {
        let border = |part: usize| (self.bytes as u128 * part as u128 / parts as u128) as usize;
        let (from, to) = (border(part), border(part + 1));
        for product in &self.products {
            let before = |border: usize| {
                let bytes = border.saturating_sub(product.first_byte);
                bytes.div_ceil(product.matrix.panel_bytes()).min(product.matrix.panels())
            };
            let panels = before(from)..before(to);
            if !panels.is_empty() {
                // SAFETY: no other part has these panels.
                unsafe {
                    match (product.matrix.dtype, self.n) {
                        (Dtype::F32 | Dtype::Bf16, ..=FEW) => self.few(product, panels),
                        (Dtype::F32 | Dtype::Bf16, _) => self.tiles(product, panels),
                        (Dtype::Int8, ..=FEW) => self.few_int8(product, panels),
                        (Dtype::Int8, _) => self.tiles_int8(product, panels),
                    }
                }
            }
        }
    }

    /// # Safety
    ///
    /// The panels must be the matrix's, and nobody else may compute their outputs.
    unsafe fn few(&self, product: &Product, panels: Range<usize>) {
        let matrix = product.matrix;
        let floats = matrix.kernels.floats;
        let loops = if matrix.dtype == Dtype::F32 { floats.f32 } else { floats.bf16 }[self.n - 1];
        let (width, bytes) = (matrix.panel_width(), matrix.panel_bytes());
        let mut panel = panels.start;
        while panel < panels.end {
            let size = (panels.len().min(panels.end - panel).ilog2() as usize).min(loops.len() - 1);
            let few = Few {
                depth: matrix.cols,
                x: self.x,
                x_row: matrix.cols,
                panel: matrix.lines.as_ptr().cast::<u8>().wrapping_add(panel * bytes),
                panel_bytes: bytes,
                c: product.out.wrapping_add(panel * width),
                c_row: matrix.rows,
                cols: matrix.rows - panel * width,
            };
            // SAFETY: the processor can run the matrix's kernels, and the panels and their outputs exist.
            unsafe { loops[size](&few) }
            panel += 1 << size;
        }
    }

    /// # Safety
    ///
    /// As for [`few`](Self::few).
    unsafe fn tiles(&self, product: &Product, panels: Range<usize>) {
        let matrix = product.matrix;
        let (floats, lanes, cols) = (matrix.kernels.floats, matrix.kernels.lanes(), matrix.cols);
        let (width, bytes) = (matrix.panel_width(), matrix.panel_bytes());
        let scratch = if matrix.dtype == Dtype::F32 { 0 } else { width * DEPTH.min(cols) };
        with_scratch(scratch, |wide| {
            for (top, height) in split(self.n, count(self.n, ROWS)) {
                for (first, depth) in split(cols, count(cols, DEPTH)) {
                    for panel in panels.clone() {
                        let packed = matrix.lines.as_ptr().cast::<u8>().wrapping_add(panel * bytes);
                        let b = match matrix.dtype {
                            Dtype::F32 => packed.cast::<f32>().wrapping_add(first * width),
                            _ => {
                                let from = packed.wrapping_add(first * width * size_of::<u16>());
                                // SAFETY: the panel has so many numbers from there on, and the scratch room for them.
                                unsafe { (floats.widen)(&Widen { from, pairs: depth, to: wide }) }
                                wide.cast_const()
                            }
                        };
                        let outputs = width.min(matrix.rows - panel * width);
                        let vectors = if outputs > lanes { 2 } else { 1 };
                        let tallest = floats.tiles.rows[vectors - 1].min(4 * FOURTHS);
                        for (row, rows) in split(height, count(height, tallest)) {
                            let row = top + row;
                            let a = self.x.wrapping_add(row * cols + first);
                            let tile = Tile {
                                depth,
                                a: std::array::from_fn(|i| a.wrapping_add(4 * i * cols)),
                                a_row: cols,
                                a_step: 1,
                                b,
                                b_step: width,
                                c: product.out.wrapping_add(row * matrix.rows + panel * width),
                                c_row: matrix.rows,
                                cols: outputs,
                                alpha: 1.0,
                                beta: if first == 0 { 0.0 } else { 1.0 },
                            };
                            let full = usize::from(outputs == vectors * lanes);
                            // SAFETY: the processor can run the matrix's kernels, the rows are rows of `x` and of the
                            // result, and the panel and its outputs exist.
                            unsafe { floats.tiles.tiles[rows - 1][vectors - 1][full](&tile) }
                        }
                    }
                }
            }
        });
    }

    /// # Safety
    ///
    /// As for [`few`](Self::few).
    unsafe fn few_int8(&self, product: &Product, panels: Range<usize>) {
        let (matrix, Some(rounded)) = (product.matrix, self.rounded) else { return };
        let blocks = matrix.cols.div_ceil(BLOCK);
        for panel in panels {
            let few = int8::Few {
                blocks,
                x: rounded.narrow,
                x_scales: rounded.scales,
                panel: matrix.lines.as_ptr().cast::<PanelBlock>().wrapping_add(panel * blocks),
                c: product.out.wrapping_add(panel * PANEL),
                c_row: matrix.rows,
                cols: matrix.rows - panel * PANEL,
            };
            // SAFETY: as in `few`; and for so few rows, `narrow` has the inputs.
            unsafe { matrix.kernels.int8.few[self.n - 1](&few) }
        }
    }

    /// # Safety
    ///
    /// As for [`few`](Self::few).
    unsafe fn tiles_int8(&self, product: &Product, panels: Range<usize>) {
        let (matrix, Some(rounded)) = (product.matrix, self.rounded) else { return };
        let (kernel, blocks) = (matrix.kernels.int8, matrix.cols.div_ceil(BLOCK));
        with_scratch(blocks * size_of::<WideBlock>() / size_of::<f32>(), |wide| {
            let wide = wide.cast::<WideBlock>();
            for (top, height) in split(self.n, count(self.n, ROWS)) {
                for panel in panels.clone() {
                    let from = matrix.lines.as_ptr().cast::<PanelBlock>().wrapping_add(panel * blocks);
                    // SAFETY: the panel has so many blocks, and the scratch room for them. It begins with a line.
                    unsafe { (kernel.widen)(&int8::Widen { blocks, from, to: wide }) }
                    for (row, rows) in split(height, count(height, TALLEST)) {
                        let row = top + row;
                        let tile = int8::Tile {
                            blocks,
                            x: rounded.wide.wrapping_add(row * blocks * BLOCK),
                            x_scales: rounded.scales.wrapping_add(row * blocks),
                            panel: wide,
                            c: product.out.wrapping_add(row * matrix.rows + panel * PANEL),
                            c_row: matrix.rows,
                            cols: matrix.rows - panel * PANEL,
                        };
                        // SAFETY: as in `tiles`; and for so many rows, `wide` has the inputs.
                        unsafe { kernel.tiles[rows - 1](&tile) }
                    }
                }
            }
        });
    }
}

thread_local! {
    /// Each thread that calls rounds into memory of its own. It grows to the largest size ever asked for and stays.
    static INPUTS: RefCell<Buffers> = RefCell::default();
}

#[derive(Default)]
struct Buffers {
    narrow: Vec<i8>,
    wide: Vec<i16>,
    scales: Vec<f32>,
}

impl Buffers {
    /// Rounds `n` rows of `x`, in the width that so many rows are read in.
    fn round(&mut self, crew: &Crew, kernel: &int8::Int8, x: &[f32], n: usize) -> Rounded {
        let cols = x.len() / n;
        let blocks = cols.div_ceil(BLOCK);
        grow(&mut self.scales, n * blocks);
        let scales = Pointer(self.scales.as_mut_ptr());
        if n <= FEW {
            grow(&mut self.narrow, n * blocks * BLOCK);
            let to = self.narrow.as_mut_ptr();
            // SAFETY: the processor can run the kernel, and both buffers have room.
            unsafe {
                (kernel.narrow_inputs)(&Inputs { rows: n, cols, x: x.as_ptr(), to, scales: scales.at(0) })
            }
        } else {
            grow(&mut self.wide, n * blocks * BLOCK);
            let to = Pointer(self.wide.as_mut_ptr());
            let parts = count(n, ROWS / PARTS);
            crew.each(parts, |part| {
                let (row, end) = (n * part / parts, n * (part + 1) / parts);
                let (to, scales) = (to.at(row * blocks * BLOCK), scales.at(row * blocks));
                // SAFETY: as above, and no other part has these rows.
                unsafe {
                    let x = x.as_ptr().add(row * cols);
                    (kernel.wide_inputs)(&Inputs { rows: end - row, cols, x, to, scales })
                }
            });
        }
        Rounded { narrow: self.narrow.as_ptr(), wide: self.wide.as_ptr(), scales: self.scales.as_ptr() }
    }
}

fn grow<T: Copy + Default>(buffer: &mut Vec<T>, len: usize) {
    if buffer.len() < len {
        buffer.resize(len, T::default());
    }
}

/// Where several threads write, each in another place.
#[derive(Clone, Copy)]
struct Pointer<T>(*mut T);

// SAFETY: a pointer is not more than an address; who writes there says why nobody else does.
unsafe impl<T: Send> Sync for Pointer<T> {}

impl<T> Pointer<T> {
    fn at(self, place: usize) -> *mut T {
        self.0.wrapping_add(place)
    }
}
