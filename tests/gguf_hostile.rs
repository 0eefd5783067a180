//! GGUF files that are cut off, damaged, or lie: each is an error that names the place and says what to do, never a panic, and
//! never a reason to ask for more memory than the file accounts for. `mutations.rs` cuts them off and changes them at random.

use std::fs;
use std::path::Path;

use gradus::checkpoint::gguf::{self, GgufFile, TensorType};
use gradus::checkpoint::{FolderError, LanguageModel, OtherTokenizer};
use gradus::model::{DecoderConfig, Model};

#[path = "common/allocator.rs"]
mod allocator;
#[path = "common/gguf_models.rs"]
mod gguf_models;

use gguf_models::{config, pieces, random_model};

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
