//! What `docs/architecture.md` says is never there, is not there: these tests read the source. And what every model must do,
//! the dialog model does: each single weight of it moves in one step of its training.

use std::fs;
use std::path::{Path, PathBuf};

use gradus::Model;
use gradus::model::DecoderConfig;

#[path = "common/dialog_trainer.rs"]
mod dialog_trainer;
#[path = "common/method.rs"]
mod method;
#[path = "common/variants.rs"]
mod variants;

use dialog_trainer::dialogs;
use method::METHODS;

/// All source files below a folder of `src`.
fn files(folder: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the source") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                files.push(path);
            }
        }
    }
    assert!(!files.is_empty(), "{folder} has source files");
    files
}

/// The lines of a file with their numbers, without comments and without its own tests.
fn code(path: &Path) -> Vec<(usize, String)> {
    let text = fs::read_to_string(path).expect("a source file");
    let lines = text.lines().enumerate();
    let code = lines.take_while(|(_, line)| !line.contains("#[cfg(test)]"));
    code.map(|(at, line)| (at + 1, line.split("//").next().unwrap_or("").to_owned())).collect()
}

/// Whether a word stands there as a word of its own, or as a part of one in `snake_case`.
fn has_word(line: &str, word: &str) -> bool {
    line.split(|c: char| !c.is_alphanumeric()).any(|part| part == word)
}

/// Every place in the code below some folders where one of the words stands.
fn places(folders: &[&str], words: &[&str]) -> Vec<String> {
    let mut places = Vec::new();
    for path in folders.iter().flat_map(|folder| files(folder)) {
        for (number, line) in code(&path) {
            if let Some(word) = words.iter().find(|word| has_word(&line, word)) {
                places.push(format!("{word} in {}:{number}: {}", path.display(), line.trim()));
            }
        }
    }
    places
}

#[test]
fn the_search_finds_what_is_there() {
    assert!(!places(&["scalar"], &["ScalarEngine"]).is_empty());
    assert!(!places(&["fast"], &["FastEngine"]).is_empty());
    assert!(!places(&["model"], &["Decoder"]).is_empty());
    assert!(has_word("use crate::fast::FastEngine;", "fast") && has_word("fn on_fast()", "fast"));
    assert!(!has_word("breakfast", "fast"));
}

#[test]
fn models_name_no_engine() {
    let named =
        places(&["model"], &["scalar", "ScalarEngine", "fast", "FastEngine", "Value", "Matrix_", "Tape"]);
    assert!(named.is_empty(), "{}", named.join("\n"));
}

#[test]
fn engines_name_no_model() {
    let models = [
        "Decoder",
        "DecoderConfig",
        "Sphere",
        "FeedForward",
        "Norm",
        "microgpt",
        "dialog",
        "Dialogs",
        "Names",
    ];
    let named = places(&["scalar", "fast"], &models);
    assert!(named.is_empty(), "{}", named.join("\n"));
    // Nor does the contract name either.
    let contract = ["tensor.rs", "tensor/attention.rs", "engine.rs", "params.rs", "function.rs"];
    let words = [&models[..], &["scalar", "ScalarEngine", "fast", "FastEngine"]].concat();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for file in contract {
        for (number, line) in code(&root.join(file)) {
            let word = words.iter().find(|word| has_word(&line, word));
            assert!(word.is_none(), "{word:?} in {file}:{number}");
        }
    }
}

/// The rooms of the library from the ground up. A room imports only from the rooms below its own.
const HOUSE: [&[&str]; 10] = [
    &["real", "random", "counter_rng", "thread_pool", "crew"],
    &["function", "gemm"],
    &["tensor"],
    &["params", "tokenizer"],
    &["data"],
    &["model", "score"],
    &["engine"],
    &["scalar", "fast"],
    &["optim", "checkpoint", "cost"],
    &["train", "generate"],
];

/// Names that `lib.rs` exports at the root, and the rooms they live in.
const AT_THE_ROOT: [(&str, &str); 5] = [
    ("BinaryOp", "function"),
    ("UnaryOp", "function"),
    ("Tensor", "tensor"),
    ("Model", "model"),
    ("Engine", "engine"),
];

