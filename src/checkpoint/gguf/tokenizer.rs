//! The tokenizer, and the tokens at both ends of a text.
//!
//! The format has all tokens in one list, with a type for each, and as many as the model has. It does not say how a text is cut:
//! byte-level BPE names a way that llama.cpp has built in (`pre`), and pieces with scores are never cut.

use super::Trouble;
use super::config::{Keys, integer, unfit};
use super::container::{Array, Value};
use super::writer::MetadataWriter;
use crate::checkpoint::hugging_face::FolderError;
use crate::checkpoint::{EndTokens, LanguageModel, OtherTokenizer};
use crate::model::Model;
use crate::tokenizer::{
    BpeSpec, BpeTokenizer, Normalizer, Pattern, Piece, PieceKind, PieceSpec, PieceTokenizer, SpacePrefix,
    SpecError, TokenizerSpec,
};

/// The types of tokens.
const NORMAL: i32 = 1;
const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
const UNUSED: i32 = 5;
const BYTE: i32 = 6;

/// How a blank is written in a piece.
const BLANK: char = '\u{2581}';

/// The tokens that end what is generated, in the order in which they are written: the end of a text, of a turn, of a message.
const END_KEYS: [&str; 3] = ["eos_token_id", "eot_token_id", "eom_token_id"];

fn key(name: &str) -> String {
    format!("tokenizer.ggml.{name}")
}

/// Writes a tokenizer. Where it has fewer tokens than the model, the others are unused.
pub(super) fn write(
    metadata: &mut MetadataWriter,
    language_model: &LanguageModel,
) -> Result<(), FolderError> {
    let needed = "byte-level BPE or pieces with scores";
    let vocab_size = language_model.model.vocab_size();
    if let Ok(spec) = &language_model.tokenizer {
        spec.build().map_err(|SpecError(problem)| {
            unfit("tokenizer", format!("none that can be ({problem})"), "one that can be")
        })?;
        if spec.token_count() > vocab_size {
            let found = format!("one of {} tokens", spec.token_count());
            return Err(unfit("tokenizer", found, format!("{vocab_size} at most, as many as the model has")));
        }
    }
    match &language_model.tokenizer {
        Ok(TokenizerSpec::Bpe(spec)) => write_bpe(metadata, spec, vocab_size),
        Ok(TokenizerSpec::Pieces(spec)) => {
            write_pieces(metadata, spec, vocab_size);
            Ok(())
        }
        Ok(other) => Err(unfit("tokenizer", other.to_string(), needed)),
        Err(OtherTokenizer(other)) => Err(unfit("tokenizer", format!("another one ({other})"), needed)),
    }
}

/// The texts and types of all tokens, unused ones at the end.
fn write_list(
    metadata: &mut MetadataWriter,
    vocab_size: usize,
    tokens: impl Iterator<Item = String>,
    kinds: impl Iterator<Item = i32>,
) {
    let mut tokens: Vec<String> = tokens.collect();
    tokens.extend((tokens.len()..vocab_size).map(|id| format!("[PAD{id}]")));
    let mut kinds: Vec<i32> = kinds.collect();
    kinds.resize(vocab_size, UNUSED);
    metadata.strings(&key("tokens"), tokens.iter());
    metadata.i32s(&key("token_type"), kinds.into_iter());
}

