//! The loop that learns: a batch, its gradient, a step of the optimizer, again.

mod early_stopping;
mod state;
mod weighting;

pub use early_stopping::EarlyStopping;
pub use state::Progress;
pub use weighting::Weighting;

use crate::counter_rng::CounterRng;
use crate::data::Batch;
use crate::engine::Engine;
use crate::model::{Mode, Model};
use crate::optim::{Adam, AdamSettings, Ema, Optimizer, Schedule, clip};
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
    /// The greatest length of the gradient, if there is a limit.
    pub clip: Option<f64>,
    /// Label smoothing of the loss that is trained on.
    pub smoothing: f64,
    /// How much of the average of the weights stays from step to step, if there is to be one.
    pub ema_decay: Option<f64>,
    /// What all dropout follows from; without it nothing is dropped.
    pub dropout_seed: Option<u64>,
    /// Whether tokens weigh more where they are difficult ([`Weighting`]).
    pub weighting: bool,
}

impl Default for Settings {
    /// Those of microgpt.
    fn default() -> Self {
        Settings {
            steps: 1000,
            learning_rate: 0.01,
            schedule: Schedule::Linear,
            clip: None,
            smoothing: 0.0,
            ema_decay: None,
            dropout_seed: None,
            weighting: false,
        }
    }
}

/// What one step did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// Its number, from 1.
    pub number: usize,
    /// The loss of its batch before the weights were changed, in nats a token, with smoothing and weights if there are any.
    pub loss: f64,
    /// The learning rate.
    pub learning_rate: f64,
}

/// A model in training: its weights, the engine that runs it and the optimizer that changes it.
pub struct Trainer<M: Model, E: Engine> {
    model: M,
    engine: E,
    settings: Settings,
    params: Vec<E::Real>,
    gradient: Vec<E::Real>,
    optimizer: Box<dyn Optimizer<E::Real>>,
    ema: Option<Ema<E::Real>>,
    weighting: Option<Weighting>,
    batch: Batch,
    done: usize,
}

impl<M: Model, E: Engine> Trainer<M, E> {
    /// Training from fresh weights with microgpt's Adam.
    pub fn new(model: M, engine: E, settings: Settings, random: &mut Random) -> Self {
        let params = model.layout().initial(random);
        Self::from_weights(model, engine, settings, params)
    }

    /// Training from given weights with microgpt's Adam.
    ///
    /// # Panics
    /// If they are not as many as the model has.
    pub fn from_weights(model: M, engine: E, settings: Settings, params: Vec<E::Real>) -> Self {
        let adam = Adam::new(params.len(), AdamSettings::MICROGPT);
        Self::with_optimizer(model, engine, Box::new(adam), settings, params)
    }

    /// Training from given weights with any optimizer.
    ///
    /// # Panics
    /// If the weights are not as many as the model has.
    pub fn with_optimizer(
        model: M,
        engine: E,
        optimizer: Box<dyn Optimizer<E::Real>>,
        settings: Settings,
        params: Vec<E::Real>,
    ) -> Self {
        let count = model.layout().len();
        assert_eq!(params.len(), count, "a model of {count} params");
        Trainer {
            engine,
            settings,
            gradient: vec![Default::default(); count],
            optimizer,
            ema: settings.ema_decay.map(|_| Ema::new(&params)),
            weighting: settings.weighting.then(|| Weighting::new(model.vocab_size())),
            batch: Batch::new(),
            done: 0,
            model,
            params,
        }
    }

    /// Learns from one batch.
    pub fn step(&mut self, batch: &Batch) -> Step {
        let Settings { clip: max_norm, smoothing, ema_decay, dropout_seed, .. } = self.settings;
        let dropout = dropout_seed.map(|seed| CounterRng::new(seed).fork(self.done as u32));
        let mode = Mode { dropout, smoothing, first_row: 0 };
        let batch = match &self.weighting {
            Some(weighting) => {
                self.batch.copy_part(batch, 0..batch.sequences().lengths.len(), 0, 1.0);
                weighting.apply(&mut self.batch);
                &self.batch
            }
            None => batch,
        };
        // ANCHOR: step
        let loss = self.engine.gradient(&self.model, &self.params, batch, mode, &mut self.gradient);
        if let Some(weighting) = &mut self.weighting {
            weighting.update(batch, self.engine.token_losses());
        }
        if let Some(max_norm) = max_norm {
            clip(&mut self.gradient, max_norm);
        }
        let learning_rate =
            self.settings.learning_rate * self.settings.schedule.factor(self.done, self.settings.steps);
        self.optimizer.update(&mut self.params, &self.gradient, learning_rate);
        // ANCHOR_END: step
        if let (Some(ema), Some(decay)) = (&mut self.ema, ema_decay) {
            // At first it keeps less, so as not to hang on to the random weights of the beginning.
            let warm = (1.0 + self.done as f64) / (10.0 + self.done as f64);
            ema.update(&self.params, decay.min(warm));
        }
        self.done += 1;
        Step { number: self.done, loss, learning_rate }
    }

    /// The mean cross entropy of batches that are not learned from, in nats a token, without dropout, smoothing or weights;
    /// with the averaged weights if there are any.
    pub fn validate(&mut self, batches: &[Batch]) -> f64 {
        let params = self.ema.as_ref().map_or(self.params.as_slice(), Ema::params);
        let (mut sum, mut tokens) = (0.0, 0);
        for batch in batches {
            self.engine.loss(&self.model, params, batch);
            sum += self.engine.token_losses().iter().sum::<f64>();
            tokens += batch.len();
        }
        sum / tokens as f64
    }

    /// How many steps have been made.
    pub fn steps_done(&self) -> usize {
        self.done
    }

    /// The model.
    pub fn model(&self) -> &M {
        &self.model
    }

    /// The weights as they are now, in the order of the model's layout.
    pub fn params(&self) -> &[E::Real] {
        &self.params
    }

    /// The weights to use: averaged ones if there are any.
    pub fn eval_params(&self) -> &[E::Real] {
        self.ema.as_ref().map_or(&self.params, Ema::params)
    }

    /// The gradient of the last step.
    pub fn gradient(&self) -> &[E::Real] {
        &self.gradient
    }

    /// The difficulty of bigrams, if tokens are weighed by it.
    pub fn weighting(&self) -> Option<&Weighting> {
        self.weighting.as_ref()
    }

    /// All that generation needs: the engine, the model and the weights to use.
    pub fn split_mut(&mut self) -> (&mut E, &M, &[E::Real]) {
        let params = self.ema.as_ref().map_or(self.params.as_slice(), Ema::params);
        (&mut self.engine, &self.model, params)
    }
}
