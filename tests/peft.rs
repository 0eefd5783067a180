//! Adapters as folders of peft: what it computed itself, there and back bit for bit, what is no plain LoRA, and damage.
//!
//! `golden/lora.py` made the folders in `golden/lora`, and opens what `exported` writes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use gradus::Engine;
use gradus::checkpoint::adapter::{self, Adapter};
use gradus::checkpoint::{
    CheckpointError, EndTokens, FolderError, GenerationDefaults, LanguageModel, StoredAs, gguf, llama,
};
use gradus::data::Batch;
use gradus::engine::Session;
use gradus::model::{Decoder, DecoderConfig, LoraConfig, LoraTarget, Mode, Model};
use gradus::random::Random;
use gradus::scalar::ScalarEngine;
use gradus::tokenizer::{BpeTrainer, Tokenizer};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tempfile::TempDir;

#[path = "common/allocator.rs"]
mod allocator;

/// The largest piece of memory that reading an adapter of a few kilobytes may ask for.
const ENOUGH: usize = 1 << 18;

const FILES: [&str; 2] = [adapter::CONFIG, adapter::WEIGHTS];

/// What peft said.
#[derive(Deserialize)]
struct Golden {
    texts: Vec<Vec<usize>>,
    base: Vec<f64>,
    adapted: Vec<f64>,
    merged: Vec<f64>,
    loss: f64,
    gradients: BTreeMap<String, Vec<f64>>,
}

