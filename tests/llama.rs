//! Decoders as folders of Hugging Face's Llama, Mistral, Qwen 2 and Qwen 3: folders that `transformers` wrote have its logits and
//! its tokens, what is written is read bit for bit, models that are none are refused by field, and damaged folders are errors
//! that say what to do. `mutations.rs` damages them at random.
//!
//! `golden/llama` was written by `golden/llama.py`, which also opens what is written here: see there.

use std::fs;
use std::path::Path;

use gradus::checkpoint::llama::{export, import, import_stored};
use gradus::checkpoint::{
    Checkpoint, EndTokens, FolderError, GenerationDefaults, LanguageModel, OtherTokenizer, StoredAs,
};
use gradus::engine::{Engine, Room, Session};
use gradus::fast::{FastEngine, InferenceEngine, StoredParams};
use gradus::gemm::Dtype;
use gradus::model::{
    Activation, AttentionBias, Decoder, DecoderConfig, EmbeddingScale, Model, NormKind, Placement, Position,
    TiedEmbeddings,
};
use gradus::params::{Init, ParamKind};
use gradus::random::Random;
use gradus::real::Real;
use gradus::scalar::ScalarEngine;
use gradus::tensor::{Mask, RopeScaling, Rotation};
use gradus::thread_pool::ThreadPool;
use gradus::tokenizer::{BpeSpec, BpeTrainer, Normalizer, Pattern, Tokenizer, TokenizerSpec};
use serde::Deserialize;
use serde_json::{Value, json};
use tempfile::TempDir;

#[path = "common/allocator.rs"]
mod allocator;

const NAMES: [&str; 5] = ["llama", "llama3", "mistral", "qwen2", "qwen3"];
const LLAMA3: RopeScaling =
    RopeScaling::Llama3 { factor: 8.0, low_freq_factor: 1.0, high_freq_factor: 4.0, original_context: 8 };

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

/// The folders that transformers wrote.
fn golden_folder(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/llama").join(name)
}

/// A copy of one, to be damaged.
fn golden_copy(name: &str) -> TempDir {
    let copy = folder();
    for entry in fs::read_dir(golden_folder(name)).expect("it is there") {
        let entry = entry.expect("a file");
        fs::copy(entry.path(), copy.path().join(entry.file_name())).expect("copied");
    }
    copy
}

#[derive(Deserialize)]
struct Golden {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    prompts: Vec<Vec<usize>>,
    /// After the last token of each prompt.
    logits: Vec<Vec<f64>>,
    frequencies: Vec<f64>,
    #[serde(default)]
    lines: Vec<(String, Vec<usize>)>,
}

fn golden() -> Vec<Case> {
    let text = fs::read_to_string(golden_folder("golden.json")).expect("a file");
    let golden: Golden = serde_json::from_str(&text).expect("JSON");
    assert_eq!(golden.cases.iter().map(|case| case.name.as_str()).collect::<Vec<_>>(), NAMES);
    golden.cases
}

fn fast() -> FastEngine {
    FastEngine::new(ThreadPool::new(1))
}

/// What a model says after the last token of a prompt.
fn logits<E: Engine>(mut engine: E, read: &LanguageModel, prompt: &[usize]) -> Vec<f64> {
    let params: Vec<E::Real> = read.params.iter().map(|w| E::Real::from_f64(w.to_f64())).collect();
    let room = Room { sequences: 1, tokens: read.model.context(), source_tokens: 0 };
    let mut session = Session::new(&mut engine, &read.model, &params, room);
    session.feed(0, prompt).to_vec()
}

/// How far two rows of logits are apart, as a share of the largest.
fn apart(ours: &[f64], theirs: &[f64]) -> f64 {
    assert_eq!(ours.len(), theirs.len());
    let largest = theirs.iter().fold(0.0_f64, |most, x| most.max(x.abs()));
    ours.iter().zip(theirs).fold(0.0_f64, |most, (a, b)| most.max((a - b).abs())) / largest
}

#[test]
fn golden_folders_have_the_logits_of_transformers() {
    for case in golden() {
        let read = import(&golden_folder(&case.name)).expect("transformers wrote it");
        for (prompt, theirs) in case.prompts.iter().zip(&case.logits) {
            for ours in [logits(fast(), &read, prompt), logits(ScalarEngine::new(), &read, prompt)] {
                let apart = apart(&ours, theirs);
                assert!(apart < 1e-5, "{}, {} tokens: {apart:e}", case.name, prompt.len());
            }
        }
        let Position::Rope { base, scaling } = read.model.config().position else { panic!("RoPE") };
        let half = case.frequencies.len();
        for (pair, theirs) in case.frequencies.iter().enumerate() {
            let ours = Rotation { base, scaling }.frequency(pair, half);
            assert!((ours - theirs).abs() <= 1e-6 * theirs, "{}: {ours} {theirs}", case.name);
        }
    }
}

/// Reading for generation stores the same, and never holds all weights in 32 bits: in one file or several, in 16 bits or 32, tied
/// or not, with biases and with normalised queries and keys.
#[test]
fn reading_for_generation_stores_the_same_weights() {
    for name in NAMES {
        let path = golden_folder(name);
        for dtype in [Dtype::F32, Dtype::Bf16, Dtype::Int8] {
            let whole = import(&path).expect(name).stored(dtype);
            let each = import_stored(&path, dtype).expect(name);
            let logits = |read: &LanguageModel<StoredParams>| {
                let mut engine = InferenceEngine::new(1);
                Session::single(&mut engine, &read.model, &read.params).feed(0, &[1, 7, 4]).to_vec()
            };
            assert_eq!(logits(&whole), logits(&each), "{name}, {dtype}");
            assert_eq!(each.model.config(), whole.model.config(), "{name}");
            assert_eq!((each.tokens, each.chat_template), (whole.tokens, whole.chat_template), "{name}");
        }
    }
    // A table that is large beside the rest: it is the only one that is ever there in 32 bits.
    let folder = folder();
    let config = DecoderConfig { n_layer: 6, n_embd: 64, n_ffn: 96, ..small() };
    let model = random_model(config);
    export(folder.path(), &model, StoredAs::F32).expect("a Llama");
    let (stored, _, largest) = allocator::count_allocations(|| import_stored(folder.path(), Dtype::Int8));
    let specs = model.model.layout().specs();
    let most = specs.iter().map(|spec| 4 * spec.range().len()).max().expect("parameters");
    assert!(largest <= most.max(1 << 15), "{largest} bytes at once, the largest has {most}");
    assert!(largest < 4 * model.params.len(), "{largest}");
    // It is read through a map of its own.
    assert!(most >= 1 << 16 && import(folder.path()).expect("a Llama").params == model.params);
    assert_eq!(stored.expect("a Llama").params.dtype(), Dtype::Int8);
}

