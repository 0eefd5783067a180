//! Pieces with scores: the tokens of llama2.c's rule and of Hugging Face's `tokenizers` on lines that are hard; those of a
//! reference that follows the rule word for word, on random vocabularies; any text comes back, token by token as well; special
//! tokens never come from a text; specs that lie are errors. And `tokenizer.json`, which has merges instead of scores, both ways.
//!
//! `golden/pieces.json` was written by `golden/pieces.py`.

use std::fs;
use std::path::Path;

use gradus::checkpoint::{EndTokens, GenerationDefaults, LanguageModel, StoredAs, llama};
use gradus::model::{Decoder, DecoderConfig, Model};
use gradus::random::Random;
use gradus::tokenizer::{
    Piece, PieceKind, PieceSpec, PieceTokenizer, SpacePrefix, TextStream, Tokenizer, TokenizerSpec,
};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct Golden {
    pieces: Vec<String>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    text: String,
    ids: Vec<usize>,
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("golden/pieces.json")).expect("valid JSON")
}

fn piece(text: &str, score: f32, kind: PieceKind) -> Piece {
    Piece { text: text.to_owned(), score, kind }
}

/// `<unk>`, `<s>`, `</s>`, the bytes, and these pieces with scores.
fn spec<'a>(pieces: impl IntoIterator<Item = (&'a str, f32)>) -> PieceSpec {
    let mut all = vec![
        piece("<unk>", 0.0, PieceKind::Unknown),
        piece("<s>", 0.0, PieceKind::Control),
        piece("</s>", 0.0, PieceKind::Control),
    ];
    all.extend((0..=255).map(|byte| piece(&format!("<0x{byte:02X}>"), 0.0, PieceKind::Byte)));
    all.extend(pieces.into_iter().map(|(text, score)| piece(text, score, PieceKind::Normal)));
    PieceSpec { pieces: all, space_prefix: SpacePrefix::Prepend }
}

fn golden_spec() -> PieceSpec {
    let golden = golden();
    spec(golden.pieces.iter().enumerate().map(|(at, text)| (text.as_str(), -(at as f32))))
}

fn build(spec: &PieceSpec) -> PieceTokenizer {
    PieceTokenizer::from_spec(spec).expect("a tokenizer that there is")
}

fn encode(tokenizer: &PieceTokenizer, text: &str) -> Vec<usize> {
    tokenizer.encode(text).expect("any text has tokens")
}

#[test]
fn tokens_are_those_of_llama2_c_and_of_tokenizers() {
    let tokenizer = build(&golden_spec());
    for Case { text, ids } in golden().cases {
        assert_eq!(encode(&tokenizer, &text), ids, "{text:?}");
        assert_eq!(tokenizer.decode(&ids), text);
    }
}

/// The rule, literally.
fn reference(spec: &PieceSpec, text: &str) -> Vec<usize> {
    let normal = |text: &str| {
        spec.pieces.iter().position(|piece| piece.kind == PieceKind::Normal && piece.text == text)
    };
    let byte = |byte: u8| {
        let name = format!("<0x{byte:02X}>");
        spec.pieces.iter().position(|piece| piece.text == name).expect("all bytes are there")
    };
    let mut ids = Vec::new();
    for c in format!(" {text}").chars() {
        let mut bytes = [0; 4];
        let c = c.encode_utf8(&mut bytes);
        match normal(c) {
            Some(id) => ids.push(id),
            None => ids.extend(c.bytes().map(byte)),
        }
    }
    loop {
        let mut best: Option<(f32, usize, usize)> = None;
        for at in 1..ids.len() {
            let pair = [ids[at - 1], ids[at]].map(|id| &spec.pieces[id]);
            if pair.iter().any(|piece| piece.kind != PieceKind::Normal) {
                continue;
            }
            if let Some(made) = normal(&[pair[0].text.as_str(), &pair[1].text].concat())
                && best.is_none_or(|(score, ..)| spec.pieces[made].score > score)
            {
                best = Some((spec.pieces[made].score, at, made));
            }
        }
        let Some((_, at, made)) = best else { return ids };
        ids.splice(at - 1..=at, [made]);
    }
}

