//! A translator: learns from pairs of sentences, and translates what it is given.
//!
//! ```text
//! cargo run --release --example translate
//! cargo run --release --example translate -- --translate "I am happy."
//! cargo run --release --example translate -- --help
//! ```
//!
//! - `main.rs`: the command line.
//! - `recipe.rs`: the options on which a training depends, the tokenizer and the model that follow from them.
//! - `interpreter.rs`: a model that translates sentences, and how well.
//! - `lesson.rs`: what is trained.
//! - `heatmap.rs`: a drawing of where a translation looks.
//! - `compare.rs`: alternatives to a part of the model, side by side.

mod compare;
mod heatmap;
mod interpreter;
mod lesson;
mod recipe;

use std::io::{self, BufRead, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use gradus::checkpoint::marian::{self, Marian, MarianTokens};
use gradus::checkpoint::{self, TrainedModel, write_atomically};
use gradus::data::{Marks, Pairs};
use gradus::fast::{InferenceEngine, StoredParams};
use gradus::gemm::Dtype;
use gradus::model::{EncoderDecoder, Model};
use gradus::tokenizer::TokenizerSpec;
use support::{
    Beginning, Given, Interrupt, ModelFolder, Program, Run, RunArgs, Task, Usage, begin_comparison,
    check_output, check_text, is_comparison, load, print, say,
};

use crate::interpreter::{Interpreter, SearchArgs, marks_of};
use crate::lesson::Lesson;
use crate::recipe::{Recipe, SPECIAL};

const EXAMPLES: &str = "\
Examples:
  cargo run --release --example translate                                 learn from English to French
  cargo run --release --example translate -- --reverse --save to-english  from French to English
  cargo run --release --example translate -- --data pairs.tsv --save mine from any pairs, a tab between the two sentences
  cargo run --release --example translate -- --resume translate-model     go on where Ctrl-C stopped
  cargo run --release --example translate -- --translate 'I am happy.'    translate a sentence
  cargo run --release --example translate -- --translate                  translate every line that is typed
  cargo run --release --example translate -- --translate 'I am happy.' --heatmap looks.svg
                                                                          draw where it looks for each word
  cargo run --release --example translate -- --score                      judge it by all held-out sentences
  cargo run --release --example translate -- --export marian              write a model of --preset classic for transformers";

/// An encoder-decoder that learns to translate.
///
/// It learns from the sentences of Tatoeba if `cargo run --features fetch --example fetch -- fra-eng` has fetched them, else from
/// the phrases that come with the project. One sentence in ten is held out, with all its translations, to judge it by.
#[derive(Parser)]
#[command(after_help = EXAMPLES)]
#[command(mut_arg("batch", |option| option.help(
    "Tokens in a step, of both languages together: at most 65536"
)))]
struct Args {
    /// Translate this text with the saved model instead of training; without a text, every line of standard input
    #[arg(long, value_name = "TEXT", num_args = 0..=1, default_missing_value = "", conflicts_with_all = ["resume", "load"])]
    translate: Option<String>,
    /// Draw where the translation looks, for each of its words and each head, into this SVG file
    #[arg(long, value_name = "FILE", requires = "translate")]
    heatmap: Option<PathBuf>,
    /// Judge the saved model by all sentences that were held out
    #[arg(long, conflicts_with_all = ["translate", "resume", "load"])]
    score: bool,
    /// Write the translations of held-out sentences into this file, a line each
    #[arg(long, value_name = "FILE", requires = "score")]
    hypotheses: Option<PathBuf>,
    /// Write the saved model into this folder, as transformers and CTranslate2 read a MarianMTModel (of --preset classic)
    #[arg(long, value_name = "DIR", conflicts_with_all = ["translate", "score", "resume", "load"])]
    export: Option<PathBuf>,
    /// Save the MarianMTModel in this folder as a model of this program
    #[arg(long, value_name = "DIR", conflicts_with_all = ["translate", "score", "export", "resume", "load"])]
    import: Option<PathBuf>,
    #[command(flatten)]
    search: SearchArgs,
    #[command(flatten)]
    run: RunArgs,
    #[command(flatten)]
    recipe: Recipe,
}

