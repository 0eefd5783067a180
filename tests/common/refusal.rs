//! How a program answers what is wrong: with one paragraph that names it, a code that says whose mistake it was, and
//! without a trace on disk.

use std::fs;
use std::path::{Path, PathBuf};

use crate::program::Ended;

/// That a program ended with this code, and said all of these words in the paragraph about what was wrong.
pub fn assert_refused(ended: &Ended, code: i32, words: &[&str], shown: &str) {
    let Ended { code: ended, stderr, .. } = ended;
    assert_eq!(*ended, Some(code), "{shown}");
    assert!(stderr.starts_with("error: "), "{shown}");
    assert!(!stderr.contains("panicked") && !stderr.contains("RUST_BACKTRACE"), "{shown}");
    let (paragraph, rest) = stderr.trim_end().split_once("\n\n").unwrap_or((stderr.trim_end(), ""));
    for word in words {
        assert!(paragraph.contains(word), "{word:?} is not said: {shown}");
    }
    // Only a wrong command line is answered with some words on how to call the program, too.
    assert_eq!(rest.is_empty(), code != 2, "{shown}");
    assert!(code != 2 || rest.contains("--help"), "{shown}");
}

/// Everything below a folder: paths and what is in the files.
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
