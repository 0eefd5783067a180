//! Reading the folder of a `MarianMTModel`.

use std::collections::BTreeSet;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::{ACTIVATIONS, BIAS, EPS, Marian, MarianTokens, name, shape};
use crate::checkpoint::FILE;
use crate::checkpoint::hugging_face::{
    CONFIG, FolderError, TAKE_A_COPY, describe, read_json, read_weights, wrong,
};
use crate::checkpoint::safetensors::Tensors;
use crate::checkpoint::tokenizer_json::{self, OtherTokenizer};
use crate::model::{
    AttentionBias, ConfigError, DecoderConfig, EmbeddingScale, EncoderDecoder, EncoderDecoderConfig, Model,
    ModelSpec, NormKind, Placement, Position, SharedEmbeddings, TiedEmbeddings,
};
use crate::tensor::{Mask, SINUSOID_BASE};
use crate::tokenizer::BpeSpec;

/// What the table of tokens may be called. Those that there are must be equal.
const TABLES: [&str; 4] = [
    "model.shared.weight",
    "model.encoder.embed_tokens.weight",
    "model.decoder.embed_tokens.weight",
    "lm_head.weight",
];

/// What is read of `config.json`. Where `transformers` has a default, so does this.
#[derive(Deserialize)]
struct Config {
    vocab_size: usize,
    #[serde(default)]
    decoder_vocab_size: Option<usize>,
    d_model: usize,
    encoder_layers: usize,
    decoder_layers: usize,
    encoder_attention_heads: usize,
    decoder_attention_heads: usize,
    encoder_ffn_dim: usize,
    decoder_ffn_dim: usize,
    activation_function: String,
    max_position_embeddings: usize,
    #[serde(default)]
    scale_embedding: bool,
    #[serde(default = "yes")]
    share_encoder_decoder_embeddings: bool,
    #[serde(default = "yes")]
    tie_word_embeddings: bool,
    #[serde(default = "yes")]
    static_position_embeddings: bool,
    #[serde(default)]
    normalize_before: bool,
    #[serde(default)]
    normalize_embedding: bool,
    #[serde(default)]
    add_final_layer_norm: bool,
    #[serde(default = "dropout")]
    dropout: f64,
    #[serde(default = "init_std")]
    init_std: f64,
    decoder_start_token_id: usize,
    eos_token_id: usize,
    pad_token_id: usize,
}

fn yes() -> bool {
    true
}

fn dropout() -> f64 {
    0.1
}

fn init_std() -> f64 {
    0.02
}

/// Reads a folder that [`export`](super::export) wrote, or `transformers`. Weights of 16 bits are widened.
///
/// # Errors
/// If a file is missing or damaged, if the folder is of another class or has variants that ours has not, or if tensors are
/// missing, have another shape, or are too many. The error names the file, the key and what to do.
pub fn import(folder: &Path) -> Result<Marian, FolderError> {
    let path = &folder.join(CONFIG);
    let value = read_json(path)?;
    if value["model_type"] != "marian" {
        let problem = format!("model_type is {}, not \"marian\"", value["model_type"]);
        return Err(wrong(path, problem, "Take the folder of a MarianMTModel"));
    }
    let read: Config = describe(path, value)?;
    let tokens =
        MarianTokens { bos: read.decoder_start_token_id, eos: read.eos_token_id, pad: read.pad_token_id };
    let config = read.ours(path)?;
    let bytes = read_weights(folder)?;
    let path = &folder.join(FILE);
    let damaged = |problem: String| wrong(path, problem, TAKE_A_COPY);
    let tensors = Tensors::parse(&bytes).map_err(damaged)?;
    let (model, params) = weights(config, &tensors).map_err(damaged)?;
    let tokenizer = tokenizer(folder, model.vocab_size())?;
    Ok(Marian { model, params, tokens, tokenizer })
}

