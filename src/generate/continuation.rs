//! The loop: the model reads, a token is drawn, and again, for one text or for many side by side.

use smallvec::SmallVec;

use super::{Finish, Stop};
use crate::engine::{Reader, Room, Session};
use crate::model::Model;

/// A prompt, and the tokens that were written after it.
#[derive(Clone, Debug)]
pub struct Continuation {
    /// The prompt and the new tokens.
    tokens: Vec<usize>,
    prompt_len: usize,
    /// Of these tokens, the sequence of the session has read those from `start` up to `read`.
    start: usize,
    read: usize,
    stop: Stop,
    finish: Option<Finish>,
}

impl Continuation {
    /// A prompt that nothing was written after yet. The strings of `stop` are not looked for: that takes a tokenizer, as
    /// [`generate_text`](super::generate_text) has one.
    ///
    /// # Panics
    /// If the prompt is empty.
    pub fn new(prompt: &[usize], stop: Stop) -> Self {
        assert!(!prompt.is_empty(), "generate: an empty prompt; start with BOS or with some text");
        let finish = (stop.max_tokens == Some(0)).then_some(Finish::Length);
        Continuation { tokens: prompt.to_vec(), prompt_len: prompt.len(), start: 0, read: 0, stop, finish }
    }

    /// The new tokens, without the prompt and without a stop token.
    pub fn tokens(&self) -> &[usize] {
        &self.tokens[self.prompt_len..]
    }

    /// Why it ended, if it did.
    pub fn finish(&self) -> Option<Finish> {
        self.finish
    }

    /// Ends it, for a reason that lies outside of its tokens.
    pub fn end(&mut self, finish: Finish) {
        self.finish = Some(finish);
    }

    /// Before it is read on: where it begins, or where the context is full, the sequence is emptied. In the second case, the last
    /// half of the context is to be read again.
    fn prepare<E: Reader, M: Model>(&mut self, session: &mut Session<'_, E, M>, sequence: usize) {
        let context = session.room().tokens;
        if self.read == 0 || self.read - self.start == context {
            let len = self.tokens.len();
            self.start = len - if len < context { len } else { context.div_ceil(2) };
            self.read = self.start;
            session.truncate(sequence, 0);
        }
    }

    /// The model has read all tokens, and this one was drawn.
    fn push(&mut self, token: usize, context: usize) {
        self.read = self.tokens.len();
        if self.stop.tokens.contains(&token) {
            self.finish = Some(Finish::Stop);
            return;
        }
        self.tokens.push(token);
        let complete = match self.stop.max_tokens {
            Some(most) => self.tokens().len() == most,
            None => self.read - self.start == context,
        };
        if complete {
            self.finish = Some(Finish::Length);
        }
    }
}

/// Continues each text that has not ended by a token: `texts[i]` in sequence `i` of a session, which is emptied for its prompt.
/// `draw` gets the number of a text, the logits, and its tokens so far, prompt included, and returns the next one; texts may
/// share a strategy, or have a [`Sampler`](super::Sampler) each. Texts that ended cost nothing. Returns whether there was one
/// left to continue.
///
/// A text that has ended can be replaced by a new one at any time, as a server does.
///
/// ```
/// use gradus::engine::{Room, Session};
/// use gradus::generate::{Continuation, Stop, advance, strategy};
/// # use gradus::model::{Decoder, DecoderConfig, Model};
/// # let model = Decoder::new(DecoderConfig::microgpt(27))?;
/// # let params = model.layout().initial(&mut gradus::random::Random::new(1));
/// # let mut engine = gradus::scalar::ScalarEngine::new();
/// let mut texts = [Continuation::new(&[0], Stop::after(3)), Continuation::new(&[0, 5, 1], Stop::at(0))];
/// let mut session = Session::new(&mut engine, &model, &params, Room { sequences: 2, tokens: 16, source_tokens: 0 });
/// while advance(&mut session, &mut texts, |_, logits, _| strategy::greedy(logits)) {}
/// assert_eq!(texts[0].tokens().len(), 3);
/// assert!(texts.iter().all(|text| text.finish().is_some()));
/// # Ok::<(), gradus::model::ConfigError>(())
/// ```
///
/// # Panics
/// If there are more texts than sequences.
pub fn advance<E: Reader, M: Model>(
    session: &mut Session<'_, E, M>,
    texts: &mut [Continuation],
    mut draw: impl FnMut(usize, &[f64], &[usize]) -> usize,
) -> bool {
    let Room { sequences, tokens: context, .. } = session.room();
    assert!(texts.len() <= sequences, "advance: {} texts in a session of {sequences}", texts.len());
    let unfinished = |(_, text): &(usize, &mut Continuation)| text.finish.is_none();
    texts.iter_mut().enumerate().filter(unfinished).for_each(|(at, text)| text.prepare(session, at));
    let running = texts.iter().enumerate().filter(|(_, text)| text.finish.is_none());
    let new: SmallVec<[(usize, &[usize]); 16]> =
        running.map(|(at, text)| (at, &text.tokens[text.read..])).collect();
    if new.is_empty() {
        return false;
    }
    let logits = session.feed_all(&new);
    let vocab = logits.len() / new.len();
    drop(new);
    let rows = logits.chunks_exact(vocab);
    for ((at, text), logits) in texts.iter_mut().enumerate().filter(unfinished).zip(rows) {
        let token = draw(at, logits, &text.tokens);
        text.push(token, context);
    }
    true
}
