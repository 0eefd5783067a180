//! What several tests share.

use std::path::PathBuf;

/// A file of public data, if it is on this machine: in the folder that `GRADUS_DATASETS` names, or in
/// `../shared/datasets` beside the checkout.
pub fn dataset(name: &str) -> Option<PathBuf> {
    let named = std::env::var_os("GRADUS_DATASETS").map(PathBuf::from);
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/datasets");
    named.into_iter().chain([beside]).map(|folder| folder.join(name)).find(|path| path.exists())
}
