//! Downloads the public data sets that the other examples read.
//!
//! ```sh
//! cargo run --features fetch --example fetch -- --list
//! cargo run --features fetch --example fetch -- names dailydialog
//! ```

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, ensure};
use clap::Parser;
use gradus::data::fetch::{CATALOGUE, Dataset, Event, FetchError, Options, Outcome, State, fetch, find};
use indicatif::{ProgressBar, ProgressStyle};
use support::{Given, Program, Usage, say};

/// Downloads public data sets and checks each against its sha256.
///
/// Files that are there already are left alone. A download that breaks off is kept and continued
/// by the next run.
#[derive(Parser)]
#[command(name = "fetch", version, after_help = EXAMPLES)]
struct Args {
    /// Which data sets, as --list names them; `all` for every one
    #[arg(value_name = "NAME", required_unless_present_any = ["list", "check"])]
    names: Vec<String>,
    /// Show what there is, and what is here already
    #[arg(long, conflicts_with = "check")]
    list: bool,
    /// Hash what is here already, and download nothing
    #[arg(long)]
    check: bool,
    /// The folder to work in [default: $GRADUS_DATASETS, else datasets/downloads in the repository]
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
    /// A mirror: take URL/FILE instead of the publisher's address
    #[arg(long, value_name = "URL")]
    from: Option<String>,
    /// Keep a file even if its hash is not the one the catalogue knows
    #[arg(long)]
    accept_changed: bool,
}

const EXAMPLES: &str = "\
Examples:
  fetch --list                  what there is, and what is here already
  fetch names                   the names that the first model learns
  fetch dailydialog alpaca      two at once
  fetch dolly --accept-changed  a newer revision than the catalogue knows
  fetch all --to /data          everything, somewhere else
  fetch names --from http://localhost:8000
                                from a mirror
  fetch --check                 hash everything that is here

Exit status: 0 when all is well, 1 when something is missing or wrong, 2 for a wrong command line.";

impl Program for Args {
    fn run(&self, _: &Given) -> Result<()> {
        let sets =
            choose(&self.names).map_err(|error| Usage(format!("{error}\n  See --list for all of them")))?;
        let dir = self.to.clone().unwrap_or_else(default_dir);
        let well = if self.list {
            list(&sets, &dir)
        } else if self.check {
            check(&sets, &dir, !self.names.is_empty())
        } else {
            download(&sets, &dir, self)
        };
        ensure!(well, "not all is there and as it should be: see above");
        Ok(())
    }
}

/// The data sets of these names, each once and in the catalogue's order; all of them if none is named.
fn choose(names: &[String]) -> Result<Vec<&'static Dataset<'static>>, FetchError> {
    let mut chosen = BTreeSet::new();
    for name in names.iter().filter(|name| *name != "all") {
        chosen.insert(find(name)?.name);
    }
    let all = names.is_empty() || names.iter().any(|name| name == "all");
    Ok(CATALOGUE.iter().filter(|data| all || chosen.contains(data.name)).collect())
}

fn default_dir() -> PathBuf {
    match std::env::var_os("GRADUS_DATASETS") {
        Some(dir) if !dir.is_empty() => dir.into(),
        _ => Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("datasets").join("downloads"),
    }
}

