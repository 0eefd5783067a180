//! `chat train` as people run it: masks are shown, the loss falls, a run that goes on is the same bit for bit, the folder is
//! whole, and what is wrong with records or options is said. And then the model converses.
//!
//! With `LORA=/some/folder` the test of adapters leaves there what `golden/lora.py check` opens.
//!
//! The program needs its feature: `cargo build -p gradus-examples --examples --features chat`, then
//! `cargo test --features chat --test chat_train_cli`.
#![cfg(feature = "chat")]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use gradus::checkpoint::{adapter, llama};
use gradus::engine::Session;
use gradus::fast::FastEngine;
use gradus::model::{Decoder, Model};
use gradus::random::Random;
use gradus::thread_pool::ThreadPool;
use serde_json::Value;
use tempfile::TempDir;

#[path = "common/program.rs"]
mod program;
#[path = "common/refusal.rs"]
mod refusal;

use program::{Output, example, run};
use refusal::{assert_refused, content};

const TINY: &str =
    "--layers 1 --embd 32 --heads 4 --kv-heads 2 --ffn 64 --context 64 --vocab-size 300 --threads 1";

struct Place(TempDir);

impl Place {
    /// A folder with forty conversations.
    fn new() -> Self {
        let place = Place(tempfile::tempdir().expect("a folder"));
        let line = |n: u32| {
            format!(
                r#"{{"messages": [{{"role": "user", "content": "What comes after {n}?"}}, {{"role": "assistant", "content": "After {n} comes {}."}}]}}"#,
                n + 1
            )
        };
        let lines: Vec<String> = (0..40).map(line).collect();
        fs::write(place.path("mine.jsonl"), lines.join("\n")).expect("a file");
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, options: &str) -> Command {
        let mut command = Command::new(example("chat"));
        command.args(options.split_whitespace()).current_dir(self.0.path());
        command
    }

    fn run(&self, options: &str) -> Output {
        run(&mut self.command(options))
    }

    /// What it prints, if all goes well.
    fn ok(&self, options: &str) -> String {
        let ended = self.run(options);
        assert_eq!(ended.code, Some(0), "{options:?}: {}", ended.stderr);
        ended.stdout
    }

    /// A training of the tiny model.
    fn train(&self, options: &str) -> String {
        self.ok(&format!("train --data mine.jsonl {TINY} {options}"))
    }

    /// What a model answers to lines on standard input.
    fn say(&self, options: &str, lines: &str) -> String {
        let mut command = self.command(&format!("talk --threads 1 --greedy {options}"));
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it can be started");
        child.stdin.take().expect("a pipe").write_all(lines.as_bytes()).expect("it reads all of it");
        let ended = child.wait_with_output().expect("it ends");
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
        String::from_utf8(ended.stdout).expect("UTF-8")
    }

