//! The names GPT of chapter 5 on the names that come with the project.

use std::path::Path;

use gradus::Model;
use gradus::data::{Batch, Names};
use gradus::model::{Decoder, DecoderConfig};
use gradus::optim::{Adam, AdamSettings, Optimizer};
use gradus::random::Random;
use gradus::scalar::ScalarEngine;
use gradus::train::{Settings, Trainer};

/// A trainer of single names.
pub struct Training {
    pub names: Names,
    pub trainer: Trainer<Decoder, ScalarEngine>,
    pub random: Random,
}

/// The names that come with the project, in the order of the file.
pub fn file() -> Names {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("datasets/names.txt");
    Names::read(&path).expect("the names can be read")
}

/// What `cargo run --example names` does with this seed and otherwise default settings.
pub fn default(seed: u64) -> Training {
    changed(seed, |_| (), true, |layout| Box::new(Adam::new(layout, AdamSettings::MICROGPT)))
}

/// The same with changes: to the model, in the order of names, and of the optimizer.
pub fn changed(
    seed: u64,
    change: impl Fn(&mut DecoderConfig),
    shuffled: bool,
    optimizer: impl Fn(&gradus::params::Layout) -> Box<dyn Optimizer<f64>>,
) -> Training {
    let (mut names, mut random) = (file(), Random::new(seed));
    if shuffled {
        names.shuffle(&mut random);
    }
    let mut config = DecoderConfig::microgpt(names.vocab_size());
    change(&mut config);
    let model = Decoder::new(config).expect("a configuration");
    let params = model.layout().initial(&mut random);
    let optimizer = optimizer(model.layout());
    let trainer = Trainer::with_optimizer(model, ScalarEngine::new(), optimizer, Settings::default(), params);
    Training { names, trainer, random }
}

/// The default training of a model in which the parameters with these names are zero, and stay so.
pub fn without(seed: u64, parts: &[&str]) -> Training {
    let training = default(seed);
    let mut model = training.trainer.model().clone();
    model.freeze(|spec| parts.iter().any(|part| spec.name.contains(part)));
    let mut params = training.trainer.params().to_vec();
    let frozen = model.layout().specs().iter().filter(|spec| !spec.trainable);
    frozen.for_each(|spec| params[spec.range()].fill(0.0));
    let trainer = Trainer::from_params(model, ScalarEngine::new(), Settings::default(), params);
    Training { trainer, ..training }
}

impl Training {
    /// The mean loss of this many names after those that a thousand steps read.
    pub fn unread(&mut self, count: usize) -> f64 {
        let batch = |step| {
            let mut batch = Batch::new();
            self.names.fill(&mut batch, step, 1, self.trainer.model().context());
            batch
        };
        let batches: Vec<Batch> = (1000..1000 + count).map(batch).collect();
        self.trainer.validate(&batches)
    }

    /// Makes the next steps, and returns their losses.
    pub fn steps(&mut self, count: usize) -> Vec<f64> {
        let mut batch = Batch::new();
        let first = self.trainer.steps_done();
        let mut step = |step| {
            self.names.fill(&mut batch, step, 1, self.trainer.model().context());
            self.trainer.step(&batch).loss
        };
        (first..first + count).map(&mut step).collect()
    }
}

/// The mean of the last hundred.
pub fn last_hundred(losses: &[f64]) -> f64 {
    losses[losses.len() - 100..].iter().sum::<f64>() / 100.0
}
