//! The `dialog` example, stopped and resumed: after Ctrl-C it goes on bit for bit, and after `kill -9` at any moment there is
//! either no checkpoint yet or a whole one, from which it goes on.

#![cfg(unix)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use gradus::checkpoint::{self, Checkpoint};
use gradus::random::Random;
use serde_json::Value;
use tempfile::TempDir;

#[path = "common/program.rs"]
mod program;
#[path = "common/state.rs"]
mod state;

use program::{example, run};
use state::{FILE, State, state};

fn text() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("datasets/dialog.txt")
}

fn dialog(args: &[&str]) -> Command {
    let mut command = Command::new(example("dialog"));
    command.args(args);
    command
}

/// A process in the background, with a file for what it says.
struct Background {
    child: Child,
    said: TempDir,
}

impl Background {
    fn start(mut command: Command) -> Self {
        let said = tempfile::tempdir().expect("a folder for what it says");
        let file = |name| fs::File::create(said.path().join(name)).expect("a file for what it says");
        let child = command.stdin(Stdio::null()).stdout(file("out")).stderr(file("err")).spawn();
        Background { child: child.expect("it can be started"), said }
    }

    fn said(&self) -> String {
        let read = |name| fs::read_to_string(self.said.path().join(name)).expect("what it said");
        read("out") + &read("err")
    }

    fn should_stop(&mut self) -> bool {
        self.child.try_wait().expect("it can be waited for").is_some()
    }

    /// Waits until it has said something, or is over.
    fn until(&mut self, words: &str) {
        for _ in 0..60_000 {
            if self.said().contains(words) || self.should_stop() {
                return;
            }
            sleep(Duration::from_millis(1));
        }
        self.kill();
        panic!("it never says {words:?}, but\n{}", self.said());
    }

    fn interrupt(&self) {
        let signal = format!("kill -INT {}", self.child.id());
        Command::new("sh").args(["-c", &signal]).status().expect("a shell");
    }

    fn kill(&mut self) {
        self.child.kill().ok(); // it may be over by itself
        self.child.wait().expect("it can be waited for");
    }

    /// Its exit code.
    fn end(&mut self) -> Option<i32> {
        for _ in 0..60_000 {
            if let Some(status) = self.child.try_wait().expect("it can be waited for") {
                return status.code();
            }
            sleep(Duration::from_millis(1));
        }
        self.kill();
        panic!("it does not come to an end, but says\n{}", self.said());
    }
}

/// Takes out of a description what the clock put in.
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
    let path = |name: &str| place.path().join(name).into_os_string().into_string().expect("plain letters");
    let text = text().into_os_string().into_string().expect("a path of plain letters");
    let sizes = "--steps 40 --validate-every 10 --sample-every 15 --layers 2 --embd 64 --heads 2 --ffn 128 \
                 --context 32 --batch 32 --weighting --smoothing 0.1 --tokens 20";
    for method in ["muon", "adamw"] {
        let args = |folder: &str| {
            let fixed = ["--data", &text, "--optimizer", method, "--save", folder];
            dialog(&fixed.into_iter().chain(sizes.split(' ').filter(|s| !s.is_empty())).collect::<Vec<_>>())
        };
        let whole = path(&format!("{method}, in one go"));
        let ended = run(&mut args(&whole));
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{}", ended.stdout);
        assert!(ended.stdout.contains("done after step 40"));

        // Where it is so fast that it is done before the signal comes, it is done once more.
        let interrupted = (0..20).find(|attempt| {
            let folder = path(&format!("{method}, stopped, {attempt}"));
            let mut process = Background::start(args(&folder));
            process.until("Step: 10");
            process.interrupt();
            assert_eq!(process.end(), Some(0), "{}", process.said());
            process.said().contains("stopped by Ctrl-C after step")
        });
        let folder = path(&format!("{method}, stopped, {}", interrupted.expect("it can be stopped")));
        let step = state(Path::new(&folder)).description["step"].as_u64().expect("a number");
        assert!((10..40).contains(&step), "stopped after step {step}");

        // Once more after a few steps, on another number of threads.
        let mut again = Background::start(dialog(&["--resume", &folder, "--threads", "3"]));
        again.until("going on after step");
        again.interrupt();
        assert_eq!(again.end(), Some(0), "{}", again.said());
        assert!(again.said().contains(&format!("going on after step {step}")), "{}", again.said());

        let ended = run(&mut dialog(&["--resume", &folder]));
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{}", ended.stdout);
        assert!(ended.stdout.contains("done after step 40"), "{}", ended.stdout);
        assert_same(Path::new(&folder), Path::new(&whole));
    }
}

/// Whether there is a state, and how far it is. What is there must be whole.
fn look(folder: &Path) -> Option<u64> {
    if folder.join(checkpoint::FILE).exists() {
        let model = Checkpoint::<f32>::load(folder).expect("a model that is there is whole");
        assert_eq!(model.params.len(), model.model.layout().expect("a model that there is").len());
    }
    let State { description, numbers } = folder.join(FILE).exists().then(|| state(folder))?;
    assert!(numbers.contains_key("params"));
    description["step"].as_u64()
}

#[test]
fn kill_at_any_moment() {
    let place = tempfile::tempdir().expect("a folder");
    let folder = place.path().join("model");
    let save = folder.clone().into_os_string().into_string().expect("a path of plain letters");
    let text = text().into_os_string().into_string().expect("a path of plain letters");
    // It saves after every step, so that most of the time it is about to write something.
    let sizes = "--steps 1000000 --validate-every 1 --sample-every 1000000 --patience 1000000 --layers 2 \
                 --embd 64 --heads 1 --ffn 128 --context 2 --batch 2 --threads 1";
    let fresh = || {
        let sizes = sizes.split(' ').filter(|s| !s.is_empty());
        dialog(&["--data", &text, "--save", &save].into_iter().chain(sizes).collect::<Vec<_>>())
    };
    let mut random = Random::new(8);
    let (mut before, mut progress) = (None, 0);
    for round in 0..30 {
        let resume = dialog(&["--resume", &save, "--validate-every", "1", "--threads", "1"]);
        let mut process = Background::start(if before.is_some() { resume } else { fresh() });
        // From when it begins to work, however slow the machine; now and then before that.
        if round % 5 > 0 {
            process.until("matrix products");
        }
        sleep(Duration::from_micros(random.below(80_000) as u64));
        assert!(!process.should_stop(), "round {round}: {}", process.said());
        process.kill();
        let after = look(&folder);
        assert!(after >= before, "round {round}: step {after:?} after {before:?}");
        progress += usize::from(after > before);
        before = after;
    }
    let stray = || {
        let names =
            fs::read_dir(&folder).expect("the folder").map(|entry| entry.expect("an entry").file_name());
        names.filter(|name| name != FILE && name != checkpoint::FILE).count()
    };
    println!("{progress} rounds went on, to step {before:?}; {} stray files", stray());
    assert!(progress > 5, "hardly ever a step: {progress}");

    // And it goes on in earnest.
    let mut last = Background::start(dialog(&["--resume", &save, "--validate-every", "1"]));
    last.until("Step: ");
    last.interrupt();
    assert_eq!(last.end(), Some(0), "{}", last.said());
    assert!(look(&folder) > before);
    assert_eq!(stray(), 0, "files of writes that were killed lie about for ever");
}
