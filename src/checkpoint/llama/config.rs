//! `config.json`, both ways.

use serde_json::{Value, json};

use super::{Class, rope};
use crate::checkpoint::hugging_face::{FolderError, JsonFile, TAKE_A_COPY, fit};
use crate::checkpoint::{EndTokens, StoredAs};
use crate::model::{
    Activation, AttentionBias, ConfigError, DecoderConfig, EmbeddingScale, NormKind, Placement, Position,
    TiedEmbeddings,
};
use crate::tensor::Mask;

/// Our configuration of the model that a file describes. What `transformers` has a default for may be missing, but for sizes.
pub(super) fn read(file: &JsonFile) -> Result<DecoderConfig, FolderError> {
    let class = class(file)?;
    for key in ["quantization_config", "compression_config"] {
        if file.value.get(key).is_some_and(|value| !value.is_null()) {
            let problem = format!("its weights are quantised ({key})");
            return Err(file.wrong(problem, "Take the folder of the model before it was quantised"));
        }
    }
    let activation: String = file.get_or("hidden_act", "silu".to_owned())?;
    if !["silu", "swish"].contains(&activation.as_str()) {
        return Err(file.variant("hidden_act", &activation, &"silu"));
    }
    let (n_embd, n_head) = (size(file, "hidden_size")?, size(file, "num_attention_heads")?);
    let (n_layer, context) = (size(file, "num_hidden_layers")?, size(file, "max_position_embeddings")?);
    let n_kv_head = match class {
        Class::Llama => n_head,
        Class::Mistral => default_if_missing(file, "num_key_value_heads", 8, n_head),
        Class::Qwen2 | Class::Qwen3 => default_if_missing(file, "num_key_value_heads", 32, n_head),
    };
    let head_dim = match class {
        Class::Qwen3 => file.get_or("head_dim", Some(128))?,
        Class::Llama | Class::Mistral | Class::Qwen2 => file.get_or("head_dim", None)?,
    };
    let n_kv_head = match file.get_or("num_key_value_heads", n_kv_head)? {
        0 => return Err(file.wrong("num_key_value_heads is 0", TAKE_A_COPY)),
        n_kv_head => n_kv_head,
    };
    for (key, part, whole_key, whole) in [
        ("num_attention_heads", n_head, "hidden_size", if head_dim.is_none() { n_embd } else { n_head }),
        ("num_key_value_heads", n_kv_head, "num_attention_heads", n_head),
    ] {
        if !whole.is_multiple_of(part) {
            let problem = format!("{key} is {part}, which does not divide {whole_key}, {whole}");
            return Err(file.wrong(problem, TAKE_A_COPY));
        }
    }
    let attention_bias = match class {
        Class::Llama | Class::Qwen3 if file.get_or("attention_bias", false)? => AttentionBias::All,
        Class::Qwen2 => AttentionBias::Qkv,
        Class::Llama | Class::Mistral | Class::Qwen3 => AttentionBias::None,
    };
    let config = DecoderConfig {
        context,
        n_layer,
        n_embd,
        n_head,
        n_kv_head,
        n_ffn: size(file, "intermediate_size")?,
        ffn_bias: class == Class::Llama && file.get_or("mlp_bias", false)?,
        position: rope::read(file, context)?,
        mask: mask(file, class, n_layer, context)?,
        head_dim: head_dim.filter(|head_dim| Some(n_embd) != n_head.checked_mul(*head_dim)),
        attention_bias,
        norm_eps: file.get_or("rms_norm_eps", 1e-6)?,
        qk_norm: class == Class::Qwen3,
        init_std: file.get_or("initializer_range", 0.02)?,
        tied_embeddings: match file.get_or("tie_word_embeddings", false)? {
            true => TiedEmbeddings::Output,
            false => TiedEmbeddings::None,
        },
        ..DecoderConfig::llama(size(file, "vocab_size")?)
    };
    config.check().map_err(|ConfigError(problem)| file.wrong(problem, TAKE_A_COPY))?;
    Ok(config)
}

