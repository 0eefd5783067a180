//! The loop that speaks: the model scores what may come next, the sampler chooses, again.

mod sampling;

pub use sampling::{Sampler, Sampling};

use crate::engine::Engine;
use crate::model::Model;
use crate::random::Random;

/// Continues a prompt until the model says `stop`, or until prompt and answer together fill the model's context.
/// Returns what was added, without the `stop`.
pub fn generate<M: Model, E: Engine>(
    engine: &mut E,
    model: &M,
    weights: &[E::Real],
    prompt: &[usize],
    stop: usize,
    sampler: &mut Sampler,
    random: &mut Random,
) -> Vec<usize> {
    let mut tokens = prompt.to_vec();
    engine.generate(model, weights, prompt, &mut |logits| {
        let chosen = sampler.choose(logits, &tokens, random);
        if chosen == stop {
            return None;
        }
        tokens.push(chosen);
        (tokens.len() <= model.context()).then_some(chosen)
    });
    tokens.split_off(prompt.len())
}
