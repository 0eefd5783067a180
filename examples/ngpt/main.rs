//! The normalized transformer beside the usual one: the same text, the same batches, one table and one plot.
//!
//! ```text
//! cargo run --release --example ngpt
//! cargo run --release --example ngpt -- --sweep rate --steps 400
//! cargo run --release --example ngpt -- --generate "ROMEO:"
//! cargo run --release --example ngpt -- --help
//! ```
//!
//! - `main.rs`: the command line.
//! - `recipe.rs`: the options on which results depend.
//! - `sweep.rs`: which trainings make a comparison.
//! - `arm.rs`: one of them: a model and how it is trained.

mod arm;
mod recipe;
mod sweep;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use gradus::checkpoint::Checkpoint;
use gradus::data::{self, Dialogs};
use gradus::model::{Decoder, ModelSpec, Sphere};
use support::{
    Comparison, Data, Given, Program, RunArgs, TextArgs, Usage, begin_comparison, best_of, check_text, say,
};

use crate::arm::Text;
use crate::recipe::Recipe;

/// Read by default: the plays of Shakespeare, if they were fetched, or else what comes with the project.
const TEXTS: [&str; 2] = ["tinyshakespeare.txt", "dialog.txt"];

const EXAMPLES: &str = "\
Examples:
  cargo run --release --example ngpt                                   both arms on the same batches
  cargo run --release --example ngpt -- --optimizer adamw --seeds 5    with another optimizer; five seeds, with deviations
  cargo run --release --example ngpt -- --plot arms.svg                curves over tokens and over seconds
  cargo run --release --example ngpt -- --sweep ablation --save swept  the paper's scalings, each taken away in turn
  cargo run --release --example ngpt -- --resume swept                 go on where Ctrl-C stopped
  cargo run --release --example ngpt -- --arms ngpt --alpha 0.25       one arm alone, and a variant of it
  cargo run --release --example ngpt -- --generate 'ROMEO:'            what the best of the models says";

/// The normalized transformer, compared with the usual one.
///
/// It learns from the plays of Shakespeare if `cargo run --features fetch --example fetch -- tinyshakespeare` has fetched
/// them, else from the dialogues that come with the project. The last tenth of the text is kept for validation: all of it
/// counts, in stretches that overlap by half of the context.
#[derive(Parser)]
#[command(after_help = EXAMPLES)]
#[command(mut_arg("load", |option| option.hide(true)))]
#[command(mut_arg("save", |option| option.help("The folder of the comparison: a folder in it for each training")))]
#[command(mut_arg("minutes", |option| option.help("Stop each training after this time, in minutes")))]
#[command(mut_arg("resume", |option| option.help(
    "Go on with the comparison that was stopped in this folder, bit for bit. It keeps the options that it was begun with, but for \
     --data if the text has moved"
)))]
#[command(mut_arg("metrics", |option| option.help(
    "Write the figures of every training that is done into this file: CSV, or JSON lines if its name ends in .jsonl"
)))]
#[command(mut_arg("warmup", |option| option.hide_default_value(true).help(
    "Steps in which the learning rate rises: at most 1000000000 [default: none for ngpt, a tenth of the steps for the baseline]"
)))]
#[command(mut_arg("weight_decay", |option| option.hide_default_value(true).help(
    "The share of every weight, times the learning rate, that is taken away in a step [default: 0 for ngpt, 0.1 for the baseline]"
)))]
struct Args {
    /// Continue this text with the best of the saved models instead of training
    #[arg(long, value_name = "TEXT", conflicts_with = "resume", allow_hyphen_values = true)]
    generate: Option<String>,
    #[command(flatten)]
    run: RunArgs,
    #[command(flatten)]
    recipe: Recipe,
    #[command(flatten)]
    text: TextArgs,
}

impl Program for Args {
    const DEFAULTS: &[(&str, &str)] = &[
        ("save", "ngpt-model"),
        ("layers", "4"),
        ("embd", "128"),
        ("heads", "4"),
        ("context", "128"),
        ("steps", "1000"),
        ("learning_rate", "0.004"),
        ("ema", "0"),
        ("patience", "1000000000"),
    ];

    fn run(&self, given: &Given) -> Result<()> {
        match &self.generate {
            Some(prompt) => self.talk(prompt),
            None => self.compare(given),
        }
    }
}

impl Args {
    const PROGRAM: &str = "ngpt";

    /// Trains what is compared, and shows what came of it.
    fn compare(&self, given: &Given) -> Result<()> {
        ensure!(!given.has("load"), Usage::of("a comparison begins with fresh models: leave --load out"));
        let mut recipe: Recipe = begin_comparison(&self.run, Self::PROGRAM, &self.recipe, given)?;
        let path = self.find(&mut recipe)?;
        check_text(&path)?;
        let text = Dialogs::read_in_order(&path, recipe.sizes.context, None)?;
        let [train, val] = text.sizes();
        let name = recipe.data.clone().unwrap_or_default();
        let data = Data { name: &name, path, fingerprint: text.fingerprint() };
        say!("text: {name}, {train} characters to learn from, and the last {val} for validation");
        let text = Text { text: &text, data: &data, speech: &self.text };
        let entries = sweep::entries(&recipe, given, text.text.vocab_size())?;
        let comparison = Comparison {
            program: Self::PROGRAM,
            title: recipe.title(),
            unit: "nats a character",
            chance: (text.text.vocab_size() as f64).ln(),
            data: data.clone(),
        };
        comparison.run(&text, &recipe, &entries, &self.run)
    }

    /// The file to learn from. The recipe takes its name.
    fn find(&self, recipe: &mut Recipe) -> Result<PathBuf> {
        if let Some(name) = &recipe.data {
            return self.run.find(name);
        }
        let mut found = TEXTS.iter().filter_map(|name| Some((name, data::find(name).ok()?)));
        let (name, path) = found.next().context("neither of the texts is there: give one to --data")?;
        recipe.data = Some((*name).to_owned());
        Ok(path)
    }

    /// Continues a text with the best of the saved models.
    fn talk(&self, prompt: &str) -> Result<()> {
        let folder = best_of(&self.run.save)?;
        let seed = self.recipe.train.seed;
        match Checkpoint::<f32>::load(&folder).map(|checkpoint| checkpoint.model) {
            Ok(ModelSpec::Sphere(_)) => self.text.talk::<Sphere>(&folder, Self::PROGRAM, prompt, seed),
            _ => self.text.talk::<Decoder>(&folder, Self::PROGRAM, prompt, seed),
        }
    }
}

fn main() -> ExitCode {
    Args::start()
}
