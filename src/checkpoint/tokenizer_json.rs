//! `tokenizer.json`, the format of Hugging Face's `tokenizers`, for byte-level BPE.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::hugging_face::{FolderError, JsonFile, TAKE_A_COPY, wrong};
use super::{pieces_json, shortened};
use crate::tokenizer::{BpeSpec, BpeTokenizer, Normalizer, Pattern, SpecError, TokenizerSpec, alphabet};

/// A tokenizer that is not read here, in words: the message says which one it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", shortened(.0))]
pub struct OtherTokenizer(pub(super) String);

/// Special tokens that are put around every text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Around {
    pub before: Option<usize>,
    pub after: Option<usize>,
}

/// The file of a tokenizer, unless it is one that the format has not.
///
/// (One thing differs: `tokenizers` finds the names of special tokens in a text, where ours reads them as any other text.)
pub(super) fn to_json(spec: &TokenizerSpec, around: Around) -> Option<Value> {
    let mut file = match spec {
        TokenizerSpec::Bpe(spec) => bpe_to_json(spec),
        TokenizerSpec::Pieces(spec) => pieces_json::to_json(spec),
        TokenizerSpec::Characters { .. } => return None,
    };
    file["post_processor"] = frame(spec, around);
    Some(file)
}

fn bpe_to_json(spec: &BpeSpec) -> Value {
    let name = |id: usize| spec.tokens[id].as_str();
    let mut added: Vec<(usize, bool)> = spec.special.iter().map(|&id| (id, true)).collect();
    added.extend(spec.added.iter().map(|&id| (id, false)));
    added.sort_unstable();
    let added = added.into_iter().map(|(id, special)| {
        json!({
            "id": id, "content": name(id), "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": special,
        })
    });
    let normalizer = match spec.normalizer {
        Normalizer::None => Value::Null,
        Normalizer::Nfc => json!({"type": "NFC"}),
    };
    let pre_tokenizer = match spec.pattern {
        Pattern::Gpt2 => byte_level(true),
        Pattern::Llama3 | Pattern::Qwen2 => {
            let regex = json!({"Regex": spec.pattern.regex()});
            let split = json!({"type": "Split", "pattern": regex, "behavior": "Isolated", "invert": false});
            json!({"type": "Sequence", "pretokenizers": [split, byte_level(false)]})
        }
    };
    // Added tokens as well: `tokenizers` gives those that it does not find here the next free numbers, whatever theirs are.
    // An object of JSON, so that the same tokenizer always gives the same bytes.
    let vocab: Map<String, Value> =
        spec.tokens.iter().zip(0..).map(|(text, id): (_, usize)| (text.clone(), id.into())).collect();
    let merges: Vec<[&str; 2]> = spec.merges.iter().map(|pair| pair.map(name)).collect();
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added.collect::<Vec<_>>(),
        "normalizer": normalizer,
        "pre_tokenizer": pre_tokenizer,
        "post_processor": null,
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

/// The post-processor that puts special tokens around a text, and around each of two. Without any, there is none.
fn frame(spec: &TokenizerSpec, Around { before, after }: Around) -> Value {
    let name = |id: usize| spec.token_text(id).expect("a token of the tokenizer");
    let ids: BTreeSet<usize> = before.into_iter().chain(after).collect();
    if ids.is_empty() {
        return Value::Null;
    }
    let around = |which: &str| -> Vec<Value> {
        let special =
            |id: Option<usize>| id.map(|id| json!({"SpecialToken": {"id": name(id), "type_id": 0}}));
        let text = json!({"Sequence": {"id": which, "type_id": 0}});
        special(before).into_iter().chain([text]).chain(special(after)).collect()
    };
    let special = ids
        .into_iter()
        .map(|id| (name(id).to_owned(), json!({"id": name(id), "ids": [id], "tokens": [name(id)]})));
    let pair = [around("A"), around("B")].concat();
    json!({
        "type": "TemplateProcessing",
        "single": around("A"),
        "pair": pair,
        "special_tokens": special.collect::<Map<_, _>>(),
    })
}

/// What is read of a file whose tokenizer is byte-level BPE.
#[derive(Deserialize)]
pub(super) struct Bpe {
    pub vocab: HashMap<String, usize>,
    pub merges: Vec<Merge>,
    #[serde(default)]
    pub ignore_merges: bool,
}

/// A merge, as it is written since version 0.20 of `tokenizers`, and before.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Merge {
    Pair([String; 2]),
    Text(String),
}

impl Merge {
    /// Both parts, if there are two.
    fn parts(&self) -> Option<[&str; 2]> {
        match self {
            Merge::Pair([left, right]) => Some([left, right]),
            Merge::Text(text) => text.split_once(' ').map(<[&str; 2]>::from),
        }
    }
}

/// A token that is not in the vocabulary that was trained, or that means something else than its text there.
#[derive(Deserialize)]
pub(super) struct Added {
    pub id: usize,
    pub content: String,
    #[serde(default)]
    pub special: bool,
    #[serde(default)]
    pub single_word: bool,
    #[serde(default)]
    pub lstrip: bool,
    #[serde(default)]
    pub rstrip: bool,
    #[serde(default)]
    normalized: bool,
}

