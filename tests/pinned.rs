//! The first ten losses of the presets, on both engines.
//!
//! The scalar engine computes in `f64` and is held against microgpt.py elsewhere; the fast engine must give the same
//! losses within what 32 bits allow. The figures of the dialog model were computed by the scalar engine, too.

use std::path::Path;

use gradus::Engine;
use gradus::data::{Batch, Dialogs, Names};
use gradus::fast::FastEngine;
use gradus::model::{Decoder, DecoderConfig, Model};
use gradus::optim::{Adam, Optimizer};
use gradus::random::Random;
use gradus::scalar::ScalarEngine;
use gradus::thread_pool::ThreadPool;
use gradus::train::{Settings, Trainer};
use serde::Deserialize;

#[path = "common/dataset.rs"]
mod dataset;
#[path = "common/dialog_trainer.rs"]
mod dialog_trainer;

use dialog_trainer::{ADAMW, METHODS, Method, SETTINGS, dialogs};

/// How far losses of the two engines may lie apart.
const NARROW: f64 = 1e-5;

/// How far those of the scalar engine may lie from what it computed elsewhere, where a last digit may differ.
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

/// What microgpt.py printed, and the names that it read first.
#[derive(Deserialize)]
struct Golden {
    docs: usize,
    bytes: u64,
    first_docs: Vec<String>,
    losses: Vec<f64>,
}

/// The first losses of the names GPT, from batches of its own making.
fn names<E: Engine>(engine: E, vocab_size: usize, docs: usize, batches: &[Batch]) -> Vec<f64> {
    let mut random = Random::python(42);
    random.shuffle(&mut vec![(); docs]); // which name is where does not matter to the dice
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

    // The file itself, where it is on this machine and no other of that name.
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

/// With many names in a batch, on the names that come with the crate.
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

/// An optimizer for 32 bits in the service of an engine of 64.
struct Narrowed {
    optimizer: Box<dyn Optimizer<f32>>,
    params: Vec<f32>,
}

impl Optimizer<f64> for Narrowed {
    fn update(&mut self, params: &mut [f64], gradient: &[f64], learning_rate: f64) {
        let gradient: Vec<f32> = gradient.iter().map(|&g| g as f32).collect();
        self.optimizer.update(&mut self.params, &gradient, learning_rate);
        params.iter_mut().zip(&self.params).for_each(|(to, &w)| *to = f64::from(w));
    }

    fn state(&mut self) -> Vec<(&'static str, &mut [f64])> {
        Vec::new()
    }

    fn steps(&self) -> usize {
        self.optimizer.steps()
    }

    fn set_steps(&mut self, steps: usize) {
        self.optimizer.set_steps(steps);
    }
}

/// The first losses of the dialog model, with everything that its training has.
fn dialog<E: Engine>(mut trainer: Trainer<Decoder, E>, text: &Dialogs) -> Vec<f64> {
    let (mut batch, mut random) = (Batch::new(), Random::new(7));
    let learn = |_| {
        text.fill(&mut batch, &mut random, 1, trainer.model().context());
        trainer.step(&batch).loss
    };
    (0..10).map(learn).collect()
}

/// What the scalar engine computed with AdamW, and with Muon, whose products of matrices are of 32 bits. They change with
/// `datasets/dialog.txt`, with the preset, and with the settings in `common/dialog_trainer.rs`: the test prints what they
/// have become.
const DIALOG: [(Method, [f64; 10], f64); 2] = [
    (
        Method::Muon,
        [
            4.357410222452721,
            4.549149140297086,
            4.112405009940566,
            3.9289042590394456,
            3.635973327943087,
            3.5801234685883814,
            3.523348725679212,
            3.4733107597444306,
            3.401866271652018,
            3.447412833626888,
        ],
        NARROW,
    ),
    (
        Method::Adamw,
        [
            4.357410222452721,
            4.35170699179095,
            3.795853279200663,
            3.539693518520129,
            3.319087481617029,
            3.360793194796212,
            3.322350074153515,
            3.2945769163610836,
            3.1795437217998193,
            3.373056914706618,
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
        let (model, params) = (trainer.model().clone(), trainer.params().to_vec());
        let wide = params.iter().map(|&w| f64::from(w)).collect();
        let optimizer: Box<dyn Optimizer<f64>> = match method {
            Method::Muon => Box::new(Narrowed {
                optimizer: method.optimizer(model.layout(), &ThreadPool::new(2)),
                params,
            }),
            Method::Adamw => Box::new(Adam::new(params.len(), ADAMW)),
        };
        let fast = dialog(trainer, &text);
        let scalar = Trainer::with_optimizer(model, ScalarEngine::new(), optimizer, SETTINGS, wide);
        let scalar = dialog(scalar, &text);
        assert_close(&format!("dialog with {method:?}, fast and scalar"), &fast, &scalar, NARROW);
        assert_close(
            &format!("dialog with {method:?}, scalar and its figures"),
            &scalar,
            &figures,
            tolerance,
        );
    }
}
