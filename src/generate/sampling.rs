//! Sampling: how the next token is drawn from the logits.

use super::{CallGuide, strategy};
use crate::random::Random;

/// How many of the last tokens the repetition penalty looks at.
const RECENT: usize = 32;

// ANCHOR: sampling
/// The settings of a sampler. By default it draws from the model's own probabilities.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// Logits are divided by it. Below 1, likely tokens become likelier; at 0, the likeliest is always chosen (greedy).
    pub temperature: f64,
    /// Draw only from this many of the likeliest tokens.
    pub top_k: Option<usize>,
    /// Draw only from the likeliest tokens that together have this probability (nucleus sampling, Holtzman et al. 2019).
    pub top_p: Option<f64>,
    /// Draw only tokens with at least this share of the likeliest token's probability (min-p, Nguyen et al. 2024).
    pub min_p: Option<f64>,
    /// Logits of the last 32 tokens are divided by it if positive, else multiplied (Keskar et al. 2019). 1 changes nothing.
    pub repetition_penalty: f64,
    /// No run of this many tokens comes twice, prompt included (Paulus et al. 2017), unless every token would repeat one.
    pub no_repeat_ngram: Option<usize>,
    /// A token that is never drawn, such as BOS, which has no place in the middle of a text.
    pub suppress: Option<usize>,
}
// ANCHOR_END: sampling

impl Default for Sampling {
    fn default() -> Self {
        Sampling {
            temperature: 1.0,
            top_k: None,
            top_p: None,
            min_p: None,
            repetition_penalty: 1.0,
            no_repeat_ngram: None,
            suppress: None,
        }
    }
}

/// Draws tokens. It reuses its memory from one to the next.
#[derive(Clone, Debug)]
pub struct Sampler {
    sampling: Sampling,
    /// Logits, later weights.
    scores: Vec<f64>,
    order: Vec<usize>,
    /// The logits of the tokens that a guide allows.
    masked: Vec<f64>,
}

impl Sampler {
    /// A sampler with these settings.
    pub fn new(sampling: Sampling) -> Self {
        Sampler { sampling, scores: Vec::new(), order: Vec::new(), masked: Vec::new() }
    }

    /// Draws the next token, given the logits of all tokens and the tokens so far.
    pub fn sample(&mut self, logits: &[f64], tokens: &[usize], random: &mut Random) -> usize {
        let Sampling { temperature, top_k, top_p, min_p, no_repeat_ngram, .. } = self.sampling;
        self.penalise(logits, tokens, no_repeat_ngram);
        let mut top = strategy::greedy(&self.scores);
        if no_repeat_ngram.is_some() && self.scores[top] == f64::NEG_INFINITY {
            // Every token would repeat something, and one has to come.
            self.penalise(logits, tokens, None);
            top = strategy::greedy(&self.scores);
        }
        if temperature <= 0.0 {
            return top;
        }
        let Sampler { scores, order, .. } = self;
        strategy::temperature(scores, temperature);
        if let Some(k) = top_k {
            strategy::top_k(scores, k, order);
        }
        let mut sum = strategy::weights(scores);
        if let Some(p) = top_p {
            sum = strategy::top_p(scores, sum, p, order);
        }
        if let Some(p) = min_p {
            strategy::min_p(scores, p); // what is drawn depends on proportions only
        }
        scores.iter_mut().for_each(|weight| *weight /= sum);
        // If logits are NaN or infinite, there are no probabilities to draw from.
        if sum.is_finite() { random.choice(scores) } else { top }
    }

    /// The same for a reply whose calls are held to their schemas: no token is drawn that the guide forbids, and the guide follows.
    pub fn sample_guided(
        &mut self,
        logits: &[f64],
        tokens: &[usize],
        random: &mut Random,
        guide: &mut CallGuide,
    ) -> usize {
        let mut masked = std::mem::take(&mut self.masked);
        masked.clear();
        masked.extend_from_slice(logits);
        guide.mask(&mut masked);
        let mut token = self.sample(&masked, tokens, random);
        if masked[token] == f64::NEG_INFINITY {
            token = strategy::greedy(&masked); // by rounding, the dart landed at the very end
        }
        guide.push(token);
        self.masked = masked;
        token
    }

