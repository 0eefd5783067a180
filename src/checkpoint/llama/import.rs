//! Reading a folder.

use std::collections::HashMap;
use std::path::Path;

use super::tokens::{self, GENERATION, TOKENIZER, TokenFiles};
use super::{HEAD, config, shape};
use crate::checkpoint::hugging_face::{
    CONFIG, FolderError, JsonFile, StoredTensor, TAKE_A_COPY, WeightFiles, wrong,
};
use crate::checkpoint::tokenizer_json::{OtherTokenizer, TokenizerJson};
use crate::checkpoint::{GenerationDefaults, LanguageModel};
use crate::fast::StoredParams;
use crate::gemm::Dtype;
use crate::model::{ConfigError, Decoder, DecoderConfig, Model, ModelSpec, TiedEmbeddings};

/// Reads a folder that [`export`](super::export) wrote, or `transformers`: of a Llama, Mistral, Qwen 2 or Qwen 3, in one file of
/// weights or several. Weights of 16 bits are widened.
///
/// # Errors
/// If a file is missing or damaged, if the folder is of another class or has variants that ours has not, or if tensors are
/// missing, have another shape, or are too many. The error names the file, the key and what to do.
pub fn import(folder: &Path) -> Result<LanguageModel, FolderError> {
    read(folder, |found| found.params())
}

/// Reads a folder for generation alone: its weights are stored as `dtype` says, one matrix after the other, and never all of them in
/// 32 bits.
///
/// # Errors
/// As [`import`].
pub fn import_stored(folder: &Path, dtype: Dtype) -> Result<LanguageModel<StoredParams>, FolderError> {
    read(folder, |found| found.stored(dtype))
}

fn read<P>(
    folder: &Path,
    take: impl FnOnce(&Found<'_>) -> Result<P, FolderError>,
) -> Result<LanguageModel<P>, FolderError> {
    let file = JsonFile::read(&folder.join(CONFIG))?;
    let config = config::read(&file)?;
    let files = WeightFiles::open(folder)?;
    let found = Found::new(config, &files)?;
    let params = take(&found)?;
    let model = found.model;
    let vocab_size = model.vocab_size();
    let (generation, names) = (
        JsonFile::read_if_there(&folder.join(GENERATION))?,
        JsonFile::read_if_there(&folder.join(TOKENIZER))?,
    );
    let added = JsonFile::read_if_there(&folder.join(tokens::ADDED))?;
    let tokenizer = tokenizer(folder, vocab_size)?
        .and_then(|read| tokens::check_added(&read.spec, names.as_ref(), added.as_ref()).map(|()| read));
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

/// The model of a configuration that has been checked, and where its weights are.
struct Found<'a> {
    model: Decoder,
    /// In the order of the layout.
    tensors: Vec<StoredTensor<'a>>,
    /// The matrix of the head, where it is there although the table of tokens is to be the head.
    head: Option<StoredTensor<'a>>,
    /// The file that errors name where it is about all of them.
    path: &'a Path,
}

impl<'a> Found<'a> {
    /// Looks for each tensor of the model, and whether there are others.
    fn new(config: DecoderConfig, files: &'a WeightFiles) -> Result<Self, FolderError> {
        let (path, stored) = (files.path(), files.tensors()?);
        let least = ModelSpec::Decoder(config.clone()).least_matrices();
        // Before a layout of this size is built, and before memory is asked for: a number has at least two bytes.
        if least > stored.len() {
            let problem = format!("it holds {} tensors, but the layers have at least {least}", stored.len());
            return Err(wrong(path, problem, TAKE_A_COPY));
        }
        let tied = config.tied_embeddings == TiedEmbeddings::Output;
        let model = Decoder::new(config).map_err(|ConfigError(problem)| wrong(path, problem, TAKE_A_COPY))?;
        let specs = model.layout().specs();
        if model.layout().len() as u64 > files.bytes() / 2 {
            let count = model.layout().len();
            let problem = format!("it is too short for {count} numbers, as many as the model has");
            return Err(wrong(path, problem, TAKE_A_COPY));
        }
        let places: HashMap<&str, usize> =
            specs.iter().enumerate().map(|(place, spec)| (spec.name.as_str(), place)).collect();
        let mut tensors: Vec<Option<StoredTensor<'_>>> = specs.iter().map(|_| None).collect();
        let mut head = None;
        for tensor in stored {
            let (to, spec) = match places.get(tensor.name.as_str()) {
                Some(&place) => (&mut tensors[place], &specs[place]),
                None if tensor.name == HEAD && tied => (&mut head, &specs[0]),
                None if tensor.name.ends_with("rotary_emb.inv_freq") => continue,
                None => return Err(tensor.wrong(format!("{} is no part of such a model", tensor.name))),
            };
            if to.is_some() {
                return Err(tensor.wrong(format!("{} is there twice", tensor.name)));
            }
            tensor.check(&shape(spec))?;
            *to = Some(tensor);
        }
        let found = specs.iter().zip(tensors).map(|(spec, tensor)| {
            tensor.ok_or_else(|| wrong(path, format!("{} is missing", spec.name), TAKE_A_COPY))
        });
        let tensors = found.collect::<Result<_, _>>()?;
        Ok(Found { model, tensors, head, path })
    }

    /// All weights, in the order of the layout. All tensors are there and have their shapes, so the files are large enough to ask
    /// for this much.
    fn params(&self) -> Result<Vec<f32>, FolderError> {
        let mut params = Vec::with_capacity(self.model.layout().len());
        (0..self.tensors.len()).try_for_each(|place| self.append(place, &mut params))?;
        Ok(params)
    }

    /// The same, stored for generation.
    fn stored(&self, dtype: Dtype) -> Result<StoredParams, FolderError> {
        let mut places = 0..self.tensors.len();
        StoredParams::try_from_each(self.model.layout(), dtype, |_, numbers| {
            places.next().map_or(Ok(()), |place| self.append(place, numbers))
        })
    }

    /// Adds the numbers of a parameter.
    fn append(&self, place: usize, to: &mut Vec<f32>) -> Result<(), FolderError> {
        let start = to.len();
        self.tensors[place].append(to)?;
        match &self.head {
            Some(head) if place == 0 && !head.equals(&to[start..])? => {
                let table = &self.tensors[0].name;
                let problem = format!("{HEAD} is not equal to {table}, but tie_word_embeddings is true");
                let cure = "Set tie_word_embeddings to false in config.json if they are two, or take the folder as it was";
                Err(wrong(self.path, problem, cure))
            }
            _ => Ok(()),
        }
    }
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
