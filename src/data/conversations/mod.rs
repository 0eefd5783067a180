//! Conversations: what a chat model learns from.
//!
//! Every source becomes a [`Conversation`]. [`Conversations`] reads a file of them record by record, so its size does not
//! matter. `records.rs` cuts a file into records, `formats.rs` knows the formats and `messages.rs` the spellings of a message;
//! `calls.rs` reads what a model wrote as a tool call, `schema.rs` checks its arguments, and `synthetic.rs` makes conversations with
//! tools by sentence patterns.
//! `sequences.rs` (with the feature `chat`) makes the tokens of them that a model trains on.

mod arithmetic;
mod calls;
mod error;
mod formats;
mod json;
mod messages;
mod read;
mod records;
mod schema;
#[cfg(feature = "chat")]
mod sequences;
mod synthetic;

use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::data::text::fingerprint;

pub use arithmetic::{ArithmeticError, evaluate};
pub use calls::{CallError, check_call, parse_call};
pub use error::{ConversationsError, MalformedRecord, Reason, SkippedRecords};
pub use formats::Format;
pub use json::Json;
pub use read::{Conversations, OnMalformed, read_conversations};
pub use records::LONGEST_RECORD;
pub use schema::{SchemaError, check_arguments, check_schema};
#[cfg(feature = "chat")]
pub use sequences::{ConversationEncoder, ConversationTokens, Learn, Unlearnable};
pub use synthetic::{PatternError, Split, ToolPatterns};

/// Who wrote a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Says how the assistant is to behave.
    System,
    /// The person.
    User,
    /// The model.
    Assistant,
    /// A tool that the assistant called: its result.
    Tool,
}

impl Role {
    /// Its name in chat templates and files: `assistant`.
    pub fn name(self) -> &'static str {
        match self {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
            Role::Tool => "tool",
        }
    }
}

/// A conversation, and the tools that were offered to the assistant in it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Conversation {
    /// What was said, in order.
    pub messages: Vec<Message>,
    /// What the assistant could call.
    pub tools: Vec<Tool>,
}

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// Who wrote it.
    pub role: Role,
    /// Its text. May be empty beside tool calls.
    pub content: String,
    /// The tools that the assistant calls.
    pub tool_calls: Vec<ToolCall>,
    /// The name of its author: of a tool's result, the tool.
    pub name: Option<String>,
    /// Of a tool's result: the [`ToolCall::id`] that it answers.
    pub tool_call_id: Option<String>,
}

/// The assistant's request to run a tool.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolCall {
    /// A name for the call, which its result refers to.
    pub id: Option<String>,
    /// The name of the tool.
    pub name: String,
    /// Its arguments: an object.
    pub arguments: Json,
}

/// A function that the assistant may ask to be run.
#[derive(Clone, Debug, PartialEq)]
pub struct Tool {
    /// What it is called by.
    pub name: String,
    /// What it does, for the model to read.
    pub description: String,
    /// The JSON schema of its arguments.
    pub parameters: Json,
}

impl Message {
    /// A message that is only text.
    pub fn new(role: Role, content: impl Into<String>) -> Self {
        let (tool_calls, name, tool_call_id) = (Vec::new(), None, None);
        Message { role, content: content.into(), tool_calls, name, tool_call_id }
    }
}

/// The tools in a JSON array, as the OpenAI API has them: `{"type": "function", "function": {"name", "description",
/// "parameters"}}`, or only the inner object.
///
/// # Errors
/// The first key that is missing or of the wrong type.
pub fn parse_tools(json: &Json) -> Result<Vec<Tool>, Reason> {
    messages::tools(json)
}

impl Conversation {
    /// A question and its answer.
    pub fn of(question: impl Into<String>, answer: impl Into<String>) -> Self {
        let messages = vec![Message::new(Role::User, question), Message::new(Role::Assistant, answer)];
        Conversation { messages, tools: Vec::new() }
    }

