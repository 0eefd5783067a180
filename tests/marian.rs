//! Translators as folders of Hugging Face's `MarianMTModel`: what is written is read bit for bit, a folder that `transformers`
//! wrote has its logits, models that are none are refused by field, and damaged folders are errors that say what to do.
//!
//! `golden/marian` was written by `golden/marian.py`, which also opens what is written here: see there.

use std::fs;
use std::path::Path;

use gradus::checkpoint::marian::{Marian, MarianTokens, export, import};
use gradus::checkpoint::{Checkpoint, FolderError};
use gradus::engine::{Engine, Room, Session};
use gradus::fast::FastEngine;
use gradus::model::{
    Activation, AttentionBias, DecoderConfig, EmbeddingScale, EncoderDecoder, EncoderDecoderConfig, Model,
    NormKind, Placement, Position, SharedEmbeddings,
};
use gradus::params::{Init, ParamKind};
use gradus::random::Random;
use gradus::real::Real;
use gradus::scalar::ScalarEngine;
use gradus::tensor::Mask;
use gradus::thread_pool::ThreadPool;
use gradus::tokenizer::{
    BpeSpec, BpeTokenizer, BpeTrainer, CharTokenizer, Pattern, Tokenizer, TokenizerSpec,
};
use serde_json::{Value, json};
use tempfile::TempDir;

#[path = "common/allocator.rs"]
mod allocator;

const TOKENS: MarianTokens = MarianTokens { bos: 1, eos: 2, pad: 0 };
/// Three special tokens, all bytes and twelve merges.
const VOCAB_SIZE: usize = 3 + 256 + 12;
const FILES: [&str; 5] =
    ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "generation_config.json"];
const TEXTS: [&str; 5] =
    ["The cat sleeps.", "  two  blanks\n", "L'été, c'est déjà fini\u{202f}!", "12345 'LL it's 가나", ""];

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

fn bpe(pattern: Pattern) -> BpeTokenizer {
    let special_tokens = ["<pad>", "<s>", "</s>"].map(str::to_owned).to_vec();
    let trainer = BpeTrainer {
        vocab_size: VOCAB_SIZE,
        min_frequency: 2,
        special_tokens,
        pattern,
        ..BpeTrainer::default()
    };
    trainer
        .train(&["the cat and the dog, the cats and the dogs; it's 1234 and 123, c'est l'été"])
        .expect("BPE")
}

fn spec(tokenizer: &BpeTokenizer) -> BpeSpec {
    match tokenizer.spec() {
        TokenizerSpec::Bpe(spec) => spec,
        other => panic!("{other} is not BPE"),
    }
}

/// A small Marian with as many tokens as the tokenizer.
fn config() -> EncoderDecoderConfig {
    let classic = EncoderDecoderConfig::classic(VOCAB_SIZE);
    let (n_layer, n_embd, n_head, n_ffn, context) = (2, 8, 2, 12, 12);
    let decoder =
        DecoderConfig { context, n_layer, n_embd, n_head, n_kv_head: n_head, n_ffn, ..classic.decoder };
    EncoderDecoderConfig { encoder_layers: 1, decoder, ..classic }
}

/// A model whose numbers are all random and large, biases and gains among them.
fn random_model(config: EncoderDecoderConfig) -> (EncoderDecoder, Vec<f32>) {
    let model = EncoderDecoder::new(config).expect("it fits");
    let mut random = Random::new(8);
    let mut params: Vec<f32> = model.layout().initial(&mut random);
    for spec in model.layout().specs() {
        let start = if let Init::Constant(x) = spec.init { x } else { 0.0 };
        let std = if spec.kind == ParamKind::Embedding { 0.5 } else { 0.4 };
        params[spec.range()].iter_mut().for_each(|w| *w = random.gauss(start, std) as f32);
    }
    (model, params)
}

fn exported(folder: &Path) -> (EncoderDecoder, Vec<f32>) {
    let (model, params) = random_model(config());
    export(folder, &model, &params, &bpe(Pattern::Llama3), TOKENS).expect("a Marian");
    (model, params)
}

