//! Downloads from a server of our own on the loopback address that misbehaves on request.
#![cfg(feature = "fetch")]

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Cursor, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gradus::data::fetch::{
    CATALOGUE, DataFile, Dataset, FetchError, Member, Options, Origin, Outcome, State, daily_dialog_lines,
    fetch, find,
};
use sha2::{Digest, Sha256};
use zip::write::{SimpleFileOptions, ZipWriter};

/// How the server answers one request. After the last of its list it answers as it should.
#[derive(Clone, Copy, Debug)]
enum Reply {
    Good,
    /// Announces the whole body, sends this many bytes of it and closes the connection.
    Cut(usize),
    /// Sends this many bytes of a whole body and then nothing more, on an open connection. Answers a range as it should.
    Stall(usize),
    /// Ignores the range: always the whole body.
    NoRange,
    /// The right range, with wrong bytes in it.
    WrongBytes,
    Status(u16),
    /// Accepts the connection and never answers.
    Silent,
    /// A redirect to the same path below /moved.
    Redirect,
}

/// A request, and how much was sent in reply.
#[derive(Clone, Debug, Default, PartialEq)]
struct Request {
    path: String,
    range: Option<String>,
    if_range: Option<String>,
    /// Bytes of body.
    sent: usize,
}

/// What the server serves: files by name, and the ETag of all of them.
#[derive(Clone)]
struct Content {
    files: Vec<(String, Vec<u8>)>,
    tag: &'static str,
}

struct Server {
    url: String,
    requests: Arc<Mutex<Vec<Request>>>,
    content: Arc<Mutex<Content>>,
}

impl Server {
    fn new(files: &[(&str, &[u8])], replies: &[Reply]) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let files = files.iter().map(|(name, body)| (name.to_string(), body.to_vec())).collect();
        let content = Arc::new(Mutex::new(Content { files, tag: "\"first\"" }));
        let server = Server { url, requests: requests.clone(), content: content.clone() };
        let replies = replies.to_vec();
        std::thread::spawn(move || {
            let (mut silent, mut replies) = (Vec::new(), replies.into_iter());
            for stream in listener.incoming().flatten() {
                let content = content.lock().unwrap().clone();
                match replies.next().unwrap_or(Reply::Good) {
                    Reply::Silent => silent.push(stream),
                    reply => drop(answer(stream, reply, &content, &requests)),
                }
            }
        });
        server
    }

    fn address(&self, file: &str) -> String {
        format!("{}/data/{file}", self.url)
    }

    fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    fn ranges(&self) -> Vec<Option<String>> {
        self.requests().into_iter().map(|request| request.range).collect()
    }
}

