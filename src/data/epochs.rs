//! An endless order of items, in which each epoch has every item once.

use super::text::fingerprint;
use crate::random::Random;

/// Items in the order in which a training takes them: each of them once in every epoch, and every epoch in a new order.
///
/// There is no state to save. The order of an epoch follows from the seed and its number, so a run that goes on asks for the
/// next item.
///
/// ```
/// use gradus::data::Epochs;
/// let mut epochs = Epochs::new(3, 42);
/// let mut first: Vec<usize> = (0..3).map(|at| epochs.item(at)).collect();
/// first.sort();
/// assert_eq!(first, [0, 1, 2]);
/// ```
#[derive(Clone, Debug)]
pub struct Epochs {
    seed: u64,
    /// The epoch that is laid out below.
    epoch: usize,
    order: Vec<usize>,
}

impl Epochs {
    /// The order of `count` items.
    ///
    /// # Panics
    /// If there are none.
    pub fn new(count: usize, seed: u64) -> Self {
        assert!(count > 0, "Epochs: no items");
        let mut epochs = Epochs { seed, epoch: 0, order: (0..count).collect() };
        epochs.lay_out(0);
        epochs
    }

    /// The item at a place of the endless order, from 0.
    pub fn item(&mut self, at: usize) -> usize {
        let (epoch, place) = (at / self.order.len(), at % self.order.len());
        if epoch != self.epoch {
            self.lay_out(epoch);
        }
        self.order[place]
    }

    fn lay_out(&mut self, epoch: usize) {
        self.epoch = epoch;
        for (item, at) in self.order.iter_mut().zip(0..) {
            *item = at;
        }
        let seed = [self.seed, epoch as u64].map(u64::to_le_bytes);
        Random::new(fingerprint(seed.into_iter().flatten())).shuffle(&mut self.order);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_epoch_has_every_item_once_in_another_order() {
        let mut epochs = Epochs::new(50, 7);
        let all: Vec<usize> = (0..150).map(|at| epochs.item(at)).collect();
        for epoch in all.chunks(50) {
            let mut sorted = epoch.to_vec();
            sorted.sort_unstable();
            assert!(sorted.into_iter().eq(0..50));
        }
        assert!(all[..50] != all[50..100] && all[50..100] != all[100..]);
        // Any place can be asked for at any time.
        assert_eq!(Epochs::new(50, 7).item(73), all[73]);
        assert_ne!((0..50).map(|at| Epochs::new(50, 8).item(at)).collect::<Vec<_>>(), all[..50]);
    }
}
