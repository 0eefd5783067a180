//! Tool calls: whether a model calls the right tool with the right arguments, and none where none is needed.

use crate::data::{Json, Tool, ToolCall, check_call, evaluate, parse_call};

/// Results of arithmetic that differ by no more than this share of themselves are the same number.
const TOLERANCE: f64 = 1e-9;

/// How often a model did what a question asks for, as counts: of questions that need a tool, and of others.
///
/// ```
/// use gradus::data::{Json, Tool, ToolCall};
/// use gradus::score::ToolAccuracy;
/// let parameters: Json = r#"{"type": "object", "properties": {"expression": {"type": "string"}}, "required": ["expression"]}"#.parse()?;
/// let tools = [Tool { name: "calculator".to_owned(), description: String::new(), parameters }];
/// let arguments = r#"{"expression": "12 * 34"}"#.parse()?;
/// let expected = ToolCall { id: None, name: "calculator".to_owned(), arguments };
/// let mut accuracy = ToolAccuracy::default();
/// let said = r#"{"name": "calculator", "arguments": {"expression": "34*12"}}"#;
/// assert!(accuracy.add(&tools, Some(&expected), Some(said)).is_right());
/// assert!(!accuracy.add(&tools, Some(&expected), Some("12 * 34")).valid);
/// assert!(accuracy.add(&tools, None, None).is_right());
/// assert_eq!((accuracy.needed, accuracy.called, accuracy.right_arguments), (2, 2, 1));
/// assert_eq!((accuracy.not_needed, accuracy.none_called), (1, 1));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ToolAccuracy {
    /// Questions that need a tool.
    pub needed: usize,
    /// Of those, how often one was called, in whatever way. Each count below is a part of the one above it; but the right tools are
    /// counted among all valid calls.
    pub called: usize,
    /// How often the call is JSON: `{"name": "…", "arguments": {…}}`.
    pub valid: usize,
    /// How often the call is one of a tool that was offered, with arguments that fit to its schema.
    pub fitting: usize,
    /// How often it is a call of the right tool.
    pub right_tool: usize,
    /// How often its arguments are right, too.
    pub right_arguments: usize,
    /// Questions that need no tool.
    pub not_needed: usize,
    /// Of those, how often none was called.
    pub none_called: usize,
}

/// What is right about a reply, as far as tools go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether the question needs a tool.
    pub needed: bool,
    /// Whether one was called.
    pub called: bool,
    /// Whether the call is JSON: `{"name": "…", "arguments": {…}}`.
    pub valid: bool,
    /// Whether it is one of a tool that was offered, with arguments that fit to its schema.
    pub fits: bool,
    /// Whether it is a call of the right tool.
    pub right_tool: bool,
    /// Whether its arguments are right, too.
    pub right_arguments: bool,
}

impl Verdict {
    /// Of a reply to a question that needs the `expected` call, or none. `said` is the text of the first call in the reply, if there
    /// is one; what comes after a first call depends on its result, and is not judged.
    pub fn of(offered: &[Tool], expected: Option<&ToolCall>, said: Option<&str>) -> Self {
        let call = said.and_then(|text| parse_call(text).ok());
        let fits = call.as_ref().is_some_and(|call| check_call(offered, call).is_ok());
        let right = expected.zip(call.as_ref()).filter(|(expected, call)| expected.name == call.name);
        Verdict {
            needed: expected.is_some(),
            called: said.is_some(),
            valid: call.is_some(),
            fits,
            right_tool: right.is_some(),
            right_arguments: right
                .is_some_and(|(expected, call)| same_arguments(&expected.arguments, &call.arguments)),
        }
    }

    /// Whether all is as it should be: the right call, or none where none is needed.
    pub fn is_right(self) -> bool {
        if self.needed { self.right_arguments } else { !self.called }
    }
}

