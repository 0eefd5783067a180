//! Which options may change when a training goes on, which may not, and that the advice it prints is true.

use std::fs;
use std::path::Path;
use std::process::Command;

use gradus::checkpoint::FILE;
use serde_json::Value;
use tempfile::TempDir;

#[path = "common/program.rs"]
mod program;
#[path = "common/refusal.rs"]
mod refusal;
#[path = "common/state.rs"]
mod state;

use program::{Output, example, run};
use refusal::{assert_refused, content};
use state::state;

const TINY: &str =
    "--layers 1 --embd 16 --heads 2 --ffn 32 --context 16 --batch 4 --threads 1 --sample-every 1000000";

/// Dialogues that are all different.
fn text(words: [&str; 2]) -> String {
    let [a, b] = words;
    (0..60).map(|n| format!("A: {a} {n}?\nB: {b} {}.\n\n", n * n % 91)).collect()
}

/// A folder with a name that a shell would take apart, and a text in it.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let place = Place(tempfile::tempdir().expect("a folder"));
        place.write("text.txt", &text(["Where is number", "Behind number"]));
        place
    }

    fn arg(&self, name: &str) -> String {
        self.0.path().join(name).into_os_string().into_string().expect("UTF-8")
    }

    fn write(&self, name: &str, content: &str) {
        fs::write(self.arg(name), content).expect("a file can be written");
    }

    fn run(&self, options: &[&str]) -> Output {
        run(Command::new(example("dialog")).args(options))
    }

    fn good(&self, options: &[&str]) -> String {
        let ended = self.run(options);
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{options:?}: {}", ended.stdout);
        ended.stdout
    }

    /// A training of a tiny model into the folder `it's a model`.
    fn train(&self, options: &str) -> String {
        let (text, model) = (self.arg("text.txt"), self.arg(MODEL));
        let every =
            if options.contains("--validate-every") { [].as_slice() } else { &["--validate-every", "10"] };
        let fixed = [&["--data", &text, "--save", &model, "--overwrite"], every].concat();
        self.good(
            &fixed
                .into_iter()
                .chain(TINY.split_whitespace())
                .chain(options.split_whitespace())
                .collect::<Vec<_>>(),
        )
    }

    fn resume(&self, options: &str) -> String {
        let model = self.arg(MODEL);
        self.good(&["--resume", &model].into_iter().chain(options.split_whitespace()).collect::<Vec<_>>())
    }

    /// It must be refused with these words, and change nothing.
    fn refuse(&self, code: i32, options: &str, words: &[&str]) {
        let (model, before) = (self.arg(MODEL), content(self.0.path()));
        let ended =
            self.run(&["--resume", &model].into_iter().chain(options.split_whitespace()).collect::<Vec<_>>());
        let shown = format!("{options}\n{}\n{}", ended.stdout, ended.stderr);
        assert_refused(&ended, code, words, &shown);
        assert!(content(self.0.path()) == before, "{shown}");
    }

    fn state(&self) -> Value {
        state(Path::new(&self.arg(MODEL))).description
    }

    fn step(&self) -> u64 {
        self.state()["step"].as_u64().expect("a number")
    }
}

const MODEL: &str = "it's a model";

/// What a run advises is a command that a shell understands, and that leads on.
#[cfg(unix)]
fn follow_advice(stdout: &str) -> String {
    let advice = stdout.lines().find_map(|line| line.strip_prefix("to go on: ")).expect("advice");
    let options = advice.strip_prefix("cargo run --release --example dialog -- ").expect("a command");
    let mut shell = Command::new("sh");
    let ended = run(shell.args(["-c", &format!("exec \"$0\" {options}")]).arg(example("dialog")));
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{advice}: {}", ended.stdout);
    ended.stdout
}

#[cfg(unix)]
#[test]
fn the_advice_leads_on() {
    let place = Place::new();
    let done = place.train("--steps 20");
    follow_advice(&done);
    assert_eq!(place.step(), 40, "more steps, since it was done");

    let early = place.train("--steps 100000 --patience 1 --learning-rate 0.5 --optimizer adamw");
    assert!(early.contains("stopped early"), "{early}");
    let step = place.step();
    let again = follow_advice(&early);
    assert!(place.step() > step, "more patience, since it would stop at once: {again}");

    let in_time = place.train("--steps 1000000 --validate-every 1 --minutes 0.000001");
    assert!(in_time.contains("the time is over after step 1 "), "{in_time}");
    let advice = in_time.lines().find(|line| line.starts_with("to go on: ")).expect("advice");
    assert!(!advice.contains("--minutes"), "without a limit: {advice}");
    // Minutes count from this start.
    place.resume("--minutes 0.000001");
    assert_eq!(place.step(), 2);
}

#[test]
fn what_does_not_change_the_past_is_allowed() {
    let place = Place::new();
    place.train("--steps 20");
    let first = fs::read(place.arg(MODEL) + "/" + FILE).expect("a model");
    // The same options as before are no change.
    place.resume("--steps 20 --batch 4 --seed 42");
    assert_eq!(fs::read(place.arg(MODEL) + "/" + FILE).expect("a model"), first);
    let stdout = place.resume("--steps 40 --patience 7 --learning-rate 0.001 --validate-every 5 --threads 2");
    assert!(stdout.contains("Step: 25 ") && stdout.contains("done after step 40"), "{stdout}");
    let state = place.state();
    let recipe = &state["caller"]["recipe"];
    assert_eq!(
        (&recipe["steps"], &recipe["patience"]),
        (&40.into(), &7.into()),
        "it is remembered: {recipe}"
    );
    assert_eq!((&recipe["learning_rate"], &recipe["batch"]), (&0.001.into(), &4.into()), "{recipe}");

    // The learning rate holds for what is to come.
    let numbers = |rate: &str| {
        place.train("--steps 20");
        place.resume(&format!("--steps 30 --learning-rate {rate}"));
        fs::read(place.arg(MODEL) + "/training.safetensors").expect("a state")
    };
    assert!(numbers("0.003") != numbers("0.0001"));
}

