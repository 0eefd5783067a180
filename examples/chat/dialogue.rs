//! A conversation of several turns with a model that has a template for it.

use std::path::Path;
use std::time::SystemTime;

use anyhow::{Context, Result, bail, ensure};
use gradus::checkpoint::write_atomically;
use gradus::data::{Conversation, Message, Role, Tool, ToolCall};
use gradus::generate::{CallMarks, ToolChoice};
use gradus::model::Model;
use support::{Interrupt, print, say};

use crate::lines::Lines;
use crate::speaker::{Calls, Manner, Reply, Speaker};
use crate::template::Template;
use crate::tools::{self, Outcome, Toolbox};

const HELP: &str = "\
/help          this list
/reset         forget all that was said; the system prompt stays
/system TEXT   another system prompt, or none without a text
/undo          take back the last question and its answer, with all calls of tools in between
/adapter DIR   another adapter (LoRA) on the same model, or none without a folder: the model is read again
/save FILE     write the conversation as a line of JSON, which `train` can read
Ctrl-C ends a reply, Ctrl-D the program.";

/// How often a model may call tools before it has to answer.
const MOST_ROUNDS: usize = 4;

/// What was said so far.
pub struct Dialogue {
    template: Template,
    system: Option<String>,
    /// Questions, calls, results and answers.
    history: Vec<Message>,
    /// The first message that the model still sees: a question.
    start: usize,
    /// Whether it was said that there is one which it does not see.
    said_forgotten: bool,
    tools: Option<Tools>,
}

/// What the model can call, and how.
pub struct Tools {
    pub toolbox: Toolbox,
    pub marks: CallMarks,
    /// How the answer to a question begins.
    pub first: ToolChoice,
    /// Whether calls are held to their schemas while they are written.
    pub constrained: bool,
}

impl Tools {
    /// The calls of a reply that begins as this choice says.
    fn calls<'a>(&'a self, choice: &'a ToolChoice) -> Calls<'a> {
        let Tools { toolbox, marks, constrained, .. } = self;
        Calls { marks, tools: toolbox.tools(), choice, constrained: *constrained }
    }
}

/// Where a dialogue takes place.
struct Place<'a> {
    speaker: &'a mut Speaker,
    manner: &'a Manner,
    interrupt: &'a Interrupt,
    lines: Lines,
    /// How many replies there were.
    count: usize,
}

impl Dialogue {
    /// A conversation in which nothing was said yet.
    pub fn new(template: Template, system: Option<String>, tools: Option<Tools>) -> Self {
        Dialogue { template, system, history: Vec::new(), start: 0, said_forgotten: false, tools }
    }

    /// How many tokens the tools and the system prompt take.
    ///
    /// # Errors
    /// If the template does not render them, or the model has no tokens to write calls with.
    pub fn overhead(&self, speaker: &Speaker, manner: &Manner) -> Result<usize> {
        if let Some(tools) = &self.tools {
            speaker.check_calls(manner, &tools.calls(&tools.first))?;
        }
        Ok(self.tokens(speaker, vec![Message::new(Role::User, "?")])?.len())
    }

    /// Answers every line of standard input, until it ends. Returns the replies, without their texts.
    ///
    /// # Errors
    /// If standard input cannot be read, or there is too little memory.
    pub fn run(
        &mut self,
        speaker: &mut Speaker,
        manner: &Manner,
        interrupt: &Interrupt,
        mut on_reply: impl FnMut(&Reply),
    ) -> Result<Vec<Reply>> {
        let mut place = Place { speaker, manner, interrupt, lines: Lines::open(), count: 0 };
        let mut replies = Vec::new();
        while let Some(line) = place.lines.next("> ", interrupt)? {
            if let Some(command) = line.trim().strip_prefix('/') {
                match self.command(command, Some(&mut *place.speaker)) {
                    Ok(answer) => say!("{answer}"),
                    Err(problem) => say!("? {problem:#}"),
                }
            } else if !line.trim().is_empty() {
                let before = self.history.len();
                self.history.push(Message::new(Role::User, line.trim()));
                let answered = self.answer(&mut place, &mut |reply| {
                    on_reply(&reply);
                    replies.push(Reply { text: String::new(), calls: Vec::new(), ..reply });
                });
                match answered {
                    Ok(()) => {}
                    Err(Trouble::Said(problem)) => {
                        // The question is not there, either.
                        self.history.truncate(before);
                        self.start = self.start.min(before);
                        say!("? {problem:#}");
                    }
                    Err(Trouble::Fatal(problem)) => return Err(problem),
                }
            }
        }
        Ok(replies)
    }

