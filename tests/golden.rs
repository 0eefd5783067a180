//! The scalar engine reproduces Karpathy's microgpt.py, and so does the one-file program `examples/microgpt.rs`.
//!
//! microgpt.py was run once. `golden/microgpt.json` has its results: a thousand losses, twenty names, and digests of its
//! parameters and of its first gradient. The first ten steps need nothing but this file. All thousand need the names that
//! microgpt.py was trained on. Where these are not on this machine, the library and microgpt.rs are compared with each
//! other on the names in `datasets/`. microgpt.rs does not have Python's generator, so it reads Python's random words from
//! a file.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use gradus::data::{Batch, Names};
use gradus::generate::{Sampler, Sampling, Stop, generate};
use gradus::model::{Decoder, DecoderConfig};
use gradus::random::Random;
use gradus::scalar::ScalarEngine;
use gradus::tokenizer::Tokenizer;
use gradus::train::{Settings, Trainer};
use serde::Deserialize;

#[path = "common/dataset.rs"]
mod dataset;
#[path = "common/program.rs"]
mod program;

const TOLERANCE: f64 = 1e-12;

/// Parameters accumulate the rounding of a thousand steps; the sums of a digest add some more.
const PARAMETERS: f64 = 1e-11;

/// The first number of a matrix, its last, its sum and its sum of squares.
type Digest = [f64; 4];

#[derive(Deserialize)]
struct Golden {
    docs: usize,
    bytes: u64,
    first_docs: Vec<String>,
    samples: Vec<String>,
    losses: Vec<f64>,
    parameters_before: Vec<Digest>,
    gradient_of_first_step: Vec<Digest>,
    parameters_after: Vec<Digest>,
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("golden/microgpt.json")).expect("valid JSON")
}

fn assert_close(what: &str, actual: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(actual.len(), expected.len(), "{what}: length");
    for (index, (a, b)) in actual.iter().zip(expected).enumerate() {
        assert!((a - b).abs() <= tolerance, "{what}, number {index}: {a} instead of {b}");
    }
}

/// Compares parameters with their digests, and with the complete list in `file` if it is on this machine.
fn assert_parameters(what: &str, actual: &[f64], digests: &[Digest], file: &str) {
    let sizes = [27 * 16, 16 * 16, 27 * 16, 256, 256, 256, 256, 1024, 1024];
    assert_eq!((actual.len(), digests.len()), (sizes.iter().sum(), sizes.len()), "{what}");
    let mut rest = actual;
    for (index, (size, digest)) in sizes.into_iter().zip(digests).enumerate() {
        let (matrix, after) = rest.split_at(size);
        rest = after;
        let squares = matrix.iter().map(|x| x * x).sum();
        let own_digest = [matrix[0], matrix[size - 1], matrix.iter().sum(), squares];
        assert_close(&format!("{what}, matrix {index}"), &own_digest, digest, PARAMETERS);
    }
    if let Ok(text) = fs::read_to_string(dataset::shared("golden/microgpt").join(file)) {
        let all: Vec<f64> = text.lines().map(|line| line.parse().expect("a number on each line")).collect();
        assert_close(what, actual, &all, TOLERANCE);
    }
}

fn trainer(vocab_size: usize, steps: usize, random: &mut Random) -> Trainer<Decoder, ScalarEngine> {
    let model = Decoder::new(DecoderConfig::microgpt(vocab_size)).expect("a preset is valid");
    Trainer::new(model, ScalarEngine::new(), Settings { steps, ..Settings::default() }, random)
}

#[test]
fn ten_steps_from_the_golden_file_alone() {
    let golden = golden();
    let mut random = Random::python(42);
    random.shuffle(&mut vec![(); golden.docs]); // advances the generator; which names they are does not matter
    let mut trainer = trainer(27, 1000, &mut random);
    assert_parameters("before", trainer.params(), &golden.parameters_before, "params_step0.txt");
    let mut losses = Vec::new();
    for name in &golden.first_docs {
        let letters = name.bytes().map(|letter| usize::from(letter - b'a'));
        let mut batch = Batch::new();
        batch.push([26].into_iter().chain(letters).chain([26]).take(17));
        losses.push(trainer.step(&batch).loss);
        if losses.len() == 1 {
            let gradient = trainer.gradient();
            assert_parameters("gradient", gradient, &golden.gradient_of_first_step, "grads_step1.txt");
        }
    }
    assert_eq!(losses.len(), 10);
    assert_close("losses", &losses, &golden.losses[..10], TOLERANCE);
}

/// The results of a whole run.
struct Run {
    losses: Vec<f64>,
    samples: Vec<String>,
    parameters: Vec<f64>,
}

/// Runs the library as microgpt.py runs.
fn library(file: &Path) -> Run {
    let mut random = Random::python(42);
    let mut names = Names::read(file).expect("the names can be read");
    names.shuffle(&mut random);
    let mut trainer = trainer(names.vocab_size(), 1000, &mut random);
    let mut batch = Batch::new();
    let train_step = |step| {
        names.fill(&mut batch, step, 1, 16);
        trainer.step(&batch).loss
    };
    let losses = (0..1000).map(train_step).collect();
    let mut sampler = Sampler::new(Sampling { temperature: 0.5, ..Sampling::default() });
    let bos = names.tokenizer().bos();
    let parameters = trainer.params().to_vec();
    let sample = |_| {
        let (engine, model, params) = trainer.split_mut();
        let tokens = generate(engine, model, &params, &[bos], &Stop::at(bos), &mut sampler, &mut random);
        names.tokenizer().decode(&tokens)
    };
    Run { losses, samples: (0..20).map(sample).collect(), parameters }
}

