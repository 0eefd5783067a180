//! Training of the dialog model as the example does it.

use std::path::Path;

use gradus::data::Dialogs;
use gradus::fast::FastEngine;
use gradus::model::{Decoder, DecoderConfig, Model};
use gradus::random::Random;
use gradus::train::Trainer;

use crate::method::{Method, SETTINGS};

impl Method {
    /// A trainer before its first step.
    pub fn learner(self, config: &DecoderConfig, threads: usize, seed: u64) -> Trainer<Decoder, FastEngine> {
        let model = Decoder::new(config.clone()).expect("a configuration that fits");
        let params = model.layout().initial(&mut Random::new(seed));
        self.on_fast(model, SETTINGS, threads, params)
    }
}

/// The dialogues that come with the crate, whatever other folders of data there are.
pub fn dialogs(context: usize) -> Dialogs {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("datasets/dialog.txt");
    Dialogs::read(&path, context).expect("the dialogues can be read")
}
