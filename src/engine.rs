//! The boundary between models, which are generic over tensors, and training and generation, which are not.

mod session;

pub use session::{CachedSession, Session};

use crate::data::Batch;
use crate::model::{Mode, Model};
use crate::real::Real;

/// Something that runs models: parameters and a batch go in, a loss and its gradient come out.
pub trait Engine {
    /// The type of its numbers: `f64` or `f32`.
    type Real: Real;

    /// The weighted mean loss of a batch, in nats a token. Overwrites `gradient` with its gradient: one number for each
    /// trainable number, in the order of the model's layout
    /// ([`trainable_len`](crate::params::Layout::trainable_len) in all).
    ///
    /// # Panics
    /// If the batch is empty or its loss weights do not add up to a positive number
    /// ([`Batch::total_loss_weight`]).
    fn gradient<M: Model>(
        &mut self,
        model: &M,
        params: &[Self::Real],
        batch: &Batch,
        mode: Mode,
        gradient: &mut [Self::Real],
    ) -> f64;

    /// The weighted mean loss of a batch, in nats a token, without dropout or label smoothing.
    ///
    /// # Panics
    /// As [`gradient`](Self::gradient).
    fn loss<M: Model>(&mut self, model: &M, params: &[Self::Real], batch: &Batch) -> f64;

    /// The loss of each token in the last call of [`gradient`](Engine::gradient) or [`loss`](Engine::loss).
    fn token_losses(&self) -> &[f64];

    /// Opens a decoding [`Session`], calls `work` with it, and returns the result of `work`.
    ///
    /// The session borrows the engine's memory, where the parameters stay bound from token to token.
    fn decode<M: Model, R>(
        &mut self,
        model: &M,
        params: &[Self::Real],
        work: impl FnOnce(&mut dyn Session) -> R,
    ) -> R;
}
