//! The `dialog` example, stopped and resumed: after Ctrl-C it continues bit for bit, and after `kill -9` at any moment there
//! is either no checkpoint yet or a whole one, from which it continues bit for bit.
//!
//! The tests wait for events (a line of output, a report in the metrics file, a change in the folder), never for a time, so
//! they hold on a machine of any speed under any load.

#![cfg(unix)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use gradus::checkpoint::{self, Checkpoint};
use gradus::random::Random;
use serde_json::Value;
use tempfile::TempDir;

#[path = "common/program.rs"]
mod program;
#[path = "common/state.rs"]
mod state;

use program::{LIMIT, example, run};
use state::{FILE, State, state};

fn text() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("datasets/dialog.txt")
}

fn dialog(args: &[&str]) -> Command {
    let mut command = Command::new(example("dialog"));
    command.args(args);
    command
}

/// A process in the background, with files for its output.
struct Background {
    child: Child,
    output: TempDir,
}

impl Background {
    fn start(mut command: Command) -> Self {
        let output = tempfile::tempdir().expect("a folder for the output");
        let file = |name| fs::File::create(output.path().join(name)).expect("a file for the output");
        let child = command.stdin(Stdio::null()).stdout(file("out")).stderr(file("err")).spawn();
        Background { child: child.expect("it can be started"), output }
    }

    fn output(&self) -> String {
        let read = |name| fs::read_to_string(self.output.path().join(name)).expect("the output");
        read("out") + &read("err")
    }

    fn has_exited(&mut self) -> bool {
        self.child.try_wait().expect("its status").is_some()
    }

    /// Waits until an event has happened, or the process has exited.
    fn wait_until(&mut self, event: &str, mut happened: impl FnMut(&Self) -> bool) {
        let start = Instant::now();
        while !happened(self) && !self.has_exited() {
            if start.elapsed() > LIMIT {
                self.kill();
                panic!("after {LIMIT:?} still waiting for {event}. Its output:\n{}", self.output());
            }
            sleep(Duration::from_micros(100)); // and look again
        }
    }

    /// Waits until the output contains some words.
    fn wait_for_output(&mut self, words: &str) {
        self.wait_until(words, |process| process.output().contains(words));
    }

    fn interrupt(&self) {
        let signal = format!("kill -INT {}", self.child.id());
        Command::new("sh").args(["-c", &signal]).status().expect("a shell");
    }

    fn kill(&mut self) {
        self.child.kill().ok(); // an error if it has already exited
        self.child.wait().expect("its status");
    }

    /// Waits until it exits. Returns its exit code.
    fn exit_code(&mut self) -> Option<i32> {
        self.wait_until("its end", |_| false);
        self.child.wait().expect("its status").code()
    }
}

/// Removes the measured times from a description.
fn without_time(mut description: Value) -> Value {
    fn clean(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                fields.remove("seconds");
                fields.remove("tokens_per_second");
                fields.values_mut().for_each(clean);
            }
            Value::Array(values) => values.iter_mut().for_each(clean),
            _ => {}
        }
    }
    clean(&mut description);
    description
}

fn assert_same(ours: &Path, theirs: &Path) {
    let [a, b] = [ours, theirs].map(state);
    assert_eq!(without_time(a.description), without_time(b.description));
    assert!(a.numbers == b.numbers, "the same numbers, byte for byte");
    let model = |folder: &Path| fs::read(folder.join(checkpoint::FILE)).expect("a model was saved");
    assert!(model(ours) == model(theirs), "the same model");
}

