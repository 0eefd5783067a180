//! Beam search finds what an exhaustive search finds where the beam is wide enough, and what greedy decoding finds where it is as
//! narrow as can be. It finds the same in whatever company.

use std::borrow::Borrow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::slice::from_ref;

use gradus::engine::{Room, Session};
use gradus::fast::{FastEngine, InferenceEngine, StoredParams};
use gradus::gemm::Dtype;
use gradus::generate::{
    BeamSearch, Finish, Hypothesis, LengthPenalty, Sampler, Sampling, Stop, Stopping, generate,
};
use gradus::model::{Decoder, DecoderConfig, Model, Position};
use gradus::random::Random;
use gradus::real::Real;
use gradus::scalar::ScalarEngine;
use gradus::thread_pool::ThreadPool;
use gradus::{Engine, Reader};

#[path = "common/allocator.rs"]
mod allocator;
#[path = "common/counted.rs"]
mod counted;
#[path = "common/table.rs"]
mod table;

use allocator::count_allocations;
use counted::Counted;
use table::Table;

const PENALTIES: [LengthPenalty; 4] = [
    LengthPenalty::Power(0.0),
    LengthPenalty::Power(1.0),
    LengthPenalty::Gnmt(0.6),
    LengthPenalty::Power(-0.5),
];

const STOPPINGS: [Stopping; 3] = [Stopping::First, Stopping::Likely, Stopping::Certain];

fn fast() -> FastEngine {
    FastEngine::new(ThreadPool::new(1))
}

/// Decoders with as few tokens as a beam is wide and with more of them, whose next tokens are far from equally likely.
fn decoders() -> Vec<Decoder> {
    let small = DecoderConfig { init_std: 0.4, context: 12, ..DecoderConfig::microgpt(9) };
    let rope = DecoderConfig {
        n_layer: 2,
        n_kv_head: 2,
        position: Position::rope(100.0),
        ..DecoderConfig { vocab_size: 5, ..small.clone() }
    };
    [small, rope].map(|config| Decoder::new(config).expect("a variant is right")).into()
}

fn params<R: Real>(model: &impl Model, seed: u64) -> Vec<R> {
    model.layout().initial(&mut Random::new(seed))
}

/// A search for all prompts, in one session.
fn run<E: Reader, M: Model>(
    search: &BeamSearch,
    engine: &mut E,
    (model, params): (&M, &E::Params),
    prompts: &[&[usize]],
) -> Vec<Vec<Hypothesis>> {
    let room = Room { sequences: prompts.len() * search.width, tokens: model.context(), source_tokens: 0 };
    search.run(&mut Session::new(engine, model, params, room), prompts)
}

fn assert_same_bits(a: &[Hypothesis], b: &[Hypothesis], what: &str) {
    let bits = |hypotheses: &[Hypothesis]| -> Vec<_> {
        let of =
            |h: &Hypothesis| (h.tokens.clone(), h.log_probability.to_bits(), h.score.to_bits(), h.finish);
        hypotheses.iter().map(of).collect()
    };
    assert_eq!(bits(a), bits(b), "{what}");
}

fn assert_close(a: &[Hypothesis], b: &[Hypothesis], bound: f64, what: &str) {
    assert_eq!(a.len(), b.len(), "{what}");
    for (a, b) in a.iter().zip(b) {
        assert_eq!((&a.tokens, a.finish), (&b.tokens, b.finish), "{what}");
        let far = (a.log_probability - b.log_probability).abs().max((a.score - b.score).abs());
        assert!(far <= bound, "{what}: {far}");
    }
}

/// All texts there are, with their scores, best first.
fn exhaustive<E: Engine, M: Model>(
    search: &BeamSearch,
    engine: &mut E,
    (model, params): (&M, &[E::Real]),
    prompt: &[usize],
) -> Vec<Hypothesis> {
    let most = search.max_tokens.expect("a maximum");
    let mut found = Vec::new();
    let mut beginnings = vec![(prompt.to_vec(), 0.0)];
    for len in 1..=most {
        for (tokens, log_probability) in std::mem::take(&mut beginnings) {
            let logits = Session::single(engine, model, params).feed(0, &tokens).to_vec();
            let total: f64 = logits.iter().map(|x| x.exp()).sum();
            for (token, logit) in logits.iter().enumerate() {
                let log_probability = log_probability + (logit.exp() / total).ln();
                let more = [&tokens[..], &[token]].concat();
                let ends = search.end.contains(&token);
                if ends || len == most {
                    found.push(Hypothesis {
                        tokens: more[prompt.len()..more.len() - usize::from(ends)].to_vec(),
                        log_probability,
                        score: search.length_penalty.score(log_probability, len),
                        finish: if ends { Finish::Stop } else { Finish::Length },
                    });
                } else {
                    beginnings.push((more, log_probability));
                }
            }
        }
    }
    found.sort_by(|a, b| b.score.total_cmp(&a.score));
    found
}

