//! Micro-batches whose gradients are added up give what the one batch of all their sequences gives: with ragged lengths, loss
//! weights, dropout, label smoothing and weighting by difficulty. On the scalar engine within 1e-12, on the fast engine within
//! 1e-5, and to the last bit where the one batch is cut into the same shards. A run of such steps that was stopped continues
//! bit for bit.

use std::panic::{AssertUnwindSafe, catch_unwind};

use gradus::Engine;
use gradus::counter_rng::CounterRng;
use gradus::data::Batch;
use gradus::fast::FastEngine;
use gradus::model::{Decoder, DecoderConfig, Mode, Model, Sphere, SphereConfig};
use gradus::optim::Adam;
use gradus::random::Random;
use gradus::real::Real;
use gradus::scalar::ScalarEngine;
use gradus::thread_pool::ThreadPool;
use gradus::train::{Settings, Step, Trainer};

#[path = "common/allocator.rs"]
mod allocator;
#[path = "common/dialog_trainer.rs"]
mod dialog_trainer;
#[path = "common/method.rs"]
mod method;
#[path = "common/state.rs"]
mod state;

use allocator::count_allocations;
use dialog_trainer::dialogs;
use method::{ADAMW, METHODS, Method, SETTINGS};
use state::state;

const VOCAB: usize = 30;

fn decoder() -> Decoder {
    let config = DecoderConfig {
        n_layer: 2,
        n_embd: 16,
        n_head: 2,
        n_kv_head: 1,
        n_ffn: 24,
        context: 64,
        dropout: 0.3,
        ..DecoderConfig::dialog(VOCAB)
    };
    Decoder::new(config).expect("it fits")
}

fn sphere() -> Sphere {
    let sizes = SphereConfig::paper(VOCAB);
    let config =
        SphereConfig { n_layer: 2, n_embd: 16, n_head: 2, n_ffn: 24, context: 64, dropout: 0.3, ..sizes };
    Sphere::new(config).expect("it fits")
}

/// Sequences of these lengths, with unequal loss weights; some tokens have none.
fn batch(lengths: &[usize], seed: usize) -> Batch {
    let mut batch = Batch::new();
    for (row, length) in lengths.iter().enumerate() {
        batch.push((0..=*length).map(|at| (seed + row * 7 + at * (row % 5 + 1)) % VOCAB));
    }
    let weight = |at: usize| [1.0, 0.3, 0.0, 2.5, 0.7][(at + seed) % 5];
    batch.loss_weights_mut().iter_mut().enumerate().for_each(|(at, w)| *w = weight(at));
    batch
}

/// A batch, cut into micro-batches of so many sequences each.
fn cut(batch: &Batch, counts: &[usize]) -> Vec<Batch> {
    let mut first = 0;
    let mut part = |count: usize| {
        let mut part = Batch::new();
        for row in first..first + count {
            let rows = batch.sequences().rows[row].clone();
            let (tokens, last) = (&batch.sequences().tokens[rows.clone()], batch.targets()[rows.end - 1]);
            part.push(tokens.iter().copied().chain([last]));
            let start = part.len() - rows.len();
            part.loss_weights_mut()[start..].copy_from_slice(&batch.loss_weights()[rows]);
        }
        first += count;
        part
    };
    let parts: Vec<Batch> = counts.iter().map(|count| part(*count)).collect();
    assert_eq!(parts.iter().map(Batch::len).sum::<usize>(), batch.len(), "all of it");
    parts
}

/// A trainer with everything that weighs, smooths or drops.
fn trainer<M: Model, E: Engine>(model: M, engine: E, weighting: bool) -> Trainer<M, E> {
    let params = model.layout().initial(&mut Random::new(3));
    let adam = Box::new(Adam::new(model.layout(), ADAMW));
    Trainer::with_optimizer(model, engine, adam, Settings { weighting, clip: None, ..SETTINGS }, params)
}