impl Program for Args {
    const DEFAULTS: &[(&str, &str)] = &[
        ("save", "translate-model"),
        ("layers", "3"),
        ("embd", "256"),
        ("heads", "4"),
        ("context", "64"),
        ("steps", "1000"),
        ("batch", "4096"),
        ("learning_rate", "0.003"),
        ("smoothing", "0.1"),
    ];

    fn run(&self, given: &Given) -> Result<()> {
        match (&self.translate, &self.export, &self.import) {
            (Some(text), ..) => self.translate(text),
            (_, Some(folder), _) => self.export(folder),
            (.., Some(folder)) => self.import(folder),
            _ if self.score => self.score(given),
            _ => self.train(given),
        }
    }
}

impl Args {
    /// Trains until the steps are done, the time is over, nothing gets better any more, or Ctrl-C; and then judges the result.
    fn train(&self, given: &Given) -> Result<()> {
        let Beginning { mut recipe, tokenizer, loaded } =
            match is_comparison(self.run.folder()) || self.recipe.compare.is_some() {
                true => Beginning {
                    recipe: begin_comparison(&self.run, Lesson::PROGRAM, &self.recipe, given)?,
                    tokenizer: None,
                    loaded: None,
                },
                false => self.run.begin::<Recipe, EncoderDecoder>(Lesson::PROGRAM, &self.recipe, given)?,
            };
        if let Some(loaded) = &loaded {
            recipe.adopt(loaded.model.config(), given, self.run.folder())?;
        }
        let path = recipe.find(&self.run)?;
        check_text(&path)?;
        let pairs = recipe.read(&path)?;
        if let Some(family) = recipe.compare {
            let tokenizer = recipe.tokenizer(&pairs)?;
            return compare::compare(&recipe, family, (&pairs, &path), &*tokenizer, &self.search, &self.run);
        }
        let interrupt = Interrupt::watch();
        let tokenizer = match tokenizer {
            Some(spec) => spec.build().context("the tokenizer of the saved model")?,
            None => recipe.tokenizer(&pairs)?,
        };
        let threads = self.run.thread_pool()?;
        let lesson = Lesson::new(&recipe, path, &pairs, &*tokenizer, &threads, &self.search)
            .with_context(|| self.run.cannot_learn(&recipe.name()))?;
        lesson.introduce();
        let run = Run::start(lesson, &self.run, loaded.map(|loaded| loaded.params))?;
        let folder = run.folder().to_owned();
        run.train(&interrupt)?;
        if folder.join(checkpoint::FILE).exists() { self.judge(&folder, &pairs) } else { Ok(()) }
    }

    /// Judges a saved model by all held-out sentences.
    fn judge(&self, folder: &Path, pairs: &Pairs) -> Result<()> {
        let saved = load::<EncoderDecoder, f32>(folder, Lesson::PROGRAM)?;
        let params = stored(&saved);
        let interpreter = Interpreter::of(&saved, &params, self.run.thread_pool()?)?;
        let references: Vec<(&str, Vec<&str>)> = pairs.references().collect();
        let judgement = interpreter.judge(&references, &self.search)?;
        if let Some(path) = &self.hypotheses {
            let text: String = judgement.hypotheses.iter().map(|text| format!("{text}\n")).collect();
            write(path, &text)?;
        }
        say!("{judgement}");
        Ok(())
    }

    /// Judges the saved model by the sentences that its training has held out.
    fn score(&self, given: &Given) -> Result<()> {
        if let Some(path) = &self.hypotheses {
            check_output("--hypotheses", path, &ModelFolder::files(&self.run.save))?;
        }
        let mut recipe = self.recipe.clone();
        recipe.remember(&self.run.save, given)?;
        let path = recipe.find(&self.run)?;
        self.judge(&self.run.save, &recipe.read(&path)?)
    }

