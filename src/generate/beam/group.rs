//! The search for one prompt.

use super::{BeamSearch, Hypothesis, Stopping};
use crate::generate::Finish;

/// The beams that continue one prompt, and what came of others. It reuses its memory from one token to the next.
pub(super) struct Group {
    prompt_len: usize,
    /// How many tokens there may be after the prompt, and how many there are.
    most: usize,
    len: usize,
    /// The most probable first. None when the search has ended.
    beams: Vec<Beam>,
    /// Those that these continue.
    before: Vec<Beam>,
    /// The best continuations of all beams, best first.
    candidates: Vec<Candidate>,
    /// At most as many as the beam is wide, best first.
    hypotheses: Vec<Hypothesis>,
}

/// The beginning of a text.
#[derive(Default)]
struct Beam {
    /// Prompt included.
    tokens: Vec<usize>,
    log_probability: f64,
    /// Which of the beams before it continues.
    parent: usize,
}

/// A beam continued by a token.
#[derive(Clone, Copy)]
struct Candidate {
    beam: usize,
    token: usize,
    log_probability: f64,
}

impl Group {
    /// A search that has not begun, for texts of at most `most` tokens.
    pub fn new(search: &BeamSearch, prompt: &[usize], most: usize) -> Self {
        assert!(!prompt.is_empty(), "BeamSearch: an empty prompt; start with BOS or with some text");
        let mut group = Group {
            prompt_len: prompt.len(),
            most,
            len: 0,
            beams: vec![Beam { tokens: prompt.to_vec(), ..Beam::default() }],
            before: Vec::new(),
            candidates: Vec::new(),
            hypotheses: Vec::new(),
        };
        if most == 0 {
            group.end_all(search);
        }
        group
    }

    /// Whether there are beams to continue.
    pub fn is_running(&self) -> bool {
        !self.beams.is_empty()
    }

    /// Of each beam, the tokens that the model has not read: the prompt at first, then one token.
    pub fn unread(&self) -> impl Iterator<Item = &[usize]> {
        let from = |beam: &Beam| if self.len == 0 { 0 } else { beam.tokens.len() - 1 };
        self.beams.iter().map(move |beam| &beam.tokens[from(beam)..])
    }

    /// Of each beam, which of those before it continues.
    pub fn parents(&self) -> impl Iterator<Item = usize> {
        self.beams.iter().map(|beam| beam.parent)
    }

    /// Continues all beams by a token. For each of them, a row of logits is taken.
    pub fn step<'l>(
        &mut self,
        search: &BeamSearch,
        rows: &mut impl Iterator<Item = &'l [f64]>,
        scores: &mut Vec<f64>,
    ) {
        if !self.is_running() {
            return;
        }
        self.rank(search, rows, scores);
        if self.candidates.is_empty() {
            return self.end_all(search);
        }
        self.len += 1;
        let last = self.len == self.most;
        std::mem::swap(&mut self.beams, &mut self.before);
        let mut running = 0;
        for rank in 0..self.candidates.len() {
            let candidate = self.candidates[rank];
            if last || search.end.contains(&candidate.token) {
                if rank < search.width {
                    self.end(search, candidate, last);
                }
            } else if running < search.width {
                if running == self.beams.len() {
                    self.beams.push(Beam::default());
                }
                let beam = &mut self.beams[running];
                beam.tokens.clone_from(&self.before[candidate.beam].tokens);
                beam.tokens.push(candidate.token);
                beam.log_probability = candidate.log_probability;
                beam.parent = candidate.beam;
                running += 1;
            }
        }
        self.beams.truncate(running);
        if self.is_complete(search) {
            self.beams.clear();
        }
    }

    /// The best hypotheses, best first.
    pub fn into_best(mut self, search: &BeamSearch) -> Vec<Hypothesis> {
        self.hypotheses.truncate(search.hypotheses);
        self.hypotheses
    }

    /// Finds the best candidates.
    fn rank<'l>(
        &mut self,
        search: &BeamSearch,
        rows: &mut impl Iterator<Item = &'l [f64]>,
        scores: &mut Vec<f64>,
    ) {
        self.candidates.clear();
        // Enough for all beams to go on, even if each of them could end in every way.
        let most = search.width.saturating_mul((search.end.len() + 1).max(2));
        let forced_end = search.forced_end.filter(|_| self.len + 1 == self.most);
        for ((at, beam), logits) in self.beams.iter().enumerate().zip(rows) {
            let mut offer = |token, log_probability: f64| {
                let log_probability = beam.log_probability + log_probability;
                let full = self.candidates.len() == most;
                // Neither NaN nor what cannot be.
                let worst = if full { self.candidates[most - 1].log_probability } else { f64::NEG_INFINITY };
                if log_probability > worst {
                    self.candidates.truncate(most - 1);
                    let rank =
                        self.candidates.partition_point(|other| other.log_probability >= log_probability);
                    self.candidates.insert(rank, Candidate { beam: at, token, log_probability });
                }
            };
            if let Some(end) = forced_end {
                offer(end, 0.0);
                continue;
            }
            search.log_probabilities(logits, &beam.tokens, scores);
            scores.iter().enumerate().for_each(|(token, &score)| offer(token, score));
        }
    }

    /// A candidate becomes a hypothesis, because of its token or because that is the last one that is allowed.
    fn end(&mut self, search: &BeamSearch, candidate: Candidate, last: bool) {
        let Candidate { beam, token, log_probability } = candidate;
        let forced = last && search.forced_end.is_some();
        let ends = search.end.contains(&token);
        let before = &self.before[beam].tokens[self.prompt_len..];
        let shown = if ends || forced { None } else { Some(token) };
        self.keep(
            search,
            Hypothesis {
                tokens: before.iter().copied().chain(shown).collect(),
                log_probability,
                score: search.length_penalty.score(log_probability, self.len),
                finish: if ends && !forced { Finish::Stop } else { Finish::Length },
            },
        );
    }

    /// All beams become hypotheses as they are.
    fn end_all(&mut self, search: &BeamSearch) {
        for Beam { mut tokens, log_probability, .. } in std::mem::take(&mut self.beams) {
            let score = search.length_penalty.score(log_probability, self.len);
            let tokens = tokens.split_off(self.prompt_len);
            self.keep(search, Hypothesis { tokens, log_probability, score, finish: Finish::Length });
        }
    }

    /// Keeps a hypothesis in its place, if it is one of the best.
    fn keep(&mut self, search: &BeamSearch, hypothesis: Hypothesis) {
        let rank = self.hypotheses.partition_point(|other| other.score >= hypothesis.score);
        if rank < search.width {
            self.hypotheses.truncate(search.width - 1);
            self.hypotheses.insert(rank, hypothesis);
        }
    }

    /// Whether no beam is worth being continued.
    fn is_complete(&self, search: &BeamSearch) -> bool {
        let (Some(worst), Some(best)) = (self.hypotheses.get(search.width - 1), self.beams.first()) else {
            return false;
        };
        let may_improve = |len| search.length_penalty.score(best.log_probability, len) > worst.score;
        match search.stopping {
            Stopping::First => true,
            Stopping::Likely => !may_improve(self.len),
            Stopping::Certain => !may_improve(self.len) && !may_improve(self.most),
        }
    }
}
