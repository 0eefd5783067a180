//! Mixed precision on the fast engine: with results of 16 bits, losses and gradients are those of 32 but for the rounding, half of
//! the memory of results is needed, and training learns as well. A loss scaler keeps small gradients from vanishing in float16;
//! a step that overflows changes nothing; a run across such steps continues bit for bit.

use std::fs;

use gradus::Engine;
use gradus::counter_rng::CounterRng;
use gradus::data::Batch;
use gradus::engine::{GradientTo, Session};
use gradus::fast::{AttentionBlocks, FastEngine, Precision};
use gradus::model::{
    Activation, Decoder, DecoderConfig, EncoderDecoder, EncoderDecoderConfig, Mode, Model, SphereConfig,
};
use gradus::optim::{Decay, Schedule};
use gradus::random::Random;
use gradus::thread_pool::ThreadPool;
use gradus::train::{LossScaler, Settings, Step, Trainer};

#[path = "common/allocator.rs"]
mod allocator;
#[path = "common/encoder_decoder_variants.rs"]
mod encoder_decoder_variants;
#[path = "common/method.rs"]
mod method;
#[path = "common/sphere_variants.rs"]
mod sphere_variants;
#[path = "common/state.rs"]
mod state;
#[path = "common/variants.rs"]
mod variants;

use allocator::count_allocations;
use method::{METHODS, Method, SETTINGS};
use state::{FILE, state};

/// The formats of 16 bits, and how far rounding changes a number at most, as a share of it: half of the distance from 1 to the
/// next number.
const HALVES: [(Precision, f64); 2] = [(Precision::Bf16, 1.0 / 256.0), (Precision::F16, 1.0 / 2048.0)];

fn engine(precision: Precision) -> FastEngine {
    FastEngine::new(ThreadPool::new(1)).with_precision(precision)
}

/// The losses of all tokens and the gradient, where the loss was multiplied by `scale` and the gradient divided by it.
fn learn(
    engine: &mut FastEngine,
    model: &impl Model,
    params: &[f32],
    batch: &Batch,
    scale: f64,
) -> (Vec<f64>, Vec<f32>) {
    let mut gradient = vec![f32::NAN; model.layout().trainable_len()];
    let total = batch.total_loss_weight() / scale;
    let mode = Mode { dropout: Some(CounterRng::new(7)), smoothing: 0.1 };
    engine.accumulate(model, params, batch, mode, total, GradientTo::Write(&mut gradient));
    gradient.iter_mut().for_each(|g| *g /= scale as f32);
    (engine.token_losses().to_vec(), gradient)
}

/// How far some numbers are from others, as a share of their length.
fn apart(ours: &[f64], exact: &[f64]) -> f64 {
    let length = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
    let difference = length(&mut ours.iter().zip(exact).map(|(a, b)| a - b));
    difference / length(&mut exact.iter().copied())
}

fn wide(numbers: &[f32]) -> Vec<f64> {
    numbers.iter().map(|x| f64::from(*x)).collect()
}

/// Every result and every gradient is rounded once, by at most `u` of its size, and independent errors add up as squares do. So
/// the whole may be off by `u · √n`, with `n` the results that are rounded on the way there and back, as long as no operation
/// makes errors larger. Some do on the way back, such as differences of numbers that are nearly the same: hence a factor. Nothing
/// can be said where a function has a kink: rounding may lead past it, and the slope is another.
fn is_near(name: &str, model: &impl Model, params: &[f32], batch: &Batch) {
    let (losses, gradient) = learn(&mut engine(Precision::F32), model, params, batch, 1.0);
    for (precision, u) in HALVES {
        let mut engine = engine(precision);
        let (our_losses, our_gradient) = learn(&mut engine, model, params, batch, 1024.0);
        let rounded =
            engine.tape().iter().filter(|node| node.bytes == 2 * node.data && node.data > 0).count();
        assert!(rounded > 5, "{name}: {rounded} results");
        let bound = u * (2.0 * rounded as f64).sqrt();
        let (far, gradient_far) =
            (apart(&our_losses, &losses), apart(&wide(&our_gradient), &wide(&gradient)));
        assert!(far < bound, "{name}, {precision:?}: losses are {far:e} apart, {bound:e} are allowed");
        assert!(
            gradient_far < 3.0 * bound,
            "{name}, {precision:?}: gradients are {gradient_far:e} apart, 3 * {bound:e} are allowed"
        );
        assert!(gradient_far > u / 10.0, "{name}, {precision:?}: nothing was rounded");
        changes_nothing(name, precision, model, params, batch, &our_losses, &our_gradient);
    }
}

