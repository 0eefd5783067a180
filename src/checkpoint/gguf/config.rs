//! Architecture and sizes: the keys that say which model it is.

use super::Trouble;
use super::container::{GgufFile, TensorView, Value};
use super::writer::MetadataWriter;
use crate::checkpoint::hugging_face::{FolderError, fit};
use crate::model::{
    Activation, AttentionBias, ConfigError, DecoderConfig, EmbeddingScale, NormKind, Placement, Position,
    TiedEmbeddings,
};
use crate::tensor::{Mask, RopeScaling, Rotation};

/// An architecture of llama.cpp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arch {
    Llama,
    Qwen2,
    Qwen3,
}

/// How the class is called in errors.
const CLASS: &str = "GGUF of llama, qwen2 or qwen3";

/// By what the frequencies of `llama3` are divided.
pub(super) const FACTORS: &str = "rope_freqs.weight";

impl Arch {
    const ALL: [Arch; 3] = [Arch::Llama, Arch::Qwen2, Arch::Qwen3];

    /// Its name, with which its keys begin.
    pub fn name(self) -> &'static str {
        match self {
            Arch::Llama => "llama",
            Arch::Qwen2 => "qwen2",
            Arch::Qwen3 => "qwen3",
        }
    }

    /// The architecture of a model of ours.
    pub fn of(config: &DecoderConfig) -> Result<Arch, FolderError> {
        fit(CLASS, "norm", &config.norm, &[NormKind::Rms])?;
        fit(CLASS, "placement", &config.placement, &[Placement::Pre])?;
        fit(CLASS, "activation", &config.activation, &[Activation::Swiglu])?;
        fit(CLASS, "embedding_scale", &config.embedding_scale, &[EmbeddingScale::One])?;
        fit(CLASS, "norm_gain", &config.norm_gain, &[true])?;
        fit(CLASS, "final_norm", &config.final_norm, &[true])?;
        fit(CLASS, "embedding_norm", &config.embedding_norm, &[false])?;
        match config.mask {
            // A window that nothing is outside of.
            Mask::Window(window) if window >= config.context => {}
            mask => fit(CLASS, "mask", &mask, &[Mask::Causal])?,
        }
        let Position::Rope { scaling, .. } = config.position else {
            let needed = "rotary positions".to_owned();
            let found = format!("{:?}", config.position);
            return Err(FolderError::Unfit { class: CLASS, field: "position", found, needed });
        };
        let own_width = config.head_dim() * config.n_head != config.n_embd;
        let arch = match (config.qk_norm, config.attention_bias) {
            (true, _) => Arch::Qwen3,
            (false, AttentionBias::Qkv) if !config.ffn_bias && !own_width => Arch::Qwen2,
            (false, _) => Arch::Llama,
        };
        use AttentionBias::{All, None, Qkv};
        let biases: &[AttentionBias] = match arch {
            Arch::Llama => &[None, Qkv, All],
            Arch::Qwen2 => &[Qkv],
            Arch::Qwen3 => &[None],
        };
        fit(CLASS, "attention_bias", &config.attention_bias, biases)?;
        if arch != Arch::Llama {
            fit(CLASS, "ffn_bias", &config.ffn_bias, &[false])?;
            if let RopeScaling::Llama3 { .. } = scaling {
                fit(CLASS, "scaling", &scaling, &[RopeScaling::None])?;
            }
        }
        Ok(arch)
    }
}

/// Keys and tensors of a file. A key that begins with a dot belongs to the architecture.
pub(super) struct Keys<'a> {
    pub arch: Arch,
    file: &'a GgufFile<'a>,
}