/// Answers one request and closes the connection: just enough HTTP/1.1.
fn answer(
    mut stream: TcpStream,
    reply: Reply,
    content: &Content,
    requests: &Mutex<Vec<Request>>,
) -> std::io::Result<()> {
    let mut request = Request::default();
    for line in BufReader::new(stream.try_clone()?).lines() {
        let line = line?;
        match line.split_once(": ") {
            _ if line.is_empty() => break,
            Some((name, value)) if name.eq_ignore_ascii_case("range") => {
                request.range = Some(value.to_owned());
            }
            Some((name, value)) if name.eq_ignore_ascii_case("if-range") => {
                request.if_range = Some(value.to_owned());
            }
            None => request.path = line.split(' ').nth(1).unwrap_or_default().to_owned(),
            _ => {}
        }
    }
    let tag = content.tag;
    let file = content.files.iter().find(|(name, _)| request.path.ends_with(&format!("/{name}")));
    let mut head = format!("ETag: {tag}\r\nConnection: close\r\n");
    let mut status = if file.is_some() { 200 } else { 404 };
    let mut body = file.map(|(_, body)| body.clone()).unwrap_or_default();
    let total = body.len();
    let unchanged = request.if_range.as_ref().is_none_or(|t| t == tag);
    if let Some(range) = request.range.as_ref().filter(|_| unchanged && !matches!(reply, Reply::NoRange)) {
        let start: usize = range.trim_start_matches("bytes=").trim_end_matches('-').parse().unwrap();
        if start < total {
            status = 206;
            head += &format!("Content-Range: bytes {start}-{}/{total}\r\n", total - 1);
            body.drain(..start);
        } else {
            status = 416;
            head += &format!("Content-Range: bytes */{total}\r\n");
            body.clear();
        }
    }
    let length = body.len();
    let stall = matches!(reply, Reply::Stall(_)) && request.range.is_none();
    match reply {
        Reply::Cut(bytes) => body.truncate(bytes),
        Reply::Stall(bytes) if stall => body.truncate(bytes),
        Reply::WrongBytes => body.iter_mut().for_each(|byte| *byte ^= 1),
        Reply::Status(code) => status = code,
        Reply::Redirect => {
            status = 302;
            head += &format!("Location: /moved{}\r\n", request.path);
        }
        _ => {}
    }
    request.sent = body.len();
    requests.lock().unwrap().push(request);
    write!(stream, "HTTP/1.1 {status} Whatever\r\n{head}Content-Length: {length}\r\n\r\n")?;
    stream.write_all(&body)?;
    if stall {
        std::mem::forget(stream); // never closed, as long as the test runs
    }
    Ok(())
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Two hundred thousand bytes that do not repeat, so that a range in the wrong place is noticed.
fn bytes() -> Vec<u8> {
    (0u32..50_000).flat_map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()).collect()
}

/// Retries at once. The timeout is so long that it only ends a test that hangs.
fn quick() -> Options {
    Options { pause: Duration::from_millis(1), timeout: Duration::from_secs(600), ..Options::default() }
}

/// Fetches file.bin, in whose catalogue entry stands `hash`.
fn get(server: &Server, dir: &Path, hash: &str, options: &Options) -> Result<Outcome, FetchError> {
    let url = server.address("file.bin");
    let files = [DataFile { path: "sub/file.bin", bytes: 200_000, sha256: hash, origin: Origin::Url(&url) }];
    let data = Dataset { name: "test", description: "", licence: "", note: "a test's note", files: &files };
    let fetched = fetch(&data, dir, options, &mut |_| {})?;
    assert_eq!(fetched[0].0, dir.join("sub/file.bin"));
    Ok(fetched[0].1.clone())
}

