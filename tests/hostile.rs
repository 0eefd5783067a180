//! Checkpoints that are cut off, damaged, or lie: each is an error that says what is wrong, never a panic, and never a
//! reason to ask for more memory than the file's own size accounts for. And saving: what was saved is read bit for bit,
//! and what was there before stays if it fails.

use std::fs;
use std::path::Path;

use gradus::checkpoint::{Checkpoint, CheckpointError, FILE};
use gradus::data::{Batch, Sequences};
use gradus::model::{
    AttentionBias, Cache, ConfigError, Decoder, DecoderConfig, EmbeddingScale, Mode, Model, ModelSpec,
    NormKind, Placement, Position, ResidualInit, SavedModel, TiedEmbeddings, WeightInit,
};
use gradus::params::{BoundParams, Layout};
use gradus::random::Random;
use gradus::real::Real;
use gradus::tensor::{Mask, RopeScaling, Tensor};
use gradus::tokenizer::{CharTokenizer, TokenizerSpec};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

#[path = "common/allocator.rs"]
mod allocator;

/// The largest piece of memory that reading a checkpoint of a few kilobytes may ask for.
const ENOUGH: usize = 1 << 20;

/// Fields of a decoder that checkpoints did not have at first. Without them a model is as models were then.
const ADDED_LATER: [&str; 9] = [
    "ffn_bias",
    "mask",
    "attention_bias",
    "norm",
    "placement",
    "weight_init",
    "residual_init",
    "tied_embeddings",
    "embedding_scale",
];

/// A small model with all kinds of weights.
fn checkpoint<R: Real>() -> Checkpoint<R> {
    let config = DecoderConfig {
        context: 4,
        n_embd: 4,
        n_head: 2,
        n_kv_head: 1,
        n_ffn: 5,
        norm_gain: true,
        ..DecoderConfig::microgpt(4)
    };
    let model = Decoder::new(config).expect("a small model");
    let params: Vec<R> = model.layout().initial(&mut Random::new(3));
    Checkpoint::of(&model, &CharTokenizer::of("abé".chars()), &params)
}

/// The parameters of its model.
fn layout<R: Real>(checkpoint: &Checkpoint<R>) -> Layout {
    checkpoint.model.layout().expect("a model that there is")
}

/// The bytes of its file.
fn saved<R: Real>() -> Vec<u8> {
    let folder = folder();
    checkpoint::<R>().save(folder.path()).expect("it can be saved");
    fs::read(folder.path().join(FILE)).expect("it was saved")
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

/// Loads a checkpoint from a file with these bytes. Whatever they are, what is loaded must be sound, what is not must be
/// called damaged, and no memory is asked for on the strength of a claim.
fn load<R: Real>(folder: &Path, bytes: &[u8]) -> Result<Checkpoint<R>, String> {
    let path = folder.join(FILE);
    // A new file each time: some file systems flush one that is written over, which takes its time.
    fs::remove_file(&path).ok();
    fs::write(&path, bytes).expect("the file can be written");
    let (result, _, largest) = allocator::count_allocations(|| Checkpoint::<R>::load(folder));
    assert!(largest <= ENOUGH, "{largest} bytes for a file of {}", bytes.len());
    match result {
        Ok(checkpoint) => {
            assert_eq!(checkpoint.params.len(), layout(&checkpoint).len());
            assert!(checkpoint.params.iter().all(|w| w.to_f64().is_finite()));
            let tokenizer = checkpoint.tokenizer.build().expect("a tokenizer that there is");
            assert_eq!(tokenizer.vocab_size(), checkpoint.model.vocab_size());
            Ok(checkpoint)
        }
        Err(error) => {
            let text = error.to_string();
            assert!(text.contains(&path.display().to_string()), "{text} does not name the file");
            assert!(matches!(error, CheckpointError::Damaged { .. }), "{text}");
            Err(text)
        }
    }
}

/// The parts of a checkpoint's file: the header as JSON, and the numbers.
fn parts(bytes: &[u8]) -> (Map<String, Value>, Vec<u8>) {
    let (length, rest) = bytes.split_first_chunk::<8>().expect("a file begins with a length");
    let (header, numbers) = rest.split_at(u64::from_le_bytes(*length) as usize);
    (serde_json::from_slice(header).expect("the header is JSON"), numbers.to_vec())
}

/// A file of a header and numbers.
fn file(header: impl AsRef<[u8]>, numbers: &[u8]) -> Vec<u8> {
    let header = header.as_ref();
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header);
    bytes.extend(numbers);
    bytes
}

