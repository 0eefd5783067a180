//! Many texts that a session continues at once are what each of them is alone, and cost no more.

use std::panic::{AssertUnwindSafe, catch_unwind};

use gradus::Engine;
use gradus::engine::{Room, Session};
use gradus::fast::FastEngine;
use gradus::generate::{Continuation, Finish, Sampler, Sampling, Stop, advance, generate, strategy};
use gradus::model::{Decoder, DecoderConfig, Model};
use gradus::random::Random;
use gradus::scalar::ScalarEngine;
use gradus::thread_pool::ThreadPool;

#[path = "common/allocator.rs"]
mod allocator;
#[path = "common/counted.rs"]
mod counted;

use allocator::count_allocations;
use counted::Counted;

const CONTEXT: usize = 12;

fn model<E: Engine>(_: &E) -> (Decoder, Vec<E::Real>) {
    let config = DecoderConfig { init_std: 0.3, context: CONTEXT, ..DecoderConfig::microgpt(9) };
    let model = Decoder::new(config).expect("a variant is right");
    let params = model.layout().initial(&mut Random::new(5));
    (model, params)
}

fn fast() -> FastEngine {
    FastEngine::new(ThreadPool::new(1))
}

/// Prompts of all lengths, up to some that the context does not hold, and ends of all kinds.
fn requests() -> Vec<(Vec<usize>, Stop)> {
    let prompt = |len: usize| (0..len).map(|at| (at * at + len) % 9).collect();
    let at = |token, most| Stop { tokens: vec![token], ..Stop::after(most) };
    vec![
        (prompt(1), Stop::after(5)),
        (prompt(3), at(2, 30)),
        (prompt(12), at(0, 20)),
        (prompt(2), Stop::default()),
        (prompt(20), Stop::after(17)),
        (prompt(7), Stop::after(0)),
        (prompt(14), Stop::default()),
        (prompt(4), Stop { tokens: vec![1, 4], ..Stop::default() }),
        (prompt(11), Stop::after(25)),
    ]
}

fn sampler(at: usize) -> (Sampler, Random) {
    let sampling = Sampling { temperature: [1.0, 0.0, 0.7][at % 3], ..Sampling::default() };
    (Sampler::new(sampling), Random::new(at as u64))
}

fn batches<E: Engine>(mut engine: E) {
    let (model, params) = model(&engine);
    let model = Counted::new(&model);
    let requests = requests();
    let mut alone = |at: usize| {
        let (prompt, stop) = &requests[at];
        let (mut sampler, mut random) = sampler(at);
        generate(&mut engine, &model, &params, prompt, stop, &mut sampler, &mut random)
    };
    let expected: Vec<Vec<usize>> = (0..requests.len()).map(&mut alone).collect();
    let read_alone = model.take();
    let lengths: Vec<usize> = expected.iter().map(Vec::len).collect();
    assert_eq!((lengths[0], lengths[5], lengths[3], lengths[4]), (5, 0, CONTEXT - 2 + 1, 17));
    for order in [[0, 1, 2, 3, 4, 5, 6, 7, 8], [8, 3, 5, 1, 7, 6, 0, 2, 4]] {
        let room = Room { sequences: requests.len(), tokens: CONTEXT, source_tokens: 0 };
        let mut session = Session::new(&mut engine, &model, &params, room);
        let new = |&at: &usize| Continuation::new(&requests[at].0, requests[at].1.clone());
        let mut texts: Vec<Continuation> = order.iter().map(new).collect();
        let mut samplers = order.map(sampler);
        while advance(&mut session, &mut texts, |at, logits, tokens| {
            let (sampler, random) = &mut samplers[at];
            sampler.sample(logits, tokens, random)
        }) {}
        for (&at, text) in order.iter().zip(&texts) {
            assert_eq!(text.tokens(), expected[at], "{at} in {order:?}");
            let most = requests[at].1.max_tokens;
            let complete = most.map_or(requests[at].1.tokens.is_empty(), |most| text.tokens().len() == most);
            assert_eq!(text.finish(), Some(if complete { Finish::Length } else { Finish::Stop }));
        }
        assert_eq!(model.take(), read_alone, "a text that has ended is read no more");
    }
}

#[test]
fn texts_know_nothing_of_each_other() {
    batches(ScalarEngine::new());
    batches(fast());
}

