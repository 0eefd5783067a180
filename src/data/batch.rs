//! A batch: sequences of tokens with their targets, packed one after another.

use std::ops::Range;

/// The sequences of one training step. When it is cleared and filled again, it reuses its memory.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    tokens: Vec<usize>,
    positions: Vec<usize>,
    targets: Vec<usize>,
    loss_weights: Vec<f64>,
    lengths: Vec<usize>,
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Removes all sequences.
    pub fn clear(&mut self) {
        self.tokens.clear();
        self.positions.clear();
        self.targets.clear();
        self.loss_weights.clear();
        self.lengths.clear();
    }

    /// Appends a sequence of n + 1 tokens as n inputs, each with the next token as its target. Every loss weight is 1.
    pub fn push(&mut self, sequence: impl IntoIterator<Item = usize>) {
        let mut length = 0;
        let mut sequence = sequence.into_iter();
        let Some(mut token) = sequence.next() else { return };
        for target in sequence {
            self.tokens.push(token);
            self.targets.push(target);
            self.positions.push(length);
            self.loss_weights.push(1.0);
            length += 1;
            token = target;
        }
        if length > 0 {
            self.lengths.push(length);
        }
    }

    /// Replaces this batch by some sequences of another. The first of them begins at token `start` of `source`; loss weights
    /// are multiplied by `factor`. Returns the index in `source` of the token after the last.
    pub fn copy_sequences(
        &mut self,
        source: &Batch,
        sequences: Range<usize>,
        start: usize,
        factor: f64,
    ) -> usize {
        self.clear();
        self.lengths.extend_from_slice(&source.lengths[sequences]);
        let end = start + self.lengths.iter().sum::<usize>();
        self.tokens.extend_from_slice(&source.tokens[start..end]);
        self.positions.extend_from_slice(&source.positions[start..end]);
        self.targets.extend_from_slice(&source.targets[start..end]);
        self.loss_weights.extend(source.loss_weights[start..end].iter().map(|weight| weight * factor));
        end
    }

    /// The number of input tokens.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether there are no input tokens.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// The input of the model.
    pub fn sequences(&self) -> Sequences<'_> {
        Sequences { tokens: &self.tokens, positions: &self.positions, lengths: &self.lengths }
    }

    /// The target of each input token: the token that follows it.
    pub fn targets(&self) -> &[usize] {
        &self.targets
    }

    /// The weight of each token in the mean loss.
    pub fn loss_weights(&self) -> &[f64] {
        &self.loss_weights
    }

    /// Their sum.
    ///
    /// # Panics
    /// If there are no tokens, or if the weights do not add up to a positive number: there would be no mean loss.
    pub fn total_loss_weight(&self) -> f64 {
        Self::total_loss_weight_of(std::slice::from_ref(self))
    }

    /// The sum over all tokens of several batches, one after another: to the last bit that of one batch with the same
    /// sequences.
    ///
    /// # Panics
    /// If none of them has a token, or if the weights do not add up to a positive number.
    pub fn total_loss_weight_of(batches: &[Batch]) -> f64 {
        assert!(!batches.iter().all(Batch::is_empty), "an empty batch has no loss");
        let total = batches.iter().flat_map(|batch| &batch.loss_weights).sum();
        assert!(
            total > 0.0 && total < f64::INFINITY,
            "loss weights add up to {total}: a mean needs a positive sum"
        );
        total
    }

    /// The same, mutable.
    pub fn loss_weights_mut(&mut self) -> &mut [f64] {
        &mut self.loss_weights
    }
}

/// Tokens of one or more sequences, one sequence after another.
#[derive(Clone, Copy, Debug)]
pub struct Sequences<'a> {
    /// The tokens of all sequences.
    pub tokens: &'a [usize],
    /// The place of each token in its sequence, from 0.
    pub positions: &'a [usize],
    /// How many tokens each sequence has.
    pub lengths: &'a [usize],
}