#[test]
fn golden_folders_have_the_tokens_of_transformers() {
    let mut lines = 0;
    for case in golden() {
        let read = import(&golden_folder(&case.name)).expect("transformers wrote it");
        let Ok(spec) = &read.tokenizer else {
            let other = read.tokenizer.expect_err("none").to_string();
            assert!(case.lines.is_empty() && other.contains("there is no tokenizer.json"), "{other}");
            continue;
        };
        let tokenizer = spec.build().expect("checked");
        for (line, theirs) in &case.lines {
            let mut ours = tokenizer.encode(line).expect("any text");
            if read.tokens.add_bos {
                ours.insert(0, read.tokens.bos.expect("it is added"));
            }
            assert_eq!(ours, *theirs, "{}: {line:?}", case.name);
            lines += 1;
        }
    }
    assert_eq!(lines, 12);
}

#[test]
fn golden_folders_are_understood() {
    let [llama, llama3, mistral, qwen2, qwen3] =
        NAMES.map(|name| import(&golden_folder(name)).expect("transformers wrote it"));
    let config = |read: &LanguageModel| read.model.config().clone();
    let (linear, untied) = (RopeScaling::Linear { factor: 2.5 }, TiedEmbeddings::None);
    let sizes = DecoderConfig {
        context: 32,
        n_layer: 2,
        n_embd: 16,
        n_head: 4,
        n_kv_head: 2,
        n_ffn: 24,
        tied_embeddings: untied,
        ..DecoderConfig::llama(64)
    };
    let rope = |base, scaling| Position::Rope { base, scaling };
    assert_eq!(config(&llama), DecoderConfig { position: rope(1000.0, linear), ..sizes.clone() });
    let biased = DecoderConfig { attention_bias: AttentionBias::All, ffn_bias: true, ..sizes.clone() };
    let tied = TiedEmbeddings::Output;
    assert_eq!(
        config(&llama3),
        DecoderConfig { vocab_size: 300, position: rope(100.0, LLAMA3), tied_embeddings: tied, ..biased }
    );
    let window = DecoderConfig { mask: Mask::Window(5), head_dim: Some(6), ..sizes.clone() };
    assert_eq!(config(&mistral), window);
    let qkv = DecoderConfig { attention_bias: AttentionBias::Qkv, tied_embeddings: tied, ..sizes.clone() };
    assert_eq!(config(&qwen2), DecoderConfig { vocab_size: 304, ..qkv });
    let position = Position::rope(1e6);
    assert_eq!(config(&qwen3), DecoderConfig { position, qk_norm: true, head_dim: Some(8), ..sizes });
    // (It names no token that fills up, and so a template has none.)
    let names = Some(
        [("bos_token", "<s>"), ("eos_token", "</s>")].map(|(a, b)| (a.to_owned(), b.to_owned())).to_vec(),
    );
    let tokens = EndTokens { bos: Some(1), add_bos: true, eos: vec![2], pad: Some(3), names };
    assert_eq!(llama3.tokens, tokens);
    assert_eq!(
        qwen2.tokens,
        EndTokens { bos: Some(0), add_bos: false, eos: vec![1, 0], ..EndTokens::default() }
    );
    for read in [&llama3, &qwen2] {
        let template = read.chat_template.as_ref().expect("a template");
        assert!(template.starts_with("{{ bos_token }}{% for m in messages %}"), "{template}");
    }
    let pattern = |read: &LanguageModel| match &read.tokenizer {
        Ok(TokenizerSpec::Bpe(spec)) => (spec.pattern, spec.normalizer, spec.added.len(), spec.special.len()),
        other => panic!("{other:?}"),
    };
    assert_eq!(pattern(&llama3), (Pattern::Llama3, Normalizer::None, 0, 4));
    assert_eq!(pattern(&qwen2), (Pattern::Qwen2, Normalizer::Nfc, 2, 2));
}

/// Two special tokens, all bytes, twelve merges and an added token.
const VOCAB_SIZE: usize = 2 + 256 + 12 + 1;
const TEXTS: [&str; 6] = [
    "The cat sleeps.",
    "  two  blanks\n",
    "L'été, c'est déjà fini\u{202f}!",
    "12345 'LL it's 가나",
    "",
    "so <think>it</think> is <thin",
];

fn bpe(pattern: Pattern, normalizer: Normalizer) -> BpeSpec {
    let special_tokens = ["<s>", "</s>"].map(str::to_owned).to_vec();
    let trainer = BpeTrainer {
        vocab_size: VOCAB_SIZE - 1,
        min_frequency: 2,
        special_tokens,
        pattern,
        ..BpeTrainer::default()
    };
    let tokenizer = trainer
        .train(&["the cat and the dog, the cats and the dogs; it's 1234 and 123, c'est l'été"])
        .expect("BPE");
    let TokenizerSpec::Bpe(mut spec) = tokenizer.spec() else { panic!("it is BPE") };
    spec.added = vec![spec.tokens.len()];
    spec.tokens.push("<think>".to_owned());
    BpeSpec { normalizer, ..spec }
}

/// A small Llama.
fn small() -> DecoderConfig {
    DecoderConfig {
        context: 80,
        n_layer: 2,
        n_embd: 16,
        n_head: 4,
        n_kv_head: 2,
        n_ffn: 24,
        ..DecoderConfig::llama(VOCAB_SIZE + 3)
    }
}

