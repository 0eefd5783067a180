//! The weights: their names, and in which order the rows of queries and keys stand.

use std::collections::HashMap;

use super::Trouble;
use super::config::{Arch, FACTORS, Keys};
use super::container::TensorView;
use super::types::TensorType;
use super::writer::Outgoing;
use crate::checkpoint::mapped::FileBytes;
use crate::checkpoint::rope_rows::RowOrder;
use crate::fast::StoredParams;
use crate::gemm::Dtype;
use crate::model::{ConfigError, Decoder, DecoderConfig, Model};
use crate::params::{ParamKind, ParamSpec};

/// Parts of a block: ours, and what the format calls them.
const PARTS: [(&str, &str); 11] = [
    ("input_layernorm", "attn_norm"),
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.o_proj", "attn_output"),
    ("self_attn.q_norm", "attn_q_norm"),
    ("self_attn.k_norm", "attn_k_norm"),
    ("post_attention_layernorm", "ffn_norm"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
];

/// The name of a parameter in a file. All parameters of such a model have one.
fn name(ours: &str) -> Option<String> {
    match ours {
        "model.embed_tokens.weight" => return Some("token_embd.weight".to_owned()),
        "model.norm.weight" => return Some("output_norm.weight".to_owned()),
        "lm_head.weight" => return Some("output.weight".to_owned()),
        _ => {}
    }
    let (layer, rest) = ours.strip_prefix("model.layers.")?.split_once('.')?;
    let (part, ending) = rest.rsplit_once('.')?;
    let (_, theirs) = PARTS.iter().find(|(own, _)| *own == part)?;
    Some(format!("blk.{layer}.{theirs}.{ending}"))
}

/// The shape that a parameter has in a file: rows of numbers have one dimension.
fn shape(spec: &ParamSpec) -> Vec<usize> {
    match spec.kind {
        ParamKind::Gain | ParamKind::Bias => vec![spec.cols],
        _ => vec![spec.rows, spec.cols],
    }
}

/// In which order the rows of a parameter are stored, and how many numbers such a row has.
fn order(arch: Arch, config: &DecoderConfig, spec: &ParamSpec) -> (RowOrder, usize) {
    let rotated = [".q_proj.", ".k_proj."].iter().any(|part| spec.name.contains(part));
    match arch {
        Arch::Llama if rotated => {
            // The bias of a row is a row of one number.
            let cols = if spec.kind == ParamKind::Bias { 1 } else { spec.cols };
            (RowOrder::Interleaved { head_dim: config.head_dim() }, cols)
        }
        Arch::Llama | Arch::Qwen2 | Arch::Qwen3 => (RowOrder::Same, spec.cols),
    }
}

/// The tensors of a model, to be written.
pub(super) fn outgoing<'a>(
    arch: Arch,
    model: &Decoder,
    params: &'a [f32],
    factors: Option<&'a [f32]>,
    kind: TensorType,
) -> Vec<Outgoing<'a>> {
    assert_eq!(params.len(), model.layout().len(), "as many weights as the model has");
    let stored = |spec: &ParamSpec| match spec.kind {
        ParamKind::Gain | ParamKind::Bias | ParamKind::Scale => TensorType::F32,
        ParamKind::Matrix | ParamKind::Embedding if kind.holds_rows_of(spec.cols) => kind,
        ParamKind::Matrix | ParamKind::Embedding => TensorType::F16,
    };
    let of_model = model.layout().specs().iter().map(|spec| {
        let (order, row_len) = order(arch, model.config(), spec);
        Outgoing {
            name: name(&spec.name).expect("a parameter of such a model"),
            shape: shape(spec),
            kind: stored(spec),
            numbers: &params[spec.range()],
            order,
            row_len,
        }
    });
    let of_factors = factors.map(|numbers| Outgoing {
        name: FACTORS.to_owned(),
        shape: vec![numbers.len()],
        kind: TensorType::F32,
        numbers,
        order: RowOrder::Same,
        row_len: numbers.len(),
    });
    of_factors.into_iter().chain(of_model).collect()
}

/// The model of a configuration that has been checked, and where its weights are.
pub(super) struct Found<'a> {
    pub model: Decoder,
    arch: Arch,
    /// In the order of the layout.
    tensors: Vec<&'a TensorView<'a>>,
    /// The file in which they are.
    bytes: &'a FileBytes,
}

impl<'a> Found<'a> {
    /// Looks for each tensor of the model, and whether there are others.
    pub fn new(keys: &'a Keys<'_>, config: DecoderConfig, bytes: &'a FileBytes) -> Result<Self, Trouble> {
        let model = Decoder::new(config).map_err(|ConfigError(problem)| problem)?;
        let mut there: HashMap<&str, &TensorView<'_>> =
            keys.tensors().iter().map(|tensor| (tensor.name, tensor)).collect();
        there.remove(FACTORS);
        let mut tensors = Vec::new();
        for spec in model.layout().specs() {
            let name = name(&spec.name).ok_or_else(|| format!("the format has no {}", spec.name))?;
            let tensor =
                there.remove(name.as_str()).ok_or_else(|| format!("the tensor {name} is missing"))?;
            if tensor.shape != shape(spec) {
                let problem = format!("tensor {name} is {:?} instead of {:?}", tensor.shape, shape(spec));
                return Err(problem.into());
            }
            tensors.push(tensor);
        }
        // In the order of the file, so that the message does not depend on a hash.
        if let Some(tensor) = keys.tensors().iter().find(|tensor| there.contains_key(tensor.name)) {
            return Err(Trouble::Variant(format!("tensor {} is no part of such a model", tensor.name)));
        }
        Ok(Found { model, arch: keys.arch, tensors, bytes })
    }

    /// All weights, in the order of the layout. All tensors are there and have their shapes, so the file is large enough to ask for
    /// this much.
    pub fn params(&self) -> Result<Vec<f32>, Trouble> {
        let mut params = Vec::with_capacity(self.model.layout().len());
        for (spec, tensor) in self.model.layout().specs().iter().zip(&self.tensors) {
            self.append(spec, tensor, &mut params)?;
        }
        Ok(params)
    }

    /// The same, stored for generation.
    pub fn stored(&self, dtype: Dtype) -> Result<StoredParams, Trouble> {
        let mut tensors = self.tensors.iter();
        StoredParams::try_from_each(self.model.layout(), dtype, |spec, numbers| {
            tensors.next().map_or(Ok(()), |tensor| self.append(spec, tensor, numbers))
        })
    }

    /// Adds the numbers of a parameter, its rows in our order.
    fn append(&self, spec: &ParamSpec, tensor: &TensorView<'_>, to: &mut Vec<f32>) -> Result<(), Trouble> {
        let start = to.len();
        tensor.read_once(self.bytes, to);
        if let Some(at) = to[start..].iter().position(|x| !x.is_finite()) {
            return Err(format!("tensor {} holds {} at place {at}", tensor.name, to[start + at]).into());
        }
        let (order, cols) = order(self.arch, self.model.config(), spec);
        order.restore(&mut to[start..], cols);
        Ok(())
    }
}