#[test]
fn the_text_may_move_but_not_change() {
    let place = Place::new();
    place.train("--steps 20");
    let old = place.arg("text.txt");
    fs::rename(&old, place.arg("moved.txt")).expect("it can be renamed");
    place.refuse(1, "--steps 30", &[&old, "--data"]);
    let moved = place.arg("moved.txt");
    place.resume(&format!("--steps 30 --data {moved}"));
    place.resume("--steps 40"); // it is remembered
    place.write("other.txt", &text(["Where is number", "Under number"]));
    place.refuse(
        1,
        &format!("--steps 50 --data {}", place.arg("other.txt")),
        &["other.txt", "no longer the text"],
    );
    assert_eq!(place.step(), 40);
}

#[test]
fn what_would_change_the_past_is_refused_with_the_reason() {
    let place = Place::new();
    place.train("--steps 20");
    for (option, before) in [
        ("--layers 2", "1"),
        ("--embd 32", "16"),
        ("--ffn 33", "32"),
        ("--context 8", "16"),
        ("--batch 5", "4"),
        ("--accumulate 2", "1"),
        ("--schedule linear", "cosine"),
        ("--precision bf16", "f32"),
        ("--seed 7", "42"),
        ("--optimizer adamw", "muon"),
        ("--momentum plain", "nesterov"),
        ("--muon-rate 1", "5"),
        ("--warmup 7", "100"),
        ("--weight-decay 0.5", "0.01"),
        ("--clip 0.5", "1.0"),
        ("--smoothing 0.5", "0.0"),
        ("--dropout 0.5", "0.0"),
        ("--ema 0.5", "0.995"),
        ("--weighting", "false"),
    ] {
        let name = option.split(' ').next().expect("a word");
        place.refuse(2, option, &[name, "--resume", "was begun with", before, "follows from that", "--load"]);
    }
    place.refuse(2, "--steps 10", &["10 steps", "20", "--steps"]);
}

/// A finished model is trained on another text.
#[test]
fn a_model_can_be_trained_further() {
    let place = Place::new();
    place.train("--steps 200");
    place.write("more.txt", &text(["Where is number", "Hidden near number"]));
    let (model, more, to) = (place.arg(MODEL), place.arg("more.txt"), place.arg("second"));
    let options = |steps: &'static str| {
        let fixed =
            ["--load", &model, "--data", &more, "--save", &to, "--overwrite", "--validate-every", "5"];
        let all = fixed.into_iter().map(str::to_owned).chain(["--steps".into(), steps.into()]);
        all.chain(["--batch", "4", "--threads", "1"].map(str::to_owned)).collect::<Vec<_>>()
    };
    let run = |steps| place.run(&options(steps).iter().map(String::as_str).collect::<Vec<_>>());
    // 'H' is in no text that the model has seen.
    let refused = run("10");
    assert_refused(&refused, 1, &[&model, "more.txt", "'H'", "line 2"], &refused.stderr);
    place.write("more.txt", &text(["Where is number", "Behind his number"]));
    let ended = run("10");
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{}", ended.stdout);
    let first = |stdout: &str| -> f64 {
        let line = stdout.lines().find(|line| line.starts_with("Step: ")).expect("a report");
        line.split(" | Val: ")
            .nth(1)
            .and_then(|rest| rest.split(' ').next())
            .and_then(|x| x.parse().ok())
            .expect("a loss")
    };
    let begun = place.good(&[
        "--data",
        &more,
        "--save",
        &place.arg("fresh"),
        "--steps",
        "10",
        "--validate-every",
        "5",
        "--layers",
        "1",
        "--embd",
        "16",
        "--heads",
        "2",
        "--ffn",
        "32",
        "--context",
        "16",
        "--batch",
        "4",
        "--threads",
        "1",
    ]);
    assert!(
        first(&ended.stdout) < first(&begun) - 0.5,
        "it begins where the model stood: {}\n{begun}",
        ended.stdout
    );
    // It is a run as any other: it can go on, in the characters of the first text.
    let resumed = place.good(&["--resume", &to, "--steps", "20"]);
    assert!(resumed.contains("going on after step 10"), "{resumed}");
    // Sizes are those of the model.
    let other =
        place.run(&["--load", &model, "--data", &more, "--save", &place.arg("third"), "--embd", "32"]);
    assert_refused(&other, 2, &["--embd", "16"], &other.stderr);
}

/// Names are invented with nothing but the model.
#[test]
fn names_without_a_file() {
    let place = Place::new();
    let model = place.arg(MODEL);
    let names =
        |options: &[&str]| run(Command::new(example("names")).args(options).current_dir(place.0.path()));
    let trained = names(&["--steps", "20", "--samples", "0", "--save", &model]);
    assert_eq!(trained.code, Some(0), "{}", trained.stderr);
    let ended = names(&["no-such-file.txt", "--load", &model, "--steps", "0", "--samples", "3"]);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    assert_eq!(ended.stdout.lines().count(), 3, "{}", ended.stdout);
}