#[test]
fn what_was_saved_is_read_bit_for_bit() {
    fn round_trip<R: Real>(odd: &[f64], bits: impl Fn(R) -> u64) {
        let mut checkpoint = checkpoint::<R>();
        for (w, &x) in checkpoint.params.iter_mut().zip(odd) {
            *w = R::from_f64(x);
        }
        let folder = folder();
        let nested = folder.path().join("made/on/the way");
        checkpoint.save(&nested).expect("it can be saved");
        let read = Checkpoint::<R>::load(&nested).expect("it can be read");
        let all = |params: &[R]| params.iter().map(|&w| bits(w)).collect::<Vec<u64>>();
        assert_eq!(all(&read.params), all(&checkpoint.params));
        assert_eq!(read.model, checkpoint.model);
        assert_eq!(read.tokenizer, checkpoint.tokenizer);
        let again = folder.path().join("again");
        read.save(&again).expect("it can be saved");
        let bytes = |folder: &Path| fs::read(folder.join(FILE)).expect("a saved file");
        assert_eq!(bytes(&again), bytes(&nested), "saved again it is the same file");
    }
    let odd = [-0.0, f64::MIN_POSITIVE, 5e-324, -f64::MAX, 0.1, 1.0 / 3.0];
    round_trip::<f64>(&odd, f64::to_bits);
    let odd = [-0.0, f32::MIN_POSITIVE, 1e-45, -f32::MAX, 0.1, 1.0 / 3.0].map(f64::from);
    round_trip::<f32>(&odd, |w| w.to_bits().into());
}

/// Each type of number can be read as the other, rounded.
#[test]
fn numbers_of_the_other_type_are_read_too() {
    let folder = folder();
    let narrow = load::<f32>(folder.path(), &saved::<f64>()).expect("f64 as f32");
    let wide = load::<f64>(folder.path(), &saved::<f32>()).expect("f32 as f64");
    for ((narrow, wide), w) in narrow.params.iter().zip(&wide.params).zip(checkpoint::<f64>().params) {
        assert_eq!(*narrow, w as f32);
        assert_eq!(*wide, f64::from(w as f32));
    }
    let mut large = checkpoint::<f64>();
    large.params[1] = 1e300; // no f32 is so large
    large.save(folder.path()).expect("it can be saved");
    let bytes = fs::read(folder.path().join(FILE)).expect("it was saved");
    assert!(load::<f32>(folder.path(), &bytes).expect_err("infinite").contains("inf"));
}

#[test]
fn every_truncation_is_an_error() {
    let folder = folder();
    for bytes in [saved::<f64>(), saved::<f32>()] {
        for length in 0..bytes.len() {
            assert!(load::<f64>(folder.path(), &bytes[..length]).is_err(), "the first {length} bytes");
        }
        load::<f64>(folder.path(), &bytes).expect("all of them");
        let longer = [&bytes[..], &[0]].concat();
        load::<f64>(folder.path(), &longer).expect_err("one byte too many");
    }
}

