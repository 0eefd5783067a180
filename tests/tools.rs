//! The tools that come with the project, the dialogues in which they are called, and the conversations that are made by sentence
//! patterns: every call fits to the schema of its tool, every result is used, and a seed fixes everything.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use gradus::data::{
    ArithmeticError, Conversation, Json, OnMalformed, Role, Split, Tool, ToolPatterns, check_arguments,
    check_schema, evaluate, parse_tools, read_conversations, read_text,
};
use gradus::random::Random;

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("datasets").join(name)
}

fn text(name: &str) -> String {
    read_text(&path(name)).expect("a text that ships")
}

fn json(text: &str) -> Json {
    text.parse().unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn tools() -> Vec<Tool> {
    parse_tools(&json(&text("tools.json"))).expect("tools")
}

fn dialogues() -> Vec<Conversation> {
    read_conversations(&path("tool_dialogues.jsonl"), None, OnMalformed::Refuse).expect("dialogues").0
}

fn patterns() -> ToolPatterns {
    ToolPatterns::new(&text("tools.json"), &text("tool_patterns.json"))
        .unwrap_or_else(|error| panic!("{error}"))
}

/// Every call is of a tool that is offered, its arguments fit, and it has one result under its name.
fn assert_calls_fit(conversation: &Conversation) {
    conversation.check().expect("messages in order");
    let mut messages = conversation.messages.iter().peekable();
    while let Some(message) = messages.next() {
        for call in &message.tool_calls {
            let tool =
                conversation.tool(&call.name).unwrap_or_else(|| panic!("{} is not offered", call.name));
            check_arguments(&tool.parameters, &call.arguments)
                .unwrap_or_else(|error| panic!("{} {}: {error}", call.name, call.arguments));
        }
        for call in &message.tool_calls {
            let result = messages.next().expect("a result");
            assert_eq!((result.role, result.name.as_deref()), (Role::Tool, Some(call.name.as_str())));
            assert!(matches!(json(&result.content), Json::Object(_)), "{}", result.content);
        }
    }
    assert_eq!(conversation.messages.last().map(|last| last.role), Some(Role::Assistant));
}

/// The whole numbers in a line of the table of data sets.
fn figures(name: &str) -> Vec<usize> {
    let readme = text("README.md");
    let line = readme.lines().find(|line| line.starts_with(&format!("| `{name}`"))).expect("an entry");
    line.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse().ok()).collect()
}

#[test]
fn at_least_forty_tools_with_schemas_that_are_checked() {
    let tools = tools();
    let names: BTreeSet<_> = tools.iter().map(|tool| tool.name.as_str()).collect();
    assert!(tools.len() >= 40 && names.len() == tools.len());
    for tool in &tools {
        check_schema(&tool.parameters).unwrap_or_else(|error| panic!("{}: {error}", tool.name));
        assert!(tool.description.ends_with('.'), "{}", tool.name);
        assert_eq!(tool.parameters.get("additionalProperties"), Some(&Json::Bool(false)), "{}", tool.name);
        for (name, schema) in tool.parameters.get("properties").map_or(&[][..], Json::entries) {
            assert!(schema.get("description").is_some(), "{}.{name}", tool.name);
        }
    }
}

#[test]
fn the_dialogues_are_what_the_readme_says() {
    let (all, tools) = (dialogues(), tools());
    let (mut used, mut silent, mut failures, mut turns) = (BTreeSet::new(), 0, 0, 0);
    let mut openings = BTreeSet::new();
    for conversation in &all {
        assert_calls_fit(conversation);
        assert!(!conversation.tools.is_empty());
        for offered in &conversation.tools {
            assert!(tools.contains(offered), "{} is another than in tools.json", offered.name);
        }
        let user = conversation.messages.iter().filter(|message| message.role == Role::User);
        turns += usize::from(user.clone().count() > 1);
        assert!(openings.insert(user.map(|message| &message.content).next()), "twice");
        used.extend(conversation.tool_calls().map(|call| call.name.clone()));
        silent += usize::from(conversation.tool_calls().next().is_none());
        let fails = |message: &&gradus::data::Message| {
            message.role == Role::Tool && message.content.contains("\"error\"")
        };
        failures += usize::from(conversation.messages.iter().any(|message| fails(&message)));
    }
    assert_eq!(used.len(), tools.len(), "every tool is called somewhere");
    assert_eq!(figures("tool_dialogues.jsonl")[..5], [all.len(), silent, failures, turns, all.len()]);
    assert_eq!(figures("tools.json")[0], tools.len());
    assert!(all.len() >= 120 && silent >= 25 && failures >= 20 && turns >= 30);
}

