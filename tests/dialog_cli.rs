//! The `dialog` example as people run it: what it prints and writes, and what it says to every input that is wrong.
//!
//! A wrong input ends with exit code 2 if the command line itself makes no sense, and with 1 otherwise; it is answered by
//! one paragraph that names what is wrong; and a model that was saved before is still there afterwards.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use gradus::checkpoint::{Checkpoint, FILE};
use gradus::model::ModelSpec;
use serde_json::Value;
use tempfile::TempDir;

#[path = "common/program.rs"]
mod program;
#[path = "common/refusal.rs"]
mod refusal;

use program::{Output, example, run};
use refusal::{assert_refused, content};

/// A model that learns in no time.
const TINY: &str = "--layers 1 --embd 16 --heads 2 --ffn 32 --context 16 --batch 4 --steps 30 --validate-every 10 \
                    --sample-every 1000 --threads 1";

/// A folder for the files of a test.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Place(tempfile::tempdir().expect("a folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A path as an argument.
    fn arg(&self, name: &str) -> String {
        self.path(name).into_os_string().into_string().expect("a path of plain letters")
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        fs::write(self.path(name), content).expect("a file can be written");
        self.arg(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).expect("it was written")
    }

    /// Trains a tiny model and saves it under a name, which is returned as an argument.
    fn model(&self, name: &str) -> String {
        let folder = self.arg(name);
        tiny(&["--save", &folder]);
        folder
    }
}

/// The dialogues that come with the crate.
fn text() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("datasets/dialog.txt");
    path.into_os_string().into_string().expect("a path of plain letters")
}

fn dialog<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Output {
    run(Command::new(example("dialog")).args(args))
}

/// The arguments of a tiny training, of which those given take the place.
fn with_tiny(args: &[&str]) -> Vec<String> {
    let text = text();
    let tiny: Vec<&str> = ["--data", &text].into_iter().chain(TINY.split_whitespace()).collect();
    let kept = tiny.chunks(2).filter(|option| !args.contains(&option[0])).flatten();
    kept.chain(args).map(|arg| (*arg).to_owned()).collect()
}

/// A training that must go well; what it printed.
fn tiny(args: &[&str]) -> String {
    good(with_tiny(args))
}

fn good<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> String {
    let ended = dialog(args);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{}", ended.stdout);
    ended.stdout
}

/// What a saved model says.
fn say(model: &str, prompt: &str, args: &[&str]) -> String {
    let ended = dialog(["--save", model, "--generate", prompt].iter().chain(args));
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let speed = ended.stderr.strip_suffix(" characters a second\n").expect("its speed, and nothing else");
    assert!(speed.parse::<f64>().is_ok_and(|speed| speed >= 0.0), "{speed}");
    let said = ended.stdout.strip_suffix('\n').expect("a line break at the end");
    said.strip_prefix(prompt).expect("it begins with what it was given").to_owned()
}

/// The rest of the only line that begins with `start`.
fn field<'a>(stdout: &'a str, start: &str) -> &'a str {
    let mut lines = stdout.lines().filter_map(|line| line.strip_prefix(start));
    let rest = lines.next().unwrap_or_else(|| panic!("no line begins with {start:?} in\n{stdout}"));
    assert_eq!(lines.next(), None, "one line that begins with {start:?}");
    rest
}

/// A line of figures, field by field and letter by letter.
#[derive(Debug, PartialEq)]
struct Line {
    step: usize,
    train: String,
    val: String,
    weight: String,
}

/// All lines of figures, each of which must be of the form
/// `Step: 500 | Train: 2.6500 | Val: 2.5800 | W: 1.32 | TPS: 10K`.
fn lines(stdout: &str) -> Vec<Line> {
    let line = |line: &str| {
        let figures: Vec<&str> = line.split(" | ").collect();
        let names = ["Step: ", "Train: ", "Val: ", "W: ", "TPS: "];
        assert_eq!(figures.len(), names.len(), "{line}");
        let [step, train, val, weight, speed] = std::array::from_fn(|at| {
            let figure =
                figures[at].strip_prefix(names[at]).unwrap_or_else(|| panic!("{} in {line}", names[at]));
            figure.to_owned()
        });
        let number = |text: &str, digits: usize| {
            let (_, fraction) = text.split_once('.').unwrap_or_else(|| panic!("a fraction in {line}"));
            assert_eq!(fraction.len(), digits, "{line}");
            assert!(text.parse::<f64>().is_ok_and(|x| x > 0.0), "{line}");
        };
        number(&train, 4);
        number(&val, 4);
        number(&weight, 2);
        assert!(speed.strip_suffix('K').is_some_and(|speed| speed.parse::<u32>().is_ok()), "{line}");
        Line { step: step.parse().expect("a number"), train, val, weight }
    };
    stdout.lines().filter(|line| line.starts_with("Step")).map(line).collect()
}

