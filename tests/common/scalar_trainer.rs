//! Training on the scalar engine with the settings of `method.rs`, with either optimizer.

use gradus::Model;
use gradus::optim::{Adam, Optimizer};
use gradus::scalar::ScalarEngine;
use gradus::thread_pool::ThreadPool;
use gradus::train::{Settings, Trainer};

use crate::method::{ADAMW, Method};

/// A trainer that starts at these parameters.
pub fn on_scalar<M: Model>(
    method: Method,
    model: M,
    settings: Settings,
    params: &[f32],
) -> Trainer<M, ScalarEngine> {
    let optimizer: Box<dyn Optimizer<f64>> = match method {
        Method::Muon => Box::new(Narrowed(method.optimizer(model.layout(), &ThreadPool::new(2)))),
        Method::Adamw => Box::new(Adam::new(model.layout(), ADAMW)),
    };
    let wide = params.iter().map(|&w| f64::from(w)).collect();
    Trainer::with_optimizer(model, ScalarEngine::new(), optimizer, settings, wide)
}

/// An optimizer of 32 bits behind the interface of one of 64.
struct Narrowed(Box<dyn Optimizer<f32>>);

impl Optimizer<f64> for Narrowed {
    fn update(&mut self, params: &mut [f64], gradient: &[f64], learning_rate: f64) {
        let [mut narrow, gradient] =
            [&*params, gradient].map(|numbers| numbers.iter().map(|&x| x as f32).collect::<Vec<_>>());
        self.0.update(&mut narrow, &gradient, learning_rate);
        params.iter_mut().zip(narrow).for_each(|(to, w)| *to = f64::from(w));
    }

    fn state(&mut self) -> Vec<(&'static str, &mut [f64])> {
        Vec::new()
    }

    fn steps(&self) -> usize {
        self.0.steps()
    }

    fn set_steps(&mut self, steps: usize) {
        self.0.set_steps(steps);
    }
}