/// What is read of a file.
#[derive(Debug)]
pub(super) struct TokenizerJson {
    /// The tokenizer.
    pub spec: TokenizerSpec,
    /// The token that is put before every text, if there is one.
    pub first: Option<usize>,
}

impl TokenizerJson {
    /// Reads the tokenizer of a folder: byte-level BPE in the pieces of GPT-2, Llama 3 or Qwen 2, or another one.
    ///
    /// # Errors
    /// If it is byte-level BPE, but one that cannot be.
    pub fn read(folder: &Path) -> Result<Result<Self, OtherTokenizer>, FolderError> {
        let path = folder.join("tokenizer.json");
        if !path.exists() {
            let config = JsonFile::read(&folder.join("tokenizer_config.json"));
            let class = match config.and_then(|config| config.get::<String>("tokenizer_class")) {
                Ok(class) => format!("tokenizer_config.json names {class}"),
                Err(_) => "no file says which tokenizer it needs".to_owned(),
            };
            return Ok(Err(OtherTokenizer(format!("there is no tokenizer.json, and {class}"))));
        }
        Self::from_json(JsonFile::read(&path)?.value).map_err(|problem| wrong(&path, problem, TAKE_A_COPY))
    }

    /// The tokenizer in a file, or what is wrong with it.
    fn from_json(file: Value) -> Result<Result<Self, OtherTokenizer>, String> {
        let first = match first_token(&file["post_processor"]) {
            Ok(first) => first,
            Err(other) => return Ok(Err(OtherTokenizer(other))),
        };
        let read = match pieces_json::is_of_pieces(&file) {
            true => pieces_json::from_json(file)?.map(TokenizerSpec::Pieces),
            false => bpe_from_json(file)?.map(TokenizerSpec::Bpe),
        };
        Ok(read.map(|spec| TokenizerJson { spec, first }))
    }
}

/// Byte-level BPE.
fn bpe_from_json(mut file: Value) -> Result<Result<BpeSpec, OtherTokenizer>, String> {
    let (pattern, normalizer) = match pattern(&file).and_then(|cut| Ok((cut, normalizer(&file)?))) {
        Ok(found) => found,
        Err(other) => return Ok(Err(OtherTokenizer(other))),
    };
    let (bpe, added) = parts(&mut file)?;
    let is_normalized = normalizer != Normalizer::None;
    if let Err(other) = check_added(&added, is_normalized).and_then(|()| check_plain(&added, &bpe.merges)) {
        return Ok(Err(OtherTokenizer(other)));
    }
    let ids = with_added(bpe.vocab, &added)?;
    let tokens = in_order(&ids)?;
    if let Some(byte) = (0..=255).find(|&byte| !ids.contains_key(&alphabet::to_text(&[byte]))) {
        let problem = format!("it has no token for the byte {byte:#04x}, which gradus's tokenizer needs");
        return Ok(Err(OtherTokenizer(problem)));
    }
    let merges = merges_of(&bpe.merges, &ids)?;
    let all = |special| added.iter().filter(move |token| token.special == special).map(|token| token.id);
    let spec = BpeSpec {
        pattern,
        special: all(true).collect(),
        added: all(false).collect(),
        merges,
        tokens,
        ignore_merges: bpe.ignore_merges,
        normalizer,
    };
    BpeTokenizer::from_spec(&spec).map_err(|SpecError(problem)| problem)?;
    Ok(Ok(spec))
}

/// The model and the added tokens of a file.
pub(super) fn parts(file: &mut Value) -> Result<(Bpe, Vec<Added>), String> {
    let wrong = |key: &'static str| move |error| format!("{key} does not parse: {error}");
    let bpe = serde_json::from_value(file["model"].take()).map_err(wrong("model"))?;
    let added: Option<Vec<Added>> =
        serde_json::from_value(file["added_tokens"].take()).map_err(wrong("added_tokens"))?;
    Ok((bpe, added.unwrap_or_default()))
}

/// The tokens of a vocabulary and those that were added to it.
pub(super) fn with_added(
    mut ids: HashMap<String, usize>,
    added: &[Added],
) -> Result<HashMap<String, usize>, String> {
    for token in added {
        if ids.insert(token.content.clone(), token.id).is_some_and(|id| id != token.id) {
            return Err(format!("added_tokens: {:?} has another id in the vocabulary", token.content));
        }
    }
    Ok(ids)
}

/// Merges as pairs of tokens.
pub(super) fn merges_of(merges: &[Merge], ids: &HashMap<String, usize>) -> Result<Vec<[usize; 2]>, String> {
    let merges = merges.iter().map(|merge| {
        let id = |part: &str| ids.get(part).copied().ok_or(format!("merges: {part:?} is no token"));
        let [left, right] = merge.parts().ok_or("merges: one is no pair")?;
        Ok([id(left)?, id(right)?])
    });
    merges.collect()
}

