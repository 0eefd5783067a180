//! A whole GPT in one file: Andrej Karpathy's `microgpt.py`, told in Rust with nothing but `std`.
//!
//! A GPT is a function with thousands of adjustable numbers, its parameters. This one reads the start of a name and
//! predicts the next letter. The loss says how wrong it was, and calculus says which way to move each parameter to
//! lower the loss. Move them all a little, and repeat. Source: <https://karpathy.github.io/2026/02/12/microgpt/>.

use std::io::{self, IsTerminal, Read, Write};
use std::{cell::RefCell, collections::BTreeSet, env, f64::consts::TAU, fs, iter, ops, path::PathBuf};

const N_EMBD: usize = 16; // how many numbers describe a token inside the model
const HEAD_DIM: usize = 4; // how many of them each attention head works on, so there are 4 heads
const BLOCK_SIZE: usize = 16; // the most tokens the model can read

// ---- Part 1. A number that remembers how it was made ----
// To train, we need the gradient of each parameter: how fast the loss changes when that parameter changes. So every
// number we compute goes on a tape, with its inputs (the numbers it was made from) and its slopes (its derivative with
// respect to each input). By the chain rule, one walk back along the tape then finds all gradients.
// ANCHOR: engine
type Node = [(usize, f64); 2]; // the index of each input on the tape, and its slope (unused: index 0, slope 0)
thread_local!(static TAPE: RefCell<Vec<Node>> = const { RefCell::new(Vec::new()) }); // one tape for everything

#[derive(Clone, Copy, Default)]
struct Value {
    data: f64,
    index: usize, // the place of its node on the tape
}

impl Value {
    fn new(data: f64, node: Node) -> Self {
        TAPE.with_borrow_mut(|tape| tape.push(node));
        Value { data, index: TAPE.with_borrow(Vec::len) - 1 }
    }
    fn map(self, function: impl Fn(f64) -> (f64, f64)) -> Self {
        let (data, slope) = function(self.data); // each function here returns its result and its slope
        Value::new(data, [(self.index, slope), (0, 0.0)])
    }
    /// Uses up the tape and returns the gradient of every number on it. This one, the last, is the loss. Going back, we
    /// reach a number after all that was made from it: its gradient is complete. Why `+=`? Used twice, it counts twice.
    fn backward(self) -> Vec<f64> {
        let mut grads = [vec![0.0; self.index], vec![1.0]].concat(); // the loss changes as fast as itself: 1
        for (i, node) in TAPE.take().iter().enumerate().rev() {
            node.iter().for_each(|&(input, slope)| grads[input] += slope * grads[i]);
        }
        grads
    }
}

impl ops::Add for Value {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Value::new(self.data + other.data, [(self.index, 1.0), (other.index, 1.0)])
    }
}
impl ops::Mul for Value {
    type Output = Self;
    fn mul(self, other: Self) -> Self {
        Value::new(self.data * other.data, [(self.index, other.data), (other.index, self.data)])
    }
}
// ANCHOR_END: engine
// ---- Part 2. The few functions a GPT needs ----
type Matrix = Vec<Vec<Value>>; // a list of rows
fn sum(values: impl IntoIterator<Item = Value>) -> Value {
    values.into_iter().reduce(|a, b| a + b).expect("no list here is empty")
}
fn add(a: &[Value], b: &[Value]) -> Vec<Value> {
    a.iter().zip(b).map(|(&a, &b)| a + b).collect()
}
fn dot(a: &[Value], b: &[Value]) -> Value {
    sum(a.iter().zip(b).map(|(&a, &b)| a * b)) // how well two vectors match
}
fn linear(weight: &Matrix, x: &[Value]) -> Vec<Value> {
    weight.iter().map(|row| dot(row, x)).collect() // matrix times vector: [cols] becomes [rows]
}
fn softmax(scores: &[Value]) -> Vec<Value> {
    let max = scores.iter().map(|s| s.data).fold(f64::MIN, f64::max); // cancels out, but keeps exp from overflowing
    let exps: Vec<_> = scores.iter().map(|s| s.map(|s| ((s - max).exp(), (s - max).exp()))).collect();
    let scale = sum(exps.iter().copied()).map(|s| (1.0 / s, -1.0 / (s * s)));
    exps.iter().map(|&e| e * scale).collect() // probabilities: all are positive, and their sum is 1
}
fn rms_norm(x: &[Value]) -> Vec<Value> {
    let mean_square = dot(x, x).map(|s| (s / x.len() as f64 + 1e-5, 1.0 / x.len() as f64)); // 1e-5: never divide by 0
    let scale = mean_square.map(|m| (m.powf(-0.5), -0.5 * m.powf(-1.5)));
    x.iter().map(|&x| x * scale).collect() // numbers of about size 1: they must not grow or fade from layer to layer
}

