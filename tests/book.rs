//! The README and the book speak the truth: their links, quotations, commands and figures exist, and what a
//! command is shown to print is what it prints.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

#[path = "common/dataset.rs"]
mod dataset;
#[path = "common/program.rs"]
mod program;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All files below a folder that end so.
fn files(folder: &Path, end: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let (folders, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    let here = files.into_iter().filter(|path| path.to_string_lossy().ends_with(end));
    here.chain(folders.iter().flat_map(|folder| self::files(folder, end))).collect()
}

/// The README, if it is written yet, and every page of the book.
fn pages() -> Vec<(PathBuf, String)> {
    let readme = Some(root().join("README.md")).filter(|path| path.exists());
    let pages = files(&root().join("docs"), ".md").into_iter().chain(readme);
    pages.map(|path| (path.clone(), read(&path).replace("\\\n", " "))).collect()
}

/// Every stretch of text between `open` and the next `close`.
fn between<'a>(text: &'a str, open: &str, close: char) -> impl Iterator<Item = &'a str> {
    text.split(open).skip(1).filter_map(move |rest| rest.split_once(close)).map(|(inside, _)| inside)
}

/// The fenced blocks of a page, each with its language, and the text without them.
fn fences(text: &str) -> (Vec<(&str, Vec<&str>)>, String) {
    let (mut blocks, mut prose, mut inside) = (Vec::new(), String::new(), false);
    for line in text.lines() {
        match line.trim_start().strip_prefix("```") {
            Some(_) if inside => inside = false,
            Some(language) => {
                inside = true;
                blocks.push((language, Vec::new()));
            }
            None if inside => blocks.last_mut().expect("a block was opened").1.push(line),
            None => prose = prose + line + "\n",
        }
    }
    (blocks, prose)
}

fn assert_none(problems: Vec<String>) {
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

#[test]
fn every_chapter_is_in_the_summary() {
    let summary = read(&root().join("docs/SUMMARY.md"));
    for page in files(&root().join("docs"), ".md").iter().filter(|page| !page.ends_with("SUMMARY.md")) {
        let name = page.strip_prefix(root().join("docs")).expect("it was found there").display();
        assert!(summary.contains(&format!("({name})")), "{name} is not in SUMMARY.md");
    }
}

/// The stretches of a source file that are marked to be quoted.
fn anchors(source: &Path) -> Vec<(PathBuf, String)> {
    let code = read(source);
    let whole = |name: &&str| anchored(&code, name).is_some_and(|lines| !lines.is_empty());
    let path = source.strip_prefix(root()).expect("it was found there");
    between(&code, "// ANCHOR: ", '\n').filter(whole).map(|name| (path.to_owned(), name.to_owned())).collect()
}

/// The lines of an anchor, without the indentation that they share and without the marks of other anchors.
fn anchored<'a>(code: &'a str, name: &str) -> Option<Vec<&'a str>> {
    let (_, rest) = code.split_once(&format!("// ANCHOR: {name}\n"))?;
    let (lines, _) = rest.split_once(&format!("// ANCHOR_END: {name}\n"))?;
    let mark =
        |line: &&str| ["// ANCHOR: ", "// ANCHOR_END: "].iter().any(|m| line.trim_start().starts_with(m));
    let mut lines: Vec<_> = lines.lines().filter(|line| !mark(line)).collect();
    lines.pop_if(|line| line.trim().is_empty()); // what stands before the end mark
    let indent = |line: &&str| (!line.trim().is_empty()).then(|| line.len() - line.trim_start().len());
    let shared = lines.iter().filter_map(indent).min().unwrap_or(0);
    Some(lines.into_iter().map(|line| line.get(shared..).unwrap_or("")).collect())
}

/// What a line asks to quote, as path from the root and anchor: `<!-- quote: src/tensor.rs:softmax -->`.
fn quotation(line: &str) -> Option<(PathBuf, String)> {
    let what = line.trim().strip_prefix("<!-- quote: ")?.strip_suffix(" -->")?;
    let (path, anchor) = what.split_once(':').unwrap_or((what, "(none)"));
    Some((PathBuf::from(path), anchor.to_owned()))
}

