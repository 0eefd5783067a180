//! GGUF: what is written is read bit for bit, in every architecture and variant; a file that the `gguf` package wrote is read
//! number by number; models without a place are refused by field; files that are cut off, damaged, or lie are errors that name
//! the place, and no reason to ask for more memory than the file accounts for.
//!
//! `golden/gguf/` was written by `golden/gguf.py`, which also opens what is written here with llama.cpp: see there.

use std::fs;
use std::path::Path;

use gradus::checkpoint::gguf::{self, GgufFile, TensorType, Value, modelfile};
use gradus::checkpoint::{EndTokens, FolderError, GenerationDefaults, LanguageModel, OtherTokenizer};
use gradus::engine::Session;
use gradus::fast::FastEngine;
use gradus::model::{
    Activation, AttentionBias, Decoder, DecoderConfig, Model, NormKind, Placement, Position, TiedEmbeddings,
};
use gradus::params::{Init, ParamKind};
use gradus::random::Random;
use gradus::tensor::{Mask, RopeScaling};
use gradus::thread_pool::ThreadPool;
use gradus::tokenizer::{
    BpeTrainer, CharTokenizer, Normalizer, Pattern, Piece, PieceKind, PieceSpec, Tokenizer, TokenizerSpec,
};
use serde_json::{Value as Json, json};

#[path = "common/allocator.rs"]
mod allocator;

const LINES: &str = include_str!("../datasets/dialog.txt");
const SPECIAL: [&str; 6] = ["<unk>", "<s>", "</s>", "<pad>", "<user>", "</user>"];
const TEMPLATE: &str =
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}</{{ m.role }}>{% endfor %}<assistant>";

fn bpe(pattern: Pattern, vocab_size: usize) -> TokenizerSpec {
    let special_tokens = SPECIAL.map(str::to_owned).to_vec();
    let trainer = BpeTrainer { vocab_size, min_frequency: 2, special_tokens, pattern };
    let mut spec = trainer.train(&[LINES]).expect("BPE").spec();
    if let TokenizerSpec::Bpe(spec) = &mut spec
        && pattern == Pattern::Qwen2
    {
        spec.normalizer = Normalizer::Nfc;
    }
    spec
}

/// A small vocabulary of pieces.
fn pieces() -> TokenizerSpec {
    let piece = |text: &str, score: f32, kind| Piece { text: text.to_owned(), score, kind };
    let mut pieces = vec![
        piece("<unk>", 0.0, PieceKind::Unknown),
        piece("<s>", 0.0, PieceKind::Control),
        piece("</s>", 0.0, PieceKind::Control),
    ];
    pieces.extend((0..=255).map(|byte| piece(&format!("<0x{byte:02X}>"), 0.0, PieceKind::Byte)));
    for (at, text) in [" t", "he", " the", "  ", " ", "t", "h", "e"].into_iter().enumerate() {
        pieces.push(piece(text, -0.1 * at as f32, PieceKind::Normal));
    }
    pieces.push(piece("<|it|>", 0.0, PieceKind::UserDefined));
    pieces.push(piece("[free]", 0.0, PieceKind::Unused));
    pieces.push(piece("th", -9.5, PieceKind::Normal));
    TokenizerSpec::Pieces(PieceSpec { pieces, space_prefix: true })
}

fn config(vocab_size: usize) -> DecoderConfig {
    let (context, n_layer, n_embd, n_head, n_kv_head, n_ffn) = (64, 2, 32, 4, 2, 64);
    DecoderConfig { context, n_layer, n_embd, n_head, n_kv_head, n_ffn, ..DecoderConfig::llama(vocab_size) }
}

