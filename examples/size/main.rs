//! What a model of any size costs: parameters, memory, operations, and how long it would take to train it on this machine.
//!
//! ```text
//! cargo run --release --example size
//! cargo run --release --example size -- --preset tiny --measure
//! cargo run --release --example size -- --help
//! ```
//!
//! - `main.rs`: the command line, and which model it asks for.
//! - `subject.rs`: a model of any family, with what is special about it.
//! - `report.rs`: the figures, as lines or as tables.
//! - `measure.rs`: how fast this machine is, by a product of matrices or by real steps.

mod measure;
mod report;
mod subject;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, ValueEnum};
use gradus::model::{
    Decoder, DecoderConfig, EncoderDecoder, EncoderDecoderConfig, LoraConfig, LoraTarget, Model, ModelSpec,
    Preset, Sphere, SphereConfig,
};
use gradus::thread_pool::ThreadPool;
use support::args::whole;
use support::{Given, Program, SizeArgs, Usage};

use crate::report::Sheet;
use crate::subject::Subject;

const EXAMPLES: &str = "\
Examples:
  cargo run --release --example size                                  GPT-2's smallest, 124 million parameters
  cargo run --release --example size -- --preset medium               GPT-2's second, 355 million
  cargo run --release --example size -- --preset tiny --measure       10 million, and a few real steps of it
  cargo run --release --example size -- --layers 8 --embd 512 --heads 8
                                                                      a size of your own, in the architecture of GPT-2
  cargo run --release --example size -- --preset llama --lora-rank 16
                                                                      its adapters are trained, and nothing else
  cargo run --release --example size -- --preset translate-modern     a translator
  cargo run --release --example size -- --preset small --markdown     as tables";

/// What a model of any size costs.
///
/// It counts parameters and operations, measures on a small batch what a step of training keeps in memory, and says how long
/// a training by the rule of Chinchilla would take on this machine.
#[derive(Parser)]
#[command(after_help = EXAMPLES)]
#[command(mut_arg("layers", |option| option.hide_default_value(true).help(
    "Blocks of the transformer, of a translator on both sides. All sizes together may give a model at most 2^32 parameters \
     [default: the preset's]"
)))]
#[command(mut_arg("embd", |option| option.hide_default_value(true).help(
    "Its width; the feed-forward networks keep theirs in proportion [default: the preset's]"
)))]
#[command(mut_arg("heads", |option| option.hide_default_value(true).help(
    "Heads of attention, which must divide the width [default: the preset's]"
)))]
#[command(mut_arg("context", |option| option.hide_default_value(true).help(
    "The longest sequence it can read: at most 1048576 tokens [default: the preset's]"
)))]
struct Args {
    /// The model to begin with
    #[arg(long, value_enum, default_value_t = PresetName::Small)]
    preset: PresetName,
    /// Sequences in a step of training, each as long as the context: at most 4096
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = whole(1..=4096))]
    batch: usize,
    /// Make a few real steps with AdamW, on random tokens. Without --batch, on as many sequences as fit into memory
    #[arg(long)]
    measure: bool,
    /// How many steps: at most 1000. None is begun after a minute
    #[arg(long, value_name = "N", default_value_t = 3, requires = "measure", value_parser = whole(1..=1000))]
    steps: usize,
    /// Threads: at most 1024 [default: all that the machine has]
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true, value_parser = whole(0..=1024))]
    threads: usize,
    /// Print tables of Markdown
    #[arg(long)]
    markdown: bool,
    #[command(flatten)]
    sizes: SizeArgs,
    /// How many different tokens there are: at most 16777216 [default: the preset's]
    #[arg(long, value_name = "N", value_parser = whole(1..=1 << 24))]
    vocab_size: Option<usize>,
    /// Freeze the model, and train LoRA adapters of this rank beside its layers: at most 65536. For decoders
    #[arg(long, value_name = "N", value_parser = whole(1..=1 << 16))]
    lora_rank: Option<usize>,
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq)]
enum PresetName {
    /// GPT-2's architecture with 10 million parameters
    Tiny,
    /// A Llama with 42 million, of which 16 are the table of tokens
    Llama,
    /// GPT-2's smallest: 124 million
    Small,
    /// GPT-2's second: 355 million
    Medium,
    /// The model of the example names
    Microgpt,
    /// The model of the example dialog
    Dialog,
    /// The first transformer in small, a translator
    TranslateClassic,
    /// The same as it would be built today
    TranslateModern,
    /// The normalized transformer of the example ngpt
    Sphere,
}

