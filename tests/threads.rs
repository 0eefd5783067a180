//! The results of the fast engine do not depend on the number of threads: losses, gradients and twenty training steps are
//! bit for bit the same on one, two, three and eight threads. So are the steps of Adam, where threads share a parameter.

use gradus::Engine;
use gradus::counter_rng::CounterRng;
use gradus::data::Batch;
use gradus::fast::FastEngine;
use gradus::model::{Decoder, DecoderConfig, Mode, Model};
use gradus::optim::{Adam, Optimizer};
use gradus::params::{Init, Layout, ParamSpec};
use gradus::random::Random;
use gradus::thread_pool::ThreadPool;
use gradus::train::Weighting;

#[path = "common/dialog_trainer.rs"]
mod dialog_trainer;
#[path = "common/method.rs"]
mod method;

use dialog_trainer::dialogs;
use method::{ADAMW, METHODS};

const THREADS: [usize; 4] = [1, 2, 3, 8];

/// A small model, but with more parameters than one thread sums at a time.
fn config(vocab_size: usize) -> DecoderConfig {
    DecoderConfig {
        n_layer: 2,
        n_embd: 32,
        n_head: 2,
        n_kv_head: 2,
        n_ffn: 64,
        ..DecoderConfig::dialog(vocab_size)
    }
}

/// A batch of sequences of these lengths.
fn batch(lengths: impl IntoIterator<Item = usize>) -> Batch {
    let mut batch = Batch::new();
    for (row, length) in lengths.into_iter().enumerate() {
        batch.push((0..=length).map(|at| (row * 7 + at * (row % 5 + 1)) % 30));
    }
    batch.loss_weights_mut().iter_mut().enumerate().for_each(|(at, w)| *w = 0.1 + (at % 7) as f64);
    batch
}

fn bits(numbers: &[f32]) -> Vec<u32> {
    numbers.iter().map(|x| x.to_bits()).collect()
}

#[test]
fn a_pool_has_the_requested_number_of_threads() {
    assert_eq!(THREADS.map(|count| ThreadPool::new(count).count()), THREADS);
    assert!(ThreadPool::new(0).count() >= 1);
}

#[test]
fn loss_and_gradient() {
    let model = Decoder::new(config(30)).expect("a valid configuration");
    let params: Vec<f32> = model.layout().initial(&mut Random::new(1));
    assert!(params.len() > 1 << 14);
    // The number of shards with something in them follows from the number of nodes on all tapes.
    let batches = [
        ("even", batch([64; 20]), 4),
        ("uneven", batch((0..60).map(|row| 1 + row * 29 % 64)), 6),
        ("the maximum", batch([64; 40]), 8),
        ("less than a shard", batch([10, 3, 10]), 1),
        ("one token", batch([1]), 1),
        ("one sequence", batch([600]), 1),
        ("a long sequence before short ones", batch([1100, 1, 1, 2]), 2),
        ("short sequences before a long one", batch([1, 2, 1, 1100]), 2),
    ];
    for (name, batch, shards) in batches {
        let mode = Mode { dropout: Some(CounterRng::new(5)), smoothing: 0.1 };
        let run = |threads: usize| {
            let mut engine = FastEngine::new(ThreadPool::new(threads));
            let mut gradient = vec![f32::NAN; params.len()];
            let loss = engine.gradient(&model, &params, &batch, mode, &mut gradient);
            assert!(loss.is_finite() && gradient.iter().all(|g| g.is_finite()), "{name}");
            let nodes = engine.nodes();
            let losses = engine.token_losses().to_vec();
            let evaluated = engine.loss(&model, &params, &batch);
            (loss, losses, bits(&gradient), evaluated, engine.token_losses().to_vec(), nodes)
        };
        let one_thread = run(1);
        assert_eq!(one_thread.1.len(), batch.len(), "{name}: a loss for each token");
        let mut small = FastEngine::new(ThreadPool::new(1));
        small.gradient(&model, &params, &self::batch([3]), mode, &mut vec![0.0; params.len()]);
        assert_eq!(one_thread.5, shards * small.nodes(), "{name}: the number of shards");
        for threads in THREADS {
            assert!(run(threads) == one_thread, "{name}: {threads} threads");
        }
    }
}

