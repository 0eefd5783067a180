//! BLEU, chrF and exact match are sacrebleu's to the ninth decimal, down to the lines that it prints, and they have the
//! properties that their definitions promise.
//!
//! `golden/scores.json` has its figures; `golden/scores.py` wrote them. With `SCORES=FILE`, those of another file are
//! compared, such as random ones.

use std::panic::catch_unwind;

use gradus::data::{Tool, ToolCall};
use gradus::random::Random;
use gradus::score::{Bleu, ChrF, Distinct, ExactMatch, Repetition, ToolAccuracy, Verdict, tokenize_13a};
use serde::Deserialize;

const TOLERANCE: f64 = 1e-9;

/// Hypotheses with their references.
type Corpus = Vec<(String, Vec<String>)>;

#[derive(Deserialize)]
struct Golden {
    sacrebleu: String,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    corpus: Corpus,
    /// The tokens of each hypothesis.
    tokens: Vec<Vec<String>>,
    bleu: f64,
    precisions: [f64; 4],
    brevity_penalty: f64,
    bleu_line: String,
    chrf: f64,
    chrf_line: String,
    exact_match: f64,
}

fn scores<R: AsRef<str>>(corpus: &[(String, Vec<R>)]) -> (Bleu, ChrF, ExactMatch) {
    let (mut bleu, mut chrf, mut exact) = (Bleu::new(), ChrF::new(), ExactMatch::new());
    for (hypothesis, references) in corpus {
        bleu.add(hypothesis, references);
        chrf.add(hypothesis, references);
        exact.add(hypothesis, references);
    }
    (bleu, chrf, exact)
}

fn figures<R: AsRef<str>>(corpus: &[(String, Vec<R>)]) -> [f64; 3] {
    let (bleu, chrf, exact) = scores(corpus);
    [bleu.score(), chrf.score(), exact.score()]
}

fn assert_close(what: &str, actual: f64, expected: f64) {
    assert!((actual - expected).abs() <= TOLERANCE, "{what}: {actual} instead of {expected}");
}

#[test]
fn the_figures_are_those_of_sacrebleu() {
    let given =
        std::env::var_os("SCORES").map(|file| std::fs::read_to_string(file).expect("a file with scores"));
    let golden = given.as_deref().unwrap_or(include_str!("golden/scores.json"));
    let golden: Golden = serde_json::from_str(golden).expect("valid JSON");
    assert!(golden.cases.len() >= 20);
    for case in golden.cases {
        let name = case.name;
        for ((hypothesis, _), tokens) in case.corpus.iter().zip(case.tokens) {
            assert_eq!(tokenize_13a(hypothesis), tokens, "{name}: {hypothesis:?}");
        }
        let (bleu, chrf, exact) = scores(&case.corpus);
        let corpus = &case.corpus;
        assert_close(&format!("{name}: BLEU of {corpus:?}"), bleu.score(), case.bleu);
        for (actual, expected) in bleu.precisions().into_iter().zip(case.precisions) {
            assert_close(&format!("{name}: a precision"), actual, expected);
        }
        assert_close(&format!("{name}: brevity penalty"), bleu.brevity_penalty(), case.brevity_penalty);
        assert_close(&format!("{name}: chrF of {corpus:?}"), chrf.score(), case.chrf);
        assert_close(&format!("{name}: exact match"), exact.score(), case.exact_match);
        assert_eq!(bleu.to_string(), case.bleu_line, "{name}");
        assert_eq!(chrf.to_string(), case.chrf_line, "{name}");
        assert!(bleu.signature().ends_with(&format!("version:{}", golden.sacrebleu)), "{}", bleu.signature());
    }
}

