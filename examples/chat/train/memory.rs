//! How much memory a training needs, said before it begins, and what helps if there is not as much.
//!
//! A step of a model with one block and of one with two is measured on a few tokens: what there is more in the second is a block's,
//! and all else is there once.

use anyhow::{Result, bail, ensure};
use gradus::cost::{Activations, Moments, TrainingMemory};
use gradus::counter_rng::CounterRng;
use gradus::data::Batch;
use gradus::fast::Precision;
use gradus::model::{Decoder, DecoderConfig, Mode, Model};
use support::units::bytes;
use support::{Method, Usage, free_memory, say};

use super::lesson::VALIDATION;
use super::lora::LoraArgs;
use super::recipe::Recipe;

/// The bytes of a number of 32 bits, in which all is counted.
const BYTES: f64 = 4.0;

/// Buffers that have grown with longer and longer batches have room for up to twice of what they hold.
const ROOM: f64 = 1.5;

/// An option is named if with it less than this share of the memory is needed.
const WORTH_IT: f64 = 0.98;

/// What the memory of a training follows from.
#[derive(Clone)]
pub struct Plan {
    config: DecoderConfig,
    lora: LoraArgs,
    /// Sequences of a micro-batch, and their tokens.
    batch: usize,
    longest: usize,
    accumulate: usize,
    optimizer: Method,
    precision: Precision,
    averaged: bool,
    weighting: bool,
    checkpointing: bool,
    threads: usize,
}

/// Bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Needs {
    weights: f64,
    gradients: f64,
    optimizer: f64,
    results: f64,
    /// The tokens of a step, and tables of their difficulty.
    rest: f64,
}

impl Needs {
    fn total(&self) -> f64 {
        self.weights + self.gradients + self.optimizer + self.results + self.rest
    }
}

/// What an option changes.
type Change = fn(&mut Plan);

impl Plan {
    /// That of a recipe whose longest sequence has this many tokens.
    pub fn of(recipe: &Recipe, longest: usize, checkpointing: bool, threads: usize) -> Result<Self> {
        let train = &recipe.train;
        Ok(Plan {
            // How attention computes depends on how long texts can be, and none is longer.
            config: DecoderConfig { context: longest, ..recipe.model()?.config().clone() },
            lora: recipe.lora.clone(),
            batch: train.batch,
            longest,
            accumulate: train.accumulate,
            optimizer: train.optimizer,
            precision: train.precision(),
            averaged: train.ema > 0.0,
            weighting: train.weighting,
            checkpointing,
            threads,
        })
    }

    /// Says how much it needs.
    ///
    /// # Errors
    /// If there is less memory free. The error says what would help, and how much.
    pub fn check(&self, could_use_lora: bool) -> Result<()> {
        let free = free_memory();
        let needs = self.needs(free)?;
        let Needs { weights, gradients, optimizer, results, rest } = needs;
        let [total, weights, gradients, optimizer, results, rest, there] =
            [needs.total(), weights, gradients, optimizer, results, rest, free].map(bytes);
        say!(
            "memory: up to about {total} (weights {weights}, gradients {gradients}, optimizer {optimizer}, results of {} x {} tokens \
             {results}, the rest {rest}); {there} are free",
            self.batch,
            self.longest
        );
        if needs.total() > free {
            bail!(Usage(self.advice(could_use_lora, needs.total(), free)?));
        }
        Ok(())
    }

    /// What would help, and how much would then be needed.
    fn advice(&self, could_use_lora: bool, total: f64, free: f64) -> Result<String> {
        let (mut lines, mut all) = (Vec::new(), self.clone());
        for (option, change) in self.smaller(could_use_lora) {
            let mut one = self.clone();
            change(&mut one);
            let needed = one.needs(free)?.total();
            if needed < WORTH_IT * total {
                change(&mut all);
                lines.push((needed, format!("with {option}")));
            }
        }
        lines.sort_by(|(one, _), (other, _)| other.total_cmp(one));
        if lines.len() > 1 {
            lines.push((all.needs(free)?.total(), "with all of these".to_owned()));
        }
        let (total, there) = (bytes(total), bytes(free));
        let mut text = format!("this training needs up to {total} of memory, and {there} are free.");
        for (needed, with) in lines {
            text += &format!("\n  {:>9} {with}", bytes(needed));
        }
        text += "\nA smaller --context, --embd or --layers makes another model, which needs less, too";
        Ok(text)
    }

