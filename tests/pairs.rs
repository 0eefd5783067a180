//! Sentence pairs are read as they are written, cleaned, and split so that no sentence is both learned and held out; every error
//! says where and what to do; and every pair comes once in each epoch.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;
use std::process::Command;

use gradus::data::{
    DataError, Direction, Marks, Pair, PairBatches, Pairs, PairsError, Side, Skipped, TokenPairs,
    clean_sentence, quoted,
};
use gradus::random::Random;
use gradus::tokenizer::{BpeTrainer, CharTokenizer, Tokenizer};

#[path = "common/dataset.rs"]
mod dataset;

use Direction::{Forward, Reverse};

fn read(text: &str) -> Result<Pairs, PairsError> {
    Pairs::from_text("fra.txt", text, Forward, None)
}

fn error(text: &str) -> PairsError {
    read(text).expect_err(text)
}

/// Lines of pairs. Some sentences come several times, with other translations.
fn lines(count: usize) -> Vec<String> {
    let line = |n: usize| {
        let sentence = if n.is_multiple_of(3) { n / 30 } else { n };
        format!(
            "Sentence {sentence}{}.\tPhrase{} {n}\u{202f}!",
            " and more".repeat(sentence % 5),
            " ou plus".repeat(n % 7)
        )
    };
    (0..count).map(line).collect()
}

fn texts(pairs: &[Pair]) -> Vec<(&str, &str)> {
    pairs.iter().map(|pair| (pair.source.as_str(), pair.target.as_str())).collect()
}

fn sources(pairs: &[Pair]) -> BTreeSet<&str> {
    pairs.iter().map(|pair| pair.source.as_str()).collect()
}

/// What must hold for all pairs: nothing is lost, and no sentence is on both sides.
fn check(text: &str, direction: Direction) -> Pairs {
    let pairs = Pairs::from_text("a text", text, direction, None).expect("pairs");
    let (train, held_out) = (pairs.train(), pairs.held_out());
    assert!(sources(train).is_disjoint(&sources(held_out)), "a sentence is learned and held out");
    let mut all: Vec<&Pair> = train.iter().chain(held_out).collect();
    all.sort_by_key(|pair| pair.line);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(all.len(), lines.len());
    for (pair, line) in all.into_iter().zip(&lines) {
        assert_eq!(lines[pair.line - 1], *line, "every line once");
        let cells: Vec<String> = line.split('\t').map(clean_sentence).collect();
        let swapped = [pair.target.clone(), pair.source.clone()];
        match direction {
            Forward => assert_eq!([&pair.source, &pair.target], [&cells[0], &cells[1]]),
            Reverse => assert_eq!(swapped, cells[..2]),
        }
    }
    assert!(train.is_sorted_by_key(|pair| pair.line));
    // Each sentence once, with all its translations in the order of the text and none of them twice.
    let mut expected: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (source, target) in texts(held_out) {
        let references = expected.entry(source).or_default();
        if !references.contains(&target) {
            references.push(target);
        }
    }
    let given: Vec<_> = pairs.references().collect();
    assert_eq!(given.len(), expected.len(), "each sentence once");
    assert!(given.iter().all(|(source, references)| expected[source] == *references));
    pairs
}

/// The sentences that a Python program holds out by the same definition.
#[test]
fn which_sentences_are_held_out() {
    let people = ["I", "You", "We", "They", "Tom", "Mary"];
    let actions = ["sleep", "read", "wait", "sing", "walk", "cook", "laugh", "swim"];
    let english = people.iter().flat_map(|who| actions.iter().map(move |what| format!("{who} {what}.")));
    let french = (0..48).map(|n| format!("C\u{2019}est de\u{301}jà  la page n°\u{a0}{n}."));
    let text: Vec<String> =
        english.zip(french).map(|(english, french)| format!("{english}\t{french}")).collect();
    let text = text.join("\n");
    let pairs = check(&text, Forward);
    let held_out: Vec<&str> = pairs.held_out().iter().map(|pair| pair.source.as_str()).collect();
    assert_eq!(held_out, ["You sleep.", "You read.", "Tom cook."]);
    // In the other direction the sentences of the other language decide, after cleaning.
    let pairs = check(&text, Reverse);
    let held_out: Vec<&str> = pairs.held_out().iter().map(|pair| pair.source.as_str()).collect();
    let page = |n: usize| format!("C'est déjà la page n° {n}.");
    assert_eq!(held_out, [4, 25, 32].map(page));
}

