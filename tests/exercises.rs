//! The exercises of the book, one test for each: its answer is computed here, and the book says the same.
//!
//! `exercise_5_2` is exercise 2 of chapter 5. Where an exercise asks for code, its skeleton is in `docs/exercises`, and
//! its test is about what stands there.

use std::fs;
use std::path::{Path, PathBuf};

#[path = "exercises/adapters.rs"]
mod adapters;
#[path = "exercises/answers.rs"]
mod answers;
#[path = "exercises/calling.rs"]
mod calling;
#[path = "exercises/checks.rs"]
mod checks;
#[path = "common/dataset.rs"]
mod dataset;
#[path = "exercises/failures.rs"]
mod failures;
#[path = "exercises/files.rs"]
mod files;
#[path = "exercises/formulas.rs"]
mod formulas;
#[path = "exercises/hour.rs"]
mod hour;
#[path = "exercises/memory.rs"]
mod memory;
#[path = "exercises/parts.rs"]
mod parts;
#[path = "common/program.rs"]
mod program;
#[path = "exercises/reading.rs"]
mod reading;
#[path = "exercises/search.rs"]
mod search;
#[path = "exercises/solution_1.rs"]
mod solution_1;
#[path = "exercises/solution_3.rs"]
mod solution_3;
#[path = "exercises/solutions.rs"]
mod solutions;
#[path = "exercises/tables.rs"]
mod tables;
#[path = "exercises/talking.rs"]
mod talking;
#[path = "exercises/tokens.rs"]
mod tokens;
#[path = "exercises/training.rs"]
mod training;
#[path = "exercises/translation.rs"]
mod translation;
#[path = "exercises/variants.rs"]
mod variants;

#[path = "../docs/exercises/chapter-1.rs"]
mod chapter_1;
#[path = "../docs/exercises/chapter-2.rs"]
mod chapter_2;
#[path = "../docs/exercises/chapter-3.rs"]
mod chapter_3;
#[path = "../docs/exercises/chapter-4.rs"]
mod chapter_4;
#[path = "../docs/exercises/chapter-5.rs"]
mod chapter_5;
#[path = "../docs/exercises/chapter-6.rs"]
mod chapter_6;

use checks::{Check, check_tape, check_view};

/// The chapters with their numbers.
fn chapters() -> Vec<(usize, String)> {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let files = fs::read_dir(docs).expect("the book").flatten().map(|entry| entry.path());
    let number = |path: &PathBuf| path.file_name()?.to_str()?.split('-').next()?.parse().ok();
    let read = |path: PathBuf| {
        let number = number(&path).filter(|_| path.extension().is_some_and(|end| end == "md"))?;
        Some((number, fs::read_to_string(path).expect("a chapter")))
    };
    files.filter_map(read).collect()
}

