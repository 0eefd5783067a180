//! What a program is given from outside, it measures first: numbers in options, sizes of files, what the system allows.
//! Whatever does not fit is refused at once, in words.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

#[path = "common/program.rs"]
mod program;
#[path = "common/refusal.rs"]
mod refusal;

use program::{Output, example, run};
use refusal::{assert_refused, content};

/// Every option that takes a whole number, with what the help says of it.
fn numbers(program: &str) -> Vec<(String, String)> {
    let help = run(Command::new(example(program)).arg("--help")).stdout;
    let mut options: Vec<(String, String)> = Vec::new();
    for line in help.lines() {
        let line = line.trim();
        match line.strip_prefix("--").and_then(|rest| rest.split_once(' ')) {
            Some((option, rest)) => options.push((format!("--{option}"), rest.to_owned())),
            None if line.is_empty() || line.ends_with(':') => {}
            None => {
                options.iter_mut().next_back().into_iter().for_each(|(_, text)| *text += &format!(" {line}"))
            }
        }
    }
    options.retain(|(_, text)| text.starts_with("<N>") || text.starts_with("<K>"));
    options
}

/// The largest number that a machine knows is refused, and the help says what the largest is that is not. Any number can be a
/// seed, names can be trained as long as one likes, and the sizes of a model have their limit together.
#[test]
fn every_number_has_a_limit_that_the_help_says() {
    for program in ["names", "dialog", "ngpt", "translate"] {
        let options = numbers(program);
        assert!(options.len() >= 8, "{program}: {options:?}");
        let place = tempfile::tempdir().expect("a folder");
        assert!(
            options
                .iter()
                .any(|(option, text)| option == "--layers" && text.contains("at most 2^32 parameters"))
        );
        let without = ["--seed", "--layers", "--encoder-layers", "--embd", "--heads", "--ffn"];
        for (option, text) in options.iter().filter(|(option, _)| !without.contains(&option.as_str())) {
            if (program, option.as_str()) == ("names", "--steps") {
                continue;
            }
            assert!(text.contains("at most"), "{program} {option} has no limit in the help: {text}");
            let mut command = Command::new(example(program));
            let ended =
                run(command.args([option, "18446744073709551615", "--save"]).arg(place.path().join("model")));
            assert_refused(&ended, 2, &[option, "it must be a whole number from"], &ended.stderr);
        }
        for (option, _) in options {
            let ended = run(Command::new(example(program)).args([&option, "-1"]));
            assert_refused(&ended, 2, &[&option, "-1"], &ended.stderr);
            assert!(
                !ended.stderr.contains("unexpected argument"),
                "a number, not an option: {}",
                ended.stderr
            );
        }
    }
}

/// A file of more than 4 GiB, of which nothing is on the disk.
#[cfg(unix)]
#[test]
fn texts_that_are_too_large() {
    let place = tempfile::tempdir().expect("a folder");
    let path = place.path().join("large.txt");
    File::create(&path).and_then(|file| file.set_len(5 << 30)).expect("a file with a hole");
    for (program, option) in [("names", None), ("dialog", Some("--data"))] {
        let mut command = Command::new(example(program));
        let ended = run(command.args(option).arg(&path).arg("--save").arg(place.path().join("model")));
        // Where less memory is free, that is the reason.
        assert!([Some(1), Some(2)].contains(&ended.code), "{}", ended.stderr);
        let reason = ["larger than 4294967295 bytes", "GB of memory"];
        assert!(reason.iter().any(|reason| ended.stderr.contains(reason)), "{}", ended.stderr);
        assert!(
            ended.stderr.contains("large.txt") && !place.path().join("model").exists(),
            "{}",
            ended.stderr
        );
    }
}

/// A system that does not give a program its threads says so, and one thread is not taken in their place.
#[cfg(target_pointer_width = "64")]
#[test]
fn threads_that_cannot_be_started() {
    let place = tempfile::tempdir().expect("a folder");
    let mut command = Command::new(example("dialog"));
    // The stack of a thread, of a size that no address space has.
    command.env("RUST_MIN_STACK", (1_u64 << 47).to_string());
    let ended =
        run(command.args(["--threads", "5", "--steps", "1", "--save"]).arg(place.path().join("model")));
    assert_refused(&ended, 1, &["5 threads", "--threads"], &ended.stderr);
}

/// Runs a program with something on its standard input.
fn with_input(program: &str, options: &[&str], input: &str) -> Output {
    let mut command = Command::new(example(program));
    let pipes = command.args(options).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = pipes.spawn().expect("it can be started");
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("it reads all of it");
    let ended = child.wait_with_output().expect("it ends");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    Output { code: ended.status.code(), stdout: text(ended.stdout), stderr: text(ended.stderr) }
}

