//! A saved model, to go on with.

use std::path::Path;

use anyhow::{Result, ensure};
use gradus::checkpoint::{Checkpoint, TrainedModel};
use gradus::model::SavedModel;
use gradus::real::Real;
use gradus::tokenizer::Tokenizer;

/// The model in a folder, whose tokens must mean what they mean for the data at hand.
pub fn load<M: SavedModel, R: Real>(
    folder: &Path,
    tokenizer: &dyn Tokenizer,
    data: &str,
) -> Result<TrainedModel<M, R>> {
    let loaded = Checkpoint::load_as::<M>(folder)?;
    let (own, theirs) = (tokenizer.spec(), loaded.tokenizer.spec());
    ensure!(
        own == theirs,
        "the model in {} was trained with {theirs}, but {data} has {own}. Load it with the file it was trained on",
        folder.display(),
    );
    Ok(loaded)
}
