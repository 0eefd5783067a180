//! A checkpoint of gradus with what a language model needs beside it: which tokens begin and end a text, the template of its
//! conversations, and how it is to write. They stand in a file of their own, `language.json`.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail, ensure};
use gradus::checkpoint::{
    self, Checkpoint, EndTokens, GenerationDefaults, LanguageModel, TrainedModel, write_atomically,
};
use gradus::model::{Decoder, Model, SavedModel};
use gradus::tokenizer::{Tokenizer, TokenizerSpec};
use serde::{Deserialize, Serialize};

/// The file beside the weights.
const FILE: &str = "language.json";

/// What stands in it.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Language {
    bos: Option<usize>,
    add_bos: bool,
    eos: Vec<usize>,
    pad: Option<usize>,
    /// What the template calls tokens by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    names: Option<Vec<(String, String)>>,
    chat_template: Option<String>,
    do_sample: Option<bool>,
    temperature: Option<f64>,
    top_k: Option<usize>,
    top_p: Option<f64>,
    repetition_penalty: Option<f64>,
    max_new_tokens: Option<usize>,
}

/// Writes a folder, which is made if it does not exist: the weights first.
///
/// # Errors
/// If the model has no tokenizer that is known here, if a weight is not finite, or if the system refuses.
pub fn write(folder: &Path, language_model: &LanguageModel) -> Result<()> {
    let LanguageModel { model, params, tokenizer, tokens, chat_template, defaults } = language_model;
    let tokenizer = match tokenizer {
        Ok(spec) => filled_up(spec, model.vocab_size())?,
        Err(other) => {
            bail!("its tokenizer cannot be read: {other}. A checkpoint of gradus needs one that can")
        }
    };
    Checkpoint { model: model.spec(), tokenizer, params: params.clone() }.save(folder)?;
    let EndTokens { bos, add_bos, eos, pad, names } = tokens.clone();
    let GenerationDefaults { do_sample, temperature, top_k, top_p, repetition_penalty, max_new_tokens } =
        *defaults;
    let language = Language {
        bos,
        add_bos,
        eos,
        pad,
        names,
        chat_template: chat_template.clone(),
        do_sample,
        temperature,
        top_k,
        top_p,
        repetition_penalty,
        max_new_tokens,
    };
    let text = serde_json::to_string_pretty(&language).context("a description is plain JSON")?;
    Ok(write_atomically(&folder.join(FILE), format!("{text}\n").as_bytes())?)
}

/// A tokenizer with as many tokens as a model: tables are often made a little larger than needed, and a checkpoint has no place
/// for rows without a token. The rest becomes special tokens that nothing stands for.
fn filled_up(spec: &TokenizerSpec, vocab_size: usize) -> Result<TokenizerSpec> {
    let mut spec = spec.clone();
    let known = spec.build()?.vocab_size();
    if known == vocab_size {
        return Ok(spec);
    }
    let TokenizerSpec::Bpe(bpe) = &mut spec else {
        bail!(
            "its tokenizer has {known} tokens, and its table {vocab_size} rows, which only byte-level BPE can make up for"
        )
    };
    for id in known..vocab_size {
        bpe.tokens.push(format!("<unused {id}>"));
        bpe.special.push(id);
    }
    Ok(spec)
}

/// Reads a folder. Where nothing is said about tokens, those that are called `<s>`, `</s>` and `<pad>` are taken.
///
/// # Errors
/// If a file is missing or damaged, or the model is no decoder.
pub fn read(folder: &Path) -> Result<LanguageModel> {
    let TrainedModel { model, tokenizer, params } = Checkpoint::load_as::<Decoder>(folder)?;
    let path = folder.join(FILE);
    let language = match fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| {
            anyhow!(
                "{}: {error}. Without the file, tokens called <s> and </s> are taken: remove it",
                path.display()
            )
        })?,
        Err(error) if error.kind() == ErrorKind::NotFound => by_name(&*tokenizer),
        Err(error) => return Err(error).with_context(|| format!("{} cannot be read", path.display())),
    };
    let Language { bos, add_bos, eos, pad, names, chat_template, do_sample, temperature, .. } = language;
    let Language { top_k, top_p, repetition_penalty, max_new_tokens, .. } = language;
    let vocab_size = model.vocab_size();
    let unknown = eos.iter().chain(&bos).chain(&pad).find(|token| **token >= vocab_size);
    if let Some(token) = unknown {
        bail!(
            "{}: token {token} is not one of the {vocab_size} of the model. Remove the file",
            path.display()
        );
    }
    ensure!(!add_bos || bos.is_some(), "{}: add_bos without a bos. Remove the file", path.display());
    Ok(LanguageModel {
        model,
        params,
        tokenizer: Ok(tokenizer.spec()),
        tokens: EndTokens { bos, add_bos, eos, pad, names },
        chat_template,
        defaults: GenerationDefaults {
            do_sample,
            temperature,
            top_k,
            top_p,
            repetition_penalty,
            max_new_tokens,
        },
    })
}

/// What the names of tokens say.
fn by_name(tokenizer: &dyn Tokenizer) -> Language {
    let bos = tokenizer.special("<s>");
    let eos = tokenizer.special("</s>").into_iter().collect();
    Language { bos, add_bos: bos.is_some(), eos, pad: tokenizer.special("<pad>"), ..Language::default() }
}

/// Fails if there is something where a folder or a file is to be written, and nobody said `--overwrite`.
pub fn check_new(path: &Path, overwrite: bool) -> Result<()> {
    let mut entries = fs::read_dir(path).into_iter().flatten().flatten();
    let what = if path.is_file() {
        "a file"
    } else if path.join(checkpoint::FILE).exists() {
        "a folder with a model"
    } else if entries.next().is_some() {
        "a folder that is not empty"
    } else {
        return Ok(());
    };
    ensure!(overwrite, "{} is {what}: give another name to --out, or --overwrite", path.display());
    Ok(())
}