/// The figures of a Python program on the same lines.
#[test]
fn english_and_french_from_tatoeba() {
    let Some(path) = dataset::dataset("fra-eng/fra.txt") else {
        println!("not compared, for the data is not here: fra-eng/fra.txt");
        return;
    };
    for (limit, expected) in [
        (Some(20_000), [18_040, 1_181, 1_960, 1_947, 12_111]),
        (None, [128_386, 10_052, 14_401, 14_375, 98_659]),
    ] {
        let pairs = Pairs::read(&path, Forward, limit).expect("pairs");
        let (train, held_out) = (sources(pairs.train()), sources(pairs.held_out()));
        assert!(train.is_disjoint(&held_out));
        let references = pairs.references().map(|(_, references)| references.len());
        let sizes = [pairs.train().len(), held_out.len(), pairs.held_out().len(), references.sum()];
        assert_eq!([&sizes[..], &[train.union(&held_out).count()]].concat(), expected);
        assert_eq!(pairs.references().count(), held_out.len());
    }
    let text = std::fs::read_to_string(&path).expect("a text");
    let first: Vec<&str> = text.lines().take(3_000).collect();
    for direction in [Forward, Reverse] {
        check(&first.join("\n"), direction);
    }
}

/// What differs only in its spaces is the same translation. As a pair it stays twice.
#[test]
fn a_translation_that_comes_twice_is_one_reference() {
    let pairs = read(
        "You read.\tTu lis\u{202f}!\nI read.\tJe lis.\nYou read.\tVous lisez.\nYou sleep.\tTu lis !\nYou read.\tTu lis\u{a0}!",
    )
    .expect("pairs");
    let references: Vec<_> = pairs.references().collect();
    assert_eq!(
        references,
        [("You read.", vec!["Tu lis !", "Vous lisez."]), ("You sleep.", vec!["Tu lis !"])]
    );
    assert_eq!(pairs.held_out().iter().map(|pair| pair.line).collect::<Vec<_>>(), [1, 3, 5, 4]);
}

#[test]
fn a_sentence_stays_on_its_side() {
    let mut lines = lines(900);
    let text = lines.join("\n");
    for direction in [Forward, Reverse] {
        let all = check(&text, direction);
        let (train, held_out) = (sources(all.train()), sources(all.held_out()));
        for limit in [1, 60, 450, 899, 900, usize::MAX] {
            match Pairs::from_text("a text", &text, direction, Some(limit)) {
                Ok(some) => {
                    assert_eq!(some.train().len() + some.held_out().len(), limit.min(900));
                    assert!(some.train().iter().chain(some.held_out()).all(|pair| pair.line <= limit));
                    assert!(sources(some.train()).is_subset(&train));
                    assert!(sources(some.held_out()).is_subset(&held_out));
                }
                Err(error) => assert!(limit == 1, "{limit}: {error}"),
            }
        }
        let mut random = Random::new(3);
        for _ in 0..5 {
            random.shuffle(&mut lines);
            let shuffled = check(&lines.join("\n"), direction);
            assert_eq!(
                [sources(shuffled.train()), sources(shuffled.held_out())],
                [train.clone(), held_out.clone()]
            );
        }
    }
}

#[test]
fn sentences_are_cleaned() {
    for (text, clean) in [
        ("Va !", "Va !"),
        ("Va\u{202f}!", "Va !"),
        ("Va\u{a0}!", "Va !"),
        ("Va\u{2009}!", "Va !"),
        ("  a \u{a0} b\u{3000}\u{202f}c\r", "a b c"),
        ("l\u{2019}e\u{301}te\u{301}", "l'été"),
        ("\u{212b}", "Å"),
        ("한국어", "한국어"),
        ("\u{1112}\u{1161}\u{11ab}", "한"),
        ("a\u{323}\u{302}", "ậ"),
        ("ﬁn", "ﬁn"),
        ("\u{a0}\t", ""),
    ] {
        assert_eq!(clean_sentence(text), clean, "{text:?}");
    }
    // What is clean stays as it is, and no white space but single spaces is left.
    let letters: Vec<char> = "ae o'\u{2019}\u{301}\u{327}\u{323}\u{a0}\u{202f}\u{2009}\u{2000}\u{1112}\u{1161}\u{11ab}ç\u{338}<가 \u{85}Å🦀"
        .chars()
        .collect();
    let mut random = Random::new(9);
    for _ in 0..5_000 {
        let text: String = (0..random.below(12)).map(|_| letters[random.below(letters.len())]).collect();
        let clean = clean_sentence(&text);
        assert_eq!(clean_sentence(&clean), clean, "{text:?}");
        assert!(!clean.contains("  ") && clean.trim() == clean);
        assert!(clean.chars().all(|c| c == ' ' || !c.is_whitespace() && c != '\u{2019}'), "{text:?}");
    }
}

