//! Adam, the optimizer that gives each number a step size of its own.

use std::ops::Range;

use super::Optimizer;
use crate::params::{Layout, ParamSpec};
use crate::real::Real;
use crate::thread_pool::ThreadPool;

/// So many numbers at most are updated by one thread at a time.
const BLOCK: usize = 1 << 16;

/// Adam's settings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamSettings {
    /// How much of the running mean of gradients is kept from step to step.
    pub beta1: f64,
    /// How much of the running mean of squared gradients is kept.
    pub beta2: f64,
    /// Added to the divisor, so that a tiny gradient does not become a whole step.
    pub eps: f64,
    /// Weight decay (AdamW): each step takes `learning rate · weight_decay` of a number away. Gains, biases and scales
    /// never decay ([`ParamKind::decays`](crate::params::ParamKind::decays)).
    pub weight_decay: f64,
    /// Whether embeddings and the head decay, too. nanoGPT, llm.c and Hugging Face's trainer let everything decay that
    /// is a matrix, so `true` is what AdamW usually means; minGPT and OLMo 2 spare the embeddings, since a row decays
    /// in every step but learns only in those in which its token occurs.
    pub decay_embeddings: bool,
}

impl AdamSettings {
    /// Those of microgpt: nothing decays.
    pub const MICROGPT: AdamSettings =
        AdamSettings { beta1: 0.85, beta2: 0.99, eps: 1e-8, weight_decay: 0.0, decay_embeddings: true };
}

/// Adam with bias correction (Kingma & Ba 2014, algorithm 1) and decoupled weight decay (Loshchilov & Hutter 2017).
///
/// For each number it keeps a running mean `m` of the gradient and `v` of its square, and steps by `m / √v`: about one
/// learning rate where the gradients agree on a direction, less where they do not.
#[derive(Clone, Debug)]
pub struct Adam<R> {
    settings: AdamSettings,
    parts: Vec<Part>,
    m: Vec<R>,
    v: Vec<R>,
    steps: usize,
    /// The lengths of the buffers it works on: parameters, gradient.
    lengths: [usize; 2],
    threads: ThreadPool,
}

/// One parameter: its place in the flat buffer, in the gradient, and among the moments.
#[derive(Clone, Debug)]
struct Part {
    params: Range<usize>,
    gradient: Range<usize>,
    moments: Range<usize>,
    decays: bool,
}

/// Some numbers of one parameter, with all that belongs to them.
struct Block<'a, R> {
    params: &'a mut [R],
    gradient: &'a [R],
    m: &'a mut [R],
    v: &'a mut [R],
    /// What decay leaves of each parameter.
    keep: R,
}

impl<R: Real> Adam<R> {
    /// For all trainable parameters of a layout. It works on the thread that calls it.
    pub fn new(layout: &Layout, settings: AdamSettings) -> Self {
        Self::for_some(layout, settings, |_| true)
    }

    /// The same on these threads. Not a bit of the result changes.
    #[must_use]
    pub fn on(self, threads: ThreadPool) -> Self {
        Adam { threads, ..self }
    }

    /// For those trainable parameters of a layout that `which` picks. The others are left alone.
    pub(super) fn for_some(
        layout: &Layout,
        settings: AdamSettings,
        which: impl Fn(&ParamSpec) -> bool,
    ) -> Self {
        let mut count = 0;
        let part = |(spec, params, gradient): (&ParamSpec, Range<usize>, Range<usize>)| {
            let moments = count..count + params.len();
            count = moments.end;
            Part { params, gradient, moments, decays: spec.kind.decays(settings.decay_embeddings) }
        };
        let parts = layout.trainable().filter(|(spec, ..)| which(spec)).map(part).collect();
        Adam {
            settings,
            parts,
            m: vec![R::default(); count],
            v: vec![R::default(); count],
            steps: 0,
            lengths: [layout.len(), layout.trainable_len()],
            threads: ThreadPool::new(1),
        }
    }
}

impl<R: Real> Optimizer<R> for Adam<R> {
    fn update(&mut self, params: &mut [R], gradient: &[R], learning_rate: f64) {
        assert_eq!(
            [params.len(), gradient.len()],
            self.lengths,
            "Adam: parameters and gradient, of its layout"
        );
        self.steps += 1;
        let AdamSettings { beta1, beta2, eps, weight_decay, .. } = self.settings;
        // ANCHOR: update
        // Both means start at zero and so are too small at first, by the factors 1 - βᵗ, which are divided out.
        let step = R::from_f64(learning_rate / (1.0 - beta1.powi(self.steps as i32)));
        let unbias = R::from_f64(1.0 / (1.0 - beta2.powi(self.steps as i32)));
        let (b1, b2, eps) = (R::from_f64(beta1), R::from_f64(beta2), R::from_f64(eps));
        let (a1, a2) = (R::from_f64(1.0 - beta1), R::from_f64(1.0 - beta2));
        let update = |Block { params, gradient, m, v, keep }: Block<'_, R>| {
            for (((w, &g), m), v) in params.iter_mut().zip(gradient).zip(m).zip(v) {
                *m = (b1 * *m + a1 * g).normal_or_zero(); // or it would shrink for ever where there is no gradient any more
                *v = (b2 * *v + a2 * (g * g)).normal_or_zero();
                *w = *w * keep - step * *m / ((*v * unbias).sqrt() + eps);
            }
        };
        // ANCHOR_END: update
        let (mut params, mut m, mut v) =
            (Cutter::new(params), Cutter::new(&mut self.m), Cutter::new(&mut self.v));
        let blocks = self.parts.iter().flat_map(|part| {
            let keep = R::from_f64(if part.decays { 1.0 - learning_rate * weight_decay } else { 1.0 });
            let [m, v] = [&mut m, &mut v].map(|moments| moments.cut(&part.moments).chunks_mut(BLOCK));
            let params = params.cut(&part.params).chunks_mut(BLOCK);
            let gradient = gradient[part.gradient.clone()].chunks(BLOCK);
            let blocks = params.zip(gradient).zip(m.zip(v));
            blocks.map(move |((params, gradient), (m, v))| Block { params, gradient, m, v, keep })
        });
        self.threads.for_each_of(blocks, update);
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

/// Splits pieces off a buffer, in ascending order, so that each can go to another thread. What lies between them (frozen parameters) is
/// skipped.
struct Cutter<'a, R> {
    rest: &'a mut [R],
    /// Where in the buffer the rest begins.
    start: usize,
}

impl<'a, R> Cutter<'a, R> {
    fn new(buffer: &'a mut [R]) -> Self {
        Cutter { rest: buffer, start: 0 }
    }

    fn cut(&mut self, range: &Range<usize>) -> &'a mut [R] {
        let rest = std::mem::take(&mut self.rest);
        let (piece, rest) = rest[range.start - self.start..].split_at_mut(range.len());
        (self.rest, self.start) = (rest, range.end);
        piece
    }
}