/// What a session says after every token of every target: `[tokens, vocab_size]`.
fn logits<E: Engine>(
    mut engine: E,
    model: &EncoderDecoder,
    params: &[f32],
    pairs: &[(Vec<usize>, Vec<usize>)],
) -> Vec<f64> {
    let params: Vec<E::Real> = params.iter().map(|w| E::Real::from_f64(w.to_f64())).collect();
    let room = Room { sequences: 1, tokens: model.context(), source_tokens: model.context() };
    let mut session = Session::new(&mut engine, model, &params, room);
    let mut all = Vec::new();
    for (source, target) in pairs {
        session.read_sources(&[(0, source)]);
        target.iter().for_each(|&token| all.extend_from_slice(session.feed(0, &[token])));
    }
    all
}

fn fast() -> FastEngine {
    FastEngine::new(ThreadPool::new(1))
}

/// With `MARIAN=DIR`, the folders stay there, with our logits, for `golden/marian.py`.
#[test]
fn what_was_exported_is_read_bit_for_bit() {
    let kept = std::env::var_os("MARIAN");
    let temporary = folder();
    let base = kept.as_ref().map_or(temporary.path(), Path::new);
    for (at, pattern) in [Pattern::Llama3, Pattern::Gpt2, Pattern::Llama3].into_iter().enumerate() {
        let mut config = config();
        config.head_bias = at != 1;
        config.decoder.activation = [Activation::Relu, Activation::Gelu, Activation::GeluTanh][at];
        config.decoder.embedding_scale =
            [EmbeddingScale::RootWidth, EmbeddingScale::One, EmbeddingScale::RootWidth][at];
        config.decoder.dropout = 0.1 + 0.2 * at as f64;
        config.decoder.init_std = 1.0 / (3.0 + at as f64);
        let (model, mut params) = random_model(config.clone());
        for (w, odd) in params.iter_mut().zip([-0.0, 1e-45, f32::MIN_POSITIVE, 1.0 / 3.0]) {
            *w = odd;
        }
        let tokenizer = bpe(pattern);
        let tokens = [TOKENS, MarianTokens { pad: 1, ..TOKENS }, TOKENS][at];
        let folder = base.join(at.to_string());
        export(&folder, &model, &params, &tokenizer, tokens).expect("a Marian");
        let read = import(&folder).expect("what was exported");
        assert_eq!(read.model.config(), &config);
        let bits = |params: &[f32]| params.iter().map(|w| w.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&read.params), bits(&params));
        assert_eq!((read.tokens, read.tokenizer), (tokens, Ok(spec(&tokenizer))));
        let before = FILES.map(|file| fs::read(folder.join(file)).expect("a file"));
        export(&folder, &read.model, &read.params, &tokenizer, tokens).expect("again");
        assert_eq!(FILES.map(|file| fs::read(folder.join(file)).expect("a file")), before);
        if kept.is_some() {
            let mut random = Random::new(9);
            let mut some = |end: bool| -> Vec<usize> {
                let len = 1 + random.below(9);
                let ids: Vec<usize> =
                    (0..len).map(|_| 3 + random.below(config.decoder.vocab_size - 3)).collect();
                if end { [ids, vec![tokens.eos]].concat() } else { [vec![tokens.bos], ids].concat() }
            };
            let pairs: Vec<_> = (0..50).map(|_| (some(true), some(false))).collect();
            let texts = TEXTS.map(|text| {
                let ids = tokenizer.encode(text).expect("any text");
                (text, [ids, vec![tokens.eos]].concat())
            });
            let ours = logits(fast(), &model, &params, &pairs);
            let file = json!({"pairs": pairs, "texts": texts, "logits": ours}).to_string();
            fs::write(folder.join("ours.json"), file).expect("it can be written");
            let sources: Vec<_> = pairs.iter().map(|pair| &pair.0).collect();
            fs::write(folder.join("sources.json"), json!(sources).to_string()).expect("it can be written");
        }
    }
}

fn golden() -> Marian {
    import(Path::new("tests/golden/marian")).expect("a folder that transformers wrote")
}

