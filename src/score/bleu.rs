//! BLEU: how many runs of words a hypothesis shares with its references.

use std::fmt;

use super::ngrams::count_ngrams;
use super::{ReferenceCount, VERSION, tokenize_13a};

/// The longest runs of words that are counted.
const ORDER: usize = 4;

/// The BLEU of a corpus (Papineni et al. 2002, "BLEU: a Method for Automatic Evaluation of Machine Translation"), as sacrebleu
/// computes it by default: tokens by [`tokenize_13a`], case counts, exponential smoothing.
///
/// A run of `n` words is an *n-gram*. `p_n` is the share of all n-grams of the hypotheses that a reference has as well, a
/// *modified precision*:
///
/// ```text
/// p_n  = Σ min(count in the hypothesis, largest count in one of its references) / Σ count in the hypothesis
/// BP   = 1 if c > r, else exp(1 - r/c)
/// BLEU = 100 · BP · (p_1 · p_2 · p_3 · p_4)^(1/4)
/// ```
///
/// - The sums go over all n-grams of all hypotheses. The minimum *clips*: "the the the" matches one "the" once.
/// - Precision alone would reward a hypothesis that says only what is certain. The *brevity penalty* BP replaces recall,
///   which has no clear meaning with several references: `c` is the length of all hypotheses in tokens, and `r` adds up, for
///   each, the length of the reference that comes closest to it (of two, the shorter).
/// - The mean is geometric because precisions fall about as powers do with `n`. So one that is zero would make all of it zero.
///   Smoothing (method 3 of Chen and Cherry 2014) counts the k-th order without any match as `1 / 2^k` of a match.
///   If no word matches at all, or if no hypothesis has four words, the score is 0.
///
/// BLEU is meant for a corpus. For one sentence it is mostly smoothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bleu {
    /// Of each order, the n-grams of all hypotheses, and how many of them a reference has.
    totals: [usize; ORDER],
    matches: [usize; ORDER],
    hypothesis_len: usize,
    reference_len: usize,
    references: ReferenceCount,
}

impl Bleu {
    /// A corpus without hypotheses.
    pub fn new() -> Self {
        Bleu::default()
    }

    /// One more hypothesis, and what people wrote in its place. The order of the references does not matter, and not all
    /// hypotheses need to have as many.
    ///
    /// # Panics
    /// If there is no reference.
    pub fn add<R: AsRef<str>>(&mut self, hypothesis: &str, references: &[R]) {
        self.references.add(references.len());
        let hypothesis = tokenize_13a(hypothesis);
        let references: Vec<Vec<String>> =
            references.iter().map(|reference| tokenize_13a(reference.as_ref())).collect();
        for n in 1..=ORDER {
            let in_references: Vec<_> = references.iter().map(|tokens| count_ngrams(tokens, n)).collect();
            for (ngram, count) in count_ngrams(&hypothesis, n) {
                let most = in_references.iter().filter_map(|counts| counts.get(ngram)).max();
                self.matches[n - 1] += count.min(most.copied().unwrap_or(0));
                self.totals[n - 1] += count;
            }
        }
        self.hypothesis_len += hypothesis.len();
        let lengths = references.iter().map(Vec::len);
        let closest = lengths.min_by_key(|&length| (length.abs_diff(hypothesis.len()), length));
        self.reference_len += closest.unwrap_or(0);
    }

    /// The score, from 0 to 100; 0 for a corpus without hypotheses.
    pub fn score(&self) -> f64 {
        let mean_log = self.precisions().iter().map(|p| p.ln()).sum::<f64>() / ORDER as f64;
        self.brevity_penalty() * mean_log.exp() // a precision of 0 has the logarithm -∞, and e^-∞ is 0
    }

    /// The precision of runs of one to four words, in percent, after smoothing. All are 0 if no word matches.
    pub fn precisions(&self) -> [f64; ORDER] {
        let mut precisions = [0.0; ORDER];
        if self.matches == [0; ORDER] {
            return precisions;
        }
        let mut smoothed = 1.0;
        for (precision, (&matches, &total)) in
            precisions.iter_mut().zip(self.matches.iter().zip(&self.totals))
        {
            if total == 0 {
                break; // no hypothesis is that long
            }
            let matches = if matches > 0 {
                matches as f64
            } else {
                smoothed /= 2.0;
                smoothed
            };
            *precision = 100.0 * matches / total as f64;
        }
        precisions
    }

    /// The factor that lowers the score if the hypotheses are shorter than the references: 1 if they are not, down to 0.
    pub fn brevity_penalty(&self) -> f64 {
        let (c, r) = (self.hypothesis_len as f64, self.reference_len as f64);
        if c < r { (1.0 - r / c).exp() } else { 1.0 }
    }

    /// How the score was computed, as sacrebleu writes it, for everyone who wants to compare.
    pub fn signature(&self) -> String {
        format!("nrefs:{}|case:mixed|eff:no|tok:13a|smooth:exp|version:{VERSION}", self.references)
    }
}

/// The score with its signature and what it was computed from, in the format of sacrebleu.
impl fmt::Display for Bleu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [p1, p2, p3, p4] = self.precisions();
        let (c, r) = (self.hypothesis_len, self.reference_len);
        let ratio = if r == 0 { 0.0 } else { c as f64 / r as f64 };
        write!(f, "BLEU|{} = {:.2} {p1:.1}/{p2:.1}/{p3:.1}/{p4:.1} ", self.signature(), self.score())?;
        let penalty = self.brevity_penalty();
        write!(f, "(BP = {penalty:.3} ratio = {ratio:.3} hyp_len = {c} ref_len = {r})")
    }
}
