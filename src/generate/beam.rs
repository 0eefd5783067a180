//! Beam search: the likeliest text is not made of the likeliest tokens, so several beginnings are followed at once.

mod group;

use smallvec::SmallVec;

use super::{Finish, strategy};
use crate::engine::{Reader, Room, Session};
use crate::model::Model;
use group::Group;

/// How the log probability of a text becomes its score. Each token makes a text less likely, so without a penalty the shortest
/// would win.
///
/// The end token counts as one of the `len` tokens; the prompt does not.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LengthPenalty {
    /// Divide by `len^alpha`. With 1 it is the mean over the tokens, with 0 there is no penalty. So do transformers
    /// (`length_penalty`) and fairseq (`--lenpen`).
    Power(f64),
    /// Divide by `((5 + len) / 6)^alpha` (Wu et al. 2016, Google's neural machine translation, equation 14).
    Gnmt(f64),
}

impl LengthPenalty {
    /// The score of a text of `len` tokens. An empty one counts as one token.
    pub fn score(self, log_probability: f64, len: usize) -> f64 {
        let len = len.max(1) as f64;
        log_probability
            / match self {
                LengthPenalty::Power(alpha) => len.powf(alpha),
                LengthPenalty::Gnmt(alpha) => ((5.0 + len) / 6.0).powf(alpha),
            }
    }
}

/// When a search ends. Never before as many hypotheses have ended as the beam is wide, except at the maximum.
///
/// From then on, one that ends takes the place of a worse one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopping {
    /// At once. (In transformers, `early_stopping=True`.)
    First,
    /// When the likeliest beginning would not score more than the worst of them if it were complete as it is. With a penalty that
    /// favours long texts, it might still have become better. (`early_stopping=False`, the default there and here.)
    Likely,
    /// When no beginning can become better than the worst of them, at whatever length. (`early_stopping="never"`.)
    Certain,
}