/// A model whose numbers are all random and large, biases and gains among them.
fn random_model(config: DecoderConfig) -> LanguageModel {
    let model = Decoder::new(config).expect("it fits");
    let mut random = Random::new(15);
    let mut params: Vec<f32> = model.layout().initial(&mut random);
    for spec in model.layout().specs() {
        let start = if let Init::Constant(x) = spec.init { x } else { 0.0 };
        let std = if spec.kind == ParamKind::Embedding { 0.5 } else { 0.4 };
        params[spec.range()].iter_mut().for_each(|w| *w = random.gauss(start, std) as f32);
    }
    LanguageModel {
        model,
        params,
        tokenizer: Ok(TokenizerSpec::Bpe(bpe(Pattern::Llama3, Normalizer::None))),
        tokens: EndTokens { bos: Some(0), add_bos: true, eos: vec![1], ..EndTokens::default() },
        chat_template: None,
        defaults: GenerationDefaults::default(),
    }
}

/// A model of each class, and of each variant of one.
fn exportable() -> Vec<(&'static str, LanguageModel)> {
    let scaled = |base, scaling| Position::Rope { base, scaling };
    let untied = TiedEmbeddings::None;
    let qkv = DecoderConfig { attention_bias: AttentionBias::Qkv, ..small() };
    let qk_norm = DecoderConfig { qk_norm: true, ..small() };
    let (biases, window) = (AttentionBias::All, Mask::Window(6));
    let configs = [
        ("LlamaForCausalLM", small()),
        ("LlamaForCausalLM", DecoderConfig { tied_embeddings: untied, norm_eps: 3e-5, ..small() }),
        (
            "LlamaForCausalLM",
            DecoderConfig { attention_bias: biases, ffn_bias: true, n_kv_head: 4, ..small() },
        ),
        ("LlamaForCausalLM", DecoderConfig { position: scaled(500.0, LLAMA3), head_dim: Some(6), ..small() }),
        (
            "LlamaForCausalLM",
            DecoderConfig { position: scaled(1e4, RopeScaling::Linear { factor: 4.0 }), ..small() },
        ),
        ("MistralForCausalLM", DecoderConfig { mask: window, tied_embeddings: untied, ..small() }),
        ("Qwen2ForCausalLM", qkv.clone()),
        ("Qwen2ForCausalLM", DecoderConfig { mask: window, init_std: 0.1, ..qkv }),
        (
            "Qwen3ForCausalLM",
            DecoderConfig { head_dim: Some(10), n_head: 3, n_kv_head: 1, ..qk_norm.clone() },
        ),
        ("Qwen3ForCausalLM", DecoderConfig { mask: window, attention_bias: biases, ..qk_norm }),
    ];
    let mut models = configs.map(|(class, config)| (class, random_model(config)));
    models[1].1.tokens =
        EndTokens { bos: None, add_bos: false, eos: vec![1, 0], pad: Some(0), ..EndTokens::default() };
    models[1].1.defaults = GenerationDefaults {
        do_sample: Some(true),
        temperature: Some(0.7),
        top_k: Some(20),
        top_p: Some(0.8),
        repetition_penalty: Some(1.05),
        max_new_tokens: Some(100),
    };
    models[1].1.chat_template = Some("{% for m in messages %}{{ m.content }}\n{% endfor %}".to_owned());
    models[3].1.tokens = EndTokens::default();
    // (Of a Qwen 2, transformers 5 reads the vocabulary and the merges alone: its pieces are always Qwen's.)
    let tokenizers = [
        (5, Pattern::Gpt2, Normalizer::None),
        (6, Pattern::Qwen2, Normalizer::Nfc),
        (7, Pattern::Qwen2, Normalizer::Nfc),
        (8, Pattern::Qwen2, Normalizer::None),
    ];
    for (at, pattern, normalizer) in tokenizers {
        models[at].1.tokenizer = Ok(TokenizerSpec::Bpe(bpe(pattern, normalizer)));
    }
    models.into()
}

/// The tokens that a template calls by name are those of `tokenizer_config.json`, whatever ends a text.
#[test]
fn templates_have_the_names_of_their_folder() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = exportable().swap_remove(1).1;
    export(folder.path(), &model, StoredAs::F32).expect("a Llama");
    let names = |change: &dyn Fn(&mut Value)| {
        let path = folder.path().join("tokenizer_config.json");
        let before = fs::read(&path).expect("a file");
        let mut json = serde_json::from_slice(&before).expect("it is JSON");
        change(&mut json);
        fs::write(&path, json.to_string()).expect("written");
        let read = import(folder.path()).expect("what was exported");
        fs::write(&path, before).expect("put back");
        let names = read.tokens.named(read.tokenizer.as_ref().expect("a tokenizer"));
        (read.tokens.eos, names.into_iter().map(|(name, text)| format!("{name} {text}")).collect::<Vec<_>>())
    };
    let spec = model.tokenizer.as_ref().expect("one");
    let [zero, one, other] = [0, 1, 268].map(|id| spec.token_text(id).expect("a token"));
    let (eos, as_written) = names(&|_| {});
    assert_eq!(
        (eos, as_written),
        (vec![1, 0], vec![format!("eos_token {one}"), format!("pad_token {zero}")])
    );
    // Another one of those that end a text comes first, since GGUF has a place for one.
    assert_eq!(names(&|json| json["eos_token"] = json!(zero)).0, [0, 1]);
    let (eos, changed) = names(&|json| {
        json["bos_token"] = Value::Null;
        json["eos_token"] = json!({"content": other});
        json["pad_token"].take();
        json["extra_special_tokens"] = json!({"image_token": zero});
    });
    assert_eq!(
        (eos, changed),
        (vec![1, 0], vec![format!("eos_token {other}"), format!("image_token {zero}")])
    );
    // They stay theirs in a folder that is written again.
    let mut kept = import(folder.path()).expect("what was exported");
    kept.tokens.names =
        Some(vec![("eos_token".to_owned(), other.to_owned()), ("image_token".to_owned(), zero.to_owned())]);
    let again = tempfile::tempdir().expect("a folder");
    export(again.path(), &kept, StoredAs::F32).expect("a Llama");
    assert_same(&import(again.path()).expect("what was exported"), &kept);
}

