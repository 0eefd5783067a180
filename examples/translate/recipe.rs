//! The options on which the result of a training depends, and what follows from them: pairs, tokenizer and model.

use std::path::{Path, PathBuf};

use crate::compare::Family;
use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use gradus::data::{self, Direction, Pairs, PairsError};
use gradus::model::{DecoderConfig, EncoderDecoderConfig};
use gradus::tokenizer::{BpeTrainer, CharTokenizer, Tokenizer};
use serde::{Deserialize, Serialize};
use support::args::{MANY, at_least_1, share, whole};
use support::{Given, RunArgs, SizeArgs, TrainArgs, Usage, begun_with};

/// Read by default: the sentences of Tatoeba, if they were fetched, or else what comes with the project.
const TEXTS: [&str; 2] = ["fra-eng/fra.txt", "phrases.tsv"];

/// The special tokens of a tokenizer that is trained here.
pub const SPECIAL: [&str; 3] = ["<pad>", "<s>", "</s>"];

/// Everything on which the result of a training depends. It is saved with it.
#[derive(clap::Args, Clone, Debug, Serialize, Deserialize)]
#[command(next_help_heading = "Model")]
pub struct Recipe {
    /// Pairs to learn from, one on each line, with a tab between the two sentences: a file, the name of one in datasets/, or -
    /// for standard input. At most 4 GiB [default: fra-eng/fra.txt if it was fetched, else phrases.tsv]
    #[arg(long, value_name = "FILE")]
    pub data: Option<String>,
    /// Translate the second sentence of each pair into the first
    #[arg(long)]
    pub reverse: bool,
    /// Learn from the first N lines: at most 1000000000; 0 is all of them
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = whole(0..=MANY))]
    pub pairs: usize,
    /// Tokens of the vocabulary, which both languages share: at most 1000000
    #[arg(long, value_name = "N", default_value_t = 4000, value_parser = whole(1..=1_000_000))]
    pub vocab_size: usize,
    /// Cut text into single characters instead
    #[arg(long)]
    pub characters: bool,
    /// Which parts the model has
    #[arg(long, value_enum, default_value_t = Preset::Modern)]
    pub preset: Preset,
    #[command(flatten)]
    #[serde(flatten)]
    pub sizes: SizeArgs,
    /// Blocks of the encoder [default: as many as --layers]
    #[arg(long, value_name = "N", value_parser = at_least_1)]
    pub encoder_layers: Option<usize>,
    /// The inner width of the feed-forward networks [default: in proportion to the width]
    #[arg(long, value_name = "N", value_parser = at_least_1)]
    pub ffn: Option<usize>,
    /// How likely an activation is dropped in training
    #[arg(long, value_name = "P", default_value_t = 0.1, value_parser = share)]
    pub dropout: f64,
    /// Train alternatives to this part of the model, instead of one model, and compare them
    #[arg(long, value_enum, value_name = "PART", help_heading = "Comparison")]
    pub compare: Option<Family>,
    /// Train each alternative with N seeds, from --seed on: at most 1000
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = whole(1..=1000), requires = "compare", help_heading = "Comparison")]
    pub seeds: usize,
    /// Which of the alternatives.
    #[arg(skip)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alternative: Option<usize>,
    #[command(flatten)]
    #[serde(flatten)]
    pub train: TrainArgs,
}

/// Which parts a translator is made of.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    /// Post-norm, LayerNorm, sines and cosines, ReLU, biases: the first transformer
    Classic,
    /// Pre-norm, RMSNorm, RoPE, SwiGLU, no biases
    Modern,
}

impl Recipe {
    /// The file of the pairs. The recipe takes its name.
    pub fn find(&mut self, run: &RunArgs) -> Result<PathBuf> {
        if let Some(name) = &self.data {
            return run.find(name);
        }
        let mut found = TEXTS.iter().filter_map(|name| Some((name, data::find(name).ok()?)));
        let (name, path) = found.next().context("neither of the texts is there: give one to --data")?;
        self.data = Some((*name).to_owned());
        Ok(path)
    }

    /// What people call the pairs.
    pub fn name(&self) -> String {
        self.data.clone().unwrap_or_default()
    }

