//! The tokens of byte-level BPE and the merges that make them.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};

use super::added::AddedTokens;
use super::alphabet::{to_bytes, to_text};
use super::hash::FastMap;
use super::row::TOKEN_LIMIT;
use super::{Normalizer, Pattern};
use crate::tokenizer::SpecError;

/// A byte-level BPE tokenizer as it is written to disk: all that [`BpeTokenizer::from_spec`](super::BpeTokenizer::from_spec)
/// needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BpeSpec {
    /// How a text is cut before bytes are merged.
    pub pattern: Pattern,
    /// The text of each token. That of a special token is its name, and that of an added one what it stands for. Any other is a
    /// string of bytes, each byte written as one character of GPT-2's alphabet, in which a blank is `Ġ`. Every single byte is
    /// among them.
    pub tokens: Vec<String>,
    /// Which tokens are special: they stand for no text, and no text encodes to them.
    pub special: Vec<usize>,
    /// Which tokens were added to the vocabulary, and stand for a text as a whole: it is looked for in texts before they are
    /// cut.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub added: Vec<usize>,
    /// Pairs of tokens, first those that are merged first. The text of the two, joined, is that of the token they become.
    pub merges: Vec<[usize; 2]>,
    /// Whether a piece of text that is a token as a whole becomes that token, even where merges would lead elsewhere. So
    /// it is in the vocabulary of Llama 3; with a vocabulary from our own trainer it makes no difference.
    #[serde(default)]
    pub ignore_merges: bool,
    /// What is done to a text before it is cut.
    #[serde(default, skip_serializing_if = "Normalizer::is_none")]
    pub normalizer: Normalizer,
}

/// What a token stands for.
#[derive(Clone, Debug)]
pub(super) enum Token {
    Bytes(Box<[u8]>),
    Special(Box<str>),
    Added(Box<str>),
}

/// Tokens and merges, checked, in the form that encoding needs.
#[derive(Clone, Debug)]
pub(super) struct Vocabulary {
    pub tokens: Vec<Token>,
    /// How many bytes each token stands for.
    pub lengths: Vec<u32>,
    /// The token of each single byte.
    pub bytes: [u32; 256],
    pub special: HashMap<Box<str>, u32>,
    pub added: AddedTokens,
    /// The pairs that are merged, those with the lowest rank first: the rank is the index.
    pub merges: Vec<[u32; 2]>,
    /// What each merge makes.
    pub made: Vec<u32>,
    /// Whether every token is made before it is a part of a merge, as a trainer makes them: when all pairs of one rank are
    /// merged, no pair of a lower rank appears. The merges of Llama 3 are not in such an order: they were made from its
    /// tokens, each in all ways in which it can be the sum of two.
    pub ordered: bool,
    /// The rank of a pair, by its [`key`].
    ranks: FastMap<u64, u32>,
    /// The tokens that a whole piece may become without merges; empty unless `ignore_merges`.
    pub whole: HashMap<Box<[u8]>, u32>,
}

/// A pair of tokens as one number.
pub(super) fn key([left, right]: [u32; 2]) -> u64 {
    u64::from(left) << 32 | u64::from(right)
}

impl Vocabulary {
    /// The rank of a pair of tokens, if they are merged at all.
    #[inline]
    pub fn rank(&self, pair: [u32; 2]) -> Option<u32> {
        self.ranks.get(&key(pair)).copied()
    }

    /// Checks a spec. It may come from a damaged file, or from somebody who means ill.
    pub fn new(spec: &BpeSpec) -> Result<Self, SpecError> {
        let tokens = read_tokens(spec)?;
        // Tokens by their bytes, and special ones by their names.
        let mut by_bytes: HashMap<Box<[u8]>, u32> = HashMap::with_capacity(tokens.len());
        let (mut special, mut added) = (HashMap::new(), AddedTokens::default());
        for (id, token) in (0_u32..).zip(&tokens) {
            match token {
                Token::Bytes(bytes) => drop(by_bytes.insert(bytes.clone(), id)),
                Token::Special(name) => drop(special.insert(name.clone(), id)),
                Token::Added(text) => added.insert(text, id),
            }
        }
        let mut bytes = [0; 256];
        for (byte, id) in (0_u8..=255).zip(&mut bytes) {
            *id = *by_bytes.get(&[byte][..]).ok_or_else(|| {
                SpecError(format!("no token is the single byte {byte:#04x}, written {:?}", to_text(&[byte])))
            })?;
        }
        let Merges { pairs: merges, made, ordered } = read_merges(spec, &tokens, &by_bytes)?;
        let ranks = merges.iter().map(|&pair| key(pair)).zip(0..).collect();
        let length = |token: &Token| match token {
            Token::Bytes(bytes) => bytes.len() as u32,
            Token::Special(_) | Token::Added(_) => 0,
        };
        let lengths = tokens.iter().map(length).collect();
        let whole = if spec.ignore_merges { by_bytes } else { HashMap::new() };
        Ok(Vocabulary { tokens, lengths, bytes, special, added, merges, made, ordered, ranks, whole })
    }

