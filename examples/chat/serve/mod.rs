//! A server: the model behind the API that clients of OpenAI's speak, and a page to try it on.
//!
//! - `mod.rs`: the command, and who listens.
//! - `http.rs`: connections and their limits; `routes.rs`: which request gets which answer; `generate.rs`: those that are replies.
//! - `request.rs`, `messages.rs`, `fields.rs`: what a request asks for; `error.rs`: what it hears if that makes no sense.
//! - `scheduler.rs`: several replies at once, in one session; `reply.rs`: one of them, token by token; `call_text.rs`: a call in it.
//! - `served.rs`: the model's tokenizer and template; `answer.rs`: the JSON of replies.
//! - `page.html`: the page; `page.mjs` plays with it in a browser.
//!
//! One thread has all connections: it waits for requests and for what the model says, by `tokio`. The main thread computes, and nothing
//! but channels is between the two.

mod answer;
mod call_text;
mod error;
mod fields;
mod generate;
mod http;
mod messages;
mod reply;
mod request;
mod routes;
mod scheduler;
mod served;

use std::hash::{BuildHasher, RandomState};
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, ensure};
use gradus::checkpoint::LanguageModel;
use gradus::engine::{Room, Session};
use gradus::fast::{InferenceEngine, StoredParams};
use gradus::model::Model;
use support::args::whole;
use support::units::{bytes, grouped};
use support::{Interrupt, Usage, check_free, say};

use crate::speaker::ModelArgs;
use http::{Door, Limits};
use routes::Server;
use scheduler::Queue;
use served::{Served, Sizes};

/// Connections that are read or written while others wait for the model.
const MORE_CONNECTIONS: usize = 64;

/// The longest context without `--context`.
const CONTEXT: usize = 4096;

/// Answer requests of OpenAI's API, and show a page to chat on
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  chat -- serve                                              the small model that comes with gradus
  chat -- serve --model mine                                 then open http://127.0.0.1:8080 in a browser, or
    curl http://127.0.0.1:8080/v1/chat/completions -d '{\"messages\": [{\"role\": \"user\", \"content\": \"Hello\"}]}'
  chat -- serve --model model.gguf --dtype int8 --port 8081 --parallel 8 --context 2048

GET  / is a page; /health; /v1/models
POST /v1/chat/completions, /v1/completions: temperature, top_p, top_k, min_p, repetition_penalty, max_tokens, stop, seed, stream,
     logprobs; chats also tools, tool_choice and response_format. A field that is not known is an error. There is one model:
     the name in a request does not matter
POST /tokenize {\"content\": …}, /detokenize {\"tokens\": […]}, /apply-template {\"messages\": […]}

Ctrl-C ends the server when the replies that are being written are complete; a second one ends it at once.")]
pub struct Serve {
    #[command(flatten)]
    model: ModelArgs,
    /// The address to listen on. Any but a loopback address lets other machines use the model: without a password, and readable
    /// on the way
    #[arg(long, value_name = "IP", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    host: IpAddr,
    /// The port to listen on: at most 65535; 0 is any that is free
    #[arg(long, value_name = "N", default_value_t = 8080)]
    port: u16,
    /// What the model is called [default: the name of its folder or file]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Replies that are written at the same time: at most 256
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = whole(1..=256), help_heading = "Limits")]
    parallel: usize,
    /// Requests that wait while others are answered; more are refused: at most 10000
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = whole(0..=10_000), help_heading = "Limits")]
    queue: usize,
    /// Tokens of a conversation and its reply: at most what the model can read [default: that, but at most 4096]
    #[arg(long, value_name = "N", value_parser = whole(2..=1 << 20), help_heading = "Limits")]
    context: Option<usize>,
    /// Tokens of a reply, even if a request asks for more: at most 1048576 [default: what the context has room for]
    #[arg(long, value_name = "N", value_parser = whole(1..=1 << 20), help_heading = "Limits")]
    max_tokens: Option<usize>,
    /// Bytes of a request: at most 1000000000
    #[arg(long, value_name = "N", default_value_t = 1 << 20, value_parser = whole(1..=1_000_000_000), help_heading = "Limits")]
    max_body: usize,
    /// Seconds for a reply, with the time that it waits: at most 86400
    #[arg(long, value_name = "N", default_value_t = 600, value_parser = whole(1..=86_400), help_heading = "Limits")]
    timeout: usize,
    /// Seconds for a request to arrive: at most 3600
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = whole(1..=3600), help_heading = "Limits")]
    receive_timeout: usize,
}

