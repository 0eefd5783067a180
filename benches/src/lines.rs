//! Lines of code, without blanks, comments and tests.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// How many lines these sources have together. A name is that of a file beside the ladder, without its ending; behind
/// a `#`, only what stands between the `ANCHOR`s of that name is counted. After a slash it is a file or folder below the
/// root of the repository.
///
/// # Errors
/// If one of them does not exist.
pub fn count(sources: &[&str]) -> Result<usize> {
    let mut lines = 0;
    for source in sources {
        let (name, part) = source.split_once('#').map_or((*source, None), |(name, part)| (name, Some(part)));
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let path = match name.strip_prefix('/') {
            Some(below) => here.join("..").join(below),
            None if name.ends_with('/') => here.join("src/ladder").join(name),
            None => here.join("src/ladder").join(name).with_extension("rs"),
        };
        for file in files(&path)? {
            let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
            let text = match part {
                Some(part) => between(&text, part).with_context(|| format!("no part {part} in {name}"))?,
                None => &text,
            };
            lines += code(text);
        }
    }
    Ok(lines)
}

/// A file, or all below a folder that are no tests.
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

fn between<'a>(text: &'a str, part: &str) -> Option<&'a str> {
    let (_, after) = text.split_once(&format!("ANCHOR: {part}\n"))?;
    after.split_once(&format!("// ANCHOR_END: {part}\n")).map(|(inside, _)| inside)
}

fn code(text: &str) -> usize {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or(text);
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//")).count()
}
