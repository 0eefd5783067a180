//! Files that are never half written.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::CheckpointError;

/// Replaces a file, or writes a new one, so that it is never half written: the bytes are written beside it and synced,
/// then renamed over it, and the folder is synced.
///
/// A symbolic link stays, and the file that it leads to is replaced. A device or a named pipe cannot be replaced: the bytes
/// are written into it.
///
/// # Errors
/// If the system refuses; what was there before then stays as it was.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), CheckpointError> {
    write_atomically_with(path, |file| file.write_all(bytes))
}

/// The same for bytes that are written one after another, so that they need not all be in memory.
pub(super) fn write_atomically_with(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), CheckpointError> {
    let write = |file: &mut File| {
        let mut buffered = BufWriter::new(file);
        write(&mut buffered)?;
        buffered.flush()
    };
    let fail = |doing, path: &Path| {
        let path = path.to_owned();
        move |source| CheckpointError::Io { doing, path, source }
    };
    let path = &follow(path);
    if fs::metadata(path).is_ok_and(|there| !there.is_file() && !there.is_dir()) {
        let special = OpenOptions::new().write(true).open(path);
        return special.and_then(|mut file| write(&mut file)).map_err(fail("written", path));
    }
    let folder = folder_of(path);
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
    let result = file.set_len(0).and_then(|()| write(&mut file)).and_then(|()| file.sync_all());
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

/// The folder that holds a file.
fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."))
}

/// The file that a symbolic link leads to, whether it exists or not. What is no link is returned as it is.
fn follow(path: &Path) -> PathBuf {
    let mut path = path.to_owned();
    for _ in 0..40 {
        match fs::read_link(&path) {
            Ok(target) => path = folder_of(&path).join(target),
            Err(_) => break, // no link
        }
    }
    path
}

#[cfg(all(test, unix))]
mod tests {
    use std::io::Read;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_are_followed_and_stay() {
        let folder = tempfile::tempdir().unwrap();
        let [file, link, again] = ["file", "link", "again"].map(|name| folder.path().join(name));
        symlink("file", &link).unwrap();
        symlink(&link, &again).unwrap();
        for text in ["new", "replaced"] {
            write_atomically(&again, text.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&file).unwrap(), text);
            assert!(fs::symlink_metadata(&file).unwrap().is_file());
            assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
            assert!(fs::symlink_metadata(&again).unwrap().is_symlink());
        }
    }

    #[test]
    fn a_pipe_gets_the_bytes_and_stays_a_pipe() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        let reader = std::thread::spawn({
            let pipe = pipe.clone();
            move || {
                let mut text = String::new();
                File::open(pipe).unwrap().read_to_string(&mut text).unwrap();
                text
            }
        });
        write_atomically(&pipe, b"words").unwrap();
        assert_eq!(reader.join().unwrap(), "words");
        assert!(!fs::metadata(&pipe).unwrap().is_file());
    }
}