impl ToolAccuracy {
    /// Judges one more reply ([`Verdict::of`]), and counts it.
    pub fn add(&mut self, offered: &[Tool], expected: Option<&ToolCall>, said: Option<&str>) -> Verdict {
        let verdict = Verdict::of(offered, expected, said);
        let Verdict { needed, called, valid, fits, right_tool, right_arguments } = verdict;
        if needed {
            self.needed += 1;
            self.called += usize::from(called);
            self.valid += usize::from(valid);
            self.fitting += usize::from(fits);
            self.right_tool += usize::from(right_tool);
            self.right_arguments += usize::from(right_arguments);
        } else {
            self.not_needed += 1;
            self.none_called += usize::from(!called);
        }
        verdict
    }
}

/// Whether two values mean the same as arguments of a call. Keys may come in any order. Numbers are compared by value: 3 is 3.0, but
/// no text. Texts are compared without white space at their ends and without case. An argument that is called `expression`
/// is arithmetic: `2*3` is the same as `3 * 2`, since both are 6 ([`evaluate`](crate::data::evaluate)).
pub fn same_arguments(a: &Json, b: &Json) -> bool {
    match (a, b) {
        (Json::Number(x), Json::Number(y)) => x == y || a.as_f64().is_some_and(|x| b.as_f64() == Some(x)),
        (Json::String(x), Json::String(y)) => x.trim().to_lowercase() == y.trim().to_lowercase(),
        (Json::Array(x), Json::Array(y)) => {
            x.len() == y.len() && x.iter().zip(y).all(|(x, y)| same_arguments(x, y))
        }
        (Json::Object(x), Json::Object(y)) => {
            let same = |(key, x): &(String, Json)| {
                let y = b.get(key);
                y.is_some_and(|y| same_arguments(x, y) || key == "expression" && same_result(x, y))
            };
            x.len() == y.len() && x.iter().all(same)
        }
        _ => a == b,
    }
}

/// Whether two texts are expressions with the same result.
fn same_result(a: &Json, b: &Json) -> bool {
    let result = |json: &Json| evaluate(json.as_str()?).ok();
    match (result(a), result(b)) {
        (Some(a), Some(b)) => (a - b).abs() <= TOLERANCE * a.abs().max(b.abs()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(a: &str, b: &str) -> bool {
        let (a, b) = (a.parse().expect("JSON"), b.parse().expect("JSON"));
        let same = same_arguments(&a, &b);
        assert_eq!(same, same_arguments(&b, &a), "{a} and {b}");
        same
    }

    #[test]
    fn arguments_are_compared_by_what_they_mean() {
        for (a, b) in [
            ("{}", "{}"),
            (r#"{"a": 3, "b": [1, "x"]}"#, r#"{"b": [1.0, " X"], "a": 3.0}"#),
            (r#"{"city": "Zürich "}"#, r#"{"city": "ZÜRICH"}"#),
            (r#"{"expression": "0.1 + 0.2"}"#, r#"{"expression": "0.3"}"#),
            (r#"{"expression": "Two"}"#, r#"{"expression": "two"}"#),
            ("18446744073709551615", "18446744073709551615"),
        ] {
            assert!(same(a, b), "{a} {b}");
        }
        for (a, b) in [
            ("{}", r#"{"a": null}"#),
            (r#"{"a": null}"#, r#"{"b": null}"#),
            (r#"{"a": 3}"#, r#"{"a": "3"}"#),
            (r#"{"a": [1, 2]}"#, r#"{"a": [2, 1]}"#),
            (r#"{"a": [1]}"#, r#"{"a": [1, 1]}"#),
            (r#"{"a": true}"#, r#"{"a": 1}"#),
            (r#"{"expression": "2 + 2"}"#, r#"{"expression": "2 + 3"}"#),
            (r#"{"expression": "1 / 0"}"#, r#"{"expression": "2 / 0"}"#),
            (r#"{"date": "2025-03-01"}"#, r#"{"date": "2025-01-03"}"#), // no arithmetic
        ] {
            assert!(!same(a, b), "{a} {b}");
        }
    }
}
