//! An engine that runs a model on any graph of scalar values.

use std::ops::Range;

use gradus::data::Batch;
use gradus::engine::{GradientTo, Pass};
use gradus::model::{Mode, Model};
use gradus::params::{BoundParams, Layout};
use gradus::tensor::{CopiedMemory, Memories};
use gradus::{Engine, Reader, Tensor};
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
    memories: Memories<f64>,
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
fn bind<'g, A: GraphArena + 'g>(
    graph: &'g A::Graph<'g>,
    layout: &Layout,
    params: &[f64],
) -> (&'g [ValueIn<'g, A>], SmallVec<[MatrixIn<'g, A>; 16]>) {
    let leaves = graph.alloc_slice(params.len(), |at| graph.leaf(params[at]));
    let specs = layout.specs().iter();
    (leaves, specs.map(|spec| Matrix::new(graph, &leaves[spec.range()], spec.rows, spec.cols)).collect())
}

/// Appends the numbers of a matrix to a list.
fn reader<'g, A: GraphArena + 'g>(graph: &'g A::Graph<'g>) -> impl Fn(MatrixIn<'g, A>, &mut Vec<f64>) {
    move |x, out| out.extend(x.values().iter().map(|&x| graph.data(x)))
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
        let (leaves, matrices) = bind::<A>(graph, model.layout(), params);
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
        let (_, matrices) = bind::<A>(graph, model.layout(), params);
        let losses = model.losses(BoundParams::new(&matrices), batch, Mode::default());
        self.losses.clear();
        self.losses.extend(losses.values().iter().map(|&loss| graph.data(loss)));
        graph.data(losses.weighted_mean(batch.loss_weights()).values()[0])
    }

    fn token_losses(&self) -> &[f64] {
        &self.losses
    }
}

impl<A: GraphArena> Reader for GraphEngine<A> {
    type Params = [f64];

    fn run(&mut self, layout: &Layout, params: &[f64], pass: impl Pass, out: &mut Vec<f64>) {
        let graph = self.arena.graph();
        let (_, matrices) = bind::<A>(graph, layout, params);
        let mut memory = CopiedMemory::new(&mut self.memories, reader::<A>(graph));
        let result = pass.run(BoundParams::new(&matrices), &mut memory);
        out.clear();
        reader::<A>(graph)(result, out);
    }

    fn copy_kept(&mut self, from: Range<usize>, to: usize) {
        self.memories.copy_tokens(from, to);
    }
}