/// A page in which the block below each quotation's comment is what the source says. If there is no block, it
/// gets one.
fn filled(text: &str) -> String {
    let (mut out, mut lines) = (String::new(), text.split_inclusive('\n').peekable());
    while let Some(line) = lines.next() {
        out += line;
        let Some((path, anchor)) = quotation(line) else { continue };
        let code = fs::read_to_string(root().join(path)).unwrap_or_default();
        let Some(code) = anchored(&code, &anchor) else { continue };
        if lines.next_if(|line| line.starts_with("```")).is_some() {
            lines.by_ref().find(|line| line.starts_with("```"));
        }
        out += &format!("```rust\n{}\n```\n", code.join("\n"));
    }
    out
}

#[test]
fn quotations_are_what_the_sources_say() {
    let anchors = |folders: &[&str]| -> BTreeSet<_> {
        let sources = folders.iter().flat_map(|folder| files(&root().join(folder), ".rs"));
        sources.flat_map(|source| anchors(&source)).collect()
    };
    let to_be_quoted = anchors(&["src", "examples"]);
    let anchors = &to_be_quoted | &anchors(&["benches"]); // where they mark what is counted, too
    let (mut quoted, mut problems) = (BTreeSet::new(), Vec::new());
    for page in files(&root().join("docs"), ".md") {
        let text = read(&page);
        quoted.extend(text.lines().filter_map(quotation));
        let filled = filled(&text);
        if filled != text && std::env::var_os("BLESS").is_some() {
            fs::write(&page, filled).expect("a page can be written");
        } else if filled != text {
            let line = 1 + filled.lines().zip(text.lines()).take_while(|(new, old)| new == old).count();
            let cure = "is not what the source says: BLESS=1 cargo test --test book fills it in";
            problems.push(format!("{}:{line}: a quotation {cure}", page.display()));
        }
        if text.contains("{{#") {
            problems.push(format!("{}: a directive that only mdBook would resolve", page.display()));
        }
    }
    let says =
        |problem: &str, (path, anchor): &(PathBuf, String)| format!("{}:{anchor} {problem}", path.display());
    problems
        .extend(quoted.difference(&anchors).map(|quotation| says("is quoted, and is not there", quotation)));
    problems.extend(
        to_be_quoted.difference(&quoted).map(|anchor| says("is an anchor that nobody quotes", anchor)),
    );
    assert_none(problems);
}

/// The name by which a heading can be linked to.
fn slug(heading: &str) -> String {
    let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn links_and_paths_lead_somewhere() {
    let mut problems = Vec::new();
    for (page, text) in pages() {
        let prose = fences(&text).1;
        let parts = |first: usize| prose.split('`').skip(first).step_by(2);
        let (code, prose) = (parts(1), parts(0).collect::<String>());
        let attributes = ["src=\"", "href=\"", "srcset=\""];
        let attributes = attributes.into_iter().flat_map(|open| between(&prose, open, '"'));
        for link in between(&prose, "](", ')').chain(attributes) {
            let link = link.split(' ').next().unwrap_or(link);
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let (path, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = if path.is_empty() { page.clone() } else { page.with_file_name(path) };
            let is = |line: &str| line.starts_with('#') && slug(line.trim_matches('#')) == heading;
            if !target.exists() || !heading.is_empty() && !read(&target).lines().any(is) {
                problems.push(format!("{}: the link {link} leads nowhere", page.display()));
            }
        }
        let folders = ["src/", "tests/", "examples/", "benches/", "docs/", "datasets/"];
        for path in code.filter(|path| folders.iter().any(|folder| path.starts_with(folder))) {
            if !root().join(path).exists() && !path.starts_with("datasets/downloads") {
                problems.push(format!("{}: there is no {path}", page.display()));
            }
        }
    }
    assert_none(problems);
}

/// The words of a `cargo` command before and after its `--`, without comments and pipes.
fn words(command: &str) -> (Vec<&str>, Vec<&str>) {
    let end = [" #", "  ", " |", " >", " &&", "`"].iter().filter_map(|mark| command.find(mark)).min();
    let words: Vec<&str> = command[..end.unwrap_or(command.len())].split_whitespace().collect();
    let at = words.iter().position(|word| *word == "--").unwrap_or(words.len());
    (words[..at].to_vec(), words[at..].iter().skip(1).copied().collect())
}

/// What follows an option.
fn value<'a>(words: &[&'a str], option: &str) -> Option<&'a str> {
    words.iter().position(|word| *word == option).and_then(|at| words.get(at + 1)).copied()
}

