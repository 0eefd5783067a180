//! Files of conversations: each format becomes what it says; a malformed record is an error with its line and its reason, and
//! the next one is read after it; damage of any kind never panics, and memory holds one record.

use std::fs;
use std::io::{self, Read};
use std::path::Path;

use gradus::data::{
    Conversation, Conversations, ConversationsError, Format, Json, LONGEST_RECORD, MalformedRecord, Message,
    OnMalformed, Reason, Role, read_conversations,
};
use gradus::random::Random;

#[path = "common/allocator.rs"]
mod allocator;
#[path = "common/dataset.rs"]
mod dataset;

use dataset::dataset;

/// All that a text gives, and the format that was recognised.
fn read(text: &str) -> (Vec<Result<Conversation, MalformedRecord>>, Option<Format>) {
    let mut conversations = Conversations::new("file", text.as_bytes()).expect("a file of conversations");
    let all = conversations.by_ref().collect();
    (all, conversations.format())
}

/// The conversations of a text without malformed records.
fn good(text: &str) -> Vec<Conversation> {
    read(text).0.into_iter().map(|found| found.unwrap_or_else(|error| panic!("{error}"))).collect()
}

/// Roles and texts, as `user: Hello`.
fn said(conversation: &Conversation) -> Vec<String> {
    let line = |message: &Message| format!("{}: {}", message.role.name(), message.content);
    conversation.messages.iter().map(line).collect()
}

/// Line, column and kind of each malformed record of a text, and how many good ones there are.
fn malformed(text: &str) -> (Vec<(usize, usize, &'static str)>, usize) {
    let all = read(text).0;
    let good = all.iter().filter(|found| found.is_ok()).count();
    let errors = all.iter().filter_map(|found| found.as_ref().err());
    (errors.map(|error| (error.line, error.column, error.reason.kind())).collect(), good)
}

#[test]
fn an_instruction_and_an_answer_in_three_formats() {
    let cases = [
        (
            Format::Dolly,
            r#"{"instruction": " Who wrote it? ", "context": "Ada wrote it.", "response": "Ada.\n", "category": "qa"}"#,
        ),
        (Format::Alpaca, r#"{"instruction": "Who wrote it?", "input": "Ada wrote it.", "output": "Ada."}"#),
        (
            Format::Instruction,
            r#"{"response": "Ada.", "instruction": "Who wrote it?", "input": "Ada wrote it."}"#,
        ),
    ];
    for (format, record) in cases {
        for text in [format!("{record}\n\n{record}"), format!("[{record},\n {record}]\n")] {
            let (all, recognised) = read(&text);
            assert_eq!((all.len(), recognised), (2, Some(format)), "{text}");
            for found in all {
                let expected = ["user: Who wrote it?\n\nAda wrote it.", "assistant: Ada."];
                assert_eq!(said(&found.expect("a conversation")), expected, "{text}");
            }
        }
    }
    // Without anything beside it, the instruction is the question; and there may be a system prompt.
    let short = r#"{"instruction": "Say hi.", "response": "Hi.", "system": "Be brief."}"#;
    assert_eq!(said(&good(short)[0]), ["system: Be brief.", "user: Say hi.", "assistant: Hi."]);
}

#[test]
fn messages_as_the_ecosystem_writes_them() {
    let tools = r#"[{"type": "function", "function": {"name": "add", "description": "Adds.", "parameters": {"type": "object"}}}]"#;
    // Arguments as a string, as an object, and the older `function_call`; texts in parts; `null` beside a call.
    let calls = [
        r#""content": null, "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "add", "arguments": "{\"b\": 2, \"a\": 1}"}}]"#,
        r#""content": "", "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "add", "arguments": {"b": 2, "a": 1}}}]"#,
        r#""tool_calls": [{"id": "c1", "name": "add", "arguments": {"b": 2, "a": 1}}]"#,
    ];
    for call in calls {
        let text = format!(
            r#"{{"messages": [
                {{"role": "developer", "content": "Be exact."}},
                {{"role": "user", "content": [{{"type": "text", "text": "1 + "}}, {{"type": "text", "text": "2?"}}]}},
                {{"role": "assistant", {call}}},
                {{"role": "tool", "tool_call_id": "c1", "name": "add", "content": "3"}},
                {{"role": "assistant", "content": " It is 3.\n"}}], "tools": {tools}}}"#
        );
        let conversation = good(&text.replace('\n', " ")).remove(0);
        let expected =
            ["system: Be exact.", "user: 1 + 2?", "assistant: ", "tool: 3", "assistant:  It is 3.\n"];
        assert_eq!(said(&conversation), expected);
        let [call] = &conversation.messages[2].tool_calls[..] else { panic!("one call") };
        assert_eq!((call.id.as_deref(), call.name.as_str()), (Some("c1"), "add"));
        assert_eq!(call.arguments.to_string(), r#"{"b":2,"a":1}"#, "in the order in which they were written");
        assert_eq!(conversation.messages[3].tool_call_id.as_deref(), Some("c1"));
        assert_eq!(conversation.tools[0].description, "Adds.");
        // What is written is read again as the same.
        let written = serde_json::to_string(&conversation).expect("JSON");
        assert_eq!(good(&written), [conversation]);
    }
    let older = r#"{"messages": [{"role": "user", "content": "Now?"},
        {"role": "assistant", "function_call": {"name": "clock", "arguments": ""}},
        {"role": "function", "name": "clock", "content": "noon"}, {"role": "assistant", "content": "Noon."}],
        "functions": [{"name": "clock"}]}"#;
    let conversation = good(&older.replace('\n', " ")).remove(0);
    assert_eq!(conversation.tool_calls().next().map(|call| &call.arguments), Some(Json::EMPTY));
    assert_eq!((conversation.messages[2].role, conversation.tools[0].name.as_str()), (Role::Tool, "clock"));
}

