//! Chapter 12, one text in and another out: what it says about tokens, padding and splits, and the answers to its exercises.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use gradus::data::{Batch, Direction, Marks, PairBatches, Pairs, TokenPairs};
use gradus::model::{EncoderDecoder, EncoderDecoderConfig, Model};
use gradus::params::Layout;
use gradus::random::Random;
use gradus::tensor::Mask;
use gradus::tokenizer::{BpeTokenizer, BpeTrainer, Tokenizer};

use crate::{dataset, says};

pub fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("datasets").join(name)
}

pub fn phrases() -> Pairs {
    Pairs::read(&file("phrases.tsv"), Direction::Forward, None).expect("the phrases of the project")
}

/// The tokenizer with which the example `translate` begins.
pub fn bpe(pairs: &Pairs) -> BpeTokenizer {
    let texts: Vec<&str> = pairs.train().iter().flat_map(|pair| [&*pair.source, &*pair.target]).collect();
    let special_tokens = ["<pad>", "<s>", "</s>"].map(str::to_owned).to_vec();
    let trainer = BpeTrainer { vocab_size: 4000, special_tokens, ..BpeTrainer::default() };
    trainer.train(&texts).expect("a vocabulary")
}

fn marks(tokenizer: &dyn Tokenizer) -> Marks {
    let special = |name| tokenizer.special(name).expect("it has this mark");
    Marks { bos: special("<s>"), eos: special("</s>") }
}

/// A number with a comma before the last three digits, and before those.
pub fn thousands(n: usize) -> String {
    if n < 1000 { n.to_string() } else { format!("{},{:03}", thousands(n / 1000), n % 1000) }
}

pub fn modern() -> EncoderDecoderConfig {
    EncoderDecoderConfig::modern(4000)
}

pub fn layout(config: EncoderDecoderConfig) -> Layout {
    EncoderDecoder::new(config).expect("it fits").layout().clone()
}

/// How many numbers the parameters have whose name begins so.
fn numbers(layout: &Layout, name: &str) -> usize {
    layout.specs().iter().filter(|spec| spec.name.starts_with(name)).map(|spec| spec.range().len()).sum()
}

#[test]
fn chapter_12_pieces_of_words() {
    let pairs = phrases();
    let tokenizer = bpe(&pairs);
    let cut = |text: &str| -> Vec<String> {
        let tokens = tokenizer.encode(text).expect("it knows every byte");
        tokens.iter().map(|&token| format!("`{}`", tokenizer.decode(&[token]))).collect()
    };
    for (text, verb) in [("I am happy.", "cuts"), ("Je suis heureux.", "")] {
        let pieces = cut(text);
        let (last, first) = pieces.split_last().expect("tokens");
        let list = format!("{} and {last}", first.join(", "));
        says(12, &if verb.is_empty() { format!("becomes {list}") } else { format!("into {list}") });
    }
    says(12, &format!("it has {} tokens and cuts", thousands(tokenizer.vocab_size())));
}

#[test]
fn chapter_12_the_parts_of_the_model() {
    let config = modern();
    let (encoder, decoder) = (config.encoder_layers, config.decoder.n_layer);
    let layout = layout(config);
    let of = |name: &str| numbers(&layout, name);
    says(12, &format!("output layer | {} |", thousands(of("model.shared"))));
    for (stack, count) in [("encoder", encoder), ("decoder", decoder)] {
        let all = of(&format!("model.{stack}.layers"));
        says(
            12,
            &format!(
                "| {count} blocks of the {stack}, {} each | {} |",
                thousands(all / count),
                thousands(all)
            ),
        );
    }
    let norms = of("model.encoder.layer_norm") + of("model.decoder.layer_norm");
    says(12, &format!("| two last normalisations | {norms} |"));
    says(12, &format!("**{}**", thousands(layout.len())));
}

/// The share of rows that are padding, in the source and in the target of some batches.
fn padding(pairs: &TokenPairs, batches: impl Iterator<Item = Vec<usize>>) -> [f64; 2] {
    let mut rows = [[0, 0]; 2];
    let mut batch = Batch::new();
    for indices in batches {
        batch.clear();
        indices.iter().for_each(|&at| batch.push_pair(pairs.source(at), pairs.target(at)));
        for (form, batch) in [(0, &batch), (1, &batch.padded())] {
            rows[form][0] += batch.source().tokens.len();
            rows[form][1] += batch.sequences().tokens.len();
        }
    }
    [0, 1].map(|stream| 100.0 * (1.0 - rows[0][stream] as f64 / rows[1][stream] as f64))
}

