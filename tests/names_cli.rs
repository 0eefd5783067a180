//! The `names` example as people run it: what it prints and writes, and what it says to every input that is wrong.
//!
//! A wrong input ends with exit code 2 if the command line itself makes no sense, and with 1 otherwise; it is answered by
//! one paragraph that names what is wrong; and a model that was saved before is still there afterwards.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use gradus::checkpoint::{Checkpoint, FILE, TrainedModel};
use gradus::data::{self, Batch, Names};
use gradus::model::{Decoder, DecoderConfig, Model};
use gradus::random::Random;
use gradus::scalar::ScalarEngine;
use gradus::tokenizer::Tokenizer;
use gradus::train::{Settings, Trainer};
use tempfile::TempDir;

#[path = "common/program.rs"]
mod program;
#[path = "common/refusal.rs"]
mod refusal;

use program::{Output, example, run};
use refusal::{assert_refused, content};

/// A folder with some small files of names in it.
struct Place(TempDir);

/// As many letters as one needs, in names short and long.
const SMALL: &str = "ada\nbob\ncleo\ndora\neve\nfay\ngus\nhal\nida\njo\n";

impl Place {
    fn new() -> Self {
        let place = Place(tempfile::tempdir().expect("a folder"));
        place.write("small.txt", SMALL);
        place
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

    /// Trains a little and saves the model under a name, which is returned as an argument.
    fn model(&self, name: &str) -> String {
        let folder = self.arg(name);
        good([self.arg("small.txt").as_str(), "--steps", "20", "--samples", "0", "--save", &folder]);
        folder
    }
}

fn names<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Output {
    run(Command::new(example("names")).args(args))
}

/// A run that must go well; what it printed.
fn good<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> String {
    let ended = names(args);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{}", ended.stdout);
    ended.stdout
}

/// The rest of the only line that begins with `start`.
fn field<'a>(stdout: &'a str, start: &str) -> &'a str {
    let mut lines = stdout.lines().filter_map(|line| line.strip_prefix(start));
    let rest = lines.next().unwrap_or_else(|| panic!("no line begins with {start:?} in\n{stdout}"));
    assert_eq!(lines.next(), None, "one line that begins with {start:?}");
    rest
}

fn count(stdout: &str, start: &str) -> usize {
    stdout.lines().filter(|line| line.starts_with(start)).count()
}

/// The names it invented.
fn invented(stdout: &str) -> Vec<String> {
    (1..=count(stdout, "sample ")).map(|n| field(stdout, &format!("sample {n:2}: ")).to_owned()).collect()
}

/// The files in `datasets/` are looked up as the program does it, so that another folder of data may be given.
fn shipped(name: &str) -> Names {
    Names::read(&data::find(name).expect("it is in datasets/")).expect("it can be read")
}

#[test]
fn the_first_command_in_the_readme() {
    let stdout = good::<&str>([]);
    let names = shipped("names.txt");
    assert_eq!(field(&stdout, "num docs: "), names.len().to_string());
    assert_eq!(field(&stdout, "vocab size: "), names.vocab_size().to_string());
    assert_eq!(field(&stdout, "num params: "), "4192");
    assert!(count(&stdout, "step ") >= 10, "{stdout}");
    let loss: f64 = field(&stdout, "mean loss of the last 100 steps: ").parse().expect("a number");
    assert!((0.0..3.0).contains(&loss), "27 equally likely letters would be 3.3, and it learned: {loss}");
    assert_eq!(count(&stdout, "sample "), 20);
    assert_eq!(invented(&stdout).len(), 20);
    assert_eq!(good(["--seed", "42"]), stdout, "the same seed gives the same output");
    assert_ne!(good(["--seed", "43"]), stdout, "another seed gives another");
}

