//! A whole GPT in one file: Andrej Karpathy's `microgpt.py`, told in Rust.
//!
//! It reads 32,033 first names and learns to invent new ones. Nothing is hidden: the numbers that
//! remember how they were made, the model, its training and its sampling follow in that order, and
//! no other file of this project is used. What larger models add is size and speed.
//!
//! The idea fits in a paragraph. A model is a function with thousands of adjustable numbers, its
//! parameters. Given the beginning of a name, it answers with a probability for each possible next
//! letter. The loss says how surprised it was by the letter that really came. Calculus says which
//! way to move each parameter so that the surprise shrinks. Move all of them a little; repeat.
//!
//! Run it with `cargo run --release --example microgpt [names.txt] [--steps N] [--losses FILE]`.
//!
//! Source: <https://karpathy.github.io/2026/02/12/microgpt/>. On the same names this file gives the
//! losses and the samples of the original, because Part 6 throws the same dice as Python does.

use std::io::{self, IsTerminal, Write};
use std::ops::{Add, Mul};
use std::path::{Path, PathBuf};
use std::{cell::RefCell, collections::BTreeSet, env, error::Error, fs, process::ExitCode};

const N_EMBD: usize = 16; // how many numbers describe one token inside the model
const N_HEAD: usize = 4; // how many things attention can look for at once
const HEAD_DIM: usize = N_EMBD / N_HEAD; // the share of the 16 numbers that each head works on
const BLOCK_SIZE: usize = 16; // the longest text the model can see

// ---- Part 1. A number that remembers how it was made -------------------------------------------
//
// To learn, we must know how much the loss changes when a parameter does: the gradient. By the
// chain rule, if c was made from a, a small change of a reaches the loss through c: it is worth the
// slope of c in a, times the gradient of c. So while calculating forwards we write down what each
// number was made from, and the slopes there; then we walk that list backwards, once.

/// One line of the list.
#[derive(Clone, Copy)]
struct Node {
    data: f64,
    grad: f64,
    inputs: [usize; 2], // the numbers it was made from
    slopes: [f64; 2],   // how fast it changes with each; 0 where there is no such input
}

/// The list. Parameters come first and stay. What a step computes comes after them and is cut off
/// again, so a `Value` made in one step must not be used in the next: its place is taken anew.
#[derive(Default)]
struct Tape {
    nodes: RefCell<Vec<Node>>,
}

/// A place in the list. It is `Copy` and has `+` and `*`, so that formulas look like formulas.
#[derive(Clone, Copy)]
struct Value<'t> {
    tape: &'t Tape,
    index: usize,
}

impl Tape {
    fn push(&self, data: f64, inputs: [usize; 2], slopes: [f64; 2]) -> Value<'_> {
        let mut nodes = self.nodes.borrow_mut();
        nodes.push(Node { data, grad: 0.0, inputs, slopes });
        Value { tape: self, index: nodes.len() - 1 }
    }

    /// Fills in every `grad`. A node always comes after its inputs, so the walk backwards meets it
    /// when all that used it have had their say: nothing needs sorting. The `+=` is the point: a
    /// number used twice answers for both.
    fn backward(&self, loss: Value) {
        let mut nodes = self.nodes.borrow_mut();
        nodes.iter_mut().for_each(|node| node.grad = 0.0);
        nodes[loss.index].grad = 1.0; // the loss changes by one when the loss changes by one
        for i in (0..=loss.index).rev() {
            let Node { grad, inputs, slopes, .. } = nodes[i];
            nodes[inputs[0]].grad += slopes[0] * grad;
            nodes[inputs[1]].grad += slopes[1] * grad;
        }
    }
}

impl Add for Value<'_> {
    type Output = Self;
    fn add(self, b: Self) -> Self {
        self.tape.push(self.data() + b.data(), [self.index, b.index], [1.0, 1.0])
    }
}

