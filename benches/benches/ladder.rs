//! A training step on every rung of the ladder.
//!
//! ```text
//! cargo bench --bench ladder
//! cargo bench --bench ladder -- creation
//! ```

use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use gradus_benches::ladder::{NamesWorkload, RUNGS};
use gradus_benches::training::NamesTimer;

fn ladder(criterion: &mut Criterion) {
    let workload = NamesWorkload::load().expect("datasets/names.txt comes with the repository");
    let mut group = criterion.benchmark_group("ladder");
    group.sample_size(20).warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3));
    for (at, rung) in RUNGS.iter().enumerate() {
        group.throughput(Throughput::Elements(rung.batch as u64));
        let mut timer = NamesTimer::new(&workload, rung.batch, rung.new_trainer).expect("a valid model");
        let name = format!("{at} {}", rung.name.replace('`', ""));
        group.bench_function(name, |bencher| bencher.iter_custom(|steps| timer.time(steps)));
    }
    group.finish();
}

criterion_group!(benches, ladder);
criterion_main!(benches);
