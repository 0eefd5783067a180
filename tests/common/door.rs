//! The one public door to an engine is `Engine`: models go in, losses and gradients come out. So that expressions and
//! parts of models can go through it as well, they are made models of their own here.

use gradus::Tensor;
use gradus::data::Batch;
use gradus::model::{Cache, Model, Pass};
use gradus::params::{Layout, Weights};

/// Something that makes a column of its weights: one number for each token of a batch, in the place of its loss.
pub trait Column: Sync {
    fn of<T: Tensor>(&self, weights: Weights<'_, T>, batch: &Batch, pass: Pass) -> T;
}

/// A column as a model.
pub struct Door<C> {
    layout: Layout,
    column: C,
}

impl<C: Column> Door<C> {
    pub fn new(layout: Layout, column: C) -> Self {
        Door { layout, column }
    }
}

impl<C: Column> Model for Door<C> {
    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn losses<T: Tensor>(&self, weights: Weights<'_, T>, batch: &Batch, pass: Pass) -> T {
        self.column.of(weights, batch, pass)
    }

    fn extend<T: Tensor>(&self, _: Weights<'_, T>, _: &[usize], _: &mut Cache<T>) -> T {
        unreachable!("a column is never asked what may follow")
    }

    fn vocab_size(&self) -> usize {
        1
    }

    fn context(&self) -> usize {
        usize::MAX
    }
}

/// A batch of so many tokens, of which nothing counts but their number.
pub fn tokens(count: usize) -> Batch {
    let mut batch = Batch::new();
    batch.push(vec![0; count + 1]);
    batch
}

/// Every element of a matrix, row by row, as a column.
pub fn elements<T: Tensor>(x: T) -> T {
    let (rows, cols) = x.shape();
    let all = || 0..rows * cols;
    let repeated = x.gather_rows(&all().map(|n| n / cols).collect::<Vec<_>>());
    repeated.pick(&all().map(|n| n % cols).collect::<Vec<_>>())
}