fn write_bpe(metadata: &mut MetadataWriter, spec: &BpeSpec, vocab_size: usize) -> Result<(), FolderError> {
    let (pre, whole) = match spec.pattern {
        Pattern::Gpt2 => ("gpt-2", false),
        Pattern::Llama3 => ("llama-bpe", true),
        Pattern::Qwen2 => ("qwen2", false),
    };
    if spec.ignore_merges != whole
        && !merges_make_all(spec).map_err(|SpecError(problem)| unfit("tokenizer", problem, "sound"))?
    {
        let (found, needed) = if whole { ("false", "true") } else { ("true", "false") };
        return Err(unfit("ignore_merges", found, format!("{needed}, as llama.cpp has it for {pre}")));
    }
    if spec.normalizer != normalizer(spec.pattern) {
        metadata.bool("gradus.normalizer.nfc", spec.normalizer == Normalizer::Nfc);
    }
    metadata.string(&key("model"), "gpt2");
    metadata.string(&key("pre"), pre);
    let mut kinds = vec![NORMAL; spec.tokens.len()];
    spec.special.iter().for_each(|&id| kinds[id] = CONTROL);
    spec.added.iter().for_each(|&id| kinds[id] = USER_DEFINED);
    write_list(metadata, vocab_size, spec.tokens.iter().cloned(), kinds.into_iter());
    let merge = |[left, right]: &[usize; 2]| format!("{} {}", spec.tokens[*left], spec.tokens[*right]);
    metadata.strings(&key("merges"), spec.merges.iter().map(merge));
    Ok(())
}

/// Whether it makes no difference if a piece that is a token becomes that token at once.
fn merges_make_all(spec: &BpeSpec) -> Result<bool, SpecError> {
    let by_merges = BpeSpec { ignore_merges: false, ..spec.clone() };
    Ok(BpeTokenizer::from_spec(&by_merges)?.merges_make_all())
}

/// What is done to texts by the tokenizers whose way to cut them this is.
fn normalizer(pattern: Pattern) -> Normalizer {
    if pattern == Pattern::Qwen2 { Normalizer::Nfc } else { Normalizer::None }
}

fn write_pieces(metadata: &mut MetadataWriter, spec: &PieceSpec, vocab_size: usize) {
    metadata.string(&key("model"), "llama");
    metadata.string(&key("pre"), "default");
    metadata.bool(&key("add_space_prefix"), spec.space_prefix != SpacePrefix::Never);
    let kind = |piece: &Piece| match piece.kind {
        PieceKind::Normal => NORMAL,
        PieceKind::Unknown => UNKNOWN,
        PieceKind::Control => CONTROL,
        PieceKind::UserDefined => USER_DEFINED,
        PieceKind::Unused => UNUSED,
        PieceKind::Byte => BYTE,
    };
    let text = |piece: &Piece| match piece.kind {
        PieceKind::Normal => piece.text.replace(' ', "\u{2581}"),
        _ => piece.text.clone(),
    };
    write_list(metadata, vocab_size, spec.pieces.iter().map(text), spec.pieces.iter().map(kind));
    let mut scores: Vec<f32> = spec.pieces.iter().map(|piece| piece.score).collect();
    scores.resize(vocab_size, 0.0);
    metadata.f32s(&key("scores"), scores.into_iter());
    if let Some(unknown) = spec.pieces.iter().position(|piece| piece.kind == PieceKind::Unknown) {
        metadata.u32(&key("unknown_token_id"), unknown as u32);
    }
}

/// The tokens at both ends of a text.
pub(super) fn write_tokens(
    metadata: &mut MetadataWriter,
    tokens: &EndTokens,
    vocab_size: usize,
) -> Result<(), FolderError> {
    if tokens.eos.is_empty() {
        // llama.cpp would take the token that it is in other models.
        return Err(unfit("eos", "no token", "at least one"));
    }
    if tokens.eos.len() > END_KEYS.len() {
        return Err(unfit("eos", format!("{} tokens", tokens.eos.len()), "at most three"));
    }
    let named = [("bos_token_id", tokens.bos), ("padding_token_id", tokens.pad)];
    let ends = END_KEYS.into_iter().zip(tokens.eos.iter().map(|&id| Some(id)));
    for (name, id) in named.into_iter().chain(ends) {
        if let Some(id) = id {
            if id >= vocab_size {
                return Err(unfit("tokens", format!("{id} as {name}"), format!("below {vocab_size}")));
            }
            metadata.u32(&key(name), integer("tokens", id)?);
        }
    }
    metadata.bool(&key("add_bos_token"), tokens.add_bos);
    metadata.bool(&key("add_eos_token"), false);
    Ok(())
}