/// With checkpointing, and on tapes that were used before: the same to the last bit. And so is a loss without a gradient.
fn changes_nothing(
    name: &str,
    precision: Precision,
    model: &impl Model,
    params: &[f32],
    batch: &Batch,
    losses: &[f64],
    gradient: &[f32],
) {
    let mut engine = engine(precision).with_checkpointing();
    for _ in 0..2 {
        let (our_losses, our_gradient) = learn(&mut engine, model, params, batch, 1024.0);
        assert!(our_losses == losses && our_gradient == gradient, "{name}, {precision:?}, checkpointing");
    }
    let mut gradient = vec![0.0; model.layout().trainable_len()];
    let loss = engine.gradient(model, params, batch, Mode::default(), &mut gradient);
    assert_eq!(engine.loss(model, params, batch), loss, "{name}, {precision:?}");
}

fn params(model: &impl Model) -> Vec<f32> {
    model.layout().initial(&mut Random::new(5))
}

/// Without kinks, and with dropout.
fn smooth(config: DecoderConfig) -> DecoderConfig {
    let activation = match config.activation {
        Activation::Relu => Activation::Gelu,
        smooth => smooth,
    };
    DecoderConfig { activation, dropout: 0.3, ..config }
}

#[test]
fn decoders() {
    for (name, config) in variants::variants() {
        let config = smooth(DecoderConfig { init_std: 0.2, ..config });
        let model = Decoder::new(config.clone()).expect("a variant is right");
        is_near(name, &model, &params(&model), &variants::batch(&config));
    }
}

/// So long that attention is computed in blocks, whose way back needs its own result.
#[test]
fn long_texts() {
    let sizes = DecoderConfig {
        context: 512,
        n_layer: 1,
        n_embd: 32,
        n_ffn: 48,
        n_head: 2,
        ..DecoderConfig::dialog(7)
    };
    let model = Decoder::new(DecoderConfig { n_kv_head: 1, init_std: 0.2, ..sizes }).expect("it fits");
    let mut batch = Batch::new();
    batch.push((0..513).map(|at| at * at % 7));
    is_near("512 tokens", &model, &params(&model), &batch);
}

#[test]
fn spheres() {
    for (name, config) in sphere_variants::sphere_variants() {
        let config = SphereConfig { dropout: 0.3, ..config };
        let (model, params) = sphere_variants::sphere_with_params(&config);
        let params: Vec<f32> = params.iter().map(|x| *x as f32).collect();
        is_near(name, &model, &params, &sphere_variants::sphere_batch(&config));
    }
}

#[test]
fn encoder_decoders() {
    for (name, config) in encoder_decoder_variants::variants() {
        let config = EncoderDecoderConfig { decoder: smooth(config.decoder), ..config };
        let model = EncoderDecoder::new(config).expect("a variant is right");
        is_near(&name, &model, &params(&model), &encoder_decoder_variants::batch());
    }
}

const VOCAB: usize = 12;

/// A decoder, and twelve sequences of which it can learn to foresee each token from the one before.
fn small() -> (Decoder, Batch) {
    let config = DecoderConfig {
        n_layer: 2,
        n_embd: 32,
        n_head: 2,
        n_kv_head: 1,
        n_ffn: 48,
        context: 64,
        dropout: 0.0,
        ..DecoderConfig::dialog(VOCAB)
    };
    let mut batch = Batch::new();
    (0..12).for_each(|row| batch.push((0..65).map(|at| (row + at * 5) % VOCAB)));
    (Decoder::new(config).expect("it fits"), batch)
}

#[test]
fn threads_and_earlier_precisions_change_nothing() {
    let (model, batch) = small();
    let params = params(&model);
    for (precision, _) in HALVES {
        let one = learn(&mut engine(precision), &model, &params, &batch, 64.0);
        let mut two = FastEngine::new(ThreadPool::new(2)).with_precision(precision);
        assert!(learn(&mut two, &model, &params, &batch, 64.0) == one);
        assert!(two.tape().iter().filter(|node| node.op == "CrossEntropy").count() > 1, "several shards");
        let mut back = two.with_precision(Precision::F32);
        let full = learn(&mut engine(Precision::F32), &model, &params, &batch, 64.0);
        assert!(learn(&mut back, &model, &params, &batch, 64.0) == full && full != one);
    }
}