impl Serve {
    pub fn run(&self) -> Result<()> {
        // Whether the port is free is found out before the model is read.
        let listener = listen(SocketAddr::new(self.host, self.port))?;
        let address = listener.local_addr().context("the address to listen on is unknown")?;
        let path = self.model.path();
        let LanguageModel { model, params, tokenizer, tokens, defaults, chat_template } =
            self.model.read()?;
        let spec = tokenizer.map_err(|other| anyhow!("{}: {other}", path.display()))?;
        let tokenizer = spec.build().with_context(|| path.display().to_string())?;
        let config = model.config();
        let context = self.context.unwrap_or(model.context().min(CONTEXT));
        let most = model.context();
        ensure!(
            context <= most,
            Usage(format!("the model reads at most {most} tokens: give --context {most} or less"))
        );
        ensure!(context >= 2, "the model reads a single token, which is no conversation");
        let row = 2 * config.n_layer * config.n_kv_head * config.head_dim() * size_of::<f32>();
        let kept = row as f64 * context as f64 * self.parallel as f64;
        let what = format!("the memory of {} replies of {context} tokens", self.parallel);
        check_free(&what, kept, "give a smaller --parallel or --context")?;
        let name = self.name.clone().unwrap_or_else(|| name_of(path));
        let sizes = Sizes { context, most_tokens: self.max_tokens.unwrap_or(context) };
        let served = Served::new(name, tokenizer, tokens, defaults, chat_template.as_deref(), sizes)
            .with_context(|| path.display().to_string())?;
        let params = StoredParams::new(model.layout(), &params, self.model.dtype());
        let mut engine = InferenceEngine::new(self.model.threads());
        let room = Room { sequences: self.parallel, tokens: context, source_tokens: 0 };
        let crew = engine.crew();
        let mut session = Session::new(&mut engine, &model, &params, room);
        let limits = Limits {
            body: self.max_body,
            arrival: seconds(self.receive_timeout),
            reply: seconds(self.timeout),
            connections: MORE_CONNECTIONS + self.parallel + self.queue,
        };
        let server = Arc::new(Server {
            served,
            queue: Queue::new(self.parallel, self.queue),
            limits,
            is_local: self.host.is_loopback(),
            places: self.parallel,
        });
        let count = grouped(model.layout().len() as u64);
        say!(
            "{}: {count} parameters, {} of {}",
            server.served.name,
            bytes(params.bytes() as f64),
            self.model.dtype()
        );
        say!("{} at a time, {context} tokens each, {} of memory for them", self.parallel, bytes(kept));
        if !server.served.converses() {
            say!("it has no chat template, so it only continues texts: /v1/completions");
        }
        if !self.host.is_loopback() {
            say!("other machines can use it: there is no password, and what is said can be read on the way");
        }
        say!("listening on http://{address}");
        let interrupt = Interrupt::watch();
        let door = Door::open(listener, routes::app(Arc::clone(&server)), limits)
            .context("there is no thread left that could listen")?;
        scheduler::serve(&mut session, &crew, &*server.served.tokenizer, &server.queue, || {
            let over = interrupt.requested();
            if over && door.close() {
                say!("no more requests: it ends when the last reply is complete, or with another Ctrl-C");
            }
            over
        });
        door.wait();
        Ok(())
    }
}

/// The name of a folder, or of a file without its ending.
fn name_of(path: &Path) -> String {
    let path = path.canonicalize().unwrap_or_default();
    let name = if path.is_dir() { path.file_name() } else { path.file_stem() };
    name.map_or_else(|| "gradus".to_owned(), |name| name.to_string_lossy().into_owned())
}

fn seconds(count: usize) -> Duration {
    Duration::from_secs(count as u64)
}

/// Listens on an address.
fn listen(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).map_err(|error| {
        let port = address.port();
        let cure = match error.kind() {
            ErrorKind::AddrInUse => {
                let is_free = |port: &u16| TcpListener::bind((address.ip(), *port)).is_ok();
                let free = (port.saturating_add(1)..=u16::MAX).take(100).find(is_free).unwrap_or(0);
                format!("Another program listens there: end it, or give --port {free}")
            }
            ErrorKind::PermissionDenied => "Ports below 1024 are the system's: give --port 8080".to_owned(),
            _ => "Give an address of this machine to --host".to_owned(),
        };
        Usage(format!("the server cannot listen on {address}: {error}. {cure}")).into()
    })
}

/// A number that is another one each time.
fn random_number() -> u64 {
    static STATE: OnceLock<RandomState> = OnceLock::new();
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    STATE.get_or_init(RandomState::new).hash_one(COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}
