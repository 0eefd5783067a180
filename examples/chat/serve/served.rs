//! The model as requests see it: how text becomes tokens, and how a conversation becomes text.

use std::sync::Arc;
use std::time::SystemTime;

use gradus::checkpoint::{EndTokens, GenerationDefaults};
use gradus::data::Conversation;
use gradus::generate::{CallMarks, Vocabulary};
use gradus::tokenizer::Tokenizer;
use gradus::tokenizer::template::{Chat, ChatTemplate, Rendered, TemplateError};
use serde_json::{Map, Value, json};

use super::error::ApiError;
use super::reply::Scored;

/// The special tokens that our own template is made of.
const ROLES: [&str; 6] = ["<user>", "</user>", "<assistant>", "</assistant>", "<system>", "</system>"];

/// What is known of the model beside its weights.
pub struct Served {
    /// What it is called.
    pub name: String,
    /// When the server began, in seconds since 1970.
    pub created: u64,
    pub tokenizer: Box<dyn Tokenizer>,
    pub tokens: EndTokens,
    pub defaults: GenerationDefaults,
    /// The most tokens of a prompt and its reply together.
    pub context: usize,
    /// The most tokens of a reply.
    pub most_tokens: usize,
    pub vocabulary: Arc<Vocabulary>,
    /// What stands around a call of a tool, if the template has calls.
    pub marks: Option<CallMarks>,
    template: Option<ChatTemplate>,
    /// What the template calls tokens by, and their texts.
    named: Vec<(String, String)>,
    special: Vec<(String, usize)>,
}

/// How many tokens there may be.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    pub context: usize,
    pub most_tokens: usize,
}

impl Served {
    /// A model of this name. Without a template, one whose tokens have the names of our own gets our own.
    ///
    /// # Errors
    /// If its template cannot be read.
    pub fn new(
        name: String,
        tokenizer: Box<dyn Tokenizer>,
        tokens: EndTokens,
        defaults: GenerationDefaults,
        template: Option<&str>,
        sizes: Sizes,
    ) -> Result<Self, TemplateError> {
        let ours = ROLES.iter().all(|name| tokenizer.special(name).is_some());
        let source = template.or(ours.then_some(ChatTemplate::GRADUS));
        let created = super::now();
        let special = tokenizer.special_tokens();
        let named = tokens.named(&tokenizer.spec());
        let template = source.map(ChatTemplate::new).transpose()?;
        let Sizes { context, most_tokens } = sizes;
        let vocabulary = Arc::new(Vocabulary::new(&*tokenizer));
        let mut served = Served {
            name,
            created,
            tokenizer,
            tokens,
            defaults,
            context,
            most_tokens,
            vocabulary,
            marks: None,
            template,
            named,
            special,
        };
        served.marks = CallMarks::of_template(|conversation| served.text_of(conversation));
        Ok(served)
    }

    /// Whether it can converse.
    pub fn converses(&self) -> bool {
        self.template.is_some()
    }

    /// A conversation as text.
    pub fn render(&self, messages: &Value, tools: Option<&Value>, ask: bool) -> Result<Rendered, ApiError> {
        let Some(template) = &self.template else {
            let problem = "this model has no chat template, so it only continues texts: use /v1/completions";
            return Err(ApiError::status(400, "no_chat_template", problem));
        };
        let named: Vec<(&str, &str)> =
            self.named.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        let special: Vec<&str> = self.special.iter().map(|(name, _)| name.as_str()).collect();
        let now = SystemTime::now();
        let chat =
            Chat { messages, tools, add_generation_prompt: ask, named: &named, special: &special, now };
        template.render(&chat).map_err(|error| ApiError::field("messages", error))
    }

    /// The tokens of a conversation.
    pub fn chat_tokens(&self, messages: &Value, tools: Option<&Value>) -> Result<Vec<usize>, ApiError> {
        let rendered = self.render(messages, tools, true)?;
        let tokens = rendered.tokens(&*self.tokenizer).map_err(|error| ApiError::field("messages", error))?;
        Ok(tokens.0)
    }

