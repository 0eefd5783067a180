//! The training loop: take a batch, compute its gradient, let the optimizer make a step, again.

mod early_stopping;
mod growth;
mod loss_scaler;
mod state;
mod weighting;

use std::borrow::Cow;

pub use early_stopping::EarlyStopping;
pub use growth::Growth;
pub use loss_scaler::LossScaler;
pub use state::{FILE as STATE_FILE, Progress};
pub use weighting::Weighting;

use crate::counter_rng::CounterRng;
use crate::data::Batch;
use crate::engine::{Engine, GradientTo};
use crate::model::{Mode, Model};
use crate::optim::{Adam, AdamSettings, Decay, Ema, Optimizer, Schedule, clip, constrain};
use crate::params::Layout;
use crate::random::Random;
use crate::real::Real;

/// How a [`Trainer`] trains. What belongs to the optimizer is set there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// How many steps the run has. The schedule needs to know; the trainer itself never stops.
    pub steps: usize,
    /// The highest learning rate.
    pub learning_rate: f64,
    /// How the learning rate changes from step to step.
    pub schedule: Schedule,
    /// After how many steps the schedule begins once more, for those that are left (a *warm restart*, Loshchilov & Hutter 2016):
    /// where a run learns one thing after another. 0: it never does.
    pub restart: usize,
    /// The greatest length of a gradient (global norm). Longer ones are scaled down; `None` leaves all as they are.
    pub clip: Option<f64>,
    /// Label smoothing of the training loss, from 0 (none) to 1. Validation never smooths.
    pub smoothing: f64,
    /// Keeps an average of the parameters, with this decay: a step keeps that much of the average and mixes in the rest
    /// of the parameters. Validation and generation then use the average. `None`: there is no average.
    pub ema_decay: Option<f64>,
    /// The seed of all dropout masks. `None`: nothing is dropped, whatever the model's rate.
    pub dropout_seed: Option<u64>,
    /// Whether difficult tokens count more in the training loss ([`Weighting`]).
    pub weighting: bool,
    /// After how many steps constraints are restored, each time: 1 after every step, 0 never again after the start.
    pub constrain_every: usize,
    /// What grows by a schedule, in addition to what it learns.
    pub growth: Option<Growth>,
    /// Multiplies the loss, so that small gradients are not lost in float16. `None`: it stays as it is.
    pub loss_scaler: Option<LossScaler>,
}

impl Default for Settings {
    /// Those of microgpt: a thousand steps, a learning rate that falls from 0.01 to zero in a straight line, nothing else.
    fn default() -> Self {
        Settings {
            steps: 1000,
            learning_rate: 0.01,
            schedule: Schedule { warmup: 0, decay: Decay::Linear { floor: 0.0 } },
            restart: 0,
            clip: None,
            smoothing: 0.0,
            ema_decay: None,
            dropout_seed: None,
            weighting: false,
            constrain_every: 1,
            growth: None,
            loss_scaler: None,
        }
    }
}

impl Settings {
    /// The learning rate of the step after `done` others.
    fn learning_rate_at(&self, done: usize) -> f64 {
        let Settings { steps, restart, .. } = *self;
        let (step, steps) =
            if done < restart { (done, restart) } else { (done - restart, steps.saturating_sub(restart)) };
        self.learning_rate * self.schedule.factor(step, steps)
    }
}

/// What one step did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// Its number, from 1.
    pub number: usize,
    /// The loss of its batch before the update, in nats a token; smoothed and weighted, if the settings say so.
    pub loss: f64,
    /// The learning rate of the update.
    pub learning_rate: f64,
    /// By what its loss was multiplied for its gradient, if there is a [`LossScaler`].
    pub loss_scale: Option<f64>,
    /// Whether there was no update, since the gradient was not finite. Only a [`LossScaler`] skips steps.
    pub skipped: bool,
}

/// A model in training: its parameters, the engine that computes their gradient and the optimizer that updates them.
///
/// Constraints of parameters ([`UnitNorm`](crate::params::UnitNorm)) hold from the start and after every step, whatever
/// the engine and the optimizer, unless [`Settings::constrain_every`] says otherwise. Frozen parameters never change.
///
/// A step that a [`LossScaler`] skips changes no parameter, no average and nothing that the optimizer remembers, and counts for
/// none of them. It is a step of the run all the same: its batch is gone, and learning rate and dropout go on, as they do with
/// PyTorch's `GradScaler` where the schedule makes a step after every batch. Its losses count for the difficulty of bigrams.
pub struct Trainer<M: Model, E: Engine> {
    model: M,
    engine: E,
    settings: Settings,
    params: Vec<E::Real>,
    gradient: Vec<E::Real>,
    optimizer: Box<dyn Optimizer<E::Real>>,
    ema: Option<Ema<E::Real>>,
    weighting: Option<Weighting>,
    loss_scaler: Option<LossScaler>,
    /// The micro-batches of a step with the weights of their difficulty.
    weighted: Vec<Batch>,
    done: usize,
}

