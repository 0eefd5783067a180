//! Decoding: a model reads a sequence token by token, with a KV cache.

use crate::model::{Cache, Model};
use crate::params::BoundParams;
use crate::tensor::Tensor;

// ANCHOR: session
/// One sequence that a model is reading. Sampling, and any other search for the next token, is a loop over it.
pub trait Session {
    /// Appends tokens, at least one. Returns the logits of the token that follows the last of them: one for each token of
    /// the vocabulary.
    ///
    /// # Panics
    /// If `tokens` is empty.
    fn feed(&mut self, tokens: &[usize]) -> &[f64];

    /// The number of tokens read so far.
    fn len(&self) -> usize;

    /// Whether no token has been read yet.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Drops all tokens but the first `len`, as if they had not been read.
    ///
    /// # Panics
    /// If fewer than `len` tokens have been read.
    fn truncate(&mut self, len: usize);
}
// ANCHOR_END: session

/// A session on the tensors of any engine: a model with its bound parameters, a cache, and a function that reads the
/// numbers of a tensor.
pub struct CachedSession<'a, T, M, Read> {
    model: &'a M,
    params: BoundParams<'a, T>,
    cache: Cache<T>,
    read_last_row: Read,
    logits: Vec<f64>,
}

impl<'a, T: Tensor, M: Model, Read: FnMut(T, &mut Vec<f64>)> CachedSession<'a, T, M, Read> {
    /// A session without tokens. `read_last_row` appends the numbers of a tensor's last row to a list.
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
