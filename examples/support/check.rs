//! What can be known before the work begins: whether its results could be written.

use std::path::Path;

use anyhow::{Result, ensure};

/// Fails if this file could not be written later on.
pub fn file(path: &Path) -> Result<()> {
    ensure!(!path.is_dir(), "{} is a folder: give the name of a file to write", path.display());
    if let Some(folder) = path.parent().filter(|folder| *folder != Path::new("")) {
        ensure!(
            folder.is_dir(),
            "{} cannot be written: there is no folder {}",
            path.display(),
            folder.display()
        );
    }
    Ok(())
}

/// Fails if this folder is not there and could not be made.
pub fn folder(path: &Path) -> Result<()> {
    let nearest = path.ancestors().find(|path| path.exists());
    let fits = nearest.is_none_or(Path::is_dir);
    ensure!(fits, "{} cannot be made: {} is a file", path.display(), nearest.unwrap_or(path).display());
    Ok(())
}
