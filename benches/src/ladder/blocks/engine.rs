//! The engine: loss, gradient and next token of a model.

use std::ops::Range;

use gradus::data::Batch;
use gradus::engine::{GradientTo, Pass};
use gradus::model::{Mode, Model};
use gradus::params::{BoundParams, Layout};
use gradus::tensor::{CopiedMemory, Memories};
use gradus::{Engine, Reader, Tensor};
use smallvec::SmallVec;

use super::block::{Arena, Graph};
use super::matrix::Matrix;

/// An [`Engine`] whose graph is made of blocks.
#[derive(Default)]
pub struct BlocksEngine {
    arena: Arena,
    losses: Vec<f64>,
    node_count: usize,
    memories: Memories<f64>,
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
    layout: &Layout,
    params: &[f64],
) -> (Matrix<'g>, BoundParams<'g, Matrix<'g>>) {
    assert_eq!(params.len(), layout.len(), "bind: params against those of the layout");
    let leaves = graph.matrix(1, params.len(), params);
    let specs = layout.specs();
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
        let (leaves, params) = bind(graph, model.layout(), params);
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
        let losses = model.losses(bind(graph, model.layout(), params).1, batch, Mode::default());
        let loss = losses.weighted_mean(batch.loss_weights());
        read(losses, &mut self.losses);
        self.node_count = graph.node_count();
        loss.row(0)[0]
    }

    fn token_losses(&self) -> &[f64] {
        &self.losses
    }
}

impl Reader for BlocksEngine {
    type Params = [f64];

    fn run(&mut self, layout: &Layout, params: &[f64], pass: impl Pass, out: &mut Vec<f64>) {
        let (_, params) = bind(self.arena.graph(), layout, params);
        let read = |x: Matrix<'_>, out: &mut Vec<f64>| {
            (0..x.shape().0).for_each(|row| out.extend_from_slice(x.row(row)));
        };
        let result = pass.run(params, &mut CopiedMemory::new(&mut self.memories, read));
        out.clear();
        read(result, out);
    }

    fn copy_kept(&mut self, from: Range<usize>, to: usize) {
        self.memories.copy_tokens(from, to);
    }
}