#[test]
fn the_same_pairs_in_other_clothes() {
    let plain = lines(200).join("\n");
    let expected = read(&plain).expect("pairs");
    let attribution = |line: &str| format!("{line}\tCC-BY 2.0 (France)\t#1");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("fra.txt");
    for (name, text) in [
        ("the same", plain.clone()),
        ("a line break at the end", format!("{plain}\n")),
        ("line ends of Windows", plain.replace('\n', "\r\n")),
        ("a byte order mark", format!("\u{feff}{plain}")),
        ("blank lines", format!("\n \n{}\n\n", plain.replace('\n', "\n\u{a0}\n\n"))),
        ("four columns everywhere", plain.lines().map(attribution).collect::<Vec<_>>().join("\n")),
        ("blanks around the cells", plain.replace('\t', " \t ").replace('\n', " \n  ")),
    ] {
        std::fs::write(&path, text).expect("a file");
        let pairs = Pairs::read(&path, Forward, None).expect(name);
        assert_eq!(texts(pairs.train()), texts(expected.train()), "{name}");
        assert_eq!(texts(pairs.held_out()), texts(expected.held_out()), "{name}");
        assert_eq!(pairs.fingerprint(), expected.fingerprint(), "{name}");
    }
    // Lines are counted as an editor counts them, and pairs as they come.
    let apart = Pairs::from_text("a text", &format!("\n{}", plain.replace('\n', "\n\n")), Forward, Some(90))
        .expect("pairs");
    assert_eq!(apart.train().len() + apart.held_out().len(), 90);
    assert_eq!(apart.train()[0].line, 2);
    assert_eq!(apart.train().iter().chain(apart.held_out()).map(|pair| pair.line).max(), Some(180));
}

/// A run that goes on must see whether the data are the same, in the same direction.
#[test]
fn other_pairs_have_another_fingerprint() {
    let text = lines(200).join("\n");
    let of = |text: &str, direction, limit| {
        Pairs::from_text("a text", text, direction, limit).expect("pairs").fingerprint()
    };
    let different = [
        of(&text, Forward, None),
        of(&text, Reverse, None),
        of(&text, Forward, Some(199)),
        of(&text.replacen("Phrase", "phrase", 1), Forward, None),
        of(&text.replacen(" 199", " 198", 1), Forward, None),
    ];
    assert_eq!(HashSet::from(different).len(), different.len());
}

#[test]
fn a_line_that_is_no_pair() {
    // The third of the lines is wrong, and one is blank.
    let with = |line: &str| format!("Go.\tVa !\n\n{line}\nRun!\tCours !\n");
    let says = |text: &str, parts: &[&str]| {
        let message = error(text).to_string();
        for part in ["line 3 of fra.txt"].iter().chain(parts) {
            assert!(message.contains(part), "{part:?} is not in {message:?}");
        }
    };
    says(&with("Go. Va !"), &["no tab", "\"Go. Va !\"", "a sentence, a tab, and its translation"]);
    says(&with("Hi.\tSalut !\t#2"), &["3 columns", "line 1 has 2", "cut -f 1,2 fra.txt > new.txt"]);
    says(&with("Hi.\tSalut\t!\t"), &["4 columns", "line 1 has 2"]);
    says(&with("\tVa !"), &["nothing in column 1", "delete the line"]);
    says(&with("Go.\t"), &["nothing in column 2"]);
    says(&with("Go.\t \u{202f} "), &["nothing in column 2"]);
    says("A\tB\tC\n\nD\tE", &["2 columns", "line 1 has 3"]);
    // A line may be long, and its beginning is enough.
    let long = error(&with(&"no tab ".repeat(1000))).to_string();
    assert!(long.len() < 250, "{long}");
    // What is beyond the limit is not read.
    let text = format!("{}\nno tab", lines(60).join("\n"));
    assert!(matches!(error(&text), PairsError::OneColumn { line: 61, .. }));
    assert!(Pairs::from_text("fra.txt", &text, Forward, Some(60)).is_ok());
    // The column is that of the file, whatever the direction.
    let reversed = Pairs::from_text("fra.txt", &with("Go.\t"), Reverse, None).expect_err("an empty cell");
    assert!(matches!(reversed, PairsError::EmptyCell { line: 3, column: 2, .. }), "{reversed}");
}

