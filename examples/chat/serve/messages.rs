//! The messages of a conversation and the tools that are offered in it, as requests spell them and as templates need them.

use serde_json::{Map, Value, json};

use super::error::ApiError;
use super::fields::{Fields, kind};

/// The messages of a request, as a list of objects for a template.
pub fn messages(fields: &mut Fields) -> Result<Value, ApiError> {
    let Some(items) = fields.list("messages")? else {
        return Err(ApiError::field("messages", "it is missing"));
    };
    if items.is_empty() {
        return Err(ApiError::field("messages", "there is none: send at least one of the user"));
    }
    items.into_iter().enumerate().map(|(at, item)| message(&format!("messages[{at}]"), item)).collect()
}

fn message(at: &str, item: Value) -> Result<Value, ApiError> {
    let mut fields = Fields::of(at, item)?;
    let role = fields.text("role")?.unwrap_or_default();
    let role = match role.as_str() {
        "system" | "developer" => "system",
        "user" | "assistant" | "tool" => role.as_str(),
        _ => {
            let problem = "it is to be \"system\", \"developer\", \"user\", \"assistant\" or \"tool\"";
            return Err(ApiError::field(fields.name("role"), problem));
        }
    };
    let mut message = Map::new();
    message.insert("role".to_owned(), role.into());
    let calls = match role {
        "assistant" => fields.list("tool_calls")?.unwrap_or_default(),
        _ => Vec::new(),
    };
    let content = match fields.any("content") {
        Some(content) => text(&fields.name("content"), content)?,
        None if !calls.is_empty() => String::new(),
        None => return Err(ApiError::field(fields.name("content"), "it is missing")),
    };
    message.insert("content".to_owned(), content.into());
    if let Some(name) = fields.text("name")? {
        message.insert("name".to_owned(), name.into());
    }
    if role == "tool" {
        let id = fields.text("tool_call_id")?.unwrap_or_default();
        message.insert("tool_call_id".to_owned(), id.into());
    }
    if !calls.is_empty() {
        let calls = calls.into_iter().enumerate();
        let calls: Result<Value, ApiError> =
            calls.map(|(nth, item)| call(&format!("{at}.tool_calls[{nth}]"), item)).collect();
        message.insert("tool_calls".to_owned(), calls?);
    }
    fields.ignore(&["annotations"]); // clients send back what they got
    fields.end()?;
    Ok(Value::Object(message))
}

/// A text, or the texts of several parts.
fn text(at: &str, content: Value) -> Result<String, ApiError> {
    let parts = match content {
        Value::String(text) => return Ok(text),
        Value::Array(parts) => parts,
        other => return Err(ApiError::field(at, format!("it is to be a string, not {}", kind(&other)))),
    };
    let mut all = String::new();
    for (nth, part) in parts.into_iter().enumerate() {
        let mut part = Fields::of(&format!("{at}[{nth}]"), part)?;
        match part.text("type")?.as_deref() {
            Some("text") => {}
            _ => return Err(ApiError::unsupported(part.name("type"), "this model only reads \"text\"")),
        }
        match part.text("text")? {
            Some(text) => all += &text,
            None => return Err(ApiError::field(part.name("text"), "it is missing")),
        }
        part.end()?;
    }
    Ok(all)
}

/// A call that the assistant has made. Requests have its arguments as text, templates as an object.
fn call(at: &str, item: Value) -> Result<Value, ApiError> {
    let mut fields = Fields::of(at, item)?;
    let id = fields.text("id")?.unwrap_or_default();
    function_type(&mut fields)?;
    let mut function = Fields::of(&fields.name("function"), fields.required("function")?)?;
    fields.end()?;
    let name = name(&mut function)?;
    let arguments = match function.required("arguments")? {
        Value::String(text) => serde_json::from_str(&text).unwrap_or(Value::Null),
        other => other,
    };
    if !arguments.is_object() {
        let problem = "it is to be an object, written as JSON in a string";
        return Err(ApiError::field(function.name("arguments"), problem));
    }
    function.end()?;
    Ok(json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}))
}

/// The tools that are offered: `null` and an empty list are none.
pub fn tools(fields: &mut Fields) -> Result<Option<Value>, ApiError> {
    let items = fields.list("tools")?.unwrap_or_default();
    let tools: Result<Vec<Value>, ApiError> =
        items.into_iter().enumerate().map(|(at, item)| tool(&format!("tools[{at}]"), item)).collect();
    Ok(Some(tools?).filter(|tools| !tools.is_empty()).map(Value::Array))
}

fn tool(at: &str, item: Value) -> Result<Value, ApiError> {
    let mut fields = Fields::of(at, item)?;
    function_type(&mut fields)?;
    let declared = fields.required("function")?;
    fields.end()?;
    let mut function = Fields::of(&format!("{at}.function"), declared.clone())?;
    name(&mut function)?;
    function.text("description")?;
    if let Some(parameters) = function.any("parameters").filter(|parameters| !parameters.is_object()) {
        let problem = format!("it is to be a JSON schema, which is an object, not {}", kind(&parameters));
        return Err(ApiError::field(function.name("parameters"), problem));
    }
    if function.flag("strict")? == Some(true) {
        return Err(ApiError::unsupported(
            function.name("strict"),
            "this server does not force arguments into a schema",
        ));
    }
    function.end()?;
    Ok(json!({"type": "function", "function": declared}))
}

/// The only type that there is.
fn function_type(fields: &mut Fields) -> Result<(), ApiError> {
    match fields.text("type")?.as_deref() {
        None | Some("function") => Ok(()),
        Some(_) => Err(ApiError::unsupported(fields.name("type"), "this server only knows \"function\"")),
    }
}

fn name(function: &mut Fields) -> Result<String, ApiError> {
    let name = function.text("name")?.filter(|name| !name.is_empty());
    name.ok_or_else(|| ApiError::field(function.name("name"), "it is missing"))
}