/// The generated names in the output of a program.
fn samples(stdout: &str) -> Vec<String> {
    let sample = |line: &str| Some(line.strip_prefix("sample ")?.split_once(": ")?.1.to_owned());
    stdout.lines().filter_map(sample).collect()
}

/// The first random words of Python's generator with seed 42, as microgpt.rs reads them.
fn words(count: usize) -> Vec<u8> {
    let mut random = Random::python(42);
    (0..count).flat_map(|_| (random.bits(32) as u32).to_le_bytes()).collect()
}

/// Runs microgpt.rs with Python's random words. Returns its losses and its samples.
fn microgpt(file: &Path) -> (Vec<f64>, Vec<String>) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let [losses, random] = ["losses.txt", "words.bin"].map(|name| folder.path().join(name));
    fs::write(&random, words(100_000)).expect("the words can be written"); // about 53,000 are used
    let mut command = Command::new(program::example("microgpt"));
    let ended = program::run(command.arg(file).arg("--losses").arg(&losses).arg("--random").arg(&random));
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let losses = fs::read_to_string(losses).expect("it wrote the losses");
    let losses = losses.lines().map(|line| line.parse().expect("a loss on each line")).collect();
    (losses, samples(&ended.stdout))
}

/// The names that microgpt.py was trained on, if they are on this machine. A names.txt of another length is another file.
fn original(golden: &Golden) -> Option<PathBuf> {
    let file = dataset::dataset("names.txt")?;
    (fs::metadata(&file).ok()?.len() == golden.bytes).then_some(file)
}

#[test]
fn a_thousand_steps_and_twenty_names() {
    let golden = golden();
    let original = original(&golden);
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("datasets/names.txt");
    let file = original.as_ref().unwrap_or(&shipped);

    let ours = library(file);
    let (microgpt_losses, microgpt_samples) = microgpt(file);
    assert_eq!(ours.losses.len(), 1000);
    assert_close("losses of the library and microgpt.rs", &ours.losses, &microgpt_losses, TOLERANCE);
    assert_eq!(ours.samples, microgpt_samples);
    assert_eq!(ours.samples.len(), 20);

    let mut names = Command::new(program::example("names"));
    let ended = program::run(names.arg(file).arg("--python-random"));
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(samples(&ended.stdout), ours.samples, "names --python-random");

    if original.is_some() {
        assert_close("losses", &ours.losses, &golden.losses, TOLERANCE);
        assert_close("losses of microgpt.rs", &microgpt_losses, &golden.losses, TOLERANCE);
        assert_parameters("after", &ours.parameters, &golden.parameters_after, "params_step1000.txt");
        assert_eq!(ours.samples, golden.samples);
    }
}

/// Without a file of random words microgpt.rs uses its own generator: it learns, and a second run repeats the first.
#[test]
fn microgpt_with_its_own_generator() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let losses = folder.path().join("losses.txt");
    let run = || {
        let mut command = Command::new(program::example("microgpt"));
        let ended = program::run(command.args(["--steps", "300", "--losses"]).arg(&losses));
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        let losses = fs::read_to_string(&losses).expect("it wrote the losses");
        (losses.lines().map(|line| line.parse().expect("a loss")).collect::<Vec<f64>>(), ended.stdout)
    };
    let (losses, output) = run();
    assert_eq!(run(), (losses.clone(), output.clone()));
    assert_eq!((losses.len(), samples(&output).len()), (300, 20));
    let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
    let (first, last) = (mean(&losses[..50]), mean(&losses[250..]));
    assert!(first > 2.8 && last < 2.6, "from {first} to {last}"); // random guesses among 27 tokens: 3.3
}

/// An error is reported in one line that names the wrong argument or file.
#[test]
fn microgpt_reports_errors() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let write = |name: &str, content: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, content).expect("it can be written");
        path.into_os_string().into_string().expect("a UTF-8 path")
    };
    let [names, empty] =
        [("names", "ada\n"), ("empty", " \n")].map(|(name, text)| write(name, text.as_bytes()));
    let [binary, short] =
        [("binary", vec![0xff]), ("short", words(1000))].map(|(name, bytes)| write(name, &bytes));
    let missing = format!("{names}.missing");
    let cases: [(&[&str], &str); 12] = [
        (&["--steps"], "--steps"),
        (&["--steps", "many"], "--steps"),
        (&["--steps", "-1"], "--steps"),
        (&["--losses"], "--losses"),
        (&["--stops", "5"], "--stops"),
        (&[&names, &names], &names),
        (&[&missing], &missing),
        (&[&empty], &empty),
        (&[&binary], &binary),
        (&[&names, "--random", &missing], "--random"),
        (&[&names, "--random", &short], "--random"), // too few words for the parameters
        (&[&names, "--steps", "1", "--losses", folder.path().to_str().expect("a UTF-8 path")], "--losses"),
    ];
    for (arguments, word) in cases {
        let ended = program::run(Command::new(program::example("microgpt")).args(arguments));
        let one_line = ended.stderr.starts_with("error: ") && ended.stderr.lines().count() == 1;
        assert!(ended.code == Some(1) && one_line && ended.stderr.contains(word), "{arguments:?}: {ended:?}");
    }
}

#[test]
fn names_are_shuffled_as_in_python() {
    let golden = golden();
    let mut lines = Vec::from_iter(0..golden.docs);
    Random::python(42).shuffle(&mut lines);
    assert_eq!(lines[..10], [26785, 23366, 20900, 29382, 25333, 8234, 13378, 17579, 352, 11661]);
    if let Some(file) = original(&golden) {
        let mut names = Names::read(&file).expect("the names can be read");
        names.shuffle(&mut Random::python(42));
        assert_eq!(names.len(), golden.docs);
        assert!(names.iter().take(10).eq(golden.first_docs.iter()));
    }
}