#[test]
fn commands_name_targets_and_options_that_exist() {
    let mut problems = Vec::new();
    let manifests = ["Cargo.toml", "benches/Cargo.toml"].map(|path| read(&root().join(path))).concat();
    let pages = pages();
    let commands = pages.iter().flat_map(|(page, text)| text.split("cargo ").skip(1).map(move |c| (page, c)));
    for (page, command) in commands.map(|(page, rest)| (page, rest.lines().next().unwrap_or(rest))) {
        let (cargo, program) = words(command);
        let mut problem = |what: String| problems.push(format!("{}: {command}: {what}", page.display()));
        for (option, folders) in [
            ("--example", ["examples", "benches/examples"]),
            ("--test", ["tests", "benches/tests"]),
            ("--bench", ["benches/benches"; 2]),
        ] {
            let Some(target) = value(&cargo, option) else { continue };
            let [main, benches] = folders.map(|folder| root().join(folder).join(target));
            if ![main.with_extension("rs"), main.join("main.rs"), benches.with_extension("rs")]
                .iter()
                .any(|p| p.exists())
            {
                problem(format!("there is no {option} {target}"));
            }
        }
        let features = value(&cargo, "--features").into_iter().flat_map(|features| features.split(','));
        for feature in features.filter(|feature| !manifests.contains(&format!("\n{feature} = ["))) {
            problem(format!("there is no feature {feature}"));
        }
        let Some(example) = value(&cargo, "--example").filter(|_| cargo[0] == "run") else { continue };
        // What needs a feature is built, and can be asked, only when that feature is on.
        let built = match value(&cargo, "--features") {
            None => true,
            Some("fetch") => cfg!(feature = "fetch"),
            Some("chat") => cfg!(feature = "chat"),
            Some(_) => false,
        };
        // A program of several commands has its options with each of them.
        let subcommand = program.first().filter(|word| !word.starts_with('-'));
        for option in program.iter().filter(|word| built && word.starts_with("--")) {
            let said = program::run(Command::new(program::example(example)).args(subcommand).arg("--help"));
            let help = said.stdout + "--help" + &said.stderr;
            let option = option.split('=').next().unwrap_or(option);
            if !help.split(|c: char| !(c.is_alphanumeric() || c == '-')).any(|word| word == option) {
                problem(format!("{example} has no option {option}"));
            }
        }
    }
    assert_none(problems);
}

/// Whether a line is what was shown: of a line of progress its beginning, of one that tells a time all but the
/// figures.
fn same(shown: &str, printed: &str) -> bool {
    let timed = [" s", " ms", " µs", "/s"].iter().any(|unit| shown.ends_with(unit));
    let text = |line: &str| line.trim_end().replace(|c: char| timed && c.is_ascii_digit(), "");
    text(shown) == text(printed) || shown.starts_with("step ") && printed.starts_with(shown)
}

/// Whether lines are what was shown, in which `…` stands for any number of them.
fn all_same(shown: &[&str], printed: &[&str]) -> bool {
    match shown.split_first() {
        None => printed.is_empty(),
        Some((&"…", rest)) => (0..=printed.len()).any(|skipped| all_same(rest, &printed[skipped..])),
        Some((line, rest)) => printed.first().is_some_and(|p| same(line, p)) && all_same(rest, &printed[1..]),
    }
}

