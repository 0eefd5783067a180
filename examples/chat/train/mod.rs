//! A model that learns to converse.
//!
//! - `mod.rs`: the command.
//! - `recipe.rs`: the options on which a training depends, and the model that follows from them.
//! - `material.rs`: the conversations, read and encoded.
//! - `reading.rs`: plain text that is learned before them.
//! - `lesson.rs`: what is trained; `lora.rs`: adapters on a frozen model; `memory.rs`: what all of it needs.
//! - `state.rs`: the run as `transformers` describes one.
//! - `lengths.rs`: how long the conversations are; `masks.rs`: what of them is learned.

mod lengths;
mod lesson;
mod lora;
mod masks;
pub mod material;
mod memory;
mod reading;
pub mod recipe;
mod state;

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use gradus::data::{ConversationEncoder, ConversationTokens, Epochs, Learn};
use gradus::model::Decoder;
use gradus::tokenizer::Tokenizer;
use support::args::whole;
use support::units::grouped;
use support::{Beginning, Given, Interrupt, Run, RunArgs, Usage, say};

use crate::source::{Format, Source};
use crate::template::Template;
use lesson::Lesson;
use material::{Encoded, Material};
use reading::Reading;
use recipe::Recipe;

/// The name under which a run is saved.
pub const PROGRAM: &str = "chat";

/// Train a model to converse
///
/// From scratch it learns its own tokenizer first; with --model it goes on from a model that is there. What it writes is a folder
/// for `chat talk` and for transformers, with its best weights, and beside them what it needs to go on.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  chat -- train                                                    from the conversations of the project, into chat-model
  chat -- train --data mine.jsonl --output-dir mine                from any conversations
  chat -- train --synthetic-tools 2000 --epochs 5                  with more tools
  chat -- train --show-masks 2                                     what is learned of the first two conversations
  chat -- train --model base --output-dir tuned --learning-rate 5e-5
                                                                   from a model that is there
  chat -- train --model base --use-lora --output-dir tuned --merge-to merged
                                                                   an adapter for it, and a model with the adapter in it
  chat -- train --pretrain stories.txt                             from scratch, with plain text first
  chat -- train --resume chat-model                                go on where Ctrl-C stopped
  chat -- talk --model chat-model                                  and then converse")]
#[command(mut_arg("save", |option| option
    .long("output-dir").visible_alias("save").required(false).default_value("chat-model")
    .help("The folder to write: the model, and what is needed to go on")))]
#[command(mut_arg("load", |option| option
    .long("model").visible_alias("load").help("Begin with the model in this folder or file, of whichever format, instead of a fresh one")))]
#[command(mut_arg("validate_every", |option| option
    .visible_aliases(["save-every", "eval-every"])
    .help("Validate, report and save after every N steps: at most 1000000000 [default: 500, or as before]")))]
#[command(mut_arg("checkpointing", |option| option.visible_alias("gradient-checkpointing")))]
#[command(mut_arg("precision", |option| option.visible_alias("mixed-precision")))]
#[command(mut_arg("batch", |option| option
    .long("batch-size").visible_alias("batch").default_value("4")
    .help("Conversations in a step, or in each of its micro-batches: at most 65536")))]
#[command(mut_arg("accumulate", |option| option.default_value("4")))]
#[command(mut_arg("steps", |option| option.hide_default_value(true)
    .help("Steps of training, those of --pretrain included: at most 1000000000 [default: as many as --epochs takes, and those]")))]
#[command(mut_arg("warmup", |option| option.hide_default_value(true)
    .help("Steps in which the learning rate rises, before it falls: at most 1000000000 [default: 3 % of all]")))]
#[command(mut_arg("optimizer", |option| option.default_value("adamw")))]
#[command(mut_arg("learning_rate", |option| option.default_value("0.0002")))]
#[command(mut_arg("ema", |option| option.default_value("0")
    .help("How much of the averaged weights stays from step to step; 0 for no average")))]