fn wide_beams<E: Engine>(engine: &mut E, bound: f64) {
    let table = Table::new(3, 6);
    let table_params = params(&table, 8);
    let decoder = Decoder::new(DecoderConfig { init_std: 0.4, ..DecoderConfig::microgpt(3) }).expect("right");
    let decoder_params = params(&decoder, 8);
    for length_penalty in PENALTIES {
        for stopping in STOPPINGS {
            let wide = BeamSearch {
                width: 81,
                length_penalty,
                stopping,
                max_tokens: Some(4),
                hypotheses: 81,
                end: vec![1],
                ..BeamSearch::default()
            };
            let what = format!("{length_penalty:?}, {stopping:?}");
            let all = exhaustive(&wide, engine, (&table, &table_params), &[0, 2]);
            assert_eq!(all.len(), 31);
            let found = wide.run_one(engine, &table, &table_params, &[0, 2]);
            assert_close(&found, &all, bound, &what);
            let all = exhaustive(&wide, engine, (&decoder, &decoder_params), &[0, 2]);
            let found = wide.run_one(engine, &decoder, &decoder_params, &[0, 2]);
            assert_close(&found, &all, bound, &what);
            // A narrower one finds some of these, though perhaps not the best.
            let narrow = BeamSearch { width: 2, hypotheses: 2, ..wide };
            for found in narrow.run_one(engine, &decoder, &decoder_params, &[0, 2]) {
                let same = all.iter().find(|all| (&all.tokens, all.finish) == (&found.tokens, found.finish));
                assert_close(from_ref(&found), from_ref(same.expect("one of all")), bound, &what);
            }
        }
    }
}

#[test]
fn a_beam_that_is_wide_enough_finds_everything() {
    wide_beams(&mut ScalarEngine::new(), 1e-12);
    wide_beams(&mut fast(), 1e-4);
}

fn narrow_beams<E: Engine>(engine: &mut E) {
    let mut ended = 0;
    for model in decoders() {
        for seed in 0..12 {
            let params = params(&model, seed);
            let prompt = [1 + seed as usize % 4, 2];
            let mut greedy = Sampler::new(Sampling { temperature: 0.0, ..Sampling::default() });
            let stop = Stop { tokens: vec![0], ..Stop::after(8) };
            let expected =
                generate(engine, &model, &params, &prompt, &stop, &mut greedy, &mut Random::new(1));
            for (length_penalty, stopping) in PENALTIES.into_iter().zip(STOPPINGS) {
                let search = BeamSearch {
                    width: 1,
                    length_penalty,
                    stopping,
                    max_tokens: Some(8),
                    end: vec![0],
                    ..BeamSearch::default()
                };
                if stopping == Stopping::Certain {
                    continue; // it goes on after the first end, in search of something better
                }
                let found = search.run_one(engine, &model, &params, &prompt);
                assert_eq!((found.len(), &found[0].tokens), (1, &expected), "{seed}");
                let finish = if expected.len() < 8 { Finish::Stop } else { Finish::Length };
                assert_eq!(found[0].finish, finish);
                ended += usize::from(finish == Finish::Stop);
            }
        }
    }
    assert!(ended > 8, "{ended}");
}

#[test]
fn a_beam_of_one_is_greedy() {
    narrow_beams(&mut ScalarEngine::new());
    narrow_beams(&mut fast());
}

const PROMPTS: [&[usize]; 6] = [&[1], &[2, 3, 1], &[4, 4], &[3], &[0, 1, 2, 3, 4, 1, 2], &[2, 1, 3, 4]];

