//! The example `chat` as people run it: a model is made of texts, exported, imported, looked at and spoken to; and what is wrong
//! with a file or an option is said.
//!
//! The program needs its feature: `cargo build -p gradus-examples --examples --features chat`, then
//! `cargo test --features chat --test chat_cli`.
#![cfg(feature = "chat")]

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use gradus::checkpoint::{Checkpoint, TrainedModel, adapter};
use gradus::data::{OnMalformed, Role, read_conversations};
use gradus::model::{Decoder, LoraConfig, Model};
use gradus::random::Random;
use gradus::tokenizer::template::ChatTemplate;
use serde_json::{Value, json};
use tempfile::TempDir;

#[path = "common/program.rs"]
mod program;
#[path = "common/refusal.rs"]
mod refusal;

use program::{Output, example, run};
use refusal::{assert_refused, content};

const TINY: &str = "--layers 2 --embd 32 --heads 4 --kv-heads 2 --ffn 64 --context 64 --threads 1";

struct Place(TempDir);

impl Place {
    /// A folder with a text.
    fn new() -> Self {
        let place = Place(tempfile::tempdir().expect("a folder"));
        let text = fs::read_to_string(datasets().join("dialog.txt")).expect("a text");
        fs::write(place.path("text.txt"), &text[..20_000]).expect("a file");
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, options: &[&str]) -> Command {
        let mut command = Command::new(example("chat"));
        command.args(options).current_dir(self.0.path());
        command
    }

    fn run(&self, options: &[&str]) -> Output {
        run(&mut self.command(options))
    }

    /// What it prints, if all goes well.
    fn ok(&self, options: &[&str]) -> String {
        let ended = self.run(options);
        assert_eq!(ended.code, Some(0), "{options:?}: {}", ended.stderr);
        ended.stdout
    }

    /// What it prints with something on its standard input.
    fn with_input(&self, options: &[&str], input: &str) -> String {
        let pipes = [Stdio::piped(), Stdio::piped(), Stdio::piped()];
        let [stdin, stdout, stderr] = pipes;
        let mut child = self
            .command(options)
            .stdin(stdin)
            .stdout(stdout)
            .stderr(stderr)
            .spawn()
            .expect("it can be started");
        child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("it reads all of it");
        let ended = child.wait_with_output().expect("it ends");
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
        String::from_utf8(ended.stdout).expect("UTF-8")
    }

    /// A tiny model in `model`.
    fn model(&self) -> String {
        let all = format!("create --out model --vocab-size 400 --data text.txt {TINY}");
        self.ok(&all.split_whitespace().collect::<Vec<_>>())
    }

    /// A tiny model that converses and calls tools: with our template, and the token that ends what the assistant says.
    fn converses(&self, name: &str, context: usize) {
        let sizes = TINY.replace("--context 64", &format!("--context {context}"));
        let all = format!("create --out {name} --vocab-size 400 --data text.txt {sizes}");
        self.ok(&all.split_whitespace().collect::<Vec<_>>());
        let language =
            json!({"bos": 1, "add_bos": true, "eos": [7], "pad": 3, "chat_template": ChatTemplate::GRADUS});
        fs::write(self.path(name).join("language.json"), language.to_string()).expect("a file");
    }

    /// What a model says after a beginning.
    fn said(&self, model: &str) -> String {
        self.ok(&[
            "talk",
            "--model",
            model,
            "--prompt",
            "A: Hello",
            "--tokens",
            "24",
            "--greedy",
            "--threads",
            "1",
        ])
    }
}

fn datasets() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("datasets")
}

#[test]
fn a_model_is_made_of_texts() {
    let place = Place::new();
    let printed = place.model();
    assert!(printed.contains("1 text, 20.0 kB") && printed.contains("400 tokens"), "{printed}");
    let before = content(&place.path("model"));
    let options = ["create", "--out", "model", "--data", "text.txt"];
    let ended = place.run(&options);
    assert_refused(&ended, 1, &["model", "--overwrite"], &ended.stderr);
    assert_eq!(content(&place.path("model")), before);
    // The same seed gives the same model, and another does not.
    let again = |out: &str, more: &str| {
        let all = format!("create --out {out} --overwrite --vocab-size 400 --data text.txt {TINY} {more}");
        place.ok(&all.split_whitespace().collect::<Vec<_>>());
        fs::read(place.path(out).join("model.safetensors")).expect("a model")
    };
    assert_eq!(
        again("same", ""),
        before.iter().find(|(path, _)| path.ends_with("model.safetensors")).expect("it").1
    );
    assert_ne!(again("other", "--seed 2"), again("same", ""));
    // Pairs that are rare become no token.
    let rare =
        place.ok(&format!("create --out rare --vocab-size 4000 --min-frequency 100 --data text.txt {TINY}")
            .split_whitespace()
            .collect::<Vec<_>>());
    assert!(rare.contains("--min-frequency"), "{rare}");
}

