//! Who is served when. One thread owns the engine and the session; it reads one token of every running reply at once, so several
//! clients cost little more than one, and the engine's threads share the drawing of the next tokens. Prompts are read in pieces in
//! between, so that a long one does not hold up the others.
//!
//! Of a sequence that has ended, keys and values stay until its place is needed. A prompt that begins with the same tokens, as the
//! next turn of a conversation does, is read only from where it differs. The bits of a row depend on nothing but its own sequence,
//! so none of this changes a reply.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use gradus::Reader;
use gradus::crew::Crew;
use gradus::engine::Session;
use gradus::model::Model;
use gradus::tokenizer::Tokenizer;
use tokio::sync::mpsc::UnboundedSender;

use super::reply::{Finish, Manner, Piece, Reply};

/// The most tokens of prompts that are read at once while others wait for their next token.
const PIECE: usize = 64;

/// The same while nobody waits.
const PIECE_ALONE: usize = 512;

/// How often an idle server looks whether it is to end.
const LOOK: Duration = Duration::from_millis(50);

/// A reply that somebody waits for.
pub struct Job {
    /// At least one token, and with the most that `manner` allows no more than there is room for.
    pub prompt: Vec<usize>,
    pub manner: Manner,
    /// Closed when nobody waits any more.
    pub events: UnboundedSender<Event>,
}

/// What happens to a job.
#[derive(Debug)]
pub enum Event {
    Said(Piece),
    /// It is complete, with so many tokens.
    Ended(Finish, usize),
    /// It was not begun, since the server ends.
    Closed,
}

/// Why a job cannot wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    Full,
    Closed,
}

/// The jobs that have not begun.
pub struct Queue {
    state: Mutex<State>,
    wake: Condvar,
    places: usize,
    limit: usize,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Job>,
    running: usize,
    closed: bool,
}

impl Queue {
    /// Room for so many jobs that run and so many that wait.
    pub fn new(places: usize, limit: usize) -> Self {
        Queue { state: Mutex::default(), wake: Condvar::new(), places, limit }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more, if there is room.
    pub fn push(&self, job: Job) -> Result<(), Refused> {
        let mut state = self.state();
        state.waiting.retain(|job| !job.events.is_closed());
        if state.closed {
            return Err(Refused::Closed);
        }
        if state.running + state.waiting.len() >= self.places + self.limit {
            return Err(Refused::Full);
        }
        state.waiting.push_back(job);
        self.wake.notify_one();
        Ok(())
    }

    /// How many run, and how many wait.
    pub fn counts(&self) -> (usize, usize) {
        let state = self.state();
        let waits = |job: &&Job| !job.events.is_closed();
        (state.running, state.waiting.iter().filter(waits).count())
    }

    /// One of those that ran has ended: there is a place before its client knows.
    fn leave(&self) {
        self.state().running -= 1;
    }

    /// From now on nothing begins.
    fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        for job in state.waiting.drain(..) {
            job.events.send(Event::Closed).ok(); // nobody may be there
        }
    }

    /// The next jobs, as many as there are places for, while `running` run.
    fn take(&self, running: usize) -> Vec<Job> {
        let mut state = self.state();
        state.waiting.retain(|job| !job.events.is_closed());
        let count = state.waiting.len().min(self.places - running);
        state.running = running + count;
        state.waiting.drain(..count).collect()
    }

    /// Waits for a job, but not for long. Returns whether there will be none.
    fn wait(&self) -> bool {
        let state = self.state();
        if state.waiting.is_empty() && !state.closed {
            let waited = self.wake.wait_timeout(state, LOOK);
            return waited.unwrap_or_else(PoisonError::into_inner).0.closed;
        }
        state.closed
    }
}

/// One sequence of the session.
#[derive(Default)]
struct Place<'t> {
    /// The tokens of it, of which the session has read the first ones.
    tokens: Vec<usize>,
    running: Option<Running<'t>>,
}

struct Running<'t> {
    reply: Reply<'t>,
    prompt_len: usize,
    events: UnboundedSender<Event>,
}

/// Serves all jobs, until `is_over` and none is running. The threads of `crew` draw tokens while the session waits for them.
pub fn serve<E: Reader, M: Model>(
    session: &mut Session<'_, E, M>,
    crew: &Crew,
    tokenizer: &dyn Tokenizer,
    queue: &Queue,
    is_over: impl Fn() -> bool,
) {
    let mut places: Vec<Place> = Vec::new();
    places.resize_with(session.room().sequences, Place::default);
    let mut first = 0;
    loop {
        if is_over() {
            queue.close();
        }
        for (at, place) in places.iter_mut().enumerate() {
            if place.running.as_ref().is_some_and(|running| running.events.is_closed()) {
                leave(place, session.len(at));
            }
        }
        let running = places.iter().filter(|place| place.running.is_some()).count();
        for job in queue.take(running) {
            admit(session, &mut places, tokenizer, job);
        }
        if places.iter().all(|place| place.running.is_none()) {
            if queue.wait() {
                return;
            }
            continue;
        }
        step(session, crew, &mut places, queue, first);
        first = (first + 1) % places.len();
    }
}

