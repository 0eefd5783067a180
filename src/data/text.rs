//! Text files, found and read with errors that say what to do.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// What can be wrong with a file of text.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// No such file in any of the folders that were looked at.
    #[error(
        "there is no file {name}: looked for {}. Give the path of a text file, or one of the files in datasets/",
        list(looked)
    )]
    NotFound {
        /// As it was asked for.
        name: String,
        /// Where it could have been.
        looked: Vec<PathBuf>,
    },
    /// A folder where a file should be.
    #[error("{} is a folder: name a text file in it", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
    },
    /// The system could not read it.
    #[error("{} cannot be read", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Bytes that are no text.
    #[error("{} is not UTF-8: line {line}, byte {byte} of the file, is 0x{value:02x}. Convert it, for example with `iconv -t UTF-8`", path.display())]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// The line of the first byte that is wrong, from 1.
        line: usize,
        /// That byte's place in the file, from 1.
        byte: usize,
        /// That byte.
        value: u8,
    },
    /// Not enough text.
    #[error(
        "{name} has {have} characters, but training and validation need at least {need}: take a longer text or a smaller --context"
    )]
    TooShort {
        /// The file, or what stands for it.
        name: String,
        /// Its characters.
        have: usize,
        /// About how many it takes.
        need: usize,
    },
    /// Text that cannot be parted into training and validation.
    #[error("{name} is the same paragraph again and again: there is nothing to validate with")]
    Repeats {
        /// The file, or what stands for it.
        name: String,
    },
    /// Nothing but blank lines.
    #[error("{name} holds no names: a file of names has one of them on each line")]
    Empty {
        /// The file, or what stands for it.
        name: String,
    },
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

/// Where a file of this name lies. A bare name is looked for in the current folder, then in the folder that the
/// environment variable `GRADUS_DATASETS` names, then in `datasets/` and `datasets/downloads/`, below
/// the current folder and where this crate was built.
///
/// # Errors
/// [`DataError::NotFound`] with all places that were looked at, or [`DataError::Folder`].
pub fn find(name: &str) -> Result<PathBuf, DataError> {
    let given = Path::new(name);
    let mut looked = vec![given.to_path_buf()];
    if given.components().count() == 1 {
        let own = env::var_os("GRADUS_DATASETS").map(PathBuf::from);
        let roots = [Path::new(""), Path::new(env!("CARGO_MANIFEST_DIR"))];
        let folders = roots.iter().flat_map(|root| {
            let datasets = root.join("datasets");
            [datasets.clone(), datasets.join("downloads")]
        });
        looked.extend(own.into_iter().chain(folders).map(|folder| folder.join(given)));
    }
    match looked.iter().find(|path| path.exists()) {
        Some(path) if path.is_dir() => Err(DataError::Folder { path: path.clone() }),
        Some(path) => Ok(path.clone()),
        None => Err(DataError::NotFound { name: name.to_owned(), looked }),
    }
}

/// The text of a file, without a byte order mark.
///
/// # Errors
/// If it is a folder, cannot be read, or is not UTF-8.
pub fn read_text(path: &Path) -> Result<String, DataError> {
    if path.is_dir() {
        return Err(DataError::Folder { path: path.to_owned() });
    }
    let bytes = fs::read(path).map_err(|source| DataError::Io { path: path.to_owned(), source })?;
    let mut text = String::from_utf8(bytes).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let bytes = error.as_bytes();
        let line = 1 + bytes[..good].iter().filter(|&&byte| byte == b'\n').count();
        DataError::NotUtf8 { path: path.to_owned(), line, byte: good + 1, value: bytes[good] }
    })?;
    if text.starts_with('\u{feff}') {
        text.drain(..'\u{feff}'.len_utf8());
    }
    Ok(text)
}
