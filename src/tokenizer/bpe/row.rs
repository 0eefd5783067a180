//! Tokens in a row, written over the bytes that they stand for.
//!
//! Training and encoding both replace two neighbours by one token, very often and anywhere. A list of tokens would have to
//! close the gap each time. Here every token keeps the places of its bytes: it is noted at its first place and at its
//! last, and the places between are dead. So the token after one begins where its bytes end, the token before one is noted
//! just before it, and a merge writes four numbers, wherever it is.
//!
//! ```text
//! bytes    l  o  w  e  s  t
//! tokens   low      est        tags   low  dead  low  est  dead  est
//! ```

/// The end of a word. No token crosses it.
const BORDER: u32 = u32::MAX;
/// A place that is neither the first nor the last of its token.
const DEAD: u32 = u32::MAX - 1;
/// Tokens are the numbers below it.
pub(super) const TOKEN_LIMIT: usize = DEAD as usize;

/// Words, as tokens that are merged one pair at a time.
#[derive(Clone, Debug, Default)]
pub(super) struct TokenRow {
    /// A border, the places of a word, a border, the places of the next, ..., a border.
    tags: Vec<u32>,
}

/// What stands on both sides of two tokens that were merged.
pub(super) struct Neighbours {
    /// The token before them, and where it starts.
    pub before: Option<(usize, u32)>,
    /// The token after them.
    pub after: Option<u32>,
}

impl TokenRow {
    /// Appends a word whose tokens are one byte long. Returns the place of its first.
    pub fn push_word(&mut self, tokens: impl IntoIterator<Item = u32>) -> usize {
        if self.tags.is_empty() {
            self.tags.push(BORDER);
        }
        let start = self.tags.len();
        self.tags.extend(tokens);
        self.tags.push(BORDER);
        start
    }

    /// The number of places, borders included.
    pub fn len(&self) -> usize {
        self.tags.len()
    }

    /// The tokens from a place to the end of the word.
    pub fn word(&self, start: usize, lengths: &[u32]) -> impl Iterator<Item = u32> {
        let mut at = start;
        std::iter::from_fn(move || {
            let token = self.tags[at];
            (token != BORDER).then(|| {
                at += lengths[token as usize] as usize;
                token
            })
        })
    }

    /// If `left` starts at a place and `right` follows it, they become `made`. If not, because one of them has been
    /// merged with another token since somebody noted the place, nothing happens. `lengths` has the bytes of each token.
    pub fn merge(
        &mut self,
        at: usize,
        [left, right]: [u32; 2],
        made: u32,
        lengths: &[u32],
    ) -> Option<Neighbours> {
        // A tag that is equal to `left` is its first: were it the last tag of a longer token, that would be another token.
        if self.tags[at] != left {
            return None;
        }
        let middle = at + lengths[left as usize] as usize;
        if self.tags[middle] != right {
            return None;
        }
        let end = middle + lengths[right as usize] as usize;
        self.tags[middle - 1] = DEAD;
        self.tags[middle] = DEAD;
        self.tags[at] = made;
        self.tags[end - 1] = made;
        let token = |tag: u32| (tag != BORDER).then_some(tag);
        let before = token(self.tags[at - 1]).map(|before| (at - lengths[before as usize] as usize, before));
        Some(Neighbours { before, after: token(self.tags[end]) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_merged_where_they_stand() {
        // Tokens 0, 1, 2 are bytes; 3 is 0 1; 4 is 3 2.
        let lengths = [1, 1, 1, 2, 3];
        let mut row = TokenRow::default();
        assert_eq!(row.push_word([0, 1, 2, 0, 1]), 1);
        assert_eq!(row.push_word([2]), 7);
        let tokens = |row: &TokenRow, at| row.word(at, &lengths).collect::<Vec<_>>();
        assert!(row.merge(2, [0, 1], 3, &lengths).is_none(), "a 1 stands there");
        let first = row.merge(1, [0, 1], 3, &lengths).expect("0 1");
        assert_eq!((first.before, first.after), (None, Some(2)));
        let second = row.merge(4, [0, 1], 3, &lengths).expect("0 1");
        assert_eq!((second.before, second.after), (Some((3, 2)), None));
        assert_eq!(tokens(&row, 1), [3, 2, 3]);
        assert!(row.merge(1, [0, 1], 3, &lengths).is_none(), "merged already");
        let third = row.merge(1, [3, 2], 4, &lengths).expect("3 2");
        assert_eq!((third.before, third.after), (None, Some(3)));
        assert_eq!(tokens(&row, 1), [4, 3]);
        assert_eq!(tokens(&row, 7), [2]);
        assert!(row.merge(3, [2, 3], 0, &lengths).is_none(), "the last place of 4");
    }
}