impl PresetName {
    /// Its model. Where the vocabulary follows from a text, it has the size that it has by default: 27 letters, the characters of
    /// `datasets/dialog.txt`, what `translate` learns, the characters of tiny Shakespeare.
    fn spec(self) -> ModelSpec {
        let classic = |preset: Preset| ModelSpec::Decoder(preset.config(preset.vocab_size()));
        match self {
            PresetName::Tiny => classic(Preset::Tiny),
            PresetName::Llama => classic(Preset::Llama),
            PresetName::Small => classic(Preset::Small),
            PresetName::Medium => classic(Preset::Medium),
            PresetName::Microgpt => ModelSpec::Decoder(DecoderConfig::microgpt(27)),
            PresetName::Dialog => ModelSpec::Decoder(DecoderConfig::dialog(72)),
            PresetName::TranslateClassic => ModelSpec::EncoderDecoder(EncoderDecoderConfig::classic(4000)),
            PresetName::TranslateModern => ModelSpec::EncoderDecoder(EncoderDecoderConfig::modern(4000)),
            PresetName::Sphere => ModelSpec::Sphere(SphereConfig::paper(65)),
        }
    }
}

impl Program for Args {
    /// What is not given is the preset's.
    const DEFAULTS: &[(&str, &str)] = &[("layers", "1"), ("embd", "1"), ("heads", "1"), ("context", "1")];

    fn run(&self, given: &Given) -> Result<()> {
        let name =
            self.preset.to_possible_value().map_or_else(String::new, |name| name.get_name().to_owned());
        let sheet = Sheet { name, markdown: self.markdown };
        match self.spec(given) {
            ModelSpec::Decoder(config) => {
                let model = Decoder::new(config).map_err(Usage::of)?;
                let model = match self.lora_rank {
                    Some(rank) => model.clone().with_adapters(&lora(&model, rank)).map_err(Usage::of)?,
                    None => model,
                };
                self.answer(&sheet, Subject::decoder(model), given)
            }
            _ if self.lora_rank.is_some() => {
                Err(Usage(format!("--lora-rank is for decoders, and {} is none", sheet.name)).into())
            }
            ModelSpec::Sphere(config) => {
                let model = Sphere::new(config).map_err(Usage::of)?;
                self.answer(&sheet, Subject::sphere(model), given)
            }
            ModelSpec::EncoderDecoder(config) => {
                let model = EncoderDecoder::new(config).map_err(Usage::of)?;
                self.answer(&sheet, Subject::translator(model), given)
            }
        }
    }
}

/// Adapters for every layer that the model has of those that may have one.
fn lora(model: &Decoder, rank: usize) -> LoraConfig {
    let has = |target: &LoraTarget| {
        let name = format!(".{target}.weight");
        model.layout().specs().iter().any(|spec| spec.name.ends_with(&name))
    };
    LoraConfig { rank, targets: LoraTarget::ALL.into_iter().filter(has).collect(), ..LoraConfig::default() }
}

impl Args {
    /// The preset with the sizes that were asked for.
    fn spec(&self, given: &Given) -> ModelSpec {
        let mut spec = self.preset.spec();
        match &mut spec {
            ModelSpec::Decoder(config) => self.resize(config, given),
            ModelSpec::EncoderDecoder(config) => {
                self.resize(&mut config.decoder, given);
                if given.has("layers") {
                    config.encoder_layers = self.sizes.layers;
                }
            }
            ModelSpec::Sphere(config) => {
                // The sizes that both have, changed in the same way.
                let SphereConfig { vocab_size, context, n_layer, n_embd, n_head, n_ffn, .. } = *config;
                let mut sizes = DecoderConfig {
                    context,
                    n_layer,
                    n_embd,
                    n_head,
                    n_kv_head: n_head,
                    n_ffn,
                    ..DecoderConfig::microgpt(vocab_size)
                };
                self.resize(&mut sizes, given);
                let DecoderConfig { vocab_size, context, n_layer, n_embd, n_head, n_ffn, .. } = sizes;
                *config =
                    SphereConfig { vocab_size, context, n_layer, n_embd, n_head, n_ffn, ..config.clone() };
            }
        }
        spec
    }

    fn resize(&self, config: &mut DecoderConfig, given: &Given) {
        let SizeArgs { layers, embd, heads, context } = self.sizes;
        if given.has("layers") {
            config.n_layer = layers;
        }
        if given.has("embd") {
            config.n_ffn = (embd.saturating_mul(config.n_ffn) / config.n_embd).max(1);
            config.n_embd = embd;
        }
        if given.has("heads") {
            (config.n_head, config.n_kv_head) = (heads, heads);
        }
        if given.has("context") {
            config.context = context;
        }
        if let Some(vocab_size) = self.vocab_size {
            config.vocab_size = vocab_size;
        }
    }

    fn threads(&self) -> Result<ThreadPool> {
        Ok(ThreadPool::try_new(self.threads)?)
    }
}

fn main() -> ExitCode {
    Args::start()
}
