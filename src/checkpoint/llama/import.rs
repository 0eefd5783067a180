//! Reading a folder.

use std::collections::HashMap;
use std::path::Path;

use super::tokens::{self, GENERATION, TOKENIZER, TokenFiles};
use super::{HEAD, config, shape};
use crate::checkpoint::hugging_face::{CONFIG, FolderError, JsonFile, TAKE_A_COPY, WeightFiles, wrong};
use crate::checkpoint::tokenizer_json::{OtherTokenizer, TokenizerJson};
use crate::checkpoint::{GenerationDefaults, LanguageModel};
use crate::model::{ConfigError, Decoder, DecoderConfig, Model, ModelSpec, TiedEmbeddings};
use crate::params::ParamSpec;

/// Reads a folder that [`export`](super::export) wrote, or `transformers`: of a Llama, Mistral, Qwen 2 or Qwen 3, in one file of
/// weights or several. Weights of 16 bits are widened.
///
/// # Errors
/// If a file is missing or damaged, if the folder is of another class or has variants that ours has not, or if tensors are
/// missing, have another shape, or are too many. The error names the file, the key and what to do.
pub fn import(folder: &Path) -> Result<LanguageModel, FolderError> {
    let file = JsonFile::read(&folder.join(CONFIG))?;
    let config = config::read(&file)?;
    let (model, params) = weights(config, &WeightFiles::find(folder)?)?;
    let vocab_size = model.vocab_size();
    let (generation, names) = (
        JsonFile::read_if_there(&folder.join(GENERATION))?,
        JsonFile::read_if_there(&folder.join(TOKENIZER))?,
    );
    let tokenizer = tokenizer(folder, vocab_size)?;
    let files = TokenFiles {
        numbers: generation.iter().chain([&file]).collect(),
        names: names.as_ref(),
        spec: tokenizer.as_ref().ok().map(|read| &read.spec),
        first: tokenizer.as_ref().ok().and_then(|read| read.first),
        vocab_size,
    };
    let tokens = files.end_tokens()?;
    let chat_template = tokens::chat_template(folder, names.as_ref())?;
    let defaults = generation.as_ref().map_or(Ok(GenerationDefaults::default()), tokens::defaults)?;
    let tokenizer = tokenizer.map(|read| read.spec);
    Ok(LanguageModel { model, params, tokenizer, tokens, chat_template, defaults })
}

/// The model of a configuration that has been checked, and its weights. The files are read one after another, each tensor
/// straight to its place.
fn weights(config: DecoderConfig, files: &WeightFiles) -> Result<(Decoder, Vec<f32>), FolderError> {
    let (least, count) = (ModelSpec::Decoder(config.clone()).least_matrices(), files.tensors()?);
    // Before a layout of this size is built, and before memory is asked for: a number has at least two bytes.
    if least > count {
        let problem = format!("it holds {count} tensors, but the layers have at least {least}");
        return Err(wrong(files.path(), problem, TAKE_A_COPY));
    }
    let tied = config.tied_embeddings == TiedEmbeddings::Output;
    let made = Decoder::new(config).map_err(|ConfigError(problem)| wrong(files.path(), problem, TAKE_A_COPY));
    let model = made?;
    let layout = model.layout();
    if layout.len() as u64 > files.bytes()? / 2 {
        let problem = format!("it is too short for {} numbers, as many as the model has", layout.len());
        return Err(wrong(files.path(), problem, TAKE_A_COPY));
    }
    let mut params = vec![0.0; layout.len()];
    let mut missing: HashMap<&str, &ParamSpec> =
        layout.specs().iter().map(|spec| (spec.name.as_str(), spec)).collect();
    let table = &layout.specs()[0];
    let mut head: Option<Vec<f32>> = None;
    files.for_each(|tensors| {
        for name in tensors.names() {
            if let Some(spec) = missing.remove(name) {
                tensors.read_into(name, &shape(spec), &mut params[spec.range()])?;
            } else if name == HEAD && tied && head.is_none() {
                let mut numbers = Vec::new();
                tensors.read(name, &shape(table), &mut numbers)?;
                head = Some(numbers);
            } else if layout.specs().iter().any(|spec| spec.name == name) {
                return Err(format!("{name} is there twice"));
            } else if !name.ends_with("rotary_emb.inv_freq") {
                return Err(format!("{name} is no part of such a model"));
            }
        }
        Ok(())
    })?;
    if let Some(spec) = layout.specs().iter().find(|spec| missing.contains_key(spec.name.as_str())) {
        return Err(wrong(files.path(), format!("{} is missing", spec.name), TAKE_A_COPY));
    }
    if head.is_some_and(|head| head != params[table.range()]) {
        let problem = format!("{HEAD} is not equal to {}, but tie_word_embeddings is true", table.name);
        let cure =
            "Set tie_word_embeddings to false in config.json if they are two, or take the folder as it was";
        return Err(wrong(files.path(), problem, cure));
    }
    Ok((model, params))
}

/// The tokenizer of a folder, if it is one of ours. It may have fewer tokens than the model.
fn tokenizer(folder: &Path, vocab_size: usize) -> Result<Result<TokenizerJson, OtherTokenizer>, FolderError> {
    Ok(match TokenizerJson::read(folder)? {
        Ok(read) if read.spec.token_count() > vocab_size => Err(OtherTokenizer(format!(
            "tokenizer.json has {} tokens, where the model has a vocabulary of {vocab_size}",
            read.spec.token_count()
        ))),
        read => read,
    })
}
