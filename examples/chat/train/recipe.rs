//! The options on which the result of a training depends, and the model that follows from them.

use std::time::SystemTime;

use anyhow::{Result, ensure};
use gradus::checkpoint::{EndTokens, GenerationDefaults, LanguageModel, llama};
use gradus::model::{Decoder, DecoderConfig, Model};
use gradus::tokenizer::template::ChatTemplate;
use gradus::tokenizer::{BpeTrainer, CHAT_TOKENS, Tokenizer, TokenizerSpec};
use serde::{Deserialize, Serialize};
use support::args::{MANY, positive, share, whole};
use support::{Given, TrainArgs, Usage};

use super::lora::LoraArgs;
use super::material::{Encoded, Sourced};
use super::reading::{Reading, ReadingArgs};
use crate::cut::Cut;
use crate::sizes::Sizes;
use crate::template::Template;

/// The special tokens that our own template needs beside BOS.
const TURNS: [&str; 8] =
    ["<user>", "</user>", "<assistant>", "</assistant>", "<system>", "</system>", "<tool>", "</tool>"];

/// Everything on which the result of a training depends. It is saved with it.
#[derive(clap::Args, Clone, Debug, Serialize, Deserialize)]
#[command(next_help_heading = "Conversations")]
pub struct Recipe {
    /// Files of conversations, in any of the usual formats: JSON, JSON lines, or dialogues as text; names in datasets/ will do
    #[arg(long, value_name = "FILE", num_args = 1.., default_values = ["conversations.jsonl", "tool_dialogues.jsonl"])]
    pub data: Vec<String>,
    /// Add N conversations with tools, made by patterns: at most 1000000
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = whole(0..=1_000_000))]
    pub synthetic_tools: usize,
    /// Conversations to read from the files together: at most 1000000000
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = whole(1..=MANY))]
    pub max_samples: usize,
    /// Refuse a file with a malformed record, and a conversation from which nothing can be learned, instead of skipping them
    #[arg(long)]
    pub strict: bool,
    /// The share of conversations that is held out: from 0 to below 1, and some must be. It follows from the first question
    #[arg(long, value_name = "SHARE", default_value_t = 0.1, value_parser = share)]
    pub eval_split: f64,
    /// Learn every token, not only what the assistant says
    #[arg(long)]
    pub train_on_all: bool,
    /// How often each conversation is read, from which the steps follow
    #[arg(long, value_name = "N", default_value_t = 3.0, value_parser = positive)]
    pub epochs: f64,
    /// Say the training loss after every N steps: at most 1000000000
    #[arg(long, value_name = "N", default_value_t = 25, value_parser = whole(1..=MANY))]
    pub log_every: usize,
    /// Tokens of the vocabulary that is learned first: at least 268, at most 1000000
    #[arg(long, value_name = "N", default_value_t = 4000, value_parser = whole(268..=1_000_000))]
    vocab_size: usize,
    #[command(flatten)]
    #[serde(flatten)]
    cut: Cut,
    #[command(flatten)]
    #[serde(flatten)]
    pub sizes: Sizes,
    /// How likely an activation is dropped in training
    #[arg(long, value_name = "P", default_value_t = 0.0, value_parser = share)]
    dropout: f64,
    #[command(flatten)]
    #[serde(flatten)]
    pub lora: LoraArgs,
    #[command(flatten)]
    #[serde(flatten)]
    pub reading: ReadingArgs,
    #[command(flatten)]
    #[serde(flatten)]
    pub train: TrainArgs,
    /// What the model is, as soon as it is known.
    #[arg(skip)]
    #[serde(default)]
    pub base: Option<Base>,
}

/// A model without its weights: what a training that goes on cannot find out from the options.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Base {
    pub config: DecoderConfig,
    pub template: String,
    bos: Option<usize>,
    add_bos: bool,
    eos: Vec<usize>,
    pad: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    names: Option<Vec<(String, String)>>,
}

impl Recipe {
    /// A tokenizer for what the template makes of these conversations, and for a plain text, if there is one.
    ///
    /// # Errors
    /// If a size is asked for that cannot be.
    pub fn tokenizer(&self, conversations: &[Sourced], plain: Option<&str>) -> Result<Box<dyn Tokenizer>> {
        let special: Vec<(String, usize)> =
            CHAT_TOKENS.iter().map(|name| name.to_string()).zip(0..).collect();
        let template = Template::new(ChatTemplate::GRADUS, Vec::new(), &special)?;
        // One that cannot be rendered is reported when it is encoded.
        let rendered = conversations
            .iter()
            .filter_map(|one| template.render(&one.conversation, false, SystemTime::UNIX_EPOCH).ok());
        let texts: Vec<String> = rendered.map(|rendered| rendered.text).collect();
        let mut parts: Vec<&str> = texts.iter().map(String::as_str).chain(plain).collect();
        for name in CHAT_TOKENS {
            parts = parts.into_iter().flat_map(|text| text.split(name)).collect();
        }
        let trainer = self.cut.trainer(self.vocab_size, BpeTrainer::default().min_frequency);
        let tokenizer = trainer.train(&parts).map_err(|problem| Usage(format!("--vocab-size: {problem}")))?;
        Ok(Box::new(tokenizer))
    }