// ---- Part 3. The model: it reads one token and gives a score to each token that could come next ----
type KvCache = [Matrix; 2]; // the keys and the values of the tokens read so far: [tokens, n_embd] each
fn forward(gpt: &[Matrix; 9], token: usize, [keys, values]: &mut KvCache) -> Vec<Value> {
    let [wte, wpe, lm_head, wq, wk, wv, wo, fc1, fc2] = gpt; // wte has a vector for each token, wpe for each position
    let x = rms_norm(&add(&wte[token], &wpe[keys.len()])); // [n_embd]

    // Attention: the token collects information from the tokens before it and from itself.
    let h = rms_norm(&x);
    let q = linear(wq, &h); // query: what this token is looking for
    keys.push(linear(wk, &h)); // key: what queries are compared with
    values.push(linear(wv, &h)); // value: what a token passes on when its key matches
    let mut attended = Vec::new();
    for head in (0..N_EMBD).step_by(HEAD_DIM).map(|start| start..start + HEAD_DIM) {
        let root = (HEAD_DIM as f64).sqrt(); // keeps the scores of wide heads small, or softmax would pick one token
        let score = |k: &Vec<Value>| dot(&q[head.clone()], &k[head.clone()]).map(|s| (s / root, 1.0 / root));
        let weights = softmax(&keys.iter().map(score).collect::<Vec<_>>()); // [tokens]
        let weighted_sum = |j| sum(weights.iter().zip(values.iter()).map(|(&w, v)| w * v[j]));
        attended.extend(head.clone().map(weighted_sum)); // [head_dim] for each head, [n_embd] in the end
    }
    let x = add(&x, &linear(wo, &attended)); // added, not replaced: gradients get a direct way back to early layers

    // MLP: the token works on what it has collected. ReLU turns negative numbers into 0.
    let relu = |h: Value| h.map(|h| (h.max(0.0), f64::from(h > 0.0)));
    let hidden: Vec<_> = linear(fc1, &rms_norm(&x)).into_iter().map(relu).collect(); // [4 n_embd]
    let x = add(&x, &linear(fc2, &hidden)); // [n_embd]
    linear(lm_head, &x) // [vocab_size] the scores, called logits
}