/// `tokenizers` gives a token that `vocab` has not the next free number, whatever stands beside its text.
#[test]
fn all_tokens_are_in_the_vocabulary_of_tokenizer_json() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut model = exportable().swap_remove(1).1;
    let Ok(TokenizerSpec::Bpe(spec)) = &mut model.tokenizer else { panic!("another tokenizer") };
    // One that was added, and special ones behind it.
    let place = spec.tokens.len();
    spec.tokens.extend(["<note>".to_owned(), "<end>".to_owned()]);
    spec.added.push(place);
    spec.special.push(place + 1);
    let count = place + 2;
    assert!(count <= model.model.vocab_size());
    export(folder.path(), &model, StoredAs::F32).expect("a Llama");
    let json: Value =
        serde_json::from_slice(&fs::read(folder.path().join("tokenizer.json")).expect("a file"))
            .expect("JSON");
    let vocab = json["model"]["vocab"].as_object().expect("an object");
    let mut ids: Vec<u64> = vocab.values().filter_map(Value::as_u64).collect();
    ids.sort_unstable();
    assert_eq!(ids, (0..count as u64).collect::<Vec<_>>());
    assert_eq!(vocab["<note>"], json!(place));
    assert_same(&import(folder.path()).expect("what was exported"), &model);
}

/// What would be read in another way than by `transformers` is refused.
#[test]
fn folders_that_say_more_than_is_read_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = exportable().swap_remove(5).1;
    export(folder.path(), &model, StoredAs::F32).expect("a Mistral");
    let said = |file: &str, change: &dyn Fn(&mut Value)| {
        let path = folder.path().join(file);
        let before = fs::read(&path).ok();
        let mut json =
            before.as_ref().map_or(Value::Null, |bytes| serde_json::from_slice(bytes).expect("JSON"));
        change(&mut json);
        fs::write(&path, json.to_string()).expect("written");
        let read = import(folder.path());
        match before {
            Some(before) => fs::write(&path, before).expect("put back"),
            None => fs::remove_file(&path).expect("taken away"),
        }
        match read {
            Ok(read) => read.tokenizer.map_or_else(|other| other.to_string(), |_| String::new()),
            Err(error) => error.to_string(),
        }
    };
    let name = model.tokenizer.as_ref().expect("one").token_text(0).expect("a token").to_owned();
    let special = |flag: &'static str| move |json: &mut Value| json["added_tokens"][0][flag] = json!(true);
    type Change<'a> = &'a dyn Fn(&mut Value);
    let cases: [(&str, Change, &str); 10] = [
        (
            "config.json",
            &|json| json["layer_types"] = json!(["full_attention", "sliding_attention"]),
            "layer_types is full_attention, sliding_attention",
        ),
        (
            "config.json",
            &|json| json["layer_types"] = json!(["sliding_attention"]),
            "layer_types has 1 entries",
        ),
        ("tokenizer.json", &special("lstrip"), "is added with lstrip"),
        ("tokenizer.json", &special("rstrip"), "is added with rstrip"),
        ("tokenizer.json", &special("single_word"), "is added with single_word"),
        (
            "tokenizer.json",
            &|json| {
                json["post_processor"] = json!({"type": "BertProcessing", "sep": ["b", 1], "cls": ["a", 0]})
            },
            "post_processor is",
        ),
        (
            "tokenizer.json",
            &|json| {
                let first = json["post_processor"]["single"][0].clone();
                json["post_processor"]["single"].as_array_mut().expect("a list").insert(0, first);
            },
            "one token or none",
        ),
        (
            "tokenizer_config.json",
            &|json| json["added_tokens_decoder"] = json!({"1": {"content": "<new>"}}),
            "tokenizer_config.json adds \"<new>\" as token 1",
        ),
        (
            "added_tokens.json",
            &|json| *json = json!({"<new>": 1}),
            "added_tokens.json adds \"<new>\" as token 1",
        ),
        ("added_tokens.json", &|json| *json = json!({&name: 0}), ""),
    ];
    for (file, change, words) in cases {
        let text = said(file, change);
        assert!(
            text.contains(words) && text.is_empty() == words.is_empty(),
            "{file}: {text:?} does not say {words:?}"
        );
    }
    // Two lists of the kind that changes nothing.
    assert_eq!(
        said("tokenizer.json", &|json| {
            let frame = json["post_processor"].take();
            json["post_processor"] = json!({"type": "Sequence", "processors": [{"type": "ByteLevel", "trim_offsets": false}, frame]});
        }),
        ""
    );
}

/// What is equal in two models.
fn assert_same(a: &LanguageModel, b: &LanguageModel) {
    assert_eq!(a.model.config(), b.model.config());
    assert_eq!(a.tokenizer, b.tokenizer);
    assert_eq!((&a.tokens, &a.chat_template, a.defaults), (&b.tokens, &b.chat_template, b.defaults));
    let bits = |model: &LanguageModel| model.params.iter().map(|w| w.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(a), bits(b));
}

/// With `LLAMA=DIR`, the folders stay there, with what ours says of them, for `golden/llama.py`.
#[test]
fn what_was_exported_is_read_bit_for_bit() {
    let kept = std::env::var_os("LLAMA");
    let temporary = folder();
    let base = kept.as_ref().map_or(temporary.path(), Path::new);
    for (at, (class, mut model)) in exportable().into_iter().enumerate() {
        for (w, odd) in model.params.iter_mut().zip([-0.0, 1e-45, f32::MIN_POSITIVE, 1.0 / 3.0]) {
            *w = odd;
        }
        let folder = base.join(at.to_string());
        export(&folder, &model, StoredAs::F32).expect(class);
        let config: Value =
            serde_json::from_slice(&fs::read(folder.join("config.json")).expect("a file")).expect("JSON");
        assert_eq!(config["architectures"], json!([class]));
        let read = import(&folder).expect(class);
        assert_same(&read, &model);
        if kept.is_some() {
            fs::write(folder.join("ours.json"), ours(&model).to_string()).expect("written");
        }
    }
}

