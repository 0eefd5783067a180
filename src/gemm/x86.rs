//! The vectors of x86-64: AVX-512 with 16 lanes, AVX2 with 8.

use std::arch::x86_64::*;

use super::vector::{Kernel, Vector, kernel};

/// 28 sums, two vectors of `b` and one number of `a`, repeated, fill 31 of the 32 registers.
pub(super) static AVX512: Kernel = kernel! {
    "gradus AVX-512", Avx512, #[target_feature(enable = "avx512f")] rows [28, 14], tiles
    1: 1 2 4 8, 2: 1 2 4 8, 3: 1 2 4, 4: 1 2 4, 5: 1 2 4, 6: 1 2 4, 7: 1 2,
    8: 1 2, 9: 1 2, 10: 1 2, 11: 1 2, 12: 1 2, 13: 1 2, 14: 1 2,
    15: 1, 16: 1, 17: 1, 18: 1, 19: 1, 20: 1, 21: 1, 22: 1, 23: 1, 24: 1, 25: 1, 26: 1, 27: 1, 28: 1
};

/// Twelve sums and as much beside them fill 15 of the 16 registers.
pub(super) static AVX2: Kernel = kernel! {
    "gradus AVX2+FMA", Avx2, #[target_feature(enable = "avx2,fma")] rows [12, 6], large 5 6, tiles
    1: 1 2 4, 2: 1 2 4, 3: 1 2, 4: 1 2, 5: 1 2, 6: 1 2,
    7: 1, 8: 1, 9: 1, 10: 1, 11: 1, 12: 1
};

/// Sixteen numbers.
#[derive(Clone, Copy)]
pub(super) struct Avx512(__m512);

// SAFETY of every block below: the intrinsics need AVX-512F, which `Vector` asks of the caller, and
// touch exactly the memory that it vouches for.
impl Vector for Avx512 {
    const LANES: usize = 16;
    type Mask = __mmask16;

    #[inline(always)]
    unsafe fn mask(lanes: usize) -> __mmask16 {
        ((1u32 << lanes) - 1) as __mmask16
    }

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        unsafe { Avx512(_mm512_set1_ps(x)) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        unsafe { Avx512(_mm512_loadu_ps(from)) }
    }

    #[inline(always)]
    unsafe fn load_part(from: *const f32, mask: __mmask16) -> Self {
        unsafe { Avx512(_mm512_maskz_loadu_ps(mask, from)) }
    }

    #[inline(always)]
    unsafe fn load_bf16(from: *const u16) -> [Self; 2] {
        unsafe {
            let pairs = _mm512_loadu_si512(from.cast());
            let first = _mm512_slli_epi32::<16>(pairs);
            let second = _mm512_and_si512(pairs, _mm512_set1_epi32(0xffff_0000_u32 as i32));
            [Avx512(_mm512_castsi512_ps(first)), Avx512(_mm512_castsi512_ps(second))]
        }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        unsafe { _mm512_storeu_ps(to, self.0) }
    }

    #[inline(always)]
    unsafe fn store_part(self, to: *mut f32, mask: __mmask16) {
        unsafe { _mm512_mask_storeu_ps(to, mask, self.0) }
    }

    #[inline(always)]
    unsafe fn mul(self, x: Self) -> Self {
        unsafe { Avx512(_mm512_mul_ps(self.0, x.0)) }
    }

    #[inline(always)]
    unsafe fn mul_add(self, x: Self, y: Self) -> Self {
        unsafe { Avx512(_mm512_fmadd_ps(self.0, x.0, y.0)) }
    }

    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        unsafe { _mm512_reduce_add_ps(self.0) }
    }

    /// Four rounds: the first two transpose 4×4 blocks within each quarter of a register, the last two
    /// transpose the 4×4 matrix of these blocks.
    #[inline(always)]
    unsafe fn transpose(
        from: *const f32,
        stride: usize,
        rows: usize,
        cols: usize,
        to: *mut f32,
        to_stride: usize,
    ) {
        unsafe {
            let mask = Self::mask(cols);
            let mut x = [_mm512_setzero_ps(); 16];
            let mut at = from;
            for (r, x) in x.iter_mut().enumerate() {
                *x = _mm512_maskz_loadu_ps(mask, at);
                // The next block of rows: they are too many streams for the processor to prefetch by itself.
                _mm_prefetch::<_MM_HINT_T0>(at.wrapping_add(Self::LANES * stride).cast());
                at = at.wrapping_add(if r + 1 < rows { stride } else { 0 });
            }
            let mut y = [_mm512_setzero_ps(); 16];
            for i in (0..16).step_by(4) {
                let ab = _mm512_unpacklo_ps(x[i], x[i + 1]);
                let ab_high = _mm512_unpackhi_ps(x[i], x[i + 1]);
                let cd = _mm512_unpacklo_ps(x[i + 2], x[i + 3]);
                let cd_high = _mm512_unpackhi_ps(x[i + 2], x[i + 3]);
                y[i] = _mm512_shuffle_ps::<0x44>(ab, cd);
                y[i + 1] = _mm512_shuffle_ps::<0xee>(ab, cd);
                y[i + 2] = _mm512_shuffle_ps::<0x44>(ab_high, cd_high);
                y[i + 3] = _mm512_shuffle_ps::<0xee>(ab_high, cd_high);
            }
            // Quarter q of y[4 * i + s] now holds column 4 * q + s of rows 4 * i to 4 * i + 3.
            let mut z = [_mm512_setzero_ps(); 16];
            for s in 0..4 {
                let low = _mm512_shuffle_f32x4::<0x44>(y[s], y[4 + s]);
                let low_high = _mm512_shuffle_f32x4::<0xee>(y[s], y[4 + s]);
                let high = _mm512_shuffle_f32x4::<0x44>(y[8 + s], y[12 + s]);
                let high_high = _mm512_shuffle_f32x4::<0xee>(y[8 + s], y[12 + s]);
                z[s] = _mm512_shuffle_f32x4::<0x88>(low, high);
                z[4 + s] = _mm512_shuffle_f32x4::<0xdd>(low, high);
                z[8 + s] = _mm512_shuffle_f32x4::<0x88>(low_high, high_high);
                z[12 + s] = _mm512_shuffle_f32x4::<0xdd>(low_high, high_high);
            }
            let mut at = to;
            for (p, z) in z.iter().enumerate() {
                if p == cols {
                    return;
                }
                _mm512_storeu_ps(at, *z);
                at = at.wrapping_add(to_stride);
            }
        }
    }
}

