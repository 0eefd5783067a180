//! Work to be measured: names and dialogues to learn.

use std::time::{Duration, Instant};

use anyhow::Result;
use gradus::Engine;
use gradus::data::Batch;
use gradus::model::{Decoder, DecoderConfig, Model};
use gradus::optim::{Adam, AdamSettings, Momentum, Muon, MuonSettings, Optimizer, Schedule};
use gradus::random::Random;
use gradus::real::Real;
use gradus::thread_pool::ThreadPool;
use gradus::train::{Settings, Trainer};

use crate::ladder::{NamesTask, STEPS, TrainingRun};

/// What makes a run at its beginning.
type Start<'a> = Box<dyn Fn(&NamesTask) -> Result<Box<dyn TrainingRun>> + 'a>;

/// Steps on names without end: after the last of a training the next one begins.
pub struct Names<'a> {
    task: &'a NamesTask,
    start: Start<'a>,
    run: Box<dyn TrainingRun>,
    size: usize,
    step: usize,
    batch: Batch,
}

impl<'a> Names<'a> {
    /// Steps of so many names, by a run that `start` makes.
    ///
    /// # Errors
    /// If it makes none.
    pub fn new(
        task: &'a NamesTask,
        size: usize,
        start: impl Fn(&NamesTask) -> Result<Box<dyn TrainingRun>> + 'a,
    ) -> Result<Self> {
        let run = start(task)?;
        Ok(Names { task, start: Box::new(start), run, size, step: 0, batch: Batch::new() })
    }

    /// How long so many steps take. To begin anew does not count.
    pub fn time(&mut self, steps: u64) -> Duration {
        let mut time = Duration::ZERO;
        let mut left = steps as usize;
        while left > 0 {
            if self.step == STEPS {
                self.run = (self.start)(self.task).expect("it was made before");
                self.step = 0;
            }
            let now = left.min(STEPS - self.step);
            let start = Instant::now();
            for step in self.step..self.step + now {
                self.task.fill(&mut self.batch, step, self.size);
                self.run.step(&self.batch);
            }
            time += start.elapsed();
            self.step += now;
            left -= now;
        }
        time
    }
}

/// The characters that a dialog model knows.
pub const VOCAB: usize = 96;

/// A batch of stretches of random characters: to the clock, one text is like another.
pub fn stretches(count: usize, context: usize) -> Batch {
    let mut random = Random::new(42);
    let mut batch = Batch::new();
    for _ in 0..count {
        batch.push((0..=context).map(|_| random.below(VOCAB)));
    }
    batch
}

const WEIGHT_DECAY: f64 = 0.01;

const ADAM: AdamSettings =
    AdamSettings { beta1: 0.9, beta2: 0.99, eps: 1e-8, weight_decay: WEIGHT_DECAY, decay_embeddings: true };

/// AdamW with the settings of the example `dialog`.
pub fn adamw<R: Real>(model: &Decoder) -> Box<dyn Optimizer<R>> {
    Box::new(Adam::new(model.layout(), ADAM))
}

/// Muon with those settings.
pub fn muon(model: &Decoder, threads: ThreadPool) -> Box<dyn Optimizer<f32>> {
    let (order, rate) = (Momentum::Nesterov, 5.0);
    let settings =
        MuonSettings { momentum: 0.95, order, iterations: 5, weight_decay: WEIGHT_DECAY, rate, adam: ADAM };
    Box::new(Muon::new(model.layout(), settings, threads))
}

/// A dialog model in training, with all that the example `dialog` can do: dropout, label smoothing, weighting, clipping and
/// averaging.
///
/// # Errors
/// If there is no model of this configuration.
pub fn dialog<E: Engine>(
    config: DecoderConfig,
    engine: E,
    optimizer: impl FnOnce(&Decoder) -> Box<dyn Optimizer<E::Real>>,
) -> Result<Trainer<Decoder, E>> {
    let model = Decoder::new(config)?;
    let optimizer = optimizer(&model);
    let settings = Settings {
        steps: usize::MAX,
        learning_rate: 0.003,
        schedule: Schedule::Cosine { warmup: 100, floor: 0.02 },
        clip: Some(1.0),
        smoothing: 0.1,
        ema_decay: Some(0.995),
        dropout_seed: Some(42),
        weighting: true,
    };
    let params = model.layout().initial(&mut Random::new(42));
    Ok(Trainer::with_optimizer(model, engine, optimizer, settings, params))
}
