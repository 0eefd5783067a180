//! Validation shares no dialogue with training, nothing of a text is lost, and it does not matter in what clothes it comes.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;

use gradus::data::{Batch, DataError, Dialogs};
use gradus::random::Random;
use gradus::tokenizer::Tokenizer;

#[path = "common/dataset.rs"]
mod dataset;

/// All of the text to learn from, and all of the text to validate with.
fn parts(dialogs: &Dialogs) -> [String; 2] {
    let [train, validation] = dialogs.sizes();
    let text = |batch: &Batch| {
        let tokens = batch.sequences().tokens.iter().chain(batch.targets().last()).copied();
        dialogs.tokenizer().decode(&tokens.collect::<Vec<_>>())
    };
    // A stretch as long as the whole can only be the whole.
    let mut batch = Batch::new();
    dialogs.fill(&mut batch, &mut Random::new(1), 1, train - 1);
    let validated = dialogs.validation(1, 1, validation - 1);
    assert_eq!(validated.len(), 1);
    [text(&batch), text(&validated[0])]
}

/// The paragraphs of a text in order.
fn paragraphs(text: &str) -> Vec<&str> {
    text.split("\n\n").map(|p| p.trim_matches('\n')).filter(|p| !p.trim().is_empty()).collect()
}

fn read(text: &str) -> Dialogs {
    Dialogs::from_text("a text", text, 16).expect("a text that is long enough")
}

/// So many dialogues, all different.
fn talk(count: usize) -> Vec<String> {
    let say =
        |n: usize| format!("A: Where is number {n}?\nB: Behind {}, on the left.\nA: Thank you.", n * n % 91);
    (0..count).map(say).collect()
}

/// What must hold for every text in paragraphs.
fn check(text: &str) -> Dialogs {
    let dialogs = read(text);
    let [train, validation] = parts(&dialogs);
    assert_eq!([train.chars().count(), validation.chars().count()], dialogs.sizes());
    let text = text.replace('\r', "");
    let [all, train, validation] = [&text, &train, &validation].map(|text| paragraphs(text));
    let [learned, kept] = [&train, &validation].map(|part| part.iter().copied().collect::<BTreeSet<_>>());
    let shared: Vec<_> = learned.intersection(&kept).collect();
    assert!(shared.is_empty(), "in both parts: {shared:?}");
    assert_eq!(dialogs.paragraphs(), [train.len(), validation.len()]);
    let mut together = [train.clone(), validation.clone()].concat();
    together.sort_unstable();
    let mut sorted = all.clone();
    sorted.sort_unstable();
    assert_eq!(together, sorted, "nothing is lost, and nothing comes in addition");
    // Each part keeps the order of the text.
    let of_part =
        |part: &BTreeSet<&str>| all.iter().copied().filter(|p| part.contains(p)).collect::<Vec<_>>();
    assert_eq!([of_part(&learned), of_part(&kept)], [train, validation]);
    dialogs
}

#[test]
fn the_dialogues_of_the_crate() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("datasets/dialog.txt");
    let text = std::fs::read_to_string(&path).expect("it is there");
    let dialogs = check(&text);
    let [train, validation] = dialogs.paragraphs();
    let share = validation as f64 / (train + validation) as f64;
    assert!((0.07..0.13).contains(&share), "{share} for validation");
    assert_eq!(Dialogs::read(&path, 16).expect("it can be read").sizes(), dialogs.sizes());
    assert!(text.len() >= 150_000);
}

#[test]
fn daily_dialog() {
    if let Some(path) = dataset::dataset("dailydialog.txt") {
        let dialogs = check(&std::fs::read_to_string(&path).expect("it can be read"));
        let [train, validation] = dialogs.paragraphs();
        let share = validation as f64 / (train + validation) as f64;
        assert!((0.09..0.11).contains(&share), "{share} for validation");
    }
}

