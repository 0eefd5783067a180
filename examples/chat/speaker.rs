//! A model that continues texts.

use std::cell::OnceCell;
use std::path::Path;
use std::slice::from_mut;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, ensure};
use gradus::checkpoint::{EndTokens, GenerationDefaults, LanguageModel};
use gradus::data::{Batch, Tool};
use gradus::engine::{Pass, Reader, Room, Session};
use gradus::fast::{InferenceEngine, StoredParams};
use gradus::gemm::Dtype;
use gradus::generate::{
    self, BeamSearch, CallGuide, CallMarks, CallReader, Continuation, Finish, Said, Sampler, Stop,
    StopStrings, ToolChoice, Vocabulary, advance,
};
use gradus::model::{Decoder, Mode, Model};
use gradus::params::BoundParams;
use gradus::random::Random;
use gradus::tensor::{Memory, Tensor};
use gradus::tokenizer::{TextStream, Tokenizer};
use support::{SamplingArgs, Usage, check_free};

use crate::source::{Source, read_adapter};
use crate::template::Template;

/// A model, ready to continue texts.
pub struct Speaker {
    model: Decoder,
    params: StoredParams,
    tokenizer: Box<dyn Tokenizer>,
    tokens: EndTokens,
    defaults: GenerationDefaults,
    chat_template: Option<String>,
    engine: InferenceEngine,
    /// What its tokens stand for, once a guide has needed it.
    vocabulary: OnceCell<Arc<Vocabulary>>,
    /// Where it came from, to be read again with another adapter.
    source: Source,
    dtype: Dtype,
    threads: usize,
}

/// How a text is to be continued.
#[derive(Clone)]
pub struct Manner {
    pub sampling: SamplingArgs,
    /// The most tokens of a reply.
    pub tokens: usize,
    /// A search with so many beams instead of drawing tokens.
    pub beams: Option<usize>,
    pub seed: u64,
}

/// How a reply may call tools.
#[derive(Clone, Copy)]
pub struct Calls<'a> {
    pub marks: &'a CallMarks,
    pub tools: &'a [Tool],
    pub choice: &'a ToolChoice,
    /// Whether calls are held to their schemas while they are written.
    pub constrained: bool,
}

/// What a model said, and how fast.
pub struct Reply {
    pub text: String,
    /// What it wrote as calls of tools, in order.
    pub calls: Vec<String>,
    pub token_count: usize,
    /// `None` if it was interrupted.
    pub finish: Option<Finish>,
    pub prompt: Pace,
    /// Without the first token, which comes with the prompt; of a search, with the prompt.
    pub reply: Pace,
}

/// Tokens, and the seconds that they took.
#[derive(Clone, Copy, Default)]
pub struct Pace {
    pub tokens: usize,
    pub seconds: f64,
}

impl Speaker {
    /// Reads a model.
    ///
    /// # Errors
    /// If it cannot be read, or has no tokenizer.
    pub fn load(source: &Source, dtype: Dtype, threads: usize) -> Result<Self> {
        let LanguageModel { model, params, tokenizer, tokens, defaults, chat_template } =
            source.read_stored(dtype)?;
        let spec = tokenizer.map_err(|other| anyhow!("{}: {other}", source.path.display()))?;
        let tokenizer = spec.build().with_context(|| source.path.display().to_string())?;
        let engine = InferenceEngine::new(threads);
        let source = source.clone();
        Ok(Speaker {
            model,
            params,
            tokenizer,
            tokens,
            defaults,
            chat_template,
            engine,
            vocabulary: OnceCell::new(),
            source,
            dtype,
            threads,
        })
    }

    /// The same model with another adapter, or without one: it is read again.
    ///
    /// # Errors
    /// If there is no such adapter, or it does not fit. Then nothing changes.
    pub fn swap_adapter(&mut self, adapter: Option<&Path>) -> Result<()> {
        if let Some(folder) = adapter {
            read_adapter(folder, &self.model)?; // what is wrong with it is found out before the model is read
        }
        let source = self.source.clone().with_adapter(adapter);
        *self = Speaker::load(&source, self.dtype, self.threads)?;
        Ok(())
    }