/// The same prompts alone and in company, in several orders. `alone` compares what is found alone with what is found in company.
fn company<E: Reader, P: Borrow<E::Params>>(
    engine: &mut E,
    params: impl Fn(&Decoder, u64) -> P,
    alone: impl Fn(&[Hypothesis], &[Hypothesis], &str),
) {
    for model in decoders() {
        for seed in [3, 4] {
            let params = params(&model, seed);
            let params = params.borrow();
            let parts = (&model, params);
            for width in [2, 3, 5] {
                let search = BeamSearch {
                    width,
                    max_tokens: Some(7),
                    hypotheses: width,
                    end: vec![0],
                    ..BeamSearch::default()
                };
                let what = format!("{width} beams, seed {seed}");
                let together = run(&search, engine, parts, &PROMPTS);
                for (prompt, together) in PROMPTS.iter().zip(&together) {
                    alone(&search.run_one(engine, &model, params, prompt), together, &what);
                }
                for order in [&[5, 4, 3, 2, 1, 0][..], &[0, 3], &[2, 0, 2], &[1, 4, 5, 3]] {
                    let prompts: Vec<&[usize]> = order.iter().map(|&at| PROMPTS[at]).collect();
                    for (found, &at) in run(&search, engine, parts, &prompts).iter().zip(order) {
                        assert_same_bits(found, &together[at], &what);
                    }
                }
            }
        }
    }
}

#[test]
fn what_is_found_does_not_depend_on_the_company() {
    company(&mut ScalarEngine::new(), params::<f64>, assert_same_bits);
    // A single row is multiplied in another way than two, and rounded in another order (`gemm`). So what is found alone may
    // differ in the last bits; in company there is more than one row in every step.
    company(&mut fast(), params::<f32>, |alone, together, what| assert_close(alone, together, 1e-4, what));
}

/// Where weights are stored for generation, every row is computed by itself, also a single one.
#[test]
fn stored_weights_find_the_same_bits_alone_and_in_company() {
    for dtype in [Dtype::F32, Dtype::Bf16, Dtype::Int8] {
        for threads in [1, 2] {
            let stored =
                |model: &Decoder, seed| StoredParams::new(model.layout(), &params(model, seed), dtype);
            company(&mut InferenceEngine::new(threads), stored, assert_same_bits);
        }
    }
}

/// A search that has ended costs nothing while others go on: what is read together is what is read for each of them.
#[test]
fn what_has_ended_is_read_no_more() {
    let model = &decoders()[0];
    let params = params(model, 4);
    let model = Counted::new(model);
    let mut engine = ScalarEngine::new();
    let search = BeamSearch { width: 2, max_tokens: Some(7), end: vec![0], ..BeamSearch::default() };
    let mut alone = |prompt: &&[usize]| {
        search.run_one(&mut engine, &model, &params, prompt);
        model.take()
    };
    let read: Vec<usize> = PROMPTS.iter().map(&mut alone).collect();
    let beyond: Vec<usize> = read.iter().zip(PROMPTS).map(|(read, prompt)| read - prompt.len()).collect();
    assert!(beyond.iter().any(|&beyond| beyond < 12) && beyond.contains(&12), "{beyond:?}");
    run(&search, &mut engine, (&model, &params), &PROMPTS);
    assert_eq!(model.take(), read.iter().sum::<usize>());
}

/// A token more costs no memory, but for the growth of the lists of tokens: at most once each from 20 tokens to 32.
#[test]
fn more_tokens_take_hardly_more_allocations() {
    let config = DecoderConfig { context: 64, ..DecoderConfig::microgpt(9) };
    let model = Decoder::new(config).expect("a variant is right");
    let params = params(&model, 1);
    let mut engine = fast();
    let mut allocations = |most| {
        let room = Room { sequences: 4, tokens: 64, source_tokens: 0 };
        let mut session = Session::new(&mut engine, &model, &params, room);
        let search = BeamSearch { max_tokens: Some(most), no_repeat_ngram: Some(4), ..BeamSearch::default() };
        count_allocations(|| search.run(&mut session, &[&[1]])).1
    };
    allocations(32); // the engine keeps its memory
    let [few, many] = [allocations(20), allocations(32)];
    assert!(many <= few + 8, "{few}, {many}");
}

/// Sequences that are of no prompt stay as they are, and a search continues what its sequences have read before.
#[test]
fn a_search_leaves_the_others_alone() {
    let model = &decoders()[0];
    let params = params(model, 3);
    let mut engine = ScalarEngine::new();
    let search = BeamSearch { width: 2, hypotheses: 2, max_tokens: Some(5), ..BeamSearch::default() };
    let expected = run(&search, &mut engine, (model, &params), &[&[1, 2, 3], &[4, 1]]);
    let next = Session::single(&mut engine, model, &params).feed(0, &[2, 2, 4]).to_vec();
    let room = Room { sequences: 6, tokens: 10, source_tokens: 0 };
    let mut session = Session::new(&mut engine, model, &params, room);
    session.feed_all(&[(0, &[1, 2]), (2, &[4]), (5, &[2, 2])]);
    let found = search.run(&mut session, &[&[3], &[1]]);
    found.iter().zip(&expected).for_each(|(a, b)| assert_same_bits(a, b, "continued"));
    assert_eq!((session.len(4), session.len(5)), (0, 2));
    assert_eq!(session.feed(5, &[4]), next);
}

