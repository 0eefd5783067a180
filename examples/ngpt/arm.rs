//! One training of a comparison: a model, and how it is trained.

use std::marker::PhantomData;

use anyhow::Result;
use gradus::Engine;
use gradus::data::{Batch, Dialogs};
use gradus::fast::FastEngine;
use gradus::model::{ConfigError, Decoder, HiddenNorms, SavedModel, Sphere};
use gradus::optim::{AdamSettings, MuonSettings};
use gradus::random::Random;
use gradus::tokenizer::Tokenizer;
use gradus::train::{Growth, Settings, Trainer};
use serde::{Deserialize, Serialize};
use support::{
    Contest, Data, End, History, Interrupt, Run, RunArgs, Task, TextArgs, TrainArgs, Usage, check_memory,
    estimate,
};

use crate::recipe::{Arch, Recipe};

/// What one training's result depends on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ArmRecipe {
    /// Which model.
    pub arch: Arch,
    /// Its sizes and variants, and how it is trained.
    #[serde(flatten)]
    pub recipe: Recipe,
}

/// What all arms have in common.
pub struct Text<'a> {
    /// The text.
    pub text: &'a Dialogs,
    /// Where it comes from.
    pub data: &'a Data<'a>,
    /// How samples are made.
    pub speech: &'a TextArgs,
}

/// A kind of model that can be compared.
trait Family: SavedModel {
    fn of(recipe: &Recipe, vocab_size: usize) -> Result<Self, ConfigError>;

    /// The least and the greatest length of a hidden state, where all should have length 1.
    fn hidden_lengths(_: &mut Trainer<Self, FastEngine>, _: &Batch) -> Option<[f64; 2]> {
        None
    }
}

impl Family for Decoder {
    fn of(recipe: &Recipe, vocab_size: usize) -> Result<Self, ConfigError> {
        Decoder::new(recipe.decoder(vocab_size))
    }
}

impl Family for Sphere {
    fn of(recipe: &Recipe, vocab_size: usize) -> Result<Self, ConfigError> {
        Sphere::new(recipe.sphere(vocab_size))
    }

    fn hidden_lengths(trainer: &mut Trainer<Self, FastEngine>, batch: &Batch) -> Option<[f64; 2]> {
        let (engine, model, params) = trainer.split_mut();
        let mut ends = [f64::INFINITY, 0.0];
        for blocks in 0..=model.blocks().len() {
            engine.loss(&HiddenNorms::after(model, blocks), &params, batch);
            for &length in engine.token_losses() {
                ends = [ends[0].min(length), ends[1].max(length)];
            }
        }
        Some(ends)
    }
}

/// An arm of one family.
struct Arm<'a, M> {
    recipe: &'a ArmRecipe,
    text: &'a Text<'a>,
    family: PhantomData<M>,
}

impl<'a, M: Family> Arm<'a, M> {
    fn new(recipe: &'a ArmRecipe, text: &'a Text<'a>) -> Self {
        Arm { recipe, text, family: PhantomData }
    }

    /// First weights of their own random numbers, so that arms with the same seed see the same batches.
    fn first_params(&self) -> Result<Vec<f32>> {
        let seed = self.train_args().seed;
        Ok(self.model()?.layout().initial(&mut Random::new(!seed)))
    }

    fn train(self, args: &RunArgs, interrupt: &Interrupt) -> Result<(End, History)> {
        let params = self.first_params()?;
        Run::start(self, args, Some(params))?.compete(interrupt)
    }

    fn estimate(&self, args: &RunArgs) -> Result<f64> {
        estimate(self, self.first_params()?, args)
    }
}

impl Contest for Text<'_> {
    type Recipe = ArmRecipe;

    fn estimate(&self, recipe: &ArmRecipe, args: &RunArgs) -> Result<f64> {
        match recipe.arch {
            Arch::Baseline => Arm::<Decoder>::new(recipe, self).estimate(args),
            Arch::Ngpt => Arm::<Sphere>::new(recipe, self).estimate(args),
        }
    }

    fn train(&self, recipe: &ArmRecipe, args: &RunArgs, interrupt: &Interrupt) -> Result<(End, History)> {
        match recipe.arch {
            Arch::Baseline => Arm::<Decoder>::new(recipe, self).train(args, interrupt),
            Arch::Ngpt => Arm::<Sphere>::new(recipe, self).train(args, interrupt),
        }
    }
}

impl<M: Family> Task for Arm<'_, M> {
    type Model = M;
    type Recipe = ArmRecipe;
    const PROGRAM: &'static str = "ngpt";
    const UNIT: &'static str = "nats a character";

    fn recipe(&self) -> &ArmRecipe {
        self.recipe
    }

    fn train_args(&self) -> &TrainArgs {
        &self.recipe.recipe.train
    }

    fn model(&self) -> Result<M> {
        let Recipe { sizes, train, .. } = &self.recipe.recipe;
        let vocab_size = self.text.text.vocab_size();
        let model = M::of(&self.recipe.recipe, vocab_size).map_err(Usage::of)?;
        // The arms have the same sizes, so the decoder speaks for both.
        let [tokens, step_tokens] = train.tokens(sizes.context);
        let config = self.recipe.recipe.decoder(vocab_size);
        check_memory(&config, tokens, step_tokens, train.weighting, train.precision())?;
        Ok(model)
    }

    fn tokenizer(&self) -> &dyn Tokenizer {
        self.text.text.tokenizer()
    }

    fn data(&self) -> Data<'_> {
        self.text.data.clone()
    }

    fn fill(&self, _: usize, batch: &mut Batch, random: &mut Random) {
        let Recipe { sizes, train, .. } = &self.recipe.recipe;
        self.text.text.fill(batch, random, train.batch, sizes.context);
    }

    fn validation(&self) -> Vec<Batch> {
        let Recipe { sizes, train, .. } = &self.recipe.recipe;
        self.text.text.overlapping(train.batch, sizes.context)
    }

    fn sample(&self, trainer: &mut Trainer<M, FastEngine>, random: &mut Random) -> String {
        let tokenizer = self.text.text.tokenizer();
        let prompt = tokenizer.encode("\n").unwrap_or_else(|_| vec![0]);
        let (engine, model, params) = trainer.split_mut();
        let parts = (engine, model, &*params);
        let said = self.text.speech.continue_text(parts, tokenizer, &prompt, random, |_| {});
        format!("\n{}\n", said.text.trim_end())
    }

    /// As in the paper: a cosine to zero, unless --schedule says otherwise.
    fn settings(&self) -> Settings {
        let Recipe { sphere, train, .. } = &self.recipe.recipe;
        let growth = (self.recipe.arch == Arch::Ngpt && sphere.grow_alpha != 1.0).then_some(Growth {
            names: "alpha",
            factor: sphere.grow_alpha,
            steps: train.steps / 2,
        });
        Settings {
            schedule: train.schedule(0.0),
            constrain_every: sphere.constrain_every,
            growth,
            ..train.settings()
        }
    }

    fn muon(&self) -> MuonSettings {
        let Recipe { sphere, train, .. } = &self.recipe.recipe;
        let muon = train.muon();
        let unit_step = sphere.unit_step();
        MuonSettings { unit_step, adam: AdamSettings { beta2: 0.95, ..muon.adam }, ..muon }
    }

    fn hidden_lengths(&self, trainer: &mut Trainer<M, FastEngine>, batch: &Batch) -> Option<[f64; 2]> {
        M::hidden_lengths(trainer, batch)
    }
}