#[test]
fn a_folder_of_transformers_has_its_logits() {
    let Marian { model, params, tokens, tokenizer } = golden();
    let decoder = &model.config().decoder;
    assert_eq!((model.config().encoder_layers, decoder.n_layer, decoder.context), (1, 2, 16));
    assert!(model.config().head_bias && decoder.activation == Activation::Gelu);
    assert_eq!((decoder.dropout, decoder.init_std), (0.2, 0.4));
    assert_eq!(tokens, MarianTokens { bos: 1, eos: 2, pad: 0 });
    let missing = tokenizer.expect_err("it has none").to_string();
    assert!(missing.contains("no tokenizer.json"), "{missing}");
    #[derive(serde::Deserialize)]
    struct Golden {
        pairs: Vec<(Vec<usize>, Vec<usize>)>,
        logits: Vec<f64>,
    }
    let Golden { pairs, logits: expected } =
        serde_json::from_str(include_str!("golden/marian/logits.json")).expect("logits.json parses");
    let size = expected.iter().fold(0.0_f64, |size, x| size.max(x.abs()));
    let check = |ours: Vec<f64>, tolerance: f64| {
        assert_eq!(ours.len(), expected.len());
        for (at, (a, b)) in ours.iter().zip(&expected).enumerate() {
            assert!((a - b).abs() <= tolerance * size, "logit {at}: {a} instead of {b}");
        }
    };
    // The positions of transformers are rounded to f32.
    check(logits(ScalarEngine::new(), &model, &params, &pairs), 1e-6);
    check(logits(fast(), &model, &params, &pairs), 1e-5);
}

/// What import does not read, but `transformers` does.
#[test]
fn the_other_files_and_keys_are_there() {
    let folder = folder();
    exported(folder.path());
    let json = |path: &Path| -> Value {
        serde_json::from_slice(&fs::read(path).expect("a file")).expect("it is JSON")
    };
    let ours = json(&folder.path().join("config.json"));
    let theirs = json(Path::new("tests/golden/marian/config.json"));
    for key in theirs.as_object().expect("an object").keys() {
        // Ours has no version of transformers, and only their decoders by themselves have the other.
        assert!(ours.get(key).is_some() || ["transformers_version", "is_decoder"].contains(&&**key), "{key}");
    }
    for (key, value) in [
        ("architectures", json!(["MarianMTModel"])),
        ("bos_token_id", json!(1)),
        ("forced_eos_token_id", json!(2)),
        ("dtype", json!("float32")),
        ("torch_dtype", json!("float32")),
    ] {
        assert_eq!(ours[key], value, "{key}");
    }
    let generation = json(&folder.path().join("generation_config.json"));
    let expected = json!({
        "bad_words_ids": [[0], [1]], "bos_token_id": 1, "decoder_start_token_id": 1, "eos_token_id": 2,
        "forced_eos_token_id": 2, "pad_token_id": 0, "max_length": 12, "num_beams": 4,
    });
    assert_eq!(generation, expected);
    let tokenizer = json(&folder.path().join("tokenizer_config.json"));
    let names = ["bos_token", "eos_token", "pad_token"].map(|key| tokenizer[key].clone());
    assert_eq!(names, ["<s>", "</s>", "<pad>"]);
    let tokenizer = json(&folder.path().join("tokenizer.json"));
    let end = &tokenizer["post_processor"]["special_tokens"]["</s>"];
    assert_eq!(end["ids"], json!([2]));
    let weights = fs::read(folder.path().join("model.safetensors")).expect("a file");
    let (_, header) = safetensors::SafeTensors::read_metadata(&weights).expect("a header");
    let metadata = header.metadata().as_ref().expect("metadata");
    assert_eq!(metadata.iter().collect::<Vec<_>>(), [(&"format".to_owned(), &"pt".to_owned())]);
}

