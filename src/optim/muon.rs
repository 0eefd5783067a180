//! Muon: momentum, made orthogonal (Jordan et al. 2024).
//!
//! The gradient of a matrix is usually dominated by a few directions. Muon steps equally far in all of them: it replaces the
//! gradient `G = U·S·Vᵀ` by about `U·Vᵀ`, its nearest orthogonal matrix. No singular value decomposition is needed: a
//! polynomial with odd powers of `G`, applied a few times, moves all singular values toward 1 (Newton-Schulz
//! iteration), and that takes nothing but matrix products.

use std::ops::Range;

use super::sphere::{RotationSums, rotate};
use super::{Adam, AdamSettings, Optimizer};
use crate::gemm::{MatMut, MatRef, gemm};
use crate::params::{Layout, ParamKind, UnitNorm};
use crate::real::Real;
use crate::thread_pool::ThreadPool;

/// In which order the running mean is taken and made orthogonal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Momentum {
    /// The running mean of gradients, looking one step ahead (Nesterov), is made orthogonal: the usual order today.
    Nesterov,
    /// The running mean of gradients is made orthogonal.
    Plain,
    /// The running mean of orthogonal gradients is the step, as in nn.zig.
    OfOrthogonal,
}

/// What a step does to a matrix whose rows or columns have length 1 ([`UnitNorm`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnitStep {
    /// What it does to any other. The trainer then restores the lengths.
    #[default]
    Free,
    /// Only what is tangent to the sphere counts, vector by vector, and the vectors turn by so much that the mean of
    /// their angles is the learning rate of the matrices, in radians. There is no weight decay: it would change
    /// nothing but lengths.
    Tangent,
}

/// Muon's settings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MuonSettings {
    /// How much of the running mean is kept from step to step.
    pub momentum: f64,
    /// In which order the mean is taken and made orthogonal.
    pub order: Momentum,
    /// Newton-Schulz iterations.
    pub iterations: usize,
    /// Weight decay of the matrices: each step takes `learning rate · rate · weight_decay` of a number away.
    pub weight_decay: f64,
    /// The learning rate of the matrices as a multiple of Adam's.
    pub rate: f64,
    /// How matrices of unit vectors are updated.
    pub unit_step: UnitStep,
    /// For all other parameters.
    pub adam: AdamSettings,
}

/// Muon for the trainable parameters of kind [`Matrix`](ParamKind::Matrix), AdamW for all others: a table is looked up
/// row by row and a gain is a vector, so neither has directions to balance.
pub struct Muon {
    settings: MuonSettings,
    adam: Adam<f32>,
    momentum: Vec<f32>,
    tasks: Vec<Task>,
    threads: ThreadPool,
}

/// One matrix, with the memory to work on it.
struct Task {
    rows: usize,
    cols: usize,
    /// Its place in the flat buffer, in the gradient, and in the momentum.
    params: Range<usize>,
    gradient: Range<usize>,
    momentum: Range<usize>,
    /// Which of its vectors turn, if it is updated on the sphere.
    turns: Option<UnitNorm>,
    sums: RotationSums,
    step: Vec<f32>,
    square: Vec<f32>,
    fourth: Vec<f32>,
    next: Vec<f32>,
}

impl Muon {
    /// For all trainable parameters of a layout.
    pub fn new(layout: &Layout, settings: MuonSettings, threads: ThreadPool) -> Self {
        let mut tasks = Vec::new();
        let mut count = 0;
        for (spec, params, gradient) in layout.trainable().filter(|(spec, ..)| spec.kind == ParamKind::Matrix)
        {
            let momentum = count..count + params.len();
            count = momentum.end;
            tasks.push(Task {
                rows: spec.rows,
                cols: spec.cols,
                step: vec![0.0; params.len()],
                params,
                gradient,
                momentum,
                turns: spec.constraint.filter(|_| settings.unit_step == UnitStep::Tangent),
                sums: RotationSums::default(),
                square: Vec::new(),
                fourth: Vec::new(),
                next: Vec::new(),
            });
        }
        let adam =
            Adam::for_some(layout, settings.adam, |spec| spec.kind != ParamKind::Matrix).on(threads.clone());
        Muon { settings, adam, momentum: vec![0.0; count], tasks, threads }
    }
}

impl Optimizer<f32> for Muon {
    fn update(&mut self, params: &mut [f32], gradient: &[f32], learning_rate: f64) {
        self.adam.update(params, gradient, learning_rate);
        let MuonSettings { momentum, order, iterations, weight_decay, rate, .. } = self.settings;
        let keep = momentum as f32;
        let mean = |buffer: &mut [f32], from: &[f32]| {
            buffer
                .iter_mut()
                .zip(from)
                .for_each(|(m, g)| *m = (keep * *m + (1.0 - keep) * g).normal_or_zero());
        };
        for task in &mut self.tasks {
            let (buffer, g) = (&mut self.momentum[task.momentum.clone()], &gradient[task.gradient.clone()]);
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
        self.threads.for_each(&mut self.tasks, |task| task.orthogonalize(iterations));
        let rate = learning_rate * rate;
        let decay = (1.0 - rate * weight_decay) as f32;
        for task in &mut self.tasks {
            // A tall matrix has fewer directions than outputs: a longer step changes each output by about as much.
            let step = (rate * (task.rows as f64 / task.cols as f64).max(1.0).sqrt()) as f32;
            let buffer = &mut self.momentum[task.momentum.clone()];
            if order == Momentum::OfOrthogonal {
                mean(buffer, &task.step);
                task.step.copy_from_slice(buffer);
            }
            let (direction, params) = (&mut task.step, &mut params[task.params.clone()]);
            if let Some(vectors) = task.turns {
                rotate(params, direction, task.cols, vectors, rate, &mut task.sums);
                continue;
            }
            params.iter_mut().zip(&*direction).for_each(|(w, d)| *w = *w * decay - step * d);
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

/// Replaces a matrix `[rows, cols]` by about its nearest orthogonal matrix.
pub fn orthogonalize(matrix: &mut [f32], rows: usize, cols: usize, iterations: usize) {
    let (mut square, mut fourth, mut next) = (Vec::new(), Vec::new(), Vec::new());
    newton_schulz(matrix, (rows, cols), iterations, &mut square, &mut fourth, &mut next);
}

impl Task {
    fn orthogonalize(&mut self, iterations: usize) {
        let Task { rows, cols, step, square, fourth, next, .. } = self;
        newton_schulz(step, (*rows, *cols), iterations, square, fourth, next);
    }
}

/// Iterates `X ← a·X + (b·A + c·A²)·X` with `A = X·Xᵀ`. Five iterations with these constants bring singular values to
/// between about 0.7 and 1.2: the constants were chosen so that small ones grow fast, not so that all settle at 1
/// (Jordan et al. 2024).
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
    // The smaller of the two squares: X·Xᵀ for a wide matrix, Xᵀ·X for a tall one.
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
