//! Training: what Muon's iteration does to singular values.

use support::{Chart, Curve};

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
