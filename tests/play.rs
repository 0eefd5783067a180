//! The page to play with, as far as it can be tested without a browser: its model is the one that the commands write,
//! what it refers to lies beside it, and every control has a label. `docs/play/test.mjs` tests it in a browser.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use gradus::Engine;
use gradus::data::{self, Batch, Names};
use gradus::engine::Session;
use gradus::model::{Decoder, DecoderConfig, Model};
use gradus::scalar::ScalarEngine;
use serde_json::Value;

#[path = "common/program.rs"]
mod program;
#[path = "common/refusal.rs"]
mod refusal;

use program::{Output, example, run};
use refusal::{assert_refused, content};

fn page(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/play").join(name)
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The object in a `model.js`.
fn object(script: &str) -> Value {
    let json = script.split_once("const MODEL = ").expect("a constant").1.trim_end().strip_suffix(';');
    serde_json::from_str(json.expect("the end of a statement")).expect("JSON")
}

fn numbers(list: &Value) -> Vec<f64> {
    list.as_array().expect("a list").iter().map(|x| x.as_f64().expect("a number")).collect()
}

fn size(model: &Value, key: &str) -> usize {
    model[key].as_u64().unwrap_or_else(|| panic!("{key} is a size")) as usize
}

/// The model of a script on the scalar engine, with its weights as they are written there. All shapes must be right.
fn decoder(script: &Value) -> (Decoder, Vec<f64>) {
    let vocab = script["vocab"].as_array().expect("a vocabulary").len();
    assert_eq!(size(script, "bos"), vocab, "BOS comes after the letters");
    let config = DecoderConfig {
        context: size(script, "context"),
        n_layer: size(script, "n_layer"),
        n_embd: size(script, "n_embd"),
        n_head: size(script, "n_head"),
        n_kv_head: size(script, "n_head"),
        n_ffn: size(script, "n_ffn"),
        norm_eps: script["norm_eps"].as_f64().expect("a number"),
        ..DecoderConfig::microgpt(vocab + 1)
    };
    let model = Decoder::new(config).expect("sizes that fit together");
    let matrices = script["params"].as_object().expect("matrices by name");
    assert_eq!(matrices.len(), model.layout().specs().len());
    let mut params = Vec::new();
    for spec in model.layout().specs() {
        let rows = matrices[&spec.name].as_array().expect("rows");
        let rows: Vec<Vec<f64>> = rows.iter().map(numbers).collect();
        assert!(rows.len() == spec.rows && rows.iter().all(|row| row.len() == spec.cols), "{}", spec.name);
        params.extend(rows.into_iter().flatten());
    }
    assert_eq!(params.len(), model.layout().len());
    (model, params)
}

/// Asserts that the weights of a script give the probabilities that stand in it. Returns the beginnings.
fn assert_references(script: &Value) -> Vec<String> {
    let (model, params) = decoder(script);
    let references = script["reference"].as_array().expect("references");
    let mut engine = ScalarEngine::new();
    let beginning = |reference: &Value| {
        let beginning = reference["beginning"].as_str().expect("a text").to_owned();
        let token = |c: char| {
            let is = |letter: &Value| letter.as_str() == Some(c.encode_utf8(&mut [0; 4]));
            script["vocab"].as_array().expect("a vocabulary").iter().position(is).expect("a known letter")
        };
        let tokens: Vec<usize> =
            std::iter::once(size(script, "bos")).chain(beginning.chars().map(token)).collect();
        let logits = Session::single(&mut engine, &model, &params).feed(0, &tokens).to_vec();
        let total: f64 = logits.iter().map(|x| x.exp()).sum();
        let probabilities = numbers(&reference["probabilities"]);
        assert!((probabilities.iter().sum::<f64>() - 1.0).abs() < 1e-12, "{beginning:?}");
        assert_eq!(probabilities.len(), logits.len());
        for (p, logit) in probabilities.iter().zip(logits) {
            let found = logit.exp() / total;
            assert!((found - p).abs() < 1e-4, "after {beginning:?}: {found} instead of {p}");
        }
        beginning
    };
    references.iter().map(beginning).collect()
}

#[test]
fn the_model_has_its_sizes_its_vocabulary_and_its_probabilities() {
    let text = read(&page("model.js"));
    assert!(text.len() < 60_000, "model.js has {} bytes: the page is to stay small", text.len());
    let script = object(&text);
    let (model, params) = decoder(&script);
    assert_eq!(*model.config(), DecoderConfig::microgpt(27));
    assert_eq!(params.len(), 4192);
    let beginnings = assert_references(&script);
    let lengths: BTreeSet<_> = beginnings.iter().map(|beginning| beginning.len()).collect();
    assert!(beginnings.len() >= 6 && lengths.contains(&0) && lengths.contains(&15), "{beginnings:?}");

    let file = script["data"].as_str().expect("the name of a file");
    let names = Names::read(&data::find(file).expect("a file that ships")).expect("names");
    let vocab = names.tokenizer().chars().iter().map(|c| Value::from(c.to_string())).collect::<Vec<_>>();
    assert_eq!((&script["vocab"], size(&script, "names")), (&Value::from(vocab), names.len()));
    let (mut engine, mut batch, mut sum, mut count) = (ScalarEngine::new(), Batch::new(), 0.0, 0);
    for at in (0..names.len()).step_by(10) {
        names.fill(&mut batch, at, 1, 16);
        engine.loss(&model, &params, &batch);
        sum += engine.token_losses().iter().sum::<f64>();
        count += batch.len();
    }
    let (loss, said) = (sum / f64::from(count as u32), script["loss"].as_f64().expect("a loss"));
    assert!(
        (loss - said).abs() < 0.02,
        "a tenth of the names has a loss of {loss}, and all are said to have {said}"
    );
}

fn play(arguments: &[&str], folder: &Path) -> Output {
    run(Command::new(example("play")).args(arguments).current_dir(folder).env_remove("GRADUS_DATASETS"))
}

fn names(arguments: &[&str], folder: &Path) {
    let mut command = Command::new(example("names"));
    let ended = run(command.args(arguments).current_dir(folder).env_remove("GRADUS_DATASETS"));
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

/// Platforms differ in the last digits of their logarithms and sines, so what is learned is compared as numbers.
#[test]
fn the_model_is_the_one_that_the_commands_write() {
    let folder = tempfile::tempdir().expect("a folder");
    names(&["--save", "my-model", "--samples", "0"], folder.path());
    let ended = play(&["--load", "my-model", "--output", "model.js"], folder.path());
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.starts_with("model.js: 4192 params, "), "{}", ended.stdout);
    let [old, new] = [page("model.js"), folder.path().join("model.js")].map(|path| read(&path));
    let ends = [' ', ',', '[', ']', '{', '}', ':', '\n'];
    let number = |word: &str| word.parse::<f64>().unwrap_or(f64::NAN);
    let same = |(a, b): (&str, &str)| a == b || (number(a) - number(b)).abs() < 1e-3;
    assert!(
        old.split(ends).count() == new.split(ends).count() && old.split(ends).zip(new.split(ends)).all(same),
        "docs/play/model.js is old: cargo run --example names -- --save my-model, \
         then cargo run --example play -- --load my-model"
    );
}

#[test]
fn other_names_and_other_sizes_can_be_written_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let sizes = ["--layers", "2", "--embd", "8", "--heads", "2", "--context", "6"];
    names(
        &[&["korean.txt", "--steps", "3", "--samples", "0", "--save", "m"], &sizes[..]].concat(),
        folder.path(),
    );
    let ended = play(&["korean.txt", "--load", "m", "--output", "page/model.js"], folder.path());
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let script = object(&read(&folder.path().join("page/model.js")));
    assert_eq!(["n_layer", "n_embd", "n_head", "context"].map(|key| size(&script, key)), [2, 8, 2, 6]);
    assert_eq!(script["data"], "korean.txt");
    let longest = assert_references(&script).iter().map(|beginning| beginning.chars().count()).max();
    assert_eq!(longest, Some(5), "they fill the context with BOS");
}

