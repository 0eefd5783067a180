//! Expressions and parts of models as models. The public interface of an engine, `Engine`, takes nothing but models, so
//! this is how tests evaluate them on any engine.

use gradus::Tensor;
use gradus::data::{Batch, Sequences};
use gradus::model::{Cache, Mode, Model};
use gradus::params::{BoundParams, Layout};

/// An expression of parameters whose result is a column: one number for each token of a batch, in place of its loss.
pub trait TokenColumn: Sync {
    fn of<T: Tensor>(&self, params: BoundParams<'_, T>, batch: &Batch, mode: Mode) -> T;
}

/// A column as a model.
pub struct ModelAdapter<C> {
    layout: Layout,
    column: C,
}

impl<C: TokenColumn> ModelAdapter<C> {
    pub fn new(layout: Layout, column: C) -> Self {
        ModelAdapter { layout, column }
    }
}

impl<C: TokenColumn> Model for ModelAdapter<C> {
    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn losses<T: Tensor>(&self, params: BoundParams<'_, T>, batch: &Batch, mode: Mode) -> T {
        self.column.of(params, batch, mode)
    }

    fn decode<T: Tensor>(&self, _: BoundParams<'_, T>, _: Sequences<'_>, _: &mut Cache<'_, T>) -> T {
        unreachable!("a column has no next token")
    }

    fn vocab_size(&self) -> usize {
        1
    }

    fn context(&self) -> usize {
        usize::MAX
    }
}

/// A batch of this many tokens. The tokens themselves do not matter.
pub fn tokens(count: usize) -> Batch {
    let mut batch = Batch::new();
    batch.push(vec![0; count + 1]);
    batch
}

/// All elements of a matrix, row by row, as a column.
pub fn elements<T: Tensor>(x: T) -> T {
    let (rows, cols) = x.shape();
    let all = || 0..rows * cols;
    let repeated = x.gather_rows(&all().map(|n| n / cols).collect::<Vec<_>>());
    repeated.pick(&all().map(|n| n % cols).collect::<Vec<_>>())
}
