//! (1) A visited mark in each node, instead of a set beside the graph.

use std::cell::Cell;

use super::graph::Variant;
use super::naive::{Naive, Slopes};
use super::sort::{TopologicalSort, Visited};

/// The rung.
pub struct GenerationCounter;

impl Variant for GenerationCounter {
    type Arena = <Naive as Variant>::Arena;
    type GradFn<'g> = Slopes<'g, Self>;
    type Order = TopologicalSort<GenerationMark>;
    type Derived = <Naive as Variant>::Derived;
}

/// A node has been visited if it carries the number of this pass. So no mark has to be cleared before the next one.
pub struct GenerationMark;

impl Visited for GenerationMark {
    type Mark = Cell<u32>;
    type Set = ();

    #[inline]
    fn is_first_visit(_: &mut (), _: *const (), mark: &Cell<u32>, generation: u32) -> bool {
        mark.replace(generation) != generation
    }
}