    /// Translates a text, or line after line.
    fn translate(&self, text: &str) -> Result<()> {
        let folder = &self.run.save;
        if let Some(path) = &self.heatmap {
            ensure!(!text.is_empty(), Usage::of("--heatmap draws one translation: give --translate a text"));
            check_output("--heatmap", path, &ModelFolder::files(folder))?;
        }
        let saved = load::<EncoderDecoder, f32>(folder, Lesson::PROGRAM)?;
        let params = stored(&saved);
        let interpreter = Interpreter::of(&saved, &params, self.run.thread_pool()?)?;
        if text.is_empty() {
            return self.converse(&interpreter);
        }
        let found = interpreter.translate(&[text], &self.search)?.swap_remove(0);
        found.iter().for_each(|translation| say!("{translation}"));
        if let (Some(path), Some(best)) = (&self.heatmap, found.first()) {
            write(path, &heatmap::draw(&interpreter, text, best)?)?;
            say!("where it looks: {}", path.display());
        }
        Ok(())
    }

    /// Writes the saved model as a folder of Hugging Face's.
    fn export(&self, folder: &Path) -> Result<()> {
        let saved = load::<EncoderDecoder, f32>(&self.run.save, Lesson::PROGRAM)?;
        let tokenizer = &*saved.tokenizer;
        let Marks { bos, eos } = marks_of(tokenizer)?;
        let pad = tokenizer.special(SPECIAL[0]).unwrap_or(bos);
        marian::export(folder, &saved.model, &saved.params, tokenizer, MarianTokens { bos, eos, pad })?;
        say!("written to {}: a MarianMTModel", folder.display());
        Ok(())
    }

    /// Saves the model in a folder of Hugging Face's as one of this program.
    fn import(&self, folder: &Path) -> Result<()> {
        let Marian { model, params, tokens, tokenizer } = marian::import(folder)?;
        let spec =
            tokenizer.with_context(|| format!("{} has no tokenizer that can be read", folder.display()))?;
        let tokenizer = TokenizerSpec::Bpe(spec).build()?;
        let marks = marks_of(&*tokenizer)?;
        let problem = "its sentences begin and end with other tokens than those of this program";
        ensure!(marks == Marks { bos: tokens.bos, eos: tokens.eos }, "{}: {problem}", folder.display());
        let saved = ModelFolder::lock(&self.run.save)?;
        saved.check_free(self.run.overwrites())?;
        saved.save(&model, &*tokenizer, &params)
    }

    /// Translates every line of standard input, until it ends. A line that cannot be translated does not end it.
    fn converse(&self, interpreter: &Interpreter<'_, InferenceEngine>) -> Result<()> {
        let stdin = io::stdin();
        let prompt = if stdin.is_terminal() { "> " } else { "" };
        if stdin.is_terminal() {
            say!(
                "{} parameters. Type a sentence, and Enter. Ctrl-D ends.",
                interpreter.model().layout().len()
            );
        }
        print::piece(prompt);
        for line in stdin.lock().lines() {
            let line = line.context("standard input cannot be read")?;
            if line.trim().is_empty() {
                say!("");
            } else {
                match interpreter.translate(&[&line], &self.search) {
                    Ok(found) => found[0].iter().for_each(|translation| say!("{translation}")),
                    Err(problem) => say!("? {problem:#}"),
                }
            }
            print::piece(prompt);
        }
        Ok(())
    }
}

/// The parameters of a saved model, stored to be read.
fn stored(saved: &TrainedModel<EncoderDecoder, f32>) -> StoredParams {
    StoredParams::new(saved.model.layout(), &saved.params, Dtype::F32)
}

/// Writes a file as a whole or not at all.
fn write(path: &Path, text: &str) -> Result<()> {
    write_atomically(path, text.as_bytes()).with_context(|| format!("{} cannot be written", path.display()))
}

fn main() -> ExitCode {
    Args::start()
}
