//! Finished work is protected: whatever a later run does, what an earlier one has saved stays until something better takes
//! its place.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use tempfile::TempDir;

#[path = "common/program.rs"]
mod program;
#[path = "common/refusal.rs"]
mod refusal;

use program::{Output, example, run};
use refusal::{assert_refused, content};

const TINY: &str =
    "--layers 1 --embd 16 --heads 2 --ffn 32 --context 16 --batch 4 --threads 1 --sample-every 1000000";

/// A training of a tiny model that is not started yet.
fn tiny(options: &str, save: &Path) -> Command {
    let mut command = Command::new(example("dialog"));
    command.args(TINY.split_whitespace()).args(options.split_whitespace()).arg("--save").arg(save);
    command
}

fn good(command: &mut Command) -> String {
    let ended = run(command);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{}", ended.stdout);
    ended.stdout
}

/// It must fail with these words, and leave the folder as it is.
fn refuse(command: &mut Command, code: i32, words: &[&str], folder: &Path) {
    let before = content(folder);
    let ended = run(command);
    assert_refused(&ended, code, words, &shown(&ended));
    assert!(content(folder) == before, "the folder changed: {}", shown(&ended));
}

fn shown(ended: &Output) -> String {
    format!("{}\n{}", ended.stdout, ended.stderr)
}

/// A folder with a finished run of 40 steps.
fn finished() -> (TempDir, PathBuf) {
    let place = tempfile::tempdir().expect("a folder");
    let model = place.path().join("good");
    good(&mut tiny("--steps 40 --validate-every 20", &model));
    (place, model)
}

#[test]
fn a_run_is_not_overwritten_by_mistake() {
    let (_place, model) = finished();
    let words = ["step 40", "validation loss", "--resume", "--overwrite"];
    refuse(&mut tiny("--steps 10", &model), 1, &words, &model);
    // Another program does not promise what it cannot do.
    let mut names = Command::new(example("names"));
    let words = ["step 40", "--example dialog -- --resume"];
    refuse(names.args(["--steps", "1", "--save"]).arg(&model), 1, &words, &model);
    // Stopped before its first validation, it has nothing better to offer.
    let before = content(&model);
    let stopped =
        good(&mut tiny("--steps 1000000 --validate-every 1000000 --minutes 0.0001 --overwrite", &model));
    assert!(stopped.contains("still holds a run at step 40"), "{stopped}");
    assert!(content(&model) == before, "{stopped}");
    good(&mut tiny("--steps 10 --validate-every 5 --overwrite", &model));
    assert!(content(&model) != before);
}

#[test]
fn a_model_of_names_is_not_overwritten_by_mistake() {
    let place = tempfile::tempdir().expect("a folder");
    let model = place.path().join("model");
    let names = |options: &str| {
        let mut command = Command::new(example("names"));
        command.args(options.split_whitespace()).args(["--samples", "0", "--save"]).arg(&model);
        command
    };
    good(&mut names("--steps 3"));
    refuse(&mut names("--steps 4"), 1, &["a model", "--overwrite"], &model);
    let before = content(&model);
    good(names("--steps 4").arg("--load").arg(&model)); // to train it further is no mistake
    assert!(content(&model) != before);
    good(&mut names("--steps 3 --overwrite"));
}

#[test]
fn numbers_that_are_not_finite_are_never_saved() {
    let (_place, model) = finished();
    for rate in ["--muon-rate", "--learning-rate"] {
        let options = format!("--steps 1 --warmup 0 --overwrite {rate} 1e300");
        refuse(&mut tiny(&options, &model), 1, &["step 1", rate, "1e300"], &model);
    }
    let place = tempfile::tempdir().expect("a folder");
    let mut names = Command::new(example("names"));
    names.args(["--steps", "1", "--learning-rate", "1e308", "--save"]).arg(place.path());
    refuse(&mut names, 1, &["--learning-rate"], place.path());
}

/// A training that ends only when it is interrupted.
struct Training(Child);

impl Training {
    fn start(options: &str, save: &Path) -> Self {
        let options = format!("--steps 1000000000 {options}");
        Training(tiny(&options, save).stdout(Stdio::null()).spawn().expect("the example was built"))
    }

