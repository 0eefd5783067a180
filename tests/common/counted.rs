//! A model that counts the tokens it reads, so that a test sees what is fed to it.

use std::sync::atomic::{AtomicUsize, Ordering};

use gradus::data::{Batch, Sequences};
use gradus::model::{Cache, Mode, Model};
use gradus::params::{BoundParams, Layout};
use gradus::tensor::Tensor;

pub struct Counted<'m, M> {
    model: &'m M,
    tokens: AtomicUsize,
}

impl<'m, M: Model> Counted<'m, M> {
    pub fn new(model: &'m M) -> Self {
        Counted { model, tokens: AtomicUsize::new(0) }
    }

    /// How many tokens it has read since this was asked for the last time.
    pub fn take(&self) -> usize {
        self.tokens.swap(0, Ordering::Relaxed)
    }
}

impl<M: Model> Model for Counted<'_, M> {
    fn layout(&self) -> &Layout {
        self.model.layout()
    }

    fn losses<T: Tensor>(&self, w: BoundParams<'_, T>, batch: &Batch, mode: Mode) -> T {
        self.model.losses(w, batch, mode)
    }

    fn decode<T: Tensor>(&self, w: BoundParams<'_, T>, new: Sequences<'_>, cache: &mut Cache<'_, T>) -> T {
        self.tokens.fetch_add(new.tokens.len(), Ordering::Relaxed);
        self.model.decode(w, new, cache)
    }

    fn vocab_size(&self) -> usize {
        self.model.vocab_size()
    }

    fn context(&self) -> usize {
        self.model.context()
    }
}
