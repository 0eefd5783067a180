//! A reply while it is written: from logits to a token, and from tokens to the text, the probabilities and the tool calls that a
//! client gets.
//!
//! All of it depends on the request alone: each reply has a sampler and random numbers of its own.

use std::collections::VecDeque;

use gradus::data::parse_call;
use gradus::generate::{CallGuide, CallReader, Said, Sampler, Sampling, StopStrings};
use gradus::random::Random;
use gradus::tokenizer::{TextStream, Tokenizer};

pub use super::call_text::CallPart;
use super::call_text::CallText;

/// How a reply is to be written.
#[derive(Clone, Debug)]
pub struct Manner {
    pub sampling: Sampling,
    pub seed: u64,
    /// It ends before any of these.
    pub stop: Vec<String>,
    /// It ends with any of these tokens.
    pub ends: Vec<usize>,
    /// These are never drawn: special tokens that have no place in a reply.
    pub banned: Vec<usize>,
    /// At least 1.
    pub max_tokens: usize,
    pub form: Form,
    /// With the probability of each token, and so many alternatives.
    pub logprobs: Option<usize>,
}

/// What may be written.
#[derive(Clone, Debug)]
pub enum Form {
    Text,
    /// Text, and calls of tools after it.
    Calls(Box<Calls>),
    /// JSON of a schema.
    Value(Box<CallGuide>),
}

/// How calls are held to their schemas, and found in what was written.
#[derive(Clone, Debug)]
pub struct Calls {
    pub guide: CallGuide,
    pub reader: CallReader,
    /// Whether the reply ends after the first call.
    pub only_one: bool,
}

/// Why a reply ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    Stop,
    Length,
    ToolCalls,
}

impl Finish {
    /// What the API calls it.
    pub fn name(self) -> &'static str {
        match self {
            Finish::Stop => "stop",
            Finish::Length => "length",
            Finish::ToolCalls => "tool_calls",
        }
    }
}

/// A token with its probability under the model, before temperature and the like.
#[derive(Clone, Debug)]
pub struct Scored {
    pub token: usize,
    pub logprob: f64,
    /// The likeliest tokens, best first.
    pub top: Vec<(usize, f64)>,
    /// How many characters of the reply come before it.
    pub start: usize,
}

/// What one more token adds to what a client has.
#[derive(Clone, Debug, Default)]
pub struct Piece {
    pub text: String,
    pub scored: Vec<Scored>,
    /// They come after the text.
    pub calls: Vec<CallPart>,
}

impl Piece {
    pub fn is_empty(&self) -> bool {
        self.text.is_empty() && self.scored.is_empty() && self.calls.is_empty()
    }

    /// With what was said after it.
    pub fn append(&mut self, next: Piece) {
        self.text += &next.text;
        self.scored.extend(next.scored);
        self.calls.extend(next.calls);
    }
}

/// A reply while it is written.
pub struct Reply<'t> {
    tokenizer: &'t dyn Tokenizer,
    manner: Manner,
    sampler: Sampler,
    random: Random,
    /// The logits without those of banned tokens.
    allowed: Vec<f64>,
    /// A text in the middle of which nothing was said yet.
    fresh: TextStream,
    characters: TextStream,
    watch: StopStrings<'static>,
    /// Bytes of text that tokens have become, and how many of them the client may have.
    decoded: usize,
    shown: usize,
    /// In characters.
    chars: usize,
    /// Tokens whose text is held back, since it may belong to a stop string; each with where its text ends.
    held: VecDeque<(usize, Scored)>,
    /// A call that is not complete.
    call: Option<CallText>,
    call_count: usize,
    token_count: usize,
    finish: Option<Finish>,
}

impl<'t> Reply<'t> {
    /// A reply to a prompt, which has not begun.
    pub fn new(tokenizer: &'t dyn Tokenizer, prompt: &[usize], manner: Manner) -> Self {
        let fresh = TextStream::after(tokenizer, prompt);
        Reply {
            tokenizer,
            sampler: Sampler::new(manner.sampling),
            random: Random::new(manner.seed),
            allowed: Vec::new(),
            characters: fresh.clone(),
            fresh,
            watch: StopStrings::new(manner.stop.clone()),
            decoded: 0,
            shown: 0,
            chars: 0,
            held: VecDeque::new(),
            call: None,
            call_count: 0,
            token_count: 0,
            finish: None,
            manner,
        }
    }

    /// Why it ended, if it did.
    pub fn finish(&self) -> Option<Finish> {
        self.finish
    }