#[test]
fn what_occurs_twice_is_not_in_both() {
    let once = talk(60);
    let twice: Vec<String> = once.iter().chain(once.iter().rev()).chain(&once[20..40]).cloned().collect();
    let dialogs = check(&twice.join("\n\n"));
    // Only the words decide: more of the same text changes nothing for the text there was.
    let [_, kept] = parts(&check(&once.join("\n\n")));
    let [_, kept_of_twice] = parts(&dialogs);
    let set = |text: &str| paragraphs(text).into_iter().map(str::to_owned).collect::<BTreeSet<_>>();
    assert_eq!(set(&kept), set(&kept_of_twice));
}

#[test]
fn the_same_dialogues_in_other_clothes() {
    let plain = talk(60).join("\n\n");
    let expected = parts(&check(&plain));
    let clothes = [
        ("lines that end as on Windows", plain.replace('\n', "\r\n")),
        ("a line break at the end", format!("{plain}\n")),
        ("many line breaks", format!("\n\n\n{}\n\n\n\n", plain.replace("\n\n", "\n\n\n\n\n"))),
        ("three line breaks", plain.replace("\n\n", "\n\n\n")),
    ];
    for (name, text) in clothes {
        assert_eq!(parts(&check(&text)), expected, "{name}");
    }
}

/// A line of blanks looks empty to everyone who reads the text.
#[test]
fn a_line_of_blanks_is_an_empty_line() {
    let plain = talk(60).join("\n\n");
    let expected = parts(&check(&plain));
    for blank in [" ", "\t", "  \t "] {
        let text = plain.replace("\n\n", &format!("\n{blank}\n"));
        assert_eq!(parts(&read(&text)), expected, "{blank:?}");
    }
}

#[test]
fn letters_of_all_scripts() {
    let korean: Vec<String> =
        talk(60).iter().map(|p| p.replace("Where", "어디에").replace('?', "？ 🦀")).collect();
    let dialogs = check(&korean.join("\n\n"));
    assert!(dialogs.tokenizer().token('🦀').is_some());
}

#[test]
fn a_text_without_paragraphs_is_cut_at_a_line() {
    let lines: Vec<String> = (0..200).map(|n| format!("line {n} of a long poem")).collect();
    let text = lines.join("\n");
    let dialogs = read(&text);
    let [train, validation] = parts(&dialogs);
    assert_eq!(format!("{train}{validation}"), text, "nothing is lost");
    assert!(train.ends_with('\n') && validation.starts_with("line "));
    let share = validation.len() as f64 / text.len() as f64;
    assert!((0.07..0.13).contains(&share), "{share} for validation");

    // Without lines either, it is cut anywhere, but not in the middle of a letter.
    let text = "가나다라".repeat(200);
    let [train, validation] = parts(&read(&text));
    assert_eq!(format!("{train}{validation}"), text);
}

/// Where paragraphs are so large that no choice of them is a tenth, one of them is cut at a line: whatever the text, a tenth of
/// it is kept, and no line of what is kept is learned.
#[test]
fn a_tenth_of_any_text() {
    let line = |n: usize| format!("A: {n} plus {} is {}.", n * 7 % 100, n + n * 7 % 100);
    let paragraph =
        |first: usize, lines: usize| (first..first + lines).map(line).collect::<Vec<_>>().join("\n");
    let sized = |sizes: &[usize]| {
        let mut first = 1000;
        let next = |lines: &usize| {
            first += lines;
            paragraph(first - lines, *lines)
        };
        sizes.iter().map(next).collect::<Vec<_>>().join("\n\n")
    };
    let twice = paragraph(0, 300);
    let cases = [
        ("two of the same size", sized(&[200, 200])),
        ("one large, one small", sized(&[380, 20])),
        ("a small one first", sized(&[20, 380])),
        ("five of the same size", sized(&[100; 5])),
        ("twelve of the same size", sized(&[40; 12])),
        ("nineteen of the same size", sized(&[30; 19])),
        ("ever larger ones", sized(&(1..30).map(|n| 2 * n).collect::<Vec<_>>())),
        ("one that occurs twice", format!("{twice}\n\n{twice}")),
        (
            "one that occurs often, and others",
            format!("{}{}", format!("{twice}\n\n").repeat(9), sized(&[40; 20])),
        ),
        ("no lines, but words", "the sun is up and the day is long ".repeat(100)),
        ("neither lines nor words", "가나다라".repeat(500)),
        (
            "long lines in a few paragraphs",
            ["the sun is up ".repeat(60), "and so am I ".repeat(70)].join("\n\n"),
        ),
    ];
    for (name, text) in cases {
        let dialogs = read(&text);
        let [train, validation] = parts(&dialogs);
        let share = validation.len() as f64 / (train.len() + validation.len()) as f64;
        assert!((0.09..0.11).contains(&share), "{name}: {share}");
        let lines = |part: &str| {
            part.lines().filter(|line| line.len() > 1).map(str::to_owned).collect::<BTreeSet<_>>()
        };
        assert!(lines(&train).is_disjoint(&lines(&validation)), "{name}: a line is in both parts");
        let letters = |text: &str| text.chars().filter(|c| *c != '\n').count();
        assert_eq!(letters(&train) + letters(&validation), letters(&text), "{name}: something is lost");
    }
}