fn golden_folder(part: &str) -> PathBuf {
    Path::new("tests/golden/lora").join(part)
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

fn wide(params: &[f32]) -> Vec<f64> {
    params.iter().map(|&w| f64::from(w)).collect()
}

/// The logits after every token of every text.
fn logits(model: &Decoder, params: &[f64], texts: &[Vec<usize>]) -> Vec<f64> {
    let mut engine = ScalarEngine::new();
    let mut all = Vec::new();
    for text in texts {
        let mut session = Session::single(&mut engine, model, params);
        text.iter().for_each(|token| all.extend_from_slice(session.feed(0, &[*token])));
    }
    all
}

/// The greatest difference, of the greatest number.
fn gap(ours: &[f64], theirs: &[f64]) -> f64 {
    assert_eq!(ours.len(), theirs.len());
    let greatest = theirs.iter().fold(0.0, |most: f64, x| most.max(x.abs()));
    ours.iter().zip(theirs).map(|(a, b)| (a - b).abs() / greatest).fold(0.0, |most: f64, gap| {
        if gap <= most { most } else { gap } // a NaN is the greatest
    })
}

/// A small Llama with 300 tokens, and numbers for it and an adapter.
fn small(lora: &LoraConfig) -> (Decoder, Vec<f32>) {
    let config = DecoderConfig {
        context: 32,
        n_embd: 16,
        n_head: 4,
        n_kv_head: 2,
        n_ffn: 24,
        n_layer: 2,
        init_std: 0.2,
        ..DecoderConfig::llama(300)
    };
    let base = Decoder::new(config).expect("a small Llama");
    let mut random = Random::new(5);
    let base_params: Vec<f32> = base.layout().initial(&mut random);
    let model = base.with_adapters(lora).expect("it has these layers");
    let mut params = model.with_fresh_adapters(&base_params, &mut random);
    params[model.base_len()..].iter_mut().for_each(|w| *w += random.gauss(0.0, 0.2) as f32);
    (model, params)
}

fn two_layers() -> LoraConfig {
    LoraConfig { rank: 2, alpha: 3.5, dropout: 0.05, targets: vec![LoraTarget::QProj, LoraTarget::DownProj] }
}

#[test]
fn peft_says_the_same() {
    let golden = fs::read_to_string(golden_folder("numbers.json")).expect("golden numbers");
    let golden: Golden = serde_json::from_str(&golden).expect("golden numbers");
    let base = llama::import(&golden_folder("base")).expect("a folder of transformers");
    let adapter = adapter::import(&golden_folder("adapter"), &base.model).expect("a folder of peft");
    let config = LoraConfig { rank: 3, alpha: 5.0, dropout: 0.1, targets: LoraTarget::ALL.to_vec() };
    assert_eq!(adapter.model.adapters(), Some(&config));
    assert_eq!(adapter.base_name, None);
    let (model, params) = (&adapter.model, wide(&adapter.on(&base.params)));
    let ours = logits(&base.model, &wide(&base.params), &golden.texts);
    assert!(gap(&ours, &golden.base) < 1e-5, "the base: {:e}", gap(&ours, &golden.base));
    let ours = logits(model, &params, &golden.texts);
    assert!(gap(&ours, &golden.adapted) < 1e-5, "with the adapter: {:e}", gap(&ours, &golden.adapted));
    assert!(gap(&golden.adapted, &golden.base) > 0.1, "an adapter that changes something");
    let merged = logits(&model.base(), &model.merge(&params), &golden.texts);
    assert!(gap(&merged, &golden.merged) < 1e-5, "merged: {:e}", gap(&merged, &golden.merged));
    // The mean loss of all tokens, and its gradient.
    let mut batch = Batch::new();
    golden.texts.iter().for_each(|text| batch.push(text.iter().copied()));
    let mut gradient = vec![0.0; model.layout().trainable_len()];
    let loss = ScalarEngine::new().gradient(model, &params, &batch, Mode::default(), &mut gradient);
    assert!((loss - golden.loss).abs() < 1e-6, "{loss} instead of {}", golden.loss);
    assert_eq!(golden.gradients.len(), model.layout().trainable().count());
    for (spec, _, range) in model.layout().trainable() {
        let gap = gap(&gradient[range], &golden.gradients[&spec.name]);
        assert!(gap < 1e-5, "the gradient of {}: {gap:e}", spec.name);
    }
}

#[test]
fn there_and_back_bit_for_bit() {
    for lora in [two_layers(), LoraConfig { dropout: 0.0, ..LoraConfig::default() }] {
        let (model, params) = small(&lora);
        let folder = folder();
        let path = folder.path().join("made/on/the way");
        adapter::export(&path, &model, &params, Some("somebody/base")).expect("it can be written");
        let Adapter { model: read, params: numbers, base_name } =
            adapter::import(&path, &model.base()).expect("it was written");
        assert_eq!(read.adapters(), Some(&lora));
        assert_eq!(read.layout(), model.layout());
        assert_eq!(base_name.as_deref(), Some("somebody/base"));
        let bits = |numbers: &[f32]| numbers.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&numbers), bits(&params[model.base_len()..]));
        let adapter = adapter::import(&path, &model.base()).expect("it was written");
        assert_eq!(bits(&adapter.on(&params[..model.base_len()])), bits(&params));
        // Written again, and from 64 bits, it is the same folder.
        let again = folder.path().join("again");
        adapter::export(&again, &model, &wide(&params), Some("somebody/base")).expect("it can be written");
        for file in FILES {
            let bytes = |folder: &Path| fs::read(folder.join(file)).expect("a file");
            assert_eq!(bytes(&again), bytes(&path), "{file}");
        }
    }
}

/// Keys and names are those that peft writes.
#[test]
fn the_folder_is_that_of_peft() {
    let base = llama::import(&golden_folder("base")).expect("a folder of transformers");
    let adapter = adapter::import(&golden_folder("adapter"), &base.model).expect("a folder of peft");
    let ours = folder();
    adapter::export(ours.path(), &adapter.model, &adapter.on(&base.params), None).expect("it can be written");
    let tensors = |folder: &Path| {
        let bytes = fs::read(folder.join(adapter::WEIGHTS)).expect("a file");
        let file = safetensors::SafeTensors::deserialize(&bytes).expect("a whole file");
        let all = file.iter().map(|(name, view)| {
            (name.to_owned(), (view.shape().to_vec(), view.dtype(), view.data().to_vec()))
        });
        all.collect::<BTreeMap<_, _>>()
    };
    assert!(tensors(ours.path()) == tensors(&golden_folder("adapter")));
    let json = |folder: &Path| -> Map<String, Value> {
        let text = fs::read(folder.join(adapter::CONFIG)).expect("a file");
        serde_json::from_slice(&text).expect("an object")
    };
    let theirs = json(&golden_folder("adapter"));
    for (key, value) in json(ours.path()) {
        match (key.as_str(), &value) {
            ("target_modules", Value::Array(names)) => {
                let names: std::collections::BTreeSet<_> = names.iter().map(Value::to_string).collect();
                let known = theirs[&key].as_array().expect("names").iter().map(Value::to_string).collect();
                assert_eq!(names, known);
            }
            _ => assert_eq!(Some(&value), theirs.get(&key), "{key}"),
        }
    }
}

