//! Floating-point operations, counted.

use std::ops::{Add, Range};

use super::{Counter, KeptShapes, Shape};
use crate::data::{Batch, Sequences};
use crate::model::{Cache, Mode, Model, Translator};
use crate::params::BoundParams;
use crate::tensor::packed;

/// Floating-point operations by kind. A multiplication and an addition are two; a function, such as an exponential, is one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Operations {
    /// Products of matrices: layers, and the head.
    pub products: u64,
    /// The two products of attention: queries with keys, and probabilities with values. Only what a query sees under its mask
    /// counts, though an engine may compute more.
    pub attention: u64,
    /// All that is done element by element or row by row: normalisation, activation, softmax, residuals, biases, the loss.
    pub elementwise: u64,
}

impl Operations {
    /// What a model computes for the losses of a batch. Dropout is not counted.
    ///
    /// The way back takes about twice as much: for a product `y = x·Wᵀ` it computes `dx = dy·W` and `dW = dyᵀ·x`, each of the
    /// size of the product itself. So a step of training is about three forward passes
    /// ([`training`](Self::training)).
    ///
    /// ```
    /// use gradus::cost::Operations;
    /// use gradus::data::Batch;
    /// use gradus::model::{Decoder, DecoderConfig};
    /// let model = Decoder::new(DecoderConfig::microgpt(27))?;
    /// let mut batch = Batch::new();
    /// batch.push([26, 0, 3, 0, 26]); // "ada": four tokens to read
    /// let operations = Operations::forward(&model, &batch);
    /// // 4 · 16² weights of attention, 2 · 16 · 64 of the feed-forward network, 27 · 16 of the head: twice each, for each token
    /// assert_eq!(operations.products, 4 * 2 * (1024 + 2048 + 432));
    /// // Token n sees n keys: 1 + 2 + 3 + 4, twice two operations for each of the 16 numbers of a key and a value
    /// assert_eq!(operations.attention, 10 * 4 * 16);
    /// # Ok::<(), gradus::model::ConfigError>(())
    /// ```
    ///
    /// # Panics
    /// If the batch has tokens that the model does not know, or no source where it needs one.
    pub fn forward<M: Model>(model: &M, batch: &Batch) -> Self {
        let counter = Counter::new();
        let shapes = counter.bind(model.layout());
        model.losses(BoundParams::new(&shapes), batch, Mode::default());
        counter.operations()
    }

    /// About what a step of training takes whose forward pass takes this, without the optimizer: three times as much.
    pub fn training(self) -> u64 {
        3 * self.total()
    }

    /// All kinds together.
    pub fn total(self) -> u64 {
        self.products + self.attention + self.elementwise
    }
}

impl Add for Operations {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Operations {
            products: self.products + other.products,
            attention: self.attention + other.attention,
            elementwise: self.elementwise + other.elementwise,
        }
    }
}

/// What the next token costs, once the tokens before it have been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Generation {
    /// Its operations.
    pub operations: Operations,
    /// How many numbers are kept of the tokens, keys and values, with room for the whole context; and of the source, if there
    /// is one.
    pub kept: u64,
}

impl Generation {
    /// The token that follows `read` tokens.
    ///
    /// # Panics
    /// If the context has no room for it.
    pub fn after<M: Model>(model: &M, read: usize) -> Self {
        let counter = Counter::new();
        let shapes = counter.bind(model.layout());
        next(model, BoundParams::new(&shapes), &counter, KeptShapes::default(), (read, &[]))
    }

    /// The token of a translation that follows `read` tokens, once the source has been read as well.
    ///
    /// # Panics
    /// If the context has no room for it, or the source is empty.
    pub fn translated<M: Translator>(model: &M, source: usize, read: usize) -> Self {
        assert!(source > 0, "translated: an empty source");
        let counter = Counter::new();
        let shapes = counter.bind(model.layout());
        let w = BoundParams::new(&shapes);
        let mut kept = KeptShapes::default();
        let (tokens, places) = (vec![0; source], (0..source).collect::<Vec<_>>());
        let rows = &packed(&[source]);
        let sources = Sequences { tokens: &tokens, positions: &places, rows, rows_before: 0 };
        model.read_sources(w, sources, (&mut kept, &places, source));
        next(model, w, &counter, kept, (read, rows))
    }
}

/// Reads one more token of a sequence, as a session with room for the whole context does.
fn next<'c, M: Model>(
    model: &M,
    w: BoundParams<'_, Shape<'c>>,
    counter: &'c Counter,
    mut kept: KeptShapes,
    (read, sources): (usize, &[Range<usize>]),
) -> Generation {
    let capacity = model.context();
    assert!(read < capacity, "the token after {read}, but the context is {capacity}");
    counter.reset();
    let (places, rows, keys) = (&[read], &packed(&[1]), &packed(&[read + 1]));
    let sequences = Sequences { tokens: &[0], positions: places, rows, rows_before: 0 };
    let mut cache = Cache { memory: &mut kept, places, keys, sources, capacity };
    model.decode(w, sequences, &mut cache);
    Generation { operations: counter.operations(), kept: kept.numbers() }
}
