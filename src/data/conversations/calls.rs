//! What a model wrote as a call of a tool: read, and checked against the tools that there are.

use super::{Json, SchemaError, Tool, ToolCall, check_arguments, messages};

/// Why something is no call that can be made. The message says what would be right, so that a model may try again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// It is no JSON.
    #[error("the call is not JSON: {0}")]
    NotJson(String),
    /// It is JSON, but no call.
    #[error("a call is {{\"name\": …, \"arguments\": {{…}}}}, but {0}")]
    NotACall(String),
    /// It is of a tool that there is not.
    #[error("there is no tool {name}, only {known}")]
    UnknownTool {
        /// The tool.
        name: String,
        /// Those that there are.
        known: String,
    },
    /// Its arguments do not fit to the schema of its tool.
    #[error("wrong arguments of {name}: {problem}")]
    Arguments {
        /// The tool.
        name: String,
        /// What does not fit.
        problem: SchemaError,
    },
}

/// Reads a call as a model writes it: `{"name": …, "arguments": {…}}`. Whether there is such a tool is not looked at.
///
/// ```
/// let call = gradus::data::parse_call(r#"{"name": "roll", "arguments": {"sides": 6}}"#)?;
/// assert_eq!((call.name.as_str(), call.arguments.to_string().as_str()), ("roll", r#"{"sides":6}"#));
/// # Ok::<(), gradus::data::CallError>(())
/// ```
///
/// # Errors
/// [`CallError::NotJson`] or [`CallError::NotACall`].
pub fn parse_call(text: &str) -> Result<ToolCall, CallError> {
    let json: Json =
        text.parse().map_err(|error: serde_json::Error| CallError::NotJson(messages::problem(&error)))?;
    let no_call = |problem: &str| CallError::NotACall(problem.to_owned());
    let Json::Object(entries) = &json else { return Err(no_call(&format!("this is {}", json.kind()))) };
    let Some(name) = json.get("name").and_then(Json::as_str) else {
        return Err(no_call("`name` is missing, or no string"));
    };
    let Some(arguments @ Json::Object(_)) = json.get("arguments") else {
        return Err(no_call("`arguments` is missing, or no object"));
    };
    match entries.iter().find(|(key, _)| key != "name" && key != "arguments") {
        Some((key, _)) => Err(no_call(&format!("this has a `{key}`"))),
        None => Ok(ToolCall { id: None, name: name.to_owned(), arguments: arguments.clone() }),
    }
}

/// Checks a call against the tools that there are, and returns its tool.
///
/// # Errors
/// [`CallError::UnknownTool`] or [`CallError::Arguments`].
pub fn check_call<'a>(tools: &'a [Tool], call: &ToolCall) -> Result<&'a Tool, CallError> {
    let name = call.name.clone();
    let Some(tool) = tools.iter().find(|tool| tool.name == name) else {
        let known = tools.iter().map(|tool| tool.name.as_str()).collect::<Vec<_>>().join(", ");
        return Err(CallError::UnknownTool { name, known });
    };
    match check_arguments(&tool.parameters, &call.arguments) {
        Ok(()) => Ok(tool),
        Err(problem) => Err(CallError::Arguments { name, problem }),
    }
}