/// With `LORA=/some/folder` it writes folders for `golden/lora.py check`; without, it looks whether they can be read.
#[test]
fn exported() {
    let temporary = folder();
    let root = std::env::var_os("LORA").map_or(temporary.path().to_owned(), PathBuf::from);
    let [base_folder, adapter_folder, merged_folder] =
        ["base", "adapter", "merged"].map(|name| root.join(name));
    let (model, params) = small(&LoraConfig::default());
    let base_params = &params[..model.base_len()];
    let special_tokens = ["<s>", "</s>"].map(str::to_owned).to_vec();
    let trainer = BpeTrainer { vocab_size: 300, min_frequency: 1, special_tokens, ..BpeTrainer::default() };
    let tokenizer = trainer.train(&["low lower lowest, new newer newest"]).expect("a tokenizer");
    let whole = |params: &[f32]| LanguageModel {
        model: model.base(),
        params: params.to_vec(),
        tokenizer: Ok(tokenizer.spec()),
        tokens: EndTokens { bos: Some(0), add_bos: true, eos: vec![1], ..EndTokens::default() },
        chat_template: None,
        defaults: GenerationDefaults::default(),
    };
    llama::export(&base_folder, &whole(base_params), StoredAs::F32).expect("a Llama");
    let name = base_folder.display().to_string();
    adapter::export(&adapter_folder, &model, &params, Some(&name)).expect("it can be written");
    llama::export(&merged_folder, &whole(&model.merge(&params)), StoredAs::F32).expect("a Llama");
    let mut random = Random::new(2);
    let texts: Vec<Vec<usize>> =
        (1..=50).map(|at| (0..1 + at % 32).map(|_| random.below(tokenizer.vocab_size())).collect()).collect();
    let said = logits(&model, &wide(&params), &texts);
    let ours = json!({ "texts": texts, "logits": said });
    fs::write(adapter_folder.join("ours.json"), ours.to_string()).expect("it can be written");

    let base = llama::import(&base_folder).expect("it was written");
    let adapter = adapter::import(&adapter_folder, &base.model).expect("it was written");
    assert_eq!(logits(&adapter.model, &wide(&adapter.on(&base.params)), &texts), said);
    let merged = llama::import(&merged_folder).expect("it was written");
    let whole = logits(&merged.model, &wide(&merged.params), &texts);
    assert!(gap(&whole, &said) < 1e-5, "{:e}", gap(&whole, &said));
    assert!(gap(&logits(&base.model, &wide(&base.params), &texts), &said) > 1e-2);
}

/// Formats of whole models have no place for adapters. Nothing is written, rather than a model without them.
#[test]
fn no_adapter_is_lost_in_silence() {
    let (model, params) = small(&two_layers());
    let tokenizer = BpeTrainer { vocab_size: 256, ..BpeTrainer::default() }.train(&["a"]).expect("256 bytes");
    let whole = LanguageModel {
        model,
        params,
        tokenizer: Ok(tokenizer.spec()),
        tokens: EndTokens { eos: vec![1], ..EndTokens::default() },
        chat_template: None,
        defaults: GenerationDefaults::default(),
    };
    let folder = folder();
    let (to, file) = (folder.path().join("out"), folder.path().join("out.gguf"));
    for error in [
        llama::export(&to, &whole, StoredAs::F32).expect_err("it has adapters"),
        gguf::export(&file, &whole, gguf::TensorType::F32).expect_err("it has adapters"),
    ] {
        let text = error.to_string();
        assert!(text.contains("LoRA of rank 2") && text.contains("merge"), "{text}");
    }
    assert!(!to.exists() && !file.exists());
    let plain = adapter::export(&to, &whole.model.base(), &whole.params[..whole.model.base_len()], None);
    let text = plain.expect_err("it has none").to_string();
    assert!(text.contains("no adapters") && text.contains("with_adapters"), "{text}");
}