#[test]
fn korean_names() {
    let stdout = good(["korean.txt"]);
    let names = shipped("korean.txt");
    assert_eq!(field(&stdout, "num docs: "), names.len().to_string());
    assert_eq!(field(&stdout, "vocab size: "), names.vocab_size().to_string());
    let invented = invented(&stdout).concat();
    assert!(!invented.is_empty() && names.tokenizer().encode(&invented).is_ok());
    assert!(invented.chars().any(|c| ('가'..='힣').contains(&c)), "{invented}");
}

#[test]
fn options_do_what_they_say() {
    let place = Place::new();
    let small = place.arg("small.txt");
    let sizes = ["--layers", "2", "--embd", "8", "--heads", "2", "--context", "6"];
    let stdout = good([&[small.as_str(), "--steps", "30", "--samples", "3"], &sizes[..]].concat());
    let vocab = vocab_size(SMALL);
    let params = 2 * vocab * 8 + 6 * 8 + 2 * (4 * 8 * 8 + 2 * 8 * 32);
    assert_eq!(field(&stdout, "num params: "), params.to_string());
    assert_eq!(count(&stdout, "sample "), 3);
    assert_eq!(count(&stdout, "step "), 10);
    field(&stdout, "mean loss of the last 30 steps: ");

    let samples = |temperature, seed| {
        invented(&good([&small, "--temperature", temperature, "--seed", seed, "--steps", "300"]))
    };
    let cold = samples("0", "1");
    assert!(
        cold.iter().all(|name| *name == cold[0]),
        "at temperature 0 it is always the likeliest: {cold:?}"
    );
    let wild = samples("5", "1");
    assert!(wild.iter().any(|name| *name != wild[0]), "{wild:?}");
    // All that a sampler can do, a program that invents names can: the same training, and then other names.
    let named = |options: &[&str]| {
        let base = [small.as_str(), "--steps", "300", "--seed", "1", "--temperature", "2"];
        invented(&good([&base, options].concat()))
    };
    let free = named(&[]);
    for options in [["--top-k", "3"], ["--top-p", "0.5"], ["--min-p", "0.3"], ["--repetition-penalty", "3"]] {
        assert_ne!(named(&options), free, "{options:?} changes nothing");
    }
    let all_different = |name: &String| name.chars().collect::<BTreeSet<_>>().len() == name.chars().count();
    assert!(!free.iter().all(all_different), "{free:?}");
    let once = named(&["--no-repeat-ngram", "1"]);
    assert!(once.iter().all(all_different), "no letter comes twice: {once:?}");
    assert_eq!(named(&["--greedy"]), cold);
    let a_or_e = named(&["--stop", "a", "--stop", "e"]);
    assert!(a_or_e.iter().all(|name| !name.contains(['a', 'e'])), "{a_or_e:?}");
    assert_eq!(a_or_e[0], free[0].split(['a', 'e']).next().expect("a beginning"));
    let frozen = good([small.as_str(), "--learning-rate", "0", "--steps", "10"]);
    assert!(!frozen.contains("NaN"));

    let help = good(["--help"]);
    for option in [
        "--steps",
        "--seed",
        "--samples",
        "--temperature",
        "--top-k",
        "--top-p",
        "--min-p",
        "--repetition-penalty",
        "--no-repeat-ngram",
        "--greedy",
        "--stop",
        "--learning-rate",
        "--layers",
        "--embd",
        "--heads",
        "--context",
        "--plot",
        "--metrics",
        "--save",
        "--load",
        "--python-random",
    ] {
        assert!(help.contains(option), "{option} is not in the help");
    }
}

fn vocab_size(text: &str) -> usize {
    Names::from_text(text).expect("names").vocab_size()
}