/// Prompts with logits, greedy continuations, and texts with their tokens.
fn ours(model: &LanguageModel) -> Value {
    let mut random = Random::new(4);
    let spec = model.tokenizer.as_ref().expect("BPE");
    let tokenizer = spec.build().expect("checked");
    let mut prompts =
        || -> Vec<usize> { (0..1 + random.below(16)).map(|_| random.below(VOCAB_SIZE)).collect() };
    let prompts: Vec<Vec<usize>> = (0..50).map(|_| prompts()).collect();
    let rows: Vec<_> = prompts.iter().map(|prompt| (prompt, logits(fast(), model, prompt))).collect();
    let greedy = |prompt: &Vec<usize>| {
        let (mut engine, mut tokens) = (fast(), Vec::new());
        let room = Room { sequences: 1, tokens: model.model.context(), source_tokens: 0 };
        let mut session = Session::new(&mut engine, &model.model, &model.params, room);
        let mut row = session.feed(0, prompt).to_vec();
        for _ in 0..64 {
            let best = (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b])).expect("a token");
            tokens.push(best);
            row = session.feed(0, &[best]).to_vec();
        }
        tokens
    };
    let lines = TEXTS.map(|text| {
        let mut tokens = tokenizer.encode(text).expect("any text");
        if model.tokens.add_bos {
            tokens.insert(0, model.tokens.bos.expect("it is added"));
        }
        (text, tokens)
    });
    let decoded: Vec<_> = lines.iter().map(|(_, tokens)| (tokens, tokenizer.decode(tokens))).collect();
    json!({
        "logits": rows,
        "greedy": prompts[..10].iter().map(|prompt| (prompt, greedy(prompt))).collect::<Vec<_>>(),
        "lines": lines,
        "decoded": decoded,
    })
}

#[test]
fn halves_are_rounded_once() {
    let folder = folder();
    let model = random_model(small());
    for (stored_as, dtype, error) in
        [(StoredAs::F16, "float16", 2_f32.powi(-11)), (StoredAs::Bf16, "bfloat16", 2_f32.powi(-8))]
    {
        export(folder.path(), &model, stored_as).expect("a Llama");
        let config = fs::read_to_string(folder.path().join("config.json")).expect("a file");
        assert_eq!(config.matches(&format!("\"{dtype}\"")).count(), 2, "{config}");
        let read = import(folder.path()).expect("a Llama");
        assert!(read.params != model.params);
        let near = |(a, b): (&f32, &f32)| (a - b).abs() <= error * b.abs() + 2_f32.powi(-25);
        assert!(read.params.iter().zip(&model.params).all(near));
        export(folder.path(), &read, stored_as).expect("a Llama");
        assert_same(&import(folder.path()).expect("a Llama"), &read);
    }
    let mut large = model;
    large.params[7] = 65_520.0;
    let error = export(folder.path(), &large, StoredAs::F16).expect_err("too large").to_string();
    assert!(
        error.contains("embed_tokens") && error.contains("65520") && error.contains("bfloat16"),
        "{error}"
    );
    export(folder.path(), &large, StoredAs::Bf16).expect("as large as 32 bits");
    large.params[7] = f32::NAN;
    let error = export(folder.path(), &large, StoredAs::Bf16).expect_err("no number").to_string();
    assert!(error.contains("NaN"), "{error}");
}

#[test]
fn what_no_class_has_is_refused_by_field() {
    let folder = folder();
    let inside = folder.path().join("inside");
    let refused = |model: &LanguageModel, words: &[&str]| {
        let error = export(&inside, model, StoredAs::F32).expect_err(&format!("{words:?}"));
        assert!(matches!(error, FolderError::Unfit { .. }), "{error}");
        let text = error.to_string();
        assert!(words.iter().all(|word| text.contains(word)), "{words:?}: {text}");
        assert!(!inside.exists(), "nothing was written");
    };
    let change = |words: &[&str], change: &dyn Fn(&mut DecoderConfig)| {
        let mut config = small();
        change(&mut config);
        refused(&random_model(config), words);
    };
    change(&["activation", "\"geglu\"", "\"swiglu\""], &|c| c.activation = Activation::Geglu);
    change(&["norm", "\"layer\""], &|c| c.norm = NormKind::Layer);
    change(&["placement", "\"post\""], &|c| c.placement = Placement::Post);
    change(&["norm_gain"], &|c| c.norm_gain = false);
    change(&["embedding_norm"], &|c| c.embedding_norm = true);
    change(&["final_norm"], &|c| c.final_norm = false);
    change(&["embedding_scale"], &|c| c.embedding_scale = EmbeddingScale::RootWidth);
    change(&["position", "\"alibi\"", "rope"], &|c| c.position = Position::Alibi);
    change(&["LlamaForCausalLM", "attention_bias", "\"qvo\""], &|c| c.attention_bias = AttentionBias::Qvo);
    change(&["MistralForCausalLM", "attention_bias"], &|c| {
        (c.mask, c.attention_bias) = (Mask::Window(3), AttentionBias::All);
    });
    change(&["Qwen2ForCausalLM", "ffn_bias"], &|c| {
        (c.attention_bias, c.ffn_bias) = (AttentionBias::Qkv, true);
    });
    change(&["Qwen3ForCausalLM", "attention_bias", "\"qkv\""], &|c| {
        (c.qk_norm, c.attention_bias) = (true, AttentionBias::Qkv);
    });
    change(&["n_head", "divisor of n_embd"], &|c| (c.n_head, c.n_kv_head, c.head_dim) = (3, 3, Some(4)));
    let with = |words: &[&str], change: &dyn Fn(&mut LanguageModel)| {
        let mut model = random_model(small());
        change(&mut model);
        refused(&model, words);
    };
    with(&["eos", "271", "which has 271"], &|m| m.tokens.eos = vec![1, 271]);
    with(&["pad", "900"], &|m| m.tokens.pad = Some(900));
    with(&["bos", "false"], &|m| m.tokens.bos = None);
    with(&["tokenizer", "3 characters", "byte-level BPE"], &|m| {
        m.tokenizer = Ok(TokenizerSpec::Characters { characters: "abc".to_owned() });
    });
    let other = import(&golden_folder("llama")).expect("a Llama without a tokenizer");
    refused(&other, &["tokenizer", "there is no tokenizer.json"]);
    let small_vocabulary = DecoderConfig { vocab_size: 100, ..small() };
    refused(&random_model(small_vocabulary), &["tokenizer", "271 tokens", "100 at most"]);
}

