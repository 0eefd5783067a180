//! Downloads, against a server of our own on the loopback address that can be told to misbehave.
#![cfg(feature = "fetch")]

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Cursor, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use gradus::data::fetch::{
    CATALOGUE, DataFile, Dataset, FetchError, Member, Options, Origin, Outcome, State, daily_dialog_lines,
    fetch, find,
};
use sha2::{Digest, Sha256};
use zip::write::{SimpleFileOptions, ZipWriter};

/// What the server does with one request; after the last of the list it behaves.
#[derive(Clone, Copy, Debug)]
enum Mood {
    Well,
    /// Promises the whole body and hangs up after so many bytes of it.
    Cut(usize),
    /// The same, but the line stays open, and silent.
    Stall(usize),
    /// Knows no ranges: always the whole body.
    NoRange,
    /// The right range, and wrong bytes in it.
    Lie,
    Status(u16),
    /// Accepts, and never says a word.
    Silent,
    /// Sends the client to the same path below /moved.
    Redirect,
}

/// A request as the server saw it.
#[derive(Clone, Debug, Default, PartialEq)]
struct Seen {
    path: String,
    range: Option<String>,
    if_range: Option<String>,
    /// Bytes of body that were sent.
    sent: usize,
}

/// What the server has to give: files by name, and the ETag of them all.
#[derive(Clone)]
struct Stock {
    files: Vec<(String, Vec<u8>)>,
    tag: &'static str,
}

struct Server {
    url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    stock: Arc<Mutex<Stock>>,
}

impl Server {
    fn new(files: &[(&str, &[u8])], moods: &[Mood]) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let files = files.iter().map(|(name, body)| (name.to_string(), body.to_vec())).collect();
        let stock = Arc::new(Mutex::new(Stock { files, tag: "\"first\"" }));
        let (log, shelf, mut moods) = (seen.clone(), stock.clone(), moods.to_vec());
        moods.reverse();
        std::thread::spawn(move || {
            let mut silent = Vec::new();
            for stream in listener.incoming().flatten() {
                let mood = moods.pop().unwrap_or(Mood::Well);
                let stock = shelf.lock().unwrap().clone();
                match mood {
                    Mood::Silent => silent.push(stream),
                    _ => drop(answer(stream, mood, &stock, &log)),
                }
            }
        });
        Server { url, seen, stock }
    }

    fn address(&self, file: &str) -> String {
        format!("{}/data/{file}", self.url)
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    fn ranges(&self) -> Vec<Option<String>> {
        self.seen().into_iter().map(|seen| seen.range).collect()
    }
}

/// Speaks just enough HTTP/1.1, one request a connection.
fn answer(mut stream: TcpStream, mood: Mood, stock: &Stock, log: &Mutex<Vec<Seen>>) -> std::io::Result<()> {
    let mut seen = Seen::default();
    for line in BufReader::new(stream.try_clone()?).lines() {
        let line = line?;
        match line.split_once(": ") {
            _ if line.is_empty() => break,
            Some((name, value)) if name.eq_ignore_ascii_case("range") => seen.range = Some(value.to_owned()),
            Some((name, value)) if name.eq_ignore_ascii_case("if-range") => {
                seen.if_range = Some(value.to_owned())
            }
            None => seen.path = line.split(' ').nth(1).unwrap_or_default().to_owned(),
            _ => {}
        }
    }
    let tag = stock.tag;
    let file = stock.files.iter().find(|(name, _)| seen.path.ends_with(&format!("/{name}")));
    let mut head = format!("ETag: {tag}\r\nConnection: close\r\n");
    let mut status = if file.is_some() { 200 } else { 404 };
    let mut body = file.map(|(_, body)| body.clone()).unwrap_or_default();
    let (all, ranged) = (body.len(), !matches!(mood, Mood::NoRange));
    if let Some(range) =
        seen.range.as_ref().filter(|_| ranged && seen.if_range.as_ref().is_none_or(|t| t == tag))
    {
        let start: usize = range.trim_start_matches("bytes=").trim_end_matches('-').parse().unwrap();
        if start < all {
            status = 206;
            head += &format!("Content-Range: bytes {start}-{}/{all}\r\n", all - 1);
            body.drain(..start);
        } else {
            status = 416;
            head += &format!("Content-Range: bytes */{all}\r\n");
            body.clear();
        }
    }
    let length = body.len();
    match mood {
        Mood::Cut(bytes) | Mood::Stall(bytes) => body.truncate(bytes),
        Mood::Lie => body.iter_mut().for_each(|byte| *byte ^= 1),
        Mood::Status(code) => status = code,
        Mood::Redirect => {
            status = 302;
            head += &format!("Location: /moved{}\r\n", seen.path);
        }
        _ => {}
    }
    seen.sent = body.len();
    log.lock().unwrap().push(seen);
    write!(stream, "HTTP/1.1 {status} Whatever\r\n{head}Content-Length: {length}\r\n\r\n")?;
    stream.write_all(&body)?;
    if let Mood::Stall(_) = mood {
        std::mem::forget(stream); // Never closed, as long as the test runs.
    }
    Ok(())
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Two hundred thousand bytes that do not repeat: a range put in the wrong place would show.
fn bytes() -> Vec<u8> {
    (0u32..50_000).flat_map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()).collect()
}