    fn read(&self, file: &str) -> Vec<u8> {
        fs::read(self.path(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
    }

    /// The steps that have a folder of their own.
    fn checkpoints(&self, folder: &str) -> Vec<usize> {
        let entries = fs::read_dir(self.path(folder)).expect("a folder");
        let names = entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"));
        let mut steps: Vec<usize> =
            names.filter_map(|name| name.strip_prefix("checkpoint-")?.parse().ok()).collect();
        steps.sort_unstable();
        steps
    }

    fn json(&self, file: &str) -> Value {
        serde_json::from_slice(&self.read(file)).expect("JSON")
    }
}

#[test]
fn masks_are_shown_and_nothing_is_written() {
    let place = Place::new();
    let before = content(place.0.path());
    let shown = place.train("--show-masks 2");
    assert_eq!(shown.matches("</user><assistant>«After ").count(), 2, "{shown}");
    assert_eq!(shown.matches(".</assistant>»").count(), 2, "{shown}");
    let all = place.train("--show-masks 1 --train-on-all");
    assert!(all.contains("«<s><user>What comes after"), "{all}");
    assert!(content(place.0.path()) == before);
}

#[test]
fn it_learns_and_the_folder_is_whole() {
    let place = Place::new();
    let printed =
        place.train("--steps 60 --log-every 20 --validate-every 30 --learning-rate 0.01 --sample-every 60");
    for part in
        ["mine.jsonl: 40 conversations", "to learn from: ", "held out: ", "│█", "asked: What comes after"]
    {
        assert!(printed.contains(part), "{part}: {printed}");
    }
    let state = place.json("chat-model/trainer_state.json");
    let losses: Vec<f64> = state["log_history"]
        .as_array()
        .expect("entries")
        .iter()
        .filter_map(|entry| entry["loss"].as_f64())
        .collect();
    assert_eq!(losses.len(), 3);
    assert!(losses[2] < losses[0] / 2.0, "{losses:?}");
    let keys: Vec<&str> = state.as_object().expect("an object").keys().map(String::as_str).collect();
    let known = [
        "best_global_step",
        "best_metric",
        "best_model_checkpoint",
        "epoch",
        "eval_steps",
        "global_step",
        "is_hyper_param_search",
        "is_local_process_zero",
        "is_world_process_zero",
        "log_history",
        "logging_steps",
        "max_steps",
        "num_input_tokens_seen",
        "num_train_epochs",
        "save_steps",
        "stateful_callbacks",
        "total_flos",
        "train_batch_size",
        "trial_name",
        "trial_params",
    ];
    assert_eq!(keys, known);
    assert_eq!((&state["global_step"], &state["eval_steps"]), (&60.into(), &30.into()));
    for file in ["config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json"] {
        assert!(place.json(&format!("chat-model/{file}")).is_object(), "{file}");
    }
    let read = llama::import(&place.path("chat-model")).expect("a folder");
    assert_eq!(
        read.chat_template.as_deref().map(str::as_bytes),
        Some(&*place.read("chat-model/chat_template.jinja"))
    );
    let spec = read.tokenizer.expect("a tokenizer");
    let end = spec.build().expect("it builds").special("</assistant>").expect("a token");
    assert_eq!(read.tokens.eos[0], end);
    // It ends its reply, and what it says has the form of what it learned.
    let said =
        place.say("--model chat-model --tokens 30", "What comes after 3?\n/reset\nWhat comes after 4?\n");
    let replies: Vec<&str> = said.lines().collect();
    assert_eq!((replies.len(), replies[1]), (3, "forgotten"), "{said}");
    for reply in [replies[0], replies[2]] {
        assert!(reply.starts_with("After ") && reply.ends_with('.'), "{said}");
    }
}

#[test]
fn a_run_that_goes_on_is_the_same_bit_for_bit() {
    let place = Place::new();
    let options = "--steps 7 --validate-every 3 --log-every 2 --dropout 0.1";
    place.train(&format!("{options} --output-dir whole"));
    let first = place.train(&format!("{options} --output-dir parts --minutes 0.0000001"));
    assert!(first.contains("no validation yet") && first.contains("chat -- train --resume parts"), "{first}");
    llama::import(&place.path("parts")).expect("it has a model all the same");
    place.ok("train --resume parts --threads 1 --minutes 0.0000001");
    place.ok("train --resume parts --threads 1");
    assert_eq!(place.read("whole/model.safetensors"), place.read("parts/model.safetensors"));
    let [mut whole, mut parts] =
        ["whole", "parts"].map(|folder| place.json(&format!("{folder}/trainer_state.json")));
    let [best, same] = [&mut whole, &mut parts].map(|state| state["best_model_checkpoint"].take());
    let best = best.as_str().expect("a folder").strip_prefix("whole/").expect("in the run's");
    assert_eq!(same.as_str(), Some(&*format!("parts/{best}")));
    assert!(place.path("parts").join(best).join("model.safetensors").exists());
    assert_eq!(whole, parts);
    // And further, but not with other options or on another text.
    place.ok("train --resume parts --threads 1 --steps 8");
    let ended = place.run("train --resume parts --epochs 4");
    assert_refused(&ended, 2, &["--epochs cannot be changed"], &ended.stderr);
    fs::write(place.path("mine.jsonl"), r#"{"instruction": "What?", "output": "That."}"#).expect("a file");
    let ended = place.run("train --resume parts --steps 9");
    assert_ne!(ended.code, Some(0));
}

#[test]
fn a_model_that_is_there_goes_on() {
    let place = Place::new();
    place.train("--steps 2 --output-dir base");
    let printed =
        place.ok("train --data mine.jsonl --model base --output-dir more --steps 2 --context 32 --threads 1");
    assert!(printed.contains("vocab size: 300"), "{printed}");
    assert_eq!(place.read("base/tokenizer.json"), place.read("more/tokenizer.json"));
    assert_eq!(place.json("more/config.json"), place.json("base/config.json"));
    place.ok("train --resume more --steps 3 --threads 1");
    // One of `create` has no template, but the tokens of ours.
    fs::write(place.path("text.txt"), "one two three").expect("a file");
    place
        .ok("create --out made --data text.txt --vocab-size 270 --layers 1 --embd 32 --heads 4 --context 64");
    place.ok("train --data mine.jsonl --model made --output-dir taught --steps 1 --threads 1");
    assert!(place.path("taught/chat_template.jinja").exists());
    for (options, why) in [
        ("--model base --embd 64", "leave --embd out"),
        ("--model base --vocab-size 500", "leave --vocab-size out"),
        ("--model base --context 65", "at most that"),
        ("--output-dir made --overwrite", "another --output-dir"),
    ] {
        let ended = place.run(&format!("train --data mine.jsonl {options}"));
        assert_refused(&ended, 2, &[why], &ended.stderr);
    }
}

#[test]
fn the_newest_checkpoints_stay_and_the_best() {
    let place = Place::new();
    // So fast that it gets worse after some steps.
    place.train("--steps 12 --save-every 2 --keep 2 --learning-rate 0.1 --schedule constant");
    let state = place.json("chat-model/trainer_state.json");
    let best = state["best_global_step"].as_u64().expect("a step") as usize;
    let mut expected = vec![best, 10, 12];
    expected.sort_unstable();
    expected.dedup();
    assert_eq!(place.checkpoints("chat-model"), expected);
    let best = format!("chat-model/checkpoint-{best}");
    assert_eq!(state["best_model_checkpoint"], best.as_str());
    assert_eq!(place.read(&format!("{best}/model.safetensors")), place.read("chat-model/model.safetensors"));
    assert_eq!(place.json("chat-model/checkpoint-10/trainer_state.json")["global_step"], 10);
    // A run can go on from any of them, in that folder.
    let ended = place.ok("train --resume chat-model/checkpoint-10 --threads 1 --patience 100");
    assert!(ended.contains("going on after step 10"), "{ended}");
    let [one, other] = ["checkpoint-12", "checkpoint-10/checkpoint-12"]
        .map(|folder| place.read(&format!("chat-model/{folder}/model.safetensors")));
    assert_eq!(one, other);
    // Those of a run that is replaced go with it.
    place.train("--steps 3 --validate-every 2 --overwrite");
    assert_eq!(place.checkpoints("chat-model"), [2, 3]);
    place.train("--steps 3 --output-dir none --keep 0");
    assert!(place.checkpoints("none").is_empty());
}

/// Copies what was trained to where `golden/lora.py check` opens it, with our logits after every token of some texts.
fn hand_over(place: &Place, root: &Path, model: &Decoder, params: &[f32]) {
    for (from, to) in [("base", "base"), ("tuned", "adapter"), ("merged", "merged")] {
        fs::create_dir_all(root.join(to)).expect("a folder");
        for entry in fs::read_dir(place.path(from)).expect("a folder").flatten() {
            if entry.path().is_file() {
                fs::copy(entry.path(), root.join(to).join(entry.file_name())).expect("a file");
            }
        }
    }
    let mut random = Random::new(3);
    let vocab_size = model.vocab_size();
    let text = |at: usize| (0..1 + at % 32).map(|_| random.below(vocab_size)).collect();
    let texts: Vec<Vec<usize>> = (1..=50).map(text).collect();
    let mut engine = FastEngine::new(ThreadPool::new(1));
    let mut said = Vec::new();
    for text in &texts {
        let mut session = Session::single(&mut engine, model, params);
        text.iter().for_each(|token| said.extend_from_slice(session.feed(0, &[*token])));
    }
    let ours = serde_json::json!({ "texts": texts, "logits": said });
    fs::write(root.join("adapter/ours.json"), ours.to_string()).expect("it can be written");
}

#[test]
fn an_adapter_is_trained_beside_a_frozen_model() {
    let place = Place::new();
    place.train("--steps 20 --learning-rate 0.01 --output-dir base");
    let untouched = content(&place.path("base"));
    let lora = "train --data mine.jsonl --model base --use-lora --lora-rank 4 --steps 6 --validate-every 2 --learning-rate 0.01 \
                --threads 1";
    let printed = place.ok(&format!("{lora} --output-dir tuned --merge-to merged"));
    // Of each layer its inputs and outputs, as often as the rank.
    let trained = 4 * ((32 + 32) + (32 + 16) + (32 + 16) + (32 + 32) + (32 + 64) + (32 + 64) + (64 + 32));
    assert!(printed.contains(&format!("of which {trained} are trained")), "{printed}");
    assert!(content(&place.path("base")) == untouched);
    // Before the first step it is the base, whose loss is known from its own training.
    let first = &place.json("tuned/trainer_state.json")["log_history"][0];
    assert_eq!(
        (&first["step"], &first["eval_loss"]),
        (&0.into(), &place.json("base/trainer_state.json")["best_metric"])
    );
    // An adapter that peft opens, with the tokenizer beside it, and no model.
    assert!(!place.path("tuned/model.safetensors").exists() && !place.path("tuned/config.json").exists());
    for file in ["tokenizer.json", "tokenizer_config.json", "generation_config.json", "chat_template.jinja"] {
        assert_eq!(place.read(&format!("tuned/{file}")), place.read(&format!("base/{file}")), "{file}");
    }
    let base = llama::import(&place.path("base")).expect("a folder");
    let read = adapter::import(&place.path("tuned"), &base.model).expect("an adapter");
    let name = fs::canonicalize(place.path("base")).expect("a path");
    assert_eq!(read.base_name.as_deref(), name.to_str());
    let merged = llama::import(&place.path("merged")).expect("a folder");
    assert_eq!(merged.params, read.model.merge(&read.on(&base.params)));
    assert_ne!(merged.params, base.params);
    if let Some(root) = std::env::var_os("LORA") {
        hand_over(&place, Path::new(&root), &read.model, &read.on(&base.params));
    }
    // What it has learned counts: its loss is that of the merged model.
    let again = place.ok(
        "train --data mine.jsonl --model merged --output-dir again --steps 1 --learning-rate 1e-9 --threads 1",
    );
    let best = place.json("tuned/trainer_state.json")["best_metric"].as_f64().expect("a loss");
    let first =
        place.json("again/trainer_state.json")["log_history"][0]["eval_loss"].as_f64().expect("a loss");
    assert!((best - first).abs() < 1e-5, "{best} {first} {again}");
    // It goes on bit for bit.
    place.ok(&format!("{lora} --output-dir parts --minutes 0.0000001"));
    place.ok("train --resume parts --threads 1");
    assert_eq!(place.read("tuned/adapter_model.safetensors"), place.read("parts/adapter_model.safetensors"));
    // Another training goes on from it: what it knows is there before the first step.
    place.ok(
        "train --data mine.jsonl --model base --adapter tuned --output-dir further --steps 2 --threads 1",
    );
    let first = place.json("further/trainer_state.json")["log_history"][0]["eval_loss"].as_f64();
    assert_eq!(first, Some(best));
    assert_eq!(place.json("further/adapter_config.json")["r"], 4);
    for (options, why) in [
        ("--use-lora", "say which by --model"),
        ("--model base --lora-rank 4", "--lora-rank is for --use-lora"),
        ("--model base --use-lora --lora-targets q_proj,lm_head", "share"),
        ("--model base --use-lora --lora-rank 0", "1 to 65536"),
        ("--model base --adapter tuned --lora-rank 8", "leave --lora-rank out"),
        ("--model base --use-lora --output-dir again --overwrite", "another --output-dir"),
        ("--model base --output-dir tuned --overwrite", "another --output-dir"),
        ("--model base --merge-to other", "--merge-to is for --use-lora"),
        ("--model base --use-lora --merge-to base --overwrite", "another folder to --merge-to"),
    ] {
        let output = if options.contains("--output-dir") { "" } else { "--output-dir new" };
        let ended = place.run(&format!("train --data mine.jsonl {output} {options}"));
        assert_refused(&ended, 2, &[why], &ended.stderr);
    }
    // Not on another base, and not without one.
    place.train("--steps 1 --output-dir base --overwrite");
    let ended = place.run("train --resume tuned --steps 8 --threads 1");
    assert_refused(&ended, 1, &["frozen parameters"], &ended.stderr);
    fs::remove_dir_all(place.path("base")).expect("it goes");
    let ended = place.run("train --resume tuned --steps 8 --threads 1");
    assert_refused(&ended, 1, &["bring it back"], &ended.stderr);
}

#[test]
fn plain_text_can_be_learned_first() {
    let place = Place::new();
    let text: String =
        (0..60).map(|n| format!("In story {n} somebody counts to {}, and sleeps.\n", n * 7)).collect();
    fs::write(place.path("stories.txt"), text).expect("a file");
    let options = "--pretrain stories.txt --pretrain-steps 3 --steps 7 --validate-every 2 --sample-every 3 --log-every 1";
    let printed = place.train(&format!("{options} --output-dir whole --metrics m.csv --plot p.svg"));
    for part in ["first, 3 steps of plain text", "pretraining is over", "read: "] {
        assert!(printed.contains(part), "{part}: {printed}");
    }
    let metrics = String::from_utf8(place.read("m.csv")).expect("UTF-8");
    let column = |name| metrics.lines().next()?.split(',').position(|column| column == name);
    let stages: Vec<(&str, &str)> = metrics
        .lines()
        .skip(1)
        .map(|line| {
            let fields: Vec<&str> = line.split(',').collect();
            (fields[column("step").expect("a column")], fields[column("stage").expect("a column")])
        })
        .collect();
    assert_eq!(stages, [("2", "1"), ("3", "1"), ("4", "2"), ("6", "2"), ("7", "2")]);
    let plot = String::from_utf8(place.read("p.svg")).expect("UTF-8");
    assert!(plot.contains("pretraining: from ") && plot.contains("validation: from "), "{plot}");
    // The rate rises and falls twice.
    let state = place.json("whole/trainer_state.json");
    let rates = state["log_history"]
        .as_array()
        .expect("entries")
        .iter()
        .filter_map(|entry| entry["learning_rate"].as_f64());
    let shares: Vec<i64> = rates.map(|rate| (rate / 2e-4 * 100.0).round() as i64).collect();
    assert_eq!(shares, [50, 100, 50, 50, 100, 75, 25]);
    assert!(state["best_global_step"].as_u64().is_some_and(|step| step > 3), "{state}");
    // Interrupted in either stage, between them as well.
    let mut stopped = place.train(&format!("{options} --output-dir parts --minutes 0.0000001"));
    for step in 1..6 {
        assert!(stopped.contains(&format!("after step {step}")), "{stopped}");
        llama::import(&place.path("parts")).expect("it has a model all the same");
        stopped = place.ok("train --resume parts --threads 1 --minutes 0.0000001");
    }
    place.ok("train --resume parts --threads 1");
    assert_eq!(place.read("whole/model.safetensors"), place.read("parts/model.safetensors"));
    place.train("--steps 1 --output-dir base");
    for (options, why) in [
        ("--pretrain stories.txt --pretrain-steps 5 --steps 5", "leaves none for the conversations"),
        ("--pretrain stories.txt --model base", "cannot be used with"),
        ("--pretrain-steps 5", "--pretrain"),
    ] {
        let ended = place.run(&format!("train --data mine.jsonl --output-dir new {options}"));
        assert_refused(&ended, 2, &[why], &ended.stderr);
    }
    fs::write(place.path("stories.txt"), "Another story. ".repeat(100)).expect("a file");
    let ended = place.run("train --resume parts --steps 9");
    assert_refused(&ended, 1, &["no longer the text"], &ended.stderr);
}

#[test]
fn the_memory_is_said_before_it_is_asked_for() {
    let place = Place::new();
    let printed = place.train("--steps 1 --gradient-checkpointing --mixed-precision bf16 --output-dir base");
    assert!(printed.contains("memory: up to about ") && printed.contains(" are free"), "{printed}");
    let huge = "--batch-size 65536 --layers 8 --embd 256 --heads 4 --ffn 768 --output-dir new";
    let ended = place.run(&format!("train --data mine.jsonl {huge}"));
    let help = ["--checkpointing", "--batch-size 32768 --accumulate 8", "--precision bf16", "all of these"];
    assert_refused(&ended, 2, &help, &ended.stderr);
    assert!(!ended.stderr.contains("--use-lora") && !place.path("new").exists(), "{}", ended.stderr);
    // What needs most is what is named.
    let ended = place.run("train --data mine.jsonl --model base --batch-size 65536 --accumulate 65536");
    assert_refused(&ended, 2, &["with --accumulate 1"], &ended.stderr);
}

#[test]
fn what_is_malformed_or_cannot_be_learned_is_counted_or_refused() {
    let place = Place::new();
    let mut lines = fs::read_to_string(place.path("mine.jsonl")).expect("a file");
    let long = "many words ".repeat(100);
    lines += &format!(
        "\n{{\"messages\": 1}}\n{{\"messages\": [{{\"role\": \"user\", \"content\": \"{long}\"}}, {{\"role\": \"assistant\", \"content\": \"Yes.\"}}]}}\n"
    );
    fs::write(place.path("mine.jsonl"), lines).expect("a file");
    let printed = place.train("--steps 1");
    assert!(printed.contains("mine.jsonl: 41 conversations\n1 malformed records were skipped"), "{printed}");
    assert!(
        printed.contains("1 conversations were left out:\n  mine.jsonl, conversation 41: it takes"),
        "{printed}"
    );
    let ended = place.run(&format!("train --strict --data mine.jsonl {TINY} --output-dir strict"));
    assert_refused(&ended, 1, &["mine.jsonl, line 41"], &ended.stderr);
    // Beside the synthetic ones.
    let printed = place
        .ok("train --data mine.jsonl --max-samples 30 --synthetic-tools 5 --show-masks 1 --context 2000");
    assert!(
        printed.contains("mine.jsonl: 30 conversations\nsynthetic, with tools: 5 conversations"),
        "{printed}"
    );
    for (options, code, why) in [
        ("--data nothing.jsonl", 1, "nothing.jsonl"),
        ("--eval-split 0", 2, "larger --eval-split"),
        ("--eval-split 1", 2, "below 1"),
        ("--batch-size 0", 2, "1 to 65536"),
        ("--epochs 0", 2, "above 0"),
        ("--vocab-size 100", 2, "268 to"),
        ("--heads 5", 2, "do not divide"),
        ("--plot mine.jsonl", 2, "--plot"),
    ] {
        let ended = place.run(&format!("train --data mine.jsonl --output-dir other {options}"));
        assert_refused(&ended, code, &[why], &ended.stderr);
    }
}

#[test]
fn a_conversation_has_commands_and_forgets_its_oldest_turns() {
    let place = Place::new();
    place.train("--steps 1");
    let lines = "one\n/undo\ntwo\n/save talk.jsonl\n/save talk.jsonl\n/nothing\n/help\n";
    let said = place.say("--model chat-model --tokens 3 --system Kind.", lines);
    for part in ["taken back", "written to talk.jsonl", "already", "? there is no /nothing", "/reset "] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let talk = place.json("talk.jsonl");
    assert_eq!(
        (&talk["messages"][0]["content"], &talk["messages"][1]["content"]),
        (&"Kind.".into(), &"two".into())
    );
    assert_eq!(talk["messages"].as_array().map(Vec::len), Some(3));
    let lines = "What comes after 1?\n".repeat(12);
    let said = place.say("--model chat-model --tokens 3", &lines);
    assert_eq!(said.matches("forgets the oldest").count(), 1, "{said}");
    let said = place.say("--model chat-model --tokens 3", &format!("{}\nWhat?\n", "word ".repeat(100)));
    assert!(said.contains("? this takes") && !said.contains("forgets"), "{said}");
    // Without a template, a text goes on as ever.
    let said = place.say("--model chat-model --tokens 3 --raw", "What comes\n");
    assert!(said.starts_with("What comes"), "{said}");
    fs::write(place.path("text.txt"), "one two three").expect("a file");
    place
        .ok("create --out made --data text.txt --vocab-size 270 --layers 1 --embd 32 --heads 4 --context 64");
    assert!(place.say("--model made --tokens 3", "one\n").starts_with("one"));
    let ended = place.run("talk --model made --system Kind.");
    assert_refused(&ended, 2, &["--system"], &ended.stderr);
}
