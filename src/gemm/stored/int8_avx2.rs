//! Products of whole numbers of 8 bits with AVX2.

use std::arch::x86_64::*;

use super::super::vector::Vector;
use super::super::x86::Avx2;
use super::blocks::BLOCK;
use super::int8::{Few, Tile, Widen};

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
            for quad in 0..BLOCK / 4 {
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

/// Two numbers of 16 bits at a time, two instructions for what takes [`few_avx2`] four. Many rows pay for the wider weights.
///
/// # Safety
///
/// As for [`few_avx2`].
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn tile_avx2<const ROWS: usize>(t: &Tile) {
    // SAFETY: every access stays within what the caller vouches for.
    unsafe {
        let mut totals = [[_mm256_setzero_ps(); 2]; ROWS];
        // Two pointers in place of one, so that the compiler does not walk from row to row by additions.
        let row = t.blocks * BLOCK;
        let mut x = [t.x, t.x.wrapping_add(3 * row)];
        for b in 0..t.blocks {
            let block = t.panel.add(b);
            let mut numbers = (&raw const (*block).numbers).cast::<__m256i>();
            let mut sums = [[_mm256_setzero_si256(); 2]; ROWS];
            for _ in 0..BLOCK / 2 {
                let weights = [_mm256_load_si256(numbers), _mm256_load_si256(numbers.add(1))];
                for (r, sums) in sums.iter_mut().enumerate() {
                    let x = x[r / 3].add(r % 3 * row).cast::<i32>().read_unaligned();
                    let x = _mm256_set1_epi32(x);
                    sums[0] = _mm256_add_epi32(sums[0], _mm256_madd_epi16(weights[0], x));
                    sums[1] = _mm256_add_epi32(sums[1], _mm256_madd_epi16(weights[1], x));
                }
                numbers = numbers.wrapping_add(2);
                x = [x[0].wrapping_add(2), x[1].wrapping_add(2)];
            }
            let scales = (&raw const (*block).scales).cast::<f32>();
            let scales = [_mm256_load_ps(scales), _mm256_load_ps(scales.add(8))];
            for (r, (totals, sums)) in totals.iter_mut().zip(&sums).enumerate() {
                let x_scale = _mm256_set1_ps(*t.x_scales.add(r * t.blocks + b));
                totals[0] = add_block(sums[0], scales[0], x_scale, totals[0]);
                totals[1] = add_block(sums[1], scales[1], x_scale, totals[1]);
            }
        }
        for (r, totals) in totals.iter().enumerate() {
            store(totals, t.c.add(r * t.c_row), t.cols);
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

/// From four inputs of eight outputs to twice two of them: the first two of four outputs, then the second two, in each half
/// of the vector; then the middle quarters change places.
///
/// # Safety
///
/// The processor must have AVX2 and F16C. The panel must be readable, and its copy writable, by nobody else.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn widen_avx2(w: &Widen) {
    // SAFETY: the caller vouches for so many blocks.
    unsafe {
        let order =
            _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15));
        for b in 0..w.blocks {
            let (from, to) = (w.from.add(b), w.to.add(b));
            let scales = (&raw const (*from).scales).cast::<__m128i>();
            let to_scales = (&raw mut (*to).scales).cast::<f32>();
            for half in 0..2 {
                _mm256_store_ps(to_scales.add(8 * half), _mm256_cvtph_ps(_mm_loadu_si128(scales.add(half))));
            }
            let numbers = (&raw const (*from).numbers).cast::<__m256i>();
            let to = (&raw mut (*to).numbers).cast::<__m256i>();
            for quad in 0..BLOCK / 4 {
                for half in 0..2 {
                    let four = _mm256_shuffle_epi8(_mm256_loadu_si256(numbers.add(2 * quad + half)), order);
                    let four = _mm256_permute4x64_epi64::<0b11_01_10_00>(four);
                    let first = _mm256_cvtepi8_epi16(_mm256_castsi256_si128(four));
                    let second = _mm256_cvtepi8_epi16(_mm256_extracti128_si256::<1>(four));
                    _mm256_store_si256(to.add(4 * quad + half), first);
                    _mm256_store_si256(to.add(4 * quad + 2 + half), second);
                }
            }
        }
    }
}
