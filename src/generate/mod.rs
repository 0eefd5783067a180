//! The generation loop: the model gives the logits of the next token, the sampler draws one, and again, until a [`Stop`].

mod beam;
mod calls;
mod continuation;
mod guide;
mod sampling;
mod stop;
pub mod strategy;
mod vocabulary;

pub use beam::{BeamSearch, Hypothesis, LengthPenalty, Stopping};
pub use calls::{CallGuide, CallGuideError, CallMarks, CallReader, Reply, Said, ToolChoice};
pub use continuation::{Continuation, advance};
pub use guide::Guide;
pub use sampling::{Sampler, Sampling};
pub use stop::{Finish, Stop, StopStrings};
pub use vocabulary::Vocabulary;

use std::slice::from_mut;

use crate::engine::{Reader, Session};
use crate::model::Model;
use crate::random::Random;
use crate::tokenizer::{TextStream, Tokenizer};

/// Continues a prompt. Returns the new tokens, without the prompt.
///
/// # Panics
/// If the prompt is empty. If there are stop strings: one may end within a token, so that no list of tokens would be the
/// result; [`generate_text`] knows texts.
pub fn generate<M: Model, E: Reader>(
    engine: &mut E,
    model: &M,
    params: &E::Params,
    prompt: &[usize],
    stop: &Stop,
    sampler: &mut Sampler,
    random: &mut Random,
) -> Vec<usize> {
    assert!(stop.strings.is_empty(), "generate: stop strings are for generate_text, which has a tokenizer");
    let mut session = Session::single(engine, model, params);
    let mut new = Continuation::new(prompt, stop.clone());
    let mut draw = |_, logits: &[f64], tokens: &[usize]| sampler.sample(logits, tokens, random);
    while advance(&mut session, from_mut(&mut new), &mut draw) {}
    new.tokens().to_vec()
}

/// What [`generate_text`] wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generated {
    /// The new text, without the prompt and without a stop string.
    pub text: String,
    /// How many tokens were drawn for it. A stop token does not count; those that a stop string is made of do.
    pub token_count: usize,
    /// Why it ended.
    pub finish: Finish,
}

/// Continues a prompt, and gives out the new text as it comes: `on_text` gets it in pieces of whole characters, none of which
/// can belong to a stop string.
///
/// # Panics
/// If the prompt is empty.
pub fn generate_text<M: Model, E: Reader>(
    (engine, model, params): (&mut E, &M, &E::Params),
    tokenizer: &dyn Tokenizer,
    prompt: &[usize],
    stop: &Stop,
    sampler: &mut Sampler,
    random: &mut Random,
    mut on_text: impl FnMut(&str),
) -> Generated {
    let (mut characters, mut watch) = (TextStream::after(tokenizer, prompt), StopStrings::new(&stop.strings));
    let mut text = String::new();
    let mut show = |text: &str, from: usize| {
        if text.len() > from {
            on_text(&text[from..]);
        }
    };
    let mut session = Session::single(engine, model, params);
    let mut new = Continuation::new(prompt, stop.clone());
    let mut draw = |_, logits: &[f64], tokens: &[usize]| sampler.sample(logits, tokens, random);
    let (mut seen, mut stopped) = (0, false);
    while advance(&mut session, from_mut(&mut new), &mut draw) {
        if let Some(&token) = new.tokens().get(seen) {
            let shown = text.len();
            stopped = watch.push(&characters.push(tokenizer, token), &mut text);
            show(&text, shown);
            seen += 1;
        }
        if stopped {
            new.end(Finish::Stop);
        }
    }
    let mut finish = new.finish().unwrap_or(Finish::Length);
    if !stopped {
        // No more tokens come, so whatever has waited for them is text as it is.
        let shown = text.len();
        if watch.push(&characters.finish(), &mut text) {
            finish = Finish::Stop;
        } else {
            text.push_str(&watch.finish());
        }
        show(&text, shown);
    }
    Generated { text, token_count: new.tokens().len(), finish }
}