/// A corpus of random sentences over a few words, in which much matches and lengths are often equal.
fn random_corpus(random: &mut Random) -> Corpus {
    const WORDS: [&str; 6] = ["the", "cat", "sat", "on", "l'été", "mat."];
    let sentence = |random: &mut Random| {
        let words: Vec<&str> = (0..random.below(8)).map(|_| WORDS[random.below(WORDS.len())]).collect();
        words.join(" ")
    };
    let segment = |random: &mut Random| {
        let references = (0..1 + random.below(3)).map(|_| sentence(random)).collect();
        (sentence(random), references)
    };
    (0..1 + random.below(5)).map(|_| segment(random)).collect()
}

#[test]
fn references_and_hypotheses_may_come_in_any_order() {
    let mut random = Random::new(7);
    for _ in 0..500 {
        let corpus = random_corpus(&mut random);
        let mut turned = corpus.clone();
        turned.reverse();
        let [bleu, chrf, exact] = figures(&turned);
        let expected = figures(&corpus);
        assert_eq!([bleu, chrf, exact], expected, "{corpus:?}");
        turned.iter_mut().for_each(|(_, references)| references.reverse());
        let [bleu, _, exact] = figures(&turned);
        assert_eq!([bleu, exact], [expected[0], expected[2]], "{corpus:?}");
    }
}

/// Only where two references are equally good does chrF depend on which comes first, as sacrebleu's does: the counts of the
/// first are added to the corpus.
#[test]
fn chrf_takes_the_best_reference_and_of_equals_the_first() {
    let chrf = |references: [&str; 2]| {
        let corpus = [("abcdef", vec![references[0], references[1]]), ("xyz", vec!["xyz"])];
        figures(&corpus.map(|(hypothesis, references)| (hypothesis.to_owned(), references)))[1]
    };
    assert_eq!(chrf(["abcdeg", "abxxxx"]), chrf(["abxxxx", "abcdeg"]));
    assert_eq!(chrf(["abcdeg", "abxxxx"]), chrf(["abcdeg", "abcdeg"]));
    assert!(
        chrf(["uuuuuuuu", "uu"]) < chrf(["uu", "uuuuuuuu"]),
        "nothing is shared with either, and one is longer"
    );
}

#[test]
fn what_equals_a_reference_is_perfect_and_nothing_is_more() {
    let mut random = Random::new(8);
    for _ in 0..500 {
        let mut corpus = random_corpus(&mut random);
        for score in figures(&corpus) {
            assert!((0.0..=100.0 + TOLERANCE).contains(&score), "{score} of {corpus:?}");
        }
        corpus.push(("Here are enough words for every order.".to_owned(), vec![String::new()]));
        for (hypothesis, references) in &mut corpus {
            let place = random.below(references.len());
            references[place] = hypothesis.clone();
            if hypothesis.is_empty() {
                references.truncate(1); // chrF sees no reference as better than another for it
                references[0].clear();
            }
        }
        for score in figures(&corpus) {
            assert_close(&format!("{corpus:?}"), score, 100.0);
        }
    }
}

#[test]
fn one_more_reference_never_lowers_precision_or_exact_match() {
    let mut random = Random::new(9);
    let mut better = 0;
    for _ in 0..500 {
        let corpus = random_corpus(&mut random);
        let mut richer = corpus.clone();
        for ((_, references), (_, more)) in richer.iter_mut().zip(random_corpus(&mut random)) {
            references.extend(more);
        }
        let ((before, _, exact_before), (after, _, exact_after)) = (scores(&corpus), scores(&richer));
        // Of whole words: in longer runs, a first real match may count for less than smoothing did.
        assert!(after.precisions()[0] >= before.precisions()[0], "{corpus:?}, {richer:?}");
        assert!(exact_after.score() >= exact_before.score(), "{corpus:?}, {richer:?}");
        better += usize::from(after.precisions()[0] > before.precisions()[0]);
    }
    assert!(better > 100, "only {better} of 500 became better");
}

