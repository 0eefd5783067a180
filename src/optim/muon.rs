//! Muon: momentum, made orthogonal (Jordan et al. 2024).
//!
//! The gradient of a matrix is usually dominated by a few directions. Muon steps equally far in all of them: it replaces the
//! gradient `G = U·S·Vᵀ` by about `U·Vᵀ`, its nearest orthogonal matrix. No singular value decomposition is needed: a
//! polynomial of odd powers in `G`, applied a few times, moves all singular values toward 1 (Newton-Schulz
//! iteration), and that is nothing but matrix products.

use super::{Adam, AdamSettings, Optimizer};
use crate::gemm::{MatMut, MatRef, gemm};
use crate::params::{Layout, ParamKind, ParamSpec};
use crate::thread_pool::ThreadPool;

/// In which order momentum and orthogonalisation come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Momentum {
    /// The running mean of gradients, looked one step ahead (Nesterov), is made orthogonal: now the usual order.
    Nesterov,
    /// The running mean of gradients is made orthogonal.
    Plain,
    /// The running mean of orthogonal gradients, as nn.zig has it.
    OfOrthogonal,
}

/// What Muon is told.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MuonSettings {
    /// How much of the running mean stays from step to step.
    pub momentum: f64,
    /// In which order.
    pub order: Momentum,
    /// Newton-Schulz iterations.
    pub iterations: usize,
    /// The share of each weight, times the learning rate, that is taken away.
    pub weight_decay: f64,
    /// Its learning rate as a multiple of that of the other weights.
    pub rate: f64,
    /// What the other weights are given.
    pub adam: AdamSettings,
}

/// Muon for the matrices of a model, AdamW for its embeddings and gains.
pub struct Muon {
    settings: MuonSettings,
    momentum: Vec<f32>,
    adam: Adam<f32>,
    others: Vec<ParamSpec>,
    matrices: Vec<Task>,
    threads: ThreadPool,
}

/// One matrix, with the memory to work on it.
struct Task {
    window: ParamSpec,
    step: Vec<f32>,
    square: Vec<f32>,
    fourth: Vec<f32>,
    next: Vec<f32>,
}

impl Muon {
    /// For a model of this layout.
    pub fn new(layout: &Layout, settings: MuonSettings, threads: ThreadPool) -> Self {
        let (matrices, others): (Vec<_>, Vec<_>) =
            layout.specs().iter().cloned().partition(|window| window.kind == ParamKind::Matrix);
        let task = |window: ParamSpec| Task {
            step: vec![0.0; window.range().len()],
            square: Vec::new(),
            fourth: Vec::new(),
            next: Vec::new(),
            window,
        };
        Muon {
            settings,
            momentum: vec![0.0; layout.len()],
            adam: Adam::new(layout.len(), settings.adam),
            others,
            matrices: matrices.into_iter().map(task).collect(),
            threads,
        }
    }
}

impl Optimizer<f32> for Muon {
    fn update(&mut self, params: &mut [f32], gradient: &[f32], learning_rate: f64) {
        assert!(params.len() == self.momentum.len() && gradient.len() == params.len(), "Muon: other params");
        self.adam.begin();
        for window in &self.others {
            self.adam.update_part(params, gradient, window.range(), learning_rate);
        }
        let MuonSettings { momentum, order, iterations, weight_decay, rate, .. } = self.settings;
        let keep = momentum as f32;
        let mean = |buffer: &mut [f32], from: &[f32]| {
            buffer.iter_mut().zip(from).for_each(|(m, g)| *m = keep * *m + (1.0 - keep) * g);
        };
        for task in &mut self.matrices {
            let (buffer, g) = (&mut self.momentum[task.window.range()], &gradient[task.window.range()]);
            // ANCHOR: order
            match order {
                Momentum::OfOrthogonal => task.step.copy_from_slice(g),
                Momentum::Plain => {
                    mean(buffer, g);
                    task.step.copy_from_slice(buffer);
                }
                Momentum::Nesterov => {
                    mean(buffer, g);
                    let ahead = buffer.iter().zip(g).map(|(m, g)| keep * m + (1.0 - keep) * g);
                    task.step.iter_mut().zip(ahead).for_each(|(step, ahead)| *step = ahead);
                }
            }
            // ANCHOR_END: order
        }
        self.threads.for_each(&mut self.matrices, |task| task.orthogonalize(iterations));
        let rate = learning_rate * rate;
        for task in &self.matrices {
            let ParamSpec { rows, cols, .. } = task.window;
            // A tall matrix has fewer directions than outputs: scaled so that each output changes by about as much.
            let step = (rate * (rows as f64 / cols as f64).max(1.0).sqrt()) as f32;
            let decay = (1.0 - rate * weight_decay) as f32;
            let buffer = &mut self.momentum[task.window.range()];
            let direction = match order {
                Momentum::OfOrthogonal => {
                    mean(buffer, &task.step);
                    &*buffer
                }
                _ => &task.step,
            };
            let params = &mut params[task.window.range()];
            params.iter_mut().zip(direction).for_each(|(w, d)| *w = *w * decay - step * d);
        }
    }