    /// What makes a text of a conversation, if the model has such a template.
    ///
    /// # Errors
    /// If there is one that does not parse.
    pub fn template(&self) -> Result<Option<Template>> {
        let special = self.tokenizer.special_tokens();
        let new =
            |source: &String| Template::new(source, self.tokens.named(&self.tokenizer.spec()), &special);
        Ok(self.chat_template.as_ref().map(new).transpose()?)
    }

    /// What its tokens mean.
    pub fn tokenizer(&self) -> &dyn Tokenizer {
        &*self.tokenizer
    }

    /// The model.
    pub fn model(&self) -> &Decoder {
        &self.model
    }

    /// How its makers would have it write.
    pub fn defaults(&self) -> GenerationDefaults {
        self.defaults
    }

    /// The bytes of its weights in memory.
    pub fn bytes(&self) -> usize {
        self.params.bytes()
    }

    /// The tokens of a prompt, after BOS if the model was trained with it.
    ///
    /// # Errors
    /// If a character is unknown, or if there would be no token.
    pub fn encode(&self, prompt: &str) -> Result<Vec<usize>> {
        let mut tokens: Vec<usize> = self.tokens.bos.filter(|_| self.tokens.add_bos).into_iter().collect();
        tokens.extend(self.tokenizer.encode(prompt)?);
        ensure!(
            !tokens.is_empty(),
            Usage::of("the prompt is empty, and this model has no token to begin with")
        );
        Ok(tokens)
    }

    /// How well the model predicts every token of a batch but the first of each sequence: the losses, in nats.
    pub fn losses(&mut self, batch: &Batch) -> Vec<f64> {
        let Speaker { model, params, engine, .. } = self;
        let mut losses = Vec::new();
        engine.run(model.layout(), params, Predict { model, batch }, &mut losses);
        losses
    }

    /// Continues a prompt. `on_text` gets the reply as it comes, in whole characters; when `go_on` says no, it ends.
    ///
    /// # Errors
    /// If there is not enough memory for what has to be kept of the text.
    pub fn reply(
        &mut self,
        prompt: &[usize],
        manner: &Manner,
        on_text: impl FnMut(&str),
        go_on: impl Fn() -> bool,
    ) -> Result<Reply> {
        self.reply_with_calls(prompt, manner, None, on_text, go_on)
    }

    /// The same for a reply in which tools may be called: `on_text` gets the text around the calls.
    ///
    /// # Errors
    /// Also if the tokenizer cannot write calls of these tools. A search has none: it is an error of the program.
    pub fn reply_with_calls(
        &mut self,
        prompt: &[usize],
        manner: &Manner,
        calls: Option<Calls<'_>>,
        on_text: impl FnMut(&str),
        go_on: impl Fn() -> bool,
    ) -> Result<Reply> {
        let talker = calls.map(|calls| self.talker(prompt, manner, &calls)).transpose()?;
        let sequences = manner.beams.unwrap_or(1);
        let need = prompt.len().saturating_add(manner.tokens).max(1);
        let room = Room { sequences, tokens: need.min(self.model.context()), source_tokens: 0 };
        let config = self.model.config();
        let row = (2 * config.n_layer * config.n_kv_head * config.head_dim() * size_of::<f32>()) as f64;
        let kept = row * room.tokens as f64 * sequences as f64;
        check_free(&format!("a text of {} tokens", room.tokens), kept, "give a smaller --tokens or --beams")?;
        Ok(match manner.beams {
            Some(width) => self.search(prompt, manner, (width, room), on_text),
            None => self.draw(prompt, manner, room, talker, on_text, go_on),
        })
    }

    /// Whether such calls can be written with the tokens of the model.
    ///
    /// # Errors
    /// If not: names what is missing.
    pub fn check_calls(&self, manner: &Manner, calls: &Calls<'_>) -> Result<()> {
        self.talker(&[], manner, calls).map(|_| ())
    }

    /// What follows a reply in which tools may be called.
    fn talker(&self, prompt: &[usize], manner: &Manner, calls: &Calls<'_>) -> Result<Talker> {
        let tokenizer = &*self.tokenizer;
        let vocabulary = self.vocabulary.get_or_init(|| Arc::new(Vocabulary::new(tokenizer)));
        let Calls { marks, tools, choice, constrained } = calls;
        let limits = generate::Reply { ends: self.tokens.eos.clone(), max_tokens: manner.tokens };
        let guide = CallGuide::new(vocabulary, marks, tools, choice, limits)?;
        let reader = CallReader::new(marks, vocabulary, tokenizer, prompt);
        Ok(Talker { guide: constrained.then_some(guide), reader })
    }

