//! A saved model, to go on with.

use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Error, Result, anyhow};
use gradus::checkpoint::{Checkpoint, CheckpointError, TrainedModel};
use gradus::data::quoted;
use gradus::model::SavedModel;
use gradus::real::Real;

/// The model that a program has saved in a folder.
pub fn load<M: SavedModel, R: Real>(folder: &Path, program: &str) -> Result<TrainedModel<M, R>> {
    or_train(Checkpoint::load_as::<M>(folder), program, folder)
}

/// What was read from a folder. If it is not there, the error says how to make it.
pub fn or_train<T>(read: Result<T, CheckpointError>, program: &str, folder: &Path) -> Result<T> {
    let missing = |error: &CheckpointError| matches!(error, CheckpointError::Io { source, .. } if source.kind() == ErrorKind::NotFound);
    read.map_err(|error| {
        if !missing(&error) {
            return Error::new(error);
        }
        let (error, save) = (Error::new(error), quoted(folder));
        anyhow!("{error:#}. To train a model there: {} --save {save}", command(program))
    })
}

/// What it means for a model that a text cannot be read with its tokenizer.
pub fn cannot_learn(folder: &Path) -> String {
    format!("the model in {} cannot work with it", folder.display())
}

/// How a program is called to train; options follow.
pub fn command(program: &str) -> String {
    match program {
        "chat" => "cargo run --release --features chat --example chat -- train".to_owned(),
        _ => format!("cargo run --release --example {program} --"),
    }
}