impl Mul for Value<'_> {
    type Output = Self;
    fn mul(self, b: Self) -> Self {
        let (x, y) = (self.data(), b.data());
        self.tape.push(x * y, [self.index, b.index], [y, x]) // the slope in each is the other
    }
}

impl Value<'_> {
    fn data(self) -> f64 {
        self.tape.nodes.borrow()[self.index].data
    }

    /// A function of this one number: what it gives, and its slope there.
    fn apply(self, data: f64, slope: f64) -> Self {
        self.tape.push(data, [self.index, 0], [slope, 0.0])
    }

    fn plus(self, c: f64) -> Self {
        self.apply(self.data() + c, 1.0)
    }

    fn times(self, c: f64) -> Self {
        self.apply(self.data() * c, c)
    }

    fn pow(self, p: f64) -> Self {
        self.apply(self.data().powf(p), p * self.data().powf(p - 1.0))
    }

    fn exp(self) -> Self {
        self.apply(self.data().exp(), self.data().exp()) // the one function that is its own slope
    }

    fn ln(self) -> Self {
        self.apply(self.data().ln(), 1.0 / self.data())
    }

    fn relu(self) -> Self {
        let on = if self.data() > 0.0 { 1.0 } else { 0.0 };
        self.times(on)
    }
}

// ---- Part 2. The few functions a GPT is made of ------------------------------------------------

type Vector<'t> = Vec<Value<'t>>;
type Matrix<'t> = Vec<Vector<'t>>; // row by row
type Memory<'t> = [Matrix<'t>; 2]; // a key and a value for each token read

fn sum<'t>(values: impl Iterator<Item = Value<'t>>) -> Value<'t> {
    values.reduce(|a, b| a + b).expect("nothing here sums an empty list")
}

fn add<'t>(a: &[Value<'t>], b: &[Value<'t>]) -> Vector<'t> {
    a.iter().zip(b).map(|(&a, &b)| a + b).collect()
}

/// How well two vectors agree: multiply them number by number and add up.
fn dot<'t>(a: &[Value<'t>], b: &[Value<'t>]) -> Value<'t> {
    sum(a.iter().zip(b).map(|(&a, &b)| a * b))
}

/// Each row of `weight` is a question to `x`, and each number of the result is its answer.
fn linear<'t>(x: &[Value<'t>], weight: &Matrix<'t>) -> Vector<'t> {
    weight.iter().map(|row| dot(row, x)).collect()
}

/// Turns any scores into probabilities: positive, of sum 1, the larger the larger the score.
fn softmax<'t>(scores: &[Value<'t>]) -> Vector<'t> {
    // Taking the largest from all of them leaves the result as it is and keeps exp from overflowing.
    let max = scores.iter().map(|s| s.data()).fold(f64::NEG_INFINITY, f64::max);
    let exps: Vector = scores.iter().map(|s| s.plus(-max).exp()).collect();
    let scale = sum(exps.iter().copied()).pow(-1.0);
    exps.iter().map(|&e| e * scale).collect()
}

/// Scales a vector so that its numbers are about 1 in size: a volume control between the layers.
fn rms_norm<'t>(x: &[Value<'t>]) -> Vector<'t> {
    let mean_square = dot(x, x).times(1.0 / x.len() as f64);
    let scale = mean_square.plus(1e-5).pow(-0.5);
    x.iter().map(|&x| x * scale).collect()
}

// ---- Part 3. The model -------------------------------------------------------------------------

/// All the parameters. This GPT has one layer, the matrices from `wq` on; larger ones stack many.
struct Gpt<'t> {
    wte: Matrix<'t>,     // [vocab, 16] what each token means
    wpe: Matrix<'t>,     // [block, 16] what each position means
    lm_head: Matrix<'t>, // [vocab, 16] what would ask for each token to come next
    wq: Matrix<'t>,      // [16, 16] what a token looks for: its query
    wk: Matrix<'t>,      // [16, 16] what it is found by: its key
    wv: Matrix<'t>,      // [16, 16] what it tells those who find it: its value
    wo: Matrix<'t>,      // [16, 16] how the findings of the heads are mixed
    fc1: Matrix<'t>,     // [64, 16] the two matrices
    fc2: Matrix<'t>,     // [16, 64] of the MLP
}

