//! How often each word occurs in some texts.

use super::hash::FastMap;
use super::{Pattern, TrainProgress};
use crate::thread_pool::ThreadPool;

/// About how many bytes a thread reads before it is given the next.
const PORTION: usize = 1 << 20;

/// The distinct pieces of some texts, with their numbers. Their order depends on the number of threads.
pub(super) fn count_words<'a>(
    pattern: Pattern,
    texts: &[&'a str],
    pool: &ThreadPool,
    progress: &mut impl FnMut(TrainProgress),
) -> Vec<(&'a [u8], u64)> {
    let total = texts.iter().map(|text| text.len()).sum();
    let mut portions = texts.iter().flat_map(|text| portions(text)).peekable();
    let mut counters: Vec<Counter<'_>> = (0..pool.count()).map(|_| Counter::default()).collect();
    let mut done = 0;
    while portions.peek().is_some() {
        for counter in &mut counters {
            let mut size = 0;
            while size < PORTION
                && let Some(portion) = portions.next()
            {
                size += portion.len();
                counter.portions.push(portion);
            }
            done += size;
        }
        pool.for_each(&mut counters, |counter| counter.count(pattern));
        progress(TrainProgress::Counting { done, total });
    }
    // The largest table takes in the others.
    counters.sort_by_key(|counter| counter.words.len());
    let mut words = counters.pop().unwrap_or_default().words;
    for (word, count) in counters.into_iter().flat_map(|counter| counter.words) {
        *words.entry(word).or_default() += count;
    }
    words.into_iter().collect()
}

/// What one thread counts.
#[derive(Default)]
struct Counter<'a> {
    /// The texts that it reads next.
    portions: Vec<&'a str>,
    words: FastMap<&'a [u8], u64>,
}

impl Counter<'_> {
    fn count(&mut self, pattern: Pattern) {
        for portion in self.portions.drain(..) {
            for piece in pattern.pieces(portion) {
                *self.words.entry(piece.as_bytes()).or_default() += 1;
            }
        }
    }
}

/// Cuts a long text into portions, between pieces.
fn portions(mut text: &str) -> impl Iterator<Item = &str> {
    std::iter::from_fn(move || {
        if text.is_empty() {
            return None;
        }
        let (portion, rest) = text.split_at(cut(text, PORTION));
        text = rest;
        Some(portion)
    })
}

/// The first place, from `from` on, where a blank stands between two ASCII letters. A piece begins there in every pattern,
/// whatever stands before: a word ends at the blank, and the blank belongs to the next one.
fn cut(text: &str, from: usize) -> usize {
    let is_cut =
        |three: &[u8]| three[0].is_ascii_alphabetic() && three[1] == b' ' && three[2].is_ascii_alphabetic();
    let rest = text.as_bytes().get(from..).unwrap_or_default();
    rest.windows(3).position(is_cut).map_or(text.len(), |at| from + at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_pieces_only() {
        let text = "It's so, isn't  it? I'd s  ay it 's 12 be\n ee \n\nx y é b, I do say so";
        for pattern in [Pattern::Gpt2, Pattern::Llama3] {
            let mut starts = vec![0];
            for piece in pattern.pieces(text) {
                starts.push(starts[starts.len() - 1] + piece.len());
            }
            let cuts: Vec<usize> = (0..text.len()).map(|from| cut(text, from)).collect();
            assert!(cuts.iter().all(|cut| starts.contains(cut)), "{pattern:?}");
            assert!(cuts.windows(2).filter(|two| two[0] != two[1]).count() >= 5);
            // And what is before and after it is cut as it is in the whole.
            for &at in &cuts {
                let (left, right) = text.split_at(at);
                let apart: Vec<&str> = pattern.pieces(left).chain(pattern.pieces(right)).collect();
                assert_eq!(apart, pattern.pieces(text).collect::<Vec<_>>(), "{pattern:?}, {at}");
            }
        }
    }

    #[test]
    fn all_words_are_counted() {
        let text = "one two two three three three ".repeat(200_000);
        let mut last = None;
        for threads in [1, 3] {
            let mut counted =
                count_words(Pattern::Gpt2, &[&text, "two"], &ThreadPool::new(threads), &mut |progress| {
                    last = Some(progress)
                });
            counted.sort_unstable();
            let mut expected: Vec<(&[u8], u64)> = vec![
                (b" ", 1),
                (b" one", 199_999),
                (b" three", 600_000),
                (b" two", 400_000),
                (b"one", 1),
                (b"two", 1),
            ];
            expected.sort_unstable();
            assert_eq!(counted, expected);
            assert_eq!(last, Some(TrainProgress::Counting { done: text.len() + 3, total: text.len() + 3 }));
        }
    }
}
