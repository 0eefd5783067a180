//! The names GPT from the book alone: the formulas of chapter 4 and the box of chapter 5, right or with one mistake.

use gradus::Tensor;
use gradus::UnaryOp;
use gradus::scalar::{Arena, Graph, Matrix};
use gradus::tensor::{AttentionSpec, Mask, packed};

/// What is easily forgotten.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mistake {
    None,
    NoScale,
    NoEmbeddingNorm,
    NoAttentionNorm,
    NoPositions,
    NoAttention,
    NoRelu,
    UsualBetas,
    NoBiasCorrection,
}

pub const MISTAKES: [Mistake; 8] = [
    Mistake::NoScale,
    Mistake::NoEmbeddingNorm,
    Mistake::NoAttentionNorm,
    Mistake::NoPositions,
    Mistake::NoAttention,
    Mistake::NoRelu,
    Mistake::UsualBetas,
    Mistake::NoBiasCorrection,
];

/// The matrices in the order of the table of chapter 4.
pub const SHAPES: [(&str, usize, usize); 9] = [
    ("E", 27, 16),
    ("P", 16, 16),
    ("Wq", 16, 16),
    ("Wk", 16, 16),
    ("Wv", 16, 16),
    ("Wo", 16, 16),
    ("W1", 64, 16),
    ("W2", 16, 64),
    ("H", 27, 16),
];

/// Where the first number of each matrix is among all.
pub fn starts() -> [usize; 9] {
    let mut end = 0;
    SHAPES.map(|(_, rows, cols)| {
        end += rows * cols;
        end - rows * cols
    })
}

fn bind<'g>(graph: &'g Graph<'g>, params: &[f64]) -> [Matrix<'g>; 9] {
    let (starts, mut at) = (starts(), 0..);
    SHAPES.map(|(_, rows, cols)| {
        let start = starts[at.next().expect("another matrix")];
        graph.matrix(rows, cols, &params[start..start + rows * cols])
    })
}

fn forward<'g>(weights: [Matrix<'g>; 9], tokens: &[usize], mistake: Mistake) -> Matrix<'g> {
    let [e, p, wq, wk, wv, wo, w1, w2, head] = weights;
    let is = |other| mistake == other;
    let norm = |x: Matrix<'g>| x.rms_norm(None, 0.00001);
    let mut x = e.gather_rows(tokens);
    if !is(Mistake::NoPositions) {
        x = x + p.gather_rows(&(0..tokens.len()).collect::<Vec<_>>());
    }
    if !is(Mistake::NoEmbeddingNorm) {
        x = norm(x);
    }
    let h = if is(Mistake::NoAttentionNorm) { x } else { norm(x) };
    let (scale, all) = (if is(Mistake::NoScale) { 1.0 } else { 0.5 }, &packed(&[tokens.len()])[..]);
    let (queries, keys, mask) = (all, all, Mask::Causal);
    let spec = AttentionSpec { n_head: 4, n_kv_head: 4, scale, mask, bias: None, queries, keys };
    if !is(Mistake::NoAttention) {
        x = x + h.linear(wq).attention(h.linear(wk), h.linear(wv), spec).linear(wo);
    }
    let inner = norm(x).linear(w1);
    let inner = if is(Mistake::NoRelu) { inner } else { inner.apply(UnaryOp::Relu) };
    (x + inner.linear(w2)).linear(head)
}

/// The logits of the token that follows these.
pub fn logits(params: &[f64], tokens: &[usize], mistake: Mistake) -> Vec<f64> {
    let mut arena = Arena::new();
    let logits = forward(bind(arena.graph(), params), tokens, mistake);
    logits.read_row(tokens.len() - 1, <[f64]>::to_vec)
}

/// The loss of a name, its tokens between two BOS, and the gradient.
pub fn gradient(arena: &mut Arena, params: &[f64], tokens: &[usize], mistake: Mistake) -> (f64, Vec<f64>) {
    let weights = bind(arena.graph(), params);
    let (read, targets) = (&tokens[..tokens.len() - 1], &tokens[1..]);
    let losses = forward(weights, read, mistake).cross_entropy(targets, 0.0);
    let share = vec![1.0 / read.len() as f64; read.len()];
    let loss = losses.constant(1, read.len(), &share).matmul(losses).at(0, 0);
    loss.backward();
    let numbers = |matrix: Matrix<'_>| {
        let (rows, cols) = matrix.shape();
        (0..rows * cols).map(|at| matrix.at(at / cols, at % cols).grad()).collect::<Vec<_>>()
    };
    (loss.data(), weights.into_iter().flat_map(numbers).collect())
}

/// Trains, and returns the loss of each step.
pub fn train(mut params: Vec<f64>, names: impl Iterator<Item = Vec<usize>>, mistake: Mistake) -> Vec<f64> {
    let (beta1, beta2): (f64, f64) = if mistake == Mistake::UsualBetas { (0.9, 0.999) } else { (0.85, 0.99) };
    let (mut m, mut v) = (vec![0.0; params.len()], vec![0.0; params.len()]);
    let mut arena = Arena::new();
    let mut step = |(t, tokens): (i32, Vec<usize>)| {
        let (loss, gradient) = gradient(&mut arena, &params, &tokens, mistake);
        let corrected = mistake != Mistake::NoBiasCorrection;
        let share = |beta: f64| if corrected { 1.0 - beta.powi(t) } else { 1.0 };
        let (first, second) = (share(beta1), share(beta2));
        let rate = 0.01 * (1.0 - f64::from(t - 1) / 1000.0);
        for (((w, g), m), v) in params.iter_mut().zip(&gradient).zip(&mut m).zip(&mut v) {
            *m = beta1 * *m + (1.0 - beta1) * g;
            *v = beta2 * *v + (1.0 - beta2) * g * g;
            *w -= rate * (*m / first) / ((*v / second).sqrt() + 0.00000001);
        }
        loss
    };
    (1..).zip(names).map(&mut step).collect()
}
