//! Decoders as folders of Hugging Face's Llama and its relatives, which `transformers` and most other programs can open.
//!
//! Llama (Touvron et al. 2023) is a [`Decoder`](crate::model::Decoder) with RoPE, RMSNorm before each part, SwiGLU and, from
//! the second version on, fewer heads of keys and values than of queries. Its relatives are the same but for one thing each,
//! and the parameters have the same names:
//!
//! | class | what it adds |
//! |---|---|
//! | `LlamaForCausalLM` | perhaps biases everywhere |
//! | `MistralForCausalLM` | a window, beyond which a token sees nothing |
//! | `Qwen2ForCausalLM` | biases of queries, keys and values; perhaps a window |
//! | `Qwen3ForCausalLM` | normalised queries and keys; perhaps a window, or biases of attention |
//!
//! How a model is trained is no part of the format: dropout, and how fresh weights are drawn but for their standard
//! deviation. A model that is read draws as [`DecoderConfig::llama`](crate::model::DecoderConfig::llama) does.

mod config;
mod export;
mod import;
mod rope;
mod tokens;

pub use export::{check, export, export_tokenizer};
pub use import::{import, import_stored};

use crate::params::{ParamKind, ParamSpec};

/// A class of `transformers`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Llama,
    Mistral,
    Qwen2,
    Qwen3,
}

impl Class {
    const ALL: [Class; 4] = [Class::Llama, Class::Mistral, Class::Qwen2, Class::Qwen3];

    /// What `architectures` calls it.
    fn name(self) -> &'static str {
        match self {
            Class::Llama => "LlamaForCausalLM",
            Class::Mistral => "MistralForCausalLM",
            Class::Qwen2 => "Qwen2ForCausalLM",
            Class::Qwen3 => "Qwen3ForCausalLM",
        }
    }

    /// What `model_type` calls it.
    fn model_type(self) -> &'static str {
        match self {
            Class::Llama => "llama",
            Class::Mistral => "mistral",
            Class::Qwen2 => "qwen2",
            Class::Qwen3 => "qwen3",
        }
    }
}

/// The matrix of the head, where it is not the table of tokens.
const HEAD: &str = "lm_head.weight";

/// The shape that a parameter has in a file: rows of numbers have one dimension.
fn shape(spec: &ParamSpec) -> Vec<usize> {
    match spec.kind {
        ParamKind::Gain | ParamKind::Bias => vec![spec.cols],
        _ => vec![spec.rows, spec.cols],
    }
}
