//! A decoding session reads, forgets and reads again as if it had read only what is left, on every engine.

use std::borrow::Borrow;
use std::panic::{AssertUnwindSafe, catch_unwind};

use gradus::Reader;
use gradus::engine::{Room, Session};
use gradus::fast::{FastEngine, InferenceEngine, StoredParams};
use gradus::gemm::Dtype;
use gradus::generate::{Sampler, Sampling, Stop, generate};
use gradus::model::{Decoder, DecoderConfig, Model, Position};
use gradus::params::Layout;
use gradus::random::Random;
use gradus::real::Real;
use gradus::scalar::ScalarEngine;
use gradus::thread_pool::ThreadPool;

#[path = "common/variants.rs"]
mod variants;

fn decoder(config: &DecoderConfig) -> Decoder {
    Decoder::new(DecoderConfig { init_std: 0.4, ..config.clone() }).expect("a variant is right")
}

fn params<R: Real>(layout: &Layout) -> Vec<R> {
    layout.initial(&mut Random::new(5))
}

const DTYPES: [Dtype; 3] = [Dtype::F32, Dtype::Bf16, Dtype::Int8];

fn stored(dtype: Dtype) -> impl Fn(&Layout) -> StoredParams {
    move |layout| StoredParams::new(layout, &params::<f32>(layout), dtype)
}

fn assert_close(ours: &[f64], expected: &[f64], what: &str) {
    assert_eq!(ours.len(), expected.len(), "{what}");
    for (a, b) in ours.iter().zip(expected) {
        assert!((a - b).abs() <= 1e-5 * (1.0 + b.abs()), "{what}: {a} instead of {b}");
    }
}

fn assert_same_bits(ours: &[f64], expected: &[f64], what: &str) {
    let bits = |logits: &[f64]| -> Vec<u64> { logits.iter().map(|x| x.to_bits()).collect() };
    assert_eq!(bits(ours), bits(expected), "{what}");
}

fn truncated_sessions<E: Reader, P: Borrow<E::Params>>(
    mut engine: E,
    params: impl Fn(&Layout) -> P,
    same: impl Fn(&[f64], &[f64], &str),
) {
    for (name, config) in variants::variants() {
        let model = decoder(&config);
        let params = params(model.layout());
        let params = params.borrow();
        let tokens = variants::batch(&config).sequences().tokens[..8].to_vec();
        let mut read =
            |tokens: &[usize]| Session::single(&mut engine, &model, params).feed(0, tokens).to_vec();
        let (whole, other) = (read(&tokens), read(&[&tokens[..3], &[0, 0]].concat()));
        assert!(whole != other, "{name}: other tokens, other logits");
        let mut session = Session::single(&mut engine, &model, params);
        assert_eq!(session.len(0), 0);
        same(session.feed(0, &tokens), &whole, name);
        assert_eq!(session.len(0), 8);
        session.truncate(0, 3);
        assert_eq!(session.len(0), 3);
        same(session.feed(0, &[0, 0]), &other, name);
        session.truncate(0, 3);
        same(session.feed(0, &tokens[3..]), &whole, name);
        session.truncate(0, 8); // all of it stays
        session.truncate(0, 0);
        assert_eq!(session.len(0), 0);
        same(session.feed(0, &tokens), &whole, name);
    }
}

#[test]
fn a_truncated_session_is_as_if_the_rest_had_not_been_read() {
    truncated_sessions(ScalarEngine::new(), params::<f64>, assert_close);
    truncated_sessions(FastEngine::new(ThreadPool::new(1)), params::<f32>, assert_close);
    for dtype in DTYPES {
        truncated_sessions(InferenceEngine::new(2), stored(dtype), assert_same_bits);
    }
}

/// Five sequences in a session come and go, are cut and continued by others at random. Each of them has the logits at all times
/// that it has alone.
fn many_sequences<E: Reader, P: Borrow<E::Params>>(
    mut engine: E,
    mut alone: E,
    params: impl Fn(&Layout) -> P,
    same: impl Fn(&[f64], &[f64], &str),
) {
    for (name, config) in variants::variants() {
        let model = decoder(&config);
        let params = params(model.layout());
        let params = params.borrow();
        let mut alone =
            |tokens: &[usize]| Session::single(&mut alone, &model, params).feed(0, tokens).to_vec();
        let room = Room { sequences: 5, tokens: config.context.min(10), source_tokens: 0 };
        let mut session = Session::new(&mut engine, &model, params, room);
        let mut random = Random::new(3);
        let mut below = |n: usize| (random.uniform() * n as f64) as usize;
        let mut texts = vec![Vec::new(); room.sequences];
        for _ in 0..12 {
            match below(4) {
                0 => {
                    let parents: Vec<usize> =
                        (0..1 + below(room.sequences)).map(|_| below(room.sequences)).collect();
                    session.reorder(&parents);
                    texts = parents.iter().map(|&parent| texts[parent].clone()).collect();
                    texts.resize(room.sequences, Vec::new());
                }
                1 => {
                    let at = below(room.sequences);
                    let len = below(texts[at].len() + 1);
                    session.truncate(at, len);
                    texts[at].truncate(len);
                }
                _ => {}
            }
            let mut fed = Vec::new();
            for at in [3, 0, 4, 1, 2] {
                let space = room.tokens - texts[at].len();
                if space > 0 && below(3) > 0 {
                    fed.push((
                        at,
                        (0..1 + below(space.min(3))).map(|_| below(config.vocab_size)).collect::<Vec<_>>(),
                    ));
                }
            }
            if fed.is_empty() {
                continue;
            }
            let new: Vec<(usize, &[usize])> = fed.iter().map(|(at, tokens)| (*at, &tokens[..])).collect();
            let logits = session.feed_all(&new).to_vec();
            assert_eq!(logits.len(), fed.len() * config.vocab_size);
            for ((at, tokens), logits) in fed.iter().zip(logits.chunks_exact(config.vocab_size)) {
                texts[*at].extend_from_slice(tokens);
                assert_eq!(session.len(*at), texts[*at].len());
                same(logits, &alone(&texts[*at]), name);
            }
        }
    }
}