#[test]
fn models_that_are_no_marian_are_refused_by_field() {
    let folder = folder();
    let path = &folder.path().join("out");
    let refused = |words: &[&str], config: EncoderDecoderConfig, tokenizer: &dyn Tokenizer, tokens| {
        let (model, params) = random_model(config);
        let error = export(path, &model, &params, tokenizer, tokens).expect_err("no Marian");
        assert!(matches!(error, FolderError::Unfit { .. }), "{error}");
        let text = error.to_string();
        assert!(words.iter().all(|word| text.contains(word)), "{words:?}: {text}");
        assert!(!path.exists(), "nothing was written");
    };
    let tokenizer = bpe(Pattern::Llama3);
    let change = |words: &[&str], change: &dyn Fn(&mut EncoderDecoderConfig)| {
        let mut changed = config();
        change(&mut changed);
        refused(words, changed, &tokenizer, TOKENS);
    };
    change(&["shared_embeddings", "\"output\"", "\"all\""], &|c| {
        c.shared_embeddings = SharedEmbeddings::Output
    });
    change(&["position", "rope", "\"sinusoidal\""], &|c| c.decoder.position = Position::rope(1e4));
    change(&["placement", "\"pre\"", "\"post\""], &|c| c.decoder.placement = Placement::Pre);
    change(&["norm", "\"rms\"", "\"layer\""], &|c| c.decoder.norm = NormKind::Rms);
    change(&["norm_gain", "false", "true"], &|c| c.decoder.norm_gain = false);
    change(&["norm_eps", "1e-6", "0.00001"], &|c| c.decoder.norm_eps = 1e-6);
    change(&["embedding_norm", "true", "false"], &|c| c.decoder.embedding_norm = true);
    change(&["final_norm", "true", "false"], &|c| c.decoder.final_norm = true);
    change(&["qk_norm", "true", "false"], &|c| c.decoder.qk_norm = true);
    change(&["attention_bias", "\"qvo\"", "\"all\""], &|c| c.decoder.attention_bias = AttentionBias::Qvo);
    change(&["ffn_bias", "false", "true"], &|c| c.decoder.ffn_bias = false);
    change(&["n_kv_head", "is 1", "be 2"], &|c| c.decoder.n_kv_head = 1);
    change(&["head_dim", "is 3", "8 / 2"], &|c| c.decoder.head_dim = Some(3));
    change(&["mask", "window", "causal"], &|c| c.decoder.mask = Mask::Window(3));
    let activations = ["activation", "\"swiglu\"", "\"relu\"", "\"gelu_tanh\""];
    change(&activations, &|c| c.decoder.activation = Activation::Swiglu);
    change(&["vocab_size", "is 7", "be 271"], &|c| c.decoder.vocab_size = 7);
    refused(&["tokenizer", "2 characters", "BPE"], config(), &CharTokenizer::of("ab".chars()), TOKENS);
    for (words, tokens) in [
        (["bos", "is 3", "1 (<s>)"], MarianTokens { bos: 3, ..TOKENS }),
        (["eos", "is 9", "2 (</s>)"], MarianTokens { eos: 9, ..TOKENS }),
        (["pad", "is 1000", "0 (<pad>)"], MarianTokens { pad: 1000, ..TOKENS }),
        (["pad", "2, as eos", "another"], MarianTokens { pad: 2, ..TOKENS }),
        (["bos", "2, as eos", "another"], MarianTokens { bos: 2, ..TOKENS }),
    ] {
        refused(&words, config(), &tokenizer, tokens);
    }
    // Heads as wide as they would be anyway are no variant.
    let mut named = config();
    named.decoder.head_dim = Some(4);
    let (model, mut params) = random_model(named);
    export(path, &model, &params, &tokenizer, TOKENS).expect("a Marian");
    params[7] = f32::NAN;
    let before = fs::read(path.join("model.safetensors")).expect("a file");
    let error = export(path, &model, &params, &tokenizer, TOKENS).expect_err("NaN").to_string();
    assert!(error.contains("model.shared.weight") && error.contains("NaN"), "{error}");
    assert_eq!(fs::read(path.join("model.safetensors")).expect("a file"), before);
}

#[test]
fn a_checkpoint_of_ours_is_not_replaced() {
    let folder = folder();
    let (model, params) = random_model(config());
    let tokenizer = bpe(Pattern::Llama3);
    Checkpoint::of(&model, &tokenizer, &params).save(folder.path()).expect("it can be saved");
    let error =
        export(folder.path(), &model, &params, &tokenizer, TOKENS).expect_err("a checkpoint is there");
    assert!(error.to_string().contains("Export into another folder"), "{error}");
    let there = Checkpoint::<f32>::load(folder.path()).expect("as before");
    assert_eq!(there.params, params);
}

