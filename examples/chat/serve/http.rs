//! Who listens. `hyper` reads requests and writes answers, `axum` brings them together (`routes.rs`), and what is here sets their
//! limits: how many connections there are at a time, how long one may take, and how much of a request is read. So nobody can hold a
//! place by sending slowly. A connection carries one request and its answer.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{sleep, timeout};

use super::error::ApiError;

/// The most bytes of a request before its body.
const HEAD: usize = 16 * 1024;

/// The most lines of a head.
const HEADERS: usize = 64;

/// How long a client may go on sending after its answer, so that it gets to read it.
const LINGER: Duration = Duration::from_secs(1);

/// How long a client may take to receive a piece of what it asked for.
pub const RECEIVE: Duration = Duration::from_secs(10);

/// How long the server waits at its end for clients that are still reading.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// Threads that read requests of which there is much to read.
const READERS: usize = 4;

/// What a client may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The most bytes of a body.
    pub body: usize,
    /// The time for the head of a request, and for its body.
    pub arrival: Duration,
    /// The time for a reply, with that in the queue.
    pub reply: Duration,
    /// The most connections at a time.
    pub connections: usize,
}

/// Where connections come in.
pub struct Door {
    close: Cell<Option<oneshot::Sender<()>>>,
    /// Says nothing; it ends when the last connection has.
    over: Receiver<()>,
}

impl Door {
    /// Lets connections in. All of them share a thread, which waits for their bytes and for what the model says.
    ///
    /// # Errors
    /// If the system has no thread left for it.
    pub fn open(listener: TcpListener, app: Router, limits: Limits) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let runtime =
            runtime::Builder::new_current_thread().enable_all().max_blocking_threads(READERS).build()?;
        let listener = {
            let _entered = runtime.enter();
            tokio::net::TcpListener::from_std(listener)?
        };
        let (close, closed) = oneshot::channel();
        let (open, over) = channel();
        let work = move || {
            runtime.block_on(accept(listener, app, limits, closed));
            drop(open);
        };
        thread::Builder::new().name("door".to_owned()).spawn(work)?;
        Ok(Door { close: Cell::new(Some(close)), over })
    }

    /// Lets nobody in any more. Returns whether it was open.
    pub fn close(&self) -> bool {
        self.close.take().is_some_and(|close| close.send(()).is_ok())
    }

    /// Waits until the last answers are sent, but not for clients that do not take them.
    pub fn wait(&self) {
        self.over.recv_timeout(LAST_WORDS).ok();
    }
}

/// Takes connections until the door is closed, and then waits for the last of them.
async fn accept(
    listener: tokio::net::TcpListener,
    app: Router,
    limits: Limits,
    mut closed: oneshot::Receiver<()>,
) {
    let free = Arc::new(Semaphore::new(limits.connections));
    let longest = 2 * limits.arrival + limits.reply + RECEIVE + LINGER;
    loop {
        let accepted = tokio::select! {
            _ = &mut closed => break,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else {
            sleep(Duration::from_millis(20)).await; // too many open files, for example: some will be closed
            continue;
        };
        let Ok(guest) = Arc::clone(&free).try_acquire_owned() else {
            continue; // a connection too many is closed
        };
        let app = app.clone();
        tokio::spawn(async move {
            timeout(longest, connection(stream, app, limits)).await.ok();
            drop(guest);
        });
    }
    drop(listener);
    free.acquire_many(limits.connections as u32).await.ok(); // as many as there are, once all are back
}

/// Answers the one request of a connection.
async fn connection(stream: TcpStream, app: Router, limits: Limits) {
    stream.set_nodelay(true).ok(); // a token is a small packet that somebody waits for
    let mut http = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.arrival)
        .max_headers(HEADERS)
        .max_header_size(HEAD)
        .keep_alive(false)
        .writev(false) // which would end this program where a client is gone: SIGPIPE does what it does elsewhere
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(app));
    let ended = poll_fn(|context| http.poll_without_shutdown(context)).await;
    let mut stream = http.into_parts().io.into_inner();
    if ended.is_err_and(|error| error.is_timeout()) {
        // The head did not arrive, so there was nothing that could be answered.
        let body = ApiError::slow(limits.arrival).json().to_string();
        let head = "HTTP/1.1 408 Request Timeout\r\nContent-Type: application/json\r\nConnection: close";
        let answer = format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        stream.write_all(answer.as_bytes()).await.ok();
    }
    // Closed at once, a connection on which a client is still sending would be broken, and the answer lost.
    stream.shutdown().await.ok();
    let mut piece = [0; 4096];
    let rest = async { while stream.read(&mut piece).await.is_ok_and(|count| count > 0) {} };
    timeout(LINGER, rest).await.ok();
}
