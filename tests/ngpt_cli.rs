//! The example `ngpt` as people run it: several trainings on the same batches, stopped and resumed, with one table, one
//! plot and one file of metrics.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use gradus::checkpoint::FILE;
use gradus::fast::FastEngine;
use gradus::model::Sphere;
use gradus::train::Trainer;
use serde_json::Value;
use tempfile::TempDir;

#[path = "common/program.rs"]
mod program;
#[path = "common/refusal.rs"]
mod refusal;

use program::{Output, example, run};
use refusal::{assert_refused, content};

const TINY: &str = "--layers 1 --embd 16 --heads 2 --context 16 --batch 4 --threads 1 --sample-every 1000000";

struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let place = Place(tempfile::tempdir().expect("a folder"));
        let text: String = (0..60).map(|n| format!("ROMEO:\nWhere is number {n}?\n\n")).collect();
        fs::write(place.path("play.txt"), text).expect("a file");
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Runs it in this folder.
    fn run(&self, options: &str) -> Output {
        let mut command = Command::new(example("ngpt"));
        run(command.args(options.split_whitespace()).current_dir(self.0.path()))
    }

    /// A comparison of tiny models into `folder`.
    fn compare(&self, folder: &str, options: &str) -> String {
        let ended = self.run(&format!("--data play.txt {TINY} --save {folder} {options}"));
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{options}: {}", ended.stdout);
        ended.stdout
    }
}

/// The rows of the table: the arm, and its cells.
fn rows(printed: &str) -> Vec<Vec<String>> {
    let lines = printed.lines().filter(|line| line.starts_with("| ")).skip(1);
    lines.map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()).collect()
}

/// What a training in a folder was begun with.
fn recipe(folder: &Path) -> String {
    let state: Value = Trainer::<Sphere, FastEngine>::peek_state(folder).expect("the state of a run");
    state["recipe"].to_string()
}

fn model(folder: &Path) -> Vec<u8> {
    fs::read(folder.join(FILE)).expect("a model")
}

#[test]
fn both_arms_with_two_seeds() {
    let place = Place::new();
    let printed =
        place.compare("both", "--steps 20 --validate-every 5 --seeds 2 --plot arms.svg --metrics arms.jsonl");
    let rows = rows(&printed);
    assert_eq!(rows.iter().map(|row| &*row[0]).collect::<Vec<_>>(), ["baseline", "ngpt"]);
    for row in &rows {
        assert_eq!(row[2], "2", "{printed}");
        assert!(row[4].contains(" ± "), "{printed}");
    }
    assert!(rows[1][9].starts_with("1 ± ") && rows[0][9] == "free", "{printed}");
    assert!(rows[1][10].parse::<f64>().is_ok_and(|angle| angle > 0.0) && rows[0][10].is_empty(), "{printed}");
    let plot = fs::read_to_string(place.path("arms.svg")).expect("a plot");
    assert!(
        ["baseline", "ngpt", "thousand tokens", "seconds"].iter().all(|word| plot.contains(word)),
        "{plot}"
    );

    let metrics = fs::read_to_string(place.path("arms.jsonl")).expect("metrics");
    let metrics: Vec<Value> = metrics.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(metrics.len(), 2 * 2 * 4);
    let last = metrics.last().expect("a row");
    assert_eq!((&last["arm"], &last["step"], &last["tokens"]), (&"ngpt".into(), &20.into(), &1280.into()));
    for row in metrics.iter().filter(|row| row["arm"] == "ngpt") {
        for length in ["shortest_weight", "longest_weight", "shortest_hidden", "longest_hidden"] {
            let length = row[length].as_f64().expect("a length");
            assert!((length - 1.0).abs() < 1e-6, "{row}");
        }
        assert!(row["angle"].as_f64().expect("an angle") >= 0.0);
    }

    // The better of the models speaks, and it begins with the prompt.
    let said = place.run("--generate ROMEO: --save both --tokens 10");
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    assert!(said.stdout.starts_with("ROMEO:") && said.stdout.trim_end().len() > 6, "{}", said.stdout);
    let said = place.run("--generate ROMEO: --save both/ngpt-43 --tokens 10");
    assert_eq!(said.code, Some(0), "{}", said.stderr);
}

/// Arms with the same seed learn from the same batches, and what one arm is does not change another.
#[test]
fn arms_do_not_depend_on_each_other() {
    let place = Place::new();
    place.compare("both", "--steps 6");
    place.compare("one", "--steps 6 --arms ngpt");
    assert_eq!(model(&place.path("both/ngpt-42")), model(&place.path("one/ngpt-42")));
    let row =
        |folder: &str| rows(&place.compare(folder, "--steps 6 --arms ngpt --overwrite"))[0][3..6].to_vec();
    assert_eq!(row("both"), row("one"));
}

