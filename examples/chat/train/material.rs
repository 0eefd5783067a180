//! What is learned from: conversations of files, and synthetic ones with tools.

use std::fmt;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use gradus::data::{
    Conversation, ConversationEncoder, ConversationTokens, OnMalformed, Role, Split, ToolPatterns,
    Unlearnable, find, read_conversations, read_text,
};
use gradus::random::Random;
use support::{Usage, check_text, say};

use super::recipe::Recipe;

/// How many conversations that nothing can be learned from are named.
const SHOWN: usize = 3;

/// A conversation, and where it comes from.
pub struct Sourced {
    pub conversation: Conversation,
    source: String,
    /// From 1, among those of its source.
    number: usize,
}

impl Sourced {
    /// A conversation of a source, which is number `number` there, from 1.
    pub fn new(conversation: Conversation, source: &str, number: usize) -> Self {
        Sourced { conversation, source: source.to_owned(), number }
    }

    /// The file that it comes from, or what else made it.
    pub fn source(&self) -> &str {
        &self.source
    }
}

impl fmt::Display for Sourced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, conversation {}", self.source, self.number)
    }
}

/// All conversations, on two sides.
pub struct Material {
    pub files: Vec<PathBuf>,
    pub train: Vec<Sourced>,
    pub held_out: Vec<Sourced>,
}

impl Material {
    /// Reads the files, at most as many conversations as the recipe says, and makes the synthetic ones. `find` knows where a file
    /// is.
    ///
    /// # Errors
    /// If a file cannot be read or has no conversation, if a record is malformed and that is to be refused, or if one of the two
    /// sides is empty.
    pub fn read(recipe: &Recipe, find: impl Fn(&str) -> Result<PathBuf>) -> Result<Self> {
        let on_malformed = if recipe.strict { OnMalformed::Refuse } else { OnMalformed::Skip };
        let (mut files, mut all) = (Vec::new(), Vec::new());
        for name in &recipe.data {
            let path = find(name)?;
            check_text(&path)?;
            let most = recipe.max_samples - all.len();
            if most == 0 {
                say!("{name}: left out, since there are {} conversations already (--max-samples)", all.len());
                continue;
            }
            let (found, skipped) = read_conversations(&path, Some(most), on_malformed)?;
            say!("{name}: {} conversations", found.len());
            if skipped.count() > 0 {
                say!("{skipped}");
            }
            let sourced = |(conversation, number)| Sourced { conversation, source: name.clone(), number };
            all.extend(found.into_iter().zip(1..).map(sourced));
            files.push(path);
        }
        if recipe.synthetic_tools > 0 {
            all.extend(synthetic(recipe, &all)?);
            say!("synthetic, with tools: {} conversations", recipe.synthetic_tools);
        }
        let total = all.len();
        let share = recipe.eval_split;
        let (held_out, train): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|one| one.conversation.is_held_out(share));
        for (side, cure) in [(&train, "smaller"), (&held_out, "larger")] {
            if side.is_empty() {
                let what = if cure == "larger" { "held out" } else { "left to learn from" };
                let problem = format!(
                    "none of the {total} conversations is {what}: give a {cure} --eval-split than {share}, or more conversations"
                );
                bail!(Usage(problem));
            }
        }
        Ok(Material { files, train, held_out })
    }
}

/// Conversations with tools. Those whose questions the patterns hold out are for judging models, and never among them. Where no tool
/// is needed, they begin as those that were read do.
fn synthetic(recipe: &Recipe, read: &[Sourced]) -> Result<Vec<Sourced>> {
    let text = |name| Ok::<_, anyhow::Error>(read_text(&find(name)?)?);
    let first = |one: &Sourced| match &one.conversation.messages[..] {
        [question, answer, ..] if question.role == Role::User && answer.tool_calls.is_empty() => {
            Some((question.content.clone(), answer.content.clone()))
        }
        _ => None,
    };
    let learned = read.iter().filter(|one| !one.conversation.is_held_out(recipe.eval_split));
    let patterns = ToolPatterns::new(&text("tools.json")?, &text("tool_patterns.json")?)?
        .with_plain(learned.filter_map(first));
    let mut random = Random::new(recipe.train.seed);
    let made: Result<Vec<_>, _> =
        (0..recipe.synthetic_tools).map(|_| patterns.conversation(&mut random, Split::Train)).collect();
    let sourced = |(conversation, number)| Sourced { conversation, source: "synthetic".to_owned(), number };
    Ok(made.context("datasets/tool_patterns.json")?.into_iter().zip(1..).map(sourced).collect())
}

/// The tokens of one side.
#[derive(Default)]
pub struct Encoded {
    pub all: Vec<ConversationTokens>,
    /// How many were cut, since they are too long.
    pub cut: usize,
    /// What nothing can be learned from: how many, and the first few, with the reason.
    refused: usize,
    named: Vec<String>,
}

impl Encoded {
    /// Encodes conversations. Those that nothing can be learned from are counted, or, if that is to be strict, an error.
    pub fn of(all: &[Sourced], encoder: &ConversationEncoder<'_>, strict: bool) -> Result<Self> {
        let mut encoded = Encoded::default();
        for one in all {
            match encoder.encode(&one.conversation) {
                Ok(tokens) => {
                    encoded.cut += usize::from(tokens.left_out > 0);
                    encoded.all.push(tokens);
                }
                Err(problem) if strict => return Err(problem).with_context(|| one.to_string()),
                Err(problem) => encoded.refuse(one, &problem),
            }
        }
        Ok(encoded)
    }

    fn refuse(&mut self, one: &Sourced, problem: &Unlearnable) {
        self.refused += 1;
        if self.named.len() < SHOWN {
            self.named.push(format!("{one}: {problem}"));
        }
    }

    /// Says what could not be used of both sides, or not all of it.
    pub fn report(sides: [&Self; 2], most: usize) {
        let cut: usize = sides.iter().map(|side| side.cut).sum();
        if cut > 0 {
            say!("{cut} conversations were cut after the last reply that fits into {most} tokens");
        }
        let refused: usize = sides.iter().map(|side| side.refused).sum();
        if refused > 0 {
            say!("{refused} conversations were left out:");
            let named: Vec<&String> = sides.iter().flat_map(|side| &side.named).collect();
            named.iter().take(SHOWN).for_each(|line| say!("  {line}"));
            if refused > named.len().min(SHOWN) {
                say!("  …");
            }
        }
    }

    /// All tokens, and those of them that are learned.
    pub fn counts(&self) -> [usize; 2] {
        let sum = |count: fn(&ConversationTokens) -> usize| self.all.iter().map(count).sum();
        [sum(|one| one.tokens.len()), sum(ConversationTokens::learned_count)]
    }
}
