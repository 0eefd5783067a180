//! How the next token is chosen from the logits.

use crate::random::Random;

/// What a sampler is told.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// Logits are divided by it: below 1 the likely becomes likelier, and at 0 only the likeliest is chosen.
    pub temperature: f64,
}

/// Chooses tokens. Its memory is kept from one to the next.
#[derive(Clone, Debug)]
pub struct Sampler {
    sampling: Sampling,
    weights: Vec<f64>,
}

impl Sampler {
    /// A sampler with these settings.
    pub fn new(sampling: Sampling) -> Self {
        Sampler { sampling, weights: Vec::new() }
    }

    // ANCHOR: choose
    /// A token, given the logits of all and the tokens so far.
    pub fn choose(&mut self, logits: &[f64], _before: &[usize], random: &mut Random) -> usize {
        let likeliest = || (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap_or(0);
        if self.sampling.temperature <= 0.0 {
            return likeliest();
        }
        let t = self.sampling.temperature;
        let max = logits.iter().fold(f64::NEG_INFINITY, |max, &x| max.max(x / t));
        self.weights.clear();
        self.weights.extend(logits.iter().map(|x| (x / t - max).exp()));
        let total: f64 = self.weights.iter().sum();
        self.weights.iter_mut().for_each(|w| *w /= total);
        if total.is_finite() { random.choice(&self.weights) } else { likeliest() }
    }
    // ANCHOR_END: choose
}