    /// The options with which it would need less, as far as they are not in use.
    fn smaller(&self, could_use_lora: bool) -> Vec<(String, Change)> {
        let mut options: Vec<(String, Change)> = Vec::new();
        if self.weighting {
            options.push(("no --weighting".to_owned(), |plan| plan.weighting = false));
        }
        if !self.checkpointing {
            options.push(("--checkpointing".to_owned(), |plan| plan.checkpointing = true));
        }
        if self.batch > 1 {
            let [batch, accumulate] = self.halved();
            let option = format!("--batch-size {batch} --accumulate {accumulate}");
            options.push((option, |plan| [plan.batch, plan.accumulate] = plan.halved()));
        }
        if self.accumulate > 1 {
            options.push(("--accumulate 1".to_owned(), |plan| plan.accumulate = 1));
        }
        if self.precision == Precision::F32 {
            options.push(("--precision bf16".to_owned(), |plan| plan.precision = Precision::Bf16));
        }
        if could_use_lora && self.lora.config().is_none() {
            options.push(("--use-lora".to_owned(), |plan| plan.lora.switch_on()));
        }
        options
    }

    /// About as many sequences in a step, in twice as many micro-batches.
    fn halved(&self) -> [usize; 2] {
        [self.batch.div_ceil(2), self.accumulate.saturating_mul(2)]
    }

    fn needs(&self, free: f64) -> Result<Needs> {
        let DecoderConfig { n_layer, vocab_size, .. } = self.config;
        let of_depth = |n_layer| {
            let config = DecoderConfig { n_layer, ..self.config.clone() };
            self.lora.adapt(Decoder::new(config).map_err(Usage::of)?)
        };
        let model = of_depth(n_layer)?;
        let small = [of_depth(1)?, of_depth(2)?];
        // To be measured, it needs weights and a gradient.
        let measuring = 2.0 * BYTES * small[1].layout().len() as f64;
        let problem = format!(
            "two blocks of this model alone need {}, and {} are free: give a smaller --embd or --vocab-size",
            bytes(measuring),
            bytes(free)
        );
        ensure!(measuring <= free, Usage(problem));
        let measured = small.map(|model| self.measured(&model));
        let [results, gradients] = self.kept(&measured, self.batch);
        let [validated, _] = self.kept(&measured, VALIDATION / self.longest + 1);
        let layout = model.layout();
        let trained = BYTES * layout.trainable_len() as f64;
        let TrainingMemory { parameters, gradient, shards, moments, .. } = TrainingMemory::new(
            layout,
            self.moments(&model),
            Activations { results: Default::default(), gradients: Default::default() },
            (self.batch, self.longest),
            self.threads,
        );
        let rounded = if self.precision == Precision::F32 { 0.0 } else { parameters };
        let average = if self.averaged { trained } else { 0.0 };
        // Tokens, positions, targets and weights of eight bytes each, twice; and a table of all bigrams, three times while it is saved.
        let step = 2.0 * 4.0 * 8.0 * (self.batch as f64 * self.longest as f64) * self.accumulate as f64;
        let table = if self.weighting { 3.0 * BYTES * (vocab_size as f64).powi(2) } else { 0.0 };
        Ok(Needs {
            weights: parameters + rounded + average,
            gradients: gradient + shards,
            optimizer: moments,
            results: ROOM * (results.max(validated) + gradients),
            rest: step + table,
        })
    }

    fn moments(&self, model: &Decoder) -> Moments {
        match self.optimizer {
            Method::Adamw => Moments::adamw(model.layout()),
            Method::Muon => Moments::muon(model.layout()),
        }
    }

    /// What a step of a model of few blocks keeps.
    fn measured(&self, model: &Decoder) -> Activations {
        let mode = Mode { dropout: Some(CounterRng::new(0)), ..Mode::default() };
        let texts = |sequences, length| {
            let mut batch = Batch::new();
            (0..sequences).for_each(|_| batch.push(std::iter::repeat_n(0, length + 1)));
            batch
        };
        Activations::measure_with(|engine| engine.with_precision(self.precision), model, mode, texts)
    }

