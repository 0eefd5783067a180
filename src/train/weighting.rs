//! Adaptive loss weighting: what is still difficult counts more.
//!
//! After nn.zig. For each pair of a token and the one that follows it (a bigram), a running mean of the loss says how
//! difficult the pair still is. In the loss, a token of difficulty `d` has the weight `d / 2`, but at least 0.1 and at
//! most 3.

use crate::data::Batch;

/// How much of the running mean is kept when a new loss is mixed in.
const KEEP: f32 = 0.99;

/// The difficulty of every bigram of a vocabulary.
#[derive(Clone, Debug)]
pub struct Weighting {
    vocab_size: usize,
    /// The running mean of the loss; 0 where the bigram has not been seen.
    difficulty: Vec<f32>,
}

impl Weighting {
    /// No bigram seen yet.
    pub fn new(vocab_size: usize) -> Self {
        Weighting { vocab_size, difficulty: vec![0.0; vocab_size * vocab_size] }
    }

    fn index(&self, token: usize, target: usize) -> usize {
        token * self.vocab_size + target
    }

    /// The weight of a bigram: 1 if it has not been seen yet.
    pub fn weight(&self, token: usize, target: usize) -> f64 {
        weight_of(self.difficulty[self.index(token, target)])
    }

    /// Sets the weights of a batch.
    pub fn apply(&self, batch: &mut Batch) {
        for at in 0..batch.len() {
            let (token, target) = (batch.sequences().tokens[at], batch.targets()[at]);
            batch.loss_weights_mut()[at] = self.weight(token, target);
        }
    }

    /// Copies of some batches with these weights. They take the place of what is in `copies`, whose memory they reuse.
    pub(super) fn apply_to_copies<'a>(&self, batches: &[Batch], copies: &'a mut Vec<Batch>) -> &'a [Batch] {
        if copies.len() < batches.len() {
            copies.resize_with(batches.len(), Batch::new);
        }
        let copies = &mut copies[..batches.len()];
        for (copy, batch) in copies.iter_mut().zip(batches) {
            copy.copy_sequences(batch, 0..batch.sequences().rows.len(), 1.0);
            self.apply(copy);
        }
        copies
    }

    /// Mixes the losses of a batch into the running means, but for those that are no numbers.
    // ANCHOR: update
    pub fn update(&mut self, batch: &Batch, losses: &[f64]) {
        let bigrams = batch.sequences().tokens.iter().zip(batch.targets());
        for ((&token, &target), &loss) in bigrams.zip(losses).filter(|(_, loss)| loss.is_finite()) {
            let at = self.index(token, target);
            let mean = &mut self.difficulty[at];
            let loss = (loss as f32).max(f32::MIN_POSITIVE);
            *mean = if *mean == 0.0 { loss } else { KEEP * *mean + (1.0 - KEEP) * loss };
        }
    }
    // ANCHOR_END: update

    /// The mean weight of all bigrams that have been seen; it falls as they are learned. 1 if none have been seen.
    pub fn mean(&self) -> f64 {
        let seen = || self.difficulty.iter().filter(|d| **d > 0.0);
        let count = seen().count();
        if count == 0 { 1.0 } else { seen().map(|d| weight_of(*d)).sum::<f64>() / count as f64 }
    }

    /// What it remembers, to be saved and restored.
    pub fn state(&mut self) -> &mut [f32] {
        &mut self.difficulty
    }
}

fn weight_of(difficulty: f32) -> f64 {
    if difficulty == 0.0 { 1.0 } else { (f64::from(difficulty) / 2.0).clamp(0.1, 3.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_follow_the_running_mean_of_the_loss() {
        let mut weighting = Weighting::new(3);
        let mut batch = Batch::new();
        batch.push([0, 1, 2, 0]); // the bigrams 01, 12, 20
        weighting.apply(&mut batch);
        assert_eq!(batch.loss_weights(), [1.0, 1.0, 1.0]);
        assert_eq!(weighting.mean(), 1.0);
        weighting.update(&batch, &[3.0, 0.01, 50.0]);
        weighting.apply(&mut batch);
        assert_eq!(batch.loss_weights(), [1.5, 0.1, 3.0]);
        assert!((weighting.mean() - 4.6 / 3.0).abs() < 1e-12);
        weighting.update(&batch, &[1.0, 0.01, 50.0]);
        // 0.99 · 3 + 0.01 · 1 = 2.98, and half of it is the weight.
        assert!((weighting.weight(0, 1) - 1.49).abs() < 1e-6);
        assert_eq!(weighting.weight(2, 2), 1.0);
    }
}
