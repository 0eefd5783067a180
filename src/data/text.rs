//! Finding and reading text files, with errors that say what to do.

use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};
use std::{env, fs};

use super::recognize::{Foreign, line_of, recognize};
use crate::tokenizer::CharTokenizer;

/// The path of standard input. Data called `-` is read from there.
pub const STDIN: &str = "/dev/stdin";

/// The largest text in bytes: places in it are kept as 32 bits.
pub const LARGEST: u64 = u32::MAX as u64;

/// What can be wrong with a text file.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// The file is in none of the folders that were searched.
    #[error(
        "there is no file {name}: looked for {}. Give the path of a text file, or the name of a file in datasets/",
        list(searched)
    )]
    NotFound {
        /// The name that was searched for.
        name: String,
        /// All paths that were tried.
        searched: Vec<PathBuf>,
    },
    /// A folder instead of a file.
    #[error("{} is a folder: give the path of a text file in it", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
    },
    /// The operating system could not read it.
    #[error("{} cannot be read", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// Something else than text in UTF-8.
    #[error("{} is {what}, where a text in UTF-8 is needed. Make one of it: {command}", path.display())]
    NotText {
        /// The file.
        path: PathBuf,
        /// What it is.
        what: String,
        /// A command that makes a text of it.
        command: String,
    },
    /// Bytes that are not text.
    #[error(
        "{} is not UTF-8: line {line}, byte {byte} of the file, is 0x{value:02x}. If it was written on an older Windows, \
         this converts it: iconv -f WINDOWS-1252 -t UTF-8 {} > new.txt", path.display(), quoted(path)
    )]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// The line of the first invalid byte, from 1.
        line: usize,
        /// The position of that byte in the file, from 1.
        byte: usize,
        /// Its value.
        value: u8,
    },
    /// More text than can be read.
    #[error("{} is larger than {} bytes: take a part of it, head -c 1000000000 {} > part.txt", path.display(), LARGEST, quoted(path))]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// A character that a model which is to learn from the text has never seen.
    #[error("{name} has {character:?} in line {line}, which is none of the characters of the model: {known}")]
    Unknown {
        /// The file, or a name for the text.
        name: String,
        /// The line of the character, from 1.
        line: usize,
        /// The character.
        character: char,
        /// Those that are known, without those that cannot be printed.
        known: String,
    },
    /// Not enough text.
    #[error(
        "{name} has {have} characters, but training and validation need at least {need}: use a longer text or a smaller --context"
    )]
    TooShort {
        /// The file, or a name for the text.
        name: String,
        /// How many characters it has.
        have: usize,
        /// About how many it needs.
        need: usize,
    },
    /// Text that cannot be split into training and validation.
    #[error("{name} is the same paragraph again and again: there is nothing to validate with")]
    Repeats {
        /// The file, or a name for the text.
        name: String,
    },
    /// Nothing but blank lines.
    #[error("{name} holds no names: a file of names has one name on each line")]
    Empty {
        /// The file, or a name for the text.
        name: String,
    },
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

/// The path of a data file. A name, or a path such as `fra-eng/fra.txt`, is searched for in the current folder, then in the
/// folder in the environment variable `GRADUS_DATASETS`, then in `datasets/` and `datasets/downloads/`, first below the current folder and then
/// below the one where this crate was built. `-` is standard input.
///
/// # Errors
/// [`DataError::NotFound`] with all paths that were tried, or [`DataError::Folder`].
pub fn find(name: &str) -> Result<PathBuf, DataError> {
    if name == "-" {
        return Ok(STDIN.into());
    }
    let given = Path::new(name);
    let mut searched = vec![given.to_path_buf()];
    if given.components().all(|part| matches!(part, Component::Normal(_))) {
        let configured = env::var_os("GRADUS_DATASETS").map(PathBuf::from);
        let roots = [Path::new(""), Path::new(env!("CARGO_MANIFEST_DIR"))];
        let folders = roots.iter().flat_map(|root| {
            let datasets = root.join("datasets");
            [datasets.clone(), datasets.join("downloads")]
        });
        searched.extend(configured.into_iter().chain(folders).map(|folder| folder.join(given)));
    }
    match searched.iter().find(|path| path.exists()) {
        Some(path) if path.is_dir() => Err(DataError::Folder { path: path.clone() }),
        Some(path) => Ok(path.clone()),
        None => Err(DataError::NotFound { name: name.to_owned(), searched }),
    }
}

/// The text of a file, without a byte order mark.
///
/// # Errors
/// If it is a folder, cannot be read, is larger than [`LARGEST`], or is no text in UTF-8. The error says what it is, and how to make a text of it.
pub fn read_text(path: &Path) -> Result<String, DataError> {
    if path.is_dir() {
        return Err(DataError::Folder { path: path.to_owned() });
    }
    let too_large = || DataError::TooLarge { path: path.to_owned() };
    if fs::metadata(path).is_ok_and(|file| file.len() > LARGEST) {
        return Err(too_large());
    }
    let bytes = read_bytes(path).map_err(|source| DataError::Io { path: path.to_owned(), source })?;
    if bytes.len() as u64 > LARGEST {
        return Err(too_large());
    }
    if let Some(Foreign { what, command }) = recognize(path, &bytes) {
        return Err(DataError::NotText { path: path.to_owned(), what, command });
    }
    let mut text = String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let bytes = error.as_bytes();
        let line = line_of(bytes, valid);
        DataError::NotUtf8 { path: path.to_owned(), line, byte: valid + 1, value: bytes[valid] }
    })?;
    if text.starts_with('\u{feff}') {
        text.drain(..'\u{feff}'.len_utf8());
    }
    Ok(text)
}

/// All bytes of a file, but of one without an end no more than are needed to see that it is too large.
fn read_bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if path == Path::new(STDIN) {
        io::stdin().lock().take(LARGEST + 1).read_to_end(&mut bytes)?;
    } else {
        fs::File::open(path)?.take(LARGEST + 1).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

/// Fails at the first of some characters of a text, each with its place, that a tokenizer does not have.
pub(super) fn check_known(
    name: &str,
    text: &str,
    mut characters: impl Iterator<Item = (usize, char)>,
    tokenizer: &CharTokenizer,
) -> Result<(), DataError> {
    let unknown = characters.find(|(_, c)| tokenizer.token(*c).is_none());
    let Some((at, character)) = unknown else { return Ok(()) };
    let known = tokenizer.chars().iter().filter(|c| !c.is_control()).collect();
    Err(DataError::Unknown { name: name.to_owned(), line: line_of(text.as_bytes(), at), character, known })
}

/// A path as a shell reads it: for messages with a command in them.
pub fn quoted(path: &Path) -> String {
    let path = path.display().to_string();
    // What begins with a dash would be an option.
    let path = if path.starts_with('-') { format!("./{path}") } else { path };
    shlex::try_quote(&path).map_or_else(|_| path.clone(), |quoted| quoted.into_owned())
}

/// A number that follows from some bytes and their order: FNV-1a in 64 bits (Fowler, Noll and Vo).
pub(super) fn fingerprint(bytes: impl IntoIterator<Item = u8>) -> u64 {
    let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.into_iter().fold(0xcbf2_9ce4_8422_2325, mix)
}
