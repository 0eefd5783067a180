//! The generation loop: the model gives the logits of the next token, the sampler draws one, and again.

mod sampling;

pub use sampling::{Sampler, Sampling};

use crate::engine::Engine;
use crate::model::Model;
use crate::random::Random;

/// Where generation ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// At this token, which is not part of the result, or when prompt and result together fill the model's context.
    At(usize),
    /// After this many tokens. There may be more than the context holds: whenever it is full, the model reads its last half
    /// again and continues from there.
    After(usize),
}

/// Continues a prompt. Returns the new tokens, without the prompt.
///
/// # Panics
/// If the prompt is empty.
pub fn generate<M: Model, E: Engine>(
    engine: &mut E,
    model: &M,
    params: &[E::Real],
    prompt: &[usize],
    stop: Stop,
    sampler: &mut Sampler,
    random: &mut Random,
) -> Vec<usize> {
    assert!(!prompt.is_empty(), "generate: an empty prompt; start with BOS or with some text");
    let context = model.context();
    let mut tokens = prompt.to_vec();
    let mut done = false;
    while !done {
        let kept = if tokens.len() < context { tokens.len() } else { context.div_ceil(2) };
        let window = tokens[tokens.len() - kept..].to_vec();
        done = engine.decode(model, params, |session| {
            let mut logits = session.feed(&window);
            loop {
                if stop == Stop::After(tokens.len() - prompt.len()) {
                    return true;
                }
                let token = sampler.sample(logits, &tokens, random);
                if stop == Stop::At(token) {
                    return true;
                }
                tokens.push(token);
                if session.len() == context {
                    return matches!(stop, Stop::At(_)); // or continue in a new window
                }
                logits = session.feed(&[token]);
            }
        });
    }
    tokens.split_off(prompt.len())
}
