//! Plain text that a model learns to go on with before its conversations.

use std::cell::RefCell;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use gradus::data::{Batch, ConversationTokens, Epochs, read_text};
use gradus::tokenizer::Tokenizer;
use serde::{Deserialize, Serialize};
use support::args::{MANY, whole};
use support::units::grouped;
use support::{RunArgs, Usage, check_text, say};

/// The most stretches of the held-out text that are validated with.
const VALIDATED: usize = 128;

/// The options of that text.
#[derive(clap::Args, Clone, Debug, Default, Serialize, Deserialize)]
#[command(next_help_heading = "Pretraining")]
#[serde(default)] // runs that were begun before there was a choice
pub struct ReadingArgs {
    /// Learn to go on with this text before the conversations, in a training from scratch; a name in datasets/ will do
    #[arg(long, value_name = "FILE", conflicts_with = "load")]
    pretrain: Option<String>,
    /// Steps of that: at most 1000000000. They come on top of those that --epochs takes [default: those that read it once]
    #[arg(long, value_name = "N", requires = "pretrain", value_parser = whole(1..=MANY))]
    pretrain_steps: Option<usize>,
}

impl ReadingArgs {
    /// The text with its path, if there is one.
    pub fn read(&self, run: &RunArgs) -> Result<Option<(PathBuf, String)>> {
        let Some(name) = &self.pretrain else { return Ok(None) };
        let path = run.find(name)?;
        check_text(&path)?;
        let text = read_text(&path)?;
        Ok(Some((path, text)))
    }

    /// The steps, once they are known.
    pub fn steps(&self) -> usize {
        self.pretrain_steps.filter(|_| self.pretrain.is_some()).unwrap_or(0)
    }

    /// Sets the steps, if nobody said how many, to those that read the text once, so many stretches in each.
    pub fn settle(&mut self, reading: &Reading, stretches: usize) {
        let once = reading.train.len().div_ceil(stretches);
        self.pretrain_steps.get_or_insert(once.clamp(1, MANY));
    }
}

/// The text as tokens: stretches as long as the context, each of which begins with the last token of the one before.
pub struct Reading {
    pub path: PathBuf,
    train: Vec<ConversationTokens>,
    held_out: Vec<ConversationTokens>,
    order: RefCell<Epochs>,
}

impl Reading {
    /// Cuts a text. The end of it is held out: this share, or enough of that.
    ///
    /// # Errors
    /// If it is too short.
    pub fn new(
        (path, text): (PathBuf, &str),
        tokenizer: &dyn Tokenizer,
        context: usize,
        share: f64,
        seed: u64,
    ) -> Result<Self> {
        let tokens = tokenizer.encode(text).with_context(|| path.display().to_string())?;
        let (train, held_out) = tokens.split_at(((1.0 - share) * tokens.len() as f64) as usize);
        let problem = format!(
            "{} is too short: of its {} tokens, --pretrain needs 2 to learn from and 2 that are held out (--eval-split)",
            path.display(),
            tokens.len()
        );
        ensure!(train.len() >= 2 && held_out.len() >= 2, Usage(problem));
        let (train, mut held_out) = (stretches(train, context), stretches(held_out, context));
        held_out.truncate(VALIDATED);
        let order = RefCell::new(Epochs::new(train.len(), seed));
        Ok(Reading { path, train, held_out, order })
    }

    /// Says how much there is to read.
    pub fn introduce(&self, steps: usize) {
        let tokens: usize = self.train.iter().map(|one| one.tokens.len() - 1).sum();
        let (tokens, held_out) = (grouped(tokens as u64), self.held_out.len());
        say!(
            "first, {steps} steps of plain text: {tokens} tokens of {}, and {held_out} stretches of it held out",
            self.path.display()
        );
    }

    /// Puts some stretches into a batch: those from place `at` of the endless order on.
    pub fn fill(&self, batch: &mut Batch, at: usize, count: usize) {
        let mut order = self.order.borrow_mut();
        (at..at + count).for_each(|at| self.train[order.item(at)].push_to(batch));
    }

    /// What is held out.
    pub fn held_out(&self) -> &[ConversationTokens] {
        &self.held_out
    }

    /// All of it.
    pub fn all(&self) -> impl Iterator<Item = &ConversationTokens> {
        self.train.iter().chain(&self.held_out)
    }
}

/// A token is learned in one stretch, and the first of all in none.
fn stretches(tokens: &[usize], context: usize) -> Vec<ConversationTokens> {
    let cut = |start: usize| {
        let tokens = tokens[start..tokens.len().min(start + context + 1)].to_vec();
        let learned = vec![true; tokens.len()];
        ConversationTokens { tokens, learned, left_out: 0 }
    };
    (0..tokens.len() - 1).step_by(context).map(cut).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_is_predicted_once() {
        for (length, context) in [(2, 4), (5, 4), (6, 4), (9, 4), (10, 1)] {
            let tokens: Vec<usize> = (0..length).collect();
            let all = stretches(&tokens, context);
            assert!(all.iter().all(|one| (2..=context + 1).contains(&one.tokens.len())), "{length}");
            let predicted: Vec<usize> = all.iter().flat_map(|one| one.tokens[1..].to_vec()).collect();
            assert_eq!(predicted, tokens[1..], "{length} in stretches of {context}");
        }
    }
}
