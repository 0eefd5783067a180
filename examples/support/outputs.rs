//! Where results go: checked before the work begins, since nobody wants to learn of a wrong path after it.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
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
    /// Fails if one of them could not be written, or would be written over the other or over the data.
    pub fn check(args: &OutputArgs, data: &Path) -> Result<()> {
        let asked = [("--plot", &args.plot), ("--metrics", &args.metrics)];
        let asked: Vec<_> =
            asked.iter().filter_map(|(option, path)| Some((option, path.as_ref()?))).collect();
        for (option, path) in &asked {
            let problem = "would be written over the data: give another name to";
            ensure!(!same(path, data), Usage(format!("{} {problem} {option}", path.display())));
            probe(path)?;
        }
        if let [(_, plot), (_, metrics)] = asked[..] {
            let problem = "cannot be both the plot and the metrics";
            ensure!(!same(plot, metrics), Usage(format!("{} {problem}", plot.display())));
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

/// Whether two paths lead to the same file.
fn same(a: &Path, b: &Path) -> bool {
    a == b || fs::canonicalize(a).is_ok_and(|a| fs::canonicalize(b).is_ok_and(|b| a == b))
}
