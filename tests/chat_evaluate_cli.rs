//! `chat evaluate` as people run it: the loss is that of the training, calls of tools are judged, replies are shown, the report and
//! its plots are whole, Ctrl-C leaves what there is, and what is wrong is said before anything is written.
//!
//! The program needs its feature: `cargo build -p gradus-examples --examples --features chat`, then
//! `cargo test --features chat --test chat_evaluate_cli`.
#![cfg(feature = "chat")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use serde_json::Value;
use tempfile::TempDir;

#[path = "common/program.rs"]
mod program;
#[path = "common/refusal.rs"]
mod refusal;

use program::{Output, example, run};
use refusal::{assert_refused, content};

/// The options of a training that takes a second or two.
const TRAIN: &str = "--layers 1 --embd 48 --heads 4 --kv-heads 2 --ffn 96 --context 320 --vocab-size 500 --threads 1 --steps 120 \
                     --learning-rate 0.01 --eval-split 0.2 --validate-every 60 --log-every 60 --sample-every 1000";

/// A folder with a model that was trained on conversations there, some of which call a tool. All tests read it.
static TRAINED: LazyLock<TempDir> = LazyLock::new(|| {
    let place = tempfile::tempdir().expect("a folder");
    let tools = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("datasets/tools.json"));
    let tools: Vec<Value> = serde_json::from_str(&tools.expect("the tools")).expect("JSON");
    let offered: Vec<&Value> = tools
        .iter()
        .filter(|tool| ["clock", "stop_music"].contains(&tool["function"]["name"].as_str().expect("a name")))
        .collect();
    let offered = serde_json::to_string(&offered).expect("JSON");
    let plain = |n: u32| {
        format!(
            r#"{{"messages": [{{"role": "user", "content": "What comes after {n}?"}}, {{"role": "assistant", "content": "After {n} comes {}."}}]}}"#,
            n + 1
        )
    };
    let call = |n: u32| {
        format!(
            r#"{{"messages": [{{"role": "user", "content": "Stop the noise number {n}."}}, {{"role": "assistant", "content": "", "tool_calls": [{{"type": "function", "function": {{"name": "stop_music", "arguments": {{}}}}}}]}}], "tools": {offered}}}"#
        )
    };
    let lines: Vec<String> = (0..40).map(plain).chain((0..24).map(call)).collect();
    fs::write(place.path().join("mine.jsonl"), lines.join("\n")).expect("a file");
    fs::write(place.path().join("others.jsonl"), (200..208).map(plain).collect::<Vec<_>>().join("\n"))
        .expect("a file");
    let questions = [
        r#"{"question": "Stop the noise number 77.", "tools": ["clock", "stop_music"], "call": {"name": "stop_music", "arguments": {}}}"#,
        r#"{"question": "Stop the noise number 31.", "tools": ["clock", "stop_music"], "call": {"name": "clock", "arguments": {"timezone": "Asia/Seoul"}}}"#,
        r#"{"question": "What comes after 8?", "tools": [], "call": null}"#,
    ];
    fs::write(place.path().join("questions.jsonl"), questions.join("\n")).expect("a file");
    let options = format!("train --data mine.jsonl --output-dir model {TRAIN}");
    let ended = run(Command::new(example("chat")).args(options.split_whitespace()).current_dir(place.path()));
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    place
});

/// Evaluates the trained model, with questions of its own kind.
fn evaluate(options: &str) -> Output {
    let mut command = Command::new(example("chat"));
    command.args(["evaluate", "--threads", "1", "--synthetic-questions", "0"]);
    if !options.contains("--questions") {
        command.args(["--questions", "questions.jsonl"]);
    }
    run(command.args(options.split_whitespace()).current_dir(TRAINED.path()))
}

/// What it prints, and the report that it writes.
fn report(options: &str, name: &str) -> (String, String) {
    let ended = evaluate(&format!("{options} --out {name}"));
    assert_eq!(ended.code, Some(0), "{options}: {}", ended.stderr);
    (ended.stdout, fs::read_to_string(path(name)).expect("the report"))
}

fn path(name: &str) -> PathBuf {
    TRAINED.path().join(name)
}

/// The number that stands after some words.
fn number_after(text: &str, words: &str) -> f64 {
    let (_, rest) = text.split_once(words).unwrap_or_else(|| panic!("{words}: {text}"));
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
    rest[..end].trim_end_matches('.').parse().unwrap_or_else(|_| panic!("a number after {words}: {text}"))
}

