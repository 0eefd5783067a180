//! How a model speaks: the options that say which token comes next, and where a text ends.

use std::path::Path;
use std::time::Instant;

use anyhow::{Result, ensure};
use gradus::Reader;
use gradus::checkpoint::TrainedModel;
use gradus::fast::FastEngine;
use gradus::generate::{BeamSearch, Finish, Generated, Sampler, Sampling, Stop, StopStrings, generate_text};
use gradus::model::{Model, SavedModel};
use gradus::random::Random;
use gradus::thread_pool::ThreadPool;
use gradus::tokenizer::{CharTokenizer, Tokenizer};

use crate::args::{MANY, not_negative, positive, share, whole};
use crate::{Usage, load, print, say};

/// How the next token is chosen, and at which texts it ends. What they are by default, a program may change.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Generation")]
pub struct SamplingArgs {
    /// Below 1 it says more ordinary things, above 1 wilder ones; 0 is always the likeliest token, as with --greedy
    #[arg(long, value_name = "T", default_value_t = 0.8, value_parser = not_negative)]
    pub temperature: f64,
    /// Choose only among the K likeliest tokens, at most 1000000000; 0 is among all of them
    #[arg(long, value_name = "K", default_value_t = 40, value_parser = whole(0..=MANY))]
    pub top_k: usize,
    /// Choose only among the likeliest tokens that together have this probability
    #[arg(long, value_name = "P", value_parser = positive)]
    pub top_p: Option<f64>,
    /// Choose only tokens with at least this share of the probability of the likeliest: from 0, which is all, to below 1
    #[arg(long, value_name = "P", value_parser = share)]
    pub min_p: Option<f64>,
    /// Above 1 it says less of what it said just before
    #[arg(long, value_name = "X", default_value_t = 1.2, value_parser = positive)]
    pub repetition_penalty: f64,
    /// Say no run of N tokens twice, the beginning included: at most 1000000000; 0 is any run as often as it likes
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = whole(0..=MANY))]
    pub no_repeat_ngram: usize,
    /// Always choose the likeliest token
    #[arg(long)]
    pub greedy: bool,
    /// End before this text, in which \n is a line break. It can be given several times: the first that comes ends it
    #[arg(long, value_name = "TEXT", value_parser = stop_string)]
    pub stop: Vec<String>,
}

impl SamplingArgs {
    /// A sampler with these settings that never draws the token `suppress`.
    pub fn sampler(&self, suppress: Option<usize>) -> Sampler {
        Sampler::new(Sampling {
            temperature: if self.greedy { 0.0 } else { self.temperature },
            top_k: (self.top_k > 0).then_some(self.top_k),
            top_p: self.top_p,
            min_p: self.min_p,
            repetition_penalty: self.repetition_penalty,
            no_repeat_ngram: (self.no_repeat_ngram > 0).then_some(self.no_repeat_ngram),
            suppress,
        })
    }
}

/// How a text is continued.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Generation")]
pub struct TextArgs {
    /// Tokens to say: at most 1000000000
    #[arg(long, value_name = "N", default_value_t = 300, value_parser = whole(0..=MANY))]
    pub tokens: usize,
    /// Look for the likeliest text with N beams instead of drawing tokens, as far as the context goes: at most 1000
    #[arg(long, value_name = "N", value_parser = whole(1..=1000))]
    pub beams: Option<usize>,
    #[command(flatten)]
    pub sampling: SamplingArgs,
}

impl TextArgs {
    /// Continues a text with a saved model, and prints both as it comes.
    pub fn talk<M: SavedModel>(&self, folder: &Path, program: &str, prompt: &str, seed: u64) -> Result<()> {
        // A dash may begin a text, but `--greedy` in its place is the next option.
        let option =
            |rest: &str| rest.starts_with(char::is_alphabetic) && !rest.contains(char::is_whitespace);
        let missing = prompt.is_empty() || prompt.strip_prefix("--").is_some_and(option);
        ensure!(!missing, Usage::of("--generate needs a text to continue, for example 'A: Hello'"));
        let TrainedModel { model, tokenizer, params } = load::<M, f32>(folder, program)?;
        let tokens = tokenizer.encode(prompt).map_err(|unknown| {
            Usage(format!("the model in {} cannot read the prompt: {unknown}", folder.display()))
        })?;
        let mut engine = FastEngine::new(ThreadPool::new(1));
        let mut random = Random::new(seed);
        let start = Instant::now();
        let parts = (&mut engine, &model, &*params);
        print::piece(prompt);
        let answer = self.continue_text(parts, &*tokenizer, &tokens, &mut random, print::piece);
        say!("");
        eprintln!("{:.0} characters a second", answer.token_count as f64 / start.elapsed().as_secs_f64());
        Ok(())
    }

    /// Lets a model continue a text, in which no document begins. `on_text` gets what it says as it comes.
    pub fn continue_text<M: Model, E: Reader>(
        &self,
        parts: (&mut E, &M, &E::Params),
        tokenizer: &dyn Tokenizer,
        prompt: &[usize],
        random: &mut Random,
        on_text: impl FnMut(&str),
    ) -> Generated {
        let bos = tokenizer.special(CharTokenizer::BOS);
        if let Some(width) = self.beams {
            return self.search(width, parts, tokenizer, prompt, on_text);
        }
        let mut sampler = self.sampling.sampler(bos);
        let stop = Stop { strings: self.sampling.stop.clone(), ..Stop::after(self.tokens) };
        generate_text(parts, tokenizer, prompt, &stop, &mut sampler, random, on_text)
    }
}

impl TextArgs {
    /// The likeliest continuation that a beam search finds.
    fn search<M: Model, E: Reader>(
        &self,
        width: usize,
        (engine, model, params): (&mut E, &M, &E::Params),
        tokenizer: &dyn Tokenizer,
        prompt: &[usize],
        mut on_text: impl FnMut(&str),
    ) -> Generated {
        let no_repeat_ngram = (self.sampling.no_repeat_ngram > 0).then_some(self.sampling.no_repeat_ngram);
        let suppress = tokenizer.special(CharTokenizer::BOS).into_iter().collect();
        let max_tokens = Some(self.tokens);
        let search = BeamSearch { width, max_tokens, no_repeat_ngram, suppress, ..BeamSearch::default() };
        // What does not fit into the context with the text to come is not read.
        let room = model.context().saturating_sub(self.tokens).max(1);
        let read = &prompt[prompt.len().saturating_sub(room)..];
        let found = search.run_one(engine, model, params, read).swap_remove(0);
        let (mut watch, mut text) = (StopStrings::new(&self.sampling.stop), String::new());
        let stopped = watch.push(&tokenizer.decode(&found.tokens), &mut text);
        if !stopped {
            text.push_str(&watch.finish());
        }
        let finish = if stopped { Finish::Stop } else { found.finish };
        on_text(&text);
        Generated { text, token_count: found.tokens.len(), finish }
    }
}

/// A text at which generation ends. A line break is hard to type in a shell, so it can be written `\n`.
fn stop_string(text: &str) -> std::result::Result<String, String> {
    if text.is_empty() {
        return Err("it must be a text of at least one character".to_owned());
    }
    Ok(text.replace("\\n", "\n"))
}
