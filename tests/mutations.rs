//! Files of every kind that is read, cut off and changed at random, most of all where it matters: lengths,
//! shapes, numbers, names, keys, nesting. Each is an error that names the file and stays short, or a model that is sound;
//! never a panic, and never a reason to ask for more memory than the files account for.
//!
//! By default each kind is cut off at some lengths and changed a few hundred times. `MUTATIONS` says how often instead, and then it
//! is cut off at all lengths; the same number gives the same changes:
//!
//! ```sh
//! MUTATIONS=1000000 cargo test --release --features chat --test mutations -- --nocapture
//! ```
//!
//! `common/mutate.rs` has the changes. The files are small, and lie in memory where the system has such a folder.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use gradus::checkpoint::gguf::{self, TensorType};
use gradus::checkpoint::{Checkpoint, LanguageModel, StoredAs, adapter, llama, llama2c};
use gradus::data::{Conversations, check_arguments, check_schema};
use gradus::engine::{Room, Session};
use gradus::fast::{InferenceEngine, StoredParams};
use gradus::gemm::Dtype;
use gradus::model::{Decoder, DecoderConfig, LoraConfig, LoraTarget, Model};
use gradus::random::Random;
use gradus::tokenizer::CharTokenizer;
use tempfile::TempDir;

#[path = "common/gguf_models.rs"]
mod gguf_models;
#[path = "common/llama2c_files.rs"]
mod llama2c_files;
#[path = "common/mutate.rs"]
mod mutate;
#[path = "common/watch.rs"]
mod watch;

use gguf_models::{pieces, random_model};
use mutate::{Seed, gguf_fields};

/// How often each kind of file is changed if nobody says it.
const FEW: usize = 400;
/// What most readers may have in memory at a time beside what the files account for.
const BESIDE: usize = 1 << 18;
/// How many bytes a byte of the files accounts for: a value of JSON that is one byte long becomes many.
const FACTOR: usize = 64;
/// The longest message, in characters. (The path in it is not counted.)
const LONGEST_MESSAGE: usize = 1500;

/// How the names of files end that are changed, and what they are.
type Changed = (&'static str, fn(&[u8]) -> Seed);

/// A folder with files, some of which are changed.
struct Case {
    folder: TempDir,
    files: Vec<(PathBuf, Seed)>,
    /// From which length on the beginning of a file is a whole one.
    whole: fn(&[u8]) -> usize,
    /// What a reader may have in memory at a time beside what the files account for.
    beside: usize,
}

impl Case {
    /// A folder with files that stay, and files that are changed.
    fn new(stay: &[(&str, Vec<u8>)], changed: Vec<(&str, Seed)>) -> Self {
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        let folder = folder.expect("a folder");
        for (name, bytes) in stay.iter().map(|(name, bytes)| (name, bytes)) {
            fs::write(folder.path().join(name), bytes).expect("written");
        }
        let file = |(name, seed): (&str, Seed)| {
            let path = folder.path().join(name);
            fs::write(&path, &seed.bytes).expect("written");
            (path, seed)
        };
        let files = changed.into_iter().map(file).collect();
        Case { folder, files, whole: <[u8]>::len, beside: BESIDE }
    }

    /// All files of a folder but some, of which those of some names are changed.
    fn of_folder(from: &Path, without: &[&str], changed: &[Changed]) -> Self {
        let (mut stay, mut seeds) = (Vec::new(), Vec::new());
        for entry in fs::read_dir(from).expect("a folder") {
            let path = entry.expect("a file").path();
            let name = path.file_name().and_then(|name| name.to_str()).expect("a name").to_owned();
            let bytes = fs::read(&path).expect("a file");
            match changed.iter().find(|(suffix, _)| name.ends_with(suffix)) {
                Some((_, seed)) => seeds.push((name, seed(&bytes))),
                None if without.contains(&name.as_str()) => {}
                None => stay.push((name, bytes)),
            }
        }
        // Whatever order the system lists them in.
        seeds.sort_by(|(a, _), (b, _)| a.cmp(b));
        let stay: Vec<(&str, Vec<u8>)> =
            stay.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())).collect();
        Self::new(&stay, seeds.iter().map(|(name, seed)| (name.as_str(), seed.clone())).collect())
    }

    fn bytes(&self) -> usize {
        let files = fs::read_dir(self.folder.path()).expect("a folder");
        files
            .map(|entry| entry.and_then(|entry| entry.metadata()).map_or(0, |file| file.len() as usize))
            .sum()
    }
}

