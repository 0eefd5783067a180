//! The names GPT: reads a file of names, learns how they are spelled, and invents new ones.
//!
//! ```text
//! cargo run --example names
//! cargo run --example names -- korean.txt
//! cargo run --example names -- --help
//! ```

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::{Parser, ValueEnum};
use gradus::Engine;
use gradus::checkpoint::TrainedModel;
use gradus::data::{self, Batch, Names};
use gradus::fast::{FastEngine, Precision};
use gradus::generate::{Stop, generate_text};
use gradus::model::{Decoder, DecoderConfig, Model};
use gradus::random::Random;
use gradus::scalar::ScalarEngine;
use gradus::thread_pool::ThreadPool;
use gradus::tokenizer::{CharTokenizer, Tokenizer};
use gradus::train::{Settings, Trainer};
use support::args::{MANY, not_negative, seed, whole};
use support::{
    Given, Interrupt, Losses, ModelFolder, OutputArgs, Outputs, Program, Progress, SamplingArgs, SizeArgs,
    Usage, baselines, cannot_learn, check_memory, check_params, check_text, say,
};

const EXAMPLES: &str = "\
Examples:
  cargo run --example names                              the names in datasets/names.txt
  cargo run --example names -- korean.txt                a bare name is looked for here, then in datasets/
  cargo run --example names -- ~/cities.txt --steps 5000 any file with one name on each line
  cargo run --example names -- --save my-model           keep what was learned
  cargo run --example names -- --load my-model --steps 0 only invent, with what was learned before
  cargo run --example names -- --plot loss.svg           a picture of how it learned
  cargo run --example names -- --engine fast --batch 16  the same model on whole matrices, 16 names a step";

/// A GPT that learns to invent names.
#[derive(Parser)]
#[command(after_help = EXAMPLES)]
struct Args {
    /// A file with one name on each line, the name of one in datasets/, or - for standard input: at most 4 GiB
    #[arg(default_value = "names.txt")]
    file: String,
    /// What calculates: an autograd of single numbers in 64 bits, or of whole matrices in 32
    #[arg(long, value_enum, default_value_t = EngineName::Scalar)]
    engine: EngineName,
    /// Names in a step: at most 4096
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = whole(1..=4096))]
    batch: usize,
    /// Steps of training, as many as you like; 0 only invents names, with a model to --load
    #[arg(long, value_name = "N", default_value_t = 1000)]
    steps: usize,
    /// What all randomness follows from
    #[arg(long, value_name = "N", default_value_t = 42, value_parser = seed)]
    seed: u64,
    /// Names to invent: at most 1000000000
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = whole(0..=MANY))]
    samples: usize,
    /// The learning rate of the first step, from which it falls to zero
    #[arg(long, value_name = "R", default_value_t = 0.01, value_parser = not_negative)]
    learning_rate: f64,
    #[command(flatten)]
    outputs: OutputArgs,
    /// Save the trained model into this folder
    #[arg(long, value_name = "DIR")]
    save: Option<PathBuf>,
    /// Replace the model that is in that folder
    #[arg(long, requires = "save")]
    overwrite: bool,
    /// Begin with the model in this folder
    #[arg(long, value_name = "DIR")]
    load: Option<PathBuf>,
    /// Draw random numbers as Python does, and so repeat microgpt.py: the same names, and losses to 14 digits
    #[arg(long)]
    python_random: bool,
    #[command(flatten)]
    sampling: SamplingArgs,
    #[command(flatten)]
    sizes: SizeArgs,
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq)]
enum EngineName {
    Scalar,
    Fast,
}

impl Program for Args {
    const DEFAULTS: &[(&str, &str)] = &[
        ("layers", "1"),
        ("embd", "16"),
        ("heads", "4"),
        ("context", "16"),
        ("temperature", "0.5"),
        ("top_k", "0"),
        ("repetition_penalty", "1"),
    ];

    fn run(&self, given: &Given) -> Result<()> {
        let random = if self.python_random { Random::python(self.seed) } else { Random::new(self.seed) };
        match self.engine {
            EngineName::Scalar => self.run_on(ScalarEngine::new(), random, given),
            EngineName::Fast => self.run_on(FastEngine::new(ThreadPool::new(1)), random, given),
        }
    }
}

impl Args {
    /// Trains on any engine, or only loads a model, and lets it invent names.
    fn run_on<E: Engine>(&self, mut engine: E, mut random: Random, given: &Given) -> Result<()> {
        let load = |folder: &PathBuf| self.sizes.load::<E::Real>(folder, "names", given);
        let loaded = self.load.as_ref().map(load).transpose()?;
        if self.steps > 0 {
            return self.learn(engine, loaded, random);
        }
        let problem = "--steps 0 trains nothing: give at least 1, or --load a trained model to sample from";
        let TrainedModel { model, tokenizer, params } = loaded.context(Usage::of(problem))?;
        let problem = "--steps 0 has nothing to plot or to measure: leave --plot and --metrics out";
        ensure!(self.outputs.is_empty(), Usage::of(problem));
        if let Some(folder) = self.folder()? {
            folder.save(&model, &*tokenizer, &params)?;
        }
        self.invent((&mut engine, &model, &params), &*tokenizer, &mut random);
        Ok(())
    }