/// The class of the model.
fn class(file: &JsonFile) -> Result<Class, FolderError> {
    let kind: String = file.get("model_type")?;
    let Some(class) = Class::ALL.into_iter().find(|class| class.model_type() == kind) else {
        let known = Class::ALL.map(Class::model_type).join(", ");
        let problem = format!("model_type is {kind:?}, where gradus reads {known}");
        return Err(file.wrong(problem, "Take the folder of such a model"));
    };
    match file.get_or::<Option<Vec<String>>>("architectures", None)? {
        Some(names) if !names.iter().any(|name| name == class.name()) => {
            let problem = format!("architectures is {names:?}, where {:?} is needed", class.name());
            Err(file.wrong(problem, format!("Save it as a {} with transformers", class.name())))
        }
        _ => Ok(class),
    }
}

/// A size, which is not 0.
fn size(file: &JsonFile, key: &str) -> Result<usize, FolderError> {
    match file.get(key)? {
        0 => Err(file.wrong(format!("{key} is 0"), TAKE_A_COPY)),
        size => Ok(size),
    }
}

/// What a key is where it is missing, and where it is null.
fn default_if_missing<T>(file: &JsonFile, key: &str, missing: T, null: T) -> T {
    if file.value.get(key).is_some() { null } else { missing }
}

/// Which tokens a token sees. A window that no text fills is none.
fn mask(file: &JsonFile, class: Class, n_layer: usize, context: usize) -> Result<Mask, FolderError> {
    let window: Option<usize> = match class {
        Class::Llama => return Ok(Mask::Causal),
        Class::Mistral => {
            same_layers(file, n_layer)?;
            file.get_or("sliding_window", default_if_missing(file, "sliding_window", Some(4096), None))?
        }
        Class::Qwen2 | Class::Qwen3 => match sliding_layers(file, n_layer)? {
            false => None,
            true => match file.get_or("sliding_window", Some(4096))? {
                None => {
                    let problem = "sliding_window is null, but all layers have sliding attention";
                    return Err(file.wrong(problem, TAKE_A_COPY));
                }
                window => window,
            },
        },
    };
    match window {
        Some(0) => Err(file.wrong("sliding_window is 0", TAKE_A_COPY)),
        Some(window) if window < context => Ok(Mask::Window(window)),
        _ => Ok(Mask::Causal),
    }
}

/// Whether the layers of a Qwen have a window: all of them, or none.
fn sliding_layers(file: &JsonFile, n_layer: usize) -> Result<bool, FolderError> {
    let used: bool = file.get_or("use_sliding_window", false)?;
    let Some(types) = file.get_or::<Option<Vec<String>>>("layer_types", None)? else {
        let first: usize = file.get_or("max_window_layers", 28)?;
        return match used {
            true if first == 0 => Ok(true),
            true if first < n_layer => Err(file.variant(
                "max_window_layers",
                &first,
                &format!("0 or {n_layer}, so all layers alike,"),
            )),
            _ => Ok(false),
        };
    };
    match same_layers_of(file, &types, n_layer)? {
        true if !used => {
            let problem = "layer_types has sliding_attention, but use_sliding_window is false";
            Err(file.wrong(problem, TAKE_A_COPY))
        }
        has_window => Ok(has_window),
    }
}

/// Fails if `layer_types` is there and has a window in some layers only.
fn same_layers(file: &JsonFile, n_layer: usize) -> Result<(), FolderError> {
    let types = file.get_or::<Option<Vec<String>>>("layer_types", None)?;
    types.map_or(Ok(()), |types| same_layers_of(file, &types, n_layer).map(drop))
}

/// Whether the layers have a window: all of them, or none.
fn same_layers_of(file: &JsonFile, types: &[String], n_layer: usize) -> Result<bool, FolderError> {
    if types.len() != n_layer {
        let problem = format!("layer_types has {} entries, for {n_layer} layers", types.len());
        return Err(file.wrong(problem, TAKE_A_COPY));
    }
    let all = |kind: &str| types.iter().all(|other| other == kind);
    match (all("full_attention"), all("sliding_attention")) {
        (true, _) => Ok(false),
        (_, true) => Ok(true),
        _ => {
            let found = types.join(", ");
            Err(file.variant("layer_types", &found, &"full_attention or sliding_attention in all layers"))
        }
    }
}

