//! RoPE in `config.json`.
//!
//! Version 5 of `transformers` has an object `rope_parameters` with all of it. Version 4 had `rope_theta`, and beside it
//! `rope_scaling` where rotations are scaled. Both are read, and both are written.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::checkpoint::hugging_face::{FolderError, JsonFile, TAKE_A_COPY};
use crate::model::Position;
use crate::tensor::RopeScaling;

/// What the classes have where nothing is said.
const BASE: f64 = 10_000.0;

/// The positions of a configuration whose longest text is `context` tokens long.
pub(super) fn read(file: &JsonFile, context: usize) -> Result<Position, FolderError> {
    file.expect("partial_rotary_factor", 1.0, Some(1.0))?;
    let outer: Option<f64> = file.get_or("rope_theta", None)?;
    let mut found = None;
    for key in ["rope_parameters", "rope_scaling"] {
        let Some(value) = file.value.get(key).filter(|value| !value.is_null()) else { continue };
        let read = Rope { file, key, value }.read(outer, context)?;
        match found {
            Some(other) if other != read => {
                let problem = "rope_parameters and rope_scaling say different things";
                return Err(file.wrong(problem, TAKE_A_COPY));
            }
            _ => found = Some(read),
        }
    }
    Ok(found.unwrap_or(Position::rope(outer.unwrap_or(BASE))))
}

/// One of the two objects.
struct Rope<'a> {
    file: &'a JsonFile,
    key: &'static str,
    value: &'a Value,
}

impl Rope<'_> {
    fn read(&self, outer: Option<f64>, context: usize) -> Result<Position, FolderError> {
        let Rope { file, key, value } = *self;
        if !value.is_object() {
            return Err(file.wrong(format!("{key} is {value}, not an object"), TAKE_A_COPY));
        }
        if let Some(layers) =
            ["full_attention", "sliding_attention"].into_iter().find(|it| value.get(it).is_some())
        {
            let problem = format!("{key} has other values for layers of {layers}");
            return Err(file.variant(key, &problem, &"the same positions in all layers"));
        }
        let own: Option<f64> = self.get("rope_theta")?;
        if let (Some(own), Some(outer)) = (own, outer)
            && own != outer
        {
            let problem = format!("rope_theta is {outer}, but {key} has a rope_theta of {own}");
            return Err(file.wrong(problem, TAKE_A_COPY));
        }
        let base = own.or(outer).unwrap_or(BASE);
        match self.get::<f64>("partial_rotary_factor")? {
            None | Some(1.0) => {}
            Some(factor) => return Err(file.variant(&format!("{key}.partial_rotary_factor"), &factor, &1)),
        }
        let kind: Option<String> = self.get("rope_type")?.or(self.get("type")?);
        let scaling = match kind.as_deref() {
            None | Some("default") => RopeScaling::None,
            Some("linear") => RopeScaling::Linear { factor: self.need("factor")? },
            Some("llama3") => RopeScaling::Llama3 {
                factor: self.need("factor")?,
                low_freq_factor: self.need("low_freq_factor")?,
                high_freq_factor: self.need("high_freq_factor")?,
                original_context: self.original_context()?.unwrap_or(context),
            },
            Some(other) => {
                let known = "default, linear or llama3";
                return Err(file.variant(&format!("{key}.rope_type"), &other, &known));
            }
        };
        Ok(Position::Rope { base, scaling })
    }

    /// How many tokens the model read before its positions were stretched. Beside the object the number counts more than in it.
    fn original_context(&self) -> Result<Option<usize>, FolderError> {
        let key = "original_max_position_embeddings";
        Ok(self.file.get_or::<Option<usize>>(key, None)?.or(self.get(key)?))
    }

    /// What stands under a key of the object, if anything does.
    fn get<T: for<'de> Deserialize<'de>>(&self, name: &str) -> Result<Option<T>, FolderError> {
        let value = self.value.get(name).unwrap_or(&Value::Null);
        Option::<T>::deserialize(value)
            .map_err(|error| self.file.wrong(format!("{}.{name}: {error}", self.key), TAKE_A_COPY))
    }

    fn need(&self, name: &str) -> Result<f64, FolderError> {
        let missing = || self.file.wrong(format!("{}.{name} is missing", self.key), TAKE_A_COPY);
        self.get(name)?.ok_or_else(missing)
    }
}

/// What is written of a rotation, under each of its keys.
pub(super) fn written(base: f64, scaling: RopeScaling) -> [(&'static str, Value); 3] {
    let mut parameters = match scaling {
        RopeScaling::None => json!({"rope_type": "default"}),
        RopeScaling::Linear { factor } => json!({"rope_type": "linear", "factor": factor}),
        RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context } => json!({
            "rope_type": "llama3",
            "factor": factor,
            "low_freq_factor": low_freq_factor,
            "high_freq_factor": high_freq_factor,
            "original_max_position_embeddings": original_context,
        }),
    };
    let old = if scaling.is_none() { Value::Null } else { parameters.clone() };
    parameters["rope_theta"] = json!(base);
    [("rope_theta", json!(base)), ("rope_scaling", old), ("rope_parameters", parameters)]
}
