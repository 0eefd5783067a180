//! Chapter 21, tools: what it quotes of the files that come with the project, and the answers to its exercises.

use std::fs;
use std::path::Path;

use gradus::data::{Json, Tool, parse_tools};
use gradus::generate::Guide;

use crate::says;

fn dataset(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("datasets").join(name);
    fs::read_to_string(path).expect("it ships")
}

fn roll_dice() -> Tool {
    let tools = parse_tools(&dataset("tools.json").parse().expect("JSON")).expect("tools");
    tools.into_iter().find(|tool| tool.name == "roll_dice").expect("there is one")
}

/// A guide after some text.
fn after(text: &str) -> Guide {
    let mut guide = Guide::call(&[roll_dice()]).expect("a guide");
    assert!(guide.advance(text.as_bytes()), "{text}");
    guide
}

/// The bytes that may come next.
fn next(guide: &Guide) -> String {
    (0..=127).filter(|&byte| guide.accepts(&[byte])).map(char::from).collect()
}

#[test]
fn chapter_21_patterns() {
    let json: Json = dataset("tool_patterns.json").parse().expect("JSON");
    let patterns = json.get("patterns").and_then(Json::as_array).expect("patterns");
    let asks = patterns.iter().map(|one| one.get("ask").and_then(Json::as_array).expect("sentences").len());
    says(21, &format!("{} patterns with {} ways to ask", patterns.len(), asks.sum::<usize>()));
}

#[test]
fn exercise_21_1() {
    let guide = after(r#"{"name": "roll_dice", "arguments": {"count": 2"#);
    assert_eq!(next(&guide), ",0");
    says(21, "`0`, which makes 20, and `,`, after which the other argument comes.");
}

#[test]
fn exercise_21_2() {
    let guide = after(r#"{"name": "roll_dice", "arguments": {"count": "#);
    let fits = ["2", "20", "200", "2,", "}"].map(|token| guide.accepts(token.as_bytes()));
    assert_eq!(fits, [true, true, false, true, false]);
    says(21, "`2`, `20` and `2,`.");
}

#[test]
fn exercise_21_3() {
    let before = r#"{"name": "roll_dice", "arguments": {"count": 1, "sides": "#;
    assert_eq!(next(&after(before)), "123456789");
    assert_eq!(next(&after(&format!("{before}1"))), "0123456789");
    assert_eq!(next(&after(&format!("{before}10"))), "0}");
    says(21, "Any but `0`.");
    says(21, "After `1` a second digit has to come");
    says(21, "After `10` a `0`, which makes 100, or the brace.");
}
