//! From a conversation to the tokens that a model trains on, and which of them it learns to say.

use std::time::SystemTime;

use serde_json::Value;

use super::{Conversation, Role};
use crate::data::Batch;
use crate::data::text::fingerprint;
use crate::tokenizer::Tokenizer;
use crate::tokenizer::template::{Chat, ChatTemplate, TemplateError};

/// What of a conversation counts in the loss.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Learn {
    /// What the assistant says, its end token and its tool calls.
    #[default]
    Assistant,
    /// Every token.
    All,
}

/// Makes tokens of conversations, by the template of a model and its tokenizer.
pub struct ConversationEncoder<'a> {
    template: &'a ChatTemplate,
    tokenizer: &'a dyn Tokenizer,
    named: &'a [(&'a str, &'a str)],
    special: Vec<String>,
    most: usize,
    learn: Learn,
}

/// A conversation as tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConversationTokens {
    /// The tokens.
    pub tokens: Vec<usize>,
    /// For each of them, whether a model learns to say it.
    pub learned: Vec<bool>,
    /// How many messages at its end were left out, since they do not fit.
    pub left_out: usize,
}

/// Why nothing can be learned from a conversation.
#[derive(Debug, thiserror::Error)]
pub enum Unlearnable {
    /// The template refuses it, or the tokenizer does not know a character.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// Not even its first turn fits into the context.
    #[error(
        "it takes {tokens} tokens, of which {most} fit, and its first reply ends after that: shorten it, or give the model a \
         longer context"
    )]
    TooLong {
        /// The tokens of all of it.
        tokens: usize,
        /// The most that fit.
        most: usize,
    },
    /// No token that the assistant says.
    #[error(
        "none of its tokens is supervised: the template marks nothing in it with {{% generation %}}, so there is nothing to learn"
    )]
    NothingSaid,
}

impl<'a> ConversationEncoder<'a> {
    /// An encoder for a model that reads up to `context` tokens: a sequence may have one more, the last, which is only predicted.
    /// `named` are the special tokens that the template asks for, such as `("bos_token", "<s>")`.
    pub fn new(
        template: &'a ChatTemplate,
        tokenizer: &'a dyn Tokenizer,
        named: &'a [(&'a str, &'a str)],
        context: usize,
        learn: Learn,
    ) -> Self {
        let special = tokenizer.special_tokens().into_iter().map(|(name, _)| name).collect();
        ConversationEncoder { template, tokenizer, named, special, most: context.saturating_add(1), learn }
    }

    /// The tokens of a conversation. One that is too long is cut after the last reply that fits. A template that tells the day
    /// tells that of 1 January 1970, so that the tokens are the same on every day.
    ///
    /// # Errors
    /// If the template refuses it, if its first reply does not fit, or if there is nothing to learn.
    pub fn encode(&self, conversation: &Conversation) -> Result<ConversationTokens, Unlearnable> {
        let json = serde_json::to_value(conversation).expect("a conversation is plain JSON");
        let tools = json.get("tools");
        let messages = json["messages"].as_array().expect("messages are an array");
        let whole = self.tokens(messages, messages.len(), tools)?;
        let found = if whole.tokens.len() <= self.most {
            whole
        } else {
            let too_long = Unlearnable::TooLong { tokens: whole.tokens.len(), most: self.most };
            self.longest_that_fits(conversation, messages, tools)?.ok_or(too_long)?
        };
        // Nothing predicts the first token.
        let says = found.learned.iter().skip(1).any(|learned| *learned);
        if says { Ok(found) } else { Err(Unlearnable::NothingSaid) }
    }

    /// Of the parts that end with a reply. A part is the longer the more messages it has, so halving finds it.
    fn longest_that_fits(
        &self,
        conversation: &Conversation,
        messages: &[Value],
        tools: Option<&Value>,
    ) -> Result<Option<ConversationTokens>, Unlearnable> {
        let replies = conversation.messages.iter().zip(1..);
        let ends: Vec<usize> = replies
            .filter(|(message, _)| message.role == Role::Assistant && message.tool_calls.is_empty())
            .map(|(_, count)| count)
            .collect();
        let (mut low, mut high, mut best) = (0, ends.len(), None);
        while low < high {
            let middle = usize::midpoint(low, high);
            let part = self.tokens(messages, ends[middle], tools)?;
            if part.tokens.len() <= self.most {
                (low, best) = (middle + 1, Some(part));
            } else {
                high = middle;
            }
        }
        Ok(best)
    }

    /// The tokens of the first `count` messages.
    fn tokens(
        &self,
        messages: &[Value],
        count: usize,
        tools: Option<&Value>,
    ) -> Result<ConversationTokens, TemplateError> {
        let special: Vec<&str> = self.special.iter().map(String::as_str).collect();
        let rendered = self.template.render(&Chat {
            messages: &Value::from(&messages[..count]),
            tools,
            add_generation_prompt: false,
            named: self.named,
            special: &special,
            now: SystemTime::UNIX_EPOCH,
        })?;
        let (tokens, mut learned) = rendered.tokens(self.tokenizer)?;
        if self.learn == Learn::All {
            learned.fill(true);
        }
        Ok(ConversationTokens { tokens, learned, left_out: messages.len() - count })
    }
}

impl ConversationTokens {
    // ANCHOR: push_to
    /// Appends it to a batch as a sequence of its own, which sees nothing of the others. A token that is learned weighs 1 where
    /// it is the target, and every other 0.
    pub fn push_to(&self, batch: &mut Batch) {
        let weights = self.learned.iter().map(|learned| f64::from(u8::from(*learned)));
        batch.push_weighted(self.tokens.iter().copied().zip(weights));
    }
    // ANCHOR_END: push_to

    /// How many tokens are learned.
    pub fn learned_count(&self) -> usize {
        self.learned.iter().filter(|learned| **learned).count()
    }

    /// A number that follows from all tokens of some conversations, and from which of them are learned.
    pub fn fingerprint<'a>(all: impl IntoIterator<Item = &'a Self>) -> u64 {
        let bytes = |(token, learned): (&usize, &bool)| {
            (*token as u64).to_le_bytes().into_iter().chain([u8::from(*learned)])
        };
        let of_one = |one: &'a Self| one.tokens.iter().zip(&one.learned).flat_map(bytes).chain([0xff]);
        fingerprint(all.into_iter().flat_map(of_one))
    }
}