impl<'t> Gpt<'t> {
    /// A model that knows nothing yet: small random numbers, no two alike, so that each can learn
    /// something else.
    fn new(tape: &'t Tape, vocab_size: usize, random: &mut Random) -> Self {
        let mut parameter = || tape.push(random.gauss(0.0, 0.08), [0, 0], [0.0, 0.0]);
        let mut row = |cols| (0..cols).map(|_| parameter()).collect();
        let mut matrix = |rows, cols| (0..rows).map(|_| row(cols)).collect();
        Gpt {
            wte: matrix(vocab_size, N_EMBD),
            wpe: matrix(BLOCK_SIZE, N_EMBD),
            lm_head: matrix(vocab_size, N_EMBD),
            wq: matrix(N_EMBD, N_EMBD),
            wk: matrix(N_EMBD, N_EMBD),
            wv: matrix(N_EMBD, N_EMBD),
            wo: matrix(N_EMBD, N_EMBD),
            fc1: matrix(4 * N_EMBD, N_EMBD),
            fc2: matrix(N_EMBD, 4 * N_EMBD),
        }
    }

    /// Reads one token and gives a score, its logit, to each token that may come next. The memory
    /// holds the keys and the values of the tokens before.
    fn forward(&self, token: usize, position: usize, memory: &mut Memory<'t>) -> Vector<'t> {
        let [keys, values] = memory;
        let x = rms_norm(&add(&self.wte[token], &self.wpe[position])); // [16]

        // Attention, where tokens talk to each other. The new one leaves its key and its value for
        // those to come, and asks its query of all that are there, itself among them.
        let h = rms_norm(&x);
        let q = linear(&h, &self.wq); // [16]
        keys.push(linear(&h, &self.wk)); // [tokens so far, 16]
        values.push(linear(&h, &self.wv)); // [tokens so far, 16]
        let mut found = Vec::new();
        for start in (0..N_EMBD).step_by(HEAD_DIM) {
            let head = start..start + HEAD_DIM;
            // Without the square root, wide heads would have large scores and see one token only.
            let root = (HEAD_DIM as f64).sqrt();
            let score = |k: &Vector<'t>| dot(&q[head.clone()], &k[head.clone()]).times(1.0 / root);
            let weights = softmax(&keys.iter().map(score).collect::<Vector>()); // [tokens so far]
            let blend = |j| sum(weights.iter().zip(values.iter()).map(|(&w, v)| w * v[j]));
            found.extend(head.clone().map(blend));
        }
        // What was found is added to x, it does not replace it: a straight road, on which the
        // gradient reaches even the first layer of a deep model.
        let x = add(&linear(&found, &self.wo), &x); // [16]

        // The MLP, where each token thinks by itself about what it was told.
        let h: Vector = linear(&rms_norm(&x), &self.fc1).iter().map(|h| h.relu()).collect(); // [64]
        let x = add(&linear(&h, &self.fc2), &x); // [16]
        linear(&x, &self.lm_head) // [vocab]
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let usage = "usage: microgpt [names.txt] [--steps N] [--losses FILE]";
    let (mut dataset, mut steps, mut losses_file) = (None, 1000, None);
    let mut args = env::args_os().skip(1);
    while let Some(arg) = args.next() {
        match arg.to_str() {
            Some("--losses") => losses_file = Some(PathBuf::from(args.next().ok_or(usage)?)),
            Some("--steps") => {
                let n = args.next().and_then(|n| n.to_str()?.parse().ok());
                steps = n.ok_or(usage)?;
            }
            Some(flag) if flag.starts_with('-') => return Err(usage.into()),
            _ if dataset.is_some() => return Err(usage.into()),
            _ => dataset = Some(PathBuf::from(arg)),
        }
    }

    // ---- Part 4. Training ----------------------------------------------------------------------

    // The data: a name on each line, in random order.
    let text = read(&dataset.unwrap_or("datasets/names.txt".into()))?;
    let mut docs: Vec<&str> = text.split(['\n', '\r']).map(str::trim).collect();
    docs.retain(|doc| !doc.is_empty());
    if docs.is_empty() {
        return Err("the dataset holds no text: it should have a name on each line".into());
    }
    let mut random = Random { twister: rand_mt::Mt::new_with_key([42]), spare: None }; // seed 42
    random.shuffle(&mut docs);
    let mut out = io::stdout();
    writeln!(out, "num docs: {}", docs.len())?;

    // The tokenizer: each character is a number, and the next one, BOS, begins and ends a name.
    let chars: BTreeSet<char> = docs.iter().flat_map(|doc| doc.chars()).collect();
    let chars = Vec::from_iter(chars); // sorted
    let bos = chars.len();
    writeln!(out, "vocab size: {}", chars.len() + 1)?;

    let tape = Tape::default();
    let gpt = Gpt::new(&tape, chars.len() + 1, &mut random);
    let num_params = tape.nodes.borrow().len();
    writeln!(out, "num params: {num_params}")?;

    // Adam keeps two running means for each parameter: of its gradient, and of the gradient squared.
    let (mut means, mut squares) = (vec![0.0; num_params], vec![0.0; num_params]);
    let mut losses = Vec::new();
    for step in 0..steps {
        let name = docs[step % docs.len()].chars();
        let name = name.map(|c| chars.binary_search(&c).expect("chars were taken from the names"));
        let tokens: Vec<usize> = [bos].into_iter().chain(name).chain([bos]).collect();

        // Every token is to foretell the one after it. The loss is the mean surprise, -ln p: 0 for
        // a letter the model was sure of, 3.3 for one of 27 that it holds equally likely.
        let mut memory = Memory::default();
        let mut surprises = Vector::new();
        for (position, pair) in tokens.windows(2).take(BLOCK_SIZE).enumerate() {
            let logits = gpt.forward(pair[0], position, &mut memory);
            surprises.push(softmax(&logits)[pair[1]].ln().times(-1.0));
        }
        let loss = sum(surprises.iter().copied()).times(1.0 / surprises.len() as f64);
        tape.backward(loss);
        losses.push(loss.data());

        // Move each parameter against its mean gradient. Divided by the root of the mean square,
        // the move is about `lr` long, be the gradients of this parameter large or small.
        let lr = 0.01 * (1.0 - step as f64 / steps as f64);
        let (beta1, beta2, t): (f64, f64, f64) = (0.85, 0.99, (step + 1) as f64);
        let mut nodes = tape.nodes.borrow_mut();
        nodes.truncate(num_params); // this step's numbers have done their work
        for ((p, m), v) in nodes.iter_mut().zip(&mut means).zip(&mut squares) {
            *m = beta1 * *m + (1.0 - beta1) * p.grad;
            *v = beta2 * *v + (1.0 - beta2) * p.grad * p.grad;
            let m_hat = *m / (1.0 - beta1.powf(t)); // the means began at 0: take that out again
            let v_hat = *v / (1.0 - beta2.powf(t));
            p.data -= lr * m_hat / (v_hat.sqrt() + 1e-8);
        }

        let line = format!("step {:4} / {steps:4} | loss {:.4}", step + 1, losses[step]);
        let last = step + 1 == steps;
        if out.is_terminal() {
            write!(out, "\r{line}{}", if last { "\n" } else { "" })?;
            out.flush()?;
        } else if step == 0 || (step + 1) % 100 == 0 || last {
            writeln!(out, "{line}")?;
        }
    }
    if let Some(path) = losses_file {
        let lines: String = losses.iter().map(|loss| format!("{loss}\n")).collect();
        fs::write(&path, lines).map_err(|e| format!("cannot write {}: {e}", path.display()))?;
    }

    // ---- Part 5. Sampling ----------------------------------------------------------------------

    // Begin with BOS, draw a token by its probability, read it in turn, until BOS comes again. A
    // temperature below 1 makes the likely likelier: fewer slips, and fewer surprises.
    let temperature = 0.5;
    for number in 1..=20 {
        let mut memory = Memory::default();
        let (mut token, mut name) = (bos, String::new());
        for position in 0..BLOCK_SIZE {
            let logits = gpt.forward(token, position, &mut memory);
            let logits: Vector = logits.iter().map(|l| l.times(1.0 / temperature)).collect();
            let probs: Vec<f64> = softmax(&logits).iter().map(|p| p.data()).collect();
            token = random.choice(&probs);
            if token == bos {
                break;
            }
            name.push(chars[token]);
        }
        tape.nodes.borrow_mut().truncate(num_params);
        writeln!(out, "sample {number:2}: {name}")?;
    }
    Ok(())
}

// ---- Part 6. Python's dice ---------------------------------------------------------------------
//
// A seeded generator gives the same numbers every time. The Mersenne Twister, used as CPython 3.11
// uses it in Lib/random.py, gives Python's, so that this file can be held against the original.

struct Random {
    twister: rand_mt::Mt,
    spare: Option<f64>, // normal numbers are made in pairs: the second one waits here
}

impl Random {
    /// A number in [0, 1), of 53 random bits.
    fn uniform(&mut self) -> f64 {
        let (high, low) = (self.twister.next_u32() >> 5, self.twister.next_u32() >> 6);
        (f64::from(high) * 2f64.powi(26) + f64::from(low)) / 2f64.powi(53)
    }

    /// A number of the bell curve: two uniform ones, as angle and radius, give two normal ones.
    fn gauss(&mut self, mean: f64, std: f64) -> f64 {
        let z = self.spare.take().unwrap_or_else(|| {
            let angle = self.uniform() * std::f64::consts::TAU;
            let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
            self.spare = Some(angle.sin() * radius);
            angle.cos() * radius
        });
        mean + z * std
    }

    /// From the last place down, each item changes places with a random one at or before it.
    fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            // Draw just enough bits for i + 1, and again until they are in range: fair to all.
            let unused = 31 - (i + 1).ilog2();
            let mut j = usize::MAX;
            while j > i {
                j = (self.twister.next_u32() >> unused) as usize;
            }
            items.swap(i, j);
        }
    }

