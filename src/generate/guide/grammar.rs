//! What a schema allows, in a form that can be followed byte by byte.

use std::ops::Range;

use super::DEEPEST;
use super::number::Bounds;
use crate::data::{Json, SchemaError, Tool, check_schema};

/// All numbers that can be written.
const ANY_NUMBER: Bounds = Bounds { integer: false, least: f64::NEG_INFINITY, most: f64::INFINITY };

/// Any number of keys.
const ANY_COUNT: Range<usize> = 0..usize::MAX;

/// What a value may be.
#[derive(Clone, Debug)]
pub(super) enum Node {
    /// One of these texts, each once and in order.
    Texts(Vec<String>),
    String,
    Number(Bounds),
    Array {
        items: usize,
        least: u64,
        most: u64,
    },
    /// Some properties, and how many keys it may have.
    Object {
        properties: Vec<Property>,
        keys: Range<usize>,
    },
    /// An object with any keys, and values of this node.
    Map(usize),
    /// One of these nodes, of which no two begin with the same byte.
    Choice(Vec<usize>),
}

/// A property of an object.
#[derive(Clone, Debug)]
pub(super) struct Property {
    /// Its key as it stands between quotes.
    pub key: String,
    /// The node of its value.
    pub value: usize,
    /// Whether it has to be there.
    pub required: bool,
}

/// Nodes, which refer to each other by number.
#[derive(Clone, Debug)]
pub(super) struct Grammar {
    pub nodes: Vec<Node>,
    pub root: usize,
    /// How many bytes a value of each node has, at the least.
    pub shortest: Vec<usize>,
    /// The node of any value at all, if one was needed.
    any: Option<usize>,
}

impl Grammar {
    /// Of a value of this schema.
    pub fn value(schema: &Json) -> Result<Self, SchemaError> {
        check_schema(schema)?;
        let mut grammar = Grammar { nodes: Vec::new(), root: 0, shortest: Vec::new(), any: None };
        grammar.root = grammar.of_schema(schema)?;
        grammar.measure();
        Ok(grammar)
    }

    /// Of a call of one of these tools.
    pub fn call(tools: &[Tool]) -> Result<Self, SchemaError> {
        let mut grammar = Grammar { nodes: Vec::new(), root: 0, shortest: Vec::new(), any: None };
        let mut calls = Vec::new();
        for tool in tools {
            let in_tool = |SchemaError { place, problem }| SchemaError {
                place: format!("{}{place}", tool.name),
                problem,
            };
            check_schema(&tool.parameters).map_err(in_tool)?;
            let arguments = grammar.of_schema(&tool.parameters).map_err(in_tool)?;
            calls.push((quoted(&tool.name), arguments));
        }
        calls.sort_unstable();
        calls.dedup_by(|a, b| a.0 == b.0);
        if calls.is_empty() {
            return Err(SchemaError {
                place: String::new(),
                problem: "there are no tools to call".to_owned(),
            });
        }
        grammar.root = grammar.calls(&calls);
        grammar.measure();
        Ok(grammar)
    }

    /// `{"name": NAME, "arguments": ARGUMENTS}`, as an object whose one key says all up to the arguments: so the name decides
    /// which arguments come.
    fn calls(&mut self, calls: &[(String, usize)]) -> usize {
        let property = |(name, arguments): &(String, usize)| Property {
            key: format!("name\": {name}, \"arguments"),
            value: *arguments,
            required: false,
        };
        self.add(Node::Object { properties: calls.iter().map(property).collect(), keys: 1..2 })
    }

