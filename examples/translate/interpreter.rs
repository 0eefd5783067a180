//! A model that translates sentences, and how well it does.

use std::fmt;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use gradus::checkpoint::TrainedModel;
use gradus::data::{Marks, Sequences, clean_sentence};
use gradus::engine::{Pass, Reader, Room, Session};
use gradus::fast::{FastEngine, InferenceEngine, StoredParams};
use gradus::generate::{BeamSearch, LengthPenalty};
use gradus::model::{EncoderDecoder, Model};
use gradus::params::BoundParams;
use gradus::score::{Bleu, ChrF, ExactMatch};
use gradus::tensor::{Memory, Tensor, packed};
use gradus::thread_pool::ThreadPool;
use gradus::tokenizer::{CharTokenizer, Tokenizer};
use support::args::{not_negative, whole};

use crate::recipe::SPECIAL;

/// Sentences that are translated side by side by one thread.
const TOGETHER: usize = 32;

/// How a translation is looked for.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Translation")]
pub struct SearchArgs {
    /// Beginnings of a translation that are followed at once: at most 1000; 1 always takes the likeliest word
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = whole(1..=1000))]
    pub beams: usize,
    /// Show the best N of the translations that the search finds: at most 1000
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = whole(1..=1000))]
    pub best: usize,
    /// By which formula longer translations are favoured
    #[arg(long, value_enum, default_value_t = Penalty::Power)]
    pub penalty: Penalty,
    /// How much: 0 is not at all
    #[arg(long, value_name = "X", default_value_t = 1.0, value_parser = not_negative)]
    pub length_penalty: f64,
}

/// How the log probability of a translation becomes its score.
#[derive(ValueEnum, Clone, Copy, Debug)]
pub enum Penalty {
    /// Divided by length^X
    Power,
    /// Divided by ((5 + length) / 6)^X
    Gnmt,
}

impl SearchArgs {
    /// A search that ends with EOS and never says one of the other special tokens.
    fn search(&self, eos: usize, special: Vec<usize>, context: usize) -> BeamSearch {
        let length_penalty = match self.penalty {
            Penalty::Power => LengthPenalty::Power(self.length_penalty),
            Penalty::Gnmt => LengthPenalty::Gnmt(self.length_penalty),
        };
        BeamSearch {
            width: self.beams,
            length_penalty,
            hypotheses: self.best.min(self.beams),
            max_tokens: Some(context - 1), // which BOS is one of, as in transformers
            end: vec![eos],
            suppress: special,
            ..BeamSearch::default()
        }
    }
}

/// A translation that was found.
#[derive(Clone, Debug)]
pub struct Translation {
    pub text: String,
    pub tokens: Vec<usize>,
    /// The logarithm of its probability with the length penalty.
    pub score: f64,
    /// Whether it is one of several that are shown.
    pub ranked: bool,
}

impl fmt::Display for Translation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.ranked {
            write!(f, "{:7.3}  ", self.score)?;
        }
        f.write_str(&self.text)
    }
}

/// A model with its tokens, ready to translate on engines of the type `E`.
pub struct Interpreter<'a, E: Reader> {
    model: &'a EncoderDecoder,
    params: &'a E::Params,
    tokenizer: &'a dyn Tokenizer,
    marks: Marks,
    threads: ThreadPool,
    /// An engine with so many threads.
    new_engine: fn(usize) -> E,
}

/// The tokens at the ends of sentences: those of a tokenizer that was trained here, or the only mark of one of characters.
pub fn marks_of(tokenizer: &dyn Tokenizer) -> Result<Marks> {
    let named = |name: &str| tokenizer.special(name).or_else(|| tokenizer.special(CharTokenizer::BOS));
    let marks = named(SPECIAL[1]).zip(named(SPECIAL[2])).map(|(bos, eos)| Marks { bos, eos });
    marks.context("the tokenizer has no marks for the ends of sentences: it is not one of this program")
}

/// Some sentences for one thread, and what became of them.
struct Job<'s> {
    sources: &'s [(usize, Vec<usize>)],
    found: Vec<(usize, Vec<Translation>)>,
}

