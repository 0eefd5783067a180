//! What a model is made of.

use std::path::PathBuf;

use anyhow::{Context, Result};
use gradus::checkpoint::{EndTokens, GenerationDefaults, LanguageModel, write_atomically};
use gradus::model::{DecoderConfig, Model, Position, TiedEmbeddings};
use gradus::tokenizer::{PieceKind, TokenizerSpec};
use support::units::{bytes, grouped};
use support::{check_output, say};

use crate::histogram::{Histogram, draw};
use crate::source::Source;

/// Show what a model is made of
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  chat -- info model.gguf
  chat -- info for-transformers --plot weights.svg")]
pub struct Info {
    /// The model: a folder or file, of whichever format
    #[arg(value_name = "PATH")]
    path: PathBuf,
    /// The tokenizer of a checkpoint of llama2.c [default: tokenizer.bin beside it, or the only tok*.bin]
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,
    /// Draw how the weights are distributed into this SVG file
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
}

impl Info {
    pub fn run(&self) -> Result<()> {
        if let Some(plot) = &self.plot {
            check_output("--plot", plot, std::slice::from_ref(&self.path))?;
        }
        let source = Source::at(&self.path, self.tokenizer.as_deref())?;
        let language_model = source.read()?;
        let LanguageModel { model, tokens, chat_template, defaults, .. } = &language_model;
        let count = model.layout().len();
        say!("{}: {}", source.path.display(), source.format);
        say!("parameters: {}", grouped(count as u64));
        say!("on the disk: {}{}", bytes(source.bytes() as f64), precision(&source, count));
        sizes(model.config());
        let kinds = kinds(&language_model);
        let title = ["part", "", "shape", "numbers", "share", "mean", "deviation"];
        let [part, times, shape, numbers, share, mean, deviation] = title;
        say!("\n{part:<24} {times:>4} {shape:>11} {numbers:>13} {share:>6} {mean:>9} {deviation:>9}");
        for (kind, histogram) in &kinds {
            let share = 100.0 * histogram.count as f64 / count.max(1) as f64;
            let (times, shape) = (format!("{}x", kind.times), format!("{}x{}", kind.shape.0, kind.shape.1));
            let Histogram { mean, deviation, count, .. } = *histogram;
            let (name, numbers) = (&kind.name, grouped(count as u64));
            say!(
                "{name:<24} {times:>4} {shape:>11} {numbers:>13} {share:>5.1}% {mean:>9.4} {deviation:>9.4}"
            );
        }
        say!("\nweights, from the least to the greatest, zero in the middle:");
        for (kind, histogram) in &kinds {
            say!("{:<24} {:>8.4} |{}| {:.4}", kind.name, -histogram.most, histogram.line(), histogram.most);
        }
        say!("");
        facts(&language_model, tokens);
        say!(
            "template of conversations: {}",
            chat_template.as_ref().map_or("none".to_owned(), |template| {
                format!("{} characters of Jinja", template.chars().count())
            })
        );
        say!("writes, by its makers' wish: {}", wishes(defaults));
        if let Some(path) = &self.plot {
            let all: Vec<(String, Histogram)> =
                kinds.into_iter().map(|(kind, histogram)| (kind.name, histogram)).collect();
            let drawn = draw(&format!("Weights of {}", source.path.display()), &all);
            write_atomically(path, drawn.as_bytes())
                .with_context(|| format!("{} cannot be drawn", path.display()))?;
            say!("drawn: {}", path.display());
        }
        Ok(())
    }
}

/// How its numbers are stored, as far as the files say so, else how many bits there are for each.
fn precision(source: &Source, count: usize) -> String {
    let types = source.types();
    if types.is_empty() {
        return format!(
            ", {:.1} bits a parameter with all that is beside them",
            8.0 * source.bytes() as f64 / count.max(1) as f64
        );
    }
    let list = types.iter().map(|(name, count)| format!("{} of {name}", grouped(*count)));
    format!(": {}", list.collect::<Vec<_>>().join(", "))
}

/// Sizes and variants.
fn sizes(config: &DecoderConfig) {
    let DecoderConfig { n_layer, n_embd, n_head, n_kv_head, n_ffn, vocab_size, context, .. } = *config;
    say!("blocks: {n_layer}, {n_embd} wide, feed-forward networks {n_ffn} wide");
    let window = match config.mask {
        gradus::tensor::Mask::Window(n) => format!(", which see {n} tokens back"),
        _ => String::new(),
    };
    say!("heads: {n_head} of queries and {n_kv_head} of keys, {} wide{window}", config.head_dim());
    let positions = match config.position {
        Position::Rope { .. } => "rotated (RoPE)",
        Position::Learned => "learned",
        _ => "of another kind",
    };
    let head = if config.tied_embeddings == TiedEmbeddings::Output {
        "the table of tokens"
    } else {
        "a matrix of its own"
    };
    say!("context: {} tokens, positions {positions}", grouped(context as u64));
    say!("vocabulary: {}, the head is {head}", grouped(vocab_size as u64));
    let kept = 2 * n_layer * n_kv_head * config.head_dim() * size_of::<f32>();
    say!("keys and values: {} a token while it writes", bytes(kept as f64));
}