/// A model whose numbers are all random and large, biases and gains among them.
fn random_model(config: DecoderConfig, tokenizer: TokenizerSpec) -> LanguageModel {
    let model = Decoder::new(config).expect("it fits");
    let mut random = Random::new(8);
    let mut params: Vec<f32> = model.layout().initial(&mut random);
    for spec in model.layout().specs() {
        let start = if let Init::Constant(x) = spec.init { x } else { 0.0 };
        let std = if spec.kind == ParamKind::Embedding { 0.5 } else { 0.2 };
        params[spec.range()].iter_mut().for_each(|w| *w = random.gauss(start, std) as f32);
    }
    LanguageModel {
        model,
        params,
        tokenizer: Ok(tokenizer),
        tokens: EndTokens { bos: Some(1), add_bos: true, eos: vec![2], pad: None },
        chat_template: None,
        defaults: GenerationDefaults::default(),
    }
}

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
    chat.tokens = EndTokens { bos: Some(1), add_bos: false, eos: vec![2, 5], pad: Some(3) };
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
    let tokens = EndTokens { bos: Some(1), add_bos: true, eos: vec![2], pad: None };
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
    let cases: [(&str, &dyn Fn(&mut DecoderConfig)); 11] = [
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
    let cases: [(&str, &dyn Fn(&mut LanguageModel)); 5] = [
        ("its tokenizer is", &|model| {
            model.tokenizer = Ok(CharTokenizer::of("ab".chars()).spec());
        }),
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

/// Reads a file of these bytes. Errors name the file and what to do, and memory is asked for in proportion to the file.
fn read(folder: &Path, bytes: &[u8]) -> Result<LanguageModel, String> {
    let path = folder.join("read.gguf");
    fs::remove_file(&path).ok();
    fs::write(&path, bytes).expect("the file can be written");
    let (result, _, largest) = allocator::count_allocations(|| gguf::import(&path));
    assert!(largest <= (1 << 17) + 16 * bytes.len(), "{largest} bytes for a file of {}", bytes.len());
    match result {
        Ok(model) => {
            assert_eq!(model.params.len(), model.model.layout().len());
            assert!(model.params.iter().all(|x| x.is_finite()));
            Ok(model)
        }
        Err(error) => {
            assert!(matches!(error, FolderError::Wrong { .. }), "{error}");
            let text = error.to_string();
            assert!(text.contains(&path.display().to_string()) && text.contains("Take "), "{text}");
            Err(text)
        }
    }
}

/// The smallest file that is read in full.
fn smallest(kind: TensorType) -> Vec<u8> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tiny.gguf");
    let (n_layer, n_embd, n_head, n_ffn) = (1, 4, 2, 3);
    let config = DecoderConfig { n_layer, n_embd, n_head, n_kv_head: 1, n_ffn, ..config(272) };
    gguf::export(&path, &random_model(config, pieces()), kind).expect("a Llama");
    fs::read(path).expect("a file")
}

#[test]
fn every_truncation_is_an_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let bytes = smallest(TensorType::F32);
    read(folder.path(), &bytes).expect("all of it");
    // The file ends with 16 bytes that fill the last tensor up to 32.
    for length in 0..bytes.len() - 16 {
        read(folder.path(), &bytes[..length]).expect_err("cut off");
    }
}

#[test]
fn mutations_are_errors_or_harmless() {
    let folder = tempfile::tempdir().expect("a folder");
    let kinds = TensorType::ALL.map(smallest);
    let golden = fs::read("tests/golden/gguf/tiny.gguf").expect("a file");
    let files: Vec<&[u8]> = kinds.iter().map(Vec::as_slice).chain([&golden[..]]).collect();
    let mut random = Random::new(22);
    let (mut errors, count) = (0, 6000);
    for _ in 0..count {
        let mut bytes = files[random.below(files.len())].to_vec();
        for _ in 0..1 + random.below(3) {
            let at = random.below(bytes.len());
            match random.below(4) {
                0 => bytes[at] ^= 1 << random.below(8),
                1 => bytes[at] = random.below(256) as u8,
                2 => bytes[at] = [0x00, 0x01, 0x7f, 0x80, 0xff][random.below(5)],
                _ => {
                    // A length or an offset that is far off.
                    let end = (at + 8).min(bytes.len());
                    bytes[at..end].fill(0xff);
                }
            }
        }
        errors += usize::from(read(folder.path(), &bytes).is_err());
    }
    assert!((count / 4..count).contains(&errors), "{errors} errors");
}

