//! Reading the folder of a `MarianMTModel`.

use std::collections::BTreeSet;
use std::path::Path;

use super::{ACTIVATIONS, BIAS, EPS, Marian, MarianTokens, name, shape};
use crate::checkpoint::hugging_face::{CONFIG, FolderError, JsonFile, TAKE_A_COPY, read_one_file};
use crate::checkpoint::safetensors::Tensors;
use crate::checkpoint::tokenizer_json::{OtherTokenizer, TokenizerJson};
use crate::model::{
    AttentionBias, ConfigError, DecoderConfig, EmbeddingScale, EncoderDecoder, EncoderDecoderConfig, Model,
    ModelSpec, NormKind, Placement, Position, SharedEmbeddings, TiedEmbeddings,
};
use crate::tensor::{Mask, SINUSOID_BASE};
use crate::tokenizer::{BpeSpec, TokenizerSpec};

/// What the table of tokens may be called. Those that there are must be equal.
const TABLES: [&str; 4] = [
    "model.shared.weight",
    "model.encoder.embed_tokens.weight",
    "model.decoder.embed_tokens.weight",
    "lm_head.weight",
];

/// Reads a folder that [`export`](super::export) wrote, or `transformers`. Weights of 16 bits are widened.
///
/// # Errors
/// If a file is missing or damaged, if the folder is of another class or has variants that ours has not, or if tensors are
/// missing, have another shape, or are too many. The error names the file, the key and what to do.
pub fn import(folder: &Path) -> Result<Marian, FolderError> {
    let (config, tokens) = configuration(&JsonFile::read(&folder.join(CONFIG))?)?;
    let (model, params) = read_one_file(folder, |tensors| weights(config, tensors))?;
    let tokenizer = tokenizer(folder, model.vocab_size())?;
    Ok(Marian { model, params, tokens, tokenizer })
}

/// Our configuration, still without a bias of the logits, and the special tokens. What `transformers` has a default for may be
/// missing.
fn configuration(file: &JsonFile) -> Result<(EncoderDecoderConfig, MarianTokens), FolderError> {
    let kind: String = file.get("model_type")?;
    if kind != "marian" {
        let problem = format!("model_type is {kind:?}, not \"marian\"");
        return Err(file.wrong(problem, "Take the folder of a MarianMTModel"));
    }
    let size = |key: &str| match file.get::<usize>(key)? {
        0 => Err(file.wrong(format!("{key} is 0"), TAKE_A_COPY)),
        size => Ok(size),
    };
    let (vocab_size, n_embd, n_head, n_ffn) =
        (size("vocab_size")?, size("d_model")?, size("encoder_attention_heads")?, size("encoder_ffn_dim")?);
    if !n_embd.is_multiple_of(n_head) {
        let problem = format!("encoder_attention_heads is {n_head}, which does not divide d_model, {n_embd}");
        return Err(file.wrong(problem, TAKE_A_COPY));
    }
    file.expect("decoder_vocab_size", vocab_size, Some(vocab_size))?;
    file.expect("decoder_attention_heads", n_head, None)?;
    file.expect("decoder_ffn_dim", n_ffn, None)?;
    for key in ["share_encoder_decoder_embeddings", "tie_word_embeddings", "static_position_embeddings"] {
        file.expect(key, true, Some(true))?;
    }
    for key in ["normalize_before", "normalize_embedding", "add_final_layer_norm"] {
        file.expect(key, false, Some(false))?;
    }
    let activation: String = file.get("activation_function")?;
    let named = ACTIVATIONS.iter().find(|(_, names)| names.contains(&activation.as_str()));
    let Some(&(activation, _)) = named else {
        let known = ACTIVATIONS.map(|(_, names)| names[0]).join(", ");
        return Err(file.variant("activation_function", &activation, &known));
    };
    let token = |key: &str| match file.get::<usize>(key)? {
        token if token >= vocab_size => {
            Err(file.wrong(format!("{key} is {token}, of {vocab_size} tokens"), TAKE_A_COPY))
        }
        token => Ok(token),
    };
    let tokens = MarianTokens {
        bos: token("decoder_start_token_id")?,
        eos: token("eos_token_id")?,
        pad: token("pad_token_id")?,
    };
    let decoder = DecoderConfig {
        context: size("max_position_embeddings")?,
        n_layer: size("decoder_layers")?,
        n_embd,
        n_head,
        n_kv_head: n_head,
        n_ffn,
        activation,
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
        dropout: file.get_or("dropout", 0.1)?,
        init_std: file.get_or("init_std", 0.02)?,
        tied_embeddings: TiedEmbeddings::None,
        embedding_scale: match file.get_or("scale_embedding", false)? {
            true => EmbeddingScale::RootWidth,
            false => EmbeddingScale::One,
        },
        ..EncoderDecoderConfig::classic(vocab_size).decoder
    };
    let encoder_layers = size("encoder_layers")?;
    let shared_embeddings = SharedEmbeddings::All;
    let config = EncoderDecoderConfig { encoder_layers, shared_embeddings, head_bias: false, decoder };
    config.check().map_err(|ConfigError(problem)| file.wrong(problem, TAKE_A_COPY))?;
    Ok((config, tokens))
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
    let spec = match TokenizerJson::read(folder)? {
        Ok(TokenizerJson { spec: TokenizerSpec::Bpe(spec), .. }) => spec,
        Ok(TokenizerJson { spec, .. }) => {
            let problem =
                format!("tokenizer.json has {spec}, where gradus has byte-level BPE in such a model");
            return Ok(Err(OtherTokenizer(problem)));
        }
        Err(other) => return Ok(Err(other)),
    };
    Ok(match spec.tokens.len() {
        count if count != vocab_size => Err(OtherTokenizer(format!(
            "tokenizer.json has {count} tokens, where the model has a vocabulary of {vocab_size}"
        ))),
        _ => Ok(spec),
    })
}