#[test]
fn counts_are_of_the_corpus_and_not_means_of_sentences() {
    let segment = |hypothesis: &str, reference: &str| (hypothesis.to_owned(), vec![reference.to_owned()]);
    let good = segment("a b c d e f g h i j", "a b c d e f g h i j");
    let bad = segment("x y z", "p q r");
    let [good_bleu, ..] = figures(std::slice::from_ref(&good));
    let [bad_bleu, ..] = figures(std::slice::from_ref(&bad));
    assert_eq!((good_bleu.round(), bad_bleu), (100.0, 0.0));
    // 10/13 words, 9/11 pairs, 8/9 triples, 7/7 runs of four: not 50.
    let expected = 100.0 * (10.0 / 13.0 * 9.0 / 11.0 * 8.0 / 9.0_f64).powf(0.25);
    let corpus = [good, bad];
    assert_close("both", figures(&corpus)[0], expected);
    // Twice the same corpus is as good as once.
    let [bleu, chrf, exact] = figures(&[&corpus[..], &corpus[..]].concat());
    let once = figures(&corpus);
    assert_close("twice", bleu, once[0]);
    assert_close("twice", chrf, once[1]);
    assert_eq!(exact, once[2]);
}

#[test]
fn exact_match_forgives_outer_white_space_only() {
    let exact =
        |hypothesis: &str| figures(&[(hypothesis.to_owned(), vec!["J'ai faim.", " J'ai soif.\u{202f}"])])[2];
    assert_eq!(["J'ai soif.", "\u{a0}J'ai faim.\n"].map(exact), [100.0; 2]);
    assert_eq!(["j'ai soif.", "J’ai soif.", "J'ai  soif.", "J'ai soif", ""].map(exact), [0.0; 5]);
}

#[test]
fn a_corpus_without_hypotheses_has_no_points() {
    assert_eq!(figures::<String>(&[]), [0.0; 3]);
    assert_eq!(
        Bleu::new().to_string(),
        "BLEU|nrefs:0|case:mixed|eff:no|tok:13a|smooth:exp|version:2.6.0 = 0.00 0.0/0.0/0.0/0.0 \
         (BP = 1.000 ratio = 0.000 hyp_len = 0 ref_len = 0)"
    );
}

#[test]
fn a_hypothesis_without_a_reference_is_a_mistake() {
    type Add = fn();
    let add: [Add; 3] = [
        || Bleu::new().add::<&str>("text", &[]),
        || ChrF::new().add::<&str>("text", &[]),
        || ExactMatch::new().add::<&str>("text", &[]),
    ];
    for add in add {
        let panic = catch_unwind(add).expect_err("a mistake");
        let text = panic.downcast_ref::<&str>().expect("a message");
        assert!(text.contains("without a reference"), "{text}");
    }
}

/// By hand: the words of the first two replies are a, b, c and the full stop, and their pairs "a b", "b a", "b ." and "c a".
#[test]
fn distinct_counts_different_runs_over_all_replies() {
    for (n, different) in [(1, 4), (2, 4), (5, 1), (6, 0)] {
        let mut distinct = Distinct::new(n);
        distinct.add("a b a b.");
        distinct.add("c a b.");
        distinct.add("");
        assert_eq!((distinct.different(), distinct.words()), (different, 9), "{n}");
        assert_eq!(distinct.score(), 100.0 * different as f64 / 9.0);
    }
    // As one text there would be the pair of the last and the first word as well.
    let mut pairs = Distinct::new(2);
    pairs.add("a b");
    pairs.add("a c");
    assert_eq!((pairs.different(), pairs.words(), pairs.score()), (2, 4, 50.0));
    assert_eq!(Distinct::new(1).score(), 0.0);
    // What has been said before adds nothing but words.
    let before = pairs.clone();
    pairs.add("a c");
    assert!(pairs.different() == before.different() && pairs.score() < before.score());
}

