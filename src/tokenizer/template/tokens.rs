//! From a rendered text to tokens and their mask.
//!
//! While a template runs, two things have to be remembered about parts of its output: which ones the assistant says, and which
//! characters came with a message. Both are remembered in the output itself, as characters that occur in no message, and taken out
//! again at the end.

use std::collections::HashSet;
use std::ops::Range;

use serde_json::Value;

use super::{Rendered, TemplateError};
use crate::tokenizer::Tokenizer;

/// The characters that stand for something else while a template runs.
pub(super) struct Guard {
    /// Before and after what the assistant says.
    pub around: [char; 2],
    /// After the first character of what would be a special token, had not a message brought it along.
    within: char,
}

/// Unicode's noncharacters, which no text should have, but for those that end a plane; and then letters for private use.
fn candidates() -> impl Iterator<Item = char> {
    ('\u{fdd0}'..='\u{fdef}').chain('\u{f0000}'..='\u{ffffd}')
}

impl Guard {
    /// Three characters that are not in these values, unless those have all that could be taken.
    pub fn new(values: [Option<&Value>; 2]) -> Option<Self> {
        let mut used = HashSet::new();
        let mut texts = Vec::new();
        values.into_iter().flatten().for_each(|value| each_text(value, &mut texts));
        for text in texts {
            used.extend(text.chars().filter(|&c| c >= '\u{fdd0}'));
        }
        let mut free = candidates().filter(|c| !used.contains(c));
        Some(Guard { around: [free.next()?, free.next()?], within: free.next()? })
    }

    /// The same value with a mark in every name of a special token.
    pub fn guarded(&self, value: &Value, special: &[&str]) -> Value {
        match value {
            Value::String(text) => Value::String(self.guarded_text(text, special)),
            Value::Array(items) => items.iter().map(|item| self.guarded(item, special)).collect(),
            Value::Object(items) => {
                let guarded = |(key, item): (&String, &Value)| {
                    (self.guarded_text(key, special), self.guarded(item, special))
                };
                Value::Object(items.iter().map(guarded).collect())
            }
            other => other.clone(),
        }
    }

    fn guarded_text(&self, text: &str, special: &[&str]) -> String {
        // ANCHOR: guarded
        let mut guarded = String::with_capacity(text.len());
        for (at, c) in text.char_indices() {
            guarded.push(c);
            if special.iter().any(|name| !name.is_empty() && text[at..].starts_with(name)) {
                guarded.push(self.within);
            }
        }
        guarded
        // ANCHOR_END: guarded
    }

    /// The text without the marks, and where they were.
    pub fn taken_out(&self, marked: &str) -> Rendered {
        let mut rendered = Rendered { text: String::with_capacity(marked.len()), ..Rendered::default() };
        let mut last = 0;
        let mut depth = 0_usize;
        for c in marked.chars() {
            let Rendered { text, generated, literal } = &mut rendered;
            if c == self.around[0] {
                if depth == 0 {
                    generated.push(text.len()..text.len());
                }
                depth += 1;
            } else if c == self.around[1] {
                depth = depth.saturating_sub(1);
                if let (0, Some(range)) = (depth, generated.last_mut()) {
                    range.end = text.len();
                }
            } else if c == self.within {
                literal.push(last);
            } else {
                last = text.len();
                text.push(c);
            }
        }
        rendered.generated.retain(|range| !range.is_empty());
        rendered
    }
}

/// All strings in a value.
fn each_text<'a>(value: &'a Value, texts: &mut Vec<&'a str>) {
    match value {
        Value::String(text) => texts.push(text),
        Value::Array(items) => items.iter().for_each(|item| each_text(item, texts)),
        Value::Object(items) => items.iter().for_each(|(key, item)| {
            texts.push(key);
            each_text(item, texts);
        }),
        _ => {}
    }
}

impl Rendered {
    /// The tokens of the text, and for each whether the assistant says it. Special tokens are those that the template has put
    /// there. Text between two of them is encoded in one piece, so that a prompt and its answer have the same tokens together as
    /// they have in training. A token of two sides is the side's where it begins.
    ///
    /// # Errors
    /// If the tokenizer has no token for a part of the text.
    pub fn tokens(&self, tokenizer: &dyn Tokenizer) -> Result<(Vec<usize>, Vec<bool>), TemplateError> {
        let special = tokenizer.special_tokens();
        let mut tokens = Vec::new();
        let mut mask = Vec::new();
        let mut start = 0;
        while start < self.text.len() {
            let found = self.next_special(start, &special);
            let end = found.as_ref().map_or(self.text.len(), |(range, _)| range.start);
            let plain = &self.text[start..end];
            let of_plain =
                if tokens.is_empty() { tokenizer.encode(plain) } else { tokenizer.encode_after(plain) }?;
            let mut at = start;
            let mut bytes = Vec::new();
            for &token in &of_plain {
                mask.push(self.is_generated(at));
                bytes.clear();
                tokenizer.push_bytes(token, &mut bytes);
                // Where a tokenizer puts a blank before a text, a token has a byte that the text does not have.
                let is_there = self.text.as_bytes()[at..end].starts_with(&bytes);
                at += if is_there { bytes.len() } else { bytes.len().saturating_sub(1) };
                at = at.min(end);
            }
            tokens.extend(of_plain);
            start = end;
            if let Some((range, token)) = found {
                tokens.push(token);
                mask.push(self.is_generated(range.start));
                start = range.end;
            }
        }
        Ok((tokens, mask))
    }

    /// The next special token that the template has put there; the longest, where several begin.
    fn next_special(&self, from: usize, special: &[(String, usize)]) -> Option<(Range<usize>, usize)> {
        let text = &self.text;
        text[from..].char_indices().map(|(at, _)| from + at).find_map(|at| {
            if self.literal.binary_search(&at).is_ok() {
                return None;
            }
            let names = special.iter().filter(|(name, _)| !name.is_empty() && text[at..].starts_with(name));
            let (name, token) = names.max_by_key(|(name, _)| name.len())?;
            Some((at..at + name.len(), *token))
        })
    }

    fn is_generated(&self, at: usize) -> bool {
        self.generated.iter().any(|range| range.contains(&at))
    }
}