/// Short waits, so that a test of patience is no test of the reader's.
fn quick() -> Options {
    Options { pause: Duration::from_millis(1), timeout: Duration::from_secs(5), ..Options::default() }
}

/// Fetches `body` as file.bin, which the catalogue knows by its right length and `hash`.
fn get(server: &Server, dir: &Path, hash: &str, options: &Options) -> Result<Outcome, FetchError> {
    let url = server.address("file.bin");
    let files = [DataFile { path: "sub/file.bin", bytes: 200_000, sha256: hash, origin: Origin::Url(&url) }];
    let data = Dataset { name: "test", description: "", licence: "", note: "a test's note", files: &files };
    let fetched = fetch(&data, dir, options, &mut |_| {})?;
    assert_eq!(fetched[0].0, dir.join("sub/file.bin"));
    Ok(fetched[0].1.clone())
}

/// The names of all that lies in a folder.
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
    // The second time there is nothing to ask for.
    assert_eq!(get(&server, dir.path(), &sha256(&body), &quick()).unwrap(), Outcome::Present);
    assert_eq!(server.seen().len(), 1);
}

#[test]
fn a_cut_is_resumed_and_only_the_missing_bytes_are_asked_for() {
    let (body, dir) = (bytes(), tempfile::tempdir().unwrap());
    let server = Server::new(&[("file.bin", &body)], &[Mood::Cut(70_001), Mood::Cut(20_000)]);
    assert_eq!(get(&server, dir.path(), &sha256(&body), &quick()).unwrap(), Outcome::Downloaded);
    let range = |start| Some(format!("bytes={start}-"));
    assert_eq!(server.ranges(), [None, range(70_001), range(90_001)]);
    assert_eq!(server.seen()[1].if_range.as_deref(), Some("\"first\""));
    assert_eq!(server.seen().iter().map(|seen| seen.sent).sum::<usize>(), body.len());
    assert_eq!(fs::read(dir.path().join("sub/file.bin")).unwrap(), body);
    assert_eq!(listing(&dir.path().join("sub")), ["file.bin"]);
}

#[test]
fn the_next_run_goes_on_where_this_one_gave_up() {
    let (body, dir) = (bytes(), tempfile::tempdir().unwrap());
    let server = Server::new(&[("file.bin", &body)], &[Mood::Cut(5), Mood::Cut(5), Mood::Redirect]);
    let error = get(&server, dir.path(), &sha256(&body), &Options { attempts: 2, ..quick() }).unwrap_err();
    assert!(matches!(error, FetchError::Broken { have: 10, attempts: 2, .. }), "{error}");
    assert!(error.to_string().contains("10 bytes are kept"), "{error}");
    let url = server.address("file.bin");
    let file = DataFile { path: "sub/file.bin", bytes: 200_000, sha256: "", origin: Origin::Url(&url) };
    assert_eq!(file.state(dir.path()).unwrap(), State::Partial(10));
    // Through a redirect too: the range has to survive it.
    assert_eq!(get(&server, dir.path(), &sha256(&body), &quick()).unwrap(), Outcome::Downloaded);
    let last = server.seen().pop().unwrap();
    assert_eq!((last.path.as_str(), last.range.as_deref()), ("/moved/data/file.bin", Some("bytes=10-")));
    assert_eq!(last.sent, body.len() - 10);
}