fn check(found: &[Hypothesis], search: &BeamSearch, most: usize) {
    assert!(!found.is_empty() && found.len() <= search.hypotheses.min(search.width));
    assert!(found.is_sorted_by(|a, b| a.score >= b.score), "{found:?}");
    for (at, one) in found.iter().enumerate() {
        assert!(found[..at].iter().all(|other| other.tokens != one.tokens), "{found:?}");
        assert!(one.tokens.iter().all(|token| !search.end.contains(token)), "{one:?}");
        let len = one.tokens.len() + usize::from(one.finish == Finish::Stop);
        assert!(len <= most && (one.finish == Finish::Stop || len == most), "{one:?}");
        assert_eq!(one.score, search.length_penalty.score(one.log_probability, len));
        assert!(one.log_probability <= 0.0);
    }
}

/// Many searches of all kinds: hypotheses are what they promise to be, and their probabilities those that the model gives them.
fn all_kinds<E: Engine>(engine: &mut E, bound: f64) {
    let mut random = Random::new(1);
    let mut finishes = [0; 2];
    for model in decoders() {
        for seed in 0..40 {
            let params = params(&model, seed);
            let search = BeamSearch {
                width: 1 + random.below(14), // more than there are tokens, too
                length_penalty: PENALTIES[random.below(4)],
                stopping: STOPPINGS[random.below(3)],
                max_tokens: [Some(0), Some(1), Some(3), Some(9), Some(usize::MAX), None][random.below(6)],
                hypotheses: 1 + random.below(14),
                end: vec![0],
                ..BeamSearch::default()
            };
            let prompt: Vec<usize> = (0..1 + random.below(14)).map(|_| 1 + random.below(4)).collect();
            let room = (model.context() + 1).saturating_sub(prompt.len());
            let most = search.max_tokens.unwrap_or(room).min(room);
            let found = search.run_one(engine, &model, &params, &prompt);
            check(&found, &search, most);
            for one in &found {
                let end = (one.finish == Finish::Stop).then_some(0);
                let mut tokens = prompt.clone();
                let mut expected = 0.0;
                for token in one.tokens.iter().copied().chain(end) {
                    let logits = Session::single(engine, &model, &params).feed(0, &tokens).to_vec();
                    let total: f64 = logits.iter().map(|x| x.exp()).sum();
                    expected += logits[token] - total.ln();
                    tokens.push(token);
                }
                assert!((one.log_probability - expected).abs() <= bound, "{one:?}: {expected}");
                finishes[usize::from(one.finish == Finish::Stop)] += 1;
            }
        }
    }
    assert!(finishes.iter().all(|&count| count > 60), "{finishes:?}");
}

#[test]
fn hypotheses_are_what_they_promise_to_be() {
    all_kinds(&mut ScalarEngine::new(), 1e-12);
    all_kinds(&mut fast(), 1e-4);
}

#[test]
fn a_prompt_that_leaves_no_room_ends_at_once() {
    let model = &decoders()[0]; // its context is 12
    let params = params(model, 1);
    let search = BeamSearch { width: 2, hypotheses: 2, ..BeamSearch::default() };
    let prompt = [1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3, 4, 1, 2];
    let prompts = [&prompt[..], &prompt[..12], &prompt[..11], &prompt[..13]];
    let found = run(&search, &mut ScalarEngine::new(), (model, &params), &prompts);
    let lengths: Vec<Vec<usize>> =
        found.iter().map(|found| found.iter().map(|one| one.tokens.len()).collect()).collect();
    assert_eq!(lengths, [vec![0], vec![1, 1], vec![2, 2], vec![0]]);
    assert!(found.iter().flatten().all(|one| one.finish == Finish::Length));
    assert_eq!((found[0][0].log_probability, found[0][0].score), (0.0, 0.0));
}

