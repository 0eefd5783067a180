//! A training run that is saved and restored continues as if it had never stopped: losses, parameters, averages, the state of
//! the optimizer, the difficulty of bigrams, the random generator and early stopping are the same, bit for bit. A state that
//! is damaged, or belongs to another run, is refused.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use gradus::checkpoint::write_atomically;
use gradus::data::Batch;
use gradus::fast::FastEngine;
use gradus::model::{Decoder, DecoderConfig};
use gradus::optim::{Adam, AdamSettings};
use gradus::random::{Random, RandomState};
use gradus::scalar::ScalarEngine;
use gradus::train::{EarlyStopping, Settings, Trainer};
use gradus::{Engine, Model};

#[path = "common/dialog_trainer.rs"]
mod dialog_trainer;
#[path = "common/method.rs"]
mod method;
#[path = "common/state.rs"]
mod state;

use dialog_trainer::dialogs;
use method::{ADAMW, METHODS, Method, SETTINGS};
use state::{FILE, State, state};

const CONTEXT: usize = 16;
const HALF: usize = 15;

fn config(vocab_size: usize) -> DecoderConfig {
    DecoderConfig { n_layer: 2, n_embd: 16, n_ffn: 32, context: CONTEXT, ..DecoderConfig::dialog(vocab_size) }
}

/// The caller's part of a saved state: that of the loop around a trainer.
type CallerState = (RandomState, EarlyStopping);

/// Trains on slices of the dialogues and validates at every fourth step. Returns all losses.
fn train<E: Engine>(
    trainer: &mut Trainer<Decoder, E>,
    steps: usize,
    random: &mut Random,
    stopping: &mut EarlyStopping,
) -> Vec<f64> {
    let text = dialogs(CONTEXT);
    let validation = text.validation(8, 4, CONTEXT);
    let (mut batch, mut losses) = (Batch::new(), Vec::new());
    for _ in 0..steps {
        text.fill(&mut batch, random, 3, CONTEXT);
        losses.push(trainer.step(&batch).loss);
        if trainer.steps_done().is_multiple_of(4) {
            let val_loss = trainer.validate(&validation);
            stopping.record(val_loss);
            losses.push(val_loss);
        }
    }
    losses
}

/// Checks that an uninterrupted run and the same run, stopped in the middle and resumed, end in the same state. `make` makes
/// a trainer with the initial parameters of a seed; its second argument counts the calls.
fn resumed_equals_uninterrupted<E: Engine>(
    name: &str,
    mut make: impl FnMut(u64, usize) -> Trainer<Decoder, E>,
) -> State {
    let folders = [(); 3].map(|()| tempfile::tempdir().expect("a folder"));
    let [uninterrupted, stopped, resumed] = folders.each_ref().map(|folder| folder.path());

    let (mut random, mut stopping) = (Random::new(5), EarlyStopping::new(3));
    let mut trainer = make(1, 0);
    let losses = train(&mut trainer, 2 * HALF, &mut random, &mut stopping);
    trainer.save_state(uninterrupted, (random.state(), stopping)).expect("it can be saved");

    let (mut random, mut stopping) = (Random::new(5), EarlyStopping::new(3));
    let mut trainer = make(1, 1);
    let mut resumed_losses = train(&mut trainer, HALF, &mut random, &mut stopping);
    trainer.save_state(stopped, (random.state(), stopping)).expect("it can be saved");
    drop(trainer);

    // Another seed: parameters and random generator must come from the file.
    let mut trainer = make(2, 2);
    let (rng_state, mut stopping): CallerState = trainer.restore_state(stopped).expect("it can be restored");
    assert_eq!(trainer.steps_done(), HALF, "{name}");
    let peeked: CallerState = Trainer::<Decoder, E>::peek_state(stopped).expect("it can be read");
    assert_eq!((&peeked.0, peeked.1), (&rng_state, stopping), "{name}");
    let mut random = Random::restore(&rng_state).expect("a valid state");
    resumed_losses.extend(train(&mut trainer, HALF, &mut random, &mut stopping));
    trainer.save_state(resumed, (random.state(), stopping)).expect("it can be saved");

    assert_eq!(resumed_losses, losses, "{name}: losses");
    let (expected, actual) = (state(uninterrupted), state(resumed));
    assert!(expected == actual, "{name}: {} and {}", expected.description, actual.description);
    expected
}

