//! From one format into another.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use gradus::checkpoint::{GenerationDefaults, LanguageModel, StoredAs, gguf, llama};
use gradus::model::Model;
use support::units::{bytes, grouped};
use support::{Usage, say};

use crate::folder;
use crate::source::Source;

/// Read a model of another program into a folder of gradus
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  chat -- import for-transformers --out mine          a folder of Hugging Face's
  chat -- import model.gguf --out mine
  chat -- import stories260K.bin --tokenizer tok512.bin --out stories")]
pub struct Import {
    /// A folder or file, of whichever format
    #[arg(value_name = "PATH")]
    path: PathBuf,
    /// The folder to write
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The tokenizer of a checkpoint of llama2.c [default: tokenizer.bin beside it, or the only tok*.bin]
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,
    /// Replace what is there
    #[arg(long)]
    overwrite: bool,
}

impl Import {
    pub fn run(&self) -> Result<()> {
        folder::check_new(&self.out, self.overwrite)?;
        let source = Source::at(&self.path, self.tokenizer.as_deref())?;
        let language_model = source.read()?;
        folder::write(&self.out, &language_model).with_context(|| self.path.display().to_string())?;
        say!("{}: {}", self.path.display(), source.format);
        said_to(&self.out, &language_model, "a checkpoint of gradus");
        Ok(())
    }
}

/// Write a model for other programs
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  chat -- export --model mine --to hf --out for-transformers --dtype bf16
  chat -- export --model mine --to gguf --out mine.gguf --dtype q8_0      also writes a Modelfile beside it
  chat -- export --model base --adapter lora --to hf --out merged         the base with the adapter in its weights")]
pub struct Export {
    /// The model: a folder or file, of whichever format
    #[arg(long, value_name = "PATH")]
    model: PathBuf,
    /// The tokenizer of a checkpoint of llama2.c [default: tokenizer.bin beside it, or the only tok*.bin]
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,
    /// A folder with an adapter (LoRA), as `train --use-lora` and peft write it, which is merged into the weights
    #[arg(long, value_name = "DIR")]
    adapter: Option<PathBuf>,
    /// The format to write
    #[arg(long, value_enum)]
    to: To,
    /// The folder to write, or the .gguf file
    #[arg(long, value_name = "PATH")]
    out: PathBuf,
    /// How matrices are stored
    #[arg(long, value_enum, default_value_t = Stored::F32)]
    dtype: Stored,
    /// Note in it that the likeliest token is to be chosen, and that repeating is no fault, unless somebody asks for another manner: for a
    /// model that is to copy what it reads, such as the arguments of tools
    #[arg(long)]
    greedy: bool,
    /// Replace what is there
    #[arg(long)]
    overwrite: bool,
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum To {
    /// A folder that transformers opens
    Hf,
    /// A file that llama.cpp opens, and a Modelfile beside it
    Gguf,
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Stored {
    /// 32 bits, as they are
    F32,
    /// 16 bits, up to 65504, with about three digits
    F16,
    /// 16 bits, as large as with 32, with about two digits
    Bf16,
    /// Blocks of 32 numbers of 8 bits with a scale: of GGUF only
    #[value(name = "q8_0")]
    Q8_0,
}

impl Export {
    pub fn run(&self) -> Result<()> {
        let folder_type = match self.dtype {
            Stored::F32 => Some(StoredAs::F32),
            Stored::F16 => Some(StoredAs::F16),
            Stored::Bf16 => Some(StoredAs::Bf16),
            Stored::Q8_0 => None,
        };
        let modelfile = self.out.with_file_name("Modelfile");
        if self.to == To::Gguf {
            ensure!(
                self.out.extension().is_some_and(|end| end == "gguf"),
                Usage(format!(
                    "{} is to be a file: give --out a name that ends in .gguf",
                    self.out.display()
                ))
            );
            folder::check_new(&modelfile, self.overwrite)?;
        } else {
            let cure = "--dtype q8_0 is for --to gguf: a folder of Hugging Face's has f32, f16 and bf16";
            ensure!(folder_type.is_some(), Usage::of(cure));
            ensure!(!self.out.is_file(), "{} is a file, where a folder is to be written", self.out.display());
        }
        folder::check_new(&self.out, self.overwrite)?;
        let source = Source::at(&self.model, self.tokenizer.as_deref())?;
        let mut language_model = source.with_adapter(self.adapter.as_deref()).read()?;
        if self.greedy {
            let GenerationDefaults { max_new_tokens, .. } = language_model.defaults;
            language_model.defaults = GenerationDefaults {
                do_sample: Some(false),
                repetition_penalty: Some(1.0),
                max_new_tokens,
                ..GenerationDefaults::default()
            };
        }
        match (self.to, folder_type) {
            (To::Hf, Some(stored_as)) => {
                llama::export(&self.out, &language_model, stored_as)?;
                said_to(&self.out, &language_model, "a folder of Hugging Face's");
            }
            _ => {
                let kind = match self.dtype {
                    Stored::F32 => gguf::TensorType::F32,
                    Stored::F16 => gguf::TensorType::F16,
                    Stored::Bf16 => gguf::TensorType::Bf16,
                    Stored::Q8_0 => gguf::TensorType::Q8_0,
                };
                gguf::export(&self.out, &language_model, kind)?;
                gguf::export_modelfile(&self.out, &language_model)?;
                said_to(&self.out, &language_model, "a GGUF file");
                say!("written to {}: how local runners are to use it", modelfile.display());
            }
        }
        Ok(())
    }
}

/// Says what was written.
fn said_to(path: &Path, language_model: &LanguageModel, what: &str) {
    let count = grouped(language_model.model.layout().len() as u64);
    let size = path.metadata().ok().filter(|meta| meta.is_file());
    let size = size.map_or_else(String::new, |meta| format!(", {}", bytes(meta.len() as f64)));
    say!("written to {}: {what}, {count} parameters{size}", path.display());
}
