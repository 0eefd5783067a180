//! The first step of training: a tokenizer from texts, and a model that has learned nothing.

use std::fs;
use std::io::{IsTerminal, stderr};
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use gradus::checkpoint::{EndTokens, GenerationDefaults, LanguageModel};
use gradus::model::{Decoder, Model};
use gradus::random::Random;
use gradus::thread_pool::ThreadPool;
use gradus::tokenizer::{BpeTokenizer, Tokenizer, TrainProgress};
use indicatif::{ProgressBar, ProgressStyle};
use support::args::{MANY, seed, whole};
use support::units::{bytes, grouped};
use support::{Given, Usage, check_free, check_text, say};

use crate::cut::Cut;
use crate::folder;
use crate::sizes::Sizes;

/// Train a byte-level BPE tokenizer on texts, and write a model that has learned nothing yet
#[derive(clap::Args)]
#[command(mut_arg("preset", |option| option.default_value("llama")))]
#[command(after_help = "\
Examples:
  chat -- create --out my-model --vocab-size 2000 --data texts.txt
  chat -- create --out small --preset llama --layers 2 --embd 64 --heads 4 --kv-heads 2 --ffn 192 --data a.txt b.txt")]
pub struct Create {
    /// The folder to write
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Replace what is there
    #[arg(long)]
    overwrite: bool,
    /// The texts to train the tokenizer on
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    data: Vec<PathBuf>,
    /// Tokens, of which 12 are special and 256 are bytes: at least 268, at most 1000000
    #[arg(long, value_name = "N", default_value_t = 32_000, value_parser = whole(268..=1_000_000))]
    vocab_size: usize,
    /// How often two neighbours must occur to become a token: at most 1000000000
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = whole(1..=MANY))]
    min_frequency: usize,
    #[command(flatten)]
    cut: Cut,
    #[command(flatten)]
    sizes: Sizes,
    /// Where the random numbers of its weights begin
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = seed)]
    seed: u64,
    /// Threads that count words: at most 1024; 0 is one for each processor
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = whole(0..=1024))]
    threads: usize,
}

impl Create {
    pub fn run(&self, _: &Given) -> Result<()> {
        folder::check_new(&self.out, self.overwrite)?;
        // The sizes are judged before the texts are read.
        let config = self.sizes.config(self.vocab_size);
        let model = Decoder::new(config).map_err(Usage::of)?;
        let need = 4.0 * model.layout().len() as f64;
        check_free("a model of this size", 2.0 * need, "give a smaller --embd, --layers or --vocab-size")?;
        let tokenizer = self.train()?;
        let model = Decoder::new(self.sizes.config(tokenizer.vocab_size())).map_err(Usage::of)?;
        let params: Vec<f32> = model.layout().initial(&mut Random::new(self.seed));
        let (tokens, count) = (tokenizer.vocab_size(), model.layout().len());
        let language_model = LanguageModel {
            model,
            params,
            tokens: EndTokens {
                bos: tokenizer.special("<s>"),
                add_bos: true,
                eos: tokenizer.special("</s>").into_iter().collect(),
                pad: tokenizer.special("<pad>"),
                names: None,
            },
            tokenizer: Ok(tokenizer.spec()),
            chat_template: None,
            defaults: GenerationDefaults::default(),
        };
        folder::write(&self.out, &language_model)?;
        let (count, tokens) = (grouped(count as u64), grouped(tokens as u64));
        say!("written to {}: {count} parameters, {tokens} tokens", self.out.display());
        Ok(())
    }

    /// The tokenizer of the texts.
    fn train(&self) -> Result<BpeTokenizer> {
        let mut texts = Vec::with_capacity(self.data.len());
        for path in &self.data {
            check_text(path)?;
            let read = fs::read_to_string(path);
            texts
                .push(read.with_context(|| format!("{} cannot be read as a text in UTF-8", path.display()))?);
        }
        let total: usize = texts.iter().map(String::len).sum();
        let files = if texts.len() == 1 { "1 text".to_owned() } else { format!("{} texts", texts.len()) };
        ensure!(total > 0, "there is nothing to learn from: {} is empty", self.data[0].display());
        say!("{files}, {}", bytes(total as f64));
        let trainer = self.cut.trainer(self.vocab_size, self.min_frequency as u64);
        let bar = stderr().is_terminal().then(bar);
        let pool = ThreadPool::try_new(self.threads).context("give a smaller --threads")?;
        let tokenizer = trainer.train_with(&texts, &pool, |progress| {
            if let Some(bar) = &bar {
                show(bar, progress);
            }
        })?;
        if let Some(bar) = bar {
            bar.finish_and_clear();
        }
        let (asked, made) = (self.vocab_size, tokenizer.vocab_size());
        if made < asked {
            let times = if self.min_frequency == 1 { "once" } else { "often enough" };
            say!(
                "no more than {} tokens: no other neighbours occur {times} (--min-frequency)",
                grouped(made as u64)
            );
        }
        Ok(tokenizer)
    }
}

/// A bar that is drawn on a terminal.
fn bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{msg} [{bar:30}] {percent} %, {eta} left");
    ProgressBar::new(1).with_style(style.expect("the template is well formed").progress_chars("=> "))
}

fn show(bar: &ProgressBar, progress: TrainProgress) {
    let (what, done, total) = match progress {
        TrainProgress::Counting { done, total } => ("counting words", done, total),
        TrainProgress::Merging { done, total } => ("merging tokens", done, total),
    };
    if bar.message() != what {
        bar.set_message(what);
        bar.set_length(total as u64);
        bar.reset_eta();
    }
    bar.set_position(done as u64);
}
