//! The answers that the book gives to its exercises.

use std::collections::HashSet;
use std::process::Command;

use gradus::data::Batch;
use gradus::fast::FastEngine;
use gradus::generate::{Sampler, Sampling, Stop, generate};
use gradus::model::{Decoder, DecoderConfig};
use gradus::optim::{Adam, AdamSettings, orthogonalize};
use gradus::random::Random;
use gradus::scalar::{Arena, Value};
use gradus::thread_pool::ThreadPool;
use gradus::tokenizer::Tokenizer;
use gradus::train::{Settings, Trainer};
use gradus::{Model, Tensor, UnaryOp};

use crate::training::{changed, default, file, last_hundred};
use crate::{checks, program, says, solutions};

#[test]
fn exercise_1_1() {
    let mut arena = Arena::new();
    let graph = arena.graph();
    let (a, b) = (graph.value(2.0), graph.value(3.0));
    let y = (a + b) * b;
    y.backward();
    says(1, &format!("`y = {}`, `dy/da = {}`, `dy/db = {}`", y.data(), a.grad(), b.grad()));
}

#[test]
fn exercise_1_2() {
    let mut arena = Arena::new();
    let made = |arena: &mut Arena, f: for<'g> fn(Value<'g>) -> Value<'g>| {
        let graph = arena.graph();
        let x = graph.value(2.0);
        let y = f(x);
        y.backward();
        (graph.len() - 1, x.grad())
    };
    assert_eq!(made(&mut arena, |x| x * x * x + x), (3, 13.0));
    assert_eq!(made(&mut arena, |x| x.pow(3.0) + x), (2, 13.0));
    says(1, "Three, and two. The gradient is the same: `3x² + 1 = 13`.");
}

#[test]
fn exercise_1_3() {
    let mut arena = Arena::new();
    let graph = arena.graph();
    let [x1, x2, w1, w2, b] = [2.0, 1.0, -3.0, 1.0, 6.881373587019543].map(|x| graph.value(x));
    let n = x1 * w1 + x2 * w2 + b;
    n.tanh().backward();
    says(1, &format!("`do/dw2` becomes positive, {:.4}", w2.grad()));
    says(1, &format!("`do/dw1` falls from 1.0000 to {:.4}: the sum is {:.4}", w1.grad(), n.data()));
}

#[test]
fn exercise_2_1() {
    let set = |tape: &[[(usize, f64); 2]]| {
        let mut grads = vec![0.0; tape.len()];
        *grads.last_mut().expect("a number") = 1.0;
        for at in (2..tape.len()).rev() {
            tape[at].iter().for_each(|&(operand, slope)| grads[operand] = slope * grads[at]);
        }
        grads[1]
    };
    let leaf = [(0, 0.0); 2];
    let both = set(&[leaf, leaf, [(0, 1.0), (1, 1.0)], [(2, 3.0), (1, 5.0)]]);
    let product = set(&[leaf, leaf, [(0, 3.0), (1, 2.0)]]);
    assert_eq!(product, 2.0); // as it should be
    says(2, &format!("{both} instead of 8"));
}

#[test]
fn exercise_2_2() {
    let mut arena = Arena::new();
    let graph = arena.graph();
    let x = graph.value(3.0);
    let y = x * x;
    let z = y * x;
    y.backward();
    let first = (z.grad(), x.grad());
    z.backward();
    says(2, &format!("{} and {}: `y` does not depend on `z`", first.0, first.1));
    says(2, &format!("Then {} and {}: `z = x³`", x.grad(), y.grad()));
}

#[test]
fn exercise_2_3() {
    let mut arena = Arena::new();
    let graph = arena.graph();
    let x = graph.value(1.0);
    let mut y = x;
    (0..1_000_000).for_each(|_| y = y + x);
    y.backward();
    assert_eq!(x.grad(), 1_000_001.0);
    says(2, "1,000,001: the start counts once, and each addition once more.");
}

