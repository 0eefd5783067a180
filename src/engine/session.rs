//! Decoding: a model reads sequences token by token, and keeps the keys and values of what it has read.

use std::ops::Range;

use crate::data::Sequences;
use crate::engine::{Pass, Reader};
use crate::model::{Cache, Model, Translator};
use crate::params::BoundParams;
use crate::tensor::{Memory, Tensor};

/// For how much there is room in a [`Session`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Sequences that are read side by side.
    pub sequences: usize,
    /// Tokens in each of them.
    pub tokens: usize,
    /// Tokens in each source; none if there are no sources.
    pub source_tokens: usize,
}

// ANCHOR: session
/// One or more sequences that a model is reading. Sampling, and any other search for the next token, is a loop over it.
///
/// Sequences have numbers from 0. Each begins empty. A token costs what its context demands: keys and values are kept where they
/// are, and only those of new tokens are computed.
pub struct Session<'a, E: Reader, M> {
    engine: &'a mut E,
    model: &'a M,
    params: &'a E::Params,
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
    /// Where its source lies, among the places for sources, and how many tokens that has. Several sequences may share one.
    source: Option<(usize, usize)>,
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
    /// Of the source of each sequence, in the memory of sources.
    sources: Vec<Range<usize>>,
    /// For [`Session::reorder`]: the sequences before, and which places have been given out.
    before: Vec<Sequence>,
    taken: Vec<bool>,
}

impl<'a, E: Reader, M: Model> Session<'a, E, M> {
    /// A session of empty sequences.
    ///
    /// # Panics
    /// If there is no room for a single token, or if a sequence would be longer than the model's context.
    pub fn new(engine: &'a mut E, model: &'a M, params: &'a E::Params, room: Room) -> Self {
        let context = model.context();
        assert!(room.sequences > 0 && room.tokens > 0, "Session: {room:?} has no room for a token");
        assert!(room.tokens <= context, "Session: {} tokens, but the context is {context}", room.tokens);
        let sequences = (0..room.sequences).map(|place| Sequence { place, len: 0, source: None }).collect();
        Session { engine, model, params, room, sequences, logits: Vec::new(), step: Step::default() }
    }

    /// A session of a single sequence, number 0, with room for the whole context.
    pub fn single(engine: &'a mut E, model: &'a M, params: &'a E::Params) -> Self {
        let room = Room { sequences: 1, tokens: model.context(), source_tokens: 0 };
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
        let Step { tokens, positions, queries, places, keys, sources, taken, .. } = &mut self.step;
        tokens.clear();
        positions.clear();
        queries.clear();
        places.clear();
        keys.clear();
        sources.clear();
        taken.clear();
        taken.resize(self.room.sequences, false);
        for &(at, more) in new {
            assert!(!more.is_empty(), "feed: no tokens to read; a prompt has at least one");
            assert!(!std::mem::replace(&mut taken[at], true), "feed: sequence {at} is named twice");
            let Sequence { place, len, source } = &mut self.sequences[at];
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
            sources.extend(source.map(|(place, len)| {
                let first = place * self.room.source_tokens;
                first..first + len
            }));
            *len = end;
        }
        let known = sources.is_empty() || sources.len() == keys.len();
        assert!(known, "feed: some of these sequences have a source, and some have none");
        let sequences = Sequences { tokens, positions, rows: queries, rows_before: 0 };
        let capacity = self.room.sequences * self.room.tokens;
        let read = Read { model: self.model, sequences, places, keys, sources, capacity };
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
            sequences[at] = Sequence { place, len: 0, source: None };
            if let Some(&parent) = parents.get(at) {
                let Sequence { place: from, len, source } = before[parent];
                sequences[at] = Sequence { place, len, source };
                let from = from * room.tokens;
                self.engine.copy_kept(from..from + len, place * room.tokens);
            }
        }
    }
}

impl<E: Reader, M: Translator> Session<'_, E, M> {
    /// Reads sources, each for the sequence that is named with it, which begins again empty. Sequences that continue it
    /// ([`reorder`](Self::reorder)) share the source.
    ///
    /// # Panics
    /// If a source is empty or there is no room for it, or if a sequence is named twice.
    pub fn read_sources(&mut self, new: &[(usize, &[usize])]) {
        let room = self.room;
        for (nth, &(at, source)) in new.iter().enumerate() {
            assert!(!source.is_empty(), "read_sources: an empty source");
            let (len, most) = (source.len(), room.source_tokens);
            assert!(len <= most, "read_sources: {len} tokens, but there is room for {most}");
            assert!(
                !new[..nth].iter().any(|(other, _)| *other == at),
                "read_sources: sequence {at} is named twice"
            );
            (self.sequences[at].len, self.sequences[at].source) = (0, None);
        }
        let Step { tokens, positions, queries, places, taken, .. } = &mut self.step;
        tokens.clear();
        positions.clear();
        queries.clear();
        places.clear();
        taken.clear();
        taken.resize(room.sequences, false);
        self.sequences
            .iter()
            .filter_map(|sequence| sequence.source)
            .for_each(|(place, _)| taken[place] = true);
        for &(at, source) in new {
            let place = taken.iter().position(|taken| !taken).expect("as many places as sequences");
            taken[place] = true;
            let (start, first) = (tokens.len(), place * room.source_tokens);
            queries.push(start..start + source.len());
            tokens.extend_from_slice(source);
            positions.extend(0..source.len());
            places.extend(first..first + source.len());
            self.sequences[at].source = Some((place, source.len()));
        }
        let sources = Sequences { tokens, positions, rows: queries, rows_before: 0 };
        let read =
            ReadSources { model: self.model, sources, places, capacity: room.sequences * room.source_tokens };
        self.engine.run(self.model.layout(), self.params, read, &mut self.logits);
    }
}

/// Reading, as something that runs on the tensors of any engine.
struct Read<'a, M> {
    model: &'a M,
    sequences: Sequences<'a>,
    places: &'a [usize],
    keys: &'a [Range<usize>],
    sources: &'a [Range<usize>],
    capacity: usize,
}

impl<M: Model> Pass for Read<'_, M> {
    fn run<T: Tensor>(self, w: BoundParams<'_, T>, memory: &mut dyn Memory<T>) -> T {
        let Read { model, sequences, places, keys, sources, capacity } = self;
        model.decode(w, sequences, &mut Cache { memory, places, keys, sources, capacity })
    }
}

/// Reading sources, in the same way.
struct ReadSources<'a, M> {
    model: &'a M,
    sources: Sequences<'a>,
    places: &'a [usize],
    capacity: usize,
}

impl<M: Translator> Pass for ReadSources<'_, M> {
    fn run<T: Tensor>(self, w: BoundParams<'_, T>, memory: &mut dyn Memory<T>) -> T {
        self.model.read_sources(w, self.sources, (memory, self.places, self.capacity))
    }
}