impl<'a> Keys<'a> {
    /// Those of a file with a model.
    pub fn of(file: &'a GgufFile<'a>) -> Result<Self, Trouble> {
        // Until it is known, which makes no difference for the keys that are read here.
        let mut keys = Keys { arch: Arch::Llama, file };
        match keys.string("general.type")? {
            None | Some("model") => {}
            Some(other) => return Err(Trouble::Variant(format!("general.type is {other:?}, not \"model\""))),
        }
        let name =
            keys.string("general.architecture")?.ok_or("general.architecture is missing".to_owned())?;
        let known = Arch::ALL.into_iter().find(|arch| arch.name() == name);
        keys.arch = known.ok_or_else(|| {
            Trouble::Variant(format!(
                "general.architecture is {name:?}, where gradus reads llama, qwen2 and qwen3"
            ))
        })?;
        Ok(keys)
    }

    pub fn tensors(&self) -> &'a [TensorView<'a>] {
        &self.file.tensors
    }

    pub fn tensor(&self, name: &str) -> Option<&'a TensorView<'a>> {
        self.tensors().iter().find(|tensor| tensor.name == name)
    }

    pub fn value(&self, key: &str) -> Option<Value<'a>> {
        self.file.get(&self.full(key))
    }

    fn full(&self, key: &str) -> String {
        if key.starts_with('.') { format!("{}{key}", self.arch.name()) } else { key.to_owned() }
    }

    fn no(&self, key: &str, found: &Value<'_>, what: &str) -> String {
        format!("{} is {found}, {what}", self.full(key))
    }

    pub fn string(&self, key: &str) -> Result<Option<&'a str>, String> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.no(key, &other, "not a text")),
        }
    }

    pub fn bool(&self, key: &str) -> Result<Option<bool>, String> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::Bool(x)) => Ok(Some(x)),
            Some(other) => Err(self.no(key, &other, "neither true nor false")),
        }
    }

    /// A size or a token.
    pub fn size(&self, key: &str) -> Result<Option<usize>, String> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::Integer(x)) if (0..=u32::MAX.into()).contains(&x) => Ok(Some(x as usize)),
            Some(other) => Err(self.no(key, &other, "not an integer from 0 to 2³² - 1")),
        }
    }

    pub fn need(&self, key: &str) -> Result<usize, String> {
        self.size(key)?.ok_or_else(|| format!("{} is missing", self.full(key)))
    }

    /// A number. What was stored in 32 bits is the shortest decimal that gives these bits: 1e-6, not 9.999999974752427e-7.
    pub fn float(&self, key: &str) -> Result<Option<f64>, String> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::Float(x)) if x.is_finite() => {
                let narrow = x as f32;
                let shortest = narrow.to_string().parse().unwrap_or(x);
                Ok(Some(if f64::from(narrow) == x { shortest } else { x }))
            }
            Some(other) => Err(self.no(key, &other, "not a finite number")),
        }
    }

    fn float_or(&self, key: &str, default: f64) -> Result<f64, String> {
        Ok(self.float(key)?.unwrap_or(default))
    }
}

