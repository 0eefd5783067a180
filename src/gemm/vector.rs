//! What the loops ask of an instruction set, and what they become when compiled for it.

use super::pack::Panel;
use super::tile::{Dots, Tile};

/// The vectors of one instruction set: `LANES` numbers are computed with at once.
///
/// # Safety
///
/// The functions may only be called on a processor that has the instructions. Pointers must be valid
/// for the lanes that are read or written: all of them, or the first ones, which a mask was made for.
/// They need not be aligned.
///
/// All of these functions are `inline(always)`, and so are the loops made of them. The function around
/// a loop names the instruction set in a `#[target_feature]`, and only in there the compiler turns them
/// into instructions.
pub(super) trait Vector: Copy {
    const LANES: usize;
    type Mask: Copy;
    /// A mask of the first `lanes` lanes.
    unsafe fn mask(lanes: usize) -> Self::Mask;
    unsafe fn splat(x: f32) -> Self;
    unsafe fn load(from: *const f32) -> Self;
    /// Lanes outside of the mask are not touched in memory and come out as zero.
    unsafe fn load_part(from: *const f32, mask: Self::Mask) -> Self;
    /// Two vectors of bfloat16 that lie interleaved: each pair has a number of the first and one of the second. In a
    /// register, a pair is a lane: shifted to the left it is the first number, with its lower half cleared the second.
    unsafe fn load_bf16(from: *const u16) -> [Self; 2];
    unsafe fn store(self, to: *mut f32);
    unsafe fn store_part(self, to: *mut f32, mask: Self::Mask);
    unsafe fn mul(self, x: Self) -> Self;
    /// `self * x + y`
    unsafe fn mul_add(self, x: Self, y: Self) -> Self;
    /// The sum of all lanes.
    unsafe fn sum(self) -> f32;
    /// Asks for a line of the second cache. Any address will do.
    #[inline(always)]
    fn prefetch(_: *const f32) {}
    /// Writes the transpose of a block of `rows` rows, `stride` apart, each of `cols` numbers: `cols`
    /// rows, `to_stride` apart, each a whole vector. Neither `rows` nor `cols` exceeds `LANES`; what
    /// takes the place of missing rows is not specified.
    unsafe fn transpose(
        from: *const f32,
        stride: usize,
        rows: usize,
        cols: usize,
        to: *mut f32,
        to_stride: usize,
    );
}

/// A loop compiled for one instruction set, to be called on a processor that has it.
pub(super) type Loop<Arguments> = unsafe fn(&Arguments);

/// What one instruction set offers.
pub(super) struct Kernel {
    pub name: &'static str,
    /// A vector has `1 << lane_bits` numbers.
    pub lane_bits: u32,
    /// The most rows of a tile one vector wide, and of a wider one.
    pub rows: [usize; 2],
    /// `tiles[rows - 1][i]` computes `1 << i` vectors in each of `rows` rows. The last vector may be
    /// incomplete in the first of the two functions, and is known to be complete in the second.
    pub tiles: &'static [&'static [[Loop<Tile>; 2]]],
    pub dots: Loop<Dots>,
    /// Packs a panel by copying rows.
    pub copy: Loop<Panel>,
    /// Packs a panel by transposing.
    pub transpose: Loop<Panel>,
    /// How large products are computed, if not like all others.
    pub large: Option<Large>,
}

/// What large products are made of: tiles two vectors wide at most, both of whose operands are packed.
pub(super) struct Large {
    /// The most rows of a tile.
    pub rows: usize,
    /// `tiles[i][j][l]` computes one row less than that, or as many; one vector in each row, or two; and the last vector may be
    /// incomplete, or is known to be complete.
    pub tiles: [[[Loop<Tile>; 2]; 2]; 2],
    /// Packs a tile of `a` by copying rows, and asks for the next one beside it.
    pub copy: Loop<Panel>,
    /// Packs a tile of `a` by transposing, and asks for the next one below it.
    pub transpose: Loop<Panel>,
    /// Asks for a line of the second cache. Any address will do.
    pub prefetch: fn(*const f32),
}

/// The [`Kernel`] of a vector: every loop, and every size of tile, compiled for `$features`.
macro_rules! kernel {
    (
        $name:literal, $vector:ident, $(#[$features:meta])?
        rows $rows:expr, $(large $less:literal $tall:literal,)? tiles $($height:literal: $($width:literal)*),*
    ) => {
        super::vector::Kernel {
            name: $name,
            lane_bits: <$vector as Vector>::LANES.ilog2(),
            rows: $rows,
            tiles: {
                use super::tile::{Tile, tile};
                $(#[$features])?
                unsafe fn run<const ROWS: usize, const VECTORS: usize, const FULL: bool>(t: &Tile) {
                    // SAFETY: what `tile` asks for is asked of our own caller.
                    unsafe { tile::<$vector, ROWS, VECTORS, FULL>(t) }
                }
                &[$(&[$([run::<$height, $width, false>, run::<$height, $width, true>]),*]),*]
            },
            dots: {
                use super::tile::{Dots, dots};
                $(#[$features])?
                unsafe fn run(d: &Dots) {
                    // SAFETY: as above.
                    unsafe { dots::<$vector>(d) }
                }
                run
            },
            copy: {
                use super::pack::{Panel, copy};
                $(#[$features])?
                unsafe fn run(p: &Panel) {
                    // SAFETY: as above.
                    unsafe { copy::<$vector, false>(p) }
                }
                run
            },
            transpose: {
                use super::pack::{Panel, transpose};
                $(#[$features])?
                unsafe fn run(p: &Panel) {
                    // SAFETY: as above.
                    unsafe { transpose::<$vector, false>(p) }
                }
                run
            },
            large: super::vector::large!($vector, $(#[$features])? $($less $tall)?),
        }
    };
}
pub(super) use kernel;

/// The [`Large`] of a kernel, or that it has none.
macro_rules! large {
    ($vector:ident, $(#[$features:meta])?) => {
        None
    };
    ($vector:ident, $(#[$features:meta])? $less:literal $tall:literal) => {{
        use super::pack::{Panel, copy, transpose};
        use super::tile::{Tile, packed};
        $(#[$features])?
        unsafe fn run<const ROWS: usize, const VECTORS: usize, const FULL: bool>(t: &Tile) {
            // SAFETY: what `packed` asks for is asked of our own caller.
            unsafe { packed::<$vector, ROWS, $tall, VECTORS, FULL>(t) }
        }
        $(#[$features])?
        unsafe fn copy_ahead(p: &Panel) {
            // SAFETY: as above.
            unsafe { copy::<$vector, true>(p) }
        }
        $(#[$features])?
        unsafe fn transpose_ahead(p: &Panel) {
            // SAFETY: as above.
            unsafe { transpose::<$vector, true>(p) }
        }
        Some(super::vector::Large {
            rows: $tall,
            tiles: [
                [[run::<$less, 1, false>, run::<$less, 1, true>], [run::<$less, 2, false>, run::<$less, 2, true>]],
                [[run::<$tall, 1, false>, run::<$tall, 1, true>], [run::<$tall, 2, false>, run::<$tall, 2, true>]],
            ],
            copy: copy_ahead,
            transpose: transpose_ahead,
            prefetch: <$vector as super::vector::Vector>::prefetch,
        })
    }};
}
pub(super) use large;
