//! The strategies by which a token is chosen, each a small function. [`Sampler`](super::Sampler) applies them one after the
//! other; other loops over a session can do so too.
//!
//! The first ones change *logits*, one for each token of the vocabulary. A token that must not come gets `-∞`. Then
//! [`weights`] turns logits into probabilities, but for a common factor, and the last ones change these: a token that must not
//! come gets 0. A search over whole texts, such as [`BeamSearch`](super::BeamSearch), takes [`log_softmax`] in their place.
//! None allocates memory, except that the list `order` grows to the size of the vocabulary once.

/// The token with the greatest logit, the first of several. If there are none, 0.
pub fn greedy(logits: &[f64]) -> usize {
    /// Most of so many neighbours are all less than the best before them, which is soon seen.
    const NEIGHBOURS: usize = 64;
    let mut best: Option<(usize, f64)> = None;
    for (chunk, some) in logits.chunks(NEIGHBOURS).enumerate() {
        if best.is_some_and(|(_, best)| all_below(some, best)) {
            continue;
        }
        for (i, &x) in some.iter().enumerate() {
            if best.is_none_or(|(_, best)| x.total_cmp(&best).is_gt()) {
                best = Some((chunk * NEIGHBOURS + i, x));
            }
        }
    }
    best.map_or(0, |(token, _)| token)
}

/// Whether all numbers are less than a limit. NaN is not, and nothing is less than NaN. There is no branch in the loop, and so the
/// compiler makes vector instructions of it.
fn all_below(numbers: &[f64], limit: f64) -> bool {
    numbers.iter().fold(true, |all, x| all & (*x < limit))
}

/// Makes the tokens that came lately less likely (Keskar et al. 2019, CTRL, section 4.1): their logits are divided by
/// `penalty` if they are positive, else multiplied by it.
///
/// `original` are the logits as the model gave them. The new ones follow from these, so that a token that came twice is
/// penalised once.
///
/// # Panics
/// If a token is not below the number of logits.
pub fn repetition_penalty(logits: &mut [f64], original: &[f64], lately: &[usize], penalty: f64) {
    for &token in lately {
        let x = original[token];
        logits[token] = if x > 0.0 { x / penalty } else { x * penalty };
    }
}

/// Forbids a token.
///
/// # Panics
/// If it is not below the number of logits.
pub fn suppress(logits: &mut [f64], token: usize) {
    logits[token] = f64::NEG_INFINITY;
}

/// Forbids every token that would end an n-gram, a run of `n` tokens, that is already among `tokens` (Paulus et al. 2017,
/// section 2.5, for `n = 3`). With `n = 1` no token comes twice; 0 forbids nothing.
///
/// It reads all tokens so far for each new one.
///
/// # Panics
/// If a token is not below the number of logits.
pub fn no_repeat_ngram(logits: &mut [f64], tokens: &[usize], n: usize) {
    if n == 0 || tokens.len() < n {
        return;
    }
    let last = &tokens[tokens.len() - (n - 1)..];
    for ngram in tokens.windows(n) {
        if ngram[..n - 1] == *last {
            logits[ngram[n - 1]] = f64::NEG_INFINITY;
        }
    }
}

/// Divides all logits by a positive temperature: below 1, likely tokens become likelier, above 1, all become more alike.
pub fn temperature(logits: &mut [f64], temperature: f64) {
    logits.iter_mut().for_each(|x| *x /= temperature);
}

/// Forbids all tokens but the `k` with the greatest logits (Fan et al. 2018). Of equal ones, the first stay. 0, or
/// a `k` as large as the vocabulary, forbids none.
pub fn top_k(logits: &mut [f64], k: usize, order: &mut Vec<usize>) {
    if !(1..logits.len()).contains(&k) {
        return;
    }
    order.clear();
    order.extend(0..logits.len());
    order.select_nth_unstable_by(k, |&a, &b| logits[b].total_cmp(&logits[a]).then(a.cmp(&b)));
    order[k..].iter().for_each(|&token| logits[token] = f64::NEG_INFINITY);
}

/// Turns logits into weights, which are in proportion to the probabilities: `e^(x - max)`. The likeliest token has 1. Returns
/// their sum, by which they would have to be divided: NaN if a logit is NaN or all are infinite.
pub fn weights(logits: &mut [f64]) -> f64 {
    let max = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    logits.iter_mut().for_each(|x| *x = (*x - max).exp());
    logits.iter().sum()
}