/// What came of one kind.
#[derive(Default)]
struct Tally {
    errors: usize,
    largest: usize,
    peak: usize,
    /// The greatest share of what was allowed.
    share: f64,
    slowest: Duration,
}

/// Reads folders whose files are cut off and changed. `read` gives the error of a folder, or checks what it read.
fn run(kind: &str, cases: &[Case], read: impl Fn(&Path, usize) -> Result<(), String>) {
    let rounds = std::env::var("MUTATIONS").ok().and_then(|text| text.parse().ok()).unwrap_or(FEW);
    let (start, mut tally) = (Instant::now(), Tally::default());
    let mut try_one = |case: &Case, round: usize, path: &Path, bytes: &[u8], others: usize| {
        fs::write(path, bytes).expect("written");
        let begin = Instant::now();
        let folder = case.folder.path();
        let (result, watched) = watch::watch(|| catch_unwind(AssertUnwindSafe(|| read(folder, round))));
        tally.slowest = tally.slowest.max(begin.elapsed());
        let allowed = case.beside + FACTOR * (others + bytes.len());
        tally.largest = tally.largest.max(watched.largest);
        tally.peak = tally.peak.max(watched.peak);
        tally.share = tally.share.max(watched.peak as f64 / allowed as f64);
        // What failed stays there, to be looked at.
        let kept = || {
            let kept = std::env::temp_dir().join(format!("gradus-mutation-{kind}"));
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            fs::create_dir_all(&kept).and_then(|()| fs::write(kept.join(&name), bytes)).expect("kept");
            format!("{kind}, round {round}, {}", kept.join(name).display())
        };
        assert!(watched.peak <= allowed, "{}: {watched:?}, where {allowed} are allowed", kept());
        match result {
            Ok(Ok(())) => true,
            Ok(Err(text)) => {
                let folder = folder.display().to_string();
                let length = text.replace(&folder, "").chars().count();
                assert!(text.contains(&folder), "{}: no file is named in {text}", kept());
                assert!(length <= LONGEST_MESSAGE, "{}: {length} characters: {text}", kept());
                tally.errors += 1;
                false
            }
            Err(_) => panic!("{}: it panicked", kept()),
        }
    };
    let mut cut = 0;
    for case in cases {
        for (path, seed) in &case.files {
            let others = case.bytes() - seed.bytes.len();
            assert!(try_one(case, 0, path, &seed.bytes, others), "{kind}: {} is whole", path.display());
            // Every length, if somebody has the time.
            let step = if rounds > FEW { 1 } else { 1 + seed.bytes.len() / 200 };
            for length in (0..seed.bytes.len()).step_by(step) {
                let good = try_one(case, 1, path, &seed.bytes[..length], others);
                assert!(!good || length >= (case.whole)(&seed.bytes), "{} of {length} bytes", path.display());
                cut += 1;
            }
            fs::write(path, &seed.bytes).expect("put back");
        }
    }
    let files: Vec<(&Case, &PathBuf, &Seed, usize)> = cases
        .iter()
        .flat_map(|case| {
            case.files.iter().map(move |(path, seed)| (case, path, seed, case.bytes() - seed.bytes.len()))
        })
        .collect();
    let (mut sound, mut changed) = (0, None::<(&Path, &Seed)>);
    for round in 0..rounds {
        let mut random = Random::new(round as u64);
        let (case, path, seed, others) = mutate::pick(&files, &mut random);
        if let Some((before, whole)) = changed.replace((path, seed)).filter(|(before, _)| before != path) {
            fs::write(before, &whole.bytes).expect("put back");
        }
        sound += usize::from(try_one(case, round, path, &seed.mutate(&mut random), *others));
    }
    println!(
        "{kind}: {cut} truncations and {rounds} mutations in {:.0} s, {sound} of these sound; at most {} bytes at a time, {} in one piece, \
         {:.0} % of what was allowed; the slowest took {:.1} ms",
        start.elapsed().as_secs_f64(),
        tally.peak,
        tally.largest,
        100.0 * tally.share,
        1e3 * tally.slowest.as_secs_f64()
    );
    assert!(sound < rounds && rounds < 100 || sound > rounds / 100, "{kind}: {sound} of {rounds} are sound");
    assert!(tally.errors > rounds / 5, "{kind}: only {} errors", tally.errors);
}

