//! Writing a folder.

use std::path::Path;
use std::{fs, io};

use serde_json::Value;

use super::tokens::{GENERATION, TEMPLATE, TOKENIZER, generation_config, tokenizer_config};
use super::{Class, config, shape};
use crate::checkpoint::hugging_face::{CONFIG, FolderError, fit, write_json, write_weights};
use crate::checkpoint::tokenizer_json::{Around, to_json};
use crate::checkpoint::{CheckpointError, LanguageModel, StoredAs, adapter, write_atomically};
use crate::model::Model;
use crate::tokenizer::TokenizerSpec;

/// Writes a folder, which is made if it does not exist: `model.safetensors`, `tokenizer.json`, `tokenizer_config.json`,
/// `chat_template.jinja` if there is a template, `generation_config.json` and `config.json`. Each file is replaced in one
/// instant; the weights come first, and the configuration, without which nobody opens the folder, last.
///
/// The class follows from the configuration: Qwen 3 if queries and keys are normalised, Qwen 2 if they and values have biases,
/// Mistral if there is a window, else Llama.
///
/// (Of the tokenizer of a Qwen 2, `transformers` 5 takes the vocabulary and the merges alone, and cuts texts as Qwen does
/// whatever the folder says. Version 4 and all others read `tokenizer.json` as it is.)
///
/// # Errors
/// If no class has such a model, if it has adapters, if its tokens do not belong to its tokenizer or that is one of characters, if a number is
/// NaN or infinite or too large for 16 bits, if there is a checkpoint of ours in the folder, or if the system refuses.
///
/// # Panics
/// If there are not as many numbers as the model has.
pub fn export(folder: &Path, model: &LanguageModel, stored_as: StoredAs) -> Result<(), FolderError> {
    let (ours, layout) = (model.model.config(), model.model.layout());
    assert_eq!(model.params.len(), layout.len(), "as many weights as the model has");
    let class = config::class_of(ours)?;
    adapter::refuse(class.name(), &model.model)?;
    let spec = check_tokens(class, model)?;
    let entries: Vec<(&str, Vec<usize>, &[f32])> = layout
        .specs()
        .iter()
        .map(|spec| (spec.name.as_str(), shape(spec), &model.params[spec.range()]))
        .collect();
    let entries: Vec<(&str, &[usize], &[f32])> =
        entries.iter().map(|(name, shape, numbers)| (*name, shape.as_slice(), *numbers)).collect();
    write_weights(folder, &entries, stored_as)?;
    write_tokenizer(folder, spec, model)?;
    write_json(&folder.join(CONFIG), &config::written(class, ours, &model.tokens, stored_as))
}

/// Writes what a folder has beside weights and configuration: `tokenizer.json`, `tokenizer_config.json`, `chat_template.jinja` if
/// there is a template, and `generation_config.json`. A folder of an adapter has them too, where it is made for conversations of
/// which its base knows nothing. The weights are not looked at.
///
/// # Errors
/// As those of [`export`].
pub fn export_tokenizer<P>(folder: &Path, model: &LanguageModel<P>) -> Result<(), FolderError> {
    let class = config::class_of(model.model.config())?;
    write_tokenizer(folder, check_tokens(class, model)?, model)
}

fn write_tokenizer<P>(
    folder: &Path,
    spec: &TokenizerSpec,
    model: &LanguageModel<P>,
) -> Result<(), FolderError> {
    let write = |file: &str, value: Value| write_json(&folder.join(file), &value);
    let around = Around { before: model.tokens.bos.filter(|_| model.tokens.add_bos), after: None };
    write("tokenizer.json", to_json(spec, around).expect("a tokenizer that was checked"))?;
    let template = model.chat_template.as_deref();
    write(TOKENIZER, tokenizer_config(spec, &model.tokens, template, model.model.config().context))?;
    match template {
        Some(template) => write_atomically(&folder.join(TEMPLATE), template.as_bytes())?,
        // One of another model that was there before would be used for this one.
        None => remove(&folder.join(TEMPLATE))?,
    }
    write(GENERATION, generation_config(&model.tokens, &model.defaults))
}

/// Whether [`export`] has a place for such a model, before it has learned anything.
///
/// # Errors
/// As those of [`export`], without what has to do with files and numbers.
pub fn check(model: &LanguageModel) -> Result<(), FolderError> {
    let class = config::class_of(model.model.config())?;
    check_tokens(class, model).map(|_| ())
}

/// Whether the tokens belong to the tokenizer, and that to the model. Returns its spec.
fn check_tokens<P>(class: Class, model: &LanguageModel<P>) -> Result<&TokenizerSpec, FolderError> {
    let unfit = |field, found: String, needed: String| FolderError::Unfit {
        class: class.name(),
        field,
        found,
        needed,
    };
    let spec = match &model.tokenizer {
        Ok(other @ TokenizerSpec::Characters { .. }) => {
            let needed = "byte-level BPE, or pieces with scores".to_owned();
            return Err(unfit("tokenizer", other.to_string(), needed));
        }
        Ok(spec) => spec,
        Err(other) => return Err(unfit("tokenizer", other.to_string(), "one that is known here".to_owned())),
    };
    let (known, tokens) = (spec.token_count(), &model.tokens);
    if known > model.model.vocab_size() {
        let needed = format!("{} at most, as many as the model has", model.model.vocab_size());
        return Err(unfit("tokenizer", format!("one of {known} tokens"), needed));
    }
    let named =
        [("bos", tokens.bos), ("pad", tokens.pad)].into_iter().filter_map(|(name, id)| Some((name, id?)));
    for (field, token) in named.chain(tokens.eos.iter().map(|&id| ("eos", id))) {
        if token >= known {
            return Err(unfit(
                field,
                token.to_string(),
                format!("a token of the tokenizer, which has {known}"),
            ));
        }
    }
    if tokens.add_bos {
        fit(class.name(), "bos", &tokens.bos.is_some(), &[true])?;
    }
    Ok(spec)
}

/// Removes a file, if it is there.
fn remove(path: &Path) -> Result<(), FolderError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(CheckpointError::Io { doing: "removed", path: path.to_owned(), source }.into())
        }
        _ => Ok(()),
    }
}
