//! The scalar engine at work: a model's loss, its gradient and its next token.

use super::matrix::Matrix;
use super::value::Arena;
use crate::data::Batch;
use crate::engine::Engine;
use crate::model::{Cache, Model, Pass};
use crate::tensor::Tensor;

/// The [`Engine`] whose numbers are [`Value`](super::Value)s.
#[derive(Default)]
pub struct Scalar {
    arena: Arena,
    losses: Vec<f64>,
    nodes: usize,
}

impl Scalar {
    /// An engine with an empty arena.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many values the last graph held: that of the last loss, with or without its gradient.
    pub fn nodes(&self) -> usize {
        self.nodes
    }
}

/// Reads a column of losses.
fn read(losses: Matrix<'_>, out: &mut Vec<f64>) {
    let (rows, _) = losses.shape();
    out.clear();
    out.extend((0..rows).map(|row| losses.value(row, 0).data()));
}

impl Engine for Scalar {
    type Real = f64;

    fn gradient<M: Model>(
        &mut self,
        model: &M,
        weights: &[f64],
        batch: &Batch,
        pass: Pass,
        gradient: &mut [f64],
    ) -> f64 {
        let graph = self.arena.graph();
        let bound = graph.bind(model.layout(), weights);
        let losses = model.losses(bound.weights, batch, pass);
        let loss = losses.weighted_mean(batch.weights()).value(0, 0);
        loss.backward();
        bound.gradient(gradient);
        read(losses, &mut self.losses);
        self.nodes = graph.len();
        loss.data()
    }

    fn loss<M: Model>(&mut self, model: &M, weights: &[f64], batch: &Batch) -> f64 {
        let graph = self.arena.graph();
        let losses = model.losses(graph.bind(model.layout(), weights).weights, batch, Pass::default());
        let loss = losses.weighted_mean(batch.weights()).value(0, 0);
        read(losses, &mut self.losses);
        self.nodes = graph.len();
        loss.data()
    }

    fn token_losses(&self) -> &[f64] {
        &self.losses
    }

    fn generate<M: Model>(
        &mut self,
        model: &M,
        weights: &[f64],
        prompt: &[usize],
        next: &mut dyn FnMut(&[f64]) -> Option<usize>,
    ) {
        let graph = self.arena.graph();
        let weights = graph.bind(model.layout(), weights).weights;
        let mut cache = Cache::default();
        let mut token = [0];
        let mut input = prompt;
        while !input.is_empty() {
            let logits = model.extend(weights, input, &mut cache);
            match next(logits.row(logits.shape().0 - 1)) {
                Some(chosen) => token[0] = chosen,
                None => break,
            }
            input = &token;
        }
    }
}
