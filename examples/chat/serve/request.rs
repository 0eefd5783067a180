//! What a request asks for, checked field by field.

use gradus::generate::{CallGuide, CallReader, Reply, Sampling, ToolChoice};
use serde_json::{Value, json};

use super::error::ApiError;
use super::fields::{Fields, kind};
use super::messages::{Tools, messages, response_format, tools};
use super::reply::{Calls, Form, Manner};
use super::served::Served;

/// The most stop strings, and the most bytes of each.
const STOPS: (usize, usize) = (16, 256);

/// The most alternatives of a token.
const ALTERNATIVES: usize = 20;

/// Fields of the API that have nothing to do with what the model says.
const HARMLESS: [&str; 7] = [
    "metadata",
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
    "service_tier",
    "store",
    "user",
];

/// What is to be written.
#[derive(Debug)]
pub struct Asked {
    pub prompt: Vec<usize>,
    pub manner: Manner,
    /// Whether the reply comes as events, piece by piece.
    pub stream: bool,
    /// Whether such a reply ends with how many tokens there were.
    pub usage: bool,
}

/// A request of `/v1/chat/completions`.
pub fn chat(served: &Served, body: &[u8]) -> Result<Asked, ApiError> {
    let mut fields = Fields::of_body(body)?;
    let messages = messages(&mut fields)?;
    let tools = tools(&mut fields)?;
    let choice = tool_choice(&mut fields, tools.as_ref())?;
    let only_one = fields.flag("parallel_tool_calls")? == Some(false);
    let tools = tools.filter(|_| choice != ToolChoice::None);
    let schema = response_format(&mut fields)?;
    if tools.is_some() && schema.is_some() {
        let problem = "with tools this server only knows \"text\": set \"tool_choice\": \"none\", or leave one of them out";
        return Err(ApiError::unsupported("response_format", problem));
    }
    let logprobs = fields.flag("logprobs")?.unwrap_or(false);
    let top = fields.whole("top_logprobs", 0..=ALTERNATIVES)?;
    if top.is_some() && !logprobs {
        return Err(ApiError::field("top_logprobs", "it needs \"logprobs\": true"));
    }
    fields.only("modalities", &[json!(["text"])])?;
    let most = match fields.whole("max_completion_tokens", 1..=usize::MAX)? {
        Some(most) => {
            fields.ignore(&["max_tokens"]);
            Some(most)
        }
        None => fields.whole("max_tokens", 1..=usize::MAX)?,
    };
    let ends = served.chat_ends();
    let mut manner = manner(served, &mut fields, most, ends)?;
    if tools.is_some() {
        manner.banned = served.banned(&manner.ends, true);
    }
    manner.logprobs = logprobs.then_some(top.unwrap_or(0));
    let (stream, usage) = streaming(&mut fields)?;
    fields.end()?;
    let prompt = served.chat_tokens(&messages, tools.as_ref().map(|tools| &tools.json))?;
    let mut asked = fitted(served, Asked { prompt, manner, stream, usage }, "messages")?;
    let reply = Reply { ends: asked.manner.ends.clone(), max_tokens: asked.manner.max_tokens };
    if let Some(tools) = tools {
        asked.manner.form = calls(served, &tools, &choice, only_one, reply, &asked.prompt)?;
    } else if let Some(schema) = schema {
        let guide = CallGuide::value(&served.vocabulary, &schema, reply);
        let wrong = |problem| ApiError::unsupported("response_format", problem);
        asked.manner.form = Form::Value(Box::new(guide.map_err(wrong)?));
    }
    Ok(asked)
}

/// How a reply is written in which tools may be called.
fn calls(
    served: &Served,
    tools: &Tools,
    choice: &ToolChoice,
    only_one: bool,
    reply: Reply,
    prompt: &[usize],
) -> Result<Form, ApiError> {
    let Some(marks) = &served.marks else {
        let problem = "the template of this model has no calls, as JSON between marks, so it cannot call any";
        return Err(ApiError::unsupported("tools", problem));
    };
    let Served { vocabulary, tokenizer, .. } = served;
    let guide = CallGuide::new(vocabulary, marks, &tools.list, choice, reply);
    let guide = guide.map_err(|error| ApiError::unsupported("tools", error))?;
    let reader = CallReader::new(marks, vocabulary, &**tokenizer, prompt);
    Ok(Form::Calls(Box::new(Calls { guide, reader, only_one })))
}

