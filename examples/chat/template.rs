//! The template of a model's conversations, with the special tokens that it needs.

use std::time::SystemTime;

use anyhow::Result;
use gradus::checkpoint::EndTokens;
use gradus::data::Conversation;
use gradus::generate::CallMarks;
use gradus::tokenizer::template::{Chat, ChatTemplate, Rendered, TemplateError};

/// A template, ready to render.
#[derive(Clone)]
pub struct Template {
    template: ChatTemplate,
    named: Vec<(&'static str, String)>,
    special: Vec<String>,
}

impl Template {
    /// A template for a model with these tokens.
    ///
    /// # Errors
    /// If it does not parse.
    pub fn new(source: &str, tokens: &EndTokens, special: &[(String, usize)]) -> Result<Self, TemplateError> {
        let name = |id: usize| special.iter().find(|(_, token)| *token == id).map(|(name, _)| name.clone());
        let known = [
            ("bos_token", tokens.bos),
            ("eos_token", tokens.eos.first().copied()),
            ("pad_token", tokens.pad),
        ];
        let named = known.into_iter().filter_map(|(called, id)| Some((called, name(id?)?))).collect();
        let special = special.iter().map(|(name, _)| name.clone()).collect();
        Ok(Template { template: ChatTemplate::new(source)?, named, special })
    }

    /// The template itself.
    pub fn template(&self) -> &ChatTemplate {
        &self.template
    }

    /// The special tokens that it asks for by name.
    pub fn named(&self) -> Vec<(&str, &str)> {
        self.named.iter().map(|(called, name)| (*called, name.as_str())).collect()
    }

    /// The marks around calls of tools, if it knows calls of the usual form.
    pub fn call_marks(&self) -> Option<CallMarks> {
        CallMarks::of_template(|conversation| {
            self.render(conversation, false, SystemTime::now()).ok().map(|rendered| rendered.text)
        })
    }

    /// A conversation as text; with `prompt`, up to where the assistant is to go on.
    ///
    /// # Errors
    /// If the template refuses it.
    pub fn render(
        &self,
        conversation: &Conversation,
        prompt: bool,
        now: SystemTime,
    ) -> Result<Rendered, TemplateError> {
        let json = serde_json::to_value(conversation).expect("a conversation is plain JSON");
        let special: Vec<&str> = self.special.iter().map(String::as_str).collect();
        self.template.render(&Chat {
            messages: &json["messages"],
            tools: json.get("tools"),
            add_generation_prompt: prompt,
            named: &self.named(),
            special: &special,
            now,
        })
    }
}