/// Imports a folder that may be damaged. Whatever is in it, what is read must be sound, an error names a file of the folder and
/// says what to do, and no memory is asked for on the strength of a claim.
fn read(folder: &Path) -> Result<Marian, String> {
    let (result, _, largest) = allocator::count_allocations(|| import(folder));
    assert!(largest <= 1 << 20, "{largest} bytes");
    match result {
        Ok(marian) => {
            assert_eq!(marian.params.len(), marian.model.layout().len());
            assert!(marian.params.iter().all(|w| w.is_finite()));
            let MarianTokens { bos, eos, pad } = marian.tokens;
            assert!([bos, eos, pad].iter().all(|&token| token < marian.model.vocab_size()));
            if let Ok(spec) = &marian.tokenizer {
                let tokenizer = BpeTokenizer::from_spec(spec).expect("a tokenizer that there is");
                assert_eq!(tokenizer.vocab_size(), marian.model.vocab_size());
            }
            Ok(marian)
        }
        Err(error) => {
            let text = error.to_string();
            assert!(text.contains(&folder.display().to_string()), "{text} names no file");
            assert!(matches!(error, FolderError::Wrong { .. } | FolderError::File(_)), "{text}");
            Err(text)
        }
    }
}

/// Writes a file anew: some file systems flush one that is written over, which takes its time.
fn replace(path: &Path, bytes: &[u8]) {
    fs::remove_file(path).ok();
    fs::write(path, bytes).expect("it can be written");
}

#[test]
fn truncated_and_changed_files_are_errors_or_harmless() {
    let folder = folder();
    exported(folder.path());
    let mut random = Random::new(10);
    for file in ["config.json", "model.safetensors", "tokenizer.json"] {
        let path = folder.path().join(file);
        let bytes = fs::read(&path).expect("a file");
        for length in (0..bytes.len() - 1).step_by(bytes.len() / 200 + 1) {
            replace(&path, &bytes[..length]);
            let error = read(folder.path()).expect_err("it is cut off");
            assert!(error.contains(file), "{error}");
        }
        let mut told = 0;
        for _ in 0..300 {
            let mut changed = bytes.clone();
            for _ in 0..1 + random.below(3) {
                let at = random.below(bytes.len());
                changed[at] = random.below(256) as u8;
            }
            replace(&path, &changed);
            told += usize::from(read(folder.path()).is_err());
        }
        assert!(told > 30, "{file}: only {told}");
        fs::remove_file(&path).expect("it is there");
        let missing = read(folder.path());
        match file {
            "tokenizer.json" => {
                let tokenizer = missing.expect("a model without").tokenizer.expect_err("none").to_string();
                assert!(tokenizer.contains("PreTrainedTokenizerFast"), "{tokenizer}");
            }
            _ => assert!(missing.expect_err("it is missing").contains(file)),
        }
        replace(&path, &bytes);
        read(folder.path()).expect("all of it");
    }
}

/// Reads a folder in which one key of a JSON file has another value, or is missing.
fn with_key(folder: &Path, file: &str, key: &str, value: Option<Value>) -> Result<Marian, String> {
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
    replace(&path, json.to_string().as_bytes());
    let result = read(folder);
    replace(&path, &bytes);
    result
}

