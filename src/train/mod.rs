//! The loop that learns: a batch, its gradient, a step of the optimizer, again.

use crate::data::Batch;
use crate::engine::Engine;
use crate::model::{Model, Pass};
use crate::optim::{Adam, AdamSettings, Schedule};
use crate::random::Random;

/// What a training run is told.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// How many steps there will be.
    pub steps: usize,
    /// The highest learning rate.
    pub learning_rate: f64,
    /// How it changes.
    pub schedule: Schedule,
    /// The optimizer's numbers.
    pub adam: AdamSettings,
}

impl Default for Settings {
    /// Those of microgpt.
    fn default() -> Self {
        Settings {
            steps: 1000,
            learning_rate: 0.01,
            schedule: Schedule::Linear,
            adam: AdamSettings::MICROGPT,
        }
    }
}

/// What one step did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// Its number, from 1.
    pub number: usize,
    /// The loss of its batch before the weights were changed, in nats a token.
    pub loss: f64,
    /// The learning rate.
    pub learning_rate: f64,
}

/// A model in training: its weights, the engine that runs it and the optimizer that changes it.
pub struct Trainer<M: Model, E: Engine> {
    model: M,
    engine: E,
    settings: Settings,
    weights: Vec<E::Real>,
    gradient: Vec<E::Real>,
    adam: Adam<E::Real>,
    done: usize,
}

impl<M: Model, E: Engine> Trainer<M, E> {
    /// Training from fresh weights.
    pub fn new(model: M, engine: E, settings: Settings, random: &mut Random) -> Self {
        let weights = model.layout().initial(random);
        Self::from_weights(model, engine, settings, weights)
    }

    /// Training from given weights.
    ///
    /// # Panics
    /// If they are not as many as the model has.
    pub fn from_weights(model: M, engine: E, settings: Settings, weights: Vec<E::Real>) -> Self {
        let count = model.layout().len();
        assert_eq!(weights.len(), count, "a model of {count} weights");
        let adam = Adam::new(count, settings.adam);
        let gradient = vec![Default::default(); count];
        Trainer { model, engine, settings, weights, gradient, adam, done: 0 }
    }

    // ANCHOR: step
    /// Learns from one batch.
    pub fn step(&mut self, batch: &Batch) -> Step {
        let loss =
            self.engine.gradient(&self.model, &self.weights, batch, Pass::default(), &mut self.gradient);
        let share = self.settings.schedule.share(self.done, self.settings.steps);
        let learning_rate = self.settings.learning_rate * share;
        self.adam.update(&mut self.weights, &self.gradient, learning_rate);
        self.done += 1;
        Step { number: self.done, loss, learning_rate }
    }
    // ANCHOR_END: step

    /// The model.
    pub fn model(&self) -> &M {
        &self.model
    }

    /// The weights as they are now, in the order of the model's layout.
    pub fn weights(&self) -> &[E::Real] {
        &self.weights
    }

    /// The gradient of the last step.
    pub fn gradient(&self) -> &[E::Real] {
        &self.gradient
    }

    /// All that generation needs: the engine, the model and its weights.
    pub fn parts(&mut self) -> (&mut E, &M, &[E::Real]) {
        (&mut self.engine, &self.model, &self.weights)
    }
}
