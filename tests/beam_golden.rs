//! Beam search finds what transformers finds: the same texts with the same scores, in the same order.
//!
//! `golden/beam.json` has searches by transformers; `golden/beam.py` wrote them. With `BEAMS=FILE`, those of another file are
//! compared, such as random ones.

use gradus::generate::{BeamSearch, Finish, LengthPenalty, Stopping};
use gradus::model::Model;
use gradus::scalar::ScalarEngine;
use serde::Deserialize;

#[path = "common/table.rs"]
mod table;

use table::Table;

const STOPPINGS: [Stopping; 3] = [Stopping::First, Stopping::Likely, Stopping::Certain];

#[derive(Deserialize)]
struct Golden {
    transformers: String,
    vocab: usize,
    context: usize,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    seed: u32,
    peak: f64,
    prompt: Vec<usize>,
    width: usize,
    length_penalty: f64,
    stopping: String,
    max_tokens: usize,
    end: Vec<usize>,
    forced_end: Option<usize>,
    no_repeat_ngram: Option<usize>,
    suppress: Vec<usize>,
    found: Vec<Found>,
}

#[derive(Deserialize)]
struct Found {
    tokens: Vec<usize>,
    score: f64,
}

/// The table of `beam.py`.
fn golden_table(seed: u32, peak: f64, len: usize) -> Vec<f64> {
    let mut state = seed;
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        peak * f64::from(state) / 2f64.powi(32)
    };
    (0..len).map(next).collect()
}

#[test]
fn what_is_found_is_what_transformers_finds() {
    let given = std::env::var("BEAMS").map(|path| std::fs::read_to_string(path).expect("a file of searches"));
    let text = given.unwrap_or_else(|_| include_str!("golden/beam.json").to_owned());
    let golden: Golden = serde_json::from_str(&text).expect("golden searches");
    let model = Table::new(golden.vocab, golden.context);
    let mut ended_early = 0;
    for (at, case) in golden.cases.iter().enumerate() {
        let params = golden_table(case.seed, case.peak, model.layout().len());
        let search = BeamSearch {
            width: case.width,
            length_penalty: LengthPenalty::Power(case.length_penalty),
            stopping: *STOPPINGS
                .iter()
                .find(|stopping| format!("{stopping:?}") == case.stopping)
                .expect("a way to stop"),
            max_tokens: Some(case.max_tokens),
            hypotheses: case.width,
            end: case.end.clone(),
            forced_end: case.forced_end,
            no_repeat_ngram: case.no_repeat_ngram,
            suppress: case.suppress.clone(),
        };
        let ours = search.run_one(&mut ScalarEngine::new(), &model, &params, &case.prompt);
        let what = format!("{search:?}, case {at} of transformers {}", golden.transformers);
        let theirs: Vec<&Found> = case.found.iter().collect();
        assert_eq!(ours.len(), theirs.len(), "{what}: {ours:?}");
        for (ours, theirs) in ours.iter().zip(theirs) {
            // Theirs come with their end token.
            let ends = |token| case.end.contains(token) || case.forced_end == Some(*token);
            let shown = theirs.tokens.iter().position(ends).unwrap_or(theirs.tokens.len());
            assert_eq!(ours.tokens, theirs.tokens[..shown], "{what}");
            let close = (ours.score - theirs.score).abs() <= 1e-5 * (1.0 + theirs.score.abs());
            assert!(close, "{what}: {} instead of {}", ours.score, theirs.score);
            assert!(ours.finish == Finish::Length || shown < theirs.tokens.len(), "{what}");
            ended_early += usize::from(ours.finish == Finish::Stop);
        }
    }
    assert!(ended_early > golden.cases.len() / 2, "{ended_early}");
}
