//! What every rung trains on: the same names in the same order, from the same initial parameters.

use anyhow::Result;
use gradus::Engine;
use gradus::data::{self, Batch, Names};
use gradus::engine::Session;
use gradus::fast::FastEngine;
use gradus::model::{Decoder, DecoderConfig, Model};
use gradus::random::Random;
use gradus::real::Real;
use gradus::scalar::ScalarEngine;
use gradus::train::{Settings, Trainer};

use super::blocks::BlocksEngine;
use super::engine::{GraphArena, GraphEngine};

/// The steps of one training.
pub const STEPS: usize = 1000;

/// The shuffled names, and the random numbers that follow the shuffle.
pub struct NamesWorkload {
    names: Names,
    random: Random,
}

impl NamesWorkload {
    /// The workload of microgpt.py, if `names.txt` is the file that it downloads.
    ///
    /// # Errors
    /// If there is no such file.
    pub fn load() -> Result<Self> {
        let mut random = Random::python(42);
        let mut names = Names::read(&data::find("names.txt")?)?;
        names.shuffle(&mut random);
        Ok(NamesWorkload { names, random })
    }

    /// Fills a batch with the `size` names of a step.
    pub fn fill(&self, batch: &mut Batch, step: usize, size: usize) {
        self.names.fill(batch, step, size, DecoderConfig::microgpt(self.names.vocab_size()).context);
    }

    /// The names GPT with this embedding width.
    ///
    /// # Errors
    /// If the width does not divide into heads.
    pub fn model(&self, width: usize) -> Result<Decoder> {
        let config = DecoderConfig::microgpt(self.names.vocab_size());
        Ok(Decoder::new(DecoderConfig { n_embd: width, n_ffn: 4 * width, ..config })?)
    }

    /// A model on an engine, before its first step.
    pub fn trainer<M: Model, E: Engine>(&self, model: M, engine: E) -> Trainer<M, E> {
        let settings = Settings { steps: STEPS, ..Settings::default() };
        Trainer::new(model, engine, settings, &mut self.random.clone())
    }
}

/// A [`Trainer`] of any model on any engine, to be used as `dyn`.
pub trait DynTrainer {
    /// Trains on a batch. Returns its loss.
    fn step(&mut self, batch: &Batch) -> f64;
    /// The gradient of the last step.
    fn gradient(&self) -> Vec<f64>;
    /// How many nodes the graph of the last step had.
    fn node_count(&mut self) -> usize;
    /// Continues a prompt with the most likely tokens.
    fn greedy(&mut self, prompt: &[usize], tokens: usize) -> Vec<usize>;
}

impl<M: Model, E: Engine + NodeCount> DynTrainer for Trainer<M, E> {
    fn step(&mut self, batch: &Batch) -> f64 {
        Trainer::step(self, batch).loss
    }

    fn gradient(&self) -> Vec<f64> {
        Trainer::gradient(self).iter().map(|g| g.to_f64()).collect()
    }

    fn node_count(&mut self) -> usize {
        self.split_mut().0.node_count()
    }

    fn greedy(&mut self, prompt: &[usize], tokens: usize) -> Vec<usize> {
        let (engine, model, params) = self.split_mut();
        let mut answer = prompt.to_vec();
        let mut session = Session::single(engine, model, &params);
        while answer.len() < prompt.len() + tokens {
            let logits = session.feed(0, &answer[session.len(0)..]).iter().enumerate();
            let (best, _) = logits.max_by(|a, b| a.1.total_cmp(b.1)).expect("a vocabulary is not empty");
            answer.push(best);
        }
        answer.split_off(prompt.len())
    }
}

/// An engine that counts its nodes.
pub trait NodeCount {
    /// How many nodes the graph of the last gradient had.
    fn node_count(&self) -> usize;
}

impl<A: GraphArena> NodeCount for GraphEngine<A> {
    fn node_count(&self) -> usize {
        self.node_count()
    }
}

impl NodeCount for BlocksEngine {
    fn node_count(&self) -> usize {
        self.node_count()
    }
}

impl NodeCount for ScalarEngine {
    fn node_count(&self) -> usize {
        self.nodes()
    }
}

impl NodeCount for FastEngine {
    fn node_count(&self) -> usize {
        self.nodes()
    }
}
