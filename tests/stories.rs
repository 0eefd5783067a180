//! stories260K, a small Llama that was really trained: read from llama2.c's files, it tells the story that llama2.c tells,
//! character for character. So it does after it went through a Hugging Face folder and a GGUF, in every type of numbers that is
//! exact.
//!
//! The model is not part of this project (`datasets/README.md` says how to have such data): where it is missing, these tests say
//! so and do nothing.

use std::fs;
use std::path::PathBuf;

use gradus::checkpoint::gguf::{self, TensorType};
use gradus::checkpoint::{LanguageModel, StoredAs, llama, llama2c};
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

fn read(folder: &std::path::Path) -> LanguageModel {
    llama2c::import(&folder.join("stories260K.bin"), &folder.join("tok512.bin")).expect("stories260K")
}

/// What a model writes after BOS if it always takes the likeliest token.
fn greedy(model: &LanguageModel, count: usize) -> String {
    let tokenizer = model.tokenizer.as_ref().expect("a tokenizer").build().expect("a tokenizer that there is");
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
