//! The loops around a tile: which part of which matrix is in which cache.

use std::cell::RefCell;

use super::pack::Panel;
use super::tile::{Dots, FOURTHS, Tile};
use super::vector::Kernel;
use super::{MatMut, MatRef};

/// The largest depth that is added up in registers before `c` is updated. So many numbers of each row
/// of a tile are 14 KiB of `a`, and a panel of `b` is 32 KiB: they share the first cache. The blocks
/// are part of the definition of the result, because `c` is rounded after each of them; they depend on
/// nothing but the depth.
pub(super) const DEPTH: usize = 256;

/// The largest block of `b` that all rows of `a` meet before the next one comes: 512 KiB, half of a
/// usual second cache.
pub(super) const BLOCK: usize = 128 * 1024;

/// From this many rows on, a copy of `b` pays even where it could be read in place. The rows of `b` that a
/// panel takes its columns from begin a large power of two apart, as widths usually are: nearly all of them
/// want the same few places in the first cache and drive each other out, while those of a copy lie side
/// by side. The gradient of a layer's weights takes a quarter less time so (128 rows, 512 columns, AVX2);
/// with 64 rows, a product takes a tenth more.
const MANY_ROWS: usize = 128;

/// From this many columns on, a transposed `a` is copied too, if `b` is. A row of tiles wants a few numbers
/// of each stored row of `a`. They again want the same few places in the first cache, so each panel of `b`
/// would fetch them again. With 512 columns a copy saves a tenth of the time, with 128 a twentieth;
/// with 64 it only costs.
const MANY_COLS: usize = 128;

/// A transposed `a` is copied in strips this many vectors wide, which several rows of tiles share: four with
/// AVX2. The number is odd, so that the rows of a strip go round all places of the first cache.
pub(super) const STRIP: usize = 3;

/// Numbers in a cache line. A packed panel begins with one, so that no vector of it lies in two.
pub(super) const LINE: usize = 16;

/// Whether `b` is to be packed. It must be if its rows are not contiguous.
pub(super) fn worth_packing(a: &MatRef, b: &MatRef) -> bool {
    b.col_stride != 1 || a.rows >= MANY_ROWS
}

