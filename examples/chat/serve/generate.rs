//! A connection that waits for a reply: it gets all of it at its end, or each piece when it is said.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::response::{IntoResponse, Response, Sse, sse};
use serde_json::Value;
use tokio::sync::mpsc::{Sender, UnboundedReceiver, channel, unbounded_channel};
use tokio::time::{Instant, timeout_at};
use tokio_stream::wrappers::ReceiverStream;

use super::answer::{Answer, Shape};
use super::error::ApiError;
use super::http::RECEIVE;
use super::reply::Piece;
use super::request::Asked;
use super::routes::{Server, plain};
use super::scheduler::{Event, Job, Refused};

/// Pieces of a reply that are ready before a client takes them.
const AHEAD: usize = 16;

/// What all answers to one request have in common.
#[derive(Clone, Copy)]
struct About {
    shape: Shape,
    prompt_tokens: usize,
    /// Whether probabilities were asked for.
    logprobs: bool,
    /// Whether a stream ends with how many tokens there were.
    usage: bool,
}

impl About {
    fn answer(self, server: &Server) -> Answer<'_> {
        Answer::new(&server.served, self.shape, self.prompt_tokens, self.logprobs)
    }
}

/// Lets the model write. If the client goes away, what waits here is dropped, and the model hears of it.
pub async fn generate(server: Arc<Server>, asked: Asked, shape: Shape) -> Result<Response, ApiError> {
    let until = Instant::now() + server.limits.reply;
    let Asked { prompt, manner, stream, usage } = asked;
    let about = About { shape, prompt_tokens: prompt.len(), logprobs: manner.logprobs.is_some(), usage };
    let (sender, receiver) = unbounded_channel();
    server.queue.push(Job { prompt, manner, events: sender }).map_err(|refused| match refused {
        Refused::Full => {
            ApiError::status(429, "queue_full", "too many requests wait already: try again in a moment")
        }
        Refused::Closed => closed(),
    })?;
    let events = Events { receiver, until, timeout: server.limits.reply };
    if stream {
        let (sender, receiver) = channel(AHEAD);
        tokio::spawn(pieces(server, about, events, Client(sender)));
        return Ok(Sse::new(ReceiverStream::new(receiver)).into_response());
    }
    whole(&server, about, events).await
}

/// The reply when it is complete.
async fn whole(server: &Server, about: About, mut events: Events) -> Result<Response, ApiError> {
    let mut all = Piece::default();
    loop {
        match events.next().await? {
            Event::Said(piece) => all.append(piece),
            Event::Ended(finish, tokens) => {
                return Ok(plain(&about.answer(server).whole(all, finish, tokens)));
            }
            Event::Closed => return Err(closed()),
        }
    }
}

/// The reply as it is said, for a client that may be gone before its end.
async fn pieces(server: Arc<Server>, about: About, mut events: Events, to: Client) -> Result<(), Gone> {
    let mut answer = about.answer(&server);
    if let Some(first) = answer.first() {
        to.send(&first).await?;
    }
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            () = to.0.closed() => return Err(Gone),
        };
        match event {
            Ok(Event::Said(piece)) => to.send(&answer.piece(piece)).await?,
            Ok(Event::Ended(finish, tokens)) => {
                to.send(&answer.last(finish)).await?;
                if about.usage {
                    to.send(&answer.usage_chunk(tokens)).await?;
                }
                return to.data("[DONE]").await;
            }
            Ok(Event::Closed) => return to.send(&closed().json()).await,
            Err(error) => return to.send(&error.json()).await,
        }
    }
}

/// Nobody takes what is said.
struct Gone;

/// Who gets the pieces.
struct Client(Sender<Result<sse::Event, Infallible>>);

impl Client {
    async fn send(&self, value: &Value) -> Result<(), Gone> {
        self.data(&value.to_string()).await
    }

    /// One more event. A client that takes none for a while counts as gone.
    async fn data(&self, text: &str) -> Result<(), Gone> {
        let event = sse::Event::default().data(text);
        self.0.send_timeout(Ok(event), RECEIVE).await.map_err(|_| Gone)
    }
}

/// What happens to a job.
struct Events {
    receiver: UnboundedReceiver<Event>,
    until: Instant,
    timeout: Duration,
}

impl Events {
    async fn next(&mut self) -> Result<Event, ApiError> {
        match timeout_at(self.until, self.receiver.recv()).await {
            Ok(event) => event.ok_or_else(closed),
            Err(_) => Err(ApiError::reply_timeout(self.timeout)),
        }
    }
}

/// The server ends.
fn closed() -> ApiError {
    ApiError::status(503, "closing", "the server is ending")
}