    /// Trains, saves the model, and lets it invent names.
    fn learn<E: Engine>(
        &self,
        engine: E,
        loaded: Option<TrainedModel<Decoder, E::Real>>,
        mut random: Random,
    ) -> Result<()> {
        let path = data::find(&self.file)?;
        check_text(&path)?;
        let mut names = match (&self.load, &loaded) {
            (Some(folder), Some(loaded)) => {
                let characters =
                    loaded.tokenizer.spec().characters().with_context(|| cannot_learn(folder))?;
                Names::read_with(&path, characters).with_context(|| cannot_learn(folder))?
            }
            _ => Names::read(&path)?,
        };
        let folders = self.load.iter().chain(&self.save);
        let files = folders.flat_map(|folder| ModelFolder::files(folder)).chain([path]);
        Outputs::check(&self.outputs, &files.collect::<Vec<_>>())?;
        names.shuffle(&mut random);
        say!("num docs: {}", names.len());
        say!("vocab size: {}", names.vocab_size());
        let settings =
            Settings { steps: self.steps, learning_rate: self.learning_rate, ..Settings::default() };
        let mut trainer = match loaded {
            Some(loaded) => Trainer::from_params(loaded.model, engine, settings, loaded.params),
            None => {
                let config = self.sizes.of(DecoderConfig::microgpt(names.vocab_size()));
                let model = Decoder::new(config).map_err(Usage::of)?;
                let tokens = self.batch * self.sizes.context;
                check_memory(model.config(), tokens, tokens, false, Precision::F32)?;
                Trainer::new(model, engine, settings, &mut random)
            }
        };
        say!("num params: {}", trainer.params().len());
        let context = trainer.model().context();
        let cut = names.count_truncated(context);
        if cut > 0 {
            say!("note: {cut} of the names do not fit into a context of {context} and are cut (--context)");
        }
        let folder = self.folder()?;
        let mut outputs = Outputs::open(&self.outputs, false)?;
        let losses = self.train(&mut trainer, &names, &mut outputs)?;
        check_params(trainer.params(), trainer.steps_done(), self.learning_rate)?;
        if let Some(folder) = &folder {
            folder.save(trainer.model(), names.tokenizer(), trainer.params())?;
        }
        let (engine, model, params) = trainer.split_mut();
        self.invent((engine, model, &params), names.tokenizer(), &mut random);
        let mut levels = Vec::new();
        if self.outputs.plot.is_some() {
            levels.extend(baselines(&names, context));
            levels.extend(losses.level());
        }
        outputs.finish(&losses.chart(&losses.curves(), &levels))
    }

    /// The folder to save into, if there is one. What it holds may be replaced if it is what was loaded.
    fn folder(&self) -> Result<Option<ModelFolder>> {
        let Some(path) = &self.save else { return Ok(None) };
        let folder = ModelFolder::lock(path)?;
        folder.check_free(self.overwrite || self.load == self.save)?;
        Ok(Some(folder))
    }

    /// Draws names, one token after the other.
    fn invent<E: Engine>(
        &self,
        (engine, model, params): (&mut E, &Decoder, &[E::Real]),
        tokenizer: &dyn Tokenizer,
        random: &mut Random,
    ) {
        let mut sampler = self.sampling.sampler(None);
        let bos = tokenizer.special(CharTokenizer::BOS).expect("every tokenizer of characters has it");
        let stop = Stop { strings: self.sampling.stop.clone(), ..Stop::at(bos) };
        for number in 1..=self.samples {
            let parts = (&mut *engine, model, params);
            let name = generate_text(parts, tokenizer, &[bos], &stop, &mut sampler, random, |_| {});
            say!("sample {number:2}: {}", name.text);
        }
    }

    /// The loop: for the steps that were asked for, or until Ctrl-C.
    fn train<E: Engine>(
        &self,
        trainer: &mut Trainer<Decoder, E>,
        names: &Names,
        outputs: &mut Outputs,
    ) -> Result<Losses> {
        let interrupt = Interrupt::watch();
        let progress = Progress::new(self.steps, 0);
        let mut losses = Losses::default();
        let mut batch = Batch::new();
        for step in 0..self.steps {
            if interrupt.requested() {
                break;
            }
            names.fill(&mut batch, step, self.batch, trainer.model().context());
            let done = trainer.step(&batch);
            losses.push(&done, self.learning_rate)?;
            outputs.record(&serde_json::json!({
                "step": done.number, "loss": done.loss, "learning_rate": done.learning_rate,
            }));
            let message = || format!("loss {:.4}", losses.recent());
            if done.number.is_multiple_of(self.steps.div_ceil(10)) || done.number == self.steps {
                progress.line(false, &format!("step {:4} / {} | {}", done.number, self.steps, message()));
            }
            progress.step(done.number, message);
        }
        progress.finish();
        losses.conclude(self.steps);
        Ok(losses)
    }
}

fn main() -> ExitCode {
    Args::start()
}