#[test]
fn help_has_examples() {
    let help = good(["--help"]);
    assert!(help.contains("Examples:\n  cargo run --release --example dialog "), "{help}");
    for option in [
        "--data",
        "--save",
        "--resume",
        "--generate",
        "--threads",
        "--validate-every",
        "--sample-every",
        "--minutes",
        "--plot",
        "--metrics",
        "--steps",
        "--batch",
        "--accumulate",
        "--schedule",
        "--seed",
        "--layers",
        "--embd",
        "--ffn",
        "--heads",
        "--context",
        "--dropout",
        "--optimizer",
        "--momentum",
        "--learning-rate",
        "--muon-rate",
        "--warmup",
        "--weight-decay",
        "--clip",
        "--smoothing",
        "--ema",
        "--precision",
        "--weighting",
        "--patience",
        "--tokens",
        "--temperature",
        "--top-k",
        "--top-p",
        "--min-p",
        "--repetition-penalty",
        "--no-repeat-ngram",
        "--greedy",
        "--stop",
    ] {
        assert!(help.contains(option), "{option} is not in the help");
    }
    // What the examples show must exist.
    for line in help.lines().filter(|line| line.contains("cargo run")) {
        let words = line.split_whitespace().filter(|word| word.starts_with("--") && word.len() > 2);
        for option in words.filter(|word| !["--release", "--example"].contains(word)) {
            assert!(
                help.matches(option).count() > 1,
                "{option} is in an example, but there is no such option"
            );
        }
    }
}

#[test]
fn a_training() {
    let place = Place::new();
    let folder = place.arg("made/on the way");
    let stdout = tiny(&["--save", &folder, "--weighting"]);
    let model = Checkpoint::<f32>::load(Path::new(&folder)).expect("a model");
    assert_eq!(field(&stdout, "vocab size: "), model.model.vocab_size().to_string());
    assert!(matches!(model.model, ModelSpec::Decoder(_)));
    assert_eq!(field(&stdout, "num params: "), model.params.len().to_string());
    assert!(field(&stdout, "text: ").starts_with(&text()));
    assert!(field(&stdout, "validation: ").contains("other dialogues"));
    assert!(field(&stdout, "matrix products: ").ends_with(", 1 threads"));
    let lines = lines(&stdout);
    assert_eq!(lines.iter().map(|line| line.step).collect::<Vec<_>>(), [10, 20, 30]);
    assert!(lines[0].val > lines[2].val, "it learns: {lines:?}");
    assert!(lines.iter().any(|line| line.weight != "1.00"), "{lines:?}");
    assert!(field(&stdout, "done after step ").starts_with("30 "));
    assert!(field(&stdout, "to go on: ").ends_with("--steps 60"), "what is done is not begun again");
    assert!(field(&stdout, "validation: ").contains("(10.0 %)"));
    let best = field(&stdout, "best validation loss: ");
    assert!(best.starts_with(&lines[2].val) && best.contains(&folder), "{best}");
    let files = fs::read_dir(&folder).expect("a folder").map(|entry| entry.expect("an entry").file_name());
    let files: BTreeSet<_> = files.map(|name| name.into_string().expect("plain letters")).collect();
    assert!(files.iter().map(String::as_str).eq([FILE, "training.safetensors"]), "{files:?}");
}

