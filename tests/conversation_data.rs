//! `datasets/conversations.jsonl` is what `datasets/README.md` says: distinct conversations in order, in plain characters, and
//! every sum in them is right.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use gradus::data::{
    Conversation, Conversations, Format, Message, OnMalformed, Role, evaluate, read_conversations,
};

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("datasets").join(name)
}

fn conversations(name: &str) -> Vec<Conversation> {
    read_conversations(&path(name), None, OnMalformed::Refuse).expect("conversations that ship").0
}

/// The first thing that the user says.
fn opening(conversation: &Conversation) -> &str {
    let user = conversation.messages.iter().find(|message| message.role == Role::User);
    &user.expect("a conversation with a user").content
}

fn messages(all: &[Conversation], role: Role) -> impl Iterator<Item = &Message> {
    all.iter().flat_map(|conversation| &conversation.messages).filter(move |message| message.role == role)
}

/// The whole numbers in a line of the table of data sets.
fn figures(name: &str) -> Vec<usize> {
    let readme = std::fs::read_to_string(path("README.md")).expect("the table");
    let line = readme.lines().find(|line| line.starts_with(&format!("| `{name}`"))).expect("an entry");
    let words = line.split(|c: char| !c.is_ascii_digit() && c != ',');
    words.filter_map(|word| word.replace(',', "").parse().ok()).collect()
}

#[test]
fn as_many_as_the_readme_says() {
    let all = conversations("conversations.jsonl");
    let with_system = all.iter().filter(|one| one.messages[0].role == Role::System).count();
    let turns = |one: &&Conversation| one.messages.iter().filter(|said| said.role == Role::User).count() > 1;
    let several = all.iter().filter(turns).count();
    assert_eq!(figures("conversations.jsonl")[..4], [all.len(), with_system, several, all.len()]);
    assert!(all.len() >= 600 && with_system >= 50 && several >= 140);
    let code = messages(&all, Role::Assistant).filter(|said| said.content.contains("```")).count();
    assert!(code >= 50, "{code} answers with code");
}

#[test]
fn every_conversation_is_its_own_and_in_order() {
    let all = conversations("conversations.jsonl");
    let mut file = Conversations::open(&path("conversations.jsonl")).expect("the file");
    assert!(file.next().is_some_and(|first| first.is_ok()) && file.format() == Some(Format::Messages));
    let mut openings = BTreeSet::new();
    for conversation in &all {
        assert!(openings.insert(opening(conversation).to_lowercase()), "twice: {}", opening(conversation));
        let turns = conversation.messages.iter().filter(|message| message.role != Role::System);
        for (message, at) in turns.zip(0..) {
            let role = if at % 2 == 0 { Role::User } else { Role::Assistant };
            assert_eq!(message.role, role, "{}", opening(conversation));
        }
        let last = conversation.messages.last().expect("a message");
        assert_eq!(last.role, Role::Assistant, "{}", opening(conversation));
        assert!(conversation.tools.is_empty() && last.tool_calls.is_empty());
    }
}

/// Questions begin in many ways, and answers are of many lengths.
#[test]
fn openings_and_lengths_vary() {
    let all = conversations("conversations.jsonl");
    let mut beginnings: BTreeMap<String, usize> = BTreeMap::new();
    for conversation in &all {
        let words: Vec<_> = opening(conversation).split_whitespace().take(2).collect();
        *beginnings.entry(words.join(" ").to_lowercase()).or_default() += 1;
    }
    let (most, count) = beginnings.iter().max_by_key(|(_, count)| **count).expect("a beginning");
    assert!(beginnings.len() > 250, "{} ways to begin", beginnings.len());
    assert!(*count * 4 < all.len(), "{count} begin with {most:?}");
    let mut lengths: Vec<_> = messages(&all, Role::Assistant).map(|said| said.content.len()).collect();
    lengths.sort_unstable();
    let at = |percent: usize| lengths[(lengths.len() - 1) * percent / 100];
    assert!(
        at(10) < 40 && at(50) > 60 && at(90) > 150 && at(100) > 500 && at(100) <= 900,
        "{:?}",
        [10, 50, 90, 100].map(at)
    );
    assert!(messages(&all, Role::User).all(|said| said.content.len() <= 320));
}

