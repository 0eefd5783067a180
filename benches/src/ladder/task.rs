//! What every rung has to learn: the same names in the same order, from the same weights.

use anyhow::Result;
use gradus::Engine;
use gradus::data::{self, Batch, Names};
use gradus::fast::FastEngine;
use gradus::model::{Decoder, DecoderConfig, Model};
use gradus::random::Random;
use gradus::real::Real;
use gradus::scalar::ScalarEngine;
use gradus::train::{Settings, Trainer};

use super::blocks::BlocksEngine;
use super::engine::{Ladder, Storage};

/// The steps of the task.
pub const STEPS: usize = 1000;

/// Names in the order of training, and the dice as they lie after the shuffle.
pub struct NamesTask {
    names: Names,
    random: Random,
}

impl NamesTask {
    /// That of microgpt.py, if `names.txt` is its file.
    ///
    /// # Errors
    /// If there is no such file.
    pub fn load() -> Result<Self> {
        let mut random = Random::python(42);
        let mut names = Names::read(&data::find("names.txt")?)?;
        names.shuffle(&mut random);
        Ok(NamesTask { names, random })
    }

    /// Fills a batch with the names whose turn it is.
    pub fn fill(&self, batch: &mut Batch, step: usize, size: usize) {
        self.names.fill(batch, step, size, DecoderConfig::microgpt(self.names.vocab_size()).context);
    }

    /// A model so many numbers wide.
    ///
    /// # Errors
    /// If there is none of this width.
    pub fn model(&self, width: usize) -> Result<Decoder> {
        let config = DecoderConfig::microgpt(self.names.vocab_size());
        Ok(Decoder::new(DecoderConfig { n_embd: width, n_ffn: 4 * width, ..config })?)
    }

    /// A model at its first step, on an engine.
    pub fn trainer<M: Model, E: Engine>(&self, model: M, engine: E) -> Trainer<M, E> {
        let settings = Settings { steps: STEPS, ..Settings::default() };
        Trainer::new(model, engine, settings, &mut self.random.clone())
    }
}

/// A trainer on any engine.
pub trait TrainingRun {
    /// Learns from a batch. Returns its loss.
    fn step(&mut self, batch: &Batch) -> f64;
    /// The gradient of the last step.
    fn gradient(&self) -> Vec<f64>;
    /// How many nodes the last step made.
    fn nodes(&mut self) -> usize;
}

impl<M: Model, E: Engine + Nodes> TrainingRun for Trainer<M, E> {
    fn step(&mut self, batch: &Batch) -> f64 {
        Trainer::step(self, batch).loss
    }

    fn gradient(&self) -> Vec<f64> {
        Trainer::gradient(self).iter().map(|g| g.to_f64()).collect()
    }

    fn nodes(&mut self) -> usize {
        self.split_mut().0.nodes()
    }
}

/// An engine that counts its nodes.
pub trait Nodes {
    /// How many the last graph had.
    fn nodes(&self) -> usize;
}

impl<R: Storage> Nodes for Ladder<R> {
    fn nodes(&self) -> usize {
        self.nodes()
    }
}

impl Nodes for BlocksEngine {
    fn nodes(&self) -> usize {
        self.nodes()
    }
}

impl Nodes for ScalarEngine {
    fn nodes(&self) -> usize {
        self.nodes()
    }
}

impl Nodes for FastEngine {
    fn nodes(&self) -> usize {
        self.nodes()
    }
}
