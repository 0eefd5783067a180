//! The fields of a JSON object, taken out one by one. What is left at the end is known to nobody, and refused: a field that is
//! silently ignored would be a setting that somebody believes in.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use super::error::ApiError;

/// An object, of which fields are taken.
pub struct Fields {
    /// Where it stands in the request, for messages: `messages[2].`
    at: String,
    left: Map<String, Value>,
}

impl Fields {
    /// The body of a request.
    pub fn of_body(body: &[u8]) -> Result<Self, ApiError> {
        let value = serde_json::from_slice(body)
            .map_err(|error| ApiError::invalid(format!("the body is not JSON: {error}")))?;
        match value {
            Value::Object(left) => Ok(Fields { at: String::new(), left }),
            other => Err(ApiError::invalid(format!("the body is to be an object, not {}", kind(&other)))),
        }
    }

    /// An object within it.
    pub fn of(at: &str, value: Value) -> Result<Self, ApiError> {
        match value {
            Value::Object(left) => Ok(Fields { at: format!("{at}."), left }),
            other => Err(ApiError::field(at, format!("it is to be an object, not {}", kind(&other)))),
        }
    }

    /// The whole name of a field.
    pub fn name(&self, field: &str) -> String {
        format!("{}{field}", self.at)
    }

    /// A field of any type; `null` counts as none.
    pub fn any(&mut self, field: &str) -> Option<Value> {
        self.left.remove(field).filter(|value| !value.is_null())
    }

    /// A field that cannot be missing.
    pub fn required(&mut self, field: &str) -> Result<Value, ApiError> {
        self.any(field).ok_or_else(|| ApiError::field(self.name(field), "it is missing"))
    }

    /// Text.
    pub fn text(&mut self, field: &str) -> Result<Option<String>, ApiError> {
        match self.any(field) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.wrong(field, "a string", &other)),
        }
    }

    /// Yes or no.
    pub fn flag(&mut self, field: &str) -> Result<Option<bool>, ApiError> {
        match self.any(field) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(flag)),
            Some(other) => Err(self.wrong(field, "true or false", &other)),
        }
    }

    /// A number.
    pub fn number(&mut self, field: &str, range: RangeInclusive<f64>) -> Result<Option<f64>, ApiError> {
        let Some(value) = self.any(field) else { return Ok(None) };
        match value.as_f64() {
            Some(x) if range.contains(&x) => Ok(Some(x)),
            _ => {
                Err(self.wrong(field, &format!("a number from {} to {}", range.start(), range.end()), &value))
            }
        }
    }

    /// A whole number.
    pub fn whole(&mut self, field: &str, range: RangeInclusive<usize>) -> Result<Option<usize>, ApiError> {
        let Some(value) = self.any(field) else { return Ok(None) };
        match value.as_u64().and_then(|n| usize::try_from(n).ok()) {
            Some(n) if range.contains(&n) => Ok(Some(n)),
            _ => Err(self.wrong(
                field,
                &format!("a whole number from {} to {}", range.start(), range.end()),
                &value,
            )),
        }
    }

    /// A list.
    pub fn list(&mut self, field: &str) -> Result<Option<Vec<Value>>, ApiError> {
        match self.any(field) {
            None => Ok(None),
            Some(Value::Array(items)) => Ok(Some(items)),
            Some(other) => Err(self.wrong(field, "a list", &other)),
        }
    }

    /// A field that can only have a value that changes nothing.
    pub fn only(&mut self, field: &str, allowed: &[Value]) -> Result<(), ApiError> {
        match self.any(field) {
            Some(value) if !allowed.iter().any(|same| equal(same, &value)) => {
                let allowed: Vec<String> = allowed.iter().map(Value::to_string).collect();
                let problem = format!("this server only knows {}: leave it out", allowed.join(" or "));
                Err(ApiError::unsupported(self.name(field), problem))
            }
            _ => Ok(()),
        }
    }

    /// Fields that change nothing about the answer.
    pub fn ignore(&mut self, fields: &[&str]) {
        fields.iter().for_each(|field| drop(self.left.remove(*field)));
    }

    /// Nothing is left.
    pub fn end(self) -> Result<(), ApiError> {
        match self.left.iter().find(|(_, value)| !value.is_null()) {
            None => Ok(()),
            Some((field, _)) => Err(ApiError::unsupported(
                self.name(field),
                "this server does not know the field: leave it out",
            )),
        }
    }

    fn wrong(&self, field: &str, expected: &str, value: &Value) -> ApiError {
        let shown = match value {
            Value::Number(number) => number.to_string(),
            other => kind(other).to_owned(),
        };
        ApiError::field(self.name(field), format!("it is to be {expected}, not {shown}"))
    }
}

/// Whether two values are the same, numbers by what they are worth.
fn equal(a: &Value, b: &Value) -> bool {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => a == b,
        _ => a == b,
    }
}

/// What kind of value it is.
pub fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
