//! Writes a trained names model into the page docs/play/index.html.
//!
//! ```text
//! cargo run --example names -- --save my-model
//! cargo run --example play -- --load my-model
//! ```

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Parser;
use gradus::Engine;
use gradus::checkpoint::{TrainedModel, write_atomically};
use gradus::data::{self, Batch, Names};
use gradus::engine::Session;
use gradus::model::{Decoder, DecoderConfig, Model};
use gradus::scalar::ScalarEngine;
use serde_json::{Value, json};
use support::{Given, ModelFolder, Program, Usage, cannot_learn, check_output, load, say};

const EXAMPLES: &str = "\
Examples:
  cargo run --example names -- --save my-model           train a model of names
  cargo run --example play -- --load my-model            write it into the page docs/play/index.html
  cargo run --example play -- korean.txt --load my-model a model of other names, with the file it was trained on";

/// Writes a model that `names` has saved as a script, for the page to play with.
#[derive(Parser)]
#[command(after_help = EXAMPLES)]
struct Args {
    /// The file of names on which the model was trained
    #[arg(default_value = "names.txt")]
    file: String,
    /// The folder of the model
    #[arg(long, value_name = "DIR")]
    load: PathBuf,
    /// The script to write
    #[arg(long, value_name = "FILE", default_value = "docs/play/model.js")]
    output: PathBuf,
}

/// How the script begins. What follows is JSON.
const HEAD: &str = "\
// A trained names model: docs/play/index.html computes with it.
// Written by `cargo run --example play`, not by hand. loss: the mean over all tokens of all names, in nats.
// reference: probabilities of the next token after some beginnings, unrounded, as the scalar engine computes them.
const MODEL = {
";

/// Digits that a weight keeps. With five, the page's probabilities are those of the model to within 1e-4.
const DIGITS: usize = 5;

/// How many names give their first letters as beginnings to compare the page with the model.
const BEGINNINGS: usize = 6;

impl Program for Args {
    fn run(&self, _: &Given) -> Result<()> {
        let path = data::find(&self.file)?;
        let read = ModelFolder::files(&self.load).into_iter().chain([path.clone()]);
        if let Some(folder) = self.output.parent() {
            std::fs::create_dir_all(folder).ok(); // if it cannot be made, the next line says so
        }
        check_output("--output", &self.output, &read.collect::<Vec<_>>())?;
        let TrainedModel { model, tokenizer, params } = load::<Decoder, f64>(&self.load, "names")?;
        let characters = tokenizer.spec().characters().with_context(|| cannot_learn(&self.load))?;
        let names = Names::read_with(&path, characters).with_context(|| cannot_learn(&self.load))?;
        let script = script(&path, &names, &model, &params)?;
        write_atomically(&self.output, script.as_bytes())?;
        let size = script.len() as f64 / 1e3;
        say!("{}: {} params, {size:.1} kB", self.output.display(), params.len());
        Ok(())
    }
}

/// The whole script: one object, in JSON, so that other programs can read it too.
fn script(path: &Path, names: &Names, model: &Decoder, params: &[f64]) -> Result<String> {
    let config = model.config();
    check(config)?;
    let mut engine = ScalarEngine::new();
    let about = json!({
        "data": path.file_name().map(|name| name.to_string_lossy()),
        "names": names.len(),
        "loss": mean_loss(&mut engine, model, params, names),
        "vocab": names.tokenizer().chars().iter().map(char::to_string).collect::<Vec<_>>(),
        "bos": names.tokenizer().bos(),
        "context": config.context,
        "n_layer": config.n_layer,
        "n_embd": config.n_embd,
        "n_head": config.n_head,
        "n_ffn": config.n_ffn,
        "norm_eps": config.norm_eps,
    });
    let mut out = HEAD.to_owned();
    for (key, value) in about.as_object().into_iter().flatten() {
        out += &format!("{}: {value},\n", json!(key));
    }
    out += "\"params\": {\n";
    let matrices = model.layout().specs().iter().map(|spec| {
        let rows: Vec<String> = params[spec.range()].chunks(spec.cols).map(row).collect();
        format!("{}: [\n{}\n]", json!(spec.name), rows.join(",\n"))
    });
    out += &matrices.collect::<Vec<_>>().join(",\n");
    out += "\n},\n\"reference\": [\n";
    let references = references(&mut engine, model, params, names);
    out += &references.iter().map(Value::to_string).collect::<Vec<_>>().join(",\n");
    Ok(out + "\n]\n};\n")
}

/// The page knows sizes, but no variants.
fn check(config: &DecoderConfig) -> Result<()> {
    let &DecoderConfig { vocab_size, context, n_layer, n_embd, n_head, n_ffn, .. } = config;
    let plain = DecoderConfig {
        context,
        n_layer,
        n_embd,
        n_head,
        n_kv_head: n_head,
        n_ffn,
        norm_eps: config.norm_eps,
        init_std: config.init_std,
        ..DecoderConfig::microgpt(vocab_size)
    };
    if *config != plain {
        bail!(Usage::of("the page can compute models of the kind that `names` trains, and this is another"));
    }
    Ok(())
}

/// A row of weights, rounded.
fn row(weights: &[f64]) -> String {
    let round = |x: &f64| {
        let short = format!("{x:.*e}", DIGITS - 1).parse::<f64>().expect("a number that was just formatted");
        (short + 0.0).to_string() // no -0
    };
    format!("[{}]", weights.iter().map(round).collect::<Vec<_>>().join(","))
}

/// The mean loss of all tokens of all names.
fn mean_loss(engine: &mut ScalarEngine, model: &Decoder, params: &[f64], names: &Names) -> f64 {
    let (mut sum, mut count, mut batch) = (0.0, 0, Batch::new());
    for at in 0..names.len() {
        names.fill(&mut batch, at, 1, model.context());
        engine.loss(model, params, &batch);
        sum += engine.token_losses().iter().sum::<f64>();
        count += batch.len();
    }
    sum / count as f64
}

/// Beginnings of names, from the empty one to one that fills the context, and the probabilities of what comes next.
fn references(engine: &mut ScalarEngine, model: &Decoder, params: &[f64], names: &Names) -> Vec<Value> {
    let tokenizer = names.tokenizer();
    let chosen = (0..BEGINNINGS).map(|n| names.iter().nth(n * names.len() / BEGINNINGS).unwrap_or_default());
    let mut beginnings: Vec<String> =
        chosen.enumerate().map(|(n, name)| name.chars().take(n).collect()).collect();
    beginnings.push(tokenizer.chars().iter().cycle().take(model.context() - 1).collect());
    let reference = |beginning: &String| {
        let mut tokens = vec![tokenizer.bos()];
        tokens.extend(beginning.chars().filter_map(|c| tokenizer.token(c)));
        tokens.truncate(model.context());
        let logits = Session::single(engine, model, params).feed(0, &tokens).to_vec();
        let max = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let weights: Vec<f64> = logits.iter().map(|x| (x - max).exp()).collect();
        let total: f64 = weights.iter().sum();
        let probabilities: Vec<f64> = weights.iter().map(|w| w / total).collect();
        json!({ "beginning": beginning, "probabilities": probabilities })
    };
    beginnings.iter().map(reference).collect()
}

fn main() -> ExitCode {
    Args::start()
}
