//! Reading a sequence token by token, with the keys and values of what was read kept for what comes.

use crate::model::{Cache, Model};
use crate::params::BoundParams;
use crate::tensor::Tensor;

// ANCHOR: session
/// One sequence that a model is reading. Sampling, and whatever else looks for the next token, is a loop over it.
pub trait Session {
    /// Reads more tokens, at least one. Returns the logits over the vocabulary of what may follow the last of them.
    ///
    /// # Panics
    /// If there is no token.
    fn feed(&mut self, tokens: &[usize]) -> &[f64];

    /// How many tokens it has read.
    fn len(&self) -> usize;

    /// Whether it has read nothing yet.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets all tokens from the `len`-th on, as if they had not been read.
    ///
    /// # Panics
    /// If it has not read so many.
    fn truncate(&mut self, len: usize);
}
// ANCHOR_END: session

/// A session on any engine's tensors: a model with its bound parameters, a cache, and how to read numbers of a tensor.
pub struct CachedSession<'a, T, M, Read> {
    model: &'a M,
    params: BoundParams<'a, T>,
    cache: Cache<T>,
    read_last_row: Read,
    logits: Vec<f64>,
}

impl<'a, T: Tensor, M: Model, Read: FnMut(T, &mut Vec<f64>)> CachedSession<'a, T, M, Read> {
    /// A session that has read nothing yet. `read_last_row` adds the numbers of a tensor's last row to a list.
    pub fn new(model: &'a M, params: BoundParams<'a, T>, read_last_row: Read) -> Self {
        CachedSession { model, params, cache: Cache::default(), read_last_row, logits: Vec::new() }
    }
}

impl<T: Tensor, M: Model, Read: FnMut(T, &mut Vec<f64>)> Session for CachedSession<'_, T, M, Read> {
    fn feed(&mut self, tokens: &[usize]) -> &[f64] {
        assert!(!tokens.is_empty(), "feed: no tokens to read; a prompt has at least one");
        let logits = self.model.decode(self.params, tokens, &mut self.cache); // [tokens, vocab_size]
        self.logits.clear();
        (self.read_last_row)(logits, &mut self.logits);
        &self.logits
    }

    fn len(&self) -> usize {
        self.cache.length()
    }

    fn truncate(&mut self, len: usize) {
        self.cache.truncate(len);
    }
}
