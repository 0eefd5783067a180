//! Generation ends where it should: at a token, before a string, after a number of tokens, with the same text however its
//! tokens cut it. And drawing a token allocates nothing.

use std::panic::{AssertUnwindSafe, catch_unwind};

use gradus::fast::FastEngine;
use gradus::generate::{Finish, Generated, Sampler, Sampling, Stop, generate, generate_text};
use gradus::model::{Decoder, DecoderConfig, Model};
use gradus::random::Random;
use gradus::scalar::ScalarEngine;
use gradus::thread_pool::ThreadPool;
use gradus::tokenizer::{Tokenizer, TokenizerSpec, UnknownText};

#[path = "common/allocator.rs"]
mod allocator;

use allocator::count_allocations;

/// Tokens that have letters in common and cut one of them, `é`, in two.
struct Pieces;

const PIECES: [&[u8]; 8] = [b"a", b"b", b"ab", b"bab", b"\xc3", b"\xa9", b"a\xc3", b""];

impl Tokenizer for Pieces {
    fn vocab_size(&self) -> usize {
        PIECES.len()
    }
    fn encode(&self, _: &str) -> Result<Vec<usize>, UnknownText> {
        Ok(vec![0])
    }
    fn push_bytes(&self, token: usize, bytes: &mut Vec<u8>) {
        bytes.extend(PIECES[token]);
    }
    fn special(&self, _: &str) -> Option<usize> {
        None
    }
    fn special_tokens(&self) -> Vec<(String, usize)> {
        Vec::new()
    }
    fn spec(&self) -> TokenizerSpec {
        TokenizerSpec::Characters { characters: String::new() }
    }
}

const PROMPT: [usize; 3] = [0, 1, 2];

fn model() -> (Decoder, Vec<f64>) {
    let config = DecoderConfig { init_std: 0.2, ..DecoderConfig::microgpt(PIECES.len()) };
    let model = Decoder::new(config).expect("a preset is right");
    let params = model.layout().initial(&mut Random::new(5));
    (model, params)
}

/// The tokens that come, if only tokens and their number end it.
fn tokens(stop: &Stop, seed: u64) -> Vec<usize> {
    let (model, params) = model();
    let (mut sampler, mut random) = (Sampler::new(Sampling::default()), Random::new(seed));
    generate(&mut ScalarEngine::new(), &model, &params, &PROMPT, stop, &mut sampler, &mut random)
}

/// The text that comes. Checks that the pieces of it that were given out are that text.
fn text(stop: &Stop, seed: u64) -> Generated {
    let (model, params) = model();
    let (mut sampler, mut random) = (Sampler::new(Sampling::default()), Random::new(seed));
    let mut shown = Vec::new();
    let parts = (&mut ScalarEngine::new(), &model, &*params);
    let generated = generate_text(parts, &Pieces, &PROMPT, stop, &mut sampler, &mut random, |piece| {
        shown.push(piece.to_owned());
    });
    assert_eq!(shown.concat(), generated.text);
    assert!(shown.iter().all(|piece| !piece.is_empty()));
    generated
}

#[test]
fn without_stop_strings_the_text_is_that_of_the_tokens() {
    for seed in 0..20 {
        let stop = Stop::after(40); // the context is 16
        let expected = tokens(&stop, seed);
        let Generated { text, token_count, finish } = text(&stop, seed);
        assert_eq!((text, token_count), (Pieces.decode(&expected), 40));
        assert_eq!(finish, Finish::Length);
    }
    assert_eq!(
        text(&Stop::after(0), 1),
        Generated { text: String::new(), token_count: 0, finish: Finish::Length }
    );
}

#[test]
fn the_context_is_the_maximum_where_there_is_no_other() {
    assert_eq!(tokens(&Stop::default(), 1).len(), 16 - PROMPT.len() + 1);
    assert_eq!(text(&Stop::default(), 1).finish, Finish::Length);
    let never = Stop { tokens: vec![PIECES.len()], max_tokens: Some(50), ..Stop::default() };
    assert_eq!(tokens(&never, 1).len(), 50);
}

#[test]
fn the_first_of_several_stop_tokens_ends_it() {
    let mut early = 0;
    for seed in 0..40 {
        let all = tokens(&Stop::after(20), seed);
        let stop = Stop { tokens: vec![3, 7], ..Stop::after(20) };
        let place = all.iter().position(|token| [3, 7].contains(token));
        let expected = &all[..place.unwrap_or(all.len())];
        assert_eq!(tokens(&stop, seed), expected);
        let Generated { text, token_count, finish } = text(&stop, seed);
        assert_eq!((text, token_count), (Pieces.decode(expected), expected.len()));
        assert_eq!(finish, if place.is_some() { Finish::Stop } else { Finish::Length });
        early += usize::from(place.is_some_and(|place| place > 0));
    }
    assert!((10..40).contains(&early), "{early}");
}

