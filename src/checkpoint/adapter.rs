//! Adapters as folders of Hugging Face's peft, which its `PeftModel` opens on the same base.
//!
//! A folder holds `adapter_model.safetensors`, the two matrices of each layer that is adapted, and `adapter_config.json`, which
//! says how they are used. The base is not in it: it is a few megabytes where the base may be gigabytes. What is read and written
//! is plain LoRA ([`LoraConfig`]), the same rank for all layers; peft has many variants of it, and each of them is an error with
//! its name.

mod config;

use std::collections::HashSet;
use std::path::Path;

use ::safetensors::Dtype;

use super::hugging_face::{FolderError, JsonFile, TAKE_A_COPY, write_json, wrong};
use super::mapped::FileBytes;
use super::safetensors::{Tensors, write_tensors};
use super::{CheckpointError, shortened};
use crate::model::{ConfigError, Decoder, LoraConfig, Model};
use crate::params::ParamSpec;
use crate::real::Real;

/// The file with the matrices.
pub const WEIGHTS: &str = "adapter_model.safetensors";
/// The file that says how they are used.
pub const CONFIG: &str = "adapter_config.json";

/// What the names of peft's tensors begin with: its model holds a holder of the model.
const PREFIX: &str = "base_model.model.";

/// An adapter that was read from a folder.
#[derive(Clone, Debug)]
pub struct Adapter {
    /// The base with adapters.
    pub model: Decoder,
    /// The numbers of the adapters, as they follow those of the base.
    pub params: Vec<f32>,
    /// What the folder calls the base: a path, or a name on the hub.
    pub base_name: Option<String>,
}

impl Adapter {
    /// All numbers of [`model`](Self::model): those of a base, and those of this adapter behind them.
    ///
    /// # Panics
    /// If the base has more or fewer numbers.
    pub fn on(&self, base: &[f32]) -> Vec<f32> {
        assert_eq!(base.len(), self.model.base_len(), "Adapter: the given numbers against those of the base");
        [base, &self.params].concat()
    }
}

/// Writes the adapters of a decoder into a folder, which is made if it does not exist. `base_name` is what the folder calls the
/// base: a path, or a name on the hub. Each file is replaced in one instant, the matrices first.
///
/// # Errors
/// If the decoder has no adapters, if a number is NaN or infinite as an `f32`, or if the system refuses.
///
/// # Panics
/// If there are not as many numbers as the layout says.
pub fn export<R: Real>(
    folder: &Path,
    model: &Decoder,
    params: &[R],
    base_name: Option<&str>,
) -> Result<(), FolderError> {
    assert_eq!(
        params.len(),
        model.layout().len(),
        "adapter::export: the given numbers against those of the layout"
    );
    let Some(lora) = model.adapters() else {
        let cure = "Give it some with Decoder::with_adapters, or export the model itself";
        return Err(wrong(&folder.join(WEIGHTS), "the model has no adapters to be written", cure));
    };
    let entries: Vec<(String, [usize; 2], &[R])> = adapters(model)
        .map(|spec| (format!("{PREFIX}{}", spec.name), [spec.rows, spec.cols], &params[spec.range()]))
        .collect();
    let entries: Vec<(&str, &[usize], &[R])> =
        entries.iter().map(|(name, shape, numbers)| (name.as_str(), &shape[..], *numbers)).collect();
    write_tensors(&folder.join(WEIGHTS), ["format", "pt"], &entries, Dtype::F32)?;
    write_json(&folder.join(CONFIG), &config::written(lora, base_name))
}

