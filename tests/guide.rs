//! JSON that is generated under a guide always parses and fits to its schema, and all that fits can be generated.

use std::fs;

use gradus::data::{Json, Tool, check_arguments, parse_tools};
use gradus::generate::Guide;
use gradus::random::Random;

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
    for wrong in [r#"{"a" : 1}"#, r#"{"a":1}"#, r#"{a: 1}"#, r#"{"a": 1,}"#, r#"{"a": 1, }"#, r#"{"a"}"#, r#"{, "a": 1}"#, "{1: 2}"] {
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
