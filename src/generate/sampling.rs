//! Sampling: how the next token is drawn from the logits.

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
    /// Logits of the last 32 tokens are divided by it if positive, else multiplied (Keskar et al. 2019). 1 changes nothing.
    pub repetition_penalty: f64,
    /// A token that is never drawn, such as BOS, which has no place in the middle of a text.
    pub suppress: Option<usize>,
}
// ANCHOR_END: sampling

impl Default for Sampling {
    fn default() -> Self {
        Sampling { temperature: 1.0, top_k: None, top_p: None, repetition_penalty: 1.0, suppress: None }
    }
}

/// Draws tokens. It reuses its memory from one to the next.
#[derive(Clone, Debug)]
pub struct Sampler {
    sampling: Sampling,
    logits: Vec<f64>,
    order: Vec<usize>,
}

impl Sampler {
    /// A sampler with these settings.
    pub fn new(sampling: Sampling) -> Self {
        Sampler { sampling, logits: Vec::new(), order: Vec::new() }
    }

    /// Draws the next token, given the logits of all tokens and the tokens so far.
    pub fn sample(&mut self, logits: &[f64], tokens: &[usize], random: &mut Random) -> usize {
        let Sampling { temperature, top_k, top_p, repetition_penalty, suppress } = self.sampling;
        self.logits.clear();
        self.logits.extend_from_slice(logits);
        let scores = &mut self.logits;
        if let Some(token) = suppress {
            scores[token] = f64::NEG_INFINITY;
        }
        if repetition_penalty != 1.0 {
            for &token in &tokens[tokens.len().saturating_sub(RECENT)..] {
                // Always from the original logit, so that a token that occurs twice is penalised once.
                let x = if suppress == Some(token) { continue } else { logits[token] };
                scores[token] = if x > 0.0 { x / repetition_penalty } else { x * repetition_penalty };
            }
        }
        let likeliest =
            |x: &[f64]| (0..x.len()).max_by(|&a, &b| x[a].total_cmp(&x[b]).then(b.cmp(&a))).unwrap_or(0);
        if temperature <= 0.0 {
            return likeliest(scores);
        }
        scores.iter_mut().for_each(|x| *x /= temperature);
        let top = likeliest(scores);
        if let Some(k) = top_k.filter(|k| (1..scores.len()).contains(k)) {
            sort(&mut self.order, scores);
            self.order[k..].iter().for_each(|&token| scores[token] = f64::NEG_INFINITY);
        }
        let max = scores[top];
        scores.iter_mut().for_each(|x| *x = (*x - max).exp());
        let mut total: f64 = scores.iter().sum();
        if let Some(p) = top_p.filter(|p| *p < 1.0) {
            sort(&mut self.order, scores);
            let mut sum = 0.0;
            for &token in &self.order {
                // The likeliest token is always kept, and so is the one with which the sum reaches p.
                if sum >= p * total && token != top {
                    scores[token] = 0.0;
                } else {
                    sum += scores[token];
                }
            }
            total = sum;
        }
        scores.iter_mut().for_each(|w| *w /= total);
        // If logits are NaN or infinite, there are no probabilities to draw from.
        if total.is_finite() { random.choice(scores) } else { top }
    }
}

/// Puts all tokens into `order`, from the greatest score to the least.
fn sort(order: &mut Vec<usize>, scores: &[f64]) {
    order.clear();
    order.extend(0..scores.len());
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
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
