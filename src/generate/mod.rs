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

/// Continues a prompt, which must not be empty. Returns what was added.
pub fn generate<M: Model, E: Engine>(
    engine: &mut E,
    model: &M,
    params: &[E::Real],
    prompt: &[usize],
    stop: Stop,
    sampler: &mut Sampler,
    random: &mut Random,
) -> Vec<usize> {
    let context = model.context();
    let mut tokens = prompt.to_vec();
    let mut over = false;
    while !over {
        let kept = if tokens.len() < context { tokens.len() } else { context.div_ceil(2) };
        let window = tokens[tokens.len() - kept..].to_vec();
        let mut read = window.len();
        engine.generate(model, params, &window, &mut |logits| {
            if stop == Stop::After(tokens.len() - prompt.len()) {
                over = true;
                return None;
            }
            let chosen = sampler.choose(logits, &tokens, random);
            if stop == Stop::At(chosen) {
                over = true;
                return None;
            }
            tokens.push(chosen);
            read += 1;
            (read <= context).then_some(chosen)
        });
        over = over || matches!(stop, Stop::At(_));
    }
    tokens.split_off(prompt.len())
}