/// Attention in blocks computes what attention of whole sequences does, from results that are rounded as well.
#[test]
fn attention_in_blocks() {
    let (model, batch) = small();
    let params = params(&model);
    let blocks = AttentionBlocks { min_keys: 10, queries: 8, keys: 6 };
    for (precision, _) in HALVES {
        let (_, whole) = learn(&mut engine(precision), &model, &params, &batch, 64.0);
        let mut blocked = engine(precision).with_attention_blocks(blocks);
        let (_, ours) = learn(&mut blocked, &model, &params, &batch, 64.0);
        let gap = apart(&wide(&ours), &wide(&whole));
        assert!(gap > 0.0 && gap < 0.05, "{precision:?}: {gap}");
    }
}

/// The model sees weights that are rounded; a session, which computes no gradient, sees them as they are.
#[test]
fn weights_are_rounded_for_training_alone() {
    let (model, batch) = small();
    let params = params(&model);
    let to_even = |x: &f32| f32::from_bits((x.to_bits() + 0x7fff + (x.to_bits() >> 16 & 1)) & 0xffff_0000);
    let rounded: Vec<f32> = params.iter().map(to_even).collect();
    let learned = |precision, params: &[f32]| learn(&mut engine(precision), &model, params, &batch, 1.0);
    assert!(learned(Precision::Bf16, &params) == learned(Precision::Bf16, &rounded));
    assert!(learned(Precision::F32, &params) != learned(Precision::F32, &rounded));
    let logits = |precision| {
        let mut engine = engine(precision);
        Session::single(&mut engine, &model, &params).feed(0, &[1, 5, 2]).to_vec()
    };
    assert!(HALVES.iter().all(|(precision, _)| logits(*precision) == logits(Precision::F32)));
}

/// What is not rounded: columns of single numbers, and constants. Everything else takes half.
#[test]
fn results_take_half_of_the_memory() {
    let (model, batch) = small();
    let params = params(&model);
    let tape = |precision| {
        let mut engine = engine(precision);
        learn(&mut engine, &model, &params, &batch, 1.0);
        engine.tape()
    };
    let full = tape(Precision::F32);
    let bytes = |tape: &[gradus::fast::NodeInfo]| tape.iter().map(|node| node.bytes).sum::<usize>();
    assert!(full.iter().all(|node| node.bytes == 4 * node.data));
    for (precision, _) in HALVES {
        let half = tape(precision);
        assert_eq!(half.len(), full.len());
        for (node, full) in half.iter().zip(&full) {
            assert_eq!(
                (&node.op, node.shape, node.data, node.saved),
                (&full.op, full.shape, full.data, full.saved)
            );
            let exact = node.shape.1 == 1 || ["Param", "Constant"].contains(&node.op.as_str());
            assert_eq!(node.bytes, if exact { full.bytes } else { full.bytes / 2 }, "{node:?}");
        }
        let share = bytes(&half) as f64 / bytes(&full) as f64;
        assert!((0.5..0.53).contains(&share), "{share}");
    }
}

#[test]
fn a_warm_step_allocates_nothing() {
    let (model, batch) = small();
    let params = params(&model);
    let mut gradient = vec![0.0; model.layout().trainable_len()];
    for (precision, _) in HALVES {
        for mut engine in [engine(precision), engine(precision).with_checkpointing()] {
            let mode = Mode { dropout: Some(CounterRng::new(7)), ..Mode::default() };
            (0..3).for_each(|_| _ = engine.gradient(&model, &params, &batch, mode, &mut gradient));
            let step = || engine.gradient(&model, &params, &batch, mode, &mut gradient);
            assert_eq!(count_allocations(step).1, 0, "{precision:?}");
        }
    }
}

/// Below 2^-25 a number of float16 is zero, and from 65520 on it is infinite. Bfloat16 reaches as far as 32 bits do.
#[test]
fn float16_has_little_reach() {
    let (model, batch) = small();
    let params = params(&model);
    let gradient = |precision, scale: f64| learn(&mut engine(precision), &model, &params, &batch, scale).1;
    let zeros = |precision, scale| gradient(precision, scale).iter().filter(|g| **g == 0.0).count();
    let all = model.layout().trainable_len();
    let tiny = 2.0_f64.powi(-24);
    assert_eq!(zeros(Precision::F16, tiny), all, "all is lost");
    assert!(zeros(Precision::F16, 1024.0) < all / 100 && zeros(Precision::Bf16, tiny) < all / 100);
    let huge = 2.0_f64.powi(40);
    assert!(gradient(Precision::F16, huge).iter().any(|g| !g.is_finite()));
    assert!(gradient(Precision::Bf16, huge).iter().all(|g| g.is_finite()));
    assert!(
        gradient(Precision::Bf16, huge) == gradient(Precision::Bf16, 1.0),
        "a power of two rounds nothing"
    );
}