#[test]
fn a_resumed_run_equals_an_uninterrupted_one() {
    let vocab = dialogs(CONTEXT).vocab_size();
    for method in METHODS {
        // With another number of threads each time.
        let state = resumed_equals_uninterrupted(&format!("{method:?}"), |seed, call| {
            method.learner(&config(vocab), call + 1, seed)
        });
        let names: Vec<&str> = state.numbers.keys().map(String::as_str).collect();
        let common = ["adam.m", "adam.v", "difficulty", "ema"];
        let expected: Vec<&str> = match method {
            Method::Muon => common.into_iter().chain(["muon.momentum", "params"]).collect(),
            Method::Adamw => common.into_iter().chain(["params"]).collect(),
        };
        assert_eq!(names, expected);
        assert_eq!(state.description["step"], 2 * HALF);
        for (name, bytes) in &state.numbers {
            assert!(bytes.iter().any(|byte| *byte != 0), "{method:?}: {name} is all zeros");
        }
    }
}

#[test]
fn a_resumed_run_equals_an_uninterrupted_one_on_the_scalar_engine() {
    let vocab = dialogs(CONTEXT).vocab_size();
    resumed_equals_uninterrupted("scalar", |seed, _| {
        let model =
            Decoder::new(DecoderConfig { n_layer: 1, ..config(vocab) }).expect("a valid configuration");
        let params: Vec<f64> = model.layout().initial(&mut Random::new(seed));
        let adam = Box::new(Adam::new(model.layout(), ADAMW));
        Trainer::with_optimizer(model, ScalarEngine::new(), adam, SETTINGS, params)
    });
    // The state of microgpt is only its parameters and that of Adam.
    let state = resumed_equals_uninterrupted("microgpt", |seed, _| {
        let model = Decoder::new(DecoderConfig::microgpt(vocab)).expect("a preset");
        Trainer::new(model, ScalarEngine::new(), Settings::default(), &mut Random::new(seed))
    });
    assert_eq!(state.numbers.len(), 3);
}

/// A trainer after three steps, and the folder in which it was saved.
fn saved(method: Method) -> (tempfile::TempDir, Trainer<Decoder, FastEngine>) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut trainer = method.learner(&config(dialogs(CONTEXT).vocab_size()), 1, 1);
    train(&mut trainer, 3, &mut Random::new(1), &mut EarlyStopping::new(1));
    trainer.save_state(folder.path(), "caller").expect("it can be saved");
    (folder, trainer)
}

#[test]
fn a_state_of_another_run_is_refused() {
    let vocab = dialogs(CONTEXT).vocab_size();
    let config = config(vocab);
    let with = |settings: Settings| {
        let model = Decoder::new(config.clone()).expect("a valid configuration");
        let params: Vec<f32> = model.layout().initial(&mut Random::new(1));
        let adam = Box::new(Adam::new(model.layout(), AdamSettings::MICROGPT));
        Trainer::with_optimizer(
            model,
            FastEngine::new(gradus::thread_pool::ThreadPool::new(1)),
            adam,
            settings,
            params,
        )
    };
    let wider = DecoderConfig { n_ffn: 33, ..config.clone() };
    let more = DecoderConfig { vocab_size: vocab + 1, ..config.clone() };
    let others = [
        ("another width", Method::Adamw, Method::Adamw.learner(&wider, 1, 1)),
        ("another vocabulary", Method::Adamw, Method::Adamw.learner(&more, 1, 1)),
        ("AdamW's, for Muon", Method::Adamw, Method::Muon.learner(&config, 1, 1)),
        ("Muon's, for AdamW", Method::Muon, Method::Adamw.learner(&config, 1, 1)),
        ("without averages", Method::Adamw, with(Settings { ema_decay: None, ..SETTINGS })),
        ("without weighting", Method::Adamw, with(Settings { weighting: false, ..SETTINGS })),
    ];
    let mut accepted = Vec::new();
    for (name, method, mut trainer) in others {
        let (folder, _) = saved(method);
        match trainer.restore_state::<String>(folder.path()) {
            Ok(_) => accepted.push(name),
            Err(error) => assert!(error.to_string().contains(FILE), "{name}: {error}"),
        }
    }
    for settings in [Settings { ema_decay: None, ..SETTINGS }, Settings { weighting: false, ..SETTINGS }] {
        let folder = tempfile::tempdir().expect("a folder");
        with(settings).save_state(folder.path(), "caller").expect("it can be saved");
        assert!(with(settings).restore_state::<String>(folder.path()).is_ok());
        assert!(with(SETTINGS).restore_state::<String>(folder.path()).is_err(), "{settings:?}");
    }
    assert!(accepted.is_empty(), "accepted: {}", accepted.join(", "));
}

