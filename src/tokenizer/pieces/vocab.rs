//! The pieces of a vocabulary and the pairs that make them.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Deserializer, Serialize};

use crate::tokenizer::SpecError;
use crate::tokenizer::bpe::added::AddedTokens;
use crate::tokenizer::bpe::hash::FastMap;

/// More bytes than a piece has. SentencePiece's own trainer makes pieces of at most 16 characters.
const PIECE_LIMIT: usize = 512;
/// Tokens are the numbers below it.
const TOKEN_LIMIT: usize = 1 << 24;

/// A tokenizer of pieces as it is written to disk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PieceSpec {
    /// The pieces in the order of their tokens. There is one for each of the 256 bytes.
    pub pieces: Vec<Piece>,
    /// Where a blank is put before a text. Decoding takes that before the first word away.
    #[serde(deserialize_with = "space_prefix")]
    pub space_prefix: SpacePrefix,
}

/// Where a blank is put, so that the first word of a text is the same piece as it would be further on. A text may be cut into
/// stretches by tokens that are found before anything is merged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SpacePrefix {
    /// Nowhere.
    Never,
    /// Before each stretch, as `Prepend` of Hugging Face's `tokenizers` does, and llama.cpp.
    #[default]
    Prepend,
    /// Before each stretch that does not begin with one: `Metaspace` of `tokenizers` with the scheme `always`.
    MetaspaceAlways,
    /// Before the first stretch alone, if no token stands before it and it does not begin with a blank: with the scheme `first`.
    MetaspaceFirst,
}

impl SpacePrefix {
    /// Whether a stretch gets one. `is_first` says that no token stands before it.
    pub(super) fn is_before(self, stretch: &str, is_first: bool) -> bool {
        match self {
            SpacePrefix::Never => false,
            SpacePrefix::Prepend => true,
            SpacePrefix::MetaspaceAlways => !stretch.starts_with(' '),
            SpacePrefix::MetaspaceFirst => is_first && !stretch.starts_with(' '),
        }
    }
}

/// Reads what stands in a checkpoint. Older ones say only whether there is a blank.
fn space_prefix<'de, D: Deserializer<'de>>(from: D) -> Result<SpacePrefix, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Any(bool),
        Kind(SpacePrefix),
    }
    Ok(match Written::deserialize(from)? {
        Written::Any(false) => SpacePrefix::Never,
        Written::Any(true) => SpacePrefix::Prepend,
        Written::Kind(kind) => kind,
    })
}

/// A piece of text that is a token.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Piece {
    /// Its text, in which a blank is a blank (other programs write `▁`). That of a byte is `<0x41>`, and that of a piece which
    /// stands for no text is its name.
    pub text: String,
    /// Pieces of a higher score are merged first.
    #[serde(default)]
    pub score: f32,
    /// What it stands for.
    #[serde(default)]
    pub kind: PieceKind,
}

/// What a piece stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PieceKind {
    /// Its text, wherever merges make it.
    #[default]
    Normal,
    /// No text: what could not be encoded, where there are no pieces for bytes.
    Unknown,
    /// No text: a special token, such as the one before a document.
    Control,
    /// Its text, wherever that stands: it is found before anything is merged.
    UserDefined,
    /// Nothing at all: a place that was left free.
    Unused,
    /// A single byte.
    Byte,
}

impl PieceKind {
    /// Whether it stands for no text: the piece is a special token.
    pub fn is_special(self) -> bool {
        match self {
            PieceKind::Unknown | PieceKind::Control | PieceKind::Unused => true,
            PieceKind::Normal | PieceKind::UserDefined | PieceKind::Byte => false,
        }
    }
}

/// Pieces, checked, in the form that encoding needs.
#[derive(Clone, Debug)]
pub(super) struct Vocabulary {
    pub pieces: Vec<Piece>,
    pub space_prefix: SpacePrefix,
    /// The piece of each single byte.
    pub bytes: [u32; 256],
    /// Pieces that stand for no text, by name.
    pub special: HashMap<String, usize>,
    /// Characters that are a piece.
    pub characters: FastMap<u32, u32>,
    /// What a pair of pieces becomes, by its [`key`].
    pub pairs: FastMap<u64, u32>,
    /// When each piece is merged: those of a higher score have a lower number, and those of equal scores the same.
    pub ranks: Vec<u32>,
    /// User-defined pieces.
    pub defined: AddedTokens,
    /// Whether no piece goes on after the end of a word: a blank is always its beginning, or follows one.
    pub words: bool,
}

/// A pair of tokens as one number.
pub(super) fn key([left, right]: [u32; 2]) -> u64 {
    u64::from(left) << 32 | u64::from(right)
}