    /// Token by token.
    fn draw(
        &mut self,
        prompt: &[usize],
        manner: &Manner,
        room: Room,
        talker: Option<Talker>,
        mut on_text: impl FnMut(&str),
        go_on: impl Fn() -> bool,
    ) -> Reply {
        let (mut guide, mut reader) =
            talker.map_or((None, None), |talker| (talker.guide, Some(talker.reader)));
        let Speaker { model, params, tokenizer, tokens, engine, .. } = self;
        let strings = &manner.sampling.stop;
        let stop = Stop { tokens: tokens.eos.clone(), max_tokens: Some(manner.tokens), ..Stop::default() };
        let suppress = tokens.bos.filter(|bos| !tokens.eos.contains(bos));
        let mut sampler: Sampler = manner.sampling.sampler(suppress);
        let mut random = Random::new(manner.seed);
        let (mut characters, mut watch) =
            (TextStream::after(&**tokenizer, prompt), StopStrings::new(strings));
        let mut session = Session::new(engine, model, params, room);
        let mut new = Continuation::new(prompt, stop);
        let mut pick = |_, logits: &[f64], tokens: &[usize]| match &mut guide {
            Some(guide) => sampler.sample_guided(logits, tokens, &mut random, guide),
            None => sampler.sample(logits, tokens, &mut random),
        };
        let (mut text, mut calls) = (String::new(), Vec::new());
        let mut paces = [Pace::default(); 2];
        let (mut seen, mut stopped, mut interrupted) = (0, false, false);
        let mut start = Instant::now();
        while advance(&mut session, from_mut(&mut new), &mut pick) {
            let is_reply = paces[0].tokens > 0;
            let pace = &mut paces[usize::from(is_reply)];
            pace.tokens += if is_reply { 1 } else { prompt.len() };
            pace.seconds += start.elapsed().as_secs_f64();
            start = Instant::now();
            if let Some(&token) = new.tokens().get(seen) {
                let shown = text.len();
                let piece = match &mut reader {
                    Some(reader) => text_of(reader.push(&**tokenizer, token), &mut calls),
                    None => characters.push(&**tokenizer, token),
                };
                stopped = watch.push(&piece, &mut text);
                on_text(&text[shown..]);
                seen += 1;
            }
            interrupted = !stopped && !go_on();
            if stopped || interrupted {
                new.end(Finish::Stop);
            }
        }
        let shown = text.len();
        if !stopped {
            // No more tokens come, so whatever has waited for them is text as it is.
            let rest = match reader {
                // Of a call that somebody has ended there is nothing to run.
                Some(reader) if interrupted && reader.is_in_call() => String::new(),
                Some(reader) => text_of(reader.finish(), &mut calls),
                None => characters.finish(),
            };
            stopped = watch.push(&rest, &mut text);
            if !stopped {
                text.push_str(&watch.finish());
            }
            on_text(&text[shown..]);
        }
        let finish = if stopped { Some(Finish::Stop) } else { new.finish().filter(|_| !interrupted) };
        let [prompt, reply] = paces;
        Reply { text, calls, token_count: new.tokens().len(), finish, prompt, reply }
    }