/// Eight numbers.
#[derive(Clone, Copy)]
pub(super) struct Avx2(__m256);

// SAFETY of every block below: the intrinsics need AVX2 and FMA, which `Vector` asks of the caller,
// and touch exactly the memory that it vouches for.
impl Vector for Avx2 {
    const LANES: usize = 8;
    type Mask = __m256i;

    #[inline(always)]
    unsafe fn mask(lanes: usize) -> __m256i {
        unsafe {
            let lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
            _mm256_cmpgt_epi32(_mm256_set1_epi32(lanes as i32), lane)
        }
    }

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        unsafe { Avx2(_mm256_set1_ps(x)) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        unsafe { Avx2(_mm256_loadu_ps(from)) }
    }

    #[inline(always)]
    unsafe fn load_part(from: *const f32, mask: __m256i) -> Self {
        unsafe { Avx2(_mm256_maskload_ps(from, mask)) }
    }

    #[inline(always)]
    unsafe fn load_bf16(from: *const u16) -> [Self; 2] {
        unsafe {
            let pairs = _mm256_loadu_si256(from.cast());
            let first = _mm256_slli_epi32::<16>(pairs);
            let second = _mm256_and_si256(pairs, _mm256_set1_epi32(0xffff_0000_u32 as i32));
            [Avx2(_mm256_castsi256_ps(first)), Avx2(_mm256_castsi256_ps(second))]
        }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        unsafe { _mm256_storeu_ps(to, self.0) }
    }

    #[inline(always)]
    unsafe fn store_part(self, to: *mut f32, mask: __m256i) {
        unsafe { _mm256_maskstore_ps(to, mask, self.0) }
    }

    #[inline(always)]
    unsafe fn mul(self, x: Self) -> Self {
        unsafe { Avx2(_mm256_mul_ps(self.0, x.0)) }
    }

    #[inline(always)]
    unsafe fn mul_add(self, x: Self, y: Self) -> Self {
        unsafe { Avx2(_mm256_fmadd_ps(self.0, x.0, y.0)) }
    }

    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        unsafe {
            let x = _mm_add_ps(_mm256_castps256_ps128(self.0), _mm256_extractf128_ps::<1>(self.0));
            let x = _mm_add_ps(x, _mm_movehl_ps(x, x));
            _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)))
        }
    }

    #[inline(always)]
    fn prefetch(at: *const f32) {
        // SAFETY: every x86-64 processor has the instruction, and it changes nothing but the caches.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(at.cast()) }
    }

    /// As for AVX-512, with two halves in place of four quarters. Eight streams are few enough for the
    /// processor to prefetch them by itself, and small matrices are transposed a tenth faster if it is left
    /// to do so.
    #[inline(always)]
    unsafe fn transpose(
        from: *const f32,
        stride: usize,
        rows: usize,
        cols: usize,
        to: *mut f32,
        to_stride: usize,
    ) {
        unsafe {
            let mask = Self::mask(cols);
            let mut x = [_mm256_setzero_ps(); 8];
            let mut at = from;
            for (r, x) in x.iter_mut().enumerate() {
                *x = if cols == Self::LANES { _mm256_loadu_ps(at) } else { _mm256_maskload_ps(at, mask) };
                at = at.wrapping_add(if r + 1 < rows { stride } else { 0 });
            }
            let mut y = [_mm256_setzero_ps(); 8];
            for i in [0, 4] {
                let ab = _mm256_unpacklo_ps(x[i], x[i + 1]);
                let ab_high = _mm256_unpackhi_ps(x[i], x[i + 1]);
                let cd = _mm256_unpacklo_ps(x[i + 2], x[i + 3]);
                let cd_high = _mm256_unpackhi_ps(x[i + 2], x[i + 3]);
                y[i] = _mm256_shuffle_ps::<0x44>(ab, cd);
                y[i + 1] = _mm256_shuffle_ps::<0xee>(ab, cd);
                y[i + 2] = _mm256_shuffle_ps::<0x44>(ab_high, cd_high);
                y[i + 3] = _mm256_shuffle_ps::<0xee>(ab_high, cd_high);
            }
            // Half h of y[4 * i + s] now holds column 4 * h + s of rows 4 * i to 4 * i + 3.
            let mut z = [_mm256_setzero_ps(); 8];
            for s in 0..4 {
                z[s] = _mm256_permute2f128_ps::<0x20>(y[s], y[4 + s]);
                z[4 + s] = _mm256_permute2f128_ps::<0x31>(y[s], y[4 + s]);
            }
            let mut at = to;
            for (p, z) in z.iter().enumerate() {
                if p == cols {
                    return;
                }
                _mm256_storeu_ps(at, *z);
                at = at.wrapping_add(to_stride);
            }
        }
    }
}