impl Config {
    /// Our configuration, still without a bias of the logits.
    fn ours(&self, path: &Path) -> Result<EncoderDecoderConfig, FolderError> {
        let sizes = [
            ("vocab_size", self.vocab_size),
            ("d_model", self.d_model),
            ("encoder_layers", self.encoder_layers),
            ("decoder_layers", self.decoder_layers),
            ("encoder_attention_heads", self.encoder_attention_heads),
            ("encoder_ffn_dim", self.encoder_ffn_dim),
            ("max_position_embeddings", self.max_position_embeddings),
        ];
        if let Some((key, _)) = sizes.iter().find(|(_, size)| *size == 0) {
            return Err(wrong(path, format!("{key} is 0"), TAKE_A_COPY));
        }
        let heads = self.encoder_attention_heads;
        if !self.d_model.is_multiple_of(heads) {
            let problem = format!(
                "encoder_attention_heads is {heads}, which does not divide d_model, {}",
                self.d_model
            );
            return Err(wrong(path, problem, TAKE_A_COPY));
        }
        let variant = |key: &str, found: &dyn std::fmt::Display, needed: &dyn std::fmt::Display| {
            let problem = format!("{key} is {found}, where gradus has {needed} in such a model");
            Err(wrong(path, problem, "Take another model, or make such a model possible in src/model"))
        };
        let same = [
            ("decoder_vocab_size", self.decoder_vocab_size.unwrap_or(self.vocab_size), self.vocab_size),
            ("decoder_attention_heads", self.decoder_attention_heads, heads),
            ("decoder_ffn_dim", self.decoder_ffn_dim, self.encoder_ffn_dim),
        ];
        if let Some((key, found, needed)) = same.iter().find(|(_, found, needed)| found != needed) {
            return variant(key, found, needed);
        }
        let flags = [
            ("share_encoder_decoder_embeddings", self.share_encoder_decoder_embeddings, true),
            ("tie_word_embeddings", self.tie_word_embeddings, true),
            ("static_position_embeddings", self.static_position_embeddings, true),
            ("normalize_before", self.normalize_before, false),
            ("normalize_embedding", self.normalize_embedding, false),
            ("add_final_layer_norm", self.add_final_layer_norm, false),
        ];
        if let Some((key, found, needed)) = flags.iter().find(|(_, found, needed)| found != needed) {
            return variant(key, found, needed);
        }
        let named = ACTIVATIONS.iter().find(|(_, names)| names.contains(&self.activation_function.as_str()));
        let Some((activation, _)) = named else {
            let known = ACTIVATIONS.map(|(_, names)| names[0]).join(", ");
            return variant("activation_function", &self.activation_function, &known);
        };
        let tokens = [
            ("decoder_start_token_id", self.decoder_start_token_id),
            ("eos_token_id", self.eos_token_id),
            ("pad_token_id", self.pad_token_id),
        ];
        if let Some((key, token)) = tokens.iter().find(|(_, token)| *token >= self.vocab_size) {
            return Err(wrong(path, format!("{key} is {token}, of {} tokens", self.vocab_size), TAKE_A_COPY));
        }
        let classic = EncoderDecoderConfig::classic(self.vocab_size);
        let decoder = DecoderConfig {
            context: self.max_position_embeddings,
            n_layer: self.decoder_layers,
            n_embd: self.d_model,
            n_head: heads,
            n_kv_head: heads,
            n_ffn: self.encoder_ffn_dim,
            activation: *activation,
            ffn_bias: true,
            position: Position::Sinusoidal,
            mask: Mask::Causal,
            head_dim: None,
            attention_bias: AttentionBias::All,
            norm: NormKind::Layer,
            placement: Placement::Post,
            norm_eps: EPS,
            norm_gain: true,
            embedding_norm: false,
            final_norm: false,
            qk_norm: false,
            dropout: self.dropout,
            init_std: self.init_std,
            tied_embeddings: TiedEmbeddings::None,
            embedding_scale: match self.scale_embedding {
                true => EmbeddingScale::RootWidth,
                false => EmbeddingScale::One,
            },
            ..classic.decoder
        };
        let config = EncoderDecoderConfig {
            encoder_layers: self.encoder_layers,
            shared_embeddings: SharedEmbeddings::All,
            head_bias: false,
            decoder,
        };
        config.check().map_err(|ConfigError(problem)| wrong(path, problem, TAKE_A_COPY))?;
        Ok(config)
    }
}

