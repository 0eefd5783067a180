//! Repetition: how much of what a model says it has said just before.

use super::ngrams::count_ngrams;
use super::tokenize_13a;

/// The percentage of the runs of `n` words in replies that stood in *the same reply* before:
///
/// ```text
/// rep-n = 100 · (1 - Σ different n-grams of a reply / Σ n-grams of a reply)
/// ```
///
/// It is the seq-rep-n of Welleck et al. 2020, "Neural Text Generation with Unlikelihood Training", with one difference: there, a
/// share is computed for each text and averaged; here, counts are added up over the corpus, as in every score of this module,
/// so that a short reply counts as much as it is long. Words are the tokens of [`tokenize_13a`]. A reply of fewer than `n` words
/// has no run, and counts for nothing.
///
/// People repeat hardly any run of four words within an answer. Small models, and greedy search, fall into loops.
///
/// ```
/// use gradus::score::Repetition;
/// let mut repetition = Repetition::new(4);
/// repetition.add("one two three four");
/// repetition.add("so it is, so it is, so it is");
/// assert_eq!((repetition.repeated(), repetition.runs()), (4, 9)); // of "so it is , so it is , so it is", 4 are new
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repetition {
    n: usize,
    runs: usize,
    repeated: usize,
}

impl Repetition {
    /// A corpus without replies, of which runs of `n` words are counted.
    ///
    /// # Panics
    /// If `n` is 0.
    pub fn new(n: usize) -> Self {
        assert!(n > 0, "Repetition: a run of words has at least one");
        Repetition { n, runs: 0, repeated: 0 }
    }

    /// One more reply.
    pub fn add(&mut self, reply: &str) {
        let words = tokenize_13a(reply);
        let counts = count_ngrams(&words, self.n);
        let runs = counts.values().sum::<usize>();
        self.runs += runs;
        self.repeated += runs - counts.len();
    }

    /// How many runs all replies have together.
    pub fn runs(&self) -> usize {
        self.runs
    }

    /// How many of them stood in the same reply before.
    pub fn repeated(&self) -> usize {
        self.repeated
    }

    /// The percentage; 0 for a corpus without runs.
    pub fn score(&self) -> f64 {
        if self.runs == 0 { 0.0 } else { 100.0 * self.repeated as f64 / self.runs as f64 }
    }
}