#[test]
fn the_same_seed_gives_the_same_figures() {
    let place = Place::new();
    let figures = |args: &[&str]| {
        let folder = place.arg("model");
        let stdout = tiny(&[&["--save", &folder, "--overwrite"], args].concat());
        (lines(&stdout), fs::read(place.path("model").join(FILE)).expect("a model"))
    };
    let first = figures(&[]);
    assert!(first.0.iter().all(|line| line.weight == "1.00"), "without params: {:?}", first.0);
    assert!(figures(&["--seed", "42"]) == first);
    assert!(figures(&["--threads", "3"]) == first);
    assert!(figures(&["--sample-every", "7", "--tokens", "20"]) == first, "to look changes nothing");
    let others = [
        &["--seed", "43"][..],
        &["--optimizer", "adamw"],
        &["--momentum", "plain"],
        &["--momentum", "of-orthogonal"],
        &["--learning-rate", "0.001"],
        &["--muon-rate", "1"],
        &["--warmup", "2"],
        &["--weight-decay", "1"],
        &["--clip", "0.1"],
        &["--smoothing", "0.2"],
        &["--dropout", "0.3"],
        &["--ema", "0.1"],
        &["--weighting"],
        &["--precision", "bf16"],
        &["--precision", "f16"],
        &["--batch", "5"],
        &["--accumulate", "2"],
        &["--warmup", "2", "--schedule", "linear"],
        &["--warmup", "2", "--schedule", "inverse-sqrt"],
        &["--warmup", "2", "--schedule", "constant"],
        &["--layers", "2"],
        &["--embd", "32"],
        &["--ffn", "33"],
        &["--heads", "4"],
        &["--context", "12"],
        &["--steps", "50"],
    ];
    let mut seen = vec![first.1];
    for args in others {
        let (_, model) = figures(args);
        assert!(!seen.contains(&model), "{args:?} changes nothing");
        seen.push(model);
    }
}

#[test]
fn samples_on_the_way() {
    let place = Place::new();
    let stdout = tiny(&["--save", &place.arg("model"), "--sample-every", "10", "--tokens", "5"]);
    assert_eq!(stdout.lines().filter(|line| line.starts_with("A: ")).count(), 3, "{stdout}");
}

#[test]
fn a_plot_and_metrics() {
    let place = Place::new();
    let (plot, csv, jsonl) = (place.arg("loss.svg"), place.arg("run.csv"), place.arg("run.jsonl"));
    place.write("run.csv", "an older file\n".repeat(1000));
    let folder = place.arg("model");
    let watched = tiny(&["--save", &folder, "--weighting", "--plot", &plot, "--metrics", &csv]);
    let lines_of_csv = lines(&watched);
    assert_eq!(
        lines(&tiny(&["--save", &folder, "--weighting", "--metrics", &jsonl, "--overwrite"])),
        lines_of_csv
    );

    let svg = place.read("loss.svg");
    assert!(svg.trim_start().starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
    assert!(svg.matches("<polyline").count() >= 3, "training, validation and W");
    for name in ["training (weighted)", "validation", "W"] {
        assert!(svg.contains(&format!(">{name}<")), "{name} is not in the plot");
    }
    let plain = place.arg("plain.svg");
    tiny(&["--save", &folder, "--overwrite", "--plot", &plain, "--smoothing", "0.1"]);
    let svg = place.read("plain.svg");
    assert!(svg.contains("training (smoothed)") && svg.contains("validation"));
    assert!(!svg.contains(">W<"), "a line of ones says nothing");
    assert!(svg.contains(">0<"), "the axis begins before the first step");

    let text = place.read("run.csv");
    let mut rows = text.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let names = rows.next().expect("a line of names");
    let of_csv: Vec<Value> = rows
        .map(|row| {
            assert_eq!(row.len(), names.len());
            let numbers = row.iter().map(|x| serde_json::from_str::<Value>(x).expect("a number"));
            names.iter().map(|name| (*name).to_owned()).zip(numbers).collect::<serde_json::Map<_, _>>().into()
        })
        .collect();
    let text = place.read("run.jsonl");
    let of_jsonl: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("an object on each line")).collect();
    for rows in [of_csv, of_jsonl] {
        assert_eq!(rows.len(), lines_of_csv.len());
        for (row, line) in rows.iter().zip(&lines_of_csv) {
            let number = |name: &str| row[name].as_f64().unwrap_or_else(|| panic!("{name} in {row}"));
            let told = Line {
                step: row["step"].as_u64().expect("a step") as usize,
                train: format!("{:.4}", number("train")),
                val: format!("{:.4}", number("val")),
                weight: format!("{:.2}", number("weight")),
            };
            assert_eq!(told, *line);
            assert!(number("tokens_per_second") > 0.0 && number("seconds") > 0.0);
        }
    }
}