/// The model of a configuration that has been checked, and its weights.
fn weights(
    mut config: EncoderDecoderConfig,
    tensors: &Tensors<'_>,
) -> Result<(EncoderDecoder, Vec<f32>), String> {
    let mut names: BTreeSet<&str> = tensors.names().into_iter().collect();
    // Before a layout of this size is built.
    let least = ModelSpec::EncoderDecoder(config.clone()).least_matrices();
    if least > names.len() {
        return Err(format!("it holds {} tensors, but the layers have at least {least}", names.len()));
    }
    let (vocab_size, width, context) =
        (config.decoder.vocab_size, config.decoder.n_embd, config.decoder.context);
    let mut bias: Vec<f32> = Vec::new();
    if names.remove(BIAS) {
        tensors.read(BIAS, &[1, vocab_size], &mut bias)?;
    }
    config.head_bias = bias.iter().any(|b| *b != 0.0);
    let tables: Vec<&str> = TABLES.into_iter().filter(|table| names.remove(table)).collect();
    let model = EncoderDecoder::new(config).map_err(|ConfigError(problem)| problem)?;
    let mut params = Vec::new();
    for spec in model.layout().specs() {
        let own = name(spec);
        if own == BIAS {
            params.append(&mut bias);
        } else if own == TABLES[0] {
            tensors.read(tables.first().unwrap_or(&TABLES[0]), &shape(spec), &mut params)?;
        } else {
            tensors.read(&own, &shape(spec), &mut params)?;
            names.remove(own.as_str());
        }
    }
    for &other in tables.iter().skip(1) {
        let mut numbers: Vec<f32> = Vec::new();
        tensors.read(other, &[vocab_size, width], &mut numbers)?;
        if numbers != params[..numbers.len()] {
            return Err(format!("{other} is not equal to {}, where one table serves for all", tables[0]));
        }
    }
    for side in ["encoder", "decoder"] {
        let positions = format!("model.{side}.embed_positions.weight");
        if names.remove(positions.as_str()) {
            check_positions(&positions, tensors, [context, width])?;
        }
    }
    match names.first() {
        Some(name) => Err(format!("{name} is no part of such a model")),
        None => Ok((model, params)),
    }
}

/// Older folders hold the sines and cosines, which are computed here. In 16 bits they are off by up to a few thousandths.
fn check_positions(name: &str, tensors: &Tensors<'_>, [context, width]: [usize; 2]) -> Result<(), String> {
    let mut numbers: Vec<f32> = Vec::new();
    tensors.read(name, &[context, width], &mut numbers)?;
    let half = width / 2;
    for (at, number) in numbers.into_iter().enumerate() {
        let (position, col) = ((at / width) as f64, at % width);
        let angle = position * SINUSOID_BASE.powf(-((col % half) as f64) / half as f64);
        let expected = if col < half { angle.sin() } else { angle.cos() };
        if (f64::from(number) - expected).abs() > 5e-3 {
            return Err(format!("{name} holds {number} at place {at}, where a sine or cosine is {expected}"));
        }
    }
    Ok(())
}

/// The tokenizer of a folder, if it is one of ours.
fn tokenizer(folder: &Path, vocab_size: usize) -> Result<Result<BpeSpec, OtherTokenizer>, FolderError> {
    let path = folder.join("tokenizer.json");
    let other = |problem| Ok(Err(OtherTokenizer(problem)));
    if !path.exists() {
        let config = read_json(&folder.join("tokenizer_config.json"));
        let class = match config.as_ref().map(|config| &config["tokenizer_class"]) {
            Ok(Value::String(class)) => format!("tokenizer_config.json names {class}"),
            _ => "no file says which tokenizer it needs".to_owned(),
        };
        return other(format!("there is no tokenizer.json, and {class}"));
    }
    let read = tokenizer_json::from_json(read_json(&path)?);
    match read.map_err(|problem| wrong(&path, problem, TAKE_A_COPY))? {
        Ok(spec) if spec.tokens.len() != vocab_size => other(format!(
            "tokenizer.json has {} tokens, where the model has a vocabulary of {vocab_size}",
            spec.tokens.len()
        )),
        read => Ok(read),
    }
}
