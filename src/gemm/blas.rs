//! The BLAS of the system: Accelerate on macOS, which alone can use the matrix units of Apple's
//! processors, or OpenBLAS where the feature `openblas` asks for it.

use std::ffi::c_int;

use super::{MatMut, MatRef};

pub(super) const NAME: &str = if cfg!(feature = "openblas") { "OpenBLAS" } else { "Accelerate" };

/// Products of no more multiply-adds than these are done before a foreign library has got started.
pub(super) const SMALL: usize = 8 * 1024;

const ROW_MAJOR: c_int = 101;
const AS_IS: c_int = 111;
const TRANSPOSED: c_int = 112;

#[cfg_attr(feature = "openblas", link(name = "openblas"))]
#[cfg_attr(not(feature = "openblas"), link(name = "Accelerate", kind = "framework"))]
unsafe extern "C" {
    fn cblas_sgemm(
        order: c_int,
        a_as: c_int,
        b_as: c_int,
        m: c_int,
        n: c_int,
        k: c_int,
        alpha: f32,
        a: *const f32,
        a_stride: c_int,
        b: *const f32,
        b_stride: c_int,
        beta: f32,
        c: *mut f32,
        c_stride: c_int,
    );
    #[cfg(feature = "openblas")]
    fn openblas_set_num_threads(threads: c_int);
}

/// `c = alpha * a·b + beta * c` for operands whose shapes match.
pub(super) fn multiply(alpha: f32, a: MatRef, b: MatRef, beta: f32, c: &mut MatMut) {
    // Our threads each have a shard of the batch; the library must not start its own below them.
    #[cfg(feature = "openblas")]
    {
        static ONE_THREAD: std::sync::Once = std::sync::Once::new();
        // SAFETY: sets a number in the library.
        ONE_THREAD.call_once(|| unsafe { openblas_set_num_threads(1) });
    }
    let int = |x: usize| c_int::try_from(x).expect("gemm: a size is beyond what the BLAS can count");
    // How an operand is stored, and from one stored row to the next. The library insists that a row is
    // not longer than that, even if there is no next one.
    let stored = |x: MatRef| {
        if x.col_stride == 1 {
            (AS_IS, int(x.row_stride.max(x.cols).max(1)))
        } else {
            (TRANSPOSED, int(x.col_stride.max(x.rows).max(1)))
        }
    };
    let ((a_as, a_stride), (b_as, b_stride)) = (stored(a), stored(b));
    // SAFETY: `MatRef` and `MatMut` lie inside of their slices, and the shapes match.
    unsafe {
        cblas_sgemm(
            ROW_MAJOR,
            a_as,
            b_as,
            int(c.rows),
            int(c.cols),
            int(a.cols),
            alpha,
            a.data.as_ptr(),
            a_stride,
            b.data.as_ptr(),
            b_stride,
            beta,
            c.data.as_mut_ptr(),
            int(c.row_stride.max(c.cols)),
        )
    }
}