#[test]
fn a_comparison_goes_on_where_it_was_stopped() {
    let place = Place::new();
    let whole = rows(&place.compare("whole", "--steps 12 --validate-every 4"));
    // Stopped by its time after the first step of each arm, which the resumed one need not know.
    let cut = place.compare("cut", "--steps 12 --validate-every 4 --minutes 1e-9");
    assert!(cut.contains("the time is over after step 1"), "{cut}");
    let resumed = place.run("--resume cut --threads 1 --plot cut.svg");
    assert_eq!(resumed.code, Some(0), "{}", resumed.stderr);
    assert!(resumed.stdout.contains("going on after step 1"), "{}", resumed.stdout);
    for (row, other) in whole.iter().zip(rows(&resumed.stdout)) {
        assert_eq!(row[..8], other[..8]);
    }
    for arm in ["baseline-42", "ngpt-42"] {
        assert_eq!(model(&place.path("whole").join(arm)), model(&place.path("cut").join(arm)));
    }
    // And once more: all is done, so nothing is trained.
    let again = place.run("--resume cut");
    assert!(!again.stdout.contains("seed 42") && again.stdout.contains("| ngpt |"), "{}", again.stdout);
}

#[test]
fn what_cannot_be_done_is_refused() {
    let place = Place::new();
    place.compare("here", "--steps 2");
    let before = content(&place.path("here"));
    let refused = |options: &str, code, words: &[&str]| {
        let ended = place.run(options);
        assert_refused(&ended, code, words, &ended.stderr);
    };
    refused(
        &format!("--data play.txt {TINY} --save here"),
        1,
        &["here holds a comparison", "--resume", "--overwrite"],
    );
    refused("--resume here --alpha 0.2", 2, &["--alpha cannot be changed", "0.25"]);
    refused("--data play.txt --save new --rates 0.1", 2, &["--rates needs one learning rate for each"]);
    refused("--resume here --steps 9", 2, &["--steps cannot be changed"]);
    refused("--resume nowhere", 1, &["nowhere", "--save nowhere"]);
    refused("--load here/ngpt-42", 2, &["leave --load out"]);
    refused(&format!("--data play.txt {TINY} --save new --arms ngpt,ngpt"), 2, &["ngpt is named twice"]);
    refused("--data play.txt --save new --context 16 --heads 3", 2, &["3 heads"]);
    refused(&format!("--data play.txt {TINY} --save new --plot play.txt"), 2, &["play.txt", "--plot"]);
    refused("--data none.txt --save new", 1, &["none.txt"]);
    refused("--generate A --save nowhere", 1, &["nowhere", "--example ngpt"]);
    fs::write(place.path("play.txt"), "another text, long enough? ".repeat(60)).expect("a file");
    refused("--resume here", 1, &["play.txt is no longer the text"]);
    assert_eq!(content(&place.path("here")), before);
    fs::write(place.path("here/comparison.json"), "{").expect("a file");
    refused("--resume here", 1, &["comparison.json is damaged", "--overwrite"]);
}

/// An arm whose rate is far too large is a row of the table, not the end of the comparison.
#[test]
fn an_arm_may_run_away() {
    let place = Place::new();
    let printed = place.compare("far", "--steps 20 --learning-rate 1e30 --optimizer adamw");
    for row in rows(&printed) {
        assert_eq!(row[3], "ran away", "{printed}");
    }
    // A rate that is a thousand times too large is still a direction on the sphere.
    let printed = place.compare("large", "--steps 20 --learning-rate 3 --optimizer adamw --arms ngpt");
    let row = &rows(&printed)[0];
    assert!(row[4].parse::<f64>().is_ok_and(f64::is_finite) && row[9].starts_with("1 ± "), "{printed}");
}

#[test]
fn every_sweep_trains_all_of_its_variants() {
    let place = Place::new();
    let arms = [
        ("alpha", 8),
        ("logit-scale", 7),
        ("qk-norm", 4),
        ("ablation", 11),
        ("rate", 20),
        ("width", 30),
        ("remedies", 10),
        ("laptop", 11),
    ];
    for (sweep, count) in arms {
        let printed = place
            .compare(sweep, &format!("--sweep {sweep} --steps 10 --validate-every 10 --plot {sweep}.svg"));
        let rows = rows(&printed);
        assert_eq!(rows.len(), count, "{sweep}: {printed}");
        assert!(
            fs::read_to_string(place.path(&format!("{sweep}.svg"))).expect("a plot").contains(&rows[0][0])
        );
        // Different variants have different names, folders and recipes.
        let folders = fs::read_dir(place.path(sweep)).expect("a folder").flatten().map(|entry| entry.path());
        let recipes: BTreeSet<String> =
            folders.filter(|path| path.is_dir()).map(|path| recipe(&path)).collect();
        assert_eq!(recipes.len(), count, "{sweep}: {recipes:?}");
    }
}
