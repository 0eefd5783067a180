//! Byte-level BPE: the merges and tokens of Hugging Face's `tokenizers` on texts that are hard to cut; the tokens of a
//! reference that follows the definition word for word, on random ones; any bytes come back; special tokens never come from
//! a text; specs that lie are errors.
//!
//! `golden/bpe.json` was written by `golden/bpe.py`. Where pieces begin and end is tested in `scanner.rs` itself.

use std::collections::{BTreeMap, HashMap};

use gradus::checkpoint::Checkpoint;
use gradus::model::{Decoder, DecoderConfig, Model};
use gradus::random::Random;
use gradus::thread_pool::ThreadPool;
use gradus::tokenizer::{
    BpeSpec, BpeTokenizer, BpeTrainer, CharTokenizer, Normalizer, Pattern, TextStream, Tokenizer,
    TokenizerSpec, TrainError, TrainProgress,
};
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    corpora: HashMap<String, Vec<String>>,
    strings: Vec<String>,
    trainings: Vec<Training>,
}

#[derive(Deserialize)]
struct Training {
    corpus: String,
    pattern: Pattern,
    vocab_size: usize,
    min_frequency: u64,
    special: Vec<String>,
    /// The special tokens, then all bytes in one string.
    first: Vec<String>,
    merges: Vec<String>,
    ids: Vec<Vec<usize>>,
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("golden/bpe.json")).expect("valid JSON")
}

fn bpe_spec(tokenizer: &BpeTokenizer) -> BpeSpec {
    match tokenizer.spec() {
        TokenizerSpec::Bpe(spec) => spec,
        other => panic!("{other} is not BPE"),
    }
}

fn encode(tokenizer: &BpeTokenizer, text: &str) -> Vec<usize> {
    tokenizer.encode(text).expect("any text has tokens")
}

#[test]
fn vocabularies_are_those_that_tokenizers_trains() {
    let golden = golden();
    for training in &golden.trainings {
        let trainer = BpeTrainer {
            vocab_size: training.vocab_size,
            min_frequency: training.min_frequency,
            special_tokens: training.special.clone(),
            pattern: training.pattern,
            ..BpeTrainer::default()
        };
        let tokenizer = trainer.train(&golden.corpora[&training.corpus]).expect("a vocabulary");
        let spec = bpe_spec(&tokenizer);
        let what = format!("{} in the pieces of {:?}", training.corpus, training.pattern);
        let merges = spec.merges.iter().map(|pair| pair.map(|id| spec.tokens[id].as_str()).join(" "));
        for (at, (own, expected)) in merges.zip(&training.merges).enumerate() {
            assert_eq!(own, *expected, "{what}: merge {at}");
        }
        assert_eq!(spec.merges.len(), training.merges.len(), "{what}");
        let (names, bytes) = training.first.split_at(training.special.len());
        let expected = names.iter().cloned().chain(bytes[0].chars().map(String::from));
        let expected: Vec<String> =
            expected.chain(training.merges.iter().map(|merge| merge.replace(' ', ""))).collect();
        assert_eq!(spec.tokens, expected, "{what}");
        for (text, ids) in golden.strings.iter().zip(&training.ids) {
            assert_eq!(encode(&tokenizer, text), *ids, "{what}: {text:?}");
            assert_eq!(tokenizer.decode(ids), *text, "{what}");
        }
    }
}

/// A random text of a few letters, so that pairs repeat, overlap and tie.
fn random_text(random: &mut Random, len: usize) -> String {
    let letters = [&["a", "b"][..], &["a", "b", "c", " ", "ab"], &["가", "é", "x", "'s", "12", "  "]];
    let letters = letters[random.below(3)];
    (0..len).map(|_| letters[random.below(letters.len())]).collect()
}

