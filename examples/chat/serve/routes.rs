//! Which request gets which answer.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::{Bytes, HttpBody};
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, FromRequest, Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::answer::Shape;
use super::error::ApiError;
use super::fields::Fields;
use super::generate::generate;
use super::http::Limits;
use super::messages::{messages, tools};
use super::request::{self, token_list};
use super::scheduler::Queue;
use super::served::Served;

/// The page at `/`.
const PAGE: &str = include_str!("page.html");

/// What all connections share.
pub struct Server {
    pub served: Served,
    pub queue: Queue,
    pub limits: Limits,
    /// Whether only programs of this machine can be clients.
    pub is_local: bool,
    pub places: usize,
}

type Shared = State<Arc<Server>>;

/// All that the server answers.
pub fn app(server: Arc<Server>) -> Router {
    Router::new()
        .route("/", get(async || Html(PAGE)))
        .route("/health", get(health))
        .route("/v1/models", get(models))
        .route("/v1/models/{*name}", get(model))
        .route("/v1/chat/completions", post(chat))
        .route("/v1/completions", post(completion))
        .route("/tokenize", post(tokenize))
        .route("/detokenize", post(detokenize))
        .route("/apply-template", post(apply_template))
        .fallback(nothing)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(Arc::clone(&server), guard))
        .layer(DefaultBodyLimit::max(server.limits.body))
        .with_state(server)
}

