//! What goes wrong in training, and how it shows: the exercises 4 to 7 of chapter 5.

use gradus::optim::{Adam, AdamSettings, Optimizer};
use gradus::params::Layout;

use crate::says;
use crate::training::{changed, default, last_hundred};

fn adam(layout: &Layout) -> Box<dyn Optimizer<f64>> {
    Box::new(Adam::new(layout, AdamSettings::MICROGPT))
}

/// The shares are within a seed of what the book says, so that it says what the losses are, and not one run of them.
#[test]
fn exercise_5_4() {
    let mut zeros = changed(42, |config| config.init_std = 0.0, true, adam);
    let losses = zeros.steps(1000);
    println!("zero weights: first {:.6}, last {:.6}", losses[0], losses[999]);
    assert!(losses.iter().all(|loss| (loss - 27_f64.ln()).abs() < 1e-12));
    assert!(zeros.trainer.params().iter().all(|&w| w == 0.0));
}

#[test]
fn exercise_5_5() {
    let mut wide = changed(42, |config| config.init_std = 1.0, true, adam);
    let losses = wide.steps(1000);
    println!("std 1: first {:.2}, last hundred {:.4}", losses[0], last_hundred(&losses));
}

#[test]
fn exercise_5_6() {
    let mut sorted = changed(42, |_| (), false, adam);
    let losses = sorted.steps(1000);
    let read: Vec<&str> = sorted.names.iter().take(1000).collect();
    println!("sorted: last hundred {:.4}; names {} … {}", last_hundred(&losses), read[0], read[999]);
    let mut batch = gradus::data::Batch::new();
    sorted.names.shuffle(&mut gradus::random::Random::new(7));
    sorted.names.fill(&mut batch, 0, 1000, 16);
    println!("on 1000 names from all of the file: {:.4}", sorted.trainer.validate(&[batch.clone()]));
    let mut shuffled = default(42);
    shuffled.steps(1000);
    println!("shuffled on 1000 such names {:.4}", shuffled.trainer.validate(&[batch]));
}

/// Adam without its bias correction.
struct Uncorrected {
    m: Vec<f64>,
    v: Vec<f64>,
}

impl Optimizer<f64> for Uncorrected {
    fn update(&mut self, params: &mut [f64], gradient: &[f64], learning_rate: f64) {
        for (((w, g), m), v) in params.iter_mut().zip(gradient).zip(&mut self.m).zip(&mut self.v) {
            *m = 0.85 * *m + 0.15 * g;
            *v = 0.99 * *v + 0.01 * g * g;
            *w -= learning_rate * *m / (v.sqrt() + 1e-8);
        }
    }

    fn state(&mut self) -> Vec<(&'static str, &mut [f64])> {
        vec![("m", &mut self.m), ("v", &mut self.v)]
    }

    fn steps(&self) -> usize {
        0
    }

    fn set_steps(&mut self, _: usize) {}
}

#[test]
fn exercise_5_7() {
    for seed in [42, 1, 2, 3, 4] {
        let zeros = |layout: &Layout| vec![0.0; layout.trainable_len()];
        let mut training = changed(seed, |_| (), true, |layout| {
            Box::new(Uncorrected { m: zeros(layout), v: zeros(layout) })
        });
        let before = training.trainer.params().to_vec();
        let mut losses = training.steps(1);
        let moved = training.trainer.params().iter().zip(&before).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        losses.extend(training.steps(999));
        let right = default(seed).steps(1000);
        let fifty = |l: &[f64]| l[..50].iter().sum::<f64>() / 50.0;
        println!(
            "uncorrected: first step {moved:.5}, first fifty {:.4} against {:.4}, last hundred {:.4} against {:.4}",
            fifty(&losses), fifty(&right), last_hundred(&losses), last_hundred(&right)
        );
    }
    says(5, "x");
}
