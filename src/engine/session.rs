//! Decoding: a model reads sequences token by token, and keeps the keys and values of what it has read.

use std::ops::Range;

use crate::data::Sequences;
use crate::engine::{Engine, Pass};
use crate::model::{Cache, Model};
use crate::params::BoundParams;
use crate::tensor::{Memory, Tensor};

/// For how much there is room in a [`Session`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Sequences that are read side by side.
    pub sequences: usize,
    /// Tokens in each of them.
    pub tokens: usize,
}

// ANCHOR: session
/// One or more sequences that a model is reading. Sampling, and any other search for the next token, is a loop over it.
///
/// Sequences have numbers from 0. Each begins empty. A token costs what its context demands: keys and values are kept where they
/// are, and only those of new tokens are computed.
pub struct Session<'a, E: Engine, M> {
    engine: &'a mut E,
    model: &'a M,
    params: &'a [E::Real],
    room: Room,
    sequences: Vec<Sequence>,
    logits: Vec<f64>,
    step: Step,
}

/// Where a sequence lies in the engine's memory.
#[derive(Clone, Copy, Debug, Default)]
struct Sequence {
    /// In which of the places, each of which has room for the most tokens.
    place: usize,
    /// How many tokens were read.
    len: usize,
}
// ANCHOR_END: session

/// What is read in one go. It reuses its memory.
#[derive(Default)]
struct Step {
    tokens: Vec<usize>,
    positions: Vec<usize>,
    /// Of each sequence, among the new tokens.
    queries: Vec<Range<usize>>,
    /// Where each new token is kept.
    places: Vec<usize>,
    /// Of each sequence, in the memory.
    keys: Vec<Range<usize>>,
    /// For [`Session::reorder`]: the sequences before, and which places have been given out.
    before: Vec<Sequence>,
    taken: Vec<bool>,
}

impl<'a, E: Engine, M: Model> Session<'a, E, M> {
    /// A session of empty sequences.
    ///
    /// # Panics
    /// If there is no room for a single token, or if a sequence would be longer than the model's context.
    pub fn new(engine: &'a mut E, model: &'a M, params: &'a [E::Real], room: Room) -> Self {
        let context = model.context();
        assert!(room.sequences > 0 && room.tokens > 0, "Session: {room:?} has no room for a token");
        assert!(room.tokens <= context, "Session: {} tokens, but the context is {context}", room.tokens);
        let sequences = (0..room.sequences).map(|place| Sequence { place, len: 0 }).collect();
        Session { engine, model, params, room, sequences, logits: Vec::new(), step: Step::default() }
    }

    /// A session of a single sequence, number 0, with room for the whole context.
    pub fn single(engine: &'a mut E, model: &'a M, params: &'a [E::Real]) -> Self {
        let room = Room { sequences: 1, tokens: model.context() };
        Self::new(engine, model, params, room)
    }

    /// Appends tokens to one sequence, at least one. Returns the logits of the token that follows the last of them: one for
    /// each token of the vocabulary.
    ///
    /// # Panics
    /// As [`feed_all`](Self::feed_all).
    pub fn feed(&mut self, sequence: usize, tokens: &[usize]) -> &[f64] {
        self.feed_all(&[(sequence, tokens)])
    }

    /// Appends tokens to several sequences at once, at least one to each. Returns the logits of the tokens that follow:
    /// `[new.len(), vocab_size]`, row by row.
    ///
    /// # Panics
    /// If there are no tokens for a sequence, if one is named twice, or if there is no room for its tokens.
    pub fn feed_all(&mut self, new: &[(usize, &[usize])]) -> &[f64] {
        let Step { tokens, positions, queries, places, keys, taken, .. } = &mut self.step;
        tokens.clear();
        positions.clear();
        queries.clear();
        places.clear();
        keys.clear();
        taken.clear();
        taken.resize(self.room.sequences, false);
        for &(at, more) in new {
            assert!(!more.is_empty(), "feed: no tokens to read; a prompt has at least one");
            assert!(!std::mem::replace(&mut taken[at], true), "feed: sequence {at} is named twice");
            let Sequence { place, len } = &mut self.sequences[at];
            let (start, end) = (*len, *len + more.len());
            assert!(
                end <= self.room.tokens,
                "feed: {end} tokens, but there is room for {}",
                self.room.tokens
            );
            let first = *place * self.room.tokens;
            queries.push(tokens.len()..tokens.len() + more.len());
            tokens.extend_from_slice(more);
            positions.extend(start..end);
            places.extend(first + start..first + end);
            keys.push(first..first + end);
            *len = end;
        }
        let sequences = Sequences { tokens, positions, rows: queries, rows_before: 0 };
        let capacity = self.room.sequences * self.room.tokens;
        let read = Read { model: self.model, sequences, places, keys, capacity };
        self.engine.run(self.model.layout(), self.params, read, &mut self.logits);
        &self.logits
    }

    /// How many tokens of a sequence have been read.
    pub fn len(&self, sequence: usize) -> usize {
        self.sequences[sequence].len
    }

    /// For how much there is room.
    pub fn room(&self) -> Room {
        self.room
    }

    /// Drops all tokens of a sequence but the first `len`, as if they had not been read.
    ///
    /// # Panics
    /// If fewer than `len` have been read.
    pub fn truncate(&mut self, sequence: usize, len: usize) {
        let old = &mut self.sequences[sequence].len;
        assert!(len <= *old, "truncate: {len} tokens of a sequence of {old}");
        *old = len;
    }

    /// Lets sequence `i` continue what `parents[i]` has read, for all parents at once; sequences beyond them are emptied. A
    /// sequence that is continued once stays where it is, and is copied for every other time.
    ///
    /// # Panics
    /// If there are more parents than sequences, or a parent does not exist.
    pub fn reorder(&mut self, parents: &[usize]) {
        let Session { room, sequences, step: Step { before, taken, .. }, .. } = self;
        assert!(parents.len() <= room.sequences, "reorder: {} parents of {}", parents.len(), room.sequences);
        before.clone_from(sequences);
        taken.clear();
        taken.resize(room.sequences, false);
        parents.iter().for_each(|&parent| taken[before[parent].place] = true);
        for at in 0..room.sequences {
            let first_child = parents.get(at).is_some_and(|parent| !parents[..at].contains(parent));
            if first_child {
                sequences[at] = before[parents[at]];
                continue;
            }
            let place = taken.iter().position(|taken| !taken).expect("as many places as sequences");
            taken[place] = true;
            sequences[at] = Sequence { place, len: 0 };
            if let Some(&parent) = parents.get(at) {
                let Sequence { place: from, len } = before[parent];
                sequences[at].len = len;
                let from = from * room.tokens;
                self.engine.copy_kept(from..from + len, place * room.tokens);
            }
        }
    }
}

/// Reading, as something that runs on the tensors of any engine.
struct Read<'a, M> {
    model: &'a M,
    sequences: Sequences<'a>,
    places: &'a [usize],
    keys: &'a [Range<usize>],
    capacity: usize,
}

impl<M: Model> Pass for Read<'_, M> {
    fn run<T: Tensor>(self, w: BoundParams<'_, T>, memory: &mut dyn Memory<T>) -> T {
        let Read { model, sequences, places, keys, capacity } = self;
        model.decode(w, sequences, &mut Cache { memory, places, keys, capacity })
    }
}
