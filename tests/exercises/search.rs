//! Chapter 14, looking for a translation and judging it: its worked examples and the answers to its exercises.

use gradus::Tensor;
use gradus::data::{Batch, Sequences};
use gradus::engine::{Room, Session};
use gradus::generate::{BeamSearch, Hypothesis, LengthPenalty, strategy};
use gradus::model::{Cache, Mode, Model};
use gradus::params::{BoundParams, Init, Layout, Param, ParamSpec};
use gradus::scalar::ScalarEngine;
use gradus::score::{Bleu, ChrF, ExactMatch, tokenize_13a};
use gradus::tokenizer::{CharTokenizer, Tokenizer};

use crate::says;
use crate::translation::{bpe, modern, phrases, thousands};

const WORDS: [&str; 4] = [".", "dogs", "cats", "sleep"];

/// How probable each word is after another.
const TABLE: [[f64; 4]; 4] = [
    [0.05, 0.50, 0.40, 0.05],
    [0.25, 0.20, 0.25, 0.30],
    [0.05, 0.025, 0.025, 0.90],
    [0.90, 0.04, 0.03, 0.03],
];

/// Predicts a word from the one before it, by a table.
struct Bigram {
    layout: Layout,
    table: Param,
}

impl Bigram {
    fn new() -> Self {
        let mut layout = Layout::default();
        let table = layout.add(ParamSpec::embedding("table", 4, 4, Init::Constant(0.0)));
        Bigram { layout, table }
    }

    fn search(&self, search: BeamSearch) -> Vec<Hypothesis> {
        let params = TABLE.concat().into_iter().map(f64::ln).collect::<Vec<_>>();
        search.run_one(&mut ScalarEngine::new(), self, &params, &[0])
    }
}

impl Model for Bigram {
    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn losses<T: Tensor>(&self, w: BoundParams<'_, T>, batch: &Batch, mode: Mode) -> T {
        w[self.table].gather_rows(batch.sequences().tokens).cross_entropy(batch.targets(), mode.smoothing)
    }

    fn decode<T: Tensor>(&self, w: BoundParams<'_, T>, new: Sequences<'_>, _: &mut Cache<'_, T>) -> T {
        let last: Vec<usize> = new.rows.iter().map(|rows| new.tokens[rows.end - 1]).collect();
        w[self.table].gather_rows(&last)
    }

    fn vocab_size(&self) -> usize {
        4
    }

    fn context(&self) -> usize {
        10
    }
}

/// A beam search for texts that the full stop ends.
fn beams(width: usize) -> BeamSearch {
    BeamSearch { width, hypotheses: width, end: vec![0], ..BeamSearch::default() }
}

fn text(hypothesis: &Hypothesis) -> String {
    hypothesis.tokens.iter().map(|&word| WORDS[word]).collect::<Vec<_>>().join(" ") + "."
}

