//! The loops over stored weights, compiled for each instruction set.

use std::sync::OnceLock;

use super::super::portable::{self, Plain};
use super::super::vector::{Kernel, Loop};
#[cfg(target_arch = "x86_64")]
use super::super::x86::{self, Avx2, Avx512};
use super::few::{Bf16, F32, Few, TALLEST, Widen, few, widen};
use super::int8::{self, Int8};
use super::keys::{Scores, all_scores};

/// What one processor multiplies stored weights with.
#[derive(Clone, Copy)]
pub(super) struct Kernels {
    pub floats: &'static Floats,
    pub int8: &'static Int8,
}

impl Kernels {
    /// The numbers in a vector.
    pub fn lanes(&self) -> usize {
        1 << self.floats.tiles.lane_bits
    }
}

/// The loops over numbers of 32 and 16 bits.
pub(super) struct Floats {
    pub tiles: &'static Kernel,
    /// `few[rows - 1][i]` multiplies `rows` rows by `1 << i` panels.
    pub f32: [&'static [Loop<Few>]; TALLEST],
    pub bf16: [&'static [Loop<Few>]; TALLEST],
    pub widen: Loop<Widen>,
    pub scores: unsafe fn(&Scores),
}

/// The [`Floats`] of a vector: every loop compiled for `$features`.
macro_rules! floats {
    ($tiles:path, $vector:ident $(, #[$features:meta])?) => {
        Floats {
            tiles: &$tiles,
            f32: few_rows!(F32, $vector $(, #[$features])?),
            bf16: few_rows!(Bf16, $vector $(, #[$features])?),
            widen: {
                $(#[$features])?
                unsafe fn run(w: &Widen) {
                    // SAFETY: what `widen` asks for is asked of our own caller.
                    unsafe { widen::<$vector>(w) }
                }
                run
            },
            scores: {
                $(#[$features])?
                unsafe fn run(s: &Scores) {
                    // SAFETY: what `all_scores` asks for is asked of our own caller.
                    unsafe { all_scores::<$vector>(s) }
                }
                run
            },
        }
    };
}

/// The loops over few rows, for one way to store numbers.
macro_rules! few_rows {
    ($numbers:ident, $vector:ident $(, #[$features:meta])?) => {{
        $(#[$features])?
        unsafe fn run<const ROWS: usize, const PANELS: usize>(f: &Few) {
            // SAFETY: what `few` asks for is asked of our own caller.
            unsafe { few::<$vector, $numbers, ROWS, PANELS>(f) }
        }
        [&[run::<1, 1>, run::<1, 2>, run::<1, 4>], &[run::<2, 1>, run::<2, 2>], &[run::<3, 1>], &[run::<4, 1>]]
    }};
}

static PORTABLE: Floats = floats!(portable::PORTABLE, Plain);
#[cfg(target_arch = "x86_64")]
static AVX2: Floats = floats!(x86::AVX2, Avx2, #[target_feature(enable = "avx2,fma")]);
#[cfg(target_arch = "x86_64")]
static AVX512: Floats = floats!(x86::AVX512, Avx512, #[target_feature(enable = "avx512f")]);

/// The best kernels for this processor.
pub(super) fn best() -> Kernels {
    static BEST: OnceLock<Kernels> = OnceLock::new();
    *BEST.get_or_init(|| Kernels {
        floats: floats().next().unwrap_or(&PORTABLE),
        int8: int8().next().unwrap_or(&int8::PORTABLE),
    })
}

/// All loops over floats that this processor can run, the best first.
pub(super) fn floats() -> impl Iterator<Item = &'static Floats> {
    #[cfg(target_arch = "x86_64")]
    let special = [
        is_x86_feature_detected!("avx512f").then_some(&AVX512),
        (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")).then_some(&AVX2),
    ];
    #[cfg(not(target_arch = "x86_64"))]
    let special: [Option<&Floats>; 0] = [];
    special.into_iter().flatten().chain([&PORTABLE])
}

/// All loops over whole numbers that this processor can run, the best first.
pub(super) fn int8() -> impl Iterator<Item = &'static Int8> {
    #[cfg(target_arch = "x86_64")]
    let special = {
        let features = [
            is_x86_feature_detected!("avx2"),
            is_x86_feature_detected!("fma"),
            is_x86_feature_detected!("f16c"),
        ];
        features.iter().all(|has| *has).then_some(&int8::AVX2)
    };
    #[cfg(not(target_arch = "x86_64"))]
    let special: Option<&Int8> = None;
    special.into_iter().chain([&int8::PORTABLE])
}
