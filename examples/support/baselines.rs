//! What a model of names has to be better than.

use std::collections::BTreeMap;

use gradus::data::{Batch, Names};

use crate::Level;

/// The mean loss, in nats a token, of three kinds of simpler knowledge, counted over all names: none, how
/// frequent each letter is, and how frequent it is after each other letter. The end of a name counts as a letter.
pub fn baselines(names: &Names, context: usize) -> [Level; 3] {
    let (mut letters, mut firsts, mut pairs) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    let (mut batch, mut count) = (Batch::new(), 0.0);
    for name in 0..names.len() {
        names.fill(&mut batch, name, 1, context);
        for (&token, &target) in batch.sequences().tokens.iter().zip(batch.targets()) {
            *letters.entry(target).or_insert(0.0) += 1.0;
            *firsts.entry(token).or_insert(0.0) += 1.0;
            *pairs.entry((token, target)).or_insert(0.0) += 1.0;
            count += 1.0;
        }
    }
    let letters: f64 = letters.values().map(|&n: &f64| -n / count * (n / count).ln()).sum();
    let pairs: f64 =
        pairs.iter().map(|((first, _), &n): (_, &f64)| -n / count * (n / firsts[first]).ln()).sum();
    [
        ("nothing known", (names.vocab_size() as f64).ln()),
        ("letter frequencies", letters),
        ("letter pairs", pairs),
    ]
    .map(|(name, value)| Level { name: name.to_owned(), value })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names a and b ask four questions: which letter is first, a or b, and what comes after it, always the end.
    #[test]
    fn two_names_by_hand() {
        let names = Names::from_text("a\nb\n").expect("two names");
        let known = baselines(&names, 16).map(|level| level.value);
        let expected = [3.0_f64.ln(), 1.5 * 2.0_f64.ln(), 0.5 * 2.0_f64.ln()];
        assert!(known.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{known:?}");
    }
}