#[test]
fn a_plot_and_metrics() {
    let place = Place::new();
    let (plot, metrics) = (place.arg("loss.svg"), place.arg("steps.jsonl"));
    place.write("steps.jsonl", "an older file\n".repeat(10_000));
    let small = place.arg("small.txt");
    let plain = good([small.as_str()]);
    let stdout = good([small.as_str(), "--plot", &plot, "--metrics", &metrics]);
    assert_eq!(stdout, plain, "to watch changes nothing");

    let svg = place.read("loss.svg");
    assert!(svg.trim_start().starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
    assert!(svg.contains("polyline") && svg.contains("loss"));

    // The same training by the library's own hands: every loss must have come through the JSON as it was.
    let mut random = Random::new(42);
    let mut names = Names::from_text(SMALL).expect("names");
    names.shuffle(&mut random);
    let model = Decoder::new(DecoderConfig::microgpt(names.vocab_size())).expect("a preset");
    let mut trainer = Trainer::new(model, ScalarEngine::new(), Settings::default(), &mut random);
    let mut batch = Batch::new();
    let lines = place.read("steps.jsonl");
    assert_eq!(lines.lines().count(), 1000);
    for (at, line) in lines.lines().enumerate() {
        names.fill(&mut batch, at, 1, 16);
        let step = trainer.step(&batch);
        let json: serde_json::Value = serde_json::from_str(line).expect("a JSON object on each line");
        assert_eq!(json["step"], at + 1);
        assert_eq!(json["loss"].as_f64(), Some(step.loss), "step {at}");
        assert_eq!(json["learning_rate"].as_f64(), Some(step.learning_rate), "step {at}");
        assert_eq!(json.to_string(), line, "written again it is the same line");
    }
}

#[test]
fn save_load_and_continue() {
    let place = Place::new();
    let small = place.arg("small.txt");
    let (first, second) = (place.arg("first"), place.arg("made/on/the way"));
    let losses = |name: &str| -> Vec<f64> {
        let loss = |line: &str| serde_json::from_str::<serde_json::Value>(line).ok()?["loss"].as_f64();
        place.read(name).lines().map(|line| loss(line).expect("a loss on each line")).collect()
    };
    let a = place.arg("a.jsonl");
    let stdout = good([small.as_str(), "--steps", "200", "--save", &first, "--metrics", &a]);
    assert!(field(&stdout, "saved to ").contains("first"));
    assert_eq!(count(&stdout, "sample "), 20);
    let saved = fs::read(Path::new(&first).join(FILE)).expect("it was saved");

    // Nothing is learned in no steps: the same file again, and the same samples for the same seed.
    let only_sample = [small.as_str(), "--load", &first, "--steps", "0", "--seed", "7"];
    let samples = good(only_sample);
    assert_eq!(count(&samples, "sample "), 20);
    assert_eq!((count(&samples, "step "), count(&samples, "mean loss")), (0, 0));
    assert_eq!(good(only_sample), samples);
    good([&only_sample[..], &["--save", &second]].concat());
    assert_eq!(fs::read(Path::new(&second).join(FILE)).expect("it was saved"), saved);

    // It goes on where it ended: the first loss is that of the loaded weights.
    let b = place.arg("b.jsonl");
    good([small.as_str(), "--load", &first, "--steps", "200", "--metrics", &b, "--save", &first]);
    let (before, after) = (losses("a.jsonl"), losses("b.jsonl"));
    let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
    assert_eq!((before.len(), after.len()), (200, 200));
    assert!(mean(&after[..20]) < 0.75 * mean(&before[..20]), "it did not begin anew");
    let learned = fs::read(Path::new(&first).join(FILE)).expect("it was saved");
    assert_ne!(learned, saved, "saved over what it was loaded from");
    let second = Checkpoint::<f64>::load_as::<Decoder>(Path::new(&second)).expect("a checkpoint");
    let TrainedModel { params, model, .. } = second;
    let mut names = Names::from_text(SMALL).expect("names");
    names.shuffle(&mut Random::new(42));
    let mut batch = Batch::new();
    names.fill(&mut batch, 0, 1, model.context());
    let mut trainer = Trainer::from_params(model, ScalarEngine::new(), Settings::default(), params);
    assert_eq!(trainer.step(&batch).loss, after[0]);
}

#[test]
fn the_same_names_in_other_clothes() {
    let place = Place::new();
    let plain = good([place.arg("small.txt")]);
    let crlf = place.write("crlf.txt", SMALL.replace('\n', "\r\n"));
    assert_eq!(good([crlf]), plain, "lines that end as on Windows");
    let bom = place.write("bom.txt", format!("\u{feff}{SMALL}"));
    assert_eq!(good([bom]), plain, "a byte order mark");
    let blank = place.write("blank.txt", SMALL.replace('\n', "  \n\n \t \n"));
    assert_eq!(good([blank]), plain, "blanks at the end, and blank lines");
    let open = place.write("open.txt", SMALL.trim_end());
    assert_eq!(good([open]), plain, "no line break at the end");
}

#[test]
fn unusual_names_are_names_too() {
    let place = Place::new();
    let long = place.write("long.txt", "abc\nabcd\nabcde\nab\n");
    let note = |args: &[&str]| {
        let stdout = good([&[long.as_str(), "--steps", "10"], args].concat());
        stdout.lines().find_map(|line| Some(line.strip_prefix("note: ")?.to_owned()))
    };
    // A name needs a place for each letter and one for the mark before it.
    let cut = note(&["--context", "4"]).expect("two of them are too long");
    assert!(cut.starts_with("2 ") && cut.contains("context of 4") && cut.contains("--context"), "{cut}");
    assert!(note(&["--context", "5"]).expect("one of them is too long").starts_with("1 "));
    assert_eq!(note(&["--context", "6"]), None);
    let very_long = place.write("very long.txt", "ab".repeat(100_000));
    assert!(good([very_long.as_str(), "--steps", "10"]).contains("note: 1 "));

    for (name, text) in
        [("one", "a"), ("one twice", "a\na\n"), ("same", "aaaa\naa\n"), ("two words", "a b\n")]
    {
        let file = place.write(name, text);
        let stdout = good([file.as_str(), "--steps", "50"]);
        assert_eq!(field(&stdout, "vocab size: "), vocab_size(text).to_string(), "{name}");
        assert_eq!(count(&stdout, "sample "), 20, "{name}");
    }
    let emoji = place.write("emoji.txt", "🦀🦀\nнина\nɐ\u{301}\n");
    assert!(good([emoji.as_str(), "--steps", "20"]).contains("sample 20: "));
    let odd = place.write("a file's name, with \"blanks\".txt", SMALL);
    good([odd.as_str(), "--steps", "2"]);
    good([place.arg("small.txt").as_str(), "--steps", "1"]);
    good([
        place.arg("small.txt").as_str(),
        "--steps",
        "3",
        "--python-random",
        "--seed",
        "18446744073709551615",
    ]);
}

/// What every wrong input must lead to. `words` must stand in the paragraph that says what was wrong.
fn refuse<S: AsRef<OsStr>>(code: i32, args: &[S], words: &[&str]) {
    let kept = Place::new();
    let model = kept.model("kept");
    let before = content(&kept.path(""));
    let mut all: Vec<OsString> = args.iter().map(|arg| arg.as_ref().to_owned()).collect();
    all.extend(["--save".into(), model.into(), "--overwrite".into()]);
    let ended = names(&all);
    let shown = format!("{all:?}\n{}\n{}", ended.stdout, ended.stderr);
    assert_refused(&ended, code, words, &shown);
    assert_eq!(content(&kept.path("")), before, "something was written: {shown}");
}

#[test]
fn files_that_hold_no_names() {
    let place = Place::new();
    refuse(1, &["no-such-names.txt"], &["no-such-names.txt", "datasets"]);
    let missing = place.arg("missing.txt");
    refuse(1, &[&missing], &[&missing]);
    let below = place.arg("small.txt/below");
    refuse(1, &[&below], &[&below]);
    refuse(1, &[""], &[]);
    let folder = place.arg("");
    refuse(1, &[&folder], &[&folder, "folder"]);
    refuse(1, &["."], &["folder"]);
    for (name, bytes) in [
        ("empty", &b""[..]),
        ("blank lines", b"\n \n\r\n\t\n\n"),
        ("only a byte order mark", b"\xef\xbb\xbf"),
        ("blank lines after a byte order mark", b"\xef\xbb\xbf\n\n"),
    ] {
        let file = place.write(name, bytes);
        refuse(1, &[&file], &[&file, "names"]);
    }
    for (name, bytes, line, byte, value) in [
        ("a byte", &b"ada\nb\xffb\n"[..], 2, 6, "ff"),
        ("the first", b"\x80", 1, 1, "80"),
        ("cut off", b"ada\nbob\nev\xc3", 3, 11, "c3"),
        ("a surrogate", b"\n\n\xed\xa0\x80", 3, 3, "ed"),
        ("latin 1", b"ren\xe9e\n", 1, 4, "e9"),
    ] {
        let file = place.write(name, bytes);
        let words =
            [&file, "UTF-8", &format!("line {line}"), &format!("byte {byte} "), &format!("0x{value}")];
        refuse(1, &[&file], &words);
    }
    let file = place.write("utf-16", b"\xff\xfea\0d\0a\0");
    refuse(1, &[&file], &[&file, "UTF-16", "iconv -f UTF-16 -t UTF-8"]);
}

#[cfg(unix)]
#[test]
fn arguments_that_are_no_text() {
    use std::os::unix::ffi::OsStrExt;
    refuse(2, &[OsStr::from_bytes(b"\xff.txt")], &["UTF-8"]);
}

#[test]
fn command_lines_that_make_no_sense() {
    let place = Place::new();
    let small = &place.arg("small.txt");
    refuse(2, &["--no-such-option"], &["--no-such-option"]);
    refuse(2, &[small, "another.txt"], &["another.txt"]);
    refuse(2, &[small, "--steps"], &["--steps"]);
    for (option, value) in [
        ("--steps", "-1"),
        ("--steps", "many"),
        ("--steps", "1.5"),
        ("--steps", "18446744073709551616"),
        ("--seed", "-1"),
        ("--samples", "x"),
        ("--temperature", "-0.5"),
        ("--temperature", "NaN"),
        ("--temperature", "inf"),
        ("--top-k", "-1"),
        ("--min-p", "1.5"),
        ("--no-repeat-ngram", "x"),
        ("--stop", ""),
        ("--learning-rate", "-1"),
        ("--learning-rate", "nan"),
        ("--embd", "-16"),
        ("--heads", ""),
    ] {
        refuse(2, &[small, &format!("{option}={value}")], &[option]);
    }
    refuse(2, &[small, "--steps", "0"], &["--steps 0", "--load"]);
    refuse(2, &[small, "--heads", "3"], &["3 heads", "16", "1, 2, 4, 8, 16"]);
    refuse(2, &[small, "--embd", "10"], &["4 heads", "10"]);
    for option in ["--layers", "--embd", "--heads", "--context"] {
        refuse(2, &[small, option, "0"], &[option, "must be a whole number"]);
    }
}

#[test]
fn sizes_beyond_all_measure() {
    let place = Place::new();
    let small = &place.arg("small.txt");
    for size in ["18446744073709551615", "9223372036854775808", "1099511627776", "4294967296"] {
        for option in ["--layers", "--embd"] {
            refuse(2, &[small, option, size], &["parameters"]);
        }
        refuse(2, &[small, "--context", size], &["--context", "1048576"]);
    }
    refuse(2, &[small, "--context", "1048577"], &["--context", "1048576"]);
    assert!(good(["--help"]).contains("at most 1048576 tokens"));
    refuse(2, &[small, "--heads", "18446744073709551615"], &["18446744073709551615 heads"]);
    refuse(2, &[small, "--embd", "18446744073709551615", "--heads", "1"], &["parameters"]);
    refuse(2, &[small, "--embd", "1", "--heads", "1", "--layers", "18446744073709551615"], &["parameters"]);
}

/// The first step of ever so many runs away, which must be said, and not that there is no memory for so many losses.
#[test]
fn training_that_runs_away() {
    let place = Place::new();
    let small = &place.arg("small.txt");
    refuse(1, &[small, "--learning-rate", "1e300"], &["--learning-rate"]);
    for steps in ["1000000000000", "18446744073709551615"] {
        refuse(1, &[small, "--learning-rate", "1e300", "--steps", steps], &["--learning-rate"]);
    }
}

#[test]
fn checkpoints_that_do_not_fit() {
    let place = Place::new();
    let small = &place.arg("small.txt");
    let model = &place.model("model");
    let other = &place.write("other.txt", "zoe\nyves\nxaver\n");
    refuse(1, &[other, "--load", model], &[model, other]);
    let fewer = &place.write("fewer.txt", "ada\nbob\n"); // has only letters that it knows
    good([fewer.as_str(), "--load", model, "--steps", "5"]);
    for (option, size) in [("--embd", "32"), ("--layers", "2"), ("--heads", "2"), ("--context", "8")] {
        refuse(2, &[small, "--load", model, option, size], &[model, option]);
    }
    good([small.as_str(), "--load", model, "--steps", "5", "--embd", "16", "--heads", "4"]);

    let missing = &place.arg("missing");
    refuse(1, &[small, "--load", missing], &[missing, "cargo run --release --example names -- --save"]);
    refuse(1, &[small, "--load", small], &[small]);
    refuse(1, &[small, "--load", &place.arg("")], &[FILE]);
    let whole = fs::read(Path::new(model).join(FILE)).expect("it was saved");
    let file = place.arg("model") + std::path::MAIN_SEPARATOR_STR + FILE;
    for length in [0, 7, 8, 100, whole.len() / 2, whole.len() - 1] {
        fs::write(&file, &whole[..length]).expect("it can be cut off");
        refuse(1, &[small, "--load", model], &[&file]);
    }
    fs::write(&file, "this is no checkpoint, but a text").expect("it can be replaced");
    refuse(1, &[small, "--load", model], &[&file]);
}

#[test]
fn outputs_that_cannot_be_written() {
    let place = Place::new();
    let small = &place.arg("small.txt");
    for option in ["--plot", "--metrics"] {
        let below = place.arg("missing/file");
        refuse(1, &[small, option, &below], &[&below]);
        refuse(1, &[small, option, &place.arg("small.txt/file")], &["small.txt"]);
        let folder = place.arg("");
        refuse(1, &[small, option, &folder], &[&folder, "folder"]);
    }
    assert_eq!(place.read("small.txt"), SMALL);
    for folder in [small, &place.arg("small.txt/below")] {
        let ended = names([small.as_str(), "--steps", "5", "--save", folder]);
        assert_eq!(ended.code, Some(1), "{}", ended.stderr);
        assert!(
            ended.stderr.starts_with("error: ") && ended.stderr.contains("small.txt"),
            "{}",
            ended.stderr
        );
        assert_eq!(count(&ended.stdout, "step "), 0, "it says so before the training: {}", ended.stdout);
    }
    assert_eq!(place.read("small.txt"), SMALL);
}

/// Training takes its time: what was asked for must not be lost in the end for a reason that was known before.
#[test]
fn a_wrong_input_is_told_before_any_training() {
    let place = Place::new();
    let small = place.arg("small.txt");
    let below = place.arg("missing/loss.svg");
    let ended = names([small.as_str(), "--plot", &below]);
    assert_eq!((ended.code, count(&ended.stdout, "step ")), (Some(1), 0));
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
        command.args(["-c", shell]).arg(example("names"));
        run(command.args([&place.arg("small.txt"), "--steps", "5", "--save", &model, "--overwrite"]))
    };
    let told = limited("trap '' XFSZ; ulimit -f 8; exec \"$0\" \"$@\"");
    assert_eq!(told.code, Some(1), "{}", told.stderr);
    assert!(told.stderr.starts_with("error: ") && told.stderr.contains(FILE), "{}", told.stderr);
    assert_eq!(content(&place.path("model")), before, "the old model, and nothing beside it");

    let killed = limited("ulimit -f 8; exec \"$0\" \"$@\"");
    assert_ne!(killed.code, Some(0), "{}", killed.stdout);
    let after = content(&place.path("model"));
    assert!(before.iter().all(|file| after.contains(file)), "the old model");
    good([place.arg("small.txt").as_str(), "--load", &model, "--steps", "0"]);
}

