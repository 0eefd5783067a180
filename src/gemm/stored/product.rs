//! Products with stored weights: who computes which part, and by which loops.

use std::cell::RefCell;
use std::ops::Range;

use smallvec::SmallVec;

use super::super::blocked::{DEPTH, count, split, with_scratch};
use super::super::tile::{FOURTHS, Tile};
use super::blocks::{BLOCK, PANEL, PanelBlock};
use super::few::{self, Few, Widen};
use super::int8::{self, Inputs};
use super::{Dtype, StoredMatrix};
use crate::crew::Crew;

/// How many rows of `x` meet a panel before the next one comes: with a depth of 256, they are a quarter of a usual second
/// cache. Tiles with 2, 3, 4, 6 or 12 rows leave no rest.
const ROWS: usize = 96;

/// The most rows that are multiplied by weights of 32 and 16 bits as they are stored, four rows at a time. A tile has more
/// rows, but it does not ask for weights ahead, and those of 16 bits must be widened for it. With AVX2 and 64 rows, weights of
/// 32 bits take as long either way, and those of 16 bits a tenth less so.
const FEW: usize = 64;

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

/// Inputs in 8 bits, `[n, blocks * BLOCK]`, and their scales, `[n, blocks]`.
#[derive(Clone, Copy)]
struct Rounded {
    numbers: *const i8,
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
                        (Dtype::Int8, _) => self.int8(product, panels),
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
        let loops = if matrix.dtype == Dtype::F32 { floats.f32 } else { floats.bf16 };
        let (width, bytes) = (matrix.panel_width(), matrix.panel_bytes());
        let groups = count(self.n, few::TALLEST);
        let mut panel = panels.start;
        while panel < panels.end {
            let most = if groups == 1 { loops[self.n - 1].len() - 1 } else { 0 };
            let size = ((panels.end - panel).ilog2() as usize).min(most);
            for (row, rows) in split(self.n, groups) {
                let few = Few {
                    depth: matrix.cols,
                    x: self.x.wrapping_add(row * matrix.cols),
                    x_row: matrix.cols,
                    panel: matrix.lines.as_ptr().cast::<u8>().wrapping_add(panel * bytes),
                    panel_bytes: bytes,
                    c: product.out.wrapping_add(row * matrix.rows + panel * width),
                    c_row: matrix.rows,
                    cols: matrix.rows - panel * width,
                };
                // SAFETY: the processor can run the matrix's kernels, the rows are rows of `x` and of the result, and
                // the panels and their outputs exist.
                unsafe { loops[rows - 1][size](&few) }
            }
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
    unsafe fn int8(&self, product: &Product, panels: Range<usize>) {
        let (matrix, Some(rounded)) = (product.matrix, self.rounded) else { return };
        let blocks = matrix.cols.div_ceil(BLOCK);
        for (top, height) in split(self.n, count(self.n, ROWS)) {
            for panel in panels.clone() {
                for (row, rows) in split(height, count(height, few::TALLEST)) {
                    let row = top + row;
                    let few = int8::Few {
                        blocks,
                        x: rounded.numbers.wrapping_add(row * blocks * BLOCK),
                        x_scales: rounded.scales.wrapping_add(row * blocks),
                        panel: matrix.lines.as_ptr().cast::<PanelBlock>().wrapping_add(panel * blocks),
                        c: product.out.wrapping_add(row * matrix.rows + panel * PANEL),
                        c_row: matrix.rows,
                        cols: matrix.rows - panel * PANEL,
                    };
                    // SAFETY: as in `few`.
                    unsafe { matrix.kernels.int8.few[rows - 1](&few) }
                }
            }
        }
    }
}

thread_local! {
    /// Each thread that calls rounds into memory of its own. It grows to the largest size ever asked for and stays.
    static INPUTS: RefCell<Buffers> = RefCell::default();
}

#[derive(Default)]
struct Buffers {
    numbers: Vec<i8>,
    scales: Vec<f32>,
}

impl Buffers {
    /// Rounds `n` rows of `x`.
    fn round(&mut self, crew: &Crew, kernel: &int8::Int8, x: &[f32], n: usize) -> Rounded {
        let cols = x.len() / n;
        let blocks = cols.div_ceil(BLOCK);
        grow(&mut self.numbers, n * blocks * BLOCK);
        grow(&mut self.scales, n * blocks);
        let (numbers, scales) = (Pointer(self.numbers.as_mut_ptr()), Pointer(self.scales.as_mut_ptr()));
        let parts = count(n, ROWS / PARTS);
        crew.each(parts, |part| {
            let (row, end) = (n * part / parts, n * (part + 1) / parts);
            let (to, scales) = (numbers.at(row * blocks * BLOCK), scales.at(row * blocks));
            let x = x[row * cols..end * cols].as_ptr();
            // SAFETY: the processor can run the kernel, both buffers have room, and no other part has these rows.
            unsafe { (kernel.inputs)(&Inputs { rows: end - row, cols, x, to, scales }) }
        });
        Rounded { numbers: numbers.0, scales: scales.0 }
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
