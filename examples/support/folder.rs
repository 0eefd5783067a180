//! The folder that a model is saved into: one run at a time, and nothing that is there is lost by mistake.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use gradus::checkpoint::{self, Checkpoint, adapter};
use gradus::data::quoted;
use gradus::model::SavedModel;
use gradus::real::Real;
use gradus::tokenizer::Tokenizer;
use gradus::train;

use crate::load::command;
use crate::run::peek;
use crate::say;

/// The file that the running program keeps locked.
const LOCK: &str = ".lock";

/// A folder that belongs to this program until it ends, however it ends: the system itself releases the lock.
pub struct ModelFolder {
    path: PathBuf,
    _lock: File,
}

impl ModelFolder {
    /// Makes the folder, if it is not there, and locks it.
    ///
    /// # Errors
    /// If it cannot be made or written, or another program has it.
    pub fn lock(path: &Path) -> Result<Self> {
        check_folder(path)?;
        let unwritable = || format!("{} cannot be written", path.display());
        fs::create_dir_all(path).with_context(unwritable)?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut lock = options.open(path.join(LOCK)).with_context(unwritable)?;
        // Where the system knows no locks, runs are not protected from each other. And a run that ends right now has removed
        // the file that was opened here: it still counts as being there.
        if matches!(lock.try_lock(), Err(TryLockError::WouldBlock)) || !is_at(&lock, &path.join(LOCK)) {
            let mut who = String::new();
            lock.read_to_string(&mut who).ok();
            let who = if who.is_empty() { "another program" } else { &who };
            let folder = path.display();
            bail!("{folder} is in use: {who} trains into it. Wait for it, or give another folder to --save");
        }
        let who = format!("process {}", std::process::id());
        let written =
            lock.set_len(0).and_then(|()| lock.rewind()).and_then(|()| lock.write_all(who.as_bytes()));
        written.with_context(unwritable)?;
        Ok(ModelFolder { path: path.to_owned(), _lock: lock })
    }

    /// The files that programs keep in such a folder.
    pub fn files(folder: &Path) -> [PathBuf; 3] {
        [checkpoint::FILE, adapter::WEIGHTS, train::STATE_FILE].map(|name| folder.join(name))
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Saves a model.
    pub fn save<M: SavedModel, R: Real>(
        &self,
        model: &M,
        tokenizer: &dyn Tokenizer,
        params: &[R],
    ) -> Result<()> {
        Checkpoint::of(model, tokenizer, params).save(&self.path)?;
        say!("saved to {}", self.path.display());
        Ok(())
    }

    /// What is there already, in words: a run with its step and loss, or a model.
    pub fn content(&self) -> Option<String> {
        let size = |name| Some(fs::metadata(self.path.join(name)).ok()?.len() as f64 / 1e6);
        if let Some(megabytes) = size(train::STATE_FILE) {
            let report = peek(&self.path).ok().and_then(|state| state.history.reports.last().copied());
            let at = report.map_or("a run".to_owned(), |report| {
                format!("a run at step {}, validation loss {:.4}", report.step, report.val)
            });
            return Some(format!("{at} ({megabytes:.1} MB)"));
        }
        let what = [(checkpoint::FILE, "a model"), (adapter::WEIGHTS, "an adapter")];
        what.into_iter().find_map(|(file, what)| Some(format!("{what} ({:.1} MB)", size(file)?)))
    }

    /// Fails if something is there and nobody said `--overwrite`.
    pub fn check_free(&self, overwrite: bool) -> Result<()> {
        let Some(content) = self.content().filter(|_| !overwrite) else { return Ok(()) };
        let (folder, quoted) = (self.path.display(), quoted(&self.path));
        let go_on = peek(&self.path).map_or("Replace it by --overwrite".to_owned(), |state| {
            let command = command(&state.program);
            format!("Go on with it by --resume ({command} --resume {quoted}), replace it by --overwrite")
        });
        bail!("{folder} holds {content}. {go_on}, or give another folder to --save");
    }
}

impl Drop for ModelFolder {
    fn drop(&mut self) {
        fs::remove_file(self.path.join(LOCK)).ok();
    }
}

/// Whether an open file is still the one that its path leads to.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let inode = |data: fs::Metadata| (data.dev(), data.ino());
    file.metadata().and_then(|open| Ok(inode(open) == inode(fs::metadata(path)?))).unwrap_or(false)
}

/// Whether the path of an open file still leads to a file.
#[cfg(not(unix))]
fn is_at(_: &File, path: &Path) -> bool {
    path.exists()
}

/// Fails if this folder is not there and could not be made.
fn check_folder(path: &Path) -> Result<()> {
    let nearest = path.ancestors().find(|path| path.exists());
    let fits = nearest.is_none_or(Path::is_dir);
    ensure!(fits, "{} cannot be made: {} is a file", path.display(), nearest.unwrap_or(path).display());
    Ok(())
}
