//! A batch: sequences of tokens with their targets, packed one after another.

use std::ops::Range;

/// The sequences of one training step. When it is cleared and filled again, it reuses its memory.
///
/// What is learned to be predicted is the *target stream*. A translator's batch has a *source stream* beside it, with one
/// sequence for each of the targets; other models never see that there could be one.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    target: Stream,
    targets: Vec<usize>,
    loss_weights: Vec<f64>,
    source: Stream,
}

/// Sequences of tokens, one after another.
#[derive(Clone, Debug, Default)]
struct Stream {
    tokens: Vec<usize>,
    positions: Vec<usize>,
    rows: Vec<Range<usize>>,
    rows_before: usize,
}

impl Stream {
    fn clear(&mut self) {
        self.tokens.clear();
        self.positions.clear();
        self.rows.clear();
        self.rows_before = 0;
    }

    fn push(&mut self, tokens: impl IntoIterator<Item = usize>) {
        let start = self.tokens.len();
        self.tokens.extend(tokens);
        self.positions.extend(0..self.tokens.len() - start);
        self.rows.push(start..self.tokens.len());
    }

    /// The rows from the first of these sequences up to the next after them, with padding where there is some.
    fn rows_of(&self, sequences: Range<usize>) -> Range<usize> {
        let start = |sequence: usize| self.rows.get(sequence).map_or(self.tokens.len(), |rows| rows.start);
        start(sequences.start)..start(sequences.end)
    }

    fn copy_sequences(&mut self, from: &Stream, sequences: Range<usize>) {
        self.clear();
        let rows = from.rows_of(sequences.clone());
        self.rows_before = from.rows_before + rows.start;
        self.tokens.extend_from_slice(&from.tokens[rows.clone()]);
        self.positions.extend_from_slice(&from.positions[rows.clone()]);
        let moved = |of: &Range<usize>| of.start - rows.start..of.end - rows.start;
        self.rows.extend(from.rows[sequences].iter().map(moved));
    }

    /// The same sequences, each with as many rows as the longest.
    fn padded(&self) -> Self {
        let longest = self.rows.iter().map(Range::len).max().unwrap_or(0);
        let mut all = Stream::default();
        for rows in &self.rows {
            let start = all.tokens.len();
            all.tokens.extend_from_slice(&self.tokens[rows.clone()]);
            all.positions.extend(0..rows.len());
            all.rows.push(start..start + rows.len());
            all.tokens.resize(start + longest, 0);
            all.positions.resize(start + longest, 0);
        }
        all
    }

    fn sequences(&self) -> Sequences<'_> {
        let Stream { tokens, positions, rows, rows_before } = self;
        Sequences { tokens, positions, rows, rows_before: *rows_before }
    }
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Removes all sequences.
    pub fn clear(&mut self) {
        self.target.clear();
        self.targets.clear();
        self.loss_weights.clear();
        self.source.clear();
    }

    /// Appends a sequence of n + 1 tokens as n inputs, each with the next token as its target. Every loss weight is 1.
    pub fn push(&mut self, sequence: impl IntoIterator<Item = usize>) {
        self.push_weighted(sequence.into_iter().map(|token| (token, 1.0)));
    }

    /// Appends a sequence, as [`push`](Self::push) does, of tokens with the weight in the loss that each has *as a target*: where
    /// it is predicted, from the token before it. That of the first token does not matter, since nothing predicts it.
    pub fn push_weighted(&mut self, sequence: impl IntoIterator<Item = (usize, f64)>) {
        let start = self.target.tokens.len();
        let mut sequence = sequence.into_iter();
        let Some((mut token, _)) = sequence.next() else { return };
        for (target, weight) in sequence {
            self.target.tokens.push(token);
            self.target.positions.push(self.target.tokens.len() - 1 - start);
            self.targets.push(target);
            self.loss_weights.push(weight);
            token = target;
        }
        if self.target.tokens.len() > start {
            self.target.rows.push(start..self.target.tokens.len());
        }
    }

    /// Appends a target sequence, as [`push`](Self::push) does, with the source that it is predicted from.
    ///
    /// # Panics
    /// If the source is empty, if the target has fewer than two tokens, or if there are targets without a source already.
    pub fn push_pair(
        &mut self,
        source: impl IntoIterator<Item = usize>,
        target: impl IntoIterator<Item = usize>,
    ) {
        let pairs = self.source.rows.len();
        assert_eq!(self.target.rows.len(), pairs, "push_pair: targets against sources");
        self.source.push(source);
        self.push(target);
        assert!(!self.source.rows[pairs].is_empty(), "push_pair: an empty source");
        assert_eq!(self.target.rows.len(), pairs + 1, "push_pair: a target without a token to predict");
    }

    /// Replaces this batch by some sequences of another, source and target; loss weights are multiplied by `factor`.
    pub fn copy_sequences(&mut self, from: &Batch, sequences: Range<usize>, factor: f64) {
        let rows = from.target.rows_of(sequences.clone());
        self.clear();
        self.target.copy_sequences(&from.target, sequences.clone());
        self.targets.extend_from_slice(&from.targets[rows.clone()]);
        self.loss_weights.extend(from.loss_weights[rows].iter().map(|weight| weight * factor));
        if !from.source.rows.is_empty() {
            self.source.copy_sequences(&from.source, sequences);
        }
    }

    /// Says that these sequences come after those of another batch, in both streams: dropout then drops what it would if they
    /// were one.
    pub fn follow(&mut self, before: &Batch) {
        for (stream, before) in [(&mut self.target, &before.target), (&mut self.source, &before.source)] {
            stream.rows_before = before.rows_before + before.tokens.len();
        }
    }

    /// The same batch with padding: each sequence is followed by rows that belong to none, until it has as many as the
    /// longest. Their loss weight is zero. This is how most libraries batch; here it serves comparison, since the packed
    /// form computes the same without the rows that nobody needs.
    pub fn padded(&self) -> Self {
        let target = self.target.padded();
        let mut all = Batch { source: self.source.padded(), ..Batch::default() };
        all.targets.resize(target.tokens.len(), 0);
        all.loss_weights.resize(target.tokens.len(), 0.0);
        for (from, to) in self.target.rows.iter().zip(&target.rows) {
            all.targets[to.clone()].copy_from_slice(&self.targets[from.clone()]);
            all.loss_weights[to.clone()].copy_from_slice(&self.loss_weights[from.clone()]);
        }
        Batch { target, ..all }
    }

    /// The number of input tokens in the target stream, padding included.
    pub fn len(&self) -> usize {
        self.target.tokens.len()
    }

    /// Whether there are no input tokens.
    pub fn is_empty(&self) -> bool {
        self.target.tokens.is_empty()
    }

    /// The input of the model: the target stream.
    pub fn sequences(&self) -> Sequences<'_> {
        self.target.sequences()
    }

    /// The source stream; it has no sequences if there is none.
    pub fn source(&self) -> Sequences<'_> {
        self.source.sequences()
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

/// Tokens of one or more sequences, one sequence after another, perhaps with padding between them.
#[derive(Clone, Copy, Debug)]
pub struct Sequences<'a> {
    /// The tokens of all sequences: one for each row.
    pub tokens: &'a [usize],
    /// The place of each token in its sequence, from 0.
    pub positions: &'a [usize],
    /// The rows of each sequence.
    pub rows: &'a [Range<usize>],
    /// How many rows come before these, if this is a part of a larger batch: then dropout drops what it would in the whole.
    pub rows_before: usize,
}