const STEADY: Settings = Settings {
    schedule: Schedule { warmup: 0, decay: Decay::Constant },
    smoothing: 0.0,
    weighting: false,
    ..SETTINGS
};

fn trainer(method: Method, precision: Precision, settings: Settings) -> Trainer<Decoder, FastEngine> {
    let (model, _) = small();
    let params = params(&model);
    let mut trainer = method.on_fast(model, settings, 1, params);
    *trainer.split_mut().0 = engine(precision);
    trainer
}

#[test]
fn training_learns_as_well() {
    let (_, batch) = small();
    for method in METHODS {
        let learned = |precision, loss_scaler| {
            let mut trainer = trainer(method, precision, Settings { loss_scaler, ..STEADY });
            let first = trainer.step(&batch).loss;
            (0..60).for_each(|_| _ = trainer.step(&batch));
            (first, trainer.step(&batch).loss)
        };
        let (first, full) = learned(Precision::F32, None);
        assert!(full < first / 4.0, "{method:?}: from {first} to {full}");
        for (precision, scaler) in [(Precision::Bf16, None), (Precision::F16, Some(LossScaler::default()))] {
            let (_, half) = learned(precision, scaler);
            assert!(
                (half - full).abs() < 0.02 * first,
                "{method:?}, {precision:?}: {half} instead of {full}"
            );
        }
    }
}

fn scaler(scale: f64) -> Option<LossScaler> {
    Some(LossScaler { scale, growth_interval: 3, ..LossScaler::default() })
}

/// Everything that is saved stays as it is, but for the number of the step and the scaler.
#[test]
fn a_step_that_overflows_changes_nothing() {
    let (_, batch) = small();
    for method in METHODS {
        let huge = 2.0_f64.powi(60);
        let mut trainer = trainer(method, Precision::F16, Settings { loss_scaler: scaler(huge), ..STEADY });
        let folder = tempfile::tempdir().expect("a folder");
        let saved = |trainer: &mut Trainer<Decoder, FastEngine>| {
            trainer.save_state(folder.path(), "caller").expect("all of it is finite");
            state(folder.path())
        };
        let before = saved(&mut trainer);
        let Step { number, loss, loss_scale, skipped, .. } = trainer.step(&batch);
        assert_eq!((number, loss_scale, skipped), (1, Some(huge), true));
        assert!((2.0..4.0).contains(&loss), "{loss} is the loss without its factor");
        let after = saved(&mut trainer);
        assert!(after.numbers == before.numbers, "{method:?}");
        assert_eq!(after.description["step"], 1);
        let expected = LossScaler { scale: huge / 2.0, growth_interval: 3, good_steps: 0, skipped: 1 };
        assert_eq!(trainer.loss_scaler(), Some(&expected));
    }
}

/// A run that skips its first steps is then the run that has begun later, but for the number of its steps: Adam's corrections and
/// the warming up of the average go by the updates. The schedule here does not depend on the step.
#[test]
fn skipped_steps_count_for_nothing_that_is_remembered() {
    let (_, batch) = small();
    for method in METHODS {
        let after_updates = |scale: f64| {
            let loss_scaler = Some(LossScaler { scale, growth_interval: 1000, ..LossScaler::default() });
            let settings = Settings { loss_scaler, dropout_seed: None, ..STEADY };
            let mut trainer = trainer(method, Precision::F16, settings);
            let mut updates = 0;
            while updates < 40 {
                updates += usize::from(!trainer.step(&batch).skipped);
            }
            let folder = tempfile::tempdir().expect("a folder");
            trainer.save_state(folder.path(), "").expect("it can be saved");
            (trainer.loss_scaler().copied().expect("it has one"), state(folder.path()).numbers)
        };
        let (late, of_late) = after_updates(2.0_f64.powi(50));
        let (early, of_early) = after_updates(late.scale);
        assert!(late.skipped > 5 && early.skipped == 0, "{late:?} {early:?}");
        assert!(of_late == of_early, "{method:?}");
    }
}

