//! A decoding session reads, forgets and reads again as if it had read only what is left, on every engine.

use std::panic::{AssertUnwindSafe, catch_unwind};

use gradus::Engine;
use gradus::fast::FastEngine;
use gradus::generate::{Sampler, Sampling, Stop, generate};
use gradus::model::{Decoder, DecoderConfig, Model};
use gradus::random::Random;
use gradus::scalar::ScalarEngine;
use gradus::thread_pool::ThreadPool;

#[path = "common/variants.rs"]
mod variants;

fn model<E: Engine>(config: &DecoderConfig, _: &E) -> (Decoder, Vec<E::Real>) {
    let model = Decoder::new(DecoderConfig { init_std: 0.4, ..config.clone() }).expect("a variant is right");
    let params = model.layout().initial(&mut Random::new(5));
    (model, params)
}

fn assert_close(ours: &[f64], expected: &[f64], what: &str) {
    assert_eq!(ours.len(), expected.len(), "{what}");
    for (a, b) in ours.iter().zip(expected) {
        assert!((a - b).abs() <= 1e-5 * (1.0 + b.abs()), "{what}: {a} instead of {b}");
    }
}

fn truncated_sessions<E: Engine>(mut engine: E) {
    for (name, config) in variants::variants() {
        let (model, params) = model(&config, &engine);
        let tokens = variants::batch(&config).sequences().tokens[..8].to_vec();
        let mut read =
            |tokens: &[usize]| engine.decode(&model, &params, |session| session.feed(tokens).to_vec());
        let (whole, other) = (read(&tokens), read(&[&tokens[..3], &[0, 0]].concat()));
        assert!(whole != other, "{name}: other tokens, other logits");
        engine.decode(&model, &params, |session| {
            assert!(session.is_empty());
            assert_close(session.feed(&tokens), &whole, name);
            assert_eq!(session.len(), 8);
            session.truncate(3);
            assert_eq!(session.len(), 3);
            assert_close(session.feed(&[0, 0]), &other, name);
            session.truncate(3);
            assert_close(session.feed(&tokens[3..]), &whole, name);
            session.truncate(8); // all of it stays
            session.truncate(0);
            assert!(session.is_empty());
            assert_close(session.feed(&tokens), &whole, name);
        });
    }
}

#[test]
fn a_truncated_session_is_as_if_the_rest_had_not_been_read() {
    truncated_sessions(ScalarEngine::new());
    truncated_sessions(FastEngine::new(ThreadPool::new(1)));
}

/// The message of a panic.
fn message(work: impl FnOnce()) -> String {
    let panic = catch_unwind(AssertUnwindSafe(work)).expect_err("a mistake");
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| Some((*panic.downcast_ref::<&str>()?).to_owned())).expect("a message")
}

fn mistakes<E: Engine>(mut engine: E) {
    let (model, params) = model(&DecoderConfig::microgpt(5), &engine);
    let text = message(|| _ = engine.decode(&model, &params, |session| session.feed(&[]).len()));
    assert!(text.contains("feed: no tokens"), "{text}");
    let text = message(|| engine.decode(&model, &params, |session| session.truncate(1)));
    assert!(text.contains("truncate: 1 tokens of a cache of 0"), "{text}");
    let (mut sampler, mut random) = (Sampler::new(Sampling::default()), Random::new(1));
    let text = message(|| {
        generate(&mut engine, &model, &params, &[], &Stop::after(3), &mut sampler, &mut random);
    });
    assert!(text.contains("an empty prompt"), "{text}");
}

#[test]
fn mistakes_are_named_on_every_engine() {
    mistakes(ScalarEngine::new());
    mistakes(FastEngine::new(ThreadPool::new(1)));
}
