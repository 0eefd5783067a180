//! What goes wrong in training, and how it shows: the exercises 4 to 7 of chapter 5.

use gradus::data::Batch;
use gradus::optim::{Adam, AdamSettings, Optimizer};
use gradus::params::Layout;

use crate::says;
use crate::training::{changed, default, last_hundred};

fn adam(layout: &Layout) -> Box<dyn Optimizer<f64>> {
    Box::new(Adam::new(layout, AdamSettings::MICROGPT))
}

#[test]
fn exercise_5_4() {
    let mut zeros = changed(42, |config| config.init_std = 0.0, true, adam);
    let losses = zeros.steps(1000);
    assert!(losses.iter().all(|loss| (loss - 27_f64.ln()).abs() < 1e-12));
    assert!(zeros.trainer.params().iter().all(|&w| w == 0.0));
    says(5, &format!("{:.4} in every step, for ever", losses[999]));
}

#[test]
fn exercise_5_5() {
    for seed in [42, 1, 2, 3] {
        let mut wide = changed(seed, |config| config.init_std = 1.0, true, adam);
        let losses = wide.steps(1000);
        if seed == 42 {
            says(5, &format!("The first loss is {:.0}", losses[0]));
        }
        assert!(last_hundred(&losses) > 27_f64.ln());
    }
    says(5, "after a thousand steps the loss is still above ln 27, with other seeds too");
}

#[test]
fn exercise_5_6() {
    let mut sorted = changed(42, |_| (), false, adam);
    let losses = sorted.steps(1000);
    let read: Vec<&str> = sorted.names.iter().take(1000).collect();
    says(5, &format!("from \"{}\" to \"{}\"", read[0], read[999]));
    says(5, &format!("the mean of the last hundred is {:.2}", last_hundred(&losses)));
    let mut shuffled = default(42);
    shuffled.steps(1000);
    let mut batch = Batch::new();
    shuffled.names.fill(&mut batch, 1, 1000, 16); // the second thousand: names that it has not read
    let [sorted, shuffled] =
        [sorted, shuffled].map(|mut training| training.trainer.validate(std::slice::from_ref(&batch)));
    says(5, &format!("On a thousand names from the whole file its loss is {sorted:.2}"));
    says(5, &format!("that of the model that read shuffled names is {shuffled:.2}"));
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
    let mut uncorrected = changed(
        42,
        |_| (),
        true,
        |layout| {
            let zeros = vec![0.0; layout.trainable_len()];
            Box::new(Uncorrected { m: zeros.clone(), v: zeros })
        },
    );
    let before = uncorrected.trainer.params().to_vec();
    let mut losses = uncorrected.steps(1);
    let moves = uncorrected.trainer.params().iter().zip(&before).map(|(a, b)| (a - b).abs());
    let most = moves.fold(0.0, f64::max);
    losses.extend(uncorrected.steps(999));
    let right = default(42).steps(1000);
    says(5, &format!("moves parameters by {most:.3} instead of 0.010"));
    // As long as the gradient is the same in every step.
    let factor = |t: i32| (1.0 - 0.85_f64.powi(t)) / (1.0 - 0.99_f64.powi(t)).sqrt();
    let longest = (1..=1000).max_by(|&a, &b| factor(a).total_cmp(&factor(b))).expect("some step");
    says(5, &format!("up to {:.1} times too long, at step {longest}", factor(longest)));
    says(5, &format!("{:.4} instead of {:.4}", last_hundred(&losses), last_hundred(&right)));
}
