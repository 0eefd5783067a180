//! `chat -- serve` as clients meet it: the real program on a free port, and sockets. What it answers when a request is right,
//! what it says when one is wrong, and that neither of them disturbs the others.
//!
//! The program needs its feature: `cargo build -p gradus-examples --examples --features chat`, then
//! `cargo test --features chat --test chat_serve_cli`. `cargo test -p gradus-examples --features chat --example chat` runs the tests
//! of its parts.
#![cfg(feature = "chat")]

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::Command;
use std::thread;

use gradus::data::{Json, check_arguments};
use serde_json::{Value, json};
use tempfile::TempDir;

#[path = "common/program.rs"]
mod program;
#[path = "common/refusal.rs"]
mod refusal;
#[path = "common/served_models.rs"]
mod served_models;
#[path = "common/server.rs"]
mod server;

use program::{example, run};
use refusal::{assert_refused, content};
use served_models::{CALL, SAID, TOOL, babbler, parrot};
use server::{Server, answer};

const CHAT: &str = "/v1/chat/completions";
const TEXT: &str = "/v1/completions";

/// A server, and the folder of its model.
fn serve(make: fn(&std::path::Path) -> PathBuf, options: &str) -> (Server, TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let model = make(&folder.path().join("tiny"));
    (Server::start(&model, options), folder)
}

/// A body with the fields of another.
fn with(mut body: Value, more: Value) -> Value {
    let more = more.as_object().expect("an object").clone();
    body.as_object_mut().expect("an object").extend(more);
    body
}

fn hello() -> Value {
    json!({"messages": [{"role": "user", "content": "Hello there"}]})
}

fn tools() -> Value {
    json!([serde_json::from_str::<Value>(TOOL).expect("JSON")])
}

/// Tools with more to choose from.
fn several_tools() -> Value {
    let parameters = json!({"type": "object", "required": ["from", "n"], "properties": {
        "from": {"type": "string"}, "n": {"type": "integer", "minimum": 3, "maximum": 40}, "unit": {"enum": ["km", "mile"]},
        "marks": {"type": "array", "items": {"type": "boolean"}, "maxItems": 3}}});
    let [convert, dice] =
        ["convert", "roll_dice"].map(|name| json!({"name": name, "parameters": parameters}));
    let any =
        json!({"name": "anything", "parameters": {"type": "object", "properties": {"a": {"pattern": "^a"}}}});
    let none = json!({"name": "clock"});
    [convert, dice, any, none].map(|function| json!({"type": "function", "function": function})).into()
}

/// Checks that a call fits to one of those tools.
fn assert_fits(call: &Value) {
    let tools: Json = several_tools().to_string().parse().expect("JSON");
    let tools = tools.as_array().expect("a list");
    let name = call["function"]["name"].as_str().expect("a name");
    let of = |tool: &&Json| {
        tool.get("function").and_then(|function| function.get("name")) == Some(&Json::from(name))
    };
    let tool = tools.iter().find(of).unwrap_or_else(|| panic!("no tool {name}"));
    let arguments = call["function"]["arguments"].as_str().expect("a text");
    let arguments: Json = arguments.parse().unwrap_or_else(|error| panic!("{error}: {arguments}"));
    assert!(arguments.kind() == "an object", "{arguments}");
    let parameters = tool.get("function").and_then(|function| function.get("parameters"));
    if let Some(parameters) = parameters.filter(|_| name != "anything") {
        check_arguments(parameters, &arguments).unwrap_or_else(|error| panic!("{error}: {arguments}"));
    }
}

/// The calls in the chunks of a stream, put together.
fn joined_calls(events: &[Value]) -> Vec<Value> {
    let mut calls: Vec<Value> = Vec::new();
    let deltas = events.iter().filter_map(|event| event.pointer("/choices/0/delta/tool_calls")?.as_array());
    for delta in deltas.flatten() {
        let at = delta["index"].as_u64().expect("an index") as usize;
        if at == calls.len() {
            let mut first = delta.clone();
            first.as_object_mut().expect("an object").remove("index");
            calls.push(first);
            continue;
        }
        assert_eq!((at + 1, delta.get("id")), (calls.len(), None), "{delta}");
        let more = delta["function"]["arguments"].as_str().expect("a text");
        let Value::String(arguments) = &mut calls[at]["function"]["arguments"] else { panic!("{delta}") };
        *arguments += more;
    }
    calls
}

/// A reply that does not end while a test runs.
fn endless() -> Value {
    json!({"prompt": "Hello", "max_tokens": 1_000_000, "seed": 3, "stream": true})
}

/// What was said in the chunks of a stream.
fn joined(events: &[Value], place: &str) -> String {
    events.iter().filter_map(|event| event.pointer(place)?.as_str()).collect()
}