/// Reads them. A number that no token has is none.
pub(super) fn read_tokens(keys: &Keys<'_>, vocab_size: usize) -> Result<EndTokens, Trouble> {
    let token = |name: &str| Ok::<_, String>(keys.size(&key(name))?.filter(|&id| id < vocab_size));
    let model = keys.string(&key("model"))?;
    let mut eos = Vec::new();
    for name in END_KEYS {
        eos.extend(token(name)?.filter(|id| !eos.contains(id)));
    }
    // What llama.cpp does where nothing is said.
    let pieces = model == Some("llama");
    let add_bos = pieces || pattern(keys)? == Some(Pattern::Llama3);
    let bos = token("bos_token_id")?.or(if pieces { Some(1) } else { None });
    let pad = token("padding_token_id")?;
    if eos.is_empty() && pieces && vocab_size > 2 {
        eos.push(2);
    }
    let add_bos = keys.bool(&key("add_bos_token"))?.unwrap_or(add_bos) && bos.is_some();
    Ok(EndTokens { bos, add_bos, eos, pad, names: None })
}

/// The way that byte-level BPE cuts a text, if it is one of ours.
fn pattern(keys: &Keys<'_>) -> Result<Option<Pattern>, Trouble> {
    Ok(match keys.string(&key("pre"))? {
        Some("gpt-2") => Some(Pattern::Gpt2),
        Some("llama-bpe" | "llama3" | "llama-v3") => Some(Pattern::Llama3),
        Some("qwen2") => Some(Pattern::Qwen2),
        _ => None,
    })
}

/// Reads a tokenizer, or says which one it is that is not one of ours.
pub(super) fn read(
    keys: &Keys<'_>,
    vocab_size: usize,
) -> Result<Result<TokenizerSpec, OtherTokenizer>, Trouble> {
    let other = |problem: String| Ok(Err(OtherTokenizer(problem)));
    match keys.string(&key("model"))? {
        Some("gpt2") => match pattern(keys)? {
            Some(pattern) => Ok(read_bpe(keys, pattern, vocab_size)?.map(TokenizerSpec::Bpe)),
            None => {
                let pre = keys.string(&key("pre"))?;
                other(format!("tokenizer.ggml.pre is {pre:?}, where gradus knows gpt-2, llama-bpe and qwen2"))
            }
        },
        Some("llama") => Ok(read_pieces(keys, vocab_size)?.map(TokenizerSpec::Pieces)),
        model => other(format!("tokenizer.ggml.model is {model:?}, where gradus knows gpt2 and llama")),
    }
}

/// Texts and types of all tokens that are used.
fn read_list<'a>(keys: &Keys<'a>, vocab_size: usize) -> Result<Vec<(&'a str, i32)>, Trouble> {
    let texts = array(keys, "tokens")?;
    let kinds = array(keys, "token_type")?;
    if texts.len() != vocab_size || kinds.len() != vocab_size {
        return Err(Trouble::Damaged(format!(
            "there are {} tokens and {} types of tokens, where token_embd.weight has {vocab_size} rows",
            texts.len(),
            kinds.len()
        )));
    }
    let mut tokens = Vec::new();
    for (id, pair) in texts.iter().zip(kinds.iter()).enumerate() {
        match pair {
            (Value::String(text), Value::Integer(kind)) if (1..=6).contains(&kind) => {
                tokens.push((text, kind as i32));
            }
            (text, kind) => return Err(format!("token {id} is {text} of type {kind}").into()),
        }
    }
    while tokens.pop_if(|(_, kind)| *kind == UNUSED).is_some() {}
    Ok(tokens)
}

fn array<'a>(keys: &Keys<'a>, name: &str) -> Result<Array<'a>, Trouble> {
    match keys.value(&key(name)) {
        Some(Value::Array(array)) => Ok(array),
        Some(other) => Err(format!("{} is {other}, not an array", key(name)).into()),
        None => Err(format!("{} is missing", key(name)).into()),
    }
}

