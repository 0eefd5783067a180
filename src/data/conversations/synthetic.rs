//! Conversations with tools, made by sentence patterns: any number of them, from a seed.
//!
//! A file of tools says what can be called, a file of patterns how people ask for it. `{"patterns": […], "plain": […], "system":
//! […]}` has in `plain` questions with answers that need no tool, and in `system` system prompts. A pattern is an object:
//!
//! | key | what it is |
//! |---|---|
//! | `tool` | the name of the tool; a question that needs none has only `slots`, `ask` and `answer` |
//! | `slots` | a list of values to draw, see [`Slot`] |
//! | `ask` | sentences of the user, with slots in braces |
//! | `arguments`, `result` | JSON; a string that is only a slot, `"{city}"`, becomes the slot's value |
//! | `answer` | sentences of the assistant |
//! | `failure` | another `result` and its `answer`, for a tool that fails; may be missing |

use super::messages::tools;
use super::schema::{SchemaError, check_arguments, check_schema};
use super::{Conversation, Json, Message, Reason, Role, Tool, ToolCall};
use crate::data::text::fingerprint;
use crate::random::Random;
use slots::{Filled, Slot, fill_json, fill_text};

mod slots;

/// One question in ten is held out.
const HELD_OUT: u64 = 10;

/// After so many questions of the other side, there are none of the one that is wanted.
const TRIES: usize = 1000;

/// Which questions may be asked. Whether one is held out depends on its text alone, so whatever the seeds, no question that is
/// held out is ever trained on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// Nine in ten: to train on.
    Train,
    /// One in ten: to judge a model by.
    HeldOut,
}

impl Split {
    /// The side of a question: held out if the upper 32 bits of its FNV-1a hash are a multiple of 10.
    pub fn of(question: &str) -> Self {
        let held_out = (fingerprint(question.bytes()) >> 32).is_multiple_of(HELD_OUT);
        if held_out { Split::HeldOut } else { Split::Train }
    }
}

/// What is wrong with tools or their patterns.
#[derive(Debug, thiserror::Error)]
pub enum PatternError {
    /// A file that is not JSON.
    #[error("{file}: {source}")]
    Json {
        /// Which of the two.
        file: &'static str,
        /// The place and the error.
        source: serde_json::Error,
    },
    /// Tools that are not written as tools are.
    #[error("the tools: {0}")]
    Tools(Reason),
    /// A schema that says more than is checked.
    #[error("the schema of {tool}: {source}")]
    Schema {
        /// The tool.
        tool: String,
        /// The place in its schema.
        source: SchemaError,
    },
    /// A pattern that cannot be used.
    #[error("{pattern}: {problem}")]
    Pattern {
        /// The pattern, by the name of its tool.
        pattern: String,
        /// What is wrong, and what it should be.
        problem: String,
    },
    /// No question of this side.
    #[error("none of {TRIES} questions was on the side {0:?}: the patterns need more of them")]
    NoQuestion(Split),
}

/// Tools, and how people ask for them.
///
/// ```
/// use gradus::data::{Split, ToolPatterns, find, read_text};
/// use gradus::random::Random;
/// let text = |name| read_text(&find(name)?);
/// let patterns = ToolPatterns::new(&text("tools.json")?, &text("tool_patterns.json")?)?;
/// let conversation = patterns.conversation(&mut Random::new(7), Split::Train)?;
/// assert!(!conversation.tools.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct ToolPatterns {
    tools: Vec<Tool>,
    /// Those that need a tool.
    patterns: Vec<Pattern>,
    /// Those that do not.
    without_tool: Vec<Pattern>,
    plain: Vec<(String, String)>,
    system: Vec<String>,
}

#[derive(Clone, Debug)]
struct Pattern {
    slots: Vec<Slot>,
    ask: Vec<String>,
    call: Option<Call>,
    /// What the assistant says in the end, and if a tool fails.
    answers: Vec<Vec<String>>,
}

/// The call that a question needs.
#[derive(Clone, Debug)]
struct Call {
    /// The place of the tool.
    tool: usize,
    arguments: Json,
    /// What it returns, and what if it fails.
    results: Vec<Json>,
}