#[test]
fn a_checkpoint_of_ours_is_not_replaced() {
    let folder = folder();
    let model = random_model(DecoderConfig { vocab_size: VOCAB_SIZE, ..small() });
    let tokenizer = model.tokenizer.as_ref().expect("BPE").build().expect("checked");
    Checkpoint::of(&model.model, &*tokenizer, &model.params).save(folder.path()).expect("saved");
    let error = export(folder.path(), &model, StoredAs::F32).expect_err("a checkpoint is there").to_string();
    assert!(error.contains("Export into another folder"), "{error}");
    let there = Checkpoint::<f32>::load(folder.path()).expect("as before");
    assert_eq!((there.params, Ok(there.tokenizer)), (model.params, model.tokenizer));
}

/// A template that was there before is not taken for that of another model.
#[test]
fn an_old_template_does_not_stay() {
    let folder = folder();
    let mut model = random_model(small());
    model.chat_template = Some("{{ messages }}".to_owned());
    export(folder.path(), &model, StoredAs::F32).expect("a Llama");
    model.chat_template = None;
    export(folder.path(), &model, StoredAs::F32).expect("a Llama");
    assert_eq!(import(folder.path()).expect("a Llama").chat_template, None);
}

/// Imports a folder that may be damaged. Whatever is in it, what is read must be sound, an error names a file of the folder and
/// says what to do, and no memory is asked for on the strength of a claim.
fn read(folder: &Path) -> Result<LanguageModel, String> {
    let (result, _, largest) = allocator::count_allocations(|| import(folder));
    assert!(largest <= 1 << 18, "{largest} bytes");
    match result {
        Ok(read) => {
            assert_eq!(read.params.len(), read.model.layout().len());
            assert!(read.params.iter().all(|w| w.is_finite()));
            let tokens = &read.tokens;
            let all = tokens.bos.iter().chain(&tokens.eos).chain(&tokens.pad);
            assert!(all.into_iter().all(|&token| token < read.model.vocab_size()));
            if let Ok(spec) = &read.tokenizer {
                let tokenizer = spec.build().expect("a tokenizer that there is");
                assert!(tokenizer.vocab_size() <= read.model.vocab_size());
            }
            Ok(read)
        }
        Err(error) => {
            let text = error.to_string();
            assert!(text.contains(&folder.display().to_string()), "{text} names no file");
            assert!(matches!(error, FolderError::Wrong { .. } | FolderError::File(_)), "{text}");
            Err(text)
        }
    }
}

/// Reads the folder with another value, or none, in a file of JSON, and puts the file back.
fn with_key(folder: &Path, file: &str, key: &str, value: Option<Value>) -> Result<LanguageModel, String> {
    let path = folder.join(file);
    let bytes = fs::read(&path).expect("a file");
    let mut json: Value = serde_json::from_slice(&bytes).expect("JSON");
    let (parents, last) = key.rsplit_once('/').unwrap_or(("", key));
    let pointer = if parents.is_empty() { String::new() } else { format!("/{parents}") };
    let parent = json.pointer_mut(&pointer).and_then(Value::as_object_mut).expect("an object");
    match value {
        Some(value) => parent.insert(last.to_owned(), value),
        None => parent.remove(last),
    };
    fs::write(&path, json.to_string()).expect("written");
    let result = read(folder);
    fs::write(&path, bytes).expect("put back");
    result
}

#[test]
fn odd_configurations_name_the_key() {
    let copies = NAMES.map(golden_copy);
    let [llama, llama3, mistral, qwen2, qwen3] = copies.each_ref().map(TempDir::path);
    let told = |folder: &Path, key: &str, value: Option<Value>, words: &[&str]| {
        let error = with_key(folder, "config.json", key, value).expect_err(key);
        let last = key.rsplit('/').next().expect("a key");
        let named = error.contains("config.json") && error.contains(last);
        assert!(named && words.iter().all(|word| error.contains(word)), "{key}: {error}");
    };
    for key in ["model_type", "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads"] {
        told(llama, key, None, &["is missing"]);
        told(llama, key, Some(json!([])), &["invalid type"]);
    }
    for key in ["vocab_size", "hidden_size", "intermediate_size", "max_position_embeddings"] {
        told(llama, key, Some(json!(0)), &["is 0"]);
    }
    told(llama, "model_type", Some(json!("gemma2")), &["gemma2", "qwen3"]);
    told(llama, "architectures", Some(json!(["LlamaModel"])), &["LlamaModel", "LlamaForCausalLM"]);
    told(llama, "hidden_act", Some(json!("gelu")), &["gelu", "silu"]);
    told(llama, "quantization_config", Some(json!({"bits": 4})), &["quantised"]);
    told(llama, "partial_rotary_factor", Some(json!(0.5)), &["0.5"]);
    told(llama, "rope_theta", Some(json!(5.0)), &["rope_theta is 5", "1000"]);
    told(llama, "rope_parameters", Some(json!(3)), &["not an object"]);
    told(llama, "rope_parameters/factor", None, &["is missing"]);
    told(llama, "rope_parameters/factor", Some(json!("big")), &["invalid type"]);
    told(llama, "rope_parameters/factor", Some(json!(0.5)), &["0.5"]);
    for other in ["yarn", "dynamic", "longrope"] {
        told(llama, "rope_parameters/rope_type", Some(json!(other)), &[other, "llama3"]);
    }
    told(llama, "rope_parameters/partial_rotary_factor", Some(json!(0.5)), &["0.5"]);
    let by_layer = json!({"full_attention": {"rope_theta": 5.0}});
    told(llama, "rope_parameters", Some(by_layer), &["full_attention"]);
    told(llama3, "rope_parameters/low_freq_factor", Some(json!(4.0)), &["low_freq_factor is 4"]);
    let other = json!({"type": "linear", "factor": 2.0});
    told(llama, "rope_scaling", Some(other), &["rope_parameters and rope_scaling"]);
    told(mistral, "sliding_window", Some(json!(0)), &["is 0"]);
    told(qwen2, "layer_types", Some(json!(["full_attention"])), &["1 entries, for 2 layers"]);
    let mixed = json!(["full_attention", "sliding_attention"]);
    told(qwen2, "layer_types", Some(mixed), &["full_attention, sliding_attention"]);
    let sliding = json!(["sliding_attention", "sliding_attention"]);
    told(qwen3, "layer_types", Some(sliding), &["use_sliding_window"]);
    told(
        llama,
        "num_attention_heads",
        Some(json!(3)),
        &["num_key_value_heads is 2", "num_attention_heads, 3"],
    );
    told(llama, "num_key_value_heads", Some(json!(3)), &["is 3", "num_attention_heads, 4"]);
    told(llama, "num_key_value_heads", Some(json!(0)), &["is 0"]);
    // As many layers as one likes, and tables of any size, take no memory.
    for (key, value) in
        [("num_hidden_layers", 9_000_usize), ("vocab_size", 1 << 24), ("hidden_size", 1 << 20)]
    {
        let error = with_key(llama, "config.json", key, Some(json!(value))).expect_err(key);
        assert!(error.contains("safetensors"), "{error}");
    }
    told(llama, "num_key_value_heads", Some(json!(1_u64 << 60)), &[]);
}

