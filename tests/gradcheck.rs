//! The gradient of every operation and of whole models is what central differences say it is.
//!
//! The expressions are written for any engine, in `common/cases.rs`; here the scalar engine, which all others are held
//! against, is led through them. A difference needs nothing but the forward pass, so that the backward pass is
//! checked by something that knows nothing of it.

use gradus::Engine;
use gradus::counter_rng::CounterRng;
use gradus::model::{Decoder, DecoderConfig, Mode, Model};
use gradus::random::Random;
use gradus::scalar::ScalarEngine;

#[path = "common/cases.rs"]
mod cases;
#[path = "common/engines.rs"]
mod engines;
#[path = "common/variants.rs"]
mod variants;

use engines::{Autograd, Expression, Numbers, OnScalar, Outcome};

const EPS: f64 = 1e-6;
const ATOL: f64 = 1e-5;
const RTOL: f64 = 1e-3;

fn close(grad: f64, numeric: f64) -> bool {
    (grad - numeric).abs() <= ATOL + RTOL * numeric.abs()
}

/// Checks every element of every input of every case, and keeps what is wrong.
struct Differences<A> {
    engine: A,
    wrong: Vec<String>,
}

impl<A: Autograd> cases::Visitor for Differences<A> {
    fn case(&mut self, name: &str, inputs: &[Numbers], expression: &impl Expression) {
        // What comes from above is no more regular than in earnest: no two elements count the same.
        let upstream = |n: usize| 0.2 + (n as f64 * 1.7 + 0.5).sin();
        let mut inputs = inputs.to_vec();
        let Outcome { gradients, .. } = self.engine.evaluate(expression, &inputs, &upstream);
        for (input, gradient) in gradients.iter().enumerate() {
            for (at, &grad) in gradient.data.iter().enumerate() {
                let x = inputs[input].data[at];
                let mut moved = |to: f64| -> f64 {
                    inputs[input].data[at] = to;
                    let output = self.engine.evaluate(expression, &inputs, &upstream).output;
                    output.data.iter().enumerate().map(|(n, y)| upstream(n) * y).sum()
                };
                let numeric = (moved(x + EPS) - moved(x - EPS)) / (2.0 * EPS);
                inputs[input].data[at] = x;
                if !close(grad, numeric) {
                    self.wrong.push(format!(
                        "{name}: input {input}, row {}, column {}: {grad} instead of {numeric}",
                        at / gradient.cols,
                        at % gradient.cols
                    ));
                }
            }
        }
    }
}

#[test]
fn every_operation_of_the_scalar_engine() {
    let mut differences = Differences { engine: OnScalar::default(), wrong: Vec::new() };
    cases::all(&mut differences);
    assert!(differences.wrong.is_empty(), "{}", differences.wrong.join("\n"));
}

/// Some weights out of every matrix of a model, about sixty in all.
fn some_weights(model: &Decoder, random: &mut Random) -> Vec<usize> {
    let windows = model.layout().specs();
    let each = 60_usize.div_ceil(windows.len());
    let draw = |range: std::ops::Range<usize>| {
        let mut places: Vec<usize> = range.collect();
        random.shuffle(&mut places);
        places.truncate(each);
        places
    };
    windows.iter().map(|window| window.range()).flat_map(draw).collect()
}

#[test]
fn whole_models_on_the_scalar_engine() {
    for (name, config) in variants::variants() {
        // Larger weights than fresh ones: where all is near zero, all gradients are too, right or wrong.
        let batch = variants::batch(&config);
        let model = Decoder::new(DecoderConfig { init_std: 0.4, ..config }).expect("a variant is right");
        let mut random = Random::new(11);
        let mut params: Vec<f64> = model.layout().initial(&mut random);
        params.iter_mut().for_each(|w| *w += random.gauss(0.0, 0.05)); // gains begin as ones, all alike
        let mut engine = ScalarEngine::new();
        let mut scratch = vec![0.0; params.len()];
        let modes =
            [Mode::default(), Mode { dropout: Some(CounterRng::new(3)), smoothing: 0.1, ..Mode::default() }];
        for mode in modes {
            let mut gradient = vec![0.0; params.len()];
            engine.gradient(&model, &params, &batch, mode, &mut gradient);
            for at in some_weights(&model, &mut random) {
                let w = params[at];
                let mut moved = |to: f64| {
                    params[at] = to;
                    engine.gradient(&model, &params, &batch, mode, &mut scratch)
                };
                let numeric = (moved(w + EPS) - moved(w - EPS)) / (2.0 * EPS);
                params[at] = w;
                assert!(
                    close(gradient[at], numeric),
                    "{name}, {mode:?}: weight {at} has gradient {}, but {numeric} by differences",
                    gradient[at]
                );
            }
        }
    }
}