#[test]
fn repetition_counts_runs_that_stood_in_the_same_reply() {
    let repetition = |n, replies: &[&str]| {
        let mut repetition = Repetition::new(n);
        replies.iter().for_each(|reply| repetition.add(reply));
        (repetition.repeated(), repetition.runs(), repetition.score())
    };
    assert_eq!(repetition(4, &["a b c d a b c d"]), (1, 5, 20.0));
    assert_eq!(repetition(4, &["a b c d", "a b c d"]), (0, 2, 0.0), "another reply may say the same");
    assert_eq!(repetition(1, &["a a a a"]), (3, 4, 75.0));
    assert_eq!(repetition(4, &["a a a", ""]), (0, 0, 0.0), "too short for a run");
    // By counts, not by the mean of the two shares, which would be 25.
    assert_eq!(repetition(2, &["a a a", "b c d e f g h"]), (1, 8, 12.5));
    assert_eq!(repetition(2, &["The the"]), repetition(2, &["a b"]), "case counts");
}

#[test]
fn a_run_of_no_words_is_a_mistake() {
    assert!(catch_unwind(|| Distinct::new(0)).is_err() && catch_unwind(|| Repetition::new(0)).is_err());
}

/// A tool with one number, and one that takes nothing.
fn offered() -> [Tool; 2] {
    let tool = |name: &str, parameters: &str| Tool {
        name: name.to_owned(),
        description: String::new(),
        parameters: parameters.parse().expect("a schema"),
    };
    let sides = r#"{"type": "object", "properties": {"sides": {"type": "integer", "minimum": 2}}, "required": ["sides"]}"#;
    [tool("roll", sides), tool("stop", r#"{"type": "object", "additionalProperties": false}"#)]
}

#[test]
fn each_part_of_a_call_is_judged_by_itself() {
    let roll =
        ToolCall { id: None, name: "roll".to_owned(), arguments: r#"{"sides": 6}"#.parse().expect("JSON") };
    let mut accuracy = ToolAccuracy::default();
    let mut judged = |said: Option<&str>| {
        let verdict = accuracy.add(&offered(), Some(&roll), said);
        let Verdict { called, valid, fits, right_tool, right_arguments, .. } = verdict;
        assert_eq!(verdict.is_right(), right_arguments);
        [called, valid, fits, right_tool, right_arguments]
            .map(|part| if part { 'x' } else { '-' })
            .iter()
            .collect::<String>()
    };
    assert_eq!(judged(Some(r#" {"arguments": {"sides": 6.0}, "name": "roll"} "#)), "xxxxx");
    assert_eq!(judged(Some(r#"{"name": "roll", "arguments": {"sides": 8}}"#)), "xxxx-");
    assert_eq!(judged(Some(r#"{"name": "roll", "arguments": {"sides": 1}}"#)), "xx-x-");
    assert_eq!(judged(Some(r#"{"name": "stop", "arguments": {}}"#)), "xxx--");
    assert_eq!(judged(Some(r#"{"name": "walk", "arguments": {}}"#)), "xx---");
    for broken in [r#"{"name": "roll", "arguments": {"sides": 6}"#, r#"{"name": "roll"}"#, "[]", ""] {
        assert_eq!(judged(Some(broken)), "x----", "{broken}");
    }
    assert_eq!(judged(Some(r#"{"name": "roll", "arguments": "6"}"#)), "x----");
    assert_eq!(judged(None), "-----");
    let counts = ToolAccuracy {
        needed: 11,
        called: 10,
        valid: 5,
        fitting: 3,
        right_tool: 3,
        right_arguments: 1,
        ..ToolAccuracy::default()
    };
    assert_eq!(accuracy, counts);
    // Where none is needed, any call is wrong.
    assert!(!accuracy.add(&offered(), None, Some(r#"{"name": "stop", "arguments": {}}"#)).is_right());
    assert!(accuracy.add(&offered(), None, None).is_right());
    assert_eq!(accuracy, ToolAccuracy { not_needed: 2, none_called: 1, ..counts });
}