/// The configuration. The sizes are those of tensors that are there.
pub(super) fn read(keys: &Keys<'_>) -> Result<DecoderConfig, Trouble> {
    let variant = |problem: String| Err(Trouble::Variant(problem));
    let n_embd = keys.need(".embedding_length")?;
    let vocab_size = match keys.tensor("token_embd.weight") {
        Some(TensorView { shape, .. }) if shape.len() == 2 && shape[1] == n_embd => shape[0],
        Some(TensorView { shape, .. }) => {
            return Err(
                format!("token_embd.weight is {shape:?}, but the embedding_length is {n_embd}").into()
            );
        }
        None => return Err("the tensor token_embd.weight is missing".to_owned().into()),
    };
    let n_layer = keys.need(".block_count")?;
    // Each block has nine matrices at least. Before a layout of this size is built.
    if n_layer > keys.tensors().len() / 9 {
        return Err(
            format!("block_count is {n_layer}, but there are only {} tensors", keys.tensors().len()).into()
        );
    }
    let n_head = keys.need(".attention.head_count")?;
    let n_kv_head = keys.size(".attention.head_count_kv")?.unwrap_or(n_head);
    if n_head == 0 || n_kv_head == 0 {
        return Err("attention.head_count or head_count_kv is 0".to_owned().into());
    }
    let usual = n_embd / n_head;
    let head_dim = keys.size(".attention.key_length")?.unwrap_or(usual);
    for key in [".attention.value_length", ".rope.dimension_count"] {
        match keys.size(key)? {
            Some(other) if other != head_dim => {
                return variant(format!("{} is {other}, but heads are {head_dim} wide", keys.full(key)));
            }
            _ => {}
        }
    }
    for key in [".expert_count", ".attention.sliding_window"] {
        match keys.size(key)? {
            None | Some(0) => {}
            Some(other) => {
                return variant(format!(
                    "{} is {other}, which gradus has not in such a model",
                    keys.full(key)
                ));
            }
        }
    }
    let is_there = |name: &str| keys.tensor(name).is_some();
    let attention_bias = match (is_there("blk.0.attn_q.bias"), is_there("blk.0.attn_output.bias")) {
        (true, true) => AttentionBias::All,
        (true, false) => AttentionBias::Qkv,
        // What remains of a bias is reported as a tensor that does not belong.
        (false, _) => AttentionBias::None,
    };
    let tied = !is_there("output.weight");
    let eps = ".attention.layer_norm_rms_epsilon";
    let config = DecoderConfig {
        context: keys.need(".context_length")?,
        n_layer,
        n_embd,
        n_head,
        n_kv_head,
        n_ffn: keys.need(".feed_forward_length")?,
        ffn_bias: is_there("blk.0.ffn_down.bias"),
        position: position(keys, head_dim)?,
        head_dim: (head_dim * n_head != n_embd).then_some(head_dim),
        attention_bias,
        norm_eps: keys.float(eps)?.ok_or_else(|| format!("{} is missing", keys.full(eps)))?,
        qk_norm: keys.arch == Arch::Qwen3,
        tied_embeddings: if tied { TiedEmbeddings::Output } else { TiedEmbeddings::None },
        ..DecoderConfig::llama(vocab_size)
    };
    config.check().map_err(|ConfigError(problem)| problem)?;
    Ok(config)
}

/// The base, and how rotations are scaled.
fn position(keys: &Keys<'_>, head_dim: usize) -> Result<Position, Trouble> {
    let base = keys.float_or(".rope.freq_base", 10_000.0)?;
    let scaling = match keys.string(".rope.scaling.type")? {
        None | Some("none") => RopeScaling::None,
        Some("linear") => match keys.float_or(".rope.scaling.factor", 1.0)? {
            1.0 => RopeScaling::None,
            factor => RopeScaling::Linear { factor },
        },
        Some(other) => {
            return Err(Trouble::Variant(format!(
                "{}.rope.scaling.type is {other:?}, where gradus has none, linear and llama3",
                keys.arch.name()
            )));
        }
    };
    let Some(tensor) = keys.tensor(FACTORS) else { return Ok(Position::Rope { base, scaling }) };
    let half = head_dim / 2;
    if tensor.shape != [half] {
        return Err(format!("{FACTORS} is {:?} instead of [{half}]", tensor.shape).into());
    }
    let mut factors = Vec::new();
    tensor.read(&mut factors);
    llama3(keys, base, scaling, &factors)
}