#[test]
fn a_part_of_an_older_revision_is_thrown_away() {
    let (body, dir) = (bytes(), tempfile::tempdir().unwrap());
    let server = Server::new(&[("file.bin", &vec![7; 200_000])], &[Mood::Cut(1000)]);
    get(&server, dir.path(), &sha256(&body), &Options { attempts: 1, ..quick() }).unwrap_err();
    *server.stock.lock().unwrap() =
        Stock { files: vec![("file.bin".to_owned(), body.clone())], tag: "\"second\"" };
    assert_eq!(get(&server, dir.path(), &sha256(&body), &quick()).unwrap(), Outcome::Downloaded);
    assert_eq!(server.seen()[1].if_range.as_deref(), Some("\"first\""));
    assert_eq!(fs::read(dir.path().join("sub/file.bin")).unwrap(), body);
}

#[test]
fn a_server_that_knows_no_ranges_starts_again() {
    let (body, dir) = (bytes(), tempfile::tempdir().unwrap());
    let server = Server::new(&[("file.bin", &body)], &[Mood::Cut(1000), Mood::NoRange]);
    assert_eq!(get(&server, dir.path(), &sha256(&body), &quick()).unwrap(), Outcome::Downloaded);
    assert_eq!(server.seen().iter().map(|seen| seen.sent).collect::<Vec<_>>(), [1000, body.len()]);
    assert_eq!(fs::read(dir.path().join("sub/file.bin")).unwrap(), body);
}

#[test]
fn a_part_that_is_complete_already_only_wants_checking_and_one_too_long_goes() {
    let body = bytes();
    let server = Server::new(&[("file.bin", &body)], &[]);
    for (part, requests) in [(body.clone(), 1), ([&body[..], &body[..]].concat(), 2)] {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("sub")).unwrap();
        fs::write(dir.path().join("sub/file.bin.part"), part).unwrap();
        let before = server.seen().len();
        assert_eq!(get(&server, dir.path(), &sha256(&body), &quick()).unwrap(), Outcome::Downloaded);
        assert_eq!(server.seen().len() - before, requests);
        assert_eq!(fs::read(dir.path().join("sub/file.bin")).unwrap(), body);
    }
}

#[test]
fn a_wrong_hash_keeps_nothing_and_says_all() {
    let (body, dir) = (bytes(), tempfile::tempdir().unwrap());
    let server = Server::new(&[("file.bin", &body)], &[Mood::Lie, Mood::Lie]);
    let lie: Vec<u8> = body.iter().map(|byte| byte ^ 1).collect();
    let error = get(&server, dir.path(), &sha256(&body), &quick()).unwrap_err();
    assert!(matches!(error, FetchError::WrongHash { .. }), "{error}");
    let message = error.to_string();
    let wanted = [
        server.address("file.bin"),
        sha256(&body),
        sha256(&lie),
        "--accept-changed".into(),
        "a test's note".into(),
    ];
    wanted.iter().for_each(|text| assert!(message.contains(text), "no {text} in: {message}"));
    assert!(listing(&dir.path().join("sub")).is_empty());

    let accept = Options { accept_changed: true, ..quick() };
    let changed = Outcome::Changed { sha256: sha256(&lie) };
    assert_eq!(get(&server, dir.path(), &sha256(&body), &accept).unwrap(), changed);
    assert_eq!(fs::read(dir.path().join("sub/file.bin")).unwrap(), lie);
    // It is there now, and still another file: nobody's file is written over.
    assert_eq!(get(&server, dir.path(), &sha256(&body), &accept).unwrap(), changed);
    let error = get(&server, dir.path(), &sha256(&body), &quick()).unwrap_err();
    assert!(matches!(error, FetchError::Occupied { .. }), "{error}");
    assert_eq!((server.seen().len(), fs::read(dir.path().join("sub/file.bin")).unwrap()), (2, lie));
}

