//! Special tokens, the template and the defaults of generation, which several small files have.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::checkpoint::hugging_face::{FolderError, JsonFile, TAKE_A_COPY, read_text};
use crate::checkpoint::{EndTokens, GenerationDefaults, OtherTokenizer};
use crate::tokenizer::TokenizerSpec;

/// The files beside `config.json`.
pub(super) const GENERATION: &str = "generation_config.json";
pub(super) const TOKENIZER: &str = "tokenizer_config.json";
pub(super) const TEMPLATE: &str = "chat_template.jinja";
pub(super) const ADDED: &str = "added_tokens.json";

/// The files that say something about tokens, those that are asked first in front.
pub(super) struct TokenFiles<'a> {
    /// `generation_config.json`, if there is one, and `config.json`.
    pub numbers: Vec<&'a JsonFile>,
    /// `tokenizer_config.json`, if there is one. It calls tokens by their names.
    pub names: Option<&'a JsonFile>,
    /// The tokenizer, if it is one of ours.
    pub spec: Option<&'a TokenizerSpec>,
    /// What the tokenizer puts before a text.
    pub first: Option<usize>,
    /// How many tokens the model has.
    pub vocab_size: usize,
}

impl TokenFiles<'_> {
    pub fn end_tokens(&self) -> Result<EndTokens, FolderError> {
        let first = self.first.filter(|&token| token < self.vocab_size);
        let mut eos = self.tokens("eos")?;
        // Of several, other formats have a place only for the first.
        if let Some(at) =
            self.named("eos_token").and_then(|named| eos.iter().position(|&token| token == named))
        {
            eos[..=at].rotate_right(1);
        }
        let tokens = EndTokens {
            bos: first.or(self.tokens("bos")?.first().copied()),
            add_bos: first.is_some(),
            eos,
            pad: self.tokens("pad")?.first().copied(),
            names: None,
        };
        let names = self.names.filter(|names| is_explicit(names)).map(named_texts);
        let says_nothing_else = |names: &Vec<_>| self.spec.is_some_and(|spec| *names == tokens.named(spec));
        Ok(EndTokens { names: names.filter(|names| !says_nothing_else(names)), ..tokens })
    }

    /// The tokens of this name in the first file that has any. Numbers that no token has are left out: folders write -1 for none,
    /// and small models sometimes keep those of large ones.
    fn tokens(&self, which: &str) -> Result<Vec<usize>, FolderError> {
        let key = format!("{which}_token_id");
        for file in &self.numbers {
            let value = file.value.get(&key).unwrap_or(&Value::Null);
            let values = match value {
                Value::Null => continue,
                Value::Array(values) => values.as_slice(),
                value => std::slice::from_ref(value),
            };
            if !values.iter().all(|value| value.is_i64() || value.is_u64()) {
                let problem = format!("{key} is {value}, neither a number nor a list of numbers");
                return Err(file.wrong(problem, TAKE_A_COPY));
            }
            let known = |value: &Value| {
                value.as_u64().and_then(|id| usize::try_from(id).ok()).filter(|&id| id < self.vocab_size)
            };
            return Ok(values.iter().filter_map(known).collect());
        }
        Ok(self.named(&format!("{which}_token")).into_iter().collect())
    }

    /// The special token that `tokenizer_config.json` has under a key: a name, or an object with it.
    fn named(&self, key: &str) -> Option<usize> {
        self.spec?.special(text_of(self.names?.value.get(key)?)?)
    }
}

/// The keys under which `tokenizer_config.json` has single tokens.
const NAMES: [&str; 7] =
    ["bos_token", "eos_token", "pad_token", "unk_token", "sep_token", "cls_token", "mask_token"];

/// A token there: a text, or an object with it.
fn text_of(value: &Value) -> Option<&str> {
    value.as_str().or_else(|| value.get("content")?.as_str())
}

/// Whether the file says which tokens a template may ask for. Where `transformers` knows the class, it has names of its own for
/// those that are not mentioned.
fn is_explicit(names: &JsonFile) -> bool {
    let class = names.value["tokenizer_class"].as_str().unwrap_or_default();
    !class.starts_with("LlamaTokenizer")
        || ["bos_token", "eos_token"].iter().all(|key| names.value.get(key).is_some())
}

/// The tokens that a template may ask for by these names, as `transformers` gives them to it: what is not there is undefined.
fn named_texts(names: &JsonFile) -> Vec<(String, String)> {
    let known = NAMES.iter().filter_map(|key| Some((*key, names.value.get(key)?)));
    let others = names.value.get("extra_special_tokens").and_then(Value::as_object).into_iter().flatten();
    known
        .chain(others.map(|(key, value)| (key.as_str(), value)))
        .filter_map(|(key, value)| Some((key.to_owned(), text_of(value)?.to_owned())))
        .collect()
}

