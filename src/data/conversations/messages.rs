//! Messages, tool calls and tools, in the spellings that are common.
//!
//! The OpenAI API has `role` and `content`, ShareGPT `from` and `value`; both are read everywhere. Contents stay as they are,
//! letter by letter.

use super::{Conversation, Json, Message, Reason, Role, Tool, ToolCall};

/// A conversation from a list of messages, and from the keys beside it: `tools` and `system`.
pub(super) fn conversation(key: &'static str, record: &Json) -> Result<Conversation, Reason> {
    let list = record.get(key).ok_or(Reason::Missing(key))?;
    let list = list.as_array().ok_or_else(|| wrong(key, "an array", list))?;
    let mut messages = Vec::with_capacity(list.len() + 1);
    let first_is_system =
        list.first().and_then(|first| either(first, "role", "from")).and_then(Json::as_str) == Some("system");
    if !first_is_system
        && let Some(Json::String(system)) = record.get("system")
        && !system.is_empty()
    {
        messages.push(Message::new(Role::System, system.as_str()));
    }
    for (json, at) in list.iter().zip(1..) {
        messages.push(message(json, at)?);
    }
    let tools = match record.get("tools").or_else(|| record.get("functions")) {
        None | Some(Json::Null) => Vec::new(),
        Some(Json::String(text)) if text.trim().is_empty() => Vec::new(),
        // Tables have no place for nested values, so data sets that come from tables have JSON in a string.
        Some(Json::String(text)) => {
            let json = text.parse().map_err(|error: serde_json::Error| Reason::Syntax(problem(&error)))?;
            tools(&json)?
        }
        Some(json) => tools(json)?,
    };
    let conversation = Conversation { messages, tools };
    conversation.check()?;
    Ok(conversation)
}

/// A list of tools: `{"type": "function", "function": {"name", "description", "parameters"}}`, or only what is inside.
///
/// # Errors
/// [`Reason::WrongType`] or [`Reason::Missing`].
pub(super) fn tools(json: &Json) -> Result<Vec<Tool>, Reason> {
    let list = json.as_array().ok_or_else(|| wrong("tools", "an array", json))?;
    list.iter().map(tool).collect()
}

fn tool(json: &Json) -> Result<Tool, Reason> {
    let function = json.get("function").unwrap_or(json);
    let text = |key: &'static str| match function.get(key) {
        Some(Json::String(text)) => Ok(Some(text.clone())),
        Some(other) => Err(wrong(&format!("tools.{key}"), "a string", other)),
        None => Ok(None),
    };
    let name = text("name")?.ok_or(Reason::Missing("tools.name"))?;
    let description = text("description")?.unwrap_or_default();
    let parameters = match function.get("parameters") {
        Some(schema @ Json::Object(_)) => schema.clone(),
        None | Some(Json::Null) => Json::EMPTY.clone(),
        Some(other) => return Err(wrong("tools.parameters", "an object", other)),
    };
    Ok(Tool { name, description, parameters })
}