impl<M: Model, E: Engine> Trainer<M, E> {
    /// Training from fresh parameters with microgpt's Adam.
    pub fn new(model: M, engine: E, settings: Settings, random: &mut Random) -> Self {
        let params = model.layout().initial(random);
        Self::from_params(model, engine, settings, params)
    }

    /// Training from given parameters with microgpt's Adam.
    ///
    /// # Panics
    /// If there are not as many as the model's layout says.
    pub fn from_params(model: M, engine: E, settings: Settings, params: Vec<E::Real>) -> Self {
        let adam = Adam::new(model.layout(), AdamSettings::MICROGPT);
        Self::with_optimizer(model, engine, Box::new(adam), settings, params)
    }

    /// Training from given parameters with any optimizer that was made for the model's layout.
    ///
    /// # Panics
    /// If there are not as many parameters as the layout says.
    pub fn with_optimizer(
        model: M,
        engine: E,
        optimizer: Box<dyn Optimizer<E::Real>>,
        settings: Settings,
        mut params: Vec<E::Real>,
    ) -> Self {
        let layout = model.layout();
        assert_eq!(params.len(), layout.len(), "Trainer: the given parameters against those of the model");
        constrain(layout, &mut params);
        Trainer {
            engine,
            settings,
            gradient: vec![Default::default(); layout.trainable_len()],
            optimizer,
            ema: settings.ema_decay.map(|_| Ema::new(layout, &params)),
            weighting: settings.weighting.then(|| Weighting::new(model.vocab_size())),
            loss_scaler: settings.loss_scaler.map(LossScaler::at_start),
            weighted: Vec::new(),
            done: 0,
            model,
            params,
        }
    }

    /// Learns from one batch.
    ///
    /// # Panics
    /// If the batch is empty or its loss weights do not add up to a positive number.
    pub fn step(&mut self, batch: &Batch) -> Step {
        self.step_on(std::slice::from_ref(batch))
    }

    /// Learns from several micro-batches as if they were one batch (*gradient accumulation*): a step on a batch that would
    /// not fit into memory. Only the results of one micro-batch are kept at a time, and one gradient, to which each adds its
    /// own; the tokens of all must be there.
    ///
    /// What a batch of all their sequences would give, they give: every token counts by its loss weight in the sum over
    /// all of them (micro-batches of different lengths do not count alike), tokens have the difficulty they had before the
    /// step, and dropout drops the same numbers. Only sums are rounded differently: on the scalar engine gradients differ by
    /// less than 1e-12 of their length, on the fast engine by less than 1e-5. There they are the same to the last bit if the
    /// one batch would be cut into the same shards as its micro-batches. The same micro-batches always give the same bits.
    ///
    /// Micro-batches may be empty, but not all of them. How many rows come before its own is noted in each.
    ///
    /// # Panics
    /// If there is no token, or the loss weights of all do not add up to a positive number.
    pub fn step_accumulated(&mut self, micro_batches: &mut [Batch]) -> Step {
        for at in 1..micro_batches.len() {
            let (before, rest) = micro_batches.split_at_mut(at);
            rest[0].follow(&before[at - 1]);
        }
        self.step_on(micro_batches)
    }

    fn step_on(&mut self, micro_batches: &[Batch]) -> Step {
        let Settings { clip: max_norm, .. } = self.settings;
        let loss_scale = self.loss_scaler.map(|scaler| scaler.scale);
        // ANCHOR: step
        let (loss, finite) = self.compute_gradient(micro_batches);
        let learning_rate = self.settings.learning_rate_at(self.done);
        if finite {
            if let Some(max_norm) = max_norm {
                clip(&mut self.gradient, max_norm);
            }
            self.optimizer.update(&mut self.params, &self.gradient, learning_rate);
            self.after_update();
        }
        // ANCHOR_END: step
        self.done += 1;
        Step { number: self.done, loss, learning_rate, loss_scale, skipped: !finite }
    }

    /// What follows an update of the parameters: factors that grow, constraints, the average.
    fn after_update(&mut self) {
        let Settings { ema_decay, constrain_every, growth, .. } = self.settings;
        let (layout, done) = (self.model.layout(), self.updates());
        if let Some(growth) = growth {
            growth.apply(layout, &mut self.params, done);
        }
        // ANCHOR: constrain
        if (done + 1).is_multiple_of(constrain_every) {
            constrain(layout, &mut self.params);
        }
        // ANCHOR_END: constrain
        if let (Some(ema), Some(decay)) = (&mut self.ema, ema_decay) {
            // A smaller decay at first, so that the average soon forgets the random parameters of the start.
            let warm = (1.0 + done as f64) / (10.0 + done as f64);
            ema.update(layout, &self.params, decay.min(warm));
        }
    }