/// `c = alpha * a·b + beta * c` with the vectors of `kernel`. `c` is not empty.
///
/// # Safety
///
/// The processor must be able to run `kernel`, the shapes must match, and `b` must be packed if its rows
/// are not contiguous.
pub(super) unsafe fn multiply(
    kernel: &Kernel,
    pack: bool,
    alpha: f32,
    a: &MatRef,
    b: &MatRef,
    beta: f32,
    c: &mut MatMut,
) {
    let (m, n, k) = (a.rows, b.cols, a.cols);
    let c_data = c.data.as_mut_ptr();
    if m == 1 && a.col_stride == 1 && b.col_stride != 1 {
        let (a, stride, b) = (a.data.as_ptr(), b.col_stride, b.data.as_ptr());
        // SAFETY: `a`, `b` and `c` are the whole matrices.
        return unsafe { (kernel.dots)(&Dots { depth: k, a, b, stride, count: n, c: c_data, alpha, beta }) };
    }

    // Tiles of nearly the same height are better than high ones and a low rest.
    let lanes = 1 << kernel.lane_bits;
    let heights = count(m, kernel.rows[usize::from(n > lanes)]);
    let tallest = largest(m, heights);
    // A low tile leaves registers to make it wide. Not if `b` is packed, however: then each row of tiles
    // makes up for the work of packing, and a narrow panel is still in the first cache when it is used.
    let wide = kernel.tiles[tallest - 1].len();
    let widest = if pack { wide.min(2) } else { wide };
    let panel = lanes << (widest - 1);
    let blocks = count(k, DEPTH);
    let deepest = largest(k, blocks);
    let width = if n * deepest <= BLOCK { n } else { (BLOCK / deepest).next_multiple_of(panel) };
    // A single row of tiles meets each panel only once: they can all lie in the same place.
    let panels = if heights == 1 { 1 } else { count(width.min(n), panel) };
    let panel_size = if pack { panel * deepest.next_multiple_of(LINE) } else { 0 };
    let pack_a = pack && a.col_stride != 1 && n >= MANY_COLS;
    let strip = if pack_a { STRIP * lanes } else { 0 }; // more than the rows of any tile that is so wide

    with_scratch(panels * panel_size + strip * deepest, |scratch| {
        let a_copy = scratch.wrapping_add(panels * panel_size);
        for (first, depth) in split(k, blocks) {
            let mut t = Tile {
                depth,
                a: [a.data.as_ptr(); FOURTHS],
                a_row: a.row_stride,
                a_step: if pack_a { strip } else { a.col_stride },
                b: b.data.as_ptr(),
                b_step: if pack { panel } else { b.row_stride },
                c: c_data,
                c_row: c.row_stride,
                cols: 0,
                alpha,
                beta: if first == 0 { beta } else { 1.0 },
            };
            let (mut left, mut right) = (0, width.min(n));
            while left < n {
                let mut copied = 0..0;
                for (top, rows) in split(m, heights) {
                    let mut from = a.data.as_ptr().wrapping_add(top * a.row_stride + first * a.col_stride);
                    if pack_a {
                        if top + rows > copied.end {
                            copied = top..m.min(top + strip);
                            let (stride, width, to) = (a.col_stride, copied.len(), a_copy);
                            // SAFETY: the strip lies in `a`, and its copy in the scratch behind the panels.
                            unsafe {
                                (kernel.copy)(&Panel { from, stride, width, depth, to, to_stride: strip })
                            }
                        }
                        from = a_copy.wrapping_add(top - copied.start);
                    }
                    t.a = std::array::from_fn(|i| from.wrapping_add(4 * i * t.a_row));
                    let mut packed = scratch;
                    let mut start = left;
                    while start < right {
                        let end = right.min(start + panel);
                        t.b = b.data.as_ptr().wrapping_add(first * b.row_stride + start * b.col_stride);
                        if pack {
                            if top == 0 {
                                let (how, stride) = match b.col_stride {
                                    1 => (kernel.copy, b.row_stride),
                                    columns => (kernel.transpose, columns),
                                };
                                let (from, width, to) = (t.b, end - start, packed);
                                // SAFETY: the panel lies in `b`, and its copy in the scratch.
                                unsafe { how(&Panel { from, stride, width, depth, to, to_stride: panel }) }
                            }
                            t.b = packed;
                            if heights > 1 {
                                packed = packed.wrapping_add(panel_size);
                            }
                        }
                        while start < end {
                            let vectors = (end - start + lanes - 1) >> kernel.lane_bits;
                            let size = widest.min(vectors.ilog2() as usize + 1) - 1;
                            t.cols = (end - start).min(lanes << size);
                            t.c = c_data.wrapping_add(top * c.row_stride + start);
                            let full = t.cols == lanes << size;
                            // SAFETY: the tile lies in `c`, and all of its rows and columns in `a` and in
                            // `b` or its copy.
                            unsafe { kernel.tiles[rows - 1][size][usize::from(full)](&t) }
                            t.b = t.b.wrapping_add(t.cols);
                            start += t.cols;
                        }
                    }
                }
                (left, right) = (right, n.min(right + width));
            }
        }
    });
}

/// How many parts of a size up to `size` make `total`; at least one. The smallest products take no longer
/// than a few divisions, so they are avoided where the answer is plain.
pub(super) fn count(total: usize, size: usize) -> usize {
    if total <= size { 1 } else { total.div_ceil(size) }
}

/// The largest of the parts that [`split`] makes.
pub(super) fn largest(total: usize, parts: usize) -> usize {
    if parts == 1 { total } else { total.div_ceil(parts) }
}

/// Splits `total` in `parts` that differ by one at most: where they start, and their sizes.
pub(super) fn split(total: usize, parts: usize) -> impl Iterator<Item = (usize, usize)> {
    let (size, larger) = if parts == 1 { (total, 0) } else { (total / parts, total % parts) };
    let mut start = 0;
    (0..parts).map(move |i| {
        let part = (start, size + usize::from(i < larger));
        start += part.1;
        part
    })
}

thread_local! {
    /// Each thread packs into memory of its own. It grows to the largest size ever asked for and stays.
    static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Lends `size` numbers of scratch memory that begin with a cache line.
pub(super) fn with_scratch(size: usize, f: impl FnOnce(*mut f32)) {
    if size == 0 {
        return f(std::ptr::null_mut());
    }
    SCRATCH.with_borrow_mut(|numbers| {
        if numbers.len() < size + LINE {
            numbers.resize(size + LINE, 0.0);
        }
        let start = numbers.as_ptr().align_offset(LINE * size_of::<f32>());
        f(numbers[start..start + size].as_mut_ptr())
    })
}
