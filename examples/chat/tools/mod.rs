//! What a model can call in a conversation.
//!
//! - `clock.rs`: the time in some cities. `units.rs`: lengths, masses, volumes and temperatures.
//! - Arithmetic is the library's (`gradus::data::evaluate`), and dice are thrown here.
//!
//! These compute something and do nothing: no file, no network, no other program. Tools of a file are only shown to the model; what they
//! return, the person at the keyboard says.

mod clock;
mod units;

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use anyhow::{Context, Result, anyhow, ensure};
use gradus::data::{
    CallError, Json, Tool, ToolCall, check_call, check_schema, evaluate, parse_call, parse_tools,
};
use gradus::random::Random;

/// The tools that are built in, with the names and schemas on which the models of this project are trained.
const BUILT_IN: [&str; 4] = ["calculator", "clock", "convert_units", "roll_dice"];

/// The file with their schemas.
const SCHEMAS: &str = include_str!("../../../datasets/tools.json");

/// Tools, and who runs them.
pub struct Toolbox {
    tools: Vec<Tool>,
    runs: Runs,
}

enum Runs {
    /// This program; the dice are thrown with these random numbers.
    Program(Random),
    /// Nobody but the person who is asked.
    Person,
}

/// What has to be done for a call.
#[derive(Debug, PartialEq)]
pub enum Outcome {
    /// Nothing more: this came out, or went wrong. It is JSON.
    Done(String),
    /// The person has to be asked.
    Ask,
}

impl Toolbox {
    /// Those that are built in. A seed fixes the dice.
    pub fn built_in(seed: u64) -> Self {
        let all = SCHEMAS.parse().ok().and_then(|json: Json| parse_tools(&json).ok());
        let mut tools = all.expect("a test reads the file");
        tools.retain(|tool| BUILT_IN.contains(&tool.name.as_str()));
        Toolbox { tools, runs: Runs::Program(Random::new(seed)) }
    }

    /// Those of a file, which nobody runs.
    ///
    /// # Errors
    /// If it cannot be read, or is no list of tools whose schemas are understood, each with a name of its own.
    pub fn declared(path: &Path) -> Result<Self> {
        let place = path.display();
        let cure = "A file of tools is a list: [{\"type\": \"function\", \"function\": {\"name\": …, \"description\": …, \"parameters\": \
                    {…}}}]";
        let text =
            fs::read_to_string(path).with_context(|| format!("the tools in {place} cannot be read"))?;
        let json: Json = text.parse().map_err(|error| anyhow!("{place}: {error}. {cure}"))?;
        let tools = parse_tools(&json).map_err(|problem| anyhow!("{place}: {problem}. {cure}"))?;
        ensure!(!tools.is_empty(), "{place} has no tools. {cure}");
        for (at, tool) in tools.iter().enumerate() {
            check_schema(&tool.parameters)
                .map_err(|problem| anyhow!("{place}: the schema of {}: {problem}", tool.name))?;
            let is_new = tools[..at].iter().all(|other| other.name != tool.name);
            ensure!(is_new, "{place}: there are two tools called {}: give one another name", tool.name);
        }
        Ok(Toolbox { tools, runs: Runs::Person })
    }

    /// What the model sees of them.
    pub fn tools(&self) -> &[Tool] {
        &self.tools
    }

    /// Runs what a model wrote as a call. Also returns it as a call; what cannot be read is one of a tool that there is not, so that
    /// the model sees what it wrote beside what is wrong with it.
    pub fn run(&mut self, written: &str, now: SystemTime) -> (ToolCall, Outcome) {
        let call = match parse_call(written) {
            Ok(call) => call,
            Err(problem) => {
                let arguments = Json::Object(vec![("text".to_owned(), written.into())]);
                let call = ToolCall { id: None, name: "unreadable".to_owned(), arguments };
                return (call, Outcome::Done(failure(&problem)));
            }
        };
        let outcome = match (check_call(&self.tools, &call), &mut self.runs) {
            (Err(problem), _) => Outcome::Done(failure(&problem)),
            (Ok(_), Runs::Person) => Outcome::Ask,
            (Ok(_), Runs::Program(random)) => Outcome::Done(match compute(&call, random, now) {
                Ok(result) => Json::Object(result).to_string(),
                Err(problem) => failure(&problem),
            }),
        };
        (call, outcome)
    }
}

