//! Randomness: an argument, never a global.
//!
//! Initial weights, the order of the data, dropout masks and sampled tokens are drawn from a [`Random`] that is passed
//! in. So a seed fixes a whole run, two engines see the same masks, and a run whose [`Random::state`] was saved continues
//! as if it had never stopped.
//!
//! [`Random::new`] is xoshiro256++ (Blackman and Vigna, "Scrambled linear pseudorandom number generators", 2021): small
//! and fast. [`Random::python`] is the Mersenne Twister of CPython's `random` module, for runs that are compared with
//! those of a Python script. Both turn bits into numbers as CPython 3.11 does (`Lib/random.py`;
//! `Modules/_randommodule.c` for the bits themselves). The results are the same on every platform, except for the last
//! digit of [`Random::gauss`]: platforms differ in their logarithms and sines.
//!
//! ```
//! use gradus::random::Random;
//!
//! let mut random = Random::python(42); // >>> random.seed(42)
//! assert_eq!(random.uniform(), 0.6394267984578837); // >>> random.random()
//!
//! let mut again = Random::restore(&random.state())?;
//! assert_eq!(again.below(6), random.below(6)); // the same roll of a die
//! # Ok::<(), gradus::random::RandomStateError>(())
//! ```
//!
//! It is also a [`rand::Rng`]. Do not use it for secrets: from a few outputs the next ones can be predicted.

use std::convert::Infallible;
use std::f64::consts::TAU;

use rand::rand_core::utils::fill_bytes_via_next_word;
use rand::{Rng, SeedableRng, TryRng};
use rand_mt::Mt;
use rand_xoshiro::Xoshiro256PlusPlus;
use serde::{Deserialize, Serialize};

/// A seeded generator of random numbers.
#[derive(Clone, Debug)]
pub struct Random {
    source: Source,
    /// The second of a pair of normal numbers, for the next call: they are computed in pairs.
    spare: Option<f64>,
}

#[derive(Clone, Debug)]
enum Source {
    Xoshiro(Xoshiro256PlusPlus),
    Python(Box<Twister>), // boxed, because it is 2.5 kB
}

/// The state of a [`Random`], to be saved and restored. It consists of 32-bit words, low ones first, because JSON may
/// round a number of 64 bits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RandomState {
    generator: Generator,
    /// xoshiro256++: the 8 words of its state. Mersenne Twister: its next 624 outputs.
    words: Vec<u32>,
    /// The bits of the spare normal number.
    spare: Option<[u32; 2]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Generator {
    #[serde(rename = "xoshiro256++")]
    Xoshiro,
    #[serde(rename = "mt19937")]
    Python,
}