#[test]
fn odd_configurations_name_the_key() {
    let folder = folder();
    let folder = folder.path();
    let (model, _) = exported(folder);
    let told = |key: &str, value: Option<Value>, words: &[&str]| {
        let shown = format!("{key} is {value:?}");
        let error = with_key(folder, "config.json", key, value).expect_err(&shown);
        assert!(error.contains("config.json") && words.iter().all(|w| error.contains(w)), "{shown}: {error}");
    };
    told("model_type", Some(json!("bart")), &["model_type is \"bart\"", "MarianMTModel"]);
    told("model_type", None, &["model_type is missing"]);
    let sizes = ["vocab_size", "d_model", "encoder_layers", "decoder_layers", "max_position_embeddings"];
    let more = [
        "encoder_attention_heads",
        "encoder_ffn_dim",
        "decoder_start_token_id",
        "eos_token_id",
        "pad_token_id",
    ];
    for key in sizes.into_iter().chain(more) {
        told(key, None, &[key]);
        for value in [json!("4"), json!(-1), json!(1.5), json!([4]), json!(true)] {
            told(key, Some(value), &[key, "Take a copy"]);
        }
    }
    for key in [&sizes[..], &more[..2]].concat() {
        told(key, Some(json!(0)), &[key]);
        for size in [3_u64, 1_000_000, 1 << 40, 1 << 62, u64::MAX] {
            // More positions are another model, since they are computed.
            if (key, size) == ("max_position_embeddings", 3)
                || (key, size) == ("max_position_embeddings", 1_000_000)
            {
                assert_eq!(
                    with_key(folder, "config.json", key, Some(json!(size))).expect("fits").model.context(),
                    size as usize
                );
            } else {
                assert!(with_key(folder, "config.json", key, Some(json!(size))).is_err(), "{key} is {size}");
            }
        }
    }
    for (key, value, word) in [
        ("decoder_attention_heads", json!(4), "gradus has 2"),
        ("decoder_ffn_dim", json!(16), "gradus has 12"),
        ("decoder_vocab_size", json!(20), "gradus has 271"),
        ("share_encoder_decoder_embeddings", json!(false), "gradus has true"),
        ("tie_word_embeddings", json!(false), "gradus has true"),
        ("static_position_embeddings", json!(false), "gradus has true"),
        ("normalize_before", json!(true), "gradus has false"),
        ("normalize_embedding", json!(true), "gradus has false"),
        ("add_final_layer_norm", json!(true), "gradus has false"),
        ("activation_function", json!("swish"), "gradus has relu, gelu, gelu_new"),
        ("encoder_attention_heads", json!(3), "does not divide d_model, 8"),
        ("eos_token_id", json!(271), "of 271 tokens"),
        ("dropout", json!(1.0), "dropout"),
        ("dropout", json!("0.1"), "invalid type"),
        ("tie_word_embeddings", json!(1), "invalid type"),
        ("init_std", json!(-0.5), "init_std"),
    ] {
        told(key, Some(value), &[key, word]);
    }
    // What transformers has a default for may be missing.
    let defaults =
        ["decoder_vocab_size", "share_encoder_decoder_embeddings", "tie_word_embeddings", "normalize_before"];
    for key in defaults {
        let read = with_key(folder, "config.json", key, None).expect("a default");
        assert_eq!(read.model.config(), model.config());
    }
    let plain = with_key(folder, "config.json", "scale_embedding", None).expect("a default");
    assert_eq!(plain.model.config().decoder.embedding_scale, EmbeddingScale::One);
}

/// A tensor to be written: name, type, shape, bytes.
type Stored = (String, String, Vec<usize>, Vec<u8>);

/// The tensors of a folder.
fn stored(folder: &Path) -> Vec<Stored> {
    let bytes = fs::read(folder.join("model.safetensors")).expect("a file");
    let tensors = safetensors::SafeTensors::deserialize(&bytes).expect("a file of tensors");
    let all = tensors.iter().map(|(name, view)| {
        (name.to_owned(), view.dtype().to_string(), view.shape().to_vec(), view.data().to_vec())
    });
    all.collect()
}

/// Reads the folder with other tensors.
fn with_tensors(folder: &Path, tensors: &[Stored]) -> Result<Marian, String> {
    let (mut header, mut numbers) = (serde_json::Map::new(), Vec::new());
    for (name, dtype, shape, bytes) in tensors {
        let offsets = [numbers.len(), numbers.len() + bytes.len()];
        header.insert(name.clone(), json!({"dtype": dtype, "shape": shape, "data_offsets": offsets}));
        numbers.extend_from_slice(bytes);
    }
    let header = Value::Object(header).to_string();
    let bytes = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &numbers].concat();
    replace(&folder.join("model.safetensors"), &bytes);
    read(folder)
}

