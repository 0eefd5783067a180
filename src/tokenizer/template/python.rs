//! How Python spells values: `True`, `None`, lists and numbers between `{{ }}`, and JSON as its `json.dumps` writes it.

use std::fmt::Write;
use std::io;

use minijinja::value::ValueKind;
use minijinja::{Error, ErrorKind, Output, State, Value, escape_formatter};
use serde::Serialize;
use serde_json::ser::{CharEscape, Formatter};

/// The most levels of lists and maps in each other that become text.
const DEEPEST: usize = 128;

/// The most spaces by which a level of JSON is indented.
const WIDEST: usize = 64;

/// Refuses a value that is nested too deep to be written, and has the template pay for its size beforehand: a list may hold
/// the same list many times, and so be far larger as a text than in memory. `space` is what stands around an item of a level, in
/// bytes.
pub fn charge(state: &State<'_, '_>, value: &Value, space: &impl Fn(usize) -> usize) -> Result<(), Error> {
    fn each(
        state: &State<'_, '_>,
        value: &Value,
        depth: usize,
        space: &impl Fn(usize) -> usize,
    ) -> Result<(), Error> {
        let bytes = value.as_str().map_or(0, str::len).saturating_add(space(depth));
        state.consume_fuel(1 + bytes as u64 / 64)?;
        if !matches!(value.kind(), ValueKind::Seq | ValueKind::Map | ValueKind::Iterable) {
            return Ok(());
        }
        if depth == DEEPEST {
            let problem = format!("a value is nested more than {DEEPEST} deep");
            return Err(Error::new(ErrorKind::InvalidOperation, problem));
        }
        let is_map = value.kind() == ValueKind::Map;
        for item in value.try_iter()? {
            each(state, &item, depth + 1, space)?;
            if is_map {
                each(state, &value.get_item(&item)?, depth + 1, space)?;
            }
        }
        Ok(())
    }
    each(state, value, 0, space)
}

/// Writes a value of a template as Jinja in Python does.
pub fn write(out: &mut Output<'_>, state: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    charge(state, value, &|_| 0)?;
    match value.kind() {
        ValueKind::Bool | ValueKind::None | ValueKind::Seq | ValueKind::Map | ValueKind::Number => {
            Ok(out.write_str(&spelled(value)?)?)
        }
        _ => escape_formatter(out, state, value),
    }
}

/// What Python's `repr` makes of a value.
fn spelled(value: &Value) -> Result<String, Error> {
    Ok(match value.kind() {
        ValueKind::None | ValueKind::Undefined => "None".to_owned(),
        ValueKind::Bool => if value.is_true() { "True" } else { "False" }.to_owned(),
        ValueKind::Number if !value.is_integer() => f64::try_from(value.clone()).map(float)?,
        ValueKind::String => quoted(value.as_str().unwrap_or_default()),
        ValueKind::Seq => {
            let items: Result<Vec<_>, _> = value.try_iter()?.map(|item| spelled(&item)).collect();
            format!("[{}]", items?.join(", "))
        }
        ValueKind::Map => {
            let item = |key: Value| Ok(format!("{}: {}", spelled(&key)?, spelled(&value.get_item(&key)?)?));
            let items: Result<Vec<_>, Error> = value.try_iter()?.map(item).collect();
            format!("{{{}}}", items?.join(", "))
        }
        _ => value.to_string(),
    })
}

/// A string in quotes: single ones, unless it has those and no double ones.
fn quoted(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut quoted = String::from(quote);
    for c in text.chars() {
        match c {
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\\' => quoted.push_str("\\\\"),
            c if c == quote => quoted.extend(['\\', c]),
            c if c.is_control() => write!(quoted, "\\x{:02x}", u32::from(c)).expect("a string takes all"),
            c => quoted.push(c),
        }
    }
    quoted.push(quote);
    quoted
}