#[test]
fn it_says_the_same_after_every_journey() {
    let place = Place::new();
    place.model();
    let said = place.said("model");
    assert!(said.starts_with("A: Hello") && said.len() > "A: Hello\n".len(), "{said}");
    for (from, to, out) in [("model", "hf", "folder"), ("folder", "gguf", "one.gguf")] {
        let printed = place.ok(&["export", "--model", from, "--to", to, "--out", out]);
        assert!(printed.contains(out), "{printed}");
        assert_eq!(place.said(out), said, "{to}");
    }
    assert!(place.path("Modelfile").exists());
    for (from, out) in [("folder", "back"), ("one.gguf", "again"), ("model", "copy")] {
        place.ok(&["import", from, "--out", out]);
        assert_eq!(place.said(out), said, "{from}");
        let weights = |name: &str| fs::read(place.path(name).join("model.safetensors")).expect("weights");
        assert_eq!(weights(out).len(), weights("model").len(), "{from}");
    }
    // A file of a folder stands for it.
    assert_eq!(place.said("folder/config.json"), said);
    for dtype in ["f16", "bf16", "q8_0"] {
        let out = format!("{dtype}.gguf");
        place.ok(&[
            "export",
            "--model",
            "model",
            "--to",
            "gguf",
            "--out",
            &out,
            "--dtype",
            dtype,
            "--overwrite",
        ]);
        assert!(place.said(&out).starts_with("A: Hello"), "{dtype}");
        let size = |name: &str| fs::metadata(place.path(name)).expect("a file").len();
        assert!(size(&out) < size("one.gguf"), "{dtype}");
    }
    for dtype in ["f16", "bf16"] {
        place.ok(&["export", "--model", "model", "--to", "hf", "--out", dtype, "--dtype", dtype]);
        assert!(place.ok(&["info", dtype]).contains(&format!("of {dtype}")));
    }
}

#[test]
fn nothing_is_overwritten_unasked() {
    let place = Place::new();
    place.model();
    place.ok(&["export", "--model", "model", "--to", "hf", "--out", "folder"]);
    place.ok(&["export", "--model", "model", "--to", "gguf", "--out", "one.gguf"]);
    let before = content(place.0.path());
    let refuse = |options: &[&str], words: &[&str]| {
        let ended = place.run(options);
        assert_refused(&ended, 1, words, &ended.stderr);
    };
    refuse(&["import", "folder", "--out", "model"], &["model", "--overwrite"]);
    refuse(&["export", "--model", "model", "--to", "hf", "--out", "folder"], &["folder", "--overwrite"]);
    refuse(&["export", "--model", "model", "--to", "gguf", "--out", "one.gguf"], &["--overwrite"]);
    refuse(
        &["export", "--model", "model", "--to", "gguf", "--out", "two.gguf"],
        &["Modelfile", "--overwrite"],
    );
    refuse(
        &["export", "--model", "folder", "--to", "hf", "--out", "model", "--overwrite"],
        &["model", "gradus"],
    );
    assert_eq!(content(place.0.path()), before);
}

