//! Training: how learning rates change, and what Muon's iteration does to singular values.

use gradus::optim::{Decay, Schedule};
use support::{Chart, Curve};

/// All schedules, with the warmup and the floor of the example `dialog` and a thousand steps.
pub fn schedules() -> String {
    let (warmup, floor, steps) = (100, 0.02, 1000);
    let curve = |name: &'static str, decay| Curve {
        name: name.into(),
        points: (0..=steps)
            .step_by(5)
            .map(|step| (step as f64, Schedule { warmup, decay }.factor(step, steps)))
            .collect(),
    };
    let curves = [
        curve("cosine", Decay::Cosine { floor }),
        curve("linear", Decay::Linear { floor }),
        curve("inverse-sqrt", Decay::InverseSqrt),
        curve("constant", Decay::Constant),
    ];
    Chart {
        title: "Four learning rates, after the same warmup of 100 steps",
        x: "step",
        y: "share of the highest rate",
        curves: &curves,
        levels: &[],
    }
    .draw()
}

/// The singular values after one, two and five iterations, against what they were.
pub fn muon() -> String {
    let iterate = |mut s: f64, times: usize| {
        for _ in 0..times {
            s = 3.4445 * s - 4.7750 * s.powi(3) + 2.0315 * s.powi(5);
        }
        s
    };
    let curve = |name: &'static str, times| Curve {
        name: name.into(),
        points: (0..=400).map(|at| (f64::from(at) / 400.0).powi(2)).map(|s| (s, iterate(s, times))).collect(),
    };
    let curves = [curve("one iteration", 1), curve("two", 2), curve("five", 5)];
    Chart {
        title: "Muon's polynomial, applied again and again, brings all singular values near 1",
        x: "singular value before",
        y: "singular value after",
        curves: &curves,
        levels: &[],
    }
    .draw()
}
