//! `tokenizer.json`, the format of Hugging Face's `tokenizers`, for byte-level BPE.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::tokenizer::{BpeSpec, BpeTokenizer, Pattern, SpecError};

/// A tokenizer that is not read here, in words: the message says which one it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct OtherTokenizer(pub(super) String);

/// The file of a tokenizer. With `end`, a token is appended to each text.
///
/// (One thing differs: `tokenizers` finds the names of special tokens in a text, where ours reads them as any other text.)
pub(super) fn to_json(spec: &BpeSpec, end: Option<usize>) -> Value {
    let name = |id: usize| spec.tokens[id].as_str();
    let added = spec.special.iter().map(|&id| {
        json!({
            "id": id, "content": name(id), "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true,
        })
    });
    let pre_tokenizer = match spec.pattern {
        Pattern::Gpt2 => byte_level(true),
        Pattern::Llama3 => {
            let regex = json!({"Regex": spec.pattern.regex()});
            let split = json!({"type": "Split", "pattern": regex, "behavior": "Isolated", "invert": false});
            json!({"type": "Sequence", "pretokenizers": [split, byte_level(false)]})
        }
    };
    let vocab: HashMap<&str, usize> = spec.tokens.iter().map(String::as_str).zip(0..).collect();
    let merges: Vec<[&str; 2]> = spec.merges.iter().map(|pair| pair.map(name)).collect();
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added.collect::<Vec<_>>(),
        "normalizer": null,
        "pre_tokenizer": pre_tokenizer,
        "post_processor": end.map(|id| append(id, name(id))),
        "decoder": byte_level(true),
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "ignore_merges": spec.ignore_merges, "vocab": vocab, "merges": merges,
        },
    })
}

/// Bytes as characters of GPT-2's alphabet; with its regular expression, the text is cut as well.
fn byte_level(use_regex: bool) -> Value {
    json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex})
}

/// The post-processor that appends a special token to a text, and to each of two.
fn append(id: usize, name: &str) -> Value {
    let text = |which: &str| json!({"Sequence": {"id": which, "type_id": 0}});
    let end = json!({"SpecialToken": {"id": name, "type_id": 0}});
    json!({
        "type": "TemplateProcessing",
        "single": [text("A"), end],
        "pair": [text("A"), end, text("B"), end],
        "special_tokens": {name: {"id": name, "ids": [id], "tokens": [name]}},
    })
}

/// What is read of a file whose tokenizer is byte-level BPE.
#[derive(Deserialize)]
struct Bpe {
    vocab: HashMap<String, usize>,
    merges: Vec<Merge>,
    #[serde(default)]
    ignore_merges: bool,
}

/// A merge, as it is written since version 0.20 of `tokenizers`, and before.
#[derive(Deserialize)]
#[serde(untagged)]
enum Merge {
    Pair([String; 2]),
    Text(String),
}

#[derive(Deserialize)]
struct Added {
    id: usize,
    content: String,
    #[serde(default)]
    special: bool,
}

/// The tokenizer in a file: byte-level BPE in the pieces of GPT-2 or of Llama 3, or another one.
///
/// # Errors
/// If it is byte-level BPE, but one that cannot be. Says what is wrong.
pub(super) fn from_json(mut file: Value) -> Result<Result<BpeSpec, OtherTokenizer>, String> {
    let pattern = match pattern(&file) {
        Ok(pattern) => pattern,
        Err(other) => return Ok(Err(OtherTokenizer(other))),
    };
    let wrong = |key: &'static str| move |error| format!("{key} does not parse: {error}");
    let bpe: Bpe = serde_json::from_value(file["model"].take()).map_err(wrong("model"))?;
    let added: Option<Vec<Added>> =
        serde_json::from_value(file["added_tokens"].take()).map_err(wrong("added_tokens"))?;
    let added = added.unwrap_or_default();
    if let Some(token) = added.iter().find(|token| !token.special) {
        let problem = "is added and not special, so merges do not make it, which gradus's tokenizer needs";
        return Ok(Err(OtherTokenizer(format!("its token {:?} {problem}", token.content))));
    }
    let mut ids = bpe.vocab;
    for token in &added {
        if ids.insert(token.content.clone(), token.id).is_some_and(|id| id != token.id) {
            return Err(format!("added_tokens: {:?} has another id in the vocabulary", token.content));
        }
    }
    let mut tokens = vec![None; ids.len()];
    for (text, &id) in &ids {
        let count = tokens.len();
        let place = tokens.get_mut(id).filter(|place| place.is_none());
        *place.ok_or(format!(
            "vocab: {text:?} has the id {id}, but {count} tokens have those below {count}"
        ))? = Some(text.clone());
    }
    let merges = bpe.merges.into_iter().map(|merge| {
        let [left, right] = match &merge {
            Merge::Pair([left, right]) => [left.as_str(), right.as_str()],
            Merge::Text(text) => {
                text.split_once(' ').map(<[&str; 2]>::from).ok_or("merges: one is no pair")?
            }
        };
        let id = |part: &str| ids.get(part).copied().ok_or(format!("merges: {part:?} is no token"));
        Ok([id(left)?, id(right)?])
    });
    let spec = BpeSpec {
        pattern,
        special: added.iter().map(|token| token.id).collect(),
        merges: merges.collect::<Result<_, String>>()?,
        tokens: tokens.into_iter().map(|token| token.expect("as many places as tokens")).collect(),
        ignore_merges: bpe.ignore_merges,
    };
    BpeTokenizer::from_spec(&spec).map_err(|SpecError(problem)| problem)?;
    Ok(Ok(spec))
}

/// How a file's tokenizer cuts a text, or what is in the way of reading it.
fn pattern(file: &Value) -> Result<Pattern, String> {
    let model = &file["model"];
    if model["type"] != "BPE" {
        return Err(format!("its model is {}, where gradus reads byte-level BPE", model["type"]));
    }
    let nothing = |value: &Value| matches!(value, Value::Null | Value::Bool(false)) || value == "";
    // (An unknown token is never needed where all bytes are known.)
    for key in ["dropout", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback"] {
        if !nothing(&model[key]) {
            return Err(format!("its BPE has a {key}, {}, which gradus's does not", model[key]));
        }
    }
    if !nothing(&file["normalizer"]) {
        return Err(format!(
            "it has a normalizer, {}, where gradus keeps texts as they are",
            file["normalizer"]
        ));
    }
    let cut = &file["pre_tokenizer"];
    let byte_level = |step: &Value, use_regex: bool| {
        step["type"] == "ByteLevel"
            && step["add_prefix_space"] == false
            && step.get("use_regex").unwrap_or(&Value::Bool(true)) == use_regex
    };
    if byte_level(cut, true) {
        return Ok(Pattern::Gpt2);
    }
    let found = match cut["pretokenizers"].as_array().map(Vec::as_slice) {
        Some([split, bytes]) if byte_level(bytes, false) => {
            [Pattern::Gpt2, Pattern::Llama3].into_iter().find(|pattern| {
                split["type"] == "Split"
                    && split["pattern"]["Regex"] == pattern.regex()
                    && split["behavior"] == "Isolated"
                    && split["invert"] == false
            })
        }
        _ => None,
    };
    found.ok_or(format!("it cuts texts by {cut}, where gradus knows the pieces of GPT-2 and of Llama 3"))
}