/// Turns logits into log probabilities: `x - log Σ e^x`. All become NaN if a logit is NaN or `∞`, or if all are `-∞`.
pub fn log_softmax(logits: &mut [f64]) {
    let max = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let log_sum = logits.iter().map(|x| (x - max).exp()).sum::<f64>().ln();
    logits.iter_mut().for_each(|x| *x = *x - max - log_sum);
}

/// Forbids all but the likeliest tokens that together have the probability `p`: nucleus sampling (Holtzman et al. 2019,
/// section 3.1). The token with which their sum reaches `p` stays, and so does the likeliest. 1 forbids none.
///
/// `sum` is the sum of all weights. Returns the sum of those that stay.
pub fn top_p(weights: &mut [f64], sum: f64, p: f64, order: &mut Vec<usize>) -> f64 {
    if p >= 1.0 {
        return sum;
    }
    order.clear();
    order.extend(0..weights.len());
    order.sort_unstable_by(|&a, &b| weights[b].total_cmp(&weights[a]).then(a.cmp(&b)));
    let mut kept = 0.0;
    for (rank, &token) in order.iter().enumerate() {
        if rank > 0 && kept >= p * sum {
            weights[token] = 0.0;
        } else {
            kept += weights[token];
        }
    }
    kept
}

/// Forbids the tokens whose probability is less than `p` times that of the likeliest (Nguyen et al. 2024). Where
/// the model is sure, few stay; where it is not, many do. 0 forbids none, and 1 all but the likeliest.
///
/// The weights are those of [`weights`], so that of the likeliest is 1.
pub fn min_p(weights: &mut [f64], p: f64) {
    weights.iter_mut().filter(|weight| **weight < p).for_each(|weight| *weight = 0.0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    const NEVER: f64 = f64::NEG_INFINITY;

    fn changed(logits: &[f64], change: impl FnOnce(&mut [f64])) -> Vec<f64> {
        let mut logits = logits.to_vec();
        change(&mut logits);
        logits
    }

    #[test]
    fn greedy_takes_the_first_of_the_greatest() {
        assert_eq!(greedy(&[0.0, 2.0, NEVER, 2.0]), 1);
        assert_eq!((greedy(&[NEVER, NEVER]), greedy(&[])), (0, 0));
    }

    /// By the definition, with ties, zeros of both signs and numbers that are none.
    #[test]
    fn greedy_is_the_first_of_the_greatest_in_long_lists() {
        let mut random = Random::new(8);
        for len in (0..140).chain([1000]) {
            for special in [0.0, -0.0, 3.0, NEVER, f64::NAN, -f64::NAN, f64::INFINITY] {
                let mut logits: Vec<f64> = (0..len).map(|_| random.gauss(0.0, 1.0).round() - 2.0).collect();
                for _ in 0..len.min(2) {
                    logits[(random.uniform() * len as f64) as usize] = special;
                }
                let order = |&a: &usize, &b: &usize| logits[a].total_cmp(&logits[b]).then(b.cmp(&a));
                assert_eq!(greedy(&logits), (0..len).max_by(order).unwrap_or(0), "{logits:?}");
            }
        }
    }

    #[test]
    fn a_penalty_is_given_once() {
        let logits = [3.0, -3.0, 0.0, 5.0];
        let penalised = changed(&logits, |x| repetition_penalty(x, &logits, &[0, 1, 2, 1, 0], 1.5));
        assert_eq!(penalised, [2.0, -4.5, 0.0, 5.0]);
    }

    #[test]
    fn ngrams_do_not_come_again() {
        let forbidden = |tokens: &[usize], n| -> Vec<usize> {
            let logits = changed(&[0.0; 6], |x| no_repeat_ngram(x, tokens, n));
            (0..6).filter(|&token| logits[token] == NEVER).collect()
        };
        let tokens = [1, 2, 3, 1, 2, 4, 1, 2];
        assert_eq!(forbidden(&tokens, 1), [1, 2, 3, 4]);
        assert_eq!(forbidden(&tokens, 2), [3, 4]);
        assert_eq!(forbidden(&tokens, 3), [3, 4]);
        assert_eq!(forbidden(&[5, 5], 2), [5]);
        // 4 1 2 came once, and last; 5 5 5 did not come yet; and what is shorter has no such run.
        let nothing =
            [(&tokens[..], 4), (&[1, 2, 3, 1, 2], 4), (&[5, 5], 3), (&[5], 2), (&[], 1), (&tokens, 0)];
        for (tokens, n) in nothing {
            assert!(forbidden(tokens, n).is_empty(), "{n} of {tokens:?}");
        }
    }

    /// A text that never takes a forbidden token has no n-gram twice, and another does soon.
    #[test]
    fn a_random_text_repeats_no_ngram() {
        let repeats = |avoided: usize| {
            let (mut random, mut tokens) = (Random::new(3), Vec::new());
            for _ in 0..40 {
                let mut logits: Vec<f64> = (0..8).map(|_| random.gauss(0.0, 2.0)).collect();
                no_repeat_ngram(&mut logits, &tokens, avoided);
                tokens.push(greedy(&logits));
            }
            let pairs: Vec<_> = tokens.windows(2).collect();
            (1..pairs.len()).filter(|&at| pairs[..at].contains(&pairs[at])).count()
        };
        assert_eq!(repeats(2), 0);
        assert!(repeats(0) > 4 && repeats(3) > 0);
    }

    #[test]
    fn top_k_keeps_the_first_of_equals() {
        let logits = [1.0, 3.0, 1.0, 2.0, 1.0];
        let order = &mut Vec::new();
        assert_eq!(changed(&logits, |x| top_k(x, 3, order)), [1.0, 3.0, NEVER, 2.0, NEVER]);
        assert_eq!(changed(&logits, |x| top_k(x, 1, order)), [NEVER, 3.0, NEVER, NEVER, NEVER]);
        for k in [0, 5, 6] {
            assert_eq!(changed(&logits, |x| top_k(x, k, order)), logits, "{k}");
        }
    }

    #[test]
    fn log_probabilities_are_those_of_the_softmax() {
        let certain = changed(&[1000.0, NEVER, -1000.0], log_softmax);
        assert_eq!(certain, [0.0, NEVER, -2000.0]);
        let quarters = changed(&[3f64.ln() + 7.0, 7.0], log_softmax);
        let expected = [0.75f64.ln(), 0.25f64.ln()];
        assert!(quarters.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-15), "{quarters:?}");
        for logits in [[f64::NAN, 0.0], [f64::INFINITY, 0.0], [NEVER, NEVER]] {
            assert!(changed(&logits, log_softmax).iter().all(|x| x.is_nan()), "{logits:?}");
        }
    }

    #[test]
    fn top_p_keeps_what_reaches_the_probability() {
        let kept = |p| {
            let mut weights = [0.125, 1.0, 0.5, 0.375];
            (top_p(&mut weights, 2.0, p, &mut Vec::new()), weights)
        };
        assert_eq!(kept(0.0), (1.0, [0.0, 1.0, 0.0, 0.0]));
        assert_eq!(kept(0.5), (1.0, [0.0, 1.0, 0.0, 0.0]));
        assert_eq!(kept(0.51), (1.5, [0.0, 1.0, 0.5, 0.0]));
        assert_eq!(kept(0.9), (1.875, [0.0, 1.0, 0.5, 0.375]));
        assert_eq!(kept(1.0), (2.0, [0.125, 1.0, 0.5, 0.375]));
    }

    /// By the definition, with probabilities: `p(x) >= p · max p`.
    #[test]
    fn min_p_keeps_what_is_likely_beside_the_likeliest() {
        let mut random = Random::new(4);
        for p in [0.0, 0.05, 0.3, 1.0] {
            let logits: Vec<f64> = (0..50).map(|_| random.gauss(0.0, 3.0)).collect();
            let total: f64 = logits.iter().map(|x| x.exp()).sum();
            let probabilities: Vec<f64> = logits.iter().map(|x| x.exp() / total).collect();
            let limit = p * probabilities.iter().fold(0.0, |a: f64, &b| a.max(b)) * (1.0 - 1e-12);
            let mut left = logits.clone();
            weights(&mut left);
            min_p(&mut left, p);
            let stayed: Vec<bool> = left.iter().map(|&weight| weight > 0.0).collect();
            assert_eq!(stayed, probabilities.iter().map(|&q| q >= limit).collect::<Vec<_>>(), "{p}");
        }
    }
}
