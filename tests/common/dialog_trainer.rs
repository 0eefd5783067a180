//! Training of the dialog model as the example does it, with everything that there is: dropout, smoothing, weights by
//! difficulty, clipping, averaged weights.

use std::path::Path;

use gradus::data::Dialogs;
use gradus::fast::FastEngine;
use gradus::model::{Decoder, DecoderConfig, Model};
use gradus::optim::{Adam, AdamSettings, Momentum, Muon, MuonSettings, Optimizer, Schedule};
use gradus::params::Layout;
use gradus::random::Random;
use gradus::thread_pool::ThreadPool;
use gradus::train::{Settings, Trainer};

/// Which optimizer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Method {
    Muon,
    Adamw,
}

pub const METHODS: [Method; 2] = [Method::Muon, Method::Adamw];

/// With an `eps` above the rounding of 32 bits: it would otherwise turn a vanishing gradient into a whole step.
pub const ADAMW: AdamSettings =
    AdamSettings { beta1: 0.9, beta2: 0.99, eps: 1e-6, weight_decay: 0.01, decay_embeddings: true };

pub const SETTINGS: Settings = Settings {
    steps: 100,
    learning_rate: 0.003,
    schedule: Schedule::Cosine { warmup: 5, floor: 0.02 },
    clip: Some(1.0),
    smoothing: 0.1,
    ema_decay: Some(0.9),
    dropout_seed: Some(42),
    weighting: true,
};

impl Method {
    pub fn optimizer(self, layout: &Layout, threads: &ThreadPool) -> Box<dyn Optimizer<f32>> {
        let muon = MuonSettings {
            momentum: 0.95,
            order: Momentum::Nesterov,
            iterations: 5,
            weight_decay: 0.01,
            rate: 5.0,
            adam: ADAMW,
        };
        match self {
            Method::Muon => Box::new(Muon::new(layout, muon, threads.clone())),
            Method::Adamw => Box::new(Adam::new(layout, ADAMW)),
        }
    }

    /// A trainer at its beginning.
    pub fn learner(self, config: &DecoderConfig, threads: usize, seed: u64) -> Trainer<Decoder, FastEngine> {
        let model = Decoder::new(config.clone()).expect("a configuration that fits");
        let threads = ThreadPool::new(threads);
        let optimizer = self.optimizer(model.layout(), &threads);
        let params = model.layout().initial(&mut Random::new(seed));
        Trainer::with_optimizer(model, FastEngine::new(threads), optimizer, SETTINGS, params)
    }
}

/// The dialogues that come with the crate, whatever other folders of data there are.
pub fn dialogs(context: usize) -> Dialogs {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("datasets/dialog.txt");
    Dialogs::read(&path, context).expect("the dialogues can be read")
}