#[test]
fn chapter_12_what_padding_would_cost() {
    let all = phrases();
    let tokenizer = bpe(&all);
    let pairs = all.encode(all.train(), &tokenizer, marks(&tokenizer), 64).expect("tokens");
    let mut random = PairBatches::new(&pairs, 4096, 42);
    let count = random.per_epoch();
    let [source, target] = padding(&pairs, (0..count).map(|number| random.batch(number).to_vec()));
    says(12, &format!("| random pairs | {source:.1} % | {target:.1} % |"));
    // The same number of batches, cut from the pairs in the order of their lengths.
    let mut order: Vec<usize> = (0..pairs.len()).collect();
    order.sort_by_key(|&pair| (pairs.positions(pair), pairs.source(pair).len()));
    let total: usize = order.iter().map(|&pair| pairs.positions(pair)).sum();
    let (mut sorted, mut before) = (vec![Vec::new(); count], 0);
    for pair in order {
        sorted[before * count / total].push(pair);
        before += pairs.positions(pair);
    }
    let [source, target] = padding(&pairs, sorted.into_iter());
    says(12, &format!("| pairs of similar length | {source:.1} % | {target:.1} % |"));
}

/// One line in ten is held out, at random: how many of these have a source that is trained on as well.
fn leak(sources: &[String]) -> f64 {
    let mut order: Vec<usize> = (0..sources.len()).collect();
    Random::new(42).shuffle(&mut order);
    let (held_out, train) = order.split_at(sources.len() / 10);
    let train: HashSet<&str> = train.iter().map(|&at| &*sources[at]).collect();
    let seen = held_out.iter().filter(|&&at| train.contains(&*sources[at])).count();
    100.0 * seen as f64 / held_out.len() as f64
}

#[test]
fn chapter_12_a_split_by_line_leaks() {
    let sources = |pairs: &Pairs| -> Vec<String> {
        let all = pairs.train().iter().chain(pairs.held_out());
        let mut all: Vec<_> = all.map(|pair| (pair.line, pair.source.clone())).collect();
        all.sort();
        all.into_iter().map(|(_, source)| source).collect()
    };
    let pairs = phrases();
    says(12, &format!("holds out, {:.1} % have an English sentence", leak(&sources(&pairs))));
    let held_out = pairs.references().count();
    says(12, &format!("{held_out} sentences are held out with {} translations", pairs.held_out().len()));
    says(12, &format!("the {} pairs of `datasets/phrases.tsv`", thousands(sources(&pairs).len())));
    match dataset::dataset("fra-eng/fra.txt") {
        Some(path) => {
            let pairs = Pairs::read(&path, Direction::Forward, Some(20_000)).expect("pairs");
            says(12, &format!("first 20,000 lines of fra-eng it is {:.1} %", leak(&sources(&pairs))));
        }
        None => println!("not compared, for the data is not here: fra-eng"),
    }
}

#[test]
fn exercise_12_1() {
    let scores = |mask: Mask, queries: usize, keys: usize| -> usize {
        (0..queries).map(|query| mask.seen(query, queries, keys).len()).sum()
    };
    let [encoder, decoder, across] =
        [scores(Mask::Full, 7, 7), scores(Mask::Causal, 9, 9), scores(Mask::Full, 9, 7)];
    says(12, &format!("{encoder}, {decoder} and {across}: 7 · 7, then"));
    says(12, &format!("it would be {} instead of {decoder}", scores(Mask::Full, 9, 9)));
}

#[test]
fn exercise_12_2() {
    let mut packed = Batch::new();
    [2, 3, 10].iter().for_each(|&len| packed.push_pair(vec![3; len], [1, 2]));
    let padded = packed.padded();
    let rows = |batch: &Batch| batch.source().tokens.len();
    says(12, &format!("{} and {} rows: half of the padded batch", rows(&packed), rows(&padded)));
    let scores: usize = packed.source().rows.iter().map(|rows| rows.len() * rows.len()).sum();
    says(12, &format!("4 + 9 + 100 = {scores} scores, and 3 · 10 · 10 = {}", rows(&padded) * 10));
}

#[test]
fn exercise_12_3() {
    let layout = layout(modern());
    let [encoder, decoder] =
        ["encoder", "decoder"].map(|name| numbers(&layout, &format!("model.{name}.layers.0.")));
    assert_eq!(decoder - encoder, 4 * 256 * 256 + 256);
    says(12, &format!("{}: four matrices of 256 × 256", thousands(decoder - encoder)));
}
