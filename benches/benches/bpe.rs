//! Byte-level BPE: cutting a text into pieces, encoding it, and training on it.
//!
//! ```text
//! cargo bench --bench bpe
//! cargo bench --bench bpe -- encode
//! ```
//!
//! The texts are those in `datasets/`, so training is smaller here than in earnest; the example `bpe` measures any files. One
//! thread.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use gradus::data;
use gradus::random::Random;
use gradus::tokenizer::{BpeTrainer, Pattern, Tokenizer};

const PATTERNS: [(&str, Pattern); 2] = [("gpt-2", Pattern::Gpt2), ("llama-bpe", Pattern::Llama3)];

/// A dataset that comes with the repository.
fn dataset(name: &str) -> String {
    let path = data::find(name).expect("it comes with the repository");
    std::fs::read_to_string(path).expect("it is text")
}

fn bpe(criterion: &mut Criterion) {
    let (dialogs, korean) = (dataset("dialog.txt"), dataset("korean.txt"));
    let mut random = Random::new(42);
    let letters: String = (0..1 << 20).map(|_| char::from(b'a' + random.below(26) as u8)).collect();
    // What is encoded, by the vocabulary of what it is part of.
    let texts = [
        ("dialogs", dialogs.clone()),
        ("korean", korean.clone()),
        ("one letter", "a".repeat(1 << 20)),
        ("one word of letters", letters),
    ];
    let mut group = criterion.benchmark_group("bpe");
    group.sample_size(20).warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3));
    for (name, pattern) in PATTERNS {
        let trainer = BpeTrainer { vocab_size: 4096, pattern, ..BpeTrainer::default() };
        group.throughput(Throughput::Bytes(dialogs.len() as u64));
        group.bench_function(format!("train {name}"), |bencher| {
            bencher.iter(|| trainer.train(&[black_box(&dialogs)]).expect("a vocabulary"));
        });
        let tokenizer = trainer.train(&[&dialogs, &korean, &texts[2].1]).expect("a vocabulary");
        for (text_name, text) in &texts {
            group.throughput(Throughput::Bytes(text.len() as u64));
            group.bench_function(format!("pieces {name}, {text_name}"), |bencher| {
                bencher.iter(|| pattern.pieces(black_box(text)).count());
            });
            group.bench_function(format!("encode {name}, {text_name}"), |bencher| {
                bencher.iter(|| tokenizer.encode(black_box(text)).expect("any text has tokens"));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, bpe);
criterion_main!(benches);
