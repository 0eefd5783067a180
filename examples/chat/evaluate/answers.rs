//! What a model says: calls of tools, judged, and replies.

use anyhow::Result;
use gradus::data::{Conversation, ToolCall};
use gradus::generate::{CallGuide, CallReader, Finish, Reply, Said, ToolChoice};
use gradus::model::Model;
use gradus::random::Random;
use gradus::score::ToolAccuracy;

use super::material::HeldOut;
use super::questions::Question;
use super::{Evaluate, Judged};
use crate::speaker::Manner;

/// A reply has at least a part of the context, one in so many, or it is not begun.
const LEAST_ROOM: usize = 8;

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

/// What the model said.
struct Answer {
    /// All of it, without the marks around calls.
    text: String,
    /// The first call.
    call: Option<String>,
    /// `None` if it was interrupted.
    finish: Option<Finish>,
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
            let Some(answer) = self.say(conversation, mode, at)? else {
                results.too_long += 1;
                continue;
            };
            if answer.finish.is_none() {
                break; // it was interrupted, and is not judged
            }
            let said = answer.call.as_deref();
            if !results.accuracy.add(&conversation.tools, call.as_ref(), said).is_right() {
                results.wrong.push(Wrong {
                    question: asked(conversation).to_owned(),
                    expected: call.as_ref().map_or_else(|| "no call".to_owned(), in_words),
                    said: said.map_or_else(|| format!("“{}”", answer.text.trim()), str::to_owned),
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
            let Some(answer) = self.say(&conversation, Mode::Constrained, at)? else {
                replies.too_long += 1;
                continue;
            };
            let Some(finish) = answer.finish else { break };
            replies.all.push(Shown {
                question: asked(&conversation).to_owned(),
                reply: answer.text,
                reference: reference.to_owned(),
                ended: finish == Finish::Stop,
            });
        }
        Ok(replies)
    }

    /// What the model says next; nothing if the conversation leaves too little room for it.
    fn say(&mut self, conversation: &Conversation, mode: Mode, number: u64) -> Result<Option<Answer>> {
        let prompt = self.prompt(conversation)?;
        let context = self.speaker.model().context();
        let max_tokens = context.saturating_sub(prompt.len()).min(self.manner.tokens);
        if max_tokens < self.manner.tokens.min(context / LEAST_ROOM).max(1) {
            return Ok(None);
        }
        let guide = match &self.marks {
            Some(marks) if mode == Mode::Constrained && !conversation.tools.is_empty() => {
                let reply = Reply { ends: self.speaker.ends().to_vec(), max_tokens };
                Some(CallGuide::new(&self.vocabulary, marks, &conversation.tools, &ToolChoice::Auto, reply)?)
            }
            _ => None,
        };
        let manner =
            Manner { tokens: max_tokens, seed: self.manner.seed.wrapping_add(number), ..self.manner.clone() };
        let (tokens, finish) =
            self.speaker.reply_tokens(&prompt, &manner, guide, || !self.interrupt.requested())?;
        let tokenizer = self.speaker.tokenizer();
        let mut answer = Answer { text: String::new(), call: None, finish };
        let said = match &self.marks {
            Some(marks) => {
                let mut reader = CallReader::new(marks, &self.vocabulary, tokenizer, &prompt);
                let mut said: Vec<Said> =
                    tokens.iter().flat_map(|&token| reader.push(tokenizer, token)).collect();
                said.extend(reader.finish());
                said
            }
            None => vec![Said::Text(tokenizer.decode(&tokens))],
        };
        for part in said {
            match part {
                Said::Text(text) => answer.text += &text,
                Said::Call(call) => {
                    answer.text += &call;
                    answer.call.get_or_insert(call);
                }
            }
        }
        let stops = self.manner.sampling.stop.iter();
        if let Some(end) = stops.filter_map(|stop| answer.text.find(stop.as_str())).min() {
            answer.text.truncate(end);
            answer.finish = answer.finish.map(|_| Finish::Stop);
        }
        Ok(Some(answer))
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
