//! Where results go: checked before the work begins, since nobody wants to learn of a wrong path after it.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use serde::Serialize;

use crate::args::OutputArgs;
use crate::metrics::Metrics;
use crate::plot::{self, Curve};

/// The plot and the metrics of a training, as far as they were asked for.
pub struct Outputs {
    plot: Option<PathBuf>,
    metrics: Option<Metrics>,
}

impl Outputs {
    /// Opens them before the first step, so that what cannot be written is known before it. Metrics go on at their end if
    /// the training does.
    pub fn open(args: &OutputArgs, go_on: bool) -> Result<Self> {
        for path in [&args.plot, &args.metrics].into_iter().flatten() {
            check_file(path)?;
        }
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
    pub fn finish(self, unit: &str, curves: &[Curve]) -> Result<()> {
        let plotted = self.plot.map_or(Ok(()), |path| plot::curves(&path, unit, curves));
        self.metrics.map_or(Ok(()), Metrics::finish).and(plotted)
    }
}

/// Fails if this file could not be written later on.
fn check_file(path: &Path) -> Result<()> {
    ensure!(!path.is_dir(), "{} is a folder: give the name of a file to write", path.display());
    if let Some(folder) = path.parent().filter(|folder| *folder != Path::new("")) {
        ensure!(
            folder.is_dir(),
            "{} cannot be written: there is no folder {}",
            path.display(),
            folder.display()
        );
    }
    Ok(())
}

/// Fails if this folder is not there and could not be made.
pub fn check_folder(path: &Path) -> Result<()> {
    let nearest = path.ancestors().find(|path| path.exists());
    let fits = nearest.is_none_or(Path::is_dir);
    ensure!(fits, "{} cannot be made: {} is a file", path.display(), nearest.unwrap_or(path).display());
    Ok(())
}