    /// How many steps have changed the parameters, without the one that is being made.
    fn updates(&self) -> usize {
        self.done - self.loss_scaler.map_or(0, |scaler| scaler.skipped)
    }

    /// The loss of a step and its gradient, which is added up over the micro-batches; and whether it may be used. Only with a
    /// loss scaler may it not.
    fn compute_gradient(&mut self, micro_batches: &[Batch]) -> (f64, bool) {
        let Settings { smoothing, dropout_seed, .. } = self.settings;
        let dropout = dropout_seed.map(|seed| CounterRng::new(seed).fork(self.done as u32));
        let batches = match &self.weighting {
            Some(weighting) => weighting.apply_to_copies(micro_batches, &mut self.weighted),
            None => micro_batches,
        };
        let scale = self.loss_scaler.map_or(1.0, |scaler| scaler.scale);
        // ANCHOR: accumulate
        let total = Batch::total_loss_weight_of(batches) / scale; // what is divided by less is multiplied
        let (mut loss, mode) = (0.0, Mode { dropout, smoothing });
        for (at, batch) in batches.iter().filter(|batch| !batch.is_empty()).enumerate() {
            let gradient = match at {
                0 => GradientTo::Write(&mut self.gradient),
                _ => GradientTo::Add(&mut self.gradient),
            };
            loss += self.engine.accumulate(&self.model, &self.params, batch, mode, total, gradient);
            if let Some(weighting) = &mut self.weighting {
                weighting.update(batch, self.engine.token_losses());
            }
        }
        // ANCHOR_END: accumulate
        match &mut self.loss_scaler {
            Some(scaler) => (loss / scale, scaler.unscale(&mut self.gradient)),
            None => (loss, true),
        }
    }

    /// The mean cross entropy of batches that are not learned from, in nats a token: without dropout, smoothing or
    /// weighting by difficulty, and with the averaged parameters if there are any. Tokens count as the batches' own
    /// weights say.
    ///
    /// # Panics
    /// If there are no batches, or an empty one.
    pub fn validate(&mut self, batches: &[Batch]) -> f64 {
        let params = averaged(self.model.layout(), &self.params, self.ema.as_ref());
        assert!(!batches.is_empty(), "validate: there are no batches");
        let (mut sum, mut total) = (0.0, 0.0);
        for batch in batches {
            self.engine.loss(&self.model, &params, batch);
            let weighted = self.engine.token_losses().iter().zip(batch.loss_weights());
            sum += weighted.map(|(loss, weight)| loss * weight).sum::<f64>();
            total += batch.total_loss_weight();
        }
        sum / total
    }

    /// How many steps have been made.
    pub fn steps_done(&self) -> usize {
        self.done
    }

    /// The loss scaler as the last step left it, if there is one.
    pub fn loss_scaler(&self) -> Option<&LossScaler> {
        self.loss_scaler.as_ref()
    }

    /// The model.
    pub fn model(&self) -> &M {
        &self.model
    }

    /// The parameters after the last step, in the order of the model's layout.
    pub fn params(&self) -> &[E::Real] {
        &self.params
    }

    /// The parameters to validate, save and generate with: averaged, if there is an average. They are copied only where
    /// an average has to be joined with frozen parameters.
    pub fn eval_params(&self) -> Cow<'_, [E::Real]> {
        averaged(self.model.layout(), &self.params, self.ema.as_ref())
    }

    /// The gradient of the last step: the trainable numbers alone, in the order of the model's layout.
    pub fn gradient(&self) -> &[E::Real] {
        &self.gradient
    }

    /// The difficulty of bigrams, if tokens are weighted by it.
    pub fn weighting(&self) -> Option<&Weighting> {
        self.weighting.as_ref()
    }

    /// What generation needs, all at once: the engine, the model and [`eval_params`](Self::eval_params).
    pub fn split_mut(&mut self) -> (&mut E, &M, Cow<'_, [E::Real]>) {
        let params = averaged(self.model.layout(), &self.params, self.ema.as_ref());
        (&mut self.engine, &self.model, params)
    }
}

/// All parameters, with the averages in the place of the trainable ones.
fn averaged<'a, R: Real>(layout: &Layout, params: &'a [R], ema: Option<&'a Ema<R>>) -> Cow<'a, [R]> {
    match ema.map(Ema::average) {
        None => Cow::Borrowed(params),
        Some(average) if average.len() == params.len() => Cow::Borrowed(average),
        Some(average) => {
            let mut all = params.to_vec();
            layout.scatter_trainable(average, &mut all);
            Cow::Owned(all)
        }
    }
}