/// Why a [`RandomState`] cannot be restored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the state of a random generator: {0}")]
pub struct RandomStateError(&'static str);

impl Random {
    /// xoshiro256++, its 256 bits of state filled from the seed by SplitMix64.
    pub fn new(seed: u64) -> Self {
        Self { source: Source::Xoshiro(Xoshiro256PlusPlus::seed_from_u64(seed)), spare: None }
    }

    /// Python's generator after `random.seed(seed)`.
    pub fn python(seed: u64) -> Self {
        Self { source: Source::Python(Box::new(Twister::new(seed))), spare: None }
    }

    /// An integer of `k` random bits: Python's `getrandbits(k)`.
    ///
    /// # Panics
    /// If `k` is greater than 64.
    pub fn bits(&mut self, k: u32) -> u64 {
        assert!(k <= 64, "bits: {k} bits do not fit into a u64; ask for 64 at most");
        match &mut self.source {
            _ if k == 0 => 0, // without drawing anything
            Source::Xoshiro(xoshiro) => xoshiro.next_u64() >> (64 - k),
            Source::Python(twister) if k <= 32 => u64::from(twister.next() >> (32 - k)),
            Source::Python(twister) => {
                let low = u64::from(twister.next());
                u64::from(twister.next() >> (64 - k)) << 32 | low
            }
        }
    }

    /// A number in [0, 1), a multiple of 2⁻⁵³: Python's `random()`.
    pub fn uniform(&mut self) -> f64 {
        let bits = match self.source {
            Source::Xoshiro(_) => self.bits(53),
            Source::Python(_) => self.bits(27) << 26 | self.bits(26),
        };
        bits as f64 / (1_u64 << 53) as f64 // both are exact
    }

    /// A uniform integer in `0..n`: Python's `_randbelow(n)`, which its `randrange`, `choice` and `shuffle` use.
    ///
    /// It draws as many bits as `n` has, until the result is below `n`. Taking the remainder of a division by `n` instead
    /// would favour small numbers.
    ///
    /// # Panics
    /// If `n` is 0.
    pub fn below(&mut self, n: usize) -> usize {
        assert!(n > 0, "below: there is no number below 0; n must be at least 1");
        loop {
            let draw = self.bits(n.ilog2() + 1);
            if draw < n as u64 {
                return draw as usize;
            }
        }
    }

    /// A normally distributed number: Python's `gauss(mean, std)`.
    ///
    /// From two uniform numbers, used as an angle and a radius, come two independent normal ones (Box and Muller, 1958).
    /// The second is kept for the next call.
    pub fn gauss(&mut self, mean: f64, std: f64) -> f64 {
        let z = self.spare.take().unwrap_or_else(|| {
            let angle = self.uniform() * TAU;
            let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
            self.spare = Some(angle.sin() * radius);
            angle.cos() * radius
        });
        mean + z * std
    }

    /// Shuffles the items: Python's `shuffle`. All orders are equally likely. From the last item to the second, each is
    /// swapped with a random one at or before it (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }

    // ANCHOR: choice
    /// A random index, with probabilities in proportion to `weights`, which need not sum to 1. Python's
    /// `choices(range(n), weights)[0]`.
    ///
    /// # Panics
    /// If a weight is negative or NaN, or if their sum is 0 (also if there are none) or infinite.
    pub fn choice(&mut self, weights: &[f64]) -> usize {
        let total: f64 = weights.iter().sum();
        assert!(
            total > 0.0 && total.is_finite() && weights.iter().all(|&w| w >= 0.0),
            "choice: {} weights of sum {total}; none may be negative, and one must be greater than 0",
            weights.len(),
        );
        // Lay the weights end to end and see in which one a dart lands. Python searches the running sums by bisection;
        // a linear search finds the same one and needs no list of sums.
        let dart = self.uniform() * total;
        let mut end = 0.0;
        let lands_here = weights.iter().position(|weight| {
            end += weight;
            dart < end
        });
        lands_here.unwrap_or(weights.len() - 1) // by rounding, the dart can land at the very end
    }
    // ANCHOR_END: choice

    /// The state of the generator. One restored from it by [`Random::restore`] gives the same numbers from here on. As
    /// JSON it takes about 130 bytes, or 7 kB for Python's generator.
    pub fn state(&self) -> RandomState {
        let (generator, words) = match &self.source {
            Source::Xoshiro(xoshiro) => {
                let bytes = xoshiro.state();
                let words = bytes.as_chunks().0.iter().map(|&word| u32::from_le_bytes(word));
                (Generator::Xoshiro, words.collect())
            }
            Source::Python(twister) => {
                let mut copy = twister.clone();
                (Generator::Python, (0..Twister::WORDS).map(|_| copy.next()).collect())
            }
        };
        let halves = |spare: f64| [spare.to_bits() as u32, (spare.to_bits() >> 32) as u32];
        RandomState { generator, words, spare: self.spare.map(halves) }
    }

    /// A generator in this state.
    ///
    /// # Errors
    /// If the state cannot be that of a generator: its file was damaged or edited.
    pub fn restore(state: &RandomState) -> Result<Self, RandomStateError> {
        if state.words.iter().all(|&word| word == 0) {
            return Err(RandomStateError("all its words are 0, so it would give nothing but zeros"));
        }
        let source = match state.generator {
            Generator::Xoshiro => {
                let bytes: Vec<u8> = state.words.iter().flat_map(|word| word.to_le_bytes()).collect();
                let bytes = bytes.try_into().map_err(|_| RandomStateError("xoshiro256++ has 8 words"))?;
                Source::Xoshiro(Xoshiro256PlusPlus::from_seed(bytes))
            }
            Generator::Python => {
                let block = state.words.as_slice().try_into();
                let block = block.map_err(|_| RandomStateError("a Mersenne Twister has 624 words"))?;
                Source::Python(Box::new(Twister { block, used: 0 }))
            }
        };
        let spare = state.spare.map(|[low, high]| f64::from_bits(u64::from(high) << 32 | u64::from(low)));
        if spare.is_some_and(|spare| !spare.is_finite()) {
            return Err(RandomStateError("its spare normal number is not finite"));
        }
        Ok(Self { source, spare })
    }
}

/// Makes `Random` a [`rand::Rng`], for use with the crates of the `rand` ecosystem.
impl TryRng for Random {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(self.bits(32) as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.bits(64))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        fill_bytes_via_next_word(bytes, || self.try_next_u64())
    }
}

/// MT19937 (Matsumoto and Nishimura, 1998), a block at a time. The state of `rand_mt` is private; but each output of this
/// generator follows from the 624 before it, so its last 624 outputs are all of its state.
#[derive(Clone, Debug)]
struct Twister {
    block: [u32; Twister::WORDS],
    used: usize,
}

impl Twister {
    const WORDS: usize = 624;

    /// Seeded as CPython does it with an integer: `init_by_array` of its 32-bit digits, lowest first.
    fn new(seed: u64) -> Self {
        let digits = [seed as u32, (seed >> 32) as u32];
        let len = if digits[1] == 0 { 1 } else { 2 };
        let mut mt = Mt::new_with_key(digits.into_iter().take(len));
        Self { block: std::array::from_fn(|_| mt.next_u32()), used: 0 }
    }