#[test]
fn refusals_are_final_and_hiccups_are_not() {
    let (body, dir) = (bytes(), tempfile::tempdir().unwrap());
    let server =
        Server::new(&[("file.bin", &body)], &[Mood::Status(404), Mood::Status(503), Mood::Status(429)]);
    let error = get(&server, dir.path(), &sha256(&body), &quick()).unwrap_err();
    assert!(error.to_string().contains("404") && error.to_string().contains("by hand"), "{error}");
    assert_eq!(server.seen().len(), 1);
    assert_eq!(get(&server, dir.path(), &sha256(&body), &quick()).unwrap(), Outcome::Downloaded);
    assert_eq!(server.seen().len(), 4);
}

#[test]
fn no_connection_is_said_at_once_with_the_cure() {
    let dir = tempfile::tempdir().unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let options = Options { mirror: Some(format!("http://127.0.0.1:{port}/any/")), ..Options::default() };
    let start = Instant::now();
    let error = fetch(find("fra-eng").unwrap(), dir.path(), &options, &mut |_| {}).unwrap_err();
    assert!(start.elapsed() < Duration::from_secs(5));
    assert!(matches!(&error, FetchError::Unreachable { host, .. } if host == "127.0.0.1"), "{error}");
    let place = dir.path().join("fra-eng/fra.txt.fra-eng.zip").display().to_string();
    let cure = ["http://www.manythings.org/anki/fra-eng.zip", &place, "GRADUS_DATASETS", "fra-eng/fra.txt."];
    cure.iter().for_each(|text| assert!(error.to_string().contains(text), "no {text} in: {error}"));

    let options = Options { mirror: Some("ftp://example.org".to_owned()), ..Options::default() };
    let error = fetch(find("names").unwrap(), dir.path(), &options, &mut |_| {}).unwrap_err();
    assert!(matches!(error, FetchError::Address { .. }), "{error}");
}

#[test]
fn silence_ends_and_so_does_a_flood() {
    let (body, dir) = (bytes(), tempfile::tempdir().unwrap());
    let server = Server::new(&[("file.bin", &body)], &[Mood::Silent, Mood::Silent]);
    let hasty = Options { timeout: Duration::from_millis(200), attempts: 2, ..quick() };
    let error = get(&server, dir.path(), &sha256(&body), &hasty).unwrap_err();
    assert!(matches!(error, FetchError::Broken { have: 0, .. }), "{error}");

    // Neither does a line that falls silent halfway hold anybody up: the next attempt goes on.
    let server = Server::new(&[("file.bin", &body)], &[Mood::Stall(1000)]);
    assert_eq!(get(&server, dir.path(), &sha256(&body), &hasty).unwrap(), Outcome::Downloaded);
    assert_eq!(server.ranges(), [None, Some("bytes=1000-".to_owned())]);

    let dir = tempfile::tempdir().unwrap();
    let server = Server::new(&[("file.bin", &vec![0; 4 << 20])], &[]);
    let error = get(&server, dir.path(), &sha256(&body), &quick()).unwrap_err();
    assert!(matches!(error, FetchError::TooLarge { .. }), "{error}");
    assert!(listing(&dir.path().join("sub")).is_empty());
}

