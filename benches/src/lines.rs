//! Counts lines of code, without blank lines, comments and tests.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// How many lines of code these sources, separated by spaces, have together:
///
/// - `naive` is the file `naive.rs` of the ladder, and `blocks/` all files in that folder,
/// - `naive#slopes` is the part of that file between the anchors `slopes`,
/// - `/src/fast/` is a file or folder from the root of the repository,
/// - `-/src/fast/memory.rs` is left out of what was counted before it.
///
/// # Errors
/// If one of them does not exist.
pub fn count(sources: &str) -> Result<usize> {
    let (mut lines, mut left_out) = (0, 0);
    for source in sources.split_whitespace() {
        let (source, sum) = match source.strip_prefix('-') {
            Some(source) => (source, &mut left_out),
            None => (source, &mut lines),
        };
        let (name, anchor) =
            source.split_once('#').map_or((source, None), |(name, anchor)| (name, Some(anchor)));
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let path = match name.strip_prefix('/') {
            Some(path) => here.join("..").join(path),
            None if name.ends_with('/') => here.join("src/ladder").join(name),
            None => here.join("src/ladder").join(name).with_extension("rs"),
        };
        for file in files(&path)? {
            let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
            let text = match anchor {
                Some(anchor) => between(&text, anchor)
                    .with_context(|| format!("there is no anchor {anchor} in {name}"))?,
                None => &text,
            };
            *sum += code_lines(text);
        }
    }
    Ok(lines - left_out)
}

/// The file itself, or all files in a folder except tests.
fn files(path: &Path) -> Result<Vec<PathBuf>> {
    ensure!(path.exists(), "there is no {}", path.display());
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut all = Vec::new();
    for entry in fs::read_dir(path)? {
        let path = entry?.path();
        if path.file_stem().is_none_or(|stem| stem != "tests") {
            all.extend(files(&path)?);
        }
    }
    Ok(all)
}

/// What stands between two anchors.
fn between<'a>(text: &'a str, anchor: &str) -> Option<&'a str> {
    let (_, after) = text.split_once(&format!("// ANCHOR: {anchor}\n"))?;
    after.split_once(&format!("// ANCHOR_END: {anchor}\n")).map(|(inside, _)| inside)
}

fn code_lines(text: &str) -> usize {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or(text);
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//")).count()
}
