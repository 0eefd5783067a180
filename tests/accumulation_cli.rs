//! Micro-batches and schedules as the examples have them: `--accumulate` changes the memory of a step and nothing else, what
//! was stopped goes on bit for bit, and runs that were begun before there were such options go on too.

use std::fs;
use std::path::Path;
use std::process::Command;

use gradus::checkpoint::FILE;
use serde_json::Value;
use tempfile::TempDir;

#[path = "common/program.rs"]
mod program;
#[path = "common/state.rs"]
mod state;

use program::{example, run};
use state::{State, state};

/// Sixteen sequences of 128 characters are eight shards of the fast engine.
const TINY: &str = "--data text.txt --layers 1 --embd 16 --heads 2 --context 128 --threads 1 --dropout 0.1 \
                    --sample-every 1000000 --validate-every 5";

struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let place = Place(tempfile::tempdir().expect("a folder"));
        let text: String =
            (0..300).map(|n| format!("A: Where is number {n}?\nB: Behind {}.\n\n", n * n % 91)).collect();
        fs::write(place.0.path().join("text.txt"), text).expect("a file");
        place
    }

    fn run(&self, program: &str, options: &str) -> String {
        let mut command = Command::new(example(program));
        let ended = run(command.args(options.split_whitespace()).current_dir(self.0.path()));
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{options}: {}", ended.stdout);
        ended.stdout
    }

    /// Trains a tiny dialog model into a folder; the best model, if there was a validation, and the last state.
    fn train(&self, folder: &str, options: &str) -> (Option<Vec<u8>>, State) {
        self.run("dialog", &format!("{TINY} --save {folder} --overwrite {options}"));
        self.saved(folder)
    }

    fn resume(&self, folder: &str, options: &str) -> (Option<Vec<u8>>, State) {
        self.run("dialog", &format!("--resume {folder} {options}"));
        self.saved(folder)
    }

    fn saved(&self, folder: &str) -> (Option<Vec<u8>>, State) {
        let folder = self.0.path().join(folder);
        (fs::read(folder.join(FILE)).ok(), state(&folder))
    }

    /// Takes options out of what a run was begun with, as if there had been none: the file of its state keeps its length.
    fn forget(&self, folder: &str, options: &[&str]) {
        let path = self.0.path().join(folder).join(state::FILE);
        let mut bytes = fs::read(&path).expect("a state");
        for option in options {
            let found: Vec<usize> =
                (0..bytes.len()).filter(|&at| bytes[at..].starts_with(option.as_bytes())).collect();
            assert_eq!(found.len(), 1, "{option}");
            bytes[found[0]..found[0] + option.len()].fill(b' ');
        }
        fs::write(path, bytes).expect("a state");
    }
}