/// Prints the table of data sets.
fn list(sets: &[&Dataset<'_>], dir: &Path) -> bool {
    let mut table = format!("In {}:\n\n", dir.display());
    let mut well = true;
    let _ = writeln!(table, "{:<12} {:>9}  {:<8} {:<18} description", "name", "size", "here", "licence");
    for data in sets {
        let size = data.files.iter().map(|file| file.bytes).sum();
        let size = if data.files.is_empty() { "-".to_owned() } else { human(size) };
        let here = here(data, dir).unwrap_or_else(|message| {
            complain(&message);
            well = false;
            "?"
        });
        let (name, licence, text) = (data.name, data.licence, data.description);
        let _ = writeln!(table, "{name:<12} {size:>9}  {here:<8} {licence:<18} {text}");
    }
    let notes = sets.iter().filter(|data| !data.note.is_empty());
    for (index, data) in notes.enumerate() {
        let _ = writeln!(table, "{}{}: {}.", if index == 0 { "\n" } else { "" }, data.name, data.note);
    }
    say!("{}", table.trim_end());
    well
}

/// One word on what lies in the folder, judged by the lengths of the files.
fn here(data: &Dataset<'_>, dir: &Path) -> Result<&'static str, String> {
    let (mut present, mut some) = (0, false);
    for file in data.files {
        match file.state(dir).map_err(|error| error.to_string())? {
            State::Present => present += 1,
            State::Changed { .. } => return Ok("other"),
            State::Partial(_) => some = true,
            State::Absent => {}
        }
    }
    Ok(match present {
        _ if data.files.is_empty() => "shipped",
        n if n == data.files.len() => "present",
        0 if !some => "absent",
        _ => "partial",
    })
}

/// Hashes what is there. What is not is a fault only if it was asked for by name.
fn check(sets: &[&Dataset<'_>], dir: &Path, named: bool) -> bool {
    let mut well = true;
    for data in sets {
        if data.files.is_empty() && named {
            say!("{}: {}", data.name, data.note);
        }
        for file in data.files {
            let path = dir.join(file.path);
            let path = path.display();
            let (good, verdict) = match file.check(dir) {
                Ok(State::Present) => (true, format!("{path}: good")),
                Ok(State::Changed { bytes, sha256 }) => {
                    let found = format!("{bytes} bytes, sha256 {}", sha256.unwrap_or_default());
                    let expected = format!("{} bytes, sha256 {}", file.bytes, file.sha256);
                    (false, format!("{path}: another file\n  expected {expected}\n  found    {found}"))
                }
                Ok(State::Partial(bytes)) => (false, format!("{path}: unfinished, {} so far", human(bytes))),
                Ok(State::Absent) if !named => continue,
                Ok(State::Absent) => (false, format!("{path}: absent")),
                Err(error) => (false, error.to_string()),
            };
            well &= good;
            say!("{verdict}");
        }
    }
    well
}

fn download(sets: &[&Dataset<'_>], dir: &Path, args: &Args) -> bool {
    let options =
        Options { mirror: args.from.clone(), accept_changed: args.accept_changed, ..Options::default() };
    // Every byte received is in the .part file already, so stopping here loses nothing.
    let handler = ctrlc::set_handler(|| {
        complain("\nStopped. What came so far is kept: run the same command again to go on.");
        std::process::exit(130);
    });
    if let Err(error) = handler {
        complain(&format!("Ctrl-C will stop without a word: {error}"));
    }
    let mut well = true;
    for data in sets {
        if data.files.is_empty() {
            say!("{}: {}", data.name, data.note);
            continue;
        }
        let mut display = Display { name: data.name, bar: None };
        let fetched = fetch(data, dir, &options, &mut |event| display.show(event));
        display.clear();
        match fetched {
            Ok(files) => files.iter().for_each(|(path, outcome)| report(data, path, outcome)),
            Err(error) => {
                complain(&format!("{}: {error}", data.name));
                well = false;
            }
        }
    }
    well
}

fn report(data: &Dataset<'_>, path: &Path, outcome: &Outcome) {
    let (name, path) = (data.name, path.display());
    match outcome {
        Outcome::Present => say!("{name}: {path} is here already, sha256 as expected"),
        Outcome::Downloaded => say!("{name}: {path}, sha256 as expected ({})", data.licence),
        Outcome::Changed { sha256 } => {
            say!("{name}: {path} is NOT the file the catalogue knows: sha256 {sha256}");
        }
    }
}

/// A bar where there is a terminal to draw it on, plain lines elsewhere.
struct Display<'a> {
    name: &'a str,
    bar: Option<ProgressBar>,
}

impl Display<'_> {
    fn show(&mut self, event: Event<'_>) {
        match event {
            Event::Begin { url, have, total } => {
                self.clear();
                if std::io::stderr().is_terminal() {
                    self.bar = Some(bar(self.name, have, total));
                } else {
                    let size = total.map(|total| format!(", {}", human(total))).unwrap_or_default();
                    let kept = if have > 0 {
                        format!(", {} of it here already", human(have))
                    } else {
                        String::new()
                    };
                    complain(&format!("{}: {url}{size}{kept}", self.name));
                }
            }
            Event::Bytes { have } => {
                if let Some(bar) = &self.bar {
                    bar.set_position(have);
                }
            }
            Event::Retry { reason, wait } => {
                self.clear();
                complain(&format!("{}: {reason}; again in {} s", self.name, wait.as_secs()));
            }
            _ => {}
        }
    }

    fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

fn bar(name: &str, have: u64, total: Option<u64>) -> ProgressBar {
    let (bar, template) = match total {
        Some(total) => (
            ProgressBar::new(total),
            "{msg} [{bar:30}] {decimal_bytes}/{decimal_total_bytes}, {decimal_bytes_per_sec}, {eta} left",
        ),
        None => (ProgressBar::no_length(), "{msg} {spinner} {decimal_bytes}, {decimal_bytes_per_sec}"),
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_message(name.to_owned());
    bar.set_position(have);
    bar.reset_eta(); // The speed counts from here, not from what an earlier run brought.
    bar
}

fn human(bytes: u64) -> String {
    match bytes {
        0..1000 => format!("{bytes} B"),
        1000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}

/// A line on standard error.
fn complain(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn main() -> ExitCode {
    Args::start()
}
