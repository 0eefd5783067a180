//! Downloading one file over HTTP: one attempt, the next attempt that continues it, and what can go wrong.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::Duration;

use ureq::http::{HeaderMap, HeaderValue, StatusCode, header};

use super::{Event, FetchError, Job, discard, file_length, file_name, io_error, with_suffix};

const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// No attempt lasts longer, even if bytes keep arriving. The next one continues it.
const LONGEST_ATTEMPT: Duration = Duration::from_secs(3600);

impl Job<'_> {
    /// The URL to request: the publisher's, or that of the mirror.
    pub(super) fn request_url(&self, url: &str) -> Result<String, FetchError> {
        let Some(mirror) = &self.options.mirror else { return Ok(url.to_owned()) };
        if mirror.starts_with("http://") || mirror.starts_with("https://") {
            return Ok(format!("{}/{}", mirror.trim_end_matches('/'), file_name(url)));
        }
        let reason = "it begins with neither http:// nor https://".to_owned();
        Err(FetchError::InvalidUrl { url: mirror.clone(), reason })
    }

    /// Downloads `url` into `part`, in as many attempts as needed and allowed. `path` is where a user would save a file
    /// downloaded by hand.
    pub(super) fn download(&mut self, url: &str, part: &Path, path: &Path) -> Result<(), FetchError> {
        let request_url = self.request_url(url)?;
        let agent = agent(&request_url, self.options.timeout);
        let mut pause = self.options.pause;
        let mut attempt = 1;
        loop {
            let reason = match self.attempt(&agent, &request_url, part) {
                Ok(()) => return Ok(()),
                Err(AttemptError::Final(error)) => return Err(error),
                Err(AttemptError::Status(status)) => {
                    return Err(FetchError::Status { url: request_url, status, path: path.to_owned() });
                }
                // Without a network, waiting does not help: report it at once.
                Err(AttemptError::NoConnection(reason)) if attempt == 1 => {
                    let (url, path) = (url.to_owned(), path.to_owned());
                    let (host, file) = (host(&request_url).to_owned(), self.file.to_owned());
                    return Err(FetchError::Unreachable { host, reason, url, path, file });
                }
                Err(AttemptError::NoConnection(reason) | AttemptError::Temporary(reason)) => reason,
            };
            if attempt >= self.options.attempts {
                let have = file_length(part)?.unwrap_or(0);
                return Err(FetchError::Interrupted { url: request_url, reason, attempts: attempt, have });
            }
            (self.progress)(Event::Retry { reason: &reason, wait: pause });
            std::thread::sleep(pause);
            pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
            attempt += 1;
        }
    }

    /// One request. If the server supports ranges, the bytes that are already in `part` are not requested again.
    fn attempt(&mut self, agent: &ureq::Agent, url: &str, part: &Path) -> Result<(), AttemptError> {
        let tag = with_suffix(part, "etag");
        let mut have = file_length(part)?.unwrap_or(0);
        let mut request = agent.get(url);
        if have > 0 {
            request = request.header(header::RANGE, format!("bytes={have}-"));
            // If-Range: the rest if the file is still the same, else all of it. Without a tag, the hash will tell.
            let saved = fs::read_to_string(&tag).ok().and_then(|t| HeaderValue::from_str(&t).ok());
            if let Some(saved) = saved.filter(|t| !t.is_empty()) {
                request = request.header(header::IF_RANGE, saved);
            }
        }
        let response = request.call().map_err(|error| AttemptError::of(error, url))?;
        let (head, body) = response.into_parts();
        let total = match head.status {
            StatusCode::PARTIAL_CONTENT if have > 0 => match content_range(&head.headers) {
                Some((Some(start), total)) if start == have => total,
                _ => {
                    discard(part);
                    return Err(AttemptError::Temporary(
                        "the server sent another range than requested".to_owned(),
                    ));
                }
            },
            StatusCode::RANGE_NOT_SATISFIABLE if have > 0 => {
                if content_range(&head.headers) == Some((None, Some(have))) {
                    return Ok(()); // the file is complete: an earlier run ended just before verifying it
                }
                discard(part);
                return Err(AttemptError::Temporary("the length of the file has changed".to_owned()));
            }
            StatusCode::OK => {
                have = 0;
                File::create(part).map_err(io_error("create", part))?;
                fs::write(&tag, validator(&head.headers)).map_err(io_error("write", &tag))?;
                // The Content-Length of an encoded body is not the number of bytes read from it.
                let plain = !head.headers.contains_key(header::CONTENT_ENCODING);
                number(head.headers.get(header::CONTENT_LENGTH)).filter(|_| plain)
            }
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
                return Err(AttemptError::Temporary(format!("the server answered {}", head.status)));
            }
            status if status.is_server_error() => {
                return Err(AttemptError::Temporary(format!("the server answered {status}")));
            }
            status => return Err(AttemptError::Status(status)),
        };
        (self.progress)(Event::Begin { url, have, total });
        let mut file = OpenOptions::new().append(true).open(part).map_err(io_error("open", part))?;
        let mut body = body.into_reader();
        let mut buffer = vec![0; 1 << 16];
        loop {
            let count = match body.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(AttemptError::Temporary(error.to_string())),
            };
            have += count as u64;
            if have > self.limit {
                discard(part);
                let (url, limit) = (url.to_owned(), self.limit);
                return Err(AttemptError::Final(FetchError::TooLarge { url, limit }));
            }
            file.write_all(&buffer[..count]).map_err(io_error("write", part))?;
            (self.progress)(Event::Bytes { have });
        }
        match total {
            Some(total) if total != have => {
                Err(AttemptError::Temporary(format!("{have} of {total} bytes arrived")))
            }
            _ => Ok(()),
        }
    }
}

