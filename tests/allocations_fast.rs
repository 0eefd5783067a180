//! A warm training step of the fast engine allocates no memory, on one thread.

use gradus::data::{Batch, Names};
use gradus::fast::{AttentionBlocks, FastEngine};
use gradus::model::{Decoder, DecoderConfig, Model, Position, Sphere, SphereConfig};
use gradus::optim::{Momentum, Muon, MuonSettings, UnitStep};
use gradus::random::Random;
use gradus::thread_pool::ThreadPool;
use gradus::train::{Settings, Trainer};

#[path = "common/allocator.rs"]
mod allocator;
#[path = "common/dialog_trainer.rs"]
mod dialog_trainer;
#[path = "common/method.rs"]
mod method;

use allocator::count_allocations;
use dialog_trainer::dialogs;
use method::{ADAMW, METHODS};

/// The number of allocations in fifty warm steps, after fifty others.
fn warm_allocations(mut step: impl FnMut(usize) -> f64) -> usize {
    let (_, cold, _) = count_allocations(|| (0..50).map(&mut step).fold(0.0, f64::max));
    assert!(cold > 0, "the first steps need memory");
    let (worst, warm, _) = count_allocations(|| (50..100).map(&mut step).fold(0.0, f64::max));
    assert!(worst.is_finite() && worst > 0.0);
    warm
}

#[test]
fn the_allocator_counts() {
    let (boxed, count, largest) = count_allocations(|| Box::new([1_u8; 64]));
    assert_eq!((boxed.len(), count, largest), (64, 1, 64));
}

#[test]
fn names_one_at_a_time_and_in_batches() {
    // Five names, so that the warm steps see no new name. The longest fills the whole context.
    let names = Names::from_text("emma\nmaximilianalexander\nio\nbob\nzoe\n").expect("five names");
    for size in [1, 16] {
        let model = Decoder::new(DecoderConfig::microgpt(names.vocab_size())).expect("a preset is valid");
        let mut random = Random::new(42);
        let engine = FastEngine::new(ThreadPool::new(1));
        let mut trainer = Trainer::new(model, engine, Settings::default(), &mut random);
        let mut batch = Batch::new();
        let count = warm_allocations(|step| {
            names.fill(&mut batch, step, size, 16);
            trainer.step(&batch).loss
        });
        assert_eq!(count, 0, "allocations in fifty warm steps of {size} names");
    }
}

#[test]
fn dialogues_with_everything() {
    let text = dialogs(32);
    let config = DecoderConfig {
        n_layer: 2,
        n_embd: 32,
        n_head: 2,
        n_kv_head: 1,
        n_ffn: 64,
        context: 32,
        ..DecoderConfig::dialog(text.vocab_size())
    };
    // As one shard, and as several.
    for size in [2, 20] {
        for method in METHODS {
            let mut trainer = method.learner(&config, 1, 3);
            let (mut batch, mut random) = (Batch::new(), Random::new(9));
            let count = warm_allocations(|_| {
                text.fill(&mut batch, &mut random, size, 32);
                trainer.step(&batch).loss
            });
            assert_eq!(count, 0, "allocations in fifty warm steps of {size} sequences with {method:?}");
        }
    }
}

/// With Muon along the sphere as well, which keeps sums for each vector.
#[test]
fn the_normalized_transformer() {
    let config =
        SphereConfig { n_layer: 2, n_embd: 32, n_head: 2, n_ffn: 64, context: 16, ..SphereConfig::paper(40) };
    let mut batch = Batch::new();
    for row in 0..40 {
        batch.push((0..=16).map(|at| (row * at + 3) % 40));
    }
    for unit_step in [UnitStep::Free, UnitStep::Tangent] {
        let model = Sphere::new(config.clone()).expect("it fits");
        let (momentum, order, iterations) = (0.95, Momentum::Nesterov, 5);
        let (weight_decay, rate, adam) = (0.0, 1.0, ADAMW);
        let muon = MuonSettings { momentum, order, iterations, weight_decay, rate, unit_step, adam };
        let threads = ThreadPool::new(1);
        let optimizer = Box::new(Muon::new(model.layout(), muon, threads.clone()));
        let params = model.layout().initial(&mut Random::new(3));
        let settings = Settings::default();
        let mut trainer =
            Trainer::with_optimizer(model, FastEngine::new(threads), optimizer, settings, params);
        let count = warm_allocations(|_| trainer.step(&batch).loss);
        assert_eq!(count, 0, "allocations in fifty warm steps, {unit_step:?}");
    }
}

/// Attention in blocks, which needs memory to work in forward as well.
#[test]
fn sequences_in_blocks() {
    let relative = Position::Relative { buckets: 8, max_distance: 16 };
    for position in [Position::None, Position::Alibi, relative] {
        let config = DecoderConfig {
            n_layer: 2,
            n_embd: 32,
            n_head: 2,
            n_kv_head: 1,
            n_ffn: 64,
            context: 40,
            position,
            ..DecoderConfig::dialog(40)
        };
        let model = Decoder::new(config).expect("a valid configuration");
        let params: Vec<f32> = model.layout().initial(&mut Random::new(3));
        let blocks = AttentionBlocks { min_keys: 10, queries: 8, keys: 6 };
        let engine = FastEngine::new(ThreadPool::new(1)).with_attention_blocks(blocks);
        let mut trainer = Trainer::from_params(model, engine, Settings::default(), params);
        let mut batch = Batch::new();
        for (row, length) in [40, 3, 17].into_iter().enumerate() {
            batch.push((0..=length).map(|at| (row * at + 3) % 40));
        }
        let count = warm_allocations(|_| trainer.step(&batch).loss);
        assert_eq!(count, 0, "allocations in fifty warm steps, {position:?}");
    }
}

#[test]
fn validation() {
    let text = dialogs(32);
    let config =
        DecoderConfig { n_embd: 16, n_ffn: 32, context: 32, ..DecoderConfig::dialog(text.vocab_size()) };
    let model = Decoder::new(config).expect("a valid configuration");
    let params: Vec<f32> = model.layout().initial(&mut Random::new(3));
    let mut trainer =
        Trainer::from_params(model, FastEngine::new(ThreadPool::new(1)), Settings::default(), params);
    let batches = text.validation(40, 8, 32);
    assert_eq!(warm_allocations(|_| trainer.validate(&batches)), 0, "allocations in fifty validations");
}
