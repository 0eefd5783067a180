//! Renders what a `Modelfile` says of conversations, as a local runner does: the part of Go's `text/template` that ours is made of,
//! which is text, fields, `range`, `if`, `else`, and the dashes that take white space away.
//! (<https://pkg.go.dev/text/template>)

use serde_json::{Value, json};

/// A piece of a template.
enum Node {
    Text(String),
    /// `.Field`, or `.` for everything.
    Field(String),
    /// For each item of a list.
    Range(String, Vec<Node>),
    /// What is done where a field has something in it, and where it has nothing.
    If(String, Vec<Node>, Vec<Node>),
}

/// The template of a `Modelfile`, which stands between three quotation marks.
pub fn template_of(modelfile: &str) -> &str {
    let (_, rest) = modelfile.split_once("TEMPLATE \"\"\"").expect("a template");
    rest.split_once("\"\"\"").expect("its end").0
}

/// A conversation through a template.
pub fn render(template: &str, messages: &Value) -> String {
    let mut actions = cut(template);
    actions.reverse();
    let (nodes, end) = parse(&mut actions);
    assert_eq!(end, None, "{template}");
    let messages: Vec<Value> = messages.as_array().expect("a list").iter().map(go_names).collect();
    let mut text = String::new();
    write(&nodes, &json!({"Messages": messages}), &mut text);
    text
}

/// A message with the names that a struct of Go has.
fn go_names(message: &Value) -> Value {
    json!({"Role": message["role"], "Content": message["content"]})
}

/// A template as text and actions in turn, with the white space gone that dashes take away.
fn cut(template: &str) -> Vec<Result<String, String>> {
    let mut pieces = Vec::new();
    let mut rest = template;
    let mut trim = false;
    loop {
        let (text, action) = rest.split_once("{{").map_or((rest, None), |(text, rest)| (text, Some(rest)));
        let mut text = if trim { text.trim_start() } else { text };
        let Some(action) = action else {
            pieces.push(Ok(text.to_owned()));
            return pieces;
        };
        let (action, after) = action.split_once("}}").expect("an action has an end");
        let (action, before) = action.strip_prefix("- ").map_or((action, false), |action| (action, true));
        let (action, behind) = action.strip_suffix(" -").map_or((action, false), |action| (action, true));
        if before {
            text = text.trim_end();
        }
        pieces.push(Ok(text.to_owned()));
        pieces.push(Err(action.trim().to_owned()));
        (rest, trim) = (after, behind);
    }
}

/// Nodes up to `end` or `else`, which is returned, or to the end. The pieces come last first.
fn parse(pieces: &mut Vec<Result<String, String>>) -> (Vec<Node>, Option<String>) {
    let mut nodes = Vec::new();
    while let Some(piece) = pieces.pop() {
        let action = match piece {
            Ok(text) => {
                nodes.push(Node::Text(text));
                continue;
            }
            Err(action) => action,
        };
        match action.split_once(' ') {
            None if action == "end" || action == "else" => return (nodes, Some(action)),
            None if action.starts_with('.') => nodes.push(Node::Field(action)),
            Some(("range", field)) => {
                let (inner, end) = parse(pieces);
                assert_eq!(end.as_deref(), Some("end"), "{action}");
                nodes.push(Node::Range(field.to_owned(), inner));
            }
            Some(("if", field)) => {
                let (then, end) = parse(pieces);
                let otherwise = if end.as_deref() == Some("else") { parse(pieces).0 } else { Vec::new() };
                nodes.push(Node::If(field.to_owned(), then, otherwise));
            }
            _ => panic!("this is no action that is known here: {action}"),
        }
    }
    (nodes, None)
}

fn field<'v>(dot: &'v Value, name: &str) -> &'v Value {
    let name = name.strip_prefix('.').unwrap_or_else(|| panic!("{name} is no field"));
    if name.is_empty() { dot } else { dot.get(name).unwrap_or_else(|| panic!("there is no field {name}")) }
}

fn write(nodes: &[Node], dot: &Value, out: &mut String) {
    for node in nodes {
        match node {
            Node::Text(text) => *out += text,
            Node::Field(name) => *out += field(dot, name).as_str().expect("a text"),
            Node::Range(name, inner) => {
                let items = field(dot, name).as_array().expect("a list");
                items.iter().for_each(|item| write(inner, item, out));
            }
            Node::If(name, then, otherwise) => {
                let value = field(dot, name);
                let none =
                    value.is_null() || *value == json!("") || *value == json!([]) || *value == json!(false);
                write(if none { otherwise } else { then }, dot, out);
            }
        }
    }
}