/// What cannot follow never does, and where nothing can, texts end as they are.
#[test]
fn forbidden_tokens_and_ngrams_never_come() {
    let model = &decoders()[0]; // it has 9 tokens
    let params = params(model, 2);
    let search = BeamSearch {
        width: 30,
        hypotheses: 30,
        max_tokens: Some(10),
        end: vec![0],
        no_repeat_ngram: Some(1),
        suppress: vec![0, 2, 7, 1000],
        ..BeamSearch::default()
    };
    let found = search.run_one(&mut ScalarEngine::new(), model, &params, &[1, 5]);
    assert_eq!(found.len(), 24, "the orders of four tokens");
    for one in &found {
        let mut tokens = one.tokens.clone();
        tokens.sort_unstable();
        assert_eq!((tokens, one.finish), (vec![3, 4, 6, 8], Finish::Length));
        assert_eq!(one.score, one.log_probability / 4.0);
    }
}

#[test]
fn logits_that_are_not_finite_do_no_harm() {
    let model = Table::new(4, 6);
    let not_finite = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
    for seed in 0..200 {
        let mut random = Random::new(seed);
        let mut params = params::<f64>(&model, seed);
        for _ in 0..random.below(60) {
            let at = random.below(params.len());
            params[at] = not_finite[random.below(3)];
        }
        let search = BeamSearch {
            width: 1 + random.below(3),
            hypotheses: 3,
            stopping: STOPPINGS[random.below(3)],
            length_penalty: PENALTIES[random.below(4)],
            end: vec![random.below(4)],
            ..BeamSearch::default()
        };
        let found = search.run_one(&mut ScalarEngine::new(), &model, &params, &[1]);
        assert!(!found.is_empty());
        for one in found {
            assert!(one.log_probability.is_finite() && one.score.is_finite() && one.tokens.len() <= 6);
        }
    }
    let nothing = vec![f64::NAN; model.layout().len()];
    let found = BeamSearch::default().run_one(&mut ScalarEngine::new(), &model, &nothing, &[1]);
    assert_eq!(
        found,
        [Hypothesis { tokens: vec![], log_probability: 0.0, score: 0.0, finish: Finish::Length }]
    );
    let odd = BeamSearch { length_penalty: LengthPenalty::Power(f64::NAN), ..BeamSearch::default() };
    odd.run_one(&mut ScalarEngine::new(), &model, &params(&model, 1), &[1]);
}

/// A model whose tokens are all equally likely: the first beam and the smallest token go first.
#[test]
fn of_equals_the_first_comes_first() {
    let model = Table::new(3, 4);
    let params = vec![1.0; model.layout().len()];
    let search = BeamSearch { width: 4, hypotheses: 4, max_tokens: Some(2), ..BeamSearch::default() };
    let found = search.run_one(&mut ScalarEngine::new(), &model, &params, &[0]);
    let tokens: Vec<_> = found.iter().map(|one| &one.tokens[..]).collect();
    assert_eq!(tokens, [[0, 0], [0, 1], [0, 2], [1, 0]]);
    // Also where only one of them can go on: after the end, 0, that is 1, and a longer text is better.
    let single = BeamSearch {
        width: 1,
        length_penalty: LengthPenalty::Power(2.0),
        stopping: Stopping::Certain,
        max_tokens: Some(2),
        end: vec![0],
        ..BeamSearch::default()
    };
    let found = single.run_one(&mut ScalarEngine::new(), &model, &params, &[0]);
    assert_eq!((&found[0].tokens[..], found[0].finish), (&[1][..], Finish::Stop));
}

#[test]
fn mistakes_are_named() {
    let model = Table::new(3, 4);
    let params = params::<f64>(&model, 1);
    let message = |search: BeamSearch, prompts: &[&[usize]]| {
        let panic = catch_unwind(AssertUnwindSafe(|| {
            let mut engine = ScalarEngine::new();
            let mut session = Session::new(
                &mut engine,
                &model,
                &params,
                Room { sequences: 5, tokens: 4, source_tokens: 0 },
            );
            search.run(&mut session, prompts)
        }))
        .expect_err("a mistake");
        let text = panic.downcast_ref::<String>().cloned();
        text.or_else(|| Some((*panic.downcast_ref::<&str>()?).to_owned())).expect("a message")
    };
    let search = BeamSearch { width: 2, ..BeamSearch::default() };
    let text = message(search.clone(), &[&[1], &[1], &[1]]);
    assert!(text.contains("3 prompts with 2 beams each in a session of 5 sequences"), "{text}");
    assert!(message(search.clone(), &[&[1], &[]]).contains("an empty prompt"));
    assert!(message(BeamSearch { width: 0, ..search }, &[&[1]]).contains("a width of 0"));
}
