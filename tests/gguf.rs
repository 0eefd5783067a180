//! GGUF: what is written is read bit for bit, in every architecture and variant; a file that the `gguf` package wrote is read
//! number by number; models without a place are refused by field. What is no such file is in
//! `gguf_hostile.rs`.
//!
//! `golden/gguf/` was written by `golden/gguf.py`, which also opens what is written here with llama.cpp: see there.

use std::fs;
use std::path::Path;

use gradus::checkpoint::gguf::{self, GgufFile, TensorType, Value, modelfile};
use gradus::checkpoint::{EndTokens, FolderError, GenerationDefaults, LanguageModel};
use gradus::engine::Session;
use gradus::fast::{FastEngine, InferenceEngine, StoredParams};
use gradus::gemm::Dtype;
use gradus::model::{
    Activation, AttentionBias, DecoderConfig, Model, NormKind, Placement, Position, TiedEmbeddings,
};
use gradus::params::ParamKind;
use gradus::random::Random;
use gradus::tensor::{Mask, RopeScaling};
use gradus::thread_pool::ThreadPool;
use gradus::tokenizer::{BpeTrainer, CharTokenizer, Normalizer, Pattern, Tokenizer, TokenizerSpec};
use serde_json::{Value as Json, json};

#[path = "common/gguf_models.rs"]
mod gguf_models;

use gguf_models::{config, pieces, random_model};

const LINES: &str = include_str!("../datasets/dialog.txt");
const SPECIAL: [&str; 6] = ["<unk>", "<s>", "</s>", "<pad>", "<user>", "</user>"];
fn bpe(pattern: Pattern, vocab_size: usize) -> TokenizerSpec {
    let special_tokens = SPECIAL.map(str::to_owned).to_vec();
    let trainer =
        BpeTrainer { vocab_size, min_frequency: 2, special_tokens, pattern, ..BpeTrainer::default() };
    let mut spec = trainer.train(&[LINES]).expect("BPE").spec();
    if let TokenizerSpec::Bpe(spec) = &mut spec
        && pattern == Pattern::Qwen2
    {
        spec.normalizer = Normalizer::Nfc;
    }
    spec
}

const TEMPLATE: &str =
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}</{{ m.role }}>{% endfor %}<assistant>";

fn small() -> LanguageModel {
    random_model(config(280), bpe(Pattern::Gpt2, 280))
}

/// All that a file can hold, each in some model.
fn variants() -> Vec<(&'static str, LanguageModel)> {
    let llama3 = RopeScaling::Llama3 {
        factor: 8.0,
        low_freq_factor: 1.5,
        high_freq_factor: 3.0,
        original_context: 16,
    };
    let base = 10_000.0;
    let untied = TiedEmbeddings::None;
    let plain = config(1000);
    let [gpt2, llama, qwen2] =
        [Pattern::Gpt2, Pattern::Llama3, Pattern::Qwen2].map(|pattern| bpe(pattern, 1000));
    let biased = AttentionBias::Qkv;
    let wide = DecoderConfig { head_dim: Some(12), tied_embeddings: untied, ..plain.clone() };
    let mut chat = random_model(DecoderConfig { tied_embeddings: untied, ..plain.clone() }, llama.clone());
    chat.chat_template = Some(TEMPLATE.to_owned());
    chat.tokens =
        EndTokens { bos: Some(1), add_bos: false, eos: vec![2, 5], pad: Some(3), ..EndTokens::default() };
    chat.defaults = GenerationDefaults {
        do_sample: Some(true),
        temperature: Some(0.7),
        top_k: Some(40),
        top_p: Some(0.95),
        repetition_penalty: Some(1.1),
        max_new_tokens: None,
    };
    let model =
        |config: &DecoderConfig, tokenizer: &TokenizerSpec| random_model(config.clone(), tokenizer.clone());
    let with_all = DecoderConfig { attention_bias: AttentionBias::All, ffn_bias: true, ..wide.clone() };
    let linear = Position::Rope { base: 5e5, scaling: RopeScaling::Linear { factor: 2.5 } };
    let scaled = DecoderConfig { position: Position::Rope { base, scaling: llama3 }, ..plain.clone() };
    vec![
        ("llama", model(&plain, &gpt2)),
        ("chat", chat),
        ("biases", model(&with_all, &llama)),
        ("wide-biases", model(&DecoderConfig { attention_bias: biased, ..wide.clone() }, &llama)),
        ("llama3", model(&scaled, &llama)),
        ("linear", model(&DecoderConfig { position: linear, norm_eps: 1e-5, ..plain.clone() }, &gpt2)),
        (
            "qwen2",
            model(
                &DecoderConfig { attention_bias: biased, tied_embeddings: untied, ..plain.clone() },
                &qwen2,
            ),
        ),
        ("qwen3", model(&DecoderConfig { qk_norm: true, ..wide.clone() }, &qwen2)),
        ("padded", model(&config(1010), &gpt2)),
        ("pieces", model(&config(270), &pieces())),
    ]
}

