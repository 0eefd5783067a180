//! Numbers of 16 bits, bfloat16 and float16, and what they are in 32.

/// Rounds to the nearest, and where two are as near, to the one whose last bit is 0: half of the last bit that stays is
/// added, a little less if that bit is 0, and the rest cut off. A carry goes on into the exponent, at last to infinity.
#[inline]
pub(crate) fn to_bf16(x: f32) -> u16 {
    let bits = x.to_bits();
    let rounded = (bits + (0x7fff + (bits >> 16 & 1)) * u32::from(!x.is_nan())) >> 16;
    rounded as u16 | u16::from(x.is_nan()) << 6 // a NaN must not lose its last bit, which would make it infinite
}

#[inline]
pub(crate) fn from_bf16(x: u16) -> f32 {
    f32::from_bits(u32::from(x) << 16)
}

/// What the exponents of the two formats differ by: 127 - 15, in its place in a float32.
const REBIAS: u32 = (127 - 15) << 23;

/// As [`to_bf16`], in three cases. All are computed and one is chosen, so that loops become vector instructions.
#[inline]
pub(crate) fn to_f16(x: f32) -> u16 {
    let (sign, size) = (x.to_bits() >> 16 & 0x8000, x.to_bits() & 0x7fff_ffff);
    let normal = size.wrapping_sub(REBIAS).wrapping_add(0xfff + (size >> 13 & 1)) >> 13;
    // Below 2^-14 the numbers of float16 are multiples of 2^-24. So are those of float32 from 0.5 to 1: the processor rounds.
    let subnormal = (f32::from_bits(size) + 0.5).to_bits().wrapping_sub(0.5_f32.to_bits());
    let special = if size > 0x7f80_0000 { 0x7e00 } else { 0x7c00 }; // NaN, or infinity
    let rounded = match size {
        ..0x3880_0000 => subnormal,         // 2^-14
        0x3880_0000..0x4780_0000 => normal, // 2^16
        _ => special,
    };
    (sign | rounded) as u16
}

#[inline]
pub(crate) fn from_f16(x: u16) -> f32 {
    let (sign, size) = (u32::from(x & 0x8000) << 16, u32::from(x & 0x7fff));
    let normal = (size << 13) + REBIAS;
    let subnormal = (size as f32 * 2.0_f32.powi(-24)).to_bits();
    let special = normal + REBIAS; // all bits of the exponent
    let wide = match size {
        ..0x400 => subnormal,
        0x400..0x7c00 => normal,
        _ => special,
    };
    f32::from_bits(sign | wide)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A number of a format with so many bits for its exponent and its fraction, by the definition of IEEE 754.
    fn by_definition(x: u16, exponent_bits: u32, fraction_bits: u32) -> f64 {
        let sign = if x >> 15 == 1 { -1.0 } else { 1.0 };
        let exponent = i32::from(x >> fraction_bits) & ((1 << exponent_bits) - 1);
        let fraction = f64::from(x & ((1 << fraction_bits) - 1)) / f64::from(1 << fraction_bits);
        let bias = (1 << (exponent_bits - 1)) - 1;
        let size = match exponent {
            0 => fraction * 2.0_f64.powi(1 - bias),
            all if all == (1 << exponent_bits) - 1 => {
                if fraction == 0.0 {
                    f64::INFINITY
                } else {
                    f64::NAN
                }
            }
            _ => (1.0 + fraction) * 2.0_f64.powi(exponent - bias),
        };
        sign * size
    }

    /// Every number of 16 bits, every middle between two neighbours, and what lies next to it: no other number can be rounded
    /// wrongly if these are not, since rounding never goes down where its argument goes up.
    fn check(exponent_bits: u32, fraction_bits: u32, narrow: fn(f32) -> u16, widen: fn(u16) -> f32) {
        let infinite = ((1 << exponent_bits) - 1) << fraction_bits;
        for sign in [0, 0x8000] {
            for x in 0..=infinite {
                let (x, right) = (sign | x, by_definition(sign | x, exponent_bits, fraction_bits));
                assert_eq!(f64::from(widen(x)).to_bits(), right.to_bits(), "{x:#06x}");
                assert_eq!(narrow(widen(x)), x, "{right:e} is itself");
            }
            for x in 0..infinite {
                // Where infinity would be if the exponent went on.
                let value = |x: u16| match x {
                    x if x == infinite => 2.0_f64.powi(1 << (exponent_bits - 1)),
                    x => by_definition(x, exponent_bits, fraction_bits),
                };
                let middle = ((value(x) + value(x + 1)) / 2.0) as f32;
                let (even, signed) =
                    (if x % 2 == 0 { x } else { x + 1 }, |x: f32| if sign == 0 { x } else { -x });
                for (y, right) in [(middle.next_down(), x), (middle, even), (middle.next_up(), x + 1)] {
                    assert_eq!(narrow(signed(y)), sign | right, "{y:e}, beside {x:#06x}");
                }
            }
            for nan in infinite + 1..0x8000 {
                assert!(
                    widen(sign | nan).is_nan() && widen(narrow(widen(sign | nan))).is_nan(),
                    "{nan:#06x}"
                );
            }
        }
        for nan in [0x7f80_0001, 0x7fff_ffff, 0xff80_0001, 0xffff_ffff, 0x7fc0_0000, 0x7f80_8000] {
            assert!(widen(narrow(f32::from_bits(nan))).is_nan(), "{nan:#x}");
        }
        assert_eq!([f32::MAX, f32::INFINITY].map(narrow), [infinite; 2]);
        assert_eq!([f32::MIN, f32::NEG_INFINITY].map(narrow), [0x8000 | infinite; 2]);
    }

    #[test]
    fn rounding_is_that_of_ieee_754() {
        check(8, 7, to_bf16, from_bf16);
        check(5, 10, to_f16, from_f16);
    }
}
