//! Exact match: the text of a person, letter by letter.

use super::{ReferenceCount, is_white_space};

/// The percentage of hypotheses that are equal to one of their references.
///
/// White space at both ends does not count. Everything else does: case, punctuation, the kind of a space.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExactMatch {
    matches: usize,
    total: usize,
    references: ReferenceCount,
}

impl ExactMatch {
    /// A corpus without hypotheses.
    pub fn new() -> Self {
        ExactMatch::default()
    }

    /// One more hypothesis, and what people wrote in its place.
    ///
    /// # Panics
    /// If there is no reference.
    pub fn add<R: AsRef<str>>(&mut self, hypothesis: &str, references: &[R]) {
        self.references.add(references.len());
        let trimmed = |text| str::trim_matches(text, is_white_space);
        let found = references.iter().any(|reference| trimmed(reference.as_ref()) == trimmed(hypothesis));
        self.matches += usize::from(found);
        self.total += 1;
    }

    /// The percentage; 0 for a corpus without hypotheses.
    pub fn score(&self) -> f64 {
        if self.total == 0 { 0.0 } else { 100.0 * self.matches as f64 / self.total as f64 }
    }
}