/// That a model which was read can be used. Every few rounds it is.
fn sound(read: &LanguageModel, round: usize) {
    assert_eq!(read.params.len(), read.model.layout().len());
    assert!(read.params.iter().all(|w| w.is_finite()));
    let vocab_size = read.model.vocab_size();
    let tokens = read.tokens.bos.iter().chain(&read.tokens.eos).chain(&read.tokens.pad);
    assert!(tokens.into_iter().all(|&token| token < vocab_size));
    if round.is_multiple_of(8)
        && let Ok(spec) = &read.tokenizer
    {
        let tokenizer = spec.build().expect("a tokenizer that was checked");
        assert!(tokenizer.vocab_size() <= vocab_size);
        if let Ok(tokens) = tokenizer.encode("the hé\u{2581}<s> \0") {
            assert!(tokens.iter().all(|&token| token < vocab_size));
            tokenizer.decode(&tokens);
        }
    }
    if round.is_multiple_of(16) {
        let stored = StoredParams::new(read.model.layout(), &read.params, Dtype::Int8);
        let mut engine = InferenceEngine::new(1);
        let room = Room { sequences: 1, tokens: 3.min(read.model.context()), source_tokens: 0 };
        let mut session = Session::new(&mut engine, &read.model, &stored, room);
        assert_eq!(session.feed(0, &[0, vocab_size - 1][..2.min(room.tokens)]).len(), vocab_size);
    }
}

fn folder_of(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/llama").join(name)
}

/// Where the white space at the end of a text begins.
fn before_space(bytes: &[u8]) -> usize {
    bytes.trim_ascii_end().len()
}

fn read_folder(folder: &Path, round: usize) -> Result<(), String> {
    llama::import(folder).map(|read| sound(&read, round)).map_err(|error| error.to_string())
}

/// A folder of ours with the smallest model that has a tokenizer of pieces.
fn folder_of_pieces(changed: &[Changed]) -> Case {
    let config = DecoderConfig {
        n_layer: 1,
        n_embd: 4,
        n_head: 2,
        n_kv_head: 1,
        n_ffn: 3,
        ..gguf_models::config(272)
    };
    let folder = tempfile::tempdir().expect("a folder");
    llama::export(folder.path(), &random_model(config, pieces()), StoredAs::Bf16).expect("a Llama");
    Case::of_folder(folder.path(), &[], changed)
}

#[test]
fn weights_as_safetensors() {
    let tokenizer = ["tokenizer.json"];
    let weights: Changed = (".safetensors", Seed::safetensors);
    let index: Changed = (".index.json", Seed::json);
    let cases = [
        Case::of_folder(&folder_of("llama"), &tokenizer, &[weights, index]),
        Case::of_folder(&folder_of("qwen2"), &tokenizer, &[weights]),
        Case::of_folder(&folder_of("llama3"), &tokenizer, &[weights]),
    ];
    run("safetensors", &cases.map(|case| Case { whole: before_space, ..case }), |folder, round| {
        match round % 4 {
            0 => read_folder(folder, round),
            _ => {
                let read = llama::import_stored(folder, Dtype::Int8).map_err(|error| error.to_string())?;
                assert_eq!(read.params.dtype(), Dtype::Int8);
                Ok(())
            }
        }
    });
}

#[test]
fn configurations_as_json() {
    let json: Changed = ("config.json", Seed::json);
    let cases = ["llama", "llama3", "mistral", "qwen2", "qwen3"].map(|name| {
        let case = Case::of_folder(&folder_of(name), &["tokenizer.json"], &[json]);
        Case { whole: before_space, ..case }
    });
    run("config.json", &cases, read_folder);
}

