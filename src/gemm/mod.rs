//! Matrix products: [`gemm`] computes `c = alpha * a·b + beta * c` in `f32`.
//!
//! Nearly all the time of training is spent here, so this is the one place where the code follows the
//! processor rather than the mathematics. The definition of a product is three nested loops:
//!
//! ```text
//! for i in 0..m { for j in 0..n { for p in 0..k { c[i][j] += a[i][p] * b[p][j] } } }
//! ```
//!
//! A processor with AVX-512 does sixteen of these multiply-adds with one instruction and starts two such
//! instructions in each clock cycle. But it reads only two vectors from memory in the same time, and
//! each multiply-add above reads three numbers. All that follows is about reading less, from the
//! innermost loop to the outermost:
//!
//! 1. **A tile in registers** (`tile.rs`). 14 rows and 32 columns of `c` stay in 28 registers
//!    while the depth `p` passes by. Each step reads 14 numbers of `a` and 32 of `b` and does
//!    14 * 32 multiply-adds with them.
//! 2. **Blocks in the caches** (`blocked.rs`). A row of tiles meets one panel of `b`, 32 columns wide,
//!    after the other. The depth is cut in blocks of 256, so that what a tile reads of `a` stays in
//!    the first cache, and `b` is cut so that its block stays in the second, for all rows of tiles.
//! 3. **Packing** (`pack.rs`). A panel of `b` is copied to where its vectors lie side by side.
//!    Textbooks (Goto and van de Geijn, *Anatomy of high-performance matrix multiplication*, 2008)
//!    pack both operands. But copying has a price, which is paid back by the number of times that each
//!    copied number is used, and our matrices are small: we measured that `b` is worth it where it must
//!    be transposed or has many rows of `a` to meet, and `a` only where it is transposed and `b` is wide.
//!    Whatever is read where it lies costs nothing, and a product of 7x16 by 16x16 numbers is one call
//!    of one tile. With AVX2, large products are another matter: there both are packed (`large.rs`).
//!
//! **Weights stored for generation** (`stored/`). What writes one more word reads each weight once, so the memory is the limit
//! and not the arithmetic. A [`StoredMatrix`] is packed once, when a model is loaded, in 32, 16 or 8 bits, and [`products`]
//! multiplies by several of them at once. Its threads are a [`Crew`](crate::crew::Crew).
//!
//! The loops are written once, for the vectors of any instruction set (`vector.rs`). Which one
//! is found when the program runs, so one binary is fast everywhere.
//!
//! **Threads.** `gemm` starts none. Its callers run several at once, each on its shard of a batch. Each
//! thread packs into memory of its own, which it keeps, so a warm call allocates nothing.
//!
//! **Which bits come out.** A product depends on its operands and on the instruction set, and on
//! nothing else. A row of `c` has the same bits however many rows there are, so a batch can be cut into
//! shards anywhere. There is one exception: a single row times a transposed matrix, as in a decoding
//! step, is summed in another order. A foreign BLAS ([`backend`] says which one runs) promises none of this.

#[cfg(any(target_os = "macos", feature = "openblas"))]
mod blas;
mod blocked;
mod large;
mod pack;
mod portable;
mod stored;
#[cfg(test)]
mod tests;
mod tile;
mod vector;
#[cfg(target_arch = "x86_64")]
mod x86;

use std::sync::OnceLock;

use vector::Kernel;

pub use stored::{Dtype, StoredMatrix, UnknownDtype, products};
pub(crate) use stored::{mix, scores};

/// A matrix to read: a slice of numbers and how they are laid out.
#[derive(Clone, Copy, Debug)]
pub struct MatRef<'a> {
    data: &'a [f32],
    rows: usize,
    cols: usize,
    /// One of the two strides is 1.
    row_stride: usize,
    col_stride: usize,
}

impl<'a> MatRef<'a> {
    /// `rows` rows of `cols` numbers, one after the other.
    #[track_caller]
    pub fn new(data: &'a [f32], rows: usize, cols: usize) -> Self {
        Self::strided(data, rows, cols, cols)
    }

    /// Rows that begin `stride` numbers apart: some columns of a wider matrix, for example one head of
    /// many. Column `j` of it is the first of `strided(&data[j..], …)`.
    #[track_caller]
    pub fn strided(data: &'a [f32], rows: usize, cols: usize, stride: usize) -> Self {
        check("MatRef", data.len(), rows, cols, stride);
        MatRef { data, rows, cols, row_stride: stride, col_stride: 1 }
    }