    /// By a search, whose text comes all at once.
    fn search(
        &mut self,
        prompt: &[usize],
        manner: &Manner,
        (width, room): (usize, Room),
        mut on_text: impl FnMut(&str),
    ) -> Reply {
        let Speaker { model, params, tokenizer, tokens, engine, .. } = self;
        let repeat = manner.sampling.no_repeat_ngram;
        let search = BeamSearch {
            width,
            max_tokens: Some(manner.tokens),
            end: tokens.eos.clone(),
            no_repeat_ngram: (repeat > 0).then_some(repeat),
            suppress: tokens.bos.into_iter().filter(|bos| !tokens.eos.contains(bos)).collect(),
            ..BeamSearch::default()
        };
        // What does not fit into the context with the text to come is not read.
        let most = model.context().saturating_sub(manner.tokens).max(1);
        let read = &prompt[prompt.len().saturating_sub(most)..];
        let start = Instant::now();
        let mut session = Session::new(engine, model, params, room);
        let found = search.run(&mut session, &[read]).swap_remove(0).swap_remove(0);
        let seconds = start.elapsed().as_secs_f64();
        let mut characters = TextStream::after(&**tokenizer, prompt);
        let mut whole: String =
            found.tokens.iter().map(|&token| characters.push(&**tokenizer, token)).collect();
        whole += &characters.finish();
        let (mut watch, mut text) = (StopStrings::new(&manner.sampling.stop), String::new());
        let stopped = watch.push(&whole, &mut text);
        if !stopped {
            text.push_str(&watch.finish());
        }
        on_text(&text);
        let finish = if stopped { Finish::Stop } else { found.finish };
        let token_count = found.tokens.len();
        let reply = Pace { tokens: token_count, seconds };
        let prompt = Pace { tokens: read.len(), seconds: 0.0 };
        Reply { text, calls: Vec::new(), token_count, finish: Some(finish), prompt, reply }
    }
}

/// What follows a reply in which tools may be called: what holds calls to their schemas, and what takes the reply apart.
struct Talker {
    guide: Option<CallGuide>,
    reader: CallReader,
}

/// The text among some parts of a reply. The calls are put to the others.
fn text_of(said: Vec<Said>, calls: &mut Vec<String>) -> String {
    let text = said.into_iter().filter_map(|said| match said {
        Said::Text(text) => Some(text),
        Said::Call(call) => {
            calls.push(call);
            None
        }
    });
    text.collect()
}

/// Predicting all tokens of a batch, as something that runs on the tensors of any engine.
struct Predict<'a> {
    model: &'a Decoder,
    batch: &'a Batch,
}

impl Pass for Predict<'_> {
    fn run<T: Tensor>(self, w: BoundParams<'_, T>, _: &mut dyn Memory<T>) -> T {
        self.model.losses(w, self.batch, Mode::default())
    }
}

/// The small model that comes with gradus. Chapter 22 says how it was made.
const IN_THE_BOX: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/chat/gradus.gguf");

/// Which model, and how it is read.
#[derive(clap::Args, Clone, Debug)]
pub struct ModelArgs {
    /// The model: a folder or file, of whichever format [default: the small one that comes with gradus]
    #[arg(long, value_name = "PATH", default_value = IN_THE_BOX, hide_default_value = true)]
    model: std::path::PathBuf,
    /// The tokenizer of a checkpoint of llama2.c [default: tokenizer.bin beside it, or the only tok*.bin]
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<std::path::PathBuf>,
    /// A folder with an adapter (LoRA), as `train --use-lora` and peft write it, which is merged into the weights
    #[arg(long, value_name = "DIR")]
    adapter: Option<std::path::PathBuf>,
    /// How weights are stored in memory: f32, bf16 or int8
    #[arg(long, value_name = "TYPE", default_value = "f32", value_parser = dtype)]
    dtype: Dtype,
    /// Threads: at most 1024; 0 is one for each processor
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = support::args::whole(0..=1024))]
    threads: usize,
}

impl ModelArgs {
    /// What is to be read.
    fn source(&self) -> Result<Source> {
        let source = Source::at(&self.model, self.tokenizer.as_deref())?;
        Ok(source.with_adapter(self.adapter.as_deref()))
    }

    /// The model as it is in its file, an adapter merged into it.
    pub fn read(&self) -> Result<LanguageModel> {
        self.source()?.read()
    }

    /// The model, read.
    pub fn load(&self) -> Result<Speaker> {
        Speaker::load(&self.source()?, self.dtype, self.threads)
    }

    /// The folder with the adapter, if there is one.
    pub fn adapter(&self) -> Option<&Path> {
        self.adapter.as_deref()
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.model
    }

    /// How many threads compute; 0 is one for each processor.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// How its weights are stored in memory.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }
}

fn dtype(name: &str) -> Result<Dtype, String> {
    name.parse().map_err(|_| "it must be f32, bf16 or int8".to_owned())
}
