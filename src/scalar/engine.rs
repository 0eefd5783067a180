//! The scalar engine: the loss of a model, its gradient, and decoding.

use std::ops::Range;

use smallvec::SmallVec;

use super::arena::Arena;
use super::matrix::Matrix;
use crate::data::Batch;
use crate::engine::{Engine, GradientTo, Pass, Reader};
use crate::model::{Mode, Model};
use crate::params::Layout;
use crate::tensor::{CopiedMemory, Memories, Tensor};

/// The [`Engine`] whose numbers are [`Value`](super::Value)s.
#[derive(Default)]
pub struct ScalarEngine {
    arena: Arena,
    losses: Vec<f64>,
    nodes: usize,
    memories: Memories<f64>,
}

impl ScalarEngine {
    /// An engine with an empty arena.
    pub fn new() -> Self {
        Self::default()
    }

    /// The number of values in the last graph of a loss, with or without its gradient.
    pub fn nodes(&self) -> usize {
        self.nodes
    }
}

/// Copies a column of losses into a list.
fn read_losses(losses: Matrix<'_>, out: &mut Vec<f64>) {
    let (rows, _) = losses.shape();
    out.clear();
    out.extend((0..rows).map(|row| losses.at(row, 0).data()));
}

impl Engine for ScalarEngine {
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
        assert!(!batch.is_empty(), "an empty batch has no loss");
        let graph = self.arena.graph();
        let bound = graph.bind(model.layout(), params);
        let losses = model.losses(bound.params, batch, mode);
        let shares = batch.loss_weights().iter().map(|weight| weight / total_loss_weight);
        let loss = losses.weighted_sum(&shares.collect::<SmallVec<[f64; 32]>>()).at(0, 0);
        loss.backward();
        match gradient {
            GradientTo::Write(gradient) => bound.gradient(gradient),
            GradientTo::Add(gradient) => bound.add_gradient(gradient),
        }
        read_losses(losses, &mut self.losses);
        self.nodes = graph.len();
        loss.data()
    }

    fn loss<M: Model>(&mut self, model: &M, params: &[f64], batch: &Batch) -> f64 {
        batch.total_loss_weight(); // panics if there is none
        let graph = self.arena.graph();
        let losses = model.losses(graph.bind(model.layout(), params).params, batch, Mode::default());
        let loss = losses.weighted_mean(batch.loss_weights()).at(0, 0);
        read_losses(losses, &mut self.losses);
        self.nodes = graph.len();
        loss.data()
    }

    fn token_losses(&self) -> &[f64] {
        &self.losses
    }
}

impl Reader for ScalarEngine {
    type Params = [f64];

    fn run(&mut self, layout: &Layout, params: &[f64], pass: impl Pass, out: &mut Vec<f64>) {
        let graph = self.arena.graph();
        let read = |x: Matrix<'_>, out: &mut Vec<f64>| {
            (0..x.shape().0).for_each(|row| x.read_row(row, |row| out.extend_from_slice(row)));
        };
        let mut memory = CopiedMemory::new(&mut self.memories, read);
        let result = pass.run(graph.bind(layout, params).params, &mut memory);
        out.clear();
        read(result, out);
    }

    fn copy_kept(&mut self, from: Range<usize>, to: usize) {
        self.memories.copy_tokens(from, to);
    }
}