#[test]
fn a_damaged_state_is_refused() {
    let (folder, mut trainer) = saved(Method::Muon);
    let path = folder.path().join(FILE);
    let valid = fs::read(&path).expect("a saved state");
    let mut assert_refused = |bytes: &[u8], what: &str| {
        fs::write(&path, bytes).expect("it can be replaced");
        let error = trainer.restore_state::<String>(folder.path()).err();
        let error = error.unwrap_or_else(|| panic!("{what} was accepted")).to_string();
        assert!(error.contains(FILE), "{what}: {error}");
    };
    let ends = (0..valid.len()).step_by(valid.len() / 150 + 1).chain([7, 8, 9, valid.len() - 1]);
    for end in ends {
        assert_refused(&valid[..end], &format!("the first {end} bytes"));
    }
    assert_refused(&[&valid[..], &[0]].concat(), "one more byte");
    let numbers = valid.len() - 8;
    let mut broken = valid.clone();
    broken[numbers..numbers + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    assert_refused(&broken, "a NaN");
    let mut broken = valid.clone();
    broken[20] = 0xff;
    assert_refused(&broken, "a header that is not UTF-8");
    // The caller's part of the state has another type.
    fs::write(&path, &valid).expect("it can be replaced");
    assert!(trainer.restore_state::<CallerState>(folder.path()).is_err());
    assert!(Trainer::<Decoder, FastEngine>::peek_state::<CallerState>(folder.path()).is_err());
    assert_eq!(trainer.restore_state::<String>(folder.path()).expect("a valid state again"), "caller");
    for missing in [PathBuf::from("no such folder"), path] {
        let error = trainer.restore_state::<String>(&missing).expect_err("no folder").to_string();
        assert!(error.contains(FILE), "{error}");
        assert!(Trainer::<Decoder, FastEngine>::peek_state::<String>(&missing).is_err());
    }
}

/// If several programs write the same file, a write may fail, but the file is never corrupted: a reader always finds the
/// complete file of one of them.
#[test]
fn concurrent_writers_never_corrupt_a_file() {
    const LENGTH: usize = 200_000;
    const WRITES: usize = 300;
    let folder = tempfile::tempdir().expect("a folder");
    let path = &folder.path().join(FILE);
    write_atomically(path, &[0; LENGTH]).expect("it can be written");
    let written = &AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for writer in 1..=3_u8 {
            scope.spawn(move || {
                while written.load(Ordering::Relaxed) < WRITES {
                    // While another thread is writing, this is an error.
                    match write_atomically(path, &[writer; LENGTH]) {
                        Ok(()) => _ = written.fetch_add(1, Ordering::Relaxed),
                        Err(_) => std::thread::yield_now(),
                    }
                }
            });
        }
        let mut reads = 0;
        while written.load(Ordering::Relaxed) < WRITES {
            let bytes = fs::read(path).expect("the file always exists");
            let complete = bytes.len() == LENGTH && bytes.iter().all(|byte| *byte == bytes[0]);
            reads += 1;
            if !complete {
                written.store(WRITES, Ordering::Relaxed);
                panic!("read {reads}: {} of {LENGTH} bytes, or bytes of several writers", bytes.len());
            }
        }
    });
    let bytes = fs::read(path).expect("the file exists");
    assert!(bytes.len() == LENGTH && bytes.iter().all(|byte| *byte == bytes[0]));
}