#[test]
fn numbers_that_are_not_finite_replace_nothing() {
    let (model, mut params) = small(&two_layers());
    let folder = folder();
    adapter::export(folder.path(), &model, &params, None).expect("it can be written");
    let before = FILES.map(|file| fs::read(folder.path().join(file)).expect("a file"));
    *params.last_mut().expect("there are some") = f32::NAN;
    let error = adapter::export(folder.path(), &model, &params, None).expect_err("NaN").to_string();
    assert!(error.contains("down_proj.lora_B") && error.contains("NaN"), "{error}");
    assert_eq!(FILES.map(|file| fs::read(folder.path().join(file)).expect("a file")), before);
}

/// Reads a folder that may be damaged. Whatever is in it, what is read is sound, an error names a file of the folder, and no
/// memory is asked for on the strength of a claim.
fn read(folder: &Path, base: &Decoder) -> Result<Adapter, String> {
    let (result, _, largest) = allocator::count_allocations(|| adapter::import(folder, base));
    assert!(largest <= ENOUGH, "{largest} bytes");
    match result {
        Ok(adapter) => {
            assert_eq!(adapter.params.len(), adapter.model.layout().trainable_len());
            assert!(adapter.params.iter().all(|w| w.is_finite()));
            let LoraConfig { rank, alpha, dropout, targets } = adapter.model.adapters().expect("adapters");
            assert!(*rank > 0 && *alpha > 0.0 && alpha.is_finite() && !targets.is_empty());
            assert!((0.0..1.0).contains(dropout));
            Ok(adapter)
        }
        Err(error) => {
            assert!(matches!(error, FolderError::Wrong { .. } | FolderError::File(_)), "{error}");
            let text = error.to_string();
            assert!(text.contains(&folder.display().to_string()), "{text} names no file");
            assert!(!matches!(error, FolderError::File(CheckpointError::NotFinite { .. })), "{text}");
            Err(text)
        }
    }
}

/// Removed first: some file systems flush a file that is written over, which takes its time.
fn replace(path: &Path, bytes: &[u8]) {
    fs::remove_file(path).ok();
    fs::write(path, bytes).expect("it can be written");
}

/// Reads the folder with one key of its configuration changed or taken away.
fn with_key(folder: &Path, base: &Decoder, key: &str, value: Option<Value>) -> Result<Adapter, String> {
    let path = folder.join(adapter::CONFIG);
    let bytes = fs::read(&path).expect("a file");
    let mut config: Map<String, Value> = serde_json::from_slice(&bytes).expect("an object");
    match value {
        Some(value) => config.insert(key.to_owned(), value),
        None => config.remove(key),
    };
    replace(&path, Value::Object(config).to_string().as_bytes());
    let result = read(folder, base);
    replace(&path, &bytes);
    result
}

