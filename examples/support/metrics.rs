//! Figures of a run for other programs to read.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

/// A file of figures, one object a line: JSON if its name ends in `.jsonl`, else comma-separated values with a first line of
/// names. Every number is written so that it reads back as the same number.
pub struct Metrics {
    path: PathBuf,
    file: std::io::BufWriter<std::fs::File>,
    json: bool,
    named: bool,
}

impl Metrics {
    /// Begins a file, or goes on at its end.
    pub fn open(path: &Path, go_on: bool) -> Result<Self> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).append(go_on).truncate(!go_on);
        let file = options.open(path).with_context(|| format!("{} cannot be written", path.display()))?;
        let named = go_on && file.metadata().is_ok_and(|data| data.len() > 0);
        let json = path.extension().is_some_and(|end| end == "jsonl");
        Ok(Metrics { path: path.to_owned(), file: std::io::BufWriter::new(file), json, named })
    }

    /// Writes one object of numbers.
    pub fn write(&mut self, figures: &Value) -> Result<()> {
        let line = match figures {
            Value::Object(fields) if !self.json => {
                let mut line = String::new();
                if !self.named {
                    line += &fields.keys().map(String::as_str).collect::<Vec<_>>().join(",");
                    line.push('\n');
                    self.named = true;
                }
                line + &fields.values().map(Value::to_string).collect::<Vec<_>>().join(",")
            }
            figures => figures.to_string(),
        };
        writeln!(self.file, "{line}").with_context(|| format!("{} cannot be written", self.path.display()))
    }

    /// Sees to it that all is written.
    pub fn flush(&mut self) -> Result<()> {
        self.file.flush().with_context(|| format!("{} cannot be written", self.path.display()))
    }
}
