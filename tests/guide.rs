//! JSON that is generated under a guide always parses and fits to its schema, and all that fits can be generated.

use std::fs;
use std::sync::Arc;

use gradus::data::{Json, Tool, check_arguments, check_call, parse_call, parse_tools};
use gradus::engine::{Room, Session};
use gradus::fast::FastEngine;
use gradus::generate::{
    CallGuide, CallGuideError, CallMarks, CallReader, Continuation, Guide, Reply, Said, Sampler, Sampling,
    Stop, ToolChoice, Vocabulary, advance,
};
use gradus::model::{Decoder, DecoderConfig, Model};
use gradus::random::Random;
use gradus::thread_pool::ThreadPool;
use gradus::tokenizer::{BpeTokenizer, BpeTrainer, CHAT_TOKENS, CharTokenizer, Tokenizer};

fn json(text: &str) -> Json {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// A walk through the language: of the bytes that may come one is taken at random, the end among them.
fn walk(mut guide: Guide, random: &mut Random) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let next: Vec<u8> = (0..=u8::MAX).filter(|&byte| guide.accepts(&[byte])).collect();
        // Long strings are no harder than short ones: quotes and brackets come more often than their share.
        let ends: Vec<u8> = next.iter().copied().filter(|byte| b"\"}]".contains(byte)).collect();
        let from = if !ends.is_empty() && random.uniform() < 0.3 { &ends } else { &next };
        if guide.is_complete() && (from.is_empty() || random.uniform() < 0.3) {
            return bytes;
        }
        assert!(!from.is_empty(), "nothing may follow {}", String::from_utf8_lossy(&bytes));
        let byte = from[(random.uniform() * from.len() as f64) as usize];
        assert!(guide.advance(&[byte]));
        bytes.push(byte);
        assert!(bytes.len() < 100_000, "no end");
    }
}

const SCHEMAS: [&str; 17] = [
    "{}",
    r#"{"type": "null"}"#,
    r#"{"type": "boolean"}"#,
    r#"{"type": "string"}"#,
    r#"{"type": "integer"}"#,
    r#"{"type": "integer", "minimum": 7, "maximum": 7}"#,
    r#"{"type": "integer", "minimum": -12, "maximum": 120}"#,
    r#"{"type": "integer", "minimum": 1000, "maximum": 1999}"#,
    r#"{"type": "integer", "maximum": -3}"#,
    r#"{"type": "number", "minimum": 0.25, "maximum": 0.5}"#,
    r#"{"type": "number", "minimum": -1.5}"#,
    r#"{"type": ["null", "number", "string", "integer"]}"#,
    r#"{"enum": [1, 10, 100, "1", null, {"a": [1, 2]}, "é\"\n"]}"#,
    r#"{"type": "array", "items": {"type": "array", "minItems": 1, "maxItems": 2}, "minItems": 2, "maxItems": 3}"#,
    r#"{"type": "object", "properties": {"a": {"type": "integer"}, "ab": {"type": "boolean"}, "\"": {}}, "required": ["ab"]}"#,
    r#"{"properties": {"only": {"enum": [5]}}, "additionalProperties": false}"#,
    r#"{"type": "array", "maxItems": 0}"#,
];

#[test]
fn whatever_comes_fits() {
    let mut random = Random::new(3);
    for text in SCHEMAS {
        let schema = json(text);
        let guide = Guide::value(&schema).expect(text);
        for _ in 0..200 {
            let bytes = walk(guide.clone(), &mut random);
            let value = Json::from_slice(&bytes);
            let value = value.unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&bytes)));
            check_arguments(&schema, &value).unwrap_or_else(|error| panic!("{text}: {value}: {error}"));
        }
    }
}

