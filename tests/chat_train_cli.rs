//! `chat train` as people run it: masks are shown, the loss falls, a run that goes on is the same bit for bit, the folder is
//! whole, and what is wrong with records or options is said. And then the model converses.
//!
//! The program needs its feature: `cargo build -p gradus-examples --examples --features chat`, then
//! `cargo test --features chat --test chat_train_cli`.
#![cfg(feature = "chat")]

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use gradus::checkpoint::llama;
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
    let [whole, mut parts] =
        ["whole", "parts"].map(|folder| place.json(&format!("{folder}/trainer_state.json")));
    parts["best_model_checkpoint"] = "whole".into();
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
