//! The saved state of a training run.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use safetensors::SafeTensors;
use serde_json::Value;

/// The name of its file in the folder of a run.
pub const FILE: &str = "training.safetensors";

/// A saved state: its description, and the bytes of its arrays by name.
#[derive(Debug, PartialEq)]
pub struct State {
    pub description: Value,
    pub numbers: BTreeMap<String, Vec<u8>>,
}

/// Reads the state in a folder. It must be valid.
pub fn state(folder: &Path) -> State {
    let bytes = fs::read(folder.join(FILE)).expect("a saved state");
    let tensors = SafeTensors::deserialize(&bytes).expect("a complete file");
    let (_, metadata) = SafeTensors::read_metadata(&bytes).expect("a complete file");
    let description = &metadata.metadata().as_ref().expect("a description")["gradus"];
    State {
        description: serde_json::from_str(description).expect("a description in JSON"),
        numbers: tensors.iter().map(|(name, view)| (name.to_owned(), view.data().to_vec())).collect(),
    }
}
