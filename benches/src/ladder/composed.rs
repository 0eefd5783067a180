//! (11) Whole matrices, by the specification alone: what an engine may override it does not.

use gradus::Tensor;
use gradus::data::Batch;
use gradus::model::{Cache, Mode, Model};
use gradus::params::{BoundParams, Layout};
use smallvec::SmallVec;

use super::default_bodies::DefaultBodies;

/// A model whose losses are made of the required operations of the engine, every other one in its default body.
pub struct Composed<M>(pub M);

impl<M: Model> Model for Composed<M> {
    fn layout(&self) -> &Layout {
        self.0.layout()
    }

    fn losses<T: Tensor>(&self, params: BoundParams<'_, T>, batch: &Batch, mode: Mode) -> T {
        let plain: SmallVec<[DefaultBodies<T>; 16]> =
            params.tensors().iter().map(|&weight| DefaultBodies(weight)).collect();
        self.0.losses(BoundParams::new(&plain), batch, mode).0
    }

    fn decode<T: Tensor>(&self, params: BoundParams<'_, T>, tokens: &[usize], cache: &mut Cache<T>) -> T {
        self.0.decode(params, tokens, cache)
    }

    fn vocab_size(&self) -> usize {
        self.0.vocab_size()
    }

    fn context(&self) -> usize {
        self.0.context()
    }
}