    /// The transpose. Nothing is moved, the matrix is only read the other way round.
    pub fn t(self) -> Self {
        MatRef {
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
            ..self
        }
    }
}

/// A matrix to write.
#[derive(Debug)]
pub struct MatMut<'a> {
    data: &'a mut [f32],
    rows: usize,
    cols: usize,
    row_stride: usize,
}

impl<'a> MatMut<'a> {
    /// `rows` rows of `cols` numbers, one after the other.
    #[track_caller]
    pub fn new(data: &'a mut [f32], rows: usize, cols: usize) -> Self {
        Self::strided(data, rows, cols, cols)
    }

    /// Rows that begin `stride` numbers apart. What lies between them is left alone.
    #[track_caller]
    pub fn strided(data: &'a mut [f32], rows: usize, cols: usize, stride: usize) -> Self {
        check("MatMut", data.len(), rows, cols, stride);
        MatMut { data, rows, cols, row_stride: stride }
    }
}

/// All that is unsafe further down relies on this: every number of a matrix lies inside of its slice.
#[track_caller]
fn check(what: &str, len: usize, rows: usize, cols: usize, stride: usize) {
    assert!(rows <= 1 || cols <= stride, "{what}: rows of {cols} numbers overlap at a stride of {stride}");
    let need = match (rows, cols) {
        (0, _) | (_, 0) => Some(0),
        _ => (rows - 1).checked_mul(stride).and_then(|start| start.checked_add(cols)),
    };
    assert!(
        need.is_some_and(|need| need <= len),
        "{what}: {rows}x{cols} at a stride of {stride} does not fit in {len} numbers",
    );
}

/// `c = alpha * a·b + beta * c`, where `a` is `m x k`, `b` is `k x n`, and `c` is `m x n`.
///
/// With `beta = 0` the old `c` is not read: it may be anything, even NaN.
///
/// # Panics
///
/// If the shapes do not match.
#[track_caller]
pub fn gemm(alpha: f32, a: MatRef, b: MatRef, beta: f32, mut c: MatMut) {
    assert!(
        a.cols == b.rows && a.rows == c.rows && b.cols == c.cols,
        "gemm: {}x{} times {}x{} does not make {}x{}; is one of them to be transposed?",
        a.rows,
        a.cols,
        b.rows,
        b.cols,
        c.rows,
        c.cols,
    );
    if c.rows == 0 || c.cols == 0 {
        return;
    }
    #[cfg(any(target_os = "macos", feature = "openblas"))]
    if a.rows.saturating_mul(a.cols).saturating_mul(b.cols) > blas::SMALL {
        return blas::multiply(alpha, a, b, beta, &mut c);
    }
    let kernel = kernel();
    // SAFETY: the kernel is one that this processor can run, the shapes were compared above, and
    // whatever must be packed is.
    match large::fitting(kernel, &a, &b) {
        Some(large) => unsafe { large::multiply((kernel, large), alpha, &a, &b, beta, &mut c) },
        None => unsafe {
            blocked::multiply(kernel, blocked::worth_packing(&a, &b), alpha, &a, &b, beta, &mut c)
        },
    }
}

/// What multiplies: `"gradus AVX-512"`, `"gradus AVX2+FMA"`, `"portable"`, `"Accelerate"` or `"OpenBLAS"`.
pub fn backend() -> &'static str {
    foreign().unwrap_or(kernel().name)
}

/// The BLAS of the system, if it is in use.
fn foreign() -> Option<&'static str> {
    #[cfg(any(target_os = "macos", feature = "openblas"))]
    return Some(blas::NAME);
    #[cfg(not(any(target_os = "macos", feature = "openblas")))]
    None
}

/// The best kernel for this processor.
fn kernel() -> &'static Kernel {
    static KERNEL: OnceLock<&'static Kernel> = OnceLock::new();
    KERNEL.get_or_init(|| supported().next().unwrap_or(&portable::PORTABLE))
}

/// All kernels that this processor can run, the best one first.
fn supported() -> impl Iterator<Item = &'static Kernel> {
    #[cfg(target_arch = "x86_64")]
    let special = [
        is_x86_feature_detected!("avx512f").then_some(&x86::AVX512),
        (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")).then_some(&x86::AVX2),
    ];
    #[cfg(not(target_arch = "x86_64"))]
    let special: [Option<&Kernel>; 0] = [];
    special.into_iter().flatten().chain([&portable::PORTABLE])
}
