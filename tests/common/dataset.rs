//! Finding data that is not part of this project.

use std::path::{Path, PathBuf};

/// A file of public data, if it is on this machine: in the folder `GRADUS_DATASETS`, or in `shared/datasets` next to the
/// checkout.
pub fn dataset(name: &str) -> Option<PathBuf> {
    let configured = std::env::var_os("GRADUS_DATASETS").map(PathBuf::from);
    configured
        .into_iter()
        .chain([shared("datasets")])
        .map(|folder| folder.join(name))
        .find(|path| path.exists())
}

/// A path in the folder `shared` next to the checkout. It may not exist.
pub fn shared(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared").join(path)
}