    /// The pairs.
    pub fn read(&self, path: &Path) -> Result<Pairs, PairsError> {
        let direction = if self.reverse { Direction::Reverse } else { Direction::Forward };
        Pairs::read(path, direction, (self.pairs > 0).then_some(self.pairs))
    }

    /// A tokenizer for the pairs that are trained on.
    pub fn tokenizer(&self, pairs: &Pairs) -> Result<Box<dyn Tokenizer>> {
        let texts: Vec<&str> =
            pairs.train().iter().flat_map(|pair| [pair.source.as_str(), pair.target.as_str()]).collect();
        if self.characters {
            // Those of held-out sentences, too: their loss is to be known.
            let held_out =
                pairs.held_out().iter().flat_map(|pair| [pair.source.as_str(), pair.target.as_str()]);
            return Ok(Box::new(CharTokenizer::of(texts.into_iter().chain(held_out).flat_map(str::chars))));
        }
        let special_tokens = SPECIAL.map(str::to_owned).to_vec();
        let trainer = BpeTrainer { vocab_size: self.vocab_size, special_tokens, ..BpeTrainer::default() };
        let tokenizer = trainer.train(&texts).map_err(|problem| Usage(format!("--vocab-size: {problem}")))?;
        Ok(Box::new(tokenizer))
    }

    /// The model.
    pub fn config(&self, vocab_size: usize) -> EncoderDecoderConfig {
        let preset = match self.preset {
            Preset::Classic => EncoderDecoderConfig::classic(vocab_size),
            Preset::Modern => EncoderDecoderConfig::modern(vocab_size),
        };
        let width = self.sizes.embd;
        let in_proportion = width.saturating_mul(preset.decoder.n_ffn) / preset.decoder.n_embd;
        let decoder = DecoderConfig {
            n_ffn: self.ffn.unwrap_or(in_proportion.max(1)),
            dropout: self.dropout,
            init_std: (width as f64).sqrt().recip(),
            ..self.sizes.of(preset.decoder)
        };
        let encoder_layers = self.encoder_layers.unwrap_or(self.sizes.layers);
        let mut config = EncoderDecoderConfig { encoder_layers, decoder, ..preset };
        if let Some((family, at)) = self.compare.zip(self.alternative) {
            family.apply(at, &mut config);
        }
        config
    }

    /// Takes over the sizes of a loaded model. Fails if others were asked for.
    pub fn adopt(&mut self, config: &EncoderDecoderConfig, given: &Given, folder: &Path) -> Result<()> {
        self.sizes.check_loaded(&config.decoder, given, folder)?;
        let folder = folder.display();
        for (option, asked, has) in [
            ("ffn", self.ffn, config.decoder.n_ffn),
            ("encoder-layers", self.encoder_layers, config.encoder_layers),
        ] {
            let problem = format!("the model in {folder} has --{option} {has}: leave --{option} out");
            ensure!(asked.is_none_or(|asked| asked == has), Usage(problem));
        }
        self.sizes = SizeArgs::from_config(&config.decoder);
        (self.ffn, self.encoder_layers) = (Some(config.decoder.n_ffn), Some(config.encoder_layers));
        // Of the two presets, the one it is; with other parts it is none of this program's.
        for preset in [Preset::Classic, Preset::Modern] {
            let same = Recipe { preset, ..self.clone() }.config(config.decoder.vocab_size);
            if same.decoder.placement == config.decoder.placement {
                let problem = format!("the model in {folder} is not one of this program: it has other parts");
                let dropout = self.dropout;
                let mut theirs = config.clone();
                theirs.decoder.dropout = dropout;
                ensure!(same == theirs, Usage(problem));
                self.preset = preset;
            }
        }
        Ok(())
    }

    /// Takes over the pairs of the training that made the model in a folder, as far as the command line does not name them.
    pub fn remember(&mut self, folder: &Path, given: &Given) -> Result<()> {
        let begun: Recipe = begun_with(folder, "translate")?;
        if !given.has("data") {
            self.data = begun.data;
        }
        if !given.has("pairs") {
            self.pairs = begun.pairs;
        }
        self.reverse |= begun.reverse;
        Ok(())
    }
}
