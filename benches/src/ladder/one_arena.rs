//! (3) The same arena for every step.

use bumpalo::Bump;

use super::direct_ops::DirectOps;
use super::graph::{StepArena, Variant};
use super::naive::Slopes;

/// The rung.
pub struct OneArena;

impl Variant for OneArena {
    type Arena = ReusedArena;
    type GradFn<'g> = Slopes<'g, Self>;
    type Order = <DirectOps as Variant>::Order;
    type Derived = <DirectOps as Variant>::Derived;
}

/// An arena that keeps its memory for the next step.
#[derive(Default)]
pub struct ReusedArena(Bump);

impl StepArena for ReusedArena {
    fn reset(&mut self) -> &Bump {
        self.0.reset();
        &self.0
    }
}
