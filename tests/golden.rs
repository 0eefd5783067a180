//! The scalar engine repeats Karpathy's microgpt.py, and so does the one-file ancestor in `examples/microgpt.rs`.
//!
//! microgpt.py was run once, and its figures stand in `golden/microgpt.json`: a thousand losses, the twenty names, and
//! digests of its parameters and of its first gradient. The first ten steps can be repeated from these figures alone. For
//! all thousand, the names it was trained on are needed: where they are not on this machine, library and ancestor are
//! held against each other on the names in `datasets/`. The ancestor does not have Python's generator, so it is
//! given a file of Python's random words.

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

/// Parameters are what a thousand steps have added up; a digest's sums round once more.
const PARAMETERS: f64 = 1e-11;

/// Of one matrix: the first number, the last, the sum and the sum of squares.
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
    serde_json::from_str(include_str!("golden/microgpt.json")).expect("the figures parse")
}

fn assert_close(what: &str, ours: &[f64], theirs: &[f64], tolerance: f64) {
    assert_eq!(ours.len(), theirs.len(), "{what}: how many");
    for (at, (a, b)) in ours.iter().zip(theirs).enumerate() {
        assert!((a - b).abs() <= tolerance, "{what}, number {at}: {a} instead of {b}");
    }
}

/// Compares parameters with their digests, and number by number where the whole list is on this machine.
fn assert_parameters(what: &str, ours: &[f64], digests: &[Digest], file: &str) {
    let sizes = [27 * 16, 16 * 16, 27 * 16, 256, 256, 256, 256, 1024, 1024];
    assert_eq!((ours.len(), digests.len()), (sizes.iter().sum(), sizes.len()), "{what}");
    let mut rest = ours;
    for (at, (size, digest)) in sizes.into_iter().zip(digests).enumerate() {
        let (matrix, after) = rest.split_at(size);
        rest = after;
        let squares = matrix.iter().map(|x| x * x).sum();
        let own = [matrix[0], matrix[size - 1], matrix.iter().sum(), squares];
        assert_close(&format!("{what}, matrix {at}"), &own, digest, PARAMETERS);
    }
    if let Ok(text) = fs::read_to_string(dataset::beside("golden/microgpt").join(file)) {
        let all: Vec<f64> = text.lines().map(|line| line.parse().expect("a number on each line")).collect();
        assert_close(what, ours, &all, TOLERANCE);
    }
}

fn trainer(vocab_size: usize, steps: usize, random: &mut Random) -> Trainer<Decoder, ScalarEngine> {
    let model = Decoder::new(DecoderConfig::microgpt(vocab_size)).expect("a preset is right");
    Trainer::new(model, ScalarEngine::new(), Settings { steps, ..Settings::default() }, random)
}