#[test]
fn what_is_no_plain_lora_is_refused_by_name() {
    let (model, params) = small(&two_layers());
    let (folder, base) = (folder(), model.base());
    adapter::export(folder.path(), &model, &params, Some("somebody/base")).expect("it can be written");
    let path = folder.path();
    let said = |key: &str, value: Value, words: &[&str]| {
        let shown = format!("{key}: {value}");
        let error = with_key(path, &base, key, Some(value)).expect_err(&shown);
        assert!(error.contains(adapter::CONFIG) && error.contains(key), "{shown}: {error}");
        assert!(words.iter().all(|word| error.contains(word)), "{shown}: {error}");
    };
    let merge = "merge_and_unload";
    for (key, value) in [
        ("use_rslora", json!(true)),
        ("use_dora", json!(true)),
        ("bias", json!("all")),
        ("bias", json!("lora_only")),
        ("modules_to_save", json!(["lm_head"])),
        ("rank_pattern", json!({"q_proj": 4})),
        ("alpha_pattern", json!({"q_proj": 4})),
        ("fan_in_fan_out", json!(true)),
        ("layers_to_transform", json!([0])),
        ("exclude_modules", json!("q_proj")),
        ("layer_replication", json!([[0, 2]])),
        ("trainable_token_indices", json!([1])),
        ("target_parameters", json!(["weight"])),
        ("lora_bias", json!(true)),
        ("init_lora_weights", json!("pissa")),
        ("loftq_config", json!({"loftq_bits": 4})),
        ("peft_type", json!("IA3")),
        ("task_type", json!("SEQ_CLS")),
        ("something_that_will_be_invented", json!(7)),
    ] {
        said(key, value, &[merge]);
    }
    said("target_modules", json!(".*_proj"), &["a pattern", "one by one"]);
    said("target_modules", json!(null), &["a pattern"]);
    said("target_modules", json!(["q_proj", "lm_head"]), &["shares the table", "merged"]);
    said("target_modules", json!(["embed_tokens"]), &["shares the table"]);
    said("r", json!(-1), &[]);
    said("r", json!("4"), &[]);
    // By the whole path of each layer, as peft names them where they are few.
    let bytes = fs::read(path.join(adapter::CONFIG)).expect("a file");
    let config: Value = serde_json::from_slice(&bytes).expect("JSON");
    let names = config["target_modules"].as_array().expect("a list").iter().filter_map(Value::as_str);
    let paths: Vec<String> =
        names.flat_map(|name| [0, 1].map(|layer| format!("model.layers.{layer}.part.{name}"))).collect();
    let short = read(path, &base).expect("what was exported");
    let long = with_key(path, &base, "target_modules", Some(json!(paths))).expect("the same layers");
    assert!(long.params == short.params && long.model.config() == short.model.config());
    let error = |key, value| with_key(path, &base, key, value).expect_err(key);
    for (key, value, word) in [
        // Of one layer alone, which is not all that the file of its numbers has.
        (
            "target_modules",
            Some(json!(["model.layers.0.self_attn.q_proj"])),
            "which the base has no place for",
        ),
        ("r", Some(json!(0)), "rank of 0"),
        ("r", Some(json!(1_u64 << 62)), "more parameters"),
        ("lora_alpha", Some(json!(0)), "alpha is 0"),
        ("lora_alpha", Some(json!(-1)), "alpha is -1"),
        ("lora_dropout", Some(json!(1)), "dropout of 1"),
        ("target_modules", Some(json!([])), "no layer is to be adapted"),
        ("r", None, "r is missing"),
        ("lora_alpha", None, "lora_alpha is missing"),
        ("target_modules", None, "target_modules is missing"),
        ("peft_type", None, "peft_type is missing"),
    ] {
        let error = error(key, value);
        assert!(error.contains(word), "{key}: {error}");
    }
    // What changes nothing is read.
    for (key, value) in [
        ("task_type", json!(null)),
        ("init_lora_weights", json!("gaussian")),
        ("peft_version", json!("0.99")),
        ("base_model_name_or_path", json!(null)),
        ("modules_to_save", json!([])),
        ("use_dora", json!(null)),
        ("lora_dropout", json!(null)),
        ("something_that_will_be_invented", json!(null)),
    ] {
        with_key(path, &base, key, Some(value)).unwrap_or_else(|error| panic!("{key}: {error}"));
    }
}