/// Why an attempt failed.
enum AttemptError {
    /// Another attempt would fail too.
    Final(FetchError),
    Status(StatusCode),
    NoConnection(String),
    /// Another attempt may succeed.
    Temporary(String),
}

impl From<FetchError> for AttemptError {
    fn from(error: FetchError) -> Self {
        AttemptError::Final(error)
    }
}

impl AttemptError {
    fn of(error: ureq::Error, url: &str) -> Self {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
        use ureq::{Error, Timeout};
        let reason = error.to_string();
        match error {
            Error::BadUri(_) | Error::Http(_) => {
                AttemptError::Final(FetchError::InvalidUrl { url: url.to_owned(), reason })
            }
            Error::HostNotFound => AttemptError::NoConnection("unknown host".to_owned()),
            Error::Timeout(Timeout::Resolve | Timeout::Connect) => AttemptError::NoConnection(reason),
            Error::Timeout(_) | Error::Protocol(_) => AttemptError::Temporary(reason),
            Error::Io(e) => match e.kind() {
                UnexpectedEof | ConnectionReset | ConnectionAborted | BrokenPipe => {
                    AttemptError::Temporary(e.to_string())
                }
                _ => AttemptError::NoConnection(e.to_string()),
            },
            _ => AttemptError::NoConnection(reason),
        }
    }
}

fn agent(url: &str, timeout: Duration) -> ureq::Agent {
    let mut config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        // Some sites reject clients with any other kind of user agent.
        .user_agent(concat!("Mozilla/5.0 (compatible; gradus/", env!("CARGO_PKG_VERSION"), ")"))
        // A range counts the bytes of the file only if they are sent as they are.
        .accept_encoding("identity")
        .timeout_resolve(Some(timeout))
        .timeout_connect(Some(timeout))
        .timeout_send_request(Some(timeout))
        .timeout_recv_response(Some(timeout))
        .timeout_per_read(Some(timeout))
        .timeout_recv_body(Some(LONGEST_ATTEMPT));
    // A proxy cannot reach the loopback address of this machine.
    if ["localhost", "127.0.0.1", "[::1]"].contains(&host(url)) {
        config = config.proxy(None);
    }
    config.build().into()
}

/// The value for `If-Range`: the strong ETag, else the date, else nothing.
fn validator(headers: &HeaderMap) -> &[u8] {
    let tag = headers.get(header::ETAG).filter(|t| t.as_bytes().starts_with(b"\""));
    tag.or(headers.get(header::LAST_MODIFIED)).map_or(b"", HeaderValue::as_bytes)
}

/// Start and total of `bytes START-END/TOTAL`. Either side of the slash may be `*`.
fn content_range(headers: &HeaderMap) -> Option<(Option<u64>, Option<u64>)> {
    let value = headers.get(header::CONTENT_RANGE)?.to_str().ok()?;
    let (range, total) = value.strip_prefix("bytes ")?.split_once('/')?;
    Some((range.split_once('-').and_then(|(start, _)| start.parse().ok()), total.parse().ok()))
}

fn number(value: Option<&HeaderValue>) -> Option<u64> {
    value?.to_str().ok()?.parse().ok()
}

/// The host of a URL, without user name, password and port.
fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let rest = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    let host = rest.rsplit('@').next().unwrap_or(rest);
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    }
}
