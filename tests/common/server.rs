//! A server that was started for a test, and a client that knows nothing but sockets.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::program::{LIMIT, example};

/// A server on a free port. It is ended when it is dropped.
pub struct Server {
    pub child: Child,
    pub address: SocketAddr,
    /// What it printed before it listened.
    pub printed: String,
    /// Open, so that it can go on printing.
    stdout: BufReader<ChildStdout>,
}

/// The answer to a request.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// In small letters.
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The error in it: its message, the field that it names, and its code.
    pub fn error(&self) -> (String, String, String) {
        let json = self.json();
        let error = &json["error"];
        let keys: Vec<&String> = error.as_object().unwrap_or_else(|| panic!("{self:?}")).keys().collect();
        assert_eq!(keys.len(), 4, "{self:?}");
        assert!(error["type"].is_string(), "{self:?}");
        let text = |name: &str| error[name].as_str().unwrap_or_default().to_owned();
        (text("message"), text("param"), text("code"))
    }

    /// The events of a stream, which must have come to its end.
    pub fn events(&self) -> Vec<Value> {
        assert_eq!(self.status, 200, "{self:?}");
        assert!(self.head.contains("text/event-stream"), "{self:?}");
        let mut data: Vec<&str> = self.body.split("\n\n").filter(|event| !event.is_empty()).collect();
        assert_eq!(data.pop(), Some("data: [DONE]"), "{self:?}");
        let json =
            |event: &str| serde_json::from_str(event.strip_prefix("data: ").expect("data")).expect("JSON");
        data.into_iter().map(json).collect()
    }
}

impl Server {
    pub fn start(model: &Path, options: &str) -> Self {
        let mut command = Command::new(example("chat"));
        command.args(["serve", "--port", "0", "--threads", "1", "--model"]).arg(model);
        command.args(options.split_whitespace()).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("it can be started");
        let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut server = Server { child, address: nowhere, printed: String::new(), stdout };
        loop {
            let before = server.printed.len();
            let count = server.stdout.read_line(&mut server.printed).expect("a line of text");
            assert!(count > 0, "it ended before it listened: {}", server.printed);
            if let Some(url) = server.printed[before..].strip_prefix("listening on http://") {
                server.address = url.trim().parse().expect("an address");
                return server;
            }
        }
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("the server listens");
        stream.set_read_timeout(Some(LIMIT)).expect("a limit");
        stream
    }

    /// Sends bytes as they are, and reads the answer to its end.
    pub fn raw(&self, request: &[u8]) -> Answer {
        let mut stream = self.connect();
        stream.write_all(request).ok(); // it may refuse to read on
        answer(&mut stream)
    }

    pub fn get(&self, path: &str) -> Answer {
        self.raw(format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.address).as_bytes())
    }

    /// Sends a body.
    pub fn post(&self, path: &str, body: &str) -> Answer {
        self.raw(&self.request(path, body))
    }

    pub fn request(&self, path: &str, body: &str) -> Vec<u8> {
        let (host, length) = (self.address, body.len());
        format!("POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n\r\n{body}").into_bytes()
    }

    /// Sends a request and leaves the answer unread.
    pub fn begin(&self, path: &str, body: &Value) -> TcpStream {
        let mut stream = self.connect();
        stream.write_all(&self.request(path, &body.to_string())).expect("it reads it");
        stream
    }

    /// The answer to a request that is right.
    pub fn ok(&self, path: &str, body: &Value) -> Value {
        let answer = self.post(path, &body.to_string());
        assert_eq!(answer.status, 200, "{body}: {answer:?}");
        answer.json()
    }

    /// Waits until so many replies are being written and so many wait.
    pub fn wait_for(&self, running: usize, waiting: usize) {
        let start = Instant::now();
        loop {
            let health = self.get("/health").json();
            if health["running"] == running && health["waiting"] == waiting {
                return;
            }
            assert!(start.elapsed() < LIMIT, "{running} running and {waiting} waiting, but it is {health}");
            sleep(Duration::from_millis(2)); // and ask again
        }
    }

    /// Its exit code when it has ended by itself.
    #[cfg(unix)]
    pub fn wait(&mut self) -> Option<i32> {
        let start = Instant::now();
        while start.elapsed() < LIMIT {
            if let Some(status) = self.child.try_wait().expect("its status") {
                return status.code();
            }
            sleep(Duration::from_millis(2)); // and look again
        }
        panic!("it does not end");
    }

    /// Presses Ctrl-C.
    #[cfg(unix)]
    pub fn interrupt(&self) {
        let ended =
            Command::new("kill").args(["-INT", &self.child.id().to_string()]).status().expect("kill runs");
        assert!(ended.success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Reads an answer to its end.
pub fn answer(stream: &mut TcpStream) -> Answer {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("an answer");
    let text = String::from_utf8(bytes).expect("UTF-8");
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head: {text:?}"));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    let head = head.to_ascii_lowercase();
    let body = if head.contains("transfer-encoding: chunked") { joined(body) } else { body.to_owned() };
    Answer { status, head, body }
}

/// A body that came in chunks: each after its length, and one without any at the end.
fn joined(mut body: &str) -> String {
    let mut all = String::new();
    loop {
        let (length, rest) = body.split_once("\r\n").unwrap_or_else(|| panic!("cut off: {all:?} {body:?}"));
        let length = usize::from_str_radix(length, 16).expect("a length");
        if length == 0 {
            return all;
        }
        all += &rest[..length];
        body = rest[length..].strip_prefix("\r\n").expect("a line's end");
    }
}
