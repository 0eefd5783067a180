//! Products of whole numbers of 8 bits with AVX2.

use std::arch::x86_64::*;

use super::super::vector::Vector;
use super::super::x86::Avx2;
use super::blocks::BLOCK;
use super::few::{AHEAD, prefetch};
use super::int8::Few;

/// The instruction multiplies bytes without a sign by bytes with one, and adds two neighbouring products in 16 bits. So
/// the sign of a weight goes to the input first. Two products are at most 2 * 127 * 127 = 32258, which 16 bits hold.
///
/// # Safety
///
/// The processor must have AVX2, FMA and F16C. All that [`Few`] describes must be readable, and `c` also writable, by nobody
/// else.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn few_avx2<const ROWS: usize>(f: &Few) {
    // SAFETY: every access stays within what the caller vouches for.
    unsafe {
        let ones = _mm256_set1_epi16(1);
        let mut totals = [[_mm256_setzero_ps(); 2]; ROWS];
        for b in 0..f.blocks {
            let block = f.panel.add(b);
            let numbers = (&raw const (*block).numbers).cast::<__m256i>();
            let x = f.x.add(b * BLOCK);
            let mut sums = [[_mm256_setzero_si256(); 2]; ROWS];
            let ahead = block.cast::<u8>().wrapping_add(AHEAD);
            for quad in 0..BLOCK / 4 {
                prefetch(ahead.wrapping_add(64 * quad));
                for half in 0..2 {
                    let weights = _mm256_loadu_si256(numbers.add(2 * quad + half));
                    let sizes = _mm256_abs_epi8(weights);
                    for (r, sums) in sums.iter_mut().enumerate() {
                        let x = x.add(r * f.blocks * BLOCK + 4 * quad).cast::<i32>().read_unaligned();
                        let x = _mm256_sign_epi8(_mm256_set1_epi32(x), weights);
                        let pairs = _mm256_maddubs_epi16(sizes, x);
                        sums[half] = _mm256_add_epi32(sums[half], _mm256_madd_epi16(pairs, ones));
                    }
                }
            }
            let scales = (&raw const (*block).scales).cast::<__m128i>();
            for half in 0..2 {
                let scale = _mm256_cvtph_ps(_mm_loadu_si128(scales.add(half)));
                for (r, (totals, sums)) in totals.iter_mut().zip(&sums).enumerate() {
                    let x_scale = _mm256_set1_ps(*f.x_scales.add(r * f.blocks + b));
                    totals[half] = add_block(sums[half], scale, x_scale, totals[half]);
                }
            }
        }
        for (r, totals) in totals.iter().enumerate() {
            store(totals, f.c.add(r * f.c_row), f.cols);
        }
    }
}

/// `sum * (scale * x_scale) + total`
///
/// # Safety
///
/// The processor must have AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
unsafe fn add_block(sum: __m256i, scale: __m256, x_scale: __m256, total: __m256) -> __m256 {
    _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum), _mm256_mul_ps(scale, x_scale), total)
}

/// # Safety
///
/// The processor must have AVX2, and as many of the 16 outputs as `cols` says must be writable.
#[target_feature(enable = "avx2,fma")]
unsafe fn store(totals: &[__m256; 2], to: *mut f32, cols: usize) {
    for (half, total) in totals.iter().enumerate() {
        let to = to.wrapping_add(8 * half);
        // SAFETY: only what the caller vouches for is written.
        unsafe {
            match cols.saturating_sub(8 * half) {
                0 => {}
                left if left < 8 => _mm256_maskstore_ps(to, Avx2::mask(left), *total),
                _ => _mm256_storeu_ps(to, *total),
            }
        }
    }
}