/// A file by hand: keys as bytes, then tensors as (name, shape, type, offset), then numbers.
#[derive(Clone, Default)]
struct Lie {
    keys: Vec<Vec<u8>>,
    tensors: Vec<(&'static str, Vec<u64>, u32, u64)>,
    numbers: usize,
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

fn key(name: &str, kind: u32, value: &[u8]) -> Vec<u8> {
    [&text(name)[..], &kind.to_le_bytes(), value].concat()
}

impl Lie {
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = b"GGUF\x03\0\0\0".to_vec();
        bytes.extend((self.tensors.len() as u64).to_le_bytes());
        bytes.extend((self.keys.len() as u64).to_le_bytes());
        bytes.extend(self.keys.concat());
        for (name, shape, kind, offset) in &self.tensors {
            bytes.extend(text(name));
            bytes.extend((shape.len() as u32).to_le_bytes());
            bytes.extend(shape.iter().flat_map(|size| size.to_le_bytes()));
            bytes.extend(kind.to_le_bytes());
            bytes.extend(offset.to_le_bytes());
        }
        bytes.resize(bytes.len().next_multiple_of(32) + self.numbers, 0);
        bytes
    }

    fn error(&self) -> String {
        GgufFile::parse(&self.bytes()).expect_err("a lie")
    }
}

#[test]
fn headers_that_lie_are_errors() {
    let good =
        Lie { tensors: vec![("a", vec![4, 2], 0, 0), ("b", vec![8], 1, 32)], numbers: 64, keys: Vec::new() };
    let bytes = good.bytes();
    let file = GgufFile::parse(&bytes).expect("no lie yet");
    assert_eq!((file.tensors[0].shape.as_slice(), file.tensors[1].len()), (&[2, 4][..], 8));
    let with = |tensor: (&'static str, Vec<u64>, u32, u64)| Lie {
        tensors: vec![good.tensors[0].clone(), tensor],
        ..good.clone()
    };
    let keyed = |keys: &[Vec<u8>]| Lie { keys: keys.to_vec(), ..good.clone() };
    let header = |at: usize, value: &[u8]| {
        let mut bytes = bytes.clone();
        bytes[at..][..value.len()].copy_from_slice(value);
        GgufFile::parse(&bytes).expect_err("a lie")
    };
    let huge = u64::MAX.to_le_bytes();
    let array = |kind: u32, count: u64, values: &[u8]| {
        [&kind.to_le_bytes()[..], &count.to_le_bytes(), values].concat()
    };
    for (error, words) in [
        (header(0, b"GGML"), "it does not begin with GGUF"),
        (header(4, &[2, 0]), "it is of version 2, where gradus reads 3"),
        (header(4, &[0, 0, 0, 3]), "it is big-endian"),
        (header(8, &huge), "it claims 18446744073709551615 tensors"),
        (header(16, &huge), "it claims 18446744073709551615 keys"),
        (header(24, &huge), "the name of tensor 0 has 18446744073709551615 bytes"),
        (with(("b", vec![], 0, 32)).error(), "tensor b has 0 dimensions"),
        (with(("b", vec![1; 5], 0, 32)).error(), "tensor b has 5 dimensions"),
        (with(("b", vec![4, 0], 0, 32)).error(), "tensor b has a dimension of 0"),
        (with(("b", vec![1 << 40, 1 << 40], 0, 32)).error(), "which no file holds"),
        (with(("b", vec![8], 0, u64::MAX - 3)).error(), "which no file holds"),
        (with(("b", vec![8], 12, 32)).error(), "tensor b is of type q4_K"),
        (with(("b", vec![8], 77, 32)).error(), "tensor b is of type 77, which there is not"),
        (with(("b", vec![8], 8, 32)).error(), "rows of 8 numbers, which are no whole blocks of q8_0"),
        (with(("b", vec![8], 0, 31)).error(), "the tensors a and b overlap"),
        (with(("b", vec![4], 0, 33)).error(), "tensor b begins at 33, which is no multiple of 32"),
        (with(("b", vec![9], 0, 32)).error(), "tensor b has 36 bytes from byte"),
        (with(("a", vec![8], 0, 32)).error(), "the tensor a stands there twice"),
        (keyed(&[key("k", 4, &[0; 4]), key("k", 4, &[0; 4])]).error(), "the key k stands there twice"),
        (keyed(&[key("k", 13, &[0; 4])]).error(), "13 is no type of a value"),
        (keyed(&[key("k", 7, &[2])]).error(), "2 is neither true nor false"),
        (keyed(&[key("k", 8, &huge)]).error(), "key k: at byte"),
        (keyed(&[key("k", 8, &[1, 0, 0, 0, 0, 0, 0, 0, 0xff])]).error(), "is not UTF-8"),
        (keyed(&[key("k", 9, &array(0, u64::MAX, &[]))]).error(), "it claims 18446744073709551615 elements"),
        (keyed(&[key("k", 9, &array(8, 30, &[]))]).error(), "key k: at byte"),
        (keyed(&[key("k", 9, &array(9, 1, &array(0, 0, &[])))]).error(), "an array of arrays"),
        (keyed(&[key("general.alignment", 4, &[0; 4])]).error(), "general.alignment is 0"),
        (keyed(&[key("general.alignment", 4, &[24, 0, 0, 0])]).error(), "general.alignment is 24"),
    ] {
        assert!(error.contains(words), "{error:?} does not say {words:?}");
    }
    // Every type of value.
    let all = keyed(&[
        key("u8", 0, &[200]),
        key("i8", 1, &[200]),
        key("u16", 2, &[1, 2]),
        key("i16", 3, &[0xff, 0xff]),
        key("u32", 4, &[0xff; 4]),
        key("i32", 5, &[0xff; 4]),
        key("f32", 6, &1.5_f32.to_le_bytes()),
        key("bool", 7, &[1]),
        key("string", 8, &text("é")),
        key("array", 9, &array(8, 2, &[text("a"), text("")].concat())),
        key("u64", 10, &[0xff; 8]),
        key("i64", 11, &[0xff; 8]),
        key("f64", 12, &0.1_f64.to_le_bytes()),
    ]);
    let bytes = all.bytes();
    let file = GgufFile::parse(&bytes).expect("no lie");
    let shown: Vec<String> = file.metadata.iter().map(|(key, value)| format!("{key} {value}")).collect();
    let expected = [
        "u8 200",
        "i8 -56",
        "u16 513",
        "i16 -1",
        "u32 4294967295",
        "i32 -1",
        "f32 1.5",
        "bool true",
        "string \"é\"",
        "array 2 values: \"a\" \"\"",
        "u64 18446744073709551615",
        "i64 -1",
        "f64 0.1",
    ];
    assert_eq!(shown, expected);
    // With a larger alignment everything stands further apart.
    let wide = keyed(&[key("general.alignment", 4, &[64, 0, 0, 0])]);
    assert!(wide.error().contains("tensor b begins at 32, which is no multiple of 64"));
}

/// Values that another file would have.
#[test]
fn keys_that_lie_are_errors() {
    let folder = tempfile::tempdir().expect("a folder");
    let bytes = smallest(TensorType::F32);
    // The bytes of a key and of the type after it, and what the value after them becomes.
    let lie = |name: &str, value: &[u8]| {
        let mut bytes = bytes.clone();
        let at = bytes.windows(name.len()).position(|window| window == name.as_bytes()).expect(name);
        bytes[at + name.len() + 4..][..value.len()].copy_from_slice(value);
        read(folder.path(), &bytes).expect_err("a lie")
    };
    let integer = |x: u32| x.to_le_bytes().to_vec();
    for (name, value, words) in [
        ("general.architecture", text("gemma"), "general.architecture is \"gemma\""),
        ("general.type", text("lorax"), "general.type is \"lorax\""),
        (
            "llama.embedding_length",
            integer(8),
            "token_embd.weight is [272, 4], but the embedding_length is 8",
        ),
        ("llama.block_count", integer(u32::MAX), "block_count is 4294967295, but there are only 11 tensors"),
        ("llama.block_count", integer(0), "n_layer is 0"),
        ("llama.attention.head_count", integer(0), "head_count or head_count_kv is 0"),
        ("llama.attention.head_count", integer(4), "blk.0.attn_q.weight is [4, 4] instead of [8, 4]"),
        ("llama.attention.key_length", integer(4), "llama.attention.value_length is 2, but heads are 4 wide"),
        ("llama.feed_forward_length", integer(u32::MAX), "more parameters than"),
        ("llama.rope.freq_base", f32::NAN.to_le_bytes().to_vec(), "llama.rope.freq_base is NaN"),
        ("llama.rope.freq_base", 0.5_f32.to_le_bytes().to_vec(), "the base of the rotary positions is 0.5"),
        ("llama.attention.layer_norm_rms_epsilon", (-1.0_f32).to_le_bytes().to_vec(), "norm_eps is -1"),
    ] {
        let error = lie(name, &value);
        assert!(error.contains(words), "{error:?} does not say {words:?}");
    }
    // A name that is as long, so that the key or the tensor is another one.
    let renamed = |name: &str, other: &str| {
        let mut bytes = bytes.clone();
        let at = bytes.windows(name.len()).position(|window| window == name.as_bytes()).expect(name);
        bytes[at..][..other.len()].copy_from_slice(other.as_bytes());
        read(folder.path(), &bytes)
    };
    for (name, other, words) in [
        ("blk.0.ffn_up.weight", "blk.0.ffn_ap.weight", "the tensor blk.0.ffn_up.weight is missing"),
        ("output_norm.weight", "output_nerm.weight", "the tensor output_norm.weight is missing"),
        ("llama.context_length", "llama.cuntext_length", "llama.context_length is missing"),
        ("tokenizer.ggml.scores", "tokenizer.ggml.scares", "tokenizer.ggml.scores is missing"),
    ] {
        let error = renamed(name, other).expect_err("it is missing");
        assert!(error.contains(words), "{error:?} does not say {words:?}");
    }
    let other = renamed("tokenizer.ggml.model", "tokenizer.ggml.nodel").expect("a model without a tokenizer");
    assert!(matches!(other.tokenizer, Err(OtherTokenizer { .. })), "{:?}", other.tokenizer.is_ok());
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