#[test]
fn commands_print_what_is_shown() {
    let mut problems = Vec::new();
    for (page, text) in pages() {
        let folder = tempfile::tempdir().expect("a folder to work in"); // what one command saves, the next may load
        for (_, lines) in fences(&text).0.iter().filter(|(language, _)| *language == "console") {
            for shown in lines.chunk_by(|_, line| !line.starts_with("$ ")) {
                let (cargo, arguments) = words(shown[0]);
                // Those that are quick enough to be run again.
                let Some(example @ ("names" | "value")) = value(&cargo, "--example") else { continue };
                let found = |argument: &&str| match argument.strip_prefix("datasets/downloads/") {
                    Some(name) => dataset::dataset(name),
                    None if argument.starts_with("datasets/") => Some(root().join(argument)),
                    None => Some(PathBuf::from(argument)),
                };
                let Some(arguments) = arguments.iter().map(found).collect::<Option<Vec<_>>>() else {
                    println!("not compared, for the data is not here: {}", shown[0]);
                    continue;
                };
                let mut command = Command::new(program::example(example));
                let said =
                    program::run(command.args(arguments).current_dir(&folder).env_remove("GRADUS_DATASETS"));
                let stdout = said.stdout.replace('\\', "/"); // Windows writes paths with the other slash
                let same = all_same(&shown[1..], &stdout.lines().collect::<Vec<_>>());
                if said.code != Some(0) || !same {
                    problems.push(format!("{}: {}: now\n{stdout}{}", page.display(), shown[0], said.stderr));
                }
            }
        }
    }
    assert_none(problems);
}

/// Whether two numbers are the same but for rounding: another machine may compute the last bit differently.
fn close(a: &str, b: &str) -> bool {
    let digits = |word: &str| word.split_once('.').map_or(0, |(_, digits)| digits.len());
    let digits = digits(a).max(digits(b)) as i32;
    let last = if digits == 0 { 0.0 } else { 10_f64.powi(-digits) };
    let difference = a.parse::<f64>().unwrap_or(f64::NAN) - b.parse::<f64>().unwrap_or(f64::NAN);
    a == b || difference.abs() < 1e-9_f64.max(1.01 * last)
}

#[test]
fn drawings_are_those_that_the_examples_draw() {
    let folder = tempfile::tempdir().expect("a folder to work in");
    for (example, option) in [("value", "--svg"), ("figures", "--out")] {
        let drawn = program::run(Command::new(program::example(example)).arg(option).arg(folder.path()));
        assert_eq!(drawn.code, Some(0), "{}", drawn.stderr);
    }
    let mut problems = Vec::new();
    for new in files(folder.path(), ".svg") {
        let path = root().join("docs").join(new.file_name().expect("a file"));
        let (old, new) = (read(&path), read(&new));
        let part = |c: char| !(c.is_ascii_digit() || matches!(c, '.' | '-'));
        let words = |text: &str| text.split(part).count();
        let same =
            words(&old) == words(&new) && old.split(part).zip(new.split(part)).all(|(a, b)| close(a, b));
        let text = |text: &str| text.replace(|c: char| !part(c), "");
        if !same || text(&old) != text(&new) {
            problems.push(format!("{} is old: CONTRIBUTING.md says how to draw it again", path.display()));
        }
    }
    assert_none(problems);
}

#[test]
fn figures_are_shown_and_described() {
    let (mut problems, mut shown) = (Vec::new(), BTreeSet::new());
    for (page, text) in pages() {
        let prose = fences(&text).1;
        let images: Vec<_> = between(&prose, "![", ')').collect();
        for image in &images {
            let Some((alternative, path)) = image.split_once("](") else { continue };
            if alternative.split_whitespace().count() < 5 {
                problems.push(format!("{}: say in words what {path} shows", page.display()));
            }
            shown.extend(page.with_file_name(path).canonicalize());
        }
        let name = page.file_name().expect("a page").to_string_lossy();
        if name.starts_with(|c: char| c.is_ascii_digit()) && images.is_empty() {
            problems.push(format!("{}: a chapter without a figure", page.display()));
        }
        // One that is too wide for a page is linked to.
        let linked = between(&prose, "](", ')').filter(|link| link.ends_with(".svg"));
        shown.extend(linked.flat_map(|link| page.with_file_name(link).canonicalize()));
    }
    for figure in files(&root().join("docs"), ".svg") {
        let svg = read(&figure);
        if !shown.contains(&figure.canonicalize().expect("it was found")) {
            problems.push(format!("{} is shown nowhere", figure.display()));
        }
        for part in ["<title", "<desc", "prefers-color-scheme"] {
            if !svg.contains(part) {
                problems.push(format!("{} has no {part}", figure.display()));
            }
        }
    }
    assert_none(problems);
}