    /// Lets the model speak until it calls no tool any more.
    fn answer(&mut self, place: &mut Place<'_>, on_reply: &mut dyn FnMut(Reply)) -> Result<(), Trouble> {
        for round in 0..=MOST_ROUNDS {
            let prompt = self.prompt(place.speaker, place.manner).map_err(Trouble::Said)?;
            let room = place.speaker.model().context().saturating_sub(prompt.len());
            let manner = Manner {
                tokens: place.manner.tokens.min(room),
                seed: place.manner.seed.wrapping_add(place.count as u64),
                ..place.manner.clone()
            };
            place.count += 1;
            let choice = match &self.tools {
                Some(tools) if round == 0 => tools.first.clone(),
                // In the last round there are no calls: it has to answer.
                _ if round == MOST_ROUNDS => ToolChoice::None,
                _ => ToolChoice::Auto,
            };
            let calls = self.tools.as_ref().map(|tools| tools.calls(&choice));
            let Place { speaker, interrupt, .. } = place;
            let reply = interrupt.each(|| {
                speaker.reply_with_calls(&prompt, &manner, calls, print::piece, || !interrupt.requested())
            });
            let reply = reply.map_err(Trouble::Fatal)?;
            if !reply.text.is_empty() || reply.calls.is_empty() {
                say!("");
            }
            let mut message = Message::new(Role::Assistant, reply.text.as_str());
            let written = reply.calls.clone();
            let is_last = reply.finish.is_none() || round == MOST_ROUNDS;
            on_reply(reply);
            if written.is_empty() || is_last {
                if !written.is_empty() {
                    say!("? it called tools {} times without an answer: no more are run", MOST_ROUNDS + 1);
                }
                self.history.push(message);
                return Ok(());
            }
            let mut results = Vec::new();
            for written in written {
                let (call, result) = self.call(&written, place).map_err(Trouble::Fatal)?;
                let mut returned = Message::new(Role::Tool, result);
                returned.name = Some(call.name.clone());
                message.tool_calls.push(call);
                results.push(returned);
            }
            self.history.push(message);
            self.history.extend(results);
        }
        Ok(())
    }

    /// Runs a call, and shows what is called and what comes back.
    fn call(&mut self, written: &str, place: &mut Place<'_>) -> Result<(ToolCall, String)> {
        let Some(tools) = &mut self.tools else { bail!("there are no tools") };
        let (call, outcome) = tools.toolbox.run(written, SystemTime::now());
        say!("-> {} {}", call.name, call.arguments);
        let result = match outcome {
            Outcome::Done(result) => result,
            // Lines of a pipe are questions for the model.
            Outcome::Ask if !place.lines.is_terminal() => tools::not_available(),
            Outcome::Ask => {
                let sign = "its result, or nothing if it is not available: ";
                let typed = place.lines.next(sign, place.interrupt)?.unwrap_or_default();
                match typed.trim() {
                    "" => tools::not_available(),
                    typed => typed.to_owned(),
                }
            }
        };
        say!("<- {result}");
        Ok((call, result))
    }

    /// The tokens of all that the model is to see, the last question and what came after it included. Where not all fits into the
    /// context, with some room for the reply, the oldest turns are left out.
    fn prompt(&mut self, speaker: &Speaker, manner: &Manner) -> Result<Vec<usize>> {
        let context = speaker.model().context();
        let reserve = manner.tokens.min(context / 4).max(1);
        let mut start = self.start;
        loop {
            let tokens = self.tokens(speaker, self.seen_from(start))?;
            if tokens.len().saturating_add(reserve) <= context {
                self.start = start;
                if start > 0 && !self.said_forgotten {
                    self.said_forgotten = true;
                    say!(
                        "(the conversation is longer than the {context} tokens that the model can read: it forgets the oldest \
                         turns)"
                    );
                }
                return Ok(tokens);
            }
            // A turn begins with a question, and the last one has to stay.
            let is_question = |at: &usize| self.history[*at].role == Role::User;
            let Some(next) = (start + 1..self.history.len()).find(is_question) else {
                let count = tokens.len();
                let with = if self.tools.is_some() {
                    "the system prompt and the tools"
                } else {
                    "the system prompt"
                };
                bail!(
                    "this takes {count} tokens with {with}, and the model reads {context}, of which {reserve} are kept \
                     for the reply: say it shorter"
                );
            };
            start = next;
        }
    }

    /// The tokens of some messages, up to where the model is to go on.
    fn tokens(&self, speaker: &Speaker, messages: Vec<Message>) -> Result<Vec<usize>> {
        let tools = self.offered();
        let rendered = self.template.render(&Conversation { messages, tools }, true, SystemTime::now())?;
        Ok(rendered.tokens(speaker.tokenizer())?.0)
    }

    /// The tools that the model can call.
    fn offered(&self) -> Vec<Tool> {
        self.tools.as_ref().map_or(&[][..], |tools| tools.toolbox.tools()).to_vec()
    }

    /// The system prompt, and the messages from here on.
    fn seen_from(&self, start: usize) -> Vec<Message> {
        let system = self.system.iter().map(|text| Message::new(Role::System, text.as_str()));
        system.chain(self.history[start..].iter().cloned()).collect()
    }

