//! A reply, taken apart into text and calls while it comes.

use super::CallMarks;
use super::follow::{Unit, units};
use crate::generate::{StopStrings, Vocabulary};
use crate::tokenizer::{TextStream, Tokenizer};

/// A part of a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// Text, which can be shown.
    Text(String),
    /// What stood between the marks of a call. [`parse_call`](crate::data::parse_call) reads it.
    Call(String),
}

/// Takes a reply apart. Text is given out as soon as no mark can begin in it; a call when it is complete.
#[derive(Clone, Debug)]
pub struct CallReader {
    /// Before a call, without white space around, and after it.
    marks: [Mark; 2],
    /// A text in the middle of which nothing was said yet.
    fresh: TextStream,
    characters: TextStream,
    watch: StopStrings<'static>,
    /// The call so far, if one has begun.
    call: Option<String>,
    /// Whether nothing but white space has come since a call: it separates two calls, and is no text.
    after_call: bool,
}

/// A mark is a special token, or a text.
#[derive(Clone, Debug)]
struct Mark {
    token: Option<usize>,
    text: Vec<String>,
}

impl Mark {
    fn of(mark: &str, vocabulary: &Vocabulary) -> Self {
        let token = units(mark, vocabulary).into_iter().find_map(Unit::token);
        let text = if token.is_none() { vec![mark.trim().to_owned()] } else { Vec::new() };
        Mark { token, text }
    }

    fn watch(&self) -> StopStrings<'static> {
        StopStrings::new(self.text.clone())
    }
}

impl CallReader {
    /// A reply to a prompt, which has not begun.
    pub fn new(
        marks: &CallMarks,
        vocabulary: &Vocabulary,
        tokenizer: &dyn Tokenizer,
        prompt: &[usize],
    ) -> Self {
        let marks = [&marks.open, &marks.close].map(|mark| Mark::of(mark, vocabulary));
        let fresh = TextStream::after(tokenizer, prompt);
        CallReader {
            watch: marks[0].watch(),
            marks,
            characters: fresh.clone(),
            fresh,
            call: None,
            after_call: false,
        }
    }

    /// Whether a call has begun and is not complete.
    pub fn is_in_call(&self) -> bool {
        self.call.is_some()
    }

    /// What has come of a call that is not complete.
    pub fn begun(&self) -> Option<&str> {
        self.call.as_deref()
    }

    /// One more token. Returns what can be given out with it.
    pub fn push(&mut self, tokenizer: &dyn Tokenizer, token: usize) -> Vec<Said> {
        let mut said = Vec::new();
        if self.marks[usize::from(self.call.is_some())].token == Some(token) {
            let rest = std::mem::replace(&mut self.characters, self.fresh.clone()).finish();
            self.read(&rest, &mut said);
            self.turn(&mut said);
        } else {
            let text = self.characters.push(tokenizer, token);
            self.read(&text, &mut said);
        }
        said
    }

    /// The rest, when no more tokens come: text that was held back, or a call that was cut off.
    pub fn finish(mut self) -> Vec<Said> {
        let mut said = Vec::new();
        let rest = std::mem::take(&mut self.characters).finish();
        self.read(&rest, &mut said);
        let held = self.held();
        match self.call.take() {
            Some(call) => said.push(Said::Call((call + &held).trim().to_owned())),
            None => self.say(&held, &mut said),
        }
        said
    }

    fn held(&mut self) -> String {
        std::mem::replace(&mut self.watch, StopStrings::new(Vec::new())).finish()
    }

    /// More text, in which marks may be.
    fn read(&mut self, text: &str, said: &mut Vec<Said>) {
        for c in text.chars() {
            let mut shown = String::new();
            let is_mark = self.watch.push(c.encode_utf8(&mut [0; 4]), &mut shown);
            match &mut self.call {
                Some(call) => *call += &shown,
                None => self.say(&shown, said),
            }
            if is_mark {
                self.turn(said);
            }
        }
    }

    /// A mark has come: a call begins, or is complete.
    fn turn(&mut self, said: &mut Vec<Said>) {
        let held = self.held();
        self.call = match self.call.take() {
            Some(call) => {
                said.push(Said::Call((call + &held).trim().to_owned()));
                self.after_call = true;
                None
            }
            None => {
                self.say(&held, said);
                Some(String::new())
            }
        };
        self.watch = self.marks[usize::from(self.call.is_some())].watch();
    }

    /// Adds text to what is given out.
    fn say(&mut self, text: &str, said: &mut Vec<Said>) {
        let text = if self.after_call { text.trim_start() } else { text };
        if text.is_empty() {
            return;
        }
        self.after_call = false;
        match said.last_mut() {
            Some(Said::Text(before)) => before.push_str(text),
            _ => said.push(Said::Text(text.to_owned())),
        }
    }
}