impl ToolPatterns {
    /// From the texts of two files. Each pattern is tried once, so that it can be filled and fits to the schema of its tool.
    ///
    /// # Errors
    /// What is wrong in which tool or pattern.
    pub fn new(tools_text: &str, patterns_text: &str) -> Result<Self, PatternError> {
        let parse = |file, text: &str| text.parse().map_err(|source| PatternError::Json { file, source });
        let (tools_json, json): (Json, Json) =
            (parse("the tools", tools_text)?, parse("the patterns", patterns_text)?);
        let tools = tools(&tools_json).map_err(PatternError::Tools)?;
        for tool in &tools {
            let schema = |source| PatternError::Schema { tool: tool.name.clone(), source };
            check_schema(&tool.parameters).map_err(schema)?;
        }
        let refuse = |problem: &str| PatternError::Pattern {
            pattern: "the patterns".to_owned(),
            problem: problem.to_owned(),
        };
        let list = |key: &str| json.get(key).and_then(Json::as_array).unwrap_or(&[]);
        let all: Vec<_> =
            list("patterns").iter().map(|json| Pattern::new(json, &tools)).collect::<Result<_, _>>()?;
        let (patterns, without_tool): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|pattern| pattern.call.is_some());
        let pair = |json: &Json| match json.as_array()? {
            [question, answer] => Some((question.as_str()?.to_owned(), answer.as_str()?.to_owned())),
            _ => None,
        };
        let plain: Option<Vec<_>> = list("plain").iter().map(pair).collect();
        let plain = plain.ok_or_else(|| refuse("`plain` is a list of pairs, a question and its answer"))?;
        let system = strings(list("system")).ok_or_else(|| refuse("`system` is a list of strings"))?;
        if patterns.is_empty() {
            return Err(refuse("there is no pattern with a tool in `patterns`"));
        }
        let all = ToolPatterns { tools, patterns, without_tool, plain, system };
        let mut random = Random::new(0);
        for pattern in all.patterns.iter().chain(&all.without_tool) {
            for outcome in 0..pattern.answers.len() {
                all.turn(pattern, outcome, &mut random)?;
            }
        }
        Ok(all)
    }

    /// The same, with these questions and answers beside those of `plain`: whatever is asked in ordinary conversations, a model has to
    /// see it with tools on offer too, and call none.
    pub fn with_plain(mut self, pairs: impl IntoIterator<Item = (String, String)>) -> Self {
        self.plain.extend(pairs);
        self
    }

    /// The tools.
    pub fn tools(&self) -> &[Tool] {
        &self.tools
    }

    /// The names of the tools that a pattern asks for, each once.
    pub fn covered(&self) -> impl Iterator<Item = &str> {
        let asked = |at: &usize| self.patterns.iter().any(|pattern| pattern.tool() == Some(*at));
        (0..self.tools.len()).filter(asked).map(|at| self.tools[at].name.as_str())
    }

    /// A conversation of one to six questions about the tools on offer: one that the first question needs, and up to three others, in
    /// any order. Of five questions, about two need no tool, and where a tool can fail, about one call in eight fails. The schemas
    /// are most of what there is to read, so several questions about them make more of them.
    ///
    /// # Errors
    /// If the arguments of a call do not fit to the schema of the tool, or if no question is of this side.
    pub fn conversation(&self, random: &mut Random, split: Split) -> Result<Conversation, PatternError> {
        let mut messages = Vec::new();
        if !self.system.is_empty() && random.below(3) == 0 {
            messages.push(Message::new(Role::System, pick(&self.system, random).as_str()));
        }
        let (needed, turn) = self.turn_of(split, None, random)?;
        messages.extend(turn);
        let mut offered: Vec<usize> = needed.into_iter().collect();
        let others = random.below(4).max(usize::from(needed.is_none()));
        offered.extend((0..others).map(|_| random.below(self.tools.len())));
        offered.sort_unstable();
        offered.dedup();
        for _ in 0..random.below(6) {
            match self.turn_of(split, Some(&offered), random) {
                Ok((_, turn)) => messages.extend(turn),
                Err(PatternError::NoQuestion(_)) => (), // all that is asked of these tools is on the other side
                Err(error) => return Err(error),
            }
        }
        random.shuffle(&mut offered);
        let tools = offered.into_iter().map(|at| self.tools[at].clone()).collect();
        Ok(Conversation { messages, tools })
    }

    /// A question of this side that needs none but these tools, all that follows until its answer, and the tool that it needs.
    fn turn_of(
        &self,
        split: Split,
        among: Option<&[usize]>,
        random: &mut Random,
    ) -> Result<(Option<usize>, Vec<Message>), PatternError> {
        let fits = |tool| among.is_none_or(|tools| tools.contains(&tool));
        let patterns: Vec<_> =
            self.patterns.iter().filter(|pattern| pattern.tool().is_some_and(fits)).collect();
        for _ in 0..TRIES {
            let (tool, turn) = match random.below(5) {
                0 if !self.plain.is_empty() => {
                    let (question, answer) = pick(&self.plain, random);
                    (None, Conversation::of(question.as_str(), answer.as_str()).messages)
                }
                1 if !self.without_tool.is_empty() => {
                    (None, self.turn(pick(&self.without_tool, random), 0, random)?)
                }
                _ if !patterns.is_empty() => {
                    let pattern = *pick(&patterns, random);
                    let fails = pattern.answers.len() > 1 && random.below(8) == 0;
                    (pattern.tool(), self.turn(pattern, usize::from(fails), random)?)
                }
                _ => continue,
            };
            if Split::of(&turn[0].content) == split {
                return Ok((tool, turn));
            }
        }
        Err(PatternError::NoQuestion(split))
    }

    /// A question, the call that it needs and its result, and the answer.
    fn turn(
        &self,
        pattern: &Pattern,
        outcome: usize,
        random: &mut Random,
    ) -> Result<Vec<Message>, PatternError> {
        let refuse = |problem| PatternError::Pattern {
            pattern: pattern
                .tool()
                .map_or("a pattern without `tool`", |tool| &self.tools[tool].name)
                .to_owned(),
            problem,
        };
        let mut values = Filled::new();
        for slot in &pattern.slots {
            slot.draw(&mut values, random).map_err(refuse)?;
        }
        let text = |text: &String| fill_text(text, &values).map_err(refuse);
        let mut turn = vec![Message::new(Role::User, text(pick(&pattern.ask, random))?)];
        let answer = text(pick(&pattern.answers[outcome], random))?;
        if let Some(call) = &pattern.call {
            let Tool { name, parameters, .. } = &self.tools[call.tool];
            let arguments = fill_json(&call.arguments, &values).map_err(refuse)?;
            check_arguments(parameters, &arguments)
                .map_err(|error| refuse(format!("the arguments {arguments}: {error}")))?;
            let result = fill_json(&call.results[outcome], &values).map_err(refuse)?;
            let mut said = Message::new(Role::Assistant, "");
            said.tool_calls = vec![ToolCall { id: None, name: name.clone(), arguments }];
            let mut returned = Message::new(Role::Tool, result.to_string());
            returned.name = Some(name.clone());
            turn.extend([said, returned]);
        }
        turn.push(Message::new(Role::Assistant, answer));
        Ok(turn)
    }
}

