//! The dialog transformer: learns from a text of dialogues, character by character, and then talks.
//!
//! ```text
//! cargo run --release --example dialog
//! cargo run --release --example dialog -- --generate "A: Hello"
//! cargo run --release --example dialog -- --help
//! ```

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use gradus::data::{Batch, Dialogs};
use gradus::fast::FastEngine;
use gradus::model::{Decoder, DecoderConfig};
use gradus::random::Random;
use gradus::tokenizer::Tokenizer;
use gradus::train::Trainer;
use serde::{Deserialize, Serialize};
use support::args::{at_least_1, share};
use support::{
    Beginning, Data, Given, Interrupt, Program, Run, RunArgs, SizeArgs, Task, TextArgs, TrainArgs, Usage,
    check_memory, check_text, say,
};

/// How many stretches of the validation text are looked at for a report.
const VALIDATION: usize = 512;

const EXAMPLES: &str = "\
Examples:
  cargo run --release --example dialog                                learn from datasets/dialog.txt
  cargo run --release --example dialog -- --data dailydialog.txt      from DailyDialog (see the example `fetch`)
  cargo run --release --example dialog -- --data book.txt --save book from any text, into the folder book
  cargo run --release --example dialog -- --overwrite                 begin from the start, in place of the last model
  cargo run --release --example dialog -- --resume dialog-model       go on where Ctrl-C stopped
  cargo run --release --example dialog -- --load book --save more     a new training of a model that was trained before
  cargo run --release --example dialog -- --generate 'A: Hello'       talk with what was learned
  cargo run --release --example dialog -- --layers 4 --heads 2        another model";

/// A small transformer that learns to talk, on an engine of whole matrices.
#[derive(Parser)]
#[command(after_help = EXAMPLES)]
struct Args {
    /// Continue this text with the saved model instead of training
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["resume", "load"], allow_hyphen_values = true)]
    generate: Option<String>,
    #[command(flatten)]
    run: RunArgs,
    #[command(flatten)]
    recipe: Recipe,
    #[command(flatten)]
    text: TextArgs,
}

/// Everything on which the result of a training depends. It is saved with it.
#[derive(clap::Args, Clone, Debug, Serialize, Deserialize)]
#[command(next_help_heading = "Model")]
struct Recipe {
    /// A text to learn from, in which empty lines part dialogues: a file, the name of one in datasets/, or - for standard
    /// input. At most 4 GiB
    #[arg(long, value_name = "FILE", default_value = "dialog.txt")]
    data: String,
    #[command(flatten)]
    #[serde(flatten)]
    sizes: SizeArgs,
    /// The inner width of its feed-forward networks
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = at_least_1)]
    ffn: usize,
    /// How likely an activation is dropped in training
    #[arg(long, value_name = "P", default_value_t = 0.0, value_parser = share)]
    dropout: f64,
    #[command(flatten)]
    #[serde(flatten)]
    train: TrainArgs,
}

impl Program for Args {
    const DEFAULTS: &[(&str, &str)] =
        &[("save", "dialog-model"), ("layers", "3"), ("embd", "128"), ("heads", "4"), ("context", "128")];

    fn run(&self, given: &Given) -> Result<()> {
        match &self.generate {
            Some(prompt) => {
                let seed = self.recipe.train.seed;
                self.text.talk::<Decoder>(&self.run.save, Dialog::PROGRAM, prompt, seed)
            }
            None => self.train(given),
        }
    }
}