/// How far two gradients are apart: the length of their difference, as a share of that of the first.
fn apart<R: Real>(a: &[R], b: &[R]) -> f64 {
    let square = |x: f64| x * x;
    let length = a.iter().map(|x| square(x.to_f64())).sum::<f64>().sqrt();
    assert!(length > 0.0 && a.len() == b.len());
    a.iter().zip(b).map(|(a, b)| square(a.to_f64() - b.to_f64())).sum::<f64>().sqrt() / length
}

fn bits<R: Real>(numbers: &[R]) -> Vec<u64> {
    numbers.iter().map(|x| x.to_f64().to_bits()).collect()
}

const LENGTHS: [usize; 9] = [7, 1, 30, 4, 12, 2, 2, 25, 9];

/// Steps on one batch beside steps on its micro-batches: each gradient and loss, from the same parameters. The difficulties of
/// the steps before weigh the tokens of the next.
fn one_batch_and_its_parts<M: Model + Clone, E: Engine>(
    what: &str,
    model: &M,
    engine: impl Fn() -> E,
    weighting: bool,
    tolerance: f64,
) {
    for counts in [&[3, 3, 3][..], &[1, 8], &[5, 1, 3], &[1; 9], &[0, 4, 0, 0, 5, 0]] {
        let what = format!("{what}, in parts of {counts:?}");
        let mut whole = trainer(model.clone(), engine(), weighting);
        for step in 0..4 {
            let batch = batch(&LENGTHS, step);
            // The same parameters, difficulties and moments as the trainer of whole batches.
            let folder = tempfile::tempdir().expect("a folder");
            whole.save_state(folder.path(), "").expect("it can be saved");
            let mut parted = trainer(model.clone(), engine(), weighting);
            parted.restore_state::<String>(folder.path()).expect("it can be restored");
            let (one, several) = (whole.step(&batch), parted.step_accumulated(&mut cut(&batch, counts)));
            assert_eq!(one.number, several.number, "one step, not several");
            let far = apart(whole.gradient(), parted.gradient());
            assert!(far <= tolerance, "{what}, step {step}: gradients are {far:e} apart");
            let loss = (one.loss - several.loss).abs() / one.loss;
            assert!(loss <= tolerance, "{what}, step {step}: losses are {loss:e} apart");
            for token in 0..VOCAB * VOCAB {
                let difficulty = |trainer: &Trainer<M, E>| {
                    trainer.weighting().map_or(1.0, |table| table.weight(token / VOCAB, token % VOCAB))
                };
                let (a, b) = (difficulty(&whole), difficulty(&parted));
                assert!(
                    (a - b).abs() <= tolerance.max(1e-6),
                    "{what}, step {step}: difficulties {a} and {b}"
                );
            }
        }
    }
}

#[test]
fn on_the_scalar_engine() {
    for weighting in [false, true] {
        one_batch_and_its_parts("decoder", &decoder(), ScalarEngine::new, weighting, 1e-12);
        one_batch_and_its_parts("sphere", &sphere(), ScalarEngine::new, weighting, 1e-12);
    }
}

#[test]
fn on_the_fast_engine() {
    for weighting in [false, true] {
        for threads in [1, 3] {
            let engine = || FastEngine::new(ThreadPool::new(threads));
            one_batch_and_its_parts("decoder", &decoder(), engine, weighting, 1e-5);
            one_batch_and_its_parts("sphere", &sphere(), engine, weighting, 1e-5);
        }
    }
}