impl Pattern {
    fn new(json: &Json, tools: &[Tool]) -> Result<Self, PatternError> {
        let name = json.get("tool").and_then(Json::as_str);
        let refuse = |problem: String| PatternError::Pattern {
            pattern: name.unwrap_or("a pattern without `tool`").to_owned(),
            problem,
        };
        let sentences = |json: &Json, key: &str| {
            let list = json.get(key).and_then(Json::as_array).and_then(strings);
            list.filter(|list| !list.is_empty())
                .ok_or_else(|| refuse(format!("`{key}` is a list of sentences, and needs one at least")))
        };
        let value = |json: &Json, key: &str| {
            json.get(key).cloned().ok_or_else(|| refuse(format!("`{key}` is missing")))
        };
        let (mut answers, mut call) = (vec![sentences(json, "answer")?], None);
        if let Some(name) = name {
            let tool = tools.iter().position(|tool| tool.name == name);
            let tool = tool.ok_or_else(|| refuse("there is no such tool".to_owned()))?;
            let mut results = vec![value(json, "result")?];
            if let Some(failure) = json.get("failure") {
                results.push(value(failure, "result")?);
                answers.push(sentences(failure, "answer")?);
            }
            call = Some(Call { tool, arguments: value(json, "arguments")?, results });
        } else if let Some(key) =
            ["arguments", "result", "failure"].iter().find(|key| json.get(key).is_some())
        {
            return Err(refuse(format!("`{key}` is for a call, and needs `tool`")));
        }
        let slots = json.get("slots").and_then(Json::as_array).unwrap_or(&[]);
        let slots = slots.iter().map(Slot::new).collect::<Result<_, _>>().map_err(refuse)?;
        Ok(Pattern { slots, ask: sentences(json, "ask")?, call, answers })
    }

    /// The place of its tool, if it needs one.
    fn tool(&self) -> Option<usize> {
        self.call.as_ref().map(|call| call.tool)
    }
}

fn pick<'a, T>(from: &'a [T], random: &mut Random) -> &'a T {
    &from[random.below(from.len())]
}

fn strings(list: &[Json]) -> Option<Vec<String>> {
    list.iter().map(|json| json.as_str().map(str::to_owned)).collect()
}