/// A float: the fewest digits that give it again, with an exponent where it is very large or small.
fn float(x: f64) -> String {
    if x.is_nan() {
        return "nan".to_owned();
    }
    if x.is_infinite() {
        return if x > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let scientific = format!("{x:e}");
    let (digits, exponent) = scientific.split_once('e').expect("an exponent");
    let exponent: i32 = exponent.parse().expect("a number");
    match exponent {
        -4..16 => format!("{x:?}"),
        _ => format!("{digits}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs()),
    }
}

/// The options of `json.dumps`.
pub struct JsonStyle {
    /// Whether all but ASCII is escaped.
    pub ascii: bool,
    /// By how many spaces each level is indented, on lines of their own; `None` is one line.
    pub indent: Option<usize>,
    /// What stands between items, and between a key and its value.
    pub separators: Option<(String, String)>,
    /// Whether keys are put in order.
    pub sorted: bool,
}

impl JsonStyle {
    /// What stands around an item of a level, in bytes.
    pub fn space(&self, depth: usize) -> usize {
        let separators =
            self.separators.as_ref().map_or(2, |(item, key)| item.len().saturating_add(key.len()));
        self.indent.unwrap_or(0).saturating_mul(depth).saturating_add(separators)
    }

    /// Refuses an indent that nobody needs.
    pub fn check(&self) -> Result<(), Error> {
        match self.indent {
            Some(spaces) if spaces > WIDEST => {
                let problem = format!("tojson cannot indent by {spaces} spaces, at most by {WIDEST}");
                Err(Error::new(ErrorKind::InvalidOperation, problem))
            }
            _ => Ok(()),
        }
    }

    /// The JSON of a value.
    pub fn write(&self, value: &serde_json::Value) -> String {
        let sorted = self.sorted.then(|| {
            let mut value = value.clone();
            value.sort_all_objects();
            value
        });
        let (item, key) = match (&self.separators, self.indent) {
            (Some((item, key)), _) => (item.as_str(), key.as_str()),
            (None, Some(_)) => (",", ": "),
            (None, None) => (", ", ": "),
        };
        let layout = Layout { ascii: self.ascii, indent: self.indent, item, key, depth: 0, filled: false };
        let mut bytes = Vec::new();
        let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, layout);
        sorted.as_ref().unwrap_or(value).serialize(&mut serializer).expect("memory takes all");
        String::from_utf8(bytes).expect("JSON is text")
    }
}

/// Where Python puts spaces and lines.
struct Layout<'a> {
    ascii: bool,
    indent: Option<usize>,
    item: &'a str,
    key: &'a str,
    depth: usize,
    /// Whether the innermost array or object has an item.
    filled: bool,
}

impl Layout<'_> {
    fn begin<W: io::Write + ?Sized>(&mut self, to: &mut W, bracket: &[u8]) -> io::Result<()> {
        self.depth += 1;
        self.filled = false;
        to.write_all(bracket)
    }

    fn end<W: io::Write + ?Sized>(&mut self, to: &mut W, bracket: &[u8]) -> io::Result<()> {
        self.depth -= 1;
        if self.filled {
            self.line(to)?;
        }
        self.filled = true;
        to.write_all(bracket)
    }

    fn item<W: io::Write + ?Sized>(&mut self, to: &mut W, first: bool) -> io::Result<()> {
        if !first {
            to.write_all(self.item.as_bytes())?;
        }
        self.line(to)
    }

    fn line<W: io::Write + ?Sized>(&self, to: &mut W) -> io::Result<()> {
        match self.indent {
            Some(spaces) => write!(to, "\n{:1$}", "", spaces * self.depth),
            None => Ok(()),
        }
    }
}

