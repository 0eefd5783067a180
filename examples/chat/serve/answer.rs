//! The JSON of replies: whole ones, and the chunks of those that come piece by piece.

use serde_json::{Map, Value, json};

use super::reply::{CallPart, Finish, Piece};
use super::served::Served;

/// The two shapes of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Of `/v1/chat/completions`.
    Chat,
    /// Of `/v1/completions`.
    Text,
}

/// What all parts of an answer have in common.
pub struct Answer<'s> {
    served: &'s Served,
    shape: Shape,
    /// A name for this answer.
    id: u64,
    created: u64,
    prompt_tokens: usize,
    /// Whether probabilities were asked for.
    logprobs: bool,
    /// How many calls have begun.
    calls: usize,
}

impl<'s> Answer<'s> {
    pub fn new(served: &'s Served, shape: Shape, prompt_tokens: usize, logprobs: bool) -> Self {
        let (id, created) = (super::random_number(), super::now());
        Answer { served, shape, id, created, prompt_tokens, logprobs, calls: 0 }
    }

    /// A whole reply, of everything that was said.
    pub fn whole(mut self, said: Piece, finish: Finish, tokens: usize) -> Value {
        let logprobs = self.probabilities(&said);
        let choice = match self.shape {
            Shape::Text => {
                json!({"index": 0, "text": said.text, "logprobs": logprobs, "finish_reason": finish.name()})
            }
            Shape::Chat => {
                let mut calls = self.calls(said.calls);
                calls
                    .iter_mut()
                    .filter_map(Value::as_object_mut)
                    .for_each(|call| drop(call.shift_remove("index")));
                let content =
                    if said.text.is_empty() && !calls.is_empty() { Value::Null } else { said.text.into() };
                let mut message = json!({"role": "assistant", "content": content, "refusal": null});
                if !calls.is_empty() {
                    message["tool_calls"] = calls.into();
                }
                json!({"index": 0, "message": message, "logprobs": logprobs, "finish_reason": finish.name()})
            }
        };
        let mut answer = self.frame(match self.shape {
            Shape::Chat => "chat.completion",
            Shape::Text => "text_completion",
        });
        answer["choices"] = json!([choice]);
        answer["usage"] = self.usage(tokens);
        answer
    }

    /// What a streamed reply begins with, if anything.
    pub fn first(&self) -> Option<Value> {
        let delta = json!({"role": "assistant", "content": "", "refusal": null});
        (self.shape == Shape::Chat).then(|| {
            self.chunk(json!([{
                "index": 0, "delta": delta, "logprobs": null, "finish_reason": null
            }]))
        })
    }

    /// A piece of a streamed reply.
    pub fn piece(&mut self, said: Piece) -> Value {
        let logprobs = self.probabilities(&said);
        if self.shape == Shape::Text {
            return self.chunk(
                json!([{"index": 0, "text": said.text, "logprobs": logprobs, "finish_reason": null}]),
            );
        }
        let mut delta = Map::new();
        if !said.text.is_empty() || said.calls.is_empty() {
            delta.insert("content".to_owned(), said.text.into());
        }
        if !said.calls.is_empty() {
            delta.insert("tool_calls".to_owned(), self.calls(said.calls).into());
        }
        self.chunk(json!([{"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": null}]))
    }

    /// The end of a streamed reply.
    pub fn last(&self, finish: Finish) -> Value {
        let finish = finish.name();
        self.chunk(match self.shape {
            Shape::Chat => json!([{"index": 0, "delta": {}, "logprobs": null, "finish_reason": finish}]),
            Shape::Text => json!([{"index": 0, "text": "", "logprobs": null, "finish_reason": finish}]),
        })
    }

    /// How many tokens there were, as a chunk of its own.
    pub fn usage_chunk(&self, tokens: usize) -> Value {
        let mut chunk = self.chunk(json!([]));
        chunk["usage"] = self.usage(tokens);
        chunk
    }

    fn usage(&self, tokens: usize) -> Value {
        let prompt = self.prompt_tokens;
        json!({"prompt_tokens": prompt, "completion_tokens": tokens, "total_tokens": prompt + tokens})
    }

    fn chunk(&self, choices: Value) -> Value {
        let mut chunk = self.frame(match self.shape {
            Shape::Chat => "chat.completion.chunk",
            Shape::Text => "text_completion",
        });
        chunk["choices"] = choices;
        chunk
    }

    fn frame(&self, object: &str) -> Value {
        let kind = match self.shape {
            Shape::Chat => "chatcmpl",
            Shape::Text => "cmpl",
        };
        let id = format!("{kind}-{:016x}", self.id);
        json!({"id": id, "object": object, "created": self.created, "model": self.served.name})
    }

    /// Calls, or the next parts of them: each begins with its name, and what is written of its arguments follows.
    fn calls(&mut self, parts: Vec<CallPart>) -> Vec<Value> {
        let mut calls: Vec<Value> = Vec::new();
        for part in parts {
            match (part, calls.last_mut()) {
                (CallPart::Name(name), _) => {
                    let (nth, id) = (self.calls, format!("call_{:016x}_{}", self.id, self.calls));
                    let function = json!({"name": name, "arguments": ""});
                    calls.push(json!({"index": nth, "id": id, "type": "function", "function": function}));
                    self.calls += 1;
                }
                (CallPart::Arguments(more), Some(call)) => {
                    if let Value::String(arguments) = &mut call["function"]["arguments"] {
                        *arguments += &more;
                    }
                }
                (CallPart::Arguments(more), None) => {
                    let nth = self.calls.saturating_sub(1);
                    calls.push(json!({"index": nth, "function": {"arguments": more}}));
                }
            }
        }
        calls
    }

    fn probabilities(&self, said: &Piece) -> Value {
        match self.shape {
            _ if !self.logprobs => Value::Null,
            Shape::Chat => self.served.chat_logprobs(&said.scored),
            Shape::Text => self.served.text_logprobs(&said.scored),
        }
    }
}