/// Training by the definition: count all pairs, merge the most frequent one, of several that with the lowest tokens.
fn train_by_definition(pattern: Pattern, text: &str, merges: usize, min_frequency: u64) -> Vec<[usize; 2]> {
    let bytes = bpe_spec(
        &BpeTrainer { vocab_size: 256, pattern, ..BpeTrainer::default() }.train(&[""]).expect("bytes"),
    );
    let byte_token = bytes_of(&bytes).into_iter().enumerate().map(|(token, bytes)| (bytes[0], token));
    let byte_token: HashMap<u8, usize> = byte_token.collect();
    let mut words: Vec<Vec<usize>> =
        pattern.pieces(text).map(|piece| piece.bytes().map(|byte| byte_token[&byte]).collect()).collect();
    let mut found = Vec::new();
    while found.len() < merges {
        let mut counts = BTreeMap::new();
        for pair in words.iter().flat_map(|word| word.windows(2)) {
            *counts.entry([pair[0], pair[1]]).or_insert(0_u64) += 1;
        }
        // `max_by_key` returns the last of several equal ones, and these come in reverse order.
        let Some((&pair, &count)) = counts.iter().rev().max_by_key(|(_, count)| **count) else { break };
        if count < min_frequency {
            break;
        }
        let made = 256 + found.len();
        for word in &mut words {
            merge_by_definition(word, pair, made);
        }
        found.push(pair);
    }
    found
}

fn merge_by_definition(word: &mut Vec<usize>, pair: [usize; 2], made: usize) {
    let mut at = 0;
    while at + 1 < word.len() {
        if word[at..at + 2] == pair {
            word.splice(at..at + 2, [made]);
        }
        at += 1;
    }
}

/// The bytes of each token.
fn bytes_of(spec: &BpeSpec) -> Vec<Vec<u8>> {
    let tokenizer = BpeTokenizer::from_spec(spec).expect("a tokenizer");
    let bytes = |token| {
        let mut bytes = Vec::new();
        tokenizer.push_bytes(token, &mut bytes);
        bytes
    };
    (0..spec.tokens.len()).map(bytes).collect()
}

/// Encoding by the definition: merge all pairs of the first merge, then all of the second, and so on.
fn encode_by_definition(spec: &BpeSpec, bytes: &[Vec<u8>], text: &str) -> Vec<usize> {
    let token_of: HashMap<&[u8], usize> =
        bytes.iter().enumerate().map(|(token, bytes)| (&bytes[..], token)).collect();
    let mut tokens = Vec::new();
    for piece in spec.pattern.pieces(text) {
        let mut word: Vec<usize> = piece.as_bytes().chunks(1).map(|byte| token_of[byte]).collect();
        for &[left, right] in &spec.merges {
            let made = token_of[&[&bytes[left][..], &bytes[right]].concat()[..]];
            merge_by_definition(&mut word, [left, right], made);
        }
        tokens.extend(word);
    }
    tokens
}

#[test]
fn merges_are_those_of_the_definition() {
    let mut random = Random::new(1);
    for round in 0..60 {
        let pattern = [Pattern::Gpt2, Pattern::Llama3][round % 2];
        let len = [5, 40, 300][random.below(3)];
        let text = random_text(&mut random, len);
        let (merges, min_frequency) = (random.below(40), [0, 1, 2, 5][random.below(4)]);
        let trainer =
            BpeTrainer { vocab_size: 256 + merges, min_frequency, pattern, ..BpeTrainer::default() };
        let own = bpe_spec(&trainer.train(&[&text]).expect("a vocabulary")).merges;
        let expected = train_by_definition(pattern, &text, merges, min_frequency.max(1));
        assert_eq!(own, expected, "{pattern:?}, {merges} merges of {min_frequency}: {text:?}");
    }
}

#[test]
fn tokens_are_those_of_the_definition() {
    let mut random = Random::new(2);
    for round in 0..30 {
        let trainer = BpeTrainer {
            vocab_size: 256 + random.below(80),
            min_frequency: 1,
            special_tokens: vec![],
            pattern: [Pattern::Gpt2, Pattern::Llama3][round % 2],
            ..BpeTrainer::default()
        };
        let texts: Vec<String> = (0..3).map(|_| random_text(&mut random, 200)).collect();
        let tokenizer = trainer.train(&texts).expect("a vocabulary");
        let spec = bpe_spec(&tokenizer);
        let bytes = bytes_of(&spec);
        for _ in 0..40 {
            // Words on both sides of the length from which another way is taken, and of what a cache keeps.
            let len = [3, 14, 17, 90, 100, 400][random.below(6)];
            let text = random_text(&mut random, len);
            let expected = encode_by_definition(&spec, &bytes, &text);
            for _ in 0..2 {
                assert_eq!(encode(&tokenizer, &text), expected, "{text:?}");
            }
        }
    }
}