    /// The model that these options ask for.
    pub fn fresh(&self, tokenizer: &dyn Tokenizer) -> Base {
        Base {
            config: self.sizes.config(tokenizer.vocab_size()),
            template: ChatTemplate::GRADUS.to_owned(),
            bos: tokenizer.special("<s>"),
            add_bos: true,
            eos: ["</assistant>", "</s>"].iter().filter_map(|name| tokenizer.special(name)).collect(),
            pad: tokenizer.special("<pad>"),
            names: None,
        }
    }

    /// A model that is there already, of which nothing else may be asked for.
    ///
    /// # Errors
    /// If an option asks for other sizes, or if the model has neither a template nor the tokens of ours.
    pub fn adopt(
        &self,
        model: &LanguageModel,
        tokenizer: &dyn Tokenizer,
        given: &Given,
        name: &str,
    ) -> Result<Base> {
        for option in Sizes::OPTIONS.into_iter().chain(Cut::OPTIONS).chain(["vocab_size"]) {
            let shown = option.replace('_', "-");
            let problem =
                format!("the model in {name} has its sizes and its tokens already: leave --{shown} out");
            ensure!(!given.has(option), Usage(problem));
        }
        let config = model.model.config().clone();
        let (asked, most) = (self.sizes.context.unwrap_or(0), config.context);
        let problem = format!("the model in {name} reads {most} tokens: give at most that to --context");
        ensure!(asked <= most, Usage(problem));
        let EndTokens { bos, add_bos, mut eos, pad, mut names } = model.tokens.clone();
        let template = match &model.chat_template {
            Some(template) => template.clone(),
            None => {
                let missing = TURNS.iter().find(|name| tokenizer.special(name).is_none());
                let problem = format!(
                    "the model in {name} has no chat template, and its tokenizer no token {}, which ours needs. Models of `create` \
                     have it",
                    missing.copied().unwrap_or_default()
                );
                ensure!(missing.is_none(), Usage(problem));
                let end = tokenizer.special("</assistant>").expect("it was looked for");
                eos.retain(|token| *token != end);
                eos.insert(0, end);
                names = None;
                ChatTemplate::GRADUS.to_owned()
            }
        };
        Ok(Base { config, template, bos, add_bos, eos, pad, names })
    }

    /// The steps in which this many conversations are read as often as the recipe says.
    pub fn steps_for(&self, conversations: usize) -> usize {
        let a_step = self.train.batch.saturating_mul(self.train.accumulate) as f64;
        let steps = (self.epochs * conversations as f64 / a_step).ceil();
        (steps as usize).clamp(1, MANY)
    }

    /// Sets what follows from the data, as far as no option says it: the steps of both stages, and of the warmup.
    ///
    /// # Errors
    /// If there are no steps left for the conversations.
    pub fn settle(&mut self, given: &Given, train: &Encoded, reading: Option<&Reading>) -> Result<()> {
        let sequences = self.train.batch.saturating_mul(self.train.accumulate);
        if let Some(reading) = reading {
            self.reading.settle(reading, sequences);
        }
        let first = self.reading.steps();
        if !given.has("steps") {
            self.train.steps = self.steps_for(train.all.len()).saturating_add(first).min(MANY);
        }
        let steps = self.train.steps;
        let problem = format!(
            "--steps {steps} leaves none for the conversations after the {first} of plain text: give more, or fewer --pretrain-steps"
        );
        ensure!(steps > first, Usage(problem));
        if !given.has("warmup") {
            self.train.warmup = ((steps - first) * 3).div_ceil(100);
        }
        Ok(())
    }

    /// The model with its adapters, if it has any, without weights.
    ///
    /// # Errors
    /// If its sizes do not fit together.
    pub fn model(&self) -> Result<Decoder> {
        let config = DecoderConfig { dropout: self.dropout, ..self.known().config.clone() };
        self.lora.adapt(Decoder::new(config).map_err(Usage::of)?)
    }

    /// What the model is.
    pub fn known(&self) -> &Base {
        self.base.as_ref().expect("the model is known before anything is made of it")
    }

    /// The most tokens that a conversation is given.
    pub fn context(&self) -> usize {
        let most = self.known().config.context;
        self.sizes.context.unwrap_or(most).min(most)
    }
}

impl Base {
    /// The tokens at both ends of a text.
    pub fn tokens(&self) -> EndTokens {
        EndTokens {
            bos: self.bos,
            add_bos: self.add_bos,
            eos: self.eos.clone(),
            pad: self.pad,
            names: self.names.clone(),
        }
    }

    /// The model with everything that belongs to it.
    pub fn language_model(
        &self,
        model: Decoder,
        params: Vec<f32>,
        tokenizer: TokenizerSpec,
    ) -> LanguageModel {
        LanguageModel {
            model,
            params,
            tokenizer: Ok(tokenizer),
            tokens: self.tokens(),
            chat_template: Some(self.template.clone()),
            defaults: GenerationDefaults::default(),
        }
    }

    /// Fails if the folder that is to be written has no place for such a model.
    pub fn check(&self, model: &Decoder, tokenizer: &dyn Tokenizer) -> Result<()> {
        debug_assert_eq!(model.vocab_size(), self.config.vocab_size);
        let whole = self.language_model(model.clone(), Vec::new(), tokenizer.spec());
        llama::check(&whole)
            .map_err(|problem| Usage(format!("this model cannot be trained here: {problem}")))?;
        Ok(())
    }
}