pub struct Train {
    /// Print N conversations with what is learned of them set apart, and end: at most 1000000
    #[arg(long, value_name = "N", value_parser = whole(1..=1_000_000))]
    show_masks: Option<usize>,
    /// Keep the newest N of the folders checkpoint-N that are written at each validation, and the best; 0 for none: at most 1000000
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = whole(0..=1_000_000))]
    keep: usize,
    /// Go on training the adapter in this folder, on the model of --model
    #[arg(long, value_name = "DIR", requires = "load", help_heading = "LoRA")]
    adapter: Option<PathBuf>,
    /// At the end, write the model with the adapter merged into it here
    #[arg(long, value_name = "DIR", help_heading = "LoRA")]
    merge_to: Option<PathBuf>,
    #[command(flatten)]
    run: RunArgs,
    #[command(flatten)]
    recipe: Recipe,
}

/// From what a training begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    Scratch,
    Model,
    Run,
}

/// Where a training begins.
struct Start {
    recipe: Recipe,
    tokenizer: Option<Box<dyn Tokenizer>>,
    params: Option<Vec<f32>>,
    origin: Origin,
}

impl Train {
    pub fn run(&self, given: &Given) -> Result<()> {
        let Start { mut recipe, tokenizer, params, origin } = self.start(given)?;
        let use_lora = recipe.lora.config().is_some();
        if origin != Origin::Run && self.show_masks.is_none() {
            check_folder(&self.run.save)?;
            lora::check_folder(&self.run.save, use_lora)?;
        }
        if let Some(folder) = &self.merge_to {
            recipe.lora.check_merge(folder, self.run.folder_to_write(), self.run.overwrites())?;
        }
        let material = Material::read(&recipe, |name| self.run.find(name))?;
        let plain = recipe.reading.read(&self.run)?;
        let tokenizer = match tokenizer {
            Some(tokenizer) => tokenizer,
            None => recipe.tokenizer(&material.train, plain.as_ref().map(|(_, text)| text.as_str()))?,
        };
        let tokenizer = &*tokenizer;
        if recipe.base.is_none() {
            recipe.base = Some(recipe.fresh(tokenizer));
        }
        let base = recipe.known();
        base.check(&recipe.model()?, tokenizer)?;
        let names = base.tokens().named(&tokenizer.spec());
        let template = Template::new(&base.template, names, &tokenizer.special_tokens())?;
        let problem = "its chat template does not mark what the assistant says ({% generation %}), so it cannot be told apart: give \
                       --train-on-all";
        ensure!(recipe.train_on_all || template.template().marks_generated(), Usage::of(problem));
        let learn = if recipe.train_on_all { Learn::All } else { Learn::Assistant };
        let (named, context) = (template.named(), recipe.context());
        let encoder = ConversationEncoder::new(template.template(), tokenizer, &named, context, learn);
        let train = Encoded::of(&material.train, &encoder, recipe.strict)?;
        let held_out = Encoded::of(&material.held_out, &encoder, recipe.strict)?;
        Encoded::report([&train, &held_out], context);
        if let Some(count) = self.show_masks {
            masks::show(&train.all, count, tokenizer);
            return Ok(());
        }
        let problem = "nothing can be learned from the conversations on one of the two sides";
        ensure!(!train.all.is_empty() && !held_out.all.is_empty(), "{problem}: see above, and give others");
        let (share, seed) = (recipe.eval_split, recipe.train.seed);
        let cut =
            |(path, text): (PathBuf, String)| Reading::new((path, &text), tokenizer, context, share, seed);
        let reading = plain.map(cut).transpose()?;
        if origin != Origin::Run {
            recipe.settle(given, &train, reading.as_ref())?;
        }
        introduce(&recipe, &train, &held_out, tokenizer);
        if let Some(reading) = &reading {
            reading.introduce(recipe.reading.steps());
        }
        let longest = train.all.iter().map(|one| one.tokens.len()).max().unwrap_or(1);
        let longest = if reading.is_some() { longest.max(context) } else { longest };
        let (checkpointing, threads) = (self.run.checkpoints_blocks(), self.run.threads()?);
        memory::Plan::of(&recipe, longest, checkpointing, threads)?.check(origin == Origin::Model)?;
        let interrupt = Interrupt::watch();
        let order = RefCell::new(Epochs::new(train.all.len(), recipe.train.seed));
        let lesson = Lesson {
            recipe: &recipe,
            name: recipe.data.join(", "),
            question: Lesson::question_of(&material.held_out[0].conversation),
            files: material
                .files
                .into_iter()
                .chain(reading.iter().map(|reading| reading.path.clone()))
                .collect(),
            tokenizer,
            template: &template,
            train,
            held_out,
            reading,
            order,
            knows: origin == Origin::Model,
            keep: self.keep,
            merge_to: self.merge_to.as_deref(),
        };
        let run = Run::start(lesson, &self.run, params)?;
        run.train(&interrupt)
    }

