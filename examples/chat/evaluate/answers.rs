//! What a model says: calls of tools, judged, and replies.

use anyhow::Result;
use gradus::data::{Conversation, ToolCall};
use gradus::generate::{Finish, ToolChoice};
use gradus::model::Model;
use gradus::random::Random;
use gradus::score::ToolAccuracy;

use super::material::HeldOut;
use super::questions::Question;
use super::{Evaluate, Judged};
use crate::speaker::{Calls, Manner, Reply};

/// A reply has at least a part of the context, one in so many, or it is not begun.
const LEAST_ROOM: usize = 4;

/// Whether calls are held to the schemas of the tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Constrained,
    Free,
}

/// What became of some questions with tools.
pub struct ToolResults {
    /// What kind of questions they are.
    pub name: &'static str,
    pub questions: usize,
    pub modes: Vec<ModeResults>,
}

/// What became of them in one mode.
pub struct ModeResults {
    pub name: &'static str,
    pub accuracy: ToolAccuracy,
    /// How many questions leave no room for a reply.
    pub too_long: usize,
    pub wrong: Vec<Wrong>,
}

/// A question that was not answered as it should be.
pub struct Wrong {
    pub question: String,
    pub expected: String,
    pub said: String,
}

/// Replies to held-out questions.
pub struct Replies {
    pub all: Vec<Shown>,
    /// How many were to be asked.
    pub asked: usize,
    /// How many of them leave no room for a reply.
    pub too_long: usize,
}

/// A reply beside that of a person.
pub struct Shown {
    pub question: String,
    pub reply: String,
    pub reference: String,
    /// Whether the model ended it, and not the limit of its length.
    pub ended: bool,
}

impl Mode {
    pub fn name(self) -> &'static str {
        match self {
            Mode::Constrained => "constrained",
            Mode::Free => "unconstrained",
        }
    }
}

impl ModeResults {
    /// How many questions were asked.
    pub fn asked(&self) -> usize {
        self.accuracy.needed + self.accuracy.not_needed
    }
}

impl Judged<'_> {
    /// Asks questions with tools, until there is no time left.
    pub fn ask(
        &mut self,
        questions: &[Question],
        mode: Mode,
        mut on_answer: impl FnMut(),
    ) -> Result<ModeResults> {
        let mut results = ModeResults {
            name: mode.name(),
            accuracy: ToolAccuracy::default(),
            too_long: 0,
            wrong: Vec::new(),
        };
        for (Question { conversation, call }, at) in questions.iter().zip(0..) {
            if self.interrupt.requested() {
                break;
            }
            on_answer();
            let Some(reply) = self.say(conversation, mode, at)? else {
                results.too_long += 1;
                continue;
            };
            if reply.finish.is_none() {
                break; // it was interrupted, and is not judged
            }
            let said = reply.calls.first().map(String::as_str);
            if !results.accuracy.add(&conversation.tools, call.as_ref(), said).is_right() {
                results.wrong.push(Wrong {
                    question: asked(conversation).to_owned(),
                    expected: call.as_ref().map_or_else(|| "no call".to_owned(), in_words),
                    said: said.map_or_else(|| format!("“{}”", reply.text.trim()), str::to_owned),
                });
            }
        }
        Ok(results)
    }

    /// Lets the model reply to held-out questions, until there is no time left.
    pub fn reply_to(
        &mut self,
        held_out: &HeldOut,
        args: &Evaluate,
        mut on_reply: impl FnMut(),
    ) -> Result<Replies> {
        let mut questions: Vec<_> = held_out.questions().collect();
        Random::new(args.seed).shuffle(&mut questions);
        questions.truncate(args.replies);
        let mut replies = Replies { all: Vec::new(), asked: questions.len(), too_long: 0 };
        for ((conversation, reference), at) in questions.into_iter().zip(0..) {
            if self.interrupt.requested() {
                break;
            }
            on_reply();
            let Some(reply) = self.say(&conversation, Mode::Free, at)? else {
                replies.too_long += 1;
                continue;
            };
            let Some(finish) = reply.finish else { break };
            replies.all.push(Shown {
                question: asked(&conversation).to_owned(),
                reply: reply.text + &reply.calls.concat(),
                reference: reference.to_owned(),
                ended: finish == Finish::Stop,
            });
        }
        Ok(replies)
    }

    /// What the model says next; nothing if the conversation leaves too little room for it.
    fn say(&mut self, conversation: &Conversation, mode: Mode, number: u64) -> Result<Option<Reply>> {
        let prompt = self.prompt(conversation)?;
        let context = self.speaker.model().context();
        let max_tokens = context.saturating_sub(prompt.len()).min(self.manner.tokens);
        if max_tokens < self.manner.tokens.min(context / LEAST_ROOM).max(1) {
            return Ok(None);
        }
        let manner =
            Manner { tokens: max_tokens, seed: self.manner.seed.wrapping_add(number), ..self.manner.clone() };
        let calls = self.marks.as_ref().map(|marks| Calls {
            marks,
            tools: &conversation.tools,
            choice: &ToolChoice::Auto,
            constrained: mode == Mode::Constrained,
        });
        // Tools of whatever schema may be offered where nothing is held to it.
        let calls = calls
            .filter(|calls| mode == Mode::Constrained || self.speaker.check_calls(&manner, calls).is_ok());
        let go_on = || !self.interrupt.requested();
        Ok(Some(self.speaker.reply_with_calls(&prompt, &manner, calls, |_| {}, go_on)?))
    }
}

/// The question at the end of a conversation.
fn asked(conversation: &Conversation) -> &str {
    conversation.messages.last().map_or("", |message| &message.content)
}

/// A call as a model would write it.
fn in_words(ToolCall { name, arguments, .. }: &ToolCall) -> String {
    format!("{{\"name\": \"{name}\", \"arguments\": {arguments}}}")
}
