//! How fast the pairs of RoPE rotate.

use std::f64::consts::TAU;

use serde::{Deserialize, Serialize};

/// What turns positions into angles: pair `i` of the `half` pairs of a head rotates by its
/// [`frequency`](Rotation::frequency) for each position.
///
/// ```
/// use gradus::tensor::{RopeScaling, Rotation};
/// let plain = Rotation::plain(10_000.0);
/// assert_eq!(plain.frequency(0, 32), 1.0); // the fastest pair: one radian a token
/// let twice_as_far = Rotation { scaling: RopeScaling::Linear { factor: 2.0 }, ..plain };
/// assert_eq!(twice_as_far.frequency(5, 32), plain.frequency(5, 32) / 2.0);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rotation {
    /// The slowest pair rotates about this many times slower than the fastest; usually 10,000.
    pub base: f64,
    /// What is done to the frequencies.
    pub scaling: RopeScaling,
}

/// How rotations are slowed down, so that a model that was trained on short texts can read longer ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum RopeScaling {
    /// Not at all.
    #[default]
    None,
    /// All by the same factor: position `factor · p` gets the angles that position `p` had (Chen et al., "Extending Context
    /// Window of Large Language Models via Positional Interpolation", 2023).
    Linear {
        /// By how much, at least 1.
        factor: f64,
    },
    /// Those that turn seldom within the old context by a factor, those that turn often not at all, and those between by
    /// something between (Grattafiori et al., "The Llama 3 Herd of Models", 2024, as Llama 3.1 has it).
    Llama3 {
        /// By how much the slow ones are slowed down, at least 1.
        factor: f64,
        /// Slow are those that turn fewer times than this within the old context.
        low_freq_factor: f64,
        /// Fast are those that turn more often than this.
        high_freq_factor: f64,
        /// The old context, in tokens.
        original_context: usize,
    },
}

impl Rotation {
    /// A rotation that is not scaled.
    pub fn plain(base: f64) -> Self {
        Rotation { base, scaling: RopeScaling::None }
    }

    /// By how many radians pair `pair` of `half` rotates for each position: `base^(-pair/half)`, slowed down.
    pub fn frequency(self, pair: usize, half: usize) -> f64 {
        self.scaling.apply(self.base.powf(-(pair as f64) / half as f64))
    }
}

impl RopeScaling {
    /// Whether nothing is done.
    pub fn is_none(&self) -> bool {
        *self == RopeScaling::None
    }

    /// A frequency, slowed down.
    fn apply(self, frequency: f64) -> f64 {
        match self {
            RopeScaling::None => frequency,
            RopeScaling::Linear { factor } => frequency / factor,
            RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context } => {
                // How many times the pair turns within the old context.
                let turns = original_context as f64 * frequency / TAU;
                let fast = (turns - low_freq_factor) / (high_freq_factor - low_freq_factor);
                let fast = fast.clamp(0.0, 1.0);
                (1.0 - fast) * frequency / factor + fast * frequency
            }
        }
    }

    /// What is wrong with its numbers, if anything is.
    pub(crate) fn problem(self) -> Option<String> {
        let factor = match self {
            RopeScaling::None => return None,
            RopeScaling::Linear { factor } | RopeScaling::Llama3 { factor, .. } => factor,
        };
        if !(factor >= 1.0 && factor.is_finite()) {
            return Some(format!("its factor is {factor}, but it has to be a number of at least 1"));
        }
        let RopeScaling::Llama3 { low_freq_factor: low, high_freq_factor: high, original_context, .. } = self
        else {
            return None;
        };
        if !(low > 0.0 && low < high && high.is_finite()) {
            let order = "has to be above 0 and below high_freq_factor";
            return Some(format!("its low_freq_factor is {low}, which {order}, {high}"));
        }
        (original_context == 0).then(|| "its original context is 0, but it has to be at least 1".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LLAMA3: RopeScaling = RopeScaling::Llama3 {
        factor: 8.0,
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_context: 8192,
    };

    /// Llama 3.1: pairs that turn more than 4 times in 8,192 tokens stay, those that turn less than once are 8 times slower,
    /// and one that turns 2.5 times is half of both.
    #[test]
    fn llama3_slows_down_what_turns_seldom() {
        let at = |turns: f64| turns * TAU / 8192.0;
        let factor = |turns: f64| LLAMA3.apply(at(turns)) / at(turns);
        for (turns, expected) in
            [(1000.0, 1.0), (4.0, 1.0), (2.5, 0.5625), (1.0, 0.125), (0.1, 0.125), (1.75, 0.34375)]
        {
            assert!((factor(turns) - expected).abs() < 1e-12, "{turns}: {}", factor(turns));
        }
    }

    #[test]
    fn numbers_that_make_no_sense() {
        assert_eq!((RopeScaling::None.problem(), LLAMA3.problem()), (None, None));
        let llama3 = |low_freq_factor, high_freq_factor, original_context| RopeScaling::Llama3 {
            factor: 2.0,
            low_freq_factor,
            high_freq_factor,
            original_context,
        };
        let wrong = [
            (RopeScaling::Linear { factor: 0.5 }, "factor is 0.5"),
            (RopeScaling::Linear { factor: f64::NAN }, "factor is NaN"),
            (llama3(4.0, 4.0, 10), "low_freq_factor is 4"),
            (llama3(0.0, 4.0, 10), "low_freq_factor is 0"),
            (llama3(1.0, f64::INFINITY, 10), "inf"),
            (llama3(1.0, 4.0, 0), "original context is 0"),
        ];
        for (scaling, words) in wrong {
            let problem = scaling.problem().expect("it makes no sense");
            assert!(problem.contains(words), "{problem}");
        }
    }
}
