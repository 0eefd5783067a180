//! Where results go: checked before the work begins, since nobody wants to learn of a wrong path after it.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf, absolute};

use anyhow::{Context, Result, bail, ensure};
use gradus::checkpoint::write_atomically;
use serde::Serialize;

use crate::Usage;
use crate::args::OutputArgs;
use crate::metrics::Metrics;
use crate::plot::Chart;

/// The plot and the metrics of a training, as far as they were asked for.
pub struct Outputs {
    plot: Option<PathBuf>,
    metrics: Option<Metrics>,
}

impl Outputs {
    /// Fails if one of them could not be written, or would be written over the other or over a file that the program reads
    /// or writes itself.
    pub fn check(args: &OutputArgs, others: &[PathBuf]) -> Result<()> {
        let asked = [("--plot", &args.plot), ("--metrics", &args.metrics)];
        let asked: Vec<_> =
            asked.iter().filter_map(|(option, path)| Some((option, path.as_ref()?))).collect();
        for (option, path) in &asked {
            check_output(option, path, others)?;
        }
        if let [(_, plot), (_, metrics)] = asked[..] {
            let problem = "cannot be both the plot and the metrics";
            ensure!(place(plot) != place(metrics), Usage(format!("{} {problem}", plot.display())));
        }
        Ok(())
    }

    /// Opens what [`check`](Self::check) has found in order. Metrics go on at their end if the training does.
    pub fn open(args: &OutputArgs, go_on: bool) -> Result<Self> {
        let metrics = args.metrics.as_ref().map(|path| Metrics::open(path, go_on)).transpose()?;
        Ok(Outputs { plot: args.plot.clone(), metrics })
    }

    /// Writes an object of numbers to the metrics.
    pub fn record(&mut self, figures: &impl Serialize) {
        if let Some(metrics) = &mut self.metrics {
            metrics.write(&serde_json::to_value(figures).expect("figures are plain JSON"));
        }
    }

    /// Sees to it that what was recorded so far can be read.
    pub fn flush(&mut self) {
        if let Some(metrics) = &mut self.metrics {
            metrics.flush();
        }
    }

    /// Draws the plot and closes the metrics: to be called when all that is worth more has been saved.
    pub fn finish(self, chart: &Chart<'_>) -> Result<()> {
        let plotted = self.plot.map_or(Ok(()), |path| {
            let written = write_atomically(&path, chart.draw().as_bytes());
            written.with_context(|| format!("{} cannot be drawn", path.display()))
        });
        self.metrics.map_or(Ok(()), Metrics::finish).and(plotted)
    }
}

/// Fails if the file that an option names could not be written, or is one of some others that are read or written too.
pub fn check_output(option: &str, path: &Path, others: &[PathBuf]) -> Result<()> {
    if let Some(other) = others.iter().find(|other| place(other) == place(path)) {
        let problem = "would be lost: give another name to";
        bail!(Usage(format!("{} {problem} {option}", other.display())));
    }
    probe(path)
}

/// Fails if this file could not be written later on: it is opened for writing. Nothing in it changes, and if it was not
/// there, it is not there afterwards either.
fn probe(path: &Path) -> Result<()> {
    ensure!(!path.is_dir(), "{} is a folder: give the name of a file to write", path.display());
    let new = fs::symlink_metadata(path).is_err();
    if new || path.is_file() {
        let opened = OpenOptions::new().append(true).create(true).open(path);
        opened.with_context(|| format!("{} cannot be written", path.display()))?;
    }
    if new {
        fs::remove_file(path).ok();
    }
    Ok(())
}

/// Where a path leads: two paths to the same file lead to the same place, whether the file is there yet or not.
fn place(path: &Path) -> PathBuf {
    let whole = fs::canonicalize(path).ok();
    let in_folder = || Some(fs::canonicalize(path.parent()?).ok()?.join(path.file_name()?));
    whole.or_else(in_folder).or_else(|| absolute(path).ok()).unwrap_or_else(|| path.to_owned())
}
