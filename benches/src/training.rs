//! Training workloads for the benches: names and dialogues.

use std::time::{Duration, Instant};

use anyhow::Result;
use gradus::Engine;
use gradus::data::Batch;
use gradus::fast::FastEngine;
use gradus::model::{Activation, Decoder, DecoderConfig, Model, Position, SphereConfig};
use gradus::optim::{Adam, AdamSettings, Decay, Momentum, Muon, MuonSettings, Optimizer, Schedule, UnitStep};
use gradus::random::Random;
use gradus::real::Real;
use gradus::thread_pool::ThreadPool;
use gradus::train::{Settings, Trainer};

use crate::ladder::{DynTrainer, NamesWorkload, STEPS};

/// Makes a trainer before its first step.
type NewTrainer<'a> = Box<dyn Fn(&NamesWorkload) -> Result<Box<dyn DynTrainer>> + 'a>;

/// Times training steps on names. After the last step of a training, a new one starts.
pub struct NamesTimer<'a> {
    workload: &'a NamesWorkload,
    new_trainer: NewTrainer<'a>,
    trainer: Box<dyn DynTrainer>,
    batch_size: usize,
    step: usize,
    batch: Batch,
}

impl<'a> NamesTimer<'a> {
    /// Steps of `batch_size` names each, by trainers that `new_trainer` makes.
    ///
    /// # Errors
    /// If it cannot make one.
    pub fn new(
        workload: &'a NamesWorkload,
        batch_size: usize,
        new_trainer: impl Fn(&NamesWorkload) -> Result<Box<dyn DynTrainer>> + 'a,
    ) -> Result<Self> {
        let trainer = new_trainer(workload)?;
        let new_trainer = Box::new(new_trainer);
        Ok(NamesTimer { workload, new_trainer, trainer, batch_size, step: 0, batch: Batch::new() })
    }

    /// How long so many steps take. Making a new trainer does not count.
    pub fn time(&mut self, steps: u64) -> Duration {
        let mut time = Duration::ZERO;
        let mut left = steps as usize;
        while left > 0 {
            if self.step == STEPS {
                self.trainer = (self.new_trainer)(self.workload).expect("it made one before");
                self.step = 0;
            }
            let now = left.min(STEPS - self.step);
            let start = Instant::now();
            for step in self.step..self.step + now {
                self.workload.fill(&mut self.batch, step, self.batch_size);
                self.trainer.step(&self.batch);
            }
            time += start.elapsed();
            self.step += now;
            left -= now;
        }
        time
    }
}

/// The vocabulary size of the dialog models: characters.
pub const VOCAB: usize = 96;

/// A batch of `count` sequences of random characters, each as long as the context. The time of a step does not depend on
/// what the text says.
pub fn random_batch(count: usize, context: usize) -> Batch {
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

/// Muon with the settings of the example `dialog`.
pub fn muon(model: &Decoder, threads: ThreadPool) -> Box<dyn Optimizer<f32>> {
    let (order, rate) = (Momentum::Nesterov, 5.0);
    let (unit_step, weight_decay) = (UnitStep::Free, WEIGHT_DECAY);
    let settings =
        MuonSettings { momentum: 0.95, order, iterations: 5, weight_decay, rate, unit_step, adam: ADAM };
    Box::new(Muon::new(model.layout(), settings, threads))
}

/// A trainer of a dialog model with everything that the example `dialog` uses: dropout, label smoothing, adaptive weighting,
/// clipping and averaging.
///
/// # Errors
/// If the configuration is not valid.
pub fn dialog_trainer<E: Engine>(
    config: DecoderConfig,
    engine: E,
    optimizer: impl FnOnce(&Decoder) -> Box<dyn Optimizer<E::Real>>,
) -> Result<Trainer<Decoder, E>> {
    let model = Decoder::new(config)?;
    let optimizer = optimizer(&model);
    let settings = Settings {
        steps: usize::MAX,
        learning_rate: 0.003,
        schedule: Schedule { warmup: 100, decay: Decay::Cosine { floor: 0.02 } },
        clip: Some(1.0),
        smoothing: 0.1,
        ema_decay: Some(0.995),
        dropout_seed: Some(42),
        weighting: true,
        ..Settings::default()
    };
    let params = model.layout().initial(&mut Random::new(42));
    Ok(Trainer::with_optimizer(model, engine, optimizer, settings, params))
}

/// The decoder that a normalized transformer is compared with: the same sizes, rotary positions and activation;
/// RMSNorm with gains, no norm of queries and keys.
pub fn decoder_beside(config: &SphereConfig) -> DecoderConfig {
    DecoderConfig {
        vocab_size: config.vocab_size,
        context: config.context,
        n_layer: config.n_layer,
        n_embd: config.n_embd,
        n_head: config.n_head,
        n_kv_head: config.n_head,
        n_ffn: config.n_ffn,
        activation: Activation::Swiglu,
        position: Position::rope(config.rope_base),
        qk_norm: false,
        dropout: 0.0,
        ..DecoderConfig::dialog(config.vocab_size)
    }
}

/// A trainer of any model on one thread of the fast engine, with AdamW, clipping, and nothing else.
pub fn adamw_trainer<M: Model>(model: M) -> Trainer<M, FastEngine> {
    let adam = AdamSettings { beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.0, decay_embeddings: true };
    let settings = Settings {
        steps: usize::MAX,
        learning_rate: 0.001,
        schedule: Schedule { warmup: 0, decay: Decay::Cosine { floor: 0.0 } },
        clip: Some(1.0),
        ..Settings::default()
    };
    let optimizer = Box::new(Adam::new(model.layout(), adam));
    let params = model.layout().initial(&mut Random::new(42));
    Trainer::with_optimizer(model, FastEngine::new(ThreadPool::new(1)), optimizer, settings, params)
}