#[test]
fn what_cannot_be_written_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    names(&["--steps", "1", "--samples", "0", "--save", "m"], folder.path());
    let before = content(folder.path());
    for (arguments, code, words) in [
        (&["--output", "model.js"][..], 2, &["--load"][..]),
        (&["--load", "nothing", "--output", "model.js"], 1, &["nothing"]),
        (
            &["korean.txt", "--load", "m", "--output", "model.js"],
            1,
            &["korean.txt", "none of the characters of the model"],
        ),
        (&["nowhere.txt", "--load", "m", "--output", "model.js"], 1, &["nowhere.txt"]),
    ] {
        let ended = play(arguments, folder.path());
        assert_refused(&ended, code, words, &format!("{arguments:?}: {ended:?}"));
        assert!(content(folder.path()) == before, "{arguments:?} left something behind");
    }
}

/// The tags of a page, each with its name, its attributes, and the text up to the next tag.
fn tags(html: &str) -> Vec<(&str, &str, &str)> {
    let tags = html.split('<').skip(1).filter_map(|tag| tag.split_once('>'));
    tags.map(|(tag, text)| {
        let (name, attributes) = tag.split_once(char::is_whitespace).unwrap_or((tag, ""));
        (name, attributes, text.trim())
    })
    .collect()
}