/// What a model sees where a call has no result.
fn failure(problem: &impl std::fmt::Display) -> String {
    Json::Object(vec![("error".to_owned(), problem.to_string().as_str().into())]).to_string()
}

/// What a model sees of a tool that nobody answers for.
pub fn not_available() -> String {
    failure(&"the tool is not available")
}

/// The keys and values of a result.
type Entries = Vec<(String, Json)>;

/// Runs a call of a tool that is built in, whose arguments fit to its schema.
fn compute(call: &ToolCall, random: &mut Random, now: SystemTime) -> Result<Entries, String> {
    let text = |key: &str| call.arguments.get(key).and_then(Json::as_str).unwrap_or_default();
    let number = |key: &str| call.arguments.get(key).and_then(Json::as_f64).unwrap_or_default();
    let one = |key: &str, value: Json| (key.to_owned(), value);
    match call.name.as_str() {
        "calculator" => {
            let result = evaluate(text("expression")).map_err(|problem| problem.to_string())?;
            Ok(vec![one("result", plain(result))])
        }
        "clock" => {
            let zone = call.arguments.get("timezone").and_then(Json::as_str);
            let time = clock::at(zone.unwrap_or("UTC"), now)?;
            let mut entries =
                vec![one("date", time.date.as_str().into()), one("time", time.time.as_str().into())];
            if zone.is_none() {
                // Which time is local, the standard library does not know.
                entries.push(one("timezone", "UTC".into()));
            }
            Ok(entries)
        }
        "convert_units" => {
            Ok(vec![one("result", plain(units::convert(number("value"), text("from"), text("to"))?))])
        }
        "roll_dice" => {
            let (count, sides) = (number("count") as usize, number("sides") as usize);
            let results: Vec<i64> = (0..count).map(|_| 1 + random.below(sides) as i64).collect();
            let sum = results.iter().sum::<i64>().into();
            Ok(vec![
                one("results", Json::Array(results.into_iter().map(Json::from).collect())),
                one("sum", sum),
            ])
        }
        other => {
            Err(CallError::UnknownTool { name: other.to_owned(), known: BUILT_IN.join(", ") }.to_string())
        }
    }
}

