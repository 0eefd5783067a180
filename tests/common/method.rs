//! Training with either optimizer and everything there is: dropout, smoothing, weighting by difficulty, clipping,
//! averaged parameters.

use gradus::Model;
use gradus::fast::FastEngine;
use gradus::optim::{Adam, AdamSettings, Decay, Momentum, Muon, MuonSettings, Optimizer, Schedule, UnitStep};
use gradus::params::Layout;
use gradus::thread_pool::ThreadPool;
use gradus::train::{Settings, Trainer};

/// Which optimizer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Method {
    Muon,
    Adamw,
}

pub const METHODS: [Method; 2] = [Method::Muon, Method::Adamw];

/// With an `eps` above the rounding of 32 bits, which would otherwise turn a vanishing gradient into a whole step.
pub const ADAMW: AdamSettings =
    AdamSettings { beta1: 0.9, beta2: 0.99, eps: 1e-6, weight_decay: 0.01, decay_embeddings: true };

pub const SETTINGS: Settings = Settings {
    steps: 100,
    restart: 0,
    learning_rate: 0.003,
    schedule: Schedule { warmup: 5, decay: Decay::Cosine { floor: 0.02 } },
    clip: Some(1.0),
    smoothing: 0.1,
    ema_decay: Some(0.9),
    dropout_seed: Some(42),
    weighting: true,
    constrain_every: 1,
    growth: None,
    loss_scaler: None,
};

impl Method {
    pub fn optimizer(self, layout: &Layout, threads: &ThreadPool) -> Box<dyn Optimizer<f32>> {
        let muon = MuonSettings {
            momentum: 0.95,
            order: Momentum::Nesterov,
            iterations: 5,
            weight_decay: 0.01,
            rate: 5.0,
            unit_step: UnitStep::Free,
            adam: ADAMW,
        };
        match self {
            Method::Muon => Box::new(Muon::new(layout, muon, threads.clone())),
            Method::Adamw => Box::new(Adam::new(layout, ADAMW).on(threads.clone())),
        }
    }

    /// A trainer of any model on the fast engine, before its first step.
    pub fn on_fast<M: Model>(
        self,
        model: M,
        settings: Settings,
        threads: usize,
        params: Vec<f32>,
    ) -> Trainer<M, FastEngine> {
        let threads = ThreadPool::new(threads);
        let optimizer = self.optimizer(model.layout(), &threads);
        Trainer::with_optimizer(model, FastEngine::new(threads), optimizer, settings, params)
    }
}
