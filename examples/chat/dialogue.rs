//! A conversation of several turns with a model that has a template for it.

use std::io::{self, BufRead, IsTerminal};
use std::path::Path;
use std::time::SystemTime;

use anyhow::{Context, Result, bail, ensure};
use gradus::checkpoint::write_atomically;
use gradus::data::{Conversation, Message, Role};
use gradus::model::Model;
use support::{Interrupt, print, say};

use crate::speaker::{Manner, Reply, Speaker};
use crate::template::Template;

const HELP: &str = "\
/help          this list
/reset         forget all that was said; the system prompt stays
/system TEXT   another system prompt, or none without a text
/undo          take back the last question and its answer
/save FILE     write the conversation as a line of JSON, which `train` can read
Ctrl-C ends a reply, Ctrl-D the program.";

/// What was said so far.
pub struct Dialogue {
    template: Template,
    system: Option<String>,
    /// Questions and answers in turn.
    history: Vec<Message>,
    /// The first message that the model still sees.
    start: usize,
    /// Whether it was said that there is one which it does not see.
    said_forgotten: bool,
}

impl Dialogue {
    /// A conversation in which nothing was said yet.
    pub fn new(template: Template, system: Option<String>) -> Self {
        Dialogue { template, system, history: Vec::new(), start: 0, said_forgotten: false }
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
        let stdin = io::stdin();
        let sign = if stdin.is_terminal() { "> " } else { "" };
        let mut replies = Vec::new();
        print::piece(sign);
        let mut lines = stdin.lock().lines();
        while let Some(line) = interrupt.idle(|| lines.next()) {
            let line = line.context("standard input cannot be read")?;
            if let Some(command) = line.trim().strip_prefix('/') {
                match self.command(command) {
                    Ok(answer) => say!("{answer}"),
                    Err(problem) => say!("? {problem:#}"),
                }
            } else if !line.trim().is_empty() {
                match self.ask(speaker, manner, line.trim()) {
                    Ok(prompt) => {
                        let room = speaker.model().context().saturating_sub(prompt.len());
                        let manner = Manner {
                            tokens: manner.tokens.min(room),
                            seed: manner.seed.wrapping_add(replies.len() as u64),
                            ..manner.clone()
                        };
                        let reply = interrupt.each(|| {
                            speaker.reply(&prompt, &manner, print::piece, || !interrupt.requested())
                        })?;
                        say!("");
                        on_reply(&reply);
                        self.history.push(Message::new(Role::Assistant, reply.text.as_str()));
                        replies.push(Reply { text: String::new(), ..reply });
                    }
                    Err(problem) => say!("? {problem:#}"),
                }
            }
            print::piece(sign);
        }
        Ok(replies)
    }

    /// The tokens of all that the model is to see with a new question, which becomes a part of the history. Where not all fits
    /// into the context, with some room for the reply, the oldest turns are left out.
    fn ask(&mut self, speaker: &Speaker, manner: &Manner, question: &str) -> Result<Vec<usize>> {
        self.history.push(Message::new(Role::User, question));
        let found = self.prompt(speaker, manner);
        if found.is_err() {
            self.history.pop();
        }
        found
    }

    fn prompt(&mut self, speaker: &Speaker, manner: &Manner) -> Result<Vec<usize>> {
        let context = speaker.model().context();
        let reserve = manner.tokens.min(context / 4).max(1);
        let mut start = self.start;
        loop {
            let tools = Vec::new();
            let conversation = Conversation { messages: self.seen_from(start), tools };
            let rendered = self.template.render(&conversation, true, SystemTime::now())?;
            let (tokens, _) = rendered.tokens(speaker.tokenizer())?;
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
            // A turn has two messages, and the last of all is the new question.
            start += 2;
            if start >= self.history.len() {
                let count = tokens.len();
                bail!(
                    "this takes {count} tokens with the system prompt, and the model reads {context}, of which {reserve} are kept \
                     for the reply: say it shorter"
                );
            }
        }
    }

    /// The system prompt, and the messages from here on.
    fn seen_from(&self, start: usize) -> Vec<Message> {
        let system = self.system.iter().map(|text| Message::new(Role::System, text.as_str()));
        system.chain(self.history[start..].iter().cloned()).collect()
    }

    /// Does what a line that begins with a slash says.
    fn command(&mut self, line: &str) -> Result<String> {
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
                self.history.truncate(self.history.len() - 2);
                self.start = self.start.min(self.history.len());
                "the last question and its answer are taken back".to_owned()
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
        let conversation = Conversation { messages: self.seen_from(0), tools: Vec::new() };
        let line = serde_json::to_string(&conversation).context("a conversation is plain JSON")?;
        let written = write_atomically(path, format!("{line}\n").as_bytes());
        written.with_context(|| format!("{} cannot be written", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use gradus::checkpoint::EndTokens;
    use gradus::tokenizer::template::ChatTemplate;

    use super::*;

    fn dialogue() -> Dialogue {
        let template = Template::new(ChatTemplate::GRADUS, &EndTokens::default(), &[]).expect("it parses");
        let mut dialogue = Dialogue::new(template, Some("Be kind.".to_owned()));
        for turn in ["one", "two"] {
            dialogue.history.push(Message::new(Role::User, turn));
            dialogue.history.push(Message::new(Role::Assistant, "yes"));
        }
        dialogue
    }

    #[test]
    fn commands_change_what_the_model_sees() {
        let mut dialogue = dialogue();
        dialogue.command("undo").expect("a turn");
        let texts: Vec<String> = dialogue.seen_from(0).into_iter().map(|message| message.content).collect();
        assert_eq!(texts, ["Be kind.", "one", "yes"]);
        dialogue.command("system  Be brief. ").expect("a prompt");
        assert_eq!(dialogue.seen_from(0)[0].content, "Be brief.");
        dialogue.command("reset").expect("it forgets");
        assert_eq!(dialogue.seen_from(0).len(), 1);
        dialogue.command("system").expect("none");
        assert!(dialogue.seen_from(0).is_empty());
        for (wrong, why) in [("undo", "nothing"), ("save x", "nothing"), ("quit", "/help")] {
            let problem = dialogue.command(wrong).expect_err(wrong).to_string();
            assert!(problem.contains(why), "{problem}");
        }
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