/// The command in the message makes a file that can be read.
#[test]
fn the_advice_works() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("it's pairs.txt");
    let mut lines = lines(60);
    lines[40].push_str("\tCC-BY");
    std::fs::write(&path, lines.join("\n")).expect("a file");
    let error = Pairs::read(&path, Forward, None).expect_err("a third column").to_string();
    let command = format!("cut -f 1,2 {} > new.txt", quoted(&path));
    assert!(error.contains(&command) && error.contains("line 41 of "), "{error}");
    let shell = Command::new("sh").args(["-c", &command]).current_dir(&folder).status();
    if shell.is_ok_and(|status| status.success()) {
        let pairs = Pairs::read(&folder.path().join("new.txt"), Forward, None).expect("pairs");
        assert_eq!(pairs.train().len() + pairs.held_out().len(), 60);
    }
}

#[test]
fn a_file_without_enough_pairs() {
    for text in ["", "\n\n", " \t \n"] {
        assert!(matches!(error(text), PairsError::Empty { .. }), "{text:?}");
    }
    let none = Pairs::from_text("fra.txt", "Go.\tVa !", Forward, Some(0)).expect_err("no pairs").to_string();
    assert!(none.starts_with("fra.txt holds no pairs"), "{none}");
    let all = error("You sleep.\tTu dors.\nYou sleep.\tVous dormez.");
    assert!(matches!(all, PairsError::AllHeldOut { pairs: 2, .. }), "{all}");
    let nothing = error("I sleep.\tJe dors.\nWe sleep.\tNous dormons.\nWe sleep.\tOn dort.");
    assert!(matches!(nothing, PairsError::NothingHeldOut { pairs: 3, .. }), "{nothing}");
    for message in [all.to_string(), nothing.to_string()] {
        assert!(message.contains("fra.txt") && message.contains("use more pairs"), "{message}");
    }
    let missing = Pairs::read(Path::new("no such file"), Forward, None).expect_err("it is not there");
    assert!(matches!(missing, PairsError::Text(DataError::Io { .. })), "{missing}");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("old.txt");
    std::fs::write(&path, b"Go.\tVa !\nSummer.\t\xc9t\xe9.\n").expect("a file");
    let old = Pairs::read(&path, Forward, None).expect_err("it is not UTF-8");
    assert!(matches!(old, PairsError::Text(DataError::NotUtf8 { line: 2, .. })), "{old}");
}

fn char_tokenizer(pairs: &Pairs) -> (CharTokenizer, Marks) {
    let all = pairs.train().iter().chain(pairs.held_out());
    let tokenizer = CharTokenizer::of(all.flat_map(|pair| pair.source.chars().chain(pair.target.chars())));
    let bos = tokenizer.bos();
    (tokenizer, Marks { bos, eos: bos })
}

fn encoded(count: usize) -> TokenPairs {
    let pairs = read(&lines(count).join("\n")).expect("pairs");
    let (tokenizer, marks) = char_tokenizer(&pairs);
    pairs.encode(pairs.train(), &tokenizer, marks, 1000).expect("tokens")
}

