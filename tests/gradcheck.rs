//! Gradient checks: the gradients of every operation and of whole models agree with central differences.
//!
//! The expressions in `common/cases.rs` are written for any engine. Here they are evaluated on the scalar engine, with which
//! all other engines are compared. Central differences need only the forward pass, so they check the backward pass
//! independently.

use gradus::Engine;
use gradus::counter_rng::CounterRng;
use gradus::data::Batch;
use gradus::model::{Decoder, DecoderConfig, Mode, Model};
use gradus::random::Random;
use gradus::scalar::ScalarEngine;

#[path = "common/cases.rs"]
mod cases;
#[path = "common/engines.rs"]
mod engines;
#[path = "common/sphere_variants.rs"]
mod sphere_variants;
#[path = "common/variants.rs"]
mod variants;

use engines::{Autograd, Expression, Numbers, OnScalar, Outcome};
use sphere_variants::{sphere_batch, sphere_variants, sphere_with_params};

const EPS: f64 = 1e-6;
const ATOL: f64 = 1e-5;
const RTOL: f64 = 1e-3;

fn close(grad: f64, numeric: f64) -> bool {
    (grad - numeric).abs() <= ATOL + RTOL * numeric.abs()
}

/// Checks every element of every input of every case, and collects the errors.
struct Differences<A> {
    engine: A,
    errors: Vec<String>,
}

impl<A: Autograd> cases::Visitor for Differences<A> {
    fn case(&mut self, name: &str, inputs: &[Numbers], expression: &impl Expression) {
        // As in a real network, the upstream gradient is different for every element.
        let upstream = |n: usize| 0.2 + (n as f64 * 1.7 + 0.5).sin();
        let mut inputs = inputs.to_vec();
        let Outcome { gradients, .. } = self.engine.evaluate(expression, &inputs, &upstream);
        for (input, gradient) in gradients.iter().enumerate() {
            for (index, &grad) in gradient.data.iter().enumerate() {
                let x = inputs[input].data[index];
                let mut loss_at = |x: f64| -> f64 {
                    inputs[input].data[index] = x;
                    let output = self.engine.evaluate(expression, &inputs, &upstream).output;
                    output.data.iter().enumerate().map(|(n, y)| upstream(n) * y).sum()
                };
                let numeric = (loss_at(x + EPS) - loss_at(x - EPS)) / (2.0 * EPS);
                inputs[input].data[index] = x;
                if !close(grad, numeric) {
                    self.errors.push(format!(
                        "{name}: input {input}, row {}, column {}: {grad} instead of {numeric}",
                        index / gradient.cols,
                        index % gradient.cols
                    ));
                }
            }
        }
    }
}

#[test]
fn every_operation_of_the_scalar_engine() {
    let mut differences = Differences { engine: OnScalar::default(), errors: Vec::new() };
    cases::all(&mut differences);
    assert!(differences.errors.is_empty(), "{}", differences.errors.join("\n"));
}

/// The indices of some parameters of every matrix of a model, about sixty in all.
fn some_params(model: &impl Model, random: &mut Random) -> Vec<usize> {
    let specs = model.layout().specs();
    let each = 60_usize.div_ceil(specs.len());
    let draw = |range: std::ops::Range<usize>| {
        let mut indices: Vec<usize> = range.collect();
        random.shuffle(&mut indices);
        indices.truncate(each);
        indices
    };
    specs.iter().map(|spec| spec.range()).flat_map(draw).collect()
}

#[test]
fn whole_models_on_the_scalar_engine() {
    for (name, config) in variants::variants() {
        // Larger than initial weights: near zero, all gradients are near zero too, and errors would not show.
        let batch = variants::batch(&config);
        let model = Decoder::new(DecoderConfig { init_std: 0.4, ..config }).expect("a variant is valid");
        let mut random = Random::new(11);
        let mut params: Vec<f64> = model.layout().initial(&mut random);
        params.iter_mut().for_each(|w| *w += random.gauss(0.0, 0.05)); // gains are initialised to 1, all the same
        check(name, &model, params, &batch, &mut random);
    }
    for (name, config) in sphere_variants() {
        let (model, params) = sphere_with_params(&config);
        let batch = sphere_batch(&config);
        check(name, &model, params, &batch, &mut Random::new(11));
    }
}

/// Checks some parameters of a model.
fn check(name: &str, model: &impl Model, mut params: Vec<f64>, batch: &Batch, random: &mut Random) {
    let mut engine = ScalarEngine::new();
    let mut scratch = vec![0.0; params.len()];
    let modes = [Mode::default(), Mode { dropout: Some(CounterRng::new(3)), smoothing: 0.1 }];
    for mode in modes {
        let mut gradient = vec![0.0; params.len()];
        engine.gradient(model, &params, batch, mode, &mut gradient);
        for at in some_params(model, random) {
            let w = params[at];
            let mut loss_at = |w: f64| {
                params[at] = w;
                engine.gradient(model, &params, batch, mode, &mut scratch)
            };
            let numeric = (loss_at(w + EPS) - loss_at(w - EPS)) / (2.0 * EPS);
            params[at] = w;
            assert!(
                close(gradient[at], numeric),
                "{name}, {mode:?}: parameter {at} has gradient {}, but {numeric} by central differences",
                gradient[at]
            );
        }
    }
}