/// Not every flip can be told (a gain of 3 may have been a 2), but none may panic or give what is unsound, and those
/// in the structure are told.
#[test]
fn every_flipped_bit_is_told_or_harmless() {
    let folder = folder();
    let bytes = saved::<f64>();
    let numbers = parts(&bytes).1.len();
    let (mut told, mut all) = (0, 0);
    for at in 0..bytes.len() - numbers {
        for bit in 0..8 {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << bit;
            told += usize::from(load::<f64>(folder.path(), &flipped).is_err());
            all += 1;
        }
    }
    assert!(told * 10 > all * 9, "only {told} of {all}");
    for at in (bytes.len() - numbers..bytes.len()).step_by(5) {
        for byte in [0x00, 0x7f, 0x80, 0xff] {
            let mut flipped = bytes.clone();
            flipped[at] = byte;
            load::<f64>(folder.path(), &flipped).ok();
        }
    }
}

/// Runs the same lie past both types, and demands that the error speaks of it.
fn told(what: &str, bytes: &[u8], words: &[&str]) {
    let folder = folder();
    let wide = load::<f64>(folder.path(), bytes).err();
    let narrow = load::<f32>(folder.path(), bytes).err();
    for error in [wide, narrow] {
        let error = error.unwrap_or_else(|| panic!("{what}: it was loaded all the same"));
        assert!(words.iter().any(|word| error.contains(word)), "{what}: none of {words:?} in {error:?}");
        assert_eq!(error.lines().count(), 1, "{what}: {error}");
    }
}

#[test]
fn lies_about_the_structure() {
    let (header, numbers) = parts(&saved::<f64>());
    let text = Value::Object(header.clone()).to_string();
    let any = &[""];
    told("nothing", &[], any);
    told("zeros", &[0; 64], any);
    told("no header", &file("", &[]), any);
    told("an empty object", &file("{}", &[]), &["does not describe"]);
    told("a list", &file("[1, 2]", &[]), any);
    told("no JSON", &file("{\"a\":", &[]), any);
    told("no text", &file([0xff, 0xfe, 0x00], &[]), any);
    told("deep JSON", &file("[".repeat(100_000), &[]), any);
    told("deep JSON in an object", &file("{\"a\":".repeat(100_000), &[]), any);
    for length in [u64::MAX, u64::MAX - 7, 1 << 63, 1 << 40, 100_000_001, text.len() as u64 + 1, 1, 0] {
        let mut bytes = file(&text, &numbers);
        bytes[..8].copy_from_slice(&length.to_le_bytes());
        if length as usize == text.len() + 1 {
            bytes.truncate(8 + text.len());
        }
        told(&format!("a header of {length}"), &bytes, any);
    }
    told("no numbers", &file(&text, &[]), any);
    told("numbers twice", &file(&text, &numbers.repeat(2)), any);
}