/// Where a string ends that is complete first: its beginning and its end are bytes of the text.
fn first(text: &str, strings: &[String]) -> Option<(usize, usize)> {
    let found = strings.iter().filter_map(|string| text.find(string).map(|at| (at + string.len(), at)));
    found.min().map(|(end, start)| (start, end))
}

#[test]
fn a_stop_string_ends_the_text_wherever_tokens_begin_and_end() {
    let (mut stopped, mut within) = (0, 0);
    for seed in 0..60 {
        let all = tokens(&Stop::after(30), seed);
        let whole = Pieces.decode(&all);
        for strings in
            [vec!["bb"], vec!["éa", "bba"], vec!["é"], vec!["\u{fffd}b", "abab"], vec!["aab", "ba"]]
        {
            let strings: Vec<String> = strings.into_iter().map(str::to_owned).collect();
            let found = first(&whole, &strings);
            let generated = text(&Stop { strings, ..Stop::after(30) }, seed);
            let Some((start, end)) = found else {
                assert_eq!(
                    generated,
                    Generated { text: whole.clone(), token_count: 30, finish: Finish::Length }
                );
                continue;
            };
            assert_eq!((generated.text.as_str(), generated.finish), (&whole[..start], Finish::Stop));
            // As few tokens were drawn as could be.
            let drawn = |count: usize| Pieces.decode(&all[..count]);
            assert!(drawn(generated.token_count).len() >= end, "{} {end}", generated.token_count);
            stopped += 1;
            within += usize::from(drawn(generated.token_count).len() > end);
        }
    }
    assert!(stopped > 100 && within > 10, "{stopped} stopped, {within} within a token");
}

/// A character that is never finished becomes U+FFFD, and only at the end is that known.
#[test]
fn a_stop_string_may_come_with_the_end() {
    let stop = Stop { strings: vec!["\u{fffd}".to_owned()], ..Stop::after(2) };
    let mut last = 0;
    for seed in 0..60 {
        let whole = Pieces.decode(&tokens(&Stop::after(2), seed));
        let Generated { text, finish, .. } = text(&stop, seed);
        let expected = whole.split('\u{fffd}').next().expect("a beginning");
        assert_eq!(text, expected);
        assert_eq!(finish, if expected == whole { Finish::Length } else { Finish::Stop });
        last += usize::from(whole.len() == expected.len() + 3);
    }
    assert!(last > 5, "{last} of them only at the end");
}

#[test]
fn stop_strings_need_a_tokenizer() {
    let stop = Stop { strings: vec!["a".to_owned()], ..Stop::after(3) };
    let panic = catch_unwind(AssertUnwindSafe(|| tokens(&stop, 1))).expect_err("a mistake");
    assert!(panic.downcast_ref::<&str>().is_some_and(|text| text.contains("generate_text")));
}

/// Each strategy, and all together, on a vocabulary of a size at which sorting would ask for memory if it could.
#[test]
fn drawing_a_token_allocates_nothing() {
    let base = Sampling::default();
    let all = [
        base,
        Sampling { temperature: 0.0, ..base },
        Sampling { top_k: Some(40), ..base },
        Sampling { top_p: Some(0.9), ..base },
        Sampling { min_p: Some(0.1), ..base },
        Sampling { repetition_penalty: 1.2, no_repeat_ngram: Some(3), suppress: Some(7), ..base },
        Sampling { top_k: Some(400), top_p: Some(0.9), min_p: Some(0.01), no_repeat_ngram: Some(1), ..base },
    ];
    for sampling in all {
        let (mut sampler, mut random) = (Sampler::new(sampling), Random::new(1));
        let logits: Vec<f64> = (0..1000).map(|_| random.gauss(0.0, 2.0)).collect();
        let mut tokens = Vec::with_capacity(100);
        tokens.push(sampler.sample(&logits, &[], &mut random));
        let (_, allocations, _) = count_allocations(|| {
            for _ in 0..50 {
                let token = sampler.sample(&logits, &tokens, &mut random);
                tokens.push(token);
            }
        });
        assert_eq!(allocations, 0, "{sampling:?}");
        let mut distinct = tokens.clone();
        distinct.sort_unstable();
        distinct.dedup();
        if sampling.no_repeat_ngram == Some(1) {
            assert_eq!(distinct.len(), tokens.len());
        }
    }
}

/// The fast engine ends its texts in the same places: the loop is one for all engines.
#[test]
fn the_fast_engine_stops_too() {
    let (model, params) = model();
    let params: Vec<f32> = params.iter().map(|&x| x as f32).collect();
    let mut engine = FastEngine::new(ThreadPool::new(1));
    let stop = Stop { strings: vec!["ba".to_owned()], ..Stop::after(30) };
    for seed in 0..10 {
        let (mut sampler, mut random) = (Sampler::new(Sampling::default()), Random::new(seed));
        let parts = (&mut engine, &model, &*params);
        let fast = generate_text(parts, &Pieces, &PROMPT, &stop, &mut sampler, &mut random, |_| {});
        assert_eq!(fast, text(&stop, seed));
    }
}