/// The value of an attribute in a tag.
fn attribute<'a>(attributes: &'a str, name: &str) -> Option<&'a str> {
    let padded = attributes.find(&format!("{name}=\""));
    let at = padded.filter(|&at| at == 0 || attributes[..at].ends_with(char::is_whitespace))?;
    attributes[at + name.len() + 2..].split('"').next()
}

#[test]
fn the_page_needs_nothing_from_elsewhere() {
    let html = read(&page("index.html"));
    let mut files = vec!["index.html"];
    for (name, attributes, _) in tags(&html) {
        for file in ["src", "href"].into_iter().filter_map(|key| attribute(attributes, key)) {
            if file != "data:," {
                assert!(page(file).is_file(), "<{name}> refers to {file}, which is not there");
                files.push(file);
            }
        }
        // Modules cannot be loaded from a file.
        assert_ne!(attribute(attributes, "type"), Some("module"));
    }
    assert_eq!(files, ["index.html", "page.css", "engine.js", "gpt.js", "model.js", "page.js"]);
    for file in files {
        let text = read(&page(file)).replace("url(#", "inside the page (");
        for word in ["://", "src=\"//", "url(", "@import", "import ", "fetch(", "XMLHttpRequest", "WebSocket"]
        {
            assert!(!text.contains(word), "{file} contains {word:?}");
        }
    }
}

#[test]
fn every_control_has_a_label_and_every_name_in_the_script_an_element() {
    let html = read(&page("index.html"));
    let tags = tags(&html);
    let ids: Vec<&str> = tags.iter().filter_map(|(_, attributes, _)| attribute(attributes, "id")).collect();
    let known: BTreeSet<&str> = ids.iter().copied().collect();
    assert_eq!(ids.len(), known.len(), "an id stands for two elements");
    let labels: BTreeSet<&str> =
        tags.iter().filter(|tag| tag.0 == "label").filter_map(|tag| attribute(tag.1, "for")).collect();
    let mut controls = 0;
    for (name, attributes, text) in &tags {
        let labelled = attribute(attributes, "aria-label").is_some_and(|label| !label.is_empty());
        let id = attribute(attributes, "id");
        match *name {
            "input" | "progress" => {
                assert!(labelled || id.is_some_and(|id| labels.contains(id)), "{attributes}")
            }
            "button" | "summary" => assert!(!text.is_empty(), "{attributes}"),
            _ if attribute(attributes, "tabindex").is_some() => assert!(labelled, "{attributes}"),
            _ => continue,
        }
        controls += 1;
    }
    assert!(controls >= 20, "{controls} controls");
    for key in ["for", "aria-labelledby", "aria-describedby"] {
        let named = tags.iter().filter_map(|(_, attributes, _)| attribute(attributes, key));
        for id in named.flat_map(str::split_whitespace) {
            assert!(known.contains(id), "{key} names {id}, which is no element");
        }
    }
    let script = read(&page("page.js"));
    for id in script.split("$(\"").skip(1).filter_map(|rest| rest.split('"').next()) {
        assert!(known.contains(id), "page.js asks for {id}, which is no element of the page");
    }
}