#[test]
#[cfg(target_pointer_width = "64")]
fn exercise_3_1() {
    assert_eq!([size_of::<&f64>(), size_of::<u32>(), size_of::<Value<'_>>()], [8, 4, 16]);
    says(3, "4 bytes of padding follow");
}

/// That the original does not compile is a test in the documentation of `Arena`.
#[test]
fn exercise_3_2() {
    let mut arena = Arena::new();
    let old = arena.graph().value(1.0);
    assert_eq!(old.data(), 1.0);
    assert_eq!(arena.graph().len(), 0);
    let old = arena.graph().value(1.0).data();
    assert_eq!((old, arena.graph().len()), (1.0, 0));
    says(3, "Both. In (a)");
}

#[test]
fn exercise_3_3() {
    let mut arena = Arena::new();
    let graph = arena.graph();
    let (x, w) = (graph.matrix(7, 16, &[1.0; 7 * 16]), graph.matrix(64, 16, &[1.0; 64 * 16]));
    let before = graph.len();
    x.matmul_t(w);
    let made = graph.len() - before;
    assert_eq!((made, made * (16 + 15)), (448, 13_888));
    says(3, "7 · 64 = 448 numbers");
    says(3, "16 multiplications and 15 additions: 13,888 nodes");
}

#[test]
fn exercise_4_1() {
    let mut arena = Arena::new();
    let scores = [0.0, 2_f64.ln(), 5_f64.ln()].map(|x| 100.0 + x);
    let graph = arena.graph();
    let p = graph.matrix(1, 3, &scores).softmax().read_row(0, <[f64]>::to_vec);
    assert_eq!(checks::close("softmax", &p, &[1.0 / 8.0, 2.0 / 8.0, 5.0 / 8.0]), Ok(()));
    assert_eq!(graph.matrix(1, 1, &[7.0]).softmax().at(0, 0).data(), 1.0);
    says(4, "1/8, 2/8, 5/8, as without the 100. Of a single score: 1");
}

#[test]
fn exercise_4_2() {
    let rows = |first: f64| vec![vec![first, -1.0], vec![0.5, 2.0]];
    let out = |first| checks::library_attention(&rows(first), &rows(0.3), &rows(0.7), 1.0);
    assert_eq!(out(1.0)[0], out(-5.0)[0]);
    assert_eq!(out(1.0)[0], rows(0.7)[0]);
    says(4, "No. It sees one key, the softmax of one score is 1");
}

#[test]
fn exercise_4_3() {
    let config = DecoderConfig { n_embd: 32, n_ffn: 4 * 32, ..DecoderConfig::microgpt(27) };
    assert_eq!(Decoder::new(config).expect("it fits").layout().len(), 14_528);
    let output = names(&["--embd", "32", "--steps", "1", "--samples", "0"]);
    assert!(output.contains("num params: 14528"), "{output}");
    says(4, "14,528: 27 · 32 = 864 twice, 16 · 32 = 512, 4 · 32² = 4,096, and 2 · 128 · 32 = 8,192.");
}

/// What `cargo run --example names` prints with these arguments.
fn names(arguments: &[&str]) -> String {
    let mut command = Command::new(program::example("names"));
    let output = program::run(command.args(arguments).env_remove("GRADUS_DATASETS"));
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    output.stdout
}

#[test]
fn exercise_5_1() {
    let loss = last_hundred(&default(42).steps(1000));
    says(5, &format!("A mean loss of {loss:.4} means"));
    says(5, &format!("e^{loss:.4} = {:.1}.", loss.exp()));
}

/// The first step: how many parameters it leaves where they are, how many it cannot reach, since their token or position
/// does not occur, and how far it moves one at most.
fn first_step(seed: u64, name: &str) -> (usize, usize, f64) {
    let mut training = default(seed);
    assert_eq!(training.names.iter().next(), Some(name));
    let before = training.trainer.params().to_vec();
    training.steps(1);
    let moves = training.trainer.params().iter().zip(&before).map(|(a, b)| (a - b).abs());
    let moves: Vec<f64> = moves.collect();
    let tokens = name.chars().collect::<HashSet<_>>().len() + 1;
    let rows = (27 - tokens) + 16 - (name.len() + 1);
    let most = moves.iter().copied().fold(0.0, f64::max);
    (moves.iter().filter(|x| **x == 0.0).count(), 16 * rows, most)
}

#[test]
fn exercise_5_2() {
    let (unmoved, unreached, most) = first_step(42, "waltraud");
    assert_eq!((unmoved, unreached), (416, 416));
    assert!((most - 0.01).abs() < 1e-5);
    says(5, "with \"waltraud\", exactly 416 of the 4,192 parameters have not moved");
    says(5, "(19 + 7) · 16 = 416");
    let (unmoved, unreached, _) = first_step(1, "ladan");
    assert_eq!((unmoved, unreached, unmoved - unreached), (576, 512, 2 * (16 + 16)));
    says(5, "the name is \"ladan\", and it is 576, although only 512");
}

#[test]
fn exercise_5_3() {
    let Settings { steps, learning_rate, schedule, .. } = Settings::default();
    let rate = learning_rate * schedule.factor(steps - 1, steps);
    assert!((rate - 0.00001).abs() < 1e-12);
    says(5, "0.01 · (1 - 999/1000) = 0.00001");
}

#[test]
fn exercise_6_1() {
    let logits = [0.5_f64.ln(), 0.3_f64.ln(), 0.2_f64.ln()];
    assert_eq!([0.79, 0.81].map(|dart| solutions::draw(&logits, 1.0, dart)), [1, 2]);
    says(6, "The second, whose interval is from 0.5 to 0.8. Then the third.");
}

/// The tokens of new names, by the model of the chapter.
fn sampled(training: &mut crate::training::Training, count: usize, temperature: f64) -> Vec<String> {
    let mut sampler = Sampler::new(Sampling { temperature, ..Sampling::default() });
    let (bos, random) = (training.names.tokenizer().bos(), &mut training.random);
    let (engine, model, params) = training.trainer.split_mut();
    let mut name = || {
        let tokens = generate(engine, model, &params, &[bos], &Stop::at(bos), &mut sampler, random);
        training.names.tokenizer().decode(&tokens)
    };
    (0..count).map(|_| name()).collect()
}

#[test]
fn exercise_6_2() {
    let mut training = default(42);
    training.steps(1000);
    let cold = sampled(&mut training, 20, 0.01);
    assert_eq!(cold, sampled(&mut training, 20, 0.0));
    assert!(cold.iter().all(|name| name == &cold[0]));
    let longest = sampled(&mut training, 1000, 2.0).iter().map(String::len).max();
    assert_eq!(longest, Some(16));
    says(6, &format!("e^10 = {:.0},000 times as likely", 10_f64.exp() / 1000.0));
    says(6, "names of 16 letters but none of 17");
}

#[test]
fn exercise_6_3() {
    let folder = tempfile::tempdir().expect("a folder to work in");
    let model = folder.path().to_str().expect("a UTF-8 path");
    names(&["--save", model, "--overwrite", "--samples", "0"]);
    let output = names(&["--load", model, "--steps", "0", "--samples", "1000", "--temperature", "0.5"]);
    let names = file();
    let known: HashSet<&str> = names.iter().collect();
    let new = output.lines().filter_map(|line| line.strip_prefix("sample")?.split_once(": "));
    let new = new.filter(|(_, name)| !known.contains(name)).count();
    says(6, &format!("for this model, {new}."));
}

#[test]
fn exercise_7_1() {
    let mut names = file();
    let mut random = Random::new(42);
    names.shuffle(&mut random);
    let model = Decoder::new(DecoderConfig::microgpt(27)).expect("a preset is right");
    let engine = FastEngine::new(ThreadPool::new(1));
    let mut trainer = Trainer::new(model, engine, Settings::default(), &mut random);
    let mut batch = Batch::new();
    names.fill(&mut batch, 0, 1, 16);
    trainer.step(&batch);
    assert_eq!(trainer.split_mut().0.nodes(), 9 + 4 + 12 + 2 + 2);
    says(7, "The tape of the names GPT has 29 nodes for one step.");
    says(7, "9 + 4 + 12 + 2 + 2");
}

#[test]
fn exercise_7_2() {
    let (large, one) = std::hint::black_box((1e8_f32, 1_f32));
    assert_eq!(((large + one) - large, (large - large) + one), (0.0, 1.0));
    assert_eq!(f32::from_bits(large.to_bits() + 1) - large, 8.0);
    says(7, "0 and 1: near 100 million, neighbouring `f32`s are 8 apart.");
}

/// Two reads and two multiply-adds begin in a cycle; a multiply-add takes four.
#[test]
fn exercise_7_3() {
    let share = |rows: f64, vectors: f64| {
        let reads = (rows + vectors) / 2.0;
        let arithmetic = rows * vectors / 2.0;
        arithmetic / reads.max(arithmetic).max(4.0) // one iteration waits for the one before
    };
    assert_eq!((share(14.0, 2.0), share(1.0, 1.0)), (1.0, 1.0 / 8.0));
    says(7, "its 16 reads take 8 cycles and its 28 multiply-adds take 14");
    says(7, "in which eight could have begun: an eighth");
}

#[test]
fn exercise_8_1() {
    let gradient = |smoothing: f64| {
        let mut arena = Arena::new();
        let logits = arena.graph().matrix(1, 3, &[0.0, 2_f64.ln(), 5_f64.ln()]);
        logits.cross_entropy(&[2], smoothing).at(0, 0).backward();
        [0, 1, 2].map(|col| (logits.at(0, col).grad() * 1e9).round() / 1e9)
    };
    let [a, b, c] = gradient(0.0);
    says(8, &format!("the gradient {a}, {b}, {c}."));
    let [a, b, c] = gradient(0.3);
    says(8, &format!("the gradient {a}, {b}, {c}. Both sum to 0"));
}

#[test]
fn exercise_8_2() {
    let mut arena = Arena::new();
    let x = arena.graph().matrix(1, 2, &[3.0, -4.0]);
    x.rms_norm(None, 0.0).at(0, 0).backward();
    let (first, second) = (x.at(0, 0).grad(), x.at(0, 1).grad());
    assert!((3.0 * first - 4.0 * second).abs() < 1e-12);
    says(8, &format!("= {first:.4}` and"));
    says(8, &format!("= {second:.4}`. The dot product is 0"));
}

#[test]
fn exercise_8_3() {
    let (g, u, eps) = (1.0, 2.0, 1e-6);
    let s = UnaryOp::Sigmoid.eval(g);
    let quotient = |f: fn(f64, f64) -> f64| (f(g + eps, u) - f(g - eps, u)) / (2.0 * eps);
    let swiglu = |g: f64, u: f64| UnaryOp::Silu.eval(g) * u;
    let forgotten = s + g * s * (1.0 - s);
    says(8, &format!("{forgotten:.4}, and the difference quotient {:.4}", quotient(swiglu)));
    assert!((quotient(|g, u| g * u) - u).abs() < 1e-9);
    says(8, &format!("{}, and SwiGLU {:.4}", g * u, swiglu(g, u)));
}

#[test]
fn exercise_9_1() {
    says(9, &format!("`-ln 0.9 = {:.3}`", -0.9_f64.ln()));
}

#[test]
fn exercise_9_2() {
    let (x, y): (f64, f64) = (0.64, 0.36);
    let (to_x, to_y) = (0.8 * -x.ln(), 0.2 * -y.ln());
    assert!((to_x / (to_x + to_y) - x).abs() < 0.005);
    says(9, &format!("`-0.8·ln 0.8 - 0.2·ln 0.2 = {:.3}`", -0.8 * 0.8_f64.ln() - 0.2 * 0.2_f64.ln()));
    says(9, &format!("`-ln 0.64 = {:.3}` and `-ln 0.36 = {:.3}`", -x.ln(), -y.ln()));
    says(9, &format!("{to_x:.3} to {to_y:.3}, or 0.64 to 0.36"));
    says(9, &format!("`0.8 · 0.446 + 0.2 · 1.022 = {:.3}`", to_x + to_y));
}

/// What Muon's polynomial makes of a singular value, each time.
pub fn polynomial(mut s: f64) -> [f64; 5] {
    std::array::from_fn(|_| {
        s = 3.4445 * s - 4.7750 * s.powi(3) + 2.0315 * s.powi(5);
        s
    })
}

#[test]
fn exercise_9_3() {
    let [one, tenth, small] = [1.0, 0.1, 0.001].map(|s| polynomial(s)[4]);
    says(9, &format!("{one:.2}, {tenth:.2} and {small:.2}. One iteration"));
    says(9, &polynomial(1.0).map(|s| format!("{s:.2}")).join(", "));
    // The code does the same to a matrix whose length is 1.
    let mut matrix = [0.995_f32, 0.0, 0.0, 0.1];
    orthogonalize(&mut matrix, 2, 2, 5);
    let length = f64::from(0.995_f32).hypot(f64::from(0.1_f32));
    let expected = [0.995, 0.1].map(|s| polynomial(s / length)[4]);
    assert!((f64::from(matrix[0]) - expected[0]).abs() < 1e-4, "{matrix:?} and {expected:?}");
    assert!((f64::from(matrix[3]) - expected[1]).abs() < 1e-4, "{matrix:?} and {expected:?}");
}

/// The figures in the rows of chapter 10 about a rung: of the table of times and of the table of work.
pub fn rung(number: usize) -> [Vec<f64>; 2] {
    let page = crate::chapters().into_iter().find(|(chapter, _)| *chapter == 10).expect("the chapter").1;
    let start = format!("| {number} | ");
    let rows: Vec<Vec<f64>> = page
        .lines()
        .filter_map(|row| row.strip_prefix(&start))
        .map(|row| row.split('|').filter_map(|cell| cell.trim().parse().ok()).collect())
        .collect();
    rows.try_into().expect("two rows")
}

#[test]
fn exercise_10_1() {
    let [coarse, fine] = [6, 5].map(|number| {
        let [times, work] = rung(number);
        (times[1], work[0], 1000.0 * times[1] / work[0])
    });
    says(
        10,
        &format!(
            "Rung 5 takes {} microseconds for 59,604 nodes and rung 6 takes {} for 7,966",
            fine.0, coarse.0
        ),
    );
    assert_eq!((fine.1, coarse.1), (59604.0, 7966.0));
    says(10, &format!("{:.1} nanoseconds instead of {:.1}", coarse.2, fine.2));
}

#[test]
fn exercise_10_2() {
    let [before, after] = [6, 7].map(|number| rung(number)[1][2]);
    let share = 100.0 * (1.0 - after / before);
    says(10, &format!("{share:.0} percent: 1,155 thousand instructions are left of 2,547"));
    assert_eq!((after, before), (1155.0, 2547.0));
}

#[test]
fn exercise_10_3() {
    let mut random = Random::new(3);
    let mut most = 0.0_f64;
    for _ in 0..1000 {
        let [a, b] = [0; 2].map(|_| [0; 64].map(|_| random.gauss(0.0, 1.0)));
        let products: [f64; 64] = std::array::from_fn(|at| a[at] * b[at]);
        let one: f64 = products.iter().sum();
        let eight: f64 = (0..8).map(|lane| products[lane..].iter().step_by(8).sum::<f64>()).sum();
        most = most.max((one - eight).abs());
    }
    assert!(most > 0.0 && most < 1e-12);
    says(10, "less than 1e-12");
}

#[test]
fn exercise_10_4() {
    let mean = |arguments: &[&str]| -> f64 {
        let output = names(&[&["--engine", "fast", "--samples", "0"], arguments].concat());
        output.trim_end().rsplit(' ').next().and_then(|loss| loss.parse().ok()).expect("a loss")
    };
    let (together, one_by_one) = (mean(&["--batch", "16"]), mean(&["--steps", "16000"]));
    // In f32 the last digits depend on the processor.
    assert!((together - 2.43).abs() < 0.02 && (one_by_one - 2.46).abs() < 0.02);
    says(10, "ends at a mean loss of 2.43");
    says(10, "it is 2.46, after as many names");
}

/// The other exercises of chapter 5 train with this optimizer.
#[test]
fn the_default_training_is_that_of_the_example() {
    let adam = |layout: &gradus::params::Layout| -> Box<dyn gradus::optim::Optimizer<f64>> {
        Box::new(Adam::new(layout, AdamSettings::MICROGPT))
    };
    let loss = last_hundred(&changed(42, |_| (), true, adam).steps(1000));
    let output = names(&["--samples", "0"]);
    assert!(output.ends_with(&format!("mean loss of the last 100 steps: {loss:.4}\n")), "{output}");
}

#[test]
fn exercise_11_1() {
    // The model's own step, on a plane.
    let turned = |alpha: f64| {
        let mut arena = Arena::new();
        let graph = arena.graph();
        let (h, out) = (graph.matrix(1, 2, &[1.0, 0.0]), graph.matrix(1, 2, &[0.0, 3.0]));
        let h = h.step_toward(out, graph.matrix(1, 2, &[alpha; 2]));
        let (x, y) = (h.at(0, 0).data(), h.at(0, 1).data());
        assert!((x.hypot(y) - 1.0).abs() < 1e-12);
        y.atan2(x).to_degrees()
    };
    says(11, &format!("{:.1}° and {:.1}°", turned(0.25), turned(0.05)));
}

#[test]
fn exercise_11_2() {
    // The right token at a cosine of 1, the 65 others at -1.
    let lowest = |scale: f64| {
        let mut arena = Arena::new();
        let graph = arena.graph();
        let mut cosines = [-scale; 66];
        cosines[7] = scale;
        graph.matrix(1, 66, &cosines).cross_entropy(&[7], 0.0).at(0, 0).data()
    };
    let small = lowest(128_f64.sqrt().recip());
    says(11, &format!("{:.2} with the cosines themselves", lowest(1.0)));
    says(11, &format!("{small:.2} with 1/√128"));
    says(11, &format!("{:.0} tenths of a millionth with 10", 1e7 * lowest(10.0)));
    says(11, &format!("{:.1} % of ln 66", 100.0 * (1.0 - small / 66_f64.ln())));
}

#[test]
fn exercise_11_3() {
    let root = 32_f64.sqrt();
    let times = |scale: f64| (2.0 * scale).exp();
    says(11, &format!("1/√32 = {:.2}", root.recip()));
    says(11, &format!("at most {:.2} times", times(root.recip())));
    says(11, &format!("{:.0},000 times", times(root) / 1000.0));
}
