//! A call of a tool while it is written: its name as soon as it is complete, and then its arguments as they come.

/// A part of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallPart {
    /// A call begins, of the tool of this name.
    Name(String),
    /// More of its arguments, which are an object of JSON.
    Arguments(String),
}

/// What was given out of a call.
#[derive(Debug, Default)]
pub struct CallText {
    /// How many bytes of its text, once its arguments have begun.
    given: Option<usize>,
}

impl CallText {
    /// Whether the name was given out.
    pub fn has_begun(&self) -> bool {
        self.given.is_some()
    }

    /// All of the text that there is of the call. What is new in it goes to `parts`.
    pub fn more(&mut self, text: &str, parts: &mut Vec<CallPart>) {
        let text = text.trim();
        if self.given.is_none()
            && let Some((name, start)) = head(text)
        {
            parts.push(CallPart::Name(name));
            self.given = Some(start);
        }
        let Some(given) = &mut self.given else { return };
        // The last bracket may be that of the call, not of its arguments.
        let end = text.len() - usize::from(text.ends_with('}'));
        if let Some(new) = text.get(*given..end).filter(|new| !new.is_empty()) {
            parts.push(CallPart::Arguments(new.to_owned()));
            *given = end;
        }
    }
}

/// The name in `{"name": "…", "arguments": `, and where the arguments begin.
fn head(text: &str) -> Option<(String, usize)> {
    let from_name = text.strip_prefix("{\"name\": ")?;
    let mut strings = serde_json::Deserializer::from_str(from_name).into_iter::<String>();
    let name = strings.next()?.ok()?;
    let arguments = from_name[strings.byte_offset()..].strip_prefix(", \"arguments\": ")?;
    Some((name, text.len() - arguments.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_the_arguments_come_in_parts() {
        let arguments = r#"{"a": {"b": "} é \\"} "}, "c": [1, {}]}"#;
        let text = format!("\n{{\"name\": \"a \\\"b\\\"\", \"arguments\": {arguments}}}\n");
        for step in 1..text.len() {
            let (mut call, mut parts) = (CallText::default(), Vec::new());
            for end in (0..text.len()).step_by(step).chain([text.len()]) {
                if text.is_char_boundary(end) {
                    call.more(&text[..end], &mut parts);
                }
            }
            assert_eq!(parts[0], CallPart::Name("a \"b\"".to_owned()));
            let rest = parts[1..].iter().map(|part| match part {
                CallPart::Arguments(text) => text.as_str(),
                CallPart::Name(_) => panic!("a second name"),
            });
            assert_eq!(rest.collect::<String>(), arguments, "{step}");
        }
    }

    #[test]
    fn what_is_no_call_does_not_begin() {
        for text in ["", "{", "{\"name\": 1, \"arguments\": {}}", "{\"name\": \"a\"}", "{\"arguments\": {}}"]
        {
            let (mut call, mut parts) = (CallText::default(), Vec::new());
            call.more(text, &mut parts);
            assert!(!call.has_begun() && parts.is_empty(), "{text}");
        }
    }
}