    fn next(&mut self) -> u32 {
        if self.used == Self::WORDS {
            let mut mt = Mt::from(self.block); // the generator that has just returned these
            self.block.fill_with(|| mt.next_u32());
            self.used = 0;
        }
        self.used += 1;
        self.block[self.used - 1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() <= 1e-15
    }

    /// The results of CPython 3.11 after `seed(n)`: `random()`, `gauss()`, `shuffle(list(range(10)))`,
    /// `choices(range(4), [1, 2, 3, 4])` ten times, `getrandbits` of 1, 5, 32, 33, 64, `randrange(1000)`.
    #[test]
    fn python_source_is_cpython() {
        let python = [0, 42, (1 << 40) + 7].map(Random::python);
        let uniform = python.clone().map(|mut random| random.uniform());
        assert_eq!(uniform, [0.8444218515250481, 0.6394267984578837, 0.6137037779936511]);
        let normal = python.clone().map(|mut random| [random.gauss(0.0, 1.0), random.gauss(0.0, 1.0)]);
        let expected = [
            [0.9417154046806644, -1.3965781047011498],
            [-0.14409032957792836, -0.1729036003315193],
            [-1.3876635294611814, -1.2034467781077498],
        ];
        assert!(normal.as_flattened().iter().zip(expected.as_flattened()).all(|(&a, &b)| close(a, b)));
        for (mut random, expected) in python.clone().into_iter().zip([
            [7, 8, 1, 5, 3, 4, 2, 0, 9, 6],
            [7, 3, 2, 8, 5, 6, 9, 4, 0, 1],
            [0, 5, 2, 3, 6, 1, 8, 4, 7, 9],
        ]) {
            let mut items = Vec::from_iter(0..10);
            random.shuffle(&mut items);
            assert_eq!(items, expected);
        }
        let choices = python.clone().map(|mut random| [0; 10].map(|_| random.choice(&[1.0, 2.0, 3.0, 4.0])));
        assert_eq!(
            choices,
            [[3, 3, 2, 1, 2, 2, 3, 2, 2, 2], [3, 0, 1, 1, 3, 3, 3, 0, 2, 0], [3, 3, 3, 2, 2, 3, 1, 2, 3, 2]]
        );
        let bits = python.clone().map(|mut random| [1, 5, 32, 33, 64].map(|k| random.bits(k)));
        assert_eq!(
            bits,
            [
                [1, 12, 3255389356, 3823568514, 4776171008201404212],
                [1, 3, 107420369, 3184935163, 4117511471858006928],
                [1, 23, 3500038837, 8323356347, 10521851240000246337]
            ]
        );
        assert_eq!(python.map(|mut random| random.below(1000)), [864, 654, 628]);
    }

    /// microgpt.py: the first line numbers (from 0) of the 32,033 shuffled names, and the first weight.
    #[test]
    fn microgpt_starts_with_the_same_numbers() {
        let (mut random, mut lines) = (Random::python(42), Vec::from_iter(0..32_033));
        random.shuffle(&mut lines);
        assert_eq!(lines[..10], [26785, 23366, 20900, 29382, 25333, 8234, 13378, 17579, 352, 11661]);
        assert!(close(random.gauss(0.0, 0.08), -0.04273180935726127));
    }

    /// The reference `xoshiro256plusplus.c`, seeded by `splitmix64.c`.
    #[test]
    fn xoshiro_source_is_the_reference() {
        let mut random = Random::new(42);
        assert_eq!(random.next_u64(), 0xd076_4d4f_4476_689f);
        assert_eq!(random.bits(20), 0x519e_4174_576f_3791 >> 44);
        assert_eq!(Random::new(42).uniform(), 0.8143051451229099);
    }

    #[test]
    fn a_restored_generator_continues_with_the_same_numbers() {
        for mut random in [Random::new(7), Random::python(7)] {
            for draws in [0, 1, 622, 1, 1, 700] {
                (0..draws).for_each(|_| _ = random.bits(32));
                let json = serde_json::to_string(&random.state()).unwrap();
                let mut again = Random::restore(&serde_json::from_str(&json).unwrap()).unwrap();
                let mut ahead = random.clone();
                assert!((0..2001).all(|_| again.gauss(0.0, 1.0) == ahead.gauss(0.0, 1.0)));
                assert_eq!(again.state(), ahead.state()); // with a spare
                assert_eq!(Random::restore(&again.state()).unwrap().gauss(0.0, 1.0), ahead.gauss(0.0, 1.0));
            }
        }
    }

    #[test]
    fn a_damaged_state_is_an_error() {
        for good in [Random::new(7).state(), Random::python(7).state()] {
            let bad = |words: &[u32], spare| {
                Random::restore(&RandomState { words: words.to_vec(), spare, ..good.clone() }).is_err()
            };
            assert!(!bad(&good.words, None));
            assert!(bad(&good.words[1..], None) && bad(&[], None) && bad(&vec![0; good.words.len()], None));
            assert!(bad(&good.words, Some([0, 0x7ff0_0000]))); // infinity
        }
    }

    #[test]
    #[should_panic(expected = "choice: 2 weights of sum 0")]
    fn choice_needs_a_positive_weight() {
        Random::new(0).choice(&[0.0, 0.0]);
    }
}
