//! Gradient checkpointing: what stages compute is forgotten and computed again, and not a bit of losses and gradients changes.

use gradus::Engine;
use gradus::counter_rng::CounterRng;
use gradus::data::Batch;
use gradus::fast::{AttentionBlocks, FastEngine};
use gradus::model::{
    Decoder, DecoderConfig, EncoderDecoder, EncoderDecoderConfig, Mode, Model, SphereConfig,
};
use gradus::random::Random;
use gradus::thread_pool::ThreadPool;

#[path = "common/allocator.rs"]
mod allocator;
#[path = "common/encoder_decoder_variants.rs"]
mod encoder_decoder_variants;
#[path = "common/sphere_variants.rs"]
mod sphere_variants;
#[path = "common/variants.rs"]
mod variants;

use allocator::count_allocations;

fn engine(checkpointing: bool) -> FastEngine {
    let engine = FastEngine::new(ThreadPool::new(1));
    if checkpointing { engine.with_checkpointing() } else { engine }
}

/// Loss, the losses of all tokens, gradient, and the losses without a gradient.
type Learned = (f64, Vec<f64>, Vec<f32>, Vec<f64>);

fn learn(engine: &mut FastEngine, model: &impl Model, batch: &Batch) -> Learned {
    let params: Vec<f32> = model.layout().initial(&mut Random::new(5));
    let mode = Mode { dropout: Some(CounterRng::new(7)), smoothing: 0.1 };
    let mut gradient = vec![f32::NAN; model.layout().trainable_len()];
    let loss = engine.gradient(model, &params, batch, mode, &mut gradient);
    let losses = engine.token_losses().to_vec();
    engine.loss(model, &params, batch);
    (loss, losses, gradient, engine.token_losses().to_vec())
}

fn changes_nothing(name: &str, model: &impl Model, batch: &Batch) {
    let plain = learn(&mut engine(false), model, batch);
    let mut engine = engine(true);
    assert!(learn(&mut engine, model, batch) == plain, "{name}");
    assert!(learn(&mut engine, model, batch) == plain, "{name}, on tapes that were used before");
}

#[test]
fn decoders() {
    for (name, config) in variants::variants() {
        let config = DecoderConfig { dropout: 0.3, ..config };
        let mut model = Decoder::new(config.clone()).expect("a variant is right");
        changes_nothing(name, &model, &variants::batch(&config));
        model.freeze(|spec| spec.name.contains("embed") || spec.name.contains("norm"));
        changes_nothing(&format!("{name}, some of it frozen"), &model, &variants::batch(&config));
    }
}

#[test]
fn spheres() {
    for (name, config) in sphere_variants::sphere_variants() {
        let (model, _) =
            sphere_variants::sphere_with_params(&SphereConfig { dropout: 0.3, ..config.clone() });
        changes_nothing(name, &model, &sphere_variants::sphere_batch(&config));
    }
}

#[test]
fn encoder_decoders() {
    for (name, config) in encoder_decoder_variants::variants() {
        let decoder = DecoderConfig { dropout: 0.3, ..config.decoder };
        let model =
            EncoderDecoder::new(EncoderDecoderConfig { decoder, ..config }).expect("a variant is right");
        changes_nothing(&name, &model, &encoder_decoder_variants::batch());
    }
}

fn deep() -> (Decoder, Batch) {
    let config = DecoderConfig {
        n_layer: 8,
        n_embd: 32,
        n_head: 2,
        n_kv_head: 2,
        n_ffn: 128,
        context: 64,
        dropout: 0.1,
        ..DecoderConfig::dialog(20)
    };
    let mut batch = Batch::new();
    (0..12).for_each(|row| batch.push((0..65).map(|at| (row * 7 + at * at) % 20)));
    (Decoder::new(config).expect("it fits"), batch)
}

/// So long that attention is computed in blocks.
#[test]
fn long_texts() {
    let (_, config) = variants::variants().swap_remove(0);
    let config = DecoderConfig { context: 520, dropout: 0.3, ..config };
    let mut batch = Batch::new();
    (0..2).for_each(|row| batch.push((0..521).map(|at| (at * at + row) % config.vocab_size)));
    changes_nothing("520 tokens", &Decoder::new(config.clone()).expect("a variant is right"), &batch);
}

/// Several shards, on several threads.
#[test]
fn shards() {
    let (model, batch) = deep();
    let plain = learn(&mut engine(false), &model, &batch);
    let mut two = FastEngine::new(ThreadPool::new(2)).with_checkpointing();
    assert!(learn(&mut two, &model, &batch) == plain);
}

/// Attention in blocks needs memory to work in when a stage is computed again, too.
#[test]
fn attention_in_blocks() {
    let (model, batch) = deep();
    let blocks = AttentionBlocks { min_keys: 10, queries: 8, keys: 6 };
    let of = |checkpointing| learn(&mut engine(checkpointing).with_attention_blocks(blocks), &model, &batch);
    assert!(of(true) == of(false));
}

/// Of eight blocks, there is room for the results of one, and for what seven hand on.
#[test]
fn most_of_the_memory_is_not_needed() {
    let (model, batch) = deep();
    let held = |checkpointing: bool| {
        let mut engine = engine(checkpointing);
        learn(&mut engine, &model, &batch);
        engine.tape().iter().map(|node| node.data + node.saved).sum::<usize>()
    };
    let (all, one) = (held(false), held(true));
    // One thread has one tape, for one shard of two at a time.
    let shards = FastEngine::shards(12, batch.len());
    assert_eq!(shards, 2);
    let handed_on = 8 * batch.len() / shards * 32;
    assert!(4 * (one + handed_on) < all, "{one} numbers and {handed_on} that are handed on, {all} without");
}

#[test]
fn a_warm_step_allocates_nothing() {
    let (model, batch) = deep();
    let params: Vec<f32> = model.layout().initial(&mut Random::new(5));
    let mut gradient = vec![0.0; model.layout().trainable_len()];
    let mut engine = engine(true);
    let mode = Mode { dropout: Some(CounterRng::new(7)), ..Mode::default() };
    (0..3).for_each(|_| _ = engine.gradient(&model, &params, &batch, mode, &mut gradient));
    let (_, count, _) = count_allocations(|| engine.gradient(&model, &params, &batch, mode, &mut gradient));
    assert_eq!(count, 0);
}
