//! Figures of a run for other programs to read.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::Value;

/// Figures are in the file after this time at the latest.
const FLUSH: Duration = Duration::from_millis(200);

/// A file of figures, one object a line: JSON if its name ends in `.jsonl`, else comma-separated values with a first line
/// of names. Every number is written so that it reads back as the same number.
///
/// If it cannot be written any more, the training is worth more than its figures: it goes on, and [`finish`](Self::finish)
/// reports the error.
pub struct Metrics {
    path: PathBuf,
    file: BufWriter<File>,
    json: bool,
    named: bool,
    written: io::Result<()>,
    flushed: Instant,
}

impl Metrics {
    /// Begins a file, or goes on at its end.
    pub fn open(path: &Path, go_on: bool) -> Result<Self> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).append(go_on).truncate(!go_on);
        let file = options.open(path).with_context(|| unwritable(path))?;
        let named = go_on && file.metadata().is_ok_and(|data| data.len() > 0);
        let json = path.extension().is_some_and(|end| end.eq_ignore_ascii_case("jsonl"));
        Ok(Metrics {
            path: path.to_owned(),
            file: BufWriter::new(file),
            json,
            named,
            written: Ok(()),
            flushed: Instant::now(),
        })
    }

    /// Writes one object of numbers.
    pub fn write(&mut self, figures: &Value) {
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
        if self.written.is_ok() {
            self.written = writeln!(self.file, "{line}");
        }
        if self.flushed.elapsed() > FLUSH {
            self.flush();
        }
    }

    /// Hands over to the system what was written so far.
    pub fn flush(&mut self) {
        if self.written.is_ok() {
            self.written = self.file.flush();
        }
        self.flushed = Instant::now();
    }

    /// Whether all of it could be written.
    pub fn finish(mut self) -> Result<()> {
        self.flush();
        self.written.with_context(|| unwritable(&self.path))
    }
}

fn unwritable(path: &Path) -> String {
    format!("{} cannot be written", path.display())
}