/// The texts of tokens, in the order of their numbers.
pub(super) fn in_order(ids: &HashMap<String, usize>) -> Result<Vec<String>, String> {
    let count = ids.len();
    let mut tokens = vec![None; count];
    for (text, &id) in ids {
        match tokens.get_mut(id) {
            Some(place @ None) => *place = Some(text.clone()),
            _ => {
                return Err(format!(
                    "vocab: {text:?} has the id {id}, but {count} tokens have those below {count}"
                ));
            }
        }
    }
    Ok(tokens.into_iter().map(|token| token.expect("as many places as tokens")).collect())
}

/// Whether added tokens are found as ours are: wherever their text stands, and they alone. `is_normalized` says that a text is
/// changed before it is cut.
pub(super) fn check_added(added: &[Added], is_normalized: bool) -> Result<(), String> {
    for token in added {
        let content = &token.content;
        let other = [("single_word", token.single_word), ("lstrip", token.lstrip), ("rstrip", token.rstrip)];
        if let Some((key, _)) = other.into_iter().find(|(_, set)| *set) {
            return Err(format!(
                "its token {content:?} is added with {key}, which gradus's tokenizer has not"
            ));
        }
        if token.normalized && !token.special && is_normalized {
            let problem = "is looked for in the normalised text, where gradus looks in the text as it was";
            return Err(format!("its token {content:?} {problem}"));
        }
    }
    Ok(())
}

/// Whether nothing else makes the tokens of byte-level BPE that are added and not special.
fn check_plain(added: &[Added], merges: &[Merge]) -> Result<(), String> {
    let plain: HashMap<&str, &Added> =
        added.iter().filter(|token| !token.special).map(|token| (token.content.as_str(), token)).collect();
    for content in plain.keys() {
        if content.chars().count() == 1 && alphabet::to_bytes(content).is_ok() {
            return Err(format!("its token {content:?} is added, but is a single byte as well"));
        }
    }
    if !plain.is_empty() {
        for [left, right] in merges.iter().filter_map(Merge::parts) {
            if plain.contains_key([left, right].concat().as_str()) {
                return Err(format!(
                    "its token {left:?} with {right:?} is added, but merges make it as well"
                ));
            }
        }
    }
    Ok(())
}

/// The token that a post-processor puts before a text, if it does. (What it puts behind a text is left out: a model is to go on.)
///
/// # Errors
/// If it puts more there, or is of a kind that is not known here: says what it is.
fn first_token(processor: &Value) -> Result<Option<usize>, String> {
    // One list in another is no file of anybody; so this goes no deeper.
    let several = processor["processors"].as_array().map_or(std::slice::from_ref(processor), Vec::as_slice);
    let mut first = None;
    for one in several {
        match one["type"].as_str() {
            None if one.is_null() => {}
            Some("ByteLevel") => {} // it changes nothing but where tokens say that they stand
            Some("TemplateProcessing") if first.is_none() => first = template_first(one)?,
            _ => {
                return Err(format!(
                    "its post_processor is {one}, where gradus knows TemplateProcessing and ByteLevel"
                ));
            }
        }
    }
    Ok(first)
}

/// The same for one template.
fn template_first(processor: &Value) -> Result<Option<usize>, String> {
    let parts = processor["single"].as_array().map_or(&[][..], Vec::as_slice);
    let before: Vec<&Value> = parts.iter().take_while(|part| part["Sequence"].is_null()).collect();
    let id = |part: &Value| {
        let name = part["SpecialToken"]["id"].as_str()?;
        match processor["special_tokens"][name]["ids"].as_array()?.as_slice() {
            [id] => usize::try_from(id.as_u64()?).ok(),
            _ => None,
        }
    };
    match before.as_slice() {
        [] => Ok(None),
        [one] if id(one).is_some() => Ok(id(one)),
        _ => Err(format!(
            "its post_processor puts {} before a text, where gradus puts one token or none",
            processor["single"]
        )),
    }
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
        Some([split, bytes]) if byte_level(bytes, false) => Pattern::ALL.into_iter().find(|pattern| {
            split["type"] == "Split"
                && split["pattern"]["Regex"] == pattern.regex()
                && split["behavior"] == "Isolated"
                && split["invert"] == false
        }),
        _ => None,
    };
    found.ok_or(format!("it cuts texts by {cut}, where gradus knows the pieces of GPT-2, Llama 3 and Qwen 2"))
}

/// What a file's tokenizer does to a text before, or what is in the way of doing it.
fn normalizer(file: &Value) -> Result<Normalizer, String> {
    let mut value = &file["normalizer"];
    if value["type"] == "Sequence"
        && let Some([one]) = value["normalizers"].as_array().map(Vec::as_slice)
    {
        value = one;
    }
    match value {
        Value::Null => Ok(Normalizer::None),
        value if value["type"] == "NFC" => Ok(Normalizer::Nfc),
        value => Err(format!("it has a normalizer, {value}, where gradus has NFC or none")),
    }
}
