//! The file beside a GGUF with which local runners make a model of it: Ollama's `Modelfile`.
//!
//! Such a runner has templates of its own for conversations, in the language of Go's templates, where the GGUF has Jinja. For
//! the formats of conversations that are known here, the two say the same; any other template is left to the runner.

use std::path::Path;

use super::super::{GenerationDefaults, LanguageModel, write_atomically};
use crate::checkpoint::hugging_face::FolderError;

/// A format of conversations: a name that only its Jinja templates have, and the same as a template of Go.
struct Format {
    sign: &'static str,
    template: &'static str,
}

/// Each message between two tags: `<user> … </user>`; the answer is begun with `<assistant>`.
const TAGS: Format = Format {
    sign: "</assistant>",
    template: "{{- range .Messages }}<{{ .Role }}>{{ .Content }}</{{ .Role }}>{{ end }}<assistant>",
};

/// ChatML, which Qwen has.
const CHAT_ML: Format = Format {
    sign: "<|im_start|>",
    template: "{{- range .Messages }}<|im_start|>{{ .Role }}\n{{ .Content }}<|im_end|>\n{{ end }}<|im_start|>assistant\n",
};

/// That of Llama 3.
const LLAMA_3: Format = Format {
    sign: "<|start_header_id|>",
    template: "{{- range .Messages }}<|start_header_id|>{{ .Role }}<|end_header_id|>\n\n{{ .Content }}<|eot_id|>\
               {{ end }}<|start_header_id|>assistant<|end_header_id|>\n\n",
};

/// The text as it came, for a model that was not taught to converse.
const PLAIN: &str = "{{ .Prompt }}";

/// The text of a `Modelfile` for the GGUF of this name in the same folder.
pub fn modelfile(gguf: &str, model: &LanguageModel) -> String {
    let mut text = format!("FROM ./{gguf}\n");
    match &model.chat_template {
        None => text += &format!("TEMPLATE \"\"\"{PLAIN}\"\"\"\n"),
        Some(jinja) => match [TAGS, CHAT_ML, LLAMA_3].iter().find(|format| jinja.contains(format.sign)) {
            Some(Format { template, .. }) => text += &format!("TEMPLATE \"\"\"{template}\"\"\"\n"),
            None => text += "# The template of the GGUF is used: it is in no format that is known here.\n",
        },
    }
    for &token in &model.tokens.eos {
        if let Some(name) = model.tokenizer.as_ref().ok().and_then(|spec| spec.token_text(token)) {
            text += &format!("PARAMETER stop {}\n", quoted(name));
        }
    }
    let GenerationDefaults { do_sample, temperature, top_k, top_p, repetition_penalty, max_new_tokens } =
        model.defaults;
    let temperature = if do_sample == Some(false) { Some(0.0) } else { temperature };
    let numbers = [
        ("temperature", temperature),
        ("top_k", top_k.map(|k| k as f64)),
        ("top_p", top_p),
        ("repeat_penalty", repetition_penalty),
        ("num_predict", max_new_tokens.map(|n| n as f64)),
    ];
    for (parameter, number) in numbers {
        if let Some(number) = number {
            text += &format!("PARAMETER {parameter} {number}\n");
        }
    }
    text
}

/// Writes it into the folder of a GGUF.
///
/// # Errors
/// If the system refuses.
///
/// # Panics
/// If the path has no name of a file.
pub fn export_modelfile(gguf: &Path, model: &LanguageModel) -> Result<(), FolderError> {
    let name = gguf.file_name().expect("the path of a file").to_string_lossy();
    Ok(write_atomically(&gguf.with_file_name("Modelfile"), modelfile(&name, model).as_bytes())?)
}

/// A text between quotation marks.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
