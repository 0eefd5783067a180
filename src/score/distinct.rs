//! Distinct-n: how many different things a model says.

use std::collections::HashSet;

use super::tokenize_13a;

/// The diversity of a corpus of replies (Li et al. 2016, "A Diversity-Promoting Objective Function for Neural Conversation Models"):
///
/// ```text
/// distinct-n = 100 · different n-grams of all replies / words of all replies
/// ```
///
/// Words are the tokens of [`tokenize_13a`]; case counts, as in BLEU. As in the paper, the division is by the number of *words*,
/// whatever `n` is. (Other programs divide by the number of n-grams, which is smaller, and so get a higher distinct-2.)
///
/// A model that answers everything with "I do not know." has few different words, and its score falls with every reply. That
/// of people falls too, only more slowly: a larger corpus repeats more. So compare corpora of the same questions only.
///
/// ```
/// use gradus::score::Distinct;
/// let mut pairs = Distinct::new(2);
/// pairs.add("I do not know");
/// pairs.add("I do not see");
/// assert_eq!((pairs.different(), pairs.words(), pairs.score()), (4, 8, 50.0));
/// ```
#[derive(Clone, Debug)]
pub struct Distinct {
    n: usize,
    seen: HashSet<Vec<String>>,
    words: usize,
}

impl Distinct {
    /// A corpus without replies, of which runs of `n` words are counted.
    ///
    /// # Panics
    /// If `n` is 0.
    pub fn new(n: usize) -> Self {
        assert!(n > 0, "Distinct: a run of words has at least one");
        Distinct { n, seen: HashSet::new(), words: 0 }
    }

    /// One more reply. Runs of words do not go from one to the next.
    pub fn add(&mut self, reply: &str) {
        let words = tokenize_13a(reply);
        self.words += words.len();
        for run in words.windows(self.n) {
            if !self.seen.contains(run) {
                self.seen.insert(run.to_vec());
            }
        }
    }

    /// How many different runs there are.
    pub fn different(&self) -> usize {
        self.seen.len()
    }

    /// How many words all replies have together.
    pub fn words(&self) -> usize {
        self.words
    }

    /// The percentage; 0 for a corpus without words.
    pub fn score(&self) -> f64 {
        if self.words == 0 { 0.0 } else { 100.0 * self.seen.len() as f64 / self.words as f64 }
    }
}
