//! The loop that speaks: the model scores what may come next, the sampler chooses, again.

mod sampling;

pub use sampling::{Sampler, Sampling};

use crate::engine::Engine;
use crate::model::Model;
use crate::random::Random;

/// Where generation ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// At this token, which is not part of the answer, or when prompt and answer together fill the model's context.
    At(usize),
    /// After so many tokens, of which there may be more than the context holds: whenever it is full, the model reads the
    /// last half of it anew and goes on from there.
    After(usize),
}

/// Continues a prompt. Returns what was added.
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
    assert!(!prompt.is_empty(), "generate: an empty prompt; begin with BOS, or with some text");
    let context = model.context();
    let mut tokens = prompt.to_vec();
    let mut over = false;
    while !over {
        let kept = if tokens.len() < context { tokens.len() } else { context.div_ceil(2) };
        let window = tokens[tokens.len() - kept..].to_vec();
        over = engine.decode(model, params, |session| {
            let mut logits = session.feed(&window);
            loop {
                if stop == Stop::After(tokens.len() - prompt.len()) {
                    return true;
                }
                let chosen = sampler.choose(logits, &tokens, random);
                if stop == Stop::At(chosen) {
                    return true;
                }
                tokens.push(chosen);
                if session.len() == context {
                    return matches!(stop, Stop::At(_)); // or go on in a new window
                }
                logits = session.feed(&[chosen]);
            }
        });
    }
    tokens.split_off(prompt.len())
}
