//! A translator as a folder of Hugging Face's `MarianMTModel`, which `transformers` and CTranslate2 can open.
//!
//! Marian (Junczys-Dowmunt et al., "Marian: Fast Neural Machine Translation in C++", 2018) is the first transformer (Vaswani et
//! al. 2017): post-norm, LayerNorm, sines and cosines, biases everywhere, one table of tokens. An [`EncoderDecoder`] of that shape
//! has the same parameters, but for a few names.
//!
//! How fresh weights would be drawn is no part of the format, but for `init_std`: a model that is read draws as
//! [`EncoderDecoderConfig::classic`] does. The bias of the logits, where all of it is zero, is none.

mod import;

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};

pub use import::import;

use super::StoredAs;
use super::hugging_face::{CONFIG, FolderError, fit, write_json, write_weights};
use super::tokenizer_json::{Around, OtherTokenizer, to_json};
use crate::model::{
    Activation, AttentionBias, EmbeddingScale, EncoderDecoder, EncoderDecoderConfig, Model, NormKind,
    Placement, Position, SharedEmbeddings,
};
use crate::params::{ParamKind, ParamSpec};
use crate::tensor::Mask;
use crate::tokenizer::{BpeSpec, Tokenizer, TokenizerSpec};

/// The class of `transformers`.
const CLASS: &str = "MarianMTModel";

/// `LayerNorm`'s in PyTorch, which the class does not let one choose.
const EPS: f64 = 1e-5;

/// Activations and their names in `transformers`: in each case the first is written, and all are read.
const ACTIVATIONS: [(Activation, &[&str]); 3] = [
    (Activation::Relu, &["relu"]),
    (Activation::Gelu, &["gelu", "gelu_python"]),
    (Activation::GeluTanh, &["gelu_new", "gelu_fast", "gelu_pytorch_tanh"]),
];

/// The bias of the logits, which every folder has.
const BIAS: &str = "final_logits_bias";

/// The special tokens that a folder names. EOS is another token than the other two, which may be the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MarianTokens {
    /// The token before a target: `decoder_start_token_id`.
    pub bos: usize,
    /// The token after a source and after a target: `eos_token_id`.
    pub eos: usize,
    /// What stands after the end of shorter sentences in a batch, and nobody looks at: `pad_token_id`.
    pub pad: usize,
}

/// What a folder holds.
#[derive(Clone, Debug)]
pub struct Marian {
    /// The model.
    pub model: EncoderDecoder,
    /// Its weights, in the order of its layout.
    pub params: Vec<f32>,
    /// Its special tokens.
    pub tokens: MarianTokens,
    /// Its tokenizer, from `tokenizer.json`, or why there is none.
    pub tokenizer: Result<BpeSpec, OtherTokenizer>,
}

/// Writes a folder, which is made if it does not exist: `model.safetensors`, `tokenizer.json`, `tokenizer_config.json`,
/// `generation_config.json` and `config.json`. Each file is replaced in one instant; the weights come first, and the
/// configuration, without which nobody opens the folder, last.
///
/// # Errors
/// If the model is no Marian, if its tokens do not belong to its tokenizer or that is no byte-level BPE, if a number is
/// NaN or infinite, if there is a checkpoint of ours in the folder, or if the system refuses.
///
/// # Panics
/// If there are not as many numbers as the model has.
pub fn export(
    folder: &Path,
    model: &EncoderDecoder,
    params: &[f32],
    tokenizer: &dyn Tokenizer,
    tokens: MarianTokens,
) -> Result<(), FolderError> {
    let (config, layout) = (model.config(), model.layout());
    assert_eq!(params.len(), layout.len(), "as many weights as the model has");
    let activation = check_model(config)?;
    let spec = check_tokens(config, tokenizer, tokens)?;
    let mut entries: Vec<(String, Vec<usize>, &[f32])> =
        layout.specs().iter().map(|spec| (name(spec), shape(spec), &params[spec.range()])).collect();
    let zeros = vec![0.0; config.decoder.vocab_size];
    if !config.head_bias {
        entries.push((BIAS.to_owned(), vec![1, zeros.len()], &zeros));
    }
    let entries: Vec<(&str, &[usize], &[f32])> =
        entries.iter().map(|(name, shape, numbers)| (name.as_str(), shape.as_slice(), *numbers)).collect();
    write_weights(folder, &entries, StoredAs::F32)?;
    let write = |file: &str, value: Value| write_json(&folder.join(file), &value);
    let around = Around { before: None, after: Some(tokens.eos) };
    let file = to_json(&TokenizerSpec::Bpe(spec.clone()), around).expect("the format has byte-level BPE");
    write("tokenizer.json", file)?;
    write("tokenizer_config.json", tokenizer_config(config, &spec, tokens))?;
    write("generation_config.json", generation_config(config, tokens))?;
    write(CONFIG, written(config, activation, tokens))
}