#[test]
fn tokenizers_as_json() {
    let json: Changed = ("tokenizer.json", Seed::json);
    let cases = [
        Case::of_folder(&folder_of("llama3"), &[], &[json]),
        Case::of_folder(&folder_of("qwen2"), &[], &[json]),
        folder_of_pieces(&[json]),
    ];
    run("tokenizer.json", &cases.map(|case| Case { whole: before_space, ..case }), read_folder);
}

#[test]
fn models_as_gguf() {
    let folder = tempfile::tempdir().expect("a folder");
    let small = |kind: TensorType| {
        let path = folder.path().join("small.gguf");
        let config = DecoderConfig {
            n_layer: 1,
            n_embd: 4,
            n_head: 2,
            n_kv_head: 1,
            n_ffn: 3,
            ..gguf_models::config(272)
        };
        gguf::export(&path, &random_model(config, pieces()), kind).expect("a Llama");
        fs::read(path).expect("a file")
    };
    let golden = fs::read("tests/golden/gguf/tiny.gguf").expect("a file");
    let files = TensorType::ALL.map(small).into_iter().chain([golden]);
    let cases: Vec<Case> = files
        .map(|bytes| {
            let case = Case::new(&[], vec![("model.gguf", Seed::binary(&bytes, gguf_fields(&bytes)))]);
            // The last tensor is filled up to a multiple of 32 bytes.
            Case { whole: |bytes| bytes.len() - 31, ..case }
        })
        .collect();
    run("GGUF", &cases, |folder, round| {
        let path = folder.join("model.gguf");
        match round % 4 {
            0 => gguf::import_stored(&path, Dtype::Int8).map(|_| ()),
            _ => gguf::import(&path).map(|read| sound(&read, round)),
        }
        .map_err(|error| error.to_string())
    });
}

#[test]
fn models_of_llama2c() {
    let files = [true, false].map(|tied| {
        let (model, params) = llama2c_files::model(tied);
        let (model, pieces) = (llama2c_files::written(&model, &params), llama2c_files::tokenizer());
        let header: Vec<(usize, usize)> = (0..7).map(|at| (4 * at, 4)).collect();
        let numbers = (28..model.len() - 3).map(|at| (at, 4)).collect();
        let (mut at, mut scores, mut lengths) = (4, Vec::new(), vec![(0, 4)]);
        while at < pieces.len() {
            scores.push((at, 4));
            lengths.push((at + 4, 4));
            at += 8 + i32::from_le_bytes(*pieces[at + 4..].first_chunk().expect("a length")) as usize;
        }
        vec![
            ("model.bin", Seed::binary(&model, vec![header, numbers])),
            ("tokenizer.bin", Seed::binary(&pieces, vec![scores, lengths])),
        ]
    });
    let cases = files.map(|files| Case::new(&[], files));
    run("llama2.c", &cases, |folder, round| {
        let read = llama2c::import(&folder.join("model.bin"), &folder.join("tokenizer.bin"));
        read.map(|read| sound(&read, round)).map_err(|error| error.to_string())
    });
}

#[test]
fn checkpoints_of_ours() {
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
    let params: Vec<f32> = model.layout().initial(&mut Random::new(3));
    let folder = tempfile::tempdir().expect("a folder");
    Checkpoint::of(&model, &CharTokenizer::of("abé".chars()), &params).save(folder.path()).expect("saved");
    let cases = [Case::of_folder(folder.path(), &[], &[(".safetensors", Seed::safetensors)])];
    run("checkpoint", &cases, |folder, _| {
        let read = Checkpoint::<f32>::load(folder).map_err(|error| error.to_string())?;
        assert!(read.params.iter().all(|w| w.is_finite()));
        assert_eq!(read.tokenizer.build().expect("checked").vocab_size(), read.model.vocab_size());
        Ok(())
    });
}

