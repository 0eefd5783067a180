//! (11) Whole matrices, by the specification alone: what an engine may override it does not.

use gradus::Tensor;
use gradus::data::Batch;
use gradus::model::{Cache, Model, Pass};
use gradus::params::{Layout, Weights};
use smallvec::SmallVec;

use super::plain::Plain;

/// A model whose losses are made of the required operations of the engine, every other one in its default body.
pub struct Composed<M>(pub M);

impl<M: Model> Model for Composed<M> {
    fn layout(&self) -> &Layout {
        self.0.layout()
    }

    fn losses<T: Tensor>(&self, weights: Weights<'_, T>, batch: &Batch, pass: Pass) -> T {
        let plain: SmallVec<[Plain<T>; 16]> = weights.tensors().iter().map(|&weight| Plain(weight)).collect();
        self.0.losses(Weights::new(&plain), batch, pass).0
    }

    fn extend<T: Tensor>(&self, weights: Weights<'_, T>, tokens: &[usize], cache: &mut Cache<T>) -> T {
        self.0.extend(weights, tokens, cache)
    }

    fn vocab_size(&self) -> usize {
        self.0.vocab_size()
    }

    fn context(&self) -> usize {
        self.0.context()
    }
}