    /// Makes repeated tokens less likely and forbids those that must not come.
    fn penalise(&mut self, logits: &[f64], tokens: &[usize], no_repeat_ngram: Option<usize>) {
        let Sampling { repetition_penalty, suppress, .. } = self.sampling;
        self.scores.clear();
        self.scores.extend_from_slice(logits);
        if repetition_penalty != 1.0 {
            let lately = &tokens[tokens.len().saturating_sub(RECENT)..];
            strategy::repetition_penalty(&mut self.scores, logits, lately, repetition_penalty);
        }
        if let Some(n) = no_repeat_ngram {
            strategy::no_repeat_ngram(&mut self.scores, tokens, n);
        }
        if let Some(token) = suppress {
            strategy::suppress(&mut self.scores, token);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGITS: [f64; 4] = [0.0, 2.0, 1.0, -1.0];

    /// The frequency of each token in ten thousand draws.
    fn frequencies(sampling: Sampling, tokens: &[usize]) -> [f64; 4] {
        let (mut sampler, mut random) = (Sampler::new(sampling), Random::new(1));
        let mut frequencies = [0.0; 4];
        (0..10_000).for_each(|_| frequencies[sampler.sample(&LOGITS, tokens, &mut random)] += 1e-4);
        frequencies
    }

    fn assert_close(actual: [f64; 4], expected: [f64; 4]) {
        assert!(
            actual.iter().zip(expected).all(|(a, b)| (a - b).abs() < 0.02),
            "{actual:?} instead of {expected:?}"
        );
    }

    #[test]
    fn probabilities_are_those_of_the_softmax() {
        assert_close(frequencies(Sampling::default(), &[]), [0.0871, 0.6439, 0.2369, 0.0321]);
        let cold = Sampling { temperature: 0.5, ..Sampling::default() };
        assert_close(frequencies(cold, &[]), [0.0159, 0.8650, 0.1171, 0.0021]);
        let greedy = Sampling { temperature: 0.0, ..Sampling::default() };
        assert_close(frequencies(greedy, &[]), [0.0, 1.0, 0.0, 0.0]);
    }

    #[test]
    fn top_k_and_top_p_leave_only_the_likeliest() {
        let top_2 = Sampling { top_k: Some(2), ..Sampling::default() };
        assert_close(frequencies(top_2, &[]), [0.0, 0.7311, 0.2689, 0.0]);
        // 0.64 does not reach 0.8, with 0.24 more it does.
        let nucleus = Sampling { top_p: Some(0.8), ..Sampling::default() };
        assert_close(frequencies(nucleus, &[]), [0.0, 0.7311, 0.2689, 0.0]);
        let tiny = Sampling { top_p: Some(0.01), ..Sampling::default() };
        assert_close(frequencies(tiny, &[]), [0.0, 1.0, 0.0, 0.0]);
    }

    #[test]
    fn min_p_leaves_what_is_not_far_from_the_likeliest() {
        // Beside the likeliest, the others have e^-2 = 0.14, e^-1 = 0.37 and e^-3 = 0.05.
        let half = Sampling { min_p: Some(0.3), ..Sampling::default() };
        assert_close(frequencies(half, &[]), [0.0, 0.7311, 0.2689, 0.0]);
        // With the temperature they are farther apart, and top-k has gone before.
        let cold = Sampling { temperature: 0.5, min_p: Some(0.1), ..Sampling::default() };
        assert_close(frequencies(cold, &[]), [0.0, 0.8808, 0.1192, 0.0]);
        let both = Sampling { top_p: Some(0.9), min_p: Some(0.1), ..Sampling::default() };
        assert_close(frequencies(both, &[]), [0.0900, 0.6652, 0.2447, 0.0]);
    }

    #[test]
    fn runs_of_tokens_come_once_unless_nothing_else_is_left() {
        let pairs = Sampling { no_repeat_ngram: Some(2), ..Sampling::default() };
        assert_close(frequencies(pairs, &[0, 1, 0]), [0.2447, 0.0, 0.6652, 0.0900]);
        assert_close(frequencies(pairs, &[0, 1, 2]), frequencies(Sampling::default(), &[]));
        // All four have come, so each may come again; but what is suppressed does not.
        let singles = Sampling { no_repeat_ngram: Some(1), suppress: Some(1), ..Sampling::default() };
        assert_close(frequencies(singles, &[3, 0, 2]), [0.2447, 0.0, 0.6652, 0.0900]);
        assert_close(frequencies(singles, &[3, 0]), [0.0, 0.0, 1.0, 0.0]);
        let greedy = Sampling { temperature: 0.0, ..singles };
        assert_close(frequencies(greedy, &[2]), [1.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn repeated_tokens_are_penalised() {
        let penalty = Sampling { repetition_penalty: 2.0, ..Sampling::default() };
        // The logits become 0, 1, 1 and -2.
        assert_close(frequencies(penalty, &[1, 3, 1]), [0.1527, 0.4152, 0.4152, 0.0207]);
    }

    #[test]
    fn a_suppressed_token_is_never_drawn() {
        let suppress = Sampling { suppress: Some(1), ..Sampling::default() };
        assert_close(frequencies(suppress, &[1]), [0.2447, 0.0, 0.6652, 0.0900]);
        let greedy = Sampling { temperature: 0.0, ..suppress };
        assert_close(frequencies(greedy, &[]), [0.0, 0.0, 1.0, 0.0]);
    }

    #[test]
    fn logits_that_are_not_finite_do_no_harm() {
        let mut sampler = Sampler::new(Sampling { top_p: Some(0.9), top_k: Some(3), ..Sampling::default() });
        for logits in [[f64::NAN; 4], [f64::INFINITY; 4], [f64::NEG_INFINITY; 4]] {
            assert!(sampler.sample(&logits, &[], &mut Random::new(1)) < 4);
        }
    }
}