/// Whether the class can be this model. Returns the name of its activation.
fn check_model(config: &EncoderDecoderConfig) -> Result<&'static str, FolderError> {
    let ours = &config.decoder;
    fit(CLASS, "shared_embeddings", &config.shared_embeddings, &[SharedEmbeddings::All])?;
    fit(CLASS, "position", &ours.position, &[Position::Sinusoidal])?;
    fit(CLASS, "placement", &ours.placement, &[Placement::Post])?;
    fit(CLASS, "norm", &ours.norm, &[NormKind::Layer])?;
    fit(CLASS, "norm_gain", &ours.norm_gain, &[true])?;
    fit(CLASS, "norm_eps", &ours.norm_eps, &[EPS])?;
    fit(CLASS, "embedding_norm", &ours.embedding_norm, &[false])?;
    fit(CLASS, "final_norm", &ours.final_norm, &[false])?;
    fit(CLASS, "qk_norm", &ours.qk_norm, &[false])?;
    fit(CLASS, "attention_bias", &ours.attention_bias, &[AttentionBias::All])?;
    fit(CLASS, "ffn_bias", &ours.ffn_bias, &[true])?;
    fit(CLASS, "n_kv_head", &ours.n_kv_head, &[ours.n_head])?;
    fit(CLASS, "mask", &ours.mask, &[Mask::Causal])?;
    fit(CLASS, "activation", &ours.activation, &ACTIVATIONS.map(|(activation, _)| activation))?;
    if ours.head_dim() * ours.n_head != ours.n_embd {
        let (found, field) = (ours.head_dim().to_string(), "head_dim");
        let needed = format!("n_embd / n_head, which is {} / {}", ours.n_embd, ours.n_head);
        return Err(FolderError::Unfit { class: CLASS, field, found, needed });
    }
    let names = ACTIVATIONS.iter().find(|(activation, _)| *activation == ours.activation);
    Ok(names.expect("it is one of them").1[0])
}

/// Whether these tokens belong to the tokenizer, and that to the model. Returns its spec.
fn check_tokens(
    config: &EncoderDecoderConfig,
    tokenizer: &dyn Tokenizer,
    tokens: MarianTokens,
) -> Result<BpeSpec, FolderError> {
    let unfit =
        |field, found: String, needed: String| FolderError::Unfit { class: CLASS, field, found, needed };
    let spec = match tokenizer.spec() {
        TokenizerSpec::Bpe(spec) => spec,
        other => return Err(unfit("tokenizer", other.to_string(), "byte-level BPE".to_owned())),
    };
    fit(CLASS, "vocab_size", &config.decoder.vocab_size, &[spec.tokens.len()])?;
    let MarianTokens { bos, eos, pad } = tokens;
    for (field, token) in [("bos", bos), ("eos", eos), ("pad", pad)] {
        if !spec.special.contains(&token) {
            let special: Vec<String> =
                spec.special.iter().map(|&id| format!("{id} ({})", spec.tokens[id])).collect();
            let needed = format!("a special token of the tokenizer, one of {}", special.join(", "));
            return Err(unfit(field, token.to_string(), needed));
        }
    }
    for (field, token) in [("bos", bos), ("pad", pad)] {
        if token == eos {
            return Err(unfit(field, format!("{token}, as eos"), "another special token".to_owned()));
        }
    }
    Ok(spec)
}

/// What a parameter of ours is called in the class.
fn name(spec: &ParamSpec) -> String {
    spec.name.replace(".o_proj.", ".out_proj.").replace(".mlp.", ".")
}

/// The shape that it has there: rows of numbers have one dimension.
fn shape(spec: &ParamSpec) -> Vec<usize> {
    match spec.kind {
        ParamKind::Gain | ParamKind::Bias if spec.name != BIAS => vec![spec.cols],
        _ => vec![spec.rows, spec.cols],
    }
}

/// `config.json`.
fn written(
    config: &EncoderDecoderConfig,
    activation: &str,
    MarianTokens { bos, eos, pad }: MarianTokens,
) -> Value {
    let ours = &config.decoder;
    json!({
        "architectures": [CLASS],
        "model_type": "marian",
        "is_encoder_decoder": true,
        "vocab_size": ours.vocab_size,
        "decoder_vocab_size": ours.vocab_size,
        "d_model": ours.n_embd,
        "encoder_layers": config.encoder_layers,
        "decoder_layers": ours.n_layer,
        "encoder_attention_heads": ours.n_head,
        "decoder_attention_heads": ours.n_head,
        "encoder_ffn_dim": ours.n_ffn,
        "decoder_ffn_dim": ours.n_ffn,
        "activation_function": activation,
        "max_position_embeddings": ours.context,
        "scale_embedding": ours.embedding_scale == EmbeddingScale::RootWidth,
        "share_encoder_decoder_embeddings": true,
        "tie_word_embeddings": true,
        "static_position_embeddings": true,
        "normalize_before": false,
        "normalize_embedding": false,
        "add_final_layer_norm": false,
        "dropout": ours.dropout,
        "attention_dropout": 0.0,
        "activation_dropout": 0.0,
        "encoder_layerdrop": 0.0,
        "decoder_layerdrop": 0.0,
        "init_std": ours.init_std,
        "bos_token_id": bos,
        "decoder_start_token_id": bos,
        "eos_token_id": eos,
        "forced_eos_token_id": eos,
        "pad_token_id": pad,
        "use_cache": true,
        // Version 5 reads the first, version 4 the second.
        "dtype": "float32",
        "torch_dtype": "float32",
    })
}

/// `generation_config.json`. Padding and BOS are never generated.
fn generation_config(config: &EncoderDecoderConfig, MarianTokens { bos, eos, pad }: MarianTokens) -> Value {
    let never: BTreeSet<usize> = [pad, bos].into();
    json!({
        "bad_words_ids": never.into_iter().map(|token| [token]).collect::<Vec<_>>(),
        "bos_token_id": bos,
        "decoder_start_token_id": bos,
        "eos_token_id": eos,
        "forced_eos_token_id": eos,
        "pad_token_id": pad,
        "max_length": config.decoder.context,
        "num_beams": 4,
    })
}

/// `tokenizer_config.json`.
fn tokenizer_config(config: &EncoderDecoderConfig, spec: &BpeSpec, tokens: MarianTokens) -> Value {
    let name = |id: usize| spec.tokens[id].as_str();
    json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": name(tokens.bos),
        "eos_token": name(tokens.eos),
        "pad_token": name(tokens.pad),
        "model_max_length": config.decoder.context,
        "model_input_names": ["input_ids", "attention_mask"],
        "clean_up_tokenization_spaces": false,
    })
}
