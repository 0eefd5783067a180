//! A warm training step of the names GPT on the scalar engine allocates no memory: not once in fifty steps.

use gradus::data::{Batch, Names};
use gradus::model::{Decoder, DecoderConfig};
use gradus::random::Random;
use gradus::scalar::ScalarEngine;
use gradus::train::{Settings, Trainer};

#[path = "common/allocator.rs"]
mod allocator;

use allocator::count_allocations;

#[test]
fn a_warm_step_allocates_nothing() {
    let (boxed, count, largest) = count_allocations(|| Box::new([1_u8; 64]));
    assert_eq!((boxed.len(), count, largest), (64, 1, 64), "the allocator counts");

    // The longest name fills the whole context of 16 tokens.
    let names =
        Names::from_text("emma\nmaximilianalexander\nio\nbob\nchristopher\nzoe\n").expect("six names");
    let model = Decoder::new(DecoderConfig::microgpt(names.vocab_size())).expect("a preset is valid");
    let mut random = Random::new(42);
    let mut trainer = Trainer::new(model, ScalarEngine::new(), Settings::default(), &mut random);
    let mut batch = Batch::new();
    let mut step = |number| {
        names.fill(&mut batch, number, 1, 16);
        trainer.step(&batch).loss
    };

    let (_, cold, _) = count_allocations(|| (0..18).map(&mut step).fold(0.0, f64::max));
    assert!(cold > 0, "the first steps need memory");
    let (worst, warm, _) = count_allocations(|| (18..68).map(&mut step).fold(0.0, f64::max));
    assert!(worst.is_finite() && worst > 0.0);
    assert_eq!(warm, 0, "allocations in fifty warm steps");
}
