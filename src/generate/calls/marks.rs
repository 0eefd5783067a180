//! What stands around a call.

/// What a model writes before and after the JSON of a call. The names of special tokens stand for these tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallMarks {
    /// Before the first call of a reply.
    pub open: String,
    /// Before a call that follows another.
    pub next: String,
    /// After each call.
    pub close: String,
}

impl CallMarks {
    /// Calls between these marks, with nothing between two calls.
    pub fn new(open: impl Into<String>, close: impl Into<String>) -> Self {
        let open = open.into();
        CallMarks { next: open.clone(), open, close: close.into() }
    }

    /// The marks of a chat template, from what it makes of some conversations: `render` gives the text of one. `None` if the template
    /// refuses calls, or writes them as something else than `{"name": …, "arguments": {…}}`, each between marks.
    #[cfg(feature = "chat")]
    pub fn of_template(render: impl Fn(&crate::data::Conversation) -> Option<String>) -> Option<Self> {
        use crate::data::{Conversation, Json, ToolCall};
        // Words that no template has.
        let [said, name] = ["zwischenruf", "aufruf"];
        let with_calls = |count: usize| {
            let mut conversation = Conversation::of("Frage", said);
            let id = |at: usize| Some(format!("zzzzzzzz{at}")); // some templates want nine letters
            let call = |at| ToolCall { id: id(at), name: name.to_owned(), arguments: Json::EMPTY.clone() };
            conversation.messages[1].tool_calls = (0..count).map(call).collect();
            let text = render(&conversation)?;
            let after = text.rfind(said)? + said.len();
            Some(text[after..].to_owned())
        };
        let json = format!(r#"{{"name": "{name}", "arguments": {{}}}}"#);
        let (end, one, two) = (with_calls(0)?, with_calls(1)?, with_calls(2)?);
        let (open, rest) = one.split_once(&json)?;
        let close = rest.strip_suffix(&end)?;
        let (_, after_first) = two.split_once(&json)?;
        let (between, _) = after_first.split_once(&json)?;
        let next = between.strip_prefix(close)?;
        // What separates a call from a text before it is part of the text.
        let open = open.trim_start();
        let is_marked = !open.is_empty() && !close.trim().is_empty() && !next.trim().is_empty();
        is_marked.then(|| CallMarks { open: open.to_owned(), next: next.to_owned(), close: close.to_owned() })
    }
}
