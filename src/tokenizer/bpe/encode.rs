//! From the bytes of a piece to tokens.
//!
//! The rule is: of all pairs of neighbours that the vocabulary merges, take the one with the lowest rank, of several equal
//! ones the leftmost; merge it; begin again. There are three ways to the same result here. A piece that was met a moment
//! ago is looked up. A short one is merged by the rule, word for word. For a long one that would take a time that grows
//! with the square of its length, so there the places of all pairs are kept by rank.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::cache::WordCache;
use super::hash::FastMap;
use super::row::TokenRow;
use super::vocab::Vocabulary;

/// Up to how many bytes the short way is the faster one.
const SHORT: usize = 96;

/// What encoding keeps from one piece to the next: memory, and the pieces that it has met.
#[derive(Clone, Debug, Default)]
pub(super) struct Scratch {
    cache: WordCache,
    parts: Vec<Part>,
    tokens: Vec<u32>,
}

/// A token of a piece, and the rank of the pair that it and the next one are.
#[derive(Clone, Copy, Debug)]
struct Part {
    token: u32,
    rank: u32,
}

/// The rank of a pair that is never merged.
const NEVER: u32 = u32::MAX;

impl Vocabulary {
    /// Appends the tokens of a piece. It is not empty.
    #[inline]
    pub fn encode_piece(&self, piece: &[u8], scratch: &mut Scratch, out: &mut Vec<usize>) {
        let key = WordCache::key(piece);
        if let Some(key) = key
            && scratch.cache.get(key, out)
        {
            return;
        }
        scratch.tokens.clear();
        match self.whole.get(piece) {
            Some(&token) => scratch.tokens.push(token),
            None if piece.len() <= SHORT => self.merge_short(piece, scratch),
            None => return self.merge_long(piece, out),
        }
        out.extend(scratch.tokens.iter().map(|&token| token as usize));
        if let Some(key) = key {
            scratch.cache.insert(key, &scratch.tokens);
        }
    }

    /// The rule, literally: a search for each merge.
    fn merge_short(&self, piece: &[u8], scratch: &mut Scratch) {
        let rank = |left: u32, right: u32| self.rank([left, right]).unwrap_or(NEVER);
        let parts = &mut scratch.parts;
        parts.clear();
        parts.extend(piece.iter().map(|&byte| Part { token: self.bytes[usize::from(byte)], rank: NEVER }));
        for at in 1..parts.len() {
            parts[at - 1].rank = rank(parts[at - 1].token, parts[at].token);
        }
        // ANCHOR: merge_short
        // `min_by_key` returns the first of several equal ones: the leftmost.
        while let Some((at, &Part { rank: lowest, .. })) =
            parts.iter().enumerate().min_by_key(|(_, part)| part.rank)
            && lowest != NEVER
        {
            parts[at].token = self.made[lowest as usize];
            parts.remove(at + 1);
            parts[at].rank = parts.get(at + 1).map_or(NEVER, |next| rank(parts[at].token, next.token));
            if at > 0 {
                parts[at - 1].rank = rank(parts[at - 1].token, parts[at].token);
            }
        }
        // ANCHOR_END: merge_short
        scratch.tokens.extend(parts.iter().map(|part| part.token));
    }

    /// The same with the places of pairs kept in a list for each rank. All places of the lowest rank are merged in one go,
    /// from left to right: that makes only pairs of higher ranks, since a token is part of later merges only.
    ///
    /// Each byte and each merge notes two places at most, so the time is in proportion to the piece, apart from a heap with as
    /// many entries as ranks occur.
    fn merge_long(&self, piece: &[u8], out: &mut Vec<usize>) {
        let mut row = TokenRow::default();
        let start = row.push_word(piece.iter().map(|&byte| self.bytes[usize::from(byte)]));
        let mut places = PlacesByRank::default();
        for (place, (&left, &right)) in (start..).zip(piece.iter().zip(&piece[1..])) {
            places.note(self.rank([left, right].map(|byte| self.bytes[usize::from(byte)])), place);
        }
        while let Some((rank, mut lowest)) = places.take_lowest() {
            let (pair, made) = (self.merges[rank as usize], self.made[rank as usize]);
            // They are in order already, unless two merges make one token.
            lowest.sort_unstable();
            for place in lowest {
                let Some(neighbours) = row.merge(place, pair, made, &self.lengths) else { continue };
                if let Some((place, before)) = neighbours.before {
                    places.note(self.rank([before, made]), place);
                }
                if let Some(after) = neighbours.after {
                    places.note(self.rank([made, after]), place);
                }
            }
        }
        out.extend(row.word(start, &self.lengths).map(|token| token as usize));
    }
}

/// Where pairs start, by their rank.
#[derive(Default)]
struct PlacesByRank {
    places: FastMap<u32, Vec<usize>>,
    ranks: BinaryHeap<Reverse<u32>>,
}

impl PlacesByRank {
    /// Notes the place of a pair, if it has a rank.
    fn note(&mut self, rank: Option<u32>, place: usize) {
        let Some(rank) = rank else { return };
        let places = self.places.entry(rank).or_default();
        if places.is_empty() {
            self.ranks.push(Reverse(rank));
        }
        places.push(place);
    }

    /// The lowest rank with all its places.
    fn take_lowest(&mut self) -> Option<(u32, Vec<usize>)> {
        let Reverse(rank) = self.ranks.pop()?;
        Some((rank, self.places.remove(&rank).unwrap_or_default()))
    }
}
