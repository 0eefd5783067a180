//! Values of options with their limits, and the groups of options that several programs have.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::ArgMatches;
use clap::parser::ValueSource;
use gradus::checkpoint::TrainedModel;
use gradus::model::{Decoder, DecoderConfig};
use gradus::real::Real;
use serde::{Deserialize, Serialize};

use crate::{Usage, load};

/// The most of what is counted one by one and takes its time: steps, samples, characters.
pub const MANY: usize = 1_000_000_000;

/// A whole number with limits: `value_parser = whole(1..=4096)`.
pub fn whole(range: RangeInclusive<usize>) -> impl Fn(&str) -> Result<usize, String> + Clone {
    move |text| match text.parse() {
        Ok(n) if range.contains(&n) => Ok(n),
        _ => Err(format!("it must be a whole number from {} to {}", range.start(), range.end())),
    }
}

/// A whole number that is not 0.
pub fn at_least_1(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(n) if n > 0 => Ok(n),
        _ => Err("it must be a whole number of at least 1".to_owned()),
    }
}

/// Where randomness begins: any whole number of 64 bits.
pub fn seed(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("it must be a whole number from 0 to {}", u64::MAX))
}

/// A number above 0.
pub fn positive(text: &str) -> Result<f64, String> {
    number(text, |x| x > 0.0, "it must be a number above 0")
}

/// A number of at least 0.
pub fn not_negative(text: &str) -> Result<f64, String> {
    number(text, |x| x >= 0.0, "it must be a number, and not below 0")
}

/// A share of something, but not all of it.
pub fn share(text: &str) -> Result<f64, String> {
    number(text, |x| (0.0..1.0).contains(&x), "it must be a number from 0 to below 1")
}

fn number(text: &str, fits: impl Fn(f64) -> bool, problem: &str) -> Result<f64, String> {
    text.parse().ok().filter(|x: &f64| x.is_finite() && fits(*x)).ok_or_else(|| problem.to_owned())
}

/// The options that stood on the command line, as against those that have their default values.
pub struct Given(pub(crate) ArgMatches);

impl Given {
    /// Whether this one did: `learning_rate` for `--learning-rate`.
    pub fn has(&self, field: &str) -> bool {
        // Those of a command, in a program that has several.
        let options = self.0.subcommand().map_or(&self.0, |(_, options)| options);
        let known = options.try_contains_id(field).unwrap_or(false);
        known && options.value_source(field) == Some(ValueSource::CommandLine)
    }
}

/// The sizes of a decoder. What they are by default, each program says.
#[derive(clap::Args, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[command(next_help_heading = "Model")]
pub struct SizeArgs {
    /// Blocks of the transformer. All sizes together may give a model at most 2^32 parameters
    #[arg(long, value_name = "N", value_parser = at_least_1)]
    pub layers: usize,
    /// Its width
    #[arg(long, value_name = "N", value_parser = at_least_1)]
    pub embd: usize,
    /// Heads of attention, which must divide the width
    #[arg(long, value_name = "N", value_parser = at_least_1)]
    pub heads: usize,
    /// The longest sequence it can read: at most 1048576 tokens
    #[arg(long, value_name = "N", value_parser = whole(1..=1 << 20))]
    pub context: usize,
}

impl SizeArgs {
    /// The sizes of a model.
    pub fn from_config(config: &DecoderConfig) -> Self {
        let DecoderConfig { n_layer, n_embd, n_head, context, .. } = *config;
        SizeArgs { layers: n_layer, embd: n_embd, heads: n_head, context }
    }

    /// A preset with these sizes. Its feed-forward networks keep their width in proportion to the model's.
    pub fn of(&self, preset: DecoderConfig) -> DecoderConfig {
        DecoderConfig {
            n_layer: self.layers,
            n_embd: self.embd,
            n_ffn: self.embd.saturating_mul(preset.n_ffn / preset.n_embd),
            n_head: self.heads,
            n_kv_head: self.heads,
            context: self.context,
            ..preset
        }
    }

    /// The model that a program has saved in a folder. Fails if a size was asked for that it does not have.
    pub fn load<R: Real>(
        &self,
        folder: &Path,
        program: &str,
        given: &Given,
    ) -> Result<TrainedModel<Decoder, R>> {
        let loaded: TrainedModel<Decoder, R> = load(folder, program)?;
        self.check_loaded(loaded.model.config(), given, folder)?;
        Ok(loaded)
    }

    /// Fails if a size was asked for that a loaded model does not have.
    pub fn check_loaded(&self, config: &DecoderConfig, given: &Given, folder: &Path) -> Result<()> {
        let sizes = [
            ("layers", self.layers, config.n_layer),
            ("embd", self.embd, config.n_embd),
            ("heads", self.heads, config.n_head),
            ("context", self.context, config.context),
        ];
        for (option, asked, has) in sizes {
            if given.has(option) && asked != has {
                let folder = folder.display();
                bail!(Usage(format!("the model in {folder} has --{option} {has}: leave --{option} out")));
            }
        }
        Ok(())
    }
}

/// What a training writes beside its model.
#[derive(clap::Args, Clone, Debug)]
pub struct OutputArgs {
    /// Draw the losses into this SVG file
    #[arg(long, value_name = "FILE")]
    pub plot: Option<PathBuf>,
    /// Write the figures as they come into this file: CSV, or JSON lines if its name ends in .jsonl
    #[arg(long, value_name = "FILE")]
    pub metrics: Option<PathBuf>,
}

impl OutputArgs {
    /// Whether it is to write nothing.
    pub fn is_empty(&self) -> bool {
        self.plot.is_none() && self.metrics.is_none()
    }
}