/// Numbers of a result come again in the answer, or the answer says that something did not work.
#[test]
fn results_are_used_in_the_answer() {
    let (mut used, mut all) = (0, 0);
    for conversation in dialogues() {
        for pair in conversation.messages.windows(2) {
            if pair[0].role == Role::Tool && pair[1].role == Role::Assistant && pair[1].tool_calls.is_empty()
            {
                let result = json(&pair[0].content);
                let answer = pair[1].content.to_lowercase().replace(',', "");
                let mut said = false;
                walk(&result, &mut |value| said |= mentions(&answer, value));
                all += 1;
                used += usize::from(said);
            }
        }
    }
    // The others are results such as `{"status": "set"}` and errors, which are put into words.
    assert!(all > 120 && used * 2 > all, "{used} of {all}");
}

fn walk(json: &Json, visit: &mut impl FnMut(&Json)) {
    visit(json);
    json.entries().iter().for_each(|(_, value)| walk(value, visit));
    json.as_array().unwrap_or(&[]).iter().for_each(|value| walk(value, visit));
}

fn mentions(answer: &str, value: &Json) -> bool {
    match value {
        Json::String(text) => {
            let text = text.to_lowercase().replace(',', "");
            answer.contains(text.trim_start_matches('0').trim_end_matches('.'))
        }
        Json::Number(number) => {
            let number = number.to_string();
            answer.contains(number.trim_start_matches('-').trim_end_matches(".0"))
        }
        _ => false,
    }
}