/// A request of `/v1/completions`.
pub fn completion(served: &Served, body: &[u8]) -> Result<Asked, ApiError> {
    let mut fields = Fields::of_body(body)?;
    let prompt = prompt(served, fields.required("prompt")?)?;
    // So many tokens as the API writes if nobody says how many.
    let most = fields.whole("max_tokens", 1..=usize::MAX)?.unwrap_or(16);
    let logprobs = fields.whole("logprobs", 0..=ALTERNATIVES)?;
    fields.only("best_of", &[json!(1)])?;
    fields.only("echo", &[json!(false)])?;
    fields.only("suffix", &[json!("")])?;
    let mut manner = manner(served, &mut fields, Some(most), served.tokens.eos.clone())?;
    manner.logprobs = logprobs;
    let (stream, usage) = streaming(&mut fields)?;
    fields.end()?;
    fitted(served, Asked { prompt, manner, stream, usage }, "prompt")
}

/// A prompt: a text, or tokens; or a list with one of them.
fn prompt(served: &Served, value: Value) -> Result<Vec<usize>, ApiError> {
    let value = match value {
        Value::Array(mut items) if items.len() == 1 && !items[0].is_number() => items.swap_remove(0),
        other => other,
    };
    match value {
        Value::String(text) => served.text_tokens("prompt", &text, true),
        Value::Array(items) if items.iter().all(Value::is_number) => token_list(served, "prompt", &items),
        Value::Array(_) => Err(ApiError::unsupported(
            "prompt",
            "this server takes one prompt a request: send the others in requests of their own",
        )),
        other => Err(ApiError::field(
            "prompt",
            format!("it is to be a string or a list of tokens, not {}", kind(&other)),
        )),
    }
}

/// Tokens, which are numbers below the size of the vocabulary.
pub fn token_list(served: &Served, field: &str, items: &[Value]) -> Result<Vec<usize>, ApiError> {
    let vocab = served.tokenizer.vocab_size();
    let one = |(at, item): (usize, &Value)| {
        let token =
            item.as_u64().and_then(|token| usize::try_from(token).ok()).filter(|&token| token < vocab);
        token.ok_or_else(|| {
            let problem = format!("{item} is no token: they are whole numbers from 0 to {}", vocab - 1);
            ApiError::field(format!("{field}[{at}]"), problem)
        })
    };
    items.iter().enumerate().map(one).collect()
}

/// What both kinds of requests can say about how a reply is written.
fn manner(
    served: &Served,
    fields: &mut Fields,
    most: Option<usize>,
    ends: Vec<usize>,
) -> Result<Manner, ApiError> {
    fields.text("model")?; // there is one, whatever it is called
    fields.ignore(&HARMLESS);
    fields.only("n", &[json!(1)])?;
    fields.only("frequency_penalty", &[json!(0)])?;
    fields.only("presence_penalty", &[json!(0)])?;
    fields.only("logit_bias", &[json!({})])?;
    let defaults = served.defaults;
    let natural = if defaults.do_sample == Some(false) { 0.0 } else { defaults.temperature.unwrap_or(1.0) };
    let top_k = fields.whole("top_k", 0..=usize::MAX)?.or(defaults.top_k).filter(|&k| k > 0);
    let penalty = fields.number("repetition_penalty", 0.01..=100.0)?;
    let sampling = Sampling {
        temperature: fields.number("temperature", 0.0..=2.0)?.unwrap_or(natural),
        top_p: fields.number("top_p", 0.0..=1.0)?.or(defaults.top_p),
        top_k,
        min_p: fields.number("min_p", 0.0..=1.0)?,
        repetition_penalty: penalty.or(defaults.repetition_penalty).unwrap_or(1.0),
        ..Sampling::default()
    };
    Ok(Manner {
        sampling,
        seed: seed(fields)?,
        stop: stop(fields)?,
        banned: served.banned(&ends, false),
        ends,
        max_tokens: most.unwrap_or(usize::MAX),
        form: Form::Text,
        logprobs: None,
    })
}

