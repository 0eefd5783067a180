//! The boundary between models, which are generic over tensors, and training and generation, which are not.

mod session;

pub use session::{Room, Session};

use std::ops::Range;

use crate::data::Batch;
use crate::model::{Mode, Model};
use crate::params::{BoundParams, Layout};
use crate::real::Real;
use crate::tensor::{Memory, Tensor};

/// Where an engine leaves a gradient: one number for each trainable number, in the order of the model's layout.
#[derive(Debug)]
pub enum GradientTo<'a, R> {
    /// Over what is there.
    Write(&'a mut [R]),
    /// Added to what is there.
    Add(&'a mut [R]),
}

impl<R: Real> GradientTo<'_, R> {
    /// Leaves these numbers there, of which there must be as many.
    pub fn put(self, numbers: impl Iterator<Item = R>) {
        match self {
            GradientTo::Write(to) => to.iter_mut().zip(numbers).for_each(|(to, x)| *to = x),
            GradientTo::Add(to) => to.iter_mut().zip(numbers).for_each(|(to, x)| *to += x),
        }
    }
}

/// Something that runs models forward: parameters and tokens go in, results come out. That is enough for generation.
///
/// A [`Session`] makes it read text.
pub trait Reader {
    /// What it reads parameters from: for an [`Engine`], a flat buffer. A reader that is nothing else may store them as it likes.
    type Params: ?Sized;

    /// Runs something on this engine's tensors, without a gradient. The numbers of the result replace those in `out`, row by
    /// row.
    ///
    /// What a pass keeps in its [`Memory`] stays until another pass writes over it.
    fn run(&mut self, layout: &Layout, params: &Self::Params, pass: impl Pass, out: &mut Vec<f64>);

    /// Copies rows of everything that was kept of tokens ([`MemoryId::Tokens`](crate::tensor::MemoryId)) to the place that begins at
    /// row `to`.
    fn copy_kept(&mut self, from: Range<usize>, to: usize);
}

/// Something that trains models: parameters and a batch go in, a loss and its gradient come out.
pub trait Engine: Reader<Params = [<Self as Engine>::Real]> {
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
    ) -> f64 {
        let total = batch.total_loss_weight();
        self.accumulate(model, params, batch, mode, total, GradientTo::Write(gradient))
    }

    /// What one of several micro-batches adds to the loss of a step, in nats a token, and to its gradient: as
    /// [`gradient`](Self::gradient), but the weighted losses are divided by `total_loss_weight`, that of all
    /// micro-batches ([`Batch::total_loss_weight_of`]). The sum over all of them is the mean over all their tokens, whatever
    /// their lengths.
    ///
    /// The gradients are added up in order. So they are those of one batch with the same sequences, but for the rounding of
    /// sums: to the last bit where the engine adds up the same parts in the same order.
    ///
    /// # Panics
    /// If the batch is empty.
    fn accumulate<M: Model>(
        &mut self,
        model: &M,
        params: &[Self::Real],
        batch: &Batch,
        mode: Mode,
        total_loss_weight: f64,
        gradient: GradientTo<'_, Self::Real>,
    ) -> f64;

    /// The weighted mean loss of a batch, in nats a token, without dropout or label smoothing.
    ///
    /// # Panics
    /// As [`gradient`](Self::gradient).
    fn loss<M: Model>(&mut self, model: &M, params: &[Self::Real], batch: &Batch) -> f64;

    /// The loss of each token in the last call of [`gradient`](Engine::gradient), [`accumulate`](Engine::accumulate) or
    /// [`loss`](Engine::loss).
    fn token_losses(&self) -> &[f64];
}

/// A calculation on the tensors of any engine, given a model's parameters.
pub trait Pass {
    /// Its result. What it keeps in the memory is there in the next pass.
    fn run<T: Tensor>(self, w: BoundParams<'_, T>, memory: &mut dyn Memory<T>) -> T;
}