#[test]
fn metrics_go_on_where_they_ended() {
    let place = Place::new();
    let folder = place.model("model");
    for name in ["run.csv", "run.jsonl"] {
        let file = place.arg(name);
        // A run that is done: nothing comes in addition, and nothing is lost.
        tiny(&["--save", &folder, "--metrics", &file, "--overwrite"]);
        let before = place.read(name);
        assert_eq!(before.lines().count(), if name.ends_with("csv") { 4 } else { 3 });
        good(["--resume", &folder, "--metrics", &file]);
        assert_eq!(place.read(name), before);
    }
}

#[test]
fn stopping_early_and_in_time() {
    let place = Place::new();
    let model = place.arg("model");
    let stdout = tiny(&["--save", &model, "--steps", "3000", "--patience", "2", "--learning-rate", "0.3"]);
    let values: Vec<f64> = lines(&stdout).iter().map(|line| line.val.parse().expect("a number")).collect();
    let (rest, last) = values.split_at(values.len() - 2);
    let best = rest.iter().copied().fold(f64::INFINITY, f64::min);
    assert!(values.len() < 300 && last.iter().all(|value| *value >= best), "{values:?}");
    field(&stdout, "stopped early");
    assert!(field(&stdout, "best validation loss: ").starts_with(&format!("{best:.4}")));
    assert!(field(&stdout, "to go on: ").ends_with(&format!("--resume {model} --patience 4")));

    let stdout = tiny(&["--save", &model, "--overwrite", "--steps", "1000000", "--minutes", "0.002"]);
    field(&stdout, "the time is over after step ");
}

#[test]
fn it_speaks() {
    let place = Place::new();
    let model = place.model("model");
    let greedy = say(&model, "A: Hello", &["--greedy", "--tokens", "100"]);
    assert_eq!(greedy.chars().count(), 100, "far more than its context of 16");
    assert_eq!(say(&model, "A: Hello", &["--greedy", "--tokens", "100", "--seed", "9"]), greedy);
    assert!(greedy.starts_with(&say(&model, "A: Hello", &["--greedy", "--tokens", "10"])));
    let random = |args: &[&str]| say(&model, "A: Hello", &[&["--tokens", "60"], args].concat());
    let said = random(&[]);
    assert_eq!(random(&["--seed", "42"]), said);
    let others = [
        &["--seed", "1"][..],
        &["--temperature", "3"],
        &["--top-p", "0.2"],
        &["--top-k", "2"],
        &["--min-p", "0.5"],
        &["--repetition-penalty", "5"],
        &["--no-repeat-ngram", "2"],
    ];
    for args in others {
        assert_ne!(random(args), said, "{args:?} changes nothing");
    }
    // Only the likeliest is left, however it is put.
    let free = ["--repetition-penalty", "1"];
    let likeliest = random(&[&free[..], &["--greedy"]].concat());
    for args in [["--top-k", "1"], ["--top-p", "1e-9"], ["--min-p", "0.999999"], ["--temperature", "1e-9"]] {
        assert_eq!(random(&[&free[..], &args].concat()), likeliest, "{args:?}");
    }
    assert_eq!(
        random(&[&free[..], &["--temperature", "0"]].concat()),
        likeliest,
        "not an error, but the limit"
    );
    assert_eq!(random(&["--top-k", "0"]), random(&["--top-k", "1000"]), "0 is among all of them");
    assert_eq!(random(&["--min-p", "0", "--no-repeat-ngram", "0"]), said, "0 changes nothing");
    for prompt in ["- Hi", "-- Hi", "--"] {
        say(&model, prompt, &["--tokens", "5"]); // a dash at the beginning makes no option of it
    }
    assert_eq!(say(&model, "A: Hello", &["--tokens", "0"]), "");
    assert_eq!(say(&model, "x", &["--tokens", "3"]).chars().count(), 3);
    let long = "A: How are you? ".repeat(20);
    assert_eq!(say(&model, &long, &["--tokens", "30"]).chars().count(), 30);
    assert!(!say(&model, "A: Hi\nB:", &["--tokens", "30"]).is_empty());
}