/// A number as one would write it: without digits that are only rounding, and as a whole one if it is.
fn plain(x: f64) -> Json {
    const WHOLE: f64 = 1e15; // up to here whole numbers are exact
    // Twelve digits: what is off by rounding lies beyond.
    let rounded: f64 = format!("{x:.11e}").parse().unwrap_or(x);
    if rounded.fract() == 0.0 && rounded.abs() < WHOLE {
        return (rounded as i64).into();
    }
    serde_json::Number::from_f64(rounded).map_or(Json::Null, Json::Number)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    fn run(toolbox: &mut Toolbox, written: &str) -> String {
        let now = UNIX_EPOCH + Duration::from_secs(1_741_185_120); // 2025-03-05 14:32 in universal time
        match toolbox.run(written, now).1 {
            Outcome::Done(result) => result,
            Outcome::Ask => "?".to_owned(),
        }
    }

    #[test]
    fn what_is_built_in_can_be_called() {
        let mut toolbox = Toolbox::built_in(1);
        let names: Vec<&str> = toolbox.tools().iter().map(|tool| tool.name.as_str()).collect();
        assert_eq!(names, BUILT_IN);
        for (call, result) in [
            (r#"{"name": "calculator", "arguments": {"expression": "38.5 * 24.60"}}"#, r#"{"result":947.1}"#),
            (r#"{"name": "calculator", "arguments": {"expression": "0.1 + 0.2"}}"#, r#"{"result":0.3}"#),
            (r#"{"name": "calculator", "arguments": {"expression": "2^20"}}"#, r#"{"result":1048576}"#),
            (
                r#"{"name": "calculator", "arguments": {"expression": "1 / 3"}}"#,
                r#"{"result":0.333333333333}"#,
            ),
            (
                r#"{"name": "clock", "arguments": {}}"#,
                r#"{"date":"2025-03-05","time":"14:32","timezone":"UTC"}"#,
            ),
            (
                r#"{"name": "clock", "arguments": {"timezone": "Asia/Tokyo"}}"#,
                r#"{"date":"2025-03-05","time":"23:32"}"#,
            ),
            (
                r#"{"name": "convert_units", "arguments": {"value": 10, "from": "km", "to": "mile"}}"#,
                r#"{"result":6.21371192237}"#,
            ),
        ] {
            assert_eq!(run(&mut toolbox, call), result, "{call}");
        }
    }

    #[test]
    fn dice_follow_the_seed() {
        let call = r#"{"name": "roll_dice", "arguments": {"count": 20, "sides": 6}}"#;
        let roll = |seed| run(&mut Toolbox::built_in(seed), call);
        assert_eq!(roll(1), roll(1));
        assert_ne!(roll(1), roll(2));
        let json: Json = roll(3).parse().expect("JSON");
        let results: Vec<f64> = json
            .get("results")
            .and_then(Json::as_array)
            .expect("dice")
            .iter()
            .filter_map(Json::as_f64)
            .collect();
        assert!(results.len() == 20 && results.iter().all(|die| (1.0..=6.0).contains(die)), "{json}");
        assert_eq!(json.get("sum").and_then(Json::as_f64), Some(results.iter().sum()));
    }

    #[test]
    fn what_goes_wrong_is_a_message() {
        let mut toolbox = Toolbox::built_in(1);
        for (call, words) in [
            ("so", "not JSON"),
            (r#"{"name": "fly", "arguments": {}}"#, "no tool fly, only calculator"),
            (r#"{"name": "roll_dice", "arguments": {"count": 21, "sides": 6}}"#, "count: 21 is more than 20"),
            (r#"{"name": "calculator", "arguments": {"expression": "1 / 0"}}"#, "divided by zero"),
            (r#"{"name": "calculator", "arguments": {"expression": "2 +"}}"#, "a number"),
            (
                r#"{"name": "clock", "arguments": {"timezone": "Middle/Earth"}}"#,
                "unknown time zone: Middle/Earth",
            ),
            (
                r#"{"name": "convert_units", "arguments": {"value": 10, "from": "liter", "to": "kg"}}"#,
                "liter is a volume and kg is a mass",
            ),
        ] {
            let json: Json = run(&mut toolbox, call).parse().expect("JSON");
            let error = json.get("error").and_then(Json::as_str).expect(call);
            assert!(error.contains(words), "{call}: {error}");
        }
        // What cannot be read stands beside what is wrong with it.
        let (call, _) = toolbox.run("{so", UNIX_EPOCH);
        assert_eq!(
            (call.name.as_str(), call.arguments.to_string().as_str()),
            ("unreadable", r#"{"text":"{so"}"#)
        );
    }

    #[test]
    fn a_file_declares_tools_that_nobody_runs() {
        let path = std::env::temp_dir().join(format!("gradus-tools-{}.json", std::process::id()));
        let declared = |text: &str| {
            fs::write(&path, text).expect("a file");
            Toolbox::declared(&path)
        };
        let one = r#"{"name": "fly", "parameters": {"properties": {"to": {"type": "string"}}}}"#;
        let mut toolbox = declared(&format!("[{one}]")).expect("a tool");
        assert_eq!(run(&mut toolbox, r#"{"name": "fly", "arguments": {"to": "Oslo"}}"#), "?");
        assert!(run(&mut toolbox, r#"{"name": "fly", "arguments": {"to": 1}}"#).contains("wrong arguments"));
        for (text, words) in [
            ("so", "a list"),
            ("[]", "no tools"),
            ("{}", "a list"),
            (&format!("[{one}, {one}]"), "two tools called fly"),
            (r#"[{"name": "fly", "parameters": {"pattern": "a"}}]"#, "pattern"),
        ] {
            let problem = format!("{:#}", declared(text).err().expect(text));
            assert!(problem.contains(words) && problem.contains("gradus-tools"), "{problem}");
        }
        fs::remove_file(&path).ok();
        assert!(format!("{:#}", Toolbox::declared(&path).err().expect("gone")).contains("cannot be read"));
    }
}