#[test]
fn what_fits_can_come() {
    let accepts = |schema: &str, value: &str| {
        let mut guide = Guide::value(&json(schema)).expect(schema);
        guide.advance(value.as_bytes()) && guide.is_complete()
    };
    for (schema, good, bad) in [
        (SCHEMAS[3], r#""a \" \\ \u00e9 é 한 🙂""#, "\"a\n\""),
        (SCHEMAS[4], "-120", "01"),
        (SCHEMAS[4], "0", "1.5"),
        (SCHEMAS[5], "7", "70"),
        (SCHEMAS[6], "120", "121"),
        (SCHEMAS[6], "-12", "-13"),
        (SCHEMAS[7], "1999", "2000"),
        (SCHEMAS[8], "-3", "-2"),
        (SCHEMAS[9], "0.3125", "0.6"),
        (SCHEMAS[9], "0.5", "0.50001"),
        (SCHEMAS[10], "-1.5", "-2"),
        (SCHEMAS[12], r#"{"a": [1, 2]}"#, r#"{"a": [1,2]}"#),
        (SCHEMAS[12], "10", "11"),
        (SCHEMAS[13], r#"[[null], [1, "x"]]"#, "[[], [1]]"),
        (SCHEMAS[14], r#"{"ab": true, "a": 3}"#, r#"{"a": 3}"#),
        (SCHEMAS[14], r#"{"\"": [], "ab": false}"#, r#"{"ab": true, "ab": true}"#),
        (SCHEMAS[15], "{}", r#"{"other": 5}"#),
    ] {
        assert!(accepts(schema, good), "{schema}: {good}");
        assert!(!accepts(schema, bad), "{schema}: {bad}");
    }
    // A surrogate alone, and bytes that are no UTF-8.
    let guide = Guide::value(&json(SCHEMAS[3])).expect("a schema");
    for bytes in [&b"\"\\ud"[..], b"\"\xc0", b"\"\xed\xa0", b"\"\xf5", b"\"\xe0\x80", b"\"\x80", b""] {
        assert!(!guide.accepts(bytes), "{bytes:?}");
    }
    assert!(guide.accepts("\"\u{d7ff}\u{10ffff}".as_bytes()));
}

/// The tools that come with the project.
fn tools() -> Vec<Tool> {
    let text =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/datasets/tools.json")).expect("the tools");
    parse_tools(&json(&text)).expect("tools")
}

#[test]
fn calls_are_of_tools_that_are_there() {
    let tools = tools();
    assert!(tools.len() >= 40);
    let mut random = Random::new(4);
    let guide = Guide::call(&tools).expect("a guide");
    let mut called = Vec::new();
    for _ in 0..500 {
        let call = Json::from_slice(&walk(guide.clone(), &mut random)).expect("JSON");
        let keys: Vec<&str> = call.entries().iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys, ["name", "arguments"]);
        let name = call.get("name").and_then(Json::as_str).expect("a name");
        let tool = tools.iter().find(|tool| tool.name == name).expect("a tool that there is");
        let arguments = call.get("arguments").expect("arguments");
        check_arguments(&tool.parameters, arguments).unwrap_or_else(|error| panic!("{call}: {error}"));
        called.push(name.to_owned());
    }
    called.sort();
    called.dedup();
    assert!(called.len() > tools.len() / 2, "{called:?}");
}

#[test]
fn tokens_that_leave_the_language_are_forbidden() {
    let vocabulary: [&[u8]; 8] = [b"", b"{", b"{\"", b"{\"a", b"{\"b", b"}", b" ", b"{}"];
    let guide = Guide::value(&json(r#"{"type": "object", "properties": {"a": {}}}"#)).expect("a guide");
    let mut logits = [1.0; 8];
    assert_eq!(guide.mask(&mut logits, |token| vocabulary[token]), 4);
    let allowed: Vec<usize> = (0..8).filter(|&token| logits[token] == 1.0).collect();
    assert_eq!(allowed, [1, 2, 3, 7]);
}

#[test]
fn what_cannot_be_followed_is_an_error() {
    let error = |schema: &str| Guide::value(&json(schema)).expect_err(schema).to_string();
    assert!(error(r#"{"pattern": "a*"}"#).contains("pattern"));
    assert!(error(r#"{"type": "string", "enum": [1]}"#).contains("enum"));
    assert!(Guide::call(&[]).expect_err("no tools").to_string().contains("no tools"));
}

/// The shortest way out is as long as was said, and it is one of the ways that may be taken.
#[test]
fn what_is_left_is_known() {
    let mut random = Random::new(6);
    let tools = Guide::call(&tools()).expect("a guide");
    let guides = SCHEMAS.iter().map(|text| Guide::value(&json(text)).expect(text)).chain([tools]);
    for guide in guides {
        for _ in 0..20 {
            // From somewhere in the middle.
            let mut guide = guide.clone();
            let mut came = 0;
            for byte in walk(guide.clone(), &mut random) {
                if random.uniform() < 0.02 {
                    break;
                }
                assert!(guide.advance(&[byte]));
                came += 1;
            }
            let start = guide.bytes_left();
            for left in (0..start).rev() {
                let next = (0..=u8::MAX).filter_map(|byte| {
                    let mut next = guide.clone();
                    next.advance(&[byte]).then_some(next)
                });
                let shortest = next.min_by_key(Guide::bytes_left).expect("something may come");
                assert_eq!(shortest.bytes_left(), left, "after {came} bytes");
                guide = shortest;
            }
            assert!(guide.is_complete());
        }
    }
    let length = |schema: &str| Guide::value(&json(schema)).expect(schema).bytes_left();
    assert_eq!(length(SCHEMAS[1]), "null".len());
    assert_eq!(length(SCHEMAS[7]), "1000".len());
    assert_eq!(length(SCHEMAS[13]), "[[0], [0]]".len());
    assert_eq!(length(SCHEMAS[14]), r#"{"ab": true}"#.len());
    assert_eq!(length(r#"{"type": "array", "minItems": 9007199254740991}"#), 9_007_199_254_740_991 * 3);
}

const PLAIN: &str = "<call>";

/// Tokenizers of all kinds, with the marks of calls: special tokens, and text of which a token may have more than the mark.
fn tokenizers() -> Vec<(Box<dyn Tokenizer>, CallMarks, usize)> {
    let text = r#"{"name": "convert_units", "arguments": {"value": 3, "from": "km", "to": "m"}}"#;
    let texts = [text, "Well, <call>\n{\"name\": \"roll_dice\"}\n</call>\n<call>\n{ é \"}\n</call>"];
    let bpe = |special: &[&str]| {
        let special_tokens = special.iter().map(|&name| name.to_owned()).collect();
        let trainer =
            BpeTrainer { vocab_size: 420, min_frequency: 1, special_tokens, ..BpeTrainer::default() };
        trainer.train(&texts).expect("a tokenizer")
    };
    let characters = CharTokenizer::of((' '..='~').chain(['\n', 'é', '한']));
    let bos = characters.bos();
    let in_text =
        CallMarks { open: format!("{PLAIN}\n"), next: format!("\n{PLAIN}\n"), close: "\n</call>".to_owned() };
    let (ours, plain): (BpeTokenizer, BpeTokenizer) = (bpe(&CHAT_TOKENS), bpe(&["<end>"]));
    let end = ours.special("</assistant>").expect("a token");
    let plain_end = plain.special("<end>").expect("a token");
    vec![
        (Box::new(characters), CallMarks::new(PLAIN, "</call>"), bos),
        (Box::new(ours), CallMarks::new("<tool>", "</tool>"), end),
        (Box::new(plain), in_text, plain_end),
    ]
}

fn few_tools() -> Vec<Tool> {
    tools().into_iter().take(8).collect()
}

/// Only tokens that may come are left, and all of them: what a try of each one says.
#[test]
fn the_mask_is_that_of_a_try_of_each_token() {
    let (tools, mut random) = (few_tools(), Random::new(7));
    for (tokenizer, marks, end) in tokenizers() {
        let vocabulary = Arc::new(Vocabulary::new(&*tokenizer));
        for choice in [ToolChoice::Auto, ToolChoice::Required, ToolChoice::Tool("roll_dice".to_owned())] {
            let reply = Reply { ends: vec![end], max_tokens: 1_000_000 };
            let guide = CallGuide::new(&vocabulary, &marks, &tools, &choice, reply).expect("a guide");
            for _ in 0..4 {
                let mut guide = guide.clone();
                let mut beginning = tokenizer.encode("So <ca").expect("any text");
                if choice != ToolChoice::Auto {
                    beginning.clear();
                }
                for step in 0..100 {
                    let may_come = |token: &usize| guide.clone().push(*token);
                    let expected: Vec<usize> = (0..tokenizer.vocab_size()).filter(may_come).collect();
                    let mut logits = vec![0.0; tokenizer.vocab_size()];
                    let is_in_call = guide.is_in_call();
                    guide.mask(&mut logits);
                    let left: Vec<usize> = (0..logits.len()).filter(|&token| logits[token] == 0.0).collect();
                    if is_in_call {
                        assert_eq!(left, expected, "{choice:?}, step {step}");
                    } else {
                        assert!(left.iter().all(|token| expected.contains(token) || *token == end));
                    }
                    let quote: Vec<usize> = left
                        .iter()
                        .copied()
                        .filter(|&token| vocabulary.bytes_of(token).contains(&b'"'))
                        .collect();
                    let from = if is_in_call && !quote.is_empty() && step % 4 == 0 { &quote } else { &left };
                    let token = match beginning.is_empty() {
                        true => from[random.below(from.len())],
                        false => beginning.remove(0),
                    };
                    if token == end {
                        break;
                    }
                    assert!(guide.push(token), "{choice:?}: {:?}", tokenizer.decode(&[token]));
                    if step == 20 && !guide.is_in_call() {
                        beginning = call_begins(&marks, &*tokenizer);
                    }
                }
            }
        }
    }
}

/// The tokens of a mark that opens a call.
fn call_begins(marks: &CallMarks, tokenizer: &dyn Tokenizer) -> Vec<usize> {
    match tokenizer.special(&marks.open) {
        Some(token) => vec![token],
        None => tokenizer.encode(&marks.open).expect("any text"),
    }
}

/// What replies of a model that has learned nothing are made of. Several at once share the model.
fn untrained(
    tokenizer: &dyn Tokenizer,
    marks: &CallMarks,
    guides: Vec<Option<CallGuide>>,
    (end, max_tokens): (usize, usize),
) -> Vec<Vec<Said>> {
    let config =
        DecoderConfig { context: 400, init_std: 0.3, ..DecoderConfig::microgpt(tokenizer.vocab_size()) };
    let model = Decoder::new(config).expect("a model");
    let params: Vec<f32> = model.layout().initial(&mut Random::new(8));
    let vocabulary = Vocabulary::new(tokenizer);
    let mut engine = FastEngine::new(ThreadPool::new(1));
    let room = Room { sequences: guides.len(), tokens: 400, source_tokens: 0 };
    let mut session = Session::new(&mut engine, &model, &params, room);
    let prompt = |at: usize| vec![at % tokenizer.vocab_size(), end];
    let stop = Stop { tokens: vec![end], ..Stop::after(max_tokens) };
    let mut texts: Vec<Continuation> =
        (0..guides.len()).map(|at| Continuation::new(&prompt(at), stop.clone())).collect();
    let mut replies: Vec<(Option<CallGuide>, Sampler, Random)> = (0..)
        .zip(guides)
        .map(|(at, guide)| (guide, Sampler::new(Sampling::default()), Random::new(at)))
        .collect();
    let mut draw = |at: usize, logits: &[f64], tokens: &[usize]| match &mut replies[at] {
        (Some(guide), sampler, random) => sampler.sample_guided(logits, tokens, random, guide),
        (None, sampler, random) => sampler.sample(logits, tokens, random),
    };
    while advance(&mut session, &mut texts, &mut draw) {}
    let read = |text: &Continuation| {
        let mut reader = CallReader::new(marks, &vocabulary, tokenizer, &[end]);
        let mut said: Vec<Said> =
            text.tokens().iter().flat_map(|&token| reader.push(tokenizer, token)).collect();
        said.extend(reader.finish());
        said
    };
    texts.iter().map(read).collect()
}

/// How many of these are calls that can be made.
fn good(tools: &[Tool], said: &[Said]) -> usize {
    let fits = |call: &str| parse_call(call).is_ok_and(|call| check_call(tools, &call).is_ok());
    said.iter().filter(|said| matches!(said, Said::Call(call) if fits(call))).count()
}

#[test]
fn every_call_of_an_untrained_model_can_be_made() {
    let tools = few_tools();
    for (tokenizer, marks, end) in tokenizers() {
        let vocabulary = Arc::new(Vocabulary::new(&*tokenizer));
        let guide = |choice: &ToolChoice| {
            let reply = Reply { ends: vec![end], max_tokens: 160 };
            CallGuide::new(&vocabulary, &marks, &tools, choice, reply).expect("a guide")
        };
        let guided =
            untrained(&*tokenizer, &marks, vec![Some(guide(&ToolChoice::Required)); 100], (end, 160));
        for said in &guided {
            assert!(!said.is_empty() && good(&tools, said) == said.len(), "{said:?}");
        }
        let one = vec![Some(guide(&ToolChoice::Tool("roll_dice".to_owned()))); 20];
        for said in untrained(&*tokenizer, &marks, one, (end, 160)) {
            let [Said::Call(call)] = &said[..] else { panic!("one call, not {said:?}") };
            assert_eq!(parse_call(call).expect("a call").name, "roll_dice");
        }
        // As it will: whatever it begins is complete.
        let free = untrained(&*tokenizer, &marks, vec![Some(guide(&ToolChoice::Auto)); 100], (end, 160));
        let calls = free.iter().flatten().filter(|said| matches!(said, Said::Call(_))).count();
        assert_eq!(calls, free.iter().map(|said| good(&tools, said)).sum::<usize>(), "{free:?}");
        if tokenizer.special(&marks.open).is_some() {
            assert!(calls > 10, "{calls} calls");
        }
        let none = untrained(&*tokenizer, &marks, vec![Some(guide(&ToolChoice::None)); 100], (end, 160));
        assert!(none.iter().flatten().all(|said| matches!(said, Said::Text(_))), "{none:?}");
        // Without a guide it makes no call that can be made.
        let wild = untrained(&*tokenizer, &marks, vec![None; 100], (end, 160));
        assert_eq!(wild.iter().map(|said| good(&tools, said)).sum::<usize>(), 0);
    }
}

/// With too little room for any call none is begun, and where one has to be it is as short as it can be.
#[test]
fn a_call_ends_before_the_reply_has_to() {
    let tools = few_tools();
    let (tokenizer, marks, end) = tokenizers().swap_remove(0);
    let vocabulary = Arc::new(Vocabulary::new(&*tokenizer));
    let shortest = r#"<call>{"name": "clock", "arguments": {}}</call>"#;
    for (choice, most, calls) in [
        (ToolChoice::Auto, 30, 0),
        (ToolChoice::Required, shortest.len() + 1, 20),
        (ToolChoice::Required, 20, 0),
    ] {
        let reply = Reply { ends: vec![end], max_tokens: most };
        let guide = CallGuide::new(&vocabulary, &marks, &tools, &choice, reply).expect("a guide");
        let said = untrained(&*tokenizer, &marks, vec![Some(guide); 20], (end, most));
        assert_eq!(said.iter().map(|said| good(&tools, said)).sum::<usize>(), calls, "{said:?}");
        if choice == ToolChoice::Required {
            let beginning = &shortest["<call>".len()..];
            let is_it =
                |said: &Said| matches!(said, Said::Call(call) if beginning.starts_with(call.as_str()));
            assert!(said.iter().flatten().all(is_it), "{said:?}");
        }
    }
}

#[test]
fn a_reply_is_taken_apart() {
    for (tokenizer, marks, end) in tokenizers() {
        let vocabulary = Vocabulary::new(&*tokenizer);
        let tokens = |text: &str| {
            let mut tokens = Vec::new();
            for (at, part) in text.split('|').enumerate() {
                let special = tokenizer.special(part).filter(|_| at % 2 == 1);
                tokens.extend(
                    special.map_or_else(|| tokenizer.encode(part).expect("any text"), |one| vec![one]),
                );
            }
            tokens
        };
        let CallMarks { open, next, close } = &marks;
        let text = format!("é <ca |{open}|{{\"a\": 1}}|{close}||{next}|2|{close}|<");
        let read = |tokens: &[usize]| {
            let mut reader = CallReader::new(&marks, &vocabulary, &*tokenizer, &[end]);
            let mut said = Vec::new();
            for &token in tokens {
                said.extend(reader.push(&*tokenizer, token));
            }
            (said, reader.is_in_call(), reader.finish())
        };
        let (said, _, rest) = read(&tokens(&text));
        let mut texts = String::new();
        let mut calls = Vec::new();
        for said in said.iter().chain(&rest) {
            match said {
                Said::Text(text) => texts += text,
                Said::Call(call) => calls.push(call.as_str()),
            }
        }
        assert_eq!((texts.replace('\n', "").as_str(), &calls[..]), ("é <ca <", &[r#"{"a": 1}"#, "2"][..]));
        // Of a call that is cut off, what there is.
        let (said, is_in_call, rest) = read(&tokens(&format!("a|{open}|{{\"")));
        let (text, call) = (Said::Text("a".to_owned()), Said::Call("{\"".to_owned()));
        assert_eq!((said, is_in_call, rest), (vec![text], true, vec![call]));
    }
}

#[test]
fn why_there_is_no_guide_for_calls() {
    let tools = few_tools();
    let new = |tokenizer: &dyn Tokenizer, tools: &[Tool], choice: ToolChoice| {
        let (marks, reply) = (CallMarks::new("<tool>", "</tool>"), Reply { ends: vec![0], max_tokens: 9 });
        CallGuide::new(&Arc::new(Vocabulary::new(tokenizer)), &marks, tools, &choice, reply).map(|_| ())
    };
    let ascii = CharTokenizer::of(' '..='~');
    let error =
        new(&ascii, &tools, ToolChoice::Tool("fly".to_owned())).expect_err("no such tool").to_string();
    assert!(error.contains("\"fly\"") && error.contains("clock"), "{error}");
    let error = new(&CharTokenizer::of('a'..='z'), &tools, ToolChoice::Auto).expect_err("no quotes");
    assert!(matches!(error, CallGuideError::Unwritable('"')), "{error}");
    let error =
        new(&CharTokenizer::of(('!'..='~').filter(|&c| c != '<').chain([' '])), &tools, ToolChoice::Auto);
    assert_eq!(error, Err(CallGuideError::Unwritable('<')));
    assert!(new(&ascii, &[], ToolChoice::Required).expect_err("nothing").to_string().contains("no tools"));
    // Where nothing is called, nothing is needed.
    assert_eq!(new(&CharTokenizer::of('a'..='z'), &[], ToolChoice::Auto), Ok(()));
    assert_eq!(new(&CharTokenizer::of('a'..='z'), &tools, ToolChoice::None), Ok(()));
}

#[test]
fn what_is_wrong_with_a_call_is_said() {
    let tools = few_tools();
    for (call, words) in [
        ("{", "not JSON"),
        ("[]", "an array"),
        (r#"{"arguments": {}}"#, "`name`"),
        (r#"{"name": "clock"}"#, "`arguments`"),
        (r#"{"name": "clock", "arguments": "{}"}"#, "`arguments`"),
        (r#"{"name": "clock", "arguments": {}, "id": 1}"#, "`id`"),
        (r#"{"name": "fly", "arguments": {}}"#, "no tool fly, only calculator, clock"),
        (r#"{"name": "roll_dice", "arguments": {"count": 0, "sides": 6}}"#, "roll_dice: .count: 0 is less"),
    ] {
        let checked = parse_call(call).and_then(|call| check_call(&tools, &call).map(|_| ()));
        let error = checked.expect_err(call).to_string();
        assert!(error.contains(words), "{call}: {error}");
    }
    let call = parse_call(r#"{"arguments": {"count": 2, "sides": 6}, "name": "roll_dice"}"#).expect("a call");
    assert_eq!(check_call(&tools, &call).map(|tool| tool.name.as_str()), Ok("roll_dice"));
}

#[test]
fn an_object_may_have_any_keys_where_none_are_listed() {
    let accepts = |schema: &str, value: &str| {
        let mut guide = Guide::value(&json(schema)).expect(schema);
        guide.advance(value.as_bytes()) && guide.is_complete()
    };
    let value = r#"{"a": 1, "\"é": {"": [{"b": null}]}}"#;
    for (schema, fits) in [
        (r#"{"type": "object"}"#, true),
        (r#"{"type": "object", "additionalProperties": true}"#, true),
        ("{}", true),
        (r#"{"type": "object", "additionalProperties": false}"#, false),
        (r#"{"type": "object", "properties": {}}"#, false),
    ] {
        assert_eq!(accepts(schema, value), fits, "{schema}");
        assert!(accepts(schema, "{}"), "{schema}");
    }
    for wrong in [
        r#"{"a" : 1}"#,
        r#"{"a":1}"#,
        r#"{a: 1}"#,
        r#"{"a": 1,}"#,
        r#"{"a": 1, }"#,
        r#"{"a"}"#,
        r#"{, "a": 1}"#,
        "{1: 2}",
    ] {
        assert!(!accepts(r#"{"type": "object"}"#, wrong), "{wrong}");
    }
    // From every place the way to the end is as long as it is said to be, and no shorter way is passed over.
    let mut random = Random::new(9);
    for _ in 0..300 {
        let whole = walk(Guide::value(&json(r#"{"type": "object"}"#)).expect("a schema"), &mut random);
        let mut guide = Guide::value(&json(r#"{"type": "object"}"#)).expect("a schema");
        for byte in &whole[..random.below(whole.len() + 1)] {
            assert!(guide.advance(&[*byte]));
        }
        while !guide.is_complete() {
            let left = guide.bytes_left();
            let shorter = (0..=u8::MAX).find_map(|byte| {
                let mut next = guide.clone();
                (next.advance(&[byte]) && next.bytes_left() < left).then_some(next)
            });
            guide = shorter.unwrap_or_else(|| panic!("no way on from {}", String::from_utf8_lossy(&whole)));
        }
        assert_eq!(guide.bytes_left(), 0);
    }
}