/// Parameters that have the same place in every block.
struct Kind {
    name: String,
    /// Of the first of them.
    shape: (usize, usize),
    times: usize,
}

/// All kinds, in the order in which they come first.
fn kinds(language_model: &LanguageModel) -> Vec<(Kind, Histogram)> {
    let mut kinds: Vec<(Kind, Vec<&[f32]>)> = Vec::new();
    for spec in language_model.model.layout().specs() {
        let name = kind_name(&spec.name);
        let numbers = &language_model.params[spec.range()];
        match kinds.iter_mut().find(|(kind, _)| kind.name == name) {
            Some((kind, all)) => {
                kind.times += 1;
                all.push(numbers);
            }
            None => kinds.push((Kind { name, shape: (spec.rows, spec.cols), times: 1 }, vec![numbers])),
        }
    }
    kinds.into_iter().map(|(kind, all)| (kind, Histogram::of(&all))).collect()
}

/// `model.layers.3.self_attn.q_proj.weight` is a `q_proj`, and its bias a `q_proj.bias`.
fn kind_name(name: &str) -> String {
    let inner = name.strip_suffix(".weight").unwrap_or(name);
    let mut parts: Vec<&str> = inner.rsplit('.').collect();
    parts.truncate(if inner.ends_with(".bias") { 2 } else { 1 });
    parts.reverse();
    parts.join(".")
}

/// What there is to say about tokens.
fn facts(language_model: &LanguageModel, ends: &EndTokens) {
    let built = match &language_model.tokenizer {
        Ok(spec) => spec.build().map(|tokenizer| (spec, tokenizer)).map_err(|error| error.to_string()),
        Err(other) => Err(other.to_string()),
    };
    let (spec, tokenizer) = match built {
        Ok(both) => both,
        Err(problem) => {
            say!("tokenizer: none that can be read here: {problem}");
            return;
        }
    };
    say!("tokenizer: {spec}");
    // Not as the beginning of a text, where some tokenizers take a blank away.
    let text = |token: usize| {
        let mut bytes = Vec::new();
        tokenizer.push_bytes(token, &mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let all = (0..tokenizer.vocab_size()).map(text);
    if let Some(longest) = all.max_by_key(|text| text.chars().count()) {
        say!("longest token: {longest:?}, {} characters", longest.chars().count());
    }
    let sentence = "The answer is 42, isn't it?";
    if let Ok(tokens) = tokenizer.encode(sentence) {
        let parts: Vec<String> = tokens.iter().map(|&token| format!("{:?}", text(token))).collect();
        say!("{sentence:?} is {} tokens: {}", tokens.len(), parts.join(" "));
    }
    let named = |token: usize| match special_names(spec).into_iter().find(|(id, _)| *id == token) {
        Some((_, name)) => format!("{token} ({name})"),
        None => token.to_string(),
    };
    let list = |tokens: Vec<String>| if tokens.is_empty() { "none".to_owned() } else { tokens.join(", ") };
    let bos = list(ends.bos.map(named).into_iter().collect());
    let before = if ends.add_bos { "before every text" } else { "not put before texts" };
    say!(
        "begins with: {bos}, {before}; ends with: {}",
        list(ends.eos.iter().map(|&token| named(token)).collect())
    );
    say!("padding: {}", list(ends.pad.map(named).into_iter().collect()));
    const SHOWN: usize = 24;
    let special = special_names(spec);
    let mut names: Vec<String> =
        special.iter().take(SHOWN).map(|(id, name)| format!("{id} {name}")).collect();
    if special.len() > SHOWN {
        names.push(format!("and {} more", special.len() - SHOWN));
    }
    say!("special tokens: {}", list(names));
}

/// The special tokens with their names.
fn special_names(spec: &TokenizerSpec) -> Vec<(usize, &str)> {
    match spec {
        TokenizerSpec::Characters { .. } => Vec::new(),
        TokenizerSpec::Bpe(spec) => spec.special.iter().map(|&id| (id, spec.tokens[id].as_str())).collect(),
        TokenizerSpec::Pieces(spec) => {
            let all = spec.pieces.iter().enumerate();
            let special = all.filter(|(_, piece)| {
                matches!(piece.kind, PieceKind::Unknown | PieceKind::Control | PieceKind::Unused)
            });
            special.map(|(id, piece)| (id, piece.text.trim())).collect()
        }
    }
}

/// What a file says about how to write.
fn wishes(defaults: &GenerationDefaults) -> String {
    let GenerationDefaults { do_sample, temperature, top_k, top_p, repetition_penalty, max_new_tokens } =
        *defaults;
    let mut all = Vec::new();
    match do_sample {
        Some(true) => all.push("at random".to_owned()),
        Some(false) => all.push("the likeliest token".to_owned()),
        None => {}
    }
    all.extend(temperature.map(|x| format!("temperature {x}")));
    all.extend(top_k.map(|k| format!("top-k {k}")));
    all.extend(top_p.map(|p| format!("top-p {p}")));
    all.extend(repetition_penalty.map(|x| format!("repetition penalty {x}")));
    all.extend(max_new_tokens.map(|n| format!("at most {n} tokens")));
    if all.is_empty() { "nothing is said".to_owned() } else { all.join(", ") }
}
