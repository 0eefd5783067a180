//! Public data sets, downloaded on request and checked before anybody reads them.
//!
//! [`CATALOGUE`] says what there is; [`fetch`] brings one data set into a folder. A file gets its
//! name only when it is whole and its sha256 is the one the catalogue knows: until then it grows
//! beside its place as a `.part` file, which the next run continues with an HTTP range request.
//!
//! Nothing is printed here: progress goes through a callback (`examples/fetch.rs` draws the bars).

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
    /// Ask this address instead of the publisher's: the last part of the publisher's is appended.
    pub mirror: Option<String>,
    /// Keep a file whose hash is not the one the catalogue knows.
    pub accept_changed: bool,
    /// How often to try before giving up; each try continues where the one before broke off.
    pub attempts: u32,
    /// The wait before the second try; it doubles with every further one.
    pub pause: Duration,
    /// The longest silence to bear: of a connection being made, and between two pieces of a body.
    pub timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        let (pause, timeout) = (Duration::from_secs(1), Duration::from_secs(30));
        Options { mirror: None, accept_changed: false, attempts: 5, pause, timeout }
    }
}

/// What the progress callback hears.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the fields are what the text above them says")]
pub enum Event<'a> {
    /// A body is about to come. `have` bytes of `total` (when the server says) are there already.
    Begin { url: &'a str, have: u64, total: Option<u64> },
    /// `have` bytes are there by now.
    Bytes { have: u64 },
    /// The transfer broke off and will be continued after a wait.
    Retry { reason: &'a str, wait: Duration },
    /// The transfer is complete; unpacking and hashing follow.
    Check { url: &'a str },
}

/// What became of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was there, with the right hash.
    Present,
    /// It was downloaded, and has the right hash.
    Downloaded,
    /// It is there with another hash than the catalogue's, because [`Options::accept_changed`] says so.
    Changed {
        /// The hash it has.
        sha256: String,
    },
}

/// Why a data set could not be brought, and what to do about it.
#[derive(Debug, Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the fields are what the message says")]
pub enum FetchError {
    /// The catalogue has no such data set.
    #[error("no data set is called {name:?}{}", nearest.map(|n| format!("; did you mean {n:?}?")).unwrap_or_default())]
    UnknownName { name: String, nearest: Option<&'static str> },
    /// No connection.
    #[error("cannot reach {host}: {reason}\n  Is there a network? Without one, download {url} elsewhere and save it as \
             {}, or point GRADUS_DATASETS at a folder that has {file}.", path.display())]
    Unreachable { host: String, reason: String, url: String, path: PathBuf, file: String },
    /// The server will not give the file.
    #[error("{url} answers {status}\n  If the file has moved, download it by hand and save it as {}.", path.display())]
    Status { url: String, status: StatusCode, path: PathBuf },
    /// The transfer kept breaking off.
    #[error(
        "the transfer of {url} broke off: {reason} (attempts: {attempts})\n  \
             {have} bytes are kept: run the same command again to go on from there."
    )]
    Broken { url: String, reason: String, attempts: u32, have: u64 },
    /// What came is not what the catalogue knows. Nothing of it is kept.
    #[error("{url} gave another file than the catalogue knows (nothing of it is kept)\n  expected sha256 {expected}\n  \
             found    sha256 {found}{}{note}\n  \
             Try again; if it stays so and you trust the publisher, keep what comes with --accept-changed \
             (Options::accept_changed).", if note.is_empty() { "" } else { "\n  Note: " })]
    WrongHash { url: String, expected: String, found: String, note: String },
    /// More came than the file can have.
    #[error("{url} gave more than {limit} bytes, which cannot be the file; nothing of it is kept")]
    TooLarge { url: String, limit: u64 },
    /// The archive cannot be read, or lacks the member.
    #[error("{} (from {url}) is not the archive it should be: {reason}\n  Delete it if it is still there, and run again.", path.display())]
    Archive { url: String, path: PathBuf, reason: String },
    /// Another file lies where the data set's file should go.
    #[error("{} is there, but it is not the file the catalogue knows\n  expected sha256 {expected}\n  found    sha256 {found}\n  \
             Move it away and run again, or leave it and use it with --accept-changed (Options::accept_changed).", path.display())]
    Occupied { path: PathBuf, expected: String, found: String },
    /// Another process downloads into the same folder.
    #[error("another process is downloading into {}; wait until it is done", .0.display())]
    Busy(PathBuf),
    /// An address that is none.
    #[error("{url:?} is no address to download from: {reason}")]
    Address { url: String, reason: String },
    /// The disk refuses.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io { doing: &'static str, path: PathBuf, source: io::Error },
}