#[test]
fn prompts_of_a_file() {
    let place = Place::new();
    place.model();
    let lines = "{\"prompt\": \"A: Hello\"}\n\n{\"prompt\": \"B: 안녕\\n\"}\n";
    fs::write(place.path("some.jsonl"), lines).expect("a file");
    let talk = ["talk", "--model", "model", "--tokens", "12", "--threads", "1", "--prompts"];
    let printed = place.ok(&[&talk[..], &["some.jsonl"]].concat());
    let replies: Vec<Value> =
        printed.lines().map(|line| serde_json::from_str(line).expect("JSON in a line")).collect();
    assert_eq!(replies.len(), 2);
    for (reply, prompt) in replies.iter().zip(["A: Hello", "B: 안녕\n"]) {
        assert_eq!(reply["prompt"], prompt);
        assert!(reply["text"].is_string() && reply["tokens"].as_u64().is_some_and(|n| n <= 12), "{reply}");
        assert!(["stop", "length"].contains(&reply["finish"].as_str().expect("a reason")), "{reply}");
    }
    assert_eq!(place.with_input(&[&talk[..], &["-"]].concat(), lines), printed, "standard input");
    // A reply does not depend on the lines before it.
    fs::write(place.path("one.jsonl"), "{\"prompt\": \"B: 안녕\\n\"}\n").expect("a file");
    assert_eq!(Some(place.ok(&[&talk[..], &["one.jsonl"]].concat()).trim_end()), printed.lines().last());
    for (line, words) in [
        ("{\"prompt\": \"a\"}\nno", &["wrong.jsonl, line 2"][..]),
        ("\n\n{\"text\": \"a\"}", &["wrong.jsonl, line 3", "text", "prompt"]),
        ("{\"prompt\": 5}", &["line 1"]),
    ] {
        fs::write(place.path("wrong.jsonl"), line).expect("a file");
        let ended = place.run(&[&talk[..], &["wrong.jsonl"]].concat());
        assert_refused(&ended, 1, words, &ended.stderr);
        assert_eq!(ended.stdout, "");
    }
    fs::write(place.path("wrong.jsonl"), "").expect("a file");
    let ended = place.run(&[&talk[..], &["wrong.jsonl"]].concat());
    assert_refused(&ended, 2, &["wrong.jsonl", "no prompts"], &ended.stderr);
}

#[test]
fn lines_that_are_typed() {
    let place = Place::new();
    place.model();
    let talk = ["talk", "--model", "model", "--tokens", "8", "--greedy", "--threads", "1"];
    let printed = place.with_input(&talk, "A: Hello\n\nB: 안녕\n");
    let (first, rest) = printed.split_once("B: 안녕").expect("the second line");
    assert!(first.starts_with("A: Hello") && rest.ends_with('\n'), "{printed}");
    let one = place.ok(&[&talk[..], &["--prompt", "A: Hello"]].concat());
    assert_eq!(one, first);
    let said = place.run(&[&talk[..], &["--prompt", "A: Hello"]].concat());
    for words in ["prompt: ", "reply: ", " a second"] {
        assert!(said.stderr.contains(words), "{}", said.stderr);
    }
}

#[test]
fn how_it_writes_can_be_chosen() {
    let place = Place::new();
    place.model();
    let said = |options: &[&str]| {
        let talk = ["talk", "--model", "model", "--prompt", "A: Hello", "--threads", "1"];
        let tokens = if options.contains(&"--tokens") { &[][..] } else { &["--tokens", "20"] };
        place.ok(&[&talk[..], tokens, options].concat())
    };
    let (free, greedy) = (said(&[]), said(&["--greedy"]));
    assert_eq!(said(&["--seed", "42"]), free);
    assert_ne!(said(&["--seed", "43"]), free);
    for options in
        [&["--top-k", "1"][..], &["--temperature", "0"], &["--top-p", "1e-9"], &["--min-p", "0.999999"]]
    {
        assert_eq!(said(&[options, &["--repetition-penalty", "1"]].concat()), greedy, "{options:?}");
    }
    assert_ne!(said(&["--greedy", "--repetition-penalty", "1000"]), greedy);
    // A model of transformers' making, whose likeliest token is another one under the usual penalty.
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/llama/qwen2");
    let folder = folder.to_str().expect("a path of plain text");
    let likeliest = |options: &[&str]| {
        let talk = [
            "talk",
            "--model",
            folder,
            "--prompt",
            "one two",
            "--tokens",
            "16",
            "--greedy",
            "--threads",
            "1",
        ];
        place.ok(&[&talk[..], options].concat())
    };
    assert_eq!(likeliest(&[]), likeliest(&["--repetition-penalty", "1"]));
    assert_ne!(likeliest(&[]), likeliest(&["--repetition-penalty", "1.1"]));
    assert!(said(&["--beams", "3"]).starts_with("A: Hello"));
    assert_eq!(said(&["--tokens", "0"]), "A: Hello\n");
    // More tokens than the context holds.
    assert!(said(&["--tokens", "100"]).len() > free.len());
    // It ends before a text of the reply.
    let reply = greedy.trim_end().strip_prefix("A: Hello").expect("the prompt");
    let stop: String = reply.chars().skip(3).take(2).collect();
    let end = reply.find(&stop).expect("it is there");
    assert_eq!(said(&["--greedy", "--stop", &stop]), format!("A: Hello{}\n", &reply[..end]));
    for dtype in ["bf16", "int8"] {
        assert!(said(&["--dtype", dtype]).starts_with("A: Hello"), "{dtype}");
    }
    // A folder says how it wants to write, and an option overrides it.
    place.ok(&["export", "--model", "model", "--to", "hf", "--out", "folder"]);
    let file = place.path("folder/generation_config.json");
    let mut wishes: Value = serde_json::from_slice(&fs::read(&file).expect("a file")).expect("JSON");
    wishes["do_sample"] = false.into();
    wishes["max_new_tokens"] = 3.into();
    fs::write(&file, wishes.to_string()).expect("a file");
    let talk = ["talk", "--model", "folder", "--prompt", "A: Hello", "--threads", "1"];
    let three = place.ok(&talk);
    assert_eq!(said(&["--greedy", "--tokens", "3"]), three);
    assert!(place.ok(&[&talk[..], &["--tokens", "20"]].concat()).len() > three.len());
}

