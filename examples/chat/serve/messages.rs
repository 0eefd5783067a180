//! The messages of a conversation and the tools that are offered in it, as requests spell them and as templates need them.

use gradus::data::{Json, Tool};
use gradus::generate::Guide;
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

/// The tools that are offered, as templates need them, and with the schemas that their calls are held to.
pub struct Tools {
    pub json: Value,
    pub list: Vec<Tool>,
}

/// The tools that are offered: `null` and an empty list are none.
pub fn tools(fields: &mut Fields) -> Result<Option<Tools>, ApiError> {
    let items = fields.list("tools")?.unwrap_or_default();
    let mut tools = Tools { json: json!([]), list: Vec::new() };
    for (at, item) in items.into_iter().enumerate() {
        let (declared, tool) = tool(&format!("tools[{at}]"), item)?;
        if tools.list.iter().any(|other| other.name == tool.name) {
            let problem = format!("there is a tool {} before it already", tool.name);
            return Err(ApiError::field(format!("tools[{at}].function.name"), problem));
        }
        tools.json.as_array_mut().expect("a list").push(declared);
        tools.list.push(tool);
    }
    Ok(Some(tools).filter(|tools| !tools.list.is_empty()))
}

/// A tool. Calls of one whose schema says more than is understood here may have any arguments, unless they were to be `strict`.
fn tool(at: &str, item: Value) -> Result<(Value, Tool), ApiError> {
    let mut fields = Fields::of(at, item)?;
    function_type(&mut fields)?;
    let declared = fields.required("function")?;
    fields.end()?;
    let mut function = Fields::of(&format!("{at}.function"), declared.clone())?;
    let name = name(&mut function)?;
    let description = function.text("description")?.unwrap_or_default();
    let parameters =
        function.any("parameters").unwrap_or_else(|| json!({"type": "object", "properties": {}}));
    if !parameters.is_object() {
        let problem = format!("it is to be a JSON schema, which is an object, not {}", kind(&parameters));
        return Err(ApiError::field(function.name("parameters"), problem));
    }
    let strict = function.flag("strict")? == Some(true);
    let place = function.name("parameters");
    function.end()?;
    let mut tool = Tool { name, description, parameters: in_order(parameters) };
    if let Err(problem) = Guide::call(std::slice::from_ref(&tool)) {
        if strict {
            return Err(ApiError::unsupported(place, format!("arguments cannot be held to it: {problem}")));
        }
        tool.parameters = in_order(json!({"type": "object"}));
    }
    Ok((json!({"type": "function", "function": declared}), tool))
}

/// JSON that keeps the order of its keys.
fn in_order(value: Value) -> Json {
    serde_json::from_value(value).expect("it is JSON already")
}

/// The schema that the whole reply is held to, if it is to be JSON.
pub fn response_format(fields: &mut Fields) -> Result<Option<Json>, ApiError> {
    let Some(value) = fields.any("response_format") else { return Ok(None) };
    let mut format = Fields::of("response_format", value)?;
    let schema = match format.text("type")?.as_deref() {
        Some("text") => None,
        Some("json_object") => Some(json!({"type": "object"})),
        Some("json_schema") => {
            let mut named = Fields::of("response_format.json_schema", format.required("json_schema")?)?;
            name(&mut named)?;
            named.text("description")?;
            named.flag("strict")?;
            let schema = named.required("schema")?;
            named.end()?;
            Some(schema)
        }
        _ => {
            let problem = "it is to be \"text\", \"json_object\" or \"json_schema\"";
            return Err(ApiError::field("response_format.type", problem));
        }
    };
    format.end()?;
    let Some(schema) = schema else { return Ok(None) };
    let place = "response_format.json_schema.schema";
    if schema.get("type") != Some(&json!("object")) {
        return Err(ApiError::field(place, "its type is to be \"object\""));
    }
    let schema = in_order(schema);
    match Guide::value(&schema) {
        Ok(_) => Ok(Some(schema)),
        Err(problem) => Err(ApiError::unsupported(place, format!("a reply cannot be held to it: {problem}"))),
    }
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