/// The room where a name after `crate::` lives.
fn home(name: &str) -> &str {
    AT_THE_ROOT.iter().find(|(exported, _)| *exported == name).map_or(name, |(_, room)| room)
}

/// The floor of a room in the house.
fn floor(room: &str) -> usize {
    let floor = HOUSE.iter().position(|rooms| rooms.contains(&room));
    floor.unwrap_or_else(|| panic!("{room} has no floor yet: give it one in `HOUSE`"))
}

/// The room that a source file belongs to: `src/fast/tape.rs` to `fast`, `src/tensor.rs` to `tensor`.
fn room(path: &Path) -> String {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let first = path.strip_prefix(src).expect("a file of src").iter().next().expect("its name");
    first.to_string_lossy().trim_end_matches(".rs").to_owned()
}

/// The rooms that a line of code imports from or names.
fn imports(line: &str) -> impl Iterator<Item = &str> {
    let after = line.split("crate::").skip(1).filter(|rest| !rest.starts_with('$')); // as in a macro
    after.map(move |rest| {
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        assert!(end > 0, "one import a line, please, so that this test can read it: {line}");
        &rest[..end]
    })
}

#[test]
fn nothing_imports_upward() {
    assert!(imports("use crate::fast::Matrix; crate::Tensor").eq(["fast", "Tensor"]));
    assert!(floor("data") < floor("model") && floor(home("Model")) < floor("fast"));
    let (mut upward, mut seen) = (Vec::new(), 0);
    for path in files("").into_iter().filter(|path| room(path) != "lib") {
        let own = room(&path);
        for (number, line) in code(&path) {
            for other in imports(&line).map(home).filter(|other| *other != own) {
                seen += 1;
                if floor(other) >= floor(&own) {
                    upward.push(format!("{}:{number}: {own} names {other}", path.display()));
                }
            }
        }
    }
    assert!(seen > 50, "only {seen} imports found: does the test still read them?");
    assert!(upward.is_empty(), "{}", upward.join("\n"));
}

#[test]
fn the_library_prints_nothing() {
    let printed = places(&[""], &["println", "eprintln", "print", "eprint", "dbg"]);
    let macros: Vec<_> = printed.iter().filter(|place| place.contains('!')).collect();
    assert!(macros.is_empty(), "{macros:?}");
}

/// `unsafe` stands only in files that say why it is sound.
#[test]
fn what_is_unsafe_says_why_it_is_safe() {
    for path in files("") {
        if code(&path).iter().any(|(_, line)| has_word(line, "unsafe") && !line.contains("unsafe_")) {
            let text = fs::read_to_string(&path).expect("a source file");
            assert!(text.contains("SAFETY"), "{} is unsafe and does not say why", path.display());
        }
    }
}

/// Each number of each matrix has a gradient, and moves; but for a few whose step is less than half a unit of their last
/// digit.
#[test]
fn every_weight_of_the_dialog_model_moves_in_one_step() {
    let vocab_size = dialogs(64).vocab_size();
    let dialog = [1, 4].map(|heads| {
        let config = DecoderConfig { n_head: heads, n_kv_head: heads, ..DecoderConfig::dialog(vocab_size) };
        ("dialog in full", config)
    });
    for (name, config) in variants::variants().into_iter().chain(dialog) {
        let batch = variants::batch(&config);
        for method in METHODS {
            let mut trainer = method.learner(&config, 2, 5);
            let before = trainer.params().to_vec();
            assert!(trainer.step(&batch).loss.is_finite());
            for window in trainer.model().layout().specs() {
                let count = |is: &dyn Fn(usize) -> bool| window.range().filter(|&at| is(at)).count();
                let idle = count(&|at| trainer.gradient()[at] == 0.0);
                let still = count(&|at| before[at] == trainer.params()[at]);
                let what = format!("{name}, {method:?}: numbers of {}", window.name);
                assert_eq!(idle, 0, "{what} without a gradient");
                assert!(still <= window.range().len() / 1000, "{still} {what} that stayed");
            }
        }
    }
}