    /// How many tokens were drawn, without one that ended it.
    pub fn token_count(&self) -> usize {
        self.token_count
    }

    /// Draws the next token, given the logits and all tokens so far.
    pub fn next(&mut self, logits: &[f64], tokens: &[usize]) -> (usize, Piece) {
        self.allowed.clear();
        self.allowed.extend_from_slice(logits);
        self.manner.banned.iter().for_each(|&token| self.allowed[token] = f64::NEG_INFINITY);
        let (allowed, random) = (&self.allowed, &mut self.random);
        let token = match &mut self.manner.form {
            Form::Text => self.sampler.sample(allowed, tokens, random),
            Form::Calls(calls) => self.sampler.sample_guided(allowed, tokens, random, &mut calls.guide),
            Form::Value(guide) => self.sampler.sample_guided(allowed, tokens, random, guide),
        };
        let mut piece = Piece::default();
        if self.manner.ends.contains(&token) {
            self.end(Finish::Stop, &mut piece);
            return (token, piece);
        }
        self.token_count += 1;
        if self.call.is_none()
            && let Some(count) = self.manner.logprobs
        {
            self.held.push_back((0, scored(logits, token, count, self.chars)));
        }
        match &mut self.manner.form {
            Form::Calls(calls) => {
                let said = calls.reader.push(self.tokenizer, token);
                self.hear(said, &mut piece);
                self.follow_call(&mut piece);
            }
            Form::Text | Form::Value(_) => {
                let text = self.characters.push(self.tokenizer, token);
                self.say(&text, &mut piece);
            }
        }
        if self.finish.is_none() && self.token_count >= self.manner.max_tokens {
            self.end(Finish::Length, &mut piece);
        }
        (token, piece)
    }

    /// Parts of the reply that are complete.
    fn hear(&mut self, said: Vec<Said>, piece: &mut Piece) {
        for part in said {
            match part {
                _ if self.finish.is_some() => return,
                Said::Text(text) => self.say(&text, piece),
                Said::Call(text) => self.close_call(&text, piece),
            }
        }
    }

    /// A call that is being written.
    fn follow_call(&mut self, piece: &mut Piece) {
        let Form::Calls(calls) = &self.manner.form else { return };
        let Some(begun) = calls.reader.begun().map(str::to_owned) else { return };
        if self.call.is_none() && self.finish.is_none() {
            self.held.pop_back(); // what begins a call is no text
            self.flush(piece);
            self.call = Some(CallText::default());
        }
        if let Some(call) = self.call.as_mut().filter(|_| self.finish.is_none()) {
            call.more(&begun, &mut piece.calls);
        }
    }

    /// More text, of which the client gets what can belong to no stop string.
    fn say(&mut self, text: &str, piece: &mut Piece) {
        self.decoded += text.len();
        self.chars += text.chars().count();
        if let Some((end, _)) = self.held.back_mut() {
            *end = self.decoded;
        }
        let before = piece.text.len();
        let stopped = self.watch.push(text, &mut piece.text);
        self.shown += piece.text.len() - before;
        self.release(piece);
        if stopped {
            self.held.clear();
            self.finish = Some(self.stopped());
        }
    }

    /// The probabilities of tokens whose text the client has.
    fn release(&mut self, piece: &mut Piece) {
        while self.held.front().is_some_and(|(end, _)| *end <= self.shown) {
            piece.scored.extend(self.held.pop_front().map(|(_, scored)| scored));
        }
    }

    /// No more text follows for now: what was held back is text as it is.
    fn flush(&mut self, piece: &mut Piece) {
        let rest = std::mem::replace(&mut self.characters, self.fresh.clone()).finish();
        self.say(&rest, piece);
        let watch = std::mem::replace(&mut self.watch, StopStrings::new(self.manner.stop.clone()));
        if self.finish.is_none() {
            piece.text += &watch.finish();
            self.shown = self.decoded;
            self.release(piece);
        }
    }

    /// The call is complete. What is none is text: so the client sees what the model has said.
    fn close_call(&mut self, text: &str, piece: &mut Piece) {
        if self.call.is_none() {
            self.flush(piece);
            if self.finish.is_some() {
                return;
            }
        }
        let mut call = self.call.take().unwrap_or_default();
        call.more(text, &mut piece.calls);
        if !call.has_begun() {
            match parse_call(text) {
                Ok(call) => {
                    piece.calls.push(CallPart::Name(call.name));
                    piece.calls.push(CallPart::Arguments(call.arguments.to_string()));
                }
                Err(_) => return self.say(text, piece),
            }
        }
        self.call_count += 1;
        if matches!(&self.manner.form, Form::Calls(calls) if calls.only_one) {
            self.finish = Some(Finish::ToolCalls);
        }
    }