#[test]
fn tensors_are_those_of_the_class() {
    let folder = folder();
    let folder = folder.path();
    let (model, params) = exported(folder);
    let all = stored(folder);
    assert_eq!(with_tensors(folder, &all).expect("as they were").params, params);
    let at = |name: &str| all.iter().position(|tensor| tensor.0 == name).expect("a tensor");
    let told = |tensors: &[Stored], words: &[&str]| {
        let error = with_tensors(folder, tensors).expect_err(&format!("{words:?}"));
        let named = error.contains("model.safetensors") && error.contains("Take a copy");
        assert!(named && words.iter().all(|w| error.contains(w)), "{words:?}: {error}");
    };
    // Each tensor missing, and each of another shape. The bias of the logits may be missing.
    for (place, (name, _, shape, _)) in all.iter().enumerate() {
        let mut less = all.clone();
        less.remove(place);
        if name == "final_logits_bias" {
            assert_eq!(with_tensors(folder, &less).expect("without a bias").params, params);
        } else {
            told(&less, &[name, "is missing"]);
        }
        let mut other = all.clone();
        other[place].2.push(1);
        told(&other, &[name, &format!("instead of {shape:?}")]);
    }
    let with = |more: Stored| [&all[..], &[more]].concat();
    let again = |name: &str, of: &str| {
        let (_, dtype, shape, bytes) = all[at(of)].clone();
        (name.to_owned(), dtype, shape, bytes)
    };
    told(
        &with(again("model.encoder.layer_norm.weight", "model.encoder.layers.0.final_layer_norm.weight")),
        &["model.encoder.layer_norm.weight", "no part of such a model"],
    );
    told(
        &with(again("model.encoder.layers.1.fc1.bias", "model.encoder.layers.0.fc1.bias")),
        &["layers.1.fc1.bias"],
    );
    // The table under its other names: beside the first, or in its place.
    for name in ["model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight", "lm_head.weight"] {
        let table = again(name, "model.shared.weight");
        assert_eq!(with_tensors(folder, &with(table.clone())).expect("equal").params, params);
        let mut instead = all.clone();
        instead[at("model.shared.weight")] = table.clone();
        assert_eq!(with_tensors(folder, &instead).expect("in its place").params, params);
        let mut other = table;
        other.3[0] ^= 1;
        told(&with(other), &[name, "is not equal to model.shared.weight"]);
    }
    // Positions that are stored must be those that are computed.
    let (context, width) = (model.context(), model.config().decoder.n_embd);
    let angle = |at: usize| (at / width) as f32 * 10_000_f32.powf(-((at % width % 4) as f32) / 4.0);
    let sinusoid = |at: usize| if at % width < 4 { angle(at).sin() } else { angle(at).cos() };
    let positions = |change: f32| {
        let numbers = (0..context * width)
            .flat_map(|at| (sinusoid(at) + if at == 17 { change } else { 0.0 }).to_le_bytes());
        let name = "model.decoder.embed_positions.weight".to_owned();
        (name, "F32".to_owned(), vec![context, width], numbers.collect::<Vec<u8>>())
    };
    assert_eq!(with_tensors(folder, &with(positions(0.0))).expect("sines and cosines").params, params);
    told(&with(positions(0.01)), &["embed_positions", "at place 17"]);
    // A bias of the logits that is not zero is a parameter.
    let mut biased = all.clone();
    biased[at("final_logits_bias")].3[4..8].copy_from_slice(&2.5_f32.to_le_bytes());
    let read = with_tensors(folder, &biased).expect("a bias");
    assert!(read.model.config().head_bias && read.params.contains(&2.5));
    // Halves are widened, other types are refused.
    let halves = |dtype: &str, cut: fn(f32) -> u16| {
        let one = |(name, _, shape, bytes): &Stored| {
            let halves =
                bytes.as_chunks::<4>().0.iter().flat_map(|w| cut(f32::from_le_bytes(*w)).to_le_bytes());
            (name.clone(), dtype.to_owned(), shape.clone(), halves.collect::<Vec<u8>>())
        };
        with_tensors(folder, &all.iter().map(one).collect::<Vec<_>>())
    };
    let upper = |w: f32| (w.to_bits() >> 16) as u16;
    let read = halves("BF16", upper).expect("bfloat16");
    assert!(read.params.iter().zip(&params).all(|(a, b)| *a == f32::from_bits(b.to_bits() & 0xffff_0000)));
    halves("F16", |_| 0x3c00).expect("half precision").params.iter().for_each(|w| assert_eq!(*w, 1.0));
    assert!(halves("I16", upper).expect_err("integers").contains("I16"));
    assert!(halves("F16", |_| 0x7c00).expect_err("infinite").contains("inf"));
}