/// Beam search: what to look for.
///
/// A *beam* is the beginning of a text. In each step every beam is continued by every token, and the most probable of these
/// candidates are ranked: `width` for each end token and `width` more, at least twice the width. Those of them that end with an
/// end token and are among the first `width` become hypotheses; the first `width` of those that do not end are the next
/// beams. With the last token allowed by the maximum, all of the first `width` become hypotheses. These rules, like those of
/// [`LengthPenalty`] and [`Stopping`], are those of transformers 5 (`generate` with `num_beams`, and `renormalize_logits=True`,
/// which the configurations of Marian's models set). Of equal candidates the one of the better beam comes first, then the
/// smaller token; of hypotheses with equal scores, the one that ended first.
///
/// Four words, of which `.` also stands for the beginning and the end. The rows say how probable each is after another:
///
/// | after | `.` | dogs | cats | sleep |
/// |---|---:|---:|---:|---:|
/// | `.` | 0.05 | **0.50** | 0.40 | 0.05 |
/// | dogs | 0.25 | 0.20 | 0.25 | **0.30** |
/// | cats | 0.05 | 0.025 | 0.025 | **0.90** |
/// | sleep | **0.90** | 0.04 | 0.03 | 0.03 |
///
/// The likeliest word each time leads to "dogs sleep.", with a probability of 0.50 · 0.30 · 0.90 = 0.135. Two beams keep "dogs"
/// (0.50) and "cats" (0.40), then "cats sleep" (0.36) and "dogs sleep" (0.15), and find "cats sleep.": 0.40 · 0.90 · 0.90 = 0.324.
///
/// ```
/// use gradus::data::{Batch, Sequences};
/// use gradus::generate::{BeamSearch, Sampler, Sampling, Stop, generate};
/// use gradus::model::{Cache, Mode, Model};
/// use gradus::params::{BoundParams, Init, Layout, Param, ParamSpec};
/// use gradus::random::Random;
/// use gradus::scalar::ScalarEngine;
/// use gradus::tensor::Tensor;
///
/// /// Predicts a token from the one before it, by a table of logits.
/// struct Bigram {
///     layout: Layout,
///     table: Param,
/// }
///
/// impl Model for Bigram {
///     fn layout(&self) -> &Layout {
///         &self.layout
///     }
///     fn losses<T: Tensor>(&self, w: BoundParams<'_, T>, batch: &Batch, mode: Mode) -> T {
///         w[self.table].gather_rows(batch.sequences().tokens).cross_entropy(batch.targets(), mode.smoothing)
///     }
///     fn decode<T: Tensor>(&self, w: BoundParams<'_, T>, new: Sequences<'_>, _: &mut Cache<'_, T>) -> T {
///         let last: Vec<usize> = new.rows.iter().map(|rows| new.tokens[rows.end - 1]).collect();
///         w[self.table].gather_rows(&last)
///     }
///     fn vocab_size(&self) -> usize {
///         4
///     }
///     fn context(&self) -> usize {
///         10
///     }
/// }
///
/// let mut layout = Layout::default();
/// let table = layout.add(ParamSpec::embedding("table", 4, 4, Init::Constant(0.0)));
/// let model = Bigram { layout, table };
/// let params: [f64; 16] = [
///     0.05, 0.50, 0.40, 0.05, //
///     0.25, 0.20, 0.25, 0.30, //
///     0.05, 0.025, 0.025, 0.90, //
///     0.90, 0.04, 0.03, 0.03,
/// ].map(f64::ln);
/// let (end, dogs, cats, sleep) = (0, 1, 2, 3);
/// let mut engine = ScalarEngine::new();
///
/// let mut greedy = Sampler::new(Sampling { temperature: 0.0, ..Sampling::default() });
/// let stop = Stop::at(end);
/// let text = generate(&mut engine, &model, &params, &[end], &stop, &mut greedy, &mut Random::new(1));
/// assert_eq!(text, [dogs, sleep]);
///
/// let search = BeamSearch { width: 2, hypotheses: 2, end: vec![end], ..BeamSearch::default() };
/// let found = search.run_one(&mut engine, &model, &params, &[end]);
/// assert_eq!(found[0].tokens, [cats, sleep]);
/// assert!((found[0].log_probability - 0.324_f64.ln()).abs() < 1e-12);
/// assert_eq!(found[0].score, found[0].log_probability / 3.0);
/// assert_eq!(found[1].tokens, [dogs, sleep]);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct BeamSearch {
    /// How many beams there are, at most.
    pub width: usize,
    /// How log probabilities and lengths become scores.
    pub length_penalty: LengthPenalty,
    /// When the search ends.
    pub stopping: Stopping,
    /// After how many tokens a text ends, the end token counted. Without a maximum, when the room of the session is full; a
    /// maximum beyond that has the same effect.
    pub max_tokens: Option<usize>,
    /// How many hypotheses to return, the best ones. There are never more than `width`, and fewer where no more are possible.
    pub hypotheses: usize,
    /// The tokens that end a text. With several, two hypotheses may differ only in their end.
    pub end: Vec<usize>,
    /// The only token that can be the last at the maximum, where it has probability 1 (in transformers, `forced_eos_token_id`).
    pub forced_end: Option<usize>,
    /// No run of this many tokens comes twice, prompt included ([`strategy::no_repeat_ngram`]).
    pub no_repeat_ngram: Option<usize>,
    /// Tokens that never come. The others share their probability.
    pub suppress: Vec<usize>,
}

/// By default, 4 beams, the mean over the tokens, [`Stopping::Likely`], one hypothesis, and nothing else.
impl Default for BeamSearch {
    fn default() -> Self {
        BeamSearch {
            width: 4,
            length_penalty: LengthPenalty::Power(1.0),
            stopping: Stopping::Likely,
            max_tokens: None,
            hypotheses: 1,
            end: Vec::new(),
            forced_end: None,
            no_repeat_ngram: None,
            suppress: Vec::new(),
        }
    }
}

/// A text that a search has found.
#[derive(Clone, Debug, PartialEq)]
pub struct Hypothesis {
    /// Its tokens, without the prompt and without an end token.
    pub tokens: Vec<usize>,
    /// The logarithm of its probability, that of the end token included.
    pub log_probability: f64,
    /// What the [`LengthPenalty`] makes of it. Greater is better.
    pub score: f64,
    /// [`Finish::Stop`] if an end token came, [`Finish::Length`] if the maximum did. The latter, too, if nothing could follow
    /// any of the beams, because everything was forbidden or the logits were not finite.
    pub finish: Finish,
}

