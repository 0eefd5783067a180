//! Random numbers without a state: the n-th number of a stream is computed from n.
//!
//! This is for dropout. Whether an element is dropped is a function of a key and of the element's index. So the mask need
//! not be stored for the backward pass, can be computed in any order on any number of threads, and is the same in every
//! engine.

/// A stream of random bits (a counter-based generator).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CounterRng {
    key: u32,
    /// The index of the first number.
    start: u32,
}

impl CounterRng {
    /// The stream of this seed.
    pub fn new(seed: u64) -> Self {
        CounterRng { key: mix(seed as u32 ^ mix((seed >> 32) as u32 ^ 0x9e37_79b9)), start: 0 }
    }

    /// A stream of its own for each `id`: for each step, each layer and each use of dropout in it.
    pub fn fork(self, id: u32) -> Self {
        let key = mix(self.key.wrapping_add(0x9e37_79b9) ^ mix(id.wrapping_mul(0x85eb_ca6b).wrapping_add(1)));
        CounterRng { key, start: 0 }
    }

    /// The same stream without its first `count` numbers.
    pub fn skip(self, count: u32) -> Self {
        CounterRng { start: self.start.wrapping_add(count), ..self }
    }

    // ANCHOR: drops
    /// The 32 random bits at `index`.
    #[inline]
    pub fn bits(self, index: u32) -> u32 {
        mix(index.wrapping_add(self.start).wrapping_mul(0x9e37_79b9) ^ self.key)
    }

    /// Whether the element at `index` is dropped, which happens with probability `rate`.
    #[inline]
    pub fn drops(self, index: u32, rate: f64) -> bool {
        self.bits(index) < Self::threshold(rate)
    }
    // ANCHOR_END: drops

    /// An element is dropped if its bits are below this.
    #[inline]
    pub fn threshold(rate: f64) -> u32 {
        (rate * 4_294_967_296.0) as u32
    }
}

/// A hash: a permutation of the 32-bit numbers that maps neighbours to unrelated numbers (two rounds of multiply and
/// xor-shift, with constants found by Wellons' hash prospector, 2018).
#[inline]
fn mix(mut x: u32) -> u32 {
    x = (x ^ (x >> 16)).wrapping_mul(0x7feb_352d);
    x = (x ^ (x >> 15)).wrapping_mul(0x846c_a68b);
    x ^ (x >> 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stream_drops_at_the_given_rate() {
        for seed in 0..20 {
            let rng = CounterRng::new(seed).fork(3);
            let dropped = (0..100_000).filter(|&i| rng.drops(i, 0.1)).count();
            assert!((9_600..10_400).contains(&dropped), "seed {seed}: {dropped}");
        }
    }

    #[test]
    fn streams_and_neighbours_are_independent() {
        let (a, b) = (CounterRng::new(1).fork(0), CounterRng::new(1).fork(1));
        let both = (0..100_000).filter(|&i| a.drops(i, 0.5) && b.drops(i, 0.5)).count();
        let next = (0..100_000).filter(|&i| a.drops(i, 0.5) && a.drops(i + 1, 0.5)).count();
        for count in [both, next] {
            assert!((24_300..25_700).contains(&count), "{count}");
        }
    }
}
