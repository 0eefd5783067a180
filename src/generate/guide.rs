//! JSON that fits to a schema, while it is generated.
//!
//! A model that calls a tool writes JSON, and a single wrong token makes it useless. A [`Guide`] follows the text byte by byte,
//! as a parser does, and knows which bytes may come next. Tokens that would leave the language get a logit of `-∞`: what comes out
//! always parses and fits. (Willard and Louf 2023, "Efficient Guided Generation for Large Language Models"; here tokens are tried,
//! which needs no index of the vocabulary for each schema. [`CallGuide`](super::CallGuide) tries few of them.)
//!
//! The language is smaller than all JSON: one space after each comma and colon, as chat templates write it, no keys but those of the
//! schema, each once (any keys where it lists no `properties`), numbers of at most 15 digits without an exponent.

mod grammar;
mod number;
mod rest;

use std::sync::Arc;

use grammar::{Grammar, Node};
use number::Numeral;

use crate::data::{Json, SchemaError, Tool};

/// How deep values may lie in one another where a schema does not say: JSON parsers stop at 127.
const DEEPEST: usize = 100;

/// What may be generated.
///
/// ```
/// use gradus::generate::Guide;
/// let schema = r#"{"type": "object", "properties": {"sides": {"type": "integer", "minimum": 2}}, "required": ["sides"]}"#;
/// let mut guide = Guide::value(&schema.parse()?)?;
/// assert!(guide.advance(br#"{"sides": 2"#) && !guide.is_complete());
/// assert!(!guide.accepts(b", \"colour")); // no such key
/// assert!(guide.advance(b"0}") && guide.is_complete());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Guide {
    grammar: Arc<Grammar>,
    /// What has been begun, the innermost last.
    open: Vec<Open>,
}

/// Something that was begun and is not complete.
#[derive(Clone, Debug)]
enum Open {
    /// A value, of which nothing has come.
    Value(usize),
    /// One of some texts: a node, how many bytes have come, and the first of the texts that fit so far.
    Text { node: usize, len: usize, first: usize },
    /// A string.
    String(Character),
    /// A number, with its node.
    Number(usize, Numeral),
    /// An array, with its node: how many items have begun, and what comes next.
    Array { node: usize, count: u64, next: InArray },
    /// An object, with its node: which of its properties were there, and what comes next.
    Object { node: usize, seen: Vec<bool>, next: InObject },
    /// An object with any keys, with its node, and what comes next.
    Map { node: usize, next: InMap },
}

