//! The boundary between what is generic over tensors (models) and what is not (training, generation).

use crate::data::Batch;
use crate::model::{Mode, Model};
use crate::real::Real;

/// Something that runs models: parameters and a batch go in, a loss and its gradient come out.
pub trait Engine {
    /// The type of its numbers: `f64` or `f32`.
    type Real: Real;

    /// The weighted mean loss of a batch, in nats a token. Its gradient is written over `gradient`: one number for each
    /// trainable number, in the order of the model's layout
    /// ([`trainable_len`](crate::params::Layout::trainable_len) in all).
    fn gradient<M: Model>(
        &mut self,
        model: &M,
        params: &[Self::Real],
        batch: &Batch,
        mode: Mode,
        gradient: &mut [Self::Real],
    ) -> f64;

    /// The weighted mean loss of a batch without dropout or smoothing.
    fn loss<M: Model>(&mut self, model: &M, params: &[Self::Real], batch: &Batch) -> f64;

    /// The loss of each token of the batch that [`gradient`](Engine::gradient) or [`loss`](Engine::loss) saw last.
    fn token_losses(&self) -> &[f64];

    /// Reads a prompt, which must not be empty, and then asks again and again for the next token: `next` gets the
    /// logits over the vocabulary, and answers with the token that is to follow, or `None` to stop.
    fn generate<M: Model>(
        &mut self,
        model: &M,
        params: &[Self::Real],
        prompt: &[usize],
        next: &mut dyn FnMut(&[f64]) -> Option<usize>,
    );
}
