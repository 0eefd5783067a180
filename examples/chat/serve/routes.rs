//! A connection: its request is read, answered, and over.

use std::io::{self, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::answer::{Answer, Shape};
use super::error::ApiError;
use super::fields::Fields;
use super::http::{self, Limits, Request, Unreadable};
use super::messages::{messages, tools};
use super::reply::Piece;
use super::request::{self, Asked, token_list};
use super::scheduler::{Event, Job, Queue, Refused};
use super::served::Served;

/// The page at `/`.
const PAGE: &str = include_str!("page.html");

/// How often a server that waits for a token looks whether the client still waits for it.
const LOOK: Duration = Duration::from_millis(100);

/// How long a client may take to receive what it asked for, each time that its buffer is full.
const WRITE: Duration = Duration::from_secs(10);

/// What all connections share.
pub struct Server {
    pub served: Served,
    pub queue: Queue,
    pub limits: Limits,
    /// How long a reply may take, with the time in the queue.
    pub timeout: Duration,
    /// Whether only programs of this machine can be clients.
    pub is_local: bool,
    pub places: usize,
}

/// An answer that is not a stream.
struct Plain {
    status: u16,
    kind: &'static str,
    more: String,
    body: Vec<u8>,
}

impl Plain {
    fn json(value: &Value) -> Self {
        let body = value.to_string().into_bytes();
        Plain { status: 200, kind: "application/json", more: String::new(), body }
    }
}

impl From<ApiError> for Plain {
    fn from(error: ApiError) -> Self {
        let more = if error.status == 429 { "Retry-After: 1\r\n".to_owned() } else { String::new() };
        Plain { status: error.status, more, ..Plain::json(&error.json()) }
    }
}

/// Why a reply has no end.
enum Lost {
    /// Nobody waits for it.
    Gone,
    Refused(ApiError),
}

impl From<io::Error> for Lost {
    fn from(_: io::Error) -> Self {
        Lost::Gone
    }
}

impl From<ApiError> for Lost {
    fn from(error: ApiError) -> Self {
        Lost::Refused(error)
    }
}

/// Says that nobody waits, however it comes to that.
struct Waiting(Arc<AtomicBool>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Server {
    /// Answers the one request of a connection.
    pub fn connection(&self, mut stream: TcpStream) {
        stream.set_nodelay(true).ok(); // a token is a small packet that somebody waits for
        stream.set_write_timeout(Some(WRITE)).ok();
        let request = match http::read(&mut stream, self.limits) {
            Ok(request) => request,
            Err(unreadable) => {
                if let Some(error) = self.refusal(unreadable) {
                    send(&mut stream, error).ok();
                    http::linger(&mut stream);
                }
                return;
            }
        };
        match self.route(&request, &mut stream) {
            Ok(Some(plain)) => drop(answer(&mut stream, &plain)),
            Err(Lost::Refused(error)) => drop(send(&mut stream, error)),
            Ok(None) | Err(Lost::Gone) => {}
        }
    }

    fn refusal(&self, unreadable: Unreadable) -> Option<ApiError> {
        let Limits { body, arrival } = self.limits;
        Some(match unreadable {
            Unreadable::Gone => return None,
            Unreadable::Slow => {
                let problem = format!("the request did not arrive within {}", in_words(arrival));
                ApiError::status(408, "request_timeout", problem)
            }
            Unreadable::HeadTooLarge => {
                ApiError::status(431, "head_too_large", "the head of the request is too long")
            }
            Unreadable::BodyTooLarge(length) => {
                let problem =
                    format!("the body has {length} bytes, and at most {body} are read (--max-body)");
                ApiError::status(413, "body_too_large", problem)
            }
            Unreadable::NoLength => ApiError::status(
                411,
                "length_required",
                "send the length of the body as Content-Length, not in chunks",
            ),
            Unreadable::Malformed(problem) => ApiError::invalid(problem),
        })
    }

    /// The answer, unless it was streamed.
    fn route(&self, request: &Request, stream: &mut TcpStream) -> Result<Option<Plain>, Lost> {
        self.check_origin(request)?;
        let Request { method, path, body, .. } = request;
        let one = path.strip_prefix("/v1/models/");
        let expected = match path.as_str() {
            "/" | "/health" | "/v1/models" => "GET",
            _ if one.is_some() => "GET",
            "/v1/chat/completions" | "/v1/completions" | "/tokenize" | "/detokenize" | "/apply-template" => {
                "POST"
            }
            _ => {
                let problem = format!("there is nothing at {path}");
                return Err(ApiError::status(404, "not_found", problem).into());
            }
        };
        if method != expected {
            let problem = format!("{path} is for {expected}, not for {method}");
            let refused = Plain::from(ApiError::status(405, "method_not_allowed", problem));
            return Ok(Some(Plain { more: format!("Allow: {expected}\r\n"), ..refused }));
        }
        let served = &self.served;
        let plain = match path.as_str() {
            "/" => Plain {
                kind: "text/html; charset=utf-8",
                body: PAGE.as_bytes().to_vec(),
                ..Plain::json(&Value::Null)
            },
            "/health" => Plain::json(&self.health()),
            "/v1/models" => Plain::json(&json!({"object": "list", "data": [self.model()]})),
            "/v1/chat/completions" => {
                return self.generate(request::chat(served, body)?, Shape::Chat, stream);
            }
            "/v1/completions" => {
                return self.generate(request::completion(served, body)?, Shape::Text, stream);
            }
            "/tokenize" => Plain::json(&self.tokenize(body)?),
            "/detokenize" => Plain::json(&self.detokenize(body)?),
            "/apply-template" => Plain::json(&self.apply_template(body)?),
            _ if one == Some(&served.name) => Plain::json(&self.model()),
            _ => {
                let problem = format!("the only model here is {}", served.name);
                return Err(ApiError::status(404, "model_not_found", problem).into());
            }
        };
        Ok(Some(plain))
    }

    /// Refuses the requests of other sites' pages. A browser sends them to this machine as to any other, and one whose name was
    /// made to lead here could even read the answers.
    fn check_origin(&self, request: &Request) -> Result<(), ApiError> {
        let problem = "requests from pages of other sites are not answered";
        let host = request.host.as_deref();
        let name = host.map(|host| {
            host.rsplit_once(':').map_or(host, |(name, port)| if port.ends_with(']') { host } else { name })
        });
        let is_local = name.is_none_or(|name| name.eq_ignore_ascii_case("localhost") || is_loopback(name));
        let origin = request.origin.as_deref();
        let is_same = origin.is_none_or(|origin| origin.split_once("://").map(|(_, origin)| origin) == host);
        match (self.is_local && !is_local) || !is_same {
            true => Err(ApiError::status(403, "forbidden", problem)),
            false => Ok(()),
        }
    }

    fn health(&self) -> Value {
        let (running, waiting) = self.queue.counts();
        json!({"status": "ok", "running": running, "waiting": waiting, "places": self.places})
    }

    fn model(&self) -> Value {
        let Served { name, created, context, .. } = &self.served;
        let (vocab, chat) = (self.served.tokenizer.vocab_size(), self.served.converses());
        json!({"id": name, "object": "model", "created": created, "owned_by": "gradus", "context": context,
               "vocab_size": vocab, "chat": chat})
    }

    fn tokenize(&self, body: &[u8]) -> Result<Value, ApiError> {
        let mut fields = Fields::of_body(body)?;
        let content = fields.text("content")?.ok_or_else(|| ApiError::field("content", "it is missing"))?;
        let with_bos = fields.flag("add_special")?.unwrap_or(false);
        fields.end()?;
        Ok(json!({"tokens": self.served.text_tokens("content", &content, with_bos)?}))
    }

    fn detokenize(&self, body: &[u8]) -> Result<Value, ApiError> {
        let mut fields = Fields::of_body(body)?;
        let tokens = fields.list("tokens")?.ok_or_else(|| ApiError::field("tokens", "it is missing"))?;
        fields.end()?;
        Ok(json!({"content": self.served.text(&token_list(&self.served, "tokens", &tokens)?)}))
    }

    fn apply_template(&self, body: &[u8]) -> Result<Value, ApiError> {
        let mut fields = Fields::of_body(body)?;
        let (messages, tools) = (messages(&mut fields)?, tools(&mut fields)?);
        let ask = fields.flag("add_generation_prompt")?.unwrap_or(true);
        fields.end()?;
        Ok(json!({"prompt": self.served.render(&messages, tools.as_ref(), ask)?.text}))
    }

    /// Lets the model write.
    fn generate(&self, asked: Asked, shape: Shape, stream: &mut TcpStream) -> Result<Option<Plain>, Lost> {
        let until = Instant::now() + self.timeout;
        let Asked { prompt, manner, stream: streamed, usage } = asked;
        let mut answer = Answer::new(&self.served, shape, prompt.len(), manner.logprobs.is_some());
        let (sender, receiver) = mpsc::channel();
        let waiting = Waiting(Arc::default());
        let job = Job { prompt, manner, events: sender, abandoned: Arc::clone(&waiting.0) };
        self.queue.push(job).map_err(|refused| match refused {
            Refused::Full => {
                ApiError::status(429, "queue_full", "too many requests wait already: try again in a moment")
            }
            Refused::Closed => closed(),
        })?;
        let mut events = Events { receiver, until, timeout: self.timeout, looked: Instant::now() };
        if streamed {
            self.stream(&mut answer, &mut events, usage, stream)?;
            return Ok(None);
        }
        let mut all = Piece::default();
        loop {
            match events.next(stream)? {
                Event::Said(piece) => {
                    all.text += &piece.text;
                    all.scored.extend(piece.scored);
                    all.calls.extend(piece.calls);
                }
                Event::Ended(finish, tokens) => {
                    return Ok(Some(Plain::json(&answer.whole(all, finish, tokens))));
                }
                Event::Closed => return Err(closed().into()),
            }
        }
    }

    /// Sends what is said as it is said.
    fn stream(
        &self,
        answer: &mut Answer,
        events: &mut Events,
        usage: bool,
        to: &mut TcpStream,
    ) -> Result<(), Lost> {
        http::begin_events(to)?;
        if let Some(first) = answer.first() {
            event(to, &first)?;
        }
        loop {
            match events.next(to) {
                Ok(Event::Said(piece)) => event(to, &answer.piece(&piece))?,
                Ok(Event::Ended(finish, tokens)) => {
                    event(to, &answer.last(finish))?;
                    if usage {
                        event(to, &answer.usage_chunk(tokens))?;
                    }
                    return Ok(to.write_all(b"data: [DONE]\n\n")?);
                }
                Ok(Event::Closed) => return Ok(event(to, &closed().json())?),
                Err(Lost::Refused(error)) => return Ok(event(to, &error.json())?),
                Err(Lost::Gone) => return Err(Lost::Gone),
            }
        }
    }
}

/// What happens to a job, for a connection that may be lost meanwhile.
struct Events {
    receiver: Receiver<Event>,
    until: Instant,
    timeout: Duration,
    /// When somebody last looked whether the client is there.
    looked: Instant,
}

impl Events {
    fn next(&mut self, stream: &TcpStream) -> Result<Event, Lost> {
        loop {
            let now = Instant::now();
            if now >= self.until {
                let problem = format!(
                    "the reply was not complete after {}: ask for fewer tokens",
                    in_words(self.timeout)
                );
                return Err(ApiError::status(408, "reply_timeout", problem).into());
            }
            if now.duration_since(self.looked) >= LOOK {
                self.looked = now;
                if http::is_gone(stream) {
                    return Err(Lost::Gone);
                }
            }
            match self.receiver.recv_timeout(LOOK.min(self.until - now)) {
                Ok(event) => return Ok(event),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(closed().into()),
            }
        }
    }
}

/// The server ends.
fn closed() -> ApiError {
    ApiError::status(503, "closing", "the server is ending")
}

fn in_words(time: Duration) -> String {
    match time.as_secs() {
        1 => "1 second".to_owned(),
        count => format!("{count} seconds"),
    }
}

/// Whether an address, with or without brackets, is this machine's own.
fn is_loopback(name: &str) -> bool {
    let name = name.trim_start_matches('[').trim_end_matches(']');
    name.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
}

/// A server-sent event.
fn event(stream: &mut TcpStream, value: &Value) -> io::Result<()> {
    stream.write_all(format!("data: {value}\n\n").as_bytes())
}

fn send(stream: &mut TcpStream, error: ApiError) -> io::Result<()> {
    answer(stream, &error.into())
}

fn answer(stream: &mut TcpStream, plain: &Plain) -> io::Result<()> {
    let Plain { status, kind, more, body } = plain;
    http::answer(stream, *status, kind, more, body)
}