/// Where in a string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Character {
    /// Between two characters.
    Between,
    /// In one of several bytes: how many are still to come, and between which bounds the next one is.
    Within { more: u8, least: u8, most: u8 },
    /// After a backslash.
    Escape,
    /// After `\u`: how many digits have come.
    Hex(u8),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum InArray {
    /// An item, or the end: nothing has come yet.
    Start,
    /// A comma or the end.
    AfterItem,
    /// The space after a comma.
    Space,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum InObject {
    /// A key, or the end: nothing has come yet.
    Start,
    /// A comma or the end.
    AfterValue,
    /// The space after a comma.
    Space,
    /// The quote before a key.
    Quote,
    /// A key: how many bytes of it have come, and the first of the properties that fit so far.
    Key {
        len: usize,
        first: usize,
    },
    /// The colon, and the space after it, before the value of this property.
    Colon(usize),
    ColonSpace(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum InMap {
    /// A key, or the end: nothing has come yet.
    Start,
    /// A comma or the end.
    AfterValue,
    /// The space after a comma.
    Space,
    /// A key.
    Quote,
    /// The colon, and the space after it.
    Colon,
    ColonSpace,
}

/// What a byte was to something open.
enum Step {
    /// It belongs to it.
    Took,
    /// It ends it.
    Ended,
    /// It comes after its end.
    After,
    /// It cannot come.
    Wrong,
}

impl Guide {
    /// A guide for a value of this schema.
    ///
    /// # Errors
    /// If the schema says something that is not understood: see [`check_schema`](crate::data::check_schema).
    pub fn value(schema: &Json) -> Result<Self, SchemaError> {
        Ok(Self::new(Grammar::value(schema)?))
    }

    /// A guide for a call of one of these tools: `{"name": "…", "arguments": {…}}`.
    ///
    /// # Errors
    /// As [`value`](Self::value), of the first tool whose parameters are not understood; or if there are no tools.
    pub fn call(tools: &[Tool]) -> Result<Self, SchemaError> {
        Ok(Self::new(Grammar::call(tools)?))
    }

    fn new(grammar: Grammar) -> Self {
        let open = vec![Open::Value(grammar.root)];
        Guide { grammar: Arc::new(grammar), open }
    }

    /// All that is written letter by letter: keys and values that are listed, and the marks of JSON.
    pub(super) fn fixed_texts(&self) -> impl Iterator<Item = &str> {
        self.grammar.fixed_texts().chain(["{}[]\":, -.0123456789"])
    }

    /// Whether the value may end here.
    pub fn is_complete(&self) -> bool {
        match &self.open[..] {
            [] => true,
            [Open::Number(node, numeral)] => numeral.may_end(self.grammar.range(*node)),
            &[Open::Text { node, len, first }] => self.grammar.texts(node)[first].len() == len,
            _ => false,
        }
    }

    /// Whether these bytes may come next.
    pub fn accepts(&self, bytes: &[u8]) -> bool {
        !bytes.is_empty() && self.clone().advance(bytes)
    }

    /// Goes on by these bytes. If they cannot come, it returns false, and the guide is of no more use.
    pub fn advance(&mut self, bytes: &[u8]) -> bool {
        bytes.iter().all(|&byte| self.byte(byte))
    }

    /// Forbids every token that cannot come. `bytes_of` gives what a token stands for: nothing for a special one, which is
    /// forbidden too. Returns how many may come.
    pub fn mask<'a>(&self, logits: &mut [f64], bytes_of: impl Fn(usize) -> &'a [u8]) -> usize {
        let mut allowed = 0;
        // Most tokens fail at their first byte.
        let first: Vec<bool> = (0..=u8::MAX).map(|byte| self.accepts(&[byte])).collect();
        for (token, logit) in logits.iter_mut().enumerate() {
            let bytes = bytes_of(token);
            let fits = match bytes {
                [] => false,
                [byte] => first[usize::from(*byte)],
                [byte, ..] => first[usize::from(*byte)] && self.accepts(bytes),
            };
            if fits {
                allowed += 1;
            } else {
                *logit = f64::NEG_INFINITY;
            }
        }
        allowed
    }

    fn byte(&mut self, byte: u8) -> bool {
        loop {
            let Some(mut open) = self.open.pop() else { return false };
            let step = match &mut open {
                Open::Value(node) => return self.begin(*node, byte),
                Open::Text { node, len, first } => text(self.grammar.texts(*node), len, first, byte),
                Open::String(at) => character(at, byte),
                Open::Number(node, numeral) => {
                    let range = self.grammar.range(*node);
                    if numeral.push(byte, range) {
                        Step::Took
                    } else if numeral.may_end(range) {
                        Step::After
                    } else {
                        Step::Wrong
                    }
                }
                Open::Array { node, count, next } => {
                    let Node::Array { items, least, most } = self.grammar.node(*node) else { unreachable!() };
                    let may_go_on = *count < *most && self.grammar.may_nest(*items, self.open.len());
                    match (*next, byte) {
                        (InArray::Start | InArray::AfterItem, b']') if *count >= *least => Step::Ended,
                        (InArray::Start, byte) if may_go_on => {
                            *count += 1;
                            *next = InArray::AfterItem;
                            let items = *items;
                            self.open.push(open);
                            return self.begin(items, byte);
                        }
                        (InArray::AfterItem, b',') if may_go_on => {
                            *next = InArray::Space;
                            Step::Took
                        }
                        (InArray::Space, b' ') => {
                            *count += 1;
                            *next = InArray::AfterItem;
                            let items = *items;
                            self.open.extend([open, Open::Value(items)]);
                            return true;
                        }
                        _ => Step::Wrong,
                    }
                }
                Open::Map { node, next } => {
                    let Node::Map(value) = self.grammar.node(*node) else { unreachable!() };
                    let (after, inner) = match (*next, byte) {
                        (InMap::Start | InMap::AfterValue, b'}') => return true,
                        (InMap::AfterValue, b',') => (InMap::Space, None),
                        (InMap::Space, b' ') => (InMap::Quote, None),
                        (InMap::Start | InMap::Quote, b'"') => {
                            (InMap::Colon, Some(Open::String(Character::Between)))
                        }
                        (InMap::Colon, b':') => (InMap::ColonSpace, None),
                        (InMap::ColonSpace, b' ') => (InMap::AfterValue, Some(Open::Value(*value))),
                        _ => return false,
                    };
                    *next = after;
                    self.open.push(open);
                    self.open.extend(inner);
                    return true;
                }
                Open::Object { node, seen, next } => {
                    let (properties, keys) = self.grammar.properties(*node);
                    let count = seen.iter().filter(|seen| **seen).count();
                    let all = properties.iter().zip(&*seen).all(|(one, seen)| *seen || !one.required);
                    let (complete, more) =
                        (all && count >= keys.start, seen.contains(&false) && count + 1 < keys.end);
                    match (*next, byte) {
                        (InObject::Start | InObject::AfterValue, b'}') if complete => Step::Ended,
                        (InObject::Start | InObject::Quote, b'"') if more => {
                            *next = InObject::Key { len: 0, first: 0 };
                            Step::Took
                        }
                        (InObject::AfterValue, b',') if more => {
                            *next = InObject::Space;
                            Step::Took
                        }
                        (InObject::Space, b' ') => {
                            *next = InObject::Quote;
                            Step::Took
                        }
                        (InObject::Key { mut len, mut first }, byte) => {
                            let keys =
                                properties.iter().zip(&*seen).map(|(one, seen)| (!seen).then_some(&*one.key));
                            match choose(keys, &mut len, &mut first, byte) {
                                Some(true) => {
                                    seen[first] = true;
                                    *next = InObject::Colon(first);
                                    Step::Took
                                }
                                Some(false) => {
                                    *next = InObject::Key { len, first };
                                    Step::Took
                                }
                                None => Step::Wrong,
                            }
                        }
                        (InObject::Colon(at), b':') => {
                            *next = InObject::ColonSpace(at);
                            Step::Took
                        }
                        (InObject::ColonSpace(at), b' ') => {
                            *next = InObject::AfterValue;
                            let value = properties[at].value;
                            self.open.extend([open, Open::Value(value)]);
                            return true;
                        }
                        _ => Step::Wrong,
                    }
                }
            };
            match step {
                Step::Took => {
                    self.open.push(open);
                    return true;
                }
                Step::Ended => return true,
                Step::After => {} // what it was in takes the byte
                Step::Wrong => return false,
            }
        }
    }

    /// Begins a value with its first byte.
    fn begin(&mut self, node: usize, byte: u8) -> bool {
        let grammar = Arc::clone(&self.grammar);
        let node = match grammar.node(node) {
            Node::Choice(nodes) => {
                match nodes.iter().find(|&&node| grammar.begins(node, byte, self.open.len())) {
                    Some(&node) => node,
                    None => return false,
                }
            }
            _ => node,
        };
        if !grammar.begins(node, byte, self.open.len()) {
            return false;
        }
        self.open.push(match grammar.node(node) {
            Node::Choice(_) => return false, // no choice is one of a choice
            Node::Texts(_) => {
                self.open.push(Open::Text { node, len: 0, first: 0 });
                return self.byte(byte);
            }
            Node::String => Open::String(Character::Between),
            Node::Number(range) => {
                let mut numeral = Numeral::default();
                if !numeral.push(byte, range) {
                    return false;
                }
                Open::Number(node, numeral)
            }
            Node::Array { .. } => Open::Array { node, count: 0, next: InArray::Start },
            Node::Map(_) => Open::Map { node, next: InMap::Start },
            Node::Object { properties, .. } => {
                Open::Object { node, seen: vec![false; properties.len()], next: InObject::Start }
            }
        });
        true
    }
}

/// The next byte of one of some texts. The texts are in order, so those with the same beginning are neighbours.
fn text(texts: &[String], len: &mut usize, first: &mut usize, byte: u8) -> Step {
    let whole = |text: &String| text.len() == *len;
    if whole(&texts[*first]) && !continues(texts, *first, *len, byte) {
        return Step::After;
    }
    let start = &texts[*first].as_bytes()[..*len];
    let next = (*first..texts.len()).find(|&at| {
        let bytes = texts[at].as_bytes();
        bytes.starts_with(start) && bytes.get(*len) == Some(&byte)
    });
    match next {
        Some(at) => {
            (*first, *len) = (at, *len + 1);
            // It has ended, unless a longer one begins in the same way.
            let longer = texts[at + 1..].iter().any(|text| text.as_bytes().starts_with(texts[at].as_bytes()));
            if texts[at].len() == *len && !longer { Step::Ended } else { Step::Took }
        }
        None => Step::Wrong,
    }
}

/// Whether a longer text goes on with this byte.
fn continues(texts: &[String], first: usize, len: usize, byte: u8) -> bool {
    let start = &texts[first].as_bytes()[..len];
    texts[first..]
        .iter()
        .any(|text| text.as_bytes().starts_with(start) && text.as_bytes().get(len) == Some(&byte))
}

/// The next byte of one of some keys, with the quote that ends it. True when it is whole; nothing if none goes on so.
fn choose<'a>(
    keys: impl Iterator<Item = Option<&'a str>> + Clone,
    len: &mut usize,
    first: &mut usize,
    byte: u8,
) -> Option<bool> {
    let start = &keys.clone().nth(*first).flatten().unwrap_or_default().as_bytes()[..*len];
    let fits = |key: Option<&str>| {
        key.is_some_and(|key| {
            let bytes = key.as_bytes();
            let next = if byte == b'"' && bytes.len() == *len { Some(&b'"') } else { bytes.get(*len) };
            bytes.starts_with(start) && next == Some(&byte)
        })
    };
    let at = keys.clone().position(fits)?;
    let ended = keys.clone().nth(at).flatten()?.len() == *len && byte == b'"';
    (*first, *len) = (at, *len + 1);
    Some(ended)
}

/// The next byte of a string.
fn character(at: &mut Character, byte: u8) -> Step {
    let within = |more, least, most| Character::Within { more, least, most };
    *at = match (*at, byte) {
        (Character::Between, b'"') => return Step::Ended,
        (Character::Between, b'\\') => Character::Escape,
        (Character::Between, 0x20..=0x7f) => Character::Between,
        // The bounds of Unicode's table 3-7: no overlong forms, no surrogates, nothing beyond U+10FFFF.
        (Character::Between, 0xc2..=0xdf) => within(1, 0x80, 0xbf),
        (Character::Between, 0xe0) => within(2, 0xa0, 0xbf),
        (Character::Between, 0xed) => within(2, 0x80, 0x9f),
        (Character::Between, 0xe1..=0xef) => within(2, 0x80, 0xbf),
        (Character::Between, 0xf0) => within(3, 0x90, 0xbf),
        (Character::Between, 0xf1..=0xf3) => within(3, 0x80, 0xbf),
        (Character::Between, 0xf4) => within(3, 0x80, 0x8f),
        (Character::Within { more, least, most }, byte) if (least..=most).contains(&byte) => match more {
            1 => Character::Between,
            more => within(more - 1, 0x80, 0xbf),
        },
        (Character::Escape, b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Character::Between,
        (Character::Escape, b'u') => Character::Hex(0),
        // Not those that begin with d, some of which are halves of a pair.
        (Character::Hex(0), b'0'..=b'9' | b'a'..=b'c' | b'e' | b'f') => Character::Hex(1),
        (Character::Hex(3), b'0'..=b'9' | b'a'..=b'f') => Character::Between,
        (Character::Hex(digits @ 1..=2), b'0'..=b'9' | b'a'..=b'f') => Character::Hex(digits + 1),
        _ => return Step::Wrong,
    };
    Step::Took
}
