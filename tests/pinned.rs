//! The first ten losses of the presets, on both engines.
//!
//! The scalar engine computes in `f64`, and `golden.rs` compares it with microgpt.py. The fast engine must give the same
//! losses as far as 32 bits allow. The figures for the dialog model are the scalar engine's, too.

use std::path::Path;

use gradus::Engine;
use gradus::data::{Batch, Dialogs, Names};
use gradus::fast::FastEngine;
use gradus::model::{Decoder, DecoderConfig, Model};
use gradus::random::Random;
use gradus::scalar::ScalarEngine;
use gradus::thread_pool::ThreadPool;
use gradus::train::{Settings, Trainer};
use serde::Deserialize;

#[path = "common/dataset.rs"]
mod dataset;
#[path = "common/dialog_trainer.rs"]
mod dialog_trainer;
#[path = "common/method.rs"]
mod method;
#[path = "common/scalar_trainer.rs"]
mod scalar_trainer;

use dialog_trainer::dialogs;
use method::{METHODS, Method, SETTINGS};
use scalar_trainer::on_scalar;

/// How far apart the losses of the two engines may be.
const NARROW: f64 = 1e-5;

/// How far apart the scalar engine's may be on two machines, whose last digits may differ.
const WIDE: f64 = 1e-9;

fn assert_close(what: &str, ours: &[f64], theirs: &[f64], tolerance: f64) {
    assert_eq!(ours.len(), theirs.len(), "{what}");
    let gap = ours.iter().zip(theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    println!("{what}: at most {gap:.1e} apart");
    let close = ours.iter().zip(theirs).all(|(a, b)| (a - b).abs() < tolerance);
    assert!(close, "{what}: {ours:?} instead of {theirs:?}, at most {gap:.1e} apart");
}

fn fast() -> FastEngine {
    FastEngine::new(ThreadPool::new(2))
}

/// What microgpt.py printed, and the first names that it read.
#[derive(Deserialize)]
struct Golden {
    docs: usize,
    bytes: u64,
    first_docs: Vec<String>,
    losses: Vec<f64>,
}

/// The first losses of the names GPT on given batches.
fn names<E: Engine>(engine: E, vocab_size: usize, docs: usize, batches: &[Batch]) -> Vec<f64> {
    let mut random = Random::python(42);
    random.shuffle(&mut vec![(); docs]); // draws as many random numbers as to shuffle the names
    let model = Decoder::new(DecoderConfig::microgpt(vocab_size)).expect("a preset is right");
    let mut trainer = Trainer::new(model, engine, Settings::default(), &mut random);
    batches.iter().map(|batch| trainer.step(batch).loss).collect()
}

#[test]
fn names_as_microgpt_learns_them() {
    let golden: Golden =
        serde_json::from_str(include_str!("golden/microgpt.json")).expect("the figures parse");
    let batch = |name: &String| {
        let letters = name.bytes().map(|letter| usize::from(letter - b'a'));
        let mut batch = Batch::new();
        batch.push([26].into_iter().chain(letters).chain([26]).take(17));
        batch
    };
    let batches: Vec<Batch> = golden.first_docs.iter().map(batch).collect();
    assert_eq!(batches.len(), 10);
    let scalar = names(ScalarEngine::new(), 27, golden.docs, &batches);
    let fast_losses = names(fast(), 27, golden.docs, &batches);
    assert_close("names, fast and scalar", &fast_losses, &scalar, NARROW);
    assert_close("names, fast and microgpt.py", &fast_losses, &golden.losses[..10], NARROW);

    // The file itself, if it is on this machine.
    let file = dataset::dataset("names.txt");
    let is_it = |path: &Path| std::fs::metadata(path).is_ok_and(|data| data.len() == golden.bytes);
    if let Some(path) = file.filter(|path| is_it(path)) {
        let mut names_read = Names::read(&path).expect("the names can be read");
        names_read.shuffle(&mut Random::python(42));
        let batch = |step| {
            let mut batch = Batch::new();
            names_read.fill(&mut batch, step, 1, 16);
            batch
        };
        let batches: Vec<Batch> = (0..10).map(batch).collect();
        let read = names(fast(), 27, golden.docs, &batches);
        assert_eq!(read, fast_losses);
    }
}

/// Many names in a batch, from those that come with the crate.
#[test]
fn names_in_batches() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("datasets/names.txt");
    let mut shipped = Names::read(&path).expect("the names can be read");
    shipped.shuffle(&mut Random::python(42));
    for size in [4, 100] {
        let batch = |step| {
            let mut batch = Batch::new();
            shipped.fill(&mut batch, step, size, 16);
            batch
        };
        let batches: Vec<Batch> = (0..10).map(batch).collect();
        let [scalar, fast] = [
            names(ScalarEngine::new(), shipped.vocab_size(), shipped.len(), &batches),
            names(fast(), shipped.vocab_size(), shipped.len(), &batches),
        ];
        assert_close(&format!("{size} names a step"), &fast, &scalar, NARROW);
    }
}

/// The first losses of the dialog model, with everything its training has.
fn dialog<E: Engine>(mut trainer: Trainer<Decoder, E>, text: &Dialogs) -> Vec<f64> {
    let (mut batch, mut random) = (Batch::new(), Random::new(7));
    let learn = |_| {
        text.fill(&mut batch, &mut random, 1, trainer.model().context());
        trainer.step(&batch).loss
    };
    (0..10).map(learn).collect()
}

/// What the scalar engine computed with AdamW, and with Muon, whose matrix products are in 32 bits. They change with
/// `datasets/dialog.txt`, with the preset, and with the settings in `common/method.rs`: then the test prints the new
/// ones.
const DIALOG: [(Method, [f64; 10], f64); 2] = [
    (
        Method::Muon,
        [
            4.357410222452721,
            4.549149434028037,
            4.112406657388755,
            3.928902562816783,
            3.6359570907923455,
            3.580101728008755,
            3.523314385595344,
            3.4732666317931367,
            3.401891480357234,
            3.447472035797905,
        ],
        NARROW,
    ),
    (
        Method::Adamw,
        [
            4.357410222452721,
            4.351707016223172,
            3.7958546166859324,
            3.5396796662458447,
            3.3190684405717668,
            3.360776533657864,
            3.3223272304947487,
            3.294558345019054,
            3.1795247855820326,
            3.3730733554266497,
        ],
        WIDE,
    ),
];

#[test]
fn dialog_in_its_preset() {
    let text = dialogs(64);
    let config = DecoderConfig::dialog(text.vocab_size());
    assert_eq!(DIALOG.map(|(method, ..)| method), METHODS);
    for (method, figures, tolerance) in DIALOG {
        let trainer = method.learner(&config, 2, 42);
        let scalar = dialog(on_scalar(method, trainer.model().clone(), SETTINGS, trainer.params()), &text);
        let fast = dialog(trainer, &text);
        assert_close(&format!("dialog with {method:?}, fast and scalar"), &fast, &scalar, NARROW);
        assert_close(
            &format!("dialog with {method:?}, scalar and its figures"),
            &scalar,
            &figures,
            tolerance,
        );
    }
}