#[cfg(unix)]
#[test]
fn two_at_once_do_not_share_a_part() {
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

const TALK: [&str; 2] = [
    "Hello ! __eou__ Hi there . __eou__ Bye . __eou__\nRain ? __eou__\n",
    " It ’ s late . __eou__  __eou__ So it is . __eou__ \r\n\n__eou__\nno end",
];
const LINES: &str = "A: Hello !\nB: Hi there .\nA: Bye .\n\nA: Rain ?\n\n\
                     A: It ’ s late .\nB: So it is .\n\nA: no end\n\n";

#[test]
fn dialogues_become_lines() {
    let mut lines = String::new();
    TALK.iter().for_each(|text| daily_dialog_lines(text, &mut lines));
    assert_eq!(lines, LINES);
}

#[test]
fn daily_dialog_comes_out_of_its_archives() {
    let good = zipped(&[("train/", b""), ("train/acts.txt", b"1 2"), ("train/one.txt", TALK[0].as_bytes())]);
    let (other, second) =
        (zipped(&[("two.txt", b"another text")]), zipped(&[("two.txt", TALK[1].as_bytes())]));
    let server = Server::new(&[("one.zip", &good), ("two.zip", b"no zip")], &[]);
    let (urls, dir) = ([server.address("one.zip"), server.address("two.zip")], tempfile::tempdir().unwrap());
    let hashes = TALK.map(|text| sha256(text.as_bytes()));
    let member = |i: usize, name| Member { url: &urls[i], name, sha256: &hashes[i] };
    let (members, hash) = ([member(0, "one.txt"), member(1, "two.txt")], sha256(LINES.as_bytes()));
    let origin = Origin::DailyDialog(&members);
    let file = DataFile { path: "talk.txt", bytes: LINES.len() as u64, sha256: &hash, origin };
    let data = Dataset { name: "talk", description: "", licence: "", note: "", files: &[file] };
    let put = |body: &[u8]| server.stock.lock().unwrap().files[1].1 = body.to_vec();
    let run = || fetch(&data, dir.path(), &quick(), &mut |_| {});

    let error = run().unwrap_err();
    assert!(matches!(error, FetchError::Archive { .. }), "{error}");
    put(&zipped(&[("three.txt", TALK[1].as_bytes())]));
    assert!(run().unwrap_err().to_string().contains("no member called two.txt"));
    put(&zipped(&[("two.txt", &vec![b' '; 8 << 20])]));
    assert!(run().unwrap_err().to_string().contains("unpacks to more than"));
    put(&other);
    let error = run().unwrap_err();
    assert!(matches!(&error, FetchError::WrongHash { url, .. } if *url == urls[1]), "{error}");
    // The good archive stays, so that it need not come again; the bad ones do not.
    assert_eq!(listing(dir.path()), ["talk.txt.one.zip"]);
    assert!(matches!(file.state(dir.path()).unwrap(), State::Partial(_)));
    put(&second);
    assert_eq!(run().unwrap(), [(dir.path().join("talk.txt"), Outcome::Downloaded)]);
    assert_eq!(fs::read_to_string(dir.path().join("talk.txt")).unwrap(), LINES);
    assert_eq!(listing(dir.path()), ["talk.txt"]);
    assert_eq!(server.seen().iter().filter(|seen| seen.path.ends_with("one.zip")).count(), 1);
    assert_eq!(file.check(dir.path()).unwrap(), State::Present);
}

/// The folder with the real files, where there is one.
fn datasets() -> Option<PathBuf> {
    let named = std::env::var_os("GRADUS_DATASETS").filter(|dir| !dir.is_empty()).map(PathBuf::from);
    let dir = named.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/datasets"));
    dir.is_dir().then_some(dir)
}

#[test]
fn the_real_daily_dialog_is_made_byte_for_byte() {
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
fn the_catalogue_holds_together_and_knows_the_real_files() {
    let mut paths = HashSet::new();
    for data in CATALOGUE {
        assert!(std::ptr::eq(find(&data.name.to_uppercase()).unwrap(), data));
        assert!(!data.files.is_empty() || data.note.contains("ships"));
        for file in data.files {
            assert!(paths.insert(file.path) && !Path::new(file.path).is_absolute() && file.bytes > 0);
            assert!(file.sha256.len() == 64 && file.sha256.bytes().all(|b| b"0123456789abcdef".contains(&b)));
            // Other revisions go round, which their length betrays; a file of the right length is right.
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