    /// A fresh training, one from a model that is there, or one that goes on.
    fn start(&self, given: &Given) -> Result<Start> {
        if let Some(path) = &self.run.load {
            let name = path.display().to_string();
            let model = Source::at(path, None)?.read()?;
            let spec = model.tokenizer.as_ref().map_err(|other| anyhow::anyhow!("{name}: {other}"))?;
            let tokenizer = spec.build().with_context(|| name.clone())?;
            let mut recipe = self.recipe.clone();
            recipe.base = Some(recipe.adopt(&model, &*tokenizer, given, &name)?);
            let seed = recipe.train.seed;
            let params = if recipe.lora.config().is_some() || self.adapter.is_some() {
                recipe.lora.begin(&model, path, self.adapter.as_deref(), given, seed)?
            } else {
                recipe.lora.check_unused(given, false)?;
                model.params
            };
            return Ok(Start {
                recipe,
                tokenizer: Some(tokenizer),
                params: Some(params),
                origin: Origin::Model,
            });
        }
        let Beginning { recipe, tokenizer, .. } =
            self.run.begin::<Recipe, Decoder>(PROGRAM, &self.recipe, given)?;
        let origin = if tokenizer.is_some() { Origin::Run } else { Origin::Scratch };
        let params = match origin {
            Origin::Run => recipe.lora.reload(recipe.train.seed)?,
            _ => {
                recipe.lora.check_unused(given, true)?;
                None
            }
        };
        let build = |spec: gradus::tokenizer::TokenizerSpec| spec.build();
        let tokenizer = tokenizer.map(build).transpose().context("the tokenizer of the saved run")?;
        Ok(Start { recipe, tokenizer, params, origin })
    }
}

/// Fails if the folder holds a checkpoint of gradus, which this program does not write over.
fn check_folder(folder: &Path) -> Result<()> {
    let ours = Source::at(folder, None).is_ok_and(|source| source.format == Format::Gradus);
    let problem = format!(
        "{} holds a checkpoint of gradus, and a folder for transformers is to be written: give another --output-dir",
        folder.display()
    );
    ensure!(!ours, Usage(problem));
    Ok(())
}

/// Says what there is to learn.
fn introduce(recipe: &Recipe, train: &Encoded, held_out: &Encoded, tokenizer: &dyn Tokenizer) {
    let [tokens, learned] = train.counts().map(|count| grouped(count as u64));
    say!(
        "to learn from: {} conversations of {tokens} tokens, of which {learned} are learned",
        train.all.len()
    );
    say!("held out: {} conversations of other questions", held_out.all.len());
    say!("tokens in a conversation, and the conversations with as many:");
    let lengths: Vec<usize> = train.all.iter().map(|one: &ConversationTokens| one.tokens.len()).collect();
    say!("{}", lengths::bars(&lengths).trim_end());
    say!("vocab size: {}", tokenizer.vocab_size());
    let conversations = recipe.train.batch.saturating_mul(recipe.train.accumulate);
    say!("steps: {} of {conversations} conversations", recipe.train.steps);
}