#[test]
fn it_searches_with_beams() {
    let place = Place::new();
    let model = place.model("model");
    let beams = |args: &[&str]| say(&model, "A: Hello", args);
    let greedy = beams(&["--tokens", "8", "--greedy", "--repetition-penalty", "1"]);
    assert_eq!(beams(&["--tokens", "8", "--beams", "1"]), greedy);
    let four = beams(&["--tokens", "8", "--beams", "4"]);
    assert_eq!(
        (four.chars().count(), beams(&["--tokens", "8", "--beams", "4", "--seed", "9"])),
        (8, four.clone())
    );
    let stop: String = four.chars().skip(3).take(2).collect();
    assert!(four.starts_with(&beams(&["--tokens", "8", "--beams", "4", "--stop", &stop])));
    // Far more than its context, of which the rest of the prompt has to make room.
    assert!(beams(&["--beams", "2", "--tokens", "100"]).chars().count() <= 100);
}

#[test]
fn it_ends_where_it_is_told_to() {
    let place = Place::new();
    let model = place.model("model");
    let stop = |stops: &[&str]| {
        let stops = stops.iter().flat_map(|text| ["--stop", text]);
        say(&model, "A: Hello", &["--tokens", "200"].into_iter().chain(stops).collect::<Vec<_>>())
    };
    let whole = stop(&[]);
    let letters: Vec<char> = whole.chars().collect();
    // Two strings of several characters, so that they are spread over tokens, and where they come first.
    let [early, late] = [10, 60].map(|at| letters[at..at + 3].iter().collect::<String>());
    let before = |text: &str| whole[..whole.find(text).expect("it is in the text")].to_owned();
    assert_eq!((stop(&[&early]), stop(&[&late])), (before(&early), before(&late)));
    assert_eq!(stop(&[&late, &early]), stop(&[&early, &late]));
    assert!([before(&early), before(&late)].contains(&stop(&[&late, &early])));
    assert_eq!(stop(&["no such text"]), whole);
    assert!(whole.contains('\n'), "{whole}");
    assert_eq!(stop(&["\\n"]), before("\n"), "a line break, as one can type it");
    let greedy = say(&model, "A: Hello", &["--greedy", "--tokens", "200", "--no-repeat-ngram", "4"]);
    let letters: Vec<char> = greedy.chars().collect();
    let runs: BTreeSet<&[char]> = letters.windows(4).collect();
    assert_eq!(runs.len(), letters.len() - 3, "no run of four comes twice: {greedy}");
}

/// A run that must end with an error. `words` must stand in the paragraph that says what was wrong, and all that was in
/// the folder of a model before must be there still, and nothing else.
fn refuse(code: i32, args: &[&str], words: &[&str]) {
    let kept = Place::new();
    let model = kept.model("kept");
    let before = content(&kept.path(""));
    let chosen = ["--save", "--resume"].iter().any(|option| args.contains(option));
    let save = if chosen { vec![] } else { vec!["--save", &model, "--overwrite"] };
    let speaks = args.contains(&"--generate") || args.contains(&"--resume");
    let all = [args, &save].concat();
    let ended = if speaks { dialog(&all) } else { dialog(with_tiny(&all)) };
    let shown = format!("{all:?}\n{}\n{}", ended.stdout, ended.stderr);
    assert_refused(&ended, code, words, &shown);
    assert!(lines(&ended.stdout).is_empty(), "it says so before the training: {shown}");
    assert_eq!(content(&kept.path("")), before, "something was written: {shown}");
}

#[test]
fn characters_it_has_never_seen() {
    let place = Place::new();
    let model = &place.model("model");
    refuse(2, &["--save", model, "--generate", "A: 안녕"], &[model, "'안', character 4 ", "abc"]);
    refuse(2, &["--save", model, "--generate", "Hello\u{7}"], &["'\\u{7}'"]);
    refuse(2, &["--save", model, "--generate", ""], &["--generate", "A: Hello"]);
    refuse(2, &["--save", model, "--generate", "--greedy"], &["--generate", "A: Hello"]);
}

