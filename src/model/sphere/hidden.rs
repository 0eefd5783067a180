//! The lengths of hidden states, to be looked at.

use super::Sphere;
use crate::data::{Batch, Sequences};
use crate::function::UnaryOp;
use crate::model::{Cache, Mode, Model};
use crate::params::{BoundParams, Layout};
use crate::tensor::Tensor;

/// A [`Sphere`] that tells the length of each token's hidden state in place of its loss, so that any engine can be
/// asked: after [`Engine::loss`](crate::Engine::loss) they are its [`token_losses`](crate::Engine::token_losses).
///
/// ```
/// use gradus::model::{HiddenNorms, Model, Sphere, SphereConfig};
/// use gradus::{Engine, data::Batch, optim::constrain, random::Random, scalar::ScalarEngine};
/// let config = SphereConfig { n_layer: 2, n_embd: 8, n_head: 2, n_ffn: 16, ..SphereConfig::paper(5) };
/// let model = Sphere::new(config)?;
/// let mut params = model.layout().initial(&mut Random::new(1));
/// constrain(model.layout(), &mut params);
/// let mut batch = Batch::new();
/// batch.push([3, 1, 4, 1]);
/// let mut engine = ScalarEngine::new();
/// for blocks in 0..=2 {
///     engine.loss(&HiddenNorms::after(&model, blocks), &params, &batch);
///     assert!(engine.token_losses().iter().all(|length| (length - 1.0).abs() < 1e-12));
/// }
/// # Ok::<(), gradus::model::ConfigError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct HiddenNorms<'m> {
    model: &'m Sphere,
    blocks: usize,
}

impl<'m> HiddenNorms<'m> {
    /// The hidden states after this many blocks; after none they are the embeddings.
    ///
    /// # Panics
    /// If there are not that many.
    pub fn after(model: &'m Sphere, blocks: usize) -> Self {
        let all = model.blocks().len();
        assert!(blocks <= all, "HiddenNorms: after {blocks} blocks of {all}");
        HiddenNorms { model, blocks }
    }
}

impl Model for HiddenNorms<'_> {
    fn layout(&self) -> &Layout {
        self.model.layout()
    }

    fn losses<T: Tensor>(&self, w: BoundParams<'_, T>, batch: &Batch, mode: Mode) -> T {
        let h = self.model.hidden(w, batch.sequences(), mode, self.blocks, None); // [n, n_embd]
        h.row_dot(h).apply(UnaryOp::Power(0.5)) // [n, 1]
    }

    fn decode<T: Tensor>(
        &self,
        w: BoundParams<'_, T>,
        sequences: Sequences<'_>,
        cache: &mut Cache<'_, T>,
    ) -> T {
        self.model.decode(w, sequences, cache)
    }

    fn vocab_size(&self) -> usize {
        self.model.vocab_size()
    }

    fn context(&self) -> usize {
        self.model.context()
    }
}