/// Brings every file of a data set into `dir` that is not there yet, and says what became of each.
///
/// A data set without files (the project's own) gives an empty list.
///
/// # Errors
/// No network, a server that refuses, a hash that is not the catalogue's, a disk that is full: see
/// [`FetchError`]. What was downloaded of a transfer that broke off stays for the next call.
pub fn fetch(
    data: &Dataset<'_>,
    dir: &Path,
    options: &Options,
    progress: &mut dyn FnMut(Event<'_>),
) -> Result<Vec<(PathBuf, Outcome)>, FetchError> {
    let mut job = Job { options, progress, note: data.note, file: "", limit: 0 };
    data.files.iter().map(|file| job.bring(file, dir.join(file.path))).collect()
}

/// One call of [`fetch`], at work on `file`.
struct Job<'a> {
    options: &'a Options,
    progress: &'a mut dyn FnMut(Event<'_>),
    note: &'a str,
    file: &'a str,
    limit: u64,
}

impl<'a> Job<'a> {
    fn bring(&mut self, file: &DataFile<'a>, path: PathBuf) -> Result<(PathBuf, Outcome), FetchError> {
        (self.file, self.limit) = (file.path, limit(file));
        if length(&path)?.is_some() {
            let (_, sha256) = hash_file(&path)?;
            let outcome = match sha256 {
                found if found == file.sha256 => Outcome::Present,
                sha256 if self.options.accept_changed => Outcome::Changed { sha256 },
                found => return Err(FetchError::Occupied { path, expected: file.sha256.to_owned(), found }),
            };
            return Ok((path, outcome));
        }
        let folder = folder(&path);
        fs::create_dir_all(folder).map_err(failed("create the folder", folder))?;
        // Two processes appending to one .part would spoil it. The lock is on the folder itself, so
        // that no lock file stays behind; where a folder cannot be opened, nobody is kept out.
        let lock = File::open(folder).ok();
        if let Some(Err(TryLockError::WouldBlock)) = lock.as_ref().map(File::try_lock) {
            return Err(FetchError::Busy(folder.to_owned()));
        }

        let part = beside(&path, "part");
        let url = match file.origin {
            Origin::Url(url) => {
                self.download(url, &part, &path)?;
                url
            }
            Origin::Zip(member) => {
                let text = self.unpack(&member, &path)?;
                fs::write(&part, text).map_err(failed("write", &part))?;
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
                fs::write(&part, lines).map_err(failed("write", &part))?;
                members.first().map_or("", |m| m.url)
            }
        };
        (self.progress)(Event::Check { url });
        let (_, found) = hash_file(&part)?;
        let outcome = match self.judge(url, file.sha256, &found) {
            Ok(outcome) => outcome,
            Err(wrong) => {
                discard(&part);
                return Err(wrong);
            }
        };
        publish(&part, &path)?;
        for member in file.origin.members() {
            discard(&beside(&path, last(member.url)));
        }
        Ok((path, outcome))
    }

    /// Whether a hash will do.
    fn judge(&self, url: &str, expected: &str, found: &str) -> Result<Outcome, FetchError> {
        if found == expected {
            return Ok(Outcome::Downloaded);
        }
        if self.options.accept_changed {
            return Ok(Outcome::Changed { sha256: found.to_owned() });
        }
        Err(FetchError::WrongHash {
            url: self.address(url)?,
            expected: expected.to_owned(),
            found: found.to_owned(),
            note: self.note.to_owned(),
        })
    }

