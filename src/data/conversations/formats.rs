//! The formats of records, and how each becomes a conversation.

use super::messages::{self, wrong};
use super::{Conversation, Json, Message, Reason, Role};

/// How the records of a file say what a conversation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `instruction`, `context` and `response`, as Dolly has them.
    Dolly,
    /// `instruction`, `input` and `output`, as Alpaca and CodeAlpaca have them.
    Alpaca,
    /// `instruction`, `input` and `response`.
    Instruction,
    /// `messages`, each with `role` and `content`, as the OpenAI API has them, with `tools` beside them.
    Messages,
    /// `conversations`, each with `from` and `value`, as ShareGPT has them.
    ShareGpt,
    /// Lines of text that begin with `A: ` and `B: ` in turn. A is the user.
    Dialogue,
}

impl Format {
    /// The format of a JSON record, by its keys.
    ///
    /// # Errors
    /// [`Reason::NotObject`] or [`Reason::UnknownFormat`].
    pub(super) fn of(record: &Json) -> Result<Self, Reason> {
        if !matches!(record, Json::Object(_)) {
            return Err(Reason::NotObject(record.kind()));
        }
        let has = |key| record.get(key).is_some();
        Ok(match () {
            () if has("messages") => Format::Messages,
            () if has("conversations") => Format::ShareGpt,
            () if has("instruction") && has("output") => Format::Alpaca,
            () if has("instruction") && has("response") && has("context") => Format::Dolly,
            () if has("instruction") && has("response") => Format::Instruction,
            () => {
                let keys: Vec<_> = record.entries().iter().take(8).map(|(key, _)| key.as_str()).collect();
                let keys = keys.join(", ").chars().take(80).collect();
                return Err(Reason::UnknownFormat { keys });
            }
        })
    }

    /// The conversation that a JSON record says.
    ///
    /// # Errors
    /// What is missing, or of the wrong type, or in the wrong order.
    pub(super) fn conversation(self, record: &Json) -> Result<Conversation, Reason> {
        if !matches!(record, Json::Object(_)) {
            return Err(Reason::NotObject(record.kind()));
        }
        match self {
            Format::Dolly => instruction(record, "context", "response"),
            Format::Alpaca => instruction(record, "input", "output"),
            Format::Instruction => instruction(record, "input", "response"),
            Format::Messages => messages::conversation("messages", record),
            Format::ShareGpt => messages::conversation("conversations", record),
            // A JSON record is never recognised as one.
            Format::Dialogue => Err(Reason::NotObject(record.kind())),
        }
    }
}

/// A question and an answer. What the question is about comes after it, with an empty line between.
fn instruction(record: &Json, context: &'static str, answer: &'static str) -> Result<Conversation, Reason> {
    let text = |key: &'static str| match record.get(key) {
        Some(Json::String(text)) => Ok(Some(text.trim())),
        Some(Json::Null) | None => Ok(None),
        Some(other) => Err(wrong(key, "a string", other)),
    };
    let needed = |key: &'static str| match text(key)? {
        Some("") => Err(Reason::Empty(key.to_owned())),
        Some(text) => Ok(text),
        None => Err(Reason::Missing(key)),
    };
    let (question, about, answer) = (needed("instruction")?, text(context)?.unwrap_or(""), needed(answer)?);
    let question = if about.is_empty() { question.to_owned() } else { format!("{question}\n\n{about}") };
    let mut conversation = Conversation::of(question, answer);
    if let Some(system) = text("system")?.filter(|system| !system.is_empty()) {
        conversation.messages.insert(0, Message::new(Role::System, system));
    }
    Ok(conversation)
}

/// The conversation in a paragraph of lines `A: …` and `B: …`. What A says last, without an answer, is left out.
///
/// # Errors
/// [`Reason::Syntax`], [`Reason::Utterance`] with the number of lines before it, or [`Reason::NoReply`].
pub(super) fn dialogue(paragraph: &[u8]) -> Result<Conversation, (Reason, usize)> {
    let text = std::str::from_utf8(paragraph).map_err(|error| {
        let before = &paragraph[..error.valid_up_to()];
        let line = before.iter().filter(|&&byte| byte == b'\n').count();
        (Reason::Syntax("invalid unicode code point".to_owned()), line)
    })?;
    let mut messages = Vec::new();
    let speakers = [("A:", Role::User), ("B:", Role::Assistant)];
    for (line, at) in text.lines().zip(0..) {
        let (mark, role) = speakers[at % 2];
        let said = line.strip_prefix(mark).map(str::trim).filter(|said| !said.is_empty());
        let said = said.ok_or_else(|| (Reason::Utterance(line.chars().take(40).collect()), at))?;
        messages.push(Message::new(role, said));
    }
    messages.truncate(messages.len() / 2 * 2);
    let conversation = Conversation { messages, tools: Vec::new() };
    conversation.check().map_err(|reason| (reason, 0))?;
    Ok(conversation)
}
