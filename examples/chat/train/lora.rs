//! LoRA: which adapters are trained, on which frozen model, and what becomes of them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, ensure};
use gradus::checkpoint::{LanguageModel, StoredAs, adapter, llama};
use gradus::model::{ConfigError, Decoder, LoraConfig, LoraTarget};
use gradus::random::Random;
use gradus::tokenizer::Tokenizer;
use serde::{Deserialize, Serialize};
use support::args::{positive, share, whole};
use support::{Given, Usage, say};

use super::recipe::Base;
use crate::source::Source;

/// The options that say what adapters are like. Runs that were begun before there were any have none.
#[derive(clap::Args, Clone, Debug, Serialize, Deserialize)]
#[command(next_help_heading = "LoRA")]
#[serde(default)]
pub struct LoraArgs {
    /// Freeze the model of --model, and train small matrices beside its layers. What is written is an adapter for it
    #[arg(long)]
    use_lora: bool,
    /// The rank of the adapters: at most 65536
    #[arg(long, value_name = "N", default_value_t = LoraConfig::default().rank, value_parser = whole(1..=1 << 16))]
    lora_rank: usize,
    /// How much an adapter counts: this, divided by its rank
    #[arg(long, value_name = "X", default_value_t = LoraConfig::default().alpha, value_parser = positive)]
    lora_alpha: f64,
    /// How likely an element of what an adapter reads is dropped in training
    #[arg(long, value_name = "P", default_value_t = LoraConfig::default().dropout, value_parser = share)]
    lora_dropout: f64,
    /// The layers that get one, with commas between them: q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj
    #[arg(long, value_name = "LAYERS", value_delimiter = ',', default_values_t = LoraTarget::ALL, hide_default_value = true, value_parser = target)]
    lora_targets: Vec<LoraTarget>,
    /// Where the frozen model is, as soon as it is known.
    #[arg(skip)]
    frozen: Option<PathBuf>,
}

/// The options that only adapters have.
const OPTIONS: [&str; 4] = ["lora_rank", "lora_alpha", "lora_dropout", "lora_targets"];

impl Default for LoraArgs {
    fn default() -> Self {
        let mut args = LoraArgs::of(&LoraConfig::default());
        args.use_lora = false;
        args
    }
}

fn target(name: &str) -> Result<LoraTarget, ConfigError> {
    name.parse()
}

impl LoraArgs {
    /// The options of an adapter that is there.
    fn of(config: &LoraConfig) -> Self {
        let LoraConfig { rank, alpha, dropout, targets } = config.clone();
        LoraArgs {
            use_lora: true,
            lora_rank: rank,
            lora_alpha: alpha,
            lora_dropout: dropout,
            lora_targets: targets,
            frozen: None,
        }
    }

    /// What the adapters are like, if any are trained.
    pub fn config(&self) -> Option<LoraConfig> {
        self.use_lora.then(|| LoraConfig {
            rank: self.lora_rank,
            alpha: self.lora_alpha,
            dropout: self.lora_dropout,
            targets: self.lora_targets.clone(),
        })
    }

    /// Adapters as these options describe them.
    pub fn switch_on(&mut self) {
        self.use_lora = true;
    }

    /// Fails if something is asked of adapters, and there will be none.
    pub fn check_unused(&self, given: &Given, from_scratch: bool) -> Result<()> {
        let problem = "--use-lora trains an adapter for a model that is there: say which by --model";
        ensure!(!(self.use_lora && from_scratch), Usage::of(problem));
        for option in OPTIONS {
            let shown = option.replace('_', "-");
            ensure!(self.use_lora || !given.has(option), Usage(format!("--{shown} is for --use-lora")));
        }
        Ok(())
    }

    /// Freezes a model that was read from `path`, and puts fresh adapters beside its layers, or those that are in a folder. Returns
    /// the numbers of both.
    ///
    /// # Errors
    /// If the model has no such layers, or the adapter does not fit it or is to be another than it is.
    pub fn begin(
        &mut self,
        model: &LanguageModel,
        path: &Path,
        adapter: Option<&Path>,
        given: &Given,
        seed: u64,
    ) -> Result<Vec<f32>> {
        let params = match adapter {
            None => self.fresh(model, seed)?,
            Some(folder) => {
                for option in OPTIONS {
                    let (shown, folder) = (option.replace('_', "-"), folder.display());
                    let problem = format!("the adapter in {folder} is what it is: leave --{shown} out");
                    ensure!(!given.has(option), Usage(problem));
                }
                let there = adapter::import(folder, &model.model)?;
                *self = there.model.adapters().map_or_else(LoraArgs::default, LoraArgs::of);
                say!("going on with the adapter in {}", folder.display());
                there.on(&model.params)
            }
        };
        // Whatever folder the run is called from later on.
        self.frozen = Some(fs::canonicalize(path).with_context(|| path.display().to_string())?);
        Ok(params)
    }