/// After a larger batch, an engine has more shards than it needs.
#[test]
fn results_do_not_depend_on_earlier_batches() {
    let model = Decoder::new(config(30)).expect("a valid configuration");
    let params: Vec<f32> = model.layout().initial(&mut Random::new(1));
    let batches = [batch([10, 3, 10]), batch([64; 40]), batch([600]), batch((0..60).map(|row| 1 + row % 50))];
    for threads in THREADS {
        let mut used = FastEngine::new(ThreadPool::new(threads));
        for batch in batches.iter().chain(batches.iter().rev()) {
            let run = |engine: &mut FastEngine| {
                let mut gradient = vec![0.0; params.len()];
                let loss = engine.gradient(&model, &params, batch, Mode::default(), &mut gradient);
                (loss, bits(&gradient), engine.token_losses().to_vec())
            };
            let fresh = run(&mut FastEngine::new(ThreadPool::new(threads)));
            assert!(run(&mut used) == fresh, "{threads} threads, {} tokens", batch.len());
        }
    }
}

#[test]
fn twenty_training_steps() {
    let text = dialogs(64);
    let validation = text.validation(20, 20, 64);
    for method in METHODS {
        let train = |threads: usize| {
            let mut trainer = method.learner(&config(text.vocab_size()), threads, 7);
            let (mut random, mut batch) = (Random::new(3), Batch::new());
            let mut losses = Vec::new();
            for _ in 0..20 {
                text.fill(&mut batch, &mut random, 20, 64);
                losses.push(trainer.step(&batch).loss);
            }
            let weight = trainer.weighting().map(Weighting::mean);
            let val_loss = trainer.validate(&validation);
            (losses, bits(trainer.params()), bits(&trainer.eval_params()), weight, val_loss)
        };
        let one_thread = train(1);
        assert!(one_thread.0[19] < 0.95 * one_thread.0[0], "{method:?} does not learn: {:?}", one_thread.0);
        for threads in THREADS {
            assert!(train(threads) == one_thread, "{method:?} on {threads} threads");
        }
    }
}

#[test]
fn adam_on_parameters_that_threads_share() {
    let mut layout = Layout::default();
    let matrix = |name, rows| ParamSpec::matrix(name, rows, 100, Init::Normal(1.0));
    layout.add(matrix("wide", 2_000));
    let mut frozen = matrix("frozen", 3);
    frozen.trainable = false;
    layout.add(frozen);
    layout.add(ParamSpec::gain("gain", 70_000));
    layout.add(matrix("small", 1));
    let start: Vec<f32> = layout.initial(&mut Random::new(1));
    let run = |mut adam: Adam<f32>| {
        let (mut params, mut random) = (start.clone(), Random::new(2));
        for _ in 0..3 {
            let gradient: Vec<f32> =
                (0..layout.trainable_len()).map(|_| random.gauss(0.0, 1.0) as f32).collect();
            adam.update(&mut params, &gradient, 0.01);
        }
        let moments: Vec<Vec<u32>> = adam.state().iter().map(|(_, numbers)| bits(numbers)).collect();
        (bits(&params), moments)
    };
    let one_thread = run(Adam::new(&layout, ADAMW));
    let changed = start.iter().zip(&one_thread.0).filter(|(before, after)| before.to_bits() != **after);
    assert_eq!(changed.count(), layout.trainable_len(), "all but the frozen ones");
    for threads in THREADS {
        assert!(
            run(Adam::new(&layout, ADAMW).on(ThreadPool::new(threads))) == one_thread,
            "{threads} threads"
        );
    }
}
