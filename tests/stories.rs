//! stories260K, a small Llama that was really trained: read from llama2.c's files, it tells the story that llama2.c tells,
//! character for character. So it does after it went through a Hugging Face folder and a GGUF, in every type of numbers that is
//! exact.
//!
//! The model is not part of this project (`datasets/README.md` says how to have such data): where it is missing, these tests say
//! so and do nothing.

use std::fs;
use std::path::{Path, PathBuf};

use gradus::checkpoint::gguf::{self, TensorType};
use gradus::checkpoint::{LanguageModel, StoredAs, llama, llama2c};
use gradus::engine::Session;
use gradus::fast::FastEngine;
use gradus::generate::{Sampler, Sampling, Stop, generate_text};
use gradus::random::Random;
use gradus::thread_pool::ThreadPool;

#[path = "common/dataset.rs"]
mod dataset;

fn stories() -> Option<PathBuf> {
    let folder = dataset::dataset("stories260K");
    if folder.is_none() {
        eprintln!("stories260K is not on this machine: nothing was tested");
    }
    folder
}

fn read(folder: &Path) -> LanguageModel {
    llama2c::import(&folder.join("stories260K.bin"), &folder.join("tok512.bin")).expect("stories260K")
}

/// What a model writes after BOS if it always takes the likeliest token.
fn greedy(model: &LanguageModel, count: usize) -> String {
    let tokenizer =
        model.tokenizer.as_ref().expect("a tokenizer").build().expect("a tokenizer that there is");
    let mut engine = FastEngine::new(ThreadPool::new(1));
    let mut sampler = Sampler::new(Sampling { temperature: 0.0, ..Sampling::default() });
    let prompt = [model.tokens.bos.expect("BOS")];
    let stop = Stop { tokens: model.tokens.eos.clone(), ..Stop::after(count) };
    let what = (&mut engine, &model.model, &model.params[..]);
    let mut shown = String::new();
    let show = |text: &str| shown.push_str(text);
    let written =
        generate_text(what, tokenizer.as_ref(), &prompt, &stop, &mut sampler, &mut Random::new(1), show);
    assert_eq!(written.text, shown);
    written.text
}

#[test]
fn the_story_is_that_of_llama2_c() {
    let Some(folder) = stories() else { return };
    let model = read(&folder);
    let config = model.model.config();
    assert_eq!((config.n_embd, config.n_ffn, config.n_layer, config.context), (64, 172, 5, 512));
    assert_eq!((config.n_head, config.n_kv_head, config.vocab_size), (8, 4, 512));
    let expected = fs::read_to_string(folder.join("expected_greedy_n200.txt")).expect("its text");
    assert_eq!(greedy(&model, 200), expected);
}

#[test]
fn it_is_the_same_after_a_folder_and_a_gguf() {
    let Some(folder) = stories() else { return };
    let expected = fs::read_to_string(folder.join("expected_greedy_n200.txt")).expect("its text");
    let model = read(&folder);
    let there = tempfile::tempdir().expect("a folder");
    let (hugging_face, file) = (there.path().join("hf"), there.path().join("stories260K.gguf"));
    llama::export(&hugging_face, &model, StoredAs::F32).expect("a Llama");
    let from_folder = llama::import(&hugging_face).expect("what was exported");
    gguf::export(&file, &from_folder, TensorType::F32).expect("a Llama");
    let from_gguf = gguf::import(&file).expect("what was exported");
    let bits = |model: &LanguageModel| model.params.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    for (read, from) in [(&from_folder, "the folder"), (&from_gguf, "the GGUF")] {
        assert_eq!(read.model.config(), model.model.config(), "{from}");
        assert_eq!(bits(read), bits(&model), "{from}");
        assert_eq!(read.tokens, model.tokens, "{from}");
        let build = |model: &LanguageModel| model.tokenizer.clone().expect("one").build().expect("one");
        let (ours, theirs) = (build(&model), build(read));
        for text in ["Once upon a time", "  two  blanks", "é \u{1f980}", "Lily said, \"No!\"\n", "<s>"] {
            let ids = ours.encode(text).expect("any text");
            assert_eq!(theirs.encode(text).expect("any text"), ids, "{from}: {text}");
            assert_eq!(theirs.decode(&ids), text, "{from}");
        }
    }
    assert_eq!(greedy(&from_gguf, 200), expected);
    // A folder has no scores, but a GGUF that was not made of one has.
    gguf::export(&file, &model, TensorType::F32).expect("a Llama");
    assert!(gguf::import(&file).expect("what was exported").tokenizer == model.tokenizer, "other scores");
}

/// In every type of numbers it is the same story. With `STORIES=DIR`, the files stay there with what ours makes of them, for
/// `golden/gguf.py`.
#[test]
fn a_gguf_of_any_type_tells_it() {
    let Some(folder) = stories() else { return };
    let expected = fs::read_to_string(folder.join("expected_greedy_n200.txt")).expect("its text");
    let model = read(&folder);
    let kept = std::env::var_os("STORIES").map(|base| Path::new(&base).join("stories260K"));
    let temporary = tempfile::tempdir().expect("a folder");
    let base = kept.as_deref().unwrap_or(temporary.path());
    let tokenizer = model.tokenizer.as_ref().expect("one").build().expect("one");
    let prompts: Vec<Vec<usize>> = expected
        .lines()
        .flat_map(|line| (1..=12).map(move |len| line.split(' ').take(len).collect::<Vec<_>>().join(" ")))
        .map(|text| [vec![1], tokenizer.encode(&text).expect("any text")].concat())
        .collect();
    let mut logits = serde_json::Map::new();
    for kind in TensorType::ALL {
        let path = base.join(format!("{kind}.gguf"));
        gguf::export(&path, &model, kind).expect("a Llama");
        let read = gguf::import(&path).expect("what was exported");
        let text = greedy(&read, 200);
        match kind {
            TensorType::F32 => assert_eq!(text, expected),
            // Two tokens may be so close that rounding decides; the beginning is the same.
            _ => assert!(text.starts_with(&expected[..60]), "{kind}: {text}"),
        }
        if kept.is_some() {
            let mut engine = FastEngine::new(ThreadPool::new(1));
            let last: Vec<Vec<f64>> = prompts
                .iter()
                .map(|prompt| {
                    Session::single(&mut engine, &read.model, &read.params).feed(0, prompt).to_vec()
                })
                .collect();
            logits.insert(kind.to_string(), serde_json::json!({"logits": last, "greedy": text}));
        }
    }
    if kept.is_some() {
        let lines: Vec<&str> = include_str!("../datasets/dialog.txt").lines().take(1000).collect();
        let ids: Vec<Vec<usize>> =
            lines.iter().map(|line| tokenizer.encode(line).expect("any text")).collect();
        let all = serde_json::json!({"prompts": prompts, "ours": logits, "lines": lines, "ids": ids});
        fs::write(base.join("ours.json"), all.to_string()).expect("it can be written");
    }
}