/// A tokenizer of two corpora of the golden file.
fn trained(vocab_size: usize, special_tokens: &[&str], pattern: Pattern) -> BpeTokenizer {
    let golden = golden();
    let special_tokens = special_tokens.iter().map(|&name| name.to_owned()).collect();
    let trainer = BpeTrainer { vocab_size, special_tokens, pattern, ..BpeTrainer::default() };
    trainer.train(&golden.corpora["all"]).expect("a vocabulary")
}

#[test]
fn bytes_that_are_set_apart_are_merged_with_nothing() {
    for pattern in [Pattern::Gpt2, Pattern::Llama3] {
        let separate = b" 0123456789".to_vec();
        let trainer = BpeTrainer { vocab_size: 700, pattern, separate, ..BpeTrainer::default() };
        let tokenizer = trainer.train(&golden().corpora["all"]).expect("a vocabulary");
        let tokens = |text| encode(&tokenizer, text);
        assert_eq!(tokens("2026").len(), 4);
        assert_eq!(tokens(" the"), [tokens(" "), tokens("the")].concat());
        assert_eq!(tokens("\"the\""), [tokens("\""), tokens("the"), tokens("\"")].concat());
        assert_eq!(tokens("the").len(), 1);
    }
}

#[test]
fn any_bytes_come_back() {
    let mut random = Random::new(3);
    for pattern in Pattern::ALL {
        let tokenizer = trained(700, &["<s>"], pattern);
        let text = golden().corpora["all"].concat();
        for round in 0..300 {
            let len = random.below(200);
            let mut bytes: Vec<u8> = match round % 3 {
                0 => (0..len).map(|_| random.below(256) as u8).collect(),
                // A text with bytes that were hit by chance.
                1 => text.as_bytes()[random.below(500)..][..len].to_vec(),
                _ => vec![random.below(256) as u8; len],
            };
            for _ in 0..random.below(4).min(len) {
                bytes[random.below(len)] = random.below(256) as u8;
            }
            let tokens = tokenizer.encode_bytes(&bytes);
            let mut back = Vec::new();
            tokens.iter().for_each(|&token| tokenizer.push_bytes(token, &mut back));
            assert_eq!(back, bytes);
            assert_eq!(tokenizer.decode(&tokens), String::from_utf8_lossy(&bytes));
            if let Ok(text) = std::str::from_utf8(&bytes) {
                assert_eq!(encode(&tokenizer, text), tokens);
            }
        }
    }
}

/// Whatever the tokens, a stream gives the text of their bytes, each character when it is whole.
#[test]
fn a_stream_never_gives_half_a_character() {
    let mut random = Random::new(4);
    let tokenizer = trained(400, &["<s>"], Pattern::Gpt2);
    for round in 0..200 {
        let tokens: Vec<usize> = match round % 2 {
            0 => (0..60).map(|_| random.below(tokenizer.vocab_size() + 1)).collect(),
            _ => encode(&tokenizer, &random_text(&mut random, 60)),
        };
        let mut stream = TextStream::default();
        let (mut bytes, mut said) = (Vec::new(), String::new());
        for &token in &tokens {
            tokenizer.push_bytes(token, &mut bytes);
            said.push_str(&stream.push(&tokenizer, token));
            // All of it but the beginning of a character, which is at most 3 bytes long.
            let whole = String::from_utf8_lossy(&bytes);
            assert!(whole.starts_with(said.as_str()) && whole.len() <= said.len() + 3, "{said:?}, {whole:?}");
        }
        let said = said + &stream.finish();
        assert_eq!(said, String::from_utf8_lossy(&bytes));
        assert!(round % 2 == 0 || !said.contains('\u{fffd}'));
    }
}