#[test]
fn the_scale_grows_and_falls() {
    let (_, batch) = small();
    let mut trainer = trainer(Method::Adamw, Precision::F16, Settings { loss_scaler: scaler(8.0), ..STEADY });
    let scales: Vec<f64> = (0..7).filter_map(|_| trainer.step(&batch).loss_scale).collect();
    assert_eq!(scales, [8.0, 8.0, 8.0, 16.0, 16.0, 16.0, 32.0]);
    // It grows until it is too large, and is halved at once.
    let steps: Vec<Step> = (0..100).map(|_| trainer.step(&batch)).collect();
    let skipped: Vec<&Step> = steps.iter().filter(|step| step.skipped).collect();
    assert!(!skipped.is_empty() && skipped.len() < 40, "{} of 100", skipped.len());
    for pair in steps.windows(2).filter(|pair| pair[0].skipped) {
        assert_eq!(pair[1].loss_scale, pair[0].loss_scale.map(|scale| scale / 2.0));
    }
    assert!(trainer.params().iter().all(|x| x.is_finite()));
    // Without a scaler there is none to speak of, and nothing is skipped.
    let step = self::trainer(Method::Adamw, Precision::Bf16, STEADY).step(&batch);
    assert_eq!((step.loss_scale, step.skipped), (None, false));
}

/// With everything that a run can have, and a scale that is soon too large again and again.
#[test]
fn a_resumed_run_equals_an_uninterrupted_one() {
    let (_, batch) = small();
    for method in METHODS {
        let make = || {
            trainer(method, Precision::F16, Settings { loss_scaler: scaler(2.0_f64.powi(26)), ..SETTINGS })
        };
        let folders = [(); 3].map(|()| tempfile::tempdir().expect("a folder"));
        let [straight, stopped, resumed] = folders.each_ref().map(|folder| folder.path());
        let mut whole = make();
        let steps: Vec<Step> = (0..24).map(|_| whole.step(&batch)).collect();
        whole.save_state(straight, "").expect("it can be saved");
        let skipped = |steps: &[Step]| steps.iter().filter(|step| step.skipped).count();
        assert!(skipped(&steps[..12]) > 0 && skipped(&steps[12..]) > 0, "on both sides");

        let mut first = make();
        let mut parts: Vec<Step> = (0..12).map(|_| first.step(&batch)).collect();
        first.save_state(stopped, "").expect("it can be saved");
        let mut second = make();
        second.restore_state::<String>(stopped).expect("it can be restored");
        assert_eq!(second.loss_scaler(), first.loss_scaler());
        parts.extend((0..12).map(|_| second.step(&batch)));
        second.save_state(resumed, "").expect("it can be saved");
        assert_eq!(parts, steps);
        assert!(state(straight) == state(resumed), "{method:?}");
    }
}

#[test]
fn states_with_and_without_a_scaler() {
    let (_, batch) = small();
    let make = |loss_scaler| trainer(Method::Adamw, Precision::F16, Settings { loss_scaler, ..STEADY });
    let saved = |loss_scaler| {
        let folder = tempfile::tempdir().expect("a folder");
        let mut trainer = make(loss_scaler);
        (0..2).for_each(|_| _ = trainer.step(&batch));
        trainer.save_state(folder.path(), "").expect("it can be saved");
        folder
    };
    // As those from before there were loss scalers. The new scaler has seen nothing yet.
    let old = saved(None);
    assert!(state(old.path()).description.get("loss_scaler").is_none());
    let mut trainer = make(scaler(64.0));
    trainer.step(&batch);
    trainer.restore_state::<String>(old.path()).expect("an old state");
    assert_eq!(trainer.loss_scaler().copied(), scaler(64.0));
    make(None).restore_state::<String>(old.path()).expect("an old state");

    let new = saved(scaler(65536.0));
    let refused = |mut trainer: Trainer<Decoder, FastEngine>| {
        trainer.restore_state::<String>(new.path()).expect_err("it must not be restored").to_string()
    };
    let error = refused(make(None));
    assert!(error.contains(FILE) && error.contains("this run has none"), "{error}");
    let path = new.path().join(FILE);
    let valid = fs::read(&path).expect("a state");
    for (from, to) in [("65536.0", "-5536.0"), ("65536.0", "0.00000"), (r#"skipped\":0"#, r#"skipped\":3"#)] {
        let at = valid.windows(from.len()).position(|bytes| bytes == from.as_bytes()).expect("it is there");
        let mut broken = valid.clone();
        broken[at..at + from.len()].copy_from_slice(to.as_bytes());
        fs::write(&path, broken).expect("a file");
        let error = refused(make(scaler(8.0)));
        assert!(error.contains(FILE) && error.contains("impossible"), "{error}");
    }
    fs::write(&path, valid).expect("a file");
    let mut trainer = make(scaler(8.0));
    trainer.restore_state::<String>(new.path()).expect("a valid state");
    assert_eq!(trainer.loss_scaler().map(|scaler| scaler.good_steps), Some(2));
}
