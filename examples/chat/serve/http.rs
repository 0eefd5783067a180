//! HTTP 1.1 as far as this server needs it: a connection carries one request and its answer. A request has limits, of its size
//! and of how long it may take to arrive, so that nobody can hold a place by sending slowly.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

/// The most bytes of a request before its body.
const HEAD: usize = 16 * 1024;

/// The most lines of a head.
const HEADERS: usize = 64;

/// How long a client that was refused in the middle of its request may go on sending, so that it gets to read why.
const LINGER: Duration = Duration::from_secs(1);

/// What a client may send.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The most bytes of a body.
    pub body: usize,
    /// The time from the connection to the last byte of the request.
    pub arrival: Duration,
}

/// A request.
#[derive(Debug, Default)]
pub struct Request {
    pub method: String,
    /// Without what follows a question mark.
    pub path: String,
    pub host: Option<String>,
    pub origin: Option<String>,
    pub body: Vec<u8>,
}

/// Why there is no request.
#[derive(Debug)]
pub enum Unreadable {
    /// The client has closed the connection, or broken it, before it said anything.
    Gone,
    /// It did not arrive in time.
    Slow,
    /// The head is too long.
    HeadTooLarge,
    /// The body is too long: so many bytes.
    BodyTooLarge(u64),
    /// Nobody knows how long the body is.
    NoLength,
    /// It is no request.
    Malformed(String),
}

impl From<io::Error> for Unreadable {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => Unreadable::Slow,
            _ => Unreadable::Gone,
        }
    }
}

/// A connection while a request arrives on it.
struct Arriving<'a> {
    stream: &'a mut TcpStream,
    until: Instant,
}

impl Arriving<'_> {
    /// Some more bytes; none at the end.
    fn read(&mut self, bytes: &mut [u8]) -> Result<usize, Unreadable> {
        loop {
            let left = self.until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Unreadable::Slow);
            }
            self.stream.set_read_timeout(Some(left))?;
            match self.stream.read(bytes) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => return Ok(read?),
            }
        }
    }
}

/// Reads a request.
pub fn read(stream: &mut TcpStream, limits: Limits) -> Result<Request, Unreadable> {
    let mut arriving = Arriving { stream, until: Instant::now() + limits.arrival };
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    let (request, head, length, expects) = loop {
        let count = arriving.read(&mut piece)?;
        if count == 0 {
            return Err(match bytes.is_empty() {
                true => Unreadable::Gone,
                false => Unreadable::Malformed("the request ends in the middle of its head".to_owned()),
            });
        }
        bytes.extend_from_slice(&piece[..count]);
        if let Some(parsed) = parse(&bytes)? {
            break parsed;
        }
        if bytes.len() > HEAD {
            return Err(Unreadable::HeadTooLarge);
        }
    };
    if length > limits.body as u64 {
        return Err(Unreadable::BodyTooLarge(length));
    }
    let length = length as usize; // at most the limit
    let mut body = bytes.split_off(head);
    if expects && body.len() < length {
        arriving.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    while body.len() < length {
        let count = arriving.read(&mut piece)?;
        if count == 0 {
            let problem =
                format!("the body ends after {} bytes of the {length} that Content-Length says", body.len());
            return Err(Unreadable::Malformed(problem));
        }
        body.extend_from_slice(&piece[..count]);
    }
    body.truncate(length);
    Ok(Request { body, ..request })
}

/// The head, if all of it is there: the request, how long the head was, how long its body is, and whether the client waits for a
/// word before it sends that.
fn parse(bytes: &[u8]) -> Result<Option<(Request, usize, u64, bool)>, Unreadable> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut head = httparse::Request::new(&mut headers);
    let end = match head.parse(bytes) {
        Ok(httparse::Status::Complete(end)) if end <= HEAD => end,
        Ok(httparse::Status::Complete(_)) | Err(httparse::Error::TooManyHeaders) => {
            return Err(Unreadable::HeadTooLarge);
        }
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(Unreadable::Malformed(format!("this is no request of HTTP 1.1: {error}"))),
    };
    let path = head.path.unwrap_or_default();
    let mut request = Request {
        method: head.method.unwrap_or_default().to_owned(),
        path: path.split('?').next().unwrap_or_default().to_owned(),
        ..Request::default()
    };
    let (mut length, mut expects) = (None, false);
    for header in head.headers.iter() {
        let value = String::from_utf8_lossy(header.value).trim().to_owned();
        match header.name.to_ascii_lowercase().as_str() {
            "content-length" => {
                let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
                let number = value.parse().ok().filter(|_| digits);
                let number = number.or(digits.then_some(u64::MAX)); // more than can be counted
                if number.is_none() || length.is_some_and(|length| Some(length) != number) {
                    return Err(Unreadable::Malformed(format!("Content-Length: {value} is no length")));
                }
                length = number;
            }
            "transfer-encoding" => return Err(Unreadable::NoLength),
            "expect" => expects = value.eq_ignore_ascii_case("100-continue"),
            "host" => request.host = Some(value),
            "origin" => request.origin = Some(value),
            _ => {}
        }
    }
    Ok(Some((request, end, length.unwrap_or(0), expects)))
}

/// What a status is called.
fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        411 => "Length Required",
        413 => "Content Too Large",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        503 => "Service Unavailable",
        _ => "Error",
    }
}

/// Writes a whole answer. `more` are further lines of its head.
pub fn answer(stream: &mut TcpStream, status: u16, kind: &str, more: &str, body: &[u8]) -> io::Result<()> {
    let mut bytes = format!(
        "HTTP/1.1 {status} {}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nCache-Control: no-store\r\n\
         X-Content-Type-Options: nosniff\r\n{more}Connection: close\r\n\r\n",
        reason(status),
        body.len()
    )
    .into_bytes();
    bytes.extend_from_slice(body);
    stream.write_all(&bytes)
}

/// Begins an answer of server-sent events, which ends when the connection does.
pub fn begin_events(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nCache-Control: no-store\r\n\
          Connection: close\r\n\r\n",
    )
}

/// Whether the client has closed the connection or broken it. One that has only closed its own side counts as gone too: nobody
/// can tell the two apart.
pub fn is_gone(stream: &TcpStream) -> bool {
    if stream.set_nonblocking(true).is_err() {
        return true;
    }
    let looked = stream.peek(&mut [0]);
    let back = stream.set_nonblocking(false);
    match looked {
        Ok(count) => count == 0 || back.is_err(),
        Err(error) => {
            !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) || back.is_err()
        }
    }
}

/// Ends a connection on which a client may still be sending. Closed at once, it would be broken, and the answer lost.
pub fn linger(stream: &mut TcpStream) {
    stream.shutdown(Shutdown::Write).ok();
    let mut arriving = Arriving { stream, until: Instant::now() + LINGER };
    let mut piece = [0; 4096];
    while arriving.read(&mut piece).is_ok_and(|count| count > 0) {}
}