/// All tools come up, most questions need one, and every call fits to its schema.
#[test]
fn synthetic_conversations_are_sound() {
    let patterns = patterns();
    let covered: BTreeSet<_> = patterns.covered().collect();
    assert_eq!(covered.len(), patterns.tools().len(), "every tool has a pattern");
    let mut random = Random::new(1);
    let (mut called, mut silent, mut asked, mut failed) = (BTreeMap::new(), 0, BTreeMap::new(), 0);
    let all: Vec<_> = (0..3000)
        .map(|_| patterns.conversation(&mut random, Split::Train).expect("a conversation"))
        .collect();
    for conversation in &all {
        assert_calls_fit(conversation);
        assert!((1..=6).contains(&conversation.tools.len()));
        let names: BTreeSet<_> = conversation.tools.iter().map(|tool| &tool.name).collect();
        assert_eq!(names.len(), conversation.tools.len(), "a tool is offered twice");
        conversation.tool_calls().for_each(|call| *called.entry(call.name.clone()).or_insert(0) += 1);
        let said = |role| conversation.messages.iter().filter(move |message| message.role == role);
        *asked.entry(said(Role::User).count()).or_insert(0) += 1;
        silent += said(Role::User).count() - conversation.tool_calls().count();
        failed += said(Role::Tool).filter(|result| result.content.contains("\"error\"")).count();
        for message in &conversation.messages {
            assert!(!message.content.contains("{}") && !message.content.contains("{\"}"));
            if message.role != Role::Tool {
                assert!(!message.content.contains(['{', '}']), "a slot is left: {}", message.content);
            }
        }
    }
    assert_eq!(called.len(), patterns.tools().len());
    assert_eq!(asked.keys().copied().collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
    assert!(asked.values().all(|&count| (400..600).contains(&count)), "{asked:?}");
    let questions: usize = asked.iter().map(|(questions, count)| questions * count).sum();
    let shares = [silent, failed].map(|count| count as f64 / questions as f64);
    for (share, (least, most)) in shares.iter().zip([(0.35, 0.45), (0.01, 0.06)]) {
        assert!((least..most).contains(share), "{shares:?}");
    }
}

/// What the assistant says about a sum is right in every synthetic conversation with the calculator.
#[test]
fn synthetic_results_are_computed() {
    let (patterns, mut random, mut seen) = (patterns(), Random::new(2), 0);
    while seen < 200 {
        let conversation = patterns.conversation(&mut random, Split::Train).expect("a conversation");
        for group in conversation.messages.windows(3) {
            let Some(call) = group[0].tool_calls.first().filter(|call| call.name == "calculator") else {
                continue;
            };
            let expression = call.arguments.get("expression").and_then(Json::as_str).expect("an expression");
            let result = json(&group[1].content).get("result").and_then(Json::as_f64).expect("a result");
            let computed = evaluate(expression).expect("a number");
            assert!((computed - result).abs() <= 0.0051, "{expression} = {computed}, not {result}");
            assert!(group[2].content.contains(&result.to_string()), "{}", group[2].content);
            seen += 1;
        }
    }
}

#[test]
fn a_seed_fixes_the_conversations_and_held_out_questions_stay_held_out() {
    let patterns = patterns();
    let make = |seed, split| -> Vec<_> {
        let mut random = Random::new(seed);
        (0..300).map(|_| patterns.conversation(&mut random, split).expect("a conversation")).collect()
    };
    assert_eq!(make(7, Split::Train), make(7, Split::Train));
    assert_ne!(make(7, Split::Train), make(8, Split::Train));
    let questions = |all: &[Conversation]| -> BTreeSet<String> {
        let messages = all.iter().flat_map(|conversation| &conversation.messages);
        messages.filter(|message| message.role == Role::User).map(|message| message.content.clone()).collect()
    };
    let train: BTreeSet<_> = (0..8).flat_map(|seed| questions(&make(seed, Split::Train))).collect();
    let held_out = questions(&make(7, Split::HeldOut));
    assert!(train.is_disjoint(&held_out) && held_out.len() > 200, "{}", held_out.len());
    assert!(held_out.iter().all(|question| Split::of(question) == Split::HeldOut));
    let tools: BTreeSet<_> = make(7, Split::HeldOut)
        .iter()
        .flat_map(|one| one.tool_calls().map(|call| call.name.clone()).collect::<Vec<_>>())
        .collect();
    assert!(tools.len() > 30, "{} tools are asked for in what is held out", tools.len());
}

#[test]
fn patterns_that_cannot_be_used_say_why() {
    let tools = r#"[{"name": "dice", "parameters": {"type": "object", "properties": {"sides": {"type": "integer", "minimum": 2}}}}]"#;
    let good = r#"{"patterns": [{"tool": "dice", "slots": [{"name": "n", "from": 2, "to": 6}], "ask": ["Roll {n}."],
        "arguments": {"sides": "{n}"}, "result": {"sum": "{n}"}, "answer": ["{n}!"]}]}"#;
    let refused = |tools: &str, patterns: &str| match ToolPatterns::new(tools, patterns) {
        Ok(_) => panic!("{patterns} can be used"),
        Err(error) => error.to_string(),
    };
    assert!(ToolPatterns::new(tools, good).is_ok());
    for (from, to, problem) in [
        ("\"tool\": \"dice\"", "\"tool\": \"clock\"", "clock: there is no such tool"),
        ("\"ask\": [\"Roll {n}.\"]", "\"ask\": []", "`ask` is a list of sentences"),
        ("\"tool\": \"dice\", ", "", "a pattern without `tool`: `arguments` is for a call"),
        ("Roll {n}.", "Roll {m}.", "there is no slot \"m\""),
        ("Roll {n}.", "Roll {n.", "a brace is not closed"),
        ("\"from\": 2, \"to\": 6", "\"from\": 6, \"to\": 2", "is no range"),
        ("\"from\": 2, \"to\": 6", "\"from\": -9223372036854775808, \"to\": 6", "is no range"),
        ("\"from\": 2, \"to\": 6", "\"from\": 0, \"to\": 0", "0 is less than 2"),
        ("\"from\": 2, \"to\": 6", "\"one_of\": []", "is a list of values"),
        ("\"from\": 2, \"to\": 6", "\"one_of\": [2], \"or\": \"NAME\"", "is \"Name\", \"word\" or \"CODE\""),
        ("\"from\": 2, \"to\": 6", "\"compute\": \"1 / 0\"", "not a finite number"),
        ("\"from\": 2, \"to\": 6", "\"compute\": \"2 +\"", "cannot be computed"),
        ("\"from\": 2, \"to\": 6", "\"x\": 1", "has neither"),
        ("\"name\": \"n\", \"from\": 2, \"to\": 6", "\"names\": [\"n\"], \"rows\": [[1, 2]]", "every row"),
        ("\"result\"", "\"outcome\"", "`result` is missing"),
        ("\"sides\": \"{n}\"", "\"sides\": \"{n} dice\"", "an integer is needed, not a string"),
        ("{\"patterns\"", "{\"others\"", "there is no pattern"),
        ("{\"patterns\"", "{\"plain\": [[\"a\"]], \"patterns\"", "a list of pairs"),
        ("{\"patterns\"", "{\"system\": [1], \"patterns\"", "a list of strings"),
        ("{\"patterns\"", "{\"patterns\" ", "the patterns: "),
    ] {
        let patterns =
            if problem == "the patterns: " { "{\"patterns\"".to_owned() } else { good.replacen(from, to, 1) };
        let message = refused(tools, &patterns);
        assert!(message.contains(problem), "{message}, expected {problem}");
    }
    assert!(refused("[]", good).contains("no such tool"));
    assert!(refused("{}", good).contains("`tools` is an object"));
    assert!(refused(&tools.replace("minimum", "pattern"), good).contains("`pattern` is none of the keys"));
}

