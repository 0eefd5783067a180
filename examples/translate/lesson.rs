//! What is trained: a model on pairs, with translations of fixed sentences and scores on the way.

use std::cell::RefCell;
use std::fmt::Write;
use std::path::PathBuf;

use anyhow::Result;
use gradus::data::{Batch, Marks, PairBatches, Pairs, PairsError, TokenPairs};
use gradus::fast::FastEngine;
use gradus::model::{DecoderConfig, EncoderDecoder, Model};
use gradus::random::Random;
use gradus::thread_pool::ThreadPool;
use gradus::tokenizer::Tokenizer;
use gradus::train::Trainer;
use support::{Data, Task, TrainArgs, Usage, check_memory, say};

use crate::interpreter::{Interpreter, SearchArgs, marks_of};
use crate::recipe::Recipe;

/// The sentences that are translated on the way, to be read.
const SHOWN: usize = 4;

/// The sentences that are translated on the way, to be scored.
const SCORED: usize = 200;

/// A training on pairs.
pub struct Lesson<'a> {
    recipe: &'a Recipe,
    name: String,
    path: PathBuf,
    pairs: &'a Pairs,
    tokenizer: &'a dyn Tokenizer,
    train: TokenPairs,
    held_out: TokenPairs,
    batches: RefCell<PairBatches>,
    threads: &'a ThreadPool,
    search: &'a SearchArgs,
}

impl<'a> Lesson<'a> {
    /// A training. Pairs that do not fit into the context are left out.
    pub fn new(
        recipe: &'a Recipe,
        path: PathBuf,
        pairs: &'a Pairs,
        tokenizer: &'a dyn Tokenizer,
        threads: &'a ThreadPool,
        search: &'a SearchArgs,
    ) -> Result<Self> {
        let (marks, context): (Marks, usize) = (marks_of(tokenizer)?, recipe.sizes.context);
        let encode = |of| -> Result<TokenPairs, PairsError> { pairs.encode(of, tokenizer, marks, context) };
        let (train, held_out) = (encode(pairs.train())?, encode(pairs.held_out())?);
        let batches = RefCell::new(PairBatches::new(&train, recipe.train.batch, recipe.train.seed));
        let name = recipe.name();
        Ok(Lesson { recipe, name, path, pairs, tokenizer, train, held_out, batches, threads, search })
    }

    /// Says what there is to learn.
    pub fn introduce(&self) {
        let first = &self.pairs.train()[0];
        say!("pairs: {}, {} to learn from, such as", self.name, self.pairs.train().len());
        say!("  {} → {}", first.source, first.target);
        let sentences = self.pairs.references().count();
        say!("held out: {sentences} other sentences with {} translations", self.pairs.held_out().len());
        let skipped = [&self.train, &self.held_out].map(TokenPairs::skipped);
        if let Some(first) = skipped.concat().first() {
            let (count, limit) = (skipped[0].len() + skipped[1].len(), first.limit);
            let (line, side, length) = (first.line, first.side, first.length);
            say!(
                "left out: {count} pairs that are longer than the {limit} tokens of --context, the first in line {line}, whose {side} takes {length}"
            );
        }
        say!("vocab size: {}", self.tokenizer.vocab_size());
        say!("steps in which each pair comes once: {}", self.batches.borrow().per_epoch());
    }

    /// The parameters of the model.
    pub fn parameters(&self) -> Result<usize> {
        Ok(self.model()?.layout().len())
    }

    /// The target tokens of a step, on average.
    pub fn target_tokens_a_step(&self) -> usize {
        let all: usize = (0..self.train.len()).map(|pair| self.train.target(pair).len() - 1).sum();
        all * self.recipe.train.accumulate / self.batches.borrow().per_epoch()
    }

    fn push(&self, batch: &mut Batch, pairs: &TokenPairs, index: usize) {
        batch.push_pair(pairs.source(index), pairs.target(index));
    }
}

impl Task for Lesson<'_> {
    type Model = EncoderDecoder;
    type Recipe = Recipe;
    const PROGRAM: &'static str = "translate";
    const UNIT: &'static str = "nats a token";

    fn recipe(&self) -> &Recipe {
        self.recipe
    }

    fn train_args(&self) -> &TrainArgs {
        &self.recipe.train
    }

    fn model(&self) -> Result<EncoderDecoder> {
        let config = self.recipe.config(self.tokenizer.vocab_size());
        let model = EncoderDecoder::new(config).map_err(Usage::of)?;
        // A decoder of as many blocks, each of its own with half as much again for the attention across, is of about this size.
        let config = model.config();
        let n_layer = config.encoder_layers.saturating_add(config.decoder.n_layer.saturating_mul(2));
        let like = DecoderConfig { n_layer, ..config.decoder.clone() };
        let train = &self.recipe.train;
        let step_tokens = train.batch.saturating_mul(train.accumulate);
        check_memory(&like, train.batch, step_tokens, train.weighting, train.precision())?;
        Ok(model)
    }

    fn tokenizer(&self) -> &dyn Tokenizer {
        self.tokenizer
    }

    fn data(&self) -> Data<'_> {
        Data { name: &self.name, path: self.path.clone(), fingerprint: self.pairs.fingerprint() }
    }

    fn fill(&self, number: usize, batch: &mut Batch, _: &mut Random) {
        batch.clear();
        let mut batches = self.batches.borrow_mut();
        batches.batch(number).iter().for_each(|&pair| self.push(batch, &self.train, pair));
    }

    fn validation(&self) -> Vec<Batch> {
        let mut all = vec![Batch::new()];
        for pair in 0..self.held_out.len() {
            if all.last().is_some_and(|batch| batch.len() >= 2048) {
                all.push(Batch::new());
            }
            self.push(all.last_mut().expect("there is one"), &self.held_out, pair);
        }
        all
    }

    fn sample(&self, trainer: &mut Trainer<EncoderDecoder, FastEngine>, _: &mut Random) -> String {
        let (_, model, params) = trainer.split_mut();
        let interpreter = Interpreter::in_training(model, &params, self.tokenizer, self.threads.clone());
        let all: Vec<(&str, Vec<&str>)> = self.pairs.references().collect();
        // Evenly from all held-out sentences, the same each time.
        let some: Vec<_> = all.iter().step_by(all.len().div_ceil(SCORED)).cloned().collect();
        let judged = interpreter.and_then(|interpreter| interpreter.judge(&some, self.search));
        let Ok(judgement) = judged else { return String::new() };
        let mut text = String::new();
        for at in (0..some.len()).step_by(some.len().div_ceil(SHOWN)) {
            writeln!(text, "  {} → {}", some[at].0, judgement.hypotheses[at]).expect("a String takes all");
        }
        format!("\n{text}{judgement}\n")
    }
}
