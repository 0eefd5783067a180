//! A language model to converse with: made, read from the files of other programs, looked at, spoken to, and served.
//!
//! ```text
//! cargo run --release --features chat --example chat -- talk
//! cargo run --release --features chat --example chat -- create --out my-model --data texts.txt
//! cargo run --release --features chat --example chat -- talk --model my-model --prompt "Once upon a time"
//! cargo run --release --features chat --example chat -- --help
//! ```
//!
//! - `main.rs`: the commands.
//! - `source.rs`: what a folder or file holds, and how it is read.
//! - `folder.rs`: a checkpoint of gradus with what a language model needs beside it.
//! - `create.rs`: a tokenizer from texts, and a model that has learned nothing.
//! - `train/`: a model that learns to converse; `sizes.rs`: how large one that is made here is.
//! - `talk.rs`: the prompts; `dialogue.rs`: several turns, with `template.rs` for their marks; `speaker.rs`: a model that goes on;
//!   `lines.rs`: what is typed.
//! - `evaluate/`: how good such a model is.
//! - `tools/`: what a model can call in a conversation.
//! - `serve/`: a server that several clients talk to at once.
//! - `convert.rs`: from one format into another.
//! - `info.rs`: what a model is made of; `histogram.rs`: how its weights are distributed.

mod convert;
mod create;
mod cut;
mod dialogue;
mod evaluate;
mod folder;
mod histogram;
mod info;
mod lines;
mod serve;
mod sizes;
mod source;
mod speaker;
mod talk;
mod template;
mod tools;
mod train;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use support::{Given, Program};

const EXAMPLES: &str = "\
Examples:
  cargo run --release --features chat --example chat -- talk
                                                   converse with the small model that comes with gradus
  cargo run --release --features chat --example chat -- create --out my-model --vocab-size 2000 --data texts.txt
                                                   a tokenizer of these texts, and a model that has learned nothing
  cargo run --release --features chat --example chat -- train
                                                   learn to converse; then: chat -- talk --model chat-model
  cargo run --release --features chat --example chat -- talk --model my-model --prompt 'Once upon a time'
                                                   continue a text; without --prompt, every line that is typed
  cargo run --release --features chat --example chat -- talk --model model.gguf --dtype int8 --prompts some.jsonl
                                                   continue many, with weights of 8 bits
  cargo run --release --features chat --example chat -- evaluate --model chat-model
                                                   judge it: loss, calls of tools, replies, as a report with plots
  cargo run --release --features chat --example chat -- serve --model my-model
                                                   a server for clients of OpenAI's API, with a page to chat on
  cargo run --release --features chat --example chat -- info model.gguf --plot weights.svg
                                                   what a model is made of
  cargo run --release --features chat --example chat -- export --model my-model --to hf --out for-transformers
  cargo run --release --features chat --example chat -- export --model my-model --to gguf --dtype q8_0 --out my-model.gguf
                                                   for other programs
  cargo run --release --features chat --example chat -- import for-transformers --out back
                                                   and from them

A model is a folder of Hugging Face's (Llama, Mistral, Qwen 2, Qwen 3), a .gguf, a .bin of llama2.c, or a folder of gradus: which
of them, its content says. Each command explains its options: chat -- talk --help";

/// A language model: made, read from the files of other programs, looked at, spoken to, and served.
#[derive(Parser)]
#[command(name = "chat", after_help = EXAMPLES)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Create(create::Create),
    Train(Box<train::Train>),
    Talk(talk::Talk),
    Evaluate(Box<evaluate::Evaluate>),
    Serve(serve::Serve),
    Info(info::Info),
    Import(convert::Import),
    Export(convert::Export),
}

impl Program for Args {
    fn run(&self, given: &Given) -> Result<()> {
        match &self.command {
            Command::Create(create) => create.run(given),
            Command::Train(train) => train.run(given),
            Command::Talk(talk) => talk.run(given),
            Command::Evaluate(evaluate) => evaluate.run(),
            Command::Serve(serve) => serve.run(),
            Command::Info(info) => info.run(),
            Command::Import(import) => import.run(),
            Command::Export(export) => export.run(),
        }
    }
}

fn main() -> ExitCode {
    Args::start()
}