/// What the model says after each token: `[tokens, vocab_size]`.
fn logits(model: &LanguageModel, tokens: &[usize]) -> Vec<f64> {
    let mut engine = FastEngine::new(ThreadPool::new(1));
    let mut session = Session::single(&mut engine, &model.model, &model.params);
    tokens.iter().flat_map(|&token| session.feed(0, &[token]).to_vec()).collect()
}

fn bits(params: &[f32]) -> Vec<u32> {
    params.iter().map(|x| x.to_bits()).collect()
}

fn assert_same(read: &LanguageModel, model: &LanguageModel, name: &str) {
    assert_eq!(read.model.config(), model.model.config(), "{name}");
    assert!(read.tokenizer == model.tokenizer, "{name}: another tokenizer");
    assert_eq!(read.tokens, model.tokens, "{name}");
    assert_eq!(read.chat_template, model.chat_template, "{name}");
    assert_eq!(read.defaults, model.defaults, "{name}");
}

/// With `GGUF=DIR`, the files stay there with what ours makes of them, for `golden/gguf.py`.
#[test]
fn what_was_exported_is_read_bit_for_bit() {
    let kept = std::env::var_os("GGUF");
    let temporary = tempfile::tempdir().expect("a folder");
    let base = kept.as_ref().map_or(temporary.path(), Path::new);
    for (name, model) in variants() {
        let path = base.join(name).join("f32.gguf");
        gguf::export(&path, &model, TensorType::F32).expect("a model of the three");
        let read = gguf::import(&path).expect("what was exported");
        assert_same(&read, &model, name);
        assert_eq!(bits(&read.params), bits(&model.params), "{name}");
        let before = fs::read(&path).expect("a file");
        gguf::export(&path, &read, TensorType::F32).expect("again");
        assert!(fs::read(&path).expect("a file") == before, "{name}: written again it is another file");
        if kept.is_some() {
            keep(&path, &model);
        }
    }
}

/// Reading for generation never holds all weights in 32 bits, and stores the same.
#[test]
fn reading_for_generation_stores_the_same_weights() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.gguf");
    for (name, model) in variants() {
        gguf::export(&path, &model, TensorType::F32).expect(name);
        for dtype in [Dtype::F32, Dtype::Bf16, Dtype::Int8] {
            let [whole, each] = [
                gguf::import(&path).expect(name).stored(dtype),
                gguf::import_stored(&path, dtype).expect(name),
            ];
            let logits = |read: &LanguageModel<StoredParams>| {
                let mut engine = InferenceEngine::new(1);
                Session::single(&mut engine, &read.model, &read.params).feed(0, &[1, 7, 40]).to_vec()
            };
            assert_eq!(logits(&whole), logits(&each), "{name}, {dtype}");
            assert_eq!(each.tokens, model.tokens, "{name}");
        }
    }
    let bytes = fs::read(&path).expect("the file");
    fs::write(&path, &bytes[..bytes.len() / 2]).expect("half of it");
    assert!(gguf::import_stored(&path, Dtype::Int8).is_err());
}

/// Beside a file in f32 those of the other types, and what ours says.
fn keep(path: &Path, model: &LanguageModel) {
    let mut random = Random::new(9);
    let tokenizer = model.tokenizer.as_ref().expect("one").build().expect("one");
    let prompts: Vec<Vec<usize>> = (0..50)
        .map(|_| (0..1 + random.below(12)).map(|_| random.below(model.model.vocab_size())).collect())
        .collect();
    let mut ours = serde_json::Map::new();
    let mut lines: Vec<String> = LINES.lines().take(900).map(str::to_owned).collect();
    lines.extend(
        ["", " ", "   a", "\n\n", "<s>", "</user>x", "é\u{1f980}가나", "it's 12345 THE'LL", "\t"]
            .map(str::to_owned),
    );
    let letters = ["a", "he", " ", "  ", "\n", "1", "'s", "é", "가", "\u{1f980}", "!", "?", "\u{a0}"];
    lines.extend(
        (0..100).map(|_| (0..random.below(30)).map(|_| letters[random.below(letters.len())]).collect()),
    );
    let ids: Vec<Vec<usize>> = lines.iter().map(|line| tokenizer.encode(line).expect("any text")).collect();
    for kind in TensorType::ALL {
        let path = path.with_file_name(format!("{kind}.gguf"));
        gguf::export(&path, model, kind).expect("a model of the three");
        let read = gguf::import(&path).expect("what was exported");
        let last: Vec<Vec<f64>> = prompts
            .iter()
            .map(|prompt| logits(&read, prompt).split_off((prompt.len() - 1) * read.model.vocab_size()))
            .collect();
        ours.insert(kind.to_string(), json!({"logits": last}));
    }
    let all = json!({"prompts": prompts, "ours": Json::Object(ours), "lines": lines, "ids": ids});
    fs::write(path.with_file_name("ours.json"), all.to_string()).expect("it can be written");
}

