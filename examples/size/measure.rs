//! How fast this machine is.

use std::time::{Duration, Instant};

use gradus::data::Batch;
use gradus::fast::FastEngine;
use gradus::gemm::{MatMut, MatRef, gemm};
use gradus::model::Model;
use gradus::optim::{Adam, AdamSettings};
use gradus::random::Random;
use gradus::thread_pool::ThreadPool;
use gradus::train::{Settings, Trainer};
use support::peak_memory;

/// AdamW as GPT-3 was trained with it (Brown et al. 2020, appendix B).
const ADAMW: AdamSettings =
    AdamSettings { beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.1, decay_embeddings: true };

/// No step is begun after this time.
const LONG_ENOUGH: Duration = Duration::from_secs(60);

/// How long a product is repeated.
const HALF_A_SECOND: Duration = Duration::from_millis(500);

/// The sides of the matrices that are multiplied: three of them fit into the caches of most processors.
const SIDE: usize = 384;

/// What real steps showed.
pub struct Steps {
    /// How many there were.
    pub count: usize,
    /// The time of one, in seconds: the median. The first, in which memory is asked for, counts only if it is the only one.
    pub seconds: f64,
    /// The loss of the first, in nats a token.
    pub loss: f64,
    /// The most memory that the program has had, in bytes, if the system says.
    pub peak: Option<f64>,
}

/// Makes up to `most` steps with AdamW on one batch.
pub fn steps<M: Model>(model: M, batch: &Batch, most: usize, threads: ThreadPool) -> Steps {
    let params = model.layout().initial(&mut Random::new(1));
    let settings = Settings {
        steps: most,
        learning_rate: 3e-4,
        clip: Some(1.0),
        dropout_seed: Some(1),
        ..Settings::default()
    };
    let adamw = Box::new(Adam::new(model.layout(), ADAMW).on(threads.clone()));
    let mut trainer = Trainer::with_optimizer(model, FastEngine::new(threads), adamw, settings, params);
    let start = Instant::now();
    let (mut times, mut losses) = (Vec::new(), Vec::new());
    while times.len() < most && (times.is_empty() || start.elapsed() < LONG_ENOUGH) {
        let before = Instant::now();
        losses.push(trainer.step(batch).loss);
        times.push(before.elapsed().as_secs_f64());
    }
    let count = times.len();
    let later = &mut times[usize::from(count > 1)..];
    later.sort_by(f64::total_cmp);
    Steps { count, seconds: later[later.len() / 2], loss: losses[0], peak: peak_memory() }
}

/// Floating-point operations a second of a product of matrices, which every thread repeats for half a second.
pub fn product_speed(threads: &ThreadPool) -> f64 {
    struct Work {
        matrices: [Vec<f32>; 3],
        products: usize,
    }
    let work = || Work { matrices: [0.5, 0.25, 0.0].map(|x| vec![x; SIDE * SIDE]), products: 0 };
    let mut all: Vec<Work> = (0..threads.count()).map(|_| work()).collect();
    let start = Instant::now();
    threads.for_each(&mut all, |work| {
        let Work { matrices: [a, b, c], products } = work;
        while start.elapsed() < HALF_A_SECOND {
            let (a, b) = (MatRef::new(a, SIDE, SIDE), MatRef::new(b, SIDE, SIDE));
            gemm(1.0, a, b, 0.0, MatMut::new(c, SIDE, SIDE));
            *products += 1;
        }
    });
    let products: usize = all.iter().map(|work| work.products).sum();
    2.0 * (SIDE as f64).powi(3) * products as f64 / start.elapsed().as_secs_f64()
}
