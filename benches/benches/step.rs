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
use gradus_benches::ladder::{NamesTask, TrainingRun};
use gradus_benches::work::{Names, VOCAB, adamw, dialog, muon, stretches};

/// microgpt one name at a time on both engines, and wider ones with 16 names a step on whole matrices, with one thread.
fn names(criterion: &mut Criterion) {
    let task = NamesTask::load().expect("datasets/names.txt comes with the repository");
    let mut group = criterion.benchmark_group("names");
    group.sample_size(20).measurement_time(Duration::from_secs(3));
    let mut bench = |name: &str, size: usize, width: usize, scalar: bool| {
        let start = |task: &NamesTask| -> anyhow::Result<Box<dyn TrainingRun>> {
            Ok(if scalar {
                Box::new(task.trainer(task.model(width)?, ScalarEngine::new()))
            } else {
                Box::new(task.trainer(task.model(width)?, FastEngine::new(ThreadPool::new(1))))
            })
        };
        let mut steps = Names::new(&task, size, start).expect("such a model can be built");
        group.throughput(Throughput::Elements(size as u64));
        group.bench_function(name, |bencher| bencher.iter_custom(|count| steps.time(count)));
    };
    bench("scalar, 16 wide, 1 name", 1, 16, true);
    bench("fast, 16 wide, 1 name", 1, 16, false);
    for width in [16, 32, 64, 128] {
        bench(&format!("fast, {width} wide, 16 names"), 16, width, false);
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