/// peft warns of names that do not match, and the adapter does nothing. Here it is an error that lists some.
#[test]
fn names_and_sizes_have_to_match() {
    let (model, params) = small(&two_layers());
    let (folder, base) = (folder(), model.base());
    let path = folder.path();
    adapter::export(path, &model, &params, Some("somebody/base")).expect("it can be written");
    let error = |key, value| with_key(path, &base, key, Some(value)).expect_err(key);
    let text = error("target_modules", json!(["q_proj"]));
    assert!(text.contains("model.layers.0.mlp.down_proj.lora_A.weight"), "{text}");
    assert!(text.contains("and 1 more") && text.contains("no place"), "{text}");
    let text = error("target_modules", json!("all-linear"));
    assert!(text.contains("lacks base_model.model.model.layers.0.self_attn.k_proj.lora_A.weight"), "{text}");
    assert!(text.contains("and 17 more"), "{text}");
    let text = error("target_modules", json!(["v_proj", "down_proj"]));
    assert!(
        text.contains("v_proj.lora_A") && text.contains("q_proj.lora_A") && text.contains("instead"),
        "{text}"
    );
    let text = error("r", json!(3));
    assert!(text.contains("[2, 16] instead of [3, 16]"), "{text}");
    // Bases of other sizes.
    let other = |change: &dyn Fn(&mut DecoderConfig)| {
        let mut config = base.config().clone();
        change(&mut config);
        read(path, &Decoder::new(config).expect("a decoder")).map(|adapter| adapter.params.len())
    };
    let text = other(&|c| c.n_ffn = 20).expect_err("narrower");
    assert!(text.contains("[2, 24] instead of [2, 20]") && text.contains("\"somebody/base\""), "{text}");
    let text = other(&|c| c.n_layer = 3).expect_err("more layers");
    assert!(text.contains("lacks base_model.model.model.layers.2.self_attn.q_proj"), "{text}");
    let text = other(&|c| c.n_layer = 1).expect_err("fewer layers");
    assert!(text.contains("holds base_model.model.model.layers.1.") && text.contains("no place"), "{text}");
    other(&|c| c.vocab_size = 7).expect("the same layers");
    let text = read(path, &model).map(|_| ()).expect_err("the base has adapters");
    assert!(text.contains("adapters already"), "{text}");
    // A folder of peft's old format, and none.
    fs::rename(path.join(adapter::WEIGHTS), path.join("adapter_model.bin")).expect("it is there");
    let text = read(path, &base).map(|_| ()).expect_err("pickled");
    assert!(text.contains("adapter_model.bin") && text.contains("save_pretrained"), "{text}");
    fs::remove_file(path.join("adapter_model.bin")).expect("it is there");
    assert!(read(path, &base).map(|_| ()).expect_err("missing").contains(adapter::WEIGHTS));
}

#[test]
fn every_truncation_and_thousands_of_changes() {
    let lora = LoraConfig { targets: vec![LoraTarget::VProj], ..two_layers() };
    let (model, params) = small(&lora);
    let (folder, base) = (folder(), model.base());
    adapter::export(folder.path(), &model, &params, None).expect("it can be written");
    let mut random = Random::new(10);
    for file in FILES {
        let path = folder.path().join(file);
        let bytes = fs::read(&path).expect("a file");
        let whole = if file == adapter::CONFIG { bytes.len() - 1 } else { bytes.len() }; // without the last line feed
        for length in 0..whole {
            replace(&path, &bytes[..length]);
            let error = read(folder.path(), &base).map(|_| ()).expect_err("it is cut off");
            assert!(error.contains(file), "{error}");
        }
        let mut errors = 0;
        for _ in 0..2000 {
            let mut changed = bytes.clone();
            for _ in 0..1 + random.below(3) {
                let at = random.below(bytes.len());
                match random.below(4) {
                    0 => changed[at] ^= 1 << random.below(8),
                    1 => changed[at] = b"0123456789{}[]\",:.-e"[random.below(20)],
                    2 => changed[at] = random.below(256) as u8,
                    _ => {
                        let from = random.below(bytes.len());
                        let length = random.below(16).min(bytes.len() - at.max(from));
                        changed[at..at + length].copy_from_slice(&bytes[from..from + length]);
                    }
                }
            }
            replace(&path, &changed);
            errors += usize::from(read(folder.path(), &base).is_err());
        }
        assert!(errors > 500, "{file}: only {errors}");
        for bytes in [&b"[]"[..], b"null", b"7", b"\"text\"", &b"[".repeat(100_000), b"{}"] {
            replace(&path, bytes);
            read(folder.path(), &base).map(|_| ()).expect_err("something else");
        }
        replace(&path, &bytes);
        read(folder.path(), &base).expect("all of it");
    }
}