impl<'a> Interpreter<'a, FastEngine> {
    /// A model that is being trained, with its tokenizer.
    pub fn in_training(
        model: &'a EncoderDecoder,
        params: &'a [f32],
        tokenizer: &'a dyn Tokenizer,
        threads: ThreadPool,
    ) -> Result<Self> {
        let new_engine = |_| FastEngine::new(ThreadPool::new(1)); // reading, it has no use for more
        Ok(Interpreter { model, params, tokenizer, marks: marks_of(tokenizer)?, threads, new_engine })
    }
}

impl<'a> Interpreter<'a, InferenceEngine> {
    /// A saved model, with its parameters as they are stored to be read.
    pub fn of(
        saved: &'a TrainedModel<EncoderDecoder, f32>,
        params: &'a StoredParams,
        threads: ThreadPool,
    ) -> Result<Self> {
        let (model, tokenizer, new_engine) = (&saved.model, &*saved.tokenizer, InferenceEngine::new);
        Ok(Interpreter { model, params, tokenizer, marks: marks_of(tokenizer)?, threads, new_engine })
    }
}

impl<E: Reader<Params: Sync>> Interpreter<'_, E> {
    /// The model.
    pub fn model(&self) -> &EncoderDecoder {
        self.model
    }

    /// The tokens of a sentence, which has to fit into the context.
    fn source(&self, sentence: &str) -> Result<Vec<usize>> {
        let tokens = self.marks.source(self.tokenizer, &clean_sentence(sentence));
        let tokens = tokens.with_context(|| format!("{sentence:?} cannot be read"))?;
        let (len, context) = (tokens.len(), self.model.context());
        ensure!(
            len <= context,
            "{sentence:?} has {len} tokens with its end, and the model reads at most {context}"
        );
        Ok(tokens)
    }

    /// The best translations of each sentence. What is found does not depend on the others, nor on threads.
    pub fn translate(&self, sentences: &[&str], args: &SearchArgs) -> Result<Vec<Vec<Translation>>> {
        let mut sources = Vec::new();
        for (at, sentence) in sentences.iter().enumerate() {
            sources.push((at, self.source(sentence)?));
        }
        // Sentences of like length side by side, so that few threads wait for one that is long.
        sources.sort_by_key(|(_, source)| source.len());
        let each = sources.len().div_ceil(self.threads.count()).clamp(1, TOGETHER);
        let mut jobs: Vec<Job<'_>> =
            sources.chunks(each).map(|sources| Job { sources, found: Vec::new() }).collect();
        let eos = self.marks.eos;
        let special =
            SPECIAL.iter().filter_map(|name| self.tokenizer.special(name)).filter(|token| *token != eos);
        let search = args.search(eos, special.collect(), self.model.context());
        // One job has all threads, and of several each has one.
        let threads = if jobs.len() == 1 { self.threads.count() } else { 1 };
        self.threads.for_each(&mut jobs, |job| self.work(job, &search, threads));
        let mut all = vec![Vec::new(); sentences.len()];
        jobs.into_iter().flat_map(|job| job.found).for_each(|(at, found)| all[at] = found);
        Ok(all)
    }

    fn work(&self, job: &mut Job<'_>, search: &BeamSearch, threads: usize) {
        let (count, width) = (job.sources.len(), search.width);
        let source_tokens = job.sources.iter().map(|(_, source)| source.len()).max().unwrap_or(1);
        let room = Room { sequences: count * width, tokens: self.model.context(), source_tokens };
        let mut engine = (self.new_engine)(threads);
        let mut session = Session::new(&mut engine, self.model, self.params, room);
        let first = |at: usize| at * width;
        let sources: Vec<(usize, &[usize])> =
            job.sources.iter().enumerate().map(|(at, (_, source))| (first(at), &source[..])).collect();
        session.read_sources(&sources);
        let bos = [self.marks.bos];
        let found = search.run(&mut session, &vec![&bos[..]; count]);
        for ((at, _), hypotheses) in job.sources.iter().zip(found) {
            let translation = |found: gradus::generate::Hypothesis| Translation {
                text: self.tokenizer.decode(&found.tokens),
                score: found.score,
                tokens: found.tokens,
                ranked: search.hypotheses > 1,
            };
            job.found.push((*at, hypotheses.into_iter().map(translation).collect()));
        }
    }

    /// Translates sentences and compares the results with what people wrote.
    pub fn judge(&self, sentences: &[(&str, Vec<&str>)], args: &SearchArgs) -> Result<Judgement> {
        let start = Instant::now();
        let sources: Vec<&str> = sentences.iter().map(|(source, _)| *source).collect();
        let found = self.translate(&sources, &SearchArgs { best: 1, ..args.clone() })?;
        let (mut bleu, mut chrf, mut exact) = (Bleu::new(), ChrF::new(), ExactMatch::new());
        let mut judgement = Judgement { beams: args.beams, ..Judgement::default() };
        for ((_, references), found) in sentences.iter().zip(found) {
            let best = found.into_iter().next().context("a search finds at least one")?;
            bleu.add(&best.text, references);
            chrf.add(&best.text, references);
            exact.add(&best.text, references);
            judgement.tokens += best.tokens.len() + 1;
            judgement.hypotheses.push(best.text);
        }
        (judgement.bleu, judgement.signature) = (bleu.score(), bleu.signature());
        (judgement.chrf, judgement.exact) = (chrf.score(), exact.score());
        judgement.seconds = start.elapsed().as_secs_f64();
        Ok(judgement)
    }

    /// For a sentence and its translation: their tokens as texts, and for each block of the decoder and each head the attention
    /// that every token of the translation pays to every token of the sentence, row by row.
    pub fn look(&self, sentence: &str, translation: &[usize]) -> Result<Looks> {
        let source = self.source(sentence)?;
        let target: Vec<usize> = [self.marks.bos].iter().chain(translation).copied().collect();
        let config = &self.model.config().decoder;
        let mut heads = Vec::new();
        let mut engine = (self.new_engine)(self.threads.count());
        for layer in 0..config.n_layer {
            for head in 0..config.n_head {
                let look = Look { model: self.model, source: &source, target: &target, layer, head };
                let mut numbers = Vec::new();
                engine.run(self.model.layout(), self.params, look, &mut numbers);
                heads.push((layer, head, numbers));
            }
        }
        let words = |tokens: &[usize]| -> Vec<String> {
            let word = |token: &usize| {
                if *token == self.marks.eos { "end".to_owned() } else { self.tokenizer.decode(&[*token]) }
            };
            tokens.iter().map(word).collect()
        };
        // What each query predicts, not what it has read.
        let predicted: Vec<usize> = target[1..].iter().copied().chain([self.marks.eos]).collect();
        Ok(Looks { source: words(&source), target: words(&predicted), heads })
    }
}