impl Vocabulary {
    /// Checks a spec. It may come from a damaged file, or from somebody who means ill.
    pub fn new(spec: &PieceSpec) -> Result<Self, SpecError> {
        let PieceSpec { pieces, space_prefix } = spec;
        if pieces.len() >= TOKEN_LIMIT {
            return Err(SpecError(format!("{} pieces are more than there can be", pieces.len())));
        }
        let mut bytes = [None; 256];
        let mut normal: HashMap<&str, u32> = HashMap::with_capacity(pieces.len());
        let (mut special, mut defined) = (HashMap::new(), AddedTokens::default());
        let mut defined_texts = HashSet::new();
        for (id, piece) in (0_u32..).zip(pieces) {
            let text = piece.text.as_str();
            let wrong = |problem: String| Err(SpecError(format!("piece {id}, {text:?}, {problem}")));
            if text.is_empty() {
                return Err(SpecError(format!("piece {id} has no text")));
            }
            if text.len() > PIECE_LIMIT {
                return Err(SpecError(format!(
                    "piece {id} has {} bytes, more than {PIECE_LIMIT}",
                    text.len()
                )));
            }
            if !piece.score.is_finite() {
                return wrong(format!("has the score {}", piece.score));
            }
            let twice = match piece.kind {
                PieceKind::Normal => normal.insert(text, id).is_some(),
                PieceKind::UserDefined => {
                    defined.insert(text, id);
                    !defined_texts.insert(text)
                }
                PieceKind::Unknown | PieceKind::Control | PieceKind::Unused => {
                    special.insert(text.to_owned(), id as usize).is_some()
                }
                PieceKind::Byte => match byte(text) {
                    Some(byte) => bytes[usize::from(byte)].replace(id).is_some(),
                    None => return wrong("is to be a byte, which is written like <0x0A>".to_owned()),
                },
            };
            if twice {
                return wrong("is there twice".to_owned());
            }
        }
        let mut known = [0; 256];
        for (byte, id) in bytes.into_iter().enumerate() {
            known[byte] = id.ok_or_else(|| {
                SpecError(format!(
                    "no piece is the byte <0x{byte:02X}>: without all of them some texts have no tokens"
                ))
            })?;
        }
        Ok(Vocabulary {
            space_prefix: *space_prefix,
            bytes: known,
            special,
            characters: characters(&normal),
            pairs: pairs(&normal),
            ranks: ranks(pieces),
            words: normal.keys().all(|text| !text.trim_start_matches(' ').contains(' ')),
            defined,
            pieces: pieces.clone(),
        })
    }

    /// The spec that it was made from.
    pub fn spec(&self) -> PieceSpec {
        PieceSpec { pieces: self.pieces.clone(), space_prefix: self.space_prefix }
    }

    /// All pairs that are merged and what they become, in the order in which that happens.
    pub fn merges(&self) -> Vec<([usize; 2], usize)> {
        let split = |(&key, &made): (&u64, &u32)| {
            ([(key >> 32) as usize, (key & u64::from(u32::MAX)) as usize], made as usize)
        };
        let mut merges: Vec<([usize; 2], usize)> = self.pairs.iter().map(split).collect();
        merges.sort_unstable_by_key(|&(pair, made)| (self.ranks[made], made, pair));
        merges
    }

    /// Appends what a token stands for.
    pub fn push_bytes(&self, token: usize, bytes: &mut Vec<u8>) {
        let Some(piece) = self.pieces.get(token) else { return };
        match piece.kind {
            PieceKind::Normal | PieceKind::UserDefined => bytes.extend_from_slice(piece.text.as_bytes()),
            PieceKind::Byte => bytes.extend(byte(&piece.text)),
            PieceKind::Unknown | PieceKind::Control | PieceKind::Unused => {}
        }
    }
}

/// The byte that is written as `<0x0A>`.
fn byte(text: &str) -> Option<u8> {
    let digits = text.strip_prefix("<0x")?.strip_suffix('>')?;
    let whole = digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    whole.then(|| u8::from_str_radix(digits, 16).ok()).flatten()
}

/// Pieces of one character.
fn characters(normal: &HashMap<&str, u32>) -> FastMap<u32, u32> {
    let single = |(text, &id): (&&str, &u32)| {
        let mut chars = text.chars();
        let first = chars.next()?;
        chars.next().is_none().then_some((u32::from(first), id))
    };
    normal.iter().filter_map(single).collect()
}

/// Every way to put a piece together from two others.
fn pairs(normal: &HashMap<&str, u32>) -> FastMap<u64, u32> {
    let mut pairs = FastMap::default();
    for (text, &made) in normal {
        for (middle, _) in text.char_indices().skip(1) {
            let (left, right) = text.split_at(middle);
            if let (Some(&left), Some(&right)) = (normal.get(left), normal.get(right)) {
                pairs.insert(key([left, right]), made);
            }
        }
    }
    pairs
}

/// The places of all pieces in the order of their scores.
fn ranks(pieces: &[Piece]) -> Vec<u32> {
    let mut order: Vec<usize> = (0..pieces.len()).collect();
    order.sort_by(|&a, &b| pieces[b].score.total_cmp(&pieces[a].score));
    let mut ranks = vec![0; pieces.len()];
    let (mut rank, mut before) = (0, f32::NAN);
    for id in order {
        // 0 and -0 are equal here.
        if pieces[id].score != before {
            (rank, before) = (rank + 1, pieces[id].score);
        }
        ranks[id] = rank;
    }
    ranks
}
