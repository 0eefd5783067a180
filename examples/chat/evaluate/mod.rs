//! How good a model is that converses: figures, and what it says.
//!
//! - `mod.rs`: the command.
//! - `material.rs`: conversations that it has not learned from; `questions.rs`: questions with tools, and what is right to do.
//! - `loss.rs`: how well it predicts what the assistant says.
//! - `answers.rs`: what it says itself.
//! - `report.rs`: all of it as Markdown; `plots.rs`: bars.

mod answers;
mod loss;
mod material;
mod plots;
mod questions;
mod report;

use std::path::PathBuf;
use std::time::SystemTime;

use anyhow::{Context, Result, ensure};
use gradus::data::{Conversation, ConversationEncoder, Learn, find};
use gradus::generate::CallMarks;
use gradus::model::Model;
use support::args::{MANY, seed, whole};
use support::units::{bytes, grouped};
use support::{Interrupt, Progress, SamplingArgs, Usage, say};

use crate::speaker::{Manner, ModelArgs, Speaker};
use crate::template::Template;
use answers::{Mode, ToolResults};
use loss::{Encoded, Losses};
use material::HeldOut;
use questions::Question;
use report::{Findings, Paths};

/// Judge a model that converses
///
/// Measures the loss on held-out conversations, asks questions with tools, and lets the model reply. What is found goes into a report
/// in Markdown, with plots beside it.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  chat -- evaluate --model chat-model                              on what its training held out, into evaluation.md
  chat -- evaluate --model chat-model --unconstrained              what the model makes of tools without help, too
  chat -- evaluate --model chat-model --dtype int8 --out int8.md   what weights of 8 bits cost
  chat -- evaluate --model any-model --data mine.jsonl             on any conversations")]
#[command(mut_arg("temperature", |option| option.default_value("0")))]
#[command(mut_arg("repetition_penalty", |option| option.default_value("1")))]
pub struct Evaluate {
    #[command(flatten)]
    model: ModelArgs,
    /// Files of conversations, in any format that `train` reads; names in datasets/ will do. Of a file that the model was trained on,
    /// only what was held out counts [default: what its training held out]
    #[arg(long, value_name = "FILE", num_args = 1..)]
    data: Vec<String>,
    /// Conversations to read from --data together: at most 1000000000
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = whole(1..=MANY), requires = "data")]
    max_samples: usize,
    /// The report to write; its plots are named after it
    #[arg(long, value_name = "FILE", default_value = "evaluation.md")]
    out: PathBuf,
    /// Write over a report that is there already
    #[arg(long)]
    overwrite: bool,
    /// Questions with tools: JSON lines, each with what is asked, the tools that are offered, and the call that is right
    #[arg(long, value_name = "FILE", default_value = "tool_questions.jsonl")]
    questions: String,
    /// Ask N more questions with tools, made by the patterns of `train --synthetic-tools`, of those that no training sees: at most 1000000
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = whole(0..=1_000_000))]
    synthetic_questions: usize,
    /// Ask the questions with tools a second time, without holding calls to the schemas of the tools
    #[arg(long)]
    unconstrained: bool,
    /// Replies to held-out questions, of which the first ten are shown: at most 1000000
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = whole(0..=1_000_000))]
    replies: usize,
    /// The most tokens of a reply: at most 1000000000. A constrained call is not begun where too few are left to complete it
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = whole(1..=MANY))]
    tokens: usize,
    /// Where randomness begins: which questions are asked, and what is drawn if the likeliest token is not always chosen
    #[arg(long, value_name = "N", default_value_t = 42, value_parser = seed)]
    seed: u64,
    #[command(flatten)]
    sampling: SamplingArgs,
}

/// A model that is being judged.
struct Judged<'a> {
    speaker: Speaker,
    template: Template,
    /// What stands around a call of a tool, if the template knows calls.
    marks: Option<CallMarks>,
    manner: Manner,
    interrupt: &'a Interrupt,
}

impl Evaluate {
    pub fn run(&self) -> Result<()> {
        // What is wrong with files is found out before the model is read.
        let paths = Paths::of(&self.out, self.overwrite)?;
        let written = questions::read(&find(&self.questions)?)?;
        let made = questions::made(self.synthetic_questions, self.seed)?;
        // An adapter has learned from its own conversations, and the model below it perhaps from others.
        let trained = self.model.adapter().unwrap_or(self.model.path());
        let held_out = HeldOut::find(trained, &self.data, self.max_samples)?;
        let speaker = self.model.load()?;
        let interrupt = Interrupt::watch();
        let mut judged = Judged::new(speaker, self, &interrupt)?;
        let found = judged.all(
            self,
            &held_out,
            [("written by hand", written), ("held out by the patterns", made)],
        )?;
        paths.write(&found)?;
        say!("{}", found.summary());
        say!("the report is in {}", self.out.display());
        Ok(())
    }

