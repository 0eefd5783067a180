//! What can be wrong with a file of conversations, and with a record of it.

use std::collections::BTreeMap;
use std::fmt;
use std::io;

use super::LONGEST_RECORD;
use crate::data::DataError;

/// How many malformed records a report shows.
const SHOWN: usize = 3;

/// Why a file of conversations cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConversationsError {
    /// The file cannot be found or read, or is no text.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The file is neither JSON nor a dialogue.
    #[error(
        "{name} begins with {first:?}: a file of conversations is a JSON array, has a JSON object on each line, or has \
         lines that begin with A: and B: in turn"
    )]
    NotConversations {
        /// The file.
        name: String,
        /// The first characters of it.
        first: String,
    },
    /// A malformed record, where none is to be skipped.
    #[error(transparent)]
    Malformed(#[from] MalformedRecord),
    /// No conversation in the file.
    #[error("there is no conversation in {name}. {skipped}")]
    Empty {
        /// The file.
        name: String,
        /// What was skipped.
        skipped: SkippedRecords,
    },
}

/// A record that is no conversation: where, and why.
#[derive(Debug, thiserror::Error)]
#[error("{name}, line {line}, column {column}: {reason}")]
pub struct MalformedRecord {
    /// The file.
    pub name: String,
    /// The line, from 1: for an error of JSON, that of the error; for others, the one in which the record begins.
    pub line: usize,
    /// The column, from 1, in bytes.
    pub column: usize,
    /// What is wrong.
    pub reason: Reason,
}

/// What is wrong with a record. Messages are counted from 1.
#[derive(Debug, thiserror::Error)]
pub enum Reason {
    /// Not JSON.
    #[error("not JSON: {0}. In a file of JSON lines, every record stands on a line of its own")]
    Syntax(String),
    /// Longer than a record may be.
    #[error("the record is longer than {LONGEST_RECORD} bytes")]
    TooLong,
    /// The file ends within an array.
    #[error(
        "the file ends in the middle of its JSON array: was it cut off, or is a quote or a bracket missing here?"
    )]
    CutOff,
    /// Something after the end of the array.
    #[error("the JSON array has ended, but the file goes on: put all records into one array")]
    AfterArray,
    /// The file could not be read further.
    #[error("the file cannot be read further: {0}")]
    Io(io::Error),
    /// A record that is no object.
    #[error("the record is {0}, where an object is needed")]
    NotObject(&'static str),
    /// None of the formats that are known.
    #[error(
        "unknown format: the keys are {keys}. A record has `messages` or `conversations`, or `instruction` with `response` \
         or `output`"
    )]
    UnknownFormat {
        /// The keys of the record.
        keys: String,
    },
    /// A key that the format of the file needs.
    #[error("`{0}` is missing, which the records of this file have")]
    Missing(&'static str),
    /// A value of the wrong type.
    #[error("`{field}` is {have}, where {need} is needed")]
    WrongType {
        /// Where the value stands.
        field: String,
        /// What would be right.
        need: &'static str,
        /// What it is.
        have: &'static str,
    },
    /// Nothing but white space.
    #[error("`{0}` is empty")]
    Empty(String),
    /// A message of nobody who is known.
    #[error("message {message} has the role {role:?}: the roles are system, user, assistant and tool")]
    UnknownRole {
        /// The number of the message.
        message: usize,
        /// Its role.
        role: String,
    },
    /// A message that cannot stand where it does.
    #[error(
        "message {message} ({role}) cannot follow {after}: after the system prompt, user and assistant take turns, and \
         results follow tool calls"
    )]
    Order {
        /// The number of the message.
        message: usize,
        /// Its role.
        role: &'static str,
        /// The role before it.
        after: &'static str,
    },
    /// Nothing that the assistant says.
    #[error("the assistant says nothing, so there is nothing to learn")]
    NoReply,
    /// A part of a message that is no text.
    #[error("message {message} has a part of the type {kind:?}: only text can be read")]
    NotText {
        /// The number of the message.
        message: usize,
        /// The type of the part.
        kind: String,
    },
    /// Arguments that are no JSON object.
    #[error("the arguments of {tool} in message {message} are not a JSON object: {problem}")]
    Arguments {
        /// The number of the message.
        message: usize,
        /// The tool that is called.
        tool: String,
        /// What they are.
        problem: String,
    },
    /// A line of a dialogue.
    #[error("a line of a dialogue begins with A: and B: in turn, but this one is {0:?}")]
    Utterance(String),
}

impl Reason {
    /// A name for all errors of this kind, to count them by.
    pub fn kind(&self) -> &'static str {
        match self {
            Reason::Syntax(_) => "not JSON",
            Reason::TooLong => "too long",
            Reason::CutOff => "cut off",
            Reason::AfterArray => "text after the array",
            Reason::Io(_) => "cannot be read",
            Reason::NotObject(_) => "not an object",
            Reason::UnknownFormat { .. } => "unknown format",
            Reason::Missing(_) => "missing key",
            Reason::WrongType { .. } => "wrong type",
            Reason::Empty(_) => "empty",
            Reason::UnknownRole { .. } => "unknown role",
            Reason::Order { .. } => "order of messages",
            Reason::NoReply => "no reply",
            Reason::NotText { .. } => "not text",
            Reason::Arguments { .. } => "arguments of a tool call",
            Reason::Utterance(_) => "not a dialogue",
        }
    }
}

/// Malformed records that were skipped, counted by the kind of their error. As text, the first few of them are shown.
#[derive(Debug, Default)]
pub struct SkippedRecords {
    counts: BTreeMap<&'static str, usize>,
    first: Vec<MalformedRecord>,
}

impl SkippedRecords {
    /// Counts a record.
    pub fn add(&mut self, record: MalformedRecord) {
        *self.counts.entry(record.reason.kind()).or_default() += 1;
        if self.first.len() < SHOWN {
            self.first.push(record);
        }
    }

    /// How many records there are.
    pub fn count(&self) -> usize {
        self.counts.values().sum()
    }

    /// How many there are of each [`Reason::kind`], in alphabetical order.
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, usize)> {
        self.counts.iter().map(|(kind, count)| (*kind, *count))
    }

    /// The first few of them.
    pub fn first(&self) -> &[MalformedRecord] {
        &self.first
    }
}

impl fmt::Display for SkippedRecords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.counts.is_empty() {
            return f.write_str("no record was skipped");
        }
        write!(f, "{} malformed records were skipped", self.count())?;
        for (at, (kind, count)) in self.counts().enumerate() {
            write!(f, "{} {count} {kind}", if at == 0 { ":" } else { "," })?;
        }
        for record in &self.first {
            write!(f, "\n  {record}")?;
        }
        if self.count() > self.first.len() {
            write!(f, "\n  …")?;
        }
        Ok(())
    }
}
