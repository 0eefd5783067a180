//! Training that is saved and restored continues as if it had never stopped: losses, parameters, averages, what the
//! optimizer remembers, the difficulty of bigrams, the random generator and early stopping are the same, bit for bit. A
//! state that is damaged, or belongs to another run, is refused.

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

/// The state of the loop around a trainer.
type Caller = (RandomState, EarlyStopping);

/// Trains on stretches of the dialogues and validates now and then. Returns all losses.
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
            let validated = trainer.validate(&validation);
            stopping.record(validated);
            losses.push(validated);
        }
    }
    losses
}

/// Checks that a run in one go and the same run with a stop in the middle end alike. `make` makes a trainer with the
/// parameters of a seed; its other argument counts the calls.
fn twice<E: Engine>(name: &str, mut make: impl FnMut(u64, usize) -> Trainer<Decoder, E>) -> State {
    let folders = [(); 3].map(|()| tempfile::tempdir().expect("a folder"));
    let [whole, half, rest] = folders.each_ref().map(|folder| folder.path());

    let (mut random, mut stopping) = (Random::new(5), EarlyStopping::new(3));
    let mut trainer = make(1, 0);
    let losses = train(&mut trainer, 2 * HALF, &mut random, &mut stopping);
    trainer.save_state(whole, (random.state(), stopping)).expect("it can be saved");

    let (mut random, mut stopping) = (Random::new(5), EarlyStopping::new(3));
    let mut trainer = make(1, 1);
    let mut in_two = train(&mut trainer, HALF, &mut random, &mut stopping);
    trainer.save_state(half, (random.state(), stopping)).expect("it can be saved");
    drop(trainer);

    // Other parameters, another random generator: all must come out of the file.
    let mut trainer = make(2, 2);
    let (dice, mut stopping): Caller = trainer.restore_state(half).expect("it can be restored");
    assert_eq!(trainer.steps_done(), HALF, "{name}");
    let peeked: Caller = Trainer::<Decoder, E>::peek_state(half).expect("it can be looked at");
    assert_eq!((&peeked.0, peeked.1), (&dice, stopping), "{name}");
    let mut random = Random::restore(&dice).expect("its dice");
    in_two.extend(train(&mut trainer, HALF, &mut random, &mut stopping));
    trainer.save_state(rest, (random.state(), stopping)).expect("it can be saved");

    assert_eq!(in_two, losses, "{name}: losses");
    let (whole, rest) = (state(whole), state(rest));
    assert!(whole == rest, "{name}: {} and {}", whole.description, rest.description);
    whole
}

#[test]
fn two_halves_are_a_whole() {
    let vocab = dialogs(CONTEXT).vocab_size();
    for method in METHODS {
        // With another number of threads each time.
        let state =
            twice(&format!("{method:?}"), |seed, times| method.learner(&config(vocab), times + 1, seed));
        let names: Vec<&str> = state.numbers.keys().map(String::as_str).collect();
        let common = ["adam.m", "adam.v", "difficulty", "ema"];
        let expected: Vec<&str> = match method {
            Method::Muon => common.into_iter().chain(["muon.momentum", "params"]).collect(),
            Method::Adamw => common.into_iter().chain(["params"]).collect(),
        };
        assert_eq!(names, expected);
        assert_eq!(state.description["step"], 2 * HALF);
        for (name, bytes) in &state.numbers {
            assert!(bytes.iter().any(|byte| *byte != 0), "{method:?}: {name} is not empty");
        }
    }
}

#[test]
fn two_halves_on_the_scalar_engine() {
    let vocab = dialogs(CONTEXT).vocab_size();
    twice("scalar", |seed, _| {
        let model = Decoder::new(DecoderConfig { n_layer: 1, ..config(vocab) }).expect("it fits");
        let params: Vec<f64> = model.layout().initial(&mut Random::new(seed));
        let adam = Box::new(Adam::new(model.layout(), ADAMW));
        Trainer::with_optimizer(model, ScalarEngine::new(), adam, SETTINGS, params)
    });
    // And microgpt's, which has nothing but parameters and Adam.
    let state = twice("microgpt", |seed, _| {
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
        let model = Decoder::new(config.clone()).expect("it fits");
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
        ("with an average too many", Method::Adamw, with(Settings { ema_decay: None, ..SETTINGS })),
        ("with a difficulty too many", Method::Adamw, with(Settings { weighting: false, ..SETTINGS })),
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
    let whole = fs::read(&path).expect("it was saved");
    let mut refused = |bytes: &[u8], what: &str| {
        fs::write(&path, bytes).expect("it can be replaced");
        let error = trainer.restore_state::<String>(folder.path()).err();
        let error = error.unwrap_or_else(|| panic!("{what} was accepted")).to_string();
        assert!(error.contains(FILE), "{what}: {error}");
    };
    let ends = (0..whole.len()).step_by(whole.len() / 150 + 1).chain([7, 8, 9, whole.len() - 1]);
    for end in ends {
        refused(&whole[..end], &format!("the first {end} bytes"));
    }
    refused(&[&whole[..], &[0]].concat(), "a byte too many");
    let numbers = whole.len() - 8;
    let mut broken = whole.clone();
    broken[numbers..numbers + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    refused(&broken, "a NaN");
    let mut broken = whole.clone();
    broken[20] = 0xff;
    refused(&broken, "a header that is no UTF-8");
    // The caller's part is not of the type that it asks for.
    fs::write(&path, &whole).expect("it can be replaced");
    assert!(trainer.restore_state::<Caller>(folder.path()).is_err());
    assert!(Trainer::<Decoder, FastEngine>::peek_state::<Caller>(folder.path()).is_err());
    assert_eq!(trainer.restore_state::<String>(folder.path()).expect("it is whole again"), "caller");
    for missing in [PathBuf::from("no such folder"), path] {
        let error = trainer.restore_state::<String>(&missing).expect_err("no folder").to_string();
        assert!(error.contains(FILE), "{error}");
        assert!(Trainer::<Decoder, FastEngine>::peek_state::<String>(&missing).is_err());
    }
}

/// Programs that save into the same folder may get in each other's way, but they never leave a broken file: a reader
/// finds all of one file or all of another.
#[test]
fn two_writers_spoil_nothing() {
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
                    // It is an error if another one is writing, but nothing worse.
                    match write_atomically(path, &[writer; LENGTH]) {
                        Ok(()) => _ = written.fetch_add(1, Ordering::Relaxed),
                        Err(_) => std::thread::yield_now(),
                    }
                }
            });
        }
        let mut looks = 0;
        while written.load(Ordering::Relaxed) < WRITES {
            let bytes = fs::read(path).expect("the file is there at any time");
            let whole = bytes.len() == LENGTH && bytes.iter().all(|byte| *byte == bytes[0]);
            looks += 1;
            if !whole {
                written.store(WRITES, Ordering::Relaxed);
                panic!("{} of {LENGTH} bytes, or of both writers, at look {looks}", bytes.len());
            }
        }
    });
    let bytes = fs::read(path).expect("the file is there");
    assert!(bytes.len() == LENGTH && bytes.iter().all(|byte| *byte == bytes[0]));
}