    /// The spec that it was made from.
    pub fn spec(&self, normalizer: Normalizer, pattern: Pattern) -> BpeSpec {
        let text = |token: &Token| match token {
            Token::Bytes(bytes) => to_text(bytes),
            Token::Special(text) | Token::Added(text) => text.to_string(),
        };
        let all = |which: fn(&Token) -> bool| -> Vec<usize> {
            (0..self.tokens.len()).filter(|&id| which(&self.tokens[id])).collect()
        };
        BpeSpec {
            pattern,
            tokens: self.tokens.iter().map(text).collect(),
            special: all(|token| matches!(token, Token::Special(_))),
            added: all(|token| matches!(token, Token::Added(_))),
            merges: self.merges.iter().map(|pair| pair.map(|id| id as usize)).collect(),
            ignore_merges: !self.whole.is_empty(),
            normalizer,
        }
    }
}

/// What sort of token it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Bytes,
    Special,
    Added,
}

/// What each token stands for.
fn read_tokens(spec: &BpeSpec) -> Result<Vec<Token>, SpecError> {
    let count = spec.tokens.len();
    if count >= TOKEN_LIMIT {
        return Err(SpecError(format!("{count} tokens are more than there can be")));
    }
    let mut kinds = vec![Kind::Bytes; count];
    for (ids, kind, word) in [(&spec.special, Kind::Special, "special"), (&spec.added, Kind::Added, "added")]
    {
        for &id in ids {
            let Some(place) = kinds.get_mut(id) else {
                let problem = format!("token {id} is to be {word}, but there are only {count} tokens");
                return Err(SpecError(problem));
            };
            match std::mem::replace(place, kind) {
                Kind::Bytes => {}
                before if before == kind => {
                    return Err(SpecError(format!("token {id} is listed twice as {word}")));
                }
                _ => return Err(SpecError(format!("token {id} is to be special and added"))),
            }
        }
    }
    let mut texts = HashSet::with_capacity(count);
    let token = |(id, (text, kind)): (usize, (&String, Kind))| {
        if text.is_empty() {
            return Err(SpecError(format!("token {id} has no text")));
        }
        if text.len() >= TOKEN_LIMIT {
            return Err(SpecError(format!("token {id} has {} bytes", text.len())));
        }
        match kind {
            Kind::Special => return Ok(Token::Special(text.as_str().into())),
            Kind::Added => return Ok(Token::Added(text.as_str().into())),
            Kind::Bytes => {}
        }
        let bytes = to_bytes(text).map_err(|c| {
            SpecError(format!("token {id}, {text:?}, has the character {c:?}, which is no byte"))
        })?;
        Ok(Token::Bytes(bytes.into()))
    };
    let mut tokens = Vec::with_capacity(count);
    for (id, (text, kind)) in spec.tokens.iter().zip(kinds).enumerate() {
        if !texts.insert(text) {
            return Err(SpecError(format!("token {id}, {text:?}, is there twice")));
        }
        tokens.push(token((id, (text, kind)))?);
    }
    Ok(tokens)
}

/// The merges, the token that each makes, and whether every token is made before it is a part.
struct Merges {
    pairs: Vec<[u32; 2]>,
    made: Vec<u32>,
    ordered: bool,
}

/// Checks the merges.
fn read_merges(
    spec: &BpeSpec,
    tokens: &[Token],
    by_bytes: &HashMap<Box<[u8]>, u32>,
) -> Result<Merges, SpecError> {
    let mut merges = Vec::with_capacity(spec.merges.len());
    let mut made = Vec::with_capacity(spec.merges.len());
    let mut seen = HashSet::with_capacity(spec.merges.len());
    // Whether a merge has used a token as its left or right part.
    let mut used = vec![false; tokens.len()];
    let (mut joined, mut ordered) = (Vec::new(), true);
    for (rank, &pair) in spec.merges.iter().enumerate() {
        let wrong = |problem: String| Err(SpecError(format!("merge {rank}, of tokens {pair:?}, {problem}")));
        joined.clear();
        for id in pair {
            match tokens.get(id) {
                Some(Token::Bytes(bytes)) => joined.extend_from_slice(bytes),
                Some(Token::Special(name)) => return wrong(format!("has the special token {name:?}")),
                Some(Token::Added(text)) => return wrong(format!("has the added token {text:?}")),
                None => return wrong(format!("has a token that is not one of the {}", tokens.len())),
            }
        }
        if !seen.insert(pair) {
            return wrong("is there twice".to_owned());
        }
        let Some(&id) = by_bytes.get(&joined[..]) else {
            return wrong(format!("makes {:?}, which is no token", to_text(&joined)));
        };
        pair.iter().for_each(|&part| used[part] = true);
        ordered &= !used[id as usize];
        merges.push(pair.map(|part| part as u32));
        made.push(id);
    }
    Ok(Merges { pairs: merges, made, ordered })
}
