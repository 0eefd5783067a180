//! `adapter_config.json`, both ways.

use serde_json::{Value, json};

use crate::checkpoint::hugging_face::{FolderError, JsonFile};
use crate::model::{ConfigError, LoraConfig, LoraTarget};

/// Keys that say nothing about what the adapter computes, or are read one by one below.
const READ: [&str; 18] = [
    "auto_mapping",
    "base_model_name_or_path",
    "bias",
    "ensure_weight_tying", // of modules_to_save, of which there are none
    "inference_mode",
    "init_lora_weights",
    "layers_pattern", // used only with layers_to_transform
    "lora_alpha",
    "lora_dropout",
    "megatron_core", // the name of a module, used only with megatron_config
    "peft_type",
    "peft_version",
    "qalora_group_size", // used only with use_qalora
    "r",
    "revision",
    "runtime_config",
    "target_modules",
    "task_type",
];

/// What helps with a variant of LoRA.
const MERGE_IT: &str = "Train it as plain LoRA, or merge it with peft (merge_and_unload) and take the folder of the merged model";

/// Our configuration of the adapters that a file describes.
pub(super) fn read(file: &JsonFile) -> Result<LoraConfig, FolderError> {
    let Some(keys) = file.value.as_object() else {
        return Err(file.wrong("it is no object", "Take a copy that is whole"));
    };
    let refuse = |key: &str, value: &Value, needed: &str| {
        file.wrong(format!("{key} is {}, where gradus reads {needed}", shortened(value)), MERGE_IT)
    };
    let only = |key: &str, known: &[Value]| match keys.get(key) {
        Some(value) if !known.contains(value) => {
            let names: Vec<String> = known.iter().map(Value::to_string).collect();
            Err(refuse(key, value, &names.join(" or ")))
        }
        _ => Ok(()),
    };
    file.get::<String>("peft_type")?; // without it nobody knows what it is
    only("peft_type", &[json!("LORA")])?;
    only("task_type", &[json!("CAUSAL_LM"), Value::Null])?;
    only("bias", &[json!("none"), Value::Null])?;
    // Others change the weights of the base before they begin.
    only(
        "init_lora_weights",
        &[json!(true), json!(false), json!("gaussian"), json!("orthogonal"), Value::Null],
    )?;
    for (key, value) in keys {
        if !READ.contains(&key.as_str()) && !is_off(value) {
            return Err(refuse(key, value, "plain LoRA, which has no such thing"));
        }
    }
    Ok(LoraConfig {
        rank: file.get("r")?,
        alpha: file.get("lora_alpha")?,
        dropout: file.get_or("lora_dropout", 0.0)?,
        targets: targets(file)?,
    })
}

/// Whether a value switches off what its key is about.
fn is_off(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(values) => values.is_empty(),
        Value::Object(values) => values.is_empty(),
        Value::Bool(true) | Value::Number(_) | Value::String(_) => false,
    }
}

/// The layers that are adapted, in our order.
fn targets(file: &JsonFile) -> Result<Vec<LoraTarget>, FolderError> {
    if file.value.get("target_modules").is_some_and(|value| value == "all-linear") {
        return Ok(LoraTarget::ALL.to_vec());
    }
    let list_them = "Name the layers one by one in target_modules, as in [\"q_proj\", \"v_proj\"]";
    if file.value.get("target_modules").is_some_and(|value| !value.is_array()) {
        return Err(file.wrong("target_modules is a pattern, where gradus reads a list of names", list_them));
    }
    let names: Vec<String> = file.get("target_modules")?;
    // peft names layers by the end of their path, or by all of it. A layer that it leaves out has no tensors, which is found out.
    let last = |name: &String| name.rsplit('.').next().unwrap_or(name).parse();
    let parsed: Result<Vec<LoraTarget>, ConfigError> = names.iter().map(last).collect();
    let mut targets =
        parsed.map_err(|ConfigError(problem)| file.wrong(format!("target_modules: {problem}"), list_them))?;
    targets.sort_unstable();
    targets.dedup();
    Ok(targets)
}

/// The beginning of a value.
fn shortened(value: &Value) -> String {
    const LONGEST: usize = 60;
    let text = value.to_string();
    match text.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

/// The file of our adapters. What `transformers` or peft would take by default is written all the same, so that another
/// version reads the same.
pub(super) fn written(lora: &LoraConfig, base_name: Option<&str>) -> Value {
    let mut targets = lora.targets.clone();
    targets.sort_unstable();
    targets.dedup();
    json!({
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_name,
        "r": lora.rank,
        "lora_alpha": whole(lora.alpha),
        "lora_dropout": lora.dropout,
        "target_modules": targets,
        "bias": "none",
        "fan_in_fan_out": false,
        "inference_mode": true,
        "init_lora_weights": true,
        "modules_to_save": null,
        "rank_pattern": {},
        "alpha_pattern": {},
        "use_dora": false,
        "use_rslora": false,
    })
}

/// A number without a fraction as an integer, as peft writes it.
fn whole(x: f64) -> Value {
    let exact = 2_f64.powi(53);
    if x.fract() == 0.0 && x.abs() < exact { json!(x as i64) } else { json!(x) }
}