/// Reads a folder that [`export`] wrote, or peft, for a base that has no adapters yet. Numbers of 16 bits are widened.
///
/// # Errors
/// If a file is missing or damaged, if it is something else than plain LoRA on layers that the base has, or if tensors are missing,
/// have another shape, or are too many. (peft itself only warns of names that do not match, and leaves such adapters at zero.)
pub fn import(folder: &Path, base: &Decoder) -> Result<Adapter, FolderError> {
    let file = JsonFile::read(&folder.join(CONFIG))?;
    let lora: LoraConfig = config::read(&file)?;
    let base_name: Option<String> = file.get_or("base_model_name_or_path", None)?;
    let adapted = base.clone().with_adapters(&lora);
    let model = adapted.map_err(|ConfigError(problem)| file.wrong(problem, cure(base_name.as_deref())))?;
    let path = folder.join(WEIGHTS);
    if !path.exists() && folder.join("adapter_model.bin").exists() {
        let cure = "Save it again with peft: save_pretrained(folder)";
        return Err(wrong(
            &folder.join("adapter_model.bin"),
            format!("its numbers are not in {WEIGHTS}"),
            cure,
        ));
    }
    let io = |source| CheckpointError::Io { doing: "read", path: path.clone(), source };
    let bytes = FileBytes::open(&path).map_err(io)?;
    let tensors = Tensors::parse(&bytes).map_err(|problem| wrong(&path, problem, TAKE_A_COPY))?;
    let params =
        read(&tensors, &model).map_err(|problem| wrong(&path, problem, cure(base_name.as_deref())))?;
    Ok(Adapter { model, params, base_name })
}

/// The numbers of the adapters, in order. There must be no others.
fn read(tensors: &Tensors<'_>, model: &Decoder) -> Result<Vec<f32>, String> {
    let expected: Vec<String> = adapters(model).map(|spec| format!("{PREFIX}{}", spec.name)).collect();
    let there: HashSet<&str> = tensors.names().into_iter().collect();
    let missing: Vec<&str> =
        expected.iter().map(String::as_str).filter(|name| !there.contains(name)).collect();
    let known: HashSet<&str> = expected.iter().map(String::as_str).collect();
    let mut unknown: Vec<&str> = there.difference(&known).copied().collect();
    unknown.sort_unstable();
    match (some_of(&missing), some_of(&unknown)) {
        (None, None) => {}
        (Some(missing), None) => return Err(format!("it lacks {missing}")),
        (None, Some(unknown)) => return Err(format!("it holds {unknown}, which the base has no place for")),
        (Some(missing), Some(unknown)) => {
            return Err(format!("it lacks {missing}, and holds {unknown} instead"));
        }
    }
    let mut params = Vec::new();
    for (spec, name) in adapters(model).zip(&expected) {
        tensors.read(name, &[spec.rows, spec.cols], &mut params)?;
    }
    Ok(params)
}

/// The parameters of all adapters of a model, in order.
fn adapters(model: &Decoder) -> impl Iterator<Item = &ParamSpec> {
    let specs = model.layout().specs().iter();
    specs.filter(|spec| spec.offset >= model.base_len())
}

/// Some names, and how many more there are; nothing if there are none.
fn some_of(names: &[&str]) -> Option<String> {
    const SHOWN: usize = 3;
    let shown = names.iter().take(SHOWN).copied().collect::<Vec<_>>().join(", ");
    match names.len() {
        0 => None,
        count if count > SHOWN => Some(format!("{shown} and {} more", count - SHOWN)),
        _ => Some(shown),
    }
}

/// What helps with an adapter that does not fit the base.
fn cure(base_name: Option<&str>) -> String {
    let base = base_name.map_or(String::new(), |name| {
        format!(", which the folder calls {}", shortened(&format!("{name:?}")))
    });
    format!("Take the base that it was trained on{base}, or a copy of the adapter that is whole")
}

/// That a model has no adapters, where a format has no place for them.
pub(super) fn refuse(class: &'static str, model: &Decoder) -> Result<(), FolderError> {
    let Some(lora) = model.adapters() else { return Ok(()) };
    let needed = "none: merge them first (Decoder::merge), or write them by themselves (checkpoint::adapter)"
        .to_owned();
    Err(FolderError::Unfit { class, field: "adapters", found: format!("LoRA of rank {}", lora.rank), needed })
}