/// The names of all files in a folder, sorted.
fn listing(dir: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_whole_download_leaves_the_file_and_nothing_else() {
    let (body, dir) = (bytes(), tempfile::tempdir().unwrap());
    let server = Server::new(&[("file.bin", &body)], &[]);
    assert_eq!(get(&server, dir.path(), &sha256(&body), &quick()).unwrap(), Outcome::Downloaded);
    assert_eq!(fs::read(dir.path().join("sub/file.bin")).unwrap(), body);
    assert_eq!(listing(&dir.path().join("sub")), ["file.bin"]);
    // The second time nothing is requested.
    assert_eq!(get(&server, dir.path(), &sha256(&body), &quick()).unwrap(), Outcome::Present);
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn an_interrupted_download_requests_only_the_missing_bytes() {
    let (body, dir) = (bytes(), tempfile::tempdir().unwrap());
    let server = Server::new(&[("file.bin", &body)], &[Reply::Cut(70_001), Reply::Cut(20_000)]);
    assert_eq!(get(&server, dir.path(), &sha256(&body), &quick()).unwrap(), Outcome::Downloaded);
    let range = |start| Some(format!("bytes={start}-"));
    assert_eq!(server.ranges(), [None, range(70_001), range(90_001)]);
    assert_eq!(server.requests()[1].if_range.as_deref(), Some("\"first\""));
    assert_eq!(server.requests().iter().map(|request| request.sent).sum::<usize>(), body.len());
    assert_eq!(fs::read(dir.path().join("sub/file.bin")).unwrap(), body);
    assert_eq!(listing(&dir.path().join("sub")), ["file.bin"]);
}

#[test]
fn the_next_run_continues_where_this_one_gave_up() {
    let (body, dir) = (bytes(), tempfile::tempdir().unwrap());
    let server = Server::new(&[("file.bin", &body)], &[Reply::Cut(5), Reply::Cut(5), Reply::Redirect]);
    let error = get(&server, dir.path(), &sha256(&body), &Options { attempts: 2, ..quick() }).unwrap_err();
    assert!(matches!(error, FetchError::Interrupted { have: 10, attempts: 2, .. }), "{error}");
    assert!(error.to_string().contains("10 bytes are kept"), "{error}");
    let url = server.address("file.bin");
    let file = DataFile { path: "sub/file.bin", bytes: 200_000, sha256: "", origin: Origin::Url(&url) };
    assert_eq!(file.state(dir.path()).unwrap(), State::Partial(10));
    // The range must survive a redirect.
    assert_eq!(get(&server, dir.path(), &sha256(&body), &quick()).unwrap(), Outcome::Downloaded);
    let last = server.requests().pop().unwrap();
    assert_eq!((last.path.as_str(), last.range.as_deref()), ("/moved/data/file.bin", Some("bytes=10-")));
    assert_eq!(last.sent, body.len() - 10);
}

#[test]
fn a_partial_file_of_an_older_revision_is_discarded() {
    let (body, dir) = (bytes(), tempfile::tempdir().unwrap());
    let server = Server::new(&[("file.bin", &vec![7; 200_000])], &[Reply::Cut(1000)]);
    get(&server, dir.path(), &sha256(&body), &Options { attempts: 1, ..quick() }).unwrap_err();
    *server.content.lock().unwrap() =
        Content { files: vec![("file.bin".to_owned(), body.clone())], tag: "\"second\"" };
    assert_eq!(get(&server, dir.path(), &sha256(&body), &quick()).unwrap(), Outcome::Downloaded);
    assert_eq!(server.requests()[1].if_range.as_deref(), Some("\"first\""));
    assert_eq!(fs::read(dir.path().join("sub/file.bin")).unwrap(), body);
}

#[test]
fn without_range_support_the_download_starts_again() {
    let (body, dir) = (bytes(), tempfile::tempdir().unwrap());
    let server = Server::new(&[("file.bin", &body)], &[Reply::Cut(1000), Reply::NoRange]);
    assert_eq!(get(&server, dir.path(), &sha256(&body), &quick()).unwrap(), Outcome::Downloaded);
    assert_eq!(server.requests().iter().map(|request| request.sent).collect::<Vec<_>>(), [1000, body.len()]);
    assert_eq!(fs::read(dir.path().join("sub/file.bin")).unwrap(), body);
}

#[test]
fn a_complete_partial_file_is_only_checked_and_one_too_long_is_discarded() {
    let body = bytes();
    let server = Server::new(&[("file.bin", &body)], &[]);
    for (part, requests) in [(body.clone(), 1), ([&body[..], &body[..]].concat(), 2)] {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("sub")).unwrap();
        fs::write(dir.path().join("sub/file.bin.part"), part).unwrap();
        let before = server.requests().len();
        assert_eq!(get(&server, dir.path(), &sha256(&body), &quick()).unwrap(), Outcome::Downloaded);
        assert_eq!(server.requests().len() - before, requests);
        assert_eq!(fs::read(dir.path().join("sub/file.bin")).unwrap(), body);
    }
}

#[test]
fn a_wrong_hash_keeps_nothing_and_is_reported_in_full() {
    let (body, dir) = (bytes(), tempfile::tempdir().unwrap());
    let server = Server::new(&[("file.bin", &body)], &[Reply::WrongBytes, Reply::WrongBytes]);
    let wrong: Vec<u8> = body.iter().map(|byte| byte ^ 1).collect();
    let error = get(&server, dir.path(), &sha256(&body), &quick()).unwrap_err();
    assert!(matches!(error, FetchError::WrongHash { .. }), "{error}");
    let message = error.to_string();
    let wanted = [
        server.address("file.bin"),
        sha256(&body),
        sha256(&wrong),
        "--accept-changed".into(),
        "a test's note".into(),
    ];
    wanted.iter().for_each(|text| assert!(message.contains(text), "no {text} in: {message}"));
    assert!(listing(&dir.path().join("sub")).is_empty());

    let accept = Options { accept_changed: true, ..quick() };
    let changed = Outcome::Changed { sha256: sha256(&wrong) };
    assert_eq!(get(&server, dir.path(), &sha256(&body), &accept).unwrap(), changed);
    assert_eq!(fs::read(dir.path().join("sub/file.bin")).unwrap(), wrong);
    // It is there now, and still has the wrong hash. An existing file is never overwritten.
    assert_eq!(get(&server, dir.path(), &sha256(&body), &accept).unwrap(), changed);
    let error = get(&server, dir.path(), &sha256(&body), &quick()).unwrap_err();
    assert!(matches!(error, FetchError::Occupied { .. }), "{error}");
    assert_eq!((server.requests().len(), fs::read(dir.path().join("sub/file.bin")).unwrap()), (2, wrong));
}

#[test]
fn not_found_is_final_and_temporary_errors_are_retried() {
    let (body, dir) = (bytes(), tempfile::tempdir().unwrap());
    let server =
        Server::new(&[("file.bin", &body)], &[Reply::Status(404), Reply::Status(503), Reply::Status(429)]);
    let error = get(&server, dir.path(), &sha256(&body), &quick()).unwrap_err();
    assert!(error.to_string().contains("404") && error.to_string().contains("by hand"), "{error}");
    assert_eq!(server.requests().len(), 1);
    assert_eq!(get(&server, dir.path(), &sha256(&body), &quick()).unwrap(), Outcome::Downloaded);
    assert_eq!(server.requests().len(), 4);
}

#[test]
fn no_connection_is_reported_without_a_retry() {
    let dir = tempfile::tempdir().unwrap();
    // The client's end of a connection: a port in use, on which nobody listens.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let connected = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let mirror = format!("http://{}/any/", connected.local_addr().unwrap());
    let options = Options { mirror: Some(mirror), ..Options::default() };
    let mut events = 0; // a retry would be one
    let error = fetch(find("fra-eng").unwrap(), dir.path(), &options, &mut |_| events += 1).unwrap_err();
    assert_eq!(events, 0);
    assert!(matches!(&error, FetchError::Unreachable { host, .. } if host == "127.0.0.1"), "{error}");
    let place = dir.path().join("fra-eng/fra.txt.fra-eng.zip").display().to_string();
    let cure = ["http://www.manythings.org/anki/fra-eng.zip", &place, "GRADUS_DATASETS", "fra-eng/fra.txt."];
    cure.iter().for_each(|text| assert!(error.to_string().contains(text), "no {text} in: {error}"));

    let options = Options { mirror: Some("ftp://example.org".to_owned()), ..Options::default() };
    let error = fetch(find("names").unwrap(), dir.path(), &options, &mut |_| {}).unwrap_err();
    assert!(matches!(error, FetchError::InvalidUrl { .. }), "{error}");
}

/// Fetches file.bin with a short timeout, longer each time while the machine is too busy even to connect within it.
fn get_with_short_timeout(
    server: &Server,
    dir: &Path,
    hash: &str,
    attempts: u32,
) -> Result<Outcome, FetchError> {
    let mut timeout = Duration::from_millis(200);
    loop {
        match get(server, dir, hash, &Options { timeout, attempts, ..quick() }) {
            Err(FetchError::Unreachable { .. }) => timeout *= 2,
            result => return result,
        }
    }
}

#[test]
fn a_silent_server_times_out() {
    let (body, dir) = (bytes(), tempfile::tempdir().unwrap());
    let server = Server::new(&[("file.bin", &body)], &[Reply::Silent; 100]);
    let error = get_with_short_timeout(&server, dir.path(), &sha256(&body), 2).unwrap_err();
    assert!(matches!(error, FetchError::Interrupted { have: 0, .. }), "{error}");
}

#[test]
fn a_stalled_download_times_out_and_the_next_attempt_continues_it() {
    let (body, dir) = (bytes(), tempfile::tempdir().unwrap());
    // On a busy machine an attempt can time out before a byte of it arrives, so there are more than two.
    let server = Server::new(&[("file.bin", &body)], &[Reply::Stall(1000); 100]);
    let outcome = get_with_short_timeout(&server, dir.path(), &sha256(&body), 100).unwrap();
    assert_eq!(outcome, Outcome::Downloaded);
    assert_eq!(server.ranges()[0], None);
    assert!(server.ranges().contains(&Some("bytes=1000-".to_owned())), "{:?}", server.ranges());
    assert_eq!(fs::read(dir.path().join("sub/file.bin")).unwrap(), body);
}

#[test]
fn a_body_that_is_far_too_long_is_discarded() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::new(&[("file.bin", &vec![0; 4 << 20])], &[]);
    let error = get(&server, dir.path(), &sha256(&bytes()), &quick()).unwrap_err();
    assert!(matches!(error, FetchError::TooLarge { .. }), "{error}");
    assert!(listing(&dir.path().join("sub")).is_empty());
}

