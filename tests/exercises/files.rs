//! Chapter 16, what is in a model file: its worked examples and the answers to its exercises.

use std::fs;

use gradus::checkpoint::{EndTokens, GenerationDefaults, LanguageModel, StoredAs, gguf, llama};
use gradus::gemm::{Dtype, StoredMatrix};
use gradus::model::{Decoder, DecoderConfig, Model};
use gradus::params::ParamKind;
use gradus::random::Random;
use gradus::scalar::Arena;
use gradus::tensor::{Rotation, Tensor};
use gradus::tokenizer::{BpeTrainer, Tokenizer};
use safetensors::SafeTensors;
use serde_json::Value;

use crate::says;
use crate::tables::rounded;
use crate::translation::thousands;

fn preset() -> Decoder {
    Decoder::new(DecoderConfig::llama(32_000)).expect("it fits")
}

/// A tiny model with its tokenizer.
fn tiny() -> LanguageModel {
    let special_tokens = ["<s>", "</s>", "<pad>"].map(str::to_owned).to_vec();
    let trainer = BpeTrainer { vocab_size: 280, special_tokens, ..BpeTrainer::default() };
    let tokenizer = trainer.train(&["one stone, two stones, no tone"]).expect("a vocabulary");
    let sizes = DecoderConfig {
        n_layer: 2,
        n_embd: 32,
        n_head: 4,
        n_kv_head: 2,
        n_ffn: 64,
        context: 32,
        ..DecoderConfig::llama(1)
    };
    let config = DecoderConfig { vocab_size: tokenizer.vocab_size(), ..sizes };
    let model = Decoder::new(config).expect("it fits");
    let params = model.layout().initial(&mut Random::new(1));
    let tokens =
        EndTokens { bos: Some(0), add_bos: true, eos: vec![1], pad: Some(2), ..EndTokens::default() };
    let tokenizer = Ok(tokenizer.spec());
    LanguageModel {
        model,
        params,
        tokenizer,
        tokens,
        chat_template: None,
        defaults: GenerationDefaults::default(),
    }
}

#[test]
fn chapter_16_the_smallest_file() {
    let header = r#"{"w":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}}"#;
    says(16, &format!("```json {header} ```"));
    let numbers = [1.0_f32, 2.0, 3.0, 4.0];
    let data: Vec<u8> = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
    let file = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &data].concat();
    let read = SafeTensors::deserialize(&file).expect("a file of safetensors");
    assert_eq!(read.tensor("w").expect("a tensor").data(), data);
    says(
        16,
        &format!(
            "the number {}, these {} bytes and 16 more: {} in all",
            header.len(),
            header.len(),
            file.len()
        ),
    );
}

#[test]
fn chapter_16_keys_of_a_folder() {
    let folder = tempfile::tempdir().expect("a folder");
    llama::export(folder.path(), &tiny(), StoredAs::F32).expect("a Llama");
    let config: Value =
        serde_json::from_slice(&fs::read(folder.path().join("config.json")).expect("a file")).expect("JSON");
    for key in [
        "hidden_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "intermediate_size",
        "max_position_embeddings",
        "rope_theta",
        "rms_norm_eps",
        "tie_word_embeddings",
    ] {
        says(16, &format!("| `{key}` |"));
        assert!(config.get(key).is_some(), "{key}: {config}");
    }
    let tokenizer: Value =
        serde_json::from_slice(&fs::read(folder.path().join("tokenizer.json")).expect("a file"))
            .expect("JSON");
    for key in ["added_tokens", "pre_tokenizer", "decoder", "model"] {
        says(16, &format!("`{key}`"));
        assert!(!tokenizer[key].is_null(), "{key}");
    }
    let weights = fs::read(folder.path().join("model.safetensors")).expect("a file");
    let names = SafeTensors::deserialize(&weights).expect("a file of safetensors");
    let mut pairs = Vec::new();
    let path = folder.path().join("one.gguf");
    gguf::export(&path, &tiny(), gguf::TensorType::F32).expect("a Llama");
    let bytes = fs::read(&path).expect("a file");
    let file = gguf::GgufFile::parse(&bytes).expect("a GGUF");
    for (ours, theirs) in [
        ("model.embed_tokens.weight", "token_embd.weight"),
        ("model.layers.0.input_layernorm.weight", "blk.0.attn_norm.weight"),
        ("model.layers.0.self_attn.q_proj.weight", "blk.0.attn_q.weight"),
        ("model.layers.0.self_attn.o_proj.weight", "blk.0.attn_output.weight"),
        ("model.layers.0.mlp.gate_proj.weight", "blk.0.ffn_gate.weight"),
        ("model.norm.weight", "output_norm.weight"),
    ] {
        says(16, &format!("| `{ours}` | `{theirs}` |"));
        names.tensor(ours).expect("the name in a folder");
        pairs.push(theirs);
    }
    for name in pairs {
        assert!(file.tensors.iter().any(|tensor| tensor.name == name), "{name}");
    }
    for key in ["general.architecture", "llama.rope.freq_base", "tokenizer.ggml.pre"] {
        says(16, &format!("`{key}`"));
        assert!(file.get(key).is_some(), "{key}");
    }
}

