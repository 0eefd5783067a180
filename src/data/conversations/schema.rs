//! The part of JSON Schema (draft 2020-12) that describes the arguments of tools.
//!
//! It is `type`, `enum`, `required`, `properties`, `additionalProperties` (true or false), `items`, `minItems`, `maxItems`,
//! `minimum` and `maximum`; and `description`, `title`, `default` and `examples`, which restrict nothing. Other keys are
//! refused when a schema is checked, since a rule that is passed over in silence is no rule.

use super::Json;

const TYPES: [&str; 7] = ["object", "array", "string", "integer", "number", "boolean", "null"];

/// A schema that cannot be used, or a value that does not fit to one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {problem}", if place.is_empty() { "the value itself" } else { place })]
pub struct SchemaError {
    /// Where: `.items[2].unit`, or nothing for the whole value.
    pub place: String,
    /// What is wrong there.
    pub problem: String,
}

fn error<T>(place: &str, problem: String) -> Result<T, SchemaError> {
    Err(SchemaError { place: place.to_owned(), problem })
}

/// Checks that a schema says nothing but what [`check_arguments`] understands.
///
/// # Errors
/// The place in the schema, and what cannot be used there.
pub fn check_schema(schema: &Json) -> Result<(), SchemaError> {
    schema_at("", schema)
}

fn schema_at(place: &str, schema: &Json) -> Result<(), SchemaError> {
    if !matches!(schema, Json::Object(_)) {
        return error(place, format!("a schema is an object, not {}", schema.kind()));
    }
    for (key, value) in schema.entries() {
        let fits = match key.as_str() {
            "type" => {
                let known = |name: &Json| name.as_str().is_some_and(|name| TYPES.contains(&name));
                known(value)
                    || value.as_array().is_some_and(|names| !names.is_empty() && names.iter().all(known))
            }
            "enum" => value.as_array().is_some_and(|values| !values.is_empty()),
            "required" => {
                value.as_array().is_some_and(|names| names.iter().all(|name| name.as_str().is_some()))
            }
            "properties" => {
                for (name, property) in value.entries() {
                    schema_at(&format!("{place}.{name}"), property)?;
                }
                matches!(value, Json::Object(_))
            }
            "additionalProperties" => matches!(value, Json::Bool(_)),
            "items" => {
                schema_at(&format!("{place}[]"), value)?;
                true
            }
            "minimum" | "maximum" => matches!(value, Json::Number(_)),
            "minItems" | "maxItems" => matches!(value, Json::Number(number) if number.is_u64()),
            "description" | "title" => matches!(value, Json::String(_)),
            "default" | "examples" => true,
            _ => return error(place, format!("`{key}` is none of the keys that are checked")),
        };
        if !fits {
            return error(place, format!("`{key}` cannot be {value}"));
        }
    }
    if let Some(Json::Array(names)) = schema.get("required") {
        let properties = schema.get("properties").unwrap_or(Json::EMPTY);
        let unknown = names.iter().filter_map(Json::as_str).find(|name| properties.get(name).is_none());
        if let Some(name) = unknown {
            return error(place, format!("`{name}` is required, but no property"));
        }
    }
    Ok(())
}

/// Checks a value, such as the arguments of a tool call, against a schema.
///
/// ```
/// use gradus::data::{Json, check_arguments};
/// let schema: Json =
///     r#"{"type": "object", "properties": {"sides": {"type": "integer", "minimum": 2}}, "required": ["sides"]}"#.parse()?;
/// let check = |arguments: &str| check_arguments(&schema, &arguments.parse().unwrap());
/// assert!(check(r#"{"sides": 6}"#).is_ok());
/// assert_eq!(check(r#"{"sides": 1}"#).unwrap_err().to_string(), ".sides: 1 is less than 2");
/// assert_eq!(check("{}").unwrap_err().to_string(), "the value itself: `sides` is missing");
/// # Ok::<(), serde_json::Error>(())
/// ```
///
/// # Errors
/// The first place that does not fit, and why.
pub fn check_arguments(schema: &Json, value: &Json) -> Result<(), SchemaError> {
    value_at("", schema, value)
}

fn value_at(place: &str, schema: &Json, value: &Json) -> Result<(), SchemaError> {
    match schema.get("type") {
        Some(Json::String(name)) if !is_of(value, name) => {
            return error(place, format!("{} is needed, not {}", with_article(name), value.kind()));
        }
        Some(Json::Array(names)) if !names.iter().filter_map(Json::as_str).any(|name| is_of(value, name)) => {
            let names: Vec<_> = names.iter().filter_map(Json::as_str).collect();
            return error(place, format!("{} is needed, not {}", names.join(" or "), value.kind()));
        }
        _ => {}
    }
    if let Some(Json::Array(allowed)) = schema.get("enum")
        && !allowed.iter().any(|one| same(one, value))
    {
        let allowed: Vec<_> = allowed.iter().map(Json::to_string).collect();
        return error(place, format!("{value} is none of {}", allowed.join(", ")));
    }
    let bound = |key| schema.get(key).and_then(Json::as_f64);
    if let Some(number) = value.as_f64() {
        if let Some(least) = bound("minimum").filter(|least| number < *least) {
            return error(place, format!("{value} is less than {least}"));
        }
        if let Some(most) = bound("maximum").filter(|most| number > *most) {
            return error(place, format!("{value} is more than {most}"));
        }
    }
    if let Json::Array(items) = value {
        let count = items.len() as f64;
        if let Some(least) = bound("minItems").filter(|least| count < *least) {
            return error(place, format!("{count} items, but at least {least} are needed"));
        }
        if let Some(most) = bound("maxItems").filter(|most| count > *most) {
            return error(place, format!("{count} items, but at most {most} are allowed"));
        }
        if let Some(schema) = schema.get("items") {
            for (at, item) in items.iter().enumerate() {
                value_at(&format!("{place}[{at}]"), schema, item)?;
            }
        }
    }
    if let Json::Object(entries) = value {
        let required = schema.get("required").and_then(Json::as_array).unwrap_or(&[]);
        if let Some(name) = required.iter().filter_map(Json::as_str).find(|name| value.get(name).is_none()) {
            return error(place, format!("`{name}` is missing"));
        }
        let properties = schema.get("properties").unwrap_or(Json::EMPTY);
        let closed = schema.get("additionalProperties") == Some(&Json::Bool(false));
        for (key, value) in entries {
            match properties.get(key) {
                Some(schema) => value_at(&format!("{place}.{key}"), schema, value)?,
                None if closed => {
                    let known: Vec<_> = properties.entries().iter().map(|(key, _)| key.as_str()).collect();
                    return error(place, format!("there is no `{key}`, only {}", known.join(", ")));
                }
                None => {}
            }
        }
    }
    Ok(())
}

/// Whether a value is of a type. A number without a fraction is an integer, however it is written.
fn is_of(value: &Json, name: &str) -> bool {
    match (name, value) {
        ("object", Json::Object(_)) | ("array", Json::Array(_)) | ("string", Json::String(_)) => true,
        ("boolean", Json::Bool(_)) | ("null", Json::Null) | ("number", Json::Number(_)) => true,
        ("integer", value) => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        _ => false,
    }
}

/// Equal as JSON Schema means it: 1 and 1.0 are the same number.
fn same(a: &Json, b: &Json) -> bool {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => a == b,
        _ => a == b,
    }
}

fn with_article(name: &str) -> String {
    let article = if name.starts_with(['a', 'i', 'o']) { "an" } else { "a" };
    format!("{article} {name}")
}