    fn state(&mut self) -> Vec<(&'static str, &mut [f32])> {
        let mut state = self.adam.state();
        state.push(("muon.momentum", &mut self.momentum));
        state
    }

    fn steps(&self) -> usize {
        self.adam.steps()
    }

    fn set_steps(&mut self, steps: usize) {
        self.adam.set_steps(steps);
    }
}

/// The nearest orthogonal matrix, about, of a matrix `[rows, cols]` in place.
pub fn orthogonalize(matrix: &mut [f32], rows: usize, cols: usize, iterations: usize) {
    let (mut square, mut fourth, mut next) = (Vec::new(), Vec::new(), Vec::new());
    newton_schulz(matrix, (rows, cols), iterations, &mut square, &mut fourth, &mut next);
}

impl Task {
    fn orthogonalize(&mut self, iterations: usize) {
        let Task { window, step, square, fourth, next } = self;
        newton_schulz(step, (window.rows, window.cols), iterations, square, fourth, next);
    }
}

/// Five iterations of `X ← a·X + (b·A + c·A²)·X` with `A = X·Xᵀ` bring singular values between about 0.7 and 1.2 with these
/// numbers, which were chosen to rise fast from near zero rather than to settle at 1 (Jordan et al. 2024).
fn newton_schulz(
    x: &mut [f32],
    (rows, cols): (usize, usize),
    iterations: usize,
    square: &mut Vec<f32>,
    fourth: &mut Vec<f32>,
    next: &mut Vec<f32>,
) {
    const A: f32 = 3.4445;
    const B: f32 = -4.7750;
    const C: f32 = 2.0315;
    let norm = x.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt().max(1e-7);
    x.iter_mut().for_each(|x| *x = (f64::from(*x) / norm) as f32);
    // The smaller of the two squares: X·Xᵀ of a wide matrix, Xᵀ·X of a tall one.
    let side = rows.min(cols);
    square.resize(side * side, 0.0);
    fourth.resize(side * side, 0.0);
    next.resize(x.len(), 0.0);
    // ANCHOR: iterations
    for _ in 0..iterations {
        let view = MatRef::new(x, rows, cols);
        let (left, right) = if rows <= cols { (view, view.t()) } else { (view.t(), view) };
        gemm(1.0, left, right, 0.0, MatMut::new(square, side, side)); // A = X·Xᵀ
        fourth.copy_from_slice(square);
        let a = MatRef::new(square, side, side);
        gemm(C, a, a, B, MatMut::new(fourth, side, side)); // b·A + c·A²
        next.copy_from_slice(x);
        let polynomial = MatRef::new(fourth, side, side);
        let (left, right) = if rows <= cols { (polynomial, view) } else { (view, polynomial) };
        gemm(1.0, left, right, A, MatMut::new(next, rows, cols)); // a·X + (b·A + c·A²)·X
        x.copy_from_slice(next);
    }
    // ANCHOR_END: iterations
}