fn message(json: &Json, at: usize) -> Result<Message, Reason> {
    let field = |key: &str| format!("messages[{at}].{key}");
    if !matches!(json, Json::Object(_)) {
        return Err(wrong(&format!("messages[{at}]"), "an object", json));
    }
    let role = match either(json, "role", "from") {
        Some(Json::String(role)) => role.as_str(),
        Some(other) => return Err(wrong(&field("role"), "a string", other)),
        None => return Err(Reason::Missing("role")),
    };
    let text = match either(json, "content", "value") {
        None | Some(Json::Null) => None,
        Some(Json::String(text)) => Some(text.clone()),
        Some(Json::Array(parts)) => {
            Some(parts.iter().map(|part| text_of(part, at)).collect::<Result<_, _>>()?)
        }
        Some(other) => return Err(wrong(&field("content"), "a string", other)),
    };
    let optional = |key: &str| json.get(key).and_then(Json::as_str).map(str::to_owned);
    let mut message = Message::new(role_of(role, at)?, "");
    message.name = optional("name");
    message.tool_call_id = optional("tool_call_id");
    match json.get("tool_calls") {
        None | Some(Json::Null) => {}
        Some(Json::Array(calls)) => {
            message.tool_calls = calls.iter().map(|json| call(json, at)).collect::<Result<_, _>>()?;
        }
        Some(other) => return Err(wrong(&field("tool_calls"), "an array", other)),
    }
    if let Some(function @ Json::Object(_)) = json.get("function_call") {
        message.tool_calls.push(call(function, at)?);
    }
    if role == "function_call" {
        // The call is the text. Written by LLaMA-Factory and others.
        let text = text.ok_or(Reason::Missing("value"))?;
        let json = text.parse().map_err(|error: serde_json::Error| Reason::Arguments {
            message: at,
            tool: "a function".to_owned(),
            problem: problem(&error),
        })?;
        message.tool_calls = match &json {
            Json::Array(calls) => calls.iter().map(|json| call(json, at)).collect::<Result<_, _>>()?,
            one => vec![call(one, at)?],
        };
        return Ok(message);
    }
    message.content = match text {
        Some(text) => text,
        None if message.tool_calls.is_empty() => return Err(Reason::Missing("content")),
        None => String::new(),
    };
    // A result may be empty, and so may be what is said beside a call.
    let silent = message.content.trim().is_empty() && message.tool_calls.is_empty();
    if silent && message.role != Role::Tool {
        return Err(Reason::Empty(field("content")));
    }
    Ok(message)
}

fn role_of(name: &str, at: usize) -> Result<Role, Reason> {
    Ok(match name {
        "system" | "developer" => Role::System,
        "user" | "human" => Role::User,
        "assistant" | "gpt" | "chatgpt" | "model" | "bot" | "function_call" => Role::Assistant,
        "tool" | "function" | "observation" => Role::Tool,
        _ => return Err(Reason::UnknownRole { message: at, role: name.chars().take(40).collect() }),
    })
}

/// The text of a part: `{"type": "text", "text": …}`.
fn text_of(part: &Json, at: usize) -> Result<String, Reason> {
    match (part, part.get("text")) {
        (Json::String(text), _) | (_, Some(Json::String(text))) => Ok(text.clone()),
        _ => {
            let kind = part.get("type").and_then(Json::as_str).unwrap_or(part.kind());
            Err(Reason::NotText { message: at, kind: kind.chars().take(40).collect() })
        }
    }
}

/// A call: `{"id", "type": "function", "function": {"name", "arguments"}}`, or only the last part. The arguments are an object,
/// or JSON in a string.
fn call(json: &Json, at: usize) -> Result<ToolCall, Reason> {
    let function = json.get("function").unwrap_or(json);
    let name = match function.get("name") {
        Some(Json::String(name)) => name.clone(),
        Some(other) => return Err(wrong("tool_calls.name", "a string", other)),
        None => return Err(Reason::Missing("tool_calls.name")),
    };
    let refuse =
        |problem: String| Reason::Arguments { message: at, tool: name.chars().take(40).collect(), problem };
    let arguments = match function.get("arguments").or_else(|| function.get("parameters")) {
        None | Some(Json::Null) => Json::EMPTY.clone(),
        Some(Json::String(text)) if text.trim().is_empty() => Json::EMPTY.clone(),
        Some(Json::String(text)) => {
            text.parse().map_err(|error: serde_json::Error| refuse(problem(&error)))?
        }
        Some(json) => json.clone(),
    };
    if !matches!(arguments, Json::Object(_)) {
        return Err(refuse(arguments.kind().to_owned()));
    }
    let id = json.get("id").and_then(Json::as_str).map(str::to_owned);
    Ok(ToolCall { id, name, arguments })
}

fn either<'a>(json: &'a Json, key: &str, other: &str) -> Option<&'a Json> {
    json.get(key).or_else(|| json.get(other))
}

pub(super) fn wrong(field: &str, need: &'static str, have: &Json) -> Reason {
    Reason::WrongType { field: field.to_owned(), need, have: have.kind() }
}

/// What is wrong with JSON, without the place.
pub(super) fn problem(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rfind(" at line ").map_or(text.clone(), |end| text[..end].to_owned())
}