/// Nothing can be printed, and still the trained model is saved. Only then the program says what was wrong.
#[cfg(target_os = "linux")]
#[test]
fn output_that_cannot_be_printed() {
    let place = Place::new();
    let model = place.arg("model");
    let mut command = Command::new(example("names"));
    command.args([&place.arg("small.txt"), "--steps", "5", "--save", &model]);
    let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("a disk that is full");
    let output = command.stdout(full).output().expect("it can be started");
    let stderr = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.starts_with("error: the output cannot be printed: "), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    good([place.arg("small.txt").as_str(), "--load", &model, "--steps", "0"]);
}

/// What is worth more than the figures of a training is not lost because of them.
#[cfg(target_os = "linux")]
#[test]
fn metrics_that_cannot_be_written_any_more() {
    let place = Place::new();
    let model = place.arg("model");
    let small = place.arg("small.txt");
    let ended = names([small.as_str(), "--steps", "500", "--metrics", "/dev/full", "--save", &model]);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.starts_with("error: /dev/full cannot be written"), "{}", ended.stderr);
    assert_eq!(count(&ended.stdout, "sample "), 20, "{}", ended.stdout);
    good([small.as_str(), "--load", &model, "--steps", "0"]);
}

/// `names | head -1`: who reads no further gets no report of a panic.
#[cfg(unix)]
#[test]
fn a_reader_that_goes_away() {
    use std::io::{BufRead, BufReader, Read};
    use std::os::unix::process::ExitStatusExt;

    let mut command = Command::new(example("names"));
    command.args(["--steps", "20", "--samples", "100000"]); // far more than a pipe holds
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it can be started");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut line).expect("a first line");
    let mut errors = String::new();
    child.stderr.take().expect("a pipe").read_to_string(&mut errors).expect("text");
    let end = child.wait().expect("it ends");
    assert_eq!((line.as_str(), errors.as_str()), ("num docs: 27757\n", ""));
    assert!(end.signal().is_some(), "it ended with {end}");
}

/// Where the bar is on a terminal and the output in a file, the file gets all lines that it would get without a bar.
#[cfg(target_os = "linux")]
#[test]
fn a_file_of_output_beside_a_bar() {
    let place = Place::new();
    let (small, out) = (place.arg("small.txt"), place.arg("out"));
    let plain = good([small.as_str(), "--steps", "50"]);
    let command = format!("{} {small} --steps 50 > {out}", example("names").display());
    // `script` runs a command on a terminal of its own. Where it is missing, there is nothing to compare.
    let shown =
        run(Command::new("sh").args(["-c", "exec script -qec \"$0\" /dev/null || exit 77", &command]));
    if Command::new("script")
        .arg("--version")
        .stdout(Stdio::null())
        .status()
        .is_ok_and(|known| known.success())
    {
        assert_eq!(shown.code, Some(0), "{}", shown.stderr);
        assert!(shown.stdout.contains("50 / 50"), "a bar is shown: {:?}", shown.stdout);
        assert_eq!(place.read("out"), plain);
    }
}