#[test]
fn lies_about_a_matrix() {
    let (header, numbers) = parts(&saved::<f64>());
    let tokens = "model.embed_tokens.weight";
    let head = "lm_head.weight";
    let shape = header[tokens]["shape"].clone();
    assert_eq!(shape, json!([4, 4]));
    let fc1 = "model.layers.0.mlp.fc1.weight";
    assert_eq!(header[fc1]["shape"], json!([5, 4]));
    let lie = |name: &str, field: &str, value: Value, words: &[&str]| {
        let mut header = header.clone();
        let what = format!("{field} of {name} is {value}");
        header[name][field] = value;
        told(&what, &file(Value::Object(header).to_string(), &numbers), words);
    };
    lie(fc1, "shape", json!([4, 5]), &["[4, 5] instead of [5, 4]"]);
    lie(fc1, "shape", json!([20]), &["[20] instead of [5, 4]"]);
    lie(fc1, "shape", json!([5, 2, 2]), &["instead of [5, 4]"]);
    for shape in [
        json!([5, 5]),
        json!([]),
        json!([0, 4]),
        json!([1_u64 << 32, 1_u64 << 32]),
        json!([u64::MAX, u64::MAX]),
        json!([u64::MAX, 2, 2]),
        json!([1_u64 << 61, 1]),
        json!([-5, -4]),
        json!([5.0, 4.0]),
        json!("5x4"),
        Value::Null,
    ] {
        lie(fc1, "shape", shape, &[""]);
    }
    for offsets in [
        header[tokens]["data_offsets"].clone(), // where another matrix lies
        json!([0, 160]),
        json!([160, 0]),
        json!([u64::MAX - 159, u64::MAX]),
        json!([u64::MAX, 159]),
        json!([1_u64 << 60, (1_u64 << 60) + 160]),
        json!([0]),
        json!([-160, 0]),
        Value::Null,
    ] {
        lie(fc1, "data_offsets", offsets, &[""]);
    }
    for dtype in ["F65", "f64", "", "I64", "U64", "BF16", "F16", "F32", "C64"] {
        lie(fc1, "dtype", json!(dtype), &[""]);
    }
    lie(fc1, "dtype", json!("I64"), &["I64"]);
    lie(fc1, "dtype", json!(7), &[""]);

    let mut missing = header.clone();
    let moved = missing.remove(head).expect("it has a head");
    missing.insert("lm_head.wait".to_owned(), moved);
    told("another name", &file(Value::Object(missing).to_string(), &numbers), &["lm_head.weight is missing"]);

    let mut more = header.clone();
    let end = numbers.len();
    more.insert("extra".to_owned(), json!({"dtype": "F64", "shape": [1], "data_offsets": [end, end + 8]}));
    let longer = [&numbers[..], &[0; 8]].concat();
    told("a matrix too many", &file(Value::Object(more.clone()).to_string(), &longer), &["matrices"]);
    more["extra"] = json!({"dtype": "F64", "shape": [0], "data_offsets": [end, end]});
    told("an empty one too many", &file(Value::Object(more).to_string(), &numbers), &["matrices"]);

    // The offsets of two matrices exchanged: legal by itself, and only a reader who trusts the order is misled.
    let mut exchanged = header.clone();
    let offsets = |name: &str| header[name]["data_offsets"].clone();
    exchanged[tokens]["data_offsets"] = offsets(head);
    exchanged[head]["data_offsets"] = offsets(tokens);
    let folder = folder();
    let bytes = file(Value::Object(exchanged).to_string(), &numbers);
    let read = load::<f64>(folder.path(), &bytes).expect("matrices may lie in any order");
    let layout = layout(&read);
    let range = |name: &str| layout.specs().iter().find(|spec| spec.name == name).expect("a matrix").range();
    assert_eq!(read.params[range(tokens)], checkpoint::<f64>().params[range(head)]);
    assert_eq!(read.params[range(head)], checkpoint::<f64>().params[range(tokens)]);
}

#[test]
fn a_key_that_stands_twice() {
    let (header, numbers) = parts(&saved::<f64>());
    let text = Value::Object(header.clone()).to_string();
    for name in ["__metadata__", "lm_head.weight"] {
        let again = format!("{{\"{name}\":{},{}", header[name], &text[1..]);
        told(&format!("{name} twice"), &file(again, &numbers), &[""]);
        let other = if name == "__metadata__" {
            json!({"gradus": "{}"})
        } else {
            json!({"dtype": "F64", "shape": [2, 8], "data_offsets": header[name]["data_offsets"]})
        };
        let before = format!("{{\"{name}\":{other},{}", &text[1..]);
        told(&format!("{name} twice, first otherwise"), &file(before, &numbers), &[""]);
    }
    for field in ["dtype", "shape", "data_offsets"] {
        let own = format!("\"{field}\":{}", header["lm_head.weight"][field]);
        let (before, after) = text.split_once("\"lm_head.weight\":{").expect("the head's entry");
        let again = format!("{before}\"lm_head.weight\":{{{own},{after}");
        told(&format!("{field} twice"), &file(again, &numbers), &["duplicate"]);
    }
}

