//! (1) A mark in each node instead of a set beside them.

use std::cell::Cell;

use super::graph::Rung;
use super::naive::{Naive, Slopes};
use super::sort::{Sorted, Visited};

/// The rung.
pub struct Generation;

impl Rung for Generation {
    type Memory = <Naive as Rung>::Memory;
    type Origin<'g> = Slopes<'g, Self>;
    type Walk = Sorted<Marks>;
    type Shortcuts = <Naive as Rung>::Shortcuts;
}

/// A node was visited if it bears the number of this pass: nothing has to be wiped before the next.
pub struct Marks;

impl Visited for Marks {
    type Mark = Cell<u32>;
    type Set = ();

    #[inline]
    fn is_new(_: &mut (), _: *const (), mark: &Cell<u32>, generation: u32) -> bool {
        mark.replace(generation) != generation
    }
}
