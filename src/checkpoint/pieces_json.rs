//! `tokenizer.json` for pieces with scores.
//!
//! Hugging Face's `tokenizers` has no scores: it merges pairs in the order of a list. So each way to put a piece together is a
//! pair of that list, those of the highest score first; and a list is read if it is one that scores would give.
//!
//! (Two things differ: `tokenizers` finds the names of special tokens in a text, and takes `▁` for a blank.)

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::OtherTokenizer;
use super::tokenizer_json::{check_added, in_order, merges_of, parts, with_added};
use crate::tokenizer::{Piece, PieceKind, PieceSpec, PieceTokenizer, SpacePrefix, SpecError};

/// How a blank is written in a piece.
const BLANK: &str = "\u{2581}";

/// The parts of a file that say how a text becomes tokens: `model`, `normalizer`, `pre_tokenizer`, `decoder` and `added_tokens`.
pub(super) fn to_json(spec: &PieceSpec) -> Value {
    let tokenizer = PieceTokenizer::from_spec(spec).expect("a tokenizer that there is");
    let text = |id: usize| written(&spec.pieces[id]);
    let added = spec.pieces.iter().enumerate().filter(|(_, piece)| !is_merged(piece)).map(|(id, piece)| {
        json!({
            "id": id, "content": piece.text, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": piece.kind != PieceKind::UserDefined,
        })
    });
    let unknown = spec.pieces.iter().find(|piece| piece.kind == PieceKind::Unknown);
    let vocab: Map<String, Value> = (0..spec.pieces.len()).map(|id| (text(id), id.into())).collect();
    let merges: Vec<[String; 2]> = tokenizer.merges().into_iter().map(|(pair, _)| pair.map(text)).collect();
    let blanks = json!({"type": "Replace", "pattern": {"String": " "}, "content": BLANK});
    let prefix = json!({"type": "Prepend", "prepend": BLANK});
    let restored = json!({"type": "Replace", "pattern": {"String": BLANK}, "content": " "});
    let stripped = json!({"type": "Strip", "content": " ", "start": 1, "stop": 0});
    let chosen = |steps: [(Value, bool); 4]| -> Vec<Value> {
        steps.into_iter().filter(|(_, wanted)| *wanted).map(|(step, _)| step).collect()
    };
    let steps = [
        (restored, true),
        (json!({"type": "ByteFallback"}), true),
        (json!({"type": "Fuse"}), true),
        (stripped, spec.space_prefix != SpacePrefix::Never),
    ];
    let normalizers = |steps: &[&Value]| json!({"type": "Sequence", "normalizers": steps});
    let metaspace = |scheme: &str| json!({"type": "Metaspace", "replacement": BLANK, "prepend_scheme": scheme, "split": false});
    let (normalizer, pre_tokenizer) = match spec.space_prefix {
        SpacePrefix::Never => (normalizers(&[&blanks]), Value::Null),
        SpacePrefix::Prepend => (normalizers(&[&prefix, &blanks]), Value::Null),
        SpacePrefix::MetaspaceAlways => (Value::Null, metaspace("always")),
        SpacePrefix::MetaspaceFirst => (Value::Null, metaspace("first")),
    };
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added.collect::<Vec<_>>(),
        "normalizer": normalizer,
        "pre_tokenizer": pre_tokenizer,
        "post_processor": null,
        "decoder": {"type": "Sequence", "decoders": chosen(steps)},
        "model": {
            "type": "BPE", "dropout": null, "unk_token": unknown.map(|piece| &piece.text),
            "continuing_subword_prefix": null, "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true,
            "ignore_merges": false, "vocab": vocab, "merges": merges,
        },
    })
}

/// Whether a piece takes part in merging, or stands for a byte: the others are added tokens.
fn is_merged(piece: &Piece) -> bool {
    matches!(piece.kind, PieceKind::Normal | PieceKind::Byte)
}

fn written(piece: &Piece) -> String {
    if piece.kind == PieceKind::Normal { piece.text.replace(' ', BLANK) } else { piece.text.clone() }
}

/// Whether a file may be of this kind.
pub(super) fn is_of_pieces(file: &Value) -> bool {
    file["model"]["type"] == "BPE" && file["model"]["byte_fallback"] == true
}