    /// What is judged, and how.
    fn facts(&self, judged: &Judged<'_>) -> Vec<(&'static str, String)> {
        let speaker = &judged.speaker;
        let parameters = grouped(speaker.model().layout().len() as u64);
        let size =
            format!("{parameters} parameters, {} of {}", bytes(speaker.bytes() as f64), self.model.dtype());
        let sampling = match &self.sampling {
            sampling if sampling.greedy || sampling.temperature == 0.0 => {
                "always the likeliest token".to_owned()
            }
            sampling => {
                format!("temperature {}, top-k {}, seed {}", sampling.temperature, sampling.top_k, self.seed)
            }
        };
        let mut facts = vec![("model", self.model.path().display().to_string())];
        facts.extend(self.model.adapter().map(|folder| ("adapter", folder.display().to_string())));
        facts.extend([("size", size), ("replies", format!("{sampling}, at most {} tokens", self.tokens))]);
        facts.push(("seed of the questions", self.seed.to_string()));
        facts
    }
}

impl<'a> Judged<'a> {
    fn new(speaker: Speaker, args: &Evaluate, interrupt: &'a Interrupt) -> Result<Self> {
        let path = args.model.path().display();
        let no_template = || {
            Usage(format!(
                "the model in {path} has no chat template: it continues texts, and does not converse"
            ))
        };
        let template = speaker.template()?.ok_or_else(no_template)?;
        let unmarked = || {
            Usage(format!(
                "the chat template of the model in {path} does not mark what the assistant says ({{% generation %}}), so its loss \
                 cannot be told apart"
            ))
        };
        ensure!(template.template().marks_generated(), unmarked());
        let manner =
            Manner { sampling: args.sampling.clone(), tokens: args.tokens, beams: None, seed: args.seed };
        let marks = template.call_marks();
        if marks.is_none() {
            say!(
                "the chat template of the model in {path} has no calls of tools that are known here: none will be found"
            );
        }
        Ok(Judged { speaker, template, marks, manner, interrupt })
    }

    /// Does all that is to be done, or as much as there is time for.
    fn all(
        &mut self,
        args: &Evaluate,
        held_out: &HeldOut,
        groups: [(&'static str, Vec<Question>); 2],
    ) -> Result<Findings> {
        let modes =
            if args.unconstrained { &[Mode::Constrained, Mode::Free][..] } else { &[Mode::Constrained] };
        let context = self.speaker.model().context();
        let named = self.template.named();
        let encoder = ConversationEncoder::new(
            self.template.template(),
            self.speaker.tokenizer(),
            &named,
            held_out.context.unwrap_or(context).min(context),
            Learn::Assistant,
        );
        let encoded = Encoded::of(held_out, &encoder);
        let asked: usize = groups.iter().map(|(_, questions)| questions.len() * modes.len()).sum();
        let replies = held_out.questions().count().min(args.replies);
        say!(
            "held-out conversations: {}; questions with tools: {asked}; replies: {replies}",
            grouped(encoded.all.len() as u64)
        );
        let progress = Progress::new(encoded.all.len() + asked + replies, 0);
        let interrupt = self.interrupt;
        let losses = Losses::measure(&mut self.speaker, &encoded, |done| {
            progress.step(done, || "held-out loss".to_owned());
            !interrupt.requested()
        })?;
        let mut done = encoded.all.len();
        let mut tools = Vec::new();
        for (name, questions) in groups.iter().filter(|(_, questions)| !questions.is_empty()) {
            let mut results = ToolResults { name, questions: questions.len(), modes: Vec::new() };
            for &mode in modes {
                let answered = self.ask(questions, mode, || {
                    done += 1;
                    progress.step(done, || format!("tools, {}", mode.name()));
                });
                results.modes.push(answered.with_context(|| format!("questions {name}"))?);
            }
            tools.push(results);
        }
        let replies = self.reply_to(held_out, args, || {
            done += 1;
            progress.step(done, || "replies".to_owned());
        })?;
        progress.finish();
        let conversations = [encoded.all.len(), encoded.cut, encoded.left_out];
        let origin = held_out.origin.clone();
        let facts = args.facts(self);
        let interrupted = self.interrupt.requested();
        Ok(Findings { facts, origin, losses, conversations, tools, replies, interrupted })
    }

    /// The tokens of what the model is to see before it replies. A template that tells the day tells that of 1 January 1970, so that
    /// the replies are the same on every day.
    fn prompt(&self, conversation: &Conversation) -> Result<Vec<usize>> {
        let rendered = self.template.render(conversation, true, SystemTime::UNIX_EPOCH)?;
        Ok(rendered.tokens(self.speaker.tokenizer())?.0)
    }
}