impl Args {
    /// Trains until the steps are done, the time is over, nothing gets better any more, or Ctrl-C.
    fn train(&self, given: &Given) -> Result<()> {
        let Beginning { mut recipe, tokenizer, loaded } =
            self.run.begin::<Recipe, Decoder>(Dialog::PROGRAM, &self.recipe, given)?;
        if let Some(loaded) = &loaded {
            recipe.adopt(loaded.model.config(), given, self.run.folder())?;
        }
        let path = self.run.find(&recipe.data)?;
        check_text(&path)?;
        let context = recipe.sizes.context;
        let text = match tokenizer {
            Some(spec) => {
                let cannot_learn = || self.run.cannot_learn(&recipe.data);
                let characters = spec.characters().with_context(cannot_learn)?;
                Dialogs::read_with(&path, context, characters).with_context(cannot_learn)?
            }
            None => Dialogs::read(&path, context)?,
        };
        let interrupt = Interrupt::watch();
        let dialog = Dialog { recipe: &recipe, path, text: &text, speech: &self.text };
        if let Some(loaded) = &loaded {
            let same = DecoderConfig { dropout: recipe.dropout, ..*loaded.model.config() };
            let problem = "the model to --load is not one of this program: it has other parts";
            ensure!(*dialog.model()?.config() == same, Usage::of(problem));
        }
        let run = Run::start(dialog, &self.run, loaded.map(|loaded| loaded.params))?;
        let ([train, val], [train_dialogs, val_dialogs]) = (text.sizes(), text.paragraphs());
        let share = 100.0 * val as f64 / (train + val) as f64;
        say!("text: {}, {train} characters in {train_dialogs} dialogues to learn from", recipe.data);
        say!("validation: {val} characters ({share:.1} %) in {val_dialogs} other dialogues");
        say!("vocab size: {}", text.vocab_size());
        run.train(&interrupt)
    }
}

impl Recipe {
    /// Takes over the sizes of a loaded model. Fails if others were asked for.
    fn adopt(&mut self, config: &DecoderConfig, given: &Given, folder: &Path) -> Result<()> {
        self.sizes.check_loaded(config, given, folder)?;
        let problem =
            format!("the model in {} has --ffn {}: leave --ffn out", folder.display(), config.n_ffn);
        ensure!(!given.has("ffn") || self.ffn == config.n_ffn, Usage(problem));
        self.sizes = SizeArgs::from_config(config);
        self.ffn = config.n_ffn;
        Ok(())
    }
}

/// What is trained.
struct Dialog<'a> {
    recipe: &'a Recipe,
    path: PathBuf,
    text: &'a Dialogs,
    speech: &'a TextArgs,
}

impl Task for Dialog<'_> {
    type Model = Decoder;
    type Recipe = Recipe;
    const PROGRAM: &'static str = "dialog";
    const UNIT: &'static str = "nats a character";

    fn recipe(&self) -> &Recipe {
        self.recipe
    }

    fn train_args(&self) -> &TrainArgs {
        &self.recipe.train
    }

    fn model(&self) -> Result<Decoder> {
        let preset = self.recipe.sizes.of(DecoderConfig::dialog(self.text.vocab_size()));
        let config = DecoderConfig { n_ffn: self.recipe.ffn, dropout: self.recipe.dropout, ..preset };
        let model = Decoder::new(config).map_err(Usage::of)?;
        let Recipe { train, sizes, .. } = self.recipe;
        let [tokens, step_tokens] = train.tokens(sizes.context);
        check_memory(model.config(), tokens, step_tokens, train.weighting, train.precision())?;
        Ok(model)
    }

    fn tokenizer(&self) -> &dyn Tokenizer {
        self.text.tokenizer()
    }

    fn data(&self) -> Data<'_> {
        Data { name: &self.recipe.data, path: self.path.clone(), fingerprint: self.text.fingerprint() }
    }

    fn fill(&self, _: usize, batch: &mut Batch, random: &mut Random) {
        self.text.fill(batch, random, self.recipe.train.batch, self.recipe.sizes.context);
    }

    fn validation(&self) -> Vec<Batch> {
        self.text.validation(VALIDATION, self.recipe.train.batch, self.recipe.sizes.context)
    }

    fn sample(&self, trainer: &mut Trainer<Decoder, FastEngine>, random: &mut Random) -> String {
        let tokenizer = self.text.tokenizer();
        let prompt = tokenizer.encode("A: ").unwrap_or_else(|_| vec![0]);
        let (engine, model, params) = trainer.split_mut();
        let said = self.speech.continue_text((engine, model, &params), tokenizer, &prompt, random, |_| {});
        format!("\n{}{}\n", tokenizer.decode(&prompt), said.text.trim_end())
    }
}

fn main() -> ExitCode {
    Args::start()
}
