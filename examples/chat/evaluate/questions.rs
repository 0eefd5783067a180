//! Questions with tools, and what is right to do.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use gradus::data::{
    Conversation, Json, Message, Role, Split, Tool, ToolCall, ToolPatterns, check_arguments, find,
    parse_tools, read_text,
};
use gradus::random::Random;
use serde::Deserialize;
use support::Usage;

/// A question, the tools that are offered with it, and the call that it needs, if it needs one.
pub struct Question {
    pub conversation: Conversation,
    pub call: Option<ToolCall>,
}

/// A line of a file of questions.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    question: String,
    tools: Vec<String>,
    #[serde(deserialize_with = "Option::deserialize")]
    call: Option<Call>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Call {
    name: String,
    arguments: Json,
}

const CURE: &str = "A line is, for example, {\"question\": \"Roll a die.\", \"tools\": [\"roll_dice\", \"clock\"], \"call\": \
                    {\"name\": \"roll_dice\", \"arguments\": {\"count\": 1, \"sides\": 6}}}, with null as the call if none is needed";

/// Reads a file of JSON lines. Tools are those of `tools.json`, by name.
///
/// # Errors
/// The line that is wrong, and why.
pub fn read(path: &Path) -> Result<Vec<Question>> {
    let tools = read_text(&find("tools.json")?)?;
    let tools = parse_tools(&tools.parse::<Json>().context("tools.json")?).context("tools.json")?;
    let text =
        fs::read_to_string(path).with_context(|| format!("{} cannot be read as a text", path.display()))?;
    let mut questions = Vec::new();
    for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()) {
        match question(line, &tools) {
            Ok(question) => questions.push(question),
            Err(problem) => bail!("{}, line {number}: {problem:#}. {CURE}", path.display()),
        }
    }
    let empty = || Usage(format!("{} has no questions. {CURE}", path.display()));
    ensure!(!questions.is_empty(), empty());
    Ok(questions)
}

fn question(line: &str, tools: &[Tool]) -> Result<Question> {
    let Line { question, tools: names, call } = serde_json::from_str(line)?;
    let mut offered = Vec::new();
    for name in &names {
        let tool = tools.iter().find(|tool| tool.name == *name);
        offered.push(tool.with_context(|| format!("there is no tool {name} in tools.json"))?.clone());
    }
    if let Some(Call { name, arguments }) = &call {
        let tool = offered.iter().find(|tool| tool.name == *name);
        let tool = tool.with_context(|| format!("the call is of {name}, which is not offered"))?;
        check_arguments(&tool.parameters, arguments).with_context(|| format!("the arguments of {name}"))?;
    }
    let messages = vec![Message::new(Role::User, question)];
    let call = call.map(|Call { name, arguments }| ToolCall { id: None, name, arguments });
    Ok(Question { conversation: Conversation { messages, tools: offered }, call })
}

/// Different questions that the sentence patterns hold out: no training sees them, but others of the same form.
///
/// # Errors
/// If the files of tools or of patterns cannot be used.
pub fn made(count: usize, seed: u64) -> Result<Vec<Question>> {
    let text = |name| Ok::<_, anyhow::Error>(read_text(&find(name)?)?);
    let patterns = ToolPatterns::new(&text("tools.json")?, &text("tool_patterns.json")?)?;
    let (mut random, mut asked, mut questions) = (Random::new(seed), HashSet::new(), Vec::new());
    // Patterns have only so many questions: after as many tries, those that there are.
    for _ in 0..count.saturating_mul(20) {
        if questions.len() == count {
            break;
        }
        let mut conversation = patterns.conversation(&mut random, Split::HeldOut)?;
        let said = conversation.messages.iter().position(|message| message.role == Role::Assistant);
        let said = said.context("a conversation has a reply")?;
        let call = conversation.messages[said].tool_calls.first().cloned();
        conversation.messages.truncate(said);
        if asked.insert(conversation.messages[said - 1].content.clone()) {
            questions.push(Question { conversation, call });
        }
    }
    Ok(questions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_of_patterns_are_different_and_held_out() {
        let questions = made(30, 5).expect("patterns");
        assert_eq!(questions.len(), 30);
        let asked =
            |question: &Question| question.conversation.messages.last().expect("a question").content.clone();
        assert!(questions.iter().all(|question| Split::of(&asked(question)) == Split::HeldOut));
        assert!(questions.iter().any(|question| question.call.is_some()));
        let again: Vec<String> = made(30, 5).expect("patterns").iter().map(asked).collect();
        assert_eq!(questions.iter().map(asked).collect::<Vec<_>>(), again, "a seed fixes them");
        assert_eq!(again.iter().collect::<HashSet<_>>().len(), 30);
    }

    #[test]
    fn a_line_that_is_wrong_says_why() {
        let tools = read_text(&find("tools.json").expect("the tools")).expect("a text");
        let tools = parse_tools(&tools.parse::<Json>().expect("JSON")).expect("tools");
        let none = r#"{"question": "Hello?", "tools": ["clock"], "call": null}"#;
        assert!(question(none, &tools).expect("a question").call.is_none());
        for (line, why) in [
            (r#"{"question": "Hello?", "tools": ["clock"]}"#, "missing field `call`"),
            (r#"{"question": "Hello?", "tools": ["watch"], "call": null}"#, "no tool watch"),
            (
                r#"{"question": "?", "tools": ["clock"], "call": {"name": "roll_dice", "arguments": {}}}"#,
                "not offered",
            ),
            (
                r#"{"question": "?", "tools": ["roll_dice"], "call": {"name": "roll_dice", "arguments": {}}}"#,
                "`count` is missing",
            ),
        ] {
            let problem = question(line, &tools).err().expect(line);
            assert!(format!("{problem:#}").contains(why), "{problem:#}");
        }
    }
}