#[test]
fn share_gpt_and_what_grew_from_it() {
    let text = r#"[{"id": "x", "system": "Be kind.", "conversations": [
        {"from": "human", "value": "Roll."}, {"from": "function_call", "value": "{\"name\": \"dice\", \"arguments\": {\"sides\": 6}}"},
        {"from": "observation", "value": "4"}, {"from": "gpt", "value": "A four."}],
        "tools": "[{\"name\": \"dice\", \"description\": \"Rolls.\", \"parameters\": {\"type\": \"object\"}}]"},
        {"conversations": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}]"#;
    let (all, format) = read(text);
    assert_eq!((all.len(), format), (2, Some(Format::ShareGpt)));
    let first = all[0].as_ref().expect("a conversation");
    assert_eq!(
        said(first),
        ["system: Be kind.", "user: Roll.", "assistant: ", "tool: 4", "assistant: A four."]
    );
    assert_eq!(
        first.tool_calls().next().map(|call| call.arguments.to_string()).as_deref(),
        Some(r#"{"sides":6}"#)
    );
    assert!(first.tool("dice").is_some() && first.tool("clock").is_none());
}

#[test]
fn dialogues_as_text() {
    let text = "\u{feff}A: Hello!\r\nB: Hi.\r\nA: Bye.\r\n\r\n\r\nA: Tea?\nB: Yes.\nA: Milk?\nB: No.\n\nB: Wrong.\nA: Yes.\n\nA: One\nmore\n";
    let (all, format) = read(text);
    assert_eq!(format, Some(Format::Dialogue));
    // What is said last without an answer is left out.
    assert_eq!(said(all[0].as_ref().expect("one")), ["user: Hello!", "assistant: Hi."]);
    assert_eq!(all[1].as_ref().expect("two").messages.len(), 4);
    assert_eq!(malformed(text), (vec![(11, 1, "not a dialogue"), (15, 1, "not a dialogue")], 2));
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("datasets/dialog.txt");
    let (all, skipped) = read_conversations(&shipped, None, OnMalformed::Refuse).expect("all dialogues");
    assert_eq!((all.len(), skipped.count()), (515, 0));
}

/// The first good record says the format; a byte order mark and line ends of Windows do not matter.
#[test]
fn the_first_good_record_says_the_format() {
    let text =
        "\u{feff}{\"instruction\": \r\n{\"text\": \"?\"}\r\n{\"instruction\": \"a\", \"output\": \"b\"}\r\n";
    let (all, format) = read(text);
    assert_eq!(format, Some(Format::Alpaca));
    assert_eq!(all.len(), 3);
    assert_eq!(malformed(text), (vec![(1, 15, "not JSON"), (2, 1, "unknown format")], 1));
    // From then on, other formats are malformed.
    let mixed = "{\"instruction\": \"a\", \"output\": \"b\"}\n{\"messages\": []}\n";
    assert_eq!(malformed(mixed), (vec![(2, 1, "missing key")], 1));
}

