//! One file over HTTP: an attempt, the next one that goes on from there, and what can go wrong.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::Duration;

use ureq::http::{HeaderMap, HeaderValue, StatusCode, header};

use super::{Event, FetchError, Job, beside, discard, failed, last, length};

const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// No attempt lasts longer, however steadily the bytes drip: the next one goes on from there.
const LONGEST_ATTEMPT: Duration = Duration::from_secs(3600);

impl Job<'_> {
    /// The address to ask: the publisher's, or the mirror's.
    pub(super) fn address(&self, url: &str) -> Result<String, FetchError> {
        let Some(mirror) = &self.options.mirror else { return Ok(url.to_owned()) };
        if mirror.starts_with("http://") || mirror.starts_with("https://") {
            return Ok(format!("{}/{}", mirror.trim_end_matches('/'), last(url)));
        }
        let reason = "it begins with neither http:// nor https://".to_owned();
        Err(FetchError::Address { url: mirror.clone(), reason })
    }

    /// Brings what is at `url` into `part`, in as many attempts as it takes and the options allow.
    /// `place` is where a person would put a file downloaded by hand.
    pub(super) fn download(&mut self, url: &str, part: &Path, place: &Path) -> Result<(), FetchError> {
        let address = self.address(url)?;
        let agent = agent(&address, self.options.timeout);
        let mut pause = self.options.pause;
        let mut attempt = 1;
        loop {
            let reason = match self.transfer(&agent, &address, part) {
                Ok(()) => return Ok(()),
                Err(Trouble::Final(error)) => return Err(error),
                Err(Trouble::Status(status)) => {
                    return Err(FetchError::Status { url: address, status, path: place.to_owned() });
                }
                // With no connection at all the answer should be prompt: waiting brings no network.
                Err(Trouble::NoConnection(reason)) if attempt == 1 => {
                    let (url, path) = (url.to_owned(), place.to_owned());
                    let (host, file) = (host(&address).to_owned(), self.file.to_owned());
                    return Err(FetchError::Unreachable { host, reason, url, path, file });
                }
                Err(Trouble::NoConnection(reason) | Trouble::Broken(reason)) => reason,
            };
            if attempt >= self.options.attempts {
                let have = length(part)?.unwrap_or(0);
                return Err(FetchError::Broken { url: address, reason, attempts: attempt, have });
            }
            (self.progress)(Event::Retry { reason: &reason, wait: pause });
            std::thread::sleep(pause);
            pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
            attempt += 1;
        }
    }

    /// One request. What `part` holds already is not asked for again, if the server plays along.
    fn transfer(&mut self, agent: &ureq::Agent, url: &str, part: &Path) -> Result<(), Trouble> {
        let tag = beside(part, "etag");
        let mut have = length(part)?.unwrap_or(0);
        let mut request = agent.get(url);
        if have > 0 {
            request = request.header(header::RANGE, format!("bytes={have}-"));
            // "The rest, if it is still the same file; else all of it." Without a tag the hash decides.
            let saved = fs::read_to_string(&tag).ok().and_then(|t| HeaderValue::from_str(&t).ok());
            if let Some(saved) = saved.filter(|t| !t.is_empty()) {
                request = request.header(header::IF_RANGE, saved);
            }
        }
        let response = request.call().map_err(|error| Trouble::of(error, url))?;
        let (head, body) = response.into_parts();
        let total = match head.status {
            StatusCode::PARTIAL_CONTENT if have > 0 => match content_range(&head.headers) {
                Some((Some(start), total)) if start == have => total,
                _ => {
                    discard(part);
                    return Err(Trouble::Broken("another part came than was asked for".to_owned()));
                }
            },
            StatusCode::RANGE_NOT_SATISFIABLE if have > 0 => {
                if content_range(&head.headers) == Some((None, Some(have))) {
                    return Ok(()); // All of it was here: an earlier run ended just before the check.
                }
                discard(part);
                return Err(Trouble::Broken("the file has another length now".to_owned()));
            }
            StatusCode::OK => {
                have = 0;
                File::create(part).map_err(failed("create", part))?;
                fs::write(&tag, validator(&head.headers)).map_err(failed("write", &tag))?;
                // The length of an encoded body is not the length of what is read from it.
                let plain = !head.headers.contains_key(header::CONTENT_ENCODING);
                number(head.headers.get(header::CONTENT_LENGTH)).filter(|_| plain)
            }
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
                return Err(Trouble::Broken(format!("the answer was {}", head.status)));
            }
            status if status.is_server_error() => {
                return Err(Trouble::Broken(format!("the answer was {status}")));
            }
            status => return Err(Trouble::Status(status)),
        };
        (self.progress)(Event::Begin { url, have, total });
        let mut file = OpenOptions::new().append(true).open(part).map_err(failed("open", part))?;
        let mut body = body.into_reader();
        let mut buffer = vec![0; 1 << 16];
        loop {
            let count = match body.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Trouble::Broken(error.to_string())),
            };
            have += count as u64;
            if have > self.limit {
                discard(part);
                let (url, limit) = (url.to_owned(), self.limit);
                return Err(Trouble::Final(FetchError::TooLarge { url, limit }));
            }
            file.write_all(&buffer[..count]).map_err(failed("write", part))?;
            (self.progress)(Event::Bytes { have });
        }
        match total {
            Some(total) if total != have => Err(Trouble::Broken(format!("{have} of {total} bytes came"))),
            _ => Ok(()),
        }
    }
}