#[cfg(unix)]
#[test]
fn two_processes_do_not_download_into_the_same_folder() {
    let (body, dir) = (bytes(), tempfile::tempdir().unwrap());
    fs::create_dir(dir.path().join("sub")).unwrap();
    let other = File::open(dir.path().join("sub")).unwrap();
    other.try_lock().unwrap();
    let server = Server::new(&[("file.bin", &body)], &[]);
    let error = get(&server, dir.path(), &sha256(&body), &quick()).unwrap_err();
    assert!(matches!(error, FetchError::Busy(_)), "{error}");
    drop(other);
    assert_eq!(get(&server, dir.path(), &sha256(&body), &quick()).unwrap(), Outcome::Downloaded);
}

fn zipped(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in members {
        zip.start_file(*name, SimpleFileOptions::default()).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

const DIALOGUES: [&str; 2] = [
    "Hello ! __eou__ Hi there . __eou__ Bye . __eou__\nRain ? __eou__\n",
    " It ’ s late . __eou__  __eou__ So it is . __eou__ \r\n\n__eou__\nno end",
];
const LINES: &str = "A: Hello !\nB: Hi there .\nA: Bye .\n\nA: Rain ?\n\n\
                     A: It ’ s late .\nB: So it is .\n\nA: no end\n\n";

#[test]
fn dialogues_become_lines() {
    let mut lines = String::new();
    DIALOGUES.iter().for_each(|text| daily_dialog_lines(text, &mut lines));
    assert_eq!(lines, LINES);
}

#[test]
fn daily_dialog_is_unpacked_from_its_archives() {
    let good =
        zipped(&[("train/", b""), ("train/acts.txt", b"1 2"), ("train/one.txt", DIALOGUES[0].as_bytes())]);
    let (other, second) =
        (zipped(&[("two.txt", b"another text")]), zipped(&[("two.txt", DIALOGUES[1].as_bytes())]));
    let server = Server::new(&[("one.zip", &good), ("two.zip", b"no zip")], &[]);
    let (urls, dir) = ([server.address("one.zip"), server.address("two.zip")], tempfile::tempdir().unwrap());
    let hashes = DIALOGUES.map(|text| sha256(text.as_bytes()));
    let member = |i: usize, name| Member { url: &urls[i], name, sha256: &hashes[i] };
    let (members, hash) = ([member(0, "one.txt"), member(1, "two.txt")], sha256(LINES.as_bytes()));
    let origin = Origin::DailyDialog(&members);
    let file = DataFile { path: "talk.txt", bytes: LINES.len() as u64, sha256: &hash, origin };
    let data = Dataset { name: "talk", description: "", licence: "", note: "", files: &[file] };
    let serve_second = |body: &[u8]| server.content.lock().unwrap().files[1].1 = body.to_vec();
    let run = || fetch(&data, dir.path(), &quick(), &mut |_| {});

    let error = run().unwrap_err();
    assert!(matches!(error, FetchError::Archive { .. }), "{error}");
    serve_second(&zipped(&[("three.txt", DIALOGUES[1].as_bytes())]));
    assert!(run().unwrap_err().to_string().contains("no member called two.txt"));
    serve_second(&zipped(&[("two.txt", &vec![b' '; 8 << 20])]));
    assert!(run().unwrap_err().to_string().contains("unpacks to more than"));
    serve_second(&other);
    let error = run().unwrap_err();
    assert!(matches!(&error, FetchError::WrongHash { url, .. } if *url == urls[1]), "{error}");
    // The good archive is kept, so that it is not downloaded again; the bad ones are not.
    assert_eq!(listing(dir.path()), ["talk.txt.one.zip"]);
    assert!(matches!(file.state(dir.path()).unwrap(), State::Partial(_)));
    serve_second(&second);
    assert_eq!(run().unwrap(), [(dir.path().join("talk.txt"), Outcome::Downloaded)]);
    assert_eq!(fs::read_to_string(dir.path().join("talk.txt")).unwrap(), LINES);
    assert_eq!(listing(dir.path()), ["talk.txt"]);
    assert_eq!(server.requests().iter().filter(|request| request.path.ends_with("one.zip")).count(), 1);
    assert_eq!(file.check(dir.path()).unwrap(), State::Present);
}

/// The folder with the real files, if there is one.
fn datasets() -> Option<PathBuf> {
    let named = std::env::var_os("GRADUS_DATASETS").filter(|dir| !dir.is_empty()).map(PathBuf::from);
    let dir = named.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/datasets"));
    dir.is_dir().then_some(dir)
}

#[test]
fn the_real_daily_dialog_is_reproduced_byte_for_byte() {
    let file = find("dailydialog").unwrap().files[0];
    let Origin::DailyDialog(members) = file.origin else { panic!("{file:?}") };
    let Some(dir) = datasets().map(|dir| dir.join("dailydialog")) else { return };
    if members.iter().any(|member| !dir.join(member.name).is_file()) {
        return;
    }
    let mut lines = String::new();
    for member in members {
        let text = fs::read_to_string(dir.join(member.name)).unwrap();
        assert_eq!(sha256(text.as_bytes()), member.sha256);
        daily_dialog_lines(&text, &mut lines);
    }
    assert_eq!((lines.len() as u64, sha256(lines.as_bytes()).as_str()), (file.bytes, file.sha256));
}

#[test]
fn the_catalogue_is_consistent_and_matches_the_real_files() {
    let mut paths = HashSet::new();
    for data in CATALOGUE {
        assert!(std::ptr::eq(find(&data.name.to_uppercase()).unwrap(), data));
        assert!(!data.files.is_empty() || data.note.contains("ships"));
        for file in data.files {
            assert!(paths.insert(file.path) && !Path::new(file.path).is_absolute() && file.bytes > 0);
            assert!(file.sha256.len() == 64 && file.sha256.bytes().all(|b| b"0123456789abcdef".contains(&b)));
            // Other revisions exist, all of another length. A file of the right length is the right file.
            let Some(dir) = datasets() else { continue };
            if file.state(&dir).unwrap() == State::Present {
                assert_eq!(file.check(&dir).unwrap(), State::Present, "{}", file.path);
            }
        }
    }
    for (typed, meant) in
        [("dalydialog", Some("dailydialog")), ("alpacca", Some("alpaca")), ("mnist", None), ("", None)]
    {
        let error = find(typed).unwrap_err();
        assert!(matches!(&error, FetchError::UnknownName { nearest, .. } if *nearest == meant), "{error}");
    }
}