#[test]
fn every_kind_of_malformed_record_is_named_with_its_line() {
    let user = r#"{"role": "user", "content": "Hi"}"#;
    let reply = r#"{"role": "assistant", "content": "Hello"}"#;
    let call = |arguments: &str| {
        format!(
            r#"{{"role": "assistant", "tool_calls": [{{"function": {{"name": "add", "arguments": {arguments}}}}}]}}"#
        )
    };
    let messages = |list: &[&str]| format!(r#"{{"messages": [{}]}}"#, list.join(", "));
    let cases = [
        ("[1]".to_owned(), "not an object", "an array"),
        ("7".to_owned(), "not an object", "a number"),
        (r#"{"messages": 7}"#.to_owned(), "wrong type", "`messages` is a number"),
        (r#"{"tools": []}"#.to_owned(), "missing key", "`messages` is missing"),
        (messages(&[]), "no reply", "nothing to learn"),
        (messages(&[user]), "no reply", "nothing to learn"),
        (messages(&["3"]), "wrong type", "messages[1]"),
        (messages(&[r#"{"content": "Hi"}"#, reply]), "missing key", "`role`"),
        (messages(&[r#"{"role": "user"}"#, reply]), "missing key", "`content`"),
        (messages(&[r#"{"role": 3, "content": "Hi"}"#, reply]), "wrong type", "messages[1].role"),
        (messages(&[r#"{"role": "user", "content": 3}"#, reply]), "wrong type", "messages[1].content"),
        (messages(&[r#"{"role": "user", "content": " \n"}"#, reply]), "empty", "messages[1].content"),
        (messages(&[r#"{"role": "narrator", "content": "Hi"}"#]), "unknown role", "\"narrator\""),
        (
            messages(&[r#"{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}"#, reply]),
            "not text",
            "\"image_url\"",
        ),
        (messages(&[reply]), "order of messages", "message 1 (assistant) cannot follow nothing"),
        (messages(&[user, user, reply]), "order of messages", "message 2 (user) cannot follow user"),
        (messages(&[user, reply, reply]), "order of messages", "message 3"),
        (
            messages(&[user, r#"{"role": "system", "content": "Late."}"#, reply]),
            "order of messages",
            "message 2 (system)",
        ),
        (
            messages(&[user, reply, r#"{"role": "tool", "content": "3"}"#]),
            "order of messages",
            "message 3 (tool) cannot follow assistant",
        ),
        (messages(&[user, &call("{}"), user]), "order of messages", "cannot follow tool calls"),
        (messages(&[user, &call(r#""{\"a\": ""#)]), "arguments of a tool call", "of add in message 2"),
        (messages(&[user, &call("[1]")]), "arguments of a tool call", "an array"),
        (
            messages(&[user, r#"{"role": "assistant", "tool_calls": {}}"#]),
            "wrong type",
            "messages[2].tool_calls",
        ),
        (
            messages(&[user, r#"{"role": "assistant", "tool_calls": [{"function": {}}]}"#]),
            "missing key",
            "tool_calls.name",
        ),
        (format!(r#"{{"messages": [{user}, {reply}], "tools": 3}}"#), "wrong type", "`tools`"),
        (format!(r#"{{"messages": [{user}, {reply}], "tools": [{{}}]}}"#), "missing key", "tools.name"),
        (
            format!(r#"{{"messages": [{user}, {reply}], "tools": [{{"name": "x", "parameters": 3}}]}}"#),
            "wrong type",
            "tools.parameters",
        ),
        (format!(r#"{{"messages": [{user}, {reply}], "tools": "[nonsense"}}"#), "not JSON", ""),
        (format!(r#"{{"messages": {}1{}}}"#, "[".repeat(200), "]".repeat(200)), "not JSON", "recursion"),
        (r#"{"messages": ["#.to_owned(), "not JSON", "EOF"),
        (r#"{"messages": [] "tools": []}"#.to_owned(), "not JSON", "expected `,`"),
        ("nonsense".to_owned(), "not JSON", "expected"),
    ];
    let good = messages(&[user, reply]);
    for (record, kind, part) in &cases {
        let text = format!("{good}\n\n{record}\n{good}\n");
        let (all, _) = read(&text);
        assert_eq!(all.len(), 3, "{record}");
        assert!(all[0].is_ok() && all[2].is_ok(), "the records around it: {record}");
        let error = all[1].as_ref().expect_err(record);
        assert_eq!((error.line, error.reason.kind()), (3, *kind), "{record}: {error}");
        let message = error.to_string();
        assert!(message.starts_with("file, line 3, column ") && message.contains(part), "{message}");
    }
    // The same in an array, wherever the brackets allow to go on.
    for (record, kind, _) in cases.iter().filter(|(record, ..)| record != r#"{"messages": ["#) {
        let text = format!("[{good},\n\n {record},\n{good}\n]");
        let (errors, count) = malformed(&text);
        assert_eq!((errors.len(), count), (1, 2), "{record}");
        assert_eq!((errors[0].0, errors[0].2), (3, *kind), "{record}");
    }
}

#[test]
fn fields_of_an_instruction() {
    let good = r#"{"instruction": "a", "input": "", "output": "b"}"#;
    let cases = [
        (r#"{"instruction": "a", "input": ""}"#, "missing key"),
        (r#"{"output": "a", "input": ""}"#, "missing key"),
        (r#"{"instruction": "a", "output": ""}"#, "empty"),
        (r#"{"instruction": " ", "output": "b"}"#, "empty"),
        (r#"{"instruction": "a", "output": 3}"#, "wrong type"),
        (r#"{"instruction": "a", "input": {}, "output": "b"}"#, "wrong type"),
    ];
    for (record, kind) in cases {
        assert_eq!(malformed(&format!("{good}\n{record}")), (vec![(2, 1, kind)], 1), "{record}");
        assert_eq!(malformed(&format!("[{good},\n  {record}]")), (vec![(2, 3, kind)], 1), "{record}");
    }
}

#[test]
fn places_in_arrays_count_from_the_file() {
    let text = "[\n  {\"instruction\": \"a\", \"output\": \"b\"},\n  {\"instruction\": \"a\",\n   \"output\" \"b\"},\n  {\"instruction\": 1x}\n]";
    assert_eq!(malformed(text), (vec![(4, 13, "not JSON"), (5, 20, "not JSON")], 1));
    for (text, place) in [
        ("[{\"instruction\": \"a\", \"output\": \"b\"},\n{\"x\": \"y", (2, 1, "cut off")),
        ("[{\"instruction\": \"a\", \"output\": \"b\"}\n\n", (1, 2, "cut off")),
        ("[{\"instruction\": \"a\", \"output\": \"b\"}]\n\n [1]", (3, 2, "text after the array")),
    ] {
        let (errors, good) = malformed(text);
        assert_eq!(errors, [place], "{text}");
        assert!(good <= 1);
    }
}

#[test]
fn brackets_and_quotes_in_strings_end_no_record() {
    let text = r#"[{"instruction": "a ] } , \" ] [ \\", "output": "{\"x\": [\\\""},
        {"instruction": "}\\", "output": "]"}]"#;
    let all = good(text);
    assert_eq!(said(&all[0]), [r#"user: a ] } , " ] [ \"#, r#"assistant: {"x": [\""#]);
    assert_eq!(said(&all[1]), [r"user: }\", "assistant: ]"]);
    assert_eq!(all.len(), 2);
}

#[test]
fn files_that_are_something_else() {
    let start = |bytes: &[u8]| match Conversations::new("file", bytes) {
        Ok(_) => panic!("{bytes:?} is no file of conversations"),
        Err(error) => error.to_string(),
    };
    assert!(start(b"instruction,response\n").contains("begins with \"instruction,response\""));
    assert!(start(b"\x1f\x8b\x08\0").contains("gzip"));
    assert!(start(b"\xff\xfe{\0").contains("UTF-16"));
    assert!(start(b"PK\x03\x04").contains("a zip archive"));
    for empty in ["", "\n \n", "\u{feff}"] {
        assert!(start(empty.as_bytes()).starts_with("there is no conversation in file"));
    }
    let folder = tempfile::tempdir().expect("a folder");
    assert!(matches!(Conversations::open(folder.path()), Err(ConversationsError::Data(_))));
    assert!(matches!(Conversations::open(&folder.path().join("none")), Err(ConversationsError::Data(_))));
    let path = folder.path().join("none.jsonl");
    fs::write(&path, "{\"text\": 1}\n{\"text\": 2}\n{}\n{}\n").expect("written");
    let error = read_conversations(&path, None, OnMalformed::Skip).expect_err("nothing in it").to_string();
    assert!(error.contains("4 malformed records were skipped: 4 unknown format"), "{error}");
    assert_eq!(error.lines().count(), 5, "three are shown: {error}");
}

#[test]
fn skipped_or_refused_and_the_first_few() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("mine.jsonl");
    let record = |n: usize| format!(r#"{{"instruction": "Count to {n}.", "response": "{n}"}}"#);
    let lines: Vec<_> = (0..10).map(|n| if n % 3 == 2 { "{".to_owned() } else { record(n) }).collect();
    fs::write(&path, lines.join("\n")).expect("written");
    let (all, skipped) = read_conversations(&path, None, OnMalformed::Skip).expect("the others");
    assert_eq!((all.len(), skipped.count()), (7, 3));
    assert_eq!(skipped.counts().collect::<Vec<_>>(), [("not JSON", 3)]);
    assert_eq!(skipped.first().iter().map(|record| record.line).collect::<Vec<_>>(), [3, 6, 9]);
    let (some, skipped) = read_conversations(&path, Some(3), OnMalformed::Skip).expect("the first");
    assert_eq!((some, skipped.count()), (all[..3].to_vec(), 1));
    assert_eq!(read_conversations(&path, Some(2), OnMalformed::Refuse).expect("the good ones").0.len(), 2);
    match read_conversations(&path, None, OnMalformed::Refuse) {
        Err(ConversationsError::Malformed(record)) => assert_eq!(record.line, 3),
        other => panic!("{other:?}"),
    }
}

/// A reader that gives one record again and again, and counts nothing: a file of any size.
struct Endless {
    record: Vec<u8>,
    at: usize,
    left: usize,
}

impl Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = buffer.len().min(self.record.len() - self.at).min(self.left);
        buffer[..count].copy_from_slice(&self.record[self.at..self.at + count]);
        self.at = (self.at + count) % self.record.len();
        self.left -= count;
        Ok(count)
    }
}

/// Whatever the size of the file, the largest piece of memory is that of a buffer or a record.
#[test]
fn one_record_is_in_memory() {
    let record = b"{\"instruction\": \"Say it.\", \"input\": \"\", \"output\": \"It.\"},\n".to_vec();
    let length = record.len();
    let array = io::Cursor::new(b"[".to_vec()).chain(Endless { record, at: 0, left: 20 << 20 });
    let (count, _, largest) = allocator::count_allocations(|| {
        let conversations = Conversations::new("file", array).expect("an array");
        conversations.filter(Result::is_ok).count()
    });
    assert_eq!(count, (20 << 20) / length);
    assert!(largest <= 1 << 16, "{largest} bytes in one piece");
    // A line without an end, and an element without one: neither is kept beyond the limit.
    for start in ["{\"a\": \"", "[{\"a\": \""] {
        let endless = Endless { record: vec![b'x'; 1000], at: 0, left: 5 * LONGEST_RECORD };
        let file = io::Cursor::new(start.as_bytes().to_vec()).chain(endless);
        let (kinds, _, largest) = allocator::count_allocations(|| {
            let conversations = Conversations::new("file", file).expect("a beginning");
            conversations.filter_map(|found| Some(found.err()?.reason.kind())).collect::<Vec<_>>()
        });
        assert_eq!(kinds, [if start.starts_with('[') { "cut off" } else { "too long" }]);
        assert!(largest <= 2 * LONGEST_RECORD, "{largest} bytes in one piece");
    }
}

/// A failing disk is no malformed record.
#[test]
fn an_error_of_the_system_ends_the_file() {
    struct Failing;
    impl Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("the disk is gone"))
        }
    }
    let record = "{\"instruction\": \"a\", \"output\": \"b\"}\n".repeat(3);
    let mut all = Conversations::new("file", record.as_bytes().chain(Failing)).expect("a file");
    assert_eq!(all.by_ref().take_while(Result::is_ok).count(), 3);
    assert!(all.next().is_none());
}

const SMALL: [&str; 3] = [
    "[{\"messages\": [{\"role\": \"user\", \"content\": \"H\\u00e9 \\\"x\\\"\"}, {\"role\": \"assistant\", \"content\": null, \"tool_calls\": \
     [{\"id\": \"1\", \"function\": {\"name\": \"f\", \"arguments\": \"{\\\"a\\\": [1.5e3, -2, true, null]}\"}}]}, {\"role\": \"tool\", \
     \"content\": \"ok\"}], \"tools\": [{\"name\": \"f\", \"parameters\": {}}]},\n {\"messages\": [{\"role\": \"user\", \"content\": [{\"type\": \
     \"text\", \"text\": \"zo\u{eb}\"}]}, {\"role\": \"assistant\", \"content\": \"b\"}]}\n]\n",
    "{\"conversations\": [{\"from\": \"human\", \"value\": \"a\"}, {\"from\": \"function_call\", \"value\": \"{\\\"name\\\": \\\"f\\\"}\"}, \
     {\"from\": \"observation\", \"value\": \"c\"}]}\n\r\n{\"conversations\": [{\"from\": \"human\", \"value\": \"\u{d55c}\"}, {\"from\": \"gpt\", \
     \"value\": \"b\"}], \"tools\": \"[]\"}\n",
    "A: Hello.\nB: H\u{e9}!\n\nA: Tea?\nB: Yes.\n",
];

/// Reads all of a damaged file. Every error has a place in it.
fn survives(bytes: &[u8]) -> usize {
    let Ok(conversations) = Conversations::new("file", bytes) else { return 0 };
    let lines = 1 + bytes.iter().filter(|&&byte| byte == b'\n').count();
    let mut good = 0;
    for found in conversations {
        match found {
            Ok(conversation) => {
                conversation.check().expect("in order");
                good += 1;
            }
            Err(error) => {
                let place = format!("{error} of {lines} lines: {}", String::from_utf8_lossy(bytes));
                assert!((1..=lines).contains(&error.line) && error.column >= 1, "{place}");
                assert!(error.column <= bytes.len() + 1, "{place}");
            }
        }
    }
    good
}

#[test]
fn every_truncation_is_an_error_or_fewer_conversations() {
    for text in SMALL {
        let all = survives(text.as_bytes());
        assert_eq!(all, 2, "{text}");
        for length in 0..text.len() {
            let good = survives(&text.as_bytes()[..length]);
            assert!(good <= all);
        }
        assert_eq!(survives(&text.as_bytes()[..text.len() / 3]), 0);
    }
}

#[test]
fn mutations_never_panic() {
    let mut random = Random::new(16);
    let alphabet = b"{}[]\",:\\ \nABu0198-e.\x00\xff\xc3\xed";
    let (mut good, mut bad) = (0, 0);
    for text in SMALL {
        for _ in 0..4000 {
            let mut bytes = text.as_bytes().to_vec();
            for _ in 0..=random.below(4) {
                let at = random.below(bytes.len());
                match random.below(4) {
                    0 => bytes[at] = alphabet[random.below(alphabet.len())],
                    1 => bytes.insert(at, alphabet[random.below(alphabet.len())]),
                    2 => drop(bytes.remove(at)),
                    _ => {
                        let end = (at + random.below(40)).min(bytes.len());
                        let piece = bytes[at..end].to_vec();
                        let to = random.below(bytes.len());
                        bytes.splice(to..to, piece);
                    }
                }
            }
            match survives(&bytes) {
                2.. => good += 1,
                _ => bad += 1,
            }
        }
    }
    assert!(good > 100 && bad > 1000, "{good} still whole, {bad} damaged");
}

/// The public data sets, where they are. What is skipped in them has an empty answer.
#[test]
fn the_real_files_are_read_in_full() {
    let files = [
        ("databricks-dolly-15k.jsonl", 13_216_570, [15_014, 0], Format::Dolly),
        ("alpaca_data_en.json", 22_767_558, [52_002, 49], Format::Alpaca),
        ("code_alpaca_20k.json", 8_057_896, [20_022, 6], Format::Alpaca),
        ("dailydialog.txt", 6_641_636, [13_118, 0], Format::Dialogue),
    ];
    for (name, bytes, [records, without], format) in files {
        let Some(path) = dataset(name) else { continue };
        if fs::metadata(&path).expect("a file that is there").len() != bytes {
            continue; // another edition
        }
        let mut conversations = Conversations::open(&path).expect("a file that is there");
        let (mut good, mut empty) = (0, 0);
        for found in conversations.by_ref() {
            match found {
                Ok(_) => good += 1,
                Err(MalformedRecord { reason: Reason::Empty(_), .. }) => empty += 1,
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!([good + empty, empty], [records, without], "{name}");
        assert_eq!(conversations.format(), Some(format), "{name}");
    }
}
