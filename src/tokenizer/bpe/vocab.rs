//! The tokens of byte-level BPE and the merges that make them.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};

use super::Pattern;
use super::alphabet::{to_bytes, to_text};
use super::hash::FastMap;
use super::row::TOKEN_LIMIT;
use crate::tokenizer::SpecError;

/// A byte-level BPE tokenizer as it is written to disk: all that [`BpeTokenizer::from_spec`](super::BpeTokenizer::from_spec)
/// needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BpeSpec {
    /// How a text is cut before bytes are merged.
    pub pattern: Pattern,
    /// The text of each token. That of a special token is its name. Any other is a string of bytes, each byte written as
    /// one character of GPT-2's alphabet, in which a blank is `Ġ`. Every single byte is among them.
    pub tokens: Vec<String>,
    /// Which tokens are special: they stand for no text, and no text encodes to them.
    pub special: Vec<usize>,
    /// Pairs of tokens, first those that are merged first. The text of the two, joined, is that of the token they become.
    pub merges: Vec<[usize; 2]>,
    /// Whether a piece of text that is a token as a whole becomes that token, even where merges would lead elsewhere. So
    /// it is in the vocabulary of Llama 3; with a vocabulary from our own trainer it makes no difference.
    #[serde(default)]
    pub ignore_merges: bool,
}

/// What a token stands for.
#[derive(Clone, Debug)]
pub(super) enum Token {
    Bytes(Box<[u8]>),
    Special(Box<str>),
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
    /// The pairs that are merged, those with the lowest rank first: the rank is the index.
    pub merges: Vec<[u32; 2]>,
    /// What each merge makes.
    pub made: Vec<u32>,
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
        let mut special = HashMap::new();
        for (id, token) in (0_u32..).zip(&tokens) {
            match token {
                Token::Bytes(bytes) => by_bytes.insert(bytes.clone(), id),
                Token::Special(name) => special.insert(name.clone(), id),
            };
        }
        let mut bytes = [0; 256];
        for (byte, id) in (0_u8..=255).zip(&mut bytes) {
            *id = *by_bytes.get(&[byte][..]).ok_or_else(|| {
                SpecError(format!("no token is the single byte {byte:#04x}, written {:?}", to_text(&[byte])))
            })?;
        }
        let (merges, made) = read_merges(spec, &tokens, &by_bytes)?;
        let ranks = merges.iter().map(|&pair| key(pair)).zip(0..).collect();
        let length = |token: &Token| match token {
            Token::Bytes(bytes) => bytes.len() as u32,
            Token::Special(_) => 0,
        };
        let lengths = tokens.iter().map(length).collect();
        let whole = if spec.ignore_merges { by_bytes } else { HashMap::new() };
        Ok(Vocabulary { tokens, lengths, bytes, special, merges, made, ranks, whole })
    }

    /// The spec that it was made from.
    pub fn spec(&self, pattern: Pattern) -> BpeSpec {
        let text = |token: &Token| match token {
            Token::Bytes(bytes) => to_text(bytes),
            Token::Special(name) => name.to_string(),
        };
        let is_special = |&id: &usize| matches!(self.tokens[id], Token::Special(_));
        BpeSpec {
            pattern,
            tokens: self.tokens.iter().map(text).collect(),
            special: (0..self.tokens.len()).filter(is_special).collect(),
            merges: self.merges.iter().map(|pair| pair.map(|id| id as usize)).collect(),
            ignore_merges: !self.whole.is_empty(),
        }
    }
}

/// What each token stands for.
fn read_tokens(spec: &BpeSpec) -> Result<Vec<Token>, SpecError> {
    let count = spec.tokens.len();
    if count >= TOKEN_LIMIT {
        return Err(SpecError(format!("{count} tokens are more than there can be")));
    }
    let mut is_special = vec![false; count];
    for &id in &spec.special {
        let Some(mark) = is_special.get_mut(id) else {
            return Err(SpecError(format!("token {id} is to be special, but there are only {count} tokens")));
        };
        if std::mem::replace(mark, true) {
            return Err(SpecError(format!("token {id} is listed twice as special")));
        }
    }
    let mut texts = HashSet::with_capacity(count);
    let token = |(id, (text, special)): (usize, (&String, bool))| {
        if text.is_empty() {
            return Err(SpecError(format!("token {id} has no text")));
        }
        if text.len() >= TOKEN_LIMIT {
            return Err(SpecError(format!("token {id} has {} bytes", text.len())));
        }
        if special {
            return Ok(Token::Special(text.as_str().into()));
        }
        let bytes = to_bytes(text).map_err(|c| {
            SpecError(format!("token {id}, {text:?}, has the character {c:?}, which is no byte"))
        })?;
        Ok(Token::Bytes(bytes.into()))
    };
    let mut tokens = Vec::with_capacity(count);
    for (id, (text, special)) in spec.tokens.iter().zip(is_special).enumerate() {
        if !texts.insert(text) {
            return Err(SpecError(format!("token {id}, {text:?}, is there twice")));
        }
        tokens.push(token((id, (text, special)))?);
    }
    Ok(tokens)
}

/// The merges, and the token that each makes.
fn read_merges(
    spec: &BpeSpec,
    tokens: &[Token],
    by_bytes: &HashMap<Box<[u8]>, u32>,
) -> Result<(Vec<[u32; 2]>, Vec<u32>), SpecError> {
    let mut merges = Vec::with_capacity(spec.merges.len());
    let mut made = Vec::with_capacity(spec.merges.len());
    let mut seen = HashSet::with_capacity(spec.merges.len());
    // Whether a merge has used a token as its left or right part.
    let mut used = vec![false; tokens.len()];
    let mut joined = Vec::new();
    for (rank, &pair) in spec.merges.iter().enumerate() {
        let wrong = |problem: String| Err(SpecError(format!("merge {rank}, of tokens {pair:?}, {problem}")));
        joined.clear();
        for id in pair {
            match tokens.get(id) {
                Some(Token::Bytes(bytes)) => joined.extend_from_slice(bytes),
                Some(Token::Special(name)) => return wrong(format!("has the special token {name:?}")),
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
        // Encoding relies on it: when all pairs of one rank are merged, no pair of a lower rank appears.
        if used[id as usize] {
            return wrong(format!("makes token {id}, which an earlier merge already has as a part"));
        }
        merges.push(pair.map(|part| part as u32));
        made.push(id);
    }
    Ok((merges, made))
}