#[test]
fn smaller_types_are_read_as_the_nearest_numbers() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = random_model(DecoderConfig { n_ffn: 40, ..config(280) }, bpe(Pattern::Gpt2, 280));
    let lengths: Vec<u64> = TensorType::ALL
        .into_iter()
        .map(|kind| {
            let path = folder.path().join(format!("{kind}.gguf"));
            gguf::export(&path, &model, kind).expect("a Llama");
            let read = gguf::import(&path).expect("what was exported");
            assert_same(&read, &model, "small");
            for spec in model.model.layout().specs() {
                let vector = matches!(spec.kind, ParamKind::Gain | ParamKind::Bias);
                for (block, there) in
                    model.params[spec.range()].chunks(32).zip(read.params[spec.range()].chunks(32))
                {
                    let largest = block.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
                    for (x, y) in block.iter().zip(there) {
                        // Half of the last bit, relative or of the largest in the block; a matrix whose rows
                        // are 40 wide is stored as f16.
                        let bound = match kind {
                            TensorType::F32 => 0.0,
                            _ if vector => 0.0,
                            TensorType::Bf16 => x.abs() / 256.0,
                            TensorType::Q8_0 if spec.cols % 32 == 0 => {
                                largest / 127.0 * 0.503 + largest / 2048.0
                            }
                            TensorType::F16 | TensorType::Q8_0 => x.abs() / 2048.0 + 1e-7,
                        };
                        assert!((x - y).abs() <= bound, "{}: {x} became {y} in {kind}", spec.name);
                    }
                }
            }
            // What was rounded once stays as it is.
            let again = folder.path().join("again.gguf");
            gguf::export(&again, &read, kind).expect("a Llama");
            let twice = gguf::import(&again).expect("what was exported");
            if kind != TensorType::Q8_0 {
                assert_eq!(bits(&twice.params), bits(&read.params), "{kind}");
            }
            fs::metadata(&path).expect("a file").len()
        })
        .collect();
    assert!(lengths[0] > lengths[1] && lengths[1] == lengths[2] && lengths[2] > lengths[3], "{lengths:?}");
    let bytes = fs::read(folder.path().join("q8_0.gguf")).expect("a file");
    let file = GgufFile::parse(&bytes).expect("what was exported");
    let kind = |name: &str| file.tensors.iter().find(|tensor| tensor.name == name).map(|tensor| tensor.kind);
    assert_eq!(kind("token_embd.weight"), Some(TensorType::Q8_0));
    assert_eq!(kind("blk.1.ffn_down.weight"), Some(TensorType::F16));
    assert_eq!(kind("blk.0.attn_norm.weight"), Some(TensorType::F32));
    assert_eq!(file.get("general.file_type"), Some(Value::Integer(7)));
}

