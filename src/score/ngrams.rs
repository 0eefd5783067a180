//! Counting n-grams: runs of `n` words, or of `n` characters.

use std::collections::HashMap;
use std::hash::Hash;

/// How often each run of `n` items occurs. There are `items.len() - n + 1` runs, or none if that is less than 1.
pub fn count_ngrams<T: Eq + Hash>(items: &[T], n: usize) -> HashMap<&[T], usize> {
    let mut counts = HashMap::new();
    for ngram in items.windows(n) {
        *counts.entry(ngram).or_insert(0) += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_overlap_and_are_counted() {
        let items = ["a", "b", "a", "b"];
        let pairs = count_ngrams(&items, 2);
        assert_eq!((pairs.len(), pairs[&["a", "b"][..]], pairs[&["b", "a"][..]]), (2, 2, 1));
        assert_eq!(count_ngrams(&items, 4).len(), 1);
        assert!(count_ngrams(&items, 5).is_empty());
    }
}