#[test]
fn adapters_of_peft() {
    let config = DecoderConfig {
        n_layer: 2,
        n_embd: 8,
        n_head: 2,
        n_kv_head: 1,
        n_ffn: 6,
        ..DecoderConfig::llama(20)
    };
    let base = Decoder::new(config).expect("a small Llama");
    let lora = LoraConfig {
        rank: 2,
        alpha: 3.5,
        dropout: 0.05,
        targets: vec![LoraTarget::QProj, LoraTarget::DownProj],
    };
    let model = base.clone().with_adapters(&lora).expect("it has these layers");
    let mut random = Random::new(5);
    let base_params: Vec<f32> = base.layout().initial(&mut random);
    let params = model.with_fresh_adapters(&base_params, &mut random);
    let folder = tempfile::tempdir().expect("a folder");
    adapter::export(folder.path(), &model, &params, Some("a base")).expect("written");
    let files: [Changed; 2] = [(".safetensors", Seed::safetensors), (".json", Seed::json)];
    let case = Case::of_folder(folder.path(), &[], &files);
    run("adapter", &[Case { whole: before_space, ..case }], |folder, _| {
        let read = adapter::import(folder, &base).map_err(|error| error.to_string())?;
        assert_eq!(read.params.len() + base.layout().len(), read.model.layout().len());
        assert!(read.params.iter().all(|w| w.is_finite()));
        Ok(())
    });
}

/// Conversations in all formats: as an array, as lines, and as text; with calls of tools, and as `datasets` writes them.
const CONVERSATIONS: [&str; 5] = [
    r#"[{"messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "H\u00e9 \"x\""}, {"role": "assistant", "content": null,
"tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{\"a\": [1.5e3, -2, true, null]}"}}]}, {"role": "tool",
"tool_call_id": "1", "name": "f", "content": "ok"}, {"role": "assistant", "content": "done"}], "tools": [{"type": "function", "function": {"name": "f",
"description": "It does.", "parameters": {"type": "object", "properties": {"a": {"type": "array", "items": {"type": "number"}}}, "required": ["a"]}}}]},
{"messages": [{"role": "user", "content": [{"type": "text", "text": "zoë"}]}, {"role": "assistant", "content": "b"}]}]
"#,
    r#"{"conversations": [{"from": "human", "value": "a"}, {"from": "function_call", "value": "{\"name\": \"f\", \"arguments\": {\"x\": 1}}"}, {"from": "observation", "value": "c"}]}
{"conversations": [{"from": "human", "value": "한"}, {"from": "gpt", "value": "b"}], "tools": "[]", "system": "s"}
"#,
    r#"{"instruction": "Add.", "input": "2, 3", "output": "5", "text": "no", "id": 7}
{"instruction": "Say it.", "input": "", "output": "It."}
"#,
    r#"{"instruction": "What?", "context": "Here.", "response": "That.", "category": "closed_qa"}
{"instruction": "Say it.", "context": "", "response": "It."}
"#,
    "A: Hello.\nB: Hé!\n\nA: Tea?\nB: Yes.\n",
];

#[test]
fn conversations() {
    let cases = CONVERSATIONS.map(|text| {
        let bytes = text.as_bytes();
        // JSON lines are several texts of JSON, one after another.
        let seed = if text.starts_with("A:") {
            Seed::text(bytes, &["A:", "B:", "\n", "\n\n", "\r", "C:", " "])
        } else {
            Seed::json(bytes)
        };
        Case { whole: |_| 0, ..Case::new(&[], vec![("file", seed)]) }
    });
    run("conversations", &cases, |folder, _| {
        let conversations = Conversations::open(&folder.join("file")).map_err(|error| error.to_string())?;
        let mut first = None;
        for found in conversations {
            match found {
                Ok(conversation) => {
                    conversation.check().expect("in order");
                    for tool in &conversation.tools {
                        check_schema(&tool.parameters).ok();
                    }
                    for call in conversation.tool_calls() {
                        let tool = conversation.tool(&call.name);
                        tool.map(|tool| check_arguments(&tool.parameters, &call.arguments).ok());
                    }
                    assert!(serde_json::to_string(&conversation).is_ok());
                }
                Err(error) => first = first.or(Some(error.to_string())),
            }
        }
        first.map_or(Ok(()), Err)
    });
}

