//! Tokens a second of the small models, drawn one after another on the engines that train them.
//!
//! ```text
//! cargo bench --bench sampling
//! ```

use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use gradus::Engine;
use gradus::fast::FastEngine;
use gradus::generate::{Sampler, Sampling, Stop, generate};
use gradus::model::{Decoder, DecoderConfig, Model};
use gradus::random::Random;
use gradus::scalar::ScalarEngine;
use gradus::thread_pool::ThreadPool;
use gradus_benches::training::VOCAB;

/// Generates `count` tokens after a prompt of one. If they do not fit into the context, the last half of it is read again
/// whenever it is full.
fn generate_tokens<E: Engine>(
    criterion: &mut Criterion,
    name: &str,
    mut engine: E,
    config: DecoderConfig,
    count: usize,
) {
    let model = Decoder::new(config).expect("a valid preset");
    let mut random = Random::new(42);
    let params: Vec<E::Real> = model.layout().initial(&mut random);
    let mut sampler = Sampler::new(Sampling { temperature: 0.8, ..Sampling::default() });
    let mut group = criterion.benchmark_group("sampling");
    group.sample_size(20).measurement_time(Duration::from_secs(3));
    group.throughput(Throughput::Elements(count as u64));
    group.bench_function(name, |bencher| {
        bencher.iter(|| {
            let stop = Stop::after(count);
            generate(&mut engine, &model, &params, &[0], &stop, &mut sampler, &mut random)
        });
    });
    group.finish();
}

fn generation(criterion: &mut Criterion) {
    let names = DecoderConfig::microgpt(27);
    let dialog = DecoderConfig::dialog(VOCAB);
    let fast = || FastEngine::new(ThreadPool::new(1));
    generate_tokens(criterion, "names, scalar", ScalarEngine::new(), names.clone(), names.context - 1);
    generate_tokens(criterion, "names, fast", fast(), names.clone(), names.context - 1);
    generate_tokens(criterion, "dialog, scalar", ScalarEngine::new(), dialog.clone(), dialog.context - 1);
    generate_tokens(criterion, "dialog, fast", fast(), dialog.clone(), dialog.context - 1);
    generate_tokens(criterion, "dialog, fast, beyond the context", fast(), dialog.clone(), 300);
}

criterion_group!(benches, generation);
criterion_main!(benches);
