//! Vectors in plain Rust, for every processor without a file of its own. The compiler turns the short
//! loops into what the target always has: NEON on AArch64, SSE2 on x86-64.

use super::vector::{Kernel, Vector, kernel};
use crate::real::half::from_bf16;

pub(super) static PORTABLE: Kernel = kernel! {
    "portable", Plain, rows [12, 6], tiles
    1: 1 2 4, 2: 1 2 4, 3: 1 2, 4: 1 2, 5: 1 2, 6: 1 2,
    7: 1, 8: 1, 9: 1, 10: 1, 11: 1, 12: 1
};

/// Two of NEON's thirty-two registers, one of SSE's sixteen.
const LANES: usize = if cfg!(target_arch = "aarch64") { 8 } else { 4 };

#[derive(Clone, Copy)]
pub(super) struct Plain([f32; LANES]);

impl Vector for Plain {
    const LANES: usize = LANES;
    type Mask = usize;

    #[inline(always)]
    unsafe fn mask(lanes: usize) -> usize {
        lanes
    }

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        Plain([x; LANES])
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller vouches for LANES numbers; an array of f32 needs no more alignment than f32.
        unsafe { Plain(*from.cast()) }
    }

    #[inline(always)]
    unsafe fn load_part(from: *const f32, lanes: usize) -> Self {
        // SAFETY: only the lanes that the caller vouches for are read.
        Plain(std::array::from_fn(|i| if i < lanes { unsafe { *from.add(i) } } else { 0.0 }))
    }

    #[inline(always)]
    unsafe fn load_bf16(from: *const u16) -> [Self; 2] {
        // SAFETY: the caller vouches for LANES pairs.
        let number = |i| from_bf16(unsafe { *from.add(i) });
        [Plain(std::array::from_fn(|i| number(2 * i))), Plain(std::array::from_fn(|i| number(2 * i + 1)))]
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: as for `load`.
        unsafe { *to.cast() = self.0 }
    }

    #[inline(always)]
    unsafe fn store_part(self, to: *mut f32, lanes: usize) {
        for (i, x) in self.0.into_iter().enumerate().take(lanes) {
            // SAFETY: as for `load_part`.
            unsafe { *to.add(i) = x }
        }
    }

    #[inline(always)]
    unsafe fn mul(self, x: Self) -> Self {
        Plain(std::array::from_fn(|i| self.0[i] * x.0[i]))
    }

    #[inline(always)]
    unsafe fn mul_add(self, x: Self, y: Self) -> Self {
        // Where a fused multiply-add is not an instruction, it is a slow library call.
        if cfg!(any(target_arch = "aarch64", target_feature = "fma")) {
            Plain(std::array::from_fn(|i| self.0[i].mul_add(x.0[i], y.0[i])))
        } else {
            Plain(std::array::from_fn(|i| self.0[i] * x.0[i] + y.0[i]))
        }
    }

    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        self.0.into_iter().sum()
    }

    #[inline(always)]
    unsafe fn transpose(
        from: *const f32,
        stride: usize,
        rows: usize,
        cols: usize,
        to: *mut f32,
        to_stride: usize,
    ) {
        for p in 0..cols {
            for j in 0..LANES {
                // SAFETY: j < rows and p < cols are in the block that the caller vouches for.
                unsafe { *to.add(p * to_stride + j) = if j < rows { *from.add(j * stride + p) } else { 0.0 } }
            }
        }
    }
}