    /// Does what a line that begins with a slash says.
    fn command(&mut self, line: &str, speaker: Option<&mut Speaker>) -> Result<String> {
        let (name, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let rest = rest.trim();
        Ok(match name {
            "help" => HELP.to_owned(),
            "reset" => {
                self.history.clear();
                self.start = 0;
                "forgotten".to_owned()
            }
            "system" => {
                self.system = (!rest.is_empty()).then(|| rest.to_owned());
                if rest.is_empty() { "no system prompt" } else { "the system prompt is set" }.to_owned()
            }
            "undo" => {
                ensure!(!self.history.is_empty(), "nothing was said yet");
                // A turn is a question and all that came of it.
                let question = self.history.iter().rposition(|message| message.role == Role::User);
                self.history.truncate(question.unwrap_or(0));
                self.start = self.start.min(self.history.len());
                "the last question and its answer are taken back".to_owned()
            }
            "adapter" => {
                let Some(speaker) = speaker else { bail!("there is no model") };
                speaker.swap_adapter((!rest.is_empty()).then(|| Path::new(rest)))?;
                if rest.is_empty() { "no adapter".to_owned() } else { format!("with the adapter {rest}") }
            }
            "save" => {
                ensure!(!rest.is_empty(), "it needs the name of a file: /save talk.jsonl");
                self.save(Path::new(rest))?;
                format!("written to {rest}")
            }
            other => bail!("there is no /{other}: /help lists what there is"),
        })
    }

    /// Writes all that was said, also what the model does not see any more.
    fn save(&self, path: &Path) -> Result<()> {
        ensure!(!self.history.is_empty(), "nothing was said yet");
        ensure!(!path.exists(), "{} is there already: give another name", path.display());
        let conversation = Conversation { messages: self.seen_from(0), tools: self.offered() };
        let line = serde_json::to_string(&conversation).context("a conversation is plain JSON")?;
        let written = write_atomically(path, format!("{line}\n").as_bytes());
        written.with_context(|| format!("{} cannot be written", path.display()))
    }
}

/// Why there is no answer.
enum Trouble {
    /// The question cannot be answered; the next one may.
    Said(anyhow::Error),
    /// Nothing can.
    Fatal(anyhow::Error),
}

#[cfg(test)]
mod tests {
    use gradus::tokenizer::template::ChatTemplate;

    use super::*;

    fn dialogue() -> Dialogue {
        let template = Template::new(ChatTemplate::GRADUS, Vec::new(), &[]).expect("it parses");
        let mut dialogue = Dialogue::new(template, Some("Be kind.".to_owned()), None);
        for turn in ["one", "two"] {
            dialogue.history.push(Message::new(Role::User, turn));
            dialogue.history.push(Message::new(Role::Assistant, "yes"));
        }
        dialogue
    }

    #[test]
    fn commands_change_what_the_model_sees() {
        let mut dialogue = dialogue();
        dialogue.command("undo", None).expect("a turn");
        let texts: Vec<String> = dialogue.seen_from(0).into_iter().map(|message| message.content).collect();
        assert_eq!(texts, ["Be kind.", "one", "yes"]);
        dialogue.command("system  Be brief. ", None).expect("a prompt");
        assert_eq!(dialogue.seen_from(0)[0].content, "Be brief.");
        dialogue.command("reset", None).expect("it forgets");
        assert_eq!(dialogue.seen_from(0).len(), 1);
        dialogue.command("system", None).expect("none");
        assert!(dialogue.seen_from(0).is_empty());
        for (wrong, why) in [("undo", "nothing"), ("save x", "nothing"), ("quit", "/help")] {
            let problem = dialogue.command(wrong, None).expect_err(wrong).to_string();
            assert!(problem.contains(why), "{problem}");
        }
    }

    #[test]
    fn a_turn_with_tools_is_taken_back_whole() {
        let mut dialogue = dialogue();
        for (role, text) in
            [(Role::User, "three"), (Role::Assistant, ""), (Role::Tool, "{}"), (Role::Assistant, "yes")]
        {
            dialogue.history.push(Message::new(role, text));
        }
        dialogue.command("undo", None).expect("a turn");
        assert_eq!(dialogue.history.len(), 4);
        assert!(dialogue.command("adapter x", None).is_err());
    }

    #[test]
    fn what_was_said_is_saved_once() {
        let folder = std::env::temp_dir().join(format!("gradus-dialogue-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let path = folder.join("talk.jsonl");
        let dialogue = dialogue();
        dialogue.save(&path).expect("a file");
        let again = dialogue.save(&path).expect_err("it is there").to_string();
        assert!(again.contains("already"), "{again}");
        let read = gradus::data::read_conversations(&path, None, gradus::data::OnMalformed::Refuse);
        let (all, _) = read.expect("a conversation");
        std::fs::remove_dir_all(&folder).ok();
        assert_eq!(all[0].messages, dialogue.seen_from(0));
    }
}
