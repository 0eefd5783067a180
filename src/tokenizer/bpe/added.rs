//! Tokens that stand for a text as a whole: `<think>`, for instance.
//!
//! They were added to a vocabulary after it was trained, so no merges lead to them. A text is searched for them before it is cut
//! into pieces.

/// The added tokens of a vocabulary, by the first byte of their text.
#[derive(Clone, Debug, Default)]
pub(in crate::tokenizer) struct AddedTokens {
    /// For each first byte the texts that begin with it, the longest first. Empty if nothing was added.
    by_first: Vec<Vec<(Box<str>, u32)>>,
}

/// A text without added tokens, or one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::tokenizer) enum Stretch<'a> {
    Text(&'a str),
    Added(u32),
}

impl AddedTokens {
    /// A token more. Its text is not empty.
    pub fn insert(&mut self, text: &str, token: u32) {
        self.by_first.resize(256, Vec::new());
        let same = &mut self.by_first[usize::from(text.as_bytes()[0])];
        let place = same.partition_point(|(other, _)| other.len() > text.len());
        same.insert(place, (text.into(), token));
    }

    /// A text in stretches, none of them empty. Of several added tokens it finds the one that begins first, and of those
    /// the longest.
    pub fn stretches<'a>(&'a self, text: &'a str) -> impl Iterator<Item = Stretch<'a>> {
        let mut rest = text;
        let mut found = None;
        std::iter::from_fn(move || {
            if let Some(token) = found.take() {
                return Some(Stretch::Added(token));
            }
            if rest.is_empty() {
                return None;
            }
            let Some((start, len, token)) = self.find(rest) else {
                return Some(Stretch::Text(std::mem::take(&mut rest)));
            };
            let before = &rest[..start];
            rest = &rest[start + len..];
            if before.is_empty() {
                return Some(Stretch::Added(token));
            }
            found = Some(token);
            Some(Stretch::Text(before))
        })
    }

    /// The first added token of a text: where it begins, its length and its number.
    fn find(&self, text: &str) -> Option<(usize, usize, u32)> {
        if self.by_first.is_empty() {
            return None;
        }
        text.bytes().enumerate().find_map(|(start, byte)| {
            let (found, token) = self.by_first[usize::from(byte)]
                .iter()
                .find(|(added, _)| text.as_bytes()[start..].starts_with(added.as_bytes()))?;
            Some((start, found.len(), *token))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Stretch::{Added, Text};
    use super::*;

    #[test]
    fn the_first_and_of_those_the_longest() {
        let mut added = AddedTokens::default();
        let cut = |added: &AddedTokens, text: &str| -> Vec<String> {
            let show = |stretch| match stretch {
                Text(text) => text.to_owned(),
                Added(token) => token.to_string(),
            };
            added.stretches(text).map(show).collect()
        };
        assert_eq!(cut(&added, "<a>"), ["<a>"]);
        for (text, token) in [("<a", 1), ("<a>", 2), ("a><", 3), ("é", 4)] {
            added.insert(text, token);
        }
        assert_eq!(cut(&added, "<a>"), ["2"]);
        assert_eq!(cut(&added, "x<a><ab a><"), ["x", "2", "1", "b ", "3"]);
        assert_eq!(cut(&added, "\u{e8}é<"), ["\u{e8}", "4", "<"]);
        assert_eq!(cut(&added, ""), [""; 0]);
    }
}
