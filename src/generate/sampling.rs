//! How the next token is chosen from the logits.

use crate::random::Random;

/// How many of the last tokens the repetition penalty looks at.
const RECENT: usize = 32;

// ANCHOR: sampling
/// What a sampler is told. The default leaves the model's probabilities as they are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// Logits are divided by it: below 1 the likely becomes likelier, and at 0 only the likeliest is chosen.
    pub temperature: f64,
    /// Only so many of the likeliest tokens may be chosen.
    pub top_k: Option<usize>,
    /// Only the likeliest tokens may be chosen that together have this probability (nucleus, Holtzman et al. 2019).
    pub top_p: Option<f64>,
    /// Logits of tokens among the last 32 are divided by it if positive, else multiplied (Keskar et al. 2019): 1 changes
    /// nothing.
    pub repetition_penalty: f64,
    /// A token that is never chosen: a mark that has no place in an answer.
    pub suppress: Option<usize>,
}
// ANCHOR_END: sampling

impl Default for Sampling {
    fn default() -> Self {
        Sampling { temperature: 1.0, top_k: None, top_p: None, repetition_penalty: 1.0, suppress: None }
    }
}

/// Chooses tokens. Its memory is kept from one to the next.
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

    /// A token, given the logits of all and the tokens so far.
    pub fn choose(&mut self, logits: &[f64], before: &[usize], random: &mut Random) -> usize {
        let Sampling { temperature, top_k, top_p, repetition_penalty, suppress } = self.sampling;
        self.logits.clear();
        self.logits.extend_from_slice(logits);
        let scores = &mut self.logits;
        if let Some(token) = suppress {
            scores[token] = f64::NEG_INFINITY;
        }
        if repetition_penalty != 1.0 {
            for &token in &before[before.len().saturating_sub(RECENT)..] {
                // From the given logits, so that it counts once however often the token occurs.
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
                // The first token is kept in any case, and so is the one that reaches p.
                if sum >= p * total && token != top {
                    scores[token] = 0.0;
                } else {
                    sum += scores[token];
                }
            }
            total = sum;
        }
        scores.iter_mut().for_each(|w| *w /= total);
        // Logits that are no numbers leave no choice but one.
        if total.is_finite() { random.choice(scores) } else { top }
    }
}

/// All tokens, from the greatest score to the least.
fn sort(order: &mut Vec<usize>, scores: &[f64]) {
    order.clear();
    order.extend(0..scores.len());
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGITS: [f64; 4] = [0.0, 2.0, 1.0, -1.0];

    /// How often each token is chosen in ten thousand.
    fn shares(sampling: Sampling, before: &[usize]) -> [f64; 4] {
        let (mut sampler, mut random) = (Sampler::new(sampling), Random::new(1));
        let mut counts = [0.0; 4];
        (0..10_000).for_each(|_| counts[sampler.choose(&LOGITS, before, &mut random)] += 1e-4);
        counts
    }

    fn assert_close(have: [f64; 4], want: [f64; 4]) {
        assert!(have.iter().zip(want).all(|(a, b)| (a - b).abs() < 0.02), "{have:?} instead of {want:?}");
    }

    #[test]
    fn probabilities_are_those_of_the_softmax() {
        assert_close(shares(Sampling::default(), &[]), [0.0871, 0.6439, 0.2369, 0.0321]);
        let cold = Sampling { temperature: 0.5, ..Sampling::default() };
        assert_close(shares(cold, &[]), [0.0159, 0.8650, 0.1171, 0.0021]);
        let greedy = Sampling { temperature: 0.0, ..Sampling::default() };
        assert_close(shares(greedy, &[]), [0.0, 1.0, 0.0, 0.0]);
    }

    #[test]
    fn top_k_and_top_p_leave_only_the_likeliest() {
        let top_2 = Sampling { top_k: Some(2), ..Sampling::default() };
        assert_close(shares(top_2, &[]), [0.0, 0.7311, 0.2689, 0.0]);
        // 0.64 does not reach 0.8, with 0.24 more it does.
        let nucleus = Sampling { top_p: Some(0.8), ..Sampling::default() };
        assert_close(shares(nucleus, &[]), [0.0, 0.7311, 0.2689, 0.0]);
        let tiny = Sampling { top_p: Some(0.01), ..Sampling::default() };
        assert_close(shares(tiny, &[]), [0.0, 1.0, 0.0, 0.0]);
    }

    #[test]
    fn what_was_said_is_said_less() {
        let penalty = Sampling { repetition_penalty: 2.0, ..Sampling::default() };
        // The logits become 0, 1, 1 and -2.
        assert_close(shares(penalty, &[1, 3, 1]), [0.1527, 0.4152, 0.4152, 0.0207]);
    }

    #[test]
    fn what_is_never_chosen() {
        let suppress = Sampling { suppress: Some(1), ..Sampling::default() };
        assert_close(shares(suppress, &[1]), [0.2447, 0.0, 0.6652, 0.0900]);
        let greedy = Sampling { temperature: 0.0, ..suppress };
        assert_close(shares(greedy, &[]), [0.0, 0.0, 1.0, 0.0]);
    }

    #[test]
    fn broken_logits_do_no_harm() {
        let mut sampler = Sampler::new(Sampling { top_p: Some(0.9), top_k: Some(3), ..Sampling::default() });
        for logits in [[f64::NAN; 4], [f64::INFINITY; 4], [f64::NEG_INFINITY; 4]] {
            assert!(sampler.choose(&logits, &[], &mut Random::new(1)) < 4);
        }
    }
}