#[test]
fn models_that_are_missing_or_broken() {
    let place = Place::new();
    let missing = &place.arg("missing");
    let cure = "cargo run --release --example dialog -- --save";
    refuse(1, &["--save", missing, "--generate", "A: Hello"], &[missing, cure]);
    refuse(1, &["--resume", missing], &[missing, cure]);
    refuse(1, &["--load", missing, "--save", missing], &[missing, cure]);
    let file = &place.write("file", "no folder");
    refuse(1, &["--save", file, "--generate", "A: Hello"], &[file]);
    refuse(1, &["--resume", file], &[file]);

    let model = &place.model("model");
    for name in [FILE, "training.safetensors"] {
        let path = place.path("model").join(name);
        let shown = path.display().to_string();
        let whole = fs::read(&path).expect("it was saved");
        let args = if name == FILE {
            vec!["--save", model.as_str(), "--generate", "A: Hello"]
        } else {
            vec!["--resume", model.as_str()]
        };
        for length in [0, 7, 8, 100, whole.len() / 2, whole.len() - 1] {
            fs::write(&path, &whole[..length]).expect("it can be cut off");
            refuse(1, &args, &[&shown]);
        }
        fs::write(&path, "this is no checkpoint, but a text").expect("it can be replaced");
        refuse(1, &args, &[&shown]);
        fs::remove_file(&path).expect("it can be removed");
        refuse(1, &args, &[&shown]);
        fs::write(&path, whole).expect("it can be put back");
    }
    // The one file in the place of the other.
    let [model_file, training] = [FILE, "training.safetensors"].map(|name| place.path("model").join(name));
    let [of_model, of_training] = [&model_file, &training].map(|path| fs::read(path).expect("it was saved"));
    fs::write(&training, of_model).expect("it can be replaced");
    refuse(1, &["--resume", model], &[&training.display().to_string()]);
    fs::write(&model_file, of_training).expect("it can be replaced");
    refuse(1, &["--save", model, "--generate", "A: Hello"], &[&model_file.display().to_string()]);
}

#[test]
fn texts_that_cannot_be_learned() {
    let place = Place::new();
    refuse(1, &["--data", "no-such-text.txt"], &["no-such-text.txt", "datasets"]);
    let missing = &place.arg("missing.txt");
    refuse(1, &["--data", missing], &[missing]);
    let folder = &place.arg("");
    refuse(1, &["--data", folder], &[folder, "folder"]);
    let bytes = &place.write("bytes.txt", b"A: Hi.\nB: \xff\n");
    refuse(1, &["--data", bytes], &[bytes, "UTF-8", "line 2"]);
    for (name, text) in [("empty", ""), ("blank", "\n\n \n"), ("short", "A: Hi.\nB: Hi.\n")] {
        let file = &place.write(name, text);
        refuse(1, &["--data", file], &[file, "characters", "--context"]);
    }
    refuse(1, &["--context", "100000"], &[&text(), "characters", "--context"]);
}

#[test]
fn command_lines_that_make_no_sense() {
    refuse(2, &["--no-such-option"], &["--no-such-option"]);
    refuse(2, &["a text"], &["a text"]);
    for (option, value) in [
        ("--steps", "0"),
        ("--steps", "-1"),
        ("--steps", "many"),
        ("--batch", "0"),
        ("--context", "0"),
        ("--context", "1048577"),
        ("--context", "18446744073709551615"),
        ("--seed", "-1"),
        ("--learning-rate", "0"),
        ("--learning-rate", "NaN"),
        ("--muon-rate", "-1"),
        ("--clip", "0"),
        ("--clip", "inf"),
        ("--validate-every", "0"),
        ("--sample-every", "0"),
        ("--minutes", "0"),
        ("--minutes", "-3"),
        ("--temperature", "-1"),
        ("--top-p", "-0.1"),
        ("--min-p", "-0.1"),
        ("--min-p", "1"),
        ("--min-p", "NaN"),
        ("--no-repeat-ngram", "-1"),
        ("--no-repeat-ngram", "1.5"),
        ("--stop", ""),
        ("--repetition-penalty", "0"),
        ("--optimizer", "sgd"),
        ("--momentum", "none"),
        ("--dropout", "1.5"),
        ("--dropout", "1"),
        ("--dropout", "NaN"),
        ("--smoothing", "1"),
        ("--smoothing", "-0.1"),
        ("--ema", "1"),
        ("--ema", "-1"),
        ("--weight-decay", "NaN"),
        ("--weight-decay", "-1"),
        ("--weight-decay", "inf"),
        ("--patience", "0"),
    ] {
        refuse(2, &[&format!("{option}={value}")], &[option]);
    }
    for option in ["--layers", "--embd", "--ffn", "--heads"] {
        refuse(2, &[option, "0"], &[option, "at least 1"]);
        refuse(2, &[option, "18446744073709551615"], &[]);
    }
    refuse(2, &["--heads", "3"], &["3 heads", "16", "1, 2, 4, 8, 16"]);
    refuse(2, &["--heads", "16"], &["even width"]);
}

