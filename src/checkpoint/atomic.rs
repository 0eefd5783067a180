//! Files that are never half written.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use super::CheckpointError;

/// Replaces a file, or writes a new one, so that it is never half written: the bytes are written beside it and synced,
/// then renamed over it, and the folder is synced.
///
/// # Errors
/// If the system refuses; what was there before then stays as it was.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), CheckpointError> {
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let fail = |doing, path: &Path| {
        let path = path.to_owned();
        move |source| CheckpointError::Io { doing, path, source }
    };
    fs::create_dir_all(folder).map_err(fail("made", folder))?;
    // Always under the same name, so that the next run writes over what a killed one left behind.
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".part");
    let beside = folder.join(name);
    let written = OpenOptions::new().write(true).create(true).truncate(false).open(&beside);
    let mut file = written.map_err(fail("written", path))?;
    // Another program that is writing the same file right now holds the lock.
    file.try_lock().map_err(|error| fail("written", path)(error.into()))?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        // It may have finished in between, and renamed the very file that was opened here.
        let same = |a: fs::Metadata, b: fs::Metadata| (a.dev(), a.ino()) == (b.dev(), b.ino());
        let there = fs::metadata(&beside).and_then(|there| Ok(same(there, file.metadata()?)));
        if !there.is_ok_and(|same| same) {
            let busy = io::Error::new(io::ErrorKind::WouldBlock, "another program is writing it");
            return Err(fail("written", path)(busy));
        }
    }
    let result = file.set_len(0).and_then(|()| file.write_all(bytes)).and_then(|()| file.sync_all());
    result.and_then(|()| fs::rename(&beside, path)).map_err(|error| {
        fs::remove_file(&beside).ok();
        fail("written", path)(error)
    })?;
    // Where a folder cannot be opened, the rename alone must do.
    if let Ok(folder) = File::open(folder) {
        folder.sync_all().ok();
    }
    Ok(())
}