#[test]
fn a_dash_is_standard_input() {
    let names = with_input("names", &["-", "--steps", "5"], "ada\nbob\ncleo\n");
    assert_eq!((names.code, names.stderr.as_str()), (Some(0), ""));
    assert!(names.stdout.starts_with("num docs: 3\n"), "{}", names.stdout);

    let place = tempfile::tempdir().expect("a folder");
    let model = place.path().join("model").into_os_string().into_string().expect("UTF-8");
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("datasets/dialog.txt"))
        .expect("a text");
    let sizes =
        ["--layers", "1", "--embd", "16", "--heads", "2", "--ffn", "32", "--context", "16", "--batch", "2"];
    let fresh = [&["--data", "-", "--steps", "3", "--save", &model][..], &sizes].concat();
    let dialog = with_input("dialog", &fresh, &text);
    assert_eq!((dialog.code, dialog.stderr.as_str()), (Some(0), ""));
    // It goes on with the same text from the same place.
    let resumed = with_input("dialog", &["--resume", &model, "--steps", "4"], &text);
    assert!(resumed.code == Some(0) && resumed.stdout.contains("done after step 4"), "{}", resumed.stdout);
    let changed = with_input("dialog", &["--resume", &model, "--steps", "5"], &text[1..]);
    assert_refused(&changed, 1, &["no longer the text"], &changed.stderr);
    let nothing = with_input("names", &["-"], "");
    assert_refused(&nothing, 1, &["holds no names"], &nothing.stderr);
}

/// No letter of a text moves a cursor, changes a color or rings a bell.
#[test]
fn control_characters_do_not_reach_the_terminal() {
    let place = tempfile::tempdir().expect("a folder");
    let file = place.path().join("names.txt");
    fs::write(&file, "a\u{1b}[31md\u{7}a\nb\u{9b}b\u{8}o\n").expect("a file");
    let model = place.path().join("\u{1b}[1mmodel");
    let mut names = Command::new(example("names"));
    let ended = run(names.arg(&file).args(["--steps", "300", "--samples", "50", "--save"]).arg(&model));
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let harmless = |text: &str| text.chars().all(|c| !c.is_control() || c == '\n');
    assert!(harmless(&ended.stdout) && ended.stdout.contains('␛'), "{:?}", ended.stdout);
    fs::write(&file, "a\u{1b}[31mx\n").expect("a file");
    let unknown = run(Command::new(example("names")).arg(&file).arg("--load").arg(&model));
    assert_eq!(unknown.code, Some(1));
    assert!(harmless(&unknown.stderr), "{:?}", unknown.stderr);
}

/// A rate is printed as a person would write it.
#[test]
fn large_numbers_are_short() {
    let place = tempfile::tempdir().expect("a folder");
    for program in ["names", "dialog"] {
        let mut command = Command::new(example(program));
        let options = ["--learning-rate", "1e300", "--steps", "3", "--save"];
        let ended = run(command.args(options).arg(place.path().join(program)));
        assert_eq!(ended.code, Some(1));
        assert!(ended.stderr.contains("1e300") && !ended.stderr.contains("00000"), "{}", ended.stderr);
    }
}

/// Figures are in their file soon after they are known, not only at the end or when there are many.
#[test]
fn metrics_come_as_the_training_goes() {
    let place = tempfile::tempdir().expect("a folder");
    let metrics = place.path().join("run.csv");
    let mut command = Command::new(example("names"));
    command.args(["--batch", "4096", "--steps", "1000000", "--metrics"]).arg(&metrics).stdout(Stdio::null());
    let mut child = command.spawn().expect("it can be started");
    let read = || fs::read_to_string(&metrics).unwrap_or_default();
    while read().lines().count() < 3 {
        assert!(child.try_wait().expect("its state").is_none(), "it has ended");
        sleep(Duration::from_millis(2));
    }
    let text = read();
    child.kill().expect("it can be ended");
    child.wait().expect("its end");
    assert!(text.lines().count() < 20, "they come one by one, not by the page");
    let names: BTreeSet<&str> = text.lines().next().expect("names").split(',').collect();
    assert_eq!(names, BTreeSet::from(["learning_rate", "loss", "step"]));
}

/// The examples that need a folder for their drawings say what is wrong with it.
#[test]
fn a_drawing_that_cannot_be_written() {
    let place = tempfile::tempdir().expect("a folder");
    let file = place.path().join("file");
    fs::write(&file, "no folder").expect("a file");
    let before = content(place.path());
    let ended = run(Command::new(example("value")).arg("--svg").arg(&file));
    assert_refused(&ended, 1, &["file"], &ended.stderr);
    let unknown = run(Command::new(example("value")).arg("--no-such-option"));
    assert_refused(&unknown, 2, &["--no-such-option"], &unknown.stderr);
    assert_eq!(content(place.path()), before);
}