/// Where randomness begins: any whole number of 64 bits. Without one, it differs each time.
fn seed(fields: &mut Fields) -> Result<u64, ApiError> {
    match fields.any("seed") {
        None => Ok(super::random_number()),
        Some(value) => match (value.as_u64(), value.as_i64()) {
            (Some(seed), _) => Ok(seed),
            (None, Some(seed)) => Ok(seed as u64), // the same bits
            _ => Err(ApiError::field("seed", format!("it is to be a whole number of 64 bits, not {value}"))),
        },
    }
}

/// A stop string, or a list of them.
fn stop(fields: &mut Fields) -> Result<Vec<String>, ApiError> {
    let items = match fields.any("stop") {
        None => return Ok(Vec::new()),
        Some(Value::Array(items)) => items,
        Some(one) => vec![one],
    };
    let (count, length) = STOPS;
    let wrong = || {
        ApiError::field(
            "stop",
            format!("it is to be a string or a list of at most {count}, each of 1 to {length} bytes"),
        )
    };
    if items.len() > count {
        return Err(wrong());
    }
    let one = |item| match item {
        Value::String(text) if (1..=length).contains(&text.len()) => Ok(text),
        _ => Err(wrong()),
    };
    items.into_iter().map(one).collect()
}

/// Whether tools may be called, or have to be.
fn tool_choice(fields: &mut Fields, tools: Option<&Tools>) -> Result<ToolChoice, ApiError> {
    let Some(choice) = fields.any("tool_choice") else { return Ok(ToolChoice::Auto) };
    let Some(tools) = tools else {
        return Err(ApiError::field("tool_choice", "there are no tools to choose from"));
    };
    let known = "\"auto\", \"none\", \"required\" and {\"type\": \"function\", \"function\": {\"name\": …}}";
    let wrong = || ApiError::unsupported("tool_choice", format!("this server only knows {known}"));
    match choice {
        Value::String(word) => match word.as_str() {
            "auto" => Ok(ToolChoice::Auto),
            "none" => Ok(ToolChoice::None),
            "required" => Ok(ToolChoice::Required),
            _ => Err(wrong()),
        },
        choice @ Value::Object(_) => {
            let mut choice = Fields::of("tool_choice", choice)?;
            if choice.text("type")?.as_deref() != Some("function") {
                return Err(wrong());
            }
            let mut function = Fields::of("tool_choice.function", choice.required("function")?)?;
            choice.end()?;
            let name = function.text("name")?;
            let name = name.ok_or_else(|| ApiError::field(function.name("name"), "it is missing"))?;
            function.end()?;
            let names: Vec<&str> = tools.list.iter().map(|tool| tool.name.as_str()).collect();
            if !names.contains(&name.as_str()) {
                let problem = format!("there is no tool {name:?}, only {}", names.join(", "));
                return Err(ApiError::field("tool_choice", problem));
            }
            Ok(ToolChoice::Tool(name))
        }
        _ => Err(wrong()),
    }
}

/// Whether the reply comes in pieces, and whether with how many tokens it has.
fn streaming(fields: &mut Fields) -> Result<(bool, bool), ApiError> {
    let stream = fields.flag("stream")?.unwrap_or(false);
    let Some(options) = fields.any("stream_options") else { return Ok((stream, false)) };
    if !stream {
        return Err(ApiError::field("stream_options", "it needs \"stream\": true"));
    }
    let mut options = Fields::of("stream_options", options)?;
    let usage = options.flag("include_usage")?.unwrap_or(false);
    options.ignore(&["include_obfuscation"]);
    options.end()?;
    Ok((stream, usage))
}

/// With a maximum that fits: into what is left of the context, and into what the server allows.
fn fitted(served: &Served, asked: Asked, field: &str) -> Result<Asked, ApiError> {
    let Asked { prompt, mut manner, stream, usage } = asked;
    if prompt.is_empty() {
        return Err(ApiError::field(
            field,
            "there are no tokens in it, and the model has none to begin with",
        ));
    }
    let context = served.context;
    if prompt.len() >= context {
        let problem = format!(
            "{field}: {} tokens, and there is room for {context} with the reply: shorten it, or start the server with a larger \
             --context, if the model has one",
            prompt.len()
        );
        return Err(ApiError::too_long(problem));
    }
    manner.max_tokens = manner.max_tokens.min(context - prompt.len()).min(served.most_tokens);
    Ok(Asked { prompt, manner, stream, usage })
}