#[test]
fn what_may_be_missing_or_otherwise() {
    let copies = NAMES.map(golden_copy);
    let [llama, llama3, mistral, qwen2, _] = copies.each_ref().map(TempDir::path);
    let same = |folder: &Path, key: &str, value: Option<Value>| {
        let (before, after) =
            (read(folder).expect(key), with_key(folder, "config.json", key, value).expect(key));
        assert_same(&before, &after);
    };
    for key in ["architectures", "rms_norm_eps", "hidden_act", "dtype", "attention_bias", "attention_dropout"]
    {
        same(llama, key, None);
    }
    same(llama, "head_dim", Some(Value::Null));
    same(llama, "architectures", Some(Value::Null));
    same(qwen2, "sliding_window", None);
    // As version 4 wrote it.
    let path = llama3.join("config.json");
    let bytes = fs::read(&path).expect("a file");
    let before = read(llama3).expect("as it was");
    let mut json: Value = serde_json::from_slice(&bytes).expect("JSON");
    let mut old = json.as_object_mut().expect("an object").remove("rope_parameters").expect("it is there");
    old.as_object_mut().expect("an object").remove("rope_theta");
    (json["rope_scaling"], json["rope_theta"]) = (old, json!(100));
    fs::write(&path, json.to_string()).expect("written");
    assert_same(&read(llama3).expect("version 4"), &before);
    // Windows: none, one that no text fills, and those of all layers of a Qwen.
    let mask = |folder: &Path, key: &str, value: Value| {
        with_key(folder, "config.json", key, Some(value)).expect(key).model.config().mask
    };
    assert_eq!(mask(mistral, "sliding_window", Value::Null), Mask::Causal);
    assert_eq!(mask(mistral, "sliding_window", json!(32)), Mask::Causal);
    assert_eq!(mask(mistral, "sliding_window", json!(31)), Mask::Window(31));
    assert_eq!(mask(qwen2, "use_sliding_window", json!(true)), Mask::Causal, "layer_types says so");
    // Beside the object, the length of the first texts counts more than in it.
    let long =
        with_key(llama3, "config.json", "original_max_position_embeddings", Some(json!(7))).expect("a Llama");
    let Position::Rope { scaling: RopeScaling::Llama3 { original_context, .. }, .. } =
        long.model.config().position
    else {
        panic!("other positions")
    };
    assert_eq!(original_context, 7);
    // Tokens: a number, a list, none, and those that the model does not have.
    let tokens = |key: &str, value: Value| {
        with_key(llama3, "generation_config.json", key, Some(value)).map(|read| read.tokens)
    };
    assert_eq!(tokens("eos_token_id", json!([2, 5])).expect("a list").eos, [2, 5]);
    assert_eq!(tokens("eos_token_id", json!([2, 128_001])).expect("a list").eos, [2]);
    assert_eq!(tokens("pad_token_id", json!(-1)).expect("none").pad, None);
    assert_eq!(tokens("eos_token_id", Value::Null).expect("none").eos, [2], "config.json says so");
    assert!(tokens("eos_token_id", json!("</s>")).expect_err("a name").contains("eos_token_id"));
    // A template in tokenizer_config.json, alone or among others.
    fs::remove_file(llama3.join("chat_template.jinja")).expect("it was there");
    let template = |value: Value| {
        with_key(llama3, "tokenizer_config.json", "chat_template", Some(value)).map(|read| read.chat_template)
    };
    assert_eq!(template(json!("a")), Ok(Some("a".to_owned())));
    let several = json!([{"name": "tool_use", "template": "b"}, {"name": "default", "template": "c"}]);
    assert_eq!(template(several), Ok(Some("c".to_owned())));
    assert_eq!(template(Value::Null), Ok(None));
    assert!(template(json!([{"name": "b"}])).expect_err("no default").contains("chat_template"));
}

/// A tensor to be written: name, type, shape, bytes.
type Stored = (String, String, Vec<usize>, Vec<u8>);

/// The tensors of a file.
fn stored(path: &Path) -> Vec<Stored> {
    let bytes = fs::read(path).expect("a file");
    let tensors = safetensors::SafeTensors::deserialize(&bytes).expect("a file of tensors");
    let all = tensors.iter().map(|(name, view)| {
        (name.to_owned(), view.dtype().to_string(), view.shape().to_vec(), view.data().to_vec())
    });
    all.collect()
}

fn store(path: &Path, tensors: &[Stored]) {
    let (mut header, mut numbers) = (serde_json::Map::new(), Vec::new());
    for (name, dtype, shape, bytes) in tensors {
        let offsets = [numbers.len(), numbers.len() + bytes.len()];
        header.insert(name.clone(), json!({"dtype": dtype, "shape": shape, "data_offsets": offsets}));
        numbers.extend_from_slice(bytes);
    }
    let header = Value::Object(header).to_string();
    let bytes = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &numbers].concat();
    fs::write(path, bytes).expect("written");
}

