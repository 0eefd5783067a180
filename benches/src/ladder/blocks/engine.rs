//! The engine: loss, gradient and next token of a model.

use gradus::data::Batch;
use gradus::engine::{CachedSession, GradientTo, Session};
use gradus::model::{Mode, Model};
use gradus::params::BoundParams;
use gradus::{Engine, Tensor};
use smallvec::SmallVec;

use super::block::{Arena, Graph};
use super::matrix::Matrix;

/// An [`Engine`] whose graph is made of blocks.
#[derive(Default)]
pub struct BlocksEngine {
    arena: Arena,
    losses: Vec<f64>,
    node_count: usize,
}

impl BlocksEngine {
    /// How many numbers the graph of the last loss held.
    pub fn node_count(&self) -> usize {
        self.node_count
    }
}

/// All parameters as one block of leaves, `[1, n]`, and the matrices that are views of it.
fn bind<'g>(
    graph: &'g Graph<'g>,
    model: &impl Model,
    params: &[f64],
) -> (Matrix<'g>, BoundParams<'g, Matrix<'g>>) {
    assert_eq!(params.len(), model.layout().len(), "bind: params against those of the layout");
    let leaves = graph.matrix(1, params.len(), params);
    let specs = model.layout().specs();
    let matrix = |at: usize| leaves.window(specs[at].offset, specs[at].rows, specs[at].cols);
    (leaves, BoundParams::new(graph.bump.alloc_slice_fill_with(specs.len(), matrix)))
}

/// Copies a column of losses out of the graph.
fn read(losses: Matrix<'_>, out: &mut Vec<f64>) {
    let (rows, _) = losses.shape();
    out.clear();
    out.extend((0..rows).map(|row| losses.row(row)[0]));
}

impl Engine for BlocksEngine {
    type Real = f64;

    fn accumulate<M: Model>(
        &mut self,
        model: &M,
        params: &[f64],
        batch: &Batch,
        mode: Mode,
        total_loss_weight: f64,
        gradient: GradientTo<'_, f64>,
    ) -> f64 {
        let graph = self.arena.graph();
        let (leaves, params) = bind(graph, model, params);
        let losses = model.losses(params, batch, mode);
        let shares = batch.loss_weights().iter().map(|weight| weight / total_loss_weight);
        let loss = losses.weighted_sum(&shares.collect::<SmallVec<[f64; 32]>>());
        loss.backward();
        gradient.put(leaves.row_grad(0));
        read(losses, &mut self.losses);
        self.node_count = graph.node_count();
        loss.row(0)[0]
    }

    fn loss<M: Model>(&mut self, model: &M, params: &[f64], batch: &Batch) -> f64 {
        let graph = self.arena.graph();
        let losses = model.losses(bind(graph, model, params).1, batch, Mode::default());
        let loss = losses.weighted_mean(batch.loss_weights());
        read(losses, &mut self.losses);
        self.node_count = graph.node_count();
        loss.row(0)[0]
    }

    fn token_losses(&self) -> &[f64] {
        &self.losses
    }

    fn decode<M: Model, R>(
        &mut self,
        model: &M,
        params: &[f64],
        work: impl FnOnce(&mut dyn Session) -> R,
    ) -> R {
        let (_, params) = bind(self.arena.graph(), model, params);
        let read_last_row = |logits: Matrix<'_>, out: &mut Vec<f64>| {
            out.extend_from_slice(logits.row(logits.shape().0 - 1));
        };
        work(&mut CachedSession::new(model, params, read_last_row))
    }
}