#[test]
fn options_that_exclude_each_other() {
    let place = Place::new();
    let model = &place.model("model");
    refuse(2, &["--resume", model, "--save", model], &["--resume", "--save"]);
    refuse(2, &["--resume", model, "--generate", "A: Hello"], &["--resume", "--generate"]);
}

/// A text that has changed since is another text.
#[test]
fn a_text_that_has_changed() {
    let place = Place::new();
    let whole = fs::read_to_string(text()).expect("it is there");
    let file = &place.write("text.txt", &whole);
    let model = &place.arg("model");
    tiny(&["--data", file, "--save", model]);
    for (name, changed) in [
        ("fewer characters", whole.to_lowercase()),
        ("more characters", format!("A: 안녕\nB: 안녕\n\n{whole}")),
        ("more dialogues", format!("{whole}\n\nA: Is it over?\nB: It is over.\n")),
    ] {
        place.write("text.txt", changed);
        let ended = dialog(["--resume", model]);
        assert_eq!(ended.code, Some(1), "{name}: {}{}", ended.stdout, ended.stderr);
        assert!(
            ended.stderr.starts_with("error: ") && !ended.stderr.contains("panicked"),
            "{name}: {}",
            ended.stderr
        );
        assert!(
            ended.stderr.contains(file.as_str()),
            "{name}: the text is to blame, not the state: {}",
            ended.stderr
        );
    }
    place.write("text.txt", whole);
    good(["--resume", model]);
}

/// Training takes its time: what was asked for must not be lost in the end for a reason that was known before.
#[test]
fn outputs_that_cannot_be_written() {
    let place = Place::new();
    let file = &place.write("file", "no folder");
    for option in ["--plot", "--metrics"] {
        let below = &place.arg("file/figures");
        refuse(1, &[option, below], &[below]);
        let folder = &place.arg("");
        refuse(1, &[option, folder], &[folder]);
        let missing = &place.arg("missing/figures");
        refuse(1, &[option, missing], &[missing]);
    }
    refuse(1, &["--save", file], &[file]);
    let below = &place.arg("file/model");
    refuse(1, &["--save", below], &[file]);
    assert_eq!(place.read("file"), "no folder");
}

/// A training that runs away says so and leaves the last good model.
#[test]
fn training_that_runs_away() {
    let place = Place::new();
    let model = place.model("model");
    let before = content(&place.path("model"));
    let ended =
        dialog(with_tiny(&["--save", &model, "--overwrite", "--learning-rate", "1e30", "--warmup", "0"]));
    assert_eq!(ended.code, Some(1), "{}", ended.stdout);
    assert!(ended.stderr.starts_with("error: the loss is NaN at step "), "{}", ended.stderr);
    assert!(ended.stderr.contains("--learning-rate"), "{}", ended.stderr);
    assert_eq!(content(&place.path("model")), before);
}

/// A limit on the size of files makes saving fail half way: an error if the program is told so, and its death if it is
/// not. Both times the old model stays whole.
#[cfg(unix)]
#[test]
fn a_disk_that_is_full_leaves_the_old_model_whole() {
    let place = Place::new();
    let model = place.model("model");
    let before = content(&place.path("model"));
    let limited = |shell: &str| {
        let mut command = Command::new("sh");
        command.args(["-c", shell]).arg(example("dialog"));
        run(command.args(with_tiny(&["--save", &model, "--overwrite", "--seed", "7"])))
    };
    let told = limited("trap '' XFSZ; ulimit -f 8; exec \"$0\" \"$@\"");
    assert_eq!(told.code, Some(1), "{}", told.stderr);
    assert!(told.stderr.starts_with("error: ") && told.stderr.contains(FILE), "{}", told.stderr);
    assert_eq!(content(&place.path("model")), before, "the old model, and nothing beside it");

    let killed = limited("ulimit -f 8; exec \"$0\" \"$@\"");
    assert_ne!(killed.code, Some(0), "{}", killed.stdout);
    let after = content(&place.path("model"));
    assert!(before.iter().all(|file| after.contains(file)), "the old model");
    good(["--resume", &model]);
}
