//! `datasets/phrases.tsv` is what `datasets/README.md` says: pairs of sentences, written the same way throughout.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

fn file(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("datasets").join(name);
    std::fs::read_to_string(path).expect("a text that comes with the project")
}

/// The English and the French of every line, in order.
fn pairs(text: &str) -> Vec<(&str, &str)> {
    text.lines().map(|line| line.split_once('\t').unwrap_or_else(|| panic!("no tab: {line:?}"))).collect()
}

/// The French of each English sentence.
fn translations<'a>(pairs: &[(&'a str, &'a str)]) -> BTreeMap<&'a str, Vec<&'a str>> {
    let mut all: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for &(english, french) in pairs {
        all.entry(english).or_default().push(french);
    }
    all
}

/// The figures of the table are those of the file.
#[test]
fn as_many_as_the_readme_says() {
    let (text, readme) = (file("phrases.tsv"), file("README.md"));
    let entry = readme.lines().find(|line| line.starts_with("| `phrases.tsv`")).expect("an entry");
    let numbers: Vec<usize> = entry
        .split(|c: char| !c.is_ascii_digit() && c != ',')
        .filter_map(|word| word.replace(',', "").parse().ok())
        .filter(|&number| number > 8) // UTF-8
        .collect();
    let pairs = pairs(&text);
    let all = translations(&pairs);
    let several = all.values().filter(|french| french.len() > 1).count();
    assert_eq!(numbers, [all.len(), several, pairs.len()]);
}

#[test]
fn one_pair_a_line_from_short_to_long() {
    let text = file("phrases.tsv");
    assert!(text.ends_with('\n') && !text.contains('\r'));
    let pairs = pairs(&text);
    assert_eq!(pairs.iter().collect::<BTreeSet<_>>().len(), pairs.len(), "a line occurs twice");
    for pair in pairs.windows(2) {
        assert!(pair[0].0.chars().count() <= pair[1].0.chars().count(), "{pair:?}");
    }
    // The translations of a sentence stand together.
    let sentences = pairs.chunk_by(|a, b| a.0 == b.0).count();
    assert_eq!(sentences, translations(&pairs).len());
}

#[test]
fn every_sentence_is_written_in_the_same_way() {
    let text = file("phrases.tsv");
    for (english, french) in pairs(&text) {
        for sentence in [english, french] {
            assert!(
                sentence.starts_with(char::is_uppercase) && sentence.ends_with(['.', '?', '!']),
                "{sentence}"
            );
            assert_eq!(sentence.split(' ').find(|word| word.is_empty()), None, "two spaces: {sentence}");
            let words = 2..=14;
            assert!(sentence == french || words.contains(&english.split(' ').count()), "{sentence}");
        }
        assert_eq!(english.chars().last(), french.chars().last(), "{english} {french}");
        assert!(english.is_ascii() && !english.contains([';', ':', '"']), "{english}");
        assert!([" .", " ,", " ?", " !"].iter().all(|end| !english.contains(end)), "{english}");
        // Accents are part of their letter (NFC), apostrophes are straight, and spaces are plain.
        let plain =
            |c: char| c.is_ascii_alphabetic() || " ',-.?!".contains(c) || "àâçèéêëîïôùûœÀÉÊÇ".contains(c);
        assert!(french.chars().all(plain), "{french}");
        for mark in ['?', '!'] {
            let before = french.split_once(mark).map(|(before, _)| before);
            assert!(before.is_none_or(|before| before.ends_with(' ')), "{french}");
        }
    }
}
