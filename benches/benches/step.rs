//! A step of training for each preset and engine.
//!
//! ```text
//! cargo bench --bench step
//! cargo bench --bench step -- names
//! cargo bench --bench step -- dialog/adamw
//! ```
//!
//! Throughput is in names and in characters.

use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use gradus::fast::FastEngine;
use gradus::model::{Decoder, DecoderConfig};
use gradus::optim::Optimizer;
use gradus::scalar::ScalarEngine;
use gradus::thread_pool::ThreadPool;
use gradus_benches::ladder::blocks::BlocksEngine;
use gradus_benches::ladder::{NamesTask, TrainingRun};
use gradus_benches::work::{Names, VOCAB, adamw, dialog, muon, stretches};

/// microgpt one name at a time on both engines, and wider ones with 16 names a step on whole matrices, with one thread.
fn names(criterion: &mut Criterion) {
    let task = NamesTask::load().expect("datasets/names.txt comes with the repository");
    let mut group = criterion.benchmark_group("names");
    group.sample_size(20).measurement_time(Duration::from_secs(3));
    let mut bench = |engine: &str, width: usize, size: usize| {
        let start = |task: &NamesTask| -> anyhow::Result<Box<dyn TrainingRun>> {
            let model = task.model(width)?;
            Ok(match engine {
                "scalar" => Box::new(task.trainer(model, ScalarEngine::new())),
                "blocks" => Box::new(task.trainer(model, BlocksEngine::default())),
                _ => Box::new(task.trainer(model, FastEngine::new(ThreadPool::new(1)))),
            })
        };
        let name = format!("{engine}, {width} wide, {size} name{}", if size == 1 { "" } else { "s" });
        let mut steps = Names::new(&task, size, start).expect("such a model can be built");
        group.throughput(Throughput::Elements(size as u64));
        group.bench_function(name, |bencher| bencher.iter_custom(|count| steps.time(count)));
    };
    for engine in ["scalar", "blocks", "fast"] {
        bench(engine, 16, 1);
    }
    for width in [16, 32, 64, 128] {
        bench("fast", width, 16);
    }
    group.finish();
}

/// Makes an optimizer of a model's weights.
type Start = fn(&Decoder, ThreadPool) -> Box<dyn Optimizer<f32>>;

/// The dialog preset, 32 stretches of 64 characters, with both optimizers on the fast engine, and once on the scalar one.
fn dialogs(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("dialog");
    group.sample_size(20).measurement_time(Duration::from_secs(5));
    let config = DecoderConfig::dialog(VOCAB);
    let batch = stretches(32, config.context);
    group.throughput(Throughput::Elements(batch.len() as u64));
    for threads in [1, 2] {
        let threads = ThreadPool::new(threads);
        let optimizers: [(&str, Start); 2] = [("adamw", |model, _| adamw(model)), ("muon", muon)];
        for (name, start) in optimizers {
            let (engine, optimizer) =
                (FastEngine::new(threads.clone()), |model: &_| start(model, threads.clone()));
            let mut trainer = dialog(config.clone(), engine, optimizer).expect("the preset can be built");
            let name = format!("{name}, threads: {}", threads.count());
            group.bench_function(name, |bencher| bencher.iter(|| trainer.step(&batch)));
        }
    }
    group.sample_size(10);
    let mut trainer = dialog(config, ScalarEngine::new(), adamw).expect("the preset can be built");
    group.bench_function("adamw, scalar", |bencher| bencher.iter(|| trainer.step(&batch)));
    group.finish();
}

criterion_group!(benches, names, dialogs);
criterion_main!(benches);