/// What the options that came later are in the state of a run by default: JSON in a string of JSON.
const DEFAULTS: [&str; 3] =
    [r#"\"accumulate\":1,"#, r#"\"schedule\":\"cosine\","#, r#"\"precision\":\"f32\","#];

#[test]
fn micro_batches_are_one_batch() {
    let place = Place::new();
    let rest = "--steps 10 --smoothing 0.1 --weighting";
    let (model, one) = place.train("one", &format!("--batch 16 {rest}"));
    assert!(model.is_some());
    for (batch, accumulate) in [(8, 2), (4, 4), (2, 8)] {
        let (parts_model, parts) =
            place.train("parts", &format!("--batch {batch} --accumulate {accumulate} {rest}"));
        assert!(parts_model == model, "{accumulate} micro-batches of {batch}: the model");
        assert!(parts.numbers == one.numbers, "{accumulate} micro-batches of {batch}: the state");
        assert_eq!((&parts.description["step"], &one.description["step"]), (&10.into(), &10.into()));
        // The same places in the text, in the same order.
        let random = |state: &State| state.description["caller"]["random"].clone();
        assert_eq!(random(&parts), random(&one));
    }
}

/// Stopped after each single step, it is resumed until it has made all; its schedule is that of the whole run.
#[test]
fn a_stopped_run_goes_on_between_steps() {
    let place = Place::new();
    let rest = "--batch 3 --accumulate 3 --steps 6 --warmup 2 --schedule linear";
    let straight = place.train("straight", rest);
    assert!(straight.0.is_some());
    let (_, mut stopped) = place.train("stopped", &format!("{rest} --minutes 0.000001"));
    for step in 1..6 {
        assert_eq!(stopped.description["step"], step);
        (_, stopped) = place.resume("stopped", "--minutes 0.000001");
    }
    assert_eq!(stopped.description["step"], 6);
    assert!(stopped.numbers == straight.1.numbers);
    assert!(place.saved("stopped").0 == straight.0, "the model");
}

/// A schedule without an end does not depend on --steps: a run that is made longer is the longer run.
#[test]
fn the_inverse_square_root_has_no_end() {
    let place = Place::new();
    let longer = |schedule: &str| {
        let rest = format!("--batch 2 --warmup 3 --schedule {schedule}");
        let straight = place.train("straight", &format!("{rest} --steps 20"));
        place.train("longer", &format!("{rest} --steps 10"));
        place.resume("longer", "--steps 20").1.numbers == straight.1.numbers
    };
    assert!(longer("inverse-sqrt") && longer("constant"));
    assert!(!longer("cosine") && !longer("linear"), "these fall to the end of the run");
}

#[test]
fn runs_from_before_the_options_go_on() {
    let place = Place::new();
    let rest = "--batch 2 --warmup 3";
    let straight = place.train("straight", &format!("{rest} --steps 10"));
    place.train("old", &format!("{rest} --steps 10 --minutes 0.000001"));
    place.forget("old", &DEFAULTS);
    // What it was begun with, in words that it did not know.
    let resumed = place.resume("old", "--accumulate 1 --schedule cosine --precision f32");
    assert!(resumed.1.numbers == straight.1.numbers && resumed.0 == straight.0);

    place.train("old", &format!("{rest} --steps 10"));
    place.forget("old", &DEFAULTS);
    let mut command = Command::new(example("dialog"));
    command.args(["--resume", "old", "--steps", "20", "--schedule", "linear"]).current_dir(place.0.path());
    let refused = run(&mut command);
    assert_eq!(refused.code, Some(2), "{}", refused.stdout);
    assert!(refused.stderr.contains("was begun with \"cosine\""), "{}", refused.stderr);
}

/// A comparison counts the tokens of all micro-batches, and trains nothing a second time that it has trained before there were
/// these options.
#[test]
fn a_comparison() {
    let place = Place::new();
    let options =
        "--batch 2 --accumulate 3 --schedule inverse-sqrt --warmup 2 --steps 10 --metrics all.jsonl";
    let tiny = TINY.replace("--context 128", "--context 16");
    let printed = place.run("ngpt", &format!("{tiny} --save both {options}"));
    let metrics = fs::read_to_string(place.0.path().join("all.jsonl")).expect("metrics");
    let rows: Vec<Value> = metrics.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let tokens: Vec<u64> = rows.iter().filter_map(|row| row["tokens"].as_u64()).collect();
    assert_eq!(tokens, [5, 10, 5, 10].map(|step| step * 2 * 3 * 16), "{printed}");

    place.run("ngpt", &format!("{tiny} --save old --batch 2 --steps 10"));
    let (arms, file) = (["old/baseline-42", "old/ngpt-42"], Path::new("old").join("comparison.json"));
    let before = arms.map(|arm| {
        place.forget(arm, &DEFAULTS);
        place.saved(arm)
    });
    let path = place.0.path().join(file);
    let mut begun: Value = serde_json::from_slice(&fs::read(&path).expect("what is compared")).expect("JSON");
    let recipe = begun["recipe"].as_object_mut().expect("options");
    for option in ["accumulate", "schedule", "precision"] {
        assert!(recipe.remove(option).is_some(), "{option}");
    }
    fs::write(&path, begun.to_string()).expect("a file");
    let printed = place.run("ngpt", "--resume old");
    assert!(!printed.contains("[1/2]") && printed.contains("| ngpt |"), "{printed}");
    assert!(arms.map(|arm| place.saved(arm)) == before, "nothing was trained again");
}