/// Numbers and keys of a file that another program wrote.
#[test]
fn a_file_of_the_gguf_package_is_read() {
    let model = gguf::import(Path::new("tests/golden/gguf/tiny.gguf")).expect("a file of the gguf package");
    #[derive(serde::Deserialize)]
    struct Golden {
        /// In Hugging Face's order.
        tensors: std::collections::HashMap<String, Vec<f32>>,
        tokens: Vec<usize>,
        logits: Vec<f64>,
    }
    let golden: Golden =
        serde_json::from_str(include_str!("golden/gguf/tiny.json")).expect("tiny.json parses");
    let config = model.model.config();
    assert_eq!((config.n_layer, config.n_embd, config.n_head, config.n_kv_head), (1, 8, 2, 1));
    assert_eq!((config.context, config.n_ffn, config.norm_eps), (32, 32, 1e-5));
    assert_eq!(config.position, Position::rope(20_000.0));
    assert_eq!(config.tied_embeddings, TiedEmbeddings::None);
    assert_eq!(golden.tensors.len(), model.model.layout().specs().len());
    for spec in model.model.layout().specs() {
        assert_eq!(model.params[spec.range()], golden.tensors[&spec.name], "{}", spec.name);
    }
    let tokens = EndTokens { bos: Some(1), add_bos: true, eos: vec![2], ..EndTokens::default() };
    assert_eq!((model.tokens.clone(), model.chat_template.as_deref()), (tokens, Some("{{ messages }}")));
    let tokenizer = model.tokenizer.as_ref().expect("pieces").build().expect("a tokenizer");
    assert_eq!(tokenizer.decode(&tokenizer.encode("ab ba").expect("any text")), "ab ba");
    assert_eq!(tokenizer.encode("ab").expect("any text"), [261]);
    let ours = logits(&model, &golden.tokens);
    let size = golden.logits.iter().fold(0.0_f64, |size, x| size.max(x.abs()));
    for (at, (x, y)) in ours.iter().zip(&golden.logits).enumerate() {
        assert!((x - y).abs() <= 1e-5 * size, "logit {at}: {x} instead of {y}");
    }
    assert_eq!(ours.len(), golden.logits.len());
}

/// The keys that other programs look for, and tensors in their order.
#[test]
fn keys_and_tensors_have_their_names() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("small.gguf");
    gguf::export(&path, &small(), TensorType::F16).expect("a Llama");
    let bytes = fs::read(&path).expect("a file");
    let file = GgufFile::parse(&bytes).expect("what was exported");
    for (key, value) in [
        ("general.architecture", Value::String("llama")),
        ("general.name", Value::String("small")),
        ("general.file_type", Value::Integer(1)),
        ("llama.context_length", Value::Integer(64)),
        ("llama.embedding_length", Value::Integer(32)),
        ("llama.block_count", Value::Integer(2)),
        ("llama.feed_forward_length", Value::Integer(64)),
        ("llama.rope.dimension_count", Value::Integer(8)),
        ("llama.rope.freq_base", Value::Float(10_000.0)),
        ("llama.attention.head_count", Value::Integer(4)),
        ("llama.attention.head_count_kv", Value::Integer(2)),
        ("llama.attention.layer_norm_rms_epsilon", Value::Float(f64::from(1e-6_f32))),
        ("tokenizer.ggml.model", Value::String("gpt2")),
        ("tokenizer.ggml.pre", Value::String("gpt-2")),
        ("tokenizer.ggml.bos_token_id", Value::Integer(1)),
        ("tokenizer.ggml.eos_token_id", Value::Integer(2)),
        ("tokenizer.ggml.add_bos_token", Value::Bool(true)),
    ] {
        assert_eq!(file.get(key), Some(value), "{key}");
    }
    let array = |key: &str| match file.get(key) {
        Some(Value::Array(array)) => array.iter().map(|value| value.to_string()).collect::<Vec<_>>(),
        other => panic!("{key} is {other:?}"),
    };
    assert_eq!(array("tokenizer.ggml.token_type")[..8], ["3", "3", "3", "3", "3", "3", "1", "1"]);
    assert_eq!(array("tokenizer.ggml.tokens")[1], "\"<s>\"");
    assert_eq!(array("tokenizer.ggml.merges").len(), 280 - 256 - 6);
    assert!(array("tokenizer.ggml.merges")[0].contains(' '));
    let names: Vec<&str> = file.tensors.iter().map(|tensor| tensor.name).collect();
    assert!(names.contains(&"token_embd.weight") && names.contains(&"output_norm.weight"), "{names:?}");
    for part in [
        "attn_norm",
        "attn_q",
        "attn_k",
        "attn_v",
        "attn_output",
        "ffn_norm",
        "ffn_gate",
        "ffn_up",
        "ffn_down",
    ] {
        assert!(names.contains(&format!("blk.1.{part}.weight").as_str()), "{part}");
    }
    assert_eq!(names.len(), 2 + 2 * 9, "a tied head has no matrix");
    assert_eq!(
        file.tensors.iter().find(|tensor| tensor.name == "blk.0.attn_k.weight").map(|t| &t.shape[..]),
        Some(&[16, 32][..])
    );
}

/// What is changed for the worse.
type Change<'a, T> = &'a dyn Fn(&mut T);