    /// Waits until a file is there with something in it.
    fn wait_for(&mut self, file: &Path) {
        while !fs::metadata(file).is_ok_and(|there| there.len() > 0) {
            assert!(self.0.try_wait().expect("its state").is_none(), "it ended before {}", file.display());
            sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Training {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[test]
fn one_run_a_folder() {
    let place = tempfile::tempdir().expect("a folder");
    let model = place.path().join("model");
    let mut first = Training::start("--validate-every 1000000000", &model);
    first.wait_for(&model.join(".lock"));
    let who = format!("process {}", first.0.id());
    refuse(&mut tiny("--steps 10", &model), 1, &["in use", &who], &model);
    let mut names = Command::new(example("names"));
    refuse(names.args(["--steps", "10", "--save"]).arg(&model), 1, &["in use", &who], &model);
    drop(first); // killed: the system has released the lock
    good(&mut tiny("--steps 10", &model));
    assert!(!model.join(".lock").exists());
}

#[cfg(unix)]
#[test]
fn signals_that_end_a_program_save() {
    for signal in ["-TERM", "-HUP", "-INT"] {
        let place = tempfile::tempdir().expect("a folder");
        let mut training = Training::start("--validate-every 3", place.path());
        training.wait_for(&place.path().join("training.safetensors"));
        let sent = Command::new("kill").arg(signal).arg(training.0.id().to_string()).status();
        assert!(sent.expect("kill is there").success());
        assert_eq!(training.0.wait().expect("its end").code(), Some(0), "{signal}");
        let mut resumed = Command::new(example("dialog"));
        let resumed = good(resumed.arg("--resume").arg(place.path()).args(["--minutes", "0.000001"]));
        assert!(resumed.contains("going on after step "), "{resumed}");
    }
}

#[test]
fn an_output_does_not_replace_an_input_or_another_output() {
    let place = tempfile::tempdir().expect("a folder");
    let (data, model) = (place.path().join("data.txt"), place.path().join("model"));
    fs::write(&data, "ada\nbob\ncleo\ndora\n").expect("a file can be written");
    for option in ["--plot", "--metrics"] {
        let mut names = Command::new(example("names"));
        refuse(names.arg(&data).arg(option).arg(&data), 2, &["data.txt", option], place.path());
        let text = Path::new(env!("CARGO_MANIFEST_DIR")).join("datasets/dialog.txt");
        let before = fs::read(&text).expect("a text");
        let mut dialog = tiny("--steps 10", &model);
        refuse(dialog.arg(option).arg(&text), 2, &["dialog.txt", option], place.path());
        assert!(fs::read(&text).expect("a text") == before);
    }
    let both = place.path().join("both.csv");
    let mut names = Command::new(example("names"));
    refuse(
        names.arg(&data).arg("--plot").arg(&both).arg("--metrics").arg(&both),
        2,
        &["both.csv"],
        place.path(),
    );
}

/// A figure is not written over the model that it is a figure of, nor over one that is read.
#[test]
fn an_output_does_not_replace_a_model() {
    let (place, run) = finished();
    let path = |name: &str| place.path().join(name);
    let names = |options: &[&str]| {
        let mut command = Command::new(example("names"));
        command.args(["--steps", "3", "--samples", "0"]).args(options).current_dir(place.path());
        command
    };
    good(&mut names(&["--save", "names"]));
    for option in ["--plot", "--metrics"] {
        for file in ["model.safetensors", "training.safetensors"] {
            let in_run = format!("good/../good/{file}");
            let mut dialog = tiny("--steps 50 --overwrite", &run);
            refuse(dialog.arg(option).arg(path(&in_run)), 2, &[file, option], place.path());
        }
        let model = "./names/model.safetensors";
        refuse(
            &mut names(&["--load", "names", option, model]),
            2,
            &["model.safetensors", option],
            place.path(),
        );
        let new = "new/model.safetensors"; // is not there yet
        refuse(&mut names(&["--save", "new", option, new]), 2, &["model.safetensors", option], place.path());
    }
    let mut play = Command::new(example("play"));
    play.args(["--load", "names", "--output", "names/model.safetensors"]).current_dir(place.path());
    refuse(&mut play, 2, &["model.safetensors", "--output"], place.path());
}

/// Nothing that is to be printed gets lost in silence.
#[cfg(target_os = "linux")]
#[test]
fn output_that_cannot_be_printed_is_an_error() {
    for (program, options) in [
        ("names", "--help"),
        ("dialog", "--help"),
        ("value", "--help"),
        ("value", ""),
        ("microgpt", "--steps 1"),
    ] {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("a disk that is full");
        let mut command = Command::new(example(program));
        let ended = command.args(options.split_whitespace()).stdout(full).output().expect("it runs");
        let stderr = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(1), "{program} {options}: {stderr}");
        assert!(
            stderr.starts_with("error: ") && stderr.contains("No space left"),
            "{program} {options}: {stderr}"
        );
    }
}

/// Sizes that no machine can do are refused before anything is begun.
#[test]
fn sizes_have_limits() {
    let place = tempfile::tempdir().expect("a folder");
    let most = "18446744073709551615";
    for (option, size) in
        [("--warmup", most), ("--batch", "10000000000"), ("--threads", "1000000"), ("--context", most)]
    {
        let mut command = Command::new(example("dialog"));
        command.args(["--steps", "1", option, size, "--save"]).arg(place.path().join("model"));
        refuse(&mut command, 2, &[option, "from"], place.path());
    }
    let large = ["--context", "8192", "--batch"];
    let mut dialog = Command::new(example("dialog"));
    dialog.args(large).args(["65536", "--save"]).arg(place.path().join("model"));
    refuse(&mut dialog, 2, &["GB", "--batch"], place.path());
    let mut names = Command::new(example("names"));
    refuse(names.args(["--context", "65536", "--batch", "4096"]), 2, &["GB", "--batch"], place.path());
}