/// Where a translation looks.
pub struct Looks {
    pub source: Vec<String>,
    pub target: Vec<String>,
    /// Of each block and each head.
    pub heads: Vec<(usize, usize, Vec<f64>)>,
}

/// The attention of one head, computed on the engine.
struct Look<'a> {
    model: &'a EncoderDecoder,
    source: &'a [usize],
    target: &'a [usize],
    layer: usize,
    head: usize,
}

impl Pass for Look<'_> {
    fn run<T: Tensor>(self, w: BoundParams<'_, T>, _: &mut dyn Memory<T>) -> T {
        let positions: Vec<usize> = (0..self.source.len().max(self.target.len())).collect();
        let rows = [self.source, self.target].map(|tokens| packed(&[tokens.len()]));
        let [source, target] = [(self.source, &rows[0]), (self.target, &rows[1])].map(|(tokens, rows)| {
            Sequences { tokens, positions: &positions[..tokens.len()], rows, rows_before: 0 }
        });
        self.model.cross_attention(w, source, target, self.layer, self.head)
    }
}

/// How good the translations of some sentences are.
#[derive(Clone, Debug, Default)]
pub struct Judgement {
    pub bleu: f64,
    pub signature: String,
    pub chrf: f64,
    pub exact: f64,
    pub hypotheses: Vec<String>,
    beams: usize,
    tokens: usize,
    seconds: f64,
}

impl fmt::Display for Judgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Judgement { bleu, signature, chrf, exact, beams, tokens, seconds, .. } = self;
        let (count, speed) = (self.hypotheses.len(), *tokens as f64 / seconds);
        let search = if *beams == 1 { "greedy".to_owned() } else { format!("beam {beams}") };
        writeln!(
            f,
            "{count} held-out sentences, {search}: BLEU {bleu:.2} | chrF {chrf:.2} | exact {exact:.1} % | {speed:.0} tokens a second"
        )?;
        write!(f, "  {signature}")
    }
}