#[test]
fn sequences_of_a_session_know_nothing_of_each_other() {
    many_sequences(ScalarEngine::new(), ScalarEngine::new(), params::<f64>, assert_close);
    let fast = || FastEngine::new(ThreadPool::new(1));
    many_sequences(fast(), fast(), params::<f32>, assert_close);
    // On any number of threads.
    for dtype in DTYPES {
        many_sequences(InferenceEngine::new(3), InferenceEngine::new(1), stored(dtype), assert_same_bits);
    }
}

/// Where attention goes through blocks of keys and the threads share it, too.
#[test]
fn long_texts_have_the_same_bits_however_they_are_cut() {
    let config = DecoderConfig {
        context: 600,
        n_embd: 64,
        n_head: 4,
        n_kv_head: 2,
        position: Position::rope(100.0),
        ..DecoderConfig::microgpt(50)
    };
    let model = decoder(&config);
    let tokens: Vec<usize> = (0..560).map(|at| at * at % 50).collect();
    for dtype in DTYPES {
        let params = stored(dtype)(model.layout());
        let read = |threads: usize, piece: usize| {
            let mut engine = InferenceEngine::new(threads);
            let mut session = Session::single(&mut engine, &model, &params);
            let last = tokens.chunks(piece).map(|piece| session.feed(0, piece).to_vec()).last();
            last.expect("a piece")
        };
        let whole = read(1, 560);
        for (threads, piece) in [(2, 560), (1, 1), (3, 1), (2, 17), (1, 100)] {
            assert_same_bits(
                &read(threads, piece),
                &whole,
                &format!("{dtype}, {threads} threads, {piece} at once"),
            );
        }
    }
}

/// What one session leaves in the engine's memory does not reach the next, of whatever size and model.
#[test]
fn sessions_one_after_another() {
    let mut engine = FastEngine::new(ThreadPool::new(1));
    for round in 0..2 {
        for (name, config) in variants::variants() {
            let model = decoder(&config);
            let params: Vec<f32> = params(model.layout());
            let tokens = variants::batch(&config).sequences().tokens[..6].to_vec();
            let fresh = Session::single(&mut FastEngine::new(ThreadPool::new(1)), &model, &params)
                .feed(0, &tokens)
                .to_vec();
            let room = Room { sequences: 2, tokens: 7, source_tokens: 0 };
            let mut session = Session::new(&mut engine, &model, &params, room);
            assert_close(session.feed(1, &tokens), &fresh, name);
            // Nor does the next one stumble over what it does not use, as after a model of more layers.
            let room = Room { sequences: 5 + round, tokens: 7, source_tokens: 0 };
            let mut session = Session::new(&mut engine, &model, &params, room);
            session.feed(0, &tokens[..5]);
            session.reorder(&vec![0; room.sequences]);
            assert_close(session.feed(4, &tokens[5..]), &fresh, name);
        }
    }
}

/// The message of a panic.
fn message(work: impl FnOnce()) -> String {
    let panic = catch_unwind(AssertUnwindSafe(work)).expect_err("a mistake");
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| Some((*panic.downcast_ref::<&str>()?).to_owned())).expect("a message")
}

fn mistakes<E: Reader, P: Borrow<E::Params>>(mut engine: E, params: impl Fn(&Layout) -> P) {
    let model = decoder(&DecoderConfig::microgpt(5));
    let params = params(model.layout());
    let params = params.borrow();
    type Mistake<'m, E> = &'m dyn Fn(&mut Session<'_, E, Decoder>);
    let mistakes: [(&str, Mistake<'_, E>); 6] = [
        ("feed: no tokens", &|session| _ = session.feed(0, &[])),
        ("named twice", &|session| _ = session.feed_all(&[(0, &[1]), (1, &[2]), (0, &[3])])),
        ("feed: 5 tokens, but there is room for 4", &|session| _ = session.feed(1, &[1; 5])),
        ("truncate: 1 tokens of a sequence of 0", &|session| session.truncate(0, 1)),
        ("reorder: 3 parents of 2", &|session| session.reorder(&[0, 0, 1])),
        ("index out of bounds", &|session| _ = session.feed(2, &[1])),
    ];
    for (words, mistake) in mistakes {
        let room = Room { sequences: 2, tokens: 4, source_tokens: 0 };
        let text = message(|| mistake(&mut Session::new(&mut engine, &model, params, room)));
        assert!(text.contains(words), "{text}");
    }
    for (words, sequences, tokens) in [("no room", 0, 4), ("no room", 1, 0), ("the context is 16", 1, 17)] {
        let room = Room { sequences, tokens, source_tokens: 0 };
        let text = message(|| _ = Session::new(&mut engine, &model, params, room));
        assert!(text.contains(words), "{text}");
    }
    let (mut sampler, mut random) = (Sampler::new(Sampling::default()), Random::new(1));
    let text = message(|| {
        generate(&mut engine, &model, params, &[], &Stop::after(3), &mut sampler, &mut random);
    });
    assert!(text.contains("an empty prompt"), "{text}");
}

#[test]
fn mistakes_are_named_on_every_engine() {
    mistakes(ScalarEngine::new(), params::<f64>);
    mistakes(FastEngine::new(ThreadPool::new(1)), params::<f32>);
    mistakes(InferenceEngine::new(2), stored(Dtype::Int8));
}