fn read_bpe(
    keys: &Keys<'_>,
    pattern: Pattern,
    vocab_size: usize,
) -> Result<Result<BpeSpec, OtherTokenizer>, Trouble> {
    let list = read_list(keys, vocab_size)?;
    let all =
        |which: &[i32]| -> Vec<usize> { (0..list.len()).filter(|&id| which.contains(&list[id].1)).collect() };
    if let Some(id) = all(&[BYTE]).first() {
        return Err(format!("token {id} is a byte, which byte-level BPE has no type for").into());
    }
    let merges = array(keys, "merges")?;
    let ids: std::collections::HashMap<&str, usize> = list
        .iter()
        .zip(0..)
        .filter(|((_, kind), _)| *kind == NORMAL)
        .map(|((text, _), id)| (*text, id))
        .collect();
    let pair = |(at, merge): (usize, Value<'_>)| {
        let wrong = |problem: &str| format!("merge {at}, {merge}, {problem}");
        let Value::String(text) = merge else { return Err(wrong("is no text")) };
        let (left, right) = text.split_once(' ').ok_or_else(|| wrong("is no pair"))?;
        let id = |part: &str| ids.get(part).copied().ok_or_else(|| wrong("has a part that is no token"));
        Ok([id(left)?, id(right)?])
    };
    let merges = merges.iter().enumerate().map(pair).collect::<Result<Vec<_>, String>>()?;
    let nfc = keys.bool("gradus.normalizer.nfc")?;
    let normalizer = match nfc {
        Some(true) => Normalizer::Nfc,
        Some(false) => Normalizer::None,
        None => normalizer(pattern),
    };
    let mut spec = BpeSpec {
        pattern,
        special: all(&[CONTROL, UNKNOWN, UNUSED]),
        added: all(&[USER_DEFINED]),
        tokens: list.iter().map(|(text, _)| (*text).to_owned()).collect(),
        merges,
        ignore_merges: false,
        normalizer,
    };
    let sound = merges_make_all(&spec).map_err(|SpecError(problem)| problem)?;
    spec.ignore_merges = pattern == Pattern::Llama3 && !sound;
    Ok(Ok(spec))
}

fn read_pieces(keys: &Keys<'_>, vocab_size: usize) -> Result<Result<PieceSpec, OtherTokenizer>, Trouble> {
    let list = read_list(keys, vocab_size)?;
    let scores = array(keys, "scores")?;
    if scores.len() != vocab_size {
        return Err(format!("there are {} scores for {vocab_size} tokens", scores.len()).into());
    }
    let mut pieces = Vec::new();
    for (id, ((text, kind), score)) in list.into_iter().zip(scores.iter()).enumerate() {
        let Value::Float(score) = score else {
            return Err(format!("the score of token {id} is {score}, not a number").into());
        };
        let kind = match kind {
            UNKNOWN => PieceKind::Unknown,
            CONTROL => PieceKind::Control,
            USER_DEFINED => PieceKind::UserDefined,
            UNUSED => PieceKind::Unused,
            BYTE => PieceKind::Byte,
            _ => PieceKind::Normal,
        };
        let text = if kind == PieceKind::Normal { text.replace(BLANK, " ") } else { text.to_owned() };
        pieces.push(Piece { text, score: score as f32, kind });
    }
    let space_prefix = match keys.bool(&key("add_space_prefix"))? {
        Some(false) => SpacePrefix::Never,
        _ => SpacePrefix::Prepend,
    };
    let spec = PieceSpec { pieces, space_prefix };
    // Some vocabularies have no pieces for bytes. They are no mistake, but ours can encode any text.
    if !spec.pieces.iter().any(|piece| piece.kind == PieceKind::Byte) {
        return Ok(Err(OtherTokenizer("its pieces include no single bytes, which gradus needs".to_owned())));
    }
    PieceTokenizer::from_spec(&spec).map_err(|SpecError(problem)| problem)?;
    Ok(Ok(spec))
}
