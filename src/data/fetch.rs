//! Public data sets, downloaded on request and checked before they are used.
//!
//! [`CATALOGUE`] lists them; [`fetch`] downloads one of them into a folder. A file gets its name only when it is
//! complete and its sha256 is that in the catalogue. Until then it is a `.part` file in the same folder, which the
//! next run continues with an HTTP range request.
//!
//! Nothing is printed here: progress goes to a callback (`examples/fetch.rs` draws the bars).

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};
use thiserror::Error;
use ureq::http::StatusCode;

pub use catalogue::{CATALOGUE, DataFile, Dataset, Member, Origin, State, find};

mod catalogue;
mod transfer;

/// How to download.
#[derive(Clone, Debug)]
pub struct Options {
    /// Download from this URL instead of the publisher's; the file name in the publisher's is appended.
    pub mirror: Option<String>,
    /// Keep a file whose hash is not that in the catalogue.
    pub accept_changed: bool,
    /// How many attempts to make before giving up. Each continues where the one before was interrupted.
    pub attempts: u32,
    /// The pause before the second attempt. It doubles before each further one.
    pub pause: Duration,
    /// The time limit of connecting, and of each read.
    pub timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        let (pause, timeout) = (Duration::from_secs(1), Duration::from_secs(30));
        Options { mirror: None, accept_changed: false, attempts: 5, pause, timeout }
    }
}

/// What is reported to the progress callback.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the text above describes the fields")]
pub enum Event<'a> {
    /// A transfer begins. `have` bytes of `total` (if the server says how many) are there already.
    Begin { url: &'a str, have: u64, total: Option<u64> },
    /// `have` bytes have arrived.
    Bytes { have: u64 },
    /// The transfer was interrupted and continues after `wait`.
    Retry { reason: &'a str, wait: Duration },
    /// The transfer is complete; unpacking and hashing follow.
    Verify { url: &'a str },
}

/// The result for one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was already there, with the right hash.
    Present,
    /// It was downloaded and has the right hash.
    Downloaded,
    /// Its hash is not that in the catalogue, and [`Options::accept_changed`] is set.
    Changed {
        /// Its hash.
        sha256: String,
    },
}

/// Why a data set could not be downloaded, and what to do about it.
#[derive(Debug, Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the message describes the fields")]
pub enum FetchError {
    /// The catalogue has no data set of this name.
    #[error("there is no data set {name:?}{}", nearest.map(|n| format!("; did you mean {n:?}?")).unwrap_or_default())]
    UnknownName { name: String, nearest: Option<&'static str> },
    /// No connection.
    #[error("cannot connect to {host}: {reason}\n  Is there a network? Without one, download {url} on another machine and \
             save it as {}, or set GRADUS_DATASETS to a folder that contains {file}.", path.display())]
    Unreachable { host: String, reason: String, url: String, path: PathBuf, file: String },
    /// The server refuses.
    #[error("{url}: the server answered {status}\n  If the file has moved, download it by hand and save it as {}.", path.display())]
    Status { url: String, status: StatusCode, path: PathBuf },
    /// The transfer was interrupted in every attempt.
    #[error(
        "the download of {url} was interrupted: {reason} (attempts: {attempts})\n  \
             {have} bytes are kept: run the same command again to continue."
    )]
    Interrupted { url: String, reason: String, attempts: u32, have: u64 },
    /// The download has the wrong hash. Nothing of it is kept.
    #[error("{url} is not the file in the catalogue (nothing of it is kept)\n  expected sha256 {expected}\n  \
             found    sha256 {found}{}{note}\n  \
             Try again. If the hash stays the same and you trust the publisher, keep the file with --accept-changed \
             (Options::accept_changed).", if note.is_empty() { "" } else { "\n  Note: " })]
    WrongHash { url: String, expected: String, found: String, note: String },
    /// The download is too long to be the file.
    #[error("{url} is longer than {limit} bytes, so it cannot be the file; nothing of it is kept")]
    TooLarge { url: String, limit: u64 },
    /// The archive cannot be read, or lacks the member.
    #[error("{} (from {url}) is not the expected archive: {reason}\n  Delete it if it is still there, and run again.", path.display())]
    Archive { url: String, path: PathBuf, reason: String },
    /// There already is another file of this name.
    #[error("{} exists, but it is not the file in the catalogue\n  expected sha256 {expected}\n  found    sha256 {found}\n  \
             Move it away and run again, or use it as it is with --accept-changed (Options::accept_changed).", path.display())]
    Occupied { path: PathBuf, expected: String, found: String },
    /// Another process is downloading into the same folder.
    #[error("another process is downloading into {}; wait until it has finished", .0.display())]
    Busy(PathBuf),
    /// Not a URL to download from.
    #[error("{url:?} is not a URL to download from: {reason}")]
    InvalidUrl { url: String, reason: String },
    /// The operating system reports an error.
    #[error("cannot {action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
}

