//! The state of a training run as it lies on disk.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use safetensors::SafeTensors;
use serde_json::Value;

/// The file's name in the folder of a run.
pub const FILE: &str = "training.safetensors";

/// A saved state: what it says about itself, and its numbers by their names, byte for byte.
#[derive(Debug, PartialEq)]
pub struct State {
    pub description: Value,
    pub numbers: BTreeMap<String, Vec<u8>>,
}

/// Reads it, which must be possible.
pub fn state(folder: &Path) -> State {
    let bytes = fs::read(folder.join(FILE)).expect("a state was saved");
    let tensors = SafeTensors::deserialize(&bytes).expect("a whole file");
    let (_, metadata) = SafeTensors::read_metadata(&bytes).expect("a whole file");
    let description = &metadata.metadata().as_ref().expect("a description")["gradus"];
    State {
        description: serde_json::from_str(description).expect("a description in JSON"),
        numbers: tensors.iter().map(|(name, view)| (name.to_owned(), view.data().to_vec())).collect(),
    }
}
