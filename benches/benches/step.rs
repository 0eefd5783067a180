//! A training step for each preset and engine.
//!
//! ```text
//! cargo bench --bench step
//! cargo bench --bench step -- names
//! cargo bench --bench step -- dialog/adamw
//! cargo bench --bench step -- sphere
//! ```
//!
//! Throughput is in names and in characters.

use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use gradus::fast::FastEngine;
use gradus::model::{Decoder, DecoderConfig, Sphere, SphereConfig};
use gradus::optim::Optimizer;
use gradus::scalar::ScalarEngine;
use gradus::thread_pool::ThreadPool;
use gradus_benches::ladder::blocks::BlocksEngine;
use gradus_benches::ladder::{DynTrainer, NamesWorkload};
use gradus_benches::training::{
    NamesTimer, VOCAB, adamw, adamw_trainer, decoder_beside, dialog_trainer, muon, random_batch,
};

/// One name a step at microgpt's size on the scalar engine, on the ladder's blocks and on the fast engine; then 16 names a
/// step on the fast engine for growing widths. One thread.
fn names(criterion: &mut Criterion) {
    let workload = NamesWorkload::load().expect("datasets/names.txt comes with the repository");
    let mut group = criterion.benchmark_group("names");
    group.sample_size(20).measurement_time(Duration::from_secs(3));
    let mut bench = |engine: &str, width: usize, batch_size: usize| {
        let new_trainer = |workload: &NamesWorkload| -> anyhow::Result<Box<dyn DynTrainer>> {
            let model = workload.model(width)?;
            Ok(match engine {
                "scalar" => Box::new(workload.trainer(model, ScalarEngine::new())),
                "blocks" => Box::new(workload.trainer(model, BlocksEngine::default())),
                "fast" => Box::new(workload.trainer(model, FastEngine::new(ThreadPool::new(1)))),
                other => panic!("there is no engine {other}"),
            })
        };
        let mut timer = NamesTimer::new(&workload, batch_size, new_trainer).expect("a valid model");
        let name =
            format!("{engine}, {width} wide, {batch_size} name{}", if batch_size == 1 { "" } else { "s" });
        group.throughput(Throughput::Elements(batch_size as u64));
        group.bench_function(name, |bencher| bencher.iter_custom(|steps| timer.time(steps)));
    };
    for engine in ["scalar", "blocks", "fast"] {
        bench(engine, 16, 1);
    }
    for width in [16, 32, 64, 128] {
        bench("fast", width, 16);
    }
    group.finish();
}

/// Makes an optimizer for a model's parameters.
type NewOptimizer = fn(&Decoder, ThreadPool) -> Box<dyn Optimizer<f32>>;

/// The dialog preset on 32 sequences of 64 characters: on the fast engine with both optimizers, on the scalar engine with
/// AdamW.
fn dialog(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("dialog");
    group.sample_size(20).measurement_time(Duration::from_secs(5));
    let config = DecoderConfig::dialog(VOCAB);
    let batch = random_batch(32, config.context);
    group.throughput(Throughput::Elements(batch.len() as u64));
    for threads in [1, 2] {
        let threads = ThreadPool::new(threads);
        let optimizers: [(&str, NewOptimizer); 2] = [("adamw", |model, _| adamw(model)), ("muon", muon)];
        for (name, new_optimizer) in optimizers {
            let engine = FastEngine::new(threads.clone());
            let optimizer = |model: &_| new_optimizer(model, threads.clone());
            let mut trainer = dialog_trainer(config.clone(), engine, optimizer).expect("a valid preset");
            let name = format!("{name}, threads: {}", threads.count());
            group.bench_function(name, |bencher| bencher.iter(|| trainer.step(&batch)));
        }
    }
    group.sample_size(10);
    let mut trainer = dialog_trainer(config, ScalarEngine::new(), adamw).expect("a valid preset");
    group.bench_function("adamw, scalar", |bencher| bencher.iter(|| trainer.step(&batch)));
    group.finish();
}

/// The normalized transformer and a decoder of the same sizes, on 32 sequences of 128 characters, with AdamW and
/// clipping, on the fast engine: what normalising costs, the projection of the weights included. One thread.
fn sphere(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("sphere");
    group.sample_size(20).measurement_time(Duration::from_secs(10));
    let config = SphereConfig::paper(VOCAB);
    let batch = random_batch(32, config.context);
    group.throughput(Throughput::Elements(batch.len() as u64));
    let decoder = Decoder::new(decoder_beside(&config)).expect("it fits");
    let mut trainer = adamw_trainer(decoder);
    group.bench_function("decoder", |bencher| bencher.iter(|| trainer.step(&batch)));
    let mut trainer = adamw_trainer(Sphere::new(config).expect("it fits"));
    group.bench_function("sphere", |bencher| bencher.iter(|| trainer.step(&batch)));
    group.finish();
}

criterion_group!(benches, names, dialog, sphere);
criterion_main!(benches);
