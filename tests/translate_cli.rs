//! The example `translate` as people run it: it learns from pairs, is stopped and resumed, translates and draws, and says what is
//! wrong with a file.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use gradus::checkpoint::FILE;
use tempfile::TempDir;

#[path = "common/program.rs"]
mod program;
#[path = "common/refusal.rs"]
mod refusal;

use program::{Output, example, run};
use refusal::{assert_refused, content};

const TINY: &str = "--layers 1 --embd 16 --heads 2 --context 32 --batch 256 --threads 1";

struct Place(TempDir);

impl Place {
    /// A folder with the phrases of the project.
    fn new() -> Self {
        let place = Place(tempfile::tempdir().expect("a folder"));
        let phrases = concat!(env!("CARGO_MANIFEST_DIR"), "/datasets/phrases.tsv");
        fs::copy(phrases, place.path("phrases.tsv")).expect("a file");
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Runs it in this folder, where no other data are.
    fn run(&self, options: &[&str]) -> Output {
        let mut command = Command::new(example("translate"));
        run(command.args(options).env("GRADUS_DATASETS", self.0.path()).current_dir(self.0.path()))
    }

    /// Trains a tiny model on the first 300 phrases.
    fn train(&self, options: &str) -> String {
        let all = format!("--data phrases.tsv --pairs 300 --vocab-size 400 {TINY} {options}");
        let ended = self.run(&all.split_whitespace().collect::<Vec<_>>());
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{options}: {}", ended.stdout);
        ended.stdout
    }

    /// A model that was trained for a few steps, in `model`.
    fn model(&self) {
        self.train("--steps 6 --save model");
    }
}

#[test]
fn it_learns_and_judges_itself() {
    let place = Place::new();
    let printed = place.train(
        "--steps 20 --validate-every 10 --sample-every 20 --save model --plot losses.svg --metrics losses.csv",
    );
    for words in
        ["pairs: phrases.tsv, ", " → ", "held out: ", "vocab size: 400", "Step: 20", "BLEU", "chrF", "exact"]
    {
        assert!(printed.contains(words), "{words} is not in {printed}");
    }
    assert!(printed.contains("nrefs:var|case:mixed|eff:no|tok:13a|smooth:exp"), "{printed}");
    assert!(fs::read_to_string(place.path("losses.svg")).is_ok_and(|plot| plot.contains("nats a token")));
    assert_eq!(fs::read_to_string(place.path("losses.csv")).expect("metrics").lines().count(), 3);

    // The same judgement again, and its translations as a file.
    let scored = place.run(&["--score", "--save", "model", "--hypotheses", "said.txt", "--threads", "1"]);
    assert_eq!(scored.code, Some(0), "{}", scored.stderr);
    let figures = |printed: &str| {
        let line = printed.lines().rfind(|line| line.contains("BLEU")).expect("scores").to_owned();
        line.rsplit_once(" | ").expect("a speed").0.to_owned()
    };
    assert_eq!(figures(&scored.stdout), figures(&printed));
    let said = fs::read_to_string(place.path("said.txt")).expect("translations");
    let count: usize = figures(&printed).split(' ').next().and_then(|n| n.parse().ok()).expect("a number");
    assert_eq!(said.lines().count(), count);
}

/// Ctrl-C is tested with `dialog`, which has the same loop: here the steps are cut by --steps.
#[test]
fn a_training_goes_on_bit_for_bit() {
    let place = Place::new();
    place.train("--steps 12 --validate-every 4 --save whole --accumulate 2");
    place.train("--steps 12 --minutes 0.000001 --validate-every 4 --save parts --accumulate 2");
    loop {
        let ended = place.run(&["--resume", "parts", "--minutes", "0.000001", "--threads", "1"]);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        if ended.stdout.contains("done after step 12") {
            break;
        }
        assert!(ended.stdout.contains("the time is over"), "{}", ended.stdout);
    }
    let model = |folder: &str| fs::read(place.path(folder).join(FILE)).expect("a model");
    assert_eq!(model("whole"), model("parts"));
    let ended = place.run(&["--resume", "parts", "--reverse"]);
    assert_refused(&ended, 2, &["--reverse cannot be changed with --resume"], &ended.stderr);
}

#[test]
fn sentences_are_translated_one_by_one_and_line_by_line() {
    let place = Place::new();
    place.model();
    let one = place.run(&["--translate", "I am here.", "--save", "model"]);
    assert_eq!(one.code, Some(0), "{}", one.stderr);
    assert_eq!(one.stdout.lines().count(), 1, "{}", one.stdout);
    let best = place.run(&["--translate", "I am here.", "--save", "model", "--beams", "4", "--best", "3"]);
    let scores: Vec<f64> = best
        .stdout
        .lines()
        .map(|line| line.split_whitespace().next().and_then(|score| score.parse().ok()).expect("a score"))
        .collect();
    assert!(scores.len() == 3 && scores.is_sorted_by(|a, b| a >= b), "{}", best.stdout);

    // Standard input is empty here, which ends it at once.
    let silent = place.run(&["--translate", "--save", "model"]);
    assert_eq!((silent.code, silent.stdout.as_str()), (Some(0), ""), "{}", silent.stderr);
}

#[test]
fn where_it_looks_is_drawn() {
    let place = Place::new();
    place.model();
    let ended = place.run(&["--translate", "I am here.", "--save", "model", "--heatmap", "looks.svg"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let drawing = fs::read_to_string(place.path("looks.svg")).expect("a drawing");
    for words in ["I am here. → ", "block 1, head 1", "block 1, head 2", "looks most at"] {
        assert!(drawing.contains(words), "{words}: {drawing}");
    }
    let (model, before) = (place.path("model").join(FILE), content(&place.path("model")));
    let over =
        place.run(&["--translate", "I am.", "--save", "model", "--heatmap", model.to_str().expect("a path")]);
    assert_refused(&over, 2, &["--heatmap"], &over.stderr);
    assert_eq!(content(&place.path("model")), before);
}

/// Out and in again, a model says the same.
#[test]
fn folders_of_hugging_face() {
    let place = Place::new();
    place.train("--preset classic --steps 6 --save model");
    let ok = |options: &[&str]| {
        let ended = place.run(options);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        ended.stdout
    };
    assert!(ok(&["--export", "marian", "--save", "model"]).contains("MarianMTModel"));
    assert!(place.path("marian/config.json").exists() && place.path("marian/tokenizer.json").exists());
    ok(&["--import", "marian", "--save", "back"]);
    let said =
        |model: &str| ok(&["--translate", "I am here.", "--save", model, "--beams", "3", "--best", "3"]);
    assert_eq!(said("back"), said("model"));
    let over = place.run(&["--import", "marian", "--save", "model"]);
    assert_refused(&over, 1, &["--overwrite"], &over.stderr);
    place.train("--steps 2 --save modern");
    let refused = place.run(&["--export", "other", "--save", "modern"]);
    assert_refused(&refused, 1, &["MarianMTModel"], &refused.stderr);
}

#[test]
fn alternatives_are_compared() {
    let place = Place::new();
    let printed = place.train("--compare embeddings --steps 3 --seeds 2 --save compared --plot arms.svg");
    for arm in ["| one table for all |", "| target and head share |", "| three tables |"] {
        assert!(printed.contains(arm), "{printed}");
    }
    assert!(printed.contains(" ± ") && place.path("arms.svg").exists(), "{printed}");
    let again = place.run(&["--resume", "compared", "--threads", "1"]);
    assert_eq!(again.code, Some(0), "{}", again.stderr);
    assert!(again.stdout.contains("| three tables |") && !again.stdout.contains("[1/6]"), "{}", again.stdout);
}

#[test]
fn what_is_wrong_is_said_with_its_line_and_cure() {
    let place = Place::new();
    let wrong = |text: &str, words: &[&str]| {
        fs::write(place.path("wrong.tsv"), text).expect("a file");
        let ended = place.run(&["--data", "wrong.tsv", "--save", "none"]);
        assert_refused(&ended, 1, words, &ended.stderr);
        assert!(!place.path("none").exists(), "nothing is begun");
    };
    let good = "I see.\tJe vois.\n".repeat(30);
    wrong(&format!("{good}alone\n"), &["wrong.tsv", "line 31"]);
    wrong(&format!("{good}one\tun\tthree\n"), &["wrong.tsv", "line 31"]);
    wrong(&format!("{good}one\t\n"), &["wrong.tsv", "line 31"]);
    wrong("", &["wrong.tsv"]);
    place.model();
    let long = "word ".repeat(100);
    let ended = place.run(&["--translate", &long, "--save", "model"]);
    assert_refused(&ended, 1, &["the model reads at most 32"], &ended.stderr);
    place.train("--characters --steps 2 --save letters");
    let ended = place.run(&["--translate", "I am 林.", "--save", "letters"]);
    assert_refused(&ended, 1, &["林"], &ended.stderr);
    let ended = place.run(&["--translate", "I am.", "--save", "nowhere"]);
    assert_refused(&ended, 1, &["--example translate"], &ended.stderr);
    let ended = place.run(&["--heatmap", "x.svg"]);
    assert_refused(&ended, 2, &["--translate"], &ended.stderr);
}