#[test]
fn the_report_is_whole_and_its_loss_is_that_of_the_training() {
    let (printed, report) = report("--model model --unconstrained --replies 3", "whole.md");
    // The weights are those of the best validation.
    let state = fs::read_to_string(path("model/trainer_state.json")).expect("the state");
    let state: Value = serde_json::from_str(&state).expect("JSON");
    let best = state["best_metric"].as_f64().expect("a loss");
    let loss = number_after(&printed, "held-out loss: ");
    assert!((loss - best).abs() < 2e-4, "{loss} here, {best} in training");
    assert!((number_after(&printed, "perplexity ") - loss.exp()).abs() < 0.01, "{printed}");
    for part in [
        "# Evaluation",
        "| all | ",
        "bits per byte",
        "| | constrained | unconstrained |",
        "| a tool called | 2 of 2 | 2 of 2 |",
        "| valid JSON | 2 of 2 | 2 of 2 |",
        "| fits its schema | 2 of 2 | 2 of 2 |",
        "| right tool | 1 of 2 | 1 of 2 |",
        "| right arguments | 1 of 2 | 1 of 2 |",
        "| none called | 1 of 1 | 1 of 1 |",
        "What went wrong, constrained:",
        "| Stop the noise number 31. | {\"name\": \"clock\", \"arguments\": {\"timezone\":\"Asia/Seoul\"}} | {\"name\": \"stop\\_music\", \"arguments\": {}} |",
        "distinct-2",
        "### The first 3",
        "Question 3:",
        "Reference 3:",
    ] {
        assert!(report.contains(part), "{part}: {report}");
    }
    assert_eq!(report.matches("```text\nWhat comes after ").count(), 3, "{report}");
    for plot in ["whole-loss.svg", "whole-tools.svg"] {
        assert!(report.contains(&format!("]({plot})")), "{plot}: {report}");
        let drawn = fs::read_to_string(path(plot)).expect("a plot");
        assert!(
            drawn.starts_with("<svg") && drawn.ends_with("</svg>\n") && drawn.contains("class='c0'"),
            "{plot}"
        );
    }
    assert!(printed.contains("the report is in whole.md"), "{printed}");
    // All of it is the same once more, and nothing is written over unasked.
    let again = evaluate("--model model --unconstrained --replies 3 --out whole.md");
    assert_refused(&again, 2, &["whole.md is there already"], &again.stderr);
    let (_, again) = self::report("--model model --unconstrained --replies 3 --overwrite", "whole.md");
    assert_eq!(again, report);
}

#[test]
fn of_a_file_that_was_learned_only_what_was_held_out_counts() {
    let (printed, learned) = report("--model model --data mine.jsonl others.jsonl --replies 0", "files.md");
    assert!(
        printed.contains("mine.jsonl: 64 conversations, of which ")
            && printed.contains("others.jsonl: 8 conv"),
        "{printed}"
    );
    assert!(learned.contains("| others.jsonl | 8 |") && learned.contains("| mine.jsonl | "), "{learned}");
    assert!(learned.contains("## Replies\n\nThere are none."), "{learned}");
    let held_out = number_after(&printed, "64 conversations, of which ");
    assert!((1.0..32.0).contains(&held_out), "{printed}");
    // Weights of 8 bits say nearly the same.
    let (printed, exact) = report("--model model --data others.jsonl --replies 0", "exact.md");
    let (rough, _) = report("--model model --data others.jsonl --replies 0 --dtype int8", "rough.md");
    let [exact_loss, rough_loss] = [&printed, &rough].map(|text| number_after(text, "held-out loss: "));
    assert!(
        exact_loss != rough_loss && (exact_loss - rough_loss).abs() < 0.2 * exact_loss,
        "{exact_loss} {rough_loss}"
    );
    assert!(exact.contains("8 of 8 conversations were read: all that --data has"), "{exact}");
}

#[cfg(unix)]
#[test]
fn ctrl_c_leaves_what_there_is() {
    use std::io::{BufRead, BufReader};
    use std::process::Stdio;

    let mut command = Command::new(example("chat"));
    let options = "evaluate --model model --threads 1 --questions questions.jsonl --synthetic-questions 3000 --out cut.md";
    command.args(options.split_whitespace()).current_dir(TRAINED.path());
    let mut child = command.stdout(Stdio::piped()).spawn().expect("it starts");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let begun = |line: &String| line.contains("questions with tools: ");
    assert!(lines.any(|line| begun(&line.expect("UTF-8"))), "it says what it does");
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill runs");
    let printed: Vec<String> = lines.map(|line| line.expect("UTF-8")).collect();
    assert!(sent.success() && child.wait().expect("it ends").success(), "{printed:?}");
    assert!(printed.iter().any(|line| line.starts_with("interrupted: ")), "{printed:?}");
    let report = fs::read_to_string(path("cut.md")).expect("the report");
    assert!(
        report.contains("It was interrupted") && report.contains("## Replies\n\nThere are none."),
        "{report}"
    );
}

#[test]
fn what_is_wrong_is_said_before_anything_is_written() {
    let place = TRAINED.path();
    fs::write(place.join("text.txt"), "one two three").expect("a file");
    let made =
        "create --out made --data text.txt --vocab-size 270 --layers 1 --embd 32 --heads 4 --context 64";
    let ended = run(Command::new(example("chat")).args(made.split_whitespace()).current_dir(place));
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    fs::write(place.join("wrong.jsonl"), "\n{\"question\": \"?\", \"tools\": [\"watch\"], \"call\": null}\n")
        .expect("a file");
    fs::write(place.join("empty.jsonl"), "\n").expect("a file");
    let before = content(&place.join("model"));
    for (options, code, why) in [
        ("--model made", 2, "give conversations by --data"),
        ("--model made --data others.jsonl", 2, "no chat template"),
        ("--model model --data nothing.jsonl", 1, "nothing.jsonl"),
        ("--model model --questions wrong.jsonl", 1, "wrong.jsonl, line 2: there is no tool watch"),
        ("--model model --questions empty.jsonl", 2, "empty.jsonl has no questions"),
        ("--model model --out model", 1, "model is a folder"),
        ("--model model --tokens 0", 2, "1 to 1000000000"),
        ("--model model --replies 1000001", 2, "0 to 1000000"),
        ("--model model --max-samples 3", 2, "--data"),
        ("--model nowhere --data others.jsonl", 1, "nowhere"),
    ] {
        let out = if options.contains("--out") { "" } else { " --out refused.md" };
        let ended = evaluate(&format!("{options}{out}"));
        assert_eq!(ended.code, Some(code), "{options}: {}", ended.stderr);
        assert!(ended.stderr.contains(why), "{options}: {}", ended.stderr);
    }
    assert!(!path("refused.md").exists() && content(&place.join("model")) == before);
}