    /// The results that are kept of so many sequences, and the buffers for their gradients, of the whole model: from what one of one
    /// block keeps, and one of two.
    fn kept(&self, measured: &[Activations; 2], sequences: usize) -> [f64; 2] {
        let DecoderConfig { n_layer, n_embd, .. } = self.config;
        let held = TrainingMemory::held(sequences, self.longest, self.threads);
        let [one, two] = measured.map(|measured| {
            [measured.results, measured.gradients].map(|amount| BYTES * amount.of(held, self.longest))
        });
        let more = [two[0] - one[0], two[1] - one[1]]; // a block's
        if self.checkpointing {
            // One stage at a time, and what each hands on.
            let handed_on = n_layer as f64 * (held * self.longest * n_embd) as f64 * BYTES;
            return [more[0].max(one[0] - more[0]) + handed_on, one[1]];
        }
        [0, 1].map(|part| one[part] + (n_layer - 1) as f64 * more[part])
    }
}

#[cfg(test)]
mod tests {
    use gradus::engine::{Engine, GradientTo};
    use gradus::fast::FastEngine;
    use gradus::thread_pool::ThreadPool;

    use super::*;

    const FREE: f64 = 1e9;

    fn plan() -> Plan {
        let config = DecoderConfig {
            n_layer: 5,
            n_embd: 32,
            n_head: 4,
            n_kv_head: 2,
            n_ffn: 64,
            context: 25,
            ..DecoderConfig::llama(90)
        };
        Plan {
            config,
            lora: LoraArgs::default(),
            batch: 4,
            longest: 25,
            accumulate: 4,
            optimizer: Method::Adamw,
            precision: Precision::F32,
            averaged: true,
            weighting: true,
            checkpointing: false,
            threads: 1,
        }
    }

    /// What follows from models of one and two blocks is what one of five keeps.
    #[test]
    fn results_are_those_of_the_engine() {
        let plan = plan();
        let model = Decoder::new(plan.config.clone()).unwrap();
        let (params, mut gradient) = (vec![0.0; model.layout().len()], vec![0.0; model.layout().len()]);
        let mut batch = Batch::new();
        (0..plan.batch).for_each(|_| batch.push(std::iter::repeat_n(0, plan.longest + 1)));
        let mut engine = FastEngine::new(ThreadPool::new(1));
        let mode = Mode { dropout: Some(CounterRng::new(0)), ..Mode::default() };
        engine.accumulate(&model, &params, &batch, mode, 1.0, GradientTo::Write(&mut gradient));
        let kept: usize = engine.tape().iter().map(|node| node.bytes + 4 * node.saved).sum();
        let measured = [1, 2].map(|n_layer| {
            let config = DecoderConfig { n_layer, ..plan.config.clone() };
            plan.measured(&Decoder::new(config).unwrap())
        });
        let [results, gradients] = plan.kept(&measured, plan.batch);
        assert!((0.99..1.01).contains(&(results / kept as f64)), "{results} instead of {kept}");
        let buffers = BYTES * engine.gradient_buffers() as f64;
        assert!((0.6..1.7).contains(&(gradients / buffers)), "{gradients} instead of {buffers}");
        let needs = plan.needs(FREE).unwrap();
        assert!(needs.results > results + gradients);
        assert_eq!(needs.weights, 2.0 * BYTES * model.layout().len() as f64); // and their average
    }

    #[test]
    fn every_advice_helps_and_none_is_given_twice() {
        let plan = plan();
        let before = plan.needs(FREE).unwrap().total();
        let mut all = plan.clone();
        // (Adapters would cost this small model more than they save.)
        for (option, change) in plan.smaller(false) {
            let mut one = plan.clone();
            change(&mut one);
            let after = one.needs(FREE).unwrap().total();
            assert!(after < before, "{option}: {after} instead of {before}");
            change(&mut all);
        }
        let left: Vec<String> = all.smaller(false).into_iter().map(|(option, _)| option).collect();
        assert_eq!(left, ["--batch-size 1 --accumulate 2"]);
        let text = plan.advice(false, 2e9, FREE).unwrap();
        assert!(text.contains("up to 2.00 GB") && text.contains("with all of these"), "{text}");
        assert!(!text.contains("--use-lora"), "{text}");
        // What does not help is not named.
        let tokens = Plan { accumulate: 1 << 30, weighting: false, ..plan };
        let text = tokens.advice(true, tokens.needs(FREE).unwrap().total(), FREE).unwrap();
        assert!(text.contains("with --accumulate 1") && text.matches("with ").count() == 1, "{text}");
    }

    #[test]
    fn what_cannot_even_be_measured_is_refused() {
        let error = plan().needs(1e4).unwrap_err();
        assert!(error.is::<Usage>() && error.to_string().contains("smaller --embd"), "{error}");
    }
}