/// Ends what runs at a place. What was read stays, for a prompt that begins with it.
fn leave(place: &mut Place, read: usize) {
    place.running = None;
    place.tokens.truncate(read);
}

/// Begins a job at the free place that has already read most of its prompt; of several, at the one that holds least.
fn admit<'t, E: Reader, M: Model>(
    session: &mut Session<'_, E, M>,
    places: &mut [Place<'t>],
    tokenizer: &'t dyn Tokenizer,
    job: Job,
) {
    let Job { prompt, manner, events } = job;
    let shared = |place: &Place| place.tokens.iter().zip(&prompt).take_while(|(a, b)| a == b).count();
    let free = places.iter().enumerate().filter(|(_, place)| place.running.is_none());
    let best = free.max_by_key(|(_, place)| (shared(place), std::cmp::Reverse(place.tokens.len())));
    let at = best.expect("no more jobs are taken than there are free places").0;
    // The last token is always read: its logits are those of the first new one.
    let len = shared(&places[at]).min(prompt.len() - 1);
    session.truncate(at, len);
    let reply = Reply::new(tokenizer, &prompt, manner);
    let running = Running { reply, prompt_len: prompt.len(), events };
    places[at] = Place { tokens: prompt, running: Some(running) };
}

/// Reads the next tokens of all running replies, and draws those that follow.
fn step<E: Reader, M: Model>(
    session: &mut Session<'_, E, M>,
    crew: &Crew,
    places: &mut [Place],
    queue: &Queue,
    first: usize,
) {
    let new = next_pieces(session, places, first);
    let tokens: Vec<(usize, &[usize])> =
        new.iter().map(|(at, range)| (*at, &places[*at].tokens[range.clone()])).collect();
    let logits = session.feed_all(&tokens);
    let vocab = logits.len() / tokens.len();
    drop(tokens);
    let mut read = vec![None; places.len()];
    for ((at, range), logits) in new.into_iter().zip(logits.chunks_exact(vocab)) {
        read[at] = Some((range.end, logits));
    }
    let read = places.iter_mut().zip(read).filter_map(|(place, read)| read.map(|read| (place, read)));
    let parts: Vec<_> = read.map(Mutex::new).collect();
    crew.each(parts.len(), |part| {
        let (place, (end, logits)) = &mut *parts[part].lock().unwrap_or_else(PoisonError::into_inner);
        draw(place, queue, *end, logits);
    });
}

/// Draws the token of a reply that follows the first `end`, if these are all.
fn draw(place: &mut Place, queue: &Queue, end: usize, logits: &[f64]) {
    let Some(running) = place.running.as_mut().filter(|_| end == place.tokens.len()) else { return };
    let (token, piece) = running.reply.next(logits, &place.tokens);
    let heard = piece.is_empty() || running.events.send(Event::Said(piece)).is_ok();
    match running.reply.finish() {
        None if heard => place.tokens.push(token),
        finish => {
            queue.leave();
            if let Some(finish) = finish {
                running.events.send(Event::Ended(finish, running.reply.token_count())).ok(); // nobody may be there
            }
            leave(place, end);
        }
    }
}

/// What is read next: of each reply its last token, and of prompts as much as does not hold up the replies. Of those prompts, the one
/// at `first` comes first.
fn next_pieces<E: Reader, M: Model>(
    session: &Session<'_, E, M>,
    places: &[Place],
    first: usize,
) -> Vec<(usize, Range<usize>)> {
    let writes =
        |place: &Place| place.running.as_ref().is_some_and(|running| place.tokens.len() > running.prompt_len);
    let mut budget = if places.iter().any(writes) { PIECE } else { PIECE_ALONE };
    let mut pieces = Vec::new();
    for at in (first..places.len()).chain(0..first) {
        let place = &places[at];
        if place.running.is_none() {
            continue;
        }
        let read = session.len(at);
        let left = place.tokens.len() - read;
        let count = if writes(place) { left } else { left.min(budget) };
        if count > 0 {
            pieces.push((at, read..read + count));
        }
        if !writes(place) {
            budget -= count;
        }
    }
    pieces
}