/// Bytes of the preset in a file, without the header.
fn bytes(matrix: impl Fn(usize) -> usize) -> usize {
    let bytes = |spec: &gradus::params::ParamSpec| match spec.kind {
        ParamKind::Matrix | ParamKind::Embedding => matrix(spec.range().len()),
        _ => 4 * spec.range().len(),
    };
    preset().layout().specs().iter().map(bytes).sum()
}

fn megabytes(bytes: usize) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

#[test]
fn chapter_16_sizes() {
    let rows = [
        ("f32", "4", bytes(|n| 4 * n)),
        ("f16, bf16", "2", bytes(|n| 2 * n)),
        ("q8_0", "1.0625", bytes(|n| n / 32 * 34)),
    ];
    for (name, each, all) in rows {
        says(16, &format!("| {name} | {each} | {} |", megabytes(all)));
    }
    says(16, &format!("{} parameters", thousands(preset().layout().len())));
}

#[test]
fn chapter_16_a_block() {
    let mut block = [0.0_f32; 32];
    block[..4].copy_from_slice(&[1.0, -0.5, 0.25, 0.1]);
    let stored = StoredMatrix::new(Dtype::Int8, &block, 1, 32);
    let mut read = [0.0; 32];
    stored.read_row(0, &mut read);
    let scale = f64::from(read[0]) / 127.0;
    let integers: Vec<String> =
        read[..4].iter().map(|&x| (f64::from(x) / scale).round().to_string()).collect();
    says(16, &format!("become {} and {}", integers[..3].join(", "), integers[3]));
    let back: Vec<f64> = read[..4].iter().copied().map(f64::from).collect();
    says(16, &format!("read again they are {}", rounded(&back, 4)));
    let furthest = block.iter().zip(&read).map(|(a, b)| f64::from((a - b).abs())).fold(0.0, f64::max);
    assert!(furthest <= 1.0 / 254.0 + 1e-3, "{furthest}");
}

/// One head of four columns at position 1, as this library rotates it: halves.
fn halves(x: [f64; 4], position: usize) -> Vec<f64> {
    let rotation = Rotation::plain(10_000.0);
    Arena::new().graph().matrix(1, 4, &x).rope(&[position], 1, rotation).read_row(0, <[f64]>::to_vec)
}

/// The same with neighbours as pairs.
fn neighbours(x: [f64; 4], position: usize) -> Vec<f64> {
    let angle = |pair: usize| position as f64 * 10_000_f64.powf(-(pair as f64) / 2.0);
    let rotate = |pair: usize| {
        let (sin, cos) = angle(pair).sin_cos();
        let [a, b] = [x[2 * pair], x[2 * pair + 1]];
        [a * cos - b * sin, a * sin + b * cos]
    };
    [rotate(0), rotate(1)].concat()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[test]
fn chapter_16_two_layouts() {
    let x = [1.0, 2.0, 3.0, 4.0];
    says(16, &format!("halves: ({})", rounded(&halves(x, 1), 3)));
    says(16, &format!("neighbours: ({})", rounded(&neighbours(x, 1), 3)));
    let permuted = neighbours([1.0, 3.0, 2.0, 4.0], 1);
    says(16, &format!("neighbours, permuted: ({})", rounded(&permuted, 3)));
    let back = [permuted[0], permuted[2], permuted[1], permuted[3]];
    assert!(halves(x, 1).iter().zip(back).all(|(a, b)| (a - b).abs() < 1e-12));
}

#[test]
fn exercise_16_1() {
    let tensors = 2 + 9 * 8;
    assert_eq!(preset().layout().specs().len(), tensors);
    says(16, &format!("{tensors}: the table, the last norm, and nine in each of the eight blocks."));
}

#[test]
fn exercise_16_2() {
    let order: Vec<String> = (0..4).flat_map(|i| [i, i + 4]).map(|row: usize| row.to_string()).collect();
    says(16, &format!("Rows {} of the folder, in this order.", order.join(", ")));
}

#[test]
fn exercise_16_3() {
    let (q, k) = ([1.0, 0.0, 2.0, -1.0], [0.5, 1.0, -1.0, 2.0]);
    let permuted = |x: [f64; 4]| [x[0], x[2], x[1], x[3]];
    let score = dot(&halves(q, 5), &halves(k, 3));
    let same = dot(&neighbours(permuted(q), 5), &neighbours(permuted(k), 3));
    let wrong = dot(&neighbours(q, 5), &neighbours(k, 3));
    assert!((score - same).abs() < 1e-12);
    says(16, &format!("{score:.3} both times. Without the permutation it would be {wrong:.3}"));
    let first = dot(&halves(q, 0), &halves(k, 0));
    assert!((first - dot(&neighbours(q, 0), &neighbours(k, 0))).abs() < 1e-12);
}
