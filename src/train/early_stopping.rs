//! When to stop: the validation loss has not improved for a while.

use serde::{Deserialize, Serialize};

/// Watches the validation loss and says when it has gone too long without a new best.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct EarlyStopping {
    patience: usize,
    best: Option<f64>,
    since: usize,
}

impl EarlyStopping {
    /// Stops after `patience` values in a row without a new best.
    pub fn new(patience: usize) -> Self {
        EarlyStopping { patience, best: None, since: 0 }
    }

    /// From now on it has this much patience. What it has seen counts as before.
    pub fn set_patience(&mut self, patience: usize) {
        self.patience = patience;
    }

    /// Records a value. Returns whether it is the best so far. NaN and infinity never are, not even as the first value.
    pub fn record(&mut self, loss: f64) -> bool {
        let better = loss < self.best.unwrap_or(f64::INFINITY);
        if better {
            self.best = Some(loss);
            self.since = 0;
        } else {
            self.since += 1;
        }
        better
    }

    /// The best value so far.
    pub fn best(&self) -> Option<f64> {
        self.best
    }

    /// Whether it is time to stop.
    pub fn should_stop(&self) -> bool {
        self.since >= self.patience
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stops_after_as_many_failures_as_it_has_patience() {
        let mut stopping = EarlyStopping::new(2);
        let notes: Vec<_> = [3.0, 2.0, 2.5, 1.9, 2.0].iter().map(|&x| stopping.record(x)).collect();
        assert_eq!(notes, [true, true, false, true, false]);
        assert!(!stopping.should_stop());
        assert!(!stopping.record(f64::NAN));
        assert!(stopping.should_stop());
        assert_eq!(stopping.best(), Some(1.9));
        stopping.set_patience(3);
        assert!(!stopping.should_stop());
        assert!(!stopping.record(1.9), "the best so far is remembered");
        assert!(stopping.should_stop());
    }

    #[test]
    fn a_first_value_that_is_no_number_is_not_the_best() {
        for first in [f64::NAN, f64::INFINITY] {
            let mut stopping = EarlyStopping::new(2);
            assert!(!stopping.record(first));
            assert_eq!(stopping.best(), None);
            assert!(stopping.record(3.0));
            assert_eq!(stopping.best(), Some(3.0));
        }
    }
}