#[test]
fn ten_steps_from_the_figures_alone() {
    let golden = golden();
    let mut random = Random::python(42);
    random.shuffle(&mut vec![(); golden.docs]); // which name is where does not matter to the dice
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

/// What a whole run gave.
struct Run {
    losses: Vec<f64>,
    samples: Vec<String>,
    parameters: Vec<f64>,
}

/// The library in the place of microgpt.py.
fn library(file: &Path) -> Run {
    let mut random = Random::python(42);
    let mut names = Names::read(file).expect("the names can be read");
    names.shuffle(&mut random);
    let mut trainer = trainer(names.vocab_size(), 1000, &mut random);
    let mut batch = Batch::new();
    let learn = |step| {
        names.fill(&mut batch, step, 1, 16);
        trainer.step(&batch).loss
    };
    let losses = (0..1000).map(learn).collect();
    let mut sampler = Sampler::new(Sampling { temperature: 0.5, ..Sampling::default() });
    let bos = names.tokenizer().bos();
    let parameters = trainer.params().to_vec();
    let invent = |_| {
        let (engine, model, params) = trainer.split_mut();
        let tokens = generate(engine, model, &params, &[bos], Stop::At(bos), &mut sampler, &mut random);
        names.tokenizer().decode(&tokens)
    };
    Run { losses, samples: (0..20).map(invent).collect(), parameters }
}

/// The names that a program says it invented.
fn samples(stdout: &str) -> Vec<String> {
    let sample = |line: &str| Some(line.strip_prefix("sample ")?.split_once(": ")?.1.to_owned());
    stdout.lines().filter_map(sample).collect()
}

/// The first random words of Python's generator with seed 42, as the ancestor reads them.
fn words(count: usize) -> Vec<u8> {
    let mut random = Random::python(42);
    (0..count).flat_map(|_| (random.bits(32) as u32).to_le_bytes()).collect()
}

/// The ancestor, run as a program with Python's random words: its losses and its samples.
fn ancestor(file: &Path) -> (Vec<f64>, Vec<String>) {
    let folder = tempfile::tempdir().expect("a folder for the losses");
    let [losses, random] = ["losses.txt", "words.bin"].map(|name| folder.path().join(name));
    fs::write(&random, words(100_000)).expect("the words can be written"); // about 53,000 are used
    let mut command = Command::new(program::example("microgpt"));
    let ended = program::run(command.arg(file).arg("--losses").arg(&losses).arg("--random").arg(&random));
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let losses = fs::read_to_string(losses).expect("it wrote the losses");
    let losses = losses.lines().map(|line| line.parse().expect("a loss on each line")).collect();
    (losses, samples(&ended.stdout))
}

/// The names of microgpt.py, if they are here: the file of that name may be another one.
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
    let (losses, samples_of_ancestor) = ancestor(file);
    assert_eq!(ours.losses.len(), 1000);
    assert_close("losses of library and ancestor", &ours.losses, &losses, TOLERANCE);
    assert_eq!(ours.samples, samples_of_ancestor);
    assert_eq!(ours.samples.len(), 20);

    let mut names = Command::new(program::example("names"));
    let ended = program::run(names.arg(file).arg("--python-random"));
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(samples(&ended.stdout), ours.samples, "names --python-random");

    if original.is_some() {
        assert_close("losses", &ours.losses, &golden.losses, TOLERANCE);
        assert_close("losses of the ancestor", &losses, &golden.losses, TOLERANCE);
        assert_parameters("after", &ours.parameters, &golden.parameters_after, "params_step1000.txt");
        assert_eq!(ours.samples, golden.samples);
    }
}

/// By itself, the ancestor takes its own generator: it learns, and a second run repeats the first.
#[test]
fn the_ancestor_alone() {
    let folder = tempfile::tempdir().expect("a folder for the losses");
    let losses = folder.path().join("losses.txt");
    let run = || {
        let mut command = Command::new(program::example("microgpt"));
        let ended = program::run(command.args(["--steps", "300", "--losses"]).arg(&losses));
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        let losses = fs::read_to_string(&losses).expect("it wrote the losses");
        (losses.lines().map(|line| line.parse().expect("a loss")).collect::<Vec<f64>>(), ended.stdout)
    };
    let (losses, said) = run();
    assert_eq!(run(), (losses.clone(), said.clone()));
    assert_eq!((losses.len(), samples(&said).len()), (300, 20));
    let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
    let (first, last) = (mean(&losses[..50]), mean(&losses[250..]));
    assert!(first > 2.8 && last < 2.6, "from {first} to {last}"); // 27 tokens by chance: 3.3
}

/// What is wrong is answered with one line that names it.
#[test]
fn the_ancestor_says_what_is_wrong() {
    let folder = tempfile::tempdir().expect("a folder for files");
    let write = |name: &str, content: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, content).expect("it can be written");
        path.into_os_string().into_string().expect("a path of plain letters")
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
        (&[&names, "--random", &short], "--random"), // they run out among the parameters
        (&[&names, "--steps", "1", "--losses", folder.path().to_str().expect("plain letters")], "--losses"),
    ];
    for (arguments, word) in cases {
        let ended = program::run(Command::new(program::example("microgpt")).args(arguments));
        let one_line = ended.stderr.starts_with("error: ") && ended.stderr.lines().count() == 1;
        assert!(ended.code == Some(1) && one_line && ended.stderr.contains(word), "{arguments:?}: {ended:?}");
    }
}

#[test]
fn the_names_come_in_the_order_of_python() {
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
