//! Where data lies that this project does not ship.

use std::path::{Path, PathBuf};

/// A file of public data, if it is on this machine: in the folder that `GRADUS_DATASETS` names, or in
/// `shared/datasets` beside the checkout.
pub fn dataset(name: &str) -> Option<PathBuf> {
    let named = std::env::var_os("GRADUS_DATASETS").map(PathBuf::from);
    let beside = beside("datasets");
    named.into_iter().chain([beside]).map(|folder| folder.join(name)).find(|path| path.exists())
}

/// A file or folder of `shared`, beside the checkout, whether or not it is there.
pub fn beside(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared").join(path)
}
