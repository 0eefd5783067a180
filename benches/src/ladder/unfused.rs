//! (12) Whole matrices, unfused: every operation that the engine overrides runs its default body instead.

use gradus::Tensor;
use gradus::data::{Batch, Sequences};
use gradus::model::{Cache, Mode, Model};
use gradus::params::{BoundParams, Layout};
use smallvec::SmallVec;

use super::default_bodies::DefaultBodies;

/// A model whose losses use only the required operations of the engine; every derived one runs its default body.
pub struct Unfused<M>(pub M);

impl<M: Model> Model for Unfused<M> {
    fn layout(&self) -> &Layout {
        self.0.layout()
    }

    fn losses<T: Tensor>(&self, params: BoundParams<'_, T>, batch: &Batch, mode: Mode) -> T {
        let params: SmallVec<[DefaultBodies<T>; 16]> =
            params.tensors().iter().map(|&param| DefaultBodies(param)).collect();
        self.0.losses(BoundParams::new(&params), batch, mode).0
    }

    fn decode<T: Tensor>(
        &self,
        params: BoundParams<'_, T>,
        sequences: Sequences<'_>,
        cache: &mut Cache<'_, T>,
    ) -> T {
        self.0.decode(params, sequences, cache)
    }

    fn vocab_size(&self) -> usize {
        self.0.vocab_size()
    }

    fn context(&self) -> usize {
        self.0.context()
    }
}