/// A mean of means would be something else: here a short micro-batch with a large loss weight stands beside a long one.
#[test]
fn every_token_counts_alike_whatever_its_micro_batch() {
    let (short, long) = (batch(&[2], 0), batch(&[40, 40], 1));
    let model = decoder();
    let params = model.layout().initial(&mut Random::new(3));
    let mut engine = ScalarEngine::new();
    let mut gradient_of = |batch: &Batch| {
        let mut gradient = vec![0.0; model.layout().trainable_len()];
        let loss = engine.gradient(&model, &params, batch, Mode::default(), &mut gradient);
        (loss, gradient)
    };
    let ((a, of_a), (b, of_b)) = (gradient_of(&short), gradient_of(&long));
    let [w_a, w_b] = [&short, &long].map(Batch::total_loss_weight);
    let mean = |a: f64, b: f64| (w_a * a + w_b * b) / (w_a + w_b);
    let expected: Vec<f64> = of_a.iter().zip(&of_b).map(|(a, b)| mean(*a, *b)).collect();

    let settings = Settings { dropout_seed: None, smoothing: 0.0, weighting: false, ..Settings::default() };
    let mut trainer = Trainer::from_params(model.clone(), ScalarEngine::new(), settings, params.clone());
    let step = trainer.step_accumulated(&mut [short, long]);
    assert!((step.loss - mean(a, b)).abs() < 1e-12, "{} and {}", step.loss, mean(a, b));
    assert!(apart(&expected, trainer.gradient()) < 1e-12);
    let of_means: Vec<f64> = of_a.iter().zip(&of_b).map(|(a, b)| (a + b) / 2.0).collect();
    assert!(apart(&of_means, trainer.gradient()) > 0.1, "which is not the mean of means");
}

/// One micro-batch is a step as it always was: one gradient of the engine, to the last bit.
#[test]
fn one_micro_batch_is_one_batch() {
    fn check<E: Engine>(engine: impl Fn() -> E) {
        let (model, batch) = (decoder(), batch(&LENGTHS, 2));
        let mut trainer = trainer(model.clone(), engine(), false);
        let params = trainer.params().to_vec();
        let step = trainer.step_accumulated(&mut [batch.clone()]);
        let dropout = SETTINGS.dropout_seed.map(|seed| CounterRng::new(seed).fork(0));
        let mode = Mode { dropout, smoothing: SETTINGS.smoothing };
        let mut gradient = vec![E::Real::default(); model.layout().trainable_len()];
        let loss = engine().gradient(&model, &params, &batch, mode, &mut gradient);
        assert_eq!(step.loss.to_bits(), loss.to_bits());
        assert_eq!(bits(trainer.gradient()), bits(&gradient));
    }
    check(ScalarEngine::new);
    check(|| FastEngine::new(ThreadPool::new(2)));
}

/// 16 sequences of 128 tokens are eight shards of 256. So are two micro-batches of four shards each, four of two, eight of one,
/// and unequal ones: after twenty steps with everything, all that is saved is the same to the last bit.
#[test]
fn the_same_shards_give_the_same_bits() {
    let text = dialogs(128);
    let config = DecoderConfig {
        n_layer: 1,
        n_embd: 16,
        n_head: 2,
        n_kv_head: 2,
        n_ffn: 24,
        dropout: 0.1,
        ..DecoderConfig::dialog(text.vocab_size())
    };
    for method in METHODS {
        let after = |counts: &[usize], threads: usize| {
            let mut trainer = method.learner(&config, threads, 7);
            let mut random = Random::new(5);
            let losses: Vec<Step> = (0..20)
                .map(|_| {
                    let fill = |count: &usize| {
                        let mut batch = Batch::new();
                        text.fill(&mut batch, &mut random, *count, 128);
                        batch
                    };
                    trainer.step_accumulated(&mut counts.iter().map(fill).collect::<Vec<_>>())
                })
                .collect();
            let folder = tempfile::tempdir().expect("a folder");
            trainer.save_state(folder.path(), random.state()).expect("it can be saved");
            (losses, state(folder.path()))
        };
        let one = after(&[16], 1);
        for counts in [&[8, 8][..], &[4, 4, 4, 4], &[2; 8], &[2, 12, 2]] {
            assert!(after(counts, 2) == one, "{method:?} {counts:?}");
        }
        assert!(after(&[15, 1], 2) != one, "other shards are rounded differently");
    }
}