/// As in a server: a new text takes the place of one that has ended, while the others go on.
#[test]
fn a_text_that_has_ended_makes_room_for_another() {
    let mut engine = ScalarEngine::new();
    let (model, params) = model(&engine);
    let requests = requests();
    let mut greedy = |(prompt, stop): &(Vec<usize>, Stop)| {
        let mut sampler = Sampler::new(Sampling { temperature: 0.0, ..Sampling::default() });
        generate(&mut engine, &model, &params, prompt, stop, &mut sampler, &mut Random::new(1))
    };
    let expected: Vec<Vec<usize>> = requests.iter().map(&mut greedy).collect();
    let mut waiting = requests.iter().enumerate();
    let mut next =
        || waiting.next().map(|(at, (prompt, stop))| (at, Continuation::new(prompt, stop.clone())));
    let (mut numbers, mut texts): (Vec<usize>, Vec<Continuation>) = (0..3).filter_map(|_| next()).unzip();
    let mut done = Vec::new();
    let mut session =
        Session::new(&mut engine, &model, &params, Room { sequences: 3, tokens: CONTEXT, source_tokens: 0 });
    while advance(&mut session, &mut texts, |_, logits, _| strategy::greedy(logits)) {
        for (number, text) in numbers.iter_mut().zip(&mut texts) {
            if text.finish().is_some() && !done.contains(number) {
                assert_eq!(text.tokens(), expected[*number], "{number}");
                done.push(*number);
                if let Some(new) = next() {
                    (*number, *text) = new;
                }
            }
        }
    }
    done.sort_unstable();
    assert_eq!(done, (0..requests.len()).collect::<Vec<_>>());
}

#[test]
fn a_text_can_be_ended_from_outside() {
    let mut engine = ScalarEngine::new();
    let (model, params) = model(&engine);
    let mut texts = [Continuation::new(&[1], Stop::after(9)), Continuation::new(&[2], Stop::after(4))];
    let mut session =
        Session::new(&mut engine, &model, &params, Room { sequences: 2, tokens: CONTEXT, source_tokens: 0 });
    assert_eq!(texts[0].finish(), None);
    assert!(advance(&mut session, &mut texts, |_, logits, _| strategy::greedy(logits)));
    texts[0].end(Finish::Stop);
    while advance(&mut session, &mut texts, |_, logits, _| strategy::greedy(logits)) {}
    let ends = texts.map(|text| (text.tokens().len(), text.finish()));
    assert_eq!(ends, [(1, Some(Finish::Stop)), (4, Some(Finish::Length))]);
}

/// A prompt that leaves no room is not read whole, but the last half of the context, so that there is room again.
#[test]
fn where_the_context_is_full_its_last_half_is_read() {
    let mut engine = ScalarEngine::new();
    let (model, params) = model(&engine);
    let model = Counted::new(&model);
    for (len, first, later) in [(11, 11, [1, 6, 1]), (12, 6, [1, 1, 1]), (20, 6, [1, 1, 1])] {
        let mut text = [Continuation::new(&vec![1; len], Stop::after(9))];
        let mut session = Session::single(&mut engine, &model, &params);
        let read = [(); 4].map(|()| {
            advance(&mut session, &mut text, |_, logits, _| strategy::greedy(logits));
            model.take()
        });
        assert_eq!((read[0], &read[1..]), (first, &later[..]), "{len}");
    }
}

#[test]
fn mistakes_are_named() {
    let mut engine = ScalarEngine::new();
    let (model, params) = model(&engine);
    let mut session = Session::single(&mut engine, &model, &params);
    let mut texts = vec![Continuation::new(&[1], Stop::after(9)); 2];
    let panic = catch_unwind(AssertUnwindSafe(|| advance(&mut session, &mut texts, |_, _, _| 0)));
    let panic = panic.expect_err("a mistake");
    let text = panic.downcast_ref::<String>().expect("a message");
    assert!(text.contains("2 texts in a session of 1"), "{text}");
}

/// Once it is warm, a step of a batch allocates nothing.
#[test]
fn a_step_allocates_nothing() {
    let mut engine = fast();
    let config = DecoderConfig { context: 64, ..DecoderConfig::microgpt(9) };
    let model = Decoder::new(config).expect("a variant is right");
    let params: Vec<f32> = model.layout().initial(&mut Random::new(5));
    let mut session =
        Session::new(&mut engine, &model, &params, Room { sequences: 4, tokens: 64, source_tokens: 0 });
    let mut texts: Vec<Continuation> = (0..4).map(|at| Continuation::new(&[at], Stop::after(60))).collect();
    let mut step = || advance(&mut session, &mut texts, |_, logits, _| strategy::greedy(logits));
    (0..34).for_each(|_| assert!(step()));
    let (_, allocations, _) = count_allocations(|| (0..20).for_each(|_| assert!(step())));
    assert_eq!(allocations, 0);
}
