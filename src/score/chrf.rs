//! chrF: how many runs of characters a hypothesis and its reference share.

use std::fmt;

use super::ngrams::count_ngrams;
use super::{ReferenceCount, VERSION, is_white_space};

/// The longest runs of characters that are counted.
const ORDER: usize = 6;

/// How many times as much recall counts as precision.
const BETA: f64 = 2.0;

/// The chrF of a corpus (Popović 2015, "chrF: character n-gram F-score for automatic MT evaluation"), as sacrebleu computes it
/// by default: chrF2, with runs of one to six characters, no runs of words, and twice the weight on recall.
///
/// Words that differ in an ending share most of their characters, so chrF sees nearness where [`Bleu`](super::Bleu) sees
/// two other words, and it needs no tokenizer. White space is left out. With the n-grams of characters:
///
/// ```text
/// P_n   = shared / those of the hypothesis        R_n = shared / those of the reference
/// P, R  = their means over all n for which both sides have n-grams
/// chrFβ = 100 · (1 + β²) · P · R / (β² · P + R)       β = 2
/// ```
///
/// Of several references, the one that gives a hypothesis the greatest chrF is taken, and its counts are added to those of the
/// corpus. If two give the same, it is the first, and only then does the order of the references matter. An empty hypothesis
/// has a chrF of 0 with any reference, even an empty one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChrF {
    counts: [Counts; ORDER],
    references: ReferenceCount,
}

/// The n-grams of one order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    hypothesis: usize,
    reference: usize,
    shared: usize,
}

impl ChrF {
    /// A corpus without hypotheses.
    pub fn new() -> Self {
        ChrF::default()
    }

    /// One more hypothesis, and what people wrote in its place. Not all hypotheses need to have as many references.
    ///
    /// # Panics
    /// If there is no reference.
    pub fn add<R: AsRef<str>>(&mut self, hypothesis: &str, references: &[R]) {
        self.references.add(references.len());
        let hypothesis = characters(hypothesis);
        let mut best = [Counts::default(); ORDER];
        let mut best_score = -1.0;
        for reference in references {
            let counts = compare(&hypothesis, &characters(reference.as_ref()));
            let score = f_score(&counts);
            if score > best_score {
                (best, best_score) = (counts, score);
            }
        }
        for (sum, counts) in self.counts.iter_mut().zip(best) {
            sum.hypothesis += counts.hypothesis;
            sum.reference += counts.reference;
            sum.shared += counts.shared;
        }
    }

    /// The score, from 0 to 100; 0 for a corpus without hypotheses.
    pub fn score(&self) -> f64 {
        f_score(&self.counts)
    }

    /// How the score was computed, as sacrebleu writes it, for everyone who wants to compare.
    pub fn signature(&self) -> String {
        format!("nrefs:{}|case:mixed|eff:yes|nc:{ORDER}|nw:0|space:no|version:{VERSION}", self.references)
    }
}

/// The score with its signature, in the format of sacrebleu.
impl fmt::Display for ChrF {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "chrF2|{} = {:.2}", self.signature(), self.score())
    }
}

/// What is counted of a text.
fn characters(text: &str) -> Vec<char> {
    text.chars().filter(|&c| !is_white_space(c)).collect()
}

/// The n-grams of two texts, order by order.
fn compare(hypothesis: &[char], reference: &[char]) -> [Counts; ORDER] {
    std::array::from_fn(|order| {
        let in_reference = count_ngrams(reference, order + 1);
        let mut counts = Counts { reference: in_reference.values().sum(), ..Counts::default() };
        // A reference that is too short for this order has nothing to miss, so the hypothesis has nothing too much either.
        if counts.reference > 0 {
            for (ngram, count) in count_ngrams(hypothesis, order + 1) {
                counts.hypothesis += count;
                counts.shared += count.min(in_reference.get(ngram).copied().unwrap_or(0));
            }
        }
        counts
    })
}

/// chrF of these counts: the formula above.
fn f_score(counts: &[Counts; ORDER]) -> f64 {
    let (mut precision, mut recall, mut orders) = (0.0, 0.0, 0.0);
    for counts in counts.iter().filter(|counts| counts.hypothesis > 0 && counts.reference > 0) {
        precision += counts.shared as f64 / counts.hypothesis as f64;
        recall += counts.shared as f64 / counts.reference as f64;
        orders += 1.0;
    }
    if precision == 0.0 {
        return 0.0; // nothing is shared, or there is nothing to share
    }
    let (precision, recall) = (precision / orders, recall / orders);
    let factor = BETA * BETA;
    100.0 * ((1.0 + factor) * precision * recall / (factor * precision + recall))
}