/// At most one of a few long dialogues is cut.
#[test]
fn a_few_dialogues_stay_whole_but_for_one() {
    for count in [2, 5, 12, 19] {
        let long: Vec<String> = (0..count).map(|n| talk(50)[n..n + 20].join("\n")).collect();
        let dialogs = read(&long.join("\n\n"));
        let whole = |part: &String| long.iter().filter(|dialogue| part.contains(dialogue.as_str())).count();
        assert!(parts(&dialogs).iter().map(whole).sum::<usize>() >= count - 1, "{count} dialogues");
    }
}

/// A title, an empty line, and a text without any more of them: too few paragraphs to draw from, so that it is the long one
/// that has to be cut.
#[test]
fn a_title_and_a_long_text() {
    let lines: Vec<String> = (0..400).map(|n| format!("line {n} of a long poem")).collect();
    for title in ["A poem", "Ode", "The lines", "Four hundred lines", "A long poem about lines"] {
        let text = format!("{title}\n\n{}\n", lines.join("\n"));
        match Dialogs::from_text("poem.txt", &text, 16) {
            Ok(dialogs) => {
                let [train, validation] = dialogs.sizes();
                assert!(
                    validation < train && train + validation + 4 >= text.len(),
                    "{title}: {:?}",
                    dialogs.sizes()
                );
            }
            Err(error) => panic!("{title}: {error}"),
        }
    }
}

/// Whether a text can be used depends on its length, not on luck.
#[test]
fn every_text_of_twenty_paragraphs_can_be_used() {
    let all = talk(20_000);
    let refused: Vec<String> = (0..50)
        .filter_map(|text| {
            let long: Vec<String> = all[text * 400..][..400].chunks(20).map(|part| part.join("\n")).collect();
            Some(Dialogs::from_text("a text", &long.join("\n\n"), 16).err()?.to_string())
        })
        .collect();
    assert!(refused.is_empty(), "{} of 50, for example: {}", refused.len(), refused[0]);
}

#[test]
fn a_text_that_is_too_short() {
    let texts =
        ["".to_owned(), "\n\n\n".to_owned(), "A: Hi.".to_owned(), talk(20).join("\n\n"), "a\n".repeat(400)];
    for text in texts {
        match Dialogs::from_text("short.txt", &text, 1000) {
            Err(DataError::TooShort { name, have, need }) => {
                assert_eq!(name, "short.txt");
                assert!(have < need, "{have} characters, and at least {need} are needed");
            }
            other => panic!("{other:?}"),
        }
    }
}

/// The same dialogue again and again cannot be parted. If that is an error, it may not say that there is too little text.
#[test]
fn a_text_that_repeats_itself() {
    let text = format!("{}\n\n", talk(1)[0]).repeat(100);
    match Dialogs::from_text("again.txt", &text, 16) {
        Err(DataError::TooShort { have, need, .. }) => {
            assert!(have < need, "{have} characters are too few, it says, and at least {need} are needed");
        }
        Err(_) => {}
        Ok(dialogs) => {
            let [train, validation] = parts(&dialogs);
            assert!(!train.contains(validation.trim_matches('\n')), "the same dialogue is in both");
        }
    }
}