#[test]
fn ctrl_c_and_resume() {
    let place = tempfile::tempdir().expect("a folder");
    let path = |name: &str| place.path().join(name).into_os_string().into_string().expect("a UTF-8 path");
    let text = text().into_os_string().into_string().expect("a UTF-8 path");
    let sizes = "--validate-every 10 --sample-every 15 --layers 2 --embd 64 --heads 2 --ffn 128 \
                 --context 32 --batch 32 --weighting --smoothing 0.1 --tokens 20";
    let steps_done = |folder: &str| state(Path::new(folder)).description["step"].as_u64().expect("a number");
    for method in ["muon", "adamw"] {
        let args = |folder: &str, steps: u64| {
            let steps = steps.to_string();
            let fixed = ["--data", &text, "--optimizer", method, "--save", folder, "--steps", &steps];
            dialog(&fixed.into_iter().chain(sizes.split_whitespace()).collect::<Vec<_>>())
        };
        // Where the process is done before the signal reaches it, it runs again with twice the steps.
        let mut steps = 40;
        let stopped = loop {
            let folder = path(&format!("{method}, {steps} steps, stopped"));
            let mut process = Background::start(args(&folder, steps));
            process.wait_for_output("Step: 10");
            process.interrupt();
            assert_eq!(process.exit_code(), Some(0), "{}", process.output());
            if process.output().contains("interrupted after step") {
                break folder;
            }
            steps *= 2;
        };
        let step = steps_done(&stopped);
        assert!((10..steps).contains(&step), "stopped after step {step} of {steps}");

        let done = format!("done after step {steps}");
        let uninterrupted = path(&format!("{method}, {steps} steps, uninterrupted"));
        let ended = run(&mut args(&uninterrupted, steps));
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{}", ended.stdout);
        assert!(ended.stdout.contains(&done), "{}", ended.stdout);

        // Once more after a few steps, on another number of threads.
        let mut again = Background::start(dialog(&["--resume", &stopped, "--threads", "3"]));
        again.wait_for_output("going on after step");
        again.interrupt();
        assert_eq!(again.exit_code(), Some(0), "{}", again.output());
        assert!(again.output().contains(&format!("going on after step {step}")), "{}", again.output());

        if steps_done(&stopped) < steps {
            let ended = run(&mut dialog(&["--resume", &stopped]));
            assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{}", ended.stdout);
            assert!(ended.stdout.contains(&done), "{}", ended.stdout);
        }
        assert_same(Path::new(&stopped), Path::new(&uninterrupted));
    }
}

/// The step of the saved state, if there is one. Whatever was saved must be whole.
fn look(folder: &Path) -> Option<u64> {
    if folder.join(checkpoint::FILE).exists() {
        let model = Checkpoint::<f32>::load(folder).expect("a model that is there is whole");
        assert_eq!(model.params.len(), model.model.layout().expect("a model that there is").len());
    }
    let State { description, numbers } = folder.join(FILE).exists().then(|| state(folder))?;
    assert!(numbers.contains_key("params"));
    description["step"].as_u64()
}

/// The complete lines of a metrics file, by step.
fn reports(metrics: &Path) -> BTreeMap<u64, Value> {
    let text = fs::read_to_string(metrics).unwrap_or_default(); // not there before the first report
    let complete = text.rsplit_once('\n').map_or("", |(lines, _)| lines);
    let report = |line: &str| {
        let figures: Value = serde_json::from_str(line).expect("a line of JSON");
        (figures["step"].as_u64().expect("a number"), without_time(figures))
    };
    complete.lines().map(report).collect()
}

/// What the files of a folder look like from outside. Whenever one is created, written to, renamed or removed, it changes.
fn listing(folder: &Path) -> Vec<(PathBuf, u64, u64, i64, i64)> {
    use std::os::unix::fs::MetadataExt;
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<_> = entries
        .filter_map(|entry| entry.metadata().ok().map(|file| (entry.path(), file))) // it may be gone already
        .map(|(path, file)| (path, file.ino(), file.len(), file.mtime(), file.mtime_nsec()))
        .collect();
    files.sort();
    files
}

/// When to kill a process that saves after every step.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// At once, before it has done anything.
    Start,
    /// At its first words.
    Output,
    /// After it has reported this many steps, when it computes the next one.
    Reports(usize),
    /// After the folder has changed this many times: before, while or after a file is written.
    Changes(usize),
}

impl Moment {
    fn wait(self, process: &mut Background, folder: &Path, metrics: &Path) {
        match self {
            Moment::Start => {}
            Moment::Output => process.wait_until("output", |process| !process.output().is_empty()),
            Moment::Reports(count) => process.wait_until("reports", |_| reports(metrics).len() >= count),
            Moment::Changes(count) => {
                let (mut last, mut changes) = (listing(folder), 0);
                process.wait_until("changes in the folder", |_| {
                    let now = listing(folder);
                    changes += usize::from(now != last);
                    last = now;
                    changes >= count
                });
            }
        }
    }
}