/// A file may say of itself that the likeliest token is to be chosen, in either format.
#[test]
fn a_file_says_how_it_is_to_write() {
    let place = Place::new();
    place.model();
    let export = ["export", "--model", "model", "--greedy", "--to"];
    place.ok(&[&export[..], &["hf", "--out", "folder"]].concat());
    place.ok(&[&export[..], &["gguf", "--out", "file.gguf"]].concat());
    let wishes = fs::read(place.path("folder/generation_config.json")).expect("a file");
    let wishes: Value = serde_json::from_slice(&wishes).expect("JSON");
    assert_eq!((&wishes["do_sample"], &wishes["repetition_penalty"]), (&json!(false), &json!(1.0)));
    let talk = ["talk", "--prompt", "A: Hello", "--tokens", "12", "--threads", "1", "--model"];
    let usual = ["--greedy", "--repetition-penalty", "1"];
    let expected = place.ok(&[&talk[..], &["model"], &usual[..]].concat());
    for exported in ["folder", "file.gguf"] {
        assert_eq!(place.ok(&[&talk[..], &[exported]].concat()), expected, "{exported}");
    }
}

/// The model that comes with the project: small, there without a word, and able to use a tool.
#[test]
fn the_model_in_the_box_uses_a_tool() {
    let place = Place::new();
    let talk = ["talk", "--threads", "1"];
    let printed = place.with_input(&talk, "What is 417 + 2386?\n");
    let lines: Vec<&str> = printed.lines().collect();
    assert_eq!(lines[0], r#"-> calculator {"expression":"417 + 2386"}"#, "{printed}");
    assert_eq!(lines[1], r#"<- {"result":2803}"#, "{printed}");
    assert!(lines[2].contains("2803"), "{printed}");
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/chat/gradus.gguf");
    assert!(fs::metadata(&file).expect("it comes with the project").len() <= 4_000_000);
}

/// A model that has learned nothing, and so calls tools only because it has to.
#[test]
fn a_conversation_with_tools() {
    let place = Place::new();
    place.converses("model", 4096);
    let talk = ["talk", "--model", "model", "--tokens", "150", "--threads", "1", "--tool-choice"];
    let input = "Hello\n/save one.jsonl\n/undo\n/save two.jsonl\n";
    for (tool, fails) in [("calculator", true), ("roll_dice", false)] {
        let options = [&talk[..], &[tool]].concat();
        let printed = place.with_input(&options, input);
        assert!(printed.starts_with(&format!("-> {tool} {{")), "{printed}");
        let result = printed.lines().find_map(|line| line.strip_prefix("<- ")).expect("a result");
        let result: Value = serde_json::from_str(result).expect("JSON");
        // What it computes is noise, and dice are always dice.
        assert_eq!(result.get("error").is_some(), fails, "{printed}");
        assert!(
            printed.contains("written to one.jsonl") && printed.contains("? nothing was said yet"),
            "{printed}"
        );
        let saved = read_conversations(&place.path("one.jsonl"), None, OnMalformed::Refuse);
        let conversation = &saved.expect("a conversation").0[0];
        let roles: Vec<Role> = conversation.messages.iter().map(|message| message.role).collect();
        assert_eq!(roles[..4], [Role::User, Role::Assistant, Role::Tool, Role::Assistant]);
        let call = conversation.tool_calls().next().expect("a call");
        assert_eq!((call.name.as_str(), conversation.tools.len()), (tool, 4));
        fs::remove_file(place.path("one.jsonl")).expect("a file");
        if tool == "roll_dice" {
            assert_eq!(place.with_input(&options, input), printed, "a seed fixes the dice, too");
        }
    }
    for (options, words) in [
        (&["fly"][..], &["--tool-choice fly", "calculator, clock, convert_units, roll_dice"][..]),
        (&["auto", "--prompt", "a"], &["--tool-choice", "--prompt"]),
        (&["required", "--no-tools"], &["--no-tools", "--tool-choice"]),
    ] {
        let ended = place.run(&[&talk[..], options].concat());
        assert_refused(&ended, 2, words, &ended.stderr);
    }
    let ended = place.run(&[&talk[..], &["auto", "--tools", "nowhere.json"]].concat());
    assert_refused(&ended, 1, &["nowhere.json"], &ended.stderr);
}

#[test]
fn tools_of_a_file_and_models_that_read_little() {
    let place = Place::new();
    let file = r#"[{"name": "fly", "parameters": {"properties": {"to": {"enum": ["Oslo", "Lima"]}}, "required": ["to"]}}]"#;
    fs::write(place.path("mine.json"), file).expect("a file");
    place.converses("small", 640);
    let talk = ["talk", "--model", "small", "--tokens", "150", "--threads", "1"];
    let mine = [&talk[..], &["--tools", "mine.json", "--tool-choice", "required"]].concat();
    // Nobody is there to ask. And many turns are more than it can read.
    let printed = place.with_input(&mine, &"Where do you want to fly to?\n".repeat(8));
    assert!(printed.starts_with("-> fly {\"to\":\""), "{printed}");
    assert!(printed.contains("<- {\"error\":\"the tool is not available\"}"), "{printed}");
    assert!(printed.contains("longer than the 640 tokens"), "{printed}");
    assert!(printed.matches("-> fly {").count() >= 8, "{printed}");
    // A model that reads too little for the tools converses without them, unless they were asked for.
    place.converses("tiny", 64);
    let talk = ["talk", "--model", "tiny", "--tokens", "5", "--threads", "1"];
    let printed = place.with_input(&talk, "Hello\n");
    assert!(!printed.contains("tokens with"), "{printed}");
    let ended = place.run(&[&talk[..], &["--tools"]].concat());
    assert_refused(&ended, 2, &["of the 64 tokens", "--tools FILE"], &ended.stderr);
}

/// Large enough that a model says something else with it.
fn write_adapter(model: &Path, folder: &Path, rank: usize) {
    let TrainedModel { model, params, .. } = Checkpoint::load_as::<Decoder>(model).expect("a model");
    let lora = LoraConfig { rank, ..LoraConfig::default() };
    let adapted = model.with_adapters(&lora).expect("a model with adapters");
    let mut random = Random::new(5);
    let count = adapted.layout().len() - adapted.base_len();
    let mut params: Vec<f32> = params;
    params.extend((0..count).map(|_| 0.3 * (random.uniform() as f32 - 0.5)));
    adapter::export(folder, &adapted, &params, None).expect("a folder");
}

#[test]
fn adapters_are_merged_and_swapped() {
    let place = Place::new();
    place.model();
    write_adapter(&place.path("model"), &place.path("lora"), 4);
    let base = place.said("model");
    let said = |more: &[&str]| {
        let talk =
            ["talk", "--prompt", "A: Hello", "--tokens", "24", "--greedy", "--threads", "1", "--model"];
        place.ok(&[&talk[..], more].concat())
    };
    let adapted = said(&["model", "--adapter", "lora"]);
    assert_ne!(adapted, base);
    assert!(said(&["model", "--adapter", "lora", "--dtype", "int8"]).starts_with("A: Hello"));
    place.ok(&["export", "--model", "model", "--adapter", "lora", "--to", "hf", "--out", "merged"]);
    assert_eq!(said(&["merged"]), adapted);
    place.ok(&["export", "--model", "model", "--to", "gguf", "--out", "base.gguf"]);
    assert_eq!(said(&["base.gguf", "--adapter", "lora"]), adapted, "onto a GGUF file");
    // In a conversation one is changed for another.
    place.converses("talker", 64); // of the same seed, so it is the same model
    let talk = ["talk", "--model", "talker", "--tokens", "24", "--greedy", "--threads", "1"];
    let asked = "Hello\n/reset\n";
    let printed = place.with_input(
        &talk,
        &[asked, "/adapter lora\n", asked, "/adapter nowhere\n", asked, "/adapter\n", asked].concat(),
    );
    let replies: Vec<&str> = printed.split("forgotten\n").collect();
    let [first, with, still, without, ""] = replies[..] else { panic!("four replies: {printed}") };
    let with = with.strip_prefix("with the adapter lora\n").expect("it says so");
    let (problem, still) = still.split_once('\n').expect("a problem");
    assert!(problem.starts_with("? ") && problem.contains("nowhere"), "{problem}");
    assert_eq!(without.strip_prefix("no adapter\n"), Some(first));
    assert_eq!(still, with);
    assert_ne!(with, first);
    // What does not fit is said.
    let refuse = |adapter: &str, words: &[&str]| {
        let ended = place.run(&["talk", "--model", "model", "--adapter", adapter, "--prompt", "A"]);
        assert_refused(&ended, 1, words, &ended.stderr);
    };
    refuse("nowhere", &["nowhere", "adapter_config.json"]);
    refuse("merged", &["merged", "a whole model", "--model"]);
    let wider = format!(
        "create --out wider --vocab-size 400 --data text.txt {}",
        TINY.replace("--embd 32", "--embd 64")
    );
    place.ok(&wider.split_whitespace().collect::<Vec<_>>());
    write_adapter(&place.path("wider"), &place.path("wide"), 4);
    refuse("wide", &["wide", "cannot be merged", "Take the base that it was trained on"]);
}

#[test]
fn what_a_model_is_made_of() {
    let place = Place::new();
    place.model();
    let info = place.ok(&["info", "model", "--plot", "weights.svg"]);
    for words in [
        "a checkpoint of gradus",
        "of f32",
        "blocks: 2, 32 wide",
        "4 of queries and 2 of keys, 8 wide",
        "context: 64 tokens",
        "embed_tokens",
        "q_proj",
        "down_proj",
        "400 tokens of byte-level BPE, 12 of them special",
        "1 <s>",
        "begins with: 1 (<s>), before every text; ends with: 2 (</s>)",
        "█",
    ] {
        assert!(info.contains(words), "{words} is not in {info}");
    }
    let parts: usize = info
        .lines()
        .filter_map(|line| line.split_whitespace().nth(3).filter(|_| line.trim_end().contains('%')))
        .map(|numbers| numbers.replace(',', "").parse::<usize>().expect("a number"))
        .sum();
    let all = info.lines().find_map(|line| line.strip_prefix("parameters: ")).expect("all parameters");
    assert_eq!(parts, all.replace(',', "").parse::<usize>().expect("a number"));
    let drawing = fs::read_to_string(place.path("weights.svg")).expect("a drawing");
    assert!(drawing.contains("gate_proj") && drawing.contains("<desc"), "{drawing}");
    place.ok(&["export", "--model", "model", "--to", "gguf", "--out", "one.gguf", "--dtype", "q8_0"]);
    assert!(place.ok(&["info", "one.gguf"]).contains("a GGUF file"));
    let over = place.run(&["info", "one.gguf", "--plot", "one.gguf"]);
    assert_refused(&over, 2, &["--plot"], &over.stderr);
}

/// A checkpoint of llama2.c has no name for itself, and its tokenizer is beside it.
#[test]
fn a_checkpoint_of_llama2c() {
    let place = Place::new();
    let [width, hidden, vocab, context] = [8, 12, 259 + 2, 16];
    let header = [width, hidden, 1, 2, 2, vocab, context];
    let mut bytes: Vec<u8> = header.iter().flat_map(|&size: &i32| size.to_le_bytes()).collect();
    let count =
        vocab * width + 2 * width + 4 * width * width + 3 * width * hidden + width + context * (width / 2);
    bytes.extend((0..count).flat_map(|i| (((i * 37 % 101) as f32 - 50.0) / 300.0).to_le_bytes()));
    fs::write(place.path("small.bin"), &bytes).expect("a file");
    let mut pieces: Vec<String> = ["<unk>", "\n<s>\n", "\n</s>\n"].map(str::to_owned).to_vec();
    pieces.extend((0..256).map(|byte| format!("<0x{byte:02X}>")));
    pieces.extend([" ", "a"].map(str::to_owned));
    let mut file = 8_u32.to_le_bytes().to_vec();
    for (id, piece) in pieces.iter().enumerate() {
        file.extend((-(id as f32)).to_le_bytes());
        file.extend((piece.len() as u32).to_le_bytes());
        file.extend(piece.as_bytes());
    }
    let talk =
        ["talk", "--model", "small.bin", "--prompt", "aa", "--greedy", "--tokens", "5", "--threads", "1"];
    let ended = place.run(&talk);
    assert_refused(&ended, 1, &["small.bin", "--tokenizer"], &ended.stderr);
    fs::write(place.path("tok8.bin"), file).expect("a file");
    let said = place.ok(&talk);
    assert!(said.starts_with("aa"), "{said}");
    assert!(place.ok(&["info", "small.bin"]).contains("a checkpoint of llama2.c"));
    place.ok(&["import", "small.bin", "--tokenizer", "tok8.bin", "--out", "mine"]);
    let mine = ["talk", "--model", "mine", "--prompt", "aa", "--greedy", "--tokens", "5", "--threads", "1"];
    assert_eq!(place.ok(&mine), said);
}

#[test]
fn what_is_wrong_is_said_with_its_cure() {
    let place = Place::new();
    let refuse = |code: i32, options: &[&str], words: &[&str]| {
        let ended = place.run(options);
        assert_refused(&ended, code, words, &ended.stderr);
    };
    fs::write(place.path("noise.bin"), [7; 4000]).expect("a file");
    fs::create_dir(place.path("empty")).expect("a folder");
    refuse(1, &["info", "nowhere"], &["nowhere", "cannot be read"]);
    refuse(1, &["info", "noise.bin"], &["noise.bin", "no model that is known", ".gguf"]);
    refuse(1, &["info", "empty"], &["empty", "config.json"]);
    refuse(1, &["talk", "--model", "text.txt"], &["text.txt"]);
    refuse(1, &["create", "--out", "m", "--data", "nowhere.txt"], &["nowhere.txt"]);
    refuse(1, &["create", "--out", "m", "--data", "noise.bin", "empty"], &["empty"]);
    fs::write(place.path("nothing.txt"), "").expect("a file");
    refuse(1, &["create", "--out", "m", "--data", "nothing.txt"], &["nothing.txt", "nothing to learn"]);
    refuse(2, &["create", "--out", "m", "--data", "text.txt", "--heads", "7"], &["7", "512"]);
    refuse(
        2,
        &["create", "--out", "m", "--data", "text.txt", "--embd", "1048576", "--layers", "9999"],
        &["2"],
    );
    refuse(
        2,
        &["create", "--out", "m", "--data", "text.txt", "--vocab-size", "100"],
        &["--vocab-size", "268"],
    );
    refuse(
        2,
        &["create", "--out", "m", "--data", "text.txt", "--separate", "0é"],
        &["--separate", "'é'", "ASCII"],
    );
    assert!(!place.path("m").exists(), "nothing is begun");
    place.model();
    refuse(2, &["talk", "--model", "model", "--dtype", "int4"], &["--dtype", "int8"]);
    refuse(2, &["export", "--model", "model", "--to", "gguf", "--out", "folder"], &[".gguf"]);
    refuse(
        2,
        &["export", "--model", "model", "--to", "hf", "--out", "x", "--dtype", "q8_0"],
        &["q8_0", "bf16"],
    );
    // A file that was cut off is named.
    let weights = place.path("model/model.safetensors");
    let whole = fs::read(&weights).expect("a file");
    for length in [0, 7, 100, whole.len() - 1] {
        fs::write(&weights, &whole[..length]).expect("a file");
        let ended = place.run(&["info", "model"]);
        assert_refused(&ended, 1, &["model"], &ended.stderr);
    }
    fs::write(&weights, &whole).expect("a file");
    fs::write(place.path("model/language.json"), "{\"bos\": 5000}").expect("a file");
    refuse(1, &["info", "model"], &["language.json"]);
}

/// The largest number that a machine knows is refused, and the help says what the largest is that is not. Any number can be a
/// seed, and the sizes of a model have their limit together.
#[test]
fn every_number_has_a_limit_that_the_help_says() {
    let place = Place::new();
    let mut found = 0;
    for command in ["create", "talk"] {
        let help = place.ok(&[command, "--help"]);
        assert!(help.contains("Examples:"), "{help}");
        let mut options: Vec<(String, String)> = Vec::new();
        for line in help.lines().map(str::trim) {
            match line.strip_prefix("--").and_then(|rest| rest.split_once(' ')) {
                Some((option, rest)) => options.push((format!("--{option}"), rest.to_owned())),
                None => options.iter_mut().next_back().into_iter().for_each(|(_, text)| *text += line),
            }
        }
        options.retain(|(_, text)| text.starts_with("<N>") || text.starts_with("<K>"));
        let without = ["--seed", "--layers", "--embd", "--heads", "--kv-heads", "--ffn"];
        for (option, text) in options.iter().filter(|(option, _)| !without.contains(&option.as_str())) {
            assert!(text.contains("at most"), "{command} {option} has no limit in the help: {text}");
            let ended = place.run(&[command, option, "18446744073709551615"]);
            assert_refused(&ended, 2, &[option, "it must be a whole number from"], &ended.stderr);
            found += 1;
        }
        for (option, _) in &options {
            let ended = place.run(&[command, option, "-1"]);
            assert_refused(&ended, 2, &[option, "-1"], &ended.stderr);
            assert!(!ended.stderr.contains("unexpected argument"), "{}", ended.stderr);
        }
    }
    assert!(found >= 9, "{found} numbers");
    for command in ["info", "import", "export"] {
        assert!(place.ok(&[command, "--help"]).contains("Examples:"), "{command}");
    }
    let all = place.ok(&["--help"]);
    for command in ["create", "talk", "info", "import", "export"] {
        assert!(all.contains(command), "{command}");
    }
}

/// A reply that would not end for hours is ended, then the next line is read.
#[cfg(unix)]
#[test]
fn ctrl_c_ends_a_reply_and_not_the_program() {
    let place = Place::new();
    place.model();
    // The likeliest token, without a penalty, is a loop in which no text ends.
    let talk =
        ["talk", "--model", "model", "--greedy", "--repetition-penalty", "1", "--threads", "1", "--tokens"];
    fs::write(place.path("some.jsonl"), "{\"prompt\": \"A: Hello\"}\n{\"prompt\": \"B: Bye\"}")
        .expect("a file");
    let replies = place.ok(&[&talk[..], &["2000", "--prompts", "some.jsonl"]].concat());
    assert_eq!(replies.matches("\"finish\":\"length\"").count(), 2, "{replies}");
    let mut command = place.command(&[&talk[..], &["1000000000"]].concat());
    let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = pipes.spawn().expect("it can be started");
    let (mut stdin, mut stdout) = (child.stdin.take().expect("a pipe"), child.stdout.take().expect("a pipe"));
    let mut said = Vec::new();
    for line in ["A: Hello", "B: Bye"] {
        writeln!(stdin, "{line}").expect("it reads");
        // What was written before the signal may come first.
        let begun =
            |said: &[u8]| String::from_utf8_lossy(said).find(line).is_some_and(|at| said.len() > at + 2000);
        while !begun(&said) {
            let mut piece = [0; 4096];
            let count = stdout.read(&mut piece).expect("it writes");
            assert!(count > 0, "it has ended: {}", String::from_utf8_lossy(&said));
            said.extend_from_slice(&piece[..count]);
        }
        let kill = Command::new("sh").args(["-c", &format!("kill -INT {}", child.id())]).status();
        assert!(kill.expect("a shell").success());
    }
    drop(stdin);
    let mut rest = Vec::new();
    stdout.read_to_end(&mut rest).expect("it ends");
    said.extend(rest);
    assert!(child.wait().expect("its end").success());
    let said = String::from_utf8(said).expect("whole characters");
    assert!(said.starts_with("A: Hello") && said.contains("\nB: Bye"), "{said}");
}

/// A reader of the output may go away.
#[cfg(unix)]
#[test]
fn a_closed_pipe_ends_it_quietly() {
    let place = Place::new();
    place.model();
    let lines = "{\"prompt\": \"A: Hello\"}\n".repeat(200);
    fs::write(place.path("many.jsonl"), lines).expect("a file");
    let mut command =
        place.command(&["talk", "--model", "model", "--prompts", "many.jsonl", "--tokens", "1"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it can be started");
    drop(child.stdout.take());
    let ended = child.wait_with_output().expect("it ends");
    assert!(!ended.status.success(), "a signal ends it");
    assert_eq!(String::from_utf8_lossy(&ended.stderr), "");
}
