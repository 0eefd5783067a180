//! Chapter 15, tokens of more than one character: its training on a page, what it says about vocabularies, and the answers to
//! its exercises.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use gradus::model::{Decoder, DecoderConfig, Model, TiedEmbeddings};
use gradus::tokenizer::{BpeSpec, BpeTokenizer, BpeTrainer, CHAT_TOKENS, Pattern, Tokenizer, TokenizerSpec};

use crate::says;
use crate::translation::{file, thousands};

const PAGE: &str = "one stone, two stones, no tone";

fn spec(tokenizer: &BpeTokenizer) -> BpeSpec {
    match tokenizer.spec() {
        TokenizerSpec::Bpe(spec) => spec,
        other => panic!("{other} is not BPE"),
    }
}

fn train(texts: &[&str], vocab_size: usize, special: &[&str]) -> BpeTokenizer {
    let special_tokens = special.iter().map(|&name| name.to_owned()).collect();
    let trainer = BpeTrainer { vocab_size, special_tokens, ..BpeTrainer::default() };
    trainer.train(texts).expect("a vocabulary")
}

/// What the tokens of a text stand for.
fn cut(tokenizer: &BpeTokenizer, text: &str) -> Vec<String> {
    let tokens = tokenizer.encode(text).expect("it knows every byte");
    tokens.iter().map(|&token| tokenizer.decode(&[token])).collect()
}

/// In a list, as the book writes it.
fn listed(parts: &[String]) -> String {
    let (last, first) = parts.split_last().expect("a part");
    let quoted = |part: &String| format!("`{}`", shown(part));
    let first: Vec<String> = first.iter().map(quoted).collect();
    if first.is_empty() { quoted(last) } else { format!("{} and {}", first.join(", "), quoted(last)) }
}

/// A merge of the page: its parts, how often it occurs, and which other pairs occur as often.
type Merge = ([String; 2], usize, Vec<[String; 2]>);

/// The training of the chapter by its definition: all pairs are counted again before each merge. Of several with the same count,
/// `first` says which one is taken.
fn by_definition(text: &str, first: impl Fn(&[[usize; 2]]) -> [usize; 2]) -> Vec<Merge> {
    // Letters and marks come before the blank, as in GPT-2's alphabet.
    let mut tokens: Vec<String> = (b'!'..=b'~').map(|byte| char::from(byte).to_string()).collect();
    tokens.push(" ".to_owned());
    let id = |c: char| tokens.iter().position(|token| token.chars().eq([c])).expect("a character of ASCII");
    let mut words: Vec<Vec<usize>> =
        Pattern::Llama3.pieces(text).map(|piece| piece.chars().map(id).collect()).collect();
    let mut merges = Vec::new();
    loop {
        let mut counts: BTreeMap<[usize; 2], usize> = BTreeMap::new();
        words
            .iter()
            .flat_map(|word| word.windows(2))
            .for_each(|w| *counts.entry([w[0], w[1]]).or_default() += 1);
        let most = counts.values().copied().max().unwrap_or(0);
        if most < 2 {
            return merges;
        }
        let best: Vec<[usize; 2]> =
            counts.iter().filter(|(_, count)| **count == most).map(|(pair, _)| *pair).collect();
        let pair = first(&best);
        let names = |pair: [usize; 2]| pair.map(|id| tokens[id].clone());
        let ties = best.iter().filter(|other| **other != pair).map(|other| names(*other)).collect();
        merges.push((names(pair), most, ties));
        tokens.push(names(pair).concat());
        let made = tokens.len() - 1;
        for word in &mut words {
            let mut at = 0;
            while at + 1 < word.len() {
                if word[at..at + 2] == pair {
                    word.splice(at..at + 2, [made]);
                }
                at += 1;
            }
        }
    }
}

/// The lowest of several pairs.
fn lowest(pairs: &[[usize; 2]]) -> [usize; 2] {
    pairs[0]
}

/// A blank as the book shows it.
fn shown(text: &str) -> String {
    text.replace(' ', "␣")
}

/// A pair, with a blank between its parts.
fn joined(pair: &[String; 2]) -> String {
    pair.each_ref().map(|part| shown(part)).join(" ")
}

#[test]
fn chapter_15_a_training_on_a_page() {
    let tokenizer = train(&[PAGE], 400, &[]);
    let BpeSpec { tokens, merges, .. } = spec(&tokenizer);
    let by_hand = by_definition(PAGE, lowest);
    let names = |pair: &[usize; 2]| pair.map(|id| tokens[id].replace('Ġ', " "));
    assert_eq!(
        merges.iter().map(names).collect::<Vec<_>>(),
        by_hand.iter().map(|m| m.0.clone()).collect::<Vec<_>>()
    );
    for (number, (pair, count, ties)) in by_hand.iter().enumerate() {
        let ties: Vec<String> = ties.iter().map(|tie| format!("`{}`", joined(tie))).collect();
        says(15, &format!("| {} | `{}` | {count} | {} |", number + 1, joined(pair), ties.join(", ")));
    }
    says(
        15,
        &format!(
            "no pair is left that occurs twice, and the vocabulary has {} tokens",
            tokenizer.vocab_size()
        ),
    );
    let (chars, count) = (PAGE.chars().count(), cut(&tokenizer, PAGE).len());
    says(15, &format!("The {chars} characters of the page are {count} tokens"));
    for text in ["tones", "honest", "net"] {
        says(15, &format!("{text:?} becomes {}", listed(&cut(&tokenizer, text))));
    }
}