    /// The tokens of a text, in which nothing is special.
    pub fn text_tokens(&self, field: &str, text: &str, with_bos: bool) -> Result<Vec<usize>, ApiError> {
        let encoded = self.tokenizer.encode(text).map_err(|error| ApiError::field(field, error))?;
        let bos = self.tokens.bos.filter(|_| with_bos && self.tokens.add_bos);
        Ok(bos.into_iter().chain(encoded).collect())
    }

    /// The tokens that end a reply of the assistant.
    pub fn chat_ends(&self) -> Vec<usize> {
        let close = self.tokenizer.special("</assistant>");
        self.tokens.eos.iter().copied().chain(close).collect()
    }

    /// A conversation as text, if the template takes it.
    fn text_of(&self, conversation: &Conversation) -> Option<String> {
        let json = serde_json::to_value(conversation).ok()?;
        Some(self.render(&json["messages"], None, false).ok()?.text)
    }

    /// The special tokens that a reply cannot have. Those around calls are among them where nothing can be called.
    pub fn banned(&self, ends: &[usize], with_calls: bool) -> Vec<usize> {
        let marks = self.marks.as_ref().filter(|_| with_calls);
        let is_mark = |name: &str| {
            marks.is_some_and(|marks| {
                [&marks.open, &marks.next, &marks.close].iter().any(|mark| mark.contains(name))
            })
        };
        let banned = self.special.iter().filter(|(name, token)| !ends.contains(token) && !is_mark(name));
        banned.map(|&(_, token)| token).collect()
    }

    /// The text of some tokens, in which special ones stand for nothing.
    pub fn text(&self, tokens: &[usize]) -> String {
        self.tokenizer.decode(tokens)
    }

    /// What a token is called where alternatives are listed: its text, or the name of a special one. And its bytes.
    fn token(&self, token: usize) -> (String, Value) {
        if let Some((name, _)) = self.special.iter().find(|(_, id)| *id == token) {
            return (name.clone(), Value::Null);
        }
        let mut bytes = Vec::new();
        self.tokenizer.push_bytes(token, &mut bytes);
        (String::from_utf8_lossy(&bytes).into_owned(), bytes.into())
    }

    /// The probabilities of tokens, as `logprobs.content` of a conversation has them.
    pub fn chat_logprobs(&self, scored: &[Scored]) -> Value {
        let one = |token: usize, logprob: f64| {
            let (text, bytes) = self.token(token);
            json!({"token": text, "logprob": finite(logprob), "bytes": bytes})
        };
        let content: Vec<Value> = scored
            .iter()
            .map(|scored| {
                let mut entry = one(scored.token, scored.logprob);
                entry["top_logprobs"] =
                    scored.top.iter().map(|&(token, logprob)| one(token, logprob)).collect();
                entry
            })
            .collect();
        json!({"content": content, "refusal": null})
    }

    /// The same, as `logprobs` of a completion has them.
    pub fn text_logprobs(&self, scored: &[Scored]) -> Value {
        let tokens: Vec<String> = scored.iter().map(|scored| self.token(scored.token).0).collect();
        let logprobs: Vec<f64> = scored.iter().map(|scored| finite(scored.logprob)).collect();
        let top = |scored: &Scored| -> Map<String, Value> {
            scored.top.iter().map(|&(token, logprob)| (self.token(token).0, finite(logprob).into())).collect()
        };
        let top: Vec<Map<String, Value>> = scored.iter().map(top).collect();
        let starts: Vec<usize> = scored.iter().map(|scored| scored.start).collect();
        json!({"tokens": tokens, "token_logprobs": logprobs, "top_logprobs": top, "text_offset": starts})
    }
}

/// JSON has no infinity. The API uses this number where a probability is too small.
fn finite(logprob: f64) -> f64 {
    if logprob.is_finite() { logprob.max(-9999.0) } else { -9999.0 }
}