#[cfg(feature = "chat")]
#[test]
fn chat_templates() {
    use gradus::tokenizer::CHAT_TOKENS;
    use gradus::tokenizer::template::{Chat, ChatTemplate};
    use serde_json::json;

    const WORDS: &[&str] = &[
        "{% for a in messages %}",
        "{% for a in range(99999999) %}",
        "{% for a in a recursive %}",
        "{{ loop(a) }}",
        "{% endfor %}",
        "{% if a %}",
        "{% else %}",
        "{% endif %}",
        "{% set a = a ~ a %}",
        "{% set a = 'x' * 9999999 %}",
        "{{ a * 999999999999 }}",
        "{% macro m(a) %}",
        "{{ m(m) }}",
        "{% endmacro %}",
        "{{ messages",
        "}}",
        "{%",
        "%}",
        "| tojson",
        "| tojson(indent=999999999)",
        "| join",
        "| length",
        "| upper",
        "| list",
        "[0]",
        "[-1]",
        "[99:]",
        "[::-1]",
        ".content",
        ".role",
        "[message]",
        "{{ a | indent(999999999) }}",
        "{{ '%999999999d' | format(1) }}",
        "{# ",
        " #}",
        "{% generation %}",
        "{% endgeneration %}",
        "{% set ns = namespace(a=messages) %}",
        "{% set ns.a = ns.a + ns.a %}",
        "{{ ns.a }}",
        "((((((((",
        "{{ 9223372036854775807 + 1 }}",
        "{{ 1 // 0 }}",
        "{{ 2 ** 9999 }}",
        "{{ messages | map(attribute='content') | join('x' * 99999) }}",
        "'",
        "\"",
        "{{ raise_exception('no') }}",
        "{{ strftime_now('%Y%Q%') }}",
        "{% raw %}",
        "{% endraw %}",
        "-",
        "not",
        "is defined",
        "in",
        "loop.index0",
        "{% break %}",
        "{% include 'chat_template' %}",
        "{% extends 'chat_template' %}",
        "{% import 'chat_template' as t %}",
        "{% block b %}",
        "{% endblock %}",
    ];
    let golden: serde_json::Value =
        serde_json::from_str(include_str!("golden/template.json")).expect("the golden file");
    let templates = golden["templates"].as_object().expect("templates").values();
    let texts = templates.map(|text| text.as_str().expect("a text")).chain([ChatTemplate::GRADUS]);
    let cases: Vec<Case> = texts
        .map(|text| Case {
            whole: |_| 0,
            // It renders on a thread of its own, which is not watched here, and its fuel pays for this much text.
            beside: 1 << 25,
            ..Case::new(&[], vec![("chat_template.jinja", Seed::text(text.as_bytes(), WORDS))])
        })
        .collect();
    let messages = json!([
        {"role": "user", "content": "the time?"},
        {"role": "assistant", "content": "", "tool_calls": [{"name": "clock", "arguments": {"zone": "UTC"}}]},
        {"role": "tool", "content": "12:00"},
        {"role": "assistant", "content": "the time is 12:00"},
    ]);
    let named = [("bos_token", "<s>"), ("eos_token", "</s>")];
    run("template", &cases, |folder, round| {
        let path = folder.join("chat_template.jinja");
        let wrong = |text: &dyn std::fmt::Display| format!("{}: {text}", path.display());
        let source =
            String::from_utf8(fs::read(&path).expect("it is there")).map_err(|error| wrong(&error))?;
        let template = ChatTemplate::new(&source).map_err(|error| wrong(&error))?;
        let short = serde_json::Value::from(&messages.as_array().expect("a list")[..1]);
        let messages = if round.is_multiple_of(2) { &messages } else { &short };
        let now = std::time::UNIX_EPOCH;
        let chat = Chat {
            messages,
            tools: None,
            add_generation_prompt: round % 4 < 2,
            named: &named,
            special: &CHAT_TOKENS,
            now,
        };
        let rendered = template.render(&chat).map_err(|error| wrong(&error))?;
        assert!(rendered.generated.iter().all(|range| rendered.text.get(range.clone()).is_some()));
        Ok(())
    });
}
