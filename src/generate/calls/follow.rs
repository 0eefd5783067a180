//! A call and its marks, byte by byte or by special tokens.

use std::sync::Arc;

use super::{At, Plan};
use crate::generate::Guide;
use crate::generate::vocabulary::{Follow, Vocabulary};

/// A part of a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Byte(u8),
    /// A special token.
    Token(usize),
}

impl Unit {
    pub fn token(self) -> Option<usize> {
        if let Unit::Token(token) = self { Some(token) } else { None }
    }
}

/// A mark, in which the names of special tokens are these tokens.
pub(super) fn units(mark: &str, vocabulary: &Vocabulary) -> Vec<Unit> {
    let mut units = Vec::new();
    let mut rest = mark;
    while let Some(c) = rest.chars().next() {
        if let Some((name, token)) = vocabulary.special_at(rest) {
            units.push(Unit::Token(token));
            rest = &rest[name.len()..];
        } else {
            let (one, others) = rest.split_at(c.len_utf8());
            units.extend(one.bytes().map(Unit::Byte));
            rest = others;
        }
    }
    units
}

/// The first character of a mark that no tokens write.
pub(super) fn unwritable(mark: &[Unit], vocabulary: &Vocabulary) -> Option<char> {
    let byte = |unit: &Unit| if let Unit::Byte(byte) = unit { Some(*byte) } else { None };
    let bytes: Vec<u8> = mark.iter().filter_map(byte).collect();
    vocabulary.unwritable(&String::from_utf8_lossy(&bytes))
}

/// What begins a call in free text: a special token, or the bytes up to white space at their end. That is not waited for: a model that
/// leaves it out has begun a call all the same.
fn trigger(open: &[Unit]) -> &[Unit] {
    if let Some(Unit::Token(_)) = open.first() {
        return &open[..1];
    }
    let run = open.iter().take_while(|unit| unit.token().is_none()).count();
    let is_space = |unit: &Unit| matches!(unit, Unit::Byte(byte) if byte.is_ascii_whitespace());
    &open[..open[..run].iter().rposition(|unit| !is_space(unit)).map_or(0, |last| last + 1)]
}

/// The tokens that may complete the beginning of a call.
pub(super) fn openers(open: &[Unit], vocabulary: &Vocabulary) -> Vec<usize> {
    match trigger(open).last() {
        None => Vec::new(),
        Some(Unit::Token(token)) => vec![*token],
        Some(Unit::Byte(byte)) => {
            vocabulary.texts().filter(|(_, bytes)| bytes.contains(byte)).map(|(token, _)| token).collect()
        }
    }
}

/// Where free text is after one more token, of which so many bytes were the beginning of a call. `None` if a call has begun with it
/// that does not go on so.
pub(super) fn text(plan: &Arc<Plan>, matched: usize, token: usize, vocabulary: &Vocabulary) -> Option<At> {
    let trigger = trigger(&plan.open);
    if trigger == [Unit::Token(token)] {
        return Some(At::Call(Following::after(plan, 1)));
    }
    let mut matched = matched;
    let bytes = vocabulary.bytes_of(token);
    for (at, &byte) in bytes.iter().enumerate() {
        let begins = |len: &usize| {
            // The last bytes are the beginning of the trigger, were it only so long.
            trigger[*len - 1] == Unit::Byte(byte) && trigger[..matched].ends_with(&trigger[..*len - 1])
        };
        matched = (1..=trigger.len().min(matched + 1)).rev().find(begins).unwrap_or(0);
        if matched > 0 && matched == trigger.len() {
            let mut call = Following::after(plan, matched);
            return bytes[at + 1..].iter().all(|&byte| call.follow(byte)).then(|| call.state());
        }
    }
    Some(At::Text(matched))
}

/// A call that has begun.
#[derive(Clone, Debug)]
pub(super) struct Following {
    plan: Arc<Plan>,
    place: Place,
}