#[test]
fn chapter_15_bytes() {
    let rows = [("a", "a"), ("é", "é"), ("가", "가"), ("🦀", "🦀")].map(|(text, shown)| {
        let bytes: Vec<String> = text.bytes().map(|byte| format!("{byte:02x}")).collect();
        format!("| {shown} | {} | {} |", bytes.join(" "), bytes.len())
    });
    for row in rows {
        says(15, &row);
    }
    let tokenizer = train(&[PAGE], 400, &[]);
    let bytes: Vec<u8> = (0..=255).rev().collect();
    let mut back = Vec::new();
    tokenizer.encode_bytes(&bytes).iter().for_each(|&token| tokenizer.push_bytes(token, &mut back));
    assert_eq!(back, bytes);
}

#[test]
fn chapter_15_pieces() {
    let text = "Don't wait:  it's 12345 km.";
    says(15, &format!("`{text}`"));
    for (name, pattern) in [("GPT-2", Pattern::Gpt2), ("Llama 3", Pattern::Llama3)] {
        let pieces: Vec<String> = pattern.pieces(text).map(|piece| format!("`{}`", shown(piece))).collect();
        says(15, &format!("| {name} | {} |", pieces.join(" ")));
    }
}

/// The dialogs of the project, cut in two: nine tenths to learn from, and a tenth that is held out.
fn dialogs() -> [String; 2] {
    let text = fs::read_to_string(file("dialog.txt")).expect("a text");
    let (learn, rest) = text.split_at(text.len() * 9 / 10);
    [learn.to_owned(), rest.to_owned()]
}

#[test]
fn chapter_15_how_large() {
    let [learn, held_out] = dialogs();
    for vocab_size in [268, 500, 1000, 2000, 4000] {
        let tokenizer = train(&[&learn], vocab_size, &CHAT_TOKENS);
        let count = tokenizer.encode(&held_out).expect("it knows every byte").len();
        let bytes = held_out.len() as f64 / count as f64;
        let size = tokenizer.vocab_size();
        says(
            15,
            &format!(
                "| {} | {} | {bytes:.2} | {} |",
                thousands(size),
                thousands(count),
                thousands(512 * size)
            ),
        );
    }
    let tokenizer = train(&[&learn], 2000, &CHAT_TOKENS);
    let korean = fs::read_to_string(file("korean.txt")).expect("a text");
    let a_char = |text: &str| {
        tokenizer.encode(text).expect("it knows every byte").len() as f64 / text.chars().count() as f64
    };
    let (english, korean) = (a_char(&held_out), a_char(&korean));
    says(15, &format!("{english:.2} tokens for a character of English and {korean:.2} for one of Korean"));
}

#[test]
fn chapter_15_special_tokens() {
    let tokenizer = train(&[&dialogs()[0]], 2000, &CHAT_TOKENS);
    let typed = cut(&tokenizer, "<user>");
    says(15, &format!("A typed `<user>` becomes {}", listed(&typed)));
    let names: Vec<String> = CHAT_TOKENS.iter().map(|name| format!("`{name}`")).collect();
    says(15, &format!("{} and {}", names[..11].join(", "), names[11]));
    let special: BTreeSet<usize> = CHAT_TOKENS.iter().filter_map(|name| tokenizer.special(name)).collect();
    assert_eq!(special.into_iter().collect::<Vec<_>>(), (0..12).collect::<Vec<_>>());
}

#[test]
fn chapter_15_the_table_of_a_llama() {
    let config = DecoderConfig {
        n_layer: 8,
        n_embd: 512,
        n_head: 8,
        n_kv_head: 4,
        n_ffn: 1536,
        qk_norm: false,
        tied_embeddings: TiedEmbeddings::Output,
        ..DecoderConfig::dialog(32_000)
    };
    let all = Decoder::new(config).expect("it fits").layout().len();
    let table = 32_000 * 512;
    says(15, &format!("{} of {} parameters", thousands(table), thousands(all)));
}

#[test]
fn exercise_15_1() {
    let tokenizer = train(&[PAGE], 400, &[]);
    let parts = cut(&tokenizer, "no stone");
    says(15, &format!("{} tokens: {}.", parts.len(), listed(&parts)));
    let parts = cut(&tokenizer, "atone");
    says(15, &format!("\"atone\" is {}.", listed(&parts)));
}

#[test]
fn exercise_15_2() {
    let highest = |pairs: &[[usize; 2]]| pairs[pairs.len() - 1];
    let merges: Vec<String> =
        by_definition(PAGE, highest).iter().map(|(pair, ..)| format!("`{}`", joined(pair))).collect();
    says(15, &format!("{}.", merges.join(", ")));
    assert!(!merges.contains(&"`n e`".to_owned()), "`ne` is no token then");
}

#[test]
fn exercise_15_3() {
    let mut spec = spec(&train(&["x"], 256, &[]));
    let id = |text: &str, tokens: &[String]| tokens.iter().position(|token| token == text).expect("a token");
    for pair in [["b", "c"], ["a", "b"]] {
        spec.merges.push(pair.map(|part| id(part, &spec.tokens)));
        spec.tokens.push(pair.concat());
    }
    let tokenizer = BpeTokenizer::from_spec(&spec).expect("a vocabulary");
    says(15, &format!("Into {}", listed(&cut(&tokenizer, "abc"))));
    says(15, &format!("\"abab\" becomes {}", listed(&cut(&tokenizer, "abab"))));
}

#[test]
fn exercise_15_4() {
    let bits = |nats: f64, bytes: f64| nats / bytes / 2_f64.ln();
    let (first, second) = (bits(3.0, 4.0), bits(2.0, 2.5));
    says(15, &format!("{first:.2} and {second:.2} bits a byte: the first is the better one"));
    assert!(first < second);
}