/// What can go wrong with one request.
enum Trouble {
    /// Another attempt would end the same way.
    Final(FetchError),
    Status(StatusCode),
    NoConnection(String),
    Broken(String),
}

impl From<FetchError> for Trouble {
    fn from(error: FetchError) -> Self {
        Trouble::Final(error)
    }
}

impl Trouble {
    fn of(error: ureq::Error, url: &str) -> Self {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
        use ureq::{Error, Timeout};
        let reason = error.to_string();
        match error {
            Error::BadUri(_) | Error::Http(_) => {
                Trouble::Final(FetchError::Address { url: url.to_owned(), reason })
            }
            Error::HostNotFound => Trouble::NoConnection("no such host is known here".to_owned()),
            Error::Timeout(Timeout::Resolve | Timeout::Connect) => Trouble::NoConnection(reason),
            Error::Timeout(_) | Error::Protocol(_) => Trouble::Broken(reason),
            Error::Io(e) => match e.kind() {
                UnexpectedEof | ConnectionReset | ConnectionAborted | BrokenPipe => {
                    Trouble::Broken(e.to_string())
                }
                _ => Trouble::NoConnection(e.to_string()),
            },
            _ => Trouble::NoConnection(reason),
        }
    }
}

fn agent(url: &str, timeout: Duration) -> ureq::Agent {
    let mut config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        // Some sites turn away clients that do not name themselves this way.
        .user_agent(concat!("Mozilla/5.0 (compatible; gradus/", env!("CARGO_PKG_VERSION"), ")"))
        // A range counts the bytes of the file only if they travel as they are.
        .accept_encoding("identity")
        .timeout_resolve(Some(timeout))
        .timeout_connect(Some(timeout))
        .timeout_send_request(Some(timeout))
        .timeout_recv_response(Some(timeout))
        .timeout_per_read(Some(timeout))
        .timeout_recv_body(Some(LONGEST_ATTEMPT));
    // A proxy cannot reach this machine's own loopback address.
    if ["localhost", "127.0.0.1", "[::1]"].contains(&host(url)) {
        config = config.proxy(None);
    }
    config.build().into()
}

/// The strong ETag, else the date: what `If-Range` may carry. Empty if the server gave neither.
fn validator(headers: &HeaderMap) -> &[u8] {
    let tag = headers.get(header::ETAG).filter(|t| t.as_bytes().starts_with(b"\""));
    tag.or(headers.get(header::LAST_MODIFIED)).map_or(b"", HeaderValue::as_bytes)
}

/// `bytes START-END/TOTAL`, where either side of the slash may be a star.
fn content_range(headers: &HeaderMap) -> Option<(Option<u64>, Option<u64>)> {
    let value = headers.get(header::CONTENT_RANGE)?.to_str().ok()?;
    let (range, total) = value.strip_prefix("bytes ")?.split_once('/')?;
    Some((range.split_once('-').and_then(|(start, _)| start.parse().ok()), total.parse().ok()))
}

fn number(value: Option<&HeaderValue>) -> Option<u64> {
    value?.to_str().ok()?.parse().ok()
}

/// The host of an address, without port, name and password.
fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let rest = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    let host = rest.rsplit('@').next().unwrap_or(rest);
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    }
}