/// Stopped between two steps and resumed, a run ends as if it had never stopped.
#[test]
fn a_resumed_run_equals_an_uninterrupted_one() {
    let text = dialogs(16);
    let config = DecoderConfig { n_embd: 16, n_ffn: 24, ..DecoderConfig::dialog(text.vocab_size()) };
    let steps = |trainer: &mut Trainer<Decoder, FastEngine>, random: &mut Random| {
        let mut batches = vec![Batch::new(); 3];
        for _ in 0..7 {
            batches.iter_mut().for_each(|batch| text.fill(batch, random, 3, 16));
            trainer.step_accumulated(&mut batches);
        }
    };
    for method in METHODS {
        let [straight, stopped, resumed] = [(); 3].map(|()| tempfile::tempdir().expect("a folder"));
        let (mut trainer, mut random) = (method.learner(&config, 1, 1), Random::new(5));
        steps(&mut trainer, &mut random);
        trainer.save_state(stopped.path(), random.state()).expect("it can be saved");
        steps(&mut trainer, &mut random);
        trainer.save_state(straight.path(), random.state()).expect("it can be saved");

        let mut trainer = method.learner(&config, 2, 2);
        let mut random =
            Random::restore(&trainer.restore_state(stopped.path()).expect("a state")).expect("a generator");
        assert_eq!(trainer.steps_done(), 7);
        steps(&mut trainer, &mut random);
        trainer.save_state(resumed.path(), random.state()).expect("it can be saved");
        assert!(state(resumed.path()) == state(straight.path()), "{method:?}");
    }
}

/// After a step on one micro-batch, a step on sixty-four of that size asks for no memory at all. Weighting keeps copies of
/// their tokens, once.
#[test]
fn memory_is_that_of_one_micro_batch() {
    let text = dialogs(32);
    let config =
        DecoderConfig { n_embd: 32, n_ffn: 64, context: 32, ..DecoderConfig::dialog(text.vocab_size()) };
    let model = Decoder::new(config).expect("it fits");
    let params: Vec<f32> = model.layout().initial(&mut Random::new(1));
    let mut batches = vec![Batch::new(); 64];
    batches.iter_mut().for_each(|batch| text.fill(batch, &mut Random::new(5), 4, 32));
    for weighting in [false, true] {
        let settings = Settings { weighting, ..SETTINGS };
        let mut trainer = Method::Adamw.on_fast(model.clone(), settings, 1, params.clone());
        (0..2).for_each(|_| _ = trainer.step(&batches[0]));
        let (_, first, largest) = count_allocations(|| trainer.step_accumulated(&mut batches).loss);
        let (_, warm, _) = count_allocations(|| trainer.step_accumulated(&mut batches).loss);
        assert_eq!(warm, 0, "allocations of a warm step");
        let tokens = 4 * 32 * size_of::<usize>();
        let copies = 64 * size_of::<Batch>();
        assert!(
            if weighting { largest <= tokens.max(copies) } else { first == 0 },
            "{first}: {largest} bytes"
        );
    }
}

#[test]
fn what_has_no_mean_is_refused() {
    let weightless = || {
        let mut batch = batch(&[3], 0);
        batch.loss_weights_mut().fill(0.0);
        batch
    };
    fn refused<E: Engine>(engine: E, batches: &mut [Batch]) -> String {
        let mut trainer = trainer(decoder(), engine, false);
        let panic = catch_unwind(AssertUnwindSafe(|| _ = trainer.step_accumulated(batches)));
        let panic = panic.expect_err("a panic");
        panic
            .downcast_ref::<String>()
            .cloned()
            .unwrap_or_else(|| panic.downcast_ref::<&str>().unwrap().to_string())
    }
    for (mut batches, words) in [
        (vec![], "an empty batch has no loss"),
        (vec![Batch::new(), Batch::new()], "an empty batch has no loss"),
        (vec![weightless(), weightless()], "loss weights add up to 0"),
    ] {
        let messages = [
            refused(ScalarEngine::new(), &mut batches),
            refused(FastEngine::new(ThreadPool::new(1)), &mut batches),
        ];
        assert!(messages.iter().all(|message| message.contains(words)), "{messages:?}");
    }
    // One without any weight beside one that has some adds nothing.
    let mut alone = trainer(decoder(), ScalarEngine::new(), false);
    let mut beside = trainer(decoder(), ScalarEngine::new(), false);
    let loss = alone.step(&batch(&[5, 6], 1)).loss;
    assert_eq!(beside.step_accumulated(&mut [batch(&[5, 6], 1), weightless()]).loss, loss);
    assert_eq!(bits(beside.params()), bits(alone.params()));
}