#[test]
fn pairs_in_tokens() {
    let pairs = read(&lines(300).join("\n")).expect("pairs");
    let (characters, of_characters) = char_tokenizer(&pairs);
    let names = ["<s>", "</s>"].map(str::to_owned);
    let trainer = BpeTrainer { vocab_size: 300, special_tokens: names.to_vec(), ..BpeTrainer::default() };
    let bpe = trainer.train(&[lines(300).join("\n")]).expect("a vocabulary");
    let [bos, eos] = names.map(|name| bpe.special(&name).expect("a special token"));
    assert_ne!(bos, eos);
    let tokenizers: [(&dyn Tokenizer, Marks); 2] = [(&characters, of_characters), (&bpe, Marks { bos, eos })];
    for (tokenizer, marks) in tokenizers {
        for part in [pairs.train(), pairs.held_out()] {
            let tokens = pairs.encode(part, tokenizer, marks, 1000).expect("tokens");
            assert_eq!((tokens.len(), tokens.skipped()), (part.len(), &[][..]));
            for (at, pair) in part.iter().enumerate() {
                let source: Vec<usize> = tokens.source(at).collect();
                let target: Vec<usize> = tokens.target(at).collect();
                let (&end, text) = source.split_last().expect("tokens");
                assert_eq!((end, tokenizer.decode(text)), (marks.eos, pair.source.clone()));
                let [first, text @ .., last] = &target[..] else { panic!("two marks at least") };
                assert_eq!([*first, *last], [marks.bos, marks.eos]);
                assert_eq!(tokenizer.decode(text), pair.target);
                assert_eq!(tokens.positions(at), source.len() + target.len() - 1);
                assert_eq!(tokens.line(at), pair.line);
            }
        }
    }
}

#[test]
fn pairs_that_are_too_long_are_listed() {
    let pairs = read(&lines(300).join("\n")).expect("pairs");
    let (tokenizer, marks) = char_tokenizer(&pairs);
    let length = |text: &str| text.chars().count() + 1;
    for limit in [20, 30, 45] {
        let tokens = pairs.encode(pairs.train(), &tokenizer, marks, limit).expect("tokens");
        let mut skipped = Vec::new();
        for pair in pairs.train() {
            let (source, target) = (length(&pair.source), length(&pair.target));
            let line = pair.line;
            if source > limit && source > target {
                skipped.push(Skipped { line, side: Side::Source, length: source, limit });
            } else if target > limit {
                skipped.push(Skipped { line, side: Side::Target, length: target, limit });
            }
        }
        assert_eq!(tokens.skipped(), skipped);
        assert!(
            [Side::Source, Side::Target].iter().all(|side| skipped.iter().any(|skip| skip.side == *side))
        );
        assert_eq!(tokens.len() + skipped.len(), pairs.train().len());
        let left: BTreeSet<usize> = (0..tokens.len()).map(|pair| tokens.line(pair)).collect();
        assert!(skipped.iter().all(|skip| !left.contains(&skip.line)));
        for at in 0..tokens.len() {
            // As many as a model sees at once.
            assert!(tokens.source(at).len() <= limit && tokens.target(at).len() - 1 <= limit);
        }
    }
    let fits = |pair: &Pair| length(&pair.source).max(length(&pair.target));
    let shortest = pairs.train().iter().map(fits).min().expect("pairs");
    let just = pairs.encode(pairs.train(), &tokenizer, marks, shortest).expect("one that fits");
    assert!(!just.is_empty());
    match pairs.encode(pairs.train(), &tokenizer, marks, shortest - 1) {
        Err(error @ PairsError::TooLong { limit, least, .. }) => {
            assert_eq!((limit, least), (shortest - 1, shortest));
            assert!(
                error.to_string().contains("fra.txt") && error.to_string().contains("larger --context"),
                "{error}"
            );
        }
        other => panic!("{other:?}"),
    }
    assert!(pairs.encode(&[], &tokenizer, marks, 10).expect("nothing").is_empty());
}

#[test]
fn a_character_that_is_unknown_is_named() {
    let (tokenizer, marks) = char_tokenizer(&read(&lines(60).join("\n")).expect("pairs"));
    let pairs = read(&format!("{}\nFish & fish.\tDu poisson.", lines(60).join("\n"))).expect("pairs");
    let all = [pairs.train(), pairs.held_out()].concat();
    let message = pairs.encode(&all, &tokenizer, marks, 1000).expect_err("an unknown character").to_string();
    for part in ["the source sentence in line 61 of fra.txt", "'F', character 1 "] {
        assert!(message.contains(part), "{message}");
    }
    let pairs = read(&format!("{}\nmore\tou plus\u{202f}: œ", lines(60).join("\n"))).expect("pairs");
    let last =
        pairs.train().iter().chain(pairs.held_out()).find(|pair| pair.line == 61).expect("a pair").clone();
    let error = pairs.encode(&[last], &tokenizer, marks, 1000).expect_err("an unknown character");
    assert!(error.to_string().starts_with("the translation in line 61 of fra.txt"), "{error}");
    assert!(matches!(error, PairsError::Unknown { ref unknown, .. } if unknown.character == ':'), "{error}");
}

