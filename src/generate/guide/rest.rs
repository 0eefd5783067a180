//! How much is still to come, at the least: so that a value ends before the reply has to.
//!
//! Bytes are counted as if each were a token. So the count is never too small, and of the bytes that may come next there is always
//! one after which it is smaller by one: that way leads to the end.

use super::grammar::{Grammar, Node, Property};
use super::{Character, Guide, InArray, InMap, InObject, Open};

/// The bytes around a key and its value: the comma and the space before, two quotes, the colon and its space.
const AROUND_KEY: usize = 6;

impl Guide {
    /// How many bytes complete the value, at the least, or a few more than that.
    pub fn bytes_left(&self) -> usize {
        self.open.iter().fold(0, |sum, open| sum.saturating_add(self.grammar.left(open)))
    }

    /// Whether it is in a string, between two of its characters.
    pub(in crate::generate) fn is_in_string(&self) -> bool {
        matches!(self.open.last(), Some(Open::String(Character::Between)))
    }

    /// Whether bytes leave a string open, if they come in the middle of it, and then how many more bytes they need than before.
    /// `None` if one of them ends the string or cannot come.
    pub(in crate::generate) fn stays_in_string(bytes: &[u8]) -> Option<usize> {
        let mut at = Character::Between;
        let stays = bytes.iter().all(|&byte| matches!(super::character(&mut at, byte), super::Step::Took));
        stays.then(|| in_string(at) - 1)
    }
}

/// What completes a string.
fn in_string(at: Character) -> usize {
    match at {
        Character::Between => 1,
        Character::Within { more, .. } => usize::from(more) + 1,
        Character::Escape => 2,
        Character::Hex(digits) => 4 - usize::from(digits) + 1,
    }
}

impl Grammar {
    /// What completes something open, without what is open in it.
    fn left(&self, open: &Open) -> usize {
        match open {
            Open::Value(node) => self.shortest[*node],
            Open::Text { node, len, first } => {
                let texts = self.texts(*node);
                let start = &texts[*first].as_bytes()[..*len];
                let fit = texts[*first..].iter().filter(|text| text.as_bytes().starts_with(start));
                fit.map(|text| text.len() - len).min().unwrap_or(0)
            }
            Open::String(at) => in_string(*at),
            Open::Number(node, numeral) => numeral.bytes_left(self.range(*node)),
            Open::Array { node, count, next } => {
                let Node::Array { items, least, .. } = self.node(*node) else { return 0 };
                let item = self.shortest[*items];
                let more = |count: u64| times(least.saturating_sub(count), item.saturating_add(2));
                match next {
                    InArray::Start if *least == 0 => 1,
                    InArray::Start => more(1).saturating_add(item).saturating_add(1),
                    InArray::AfterItem => more(*count).saturating_add(1),
                    InArray::Space => more(count + 1).saturating_add(item).saturating_add(2),
                }
            }
            Open::Map { node, next } => {
                // An entry, with two quotes, the colon and its space, and the bracket.
                let entry = self.map_value(*node).saturating_add(5);
                match next {
                    InMap::Start | InMap::AfterValue => 1,
                    InMap::Space => entry.saturating_add(1),
                    InMap::Quote => entry,
                    InMap::Colon => entry - 2,
                    InMap::ColonSpace => entry - 3,
                }
            }
            Open::Object { node, seen, next } => self.left_of_object(*node, seen, *next),
        }
    }

    fn left_of_object(&self, node: usize, seen: &[bool], next: InObject) -> usize {
        let (properties, keys) = self.properties(node);
        let entry = |one: &Property| self.shortest[one.value].saturating_add(one.key.len() + AROUND_KEY);
        // What follows an entry: the required ones that are missing, and as many more as there have to be.
        let after = |chosen: Option<usize>| {
            let is_there = |at: usize| seen[at] || chosen == Some(at);
            let mut sum = 1_usize; // the bracket
            let mut count = 0;
            for (at, one) in properties.iter().enumerate() {
                count += usize::from(is_there(at) || one.required);
                if one.required && !is_there(at) {
                    sum = sum.saturating_add(entry(one));
                }
            }
            if count < keys.start {
                let free = properties.iter().enumerate().filter(|(at, one)| !one.required && !is_there(*at));
                let mut free: Vec<usize> = free.map(|(_, one)| entry(one)).collect();
                free.sort_unstable();
                sum = free.iter().take(keys.start - count).fold(sum, |sum, entry| sum.saturating_add(*entry));
            }
            sum
        };
        // A key has to come, one that begins so, and so many bytes of its entry are there.
        let with_key = |start: &[u8], there: usize| {
            let fits = |(at, one): &(usize, &Property)| !seen[*at] && one.key.as_bytes().starts_with(start);
            let all = properties.iter().enumerate().filter(fits);
            all.map(|(at, one)| entry(one).saturating_sub(there).saturating_add(after(Some(at))))
                .min()
                .unwrap_or(usize::MAX)
        };
        match next {
            // Nothing is before the first key: no comma, no space.
            InObject::Start if after(None) == 1 => 1,
            InObject::Start => after(None).saturating_sub(2),
            InObject::AfterValue => after(None),
            InObject::Space => with_key(b"", 1),
            InObject::Quote => with_key(b"", 2),
            InObject::Key { len, first } => with_key(&properties[first].key.as_bytes()[..len], len + 3),
            InObject::Colon(at) => self.shortest[properties[at].value].saturating_add(2 + after(None)),
            InObject::ColonSpace(at) => self.shortest[properties[at].value].saturating_add(1 + after(None)),
        }
    }

    /// The length of the shortest value in a map.
    fn map_value(&self, node: usize) -> usize {
        if let Node::Map(value) = self.node(node) { self.shortest[*value] } else { 0 }
    }

    /// The lengths of the shortest values of each node, or a little more.
    pub(super) fn measure(&mut self) {
        self.shortest = vec![0; self.nodes.len()];
        for node in 0..self.nodes.len() {
            self.shortest[node] = self.shortest_of(node);
        }
        // A choice may have been made before what it chooses from.
        for node in 0..self.nodes.len() {
            self.shortest[node] = self.shortest_of(node);
        }
    }

    fn shortest_of(&self, node: usize) -> usize {
        match &self.nodes[node] {
            Node::Texts(texts) => texts.iter().map(String::len).min().unwrap_or(0),
            Node::String | Node::Map(_) => 2,
            Node::Number(range) => super::number::Numeral::default().bytes_left(range),
            Node::Array { .. } => {
                1 + self.left(&Open::Array { node, count: 0, next: InArray::Start }).min(usize::MAX - 1)
            }
            Node::Object { properties, .. } => {
                let seen = vec![false; properties.len()];
                1 + self.left_of_object(node, &seen, InObject::Start).min(usize::MAX - 1)
            }
            Node::Choice(nodes) => nodes.iter().map(|&node| self.shortest[node]).min().unwrap_or(0),
        }
    }
}

fn times(count: u64, size: usize) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX).saturating_mul(size)
}
