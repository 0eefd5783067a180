//! The template of a model's conversations, with the special tokens that it needs.

use std::time::SystemTime;

use anyhow::Result;
use gradus::data::Conversation;
use gradus::generate::CallMarks;
use gradus::tokenizer::template::{Chat, ChatTemplate, Rendered, TemplateError};

/// A template, ready to render.
#[derive(Clone)]
pub struct Template {
    template: ChatTemplate,
    named: Vec<(String, String)>,
    special: Vec<String>,
}

impl Template {
    /// A template for a model whose tokens it may ask for by these names.
    ///
    /// # Errors
    /// If it does not parse.
    pub fn new(
        source: &str,
        named: Vec<(String, String)>,
        special: &[(String, usize)],
    ) -> Result<Self, TemplateError> {
        let special = special.iter().map(|(name, _)| name.clone()).collect();
        Ok(Template { template: ChatTemplate::new(source)?, named, special })
    }

    /// The template itself.
    pub fn template(&self) -> &ChatTemplate {
        &self.template
    }

    /// The tokens that it may ask for by name.
    pub fn named(&self) -> Vec<(&str, &str)> {
        self.named.iter().map(|(called, text)| (called.as_str(), text.as_str())).collect()
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