/// Scores in any order, many of them equal; pieces of blanks, pieces that go on after a blank, pieces that no merge makes.
#[test]
fn tokens_are_those_of_the_rule_whatever_the_scores() {
    let mut random = Random::new(11);
    let letters = ["a", "b", " ", "é", "\u{2581}", "\n"];
    let text = |random: &mut Random, most: usize, letters: &[&str]| -> String {
        (0..1 + random.below(most)).map(|_| letters[random.below(letters.len())]).collect()
    };
    for round in 0..300 {
        let some = if round % 2 == 0 { &letters[..4] } else { &letters[..3] };
        let mut pieces: Vec<String> = some.iter().take(3).map(|letter| (*letter).to_owned()).collect();
        for _ in 0..20 {
            let new = text(&mut random, 4, some);
            if !pieces.contains(&new) && (round % 3 > 0 || !new.trim_start_matches(' ').contains(' ')) {
                pieces.push(new);
            }
        }
        let scores: Vec<f32> = pieces.iter().map(|_| random.below(8) as f32 / 2.0 - 2.0).collect();
        let spec = spec(pieces.iter().map(String::as_str).zip(scores));
        let tokenizer = build(&spec);
        for _ in 0..10 {
            let text = text(&mut random, 40, &letters);
            let ids = encode(&tokenizer, &text);
            assert_eq!(ids, reference(&spec, &text), "{text:?} with {pieces:?}");
            assert_eq!(tokenizer.decode(&ids), text);
        }
    }
}

#[test]
fn any_text_comes_back_token_by_token() {
    let tokenizer = build(&golden_spec());
    let mut random = Random::new(12);
    for _ in 0..300 {
        let text: String = (0..random.below(40))
            .map(|_| char::from_u32(random.below(0x11_0000) as u32).unwrap_or('\u{2581}'))
            .collect();
        let text = [" ", "", "\u{2581}", "  the"][random.below(4)].to_owned() + &text;
        let ids = encode(&tokenizer, &text);
        let mut stream = TextStream::default();
        let mut said: String = [1].iter().chain(&ids).map(|&id| stream.push(&tokenizer, id)).collect();
        said += &stream.finish();
        assert_eq!(said, text, "after the token before a document");
        assert_eq!(tokenizer.decode(&ids), text);
    }
}

/// The blank before a text is dropped once, at its beginning, and nowhere else.
#[test]
fn a_stream_after_a_prompt_keeps_its_blanks() {
    let tokenizer = build(&golden_spec());
    let ids = encode(&tokenizer, "the dog");
    let (prompt, rest) = ids.split_at(1);
    assert_eq!(tokenizer.decode(prompt), "the");
    let show =
        |mut stream: TextStream| rest.iter().map(|&id| stream.push(&tokenizer, id)).collect::<String>();
    assert_eq!(show(TextStream::after(&tokenizer, prompt)), " dog");
    assert_eq!(show(TextStream::after(&tokenizer, &[1])), "dog");
    assert_eq!(show(TextStream::default()), "dog");
    let bare = build(&PieceSpec { space_prefix: SpacePrefix::Never, ..golden_spec() });
    assert_eq!(bare.decode(&encode(&bare, " the")), " the");
    assert_eq!(encode(&bare, " the"), encode(&tokenizer, "the"));
}

#[test]
fn special_tokens_never_come_from_a_text() {
    let mut spec = golden_spec();
    // Every part of the name is a piece, so that merges would make it if it were one.
    let first = spec.pieces.len();
    spec.pieces.extend(["<", "s", ">", "<s"].map(|text| piece(text, 9.0, PieceKind::Normal)));
    spec.pieces.retain({
        let mut seen = Vec::new();
        move |piece| {
            let new = !seen.contains(&piece.text);
            seen.push(piece.text.clone());
            new
        }
    });
    assert!(spec.pieces.len() > first);
    spec.pieces.push(piece("[free]", 0.0, PieceKind::Unused));
    let tokenizer = build(&spec);
    let free = spec.pieces.len() - 1;
    let named = ["<unk>", "<s>", "</s>", "[free]"].map(|name| tokenizer.special(name));
    assert_eq!(named, [Some(0), Some(1), Some(2), Some(free)]);
    assert_eq!(tokenizer.special("the"), None);
    for text in ["<s>", "a<s>b</s>", "<unk>", "<0x41>", "[free]"] {
        let ids = encode(&tokenizer, text);
        assert!(ids.iter().all(|&id| id > 2 && id != free), "{text}: {ids:?}");
        assert_eq!(tokenizer.decode(&ids), text);
    }
    assert_eq!(tokenizer.decode(&[0, 1, 2, free, usize::MAX]), "");
}