const HELP: &str = "usage: microgpt [NAMES] [--steps N] [--losses FILE] [--random FILE]
Trains on NAMES, one per line (default: datasets/names.txt), for N steps (default: 1000), and prints 20 new names.
--losses writes the loss of each step; --random reads 32-bit little-endian words. Example: microgpt my.txt --steps 500";
fn run() -> Result<(), Box<dyn std::error::Error>> {
    let (mut out, mut args) = (io::stdout(), env::args_os().skip(1));
    let (mut path, mut steps, mut losses_file, mut random_file) = (None, 1000_usize, None, None);
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("{} needs a value", arg.display()));
        match &*arg.to_string_lossy() {
            "-h" | "--help" => return Ok(writeln!(out, "{HELP}")?),
            "--steps" => steps = value()?.to_string_lossy().parse().map_err(|e| format!("--steps: {e}"))?,
            "--losses" => losses_file = Some(value()?),
            "--random" => random_file = Some(fs::File::open(value()?).map_err(|e| format!("--random: {e}"))?),
            arg if path.is_some() || arg.starts_with('-') => Err(format!("unexpected {arg}: see --help"))?,
            _ => path = Some(PathBuf::from(arg)),
        }
    }
    let shipped = Some(PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/datasets/names.txt")));
    let own = env::var_os("GRADUS_DATASETS").map(|folder| PathBuf::from(folder).join("names.txt"));
    let path = path.or(shipped.filter(|path| path.exists())).or(own).unwrap_or("datasets/names.txt".into());
    let text = fs::read_to_string(&path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;

    // ---- Part 4. Training ----
    let mut names: Vec<&str> = text.lines().map(str::trim).filter(|name| !name.is_empty()).collect();
    names.first().ok_or_else(|| format!("there are no names in {}", path.display()))?;
    let mut words = random_words(random_file);
    shuffle(&mut names, &mut words).ok_or(NO_WORDS)?;
    let chars = Vec::from_iter(names.iter().flat_map(|name| name.chars()).collect::<BTreeSet<_>>());
    let bos = chars.len(); // each character is a token, and one more, BOS, starts and ends each name
    // The matrices of `forward`, random at first: equal rows would stay equal. Large GPTs have many layers (wq to fc2).
    let (v, b, n) = (chars.len() + 1, BLOCK_SIZE, N_EMBD); // v is the size of the vocabulary
    let shapes = [(v, n), (b, n), (v, n), (n, n), (n, n), (n, n), (n, n), (4 * n, n), (n, 4 * n)];
    let mut gpt = shapes.map(|(rows, cols)| vec![vec![Value::default(); cols]; rows]);
    let mut normals = iter::from_fn(|| normal_pair(&mut words)).flatten();
    for p in gpt.iter_mut().flatten().flatten() {
        *p = Value::new(0.08 * normals.next().ok_or(NO_WORDS)?, Node::default());
    }
    let params = TAPE.take();
    writeln!(out, "{} names, {v} tokens, {} parameters", names.len(), params.len())?;
    let (mut moments, mut history) = (vec![[0.0; 2]; params.len()], String::new());
    for (step, name) in (1..=steps).zip(names.iter().cycle()) {
        TAPE.set(params.clone()); // each step starts with nothing but the parameters
        let name = name.chars().map(|c| chars.binary_search(&c).expect("a character of the names"));
        let tokens: Vec<usize> = iter::once(bos).chain(name).chain([bos]).collect();
        // The loss of a prediction is -ln p, where p is the probability of the right token: 3.3 for a guess among 27.
        let mut cache = KvCache::default();
        let nll = |w: &[usize]| softmax(&forward(&gpt, w[0], &mut cache))[w[1]].map(|p| (-p.ln(), -1.0 / p));
        let losses: Vec<_> = tokens.windows(2).take(BLOCK_SIZE).map(nll).collect();
        let loss = sum(losses.iter().copied()).map(|s| (s / losses.len() as f64, 1.0 / losses.len() as f64));

        let (lr, t) = (0.01 * (1.0 - (step - 1) as f64 / steps as f64), step as f64); // the learning rate falls to 0
        for ((p, grad), [m, v]) in gpt.iter_mut().flatten().flatten().zip(loss.backward()).zip(&mut moments) {
            *m = 0.85 * *m + (1.0 - 0.85) * grad; // Adam: a running mean of the gradient
            *v = 0.99 * *v + (1.0 - 0.99) * grad * grad; // and one of its square
            let (m_hat, v_hat) = (*m / (1.0 - 0.85_f64.powf(t)), *v / (1.0 - 0.99_f64.powf(t))); // they started at 0
            p.data -= lr * m_hat / (v_hat.sqrt() + 1e-8); // a move of about lr, for large and small gradients alike
        }
        history += &format!("{}\n", loss.data);
        if out.is_terminal() || step == 1 || step % 100 == 0 || step == steps {
            let end = if out.is_terminal() && step < steps { '\r' } else { '\n' };
            write!(out, "step {step:4} / {steps} | loss {:.4}{end}", loss.data).and_then(|()| out.flush())?;
        }
    }
    losses_file.map_or(Ok(()), |path| fs::write(path, history)).map_err(|e| format!("--losses: {e}"))?;

    // ---- Part 5. Sampling: draw letter after letter. The temperature of 0.5 makes likely letters likelier still ----
    for number in 1..=20 {
        let (mut token, mut name, mut cache) = (bos, String::new(), KvCache::default());
        for _ in 0..BLOCK_SIZE {
            let weights = forward(&gpt, token, &mut cache).into_iter().map(|l| (l.data / 0.5).exp());
            token = choice(&weights.collect::<Vec<_>>(), &mut words).ok_or(NO_WORDS)?;
            let Some(letter) = chars.get(token) else { break }; // BOS, so the name is complete
            name.push(*letter);
        }
        TAPE.take(); // nobody needs gradients here
        writeln!(out, "sample {number:2}: {}", name.replace(char::is_control, "?"))?;
    }
    Ok(())
}

fn main() {
    let Err(error) = run() else { return };
    let _ = writeln!(io::stderr(), "error: {error}");
    std::process::exit(1);
}

// ---- Part 6. Random numbers, made from words of 32 bits as in Python: its words give microgpt.py's results ----
const NO_WORDS: &str = "--random: there are no more words in the file";
/// The words of a file, or of a small generator: keep multiplying by a large constant and take the upper bits (Lehmer).
fn random_words(mut file: Option<fs::File>) -> impl Iterator<Item = u32> {
    let (mut state, mut word) = (42_u128 << 64 | 1, [0; 4]);
    iter::from_fn(move || {
        state = state.wrapping_mul(0xDA94_2042_E4DD_58B5);
        let Some(file) = &mut file else { return Some((state >> 96) as u32) };
        file.read_exact(&mut word).ok().map(|()| u32::from_le_bytes(word))
    })
}
fn uniform(words: &mut impl Iterator<Item = u32>) -> Option<f64> {
    let (high, low) = (words.next()? >> 5, words.next()? >> 6); // 27 and 26 random bits
    Some((f64::from(high) * 2f64.powi(26) + f64::from(low)) / 2f64.powi(53)) // from 0 to 1, but not 1
}
fn normal_pair(words: &mut impl Iterator<Item = u32>) -> Option<[f64; 2]> {
    let (angle, radius) = (uniform(words)? * TAU, (-2.0 * (1.0 - uniform(words)?).ln()).sqrt());
    Some([angle.cos() * radius, angle.sin() * radius]) // two normal numbers (Box-Muller)
}
/// Swaps each item, from the last one down, with a random one at or before it (Fisher-Yates).
fn shuffle<T>(items: &mut [T], words: &mut impl Iterator<Item = u32>) -> Option<()> {
    for i in (1..items.len()).rev() {
        items.swap(i, words.map(|word| (word >> (31 - (i + 1).ilog2())) as usize).find(|&j| j <= i)?);
    }
    Some(())
}
fn choice(weights: &[f64], words: &mut impl Iterator<Item = u32>) -> Option<usize> {
    let (dart, last) = (uniform(words)? * weights.iter().sum::<f64>(), weights.len() - 1);
    Some((0..last).find(|&i| dart < weights[..=i].iter().sum()).unwrap_or(last)) // i is as likely as its weight
}