/// Whether the tokenizer has the tokens that the files beside it add: `transformers` adds them where `tokenizer.json` has them not.
pub(super) fn check_added(
    spec: &TokenizerSpec,
    names: Option<&JsonFile>,
    added: Option<&JsonFile>,
) -> Result<(), OtherTokenizer> {
    let by_id =
        names.and_then(|file| file.value.get("added_tokens_decoder")?.as_object()).into_iter().flatten();
    let by_id = by_id.filter_map(|(id, value)| Some((text_of(value)?, id.parse().ok()?, TOKENIZER)));
    let by_text = added.and_then(|file| file.value.as_object()).into_iter().flatten();
    let by_text =
        by_text.filter_map(|(text, id)| Some((text.as_str(), usize::try_from(id.as_u64()?).ok()?, ADDED)));
    match by_id.chain(by_text).find(|(text, id, _)| spec.token_text(*id) != Some(text)) {
        Some((text, id, file)) => {
            let problem = format!("{file} adds {text:?} as token {id}, which tokenizer.json has not");
            Err(OtherTokenizer(problem))
        }
        None => Ok(()),
    }
}

/// The value of `eos_token_id`: nothing, a number or a list.
pub(super) fn eos_value(tokens: &EndTokens) -> Value {
    match tokens.eos.as_slice() {
        [] => Value::Null,
        [one] => json!(one),
        several => json!(several),
    }
}

/// How the model is to write, by `generation_config.json`.
pub(super) fn defaults(file: &JsonFile) -> Result<GenerationDefaults, FolderError> {
    Ok(GenerationDefaults {
        do_sample: file.get_or("do_sample", None)?,
        temperature: file.get_or("temperature", None)?,
        top_k: file.get_or("top_k", None)?,
        top_p: file.get_or("top_p", None)?,
        repetition_penalty: file.get_or("repetition_penalty", None)?,
        max_new_tokens: file.get_or("max_new_tokens", None)?,
    })
}

/// `generation_config.json`.
pub(super) fn generation_config(tokens: &EndTokens, defaults: &GenerationDefaults) -> Value {
    let GenerationDefaults { do_sample, temperature, top_k, top_p, repetition_penalty, max_new_tokens } =
        *defaults;
    let entries = [
        ("bos_token_id", json!(tokens.bos)),
        ("eos_token_id", eos_value(tokens)),
        ("pad_token_id", json!(tokens.pad)),
        ("do_sample", json!(do_sample)),
        ("temperature", json!(temperature)),
        ("top_k", json!(top_k)),
        ("top_p", json!(top_p)),
        ("repetition_penalty", json!(repetition_penalty)),
        ("max_new_tokens", json!(max_new_tokens)),
    ];
    // What was not said is left to the other program.
    let said = entries.into_iter().filter(|(_, value)| !value.is_null());
    said.map(|(key, value)| (key.to_owned(), value)).collect::<Map<_, _>>().into()
}

/// The template of a conversation: in a file of its own, or in `tokenizer_config.json`, where there may be several with names.
pub(super) fn chat_template(folder: &Path, names: Option<&JsonFile>) -> Result<Option<String>, FolderError> {
    let path = folder.join(TEMPLATE);
    if path.exists() {
        return Ok(Some(read_text(&path)?));
    }
    let Some(file) = names else { return Ok(None) };
    match file.value.get("chat_template") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(Value::Array(several)) => {
            let default = several.iter().find(|one| one["name"] == "default");
            let template = default.and_then(|one| one["template"].as_str());
            let missing = || file.wrong("chat_template has none of the name default", TAKE_A_COPY);
            template.map(|text| Some(text.to_owned())).ok_or_else(missing)
        }
        Some(_) => Err(file.wrong("chat_template is neither a text nor a list", TAKE_A_COPY)),
    }
}

/// `tokenizer_config.json`.
pub(super) fn tokenizer_config(
    spec: &TokenizerSpec,
    tokens: &EndTokens,
    chat_template: Option<&str>,
    context: usize,
) -> Value {
    let mut file = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": context,
        "model_input_names": ["input_ids", "attention_mask"],
        "clean_up_tokenization_spaces": false,
    });
    for (name, text) in tokens.named(spec) {
        match NAMES.contains(&name.as_str()) {
            true => file[name] = json!(text),
            false => file["extra_special_tokens"][name] = json!(text),
        }
    }
    if let Some(template) = chat_template {
        file["chat_template"] = json!(template);
    }
    file
}