    /// An index, each as likely as its weight: lay them end to end and see where a dart lands.
    fn choice(&mut self, weights: &[f64]) -> usize {
        let dart = self.uniform() * weights.iter().sum::<f64>();
        let mut end = 0.0;
        for (i, weight) in weights.iter().enumerate() {
            end += weight;
            if dart < end {
                return i;
            }
        }
        weights.len() - 1 // rounding put the dart on the very end
    }
}

/// The text of a file: at its path, in the project's `datasets/`, or in $GRADUS_DATASETS.
fn read(path: &Path) -> Result<String, String> {
    let name = path.strip_prefix("datasets").unwrap_or(path);
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("datasets").join(name);
    let folder = env::var_os("GRADUS_DATASETS").map(|folder| Path::new(&folder).join(name));
    let mut places = [Some(path.to_path_buf()), Some(project), folder].into_iter().flatten();
    let place = places.find(|place| place.exists()).unwrap_or(path.to_path_buf());
    let bytes = fs::read(&place).map_err(|e| format!("cannot read {}: {e}", place.display()))?;
    String::from_utf8(bytes).map_err(|_| format!("{} is not UTF-8 text", place.display()))
}

fn main() -> ExitCode {
    let Err(error) = run() else { return ExitCode::SUCCESS };
    eprintln!("error: {error}");
    ExitCode::FAILURE
}
