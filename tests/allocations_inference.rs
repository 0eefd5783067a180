//! A token that is read with stored weights allocates nothing, once the first has been read, on one thread and on several.

use gradus::engine::{Room, Session};
use gradus::fast::{InferenceEngine, StoredParams};
use gradus::gemm::Dtype;
use gradus::model::{Decoder, DecoderConfig, Model, Position};
use gradus::random::Random;

#[path = "common/allocator.rs"]
mod allocator;

use allocator::count_allocations;

/// As Llama has it, with room for contexts that are worth more than one thread.
fn llama() -> Decoder {
    let config = DecoderConfig {
        context: 600,
        n_layer: 2,
        n_embd: 64,
        n_head: 4,
        n_kv_head: 2,
        n_ffn: 96,
        position: Position::Rope { base: 10_000.0 },
        ..DecoderConfig::dialog(300)
    };
    Decoder::new(config).expect("a valid configuration")
}

#[test]
fn a_token_after_the_first() {
    let model = llama();
    let params: Vec<f32> = model.layout().initial(&mut Random::new(3));
    for dtype in [Dtype::F32, Dtype::Bf16, Dtype::Int8] {
        let stored = StoredParams::new(model.layout(), &params, dtype);
        for threads in [1, 2] {
            let mut engine = InferenceEngine::new(threads);
            let room = Room { sequences: 1, tokens: 600, source_tokens: 0 };
            let mut session = Session::new(&mut engine, &model, &stored, room);
            let (_, cold, _) = count_allocations(|| session.feed(0, &[1]).len());
            assert!(cold > 0, "the first token needs memory");
            let (_, warm, _) = count_allocations(|| {
                (0..599).map(|token| session.feed(0, &[token % 300])[0]).fold(0.0, f64::max)
            });
            assert_eq!(warm, 0, "allocations of 599 tokens, {dtype}, {threads} threads");
        }
    }
}

/// Several sequences side by side, as in a beam search.
#[test]
fn a_step_of_several_sequences() {
    let model = llama();
    let params: Vec<f32> = model.layout().initial(&mut Random::new(3));
    let stored = StoredParams::new(model.layout(), &params, Dtype::Int8);
    let mut engine = InferenceEngine::new(2);
    let room = Room { sequences: 4, tokens: 300, source_tokens: 0 };
    let mut session = Session::new(&mut engine, &model, &stored, room);
    let mut step = |token: usize| {
        session.feed_all(&[(0, &[token]), (1, &[token + 1]), (2, &[7]), (3, &[token])]);
        session.reorder(&[0, 0, 2, 1]);
    };
    step(0);
    step(1);
    let (_, warm, _) = count_allocations(|| (2..280).for_each(step));
    assert_eq!(warm, 0);
}
