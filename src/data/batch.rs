//! A batch: sequences of tokens with what should follow each of them, packed one after another.

use std::ops::Range;

/// Sequences for one training step. Its memory is kept when it is filled again.
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

    /// Takes all sequences out.
    pub fn clear(&mut self) {
        self.tokens.clear();
        self.positions.clear();
        self.targets.clear();
        self.loss_weights.clear();
        self.lengths.clear();
    }

    /// Adds a sequence of n + 1 tokens: n of them to be read, each with its successor as the target. All tokens weigh
    /// the same in the loss.
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

    /// Makes this batch a part of another: some of its sequences, which begin at token `start`, with weights multiplied by
    /// `share`. Returns the token after the last.
    pub fn copy_part(&mut self, whole: &Batch, sequences: Range<usize>, start: usize, share: f64) -> usize {
        self.clear();
        self.lengths.extend_from_slice(&whole.lengths[sequences]);
        let end = start + self.lengths.iter().sum::<usize>();
        self.tokens.extend_from_slice(&whole.tokens[start..end]);
        self.positions.extend_from_slice(&whole.positions[start..end]);
        self.targets.extend_from_slice(&whole.targets[start..end]);
        self.loss_weights.extend(whole.loss_weights[start..end].iter().map(|weight| weight * share));
        end
    }

    /// How many tokens are to be read.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether there is nothing to read.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// What a model reads.
    pub fn sequences(&self) -> Sequences<'_> {
        Sequences { tokens: &self.tokens, positions: &self.positions, lengths: &self.lengths }
    }

    /// What it should say after each token.
    pub fn targets(&self) -> &[usize] {
        &self.targets
    }

    /// How much each token counts in the mean loss.
    pub fn loss_weights(&self) -> &[f64] {
        &self.loss_weights
    }

    /// The same, to be changed.
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