/// Questions that are asked without tools are also asked with them, and answered in the same way.
#[test]
fn plain_questions_of_others_are_asked_with_tools_on_offer() {
    let patterns = patterns().with_plain([("Who is Ada?".to_owned(), "A cat.".to_owned())]);
    let mut random = Random::new(5);
    let asked = (0..2000).filter(|_| {
        let conversation = patterns.conversation(&mut random, Split::Train).expect("a conversation");
        let mut messages =
            conversation.messages.iter().skip_while(|message| message.content != "Who is Ada?");
        messages.next().is_some() && {
            let answer = messages.next().expect("an answer");
            assert_eq!((answer.content.as_str(), answer.tool_calls.len()), ("A cat.", 0));
            !conversation.tools.is_empty()
        }
    });
    assert!(asked.count() > 5);
}

/// Half of the names in a question are made up, and stand in its call as they do in the question.
#[test]
fn names_that_are_made_up_are_repeated() {
    let tools =
        r#"[{"name": "call", "parameters": {"type": "object", "properties": {"who": {"type": "string"}}}}]"#;
    let patterns = |style: &str| {
        let text = r#"{"patterns": [{"tool": "call", "slots": [{"name": "who", "one_of": ["Anna"], "or": "STYLE"}], "ask": ["{who}"],
            "arguments": {"who": "{who}"}, "result": {}, "answer": ["{who}."]}]}"#;
        ToolPatterns::new(tools, &text.replace("STYLE", style)).expect("patterns")
    };
    for (style, upper) in [("Name", 1), ("word", 0), ("CODE", 4)] {
        let (patterns, mut random) = (patterns(style), Random::new(3));
        let mut made_up = BTreeSet::new();
        for _ in 0..200 {
            let conversation = patterns.conversation(&mut random, Split::Train).expect("a conversation");
            let [.., question, call, _, _] = &conversation.messages[..] else {
                panic!("a question and a call")
            };
            let who = call.tool_calls[0].arguments.get("who").and_then(Json::as_str).expect("a name");
            assert_eq!(who, question.content);
            if who != "Anna" {
                assert!(
                    (4..=6).contains(&who.len()) && who.chars().all(|c| c.is_ascii_alphabetic()),
                    "{who}"
                );
                assert_eq!(who.chars().filter(|c| c.is_ascii_uppercase()).count(), upper, "{who}");
                made_up.insert(who.to_owned());
            }
        }
        assert!(made_up.len() > 60, "{style}: {}", made_up.len());
    }
}