    /// Whether it is held out to judge a model by, if this share of all conversations is: from 0 to 1. It follows from the first
    /// message of the user alone (the upper 32 bits of its FNV-1a hash, modulo 10,000), so a conversation stays on its side
    /// whatever others there are, and so do those that begin alike.
    pub fn is_held_out(&self, share: f64) -> bool {
        let first = self.messages.iter().find(|message| message.role == Role::User);
        let hash = fingerprint(first.map_or("", |message| &message.content).bytes()) >> 32;
        // Of texts that differ in their last characters alone, the first bits are alike; the remainder is not.
        ((hash % 10_000) as f64) < share * 10_000.0
    }

    /// The tool of this name, if it is offered.
    pub fn tool(&self, name: &str) -> Option<&Tool> {
        self.tools.iter().find(|tool| tool.name == name)
    }

    /// The tool calls of all messages, in order.
    pub fn tool_calls(&self) -> impl Iterator<Item = &ToolCall> {
        self.messages.iter().flat_map(|message| &message.tool_calls)
    }

    /// Refuses an order of messages that no template expects. First may come the system prompt. Then the user and the
    /// assistant take turns, beginning with the user. A message with tool calls is followed by results, and those by the
    /// assistant. A conversation may end anywhere, but the assistant must have said something.
    ///
    /// # Errors
    /// [`Reason::Order`] or [`Reason::NoReply`].
    pub fn check(&self) -> Result<(), Reason> {
        let mut before: Option<&Message> = None;
        for (message, at) in self.messages.iter().zip(1..) {
            let fits = match (before.map(|before| before.role), message.role) {
                (None, Role::System | Role::User) | (Some(Role::System), Role::User) => true,
                (Some(Role::User | Role::Tool), Role::Assistant) | (Some(Role::Tool), Role::Tool) => true,
                (Some(Role::Assistant), Role::User) => before.is_some_and(|said| said.tool_calls.is_empty()),
                (Some(Role::Assistant), Role::Tool) => before.is_some_and(|said| !said.tool_calls.is_empty()),
                _ => false,
            };
            if !fits {
                let after = match before {
                    Some(said) if !said.tool_calls.is_empty() => "tool calls",
                    Some(said) => said.role.name(),
                    None => "nothing",
                };
                return Err(Reason::Order { message: at, role: message.role.name(), after });
            }
            before = Some(message);
        }
        let replied = self.messages.iter().any(|message| message.role == Role::Assistant);
        if replied { Ok(()) } else { Err(Reason::NoReply) }
    }
}

/// As `{"messages": […], "tools": […]}`, the spelling of the OpenAI API, but with the arguments of a call as an object, as
/// chat templates need them.
impl Serialize for Conversation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("messages", &self.messages)?;
        if !self.tools.is_empty() {
            map.serialize_entry("tools", &self.tools)?;
        }
        map.end()
    }
}

impl Serialize for Message {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("role", self.role.name())?;
        if let Some(name) = &self.name {
            map.serialize_entry("name", name)?;
        }
        if let Some(id) = &self.tool_call_id {
            map.serialize_entry("tool_call_id", id)?;
        }
        map.serialize_entry("content", &self.content)?;
        if !self.tool_calls.is_empty() {
            map.serialize_entry("tool_calls", &self.tool_calls)?;
        }
        map.end()
    }
}

impl Serialize for ToolCall {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if let Some(id) = &self.id {
            map.serialize_entry("id", id)?;
        }
        map.serialize_entry("type", "function")?;
        let arguments = self.arguments.clone();
        let function = [("name".to_owned(), self.name.as_str().into()), ("arguments".to_owned(), arguments)];
        map.serialize_entry("function", &Json::Object(function.into()))?;
        map.end()
    }
}

impl Serialize for Tool {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("type", "function")?;
        let function = [
            ("name".to_owned(), self.name.as_str().into()),
            ("description".to_owned(), self.description.as_str().into()),
            ("parameters".to_owned(), self.parameters.clone()),
        ];
        map.serialize_entry("function", &Json::Object(function.into()))?;
        map.end()
    }
}
