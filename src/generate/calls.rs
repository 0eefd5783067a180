//! Replies in which tools are called: free text, in which a call, once begun, is held to the schema of its tool.
//!
//! A [`CallGuide`] follows a reply token by token. Before each token it forbids those that would break a call: they get a logit of
//! `-∞`. When the JSON is complete, the mark that closes the call is all that may come. A reply is text, then calls, then its end,
//! as chat templates write it.
//!
//! A model that has learned nothing may never close a string. So a call also has to end before the reply does: of the tokens that
//! may come, only those are left after which there is room for what the call still needs.

mod follow;
mod marks;
mod reader;

use std::sync::Arc;

use follow::{Following, Unit, units};
pub use marks::CallMarks;
pub use reader::{CallReader, Said};

use super::{Guide, Vocabulary};
use crate::data::{SchemaError, Tool};

/// Whether a reply may call tools.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ToolChoice {
    /// As the model will.
    #[default]
    Auto,
    /// It begins with a call, and more may follow.
    Required,
    /// It is one call of the tool of this name.
    Tool(String),
    /// It calls none.
    None,
}

/// Why there is no [`CallGuide`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallGuideError {
    /// The parameters of a tool say something that is not understood, or there are no tools where one has to be called.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// A tool has to be called that is not there.
    #[error("there is no tool {name:?}, only {known}")]
    NoSuchTool {
        /// The tool that was asked for.
        name: String,
        /// Those that there are.
        known: String,
    },
    /// The tokenizer has no token for a character that calls need.
    #[error("the tokenizer has no token for {0:?}, which calls of these tools are written with")]
    Unwritable(char),
}

/// What is the same for all replies under the same tools.
#[derive(Debug)]
struct Plan {
    call: Guide,
    open: Vec<Unit>,
    /// Before a call that follows another.
    next: Vec<Unit>,
    close: Vec<Unit>,
    choice: ToolChoice,
    ends: Vec<usize>,
    /// The tokens with which free text may become a call.
    openers: Vec<usize>,
}

/// Holds the calls of one reply to their schemas.
///
/// ```
/// use std::sync::Arc;
/// use gradus::data::{Tool, parse_tools};
/// use gradus::generate::{CallGuide, CallMarks, Reply, ToolChoice, Vocabulary};
/// use gradus::tokenizer::{CharTokenizer, Tokenizer};
/// let tools = parse_tools(&r#"[{"name": "roll", "parameters": {"properties": {"sides": {"type": "integer"}}}}]"#.parse()?)?;
/// let tokenizer = CharTokenizer::of(' '..='~');
/// let vocabulary = Arc::new(Vocabulary::new(&tokenizer));
/// let reply = Reply { ends: vec![tokenizer.bos()], max_tokens: 200 };
/// let mut guide = CallGuide::new(&vocabulary, &CallMarks::new("<tool>", "</tool>"), &tools, &ToolChoice::Auto, reply)?;
/// for token in tokenizer.encode(r#"Well. <tool>{"name": "#)? {
///     assert!(guide.push(token));
/// }
/// let mut logits = vec![0.0; tokenizer.vocab_size()];
/// guide.mask(&mut logits);
/// let may_come: Vec<usize> = (0..logits.len()).filter(|&token| logits[token] == 0.0).collect();
/// assert_eq!(tokenizer.decode(&may_come), "\"");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct CallGuide {
    vocabulary: Arc<Vocabulary>,
    plan: Arc<Plan>,
    at: At,
    /// How many tokens may still come.
    left: usize,
    /// The logits of those that may come.
    kept: Vec<(usize, f64)>,
}

/// Where a reply ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// At any of these tokens.
    pub ends: Vec<usize>,
    /// After this many tokens.
    pub max_tokens: usize,
}

/// Where in a reply.
#[derive(Clone, Debug)]
enum At {
    /// In free text, of which so many bytes at the end may be the beginning of a call.
    Text(usize),
    /// In a call.
    Call(Following),
    /// After a call.
    After,
    /// Whatever comes: a token came that could not, so nothing is known.
    Lost,
}

impl CallGuide {
    /// A guide for a reply that has not begun.
    ///
    /// # Errors
    /// [`CallGuideError`].
    pub fn new(
        vocabulary: &Arc<Vocabulary>,
        marks: &CallMarks,
        tools: &[Tool],
        choice: &ToolChoice,
        reply: Reply,
    ) -> Result<Self, CallGuideError> {
        let tools = match choice {
            ToolChoice::Tool(name) => {
                let known = || tools.iter().map(|tool| tool.name.as_str()).collect::<Vec<_>>().join(", ");
                let tool = tools.iter().position(|tool| tool.name == *name);
                let at =
                    tool.ok_or_else(|| CallGuideError::NoSuchTool { name: name.clone(), known: known() })?;
                &tools[at..=at]
            }
            _ => tools,
        };
        // Where nothing can be called, any guide does: it is not begun.
        let none = *choice == ToolChoice::None || (*choice == ToolChoice::Auto && tools.is_empty());
        let choice = if none { &ToolChoice::None } else { choice };
        let call = if none { Guide::value(crate::data::Json::EMPTY)? } else { Guide::call(tools)? };
        let [open, next, close] =
            [&marks.open, &marks.next, &marks.close].map(|mark| units(mark, vocabulary));
        let unwritable = call.fixed_texts().find_map(|text| vocabulary.unwritable(text));
        let of_marks =
            [&open, &next, &close].into_iter().find_map(|mark| follow::unwritable(mark, vocabulary));
        if let Some(c) = unwritable.or(of_marks).filter(|_| !none) {
            return Err(CallGuideError::Unwritable(c));
        }
        let openers = follow::openers(&open, vocabulary);
        let (choice, ends) = (choice.clone(), reply.ends);
        let plan = Arc::new(Plan { call, open, next, close, choice, ends, openers });
        let at = match plan.choice {
            ToolChoice::Auto | ToolChoice::None => At::Text(0),
            ToolChoice::Required | ToolChoice::Tool(_) => At::Call(Following::first(&plan)),
        };
        let left = reply.max_tokens;
        Ok(CallGuide { vocabulary: Arc::clone(vocabulary), plan, at, left, kept: Vec::new() })
    }