#[test]
fn chapter_14_four_words() {
    for (row, word) in TABLE.iter().zip(WORDS) {
        assert!((row.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        let most = row.iter().copied().fold(0.0, f64::max);
        let digits = |p: f64| if (p * 100.0).fract() < 1e-9 { format!("{p:.2}") } else { format!("{p}") };
        let cell = |p: &f64| if *p == most { format!("**{}**", digits(*p)) } else { digits(*p) };
        let cells: Vec<String> = row.iter().map(cell).collect();
        let word = if word == "." { "`.`" } else { word };
        says(14, &format!("| {word} | {} |", cells.join(" | ")));
    }
    let (mut last, mut p, mut greedy) = (0, 1.0, Vec::new());
    while greedy.is_empty() || last != 0 {
        let logits = TABLE[last].map(f64::ln);
        let next = strategy::greedy(&logits);
        p *= TABLE[last][next];
        greedy.push(WORDS[next]);
        last = next;
    }
    assert_eq!(greedy, ["dogs", "sleep", "."]);
    says(14, &format!("0.50 · 0.30 · 0.90 = {p:.3}"));
    let found = Bigram::new().search(beams(2));
    assert_eq!([&found[0], &found[1]].map(text), ["cats sleep.", "dogs sleep."]);
    says(14, &format!("0.40 · 0.90 · 0.90 = {:.3}", found[0].log_probability.exp()));
    assert_eq!(Bigram::new().search(beams(1))[0].tokens, [1, 3]);
    says(
        14,
        &format!("ln 0.324 = {:.3}, and divided by 3 it is {:.3}", found[0].log_probability, found[0].score),
    );
}

#[test]
fn chapter_14_length_penalties() {
    let (short, long) = ((-2.0, 4), (-3.2, 8));
    for (name, penalty) in [
        ("none", LengthPenalty::Power(0.0)),
        ("`len^alpha`", LengthPenalty::Power(1.0)),
        ("`((5 + len) / 6)^alpha`", LengthPenalty::Gnmt(1.0)),
    ] {
        let score = |(p, len)| format!("{:.3}", penalty.score(p, len));
        says(14, &format!("| {name} | {} | {} |", score(short), score(long)));
    }
    let alpha = LengthPenalty::Gnmt(2.0);
    says(
        14,
        &format!(
            "With an `alpha` of 2 the last line would be {:.3} and {:.3}",
            alpha.score(-2.0, 4),
            alpha.score(-3.2, 8)
        ),
    );
}

#[test]
fn chapter_14_a_copied_sequence() {
    let decoder = modern().decoder;
    let row = 2 * decoder.n_layer * decoder.n_kv_head * decoder.head_dim();
    says(14, &format!("{} numbers, or {} bytes, for each token", thousands(row), thousands(4 * row)));
    // A session of the model itself: beams that continue another go on as it would have.
    let model = Bigram::new();
    let params = TABLE.concat().into_iter().map(f64::ln).collect::<Vec<_>>();
    let mut engine = ScalarEngine::new();
    let room = Room { sequences: 3, tokens: 4, source_tokens: 0 };
    let mut session = Session::new(&mut engine, &model, &params, room);
    session.feed_all(&[(0, &[0, 1]), (1, &[0])]);
    session.reorder(&[1, 0, 0]);
    assert_eq!([0, 1, 2].map(|at| session.len(at)), [1, 2, 2]);
}

/// The two outputs that are scored by hand, each with two references.
const CORPUS: [(&str, [&str; 2]); 2] = [
    ("The dog sleeps on the sofa.", ["The dog is sleeping on the sofa.", "The dog sleeps on the couch."]),
    ("I eat eat soup.", ["I am eating the soup.", "I eat some hot soup."]),
];

fn bleu<'a>(corpus: impl IntoIterator<Item = &'a (&'a str, [&'a str; 2])>) -> Bleu {
    let mut bleu = Bleu::new();
    corpus.into_iter().for_each(|(hypothesis, references)| bleu.add(hypothesis, references));
    bleu
}

#[test]
fn chapter_14_bleu_by_hand() {
    let grams = |text: &str, n: usize| -> Vec<Vec<String>> {
        tokenize_13a(text).windows(n).map(<[String]>::to_vec).collect()
    };
    let count = |all: &[Vec<String>], one: &Vec<String>| all.iter().filter(|other| *other == one).count();
    let (mut matches, mut totals) = ([[0; 2]; 4], [[0; 2]; 4]);
    for n in 1..=4 {
        for (at, (hypothesis, references)) in CORPUS.iter().enumerate() {
            let all = grams(hypothesis, n);
            let mut distinct = all.clone();
            distinct.sort();
            distinct.dedup();
            let most = |gram| references.iter().map(|text| count(&grams(text, n), gram)).max().unwrap_or(0);
            matches[n - 1][at] = distinct.iter().map(|gram| count(&all, gram).min(most(gram))).sum();
            totals[n - 1][at] = all.len();
        }
        let ([a, b], [c, d]) = (matches[n - 1], totals[n - 1]);
        let p = 100.0 * (a + b) as f64 / (c + d) as f64;
        says(14, &format!("| {n} | {a} of {c} | {b} of {d} | {} of {} = {p:.1} % |", a + b, c + d));
    }
    let score = bleu(&CORPUS);
    for (n, p) in score.precisions().iter().enumerate() {
        let sum = |x: [usize; 2]| (x[0] + x[1]) as f64;
        assert!((p - 100.0 * sum(matches[n]) / sum(totals[n])).abs() < 1e-9);
    }
    says(14, &format!("exp(1 - 13/12) = {:.3}", score.brevity_penalty()));
    says(14, &format!("comes to {:.2}", score.score()));
    let alone = [bleu(&CORPUS[..1]), bleu(&CORPUS[1..])];
    let mean = (alone[0].score() + alone[1].score()) / 2.0;
    says(14, &format!("{:.2} and {:.2}, and their mean is {mean:.2}", alone[0].score(), alone[1].score()));
    let p = alone[1].precisions();
    says(14, &format!("1/2 of 3 is {:.1} %, and 1/4 of 2 is {:.1} %", p[2], p[3]));
    says(14, &format!("`{}`", score.signature()));
}