#[test]
fn user_defined_pieces_are_found_before_anything_is_merged() {
    let mut spec = golden_spec();
    let first = spec.pieces.len();
    for text in ["he do", "he dog", "\u{2581}\u{2581}"] {
        spec.pieces.push(piece(text, -1.0, PieceKind::UserDefined));
    }
    let tokenizer = build(&spec);
    let ids = encode(&tokenizer, "the dogs, the do\u{2581}\u{2581}");
    let defined: Vec<usize> = ids.iter().copied().filter(|&id| id >= first).collect();
    assert_eq!(defined, [first + 1, first, first + 2], "the longest that starts at a place");
    assert_eq!(tokenizer.decode(&[first]), "he do");
    // A blank stands before each stretch, or before the text alone.
    assert_eq!(tokenizer.decode(&ids), "the dog s, the do\u{2581}\u{2581}");
    let first = build(&PieceSpec { space_prefix: SpacePrefix::MetaspaceFirst, ..spec });
    assert_eq!(
        first.decode(&encode(&first, "the dogs, the do\u{2581}\u{2581}")),
        "the dogs, the do\u{2581}\u{2581}"
    );
}

/// As `tokenizers` does with `Prepend`, and with `Metaspace` and each of its schemes.
#[test]
fn blanks_are_put_before_stretches() {
    let mut spec = golden_spec();
    spec.pieces.push(piece("<x>", 0.0, PieceKind::UserDefined));
    let x = spec.pieces.len() - 1;
    let plain = |text| encode(&build(&bare(&spec)), text);
    let schemes = [
        (SpacePrefix::Never, ["a", " b", "a", "b"]),
        (SpacePrefix::Prepend, [" a", "  b", " a", " b"]),
        (SpacePrefix::MetaspaceAlways, [" a", " b", " a", " b"]),
        (SpacePrefix::MetaspaceFirst, [" a", " b", " a", "b"]),
    ];
    for (space_prefix, [alone, with_blank, before, behind]) in schemes {
        let tokenizer = build(&PieceSpec { space_prefix, ..spec.clone() });
        assert_eq!(encode(&tokenizer, "a"), plain(alone), "{space_prefix:?}");
        assert_eq!(encode(&tokenizer, " b"), plain(with_blank), "{space_prefix:?}");
        let both = [plain(before), vec![x], plain(behind)].concat();
        assert_eq!(encode(&tokenizer, "a<x>b"), both, "{space_prefix:?}");
        assert_eq!(encode(&tokenizer, "<x>"), [x], "{space_prefix:?}: nothing to put it before");
        assert_eq!(tokenizer.encode_after("b").expect("any text"), plain(behind), "{space_prefix:?}");
        let json = serde_json::to_string(&tokenizer.spec()).expect("plain JSON");
        assert_eq!(serde_json::from_str::<TokenizerSpec>(&json).expect("what was written"), tokenizer.spec());
    }
    // What older checkpoints say.
    for (written, space_prefix) in [("true", SpacePrefix::Prepend), ("false", SpacePrefix::Never)] {
        let json = serde_json::to_string(&bare(&spec)).expect("plain JSON").replace("\"never\"", written);
        let read: PieceSpec = serde_json::from_str(&json).expect("what was written once");
        assert_eq!(read, PieceSpec { space_prefix, ..spec.clone() });
    }
}

fn bare(spec: &PieceSpec) -> PieceSpec {
    PieceSpec { space_prefix: SpacePrefix::Never, ..spec.clone() }
}

/// A time in proportion to the square of the text would be hours.
#[test]
fn a_long_text_takes_no_longer_than_it_should() {
    let letters: Vec<String> = (1..=16).map(|n| "a".repeat(n)).chain([" ".to_owned()]).collect();
    let tokenizer = build(&spec(letters.iter().map(|text| (text.as_str(), text.len() as f32))));
    let text = "a".repeat(1 << 20);
    let ids = encode(&tokenizer, &text);
    assert!(ids.len() < 1 << 18, "{} tokens", ids.len());
    assert_eq!(tokenizer.decode(&ids), text);
}