impl Formatter for Layout<'_> {
    fn write_f64<W: io::Write + ?Sized>(&mut self, to: &mut W, x: f64) -> io::Result<()> {
        to.write_all(float(x).as_bytes())
    }

    fn write_string_fragment<W: io::Write + ?Sized>(&mut self, to: &mut W, text: &str) -> io::Result<()> {
        if !self.ascii {
            return to.write_all(text.as_bytes());
        }
        for c in text.chars() {
            if c.is_ascii() {
                to.write_all(&[c as u8])?;
            } else {
                let mut units = [0; 2];
                c.encode_utf16(&mut units).iter().try_for_each(|unit| write!(to, "\\u{unit:04x}"))?;
            }
        }
        Ok(())
    }

    fn write_char_escape<W: io::Write + ?Sized>(&mut self, to: &mut W, escape: CharEscape) -> io::Result<()> {
        to.write_all(match escape {
            CharEscape::Quote => b"\\\"",
            CharEscape::ReverseSolidus => b"\\\\",
            CharEscape::Solidus => b"/",
            CharEscape::Backspace => b"\\b",
            CharEscape::FormFeed => b"\\f",
            CharEscape::LineFeed => b"\\n",
            CharEscape::CarriageReturn => b"\\r",
            CharEscape::Tab => b"\\t",
            CharEscape::AsciiControl(byte) => return write!(to, "\\u{byte:04x}"),
        })
    }

    fn begin_array<W: io::Write + ?Sized>(&mut self, to: &mut W) -> io::Result<()> {
        self.begin(to, b"[")
    }

    fn end_array<W: io::Write + ?Sized>(&mut self, to: &mut W) -> io::Result<()> {
        self.end(to, b"]")
    }

    fn begin_array_value<W: io::Write + ?Sized>(&mut self, to: &mut W, first: bool) -> io::Result<()> {
        self.item(to, first)
    }

    fn end_array_value<W: io::Write + ?Sized>(&mut self, _: &mut W) -> io::Result<()> {
        self.filled = true;
        Ok(())
    }

    fn begin_object<W: io::Write + ?Sized>(&mut self, to: &mut W) -> io::Result<()> {
        self.begin(to, b"{")
    }

    fn end_object<W: io::Write + ?Sized>(&mut self, to: &mut W) -> io::Result<()> {
        self.end(to, b"}")
    }

    fn begin_object_key<W: io::Write + ?Sized>(&mut self, to: &mut W, first: bool) -> io::Result<()> {
        self.item(to, first)
    }

    fn begin_object_value<W: io::Write + ?Sized>(&mut self, to: &mut W) -> io::Result<()> {
        to.write_all(self.key.as_bytes())
    }

    fn end_object_value<W: io::Write + ?Sized>(&mut self, _: &mut W) -> io::Result<()> {
        self.filled = true;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use minijinja::value::Serde;
    use serde_json::json;

    use super::*;

    #[test]
    fn floats_are_python_s() {
        // From CPython: [repr(x) for x in (...)].
        for (x, text) in [
            (1.0, "1.0"),
            (0.1, "0.1"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (1.5e300, "1.5e+300"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (-2.5e-7, "-2.5e-07"),
            (-0.0, "-0.0"),
        ] {
            assert_eq!(float(x), text);
        }
    }

    #[test]
    fn values_are_python_s() {
        let value = Value::from(Serde(json!({"a": [true, null, 1, 2.0, "it's", "\"'\n"], "b": {}})));
        let text = r#"{'a': [True, None, 1, 2.0, "it's", '"\'\n'], 'b': {}}"#;
        assert_eq!(spelled(&value).unwrap(), text);
    }

    #[test]
    fn json_is_python_s() {
        let value = json!({"b": [1, 2.5, {}, []], "a": "é \u{1}<\u{1f600}>\"", "c": {"x": null}});
        let style = |indent| JsonStyle { ascii: false, indent, separators: None, sorted: false };
        let line = r#"{"b": [1, 2.5, {}, []], "a": "é \u0001<😀>\"", "c": {"x": null}}"#;
        assert_eq!(style(None).write(&value), line);
        let lines = "{\n  \"b\": [\n    1,\n    2.5,\n    {},\n    []\n  ],\n  \"a\": \"é \\u0001<😀>\\\"\",\n  \"c\": {\n    \"x\": null\n  }\n}";
        assert_eq!(style(Some(2)).write(&value), lines);
        let ascii = JsonStyle { ascii: true, sorted: true, ..style(None) };
        let escaped = r#"{"a": "\u00e9 \u0001<\ud83d\ude00>\"", "b": [1, 2.5, {}, []], "c": {"x": null}}"#;
        assert_eq!(ascii.write(&value), escaped);
        let short = JsonStyle { separators: Some((",".to_owned(), ":".to_owned())), ..style(None) };
        assert_eq!(short.write(&json!({"a": [1, 2]})), r#"{"a":[1,2]}"#);
    }
}