/// Where a blank is put before a text, or what a file does to texts that is not done here.
fn space_prefix(file: &Value) -> Result<SpacePrefix, String> {
    let blanks = |step: &Value| {
        step["type"] == "Replace" && step["pattern"]["String"] == " " && step["content"] == BLANK
    };
    let prefix = |step: &Value| step["type"] == "Prepend" && step["prepend"] == BLANK;
    let (normalizer, cut) = (&file["normalizer"], &file["pre_tokenizer"]);
    let steps = match normalizer["normalizers"].as_array() {
        Some(steps) => steps.as_slice(),
        None if normalizer.is_null() => &[],
        None => std::slice::from_ref(normalizer),
    };
    match steps {
        [first, second] if cut.is_null() && prefix(first) && blanks(second) => {
            return Ok(SpacePrefix::Prepend);
        }
        [only] if cut.is_null() && blanks(only) => return Ok(SpacePrefix::Never),
        [] if cut["type"] == "Metaspace" && cut["replacement"] == BLANK && cut["split"] == false => {
            match cut["prepend_scheme"].as_str() {
                Some("first") => return Ok(SpacePrefix::MetaspaceFirst),
                Some("always") => return Ok(SpacePrefix::MetaspaceAlways),
                Some("never") => return Ok(SpacePrefix::Never),
                _ => {}
            }
        }
        _ => {}
    }
    Err(format!(
        "it has byte_fallback, its normalizer is {normalizer} and its pre_tokenizer {cut}, where gradus only writes \
         blanks as {BLANK}"
    ))
}

/// Reads the tokenizer of a file for which [`is_of_pieces`] holds.
///
/// # Errors
/// If there can be no such tokenizer: says what is wrong.
pub(super) fn from_json(mut file: Value) -> Result<Result<PieceSpec, OtherTokenizer>, String> {
    let space_prefix = match space_prefix(&file) {
        Ok(space_prefix) => space_prefix,
        Err(other) => return Ok(Err(OtherTokenizer(other))),
    };
    let model = &file["model"];
    let nothing = |value: &Value| matches!(value, Value::Null | Value::Bool(false)) || value == "";
    for key in ["dropout", "continuing_subword_prefix", "end_of_word_suffix"] {
        if !nothing(&model[key]) {
            return Ok(Err(OtherTokenizer(format!(
                "its BPE has a {key}, {}, which gradus's does not",
                model[key]
            ))));
        }
    }
    let unknown = model["unk_token"].as_str().map(str::to_owned);
    let is_normalized = !file["normalizer"].is_null();
    let (bpe, added) = parts(&mut file)?;
    if let Err(other) = check_added(&added, is_normalized) {
        return Ok(Err(OtherTokenizer(other)));
    }
    let by_text = with_added(bpe.vocab, &added)?;
    let merges = merges_of(&bpe.merges, &by_text)?;
    let ids = in_order(&by_text)?;
    let mut pieces: Vec<Piece> = ids
        .iter()
        .map(|text| {
            let kind = match added.iter().find(|token| token.content == *text) {
                _ if unknown.as_ref() == Some(text) => PieceKind::Unknown,
                Some(token) if token.special => PieceKind::Control,
                Some(_) => PieceKind::UserDefined,
                None if is_byte(text) => PieceKind::Byte,
                None => PieceKind::Normal,
            };
            let text = if kind == PieceKind::Normal { text.replace(BLANK, " ") } else { text.clone() };
            Piece { text, score: 0.0, kind }
        })
        .collect();
    // The score of a piece is the place of its first pair, so pieces without any come last.
    let lowest = -(merges.len() as f32);
    pieces.iter_mut().filter(|piece| piece.kind == PieceKind::Normal).for_each(|piece| piece.score = lowest);
    let mut order: Vec<usize> = Vec::new();
    let mut pairs = BTreeSet::new();
    for pair in &merges {
        let [left, right] = pair.map(|id| ids[id].as_str());
        let Some(&made) = by_text.get(&[left, right].concat()) else {
            return Err(format!("merges: {left:?} and {right:?} make no token"));
        };
        if order.last() != Some(&made) {
            pieces[made].score = -(order.len() as f32);
            order.push(made);
        }
        pairs.insert((*pair, made));
    }
    let spec = PieceSpec { pieces, space_prefix };
    let tokenizer = PieceTokenizer::from_spec(&spec).map_err(|SpecError(problem)| problem)?;
    let distinct: BTreeSet<usize> = order.iter().copied().collect();
    let by_scores: BTreeSet<([usize; 2], usize)> = tokenizer.merges().into_iter().collect();
    if distinct.len() < order.len() || by_scores != pairs {
        let problem = "its merges are not in an order that scores of pieces give, which gradus needs";
        return Ok(Err(OtherTokenizer(problem.to_owned())));
    }
    Ok(Ok(spec))
}

/// Whether a piece is written like a byte: `<0x0A>`.
fn is_byte(text: &str) -> bool {
    text.len() == 6 && text.starts_with("<0x") && text.ends_with('>')
}