/// Refuses the requests of other sites' pages, and says about every answer that it is to be kept by nobody and taken for what it is
/// called.
async fn guard(State(server): Shared, request: Request, next: Next) -> Response {
    let mut response = match check_origin(&server, request.headers()) {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// A browser sends the requests of other sites' pages to this machine as to any other, and one whose name was made to lead here could
/// even read the answers.
fn check_origin(server: &Server, headers: &HeaderMap) -> Result<(), ApiError> {
    let value = |name| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let host = value(header::HOST);
    let name = host.map(|host| {
        host.rsplit_once(':').map_or(host, |(name, port)| if port.ends_with(']') { host } else { name })
    });
    let is_local = name.is_none_or(|name| name.eq_ignore_ascii_case("localhost") || is_loopback(name));
    let origin = value(header::ORIGIN);
    let is_same = origin.is_none_or(|origin| origin.split_once("://").map(|(_, origin)| origin) == host);
    match (server.is_local && !is_local) || !is_same {
        true => {
            Err(ApiError::status(403, "forbidden", "requests from pages of other sites are not answered"))
        }
        false => Ok(()),
    }
}

/// Whether an address, with or without brackets, is this machine's own.
fn is_loopback(name: &str) -> bool {
    let name = name.trim_start_matches('[').trim_end_matches(']');
    name.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

/// The body of a request, which has to arrive in time.
struct Body(Bytes);

impl FromRequest<Arc<Server>> for Body {
    type Rejection = ApiError;

    async fn from_request(request: Request, server: &Arc<Server>) -> Result<Self, ApiError> {
        let Limits { body, arrival, .. } = server.limits;
        let too_large = || {
            let problem = format!("of a body at most {body} bytes are read (--max-body)");
            ApiError::status(413, "body_too_large", problem)
        };
        if request.body().size_hint().lower() > body as u64 {
            return Err(too_large()); // it says so itself, and need not arrive
        }
        let arrived = timeout(arrival, Bytes::from_request(request, server)).await;
        match arrived.map_err(|_| ApiError::slow(arrival))? {
            Ok(bytes) => Ok(Body(bytes)),
            Err(BytesRejection::FailedToBufferBody(error))
                if error.status() == StatusCode::PAYLOAD_TOO_LARGE =>
            {
                Err(too_large())
            }
            Err(_) => Err(ApiError::invalid("the body ends before the end that the request announces")),
        }
    }
}

/// Does what may take a while without holding up the other connections.
async fn work<T: Send + 'static>(
    server: &Arc<Server>,
    work: impl FnOnce(&Server) -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let server = Arc::clone(server);
    let done = spawn_blocking(move || work(&server)).await;
    done.unwrap_or_else(|_| Err(ApiError::status(500, "internal_error", "the server has made a mistake")))
}

async fn nothing(uri: Uri) -> ApiError {
    ApiError::status(404, "not_found", format!("there is nothing at {}", uri.path()))
}

/// The answer's `Allow` is added by the router.
async fn wrong_method(method: Method, uri: Uri) -> ApiError {
    let problem = format!("{} is not for {method}: see Allow in the head of this answer", uri.path());
    ApiError::status(405, "method_not_allowed", problem)
}

async fn health(State(server): Shared) -> Response {
    let (running, waiting) = server.queue.counts();
    plain(&json!({"status": "ok", "running": running, "waiting": waiting, "places": server.places}))
}

async fn models(State(server): Shared) -> Response {
    plain(&json!({"object": "list", "data": [described(&server.served)]}))
}

async fn model(State(server): Shared, Path(name): Path<String>) -> Result<Response, ApiError> {
    if name == server.served.name {
        return Ok(plain(&described(&server.served)));
    }
    let problem = format!("the only model here is {}", server.served.name);
    Err(ApiError::status(404, "model_not_found", problem))
}

fn described(served: &Served) -> Value {
    json!({"id": served.name, "object": "model", "created": served.created, "owned_by": "gradus", "context": served.context,
           "vocab_size": served.tokenizer.vocab_size(), "chat": served.converses()})
}

async fn chat(State(server): Shared, Body(body): Body) -> Result<Response, ApiError> {
    let asked = work(&server, move |server| request::chat(&server.served, &body)).await?;
    generate(server, asked, Shape::Chat).await
}

async fn completion(State(server): Shared, Body(body): Body) -> Result<Response, ApiError> {
    let asked = work(&server, move |server| request::completion(&server.served, &body)).await?;
    generate(server, asked, Shape::Text).await
}

async fn tokenize(State(server): Shared, Body(body): Body) -> Result<Response, ApiError> {
    let tokens = work(&server, move |server| {
        let mut fields = Fields::of_body(&body)?;
        let content = fields.text("content")?.ok_or_else(|| ApiError::field("content", "it is missing"))?;
        let with_bos = fields.flag("add_special")?.unwrap_or(false);
        fields.end()?;
        server.served.text_tokens("content", &content, with_bos)
    });
    Ok(plain(&json!({"tokens": tokens.await?})))
}

async fn detokenize(State(server): Shared, Body(body): Body) -> Result<Response, ApiError> {
    let content = work(&server, move |server| {
        let mut fields = Fields::of_body(&body)?;
        let tokens = fields.list("tokens")?.ok_or_else(|| ApiError::field("tokens", "it is missing"))?;
        fields.end()?;
        Ok(server.served.text(&token_list(&server.served, "tokens", &tokens)?))
    });
    Ok(plain(&json!({"content": content.await?})))
}

async fn apply_template(State(server): Shared, Body(body): Body) -> Result<Response, ApiError> {
    let prompt = work(&server, move |server| {
        let mut fields = Fields::of_body(&body)?;
        let (messages, tools) = (messages(&mut fields)?, tools(&mut fields)?);
        let ask = fields.flag("add_generation_prompt")?.unwrap_or(true);
        fields.end()?;
        Ok(server.served.render(&messages, tools.as_ref().map(|tools| &tools.json), ask)?.text)
    });
    Ok(plain(&json!({"prompt": prompt.await?})))
}

/// An answer that is not a stream.
pub fn plain(value: &Value) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], value.to_string()).into_response()
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = plain(&self.json());
        *response.status_mut() = StatusCode::from_u16(self.status).unwrap_or(StatusCode::BAD_REQUEST);
        if self.status == 429 {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