/// The batches of an epoch.
fn epoch(batches: &mut PairBatches, epoch: usize) -> Vec<Vec<usize>> {
    let first = epoch * batches.per_epoch();
    (first..first + batches.per_epoch()).map(|number| batches.batch(number).to_vec()).collect()
}

#[test]
fn every_pair_comes_once_in_each_epoch() {
    for count in [60, 61, 500] {
        let pairs = encoded(count);
        let total: usize = (0..pairs.len()).map(|pair| pairs.positions(pair)).sum();
        let longest = (0..pairs.len()).map(|pair| pairs.positions(pair)).max().expect("pairs");
        for size in [
            1,
            50,
            longest,
            longest + 1,
            2 * longest - 1,
            2 * longest,
            400,
            1000,
            total - 1,
            total,
            10 * total,
        ] {
            let mut batches = PairBatches::new(&pairs, size, 7);
            let mean = total as f64 / batches.per_epoch() as f64;
            assert!(
                mean <= size as f64 || mean < 2.0 * longest as f64,
                "{mean} positions, and {size} are asked for"
            );
            if size >= 2 * longest {
                assert_eq!(batches.per_epoch(), total.div_ceil(size));
            }
            for number in 0..6 {
                let batches = epoch(&mut batches, number);
                let mut all = batches.concat();
                all.sort_unstable();
                assert_eq!(all, Vec::from_iter(0..pairs.len()));
                for batch in &batches {
                    assert!(!batch.is_empty());
                    let positions: usize = batch.iter().map(|&pair| pairs.positions(pair)).sum();
                    let gap = (positions as f64 - mean).abs();
                    assert!(gap < longest as f64, "{positions} positions, where {mean} is the mean");
                }
            }
        }
    }
}

/// A run that goes on knows only how many batches it has drawn.
#[test]
fn a_batch_follows_from_its_number() {
    let pairs = encoded(300);
    let mut batches = PairBatches::new(&pairs, 600, 7);
    let count = 5 * batches.per_epoch();
    let all: Vec<Vec<usize>> = (0..count).map(|number| batches.batch(number).to_vec()).collect();
    for start in [0, 1, batches.per_epoch() - 1, batches.per_epoch(), count / 2, count - 1] {
        let mut again = PairBatches::new(&pairs, 600, 7);
        assert!((start..count).all(|number| again.batch(number) == all[number]), "from {start} on");
    }
    let mut random = Random::new(1);
    for _ in 0..100 {
        let number = random.below(count);
        assert_eq!(batches.batch(number), all[number], "in any order");
    }
    // Each epoch and each seed has an order of its own. The epochs of a seed are not those of the next, one later.
    let mut orders = HashSet::new();
    for seed in 0..10 {
        let mut batches = PairBatches::new(&pairs, 600, seed);
        assert!((0..10).all(|number| orders.insert(epoch(&mut batches, number).concat())), "seed {seed}");
    }
}

/// Shuffled, not only rotated or cut elsewhere: who shares a batch with whom changes.
#[test]
fn pairs_meet_other_pairs_in_each_epoch() {
    let pairs = encoded(300);
    let mut batches = PairBatches::new(&pairs, 600, 7);
    let mut beside: BTreeSet<usize> = BTreeSet::new();
    for number in 0..30 {
        let of_epoch = epoch(&mut batches, number);
        beside.extend(of_epoch.iter().find(|batch| batch.contains(&0)).expect("pair 0"));
    }
    assert!(beside.len() > pairs.len() / 2, "{} of {}", beside.len(), pairs.len());
}

#[test]
#[should_panic(expected = "batches of 0 positions")]
fn a_batch_needs_a_size() {
    PairBatches::new(&encoded(60), 0, 1);
}
