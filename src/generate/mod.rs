//! The generation loop: the model gives the logits of the next token, the sampler draws one, and again, until a [`Stop`].

mod sampling;
mod stop;
pub mod strategy;

pub use sampling::{Sampler, Sampling};
pub use stop::{Finish, Stop, StopStrings};

use crate::engine::{Engine, Session};
use crate::model::Model;
use crate::random::Random;
use crate::tokenizer::{TextStream, Tokenizer};

/// Continues a prompt. Returns the new tokens, without the prompt.
///
/// # Panics
/// If the prompt is empty. If there are stop strings: one may end within a token, so that no list of tokens would be the
/// result; [`generate_text`] knows texts.
pub fn generate<M: Model, E: Engine>(
    engine: &mut E,
    model: &M,
    params: &[E::Real],
    prompt: &[usize],
    stop: &Stop,
    sampler: &mut Sampler,
    random: &mut Random,
) -> Vec<usize> {
    assert!(stop.strings.is_empty(), "generate: stop strings are for generate_text, which has a tokenizer");
    let mut tokens = prompt.to_vec();
    continue_tokens((engine, model, params), &mut tokens, stop, (sampler, random), |_| false);
    tokens.split_off(prompt.len())
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
pub fn generate_text<M: Model, E: Engine>(
    (engine, model, params): (&mut E, &M, &[E::Real]),
    tokenizer: &dyn Tokenizer,
    prompt: &[usize],
    stop: &Stop,
    sampler: &mut Sampler,
    random: &mut Random,
    mut on_text: impl FnMut(&str),
) -> Generated {
    let (mut characters, mut watch) = (TextStream::default(), StopStrings::new(&stop.strings));
    let mut text = String::new();
    let mut show = |text: &str, from: usize| {
        if text.len() > from {
            on_text(&text[from..]);
        }
    };
    let mut tokens = prompt.to_vec();
    let mut stopped = false;
    let parts = (engine, model, params);
    let mut finish = continue_tokens(parts, &mut tokens, stop, (sampler, random), |token| {
        let shown = text.len();
        stopped = watch.push(&characters.push(tokenizer, token), &mut text);
        show(&text, shown);
        stopped
    });
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
    Generated { text, token_count: tokens.len() - prompt.len(), finish }
}

/// The loop: appends to `tokens`, which begin with the prompt, until a stop token, the maximum, or until `ended` says so of
/// the token that was appended last.
fn continue_tokens<M: Model, E: Engine>(
    (engine, model, params): (&mut E, &M, &[E::Real]),
    tokens: &mut Vec<usize>,
    stop: &Stop,
    (sampler, random): (&mut Sampler, &mut Random),
    mut ended: impl FnMut(usize) -> bool,
) -> Finish {
    assert!(!tokens.is_empty(), "generate: an empty prompt; start with BOS or with some text");
    let context = model.context();
    let most = stop.max_tokens.map(|count| tokens.len().saturating_add(count));
    let mut session = Session::single(engine, model, params);
    loop {
        let kept = if tokens.len() < context { tokens.len() } else { context.div_ceil(2) };
        session.truncate(0, 0);
        let mut logits = session.feed(0, &tokens[tokens.len() - kept..]);
        loop {
            if Some(tokens.len()) == most {
                return Finish::Length;
            }
            let token = sampler.sample(logits, tokens, random);
            if stop.tokens.contains(&token) {
                return Finish::Stop;
            }
            tokens.push(token);
            if ended(token) {
                return Finish::Stop;
            }
            if session.len(0) == context {
                break; // and continue in a new window
            }
            logits = session.feed(0, &[token]);
        }
        if most.is_none() {
            return Finish::Length;
        }
    }
}
