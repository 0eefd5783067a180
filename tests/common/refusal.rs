//! How a program reports an error: in one paragraph that names what is wrong, with an exit code that distinguishes usage
//! errors (2) from others (1), and without leaving anything on disk.

use std::fs;
use std::path::{Path, PathBuf};

use crate::program::Output;

/// Asserts that a program ended with this code and that its error message contains all of these words. `shown` describes the
/// case in failures.
pub fn assert_refused(ended: &Output, code: i32, words: &[&str], shown: &str) {
    let stderr = &ended.stderr;
    assert_eq!(ended.code, Some(code), "{shown}");
    assert!(stderr.starts_with("error: "), "{shown}");
    assert!(!stderr.contains("panicked") && !stderr.contains("RUST_BACKTRACE"), "{shown}");
    let (paragraph, rest) = stderr.trim_end().split_once("\n\n").unwrap_or((stderr.trim_end(), ""));
    for word in words {
        assert!(paragraph.contains(word), "{word:?} is missing: {shown}");
    }
    // A usage error, and no other, is followed by a hint at the usage.
    assert_eq!(rest.is_empty(), code != 2, "{shown}");
    assert!(code != 2 || rest.contains("--help"), "{shown}");
}

/// All files below a folder: their paths and contents.
pub fn content(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            all.extend(content(&path));
        } else {
            all.push((path.clone(), fs::read(&path).expect("a file")));
        }
    }
    all.sort();
    all
}