    fn add(&mut self, node: Node) -> usize {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    fn of_schema(&mut self, schema: &Json) -> Result<usize, SchemaError> {
        if let Some(values) = schema.get("enum").and_then(Json::as_array) {
            // What the rest of the schema forbids is left out.
            let fits = values.iter().filter(|value| crate::data::check_arguments(schema, value).is_ok());
            let mut texts: Vec<String> = fits.map(spaced).collect();
            texts.sort_unstable();
            texts.dedup();
            if texts.is_empty() {
                let problem = "no value of `enum` fits to the rest of the schema".to_owned();
                return Err(SchemaError { place: String::new(), problem });
            }
            return Ok(self.add(Node::Texts(texts)));
        }
        match schema.get("type") {
            Some(Json::String(name)) => self.of_type(name, schema),
            Some(Json::Array(names)) => {
                let names: Vec<&str> = names.iter().filter_map(Json::as_str).collect();
                let mut nodes = Vec::new();
                for name in names.iter().filter(|&&name| !(name == "integer" && names.contains(&"number"))) {
                    nodes.push(self.of_type(name, schema)?);
                }
                Ok(self.add(Node::Choice(nodes)))
            }
            _ if schema.get("properties").is_some() => self.of_type("object", schema),
            _ => Ok(self.any()),
        }
    }

    fn of_type(&mut self, name: &str, schema: &Json) -> Result<usize, SchemaError> {
        let number = |key: &str, default| schema.get(key).and_then(Json::as_f64).unwrap_or(default);
        let node = match name {
            "null" => Node::Texts(vec!["null".to_owned()]),
            "boolean" => Node::Texts(vec!["false".to_owned(), "true".to_owned()]),
            "string" => Node::String,
            "integer" | "number" => {
                let (least, most) = (number("minimum", f64::NEG_INFINITY), number("maximum", f64::INFINITY));
                Node::Number(Bounds { integer: name == "integer", least, most })
            }
            "array" => {
                let items = match schema.get("items") {
                    Some(items) => self.of_schema(items)?,
                    None => self.any(),
                };
                Node::Array {
                    items,
                    least: number("minItems", 0.0) as u64,
                    most: number("maxItems", f64::INFINITY) as u64,
                }
            }
            _ if schema.get("properties").is_none()
                && !matches!(schema.get("additionalProperties"), Some(Json::Bool(false))) =>
            {
                Node::Map(self.any())
            }
            _ => {
                let required = schema.get("required").and_then(Json::as_array).unwrap_or(&[]);
                let mut properties = Vec::new();
                for (key, value) in schema.get("properties").unwrap_or(Json::EMPTY).entries() {
                    let required = required.iter().any(|name| name.as_str() == Some(key));
                    let inner = quoted(key);
                    let key = inner[1..inner.len() - 1].to_owned();
                    properties.push(Property { key, value: self.of_schema(value)?, required });
                }
                Node::Object { properties, keys: ANY_COUNT }
            }
        };
        Ok(self.add(node))
    }

    /// Any value.
    fn any(&mut self) -> usize {
        if let Some(any) = self.any {
            return any;
        }
        let any = self.add(Node::Choice(Vec::new()));
        self.any = Some(any);
        let nodes = [
            Node::Texts(["false", "null", "true"].map(str::to_owned).to_vec()),
            Node::String,
            Node::Number(ANY_NUMBER),
            Node::Array { items: any, least: 0, most: u64::MAX },
            Node::Map(any),
        ];
        let nodes = nodes.map(|node| self.add(node));
        self.nodes[any] = Node::Choice(nodes.to_vec());
        any
    }

    pub fn node(&self, node: usize) -> &Node {
        &self.nodes[node]
    }

    /// The texts of such a node.
    pub fn texts(&self, node: usize) -> &[String] {
        if let Node::Texts(texts) = &self.nodes[node] { texts } else { &[] }
    }

    /// All keys, and all texts of which one is written as it is.
    pub fn fixed_texts(&self) -> impl Iterator<Item = &str> {
        self.nodes.iter().flat_map(|node| {
            let (texts, keys): (&[String], &[Property]) = match node {
                Node::Texts(texts) => (texts, &[]),
                Node::Object { properties, .. } => (&[], properties),
                _ => (&[], &[]),
            };
            texts.iter().map(String::as_str).chain(keys.iter().map(|one| one.key.as_str()))
        })
    }

    /// The properties of an object, and how many keys it may have.
    pub fn properties(&self, node: usize) -> (&[Property], &Range<usize>) {
        match &self.nodes[node] {
            Node::Object { properties, keys } => (properties, keys),
            _ => (&[], &ANY_COUNT),
        }
    }

    /// Which numbers a node allows.
    pub fn range(&self, node: usize) -> &Bounds {
        if let Node::Number(range) = &self.nodes[node] { range } else { &ANY_NUMBER }
    }

    /// Whether a value may begin with a byte, where `depth` others are open.
    pub fn begins(&self, node: usize, byte: u8, depth: usize) -> bool {
        match &self.nodes[node] {
            Node::Texts(texts) => texts.iter().any(|text| text.as_bytes().first() == Some(&byte)),
            Node::String => byte == b'"',
            Node::Number(_) => byte == b'-' || byte.is_ascii_digit(),
            Node::Array { .. } => byte == b'[' && depth < DEEPEST,
            Node::Object { .. } | Node::Map(_) => byte == b'{' && depth < DEEPEST,
            Node::Choice(nodes) => nodes.iter().any(|&node| self.begins(node, byte, depth)),
        }
    }

    /// Whether any value at all may begin there.
    pub fn may_nest(&self, node: usize, depth: usize) -> bool {
        match &self.nodes[node] {
            Node::Array { .. } | Node::Object { .. } | Node::Map(_) => depth + 1 < DEEPEST,
            Node::Choice(nodes) => nodes.iter().any(|&node| self.may_nest(node, depth)),
            Node::Texts(_) | Node::String | Node::Number(_) => true,
        }
    }
}

/// A string in its quotes.
fn quoted(text: &str) -> String {
    Json::from(text).to_string()
}

/// JSON with a space after each comma and colon.
fn spaced(value: &Json) -> String {
    match value {
        Json::Array(values) => format!("[{}]", values.iter().map(spaced).collect::<Vec<_>>().join(", ")),
        Json::Object(entries) => {
            let entry = |(key, value): &(String, Json)| format!("{}: {}", quoted(key), spaced(value));
            format!("{{{}}}", entries.iter().map(entry).collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}