#[test]
fn a_spec_survives_json() {
    let spec = TokenizerSpec::Pieces(golden_spec());
    let json = serde_json::to_string(&spec).expect("plain JSON");
    let read: TokenizerSpec = serde_json::from_str(&json).expect("what was written");
    assert_eq!(read, spec);
    let tokenizer = read.build().expect("a tokenizer that there is");
    assert_eq!(tokenizer.spec(), spec);
    assert_eq!(tokenizer.vocab_size(), golden_spec().pieces.len());
    assert!(spec.to_string().contains("pieces with scores, 3 of them special"), "{spec}");
}

/// What is changed for the worse.
type Change<'a, T> = &'a dyn Fn(&mut T);

#[test]
fn specs_that_lie_are_errors() {
    let error = |change: &dyn Fn(&mut PieceSpec)| {
        let mut spec = golden_spec();
        change(&mut spec);
        let error = TokenizerSpec::Pieces(spec).build().err().expect("a lie");
        error.to_string()
    };
    let cases: [(Change<'_, PieceSpec>, &str); 8] = [
        (&|spec| spec.pieces[300].text.clear(), "piece 300 has no text"),
        (&|spec| spec.pieces[300].text = "x".repeat(513), "piece 300 has 513 bytes"),
        (&|spec| spec.pieces[300].score = f32::NAN, "has the score NaN"),
        (&|spec| spec.pieces[300].text = spec.pieces[299].text.clone(), "piece 300"),
        (&|spec| spec.pieces[5].text = "<0x3>".to_owned(), "piece 5, \"<0x3>\", is to be a byte"),
        (&|spec| spec.pieces[5].text = "<0xFF>".to_owned(), "\"<0xFF>\", is there twice"),
        (&|spec| drop(spec.pieces.remove(13)), "no piece is the byte <0x0A>"),
        (&|spec| spec.pieces.clear(), "no piece is the byte <0x00>"),
    ];
    for (change, words) in cases {
        let text = error(change);
        assert!(text.contains(words), "{text:?} does not say {words:?}");
    }
}

/// A folder with a tiny Llama and a tokenizer.
fn export(folder: &Path, spec: &PieceSpec) {
    let (n_layer, n_embd, n_head, n_ffn) = (1, 4, 2, 4);
    let config = DecoderConfig {
        n_layer,
        n_embd,
        n_head,
        n_kv_head: 1,
        n_ffn,
        ..DecoderConfig::llama(spec.pieces.len())
    };
    let model = Decoder::new(config).expect("a small model");
    let params = model.layout().initial(&mut Random::new(1));
    let model = LanguageModel {
        model,
        params,
        tokenizer: Ok(TokenizerSpec::Pieces(spec.clone())),
        tokens: EndTokens { bos: Some(1), add_bos: true, eos: vec![2], ..EndTokens::default() },
        chat_template: None,
        defaults: GenerationDefaults::default(),
    };
    llama::export(folder, &model, StoredAs::F32).expect("a Llama");
}

/// What is read of a folder whose `tokenizer.json` was changed.
fn changed(folder: &Path, change: impl FnOnce(&mut Value)) -> Result<TokenizerSpec, String> {
    let path = folder.join("tokenizer.json");
    let before = fs::read(&path).expect("a file");
    let mut json = serde_json::from_slice(&before).expect("it is JSON");
    change(&mut json);
    fs::write(&path, json.to_string()).expect("it can be written");
    let read = llama::import(folder);
    fs::write(&path, before).expect("it can be written");
    match read {
        Ok(model) => model.tokenizer.map_err(|other| other.to_string()),
        Err(error) => Err(error.to_string()),
    }
}

/// With `PIECES=DIR`, the folder stays there with what ours makes of some texts, for `golden/pieces.py`.
#[test]
fn tokenizer_json_has_the_same_tokens() {
    let kept = std::env::var_os("PIECES");
    let temporary = tempfile::tempdir().expect("a folder");
    let folder = kept.as_ref().map_or(temporary.path(), Path::new);
    let spec = golden_spec();
    export(folder, &spec);
    let read = llama::import(folder).expect("what was exported");
    assert_eq!((read.tokens.bos, read.tokens.add_bos, &read.tokens.eos[..]), (Some(1), true, &[2][..]));
    let theirs = read.tokenizer.expect("pieces").build().expect("a tokenizer");
    let ours = build(&spec);
    let mut texts: Vec<String> = golden().cases.into_iter().map(|case| case.text).collect();
    // The name of a special token is one there.
    texts.retain(|text| !["<s>", "</s>", "<unk>"].iter().any(|name| text.contains(name)));
    texts.extend(include_str!("../datasets/phrases.tsv").lines().map(str::to_owned));
    for text in &texts {
        let ids = encode(&ours, text);
        assert_eq!(theirs.encode(text).expect("any text"), ids, "{text:?}");
        assert_eq!(&theirs.decode(&ids), text);
    }
    if kept.is_some() {
        let ids: Vec<Vec<usize>> = texts.iter().map(|text| encode(&ours, text)).collect();
        fs::write(folder.join("ours.json"), json!({"texts": texts, "ids": ids}).to_string())
            .expect("written");
    }
}

/// What `transformers` writes since its version 5 for such tokenizers, and what older files have.
#[test]
fn tokenizer_json_is_read_in_its_other_forms() {
    let folder = tempfile::tempdir().expect("a folder");
    let spec = PieceSpec { space_prefix: SpacePrefix::Prepend, ..golden_spec() };
    export(folder.path(), &spec);
    let as_written = changed(folder.path(), |_| {}).expect("pieces");
    for (scheme, prefix) in [
        ("first", SpacePrefix::MetaspaceFirst),
        ("always", SpacePrefix::MetaspaceAlways),
        ("never", SpacePrefix::Never),
    ] {
        let read = changed(folder.path(), |json| {
            json["normalizer"] = Value::Null;
            json["pre_tokenizer"] = json!({"type": "Metaspace", "replacement": "\u{2581}", "prepend_scheme": scheme, "split": false});
        });
        let TokenizerSpec::Pieces(read) = read.expect("pieces") else { panic!("{scheme}: another kind") };
        assert_eq!(read.space_prefix, prefix, "{scheme}");
        export(&folder.path().join("again"), &read);
        let again = changed(&folder.path().join("again"), |_| {}).expect("pieces");
        assert!(again == TokenizerSpec::Pieces(read), "{scheme}: what was read is written, and read again");
    }
    let old = changed(folder.path(), |json| {
        let merges = json["model"]["merges"].as_array_mut().expect("merges");
        for merge in merges {
            *merge = json!(format!("{} {}", merge[0].as_str().unwrap(), merge[1].as_str().unwrap()));
        }
    });
    assert!(old == Ok(as_written), "merges in one string are the same");
    let without = PieceSpec { space_prefix: SpacePrefix::Never, ..golden_spec() };
    export(folder.path(), &without);
    let TokenizerSpec::Pieces(read) = changed(folder.path(), |_| {}).expect("pieces") else {
        panic!("another")
    };
    assert_eq!(read.space_prefix, SpacePrefix::Never);
}

#[test]
fn tokenizer_json_that_is_another_is_said_to_be() {
    let folder = tempfile::tempdir().expect("a folder");
    export(folder.path(), &golden_spec());
    // Two ways to make one piece, with all others between them.
    let apart = |merges: &mut Vec<Value>| {
        let text = |merge: &Value| format!("{}{}", merge[0].as_str().unwrap(), merge[1].as_str().unwrap());
        let twice =
            merges.windows(2).position(|two| text(&two[0]) == text(&two[1])).expect("a piece made twice");
        let first = merges.remove(twice);
        merges.push(first);
    };
    let cases: [(Change<'_, Value>, &str); 7] = [
        (&|json| json["normalizer"] = json!({"type": "NFKC"}), "its normalizer is {\"type\":\"NFKC\"}"),
        (&|json| json["model"]["dropout"] = json!(0.1), "its BPE has a dropout"),
        (&|json| apart(json["model"]["merges"].as_array_mut().unwrap()), "not in an order that scores"),
        (&|json| drop(json["model"]["merges"].as_array_mut().unwrap().pop()), "not in an order that scores"),
        (&|json| drop(json["model"]["vocab"].as_object_mut().unwrap().remove("<0x0A>")), "has the id"),
        (&|json| json["model"]["merges"][0] = json!(["he", "he"]), "merges: \"he\" and \"he\" make no token"),
        (&|json| json["model"]["merges"][0] = json!(["he", "nothing"]), "\"nothing\" is no token"),
    ];
    for (change, words) in cases {
        let text = changed(folder.path(), change).map(|_| ()).expect_err("another");
        assert!(text.contains(words), "{text:?} does not say {words:?}");
    }
}