    /// The numbers of a frozen model with those of fresh adapters.
    fn fresh(&self, model: &LanguageModel, seed: u64) -> Result<Vec<f32>> {
        let adapted = self.adapt(model.model.clone())?;
        Ok(adapted.with_fresh_adapters(&model.params, &mut Random::new(seed)))
    }

    /// The model with adapters, if any are trained.
    ///
    /// # Errors
    /// If it has no such layers.
    pub fn adapt(&self, model: Decoder) -> Result<Decoder> {
        match self.config() {
            Some(config) => Ok(model.with_adapters(&config).map_err(Usage::of)?),
            None => Ok(model),
        }
    }

    /// The numbers with which a run goes on whose state has only those of adapters: the frozen ones, read once more.
    ///
    /// # Errors
    /// If the frozen model is not where it was.
    pub fn reload(&self, seed: u64) -> Result<Option<Vec<f32>>> {
        if !self.use_lora {
            return Ok(None);
        }
        self.fresh(&self.read_frozen()?, seed).map(Some)
    }

    fn read_frozen(&self) -> Result<LanguageModel> {
        let path = self
            .frozen
            .as_deref()
            .ok_or_else(|| anyhow!("the saved run does not say what its adapter is for"))?;
        Source::at(path, None).and_then(|source| source.read()).with_context(|| {
            format!("the adapter is for the model in {}, which is needed: bring it back", path.display())
        })
    }

    /// What the folder of the adapter calls its base.
    fn base_name(&self) -> Option<String> {
        self.frozen.as_ref().map(|path| path.display().to_string())
    }

    /// Writes the adapter, and beside it what its base does not know of the conversations that it is for.
    pub fn save(
        &self,
        folder: &Path,
        (model, params): (&Decoder, &[f32]),
        base: &Base,
        tokenizer: &dyn Tokenizer,
    ) -> Result<()> {
        adapter::export(folder, model, params, self.base_name().as_deref())?;
        let whole = base.language_model(model.base(), Vec::new(), tokenizer.spec());
        Ok(llama::export_tokenizer(folder, &whole)?)
    }

    /// Fails if the merged model cannot go where it is to.
    pub fn check_merge(&self, to: &Path, output: &Path, overwrite: bool) -> Result<()> {
        let problem = "--merge-to is for --use-lora: there is no adapter to be merged";
        ensure!(self.use_lora, Usage::of(problem));
        let shown = to.display();
        let place = fs::canonicalize(to).ok();
        let taken = self.frozen.as_ref() == place.as_ref() && place.is_some();
        ensure!(
            !taken && to != output,
            Usage(format!(
                "{shown} holds the model that stays as it is, or this run: give another folder to --merge-to"
            ))
        );
        let empty = !to.is_file() && fs::read_dir(to).into_iter().flatten().next().is_none();
        ensure!(
            empty || overwrite,
            "{shown} is there already: give another folder to --merge-to, or --overwrite"
        );
        Ok(())
    }

    /// Writes the frozen model with the adapter of a folder added to its weights.
    pub fn merge(&self, folder: &Path, to: &Path, base: &Base, tokenizer: &dyn Tokenizer) -> Result<()> {
        let LanguageModel { model, params, .. } = self.read_frozen()?;
        let adapter = adapter::import(folder, &model)?;
        let merged = adapter.model.merge(&adapter.on(&params));
        llama::export(to, &base.language_model(model, merged, tokenizer.spec()), StoredAs::F32)?;
        say!("written to {}: the model with the adapter merged into it", to.display());
        Ok(())
    }
}

/// Fails if there is something in the folder that would stay beside what is written, and be taken for a part of it.
pub fn check_folder(folder: &Path, use_lora: bool) -> Result<()> {
    let (other, what, written) = match use_lora {
        true => ("config.json", "a model", "an adapter"),
        false => (adapter::CONFIG, "an adapter", "a model"),
    };
    let problem = format!(
        "{} holds {what}, and {written} is to be written: give another --output-dir",
        folder.display()
    );
    ensure!(!folder.join(other).exists(), Usage(problem));
    Ok(())
}