#[derive(Clone, Debug)]
enum Place {
    /// In the mark before the call, and how much of it has come: the first one of a reply, or another.
    Open(usize),
    Next(usize),
    Json(Guide),
    Close(usize),
}

impl Following {
    /// The first call of a reply, of which nothing has come.
    pub fn first(plan: &Arc<Plan>) -> Self {
        Following { plan: Arc::clone(plan), place: Place::Open(0) }.settled()
    }

    /// A further call.
    pub fn next(plan: &Arc<Plan>) -> Self {
        Following { plan: Arc::clone(plan), place: Place::Next(0) }.settled()
    }

    /// The first call, of whose mark so much has come.
    fn after(plan: &Arc<Plan>, len: usize) -> Self {
        Following { plan: Arc::clone(plan), place: Place::Open(len) }.settled()
    }

    /// A mark that is complete is left.
    fn settled(mut self) -> Self {
        self.settle();
        self
    }

    fn settle(&mut self) {
        match &self.place {
            Place::Open(at) if *at == self.plan.open.len() => {
                self.place = Place::Json(self.plan.call.clone())
            }
            Place::Next(at) if *at == self.plan.next.len() => {
                self.place = Place::Json(self.plan.call.clone())
            }
            Place::Json(guide) if guide.is_complete() => self.place = Place::Close(0),
            _ => {}
        }
    }

    /// What comes next in a mark; nothing in the JSON, or after the end.
    fn unit(&self) -> Option<Unit> {
        match self.place {
            Place::Open(at) => self.plan.open.get(at).copied(),
            Place::Next(at) => self.plan.next.get(at).copied(),
            Place::Close(at) => self.plan.close.get(at).copied(),
            Place::Json(_) => None,
        }
    }

    fn pass(&mut self) {
        if let Place::Open(at) | Place::Next(at) | Place::Close(at) = &mut self.place {
            *at += 1;
        }
        self.settle();
    }

    /// Where a reply is that has come to here.
    fn state(self) -> At {
        let is_over = matches!(self.place, Place::Close(at) if at == self.plan.close.len());
        if is_over { At::After } else { At::Call(self) }
    }

    /// Goes on by a token.
    pub fn push(mut self, token: usize, vocabulary: &Vocabulary) -> Option<At> {
        if self.unit() == Some(Unit::Token(token)) {
            self.pass();
            return Some(self.state());
        }
        let bytes = vocabulary.bytes_of(token);
        let came = !bytes.is_empty() && bytes.iter().all(|&byte| self.follow(byte));
        came.then(|| self.state())
    }

    /// Calls `allow` with each token that may come, and leaves at most so many bytes to come after it.
    pub fn each_that_fits(&self, vocabulary: &Vocabulary, most: usize, mut allow: impl FnMut(usize)) {
        match self.unit() {
            Some(Unit::Token(token)) => allow(token),
            _ => vocabulary.each_that_fits(self, most, allow),
        }
    }

    /// How much is to come at the least, each byte and each special token counted as one.
    pub fn bytes_left(&self) -> usize {
        let Plan { open, next, close, call, .. } = &*self.plan;
        let json = || call.bytes_left().saturating_add(close.len());
        match &self.place {
            Place::Open(at) => json().saturating_add(open.len() - at),
            Place::Next(at) => json().saturating_add(next.len() - at),
            Place::Json(guide) => guide.bytes_left().saturating_add(close.len()),
            Place::Close(at) => close.len() - at,
        }
    }
}

impl Follow for Following {
    fn follow(&mut self, byte: u8) -> bool {
        if let Place::Json(guide) = &mut self.place {
            let came = guide.advance(&[byte]);
            self.settle();
            return came;
        }
        let comes = self.unit() == Some(Unit::Byte(byte));
        if comes {
            self.pass();
        }
        comes
    }

    fn bytes_left(&self) -> usize {
        Following::bytes_left(self)
    }

    fn is_in_string(&self) -> bool {
        matches!(&self.place, Place::Json(guide) if guide.is_in_string())
    }
}