#[test]
fn special_tokens_never_come_from_a_text() {
    // Names that other tokens could have, too: pairs of bytes that occur often, and what they would be part of.
    let names = ["<s>", "</s>", "he", "Ġt", "강", "in", "<user>", "e\n"];
    for pattern in Pattern::ALL {
        let tokenizer = trained(500, &names, pattern);
        let spec = bpe_spec(&tokenizer);
        assert_eq!(tokenizer.vocab_size(), 500);
        assert_eq!(spec.special, (0..names.len()).collect::<Vec<_>>());
        let ordinary = trained(500, &[], pattern);
        for (token, name) in names.iter().enumerate() {
            assert_eq!(tokenizer.special(name), Some(token));
            let mut bytes = Vec::new();
            tokenizer.push_bytes(token, &mut bytes);
            assert!(bytes.is_empty());
        }
        assert_eq!(tokenizer.special("<pad>"), None);
        assert_eq!(tokenizer.special("t"), None, "a token, but not a special one");
        let text = names.concat() + "the heron in the mill <s> <user> 강가에";
        let tokens = encode(&tokenizer, &text);
        assert!(tokens.iter().all(|&token| token >= names.len()));
        assert_eq!(tokenizer.decode(&tokens), text);
        let has = |name: &str| bpe_spec(&ordinary).tokens.iter().any(|token| token == name);
        assert!(has("he") && has("Ġt") && has("in"), "without the special ones, they are tokens");
    }
}

#[test]
fn training_does_not_depend_on_threads() {
    let golden = golden();
    let texts: Vec<&str> = golden.corpora.values().flatten().map(String::as_str).collect();
    let long = texts.concat().repeat(120); // several portions for each thread
    let trainer = BpeTrainer { vocab_size: 900, ..BpeTrainer::default() };
    let mut specs = Vec::new();
    for threads in [1, 2, 5] {
        let mut reports = Vec::new();
        let pool = ThreadPool::new(threads);
        let tokenizer =
            trainer.train_with(&[&long], &pool, |progress| reports.push(progress)).expect("a vocabulary");
        specs.push(bpe_spec(&tokenizer));
        let total = long.len();
        assert!(reports.contains(&TrainProgress::Counting { done: total, total }));
        assert_eq!(reports.last(), Some(&TrainProgress::Merging { done: 644, total: 644 }));
        let merges = reports.iter().filter(|report| matches!(report, TrainProgress::Merging { .. })).count();
        assert!((100..=300).contains(&merges), "{merges} reports");
    }
    assert_eq!(specs[0], specs[1]);
    assert_eq!(specs[0], specs[2]);
}

/// One word of a megabyte: neither training nor encoding takes a time that grows with its square, which would be hours.
#[test]
fn a_megabyte_may_be_one_word() {
    const LEN: usize = 1 << 20;
    let mut random = Random::new(5);
    let same = "a".repeat(LEN);
    let letters: String = (0..LEN).map(|_| (b'a' + random.below(4) as u8) as char).collect();
    for pattern in Pattern::ALL {
        let trainer = BpeTrainer { vocab_size: 256 + 2000, pattern, ..BpeTrainer::default() };
        let tokenizer = trainer.train(&[&same]).expect("a vocabulary");
        // Twice as long each time, and then none occurs twice.
        assert_eq!(tokenizer.vocab_size(), 256 + 19);
        assert_eq!(encode(&tokenizer, &same).len(), 2);
        assert_eq!(tokenizer.decode(&encode(&tokenizer, &letters)), letters);
        let tokenizer = trainer.train(&[&letters]).expect("a vocabulary");
        assert_eq!(tokenizer.vocab_size(), 256 + 2000);
        let tokens = encode(&tokenizer, &letters);
        assert_eq!(tokenizer.decode(&tokens), letters);
        assert!(tokens.len() < LEN / 4);
    }
}

#[test]
fn many_threads_encode_with_one_tokenizer() {
    let tokenizer = trained(700, &[], Pattern::Llama3);
    let golden = golden();
    let expected: Vec<Vec<usize>> = golden.strings.iter().map(|text| encode(&tokenizer, text)).collect();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..5 {
                    for (text, expected) in golden.strings.iter().zip(&expected) {
                        assert_eq!(encode(&tokenizer, text), *expected);
                    }
                }
            });
        }
    });
    assert_eq!(encode(&tokenizer.clone(), &golden.strings[20]), expected[20]);
}