/// A text without the ends of its lines.
fn flat(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Fails if a chapter does not say so, whatever its lines.
fn says(chapter: usize, text: &str) {
    println!("chapter {chapter}: {text}");
    let page = chapters().into_iter().find(|(number, _)| *number == chapter).expect("such a chapter").1;
    assert!(flat(&page).contains(&flat(text)), "chapter {chapter} does not say: {text}");
}

/// The numbers of the exercises in a chapter.
fn exercises(page: &str) -> Vec<usize> {
    let after = page.split_once("\n## Exercises\n").map_or("", |(_, after)| after);
    let number = |line: &str| line.split_once(". ")?.0.parse().ok();
    after.lines().filter_map(number).collect()
}

#[test]
fn every_exercise_has_its_test_and_every_test_its_exercise() {
    let mut in_book: Vec<String> = Vec::new();
    for (chapter, page) in chapters() {
        let numbers = exercises(&page);
        assert!(
            numbers.len() >= 3 && numbers.iter().copied().eq(1..=numbers.len()),
            "{chapter}: {numbers:?}"
        );
        in_book.extend(numbers.iter().map(|number| format!("exercise_{chapter}_{number}")));
        says(chapter, &format!("cargo test --test exercises exercise_{chapter}_"));
    }
    let sources = [
        include_str!("exercises.rs"),
        include_str!("exercises/adapters.rs"),
        include_str!("exercises/answers.rs"),
        include_str!("exercises/calling.rs"),
        include_str!("exercises/failures.rs"),
        include_str!("exercises/files.rs"),
        include_str!("exercises/hour.rs"),
        include_str!("exercises/memory.rs"),
        include_str!("exercises/parts.rs"),
        include_str!("exercises/reading.rs"),
        include_str!("exercises/search.rs"),
        include_str!("exercises/talking.rs"),
        include_str!("exercises/tokens.rs"),
        include_str!("exercises/translation.rs"),
    ];
    let tests =
        sources.iter().flat_map(|source| source.lines()).filter_map(|line| line.strip_prefix("fn exercise_"));
    let mut tests: Vec<String> =
        tests.map(|rest| format!("exercise_{}", rest.split('(').next().unwrap_or(rest))).collect();
    in_book.sort();
    tests.sort();
    assert_eq!(in_book, tests);
}

/// About twelve minutes, code not counted.
#[test]
fn no_chapter_is_longer_than_2600_words() {
    for (chapter, page) in chapters() {
        let prose = page.split("```").step_by(2);
        let words = prose.flat_map(str::split_whitespace).filter(|word| *word != "|").count();
        assert!(words <= 2600, "chapter {chapter} has {words} words");
    }
}

/// Judges what stands in a skeleton: before it is done, it must not pass; then it must.
fn judge(done: bool, check: Check) {
    match (done, check) {
        (false, Err(_)) | (true, Ok(())) => {}
        (true, Err(problem)) => panic!("not yet right: {problem}"),
        (false, Ok(())) => panic!("it is right: set DONE to true"),
    }
}

#[test]
fn exercise_1_4() {
    judge(chapter_1::DONE, check_tape!(chapter_1));
}

#[test]
fn exercise_2_4() {
    judge(chapter_2::DONE, checks::gradients(chapter_2::gradients));
}

#[test]
fn exercise_3_4() {
    judge(chapter_3::DONE, check_view!(chapter_3));
}

#[test]
fn exercise_4_4() {
    judge(chapter_4::DONE, checks::attention(chapter_4::attention));
}

#[test]
fn exercise_5_8() {
    judge(chapter_5::DONE, checks::adam(chapter_5::adam));
}

#[test]
fn exercise_6_4() {
    judge(chapter_6::DONE, checks::draw(chapter_6::draw));
}

#[test]
fn the_checks_accept_the_solutions() {
    assert_eq!(check_tape!(solution_1), Ok(()));
    assert_eq!(checks::gradients(solutions::gradients), Ok(()));
    assert_eq!(check_view!(solution_3), Ok(()));
    assert_eq!(checks::attention(solutions::attention), Ok(()));
    assert_eq!(checks::adam(solutions::adam), Ok(()));
    assert_eq!(checks::draw(solutions::draw), Ok(()));
}

/// Mistakes that are easy to make.
#[test]
fn the_checks_refuse_mistakes() {
    let set_not_added = |tape: &[[(usize, f64); 2]], result: usize| {
        let mut grads = vec![0.0; tape.len()];
        grads[result] = 1.0;
        for at in (0..=result).rev() {
            tape[at]
                .iter()
                .filter(|(_, slope)| *slope != 0.0)
                .for_each(|&(to, slope)| grads[to] = slope * grads[at]);
        }
        grads
    };
    assert!(checks::gradients(set_not_added).is_err());
    let no_scale = |q: &[Vec<f64>], k: &[Vec<f64>], v: &[Vec<f64>], _| solutions::attention(q, k, v, 1.0);
    assert!(checks::attention(no_scale).is_err());
    let uncorrected = |w: &mut [f64], g: &[f64], m: &mut [f64], v: &mut [f64], _, rate: f64| {
        solutions::adam(w, g, m, v, 1000, rate);
    };
    assert!(checks::adam(uncorrected).is_err());
    assert!(checks::draw(|logits, _, dart| solutions::draw(logits, 1.0, dart)).is_err());
    assert!(checks::draw(|logits, temperature, _| solutions::draw(logits, temperature, 0.0)).is_err());
}