#[test]
fn weights_that_are_no_numbers() {
    let (header, numbers) = parts(&saved::<f64>());
    let text = Value::Object(header.clone()).to_string();
    let count = numbers.len() / 8;
    for at in [0, 7, count - 1] {
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let mut numbers = numbers.clone();
            numbers[at * 8..][..8].copy_from_slice(&bad.to_le_bytes());
            told(&format!("{bad} at {at}"), &file(&text, &numbers), &[&bad.to_string()]);
        }
    }
}

#[test]
fn lies_in_the_description() {
    let (header, numbers) = parts(&saved::<f64>());
    let text = header["__metadata__"]["gradus"].as_str().expect("a description").to_owned();
    let description: Value = serde_json::from_str(&text).expect("it is JSON");
    let with = |metadata: Value| {
        let mut header = header.clone();
        header.insert("__metadata__".to_owned(), metadata);
        file(Value::Object(header).to_string(), &numbers)
    };
    let describe = |text: String| with(json!({ "gradus": text }));
    let folder = folder();
    load::<f64>(folder.path(), &describe(text.clone())).expect("the true one");
    load::<f64>(folder.path(), &with(json!({"gradus": text, "by": "somebody"}))).expect("more metadata");

    told("no description", &with(json!({})), &["does not describe"]);
    told("no metadata", &with(Value::Null), &["does not describe"]);
    told("other metadata", &with(json!({"format": "pt"})), &["does not describe"]);
    told("metadata of another type", &with(json!([1])), &[""]);
    told("a description of another type", &with(json!({"gradus": description})), &[""]);
    for wrong in ["", "{", "null", "[]", "{}", "7", "\u{0}", &text[..text.len() - 1], &format!("{text} x")] {
        told(&format!("description {wrong:?}"), &describe(wrong.to_owned()), &["description does not parse"]);
    }
    told("a deep description", &describe("[".repeat(100_000)), &["description does not parse"]);
    let infinite = text.replacen("\"norm_eps\":0.00001", "\"norm_eps\":1e999", 1);
    assert_ne!(infinite, text);
    told("an infinite norm_eps", &describe(infinite), &[""]);
    for (before, again) in [
        ("{", r#"{"tokenizer":{"type":"characters","characters":"abé"},"#),
        (r#""tokenizer":{"#, r#""tokenizer":{"characters":"abc","#),
        (r#""tokenizer":{"#, r#""tokenizer":{"type":"characters","#),
        (r#""model":{"#, r#""model":{"type":"decoder","#),
        (r#""model":{"#, r#""model":{"n_layer":1,"#),
    ] {
        let twice = text.replacen(before, again, 1);
        assert_ne!(twice, text);
        told(&format!("{again} twice"), &describe(twice), &["duplicate"]);
    }

    for part in ["model", "tokenizer"] {
        let fields = description[part].as_object().expect("an object").keys();
        for field in fields {
            let mut less = description.clone();
            less[part].as_object_mut().expect("an object").remove(field);
            let less = describe(less.to_string());
            if ADDED_LATER.contains(&field.as_str()) {
                load::<f64>(folder.path(), &less).expect("as it was before there was such a field");
            } else {
                told(&format!("no {field}"), &less, &[field]);
            }
            for value in [json!("4"), json!(-1.5), json!([4]), Value::Null] {
                let mut other = description.clone();
                other[part][field] = value.clone();
                told(&format!("{field} is {value}"), &describe(other.to_string()), &[""]);
            }
        }
        let mut more = description.clone();
        more[part]["n_heads"] = json!(4);
        told("a field too many", &describe(more.to_string()), &["n_heads"]);
        let mut other = description.clone();
        other[part]["type"] = json!("perceptron");
        told("a family that there is not", &describe(other.to_string()), &["perceptron"]);
        let mut less = description.clone();
        less.as_object_mut().expect("an object").remove(part);
        told("a part too few", &describe(less.to_string()), &[part]);
    }
    let mut more = description.clone();
    more["params"] = json!([]);
    told("a field too many", &describe(more.to_string()), &["params"]);

    let sizes = ["vocab_size", "context", "n_layer", "n_embd", "n_head", "n_kv_head", "n_ffn"];
    for field in sizes {
        for size in [0, 3, 7, 1_000_000_000, 1 << 40, (1 << 40) + 1, 1 << 62, u64::MAX] {
            if description["model"][field] != json!(size) {
                let mut other = description.clone();
                other["model"][field] = json!(size);
                told(&format!("{field} is {size}"), &describe(other.to_string()), &[""]);
            }
        }
    }
    // All sizes at once, so that they fit each other.
    let mut huge = description.clone();
    for field in ["n_embd", "n_head", "n_kv_head", "n_ffn"] {
        huge["model"][field] = json!(1_u64 << 40);
    }
    told("a huge model", &describe(huge.to_string()), &["more parameters"]);

    for (field, value) in [
        ("dropout", json!(1.0)),
        ("norm_eps", json!(-1.0)),
        ("init_std", json!(-1.0)),
        ("position", json!("absolute")),
        ("activation", json!("mish")),
        ("n_kv_head", json!(2)),
    ] {
        let mut other = description.clone();
        other["model"][field] = value.clone();
        told(&format!("{field} is {value}"), &describe(other.to_string()), &[""]);
    }
    for characters in ["", "ab", "abcd", "aab", "béa"] {
        let mut other = description.clone();
        other["tokenizer"]["characters"] = json!(characters);
        told(&format!("characters {characters:?}"), &describe(other.to_string()), &[""]);
    }
}

#[test]
fn what_is_not_there_cannot_be_read() {
    let folder = folder();
    let path = folder.path();
    let refused = |folder: &Path| match Checkpoint::<f64>::load(folder) {
        Err(error @ CheckpointError::Io { .. }) => {
            let text = error.to_string();
            assert!(text.contains(&folder.join(FILE).display().to_string()), "{text}");
        }
        other => panic!("{:?}", other.map(|checkpoint| checkpoint.params)),
    };
    refused(path);
    refused(&path.join("missing"));
    fs::write(path.join("file"), "x").expect("a file");
    refused(&path.join("file"));
    fs::create_dir(path.join(FILE)).expect("a folder where the file should be");
    refused(path);
}

/// Everything in a folder, with its content.
fn content(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut all: Vec<_> = fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .map(|path| (path.display().to_string(), fs::read(&path).unwrap_or_default()))
        .collect();
    all.sort();
    all
}

#[test]
fn a_new_checkpoint_replaces_the_old_one() {
    let folder = folder();
    let mut checkpoint = checkpoint::<f64>();
    checkpoint.save(folder.path()).expect("it can be saved");
    let old = content(folder.path());
    checkpoint.params[0] = 7.0;
    checkpoint.save(folder.path()).expect("it can be saved again");
    let new = content(folder.path());
    assert_eq!((old.len(), new.len()), (1, 1), "one file, and nothing beside it");
    assert_ne!(old, new);
    assert_eq!(Checkpoint::<f64>::load(folder.path()).expect("the new one").params[0], 7.0);
}

#[test]
fn what_was_there_stays_if_saving_fails() {
    let refused = |folder: &Path| {
        let error = checkpoint::<f64>().save(folder).expect_err("it cannot be saved there");
        assert!(matches!(error, CheckpointError::Io { .. }), "{error}");
    };
    // A folder stands where the file should be: the last step of saving fails.
    let folder = folder();
    let old = folder.path().join(FILE);
    fs::create_dir(&old).expect("a folder");
    fs::write(old.join("inside"), "old").expect("a file in it");
    let before = content(folder.path());
    refused(folder.path());
    assert_eq!(content(folder.path()), before, "nothing new, and nothing left over");
    assert_eq!(fs::read_to_string(old.join("inside")).expect("it is there still"), "old");

    // A file stands where the folder should be: the first step fails.
    let file = folder.path().join("file");
    fs::write(&file, "old").expect("a file");
    refused(&file);
    refused(&file.join("below"));
    assert_eq!(fs::read_to_string(&file).expect("it is there still"), "old");
}

/// A rotary base is stored beside the variant's name, and comes back.
#[test]
fn every_variant_of_a_configuration_is_read_back() {
    let folder = folder();
    let ModelSpec::Decoder(small) = checkpoint::<f64>().model else { panic!("it holds a decoder") };
    let relative = Position::Relative { buckets: 5, max_distance: 9 };
    let scaling = RopeScaling::Llama3 {
        factor: 8.0,
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_context: 8192,
    };
    for config in [
        DecoderConfig { position: Position::rope(12_345.678), ..small.clone() },
        DecoderConfig { position: Position::Rope { base: 5e5, scaling }, ..small.clone() },
        DecoderConfig { activation: gradus::model::Activation::Swiglu, n_layer: 3, ..small.clone() },
        DecoderConfig {
            qk_norm: true,
            final_norm: true,
            embedding_norm: false,
            dropout: 0.1,
            ..small.clone()
        },
        DecoderConfig { position: relative, mask: Mask::Window(3), head_dim: Some(5), ..small.clone() },
        DecoderConfig { norm: NormKind::Layer, placement: Placement::Post, ffn_bias: true, ..small.clone() },
        DecoderConfig {
            position: Position::Sinusoidal,
            attention_bias: AttentionBias::Qvo,
            weight_init: WeightInit::XavierUniform,
            residual_init: ResidualInit::Scaled,
            tied_embeddings: TiedEmbeddings::Output,
            embedding_scale: EmbeddingScale::RootWidth,
            ..small
        },
    ] {
        let model = Decoder::new(config.clone()).expect("a small model");
        let params: Vec<f64> = model.layout().initial(&mut Random::new(4));
        let saved = Checkpoint::of(&model, &CharTokenizer::of("abé".chars()), &params);
        saved.save(folder.path()).expect("it can be saved");
        let read = Checkpoint::<f64>::load(folder.path()).expect("it can be read");
        assert_eq!(read.model, ModelSpec::Decoder(config.clone()));
        assert_eq!(read.params, params);
        let read = Checkpoint::<f64>::load_as::<Decoder>(folder.path()).expect("it can be read");
        assert_eq!(read.model.config(), &config);
        assert_eq!(read.params, params);
        assert_eq!(read.tokenizer.spec(), TokenizerSpec::Characters { characters: "abé".to_owned() });
    }
}

/// A model of a family of its own, for programs to ask for in vain.
#[derive(Debug)]
struct Other(Decoder);

impl Model for Other {
    fn layout(&self) -> &Layout {
        self.0.layout()
    }
    fn losses<T: Tensor>(&self, params: BoundParams<'_, T>, batch: &Batch, mode: Mode) -> T {
        self.0.losses(params, batch, mode)
    }
    fn decode<T: Tensor>(
        &self,
        params: BoundParams<'_, T>,
        sequences: Sequences<'_>,
        cache: &mut Cache<'_, T>,
    ) -> T {
        self.0.decode(params, sequences, cache)
    }
    fn vocab_size(&self) -> usize {
        self.0.vocab_size()
    }
    fn context(&self) -> usize {
        self.0.context()
    }
}

impl SavedModel for Other {
    const FAMILY: &'static str = "a perceptron";
    fn spec(&self) -> ModelSpec {
        self.0.spec()
    }
    fn from_spec(spec: ModelSpec) -> Result<Self, ConfigError> {
        Decoder::from_spec(spec).map(Other)
    }
}

#[test]
fn a_model_of_another_family_is_called_by_its_name() {
    let folder = folder();
    checkpoint::<f64>().save(folder.path()).expect("it can be saved");
    let error =
        Checkpoint::<f64>::load_as::<Other>(folder.path()).map(|read| read.model).expect_err("another");
    let path = folder.path().join(FILE);
    assert_eq!(
        error.to_string(),
        format!("{} holds a decoder, where a perceptron is needed", path.display())
    );
}
