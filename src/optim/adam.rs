//! Adam, the optimizer that gives each weight a step size of its own.

use std::ops::Range;

use super::Optimizer;
use crate::real::Real;

/// The numbers that Adam is told.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamSettings {
    /// How much of the mean gradient stays from step to step.
    pub beta1: f64,
    /// How much of the mean square stays.
    pub beta2: f64,
    /// Keeps the division from blowing up where the gradients are tiny.
    pub eps: f64,
    /// The share of each weight, times the learning rate, that is taken away (AdamW).
    pub weight_decay: f64,
}

impl AdamSettings {
    /// Those of microgpt.
    pub const MICROGPT: AdamSettings =
        AdamSettings { beta1: 0.85, beta2: 0.99, eps: 1e-8, weight_decay: 0.0 };
}

/// Adam with bias correction (Kingma & Ba 2014, algorithm 1) and decoupled weight decay (Loshchilov & Hutter 2017).
///
/// For each weight it keeps a running mean `m` of the gradient and `v` of its square, and steps by
/// `m / √v`: about one learning rate in a direction that the gradients agree on, less where they quarrel.
#[derive(Clone, Debug)]
pub struct Adam<R> {
    settings: AdamSettings,
    m: Vec<R>,
    v: Vec<R>,
    steps: usize,
}

impl<R: Real> Adam<R> {
    /// For so many weights.
    pub fn new(params: usize, settings: AdamSettings) -> Self {
        Adam { settings, m: vec![R::default(); params], v: vec![R::default(); params], steps: 0 }
    }

    /// Counts a step, of which `update_part` then makes one part after another.
    pub(super) fn begin(&mut self) {
        self.steps += 1;
    }

    /// Changes some of the weights.
    pub(super) fn update_part(
        &mut self,
        params: &mut [R],
        gradient: &[R],
        part: Range<usize>,
        learning_rate: f64,
    ) {
        let AdamSettings { beta1, beta2, eps, weight_decay } = self.settings;
        // ANCHOR: update
        // Both means begin at zero, and so are too small at first: by the factors 1 - βᵗ, which are divided out.
        let step = R::from_f64(learning_rate / (1.0 - beta1.powi(self.steps as i32)));
        let unbias = R::from_f64(1.0 / (1.0 - beta2.powi(self.steps as i32)));
        let keep = R::from_f64(1.0 - learning_rate * weight_decay);
        let (b1, b2, eps) = (R::from_f64(beta1), R::from_f64(beta2), R::from_f64(eps));
        let (a1, a2) = (R::from_f64(1.0 - beta1), R::from_f64(1.0 - beta2));
        let (m, v) = (&mut self.m[part.clone()], &mut self.v[part.clone()]);
        let (params, gradient) = (&mut params[part.clone()], &gradient[part]);
        for (((w, &g), m), v) in params.iter_mut().zip(gradient).zip(m).zip(v) {
            *m = b1 * *m + a1 * g;
            *v = b2 * *v + a2 * (g * g);
            *w = *w * keep - step * *m / ((*v * unbias).sqrt() + eps);
        }
        // ANCHOR_END: update
    }
}

impl<R: Real> Optimizer<R> for Adam<R> {
    fn update(&mut self, params: &mut [R], gradient: &[R], learning_rate: f64) {
        assert!(
            params.len() == self.m.len() && gradient.len() == self.m.len(),
            "Adam: another number of params"
        );
        self.begin();
        self.update_part(params, gradient, 0..gradient.len(), learning_rate);
    }

    fn state(&mut self) -> Vec<(&'static str, &mut [R])> {
        vec![("adam.m", &mut self.m), ("adam.v", &mut self.v)]
    }

    fn steps(&self) -> usize {
        self.steps
    }

    fn set_steps(&mut self, steps: usize) {
        self.steps = steps;
    }
}
