//! Whole numbers of 8 bits in blocks of 32 with one scale, as GGUF's `q8_0`: a number is `scale * q`, and the largest of
//! its block has `q = 127` or `-127`.

use crate::real::half::{from_f16, to_f16};

/// How many numbers along the inputs share a scale.
pub(super) const BLOCK: usize = 32;

/// How many outputs lie together.
pub(super) const PANEL: usize = 16;

/// A block of each of 16 outputs. Four inputs of eight outputs lie together, one vector of 32 bytes, and so no sum
/// must be added up across a vector: input `i` of output `o` is at [`place`]`(o, i)`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct PanelBlock {
    /// In float16.
    pub scales: [u16; PANEL],
    /// From -127 to 127.
    pub numbers: [i8; PANEL * BLOCK],
}

/// Where the number of an output and an input lies in a [`PanelBlock`].
pub(super) fn place(output: usize, input: usize) -> usize {
    (input / 4 * 2 + output / 8) * 32 + output % 8 * 4 + input % 4
}

/// Rounds a block, and returns its scale: `max |x| / 127`.
///
/// A block of numbers below 1e-36 becomes zeros. If a number is not finite, the scale is NaN, and so all products with the
/// block will be.
#[inline(always)]
pub(super) fn quantize(x: &[f32; BLOCK], to: &mut [i8; BLOCK]) -> f32 {
    // The bits of numbers without a sign are ordered as the numbers are, with infinity and NaN above all others.
    let largest = x.iter().fold(0, |most: i32, x| most.max((x.to_bits() & 0x7fff_ffff) as i32));
    let largest = f32::from_bits(largest as u32);
    let scale = largest / 127.0;
    if !largest.is_finite() || scale < f32::MIN_POSITIVE {
        *to = [0; BLOCK];
        return if largest.is_finite() { 0.0 } else { f32::NAN };
    }
    let inverse = scale.recip();
    for (to, x) in to.iter_mut().zip(x) {
        *to = round(x * inverse);
    }
    scale
}

/// The nearest whole number, the even one of two, of a number between -128 and 128: in `1.5 * 2^23 + x` the last bit
/// counts ones, and so the processor rounds.
#[inline(always)]
fn round(x: f32) -> i8 {
    (x + 12_582_912.0).to_bits() as i8
}

/// As [`quantize`], with a scale that float16 can hold. What is larger than 65504 * 127 becomes that, and blocks of numbers
/// below 3e-6 become zeros.
///
/// The numbers that are stored would be stored as themselves: the largest is 127 scales, exactly.
pub(super) fn quantize_weights(x: &[f32; BLOCK], to: &mut [i8; BLOCK]) -> u16 {
    let scale = quantize(x, to);
    let rounded = to_f16(if scale > GREATEST { GREATEST } else { scale });
    if rounded == 0 {
        *to = [0; BLOCK];
    }
    rounded
}

/// The greatest number of float16.
const GREATEST: f32 = 65504.0;

impl PanelBlock {
    /// Puts in the block of one output.
    pub fn put(&mut self, output: usize, x: &[f32; BLOCK]) {
        let mut numbers = [0; BLOCK];
        self.scales[output] = quantize_weights(x, &mut numbers);
        for (input, number) in numbers.into_iter().enumerate() {
            self.numbers[place(output, input)] = number;
        }
    }

    /// The number of an output and an input.
    pub fn get(&self, output: usize, input: usize) -> f32 {
        from_f16(self.scales[output]) * f32::from(self.numbers[place(output, input)])
    }
}