#[test]
fn tensors_are_those_of_the_class() {
    let folder = folder();
    let folder = folder.path();
    let path = folder.join("model.safetensors");
    let model = random_model(small());
    export(folder, &model, StoredAs::F32).expect("a Llama");
    let all = stored(&path);
    let with = |tensors: &[Stored]| {
        store(&path, tensors);
        read(folder)
    };
    let told = |tensors: &[Stored], words: &[&str]| {
        let error = with(tensors).expect_err(&format!("{words:?}"));
        let named = error.contains("model.safetensors");
        assert!(named && words.iter().all(|word| error.contains(word)), "{words:?}: {error}");
    };
    assert_same(&with(&all).expect("as they were"), &model);
    for (place, (name, _, shape, _)) in all.iter().enumerate() {
        let mut less = all.clone();
        less.remove(place);
        assert!(with(&less).is_err(), "{name}");
        if less.iter().map(|tensor| tensor.3.len()).sum::<usize>() > 2 * model.params.len() {
            told(&less, &[name, "is missing", "Take a copy"]);
        }
        let mut other = all.clone();
        other[place].2.push(1);
        told(&other, &[name, &format!("instead of {shape:?}")]);
    }
    let more = |name: &str, of: &Stored| {
        [&all[..], &[(name.to_owned(), of.1.clone(), of.2.clone(), of.3.clone())]].concat()
    };
    let table = all.iter().find(|tensor| tensor.0 == "model.embed_tokens.weight").expect("a table");
    told(&more("model.layers.7.mlp.up_proj.weight", table), &["layers.7", "no part of such a model"]);
    let frequencies = ("".to_owned(), "F32".to_owned(), vec![2], vec![0; 8]);
    assert!(with(&more("model.layers.0.self_attn.rotary_emb.inv_freq", &frequencies)).is_ok());
    // The table of a tied head may be there twice, if it is the same.
    assert_same(&with(&more("lm_head.weight", table)).expect("equal"), &model);
    let mut other = table.clone();
    other.3[0] ^= 1;
    told(&more("lm_head.weight", &other), &["lm_head.weight", "tie_word_embeddings"]);
    other.1 = "I32".to_owned();
    told(&more("lm_head.weight", &other), &["lm_head.weight", "I32"]);
    let mut infinite = all.clone();
    infinite[3].3[..4].copy_from_slice(&f32::INFINITY.to_le_bytes());
    told(&infinite, &[&all[3].0, "inf"]);
    fs::rename(&path, folder.join("pytorch_model.bin")).expect("renamed");
    let error = read(folder).expect_err("pickled weights");
    assert!(error.contains("pytorch_model.bin") && error.contains("save_pretrained"), "{error}");
    fs::remove_file(folder.join("pytorch_model.bin")).expect("removed");
    assert!(read(folder).expect_err("no weights").contains("model.safetensors"));
}

#[test]
fn shards_are_those_of_the_index() {
    let copy = golden_copy("llama");
    let folder = copy.path();
    let index = "model.safetensors.index.json";
    let before = read(folder).expect("as it was");
    let json: Value = serde_json::from_slice(&fs::read(folder.join(index)).expect("a file")).expect("JSON");
    let map = json["weight_map"].as_object().expect("an object");
    let told = |value: Value, words: &[&str]| {
        let error = with_key(folder, index, "weight_map", Some(value)).expect_err(&format!("{words:?}"));
        assert!(words.iter().all(|word| error.contains(word)), "{words:?}: {error}");
    };
    told(json!({}), &[index, "is empty"]);
    told(json!([]), &[index, "weight_map"]);
    for name in ["../model.safetensors", "/etc/passwd", "", "..", "a/b"] {
        told(json!({"lm_head.weight": name}), &[index, "no name of a file"]);
    }
    let mut elsewhere = map.clone();
    elsewhere.insert("lm_head.weight".to_owned(), json!("model-9.safetensors"));
    told(Value::Object(elsewhere), &["model-9.safetensors"]);
    // A tensor in two files, and one in none.
    let files = ["model-00001-of-00004.safetensors", "model-00002-of-00004.safetensors"];
    let [first, second] = files.map(|name| stored(&folder.join(name)));
    store(&folder.join(files[1]), &[&second[..], &first[..1]].concat());
    let error = read(folder).expect_err("twice");
    assert!(error.contains(&first[0].0) && error.contains("is there twice"), "{error}");
    store(&folder.join(files[1]), &second[1..]);
    let error = read(folder).expect_err("missing");
    assert!(error.contains(&second[0].0) && error.contains("is missing") && error.contains(index), "{error}");
    store(&folder.join(files[1]), &second);
    assert_same(&read(folder).expect("as it was"), &before);
}

#[test]
fn tokenizers_of_other_kinds_are_named() {
    let (copy, qwen) = (golden_copy("llama3"), golden_copy("qwen2"));
    let file = "tokenizer.json";
    let named = |folder: &TempDir, key: &str, value: Value, words: &[&str]| {
        let read = with_key(folder.path(), file, key, Some(value)).expect("the model is whole");
        let OtherTokenizer { .. } = read.tokenizer.as_ref().expect_err(key);
        let other = read.tokenizer.expect_err(key).to_string();
        assert!(words.iter().all(|word| other.contains(word)), "{words:?}: {other}");
    };
    named(&copy, "model/type", json!("WordPiece"), &["WordPiece"]);
    named(&copy, "normalizer", json!({"type": "Lowercase"}), &["Lowercase", "NFC"]);
    named(&copy, "pre_tokenizer", json!({"type": "Metaspace"}), &["Metaspace"]);
    let added = |id: usize, content: &str, key: &str| {
        let mut token = json!({"id": id, "content": content, "special": false});
        token[key] = json!(true);
        json!([token])
    };
    named(&copy, "added_tokens", added(299, "<a>", "lstrip"), &["<a>", "lstrip"]);
    named(&copy, "added_tokens", added(299, "<a>", "single_word"), &["<a>", "single_word"]);
    named(&copy, "added_tokens", added(4, "!", "x"), &["\"!\"", "single byte"]);
    named(&copy, "added_tokens", added(261, "the", "x"), &["merges make it"]);
    named(&qwen, "added_tokens", added(283, "<a>", "normalized"), &["<a>", "normalised"]);
    let many: Vec<Value> = (287..302).map(|id| json!({"id": id, "content": format!("<{id}>")})).collect();
    named(&copy, "added_tokens", json!(many), &["302 tokens", "vocabulary of 300"]);
}
