//! Chapter 22, an hour on two processors: the answers to its exercises.

use gradus::tokenizer::{BpeTrainer, Pattern, Tokenizer};

use crate::says;

#[test]
fn exercise_22_1() {
    let (parameters, tokens, seconds) = (4.0e6, 8_407_368.0, 2781.0);
    let operations = 6.0 * parameters * tokens;
    says(22, &format!("{:.1} · 10¹⁴ operations", operations / 1e14));
    says(22, &format!("{:.0} billion a second", operations / seconds / 1e9));
    says(22, &format!("{:.1} hours", 4.0 * seconds / 3600.0));
}

#[test]
fn exercise_22_2() {
    let bytes = |parameters: f64| parameters / 32.0 * (32.0 + 2.0);
    says(22, &format!("{:.2} MB", bytes(1_820_352.0) / 1e6));
    says(22, &format!("{:.2} million", 4e6 / bytes(1.0) / 1e6));
    says(22, &format!("{:.1} MB in 32 bits", 4.0 * 1_820_352.0 / 1e6));
}

/// The tokens of a text, with bars between them.
fn cut(separate: &[u8], text: &str) -> String {
    let trainer = BpeTrainer {
        vocab_size: 256 + 40,
        pattern: Pattern::Gpt2,
        separate: separate.to_vec(),
        ..BpeTrainer::default()
    };
    let learned = trainer.train(&["to Oslo and back, to Oslo and back, to Oslo"]).expect("a vocabulary");
    let tokens = learned.encode(text).expect("any text has tokens");
    tokens.iter().map(|&token| learned.decode(&[token]).replace(' ', "_")).collect::<Vec<_>>().join("|")
}

#[test]
fn exercise_22_3() {
    for (separate, text) in [(&b""[..], " Oslo"), (b"", "\"Oslo\""), (b" ", " Oslo"), (b" ", "\"Oslo\"")] {
        says(22, &format!("`{}`", cut(separate, text)));
    }
}