impl BeamSearch {
    /// Searches for the best continuations of several prompts at once. Returns the hypotheses of each, best first.
    ///
    /// The beams of prompt `g` are the sequences from `g * width` on. The prompt is read into the first of them, after what it
    /// may have read already; the others continue it. Sequences beyond those of all prompts stay as they are.
    ///
    /// Where the prompt leaves no room for a token, there is one hypothesis, which is empty.
    ///
    /// What is found for a prompt does not depend on the others. On the fast engine, that is so to the last bit as long as there
    /// are several: a single row is multiplied in another order ([`gemm`](crate::gemm)).
    ///
    /// # Panics
    /// If the width is 0, if a prompt is empty, or if there are fewer than `width` sequences for each prompt.
    pub fn run<E: Reader, M: Model>(
        &self,
        session: &mut Session<'_, E, M>,
        prompts: &[&[usize]],
    ) -> Vec<Vec<Hypothesis>> {
        let (width, room) = (self.width, session.room());
        assert!(width > 0, "BeamSearch: a width of 0");
        assert!(
            prompts.len() <= room.sequences / width,
            "BeamSearch: {} prompts with {width} beams each in a session of {} sequences",
            prompts.len(),
            room.sequences
        );
        let group = |(at, prompt): (usize, &&[usize])| {
            // The last token need not be read, so it takes no room.
            let most = (room.tokens + 1).saturating_sub(session.len(at * width) + prompt.len());
            Group::new(self, prompt, self.max_tokens.map_or(most, |max| most.min(max)))
        };
        let mut groups: Vec<Group> = prompts.iter().enumerate().map(group).collect();
        let (mut parents, mut scores) = (Vec::new(), Vec::new());
        // ANCHOR: beam
        while groups.iter().any(Group::is_running) {
            let new: SmallVec<[(usize, &[usize]); 16]> = groups
                .iter()
                .enumerate()
                .flat_map(|(at, group)| (at * width..).zip(group.unread()))
                .collect();
            let logits = session.feed_all(&new);
            let vocab = logits.len() / new.len();
            drop(new);
            let mut rows = logits.chunks_exact(vocab);
            groups.iter_mut().for_each(|group| group.step(self, &mut rows, &mut scores));
            parents.clear();
            parents.extend(0..room.sequences);
            for (at, group) in groups.iter().enumerate() {
                let first = at * width;
                parents[first..].iter_mut().zip(group.parents()).for_each(|(at, beam)| *at = first + beam);
            }
            session.reorder(&parents);
        }
        // ANCHOR_END: beam
        groups.into_iter().map(|group| group.into_best(self)).collect()
    }

    /// Searches for the best continuations of a single prompt, best first.
    ///
    /// # Panics
    /// As [`run`](Self::run).
    pub fn run_one<E: Reader, M: Model>(
        &self,
        engine: &mut E,
        model: &M,
        params: &E::Params,
        prompt: &[usize],
    ) -> Vec<Hypothesis> {
        let need = prompt.len().saturating_add(self.max_tokens.unwrap_or(usize::MAX));
        let room = Room { sequences: self.width, tokens: model.context().min(need), source_tokens: 0 };
        let mut session = Session::new(engine, model, params, room);
        self.run(&mut session, &[prompt]).swap_remove(0)
    }

    /// The log probabilities of all tokens that may follow some others.
    fn log_probabilities(&self, logits: &[f64], tokens: &[usize], scores: &mut Vec<f64>) {
        scores.clear();
        scores.extend_from_slice(logits);
        if let Some(n) = self.no_repeat_ngram {
            strategy::no_repeat_ngram(scores, tokens, n);
        }
        for &token in self.suppress.iter().filter(|&&token| token < logits.len()) {
            strategy::suppress(scores, token);
        }
        strategy::log_softmax(scores);
    }
}