/// A file holds only by what each frequency is divided. Which settings that came from is written beside it by ours; those of Llama
/// 3.1 and 3.2 are tried where it is not.
fn llama3(keys: &Keys<'_>, base: f64, scaling: RopeScaling, factors: &[f32]) -> Result<Position, Trouble> {
    if factors.iter().all(|&factor| factor == 1.0) {
        return Ok(Position::Rope { base, scaling });
    }
    let largest = factors.iter().fold(1.0_f32, |largest, &factor| largest.max(factor));
    let own = |name: &str| format!("gradus.rope.scaling.{name}");
    let original = keys.size(".rope.scaling.original_context_length")?.unwrap_or(8192);
    let scaling_there = scaling;
    let scaling = RopeScaling::Llama3 {
        factor: keys.float_or(&own("factor"), f64::from(largest))?,
        low_freq_factor: keys.float_or(&own("low_freq_factor"), 1.0)?,
        high_freq_factor: keys.float_or(&own("high_freq_factor"), 4.0)?,
        original_context: keys.size(&own("original_context"))?.unwrap_or(original),
    };
    if let Some(problem) = scaling.problem() {
        return Err(format!("gradus.rope.scaling: {problem}").into());
    }
    let expected = divisors(base, scaling, factors.len());
    let equal = |(x, y): (&f32, f32)| (x - y).abs() <= 1e-3 * y;
    if !scaling_there.is_none() || !factors.iter().zip(expected).all(equal) {
        return Err(Trouble::Variant(format!(
            "{FACTORS} holds other factors than Llama 3 has, where gradus knows its way to scale rotations only"
        )));
    }
    Ok(Position::Rope { base, scaling })
}

/// By what the frequency of each pair is divided.
fn divisors(base: f64, scaling: RopeScaling, half: usize) -> impl Iterator<Item = f32> {
    let (plain, scaled) = (Rotation::plain(base), Rotation { base, scaling });
    (0..half).map(move |pair| (plain.frequency(pair, half) / scaled.frequency(pair, half)) as f32)
}

/// The tensor [`FACTORS`] of a model, if it needs one.
pub(super) fn rotation_factors(config: &DecoderConfig) -> Option<Vec<f32>> {
    match config.position {
        Position::Rope { base, scaling: scaling @ RopeScaling::Llama3 { .. } } => {
            Some(divisors(base, scaling, config.head_dim() / 2).collect())
        }
        _ => None,
    }
}

/// Writes what [`read`] reads.
pub(super) fn write(
    metadata: &mut MetadataWriter,
    arch: Arch,
    config: &DecoderConfig,
) -> Result<(), FolderError> {
    let key = |name: &str| format!("{}.{name}", arch.name());
    let sizes = [
        ("vocab_size", config.vocab_size),
        ("context_length", config.context),
        ("embedding_length", config.n_embd),
        ("block_count", config.n_layer),
        ("feed_forward_length", config.n_ffn),
        ("attention.head_count", config.n_head),
        ("attention.head_count_kv", config.n_kv_head),
        ("attention.key_length", config.head_dim()),
        ("attention.value_length", config.head_dim()),
        ("rope.dimension_count", config.head_dim()),
    ];
    for (name, size) in sizes {
        metadata.u32(&key(name), integer(name, size)?);
    }
    metadata.f32(&key("attention.layer_norm_rms_epsilon"), config.norm_eps as f32);
    let Position::Rope { base, scaling } = config.position else {
        unreachable!("the architecture was found by it");
    };
    metadata.f32(&key("rope.freq_base"), base as f32);
    match scaling {
        RopeScaling::None => {}
        RopeScaling::Linear { factor } => {
            metadata.string(&key("rope.scaling.type"), "linear");
            metadata.f32(&key("rope.scaling.factor"), factor as f32);
        }
        RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context } => {
            let own = |name: &str| format!("gradus.rope.scaling.{name}");
            metadata.f32(&own("factor"), factor as f32);
            metadata.f32(&own("low_freq_factor"), low_freq_factor as f32);
            metadata.f32(&own("high_freq_factor"), high_freq_factor as f32);
            metadata.u32(&own("original_context"), integer("original_context", original_context)?);
        }
    }
    Ok(())
}

/// A size as it is written.
pub(super) fn integer(field: &'static str, size: usize) -> Result<u32, FolderError> {
    u32::try_from(size).map_err(|_| FolderError::Unfit {
        class: CLASS,
        field,
        found: size.to_string(),
        needed: "below 2³²".to_owned(),
    })
}

/// The error of something that is not as it would have to be.
pub(super) fn unfit(field: &'static str, found: impl Into<String>, needed: impl Into<String>) -> FolderError {
    FolderError::Unfit { class: CLASS, field, found: found.into(), needed: needed.into() }
}
