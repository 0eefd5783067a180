//! The engine that runs a model on any graph of numbers.

use gradus::data::Batch;
use gradus::model::{Cache, Mode, Model};
use gradus::params::BoundParams;
use gradus::{Engine, Tensor};
use smallvec::SmallVec;

use super::number::Numbers;
use super::rows::Rows;

/// What a graph lives in, to be used for one graph after the other.
pub trait Storage: Default {
    /// The graph.
    type Graph<'g>: Numbers<'g>
    where
        Self: 'g;

    /// Forgets the last graph and starts an empty one.
    fn graph(&mut self) -> &Self::Graph<'_>;
}

/// An [`Engine`] whose numbers are those of a rung.
#[derive(Default)]
pub struct Ladder<R> {
    room: R,
    losses: Vec<f64>,
    nodes: usize,
}

impl<R: Storage> Ladder<R> {
    /// How many nodes the last graph had.
    pub fn nodes(&self) -> usize {
        self.nodes
    }
}

type Matrix<'g, R> = Rows<'g, <R as Storage>::Graph<'g>>;
type Number<'g, R> = <<R as Storage>::Graph<'g> as Numbers<'g>>::Number;

/// All weights as leaves, and the matrices that they make.
fn bind<'g, R: Storage + 'g, M: Model>(
    graph: &'g R::Graph<'g>,
    model: &M,
    params: &[f64],
) -> (&'g [Number<'g, R>], SmallVec<[Matrix<'g, R>; 16]>) {
    let leaves = graph.list(params.len(), |at| graph.leaf(params[at]));
    let windows = model.layout().specs().iter();
    (leaves, windows.map(|w| Rows::of(graph, &leaves[w.range()], w.rows, w.cols)).collect())
}

impl<R: Storage> Engine for Ladder<R> {
    type Real = f64;

    fn gradient<M: Model>(
        &mut self,
        model: &M,
        params: &[f64],
        batch: &Batch,
        mode: Mode,
        gradient: &mut [f64],
    ) -> f64 {
        let graph = self.room.graph();
        let (leaves, matrices) = bind::<R, M>(graph, model, params);
        let losses = model.losses(BoundParams::new(&matrices), batch, mode);
        let loss = losses.weighted_mean(batch.loss_weights()).numbers()[0];
        graph.backward(loss);
        for (_, range, grad_range) in model.layout().trainable() {
            let leaves = gradient[grad_range].iter_mut().zip(&leaves[range]);
            leaves.for_each(|(out, &leaf)| *out = graph.grad(leaf));
        }
        self.losses.clear();
        self.losses.extend(losses.numbers().iter().map(|&loss| graph.value(loss)));
        self.nodes = graph.len();
        graph.value(loss)
    }

    fn loss<M: Model>(&mut self, model: &M, params: &[f64], batch: &Batch) -> f64 {
        let graph = self.room.graph();
        let (_, matrices) = bind::<R, M>(graph, model, params);
        let losses = model.losses(BoundParams::new(&matrices), batch, Mode::default());
        self.losses.clear();
        self.losses.extend(losses.numbers().iter().map(|&loss| graph.value(loss)));
        graph.value(losses.weighted_mean(batch.loss_weights()).numbers()[0])
    }

    fn token_losses(&self) -> &[f64] {
        &self.losses
    }

    fn generate<M: Model>(
        &mut self,
        model: &M,
        params: &[f64],
        prompt: &[usize],
        next: &mut dyn FnMut(&[f64]) -> Option<usize>,
    ) {
        let graph = self.room.graph();
        let (_, matrices) = bind::<R, M>(graph, model, params);
        let mut cache = Cache::default();
        let mut input = SmallVec::<[usize; 16]>::from_slice(prompt);
        while !input.is_empty() {
            let logits = model.decode(BoundParams::new(&matrices), &input, &mut cache).numbers();
            let last = &logits[logits.len() - model.vocab_size()..];
            let scores: SmallVec<[f64; 32]> = last.iter().map(|&x| graph.value(x)).collect();
            input = next(&scores).into_iter().collect();
        }
    }
}
