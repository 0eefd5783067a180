//! What makes no sense is refused by every engine in the same words, instead of becoming NaN on one and zero on the other.

use std::panic::{AssertUnwindSafe, catch_unwind};

use gradus::data::Batch;
use gradus::engine::Engine;
use gradus::fast::FastEngine;
use gradus::model::{Decoder, DecoderConfig, Mode, Model};
use gradus::optim::clip;
use gradus::random::Random;
use gradus::scalar::ScalarEngine;
use gradus::thread_pool::ThreadPool;
use gradus::train::{Settings, Trainer};

/// What a panic says.
fn message(work: impl FnOnce()) -> String {
    let panic = catch_unwind(AssertUnwindSafe(work)).expect_err("a panic");
    match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(other) => (*other.downcast::<&str>().expect("a text")).to_owned(),
    }
}

fn refuses<E: Engine>(new_engine: impl Fn() -> E) {
    let model = Decoder::new(DecoderConfig::microgpt(5)).expect("a model");
    let trainer = || Trainer::new(model.clone(), new_engine(), Settings::default(), &mut Random::new(1));
    let mut params = vec![E::Real::default(); model.layout().len()];
    let mut gradient = params.clone();
    let batch_of = |weight: f64| {
        let mut batch = Batch::new();
        batch.push([0, 1, 2, 0]);
        batch.loss_weights_mut().fill(weight);
        batch
    };
    let cases = [
        (Batch::new(), "empty"),
        (batch_of(0.0), "add up to 0"),
        (batch_of(-1.0), "add up to -3"),
        (batch_of(f64::NAN), "NaN"),
    ];
    for (batch, word) in cases {
        let of_loss = message(|| _ = new_engine().loss(&model, &params, &batch));
        assert!(of_loss.contains(word), "{of_loss}");
        let of_gradient =
            message(|| _ = new_engine().gradient(&model, &params, &batch, Mode::default(), &mut gradient));
        assert_eq!(of_gradient, of_loss);
        assert_eq!(message(|| _ = trainer().step(&batch)), of_loss);
    }
    assert!(message(|| _ = trainer().validate(&[])).contains("no batches"));
    assert!(message(|| _ = trainer().validate(&[Batch::new()])).contains("empty"));
    for max_norm in [0.0, -1.0, f64::NAN] {
        assert!(message(|| _ = clip(&mut params, max_norm)).contains("clip"), "{max_norm}");
    }
}

#[test]
fn both_engines_refuse_the_same() {
    refuses(ScalarEngine::new);
    refuses(|| FastEngine::new(ThreadPool::new(1)));
}