    fn end(&mut self, finish: Finish, piece: &mut Piece) {
        if let Form::Calls(calls) = std::mem::replace(&mut self.manner.form, Form::Text) {
            self.hear(calls.reader.finish(), piece);
        }
        if self.finish.is_none() {
            self.flush(piece);
        }
        if self.finish.is_none() {
            self.finish = Some(if finish == Finish::Stop { self.stopped() } else { finish });
        }
    }

    /// Why a reply ended that ended by itself.
    fn stopped(&self) -> Finish {
        if self.call_count > 0 { Finish::ToolCalls } else { Finish::Stop }
    }
}

/// The probabilities of a token and of the `count` likeliest ones.
fn scored(logits: &[f64], token: usize, count: usize, start: usize) -> Scored {
    let max = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let log_sum = max + logits.iter().map(|x| (x - max).exp()).sum::<f64>().ln();
    let mut order: Vec<usize> = (0..logits.len()).collect();
    let best = |a: &usize, b: &usize| logits[*b].total_cmp(&logits[*a]).then(a.cmp(b));
    if count < order.len() {
        order.select_nth_unstable_by(count, best);
        order.truncate(count);
    }
    order.sort_unstable_by(best);
    let top = order.into_iter().map(|token| (token, logits[token] - log_sum)).collect();
    Scored { token, logprob: logits[token] - log_sum, top, start }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gradus::data::Tool;
    use gradus::generate::{CallMarks, ToolChoice, Vocabulary};
    use gradus::tokenizer::{BpeTokenizer, BpeTrainer};
    use std::sync::Arc;

    fn tokenizer() -> BpeTokenizer {
        let special_tokens = ["<s>", "</assistant>", "<tool>", "</tool>"].map(str::to_owned).to_vec();
        let trainer =
            BpeTrainer { vocab_size: 300, min_frequency: 1, special_tokens, ..BpeTrainer::default() };
        trainer.train(&["a b c \"name\": \"arguments\": {}"]).expect("a tokenizer")
    }

    fn manner(tokenizer: &BpeTokenizer) -> Manner {
        let special = |name| tokenizer.special(name).expect("a special token");
        Manner {
            sampling: Sampling { temperature: 0.0, ..Sampling::default() },
            seed: 1,
            stop: Vec::new(),
            ends: vec![special("</assistant>")],
            banned: vec![special("<s>")],
            max_tokens: 1000,
            form: calls(tokenizer, &ToolChoice::Auto, 1000, false),
            logprobs: None,
        }
    }

    /// Calls of a tool that takes any arguments.
    fn calls(tokenizer: &BpeTokenizer, choice: &ToolChoice, max_tokens: usize, only_one: bool) -> Form {
        let marks = CallMarks::new("<tool>", "</tool>");
        let parameters = r#"{"type": "object"}"#.parse().expect("JSON");
        let tool = Tool { name: "add".to_owned(), description: String::new(), parameters };
        let vocabulary = Arc::new(Vocabulary::new(tokenizer));
        let ends = tokenizer.special("</assistant>").into_iter().collect();
        let reply = gradus::generate::Reply { ends, max_tokens };
        let guide = CallGuide::new(&vocabulary, &marks, &[tool], choice, reply).expect("a guide");
        let reader = CallReader::new(&marks, &vocabulary, tokenizer, &[0]);
        Form::Calls(Box::new(Calls { guide, reader, only_one }))
    }

    /// Lets a reply draw these tokens. Returns all that it said, and how it ended.
    fn write(tokenizer: &BpeTokenizer, manner: Manner, said: &str) -> (Piece, Option<Finish>) {
        let mut tokens = Vec::new();
        let mut rest = said;
        while !rest.is_empty() {
            let special =
                tokenizer.special_tokens().into_iter().find(|(name, _)| rest.starts_with(name.as_str()));
            let length = special
                .as_ref()
                .map_or_else(|| rest[1..].find('<').map_or(rest.len(), |at| at + 1), |(name, _)| name.len());
            match special {
                Some((_, token)) => tokens.push(token),
                None => tokens.extend(tokenizer.encode(&rest[..length]).expect("any text")),
            }
            rest = &rest[length..];
        }
        let mut reply = Reply::new(tokenizer, &[0], manner);
        let mut all = Piece::default();
        for token in tokens {
            let mut logits = vec![0.0; tokenizer.vocab_size()];
            logits[token] = 9.0;
            let (drawn, piece) = reply.next(&logits, &[]);
            assert_eq!(drawn, token);
            all.append(piece);
            if reply.finish().is_some() {
                break;
            }
        }
        (all, reply.finish())
    }

    #[test]
    fn a_call_is_taken_out_of_the_text() {
        let tokenizer = tokenizer();
        let said = r#"Wait. <tool>{"name": "add", "arguments": {"b": 2, "a": "é"}}</tool></assistant>"#;
        let (piece, finish) = write(&tokenizer, manner(&tokenizer), said);
        assert_eq!(piece.text, "Wait. ");
        assert_eq!(piece.calls[0], CallPart::Name("add".to_owned()));
        assert!(piece.calls.len() > 3, "the arguments come in pieces: {:?}", piece.calls);
        assert_eq!(arguments(&piece.calls[1..]), r#"{"b": 2, "a": "é"}"#);
        assert_eq!(finish, Some(Finish::ToolCalls));
    }

    fn arguments(parts: &[CallPart]) -> String {
        let text = |part: &CallPart| match part {
            CallPart::Arguments(text) => text.clone(),
            CallPart::Name(name) => format!("[{name}]"),
        };
        parts.iter().map(text).collect()
    }

    #[test]
    fn a_reply_may_have_several_calls_or_be_limited_to_one() {
        let tokenizer = tokenizer();
        let call = r#"<tool>{"name": "add", "arguments": {}}</tool>"#;
        let said = format!("{call}{call}</assistant>");
        let mut manner = manner(&tokenizer);
        let (piece, finish) = write(&tokenizer, manner.clone(), &said);
        assert_eq!((arguments(&piece.calls).as_str(), finish), ("[add]{}[add]{}", Some(Finish::ToolCalls)));
        manner.form = calls(&tokenizer, &ToolChoice::Auto, 1000, true);
        let (piece, finish) = write(&tokenizer, manner, &said);
        assert_eq!((arguments(&piece.calls).as_str(), finish), ("[add]{}", Some(Finish::ToolCalls)));
    }

    #[test]
    fn a_call_that_is_cut_off_before_its_name_is_text() {
        let tokenizer = tokenizer();
        let form = calls(&tokenizer, &ToolChoice::Required, 5, true);
        let mut reply = Reply::new(&tokenizer, &[0], Manner { max_tokens: 5, form, ..manner(&tokenizer) });
        let mut all = Piece::default();
        while reply.finish().is_none() {
            all.append(reply.next(&vec![0.0; tokenizer.vocab_size()], &[]).1);
        }
        assert!(all.text.starts_with("{") && all.calls.is_empty(), "{all:?}");
        assert_eq!(reply.finish(), Some(Finish::Length));
    }

    #[test]
    fn probabilities_come_with_their_text() {
        let tokenizer = tokenizer();
        let manner = Manner { stop: vec!["c d".to_owned()], logprobs: Some(2), ..manner(&tokenizer) };
        let (piece, finish) = write(&tokenizer, manner.clone(), "a b c d</assistant>");
        assert_eq!((piece.text.as_str(), finish), ("a b ", Some(Finish::Stop)));
        let text: String = piece.scored.iter().map(|scored| tokenizer.decode(&[scored.token])).collect();
        assert_eq!(text, "a b", "the blank belongs to the token of the stop string");
        // Nothing was held back for good.
        let (piece, _) = write(&tokenizer, manner, "a b c é</assistant>");
        let tokens: Vec<usize> = piece.scored.iter().map(|scored| scored.token).collect();
        assert_eq!((tokenizer.decode(&tokens), piece.text.as_str()), ("a b c é".to_owned(), "a b c é"));
        let first = &piece.scored[0];
        let others = (tokenizer.vocab_size() - 1) as f64;
        assert!((first.logprob + (1.0 + others * (-9.0_f64).exp()).ln()).abs() < 1e-12, "{first:?}");
        assert_eq!((first.top.len(), first.top[0]), (2, (first.token, first.logprob)));
        let starts: Vec<usize> = piece.scored.iter().map(|scored| scored.start).collect();
        assert_eq!(starts[0], 0);
        assert!(starts.is_sorted() && *starts.last().expect("one") >= 6, "{starts:?}");
    }
}