#[test]
fn weights_that_are_elsewhere_are_pointed_to() {
    let folder = folder();
    exported(folder.path());
    fs::rename(folder.path().join("model.safetensors"), folder.path().join("pytorch_model.bin"))
        .expect("renamed");
    let error = read(folder.path()).expect_err("pickled weights");
    assert!(error.contains("pytorch_model.bin") && error.contains("save_pretrained"), "{error}");
}

#[test]
fn tokenizers_of_other_kinds_are_named() {
    let folder = folder();
    let folder = folder.path();
    exported(folder);
    let file = "tokenizer.json";
    let named = |key: &str, value: Value, words: &[&str]| {
        let marian = with_key(folder, file, key, Some(value)).expect("the model is whole");
        let other = marian.tokenizer.expect_err(&format!("{words:?}")).to_string();
        assert!(words.iter().all(|word| other.contains(word)), "{words:?}: {other}");
    };
    named("model/type", json!("Unigram"), &["\"Unigram\"", "byte-level BPE"]);
    named("model", json!(7), &["null"]);
    named("model/byte_fallback", json!(true), &["byte_fallback"]);
    named("model/end_of_word_suffix", json!("</w>"), &["end_of_word_suffix", "</w>"]);
    named("normalizer", json!({"type": "Lowercase"}), &["normalizer", "Lowercase"]);
    named("pre_tokenizer", Value::Null, &["cuts texts by null"]);
    named("pre_tokenizer", json!({"type": "Whitespace"}), &["Whitespace"]);
    let prefixed = json!({"type": "ByteLevel", "add_prefix_space": true, "use_regex": true});
    named("pre_tokenizer", prefixed, &["add_prefix_space"]);
    let added = json!([{"id": 3, "content": "!", "special": false}]);
    named("added_tokens", added, &["\"!\"", "a single byte"]);
    let more = json!([{"id": VOCAB_SIZE, "content": "<more>", "special": true}]);
    named("added_tokens", more, &["272 tokens", "vocabulary of 271"]);
    // Merges as they were written before, and GPT-2's pieces as a regular expression.
    let bytes = fs::read(folder.join(file)).expect("a file");
    let json: Value = serde_json::from_slice(&bytes).expect("JSON");
    let pairs = json["model"]["merges"].as_array().expect("merges").clone();
    let old: Vec<String> = pairs
        .iter()
        .map(|p| format!("{} {}", p[0].as_str().expect("text"), p[1].as_str().expect("text")))
        .collect();
    let read = with_key(folder, file, "model/merges", Some(json!(old))).expect("old merges");
    assert_eq!(read.tokenizer, Ok(spec(&bpe(Pattern::Llama3))));
    let mut cut = json["pre_tokenizer"].clone();
    cut["pretokenizers"][0]["pattern"]["Regex"] = json!(Pattern::Gpt2.regex());
    let read = with_key(folder, file, "pre_tokenizer", Some(cut)).expect("another pattern");
    assert_eq!(read.tokenizer.expect("BPE").pattern, Pattern::Gpt2);
    // Damaged ones are errors.
    for (key, value, word) in [
        ("model/vocab", json!(3), "model does not parse"),
        ("model/merges", json!([["a", "가"]]), "no token"),
        ("model/merges", json!(["ab"]), "no pair"),
        ("model/merges", json!([["the", "the"]]), ""),
        ("model/vocab", json!({"a": 1_u64 << 40}), "1099511627776"),
        ("added_tokens", json!([{"id": 5, "content": "<s>", "special": true}]), "another id"),
        ("added_tokens", json!("<s>"), "added_tokens does not parse"),
    ] {
        let error = with_key(folder, file, key, Some(value)).expect_err(key);
        assert!(error.contains(file) && error.contains(word) && error.contains("Take a copy"), "{error}");
    }
}