    /// A guide for a reply that is one value of this schema and nothing else.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use gradus::generate::{CallGuide, Reply, Vocabulary};
    /// use gradus::tokenizer::{CharTokenizer, Tokenizer};
    /// let tokenizer = CharTokenizer::of(' '..='~');
    /// let vocabulary = Arc::new(Vocabulary::new(&tokenizer));
    /// let schema = r#"{"type": "object", "properties": {"sides": {"enum": [6]}}, "required": ["sides"]}"#.parse()?;
    /// let reply = Reply { ends: vec![tokenizer.bos()], max_tokens: 200 };
    /// let mut guide = CallGuide::value(&vocabulary, &schema, reply)?;
    /// for token in tokenizer.encode(r#"{"sides": 6}"#)? {
    ///     assert!(guide.push(token));
    /// }
    /// let mut logits = vec![0.0; tokenizer.vocab_size()];
    /// guide.mask(&mut logits);
    /// let may_come: Vec<usize> = (0..logits.len()).filter(|&token| logits[token] == 0.0).collect();
    /// assert_eq!(may_come, [tokenizer.bos()]); // the end
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`CallGuideError`].
    pub fn value(
        vocabulary: &Arc<Vocabulary>,
        schema: &crate::data::Json,
        reply: Reply,
    ) -> Result<Self, CallGuideError> {
        // It is a call between marks that are empty, after which only the end may come.
        let call = Guide::value(schema)?;
        if let Some(c) = call.fixed_texts().find_map(|text| vocabulary.unwritable(text)) {
            return Err(CallGuideError::Unwritable(c));
        }
        let [open, next, close] = [const { Vec::new() }; 3];
        let choice = ToolChoice::Tool(String::new());
        let plan = Arc::new(Plan { call, open, next, close, choice, ends: reply.ends, openers: Vec::new() });
        let at = At::Call(Following::first(&plan));
        let left = reply.max_tokens;
        Ok(CallGuide { vocabulary: Arc::clone(vocabulary), plan, at, left, kept: Vec::new() })
    }

    /// Whether a call has begun and is not complete.
    pub fn is_in_call(&self) -> bool {
        matches!(self.at, At::Call(_))
    }

    // ANCHOR: mask
    /// Forbids every token that cannot come: its logit becomes `-∞`. One may always come.
    pub fn mask(&mut self, logits: &mut [f64]) {
        // The token itself, and one for the end of the reply.
        let most = self.left.saturating_sub(2);
        let CallGuide { vocabulary, plan, at, kept, .. } = self;
        match at {
            At::Lost => {}
            At::Text(matched) => {
                let close = plan.close.iter().filter_map(|unit| unit.token());
                let begins_wrongly = plan.openers.iter().copied().filter(|&token| {
                    let begun = follow::text(plan, *matched, token, vocabulary);
                    match begun {
                        Some(At::Call(call)) => plan.choice == ToolChoice::None || call.bytes_left() > most,
                        Some(_) => false,
                        None => true,
                    }
                });
                close.chain(begins_wrongly).for_each(|token| forbid(logits, token));
            }
            At::Call(call) => {
                kept.clear();
                // Where there is less room than it may take, the shortest way is left.
                let most = most.max(call.bytes_left().saturating_sub(1));
                call.each_that_fits(vocabulary, most, |token| keep(logits, token, kept));
                only(logits, kept);
            }
            At::After => {
                kept.clear();
                plan.ends.iter().for_each(|&token| keep(logits, token, kept));
                let next = Following::next(plan);
                if !matches!(plan.choice, ToolChoice::Tool(_)) && next.bytes_left() <= most {
                    next.each_that_fits(vocabulary, most, |token| keep(logits, token, kept));
                }
                only(logits, kept);
            }
        }
    }
    // ANCHOR_END: mask

    /// Goes on by a token, or by the one that ends the reply. Returns false if it could not come; then nothing is forbidden any more.
    pub fn push(&mut self, token: usize) -> bool {
        self.left = self.left.saturating_sub(1);
        let CallGuide { vocabulary, plan, at, .. } = self;
        let next = match at {
            At::Lost => None,
            At::Text(matched) => follow::text(plan, *matched, token, vocabulary),
            At::Call(call) => call.clone().push(token, vocabulary),
            At::After if plan.ends.contains(&token) => Some(At::After),
            At::After if matches!(plan.choice, ToolChoice::Tool(_)) => None,
            At::After => Following::next(plan).push(token, vocabulary),
        };
        *at = next.unwrap_or(At::Lost);
        !matches!(at, At::Lost)
    }
}

fn forbid(logits: &mut [f64], token: usize) {
    if let Some(logit) = logits.get_mut(token) {
        *logit = f64::NEG_INFINITY;
    }
}

fn keep(logits: &[f64], token: usize, kept: &mut Vec<(usize, f64)>) {
    if let Some(&logit) = logits.get(token) {
        kept.push((token, logit));
    }
}

/// Forbids all but these. Where there are none, all may come: a reply has to go on.
fn only(logits: &mut [f64], kept: &[(usize, f64)]) {
    if !kept.is_empty() {
        logits.fill(f64::NEG_INFINITY);
        kept.iter().for_each(|&(token, logit)| logits[token] = logit);
    }
}
