//! Adam, the optimizer that gives each weight a step size of its own.

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
    steps: u32,
}

impl<R: Real> Adam<R> {
    /// For so many weights.
    pub fn new(weights: usize, settings: AdamSettings) -> Self {
        Adam { settings, m: vec![R::default(); weights], v: vec![R::default(); weights], steps: 0 }
    }

    /// One step against the gradient.
    ///
    /// # Panics
    /// If the slices are not as long as was announced.
    pub fn update(&mut self, weights: &mut [R], gradient: &[R], learning_rate: f64) {
        assert!(
            weights.len() == self.m.len() && gradient.len() == self.m.len(),
            "Adam: another number of weights"
        );
        self.steps += 1;
        let AdamSettings { beta1, beta2, eps, weight_decay } = self.settings;
        // ANCHOR: update
        // Both means begin at zero, and so are too small at first: by the factors 1 - βᵗ, which are divided out.
        let unbias1 = 1.0 - beta1.powi(self.steps as i32);
        let unbias2 = 1.0 - beta2.powi(self.steps as i32);
        let step = R::from_f64(learning_rate / unbias1);
        let unbias2 = R::from_f64(1.0 / unbias2);
        let keep = R::from_f64(1.0 - learning_rate * weight_decay);
        let (b1, b2, eps) = (R::from_f64(beta1), R::from_f64(beta2), R::from_f64(eps));
        let (a1, a2) = (R::from_f64(1.0 - beta1), R::from_f64(1.0 - beta2));
        for (((w, &g), m), v) in weights.iter_mut().zip(gradient).zip(&mut self.m).zip(&mut self.v) {
            *m = b1 * *m + a1 * g;
            *v = b2 * *v + a2 * (g * g);
            *w = *w * keep - step * *m / ((*v * unbias2).sqrt() + eps);
        }
        // ANCHOR_END: update
    }
}