/// A training that saves after every step and never ends by itself, with its metrics in a file of their own.
fn endless(run: &[&str], metrics: &Path) -> Background {
    let mut command = dialog(run);
    command.args(["--validate-every", "1", "--threads", "1", "--metrics"]).arg(metrics);
    Background::start(command)
}

#[test]
fn kill_at_any_moment() {
    const KILLS: usize = 32;
    let place = tempfile::tempdir().expect("a folder");
    let path = |name: &str| place.path().join(name);
    let text = text().into_os_string().into_string().expect("a UTF-8 path");
    let sizes = "--steps 1000000 --sample-every 1000000 --patience 1000000 --layers 2 --embd 64 --heads 1 --ffn 128 \
                 --context 2 --batch 2";
    let fresh = |folder: &Path, metrics: &Path| {
        let fixed = ["--data", &text, "--save", folder.to_str().expect("a UTF-8 path")];
        endless(&fixed.into_iter().chain(sizes.split_whitespace()).collect::<Vec<_>>(), metrics)
    };
    let resumed = |folder: &Path, metrics: &Path| {
        endless(&["--resume", folder.to_str().expect("a UTF-8 path")], metrics)
    };

    let folder = &path("killed");
    let mut random = Random::new(8);
    let mut saved = None; // the step of the state on disk
    let mut all_reports = Vec::new();
    let mut killed_while_writing = 0;
    for round in 0..KILLS {
        let moment = match round % 8 {
            0 | 4 => Moment::Reports(1 + random.below(3)),
            1 => Moment::Start,
            5 => Moment::Output,
            _ => Moment::Changes(1 + random.below(8)),
        };
        let metrics = &path(&format!("{round}.jsonl"));
        let mut process = if saved.is_some() {
            resumed(folder, metrics)
        } else {
            fs::remove_dir_all(folder).ok(); // there may be a model in it, but nothing to resume from
            fresh(folder, metrics)
        };
        moment.wait(&mut process, folder, metrics);
        assert!(!process.has_exited(), "round {round}: {}", process.output());
        process.kill();
        killed_while_writing += usize::from(unfinished(folder) > 0);

        let before = saved;
        saved = look(folder);
        assert!(saved >= before, "round {round}, {moment:?}: step {saved:?} after {before:?}");
        let new = reports(metrics);
        if let Some((&step, _)) = new.last_key_value().filter(|(step, _)| **step > 1) {
            assert!(
                saved >= Some(step - 1),
                "round {round}, {moment:?}: step {step} was done, {saved:?} is saved"
            );
        }
        all_reports.extend(new);
    }
    println!("{KILLS} kills, {killed_while_writing} of them while a file was written; step {saved:?}");

    // It goes on for three more steps, and is interrupted by Ctrl-C.
    let metrics = &path("last.jsonl");
    let mut process = resumed(folder, metrics);
    Moment::Reports(3).wait(&mut process, folder, metrics);
    process.interrupt();
    assert_eq!(process.exit_code(), Some(0), "{}", process.output());
    assert!(look(folder) > saved, "step {:?} after {saved:?}", look(folder));
    assert_eq!(unfinished(folder), 0, "unfinished files of killed processes stay behind");
    all_reports.extend(reports(metrics));

    // A run that nobody killed reports the same, to the last bit: at every step, and where a kill undid a step, both times.
    let last_step = all_reports.iter().map(|(step, _)| *step).max().expect("reports");
    let metrics = &path("uninterrupted.jsonl");
    let mut process = fresh(&path("uninterrupted"), metrics);
    process.wait_until("the last step", |_| reports(metrics).contains_key(&last_step));
    process.interrupt();
    assert_eq!(process.exit_code(), Some(0), "{}", process.output());
    let uninterrupted = reports(metrics);
    for (step, report) in &all_reports {
        assert_eq!(report, &uninterrupted[step], "step {step}");
    }
}

/// How many files there are beside the model and the state.
fn unfinished(folder: &Path) -> usize {
    listing(folder)
        .iter()
        .filter(|(path, ..)| !path.ends_with(FILE) && !path.ends_with(checkpoint::FILE))
        .count()
}