    /// The bytes of an archive's member, the archive downloaded if it does not lie beside `path` yet.
    fn unpack(&mut self, member: &Member<'_>, path: &Path) -> Result<Vec<u8>, FetchError> {
        let archive = beside(path, last(member.url));
        let ours = length(&archive)?.is_none();
        if ours {
            let part = beside(&archive, "part");
            self.download(member.url, &part, &archive)?;
            publish(&part, &archive)?;
        }
        (self.progress)(Event::Check { url: member.url });
        let unpacked = self.unpack_file(member, &archive, ours);
        if unpacked.is_err() && ours {
            discard(&archive);
        }
        unpacked
    }

    fn unpack_file(&self, member: &Member<'_>, archive: &Path, ours: bool) -> Result<Vec<u8>, FetchError> {
        let bytes = fs::read(archive).map_err(failed("read", archive))?;
        let text = read_member(bytes, member.name, self.limit).map_err(|reason| {
            let (url, path) = (member.url.to_owned(), archive.to_owned());
            FetchError::Archive { url, path, reason }
        })?;
        let found = hex(&Sha256::digest(&text));
        match self.judge(member.url, member.sha256, &found) {
            Ok(_) => Ok(text),
            Err(wrong) if ours => Err(wrong),
            // Somebody put it there: it is not ours to delete.
            Err(_) => Err(FetchError::Occupied {
                path: archive.to_owned(),
                expected: member.sha256.to_owned(),
                found,
            }),
        }
    }
}

/// So many bytes are no revision of the file any more: a runaway server must not fill the disk.
fn limit(file: &DataFile<'_>) -> u64 {
    file.bytes.saturating_mul(8).saturating_add(1 << 20)
}

/// DailyDialog's text as training text, appended to `out`.
///
/// A line of `text` is a dialogue, each utterance ended by `__eou__`. Every utterance becomes a line
/// of its own, trimmed, that begins with `A: ` or `B: ` in turns; an empty line follows each dialogue.
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

/// The member of that file name, in whatever folder of the archive, if it is no longer than `limit`.
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

/// `dailydialog.txt` and `train.zip` become `dailydialog.txt.train.zip`: neighbours in a listing.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    PathBuf::from(name)
}

/// The last part of an address.
fn last(url: &str) -> &str {
    url.rsplit('/').next().unwrap_or(url)
}

/// The error of a disk that refused to do something with a path.
fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FetchError {
    let path = path.to_owned();
    move |source| FetchError::Io { doing, path, source }
}

/// The length of a file, or nothing where none is.
fn length(path: &Path) -> Result<Option<u64>, FetchError> {
    match fs::metadata(path) {
        Ok(found) => Ok(Some(found.len())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("look at", path)(error)),
    }
}

fn hash_file(path: &Path) -> Result<(u64, String), FetchError> {
    let mut file = File::open(path).map_err(failed("open", path))?;
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
            Err(error) => return Err(failed("read", path)(error)),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Gives a finished file its name, so that a power cut leaves the whole file or none.
fn publish(part: &Path, path: &Path) -> Result<(), FetchError> {
    let file = OpenOptions::new().append(true).open(part).map_err(failed("open", part))?;
    file.sync_all().map_err(failed("write", part))?;
    drop(file);
    fs::rename(part, path).map_err(failed("rename a download to", path))?;
    discard(part); // Its tag, that is.
    #[cfg(unix)]
    match File::open(folder(path)).and_then(|folder| folder.sync_all()) {
        // Some network file systems cannot sync a folder. The file is there all the same.
        Err(error) if !matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => {
            return Err(failed("write", folder(path))(error));
        }
        _ => {}
    }
    Ok(())
}

/// The folder a file lies in: a bare name lies in the current one.
fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Removes a file and its tag, whichever of them is there.
fn discard(path: &Path) {
    for path in [path, &beside(path, "etag")] {
        let _ = fs::remove_file(path); // What is not there or will not go does no harm.
    }
}