#[test]
fn what_a_schema_refuses() {
    let schema = json(
        r#"{"type": "object", "additionalProperties": false, "required": ["unit"], "properties": {
            "unit": {"type": "string", "enum": ["km", "m"]}, "count": {"type": "integer", "minimum": 1, "maximum": 3},
            "share": {"type": "number"}, "open": {"type": "boolean"}, "note": {"type": ["string", "null"]},
            "items": {"type": "array", "items": {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]},
            "minItems": 1, "maxItems": 2}}}"#,
    );
    check_schema(&schema).expect("a schema of what is checked");
    for fits in [
        r#"{"unit": "km"}"#,
        r#"{"unit": "m", "count": 3, "share": 0.5, "open": true, "note": null, "items": [{"n": 1}, {"n": 2}]}"#,
        r#"{"unit": "m", "count": 2.0, "share": 1}"#,
    ] {
        assert_eq!(check_arguments(&schema, &json(fits)), Ok(()), "{fits}");
    }
    for (value, place, problem) in [
        ("[]", "", "an object is needed, not an array"),
        ("{}", "", "`unit` is missing"),
        (r#"{"unit": "mile"}"#, ".unit", "\"mile\" is none of \"km\", \"m\""),
        (r#"{"unit": 3}"#, ".unit", "a string is needed, not a number"),
        (r#"{"unit": "m", "count": 0}"#, ".count", "0 is less than 1"),
        (r#"{"unit": "m", "count": 4}"#, ".count", "4 is more than 3"),
        (r#"{"unit": "m", "count": 1.5}"#, ".count", "an integer is needed, not a number"),
        (r#"{"unit": "m", "share": "1"}"#, ".share", "a number is needed, not a string"),
        (r#"{"unit": "m", "open": "yes"}"#, ".open", "a boolean is needed, not a string"),
        (r#"{"unit": "m", "note": 1}"#, ".note", "string or null is needed, not a number"),
        (r#"{"unit": "m", "items": []}"#, ".items", "0 items, but at least 1 are needed"),
        (
            r#"{"unit": "m", "items": [{"n": 1}, {"n": 1}, {"n": 1}]}"#,
            ".items",
            "3 items, but at most 2 are allowed",
        ),
        (r#"{"unit": "m", "items": [{"n": 1}, {}]}"#, ".items[1]", "`n` is missing"),
        (r#"{"unit": "m", "items": [{"n": "1"}]}"#, ".items[0].n", "an integer is needed, not a string"),
        (r#"{"unit": "m", "size": 1}"#, "", "there is no `size`, only unit, count, share, open, note, items"),
    ] {
        let error = check_arguments(&schema, &json(value)).expect_err(value);
        assert_eq!((error.place.as_str(), error.problem.as_str()), (place, problem), "{value}");
    }
    for (schema, problem) in [
        ("[]", "a schema is an object"),
        (r#"{"type": "text"}"#, "`type` cannot be"),
        (r#"{"type": []}"#, "`type` cannot be"),
        (r#"{"enum": []}"#, "`enum` cannot be"),
        (r#"{"minimum": "1"}"#, "`minimum` cannot be"),
        (r#"{"minItems": -1}"#, "`minItems` cannot be"),
        (r#"{"properties": 1}"#, "`properties` cannot be"),
        (r#"{"properties": {"a": {"oneOf": []}}}"#, ".a: `oneOf` is none"),
        (r#"{"items": {"format": "date"}}"#, "[]: `format` is none"),
        (r#"{"required": ["a"], "properties": {}}"#, "`a` is required, but no property"),
    ] {
        let error = check_schema(&json(schema)).expect_err(schema).to_string();
        assert!(error.contains(problem), "{error}, expected {problem}");
    }
}

#[test]
fn a_pocket_calculator() {
    for (expression, result) in [
        ("1 + 2 * 3", 7.0),
        ("(1 + 2) * 3", 9.0),
        ("8 - 3 - 2", 3.0),
        ("16 / 4 / 2", 2.0),
        ("17 % 5", 2.0),
        ("2 ^ 3 ^ 2", 512.0),
        ("-2 ^ 2", -4.0),
        ("2 ^ -1", 0.5),
        ("--3 + +1", 4.0),
        (" .5*4 ", 2.0),
    ] {
        assert_eq!(evaluate(expression), Ok(result), "{expression}");
    }
    let unexpected = |expression: &str| match evaluate(expression) {
        Err(ArithmeticError::Unexpected { at, found, .. }) => (at, found),
        other => panic!("{expression}: {other:?}"),
    };
    assert_eq!(unexpected(""), (1, "the end".to_owned()));
    assert_eq!(unexpected("2 +"), (4, "the end".to_owned()));
    assert_eq!(unexpected("2 3"), (3, "'3'".to_owned()));
    assert_eq!(unexpected("(1 + 2"), (7, "the end".to_owned()));
    assert_eq!(unexpected("\u{fc} + 1"), (1, "'\u{fc}'".to_owned()));
    assert_eq!(unexpected("1.2.3"), (1, "'1'".to_owned()));
    assert_eq!(evaluate("1 / 0"), Err(ArithmeticError::NotFinite));
    assert_eq!(evaluate("9 ^ 999"), Err(ArithmeticError::NotFinite));
    for deep in ["(", "-", "1^", "1+("] {
        assert_eq!(evaluate(&deep.repeat(100_000)), Err(ArithmeticError::TooDeep), "{deep}");
    }
    // Noise never panics.
    let (mut random, alphabet) = (Random::new(3), b"0123456789.+-*/%^() e,");
    for _ in 0..20_000 {
        let noise: Vec<u8> = (0..random.below(12)).map(|_| alphabet[random.below(alphabet.len())]).collect();
        let _ = evaluate(std::str::from_utf8(&noise).expect("ASCII")).is_ok();
    }
}

/// A question of `tool_questions.jsonl`: its words, the tools that are offered, and the call that it needs.
struct Question {
    text: String,
    tools: Vec<Tool>,
    call: Option<(String, Json)>,
}

fn questions() -> Vec<Question> {
    let tools = tools();
    let question = |line: &str| {
        let json = json(line);
        let keys: Vec<&str> = json.entries().iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys, ["question", "tools", "call"], "{line}");
        let named = |name: &Json| {
            let tool = tools.iter().find(|tool| Some(tool.name.as_str()) == name.as_str());
            tool.unwrap_or_else(|| panic!("{name} is no tool")).clone()
        };
        let call = json.get("call").filter(|call| **call != Json::Null);
        Question {
            text: json.get("question").and_then(Json::as_str).expect("a question").to_owned(),
            tools: json.get("tools").and_then(Json::as_array).expect("names").iter().map(named).collect(),
            call: call.map(|call| {
                let name = call.get("name").and_then(Json::as_str).expect("a name");
                (name.to_owned(), call.get("arguments").expect("arguments").clone())
            }),
        }
    };
    text("tool_questions.jsonl").lines().map(question).collect()
}

#[test]
fn the_questions_that_judge_a_model_have_calls_that_fit() {
    let questions = questions();
    let needed = questions.iter().filter(|question| question.call.is_some()).count();
    assert_eq!(
        figures("tool_questions.jsonl")[..3],
        [questions.len(), questions.len() - needed, questions.len()]
    );
    let mut covered = BTreeSet::new();
    for Question { text, tools, call } in &questions {
        assert!(tools.len() >= 2, "{text}: there is nothing to choose from");
        let names: BTreeSet<_> = tools.iter().map(|tool| &tool.name).collect();
        assert_eq!(names.len(), tools.len(), "{text}: a tool is offered twice");
        let Some((name, arguments)) = call else { continue };
        let tool = tools.iter().find(|tool| tool.name == *name).unwrap_or_else(|| panic!("{text}: {name}"));
        check_arguments(&tool.parameters, arguments).unwrap_or_else(|error| panic!("{text}: {error}"));
        covered.insert(name.clone());
    }
    let all: BTreeSet<_> = tools().into_iter().map(|tool| tool.name).collect();
    assert_eq!(covered, all, "every tool is asked for");
}

/// A text in small letters and digits, with single spaces between its words.
fn plain(text: &str) -> String {
    let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_lowercase).collect::<Vec<_>>().join(" ")
}

/// Whether a sentence pattern can become this text: by numbers in the slots that are for numbers, and by anything in the others.
fn can_become(pattern: &str, text: &str, is_number: &impl Fn(&str) -> bool) -> bool {
    let Some((fixed, rest)) = pattern.split_once('{') else { return pattern == text };
    let Some(text) = text.strip_prefix(fixed) else { return false };
    let (name, rest) = rest.split_once('}').expect("a slot");
    let fits = |filled: &str| !is_number(name) || filled.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let mut ends = text.char_indices().map(|(at, c)| at + c.len_utf8());
    ends.any(|end| fits(&text[..end]) && can_become(rest, &text[end..], is_number))
}

#[test]
fn the_questions_that_judge_a_model_are_nowhere_to_be_learned() {
    let is_b = |name: &str| name == "b";
    for (pattern, text, can) in [
        ("What is {a} + {b}?", "What is 2 + 3?", true),
        ("What is {a} + {b}?", "What is two + 3.5?", true),
        ("What is {a} + {b}?", "What is 2 + three?", false),
        ("What is {a} + {b}?", "What is 2 - 3?", false),
        ("Thanks", "Thanks", true),
        ("Thanks", "Thanks!", false),
    ] {
        assert_eq!(can_become(pattern, text, &is_b), can, "{pattern}, {text}");
    }
    let (mut said, mut calls) = (BTreeSet::new(), Vec::new());
    for file in ["conversations.jsonl", "tool_dialogues.jsonl"] {
        let (all, _) = read_conversations(&path(file), None, OnMalformed::Refuse).expect("conversations");
        for conversation in all {
            calls.extend(conversation.tool_calls().map(|call| (call.name.clone(), call.arguments.clone())));
            let asked = conversation.messages.iter().filter(|message| message.role == Role::User);
            said.extend(asked.map(|message| plain(&message.content)));
        }
    }
    let patterns = json(&text("tool_patterns.json"));
    let list = |json: &Json, key: &str| json.get(key).and_then(Json::as_array).expect("a list").to_vec();
    let patterns_of_tools = list(&patterns, "patterns");
    let is_number = |one: &Json, name: &str| {
        let mut slots = list(one, "slots").into_iter();
        let slot = slots.find(|slot| slot.get("name").and_then(Json::as_str) == Some(name));
        slot.is_some_and(|slot| slot.get("from").is_some() || slot.get("compute").is_some())
    };
    let asks: Vec<(&Json, Json)> = patterns_of_tools
        .iter()
        .flat_map(|one| list(one, "ask").into_iter().map(move |ask| (one, ask)))
        .collect();
    said.extend(
        list(&patterns, "plain")
            .iter()
            .map(|pair| plain(pair.as_array().expect("a pair")[0].as_str().expect("text"))),
    );
    assert!(said.len() > 800 && asks.len() > 100, "{} {}", said.len(), asks.len());
    for Question { text, call, .. } in questions() {
        assert!(said.insert(plain(&text)), "asked in the texts to learn from, or twice: {text}");
        for (one, ask) in &asks {
            let ask = ask.as_str().expect("a text");
            assert!(!can_become(ask, &text, &|name| is_number(one, name)), "{ask} can become {text}");
        }
        // To stop the music, there is only one call.
        let Some(call) = call.filter(|(_, arguments)| !arguments.entries().is_empty()) else { continue };
        assert!(!calls.contains(&call), "called in the texts to learn from, or twice: {text}");
        calls.push(call);
    }
}
