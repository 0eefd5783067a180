//! An engine that runs a model on any graph of scalar values.

use gradus::data::Batch;
use gradus::engine::{CachedSession, GradientTo, Session};
use gradus::model::{Mode, Model};
use gradus::params::BoundParams;
use gradus::{Engine, Tensor};
use smallvec::SmallVec;

use super::matrix::Matrix;
use super::scalar_graph::ScalarGraph;

/// The memory of a graph, reused for the next one.
pub trait GraphArena: Default {
    /// The graph.
    type Graph<'g>: ScalarGraph<'g>
    where
        Self: 'g;

    /// Drops the last graph and starts an empty one.
    fn graph(&mut self) -> &Self::Graph<'_>;
}

/// An [`Engine`] whose graphs live in an arena `A`.
#[derive(Default)]
pub struct GraphEngine<A> {
    arena: A,
    losses: Vec<f64>,
    node_count: usize,
}

impl<A: GraphArena> GraphEngine<A> {
    /// How many nodes the graph of the last gradient had.
    pub fn node_count(&self) -> usize {
        self.node_count
    }
}

type MatrixIn<'g, A> = Matrix<'g, <A as GraphArena>::Graph<'g>>;
type ValueIn<'g, A> = <<A as GraphArena>::Graph<'g> as ScalarGraph<'g>>::Value;

/// All parameters as leaves, and the matrices made of them.
fn bind<'g, A: GraphArena + 'g, M: Model>(
    graph: &'g A::Graph<'g>,
    model: &M,
    params: &[f64],
) -> (&'g [ValueIn<'g, A>], SmallVec<[MatrixIn<'g, A>; 16]>) {
    let leaves = graph.alloc_slice(params.len(), |at| graph.leaf(params[at]));
    let specs = model.layout().specs().iter();
    (leaves, specs.map(|spec| Matrix::new(graph, &leaves[spec.range()], spec.rows, spec.cols)).collect())
}

/// Reads the last row of a matrix of logits.
fn last_row_reader<'g, A: GraphArena + 'g>(
    graph: &'g A::Graph<'g>,
    vocab_size: usize,
) -> impl FnMut(MatrixIn<'g, A>, &mut Vec<f64>) {
    move |logits, out| {
        let logits = logits.values();
        out.extend(logits[logits.len() - vocab_size..].iter().map(|&x| graph.data(x)));
    }
}

impl<A: GraphArena> Engine for GraphEngine<A> {
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
        let (leaves, matrices) = bind::<A, M>(graph, model, params);
        let losses = model.losses(BoundParams::new(&matrices), batch, mode);
        let shares = batch.loss_weights().iter().map(|weight| weight / total_loss_weight);
        let loss = losses.weighted_sum(&shares.collect::<SmallVec<[f64; 32]>>()).values()[0];
        graph.backward(loss);
        let trainable = model.layout().trainable().flat_map(|(_, range, _)| &leaves[range]);
        gradient.put(trainable.map(|&leaf| graph.grad(leaf)));
        self.losses.clear();
        self.losses.extend(losses.values().iter().map(|&loss| graph.data(loss)));
        self.node_count = graph.node_count();
        graph.data(loss)
    }

    fn loss<M: Model>(&mut self, model: &M, params: &[f64], batch: &Batch) -> f64 {
        let graph = self.arena.graph();
        let (_, matrices) = bind::<A, M>(graph, model, params);
        let losses = model.losses(BoundParams::new(&matrices), batch, Mode::default());
        self.losses.clear();
        self.losses.extend(losses.values().iter().map(|&loss| graph.data(loss)));
        graph.data(losses.weighted_mean(batch.loss_weights()).values()[0])
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
        let graph = self.arena.graph();
        let (_, matrices) = bind::<A, M>(graph, model, params);
        let read_last_row = last_row_reader::<A>(graph, model.vocab_size());
        work(&mut CachedSession::new(model, BoundParams::new(&matrices), read_last_row))
    }
}