#[test]
fn batches_are_stretches_of_the_text() {
    let dialogs = read(&talk(60).join("\n\n"));
    let [train, validation] = parts(&dialogs);
    let stretches = |batch: &Batch| -> Vec<String> {
        let sequences = batch.sequences();
        let stretch = |range: &Range<usize>| {
            assert_eq!(
                sequences.tokens[range.start + 1..range.end],
                batch.targets()[range.start..range.end - 1]
            );
            let last = batch.targets()[range.end - 1];
            let tokens: Vec<usize> = sequences.tokens[range.clone()].iter().copied().chain([last]).collect();
            dialogs.tokenizer().decode(&tokens)
        };
        sequences.rows.iter().map(stretch).collect()
    };
    let (mut batch, mut random) = (Batch::new(), Random::new(5));
    let mut starts = BTreeSet::new();
    for _ in 0..400 {
        dialogs.fill(&mut batch, &mut random, 3, 16);
        assert_eq!((batch.len(), batch.loss_weights()), (48, &[1.0; 48][..]));
        for stretch in stretches(&batch) {
            starts.insert(train.find(&stretch).expect("a stretch of the text to learn from"));
        }
    }
    let (first, last) = (starts.first().expect("some"), starts.last().expect("some"));
    assert!(*first < 40 && *last > train.len() - 60, "from anywhere: {first} to {last}");

    // Side by side, all of the validation text, but for what is too short for another stretch.
    let all: Vec<String> = dialogs.validation(usize::MAX, 4, 16).iter().flat_map(stretches).collect();
    let whole: String = all.iter().map(|s| &s[..16]).collect();
    assert!(validation.starts_with(&whole) && validation.len() - whole.len() <= 17);
    assert_eq!(dialogs.validation(usize::MAX, 4, 16).iter().map(Batch::len).sum::<usize>(), whole.len());
    let some: Vec<String> = dialogs.validation(5, 2, 16).iter().flat_map(stretches).collect();
    assert_eq!((some.len(), dialogs.validation(5, 2, 16).len()), (5, 3));
    // The text says the same now and then, so not all of them need to differ.
    assert!(some.iter().collect::<BTreeSet<_>>().len() > 3, "from several places: {some:?}");
    assert!(some.iter().all(|stretch| all.contains(stretch)));
}

/// A text in its order: the last tenth is for validation, all of it counts, once, and everything is predicted from at least
/// half a context.
#[test]
fn a_text_in_its_order() {
    let place = tempfile::tempdir().expect("a folder");
    let path = place.path().join("plays.txt");
    for length in [400, 1003, 1115] {
        let text: String = (0..length).map(|n| char::from(b'a' + (n * n % 23) as u8)).collect();
        std::fs::write(&path, &text).expect("a file");
        for context in [1, 2, 7, 16] {
            let dialogs = Dialogs::read_in_order(&path, context, None).expect("a text that is long enough");
            let kept = length - length * 9 / 10;
            assert_eq!(dialogs.sizes(), [length - kept, kept]);
            let mut learned = Batch::new();
            dialogs.fill(&mut learned, &mut Random::new(1), 1, length - kept - 1);
            let tokens = learned.sequences().tokens;
            assert_eq!(dialogs.tokenizer().decode(tokens), text[..tokens.len()]);

            let (mut counted, mut first) = (Vec::new(), true);
            for batch in dialogs.overlapping(3, context) {
                assert!(batch.sequences().rows.len() <= 3);
                for (at, &weight) in batch.loss_weights().iter().enumerate() {
                    assert!(weight == 0.0 || weight == 1.0);
                    let seen = batch.sequences().positions[at] + 1;
                    assert!(seen <= context);
                    if weight == 1.0 {
                        assert!(first || 2 * seen >= context, "predicted from {seen} of {context}");
                        counted.push(batch.targets()[at]);
                    }
                    first &= seen < context;
                }
            }
            let validated = dialogs.tokenizer().decode(&counted);
            assert_eq!(
                validated,
                text[length - kept + 1..],
                "each but the first, which nothing comes before"
            );
        }
    }
    let tokenizer = read(&talk(60).join("\n\n")).tokenizer().clone();
    let error = Dialogs::read_in_order(&path, 16, Some(tokenizer)).expect_err("other characters");
    assert!(matches!(error, DataError::Unknown { .. }), "{error}");
}
