//! What the API says when it refuses a request.

use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

/// A refusal, in the shape that clients of the API know: `{"error": {"message", "type", "param", "code"}}`.
#[derive(Clone, Debug)]
pub struct ApiError {
    pub status: u16,
    kind: &'static str,
    message: String,
    param: Option<String>,
    code: Option<&'static str>,
}

impl ApiError {
    /// A request that makes no sense.
    pub fn invalid(message: impl fmt::Display) -> Self {
        let kind = "invalid_request_error";
        ApiError { status: 400, kind, message: message.to_string(), param: None, code: None }
    }

    /// A field that has a value that it cannot have.
    pub fn field(param: impl Into<String>, problem: impl fmt::Display) -> Self {
        let param = param.into();
        let error = Self::invalid(format!("{param}: {problem}"));
        ApiError { param: Some(param), ..error }
    }

    /// A field that is known to nobody, or not to this server.
    pub fn unsupported(param: impl Into<String>, problem: impl fmt::Display) -> Self {
        ApiError { code: Some("unsupported_parameter"), ..Self::field(param, problem) }
    }

    /// More than the model can read.
    pub fn too_long(message: impl fmt::Display) -> Self {
        ApiError { code: Some("context_length_exceeded"), ..Self::invalid(message) }
    }

    /// Something that is not the request's fault, or not that of its JSON.
    pub fn status(status: u16, code: &'static str, message: impl fmt::Display) -> Self {
        let kind = match status {
            408 => "timeout_error",
            429 => "rate_limit_error",
            500.. => "server_error",
            _ => "invalid_request_error",
        };
        ApiError { status, kind, message: message.to_string(), param: None, code: Some(code) }
    }

    /// A request that takes too long to arrive.
    pub fn slow(limit: Duration) -> Self {
        Self::status(408, "request_timeout", format!("the request did not arrive within {}", in_words(limit)))
    }

    /// A reply that takes too long.
    pub fn reply_timeout(limit: Duration) -> Self {
        let problem = format!("the reply was not complete after {}: ask for fewer tokens", in_words(limit));
        Self::status(408, "reply_timeout", problem)
    }

    /// As JSON.
    pub fn json(&self) -> Value {
        let ApiError { kind, message, param, code, .. } = self;
        json!({"error": {"message": message, "type": kind, "param": param, "code": code}})
    }
}

fn in_words(time: Duration) -> String {
    match time.as_secs() {
        1 => "1 second".to_owned(),
        count => format!("{count} seconds"),
    }
}
