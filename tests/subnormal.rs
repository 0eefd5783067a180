//! Subnormal numbers, those nearer to zero than the smallest normal one, take many processors a hundred cycles each. They
//! arise where something shrinks from step to step and never stops: in the moments of rows that nobody touches any more. So
//! optimizers end that at zero.

use gradus::data::{Batch, Names};
use gradus::engine::Engine;
use gradus::fast::FastEngine;
use gradus::model::{Decoder, DecoderConfig, Mode, Model};
use gradus::optim::{Adam, AdamSettings, Momentum, Muon, MuonSettings, Optimizer, UnitStep};
use gradus::params::{Init, Layout, ParamSpec};
use gradus::random::Random;
use gradus::real::Real;
use gradus::scalar::ScalarEngine;
use gradus::thread_pool::ThreadPool;

/// How many numbers are subnormal.
fn subnormal<R: Real>(numbers: &[R]) -> usize {
    let smallest = if size_of::<R>() == 4 { f64::from(f32::MIN_POSITIVE) } else { f64::MIN_POSITIVE };
    numbers.iter().map(|x| x.to_f64().abs()).filter(|&x| x > 0.0 && x < smallest).count()
}

/// A gradient that comes a few times, and then never again.
fn shrinking<R: Real>(optimizer: &mut dyn Optimizer<R>, len: usize, steps: usize) {
    let mut params = vec![R::from_f64(0.5); len];
    let mut random = Random::new(1);
    for step in 0..steps {
        let gradient: Vec<R> =
            (0..len).map(|_| R::from_f64(if step < 3 { random.gauss(0.0, 1.0) } else { 0.0 })).collect();
        optimizer.update(&mut params, &gradient, 0.01);
        for (name, numbers) in optimizer.state() {
            assert_eq!(subnormal(numbers), 0, "{name} after step {step}");
        }
    }
    for (name, numbers) in optimizer.state() {
        assert!(numbers.iter().all(|x| x.to_f64() == 0.0), "{name}: {steps} steps are enough to end at zero");
    }
}

#[test]
fn moments_that_shrink_end_at_zero() {
    let mut layout = Layout::default();
    layout.add(ParamSpec::matrix("w", 3, 5, Init::Constant(1.0)));
    let adam = AdamSettings { beta1: 0.85, beta2: 0.9, ..AdamSettings::MICROGPT };
    shrinking::<f32>(&mut Adam::new(&layout, adam), 15, 2_000);
    shrinking::<f64>(&mut Adam::new(&layout, adam), 15, 10_000);
    let order = Momentum::Nesterov;
    let (weight_decay, rate, unit_step) = (0.0, 5.0, UnitStep::Free);
    let muon = MuonSettings { momentum: 0.9, order, iterations: 5, weight_decay, rate, unit_step, adam };
    shrinking(&mut Muon::new(&layout, muon, ThreadPool::new(1)), 15, 2_000);
}

/// Trains on a few names until they are known by heart: the probabilities of all other letters vanish, and so do the moments
/// of rows that are no longer read. Counts gradients, parameters, and what the optimizer keeps.
fn trained<E: Engine>(mut engine: E) -> [usize; 3] {
    let names = Names::from_text("ada\nbob\ncleo\ndora\nemil\nfritz\nxaver\n").expect("names");
    let model = Decoder::new(DecoderConfig::microgpt(names.vocab_size())).expect("a model");
    let settings = AdamSettings { beta1: 0.5, beta2: 0.8, ..AdamSettings::MICROGPT };
    let mut optimizer = Adam::<E::Real>::new(model.layout(), settings);
    let mut params = model.layout().initial(&mut Random::new(1));
    let mut gradient = vec![E::Real::default(); params.len()];
    let mut batch = Batch::new();
    let mut counts = [0; 3];
    for step in 0..3_000 {
        names.fill(&mut batch, if step < 9 { step } else { step % 2 }, 1, model.context());
        engine.gradient(&model, &params, &batch, Mode::default(), &mut gradient);
        optimizer.update(&mut params, &gradient, 0.01);
        counts[0] += subnormal(&gradient);
        counts[1] += subnormal(&params);
        counts[2] += optimizer.state().iter().map(|(_, numbers)| subnormal(numbers)).sum::<usize>();
    }
    counts
}

#[test]
fn a_training_makes_none() {
    assert_eq!(trained(FastEngine::new(ThreadPool::new(1))), [0; 3], "fast: gradients, parameters, moments");
    assert_eq!(trained(ScalarEngine::new()), [0; 3], "scalar: gradients, parameters, moments");
}