#[test]
fn small_questions() {
    let (server, _folder) = serve(parrot, "--name bird");
    assert!(server.printed.contains("bird:") && server.printed.contains("4 at a time"), "{}", server.printed);
    assert!(!server.printed.contains("password"), "{}", server.printed);
    let health = server.get("/health").json();
    assert_eq!(health, json!({"status": "ok", "running": 0, "waiting": 0, "places": 4}));
    let models = server.get("/v1/models?limit=3").json();
    assert_eq!((&models["object"], &models["data"][0]["id"]), (&json!("list"), &json!("bird")));
    assert_eq!(server.get("/v1/models/bird").json(), models["data"][0]);
    let text = "Hello <s> é 🦀\n";
    let tokens = server.ok("/tokenize", &json!({"content": text}));
    let list = tokens["tokens"].as_array().expect("a list").clone();
    assert!(
        list.iter().all(|token| token.as_u64().is_some_and(|token| token >= 12)),
        "none is special: {tokens}"
    );
    assert_eq!(server.ok("/detokenize", &tokens), json!({"content": text}));
    let with_bos = server.ok("/tokenize", &json!({"content": text, "add_special": true}));
    assert_eq!(with_bos["tokens"], Value::from([&[json!(1)], &list[..]].concat()));
    assert_eq!(server.ok("/detokenize", &json!({"tokens": [6, 0, 7]})), json!({"content": ""}));
    let messages = json!([{"role": "developer", "content": "Be brief."}, {"role": "user", "content": [
        {"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}]);
    let prompt =
        |more| server.ok("/apply-template", &with(json!({"messages": messages}), more))["prompt"].clone();
    assert_eq!(prompt(json!({})), "<s><system>Be brief.</system><user>ab</user><assistant>");
    assert_eq!(
        prompt(json!({"add_generation_prompt": false})),
        "<s><system>Be brief.</system><user>ab</user>"
    );
    let page = server.get("/");
    assert!(page.status == 200 && page.head.contains("text/html; charset=utf-8"), "{}", page.head);
    assert!(page.body.contains("</html>") && !page.body.contains("https://"), "nothing comes from elsewhere");
}

#[test]
fn a_reply_is_whole_or_comes_in_pieces() {
    let (server, _folder) = serve(parrot, "");
    for (body, temperature) in [(hello(), 0.0), (hello(), 1.0)] {
        // Without tools there is no call: after what it knows by heart, the parrot has nothing to say.
        let body = with(body, json!({"temperature": temperature, "stop": "down", "model": "any"}));
        let whole = server.ok(CHAT, &body);
        assert_eq!(whole["object"], "chat.completion");
        let choice = json!({"index": 0, "message": {"role": "assistant", "content": "The cat sat ", "refusal": null},
            "logprobs": null, "finish_reason": "stop"});
        assert_eq!(whole["choices"], json!([choice]));
        let usage = whole["usage"].clone();
        let prompt = server.ok("/tokenize", &json!({"content": "Hello there"}));
        let count = prompt["tokens"].as_array().expect("a list").len() + 4; // <s><user>…</user><assistant>
        assert_eq!((&usage["prompt_tokens"], &usage["completion_tokens"]), (&json!(count), &json!(4)));
        assert_eq!(usage["total_tokens"], count + 4);

        let streamed = with(body, json!({"stream": true}));
        let events = server.post(CHAT, &streamed.to_string()).events();
        assert!(events.len() > 4 && events.iter().all(|event| event["object"] == "chat.completion.chunk"));
        assert!(events.iter().all(|event| event["id"] == events[0]["id"] && event.get("usage").is_none()));
        let delta = &events[0]["choices"][0]["delta"];
        assert_eq!((&delta["role"], &delta["content"]), (&json!("assistant"), &json!("")));
        assert_eq!(joined(&events, "/choices/0/delta/content"), "The cat sat ");
        let finishes: Vec<&Value> =
            events.iter().map(|event| &event["choices"][0]["finish_reason"]).collect();
        assert_eq!(finishes.iter().filter(|finish| !finish.is_null()).count(), 1);
        assert_eq!(finishes.last(), Some(&&json!("stop")));

        let counted = with(streamed, json!({"stream_options": {"include_usage": true}}));
        let events = server.post(CHAT, &counted.to_string()).events();
        let last = events.last().expect("an event");
        assert_eq!((&last["choices"], &last["usage"]), (&json!([]), &usage));
    }
}

#[test]
fn where_a_reply_ends() {
    let (server, _folder) = serve(parrot, "");
    let content = |more: Value| {
        let reply = server.ok(CHAT, &with(with(hello(), json!({"temperature": 0})), more));
        let choice = &reply["choices"][0];
        let text = choice["message"]["content"].as_str().expect("text").to_owned();
        (text, choice["finish_reason"].as_str().expect("a reason").to_owned(), reply["usage"].clone())
    };
    let first = |more| (content(json!({"stop": more})).0, content(json!({"stop": more})).1);
    assert_eq!(
        first(json!(["x", "at s"])),
        ("The c".to_owned(), "stop".to_owned()),
        "in the middle of tokens"
    );
    assert_eq!(first(json!("The")), (String::new(), "stop".to_owned()));
    let (text, reason, usage) = content(json!({"max_tokens": 2}));
    assert_eq!(
        (text.as_str(), reason.as_str(), &usage["completion_tokens"]),
        ("The cat", "length", &json!(2))
    );
    assert_eq!(content(json!({"max_completion_tokens": 2})).0, "The cat");
    // What was held back because it might become a stop string is text if it does not.
    assert_eq!(content(json!({"max_tokens": 2, "stop": "cats"})).0, "The cat");
    // It comes to its own end, with tools and without.
    let (text, reason, usage) = content(json!({}));
    assert_eq!((text.as_str(), reason.as_str(), &usage["completion_tokens"]), (SAID, "stop", &json!(5)));
    let (text, reason, _) = content(json!({"tools": tools()}));
    assert_eq!((text.as_str(), reason.as_str()), (SAID, "tool_calls"));
    let tokens = server.ok("/tokenize", &json!({"content": "Hello", "add_special": true}))["tokens"].clone();
    let texts = [json!("Hello"), json!(["Hello"]), tokens].map(|prompt| {
        let reply = server.ok(TEXT, &json!({"prompt": prompt, "temperature": 0}));
        assert_eq!(reply["object"], "text_completion");
        (reply["choices"].clone(), reply["usage"].clone())
    });
    assert!(texts[0] == texts[1] && texts[1] == texts[2], "{texts:?}");

    // One that has no end of its own: the limit of the server, and what there is room for.
    let (server, _folder) = serve(babbler, "--context 64 --max-tokens 40");
    let ended = |prompt: &str, more: Value| {
        let reply = server.ok(TEXT, &with(json!({"prompt": prompt, "seed": 1}), more));
        assert_eq!(reply["choices"][0]["finish_reason"], "length");
        let count = |name: &str| reply["usage"][name].as_u64().expect("a number");
        (count("completion_tokens"), count("total_tokens"))
    };
    assert_eq!(ended("Hello", json!({})).0, 16, "as many as the API writes if nobody says how many");
    assert_eq!(ended("Hello", json!({"max_tokens": 1000})).0, 40);
    assert_eq!(ended(&"Hello ".repeat(30), json!({"max_tokens": 1000})).1, 64);
}

#[test]
fn a_seed_fixes_a_reply_whatever_else_is_written() {
    let (server, _folder) = serve(babbler, "--context 2048");
    let ask = |prompt: &str, seed: i64, count: usize| {
        let body = json!({"prompt": prompt, "seed": seed, "max_tokens": count, "logprobs": 2});
        server.ok(TEXT, &body)["choices"][0].clone()
    };
    let long = "Hello there, the cat sat down. ".repeat(40);
    let jobs: Vec<(&str, i64, usize)> =
        vec![("Hello", 1, 300), ("Hello", -2, 200), (&long, 1, 250), ("The cat", 1, 100)];
    let alone: Vec<Value> = jobs.iter().map(|&(prompt, seed, count)| ask(prompt, seed, count)).collect();
    let beginning =
        |at: usize| alone[at]["text"].as_str().expect("a text").chars().take(20).collect::<String>();
    assert_ne!(beginning(0), beginning(1));
    // Again, when the keys and values of the prompts are still there.
    assert_eq!(ask("Hello", 1, 300), alone[0]);
    // And all at once, three times, so that they meet in different ways.
    for _ in 0..3 {
        let together: Vec<Value> = thread::scope(|scope| {
            let ask = &ask;
            let started: Vec<_> = jobs
                .iter()
                .map(|&(prompt, seed, count)| scope.spawn(move || ask(prompt, seed, count)))
                .collect();
            started.into_iter().map(|job| job.join().expect("a reply")).collect()
        });
        assert_eq!(together, alone);
    }
    // Without a seed, no two are the same.
    let text =
        || server.ok(TEXT, &json!({"prompt": "Hello", "max_tokens": 60}))["choices"][0]["text"].clone();
    assert_ne!(text(), text());
}

#[test]
fn probabilities_of_tokens_and_their_alternatives() {
    let (server, _folder) = serve(babbler, "");
    let body = with(
        hello(),
        json!({"max_tokens": 40, "seed": 4, "logprobs": true, "top_logprobs": 3, "temperature": 0}),
    );
    let reply = server.ok(CHAT, &body);
    let choice = &reply["choices"][0];
    let tokens = choice["logprobs"]["content"].as_array().expect("a list");
    assert_eq!(tokens.len(), 40);
    let mut bytes = Vec::new();
    for token in tokens {
        bytes.extend(
            token["bytes"].as_array().expect("bytes").iter().map(|byte| byte.as_u64().expect("a byte") as u8),
        );
        let top = token["top_logprobs"].as_array().expect("a list");
        let logprobs: Vec<f64> =
            top.iter().map(|entry| entry["logprob"].as_f64().expect("a number")).collect();
        assert!(logprobs.len() == 3 && logprobs.is_sorted_by(|a, b| a >= b) && logprobs[0] < 0.0, "{token}");
        assert!(logprobs.iter().map(|x| x.exp()).sum::<f64>() <= 1.0 + 1e-9, "{token}");
        // The likeliest is chosen, but for special tokens, which have no bytes.
        let chosen = top.iter().find(|entry| !entry["bytes"].is_null());
        assert!(chosen.is_none_or(|entry| entry["token"] == token["token"]), "{token}");
    }
    assert_eq!(String::from_utf8_lossy(&bytes), choice["message"]["content"].as_str().expect("text"));
    let events = server.post(CHAT, &with(body, json!({"stream": true})).to_string()).events();
    let streamed: Vec<Value> = events
        .iter()
        .filter_map(|event| event["choices"][0]["logprobs"]["content"].as_array())
        .flatten()
        .cloned()
        .collect();
    assert_eq!(&streamed, tokens);
    let reply = server.ok(TEXT, &json!({"prompt": "Hello", "max_tokens": 5, "seed": 4, "logprobs": 2}));
    let logprobs = &reply["choices"][0]["logprobs"];
    for list in ["tokens", "token_logprobs", "top_logprobs", "text_offset"] {
        assert_eq!(logprobs[list].as_array().map(Vec::len), Some(5), "{logprobs}");
    }
}

#[test]
fn tools_are_called() {
    let (server, _folder) = serve(parrot, "");
    let body = with(hello(), json!({"tools": tools(), "temperature": 0}));
    let choice = server.ok(CHAT, &body)["choices"][0].clone();
    assert_eq!(
        (&choice["message"]["content"], &choice["finish_reason"]),
        (&json!(SAID), &json!("tool_calls"))
    );
    let calls = &choice["message"]["tool_calls"];
    assert_eq!((calls.as_array().map(Vec::len), &calls[0]["type"]), (Some(1), &json!("function")));
    assert!(calls[0]["id"].as_str().is_some_and(|id| id.starts_with("call_")), "{calls}");
    assert_eq!(calls[0]["function"], json!({"name": "add", "arguments": "{\"b\": 2}"}));
    // In pieces: the call begins with its name, and its arguments follow.
    let events = server.post(CHAT, &with(body.clone(), json!({"stream": true})).to_string()).events();
    assert_eq!(joined(&events, "/choices/0/delta/content"), SAID);
    let deltas: Vec<&Value> =
        events.iter().filter_map(|event| event.pointer("/choices/0/delta/tool_calls/0")).collect();
    assert!(deltas.len() > 2 && deltas[0]["function"]["name"] == "add", "{deltas:?}");
    assert_eq!(joined_calls(&events)[0]["function"], calls[0]["function"]);
    assert_eq!(events.last().expect("an event")["choices"][0]["finish_reason"], "tool_calls");
    // What was called and what came of it goes back.
    let history = json!([hello()["messages"][0], choice["message"], {"role": "tool", "tool_call_id": calls[0]["id"], "content": "5"}]);
    let prompt =
        server.ok("/apply-template", &json!({"messages": history, "tools": tools()}))["prompt"].clone();
    let prompt = prompt.as_str().expect("a text");
    assert!(
        prompt.contains(&format!("<tool>{CALL}</tool></assistant><tool>5</tool><assistant>")),
        "{prompt}"
    );
    assert!(prompt.contains("\"description\": \"Adds.\""), "{prompt}");
    assert_eq!(
        server.ok(CHAT, &with(body.clone(), json!({"messages": history})))["choices"][0]["message"]["content"],
        SAID
    );
    // Nobody wants any: then none is called, and none is mentioned.
    let without = with(body.clone(), json!({"tool_choice": "none", "max_tokens": 20}));
    let message = server.ok(CHAT, &without)["choices"][0]["message"].clone();
    assert_eq!((&message["content"], message.get("tool_calls")), (&json!(SAID), None));
    // A mark in a message is text.
    let marked = with(body, json!({"messages": [{"role": "user", "content": "</user><assistant>"}]}));
    assert!(
        server.ok(CHAT, &marked)["usage"]["prompt_tokens"].as_u64()
            > server.ok(CHAT, &hello())["usage"]["prompt_tokens"].as_u64()
    );
}

/// A model that has learned nothing, and is held to schemas: what it writes always parses and fits.
#[test]
fn a_reply_that_has_to_call_a_tool_does() {
    let (server, _folder) = serve(babbler, "");
    let required = with(hello(), json!({"tools": several_tools(), "tool_choice": "required"}));
    let mut names = std::collections::BTreeSet::new();
    let mut counts = [0; 4];
    for seed in 0..24 {
        let one = seed % 3 == 0;
        let body =
            with(required.clone(), json!({"seed": seed, "max_tokens": 300, "parallel_tool_calls": !one}));
        let choice = server.ok(CHAT, &body)["choices"][0].clone();
        assert_eq!(
            (&choice["finish_reason"], &choice["message"]["content"]),
            (&json!("tool_calls"), &Value::Null)
        );
        let calls = choice["message"]["tool_calls"].as_array().expect("calls");
        calls.iter().for_each(assert_fits);
        names.extend(calls.iter().map(|call| call["function"]["name"].to_string()));
        assert!(!one || calls.len() == 1, "{calls:?}");
        counts[calls.len().min(3)] += 1;
        // A stream says the same.
        if seed % 4 == 0 {
            let events = server.post(CHAT, &with(body, json!({"stream": true})).to_string()).events();
            let function =
                |calls: &[Value]| calls.iter().map(|call| call["function"].clone()).collect::<Vec<_>>();
            assert_eq!(function(&joined_calls(&events)), function(calls));
            assert_eq!(events.last().expect("an event")["choices"][0]["finish_reason"], "tool_calls");
        }
    }
    assert!(
        counts[0] == 0 && counts[1] > 0 && counts[2] + counts[3] > 0 && names.len() > 2,
        "{counts:?} {names:?}"
    );
    for seed in 0..6 {
        let named = json!({"type": "function", "function": {"name": "roll_dice"}});
        let body = with(required.clone(), json!({"seed": seed, "tool_choice": named, "max_tokens": 200}));
        let choice = server.ok(CHAT, &body)["choices"][0].clone();
        let calls = choice["message"]["tool_calls"].as_array().expect("calls");
        assert_eq!((calls.len(), &calls[0]["function"]["name"]), (1, &json!("roll_dice")));
        assert_fits(&calls[0]);
    }
    // Too little room for any call: what there was room for, and that it is not complete.
    let cut = server.ok(CHAT, &with(required, json!({"max_tokens": 8})))["choices"][0].clone();
    assert_eq!((&cut["finish_reason"], cut["message"].get("tool_calls")), (&json!("length"), None));
}

#[test]
fn a_reply_that_is_json() {
    let (server, _folder) = serve(babbler, "");
    let schema: Value = several_tools()[0]["function"]["parameters"].clone();
    let parsed: Json = schema.to_string().parse().expect("JSON");
    let named =
        json!({"type": "json_schema", "json_schema": {"name": "a", "strict": true, "schema": schema}});
    let mut keys = 0;
    for seed in 0..12 {
        for format in [json!({"type": "json_object"}), named.clone()] {
            let body = with(hello(), json!({"seed": seed, "max_tokens": 150, "response_format": format}));
            let choice = server.ok(CHAT, &body)["choices"][0].clone();
            let text = choice["message"]["content"].as_str().expect("a text");
            assert_eq!(choice["finish_reason"], "stop", "{text}");
            let value: Json = text.parse().unwrap_or_else(|error| panic!("{error}: {text}"));
            assert_eq!(value.kind(), "an object");
            match format["type"] == "json_schema" {
                true => check_arguments(&parsed, &value).unwrap_or_else(|error| panic!("{error}: {text}")),
                false => keys += value.entries().len(),
            }
        }
    }
    assert!(keys > 0, "all of them were empty");
}

/// What is wrong with a request is said in the API's own shape, with the field.
#[test]
fn requests_that_make_no_sense() {
    let (server, _folder) = serve(parrot, "--context 64");
    let user = |content: Value| json!({"messages": [{"role": "user", "content": content}]});
    let tool =
        |function: Value| with(hello(), json!({"tools": [{"type": "function", "function": function}]}));
    let call = |arguments: Value| {
        let call =
            json!({"id": "1", "type": "function", "function": {"name": "add", "arguments": arguments}});
        json!({"messages": [{"role": "assistant", "content": null, "tool_calls": [call]}]})
    };
    let schema = |schema: Value| {
        let named = json!({"name": "a", "schema": schema});
        with(hello(), json!({"response_format": {"type": "json_schema", "json_schema": named}}))
    };
    let named = json!({"type": "function", "function": {"name": "subtract"}});
    let cases = [
        (json!({}), "messages", "missing"),
        (json!({"messages": []}), "messages", "none"),
        (json!({"messages": "Hello"}), "messages", "a list, not a string"),
        (json!({"messages": ["Hello"]}), "messages[0]", "an object, not a string"),
        (json!({"messages": [{"role": "cat", "content": ""}]}), "messages[0].role", "\"user\""),
        (json!({"messages": [{"role": "user"}]}), "messages[0].content", "missing"),
        (
            json!({"messages": [{"role": "user", "content": "a", "colour": 1}]}),
            "messages[0].colour",
            "leave it out",
        ),
        (
            json!({"messages": [{"role": "user", "content": "a"}, {"role": "system", "content": "b"}]}),
            "messages",
            "first",
        ),
        (user(json!(1)), "messages[0].content", "not a number"),
        (
            user(json!([{"type": "image_url", "image_url": {"url": "x"}}])),
            "messages[0].content[0].type",
            "text",
        ),
        (user(json!("Hello ".repeat(100))), "", "there is room for 64"),
        (with(hello(), json!({"temperature": 2.5})), "temperature", "from 0 to 2, not 2.5"),
        (with(hello(), json!({"temperature": "hot"})), "temperature", "not a string"),
        (with(hello(), json!({"top_p": -1})), "top_p", "from 0 to 1"),
        (with(hello(), json!({"max_tokens": 0})), "max_tokens", "not 0"),
        (with(hello(), json!({"max_tokens": 1.5})), "max_tokens", "whole number"),
        (with(hello(), json!({"seed": 0.5})), "seed", "64 bits"),
        (with(hello(), json!({"stop": ["a", 1]})), "stop", "string"),
        (with(hello(), json!({"stop": ""})), "stop", "1 to 256"),
        (with(hello(), json!({"stop": vec!["a"; 17]})), "stop", "at most 16"),
        (with(hello(), json!({"stream": "yes"})), "stream", "true or false"),
        (with(hello(), json!({"stream_options": {}})), "stream_options", "\"stream\": true"),
        (with(hello(), json!({"n": 2})), "n", "only knows 1"),
        (with(hello(), json!({"frequency_penalty": 0.5})), "frequency_penalty", "leave it out"),
        (with(hello(), json!({"logit_bias": {"5": 1}})), "logit_bias", "leave it out"),
        (with(hello(), json!({"response_format": {"type": "yaml"}})), "response_format.type", "json_schema"),
        (schema(json!({"type": "array"})), "response_format.json_schema.schema", "\"object\""),
        (
            schema(json!({"type": "object", "properties": {"a": {"pattern": "b"}}})),
            "response_format.json_schema.schema",
            ".a: `pattern`",
        ),
        (
            with(hello(), json!({"response_format": {"type": "json_object"}, "tools": tools()})),
            "response_format",
            "leave one",
        ),
        (with(hello(), json!({"top_logprobs": 2})), "top_logprobs", "\"logprobs\": true"),
        (with(hello(), json!({"logprobs": true, "top_logprobs": 21})), "top_logprobs", "from 0 to 20"),
        (with(hello(), json!({"temprature": 1})), "temprature", "does not know"),
        (with(hello(), json!({"tool_choice": "auto"})), "tool_choice", "no tools"),
        (with(hello(), json!({"tools": tools(), "tool_choice": "any"})), "tool_choice", "\"required\""),
        (with(hello(), json!({"tools": tools(), "tool_choice": 1})), "tool_choice", "\"required\""),
        (with(hello(), json!({"tools": tools(), "tool_choice": named})), "tool_choice", "only add"),
        (with(hello(), json!({"tools": [tools()[0], tools()[0]]})), "tools[1].function.name", "already"),
        (tool(json!({"description": "nothing"})), "tools[0].function.name", "missing"),
        (tool(json!({"name": "a", "parameters": []})), "tools[0].function.parameters", "schema"),
        (
            tool(json!({"name": "a", "strict": true, "parameters": {"type": "object", "anyOf": []}})),
            "tools[0].function.parameters",
            "`anyOf`",
        ),
        (call(json!("{")), "messages[0].tool_calls[0].function.arguments", "JSON"),
        (call(json!("[]")), "messages[0].tool_calls[0].function.arguments", "object"),
    ];
    for (body, param, words) in cases {
        let answer = server.post(CHAT, &body.to_string());
        let (message, named, _) = answer.error();
        assert_eq!((answer.status, named.as_str()), (400, param), "{body}: {message}");
        assert!(message.contains(words), "{body}: {message}");
    }
    let cases = [
        (TEXT, json!({}), "prompt", "missing"),
        (TEXT, json!({"prompt": ["a", "b"]}), "prompt", "one prompt"),
        (TEXT, json!({"prompt": {"a": 1}}), "prompt", "an object"),
        (TEXT, json!({"prompt": [0, 1_000_000]}), "prompt[1]", "no token"),
        (TEXT, json!({"prompt": []}), "prompt", "no tokens"),
        (TEXT, json!({"prompt": "a", "echo": true}), "echo", "leave it out"),
        (TEXT, json!({"prompt": "a", "tools": []}), "tools", "leave it out"),
        ("/tokenize", json!({"text": "a"}), "content", "missing"),
        ("/detokenize", json!({"tokens": [-1]}), "tokens[0]", "no token"),
        ("/apply-template", json!({"messages": []}), "messages", "none"),
    ];
    for (path, body, param, words) in cases {
        let answer = server.post(path, &body.to_string());
        let (message, named, _) = answer.error();
        assert_eq!((answer.status, named.as_str()), (400, param), "{path} {body}: {message}");
        assert!(message.contains(words), "{path} {body}: {message}");
    }
    // What changes nothing may stay.
    let harmless = json!({"n": 1, "user": "me", "frequency_penalty": 0, "presence_penalty": 0.0, "logit_bias": {}, "tools": [],
        "response_format": {"type": "text"}, "metadata": {"a": "b"}, "store": false, "seed": null, "max_tokens": 1, "stop": null});
    server.ok(CHAT, &with(hello(), harmless));
}

/// Bytes of all kinds, and afterwards it still answers.
#[test]
fn requests_that_are_none() {
    let (server, _folder) = serve(parrot, "--max-body 20000 --receive-timeout 1");
    let host = server.address;
    let post = |length: &str, body: &str| {
        format!("POST {CHAT} HTTP/1.1\r\nHost: {host}\r\n{length}\r\n\r\n{body}").into_bytes()
    };
    let deep = |open: &str, close: &str| format!("{}{}", open.repeat(9_000), close.repeat(9_000));
    let nested = [deep("[", "]"), deep("[", ""), format!("{{\"messages\": {}}}", deep("[", ""))];
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(200));
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(20_000));
    let large = "a".repeat(30_000);
    let cases: Vec<(Vec<u8>, u16, &str)> = vec![
        (server.request(CHAT, "{\"messages\": "), 400, "not JSON"),
        (server.request(CHAT, ""), 400, "not JSON"),
        (server.request(CHAT, "[]"), 400, "a list"),
        (server.request(CHAT, "{\"messages\": [], }"), 400, "not JSON"),
        (server.request(CHAT, &nested[0]), 400, "recursion"),
        (server.request(CHAT, &nested[1]), 400, "recursion"),
        (server.request(CHAT, &nested[2]), 400, "recursion"),
        (server.request(CHAT, &large), 413, "20000"),
        (post("Content-Length: 30000", "{}"), 413, "20000"),
        (post("Transfer-Encoding: chunked", &format!("7530\r\n{large}\r\n0\r\n\r\n")), 413, "20000"),
        (post("Transfer-Encoding: chunked", "2\r\n{}\r\n0\r\n\r\n"), 400, "messages"),
        (post("Transfer-Encoding: chunked", "2\r\n{}\r\nx\r\n\r\n"), 400, "ends before"),
        (post("Accept: all", "{}"), 400, "not JSON"),
        // More is announced than comes: nobody waits longer than the limit says.
        (post("Content-Length: 300", "{}"), 408, "1 second"),
        (b"GET / HTTP/1.1\r\nHost: ".to_vec(), 408, "1 second"),
        (b"GET /v1/nothing HTTP/1.1\r\n\r\n".to_vec(), 404, "/v1/nothing"),
        (b"GET /v1/models/gpt-4 HTTP/1.1\r\n\r\n".to_vec(), 404, "tiny"),
        (format!("GET {CHAT} HTTP/1.1\r\n\r\n").into_bytes(), 405, "is not for GET"),
        (b"DELETE /health HTTP/1.1\r\n\r\n".to_vec(), 405, "is not for DELETE"),
        (b"GET /health HTTP/1.1\r\nHost: elsewhere.example\r\n\r\n".to_vec(), 403, "other sites"),
        (
            format!("GET /health HTTP/1.1\r\nHost: {host}\r\nOrigin: http://elsewhere.example\r\n\r\n")
                .into_bytes(),
            403,
            "other sites",
        ),
    ];
    for (request, status, words) in cases {
        let shown = String::from_utf8_lossy(&request[..request.len().min(90)]).into_owned();
        let answer = server.raw(&request);
        let (message, ..) = answer.error();
        assert_eq!(answer.status, status, "{shown:?}: {message}");
        assert!(message.contains(words), "{shown:?}: {message}");
        assert_eq!(status == 405, answer.head.contains("\r\nallow: "), "{}", answer.head);
        let headers = ["application/json", "no-store", "nosniff", "connection: close"];
        assert!(status == 408 || headers.iter().all(|word| answer.head.contains(word)), "{}", answer.head);
    }
    // What is no HTTP gets no more than a status.
    let none: [(Vec<u8>, u16); 7] = [
        (b"\0\x01\x02\xff\xfe\r\n\r\n".to_vec(), 400),
        (b"GET / HTTP/9.7\r\n\r\n".to_vec(), 400),
        (post("Content-Length: 99999999999999999999999", "{}"), 400),
        (post("Content-Length: -1", "{}"), 400),
        (post("Content-Length: 2\r\nContent-Length: 3", "{}"), 400),
        (many.into_bytes(), 431),
        (long.into_bytes(), 431),
    ];
    for (request, status) in none {
        let shown = String::from_utf8_lossy(&request[..request.len().min(90)]).into_owned();
        let answer = server.raw(&request);
        assert_eq!((answer.status, answer.body.as_str()), (status, ""), "{shown:?}");
    }
    let mut wrong = server.request(CHAT, "{\"messages\": \"x\"}");
    let at = wrong.len() - 3;
    wrong[at] = 0xff;
    assert_eq!(server.raw(&wrong).status, 400, "not UTF-8");
    // One that says nothing and goes, and one that is half sent and closed.
    drop(server.connect());
    let mut half = server.connect();
    half.write_all(&post("Content-Length: 300", "{\"messages\"")).expect("it listens");
    half.shutdown(std::net::Shutdown::Write).expect("open");
    let (message, ..) = answer(&mut half).error();
    assert!(message.contains("ends before"), "{message}");
    // A client that waits for a word before it sends its body gets it.
    let body = with(hello(), json!({"max_tokens": 1})).to_string();
    let mut polite = server.connect();
    polite
        .write_all(&post(&format!("Content-Length: {}\r\nExpect: 100-continue", body.len()), ""))
        .expect("it listens");
    let mut word = [0; 25];
    polite.read_exact(&mut word).expect("a word");
    assert_eq!(&word, b"HTTP/1.1 100 Continue\r\n\r\n");
    polite.write_all(body.as_bytes()).expect("it listens");
    assert_eq!(answer(&mut polite).status, 200);
    let local = format!(
        "GET /health HTTP/1.1\r\nHost: localhost:{0}\r\nOrigin: http://localhost:{0}\r\n\r\n",
        host.port()
    );
    assert_eq!(server.raw(local.as_bytes()).status, 200);
    // A truncated request of every length, and letters changed at random.
    let whole = server.request(CHAT, &with(hello(), json!({"max_tokens": 1, "tools": tools()})).to_string());
    let mut random = gradus::random::Random::new(7);
    for _ in 0..300 {
        let mut request = whole.clone();
        let start = request.len() - 150;
        for _ in 0..=random.below(4) {
            let at = start + random.below(150);
            request[at] = random.below(256) as u8;
        }
        let status = server.raw(&request).status;
        assert!(status == 200 || status == 400, "{status}: {}", String::from_utf8_lossy(&request));
    }
    for length in (1..whole.len()).step_by(7) {
        let mut stream = server.connect();
        stream.write_all(&whole[..length]).expect("it listens");
    }
    assert_eq!(server.get("/health").json()["running"], 0);
}

#[test]
fn a_client_that_goes_away_frees_its_place() {
    let (server, _folder) = serve(babbler, "--parallel 2 --context 1000000");
    for round in 0..40 {
        let mut stream = server.begin(TEXT, &with(endless(), json!({"stream": round % 3 > 0})));
        if round % 3 == 1 {
            let mut some = [0; 200];
            stream.read_exact(&mut some).expect("it writes");
        }
    }
    server.wait_for(0, 0);
    assert_eq!(
        server.ok(TEXT, &json!({"prompt": "Hello", "max_tokens": 3}))["usage"]["completion_tokens"],
        3
    );
}

#[test]
fn the_queue_has_a_limit() {
    let (server, _folder) = serve(babbler, "--parallel 1 --queue 1 --context 1000000");
    let first = server.begin(TEXT, &endless());
    server.wait_for(1, 0);
    let mut second = server.begin(TEXT, &json!({"prompt": "Hello", "max_tokens": 5}));
    server.wait_for(1, 1);
    let refused = server.post(TEXT, "{\"prompt\": \"Hello\"}");
    let (message, _, code) = refused.error();
    assert_eq!((refused.status, code.as_str()), (429, "queue_full"), "{message}");
    assert!(refused.head.contains("retry-after: 1"), "{}", refused.head);
    // It still answers what needs no place, and the second gets its turn.
    assert_eq!(server.get("/v1/models").status, 200);
    drop(first);
    assert_eq!(answer(&mut second).json()["usage"]["completion_tokens"], 5);
    // One that waits and goes away does not keep its place in the queue.
    let first = server.begin(TEXT, &endless());
    server.wait_for(1, 0);
    drop(server.begin(TEXT, &json!({"prompt": "Hello"})));
    server.wait_for(1, 0);
    drop(first);
    server.wait_for(0, 0);
}

#[test]
fn a_reply_may_not_take_for_ever() {
    let (server, _folder) = serve(babbler, "--parallel 2 --timeout 1 --context 1000000");
    let answered = server.post(TEXT, &with(endless(), json!({"stream": false})).to_string());
    let (message, _, code) = answered.error();
    assert_eq!((answered.status, code.as_str()), (408, "reply_timeout"), "{message}");
    let streamed = server.post(TEXT, &endless().to_string());
    let last = streamed.body.trim_end().rsplit("\n\n").next().expect("an event");
    let last: Value = serde_json::from_str(last.strip_prefix("data: ").expect("data")).expect("JSON");
    assert_eq!((streamed.status, &last["error"]["code"]), (200, &json!("reply_timeout")));
    server.wait_for(0, 0);
}

#[cfg(unix)]
#[test]
fn ctrl_c_lets_replies_end() {
    let (mut server, _folder) = serve(babbler, "--parallel 1 --context 1000000");
    let body = with(endless(), json!({"max_tokens": 6000, "stream_options": {"include_usage": true}}));
    let mut running = server.begin(TEXT, &body);
    server.wait_for(1, 0);
    let mut waiting = server.begin(TEXT, &json!({"prompt": "Hello"}));
    server.wait_for(1, 1);
    server.interrupt();
    let refused = answer(&mut waiting);
    assert_eq!((refused.status, refused.error().2.as_str()), (503, "closing"));
    let events = answer(&mut running).events();
    assert_eq!(events.last().expect("an event")["usage"]["completion_tokens"], 6000);
    assert_eq!(server.wait(), Some(0));
    assert!(std::net::TcpStream::connect(server.address).is_err());
}

#[cfg(unix)]
#[test]
fn a_second_ctrl_c_ends_it_at_once() {
    let (mut server, _folder) = serve(babbler, "--parallel 1 --context 1000000");
    let _running = server.begin(TEXT, &endless());
    server.wait_for(1, 0);
    let mut waiting = server.begin(TEXT, &json!({"prompt": "Hello"}));
    server.wait_for(1, 1);
    server.interrupt();
    assert_eq!(answer(&mut waiting).status, 503, "it has heard the first");
    assert_eq!(server.child.try_wait().expect("its status"), None);
    server.interrupt();
    assert_eq!(server.wait(), Some(130));
}

#[test]
fn a_server_that_cannot_begin() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = parrot(&folder.path().join("tiny"));
    let before = content(&model);
    let refused = |options: &[&str], code: i32, words: &[&str]| {
        let mut command = Command::new(example("chat"));
        let ended = run(command.args(["serve", "--model"]).arg(&model).args(options));
        assert_refused(&ended, code, words, &format!("{options:?}: {}", ended.stderr));
    };
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("an address").port().to_string();
    refused(&["--port", &port], 2, &[&port, "Another program", "--port"]);
    refused(&["--port", "65536"], 2, &["--port"]);
    refused(&["--host", "192.0.2.1"], 2, &["192.0.2.1", "--host"]);
    refused(&["--host", "localhost"], 2, &["--host"]);
    refused(&["--port", "0", "--context", "5000"], 2, &["4096", "--context"]);
    refused(&["--parallel", "0"], 2, &["--parallel", "1 to 256"]);
    refused(&["--queue", "10001"], 2, &["0 to 10000"]);
    refused(&["--timeout", "0"], 2, &["1 to 86400"]);
    let mut command = Command::new(example("chat"));
    let help = run(command.args(["serve", "--help"])).stdout;
    for word in
        ["Examples:", "--host", "--parallel", "at most 256", "at most 10000", "Ctrl-C", "without a password"]
    {
        assert!(help.contains(word), "{word}: {help}");
    }
    let open = Server::start(&model, "--host 0.0.0.0");
    assert!(open.printed.contains("there is no password"), "{}", open.printed);
    assert_eq!(content(&model), before, "a server writes nothing");
}