/// Downloads every file of a data set that is not in `dir` yet. Returns the result for each.
///
/// A data set without files (the project's own) gives an empty list.
///
/// # Errors
/// No network, a server that refuses, a wrong hash, a full disk: see [`FetchError`]. The bytes of an interrupted
/// transfer are kept for the next call.
pub fn fetch(
    data: &Dataset<'_>,
    dir: &Path,
    options: &Options,
    progress: &mut dyn FnMut(Event<'_>),
) -> Result<Vec<(PathBuf, Outcome)>, FetchError> {
    let mut job = Job { options, progress, note: data.note, file: "", limit: 0 };
    data.files.iter().map(|file| job.fetch_file(file, dir.join(file.path))).collect()
}

/// One call of [`fetch`], with the file that it is downloading.
struct Job<'a> {
    options: &'a Options,
    progress: &'a mut dyn FnMut(Event<'_>),
    note: &'a str,
    file: &'a str,
    limit: u64,
}

impl<'a> Job<'a> {
    fn fetch_file(&mut self, file: &DataFile<'a>, path: PathBuf) -> Result<(PathBuf, Outcome), FetchError> {
        (self.file, self.limit) = (file.path, max_length(file));
        if file_length(&path)?.is_some() {
            let (_, sha256) = hash_file(&path)?;
            let outcome = match sha256 {
                found if found == file.sha256 => Outcome::Present,
                sha256 if self.options.accept_changed => Outcome::Changed { sha256 },
                found => return Err(FetchError::Occupied { path, expected: file.sha256.to_owned(), found }),
            };
            return Ok((path, outcome));
        }
        let folder = parent(&path);
        fs::create_dir_all(folder).map_err(io_error("create the folder", folder))?;
        // Two processes appending to the same .part file would corrupt it. The lock is on the folder itself, so that
        // no lock file stays behind. Where a folder cannot be opened, there is no lock.
        let lock = File::open(folder).ok();
        if let Some(Err(TryLockError::WouldBlock)) = lock.as_ref().map(File::try_lock) {
            return Err(FetchError::Busy(folder.to_owned()));
        }

        let part = with_suffix(&path, "part");
        let url = match file.origin {
            Origin::Url(url) => {
                self.download(url, &part, &path)?;
                url
            }
            Origin::Zip(member) => {
                let text = self.unpack(&member, &path)?;
                fs::write(&part, text).map_err(io_error("write", &part))?;
                member.url
            }
            Origin::DailyDialog(members) => {
                let mut lines = String::new();
                for member in members {
                    let text = self.unpack(member, &path)?;
                    let text = std::str::from_utf8(&text).map_err(|e| FetchError::Archive {
                        url: member.url.to_owned(),
                        path: path.clone(),
                        reason: e.to_string(),
                    })?;
                    daily_dialog_lines(text, &mut lines);
                }
                fs::write(&part, lines).map_err(io_error("write", &part))?;
                members.first().map_or("", |m| m.url)
            }
        };
        (self.progress)(Event::Verify { url });
        let (_, found) = hash_file(&part)?;
        let outcome = match self.verify(url, file.sha256, &found) {
            Ok(outcome) => outcome,
            Err(wrong_hash) => {
                discard(&part);
                return Err(wrong_hash);
            }
        };
        rename_into_place(&part, &path)?;
        for member in file.origin.members() {
            discard(&with_suffix(&path, file_name(member.url)));
        }
        Ok((path, outcome))
    }

    /// Whether a hash is the expected one, or accepted as it is.
    fn verify(&self, url: &str, expected: &str, found: &str) -> Result<Outcome, FetchError> {
        if found == expected {
            return Ok(Outcome::Downloaded);
        }
        if self.options.accept_changed {
            return Ok(Outcome::Changed { sha256: found.to_owned() });
        }
        Err(FetchError::WrongHash {
            url: self.request_url(url)?,
            expected: expected.to_owned(),
            found: found.to_owned(),
            note: self.note.to_owned(),
        })
    }

    /// The bytes of an archive's member. The archive is downloaded if it is not in the folder of `path` yet.
    fn unpack(&mut self, member: &Member<'_>, path: &Path) -> Result<Vec<u8>, FetchError> {
        let archive = with_suffix(path, file_name(member.url));
        let download = file_length(&archive)?.is_none();
        if download {
            let part = with_suffix(&archive, "part");
            self.download(member.url, &part, &archive)?;
            rename_into_place(&part, &archive)?;
        }
        (self.progress)(Event::Verify { url: member.url });
        let unpacked = self.unpack_file(member, &archive, download);
        if unpacked.is_err() && download {
            discard(&archive);
        }
        unpacked
    }