/// The class that a model of ours is, if there is one.
pub(super) fn class_of(config: &DecoderConfig) -> Result<Class, FolderError> {
    let class = match (config.qk_norm, config.attention_bias, config.mask) {
        (true, _, _) => Class::Qwen3,
        (false, AttentionBias::Qkv, _) => Class::Qwen2,
        (false, _, Mask::Window(_)) => Class::Mistral,
        (false, ..) => Class::Llama,
    };
    let name = class.name();
    fit(name, "activation", &config.activation, &[Activation::Swiglu])?;
    fit(name, "norm", &config.norm, &[NormKind::Rms])?;
    fit(name, "placement", &config.placement, &[Placement::Pre])?;
    fit(name, "norm_gain", &config.norm_gain, &[true])?;
    fit(name, "embedding_norm", &config.embedding_norm, &[false])?;
    fit(name, "final_norm", &config.final_norm, &[true])?;
    fit(name, "embedding_scale", &config.embedding_scale, &[EmbeddingScale::One])?;
    let biases: &[AttentionBias] = match class {
        Class::Llama | Class::Qwen3 => &[AttentionBias::None, AttentionBias::All],
        Class::Mistral => &[AttentionBias::None],
        Class::Qwen2 => &[AttentionBias::Qkv],
    };
    fit(name, "attention_bias", &config.attention_bias, biases)?;
    let ffn_biases: &[bool] = if class == Class::Llama { &[false, true] } else { &[false] };
    fit(name, "ffn_bias", &config.ffn_bias, ffn_biases)?;
    let unfit =
        |field, found: String, needed: String| FolderError::Unfit { class: name, field, found, needed };
    if !matches!(config.position, Position::Rope { .. }) {
        let found = serde_json::to_string(&config.position).expect("a plain value");
        return Err(unfit("position", found, "rope".to_owned()));
    }
    // `transformers` refuses a Llama whose width its heads do not divide, even where it says how wide they are.
    if class == Class::Llama && !config.n_embd.is_multiple_of(config.n_head) {
        return Err(unfit(
            "n_head",
            config.n_head.to_string(),
            format!("a divisor of n_embd, {}", config.n_embd),
        ));
    }
    Ok(class)
}

/// The file of a model that is of this class.
pub(super) fn written(
    class: Class,
    config: &DecoderConfig,
    tokens: &EndTokens,
    stored_as: StoredAs,
) -> Value {
    let dtype = match stored_as {
        StoredAs::F32 => "float32",
        StoredAs::F16 => "float16",
        StoredAs::Bf16 => "bfloat16",
    };
    let mut file = json!({
        "architectures": [class.name()],
        "model_type": class.model_type(),
        "vocab_size": config.vocab_size,
        "hidden_size": config.n_embd,
        "intermediate_size": config.n_ffn,
        "num_hidden_layers": config.n_layer,
        "num_attention_heads": config.n_head,
        "num_key_value_heads": config.n_kv_head,
        "head_dim": config.head_dim(),
        "hidden_act": "silu",
        "max_position_embeddings": config.context,
        "initializer_range": config.init_std,
        "rms_norm_eps": config.norm_eps,
        "attention_dropout": 0.0,
        "tie_word_embeddings": config.tied_embeddings == TiedEmbeddings::Output,
        "use_cache": true,
        "bos_token_id": tokens.bos,
        "eos_token_id": super::tokens::eos_value(tokens),
        "pad_token_id": tokens.pad,
        // Version 5 reads the first, version 4 the second.
        "dtype": dtype,
        "torch_dtype": dtype,
    });
    if let Position::Rope { base, scaling } = config.position {
        for (key, value) in rope::written(base, scaling) {
            if !value.is_null() {
                file[key] = value;
            }
        }
    }
    if matches!(class, Class::Llama | Class::Qwen3) {
        file["attention_bias"] = json!(config.attention_bias == AttentionBias::All);
    }
    if class == Class::Llama {
        file["mlp_bias"] = json!(config.ffn_bias);
    }
    let window = match config.mask {
        Mask::Window(window) => Some(window),
        Mask::Causal | Mask::Full => None,
    };
    if class != Class::Llama {
        file["sliding_window"] = json!(window);
    }
    if matches!(class, Class::Qwen2 | Class::Qwen3) {
        let (kind, first) = match window {
            Some(_) => ("sliding_attention", 0),
            None => ("full_attention", config.n_layer),
        };
        file["use_sliding_window"] = json!(window.is_some());
        file["max_window_layers"] = json!(first);
        file["layer_types"] = json!(vec![kind; config.n_layer]);
    }
    file
}