#[test]
fn trainings_that_cannot_be_are_errors() {
    let train = |vocab_size, names: &[&str]| {
        let special_tokens = names.iter().map(|&name| name.to_owned()).collect();
        let trainer = BpeTrainer { vocab_size, special_tokens, ..BpeTrainer::default() };
        trainer.train(&["some text"]).map(|tokenizer| tokenizer.vocab_size())
    };
    assert_eq!(train(257, &["<s>"]), Ok(257));
    assert_eq!(train(256, &["<s>"]), Err(TrainError::TooSmall { vocab_size: 256, least: 257 }));
    assert_eq!(train(usize::MAX, &[]), Err(TrainError::TooLarge { vocab_size: usize::MAX }));
    for (names, wrong) in [(&["<s>", ""][..], ""), (&["<s>", "</s>", "<s>"], "<s>"), (&["Ġ"], "Ġ")] {
        match train(1000, names) {
            Err(TrainError::SpecialToken { name, .. }) => assert_eq!(name, wrong),
            other => panic!("{names:?}: {other:?}"),
        }
    }
    let empty = BpeTrainer::default().train::<&str>(&[]).expect("no text, no merges");
    assert_eq!(encode(&empty, "ab").len(), 2);
}

#[test]
fn a_spec_makes_the_same_tokenizer() {
    let golden = golden();
    let tokenizer = trained(500, &["<s>", "he"], Pattern::Llama3);
    let json = serde_json::to_string(&tokenizer.spec()).expect("JSON");
    assert!(json.starts_with(r#"{"type":"bpe","pattern":"llama-bpe","tokens":["<s>","he","!","\"","#));
    let spec: TokenizerSpec = serde_json::from_str(&json).expect("what was written");
    assert_eq!(spec, tokenizer.spec());
    let again = spec.build().expect("a tokenizer");
    assert_eq!(again.spec(), spec);
    for text in &golden.strings {
        assert_eq!(again.encode(text).expect("tokens"), encode(&tokenizer, text));
    }
    assert_eq!(spec.to_string(), "500 tokens of byte-level BPE, 2 of them special, in the pieces of Llama 3");
    let error = spec.characters().expect_err("it has no characters").to_string();
    assert!(error.contains("single characters"), "{error}");
    let characters = CharTokenizer::of("ab".chars());
    assert_eq!(characters.spec().characters(), Ok(characters));
}

#[test]
fn a_checkpoint_holds_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let tokenizer = trained(300, &["<s>"], Pattern::Gpt2);
    let model = Decoder::new(DecoderConfig::microgpt(tokenizer.vocab_size())).expect("a preset");
    let params = vec![0.5_f32; model.layout().len()];
    Checkpoint::of(&model, &tokenizer, &params).save(folder.path()).expect("written");
    let read = Checkpoint::<f32>::load(folder.path()).expect("read");
    assert_eq!(read.tokenizer, tokenizer.spec());
    let trained = Checkpoint::<f32>::load_as::<Decoder>(folder.path()).expect("read");
    let text = "The heron stood there, 12 times.";
    assert_eq!(trained.tokenizer.encode(text).expect("tokens"), encode(&tokenizer, text));
}

/// Where whole pieces go before merges, as in Llama 3, a token that no merge makes is still found.
#[test]
fn merges_can_be_ignored_for_whole_pieces() {
    let mut spec = bpe_spec(&trained(300, &["Ġnever"], Pattern::Gpt2));
    spec.tokens.push("Ġheronry".to_owned());
    let heronry = spec.tokens.len() - 1;
    for ignore_merges in [false, true] {
        spec.ignore_merges = ignore_merges;
        let tokenizer = BpeTokenizer::from_spec(&spec).expect("a tokenizer");
        for _ in 0..2 {
            assert_eq!(encode(&tokenizer, "a heronry").contains(&heronry), ignore_merges);
            assert!(!encode(&tokenizer, "a heronry").contains(&0));
            assert!(!encode(&tokenizer, "heronry, heronry's").contains(&heronry) || ignore_merges);
            assert!(!encode(&tokenizer, " never").contains(&0), "special");
        }
        assert_eq!(tokenizer.spec(), TokenizerSpec::Bpe(spec.clone()));
    }
}

/// An added token is found wherever its text stands, is decoded to it, and what is around it is cut as if the text ended there.
#[test]
fn added_tokens_stand_for_their_text() {
    let mut spec = bpe_spec(&trained(300, &["<s>"], Pattern::Qwen2));
    let plain = BpeTokenizer::from_spec(&spec).expect("a tokenizer");
    spec.added = vec![300, 301];
    spec.tokens.extend(["<think>", "né 가"].map(str::to_owned));
    spec.normalizer = Normalizer::Nfc;
    let tokenizer = BpeTokenizer::from_spec(&spec).expect("a tokenizer");
    let text = "the<think> heron<think><think>né 가 stood <thin";
    let tokens = encode(&tokenizer, text);
    let parts = [&encode(&plain, "the")[..], &[300], &encode(&plain, " heron"), &[300, 300, 301]];
    assert_eq!(tokens, [&parts.concat()[..], &encode(&plain, " stood <thin")].concat());
    assert_eq!(tokenizer.decode(&tokens), text);
    // What is added is looked for in the text as it was, and the rest is composed.
    assert_eq!(encode(&tokenizer, "ne\u{301} 가"), encode(&plain, "né 가"));
    let bytes = [&b"\xff<think>"[..], b"\xff"].concat();
    let edge = plain.encode_bytes(b"\xff");
    assert_eq!(tokenizer.encode_bytes(&bytes), [&edge[..], &[300], &edge].concat());
    assert_eq!((tokenizer.special("<think>"), tokenizer.special("<s>")), (None, Some(0)));
    // A checkpoint keeps all of it, and older ones have none of it.
    let json = serde_json::to_string(&spec).expect("JSON");
    assert_eq!(serde_json::from_str::<BpeSpec>(&json).expect("the same"), spec);
    let older = serde_json::to_string(&bpe_spec(&plain)).expect("JSON");
    assert!(!older.contains("added") && !older.contains("normalizer"), "{older}");
    assert_eq!(serde_json::from_str::<BpeSpec>(&older).expect("the same"), bpe_spec(&plain));
}

#[test]
fn specs_that_lie_are_errors() {
    let good = bpe_spec(&trained(300, &["<s>", "</s>"], Pattern::Gpt2));
    let error = |change: &dyn Fn(&mut BpeSpec)| {
        let mut spec = good.clone();
        change(&mut spec);
        match TokenizerSpec::Bpe(spec).build() {
            Ok(_) => panic!("there is no such tokenizer"),
            Err(error) => error.to_string(),
        }
    };
    let assert_says = |problem: &str, change: &dyn Fn(&mut BpeSpec)| {
        let error = error(change);
        assert!(error.contains(problem), "{error:?} should say {problem:?}");
    };
    assert_says("token 299, \"a\", is there twice", &|spec| spec.tokens[299] = "a".to_owned());
    assert_says("token 299, \"<s>\", is there twice", &|spec| spec.tokens[299] = "<s>".to_owned());
    assert_says("token 300 has no text", &|spec| spec.tokens.push(String::new()));
    assert_says("token 300, \"a b\", has the character ' '", &|spec| spec.tokens.push("a b".to_owned()));
    assert_says("token 300, \"가\", has the character '가'", &|spec| spec.tokens.push("가".to_owned()));
    assert_says("no token is the single byte 0x20, written \"Ġ\"", &|spec| {
        let blank = spec.tokens.iter().position(|token| token == "Ġ").expect("a byte");
        spec.tokens[blank] = "unheard".to_owned();
    });
    assert_says("no token is the single byte 0x00", &|spec| {
        spec.tokens.clear();
        spec.special.clear();
    });
    assert_says("token 300 is to be special", &|spec| spec.special.push(300));
    assert_says("token 1 is listed twice", &|spec| spec.special.push(1));
    assert_says("no token is the single byte 0x21", &|spec| spec.special.push(2));
    assert_says("token 300 is to be added", &|spec| spec.added.push(300));
    assert_says("token 299 is listed twice as added", &|spec| spec.added = vec![299, 299]);
    assert_says("token 1 is to be special and added", &|spec| spec.added.push(1));
    assert_says("no token is the single byte 0x21", &|spec| spec.added.push(2));
    assert_says("has the added token \"<a>\"", &|spec| {
        spec.added.push(300);
        spec.tokens.push("<a>".to_owned());
        spec.merges[3][0] = 300;
    });
    assert_says("merge 3", &|spec| spec.merges[3][1] = usize::MAX);
    assert_says("has a token that is not one of the 300", &|spec| spec.merges[3][0] = 300);
    assert_says("has the special token \"</s>\"", &|spec| spec.merges[3][0] = 1);
    assert_says("makes \"!\\\"\", which is no token", &|spec| spec.merges[3] = [2, 3]);
    assert_says("merge 42, of tokens", &|spec| spec.merges.push(spec.merges[0]));
    assert_says("is there twice", &|spec| spec.merges.push(spec.merges[0]));
}

/// Merges in any order, as those of Llama 3 are: a short piece and a long one, which are merged in other ways, have the tokens
/// that the rule leads to.
#[test]
fn merges_in_any_order_follow_the_rule() {
    let good = bpe_spec(&trained(400, &["<s>"], Pattern::Gpt2));
    let mut random = Random::new(7);
    let (bytes, mut differ) = (bytes_of(&good), 0);
    for round in 0..8 {
        let mut spec = good.clone();
        if round == 0 {
            spec.merges.reverse();
        } else {
            (0..60).for_each(|_| {
                let places = [random.below(spec.merges.len()), random.below(spec.merges.len())];
                spec.merges.swap(places[0], places[1]);
            });
        }
        let tokenizer = BpeTokenizer::from_spec(&spec).expect("a tokenizer");
        for _ in 0..10 {
            // Letters of the corpus, without anything that would cut them.
            let length = 1 + random.below(400);
            let word: String = (0..length).map(|_| char::from(b"theronsadil"[random.below(11)])).collect();
            let tokens = encode(&tokenizer, &word);
            assert_eq!(tokens, encode_by_the_rule(&spec, &bytes, &word), "{word}");
            differ += usize::from(tokens != encode_by_definition(&good, &bytes, &word));
        }
    }
    assert!(differ > 30, "{differ}");
}

/// Encoding a single piece, whatever the order of merges: of all neighbours that are a merge, those of the lowest rank are merged,
/// of several the leftmost, until there are none.
fn encode_by_the_rule(spec: &BpeSpec, bytes: &[Vec<u8>], word: &str) -> Vec<usize> {
    let token_of: HashMap<&[u8], usize> =
        bytes.iter().enumerate().map(|(token, bytes)| (&bytes[..], token)).collect();
    let ranks: HashMap<&[usize], usize> = spec.merges.iter().map(|pair| &pair[..]).zip(0..).collect();
    let mut tokens: Vec<usize> = word.as_bytes().chunks(1).map(|byte| token_of[byte]).collect();
    loop {
        let ranked = tokens.windows(2).enumerate().filter_map(|(at, pair)| Some((*ranks.get(pair)?, at)));
        let Some((_, at)) = ranked.min() else { return tokens };
        let made = token_of[&[&bytes[tokens[at]][..], &bytes[tokens[at + 1]]].concat()[..]];
        tokens.splice(at..at + 2, [made]);
    }
}

/// Changes of a spec at random: a tokenizer that still gives every text back, or an error.
#[test]
fn no_spec_makes_it_panic() {
    let good = bpe_spec(&trained(290, &["<s>", "</s>"], Pattern::Llama3));
    let mut random = Random::new(6);
    let (mut built, mut refused) = (0, 0);
    for _ in 0..2000 {
        let mut spec = good.clone();
        for _ in 0..=random.below(3) {
            let (token, merge) = (random.below(spec.tokens.len()), random.below(spec.merges.len()));
            let any = random.below(spec.tokens.len() + 2);
            let (other_token, other_merge) = (any % spec.tokens.len(), any % spec.merges.len());
            match random.below(9) {
                0 => spec.tokens[token] = spec.tokens[other_token].clone(),
                1 => _ = spec.tokens.pop(),
                2 => spec.tokens.push(format!("{}{}", spec.tokens[token], spec.tokens[merge])),
                3 => spec.merges[merge][random.below(2)] = any,
                4 => spec.merges.swap(merge, other_merge),
                5 => _ = spec.merges.remove(merge),
                6 => spec.special.push(any),
                7 => spec.tokens.swap(token, other_token),
                _ => spec.ignore_merges = true,
            }
        }
        match BpeTokenizer::from_spec(&spec) {
            Ok(tokenizer) => {
                let text =
                    "The heron 왜가리 stood 12 times; the\n\nmill's wheel… ".repeat(3) + &"the".repeat(40);
                let tokens = encode(&tokenizer, &text);
                assert_eq!(tokenizer.decode(&tokens), text);
                assert!(tokens.iter().all(|token| !spec.special.contains(token)));
                assert_eq!(bpe_spec(&tokenizer).merges, spec.merges);
                built += 1;
            }
            Err(error) => {
                assert!(!error.to_string().is_empty());
                refused += 1;
            }
        }
    }
    assert!(built > 200 && refused > 200, "{built} built, {refused} refused");
}