    fn unpack_file(
        &self,
        member: &Member<'_>,
        archive: &Path,
        downloaded: bool,
    ) -> Result<Vec<u8>, FetchError> {
        let bytes = fs::read(archive).map_err(io_error("read", archive))?;
        let text = read_member(bytes, member.name, self.limit).map_err(|reason| {
            let (url, path) = (member.url.to_owned(), archive.to_owned());
            FetchError::Archive { url, path, reason }
        })?;
        let found = hex(&Sha256::digest(&text));
        match self.verify(member.url, member.sha256, &found) {
            Ok(_) => Ok(text),
            Err(wrong_hash) if downloaded => Err(wrong_hash),
            // The user put it there, so it is not deleted.
            Err(_) => Err(FetchError::Occupied {
                path: archive.to_owned(),
                expected: member.sha256.to_owned(),
                found,
            }),
        }
    }
}

/// No revision of the file can be longer than this. A faulty server must not fill the disk.
fn max_length(file: &DataFile<'_>) -> u64 {
    file.bytes.saturating_mul(8).saturating_add(1 << 20)
}

/// DailyDialog's text as training text, appended to `out`.
///
/// A line of `text` is a dialogue; `__eou__` ends each utterance. Every utterance becomes a line of its own, trimmed, that
/// begins alternately with `A: ` and `B: `. An empty line follows each dialogue.
pub fn daily_dialog_lines(text: &str, out: &mut String) {
    for dialogue in text.lines() {
        let utterances = dialogue.split("__eou__").map(str::trim).filter(|u| !u.is_empty());
        let before = out.len();
        for (speaker, utterance) in ["A: ", "B: "].iter().cycle().zip(utterances) {
            out.extend([speaker, utterance, "\n"]);
        }
        if out.len() > before {
            out.push('\n');
        }
    }
}

/// The bytes of the member with this file name, in any folder of the archive, if there are no more than `limit`.
fn read_member(archive: Vec<u8>, name: &str, limit: u64) -> Result<Vec<u8>, String> {
    let mut archive = zip::ZipArchive::new(Cursor::new(archive)).map_err(|e| e.to_string())?;
    let index =
        archive.file_names_raw().position(|n| n.rsplit(|b| *b == b'/').next() == Some(name.as_bytes()));
    let index = index.ok_or_else(|| format!("it has no member called {name}"))?;
    let member = archive.by_index(index).map_err(|e| e.to_string())?;
    // An archive of a few bytes can unpack to gigabytes.
    let mut text = Vec::new();
    member.take(limit.saturating_add(1)).read_to_end(&mut text).map_err(|e| e.to_string())?;
    if text.len() as u64 > limit {
        return Err(format!("{name} unpacks to more than {limit} bytes"));
    }
    Ok(text)
}

/// `dailydialog.txt` with the suffix `train.zip` is `dailydialog.txt.train.zip`: the two are listed side by side.
fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    PathBuf::from(name)
}

/// The part of a URL after the last slash.
fn file_name(url: &str) -> &str {
    url.rsplit('/').next().unwrap_or(url)
}

/// The error of an action on a path, from that of the operating system.
fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FetchError {
    let path = path.to_owned();
    move |source| FetchError::Io { action, path, source }
}

/// The length of a file in bytes, or `None` if it does not exist.
fn file_length(path: &Path) -> Result<Option<u64>, FetchError> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(Some(metadata.len())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io_error("access", path)(error)),
    }
}

fn hash_file(path: &Path) -> Result<(u64, String), FetchError> {
    let mut file = File::open(path).map_err(io_error("open", path))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    let mut bytes = 0;
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok((bytes, hex(&hasher.finalize()))),
            Ok(count) => {
                hasher.update(&buffer[..count]);
                bytes += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(io_error("read", path)(error)),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Gives a complete file its name. After a power failure there is the whole file or none.
fn rename_into_place(part: &Path, path: &Path) -> Result<(), FetchError> {
    let file = OpenOptions::new().append(true).open(part).map_err(io_error("open", part))?;
    file.sync_all().map_err(io_error("write", part))?;
    drop(file);
    fs::rename(part, path).map_err(io_error("rename a download to", path))?;
    discard(part); // its .etag file
    #[cfg(unix)]
    match File::open(parent(path)).and_then(|folder| folder.sync_all()) {
        // Some network file systems cannot sync a folder. The file is there nevertheless.
        Err(error) if !matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => {
            return Err(io_error("write", parent(path))(error));
        }
        _ => {}
    }
    Ok(())
}

/// The folder of a file: for a bare name, the current one.
fn parent(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Removes a file and its `.etag` file, if they exist.
fn discard(path: &Path) {
    for path in [path, &with_suffix(path, "etag")] {
        let _ = fs::remove_file(path); // a file that stays does no harm
    }
}