#[test]
fn models_without_a_place_are_refused_by_field() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("none.gguf");
    let refused = |change: &dyn Fn(&mut DecoderConfig)| {
        let mut config = config(280);
        change(&mut config);
        gguf::export(&path, &random_model(config, bpe(Pattern::Gpt2, 280)), TensorType::F32)
            .expect_err("refused")
    };
    let llama3 =
        RopeScaling::Llama3 { factor: 2.0, low_freq_factor: 1.0, high_freq_factor: 4.0, original_context: 8 };
    let cases: [(&str, Change<'_, DecoderConfig>); 11] = [
        ("norm", &|config| config.norm = NormKind::Layer),
        ("placement", &|config| config.placement = Placement::Post),
        ("activation", &|config| config.activation = Activation::Relu),
        ("norm_gain", &|config| config.norm_gain = false),
        ("final_norm", &|config| config.final_norm = false),
        ("embedding_norm", &|config| config.embedding_norm = true),
        ("mask", &|config| config.mask = Mask::Window(63)),
        ("position", &|config| config.position = Position::Alibi),
        ("attention_bias", &|config| config.attention_bias = AttentionBias::Qvo),
        ("ffn_bias", &|config| (config.qk_norm, config.ffn_bias) = (true, true)),
        ("scaling", &|config| {
            config.qk_norm = true;
            config.position = Position::Rope { base: 1e4, scaling: llama3 };
        }),
    ];
    for (name, change) in cases {
        match refused(change) {
            FolderError::Unfit { field, .. } => assert_eq!(field, name),
            other => panic!("{name}: {other}"),
        }
    }
    let refused = |change: &dyn Fn(&mut LanguageModel)| {
        let mut model = small();
        change(&mut model);
        gguf::export(&path, &model, TensorType::F16).expect_err("refused").to_string()
    };
    let cases: [(&str, Change<'_, LanguageModel>); 8] = [
        ("its tokenizer is", &|model| {
            model.tokenizer = Ok(CharTokenizer::of("ab".chars()).spec());
        }),
        ("its tokenizer is one of 300 tokens", &|model| model.tokenizer = Ok(bpe(Pattern::Gpt2, 300))),
        ("none that can be (no token is the single byte", &|model| {
            let Ok(TokenizerSpec::Bpe(spec)) = &mut model.tokenizer else { panic!("BPE") };
            spec.tokens.truncate(100);
        }),
        ("its tokens is 280 as padding_token_id", &|model| model.tokens.pad = Some(280)),
        ("its eos is no token", &|model| model.tokens.eos.clear()),
        ("its eos is 4 tokens", &|model| model.tokens.eos = vec![1, 2, 3, 4]),
        ("token_embd.weight holds 70000, for which f16 has no place", &|model| model.params[5] = 70_000.0),
        ("blk.0.attn_q.weight holds NaN", &|model| {
            let specs = model.model.layout().specs();
            let spec = specs.iter().find(|spec| spec.name.ends_with("0.self_attn.q_proj.weight"));
            let at = spec.expect("queries").offset;
            model.params[at] = f32::NAN;
        }),
    ];
    for (words, change) in cases {
        let text = refused(change);
        assert!(text.contains(words), "{text:?} does not say {words:?}");
    }
    assert!(!path.exists(), "nothing was written");
    let window = DecoderConfig { mask: Mask::Window(64), ..config(280) };
    gguf::export(&path, &random_model(window, bpe(Pattern::Gpt2, 280)), TensorType::F32)
        .expect("all is within it");
}

#[test]
fn a_modelfile_has_template_and_stop_strings() {
    let mut model = small();
    assert_eq!(
        modelfile("small.gguf", &model),
        "FROM ./small.gguf\nTEMPLATE \"\"\"{{ .Prompt }}\"\"\"\nPARAMETER stop \"</s>\"\n"
    );
    model.chat_template = Some(TEMPLATE.to_owned() + "{# </assistant> #}");
    model.tokens.eos = vec![2, 5];
    model.defaults = GenerationDefaults { do_sample: Some(false), top_k: Some(40), ..model.defaults };
    let written = modelfile("small.gguf", &model);
    let rest = "<{{ .Role }}>{{ .Content }}</{{ .Role }}>{{ end }}<assistant>\"\"\"\nPARAMETER stop \"</s>\"\n\
                PARAMETER stop \"</user>\"\nPARAMETER temperature 0\nPARAMETER top_k 40\n";
    assert!(written.ends_with(rest), "{written}");
    model.chat_template = Some("{{ something }}".to_owned());
    assert!(!modelfile("small.gguf", &model).contains("TEMPLATE"));
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("small.gguf");
    gguf::export_modelfile(&path, &model).expect("it can be written");
    let there = fs::read_to_string(folder.path().join("Modelfile")).expect("a file");
    assert_eq!(there, modelfile("small.gguf", &model));
}