#[test]
fn chapter_14_one_letter() {
    let (hypothesis, reference) = ("Je suis contente.", ["Je suis content."]);
    let (mut bleu, mut chrf, mut exact) = (Bleu::new(), ChrF::new(), ExactMatch::new());
    bleu.add(hypothesis, &reference);
    chrf.add(hypothesis, &reference);
    exact.add(hypothesis, &reference);
    says(
        14,
        &format!(
            "an exact match of {}, a BLEU of {:.1} and a chrF of {:.1}",
            exact.score(),
            bleu.score(),
            chrf.score()
        ),
    );
}

/// Bytes and tokens of the French sentences that are held out, EOS counted as a token.
#[test]
fn chapter_14_nats_a_token_and_nats_a_byte() {
    let pairs = phrases();
    let french: Vec<&str> = pairs.held_out().iter().map(|pair| &*pair.target).collect();
    let bytes: usize = french.iter().map(|text| text.len()).sum();
    let tokenizer = bpe(&pairs);
    let characters = CharTokenizer::of(french.iter().flat_map(|text| text.chars()));
    let tokens = |tokenizer: &dyn Tokenizer| -> usize {
        french.iter().map(|text| tokenizer.encode(text).expect("its own text").len() + 1).sum()
    };
    let (pieces, letters) = (tokens(&tokenizer), tokens(&characters));
    says(
        14,
        &format!(
            "have {} bytes, and take {} tokens of the BPE or {} characters",
            thousands(bytes),
            thousands(pieces),
            thousands(letters)
        ),
    );
    let each = |tokens: usize| 0.7 * bytes as f64 / tokens as f64;
    says(
        14,
        &format!(
            "0.7 nats a byte are {:.2} nats a token for the one and {:.2} for the other",
            each(pieces),
            each(letters)
        ),
    );
}

#[test]
fn exercise_14_1() {
    let [dogs, sleep] = [&[0, 1, 0][..], &[0, 1, 3, 0]].map(|words| {
        let log_probability: f64 = words.windows(2).map(|pair| TABLE[pair[0]][pair[1]].ln()).sum();
        (log_probability, LengthPenalty::Power(1.0).score(log_probability, words.len() - 1))
    });
    says(14, &format!("0.25 · 0.50 = {:.3} and {:.3}", dogs.0.exp(), sleep.0.exp()));
    says(14, &format!("{:.3} and {:.3}: the longer one", dogs.0, sleep.0));
    says(14, &format!("{:.3} and {:.3}, so now", dogs.1, sleep.1));
}

#[test]
fn exercise_14_2() {
    let mut bleu = Bleu::new();
    bleu.add("one two three four", &["one two three four five six seven eight"]);
    assert_eq!(bleu.precisions(), [100.0; 4]);
    says(14, &format!("exp(1 - 8/4) = {:.3}, so {:.1}", bleu.brevity_penalty(), bleu.score()));
}

#[test]
fn exercise_14_3() {
    let (a, b) = (2.4 * 1000.0 / 4000.0, 0.62 * 3900.0 / 4000.0);
    says(14, &format!("{a:.3} and {b:.4} nats a byte"));
}
