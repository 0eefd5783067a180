//! Chat templates: how a conversation becomes one text, and which parts of it a model learns to say.
//!
//! A template is a program in the language Jinja that is stored with a model (`chat_template.jinja`). It puts the marks around
//! each message that the model knows from its training. This module renders templates as Hugging Face's `transformers` does:
//! `trim_blocks` and `lstrip_blocks`, Python's spelling of values, a `tojson` that escapes no HTML, `raise_exception`,
//! `strftime_now`, and `{% generation %} … {% endgeneration %}` around what the assistant says.
//!
//! From the same rendering comes the loss mask ([`Rendered::tokens`]), so that mask and text cannot disagree. And a mark that
//! somebody typed into a message stays plain text: only the template can put special tokens into a conversation.
//!
//! `generation.rs` rewrites the one tag that the crate `minijinja` does not know, `python.rs` spells values as Python does,
//! `clock.rs` is `strftime_now`, and `tokens.rs` makes tokens of the text.

mod clock;
mod generation;
mod python;
mod tokens;

use std::io;
use std::ops::Range;
use std::panic::resume_unwind;
use std::thread;
use std::time::SystemTime;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Serde};
use minijinja::{AutoEscape, Environment, ErrorKind, State, Value, context};
use serde::Deserialize;

use super::UnknownText;

/// How much work a template may do, in steps of its interpreter: a template comes from a file that anybody may have written. A
/// step also pays for 64 bytes of text. A thousand messages take about a fifth of it.
const FUEL: u64 = 500_000;

/// The stack of the thread that a template runs on, in bytes; only what is used of it takes memory. With so much fuel a template can
/// put lists into each other so deep that freeing them needs more than a usual stack, and the program would end.
const STACK: usize = 1 << 28;

/// The name that a template has in its own errors.
const NAME: &str = "chat_template";

/// A template that was parsed.
#[derive(Clone, Debug)]
pub struct ChatTemplate {
    source: String,
    environment: Environment<'static>,
}

/// What is to be rendered.
#[derive(Clone, Copy, Debug)]
pub struct Chat<'a> {
    /// The messages: an array of objects with `role` and `content`.
    pub messages: &'a serde_json::Value,
    /// The tools that are offered: an array of JSON schemas, if there are any.
    pub tools: Option<&'a serde_json::Value>,
    /// Whether the text ends where the assistant is to go on.
    pub add_generation_prompt: bool,
    /// Special tokens that templates ask for by name, such as `("bos_token", "<s>")`.
    pub named: &'a [(&'a str, &'a str)],
    /// All special tokens: where a message has the same characters, they stay characters.
    pub special: &'a [&'a str],
    /// For templates that say which day it is: in universal time.
    pub now: SystemTime,
}

/// A conversation as text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rendered {
    /// The text.
    pub text: String,
    /// What of it the assistant says, in bytes: what the template marks as generated.
    pub generated: Vec<Range<usize>>,
    /// Where the name of a special token stands that a message brought along: its first byte.
    pub literal: Vec<usize>,
}

/// Why there is no text, or no tokens of it.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// The template is not in the language Jinja.
    #[error("the chat template does not parse: {0}")]
    Parse(String),
    /// The template cannot render these messages: it says so itself, or asks for something that they do not have.
    #[error("the chat template cannot render this conversation: {0}")]
    Render(String),
    /// The tokenizer has no token for a part of the text.
    #[error(transparent)]
    Unknown(#[from] UnknownText),
}

impl ChatTemplate {
    /// The template of the models that this crate trains.
    pub const GRADUS: &str = include_str!("gradus.jinja");

    /// Parses a template.
    ///
    /// # Errors
    /// If it is not in the language Jinja: says in which line.
    pub fn new(source: &str) -> Result<Self, TemplateError> {
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.expect("the usual brackets"));
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_fuel(Some(FUEL));
        environment.set_formatter(python::write);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_filter("tojson", to_json);
        environment.add_function("raise_exception", |message: String| -> Result<Value, minijinja::Error> {
            Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
        });
        let rewritten = generation::rewrite(source);
        environment
            .add_template_owned(NAME, rewritten)
            .map_err(|error| TemplateError::Parse(in_words(&error)))?;
        Ok(ChatTemplate { source: source.to_owned(), environment })
    }

    /// The template as it was given.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether it marks what the assistant says. If not, nothing of a conversation can be told apart as the assistant's.
    pub fn marks_generated(&self) -> bool {
        generation::is_marked(&self.source)
    }

    /// Renders a conversation.
    ///
    /// # Errors
    /// If the template refuses it, or asks for something that is not there.
    pub fn render(&self, chat: &Chat<'_>) -> Result<Rendered, TemplateError> {
        let wrong = |error: minijinja::Error| TemplateError::Render(in_words(&error));
        let guard = tokens::Guard::new([Some(chat.messages), chat.tools]).ok_or_else(|| {
            TemplateError::Render("its messages have all characters for private use".to_owned())
        })?;
        let [open, close] = guard.around;
        let mut environment = self.environment.clone();
        let now = chat.now;
        environment.add_function("strftime_now", move |format: String| clock::write(now, &format));
        environment.add_function(generation::FUNCTION, move |state: &mut State, options: Kwargs| {
            let said: Value = options.get::<Value>("caller")?.call(state, &[])?;
            Ok::<_, minijinja::Error>(Value::from(format!("{open}{said}{close}")))
        });
        let named = Value::from_pairs(chat.named.iter().copied());
        let messages = Value::from(Serde(guard.guarded(chat.messages, chat.special)));
        let tools = chat.tools.map(|tools| Value::from(Serde(guard.guarded(tools, chat.special))));
        let template = environment.get_template(NAME).map_err(wrong)?;
        let values = context! {
            messages,
            tools => tools.unwrap_or_else(|| Value::from(())),
            documents => Value::from(()),
            add_generation_prompt => chat.add_generation_prompt,
            ..named
        };
        let rendered = on_a_large_stack(move || template.render(values));
        let rendered =
            rendered.map_err(|error| TemplateError::Render(format!("no thread for it: {error}")))?;
        Ok(guard.taken_out(&rendered.map_err(wrong)?))
    }
}

/// Runs some work on a thread with a stack of [`STACK`] bytes. A panic goes on in this one.
fn on_a_large_stack<R: Send>(work: impl FnOnce() -> R + Send) -> io::Result<R> {
    thread::scope(|scope| {
        let running = thread::Builder::new().stack_size(STACK).spawn_scoped(scope, work)?;
        Ok(running.join().unwrap_or_else(|panic| resume_unwind(panic)))
    })
}

/// An error with its line and what caused it.
fn in_words(error: &minijinja::Error) -> String {
    let what = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    match error.line() {
        Some(line) => format!("{what} (line {line})"),
        None => what,
    }
}

/// `transformers`' filter: JSON as Python writes it.
fn to_json(state: &mut State, value: &Value, options: Kwargs) -> Result<String, minijinja::Error> {
    let style = python::JsonStyle {
        ascii: options.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false),
        indent: options.get("indent")?,
        separators: options.get::<Option<Serde<_>>>("separators")?.map(|pair| pair.0),
        sorted: options.get::<Option<bool>>("sort_keys")?.unwrap_or(false),
    };
    options.assert_all_used()?;
    style.check()?;
    python::charge(state, value, &|depth| style.space(depth))?;
    Ok(style.write(&serde_json::Value::deserialize(value)?))
}
