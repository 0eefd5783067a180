//! Which pairs stand in which batch.

use super::TokenPairs;
use crate::data::text::fingerprint;
use crate::random::Random;

/// Batches of pairs: in every epoch each pair comes once, in a new order. A batch is a list of indices into [`TokenPairs`].
///
/// An epoch is shuffled, and then cut where the positions so far reach the next of equal parts. So batches have nearly the
/// same number of positions: each differs from their mean by less than the longest pair takes.
///
/// Programs that pad every sentence to the longest of its batch put sentences of like length together, so that little is
/// padded. Here sentences are packed without padding, so there is nothing to save. And a batch of random pairs is a fairer
/// sample of the data than one with only short sentences, or only long ones.
///
/// There is no state to save. The order of an epoch follows from the seed and the number of the epoch, and every epoch has
/// as many batches, so a run that goes on asks for the next number.
#[derive(Clone, Debug)]
pub struct PairBatches {
    /// The positions that each pair takes, and their sum.
    positions: Vec<usize>,
    total: usize,
    per_epoch: usize,
    seed: u64,
    /// The epoch that is laid out below.
    epoch: usize,
    order: Vec<usize>,
    /// Where in `order` each batch begins, and the end of the last.
    starts: Vec<usize>,
}

impl PairBatches {
    /// Batches of about `size` [positions](TokenPairs::positions). The mean of an epoch is at most `size`, or less than two of
    /// the longest pairs take if that is more.
    ///
    /// # Panics
    /// If there are no pairs, or `size` is 0.
    pub fn new(pairs: &TokenPairs, size: usize, seed: u64) -> Self {
        assert!(
            !pairs.is_empty() && size > 0,
            "PairBatches: {} pairs in batches of {size} positions",
            pairs.len()
        );
        let positions: Vec<usize> = (0..pairs.len()).map(|pair| pairs.positions(pair)).collect();
        let total: usize = positions.iter().sum();
        let longest = positions.iter().copied().max().unwrap_or(1);
        // No part may be shorter than the longest pair: within that pair, a whole part could begin and end.
        let per_epoch = total.div_ceil(size).min(total / longest);
        let mut batches = PairBatches {
            positions,
            total,
            per_epoch,
            seed,
            epoch: 0,
            order: Vec::new(),
            starts: Vec::new(),
        };
        batches.lay_out(0);
        batches
    }

    /// How many batches an epoch has.
    pub fn per_epoch(&self) -> usize {
        self.per_epoch
    }

    /// The pairs of a batch, at least one. Batches are numbered from 0 and never end: after the last of an epoch comes the
    /// first of the next.
    pub fn batch(&mut self, number: usize) -> &[usize] {
        let (epoch, place) = (number / self.per_epoch, number % self.per_epoch);
        if epoch != self.epoch {
            self.lay_out(epoch);
        }
        &self.order[self.starts[place]..self.starts[place + 1]]
    }

    fn lay_out(&mut self, epoch: usize) {
        self.epoch = epoch;
        self.order.clear();
        self.order.extend(0..self.positions.len());
        let seed = [self.seed, epoch as u64].map(u64::to_le_bytes);
        Random::new(fingerprint(seed.into_iter().flatten())).shuffle(&mut self.order);
        self.starts.clear();
        let mut before = 0;
        for (at, &pair) in self.order.iter().enumerate() {
            // The part of the epoch in which this pair begins. 64 bits: the product may be large.
            let part = before as u64 * self.per_epoch as u64 / self.total as u64;
            if self.starts.len() as u64 == part {
                self.starts.push(at);
            }
            before += self.positions[pair];
        }
        self.starts.push(self.order.len());
    }
}