/// ASCII, straight quotes, one space between words but for the indentation of code, nothing at the ends, no tabs.
fn assert_plain(text: &str) {
    assert!(text.chars().all(|c| c == '\n' || (' '..='~').contains(&c)), "{text:?}");
    assert_eq!(text, text.trim(), "space at the ends");
    assert!(!text.contains(" \n") && !text.contains("\n\n\n"), "{text:?}");
    assert_eq!(text.matches("```").count() % 2, 0, "code without an end: {text}");
    for prose in text.split("```").step_by(2) {
        let code = |line: &str| line.starts_with("    ");
        for line in prose.lines().filter(|line| !code(line)) {
            assert!(!line.contains("  "), "two spaces: {line}");
            let spaced = [" ,", " .", " ;", " !"].iter().any(|mark| line.contains(mark));
            assert!(!spaced, "space before a mark: {line}");
        }
    }
}

#[test]
fn every_text_is_written_in_the_same_way() {
    for name in ["conversations.jsonl", "tool_dialogues.jsonl"] {
        for conversation in conversations(name) {
            let said = conversation.messages.iter().filter(|message| message.role != Role::Tool);
            said.filter(|message| message.tool_calls.is_empty())
                .for_each(|message| assert_plain(&message.content));
        }
    }
}

/// The statements `12 + 30 = 42` and `6 times 7 is 42` of a text: the expression, and what it is said to be.
fn statements(text: &str) -> Vec<(String, f64)> {
    let words = [(" plus ", " + "), (" minus ", " - "), (" times ", " * "), (" divided by ", " / ")];
    let mut text = text.replace(" is ", " = ").replace(" are ", " = ");
    for (word, sign) in words {
        text = text.replace(word, sign);
    }
    let text = text.replace(" percent of ", " / 100 * ");
    let mut found = Vec::new();
    for (at, _) in text.match_indices(" = ") {
        let (left, right) = (&text[..at], &text[at + 3..]);
        let part = |c: char| c.is_ascii_digit() || " .,+-*/()^".contains(c);
        let start = left
            .rfind(|c| !part(c))
            .map_or(0, |before| before + left[before..].chars().next().map_or(1, char::len_utf8));
        // A comma or a full stop between sentences is not one within a number.
        let left = &left[start..];
        let after_mark = [", ", ". "].iter().filter_map(|mark| left.rfind(mark)).max().map_or(0, |at| at + 2);
        let expression = left[after_mark..].trim().replace(',', "");
        let end = right.find(|c: char| !c.is_ascii_digit() && !".,-".contains(c)).unwrap_or(right.len());
        let result = right[..end].trim_end_matches(['.', ',', '-']).replace(',', "");
        let whole = expression.starts_with(|c: char| c.is_ascii_digit() || c == '(' || c == '-');
        let computed = whole && expression.chars().any(|c| "+-*/^".contains(c)) && expression.contains(' ');
        if let (true, Ok(result)) = (computed, result.parse()) {
            found.push((expression, result));
        }
    }
    found
}

#[test]
fn the_search_for_sums_finds_them() {
    let text = "It is easy: 12 + 30 = 42, and 6 times 7 is 42. Then 2 + 3 * 4 = 14. 10 percent of 1,500 is 150. x = 5, a is 3. 7 - 2 = 4.";
    let found = statements(text);
    assert_eq!(found.len(), 5, "{found:?}");
    let wrong: Vec<_> = found.iter().filter(|(sum, result)| evaluate(sum) != Ok(*result)).collect();
    assert_eq!(wrong, [&("7 - 2".to_owned(), 4.0)]);
}

/// Every sum that the assistant states is right.
#[test]
fn every_sum_is_right() {
    let mut count = 0;
    for name in ["conversations.jsonl", "tool_dialogues.jsonl"] {
        for message in messages(&conversations(name), Role::Assistant) {
            for (expression, stated) in statements(&message.content) {
                let computed =
                    evaluate(&expression).unwrap_or_else(|error| panic!("{error}: {}", message.content));
                assert!(
                    (computed - stated).abs() < 1e-9,
                    "{expression} = {computed}, not {stated}: {}",
                    message.content
                );
                count += 1;
            }
        }
    }
    assert!(count >= 100, "only {count} sums were found");
}
