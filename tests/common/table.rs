//! A model that is a table, so that a search on it can be followed by hand.

use gradus::data::{Batch, Sequences};
use gradus::model::{Cache, Mode, Model};
use gradus::params::{BoundParams, Init, Layout, Param, ParamSpec};
use gradus::tensor::Tensor;

/// The logits of the next token follow from the last one and its position: `[context · vocab, vocab]`.
pub struct Table {
    layout: Layout,
    table: Param,
    vocab: usize,
    context: usize,
}

impl Table {
    pub fn new(vocab: usize, context: usize) -> Self {
        let mut layout = Layout::default();
        let spec = ParamSpec::embedding("table", context * vocab, vocab, Init::Normal(3.0));
        let table = layout.add(spec);
        Table { layout, table, vocab, context }
    }
}

impl Model for Table {
    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn losses<T: Tensor>(&self, w: BoundParams<'_, T>, batch: &Batch, mode: Mode) -> T {
        let Sequences { tokens, positions, .. } = batch.sequences();
        let rows: Vec<usize> =
            tokens.iter().zip(positions).map(|(token, at)| at * self.vocab + token).collect();
        w[self.table].gather_rows(&rows).cross_entropy(batch.targets(), mode.smoothing)
    }

    fn decode<T: Tensor>(&self, w: BoundParams<'_, T>, new: Sequences<'_>, _: &mut Cache<'_, T>) -> T {
        let last = new.rows.iter().map(|rows| rows.end - 1);
        let rows: Vec<usize> = last.map(|at| new.positions[at] * self.vocab + new.tokens[at]).collect();
        w[self.table].gather_rows(&rows)
    }

    fn vocab_size(&self) -> usize {
        self.vocab
    }

    fn context(&self) -> usize {
        self.context
    }
}
