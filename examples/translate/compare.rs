//! Alternatives to one part of the model, each trained with the same small budget.

use anyhow::Result;
use clap::ValueEnum;
use gradus::data::Pairs;
use gradus::model::{
    Activation, AttentionBias, EncoderDecoderConfig, NormKind, Placement, Position, ResidualInit,
    SharedEmbeddings, WeightInit,
};
use gradus::random::Random;
use gradus::tensor::Mask;
use gradus::thread_pool::ThreadPool;
use gradus::tokenizer::Tokenizer;
use serde::{Deserialize, Serialize};
use support::{Comparison, Contest, Data, End, Entry, History, Interrupt, Run, RunArgs, Task, estimate};

use crate::interpreter::SearchArgs;
use crate::lesson::Lesson;
use crate::recipe::Recipe;

/// A part of which there are several kinds.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Family {
    /// How the model knows where a token stands
    Positions,
    /// RMSNorm and LayerNorm, before each part and after it
    Norms,
    /// What the feed-forward network computes, with as many parameters each
    FeedForward,
    /// How many heads share keys and values, and how far the target looks back
    Attention,
    /// Which tables of tokens are one
    Embeddings,
    /// How weights are drawn
    Init,
}

/// One of the alternatives: a name and a change of the model.
type Alternative = (&'static str, fn(&mut EncoderDecoderConfig));

impl Family {
    /// The alternatives, the preset's own among them.
    fn alternatives(self) -> &'static [Alternative] {
        match self {
            Family::Positions => &[
                ("none", |config| config.decoder.position = Position::None),
                ("sinusoidal", |config| config.decoder.position = Position::Sinusoidal),
                ("learned", |config| config.decoder.position = Position::Learned),
                ("RoPE", |config| config.decoder.position = Position::rope(10_000.0)),
                ("ALiBi", |config| config.decoder.position = Position::Alibi),
                ("relative", |config| {
                    config.decoder.position = Position::Relative { buckets: 32, max_distance: 128 };
                }),
            ],
            Family::Norms => &[
                ("RMSNorm before", |config| norm(config, NormKind::Rms, Placement::Pre)),
                ("LayerNorm before", |config| norm(config, NormKind::Layer, Placement::Pre)),
                ("RMSNorm after", |config| norm(config, NormKind::Rms, Placement::Post)),
                ("LayerNorm after", |config| norm(config, NormKind::Layer, Placement::Post)),
                ("RMSNorm before, without gains", |config| {
                    norm(config, NormKind::Rms, Placement::Pre);
                    config.decoder.norm_gain = false;
                }),
            ],
            Family::FeedForward => &[
                ("ReLU", |config| activation(config, Activation::Relu)),
                ("GELU", |config| activation(config, Activation::Gelu)),
                ("GELU by tanh", |config| activation(config, Activation::GeluTanh)),
                ("GLU", |config| activation(config, Activation::Glu)),
                ("GeGLU", |config| activation(config, Activation::Geglu)),
                ("SwiGLU", |config| activation(config, Activation::Swiglu)),
                ("SwiGLU with biases", |config| {
                    activation(config, Activation::Swiglu);
                    config.decoder.ffn_bias = true;
                }),
            ],
            Family::Attention => &[
                ("a key head for each query head", |config| config.decoder.n_kv_head = config.decoder.n_head),
                ("a key head for two query heads", |config| {
                    config.decoder.n_kv_head = config.decoder.n_head.div_ceil(2);
                }),
                ("one key head", |config| config.decoder.n_kv_head = 1),
                ("one head of the whole width", |config| {
                    (config.decoder.n_head, config.decoder.n_kv_head) = (1, 1);
                }),
                ("a window of 4 tokens", |config| config.decoder.mask = Mask::Window(4)),
                ("QK-norm", |config| config.decoder.qk_norm = true),
                ("biases", |config| config.decoder.attention_bias = AttentionBias::All),
            ],
            Family::Embeddings => &[
                ("one table for all", |config| config.shared_embeddings = SharedEmbeddings::All),
                ("target and head share", |config| config.shared_embeddings = SharedEmbeddings::Output),
                ("three tables", |config| config.shared_embeddings = SharedEmbeddings::None),
            ],
            Family::Init => &[
                ("Xavier", |config| init(config, WeightInit::XavierUniform, ResidualInit::Plain)),
                ("Xavier, scaled outputs", |config| {
                    init(config, WeightInit::XavierUniform, ResidualInit::Scaled)
                }),
                ("N(0, 0.02)", |config| {
                    init(config, WeightInit::Normal, ResidualInit::Plain);
                    config.decoder.init_std = 0.02;
                }),
                ("N(0, 0.02), scaled outputs", |config| {
                    init(config, WeightInit::Normal, ResidualInit::Scaled);
                    config.decoder.init_std = 0.02;
                }),
            ],
        }
    }

    fn title(self) -> &'static str {
        match self {
            Family::Positions => "Positions",
            Family::Norms => "Norms and where they stand",
            Family::FeedForward => "Feed-forward networks",
            Family::Attention => "Attention",
            Family::Embeddings => "Tables of tokens",
            Family::Init => "First weights",
        }
    }

    /// Applies alternative number `at` to a model.
    pub fn apply(self, at: usize, config: &mut EncoderDecoderConfig) {
        if let Some((_, change)) = self.alternatives().get(at) {
            change(config);
        }
    }
}

/// Whatever normalises last, the output of a pre-norm model is normalised once more.
fn norm(config: &mut EncoderDecoderConfig, norm: NormKind, placement: Placement) {
    (config.decoder.norm, config.decoder.placement) = (norm, placement);
    config.decoder.final_norm = placement == Placement::Pre;
}

/// Three matrices of two thirds of the width have as many parameters as two of the whole.
fn activation(config: &mut EncoderDecoderConfig, activation: Activation) {
    let decoder = &mut config.decoder;
    let matrices = |activation: Activation| if activation.is_gated() { 3 } else { 2 };
    decoder.n_ffn = (decoder.n_ffn * matrices(decoder.activation)).div_ceil(matrices(activation));
    decoder.activation = activation;
}

fn init(config: &mut EncoderDecoderConfig, weights: WeightInit, residual: ResidualInit) {
    (config.decoder.weight_init, config.decoder.residual_init) = (weights, residual);
}

/// What all trainings of a comparison have in common.
struct Classroom<'a> {
    pairs: &'a Pairs,
    path: &'a std::path::Path,
    tokenizer: &'a dyn Tokenizer,
    threads: &'a ThreadPool,
    search: &'a SearchArgs,
}

impl Classroom<'_> {
    fn lesson<'l>(&'l self, recipe: &'l Recipe) -> Result<Lesson<'l>> {
        Lesson::new(recipe, self.path.to_owned(), self.pairs, self.tokenizer, self.threads, self.search)
    }

    /// First weights of their own random numbers, so that alternatives with the same seed see the same batches.
    fn first_params(&self, lesson: &Lesson<'_>) -> Result<Vec<f32>> {
        use gradus::model::Model;
        Ok(lesson.model()?.layout().initial(&mut Random::new(!lesson.train_args().seed)))
    }
}

impl Contest for Classroom<'_> {
    type Recipe = Recipe;

    fn estimate(&self, recipe: &Recipe, args: &RunArgs) -> Result<f64> {
        let lesson = self.lesson(recipe)?;
        estimate(&lesson, self.first_params(&lesson)?, args)
    }

    fn train(&self, recipe: &Recipe, args: &RunArgs, interrupt: &Interrupt) -> Result<(End, History)> {
        let lesson = self.lesson(recipe)?;
        let params = self.first_params(&lesson)?;
        Run::start(lesson, args, Some(params))?.compete(interrupt)
    }
}

/// Trains every alternative with every seed, and shows what came of it.
pub fn compare(
    recipe: &Recipe,
    family: Family,
    (pairs, path): (&Pairs, &std::path::Path),
    tokenizer: &dyn Tokenizer,
    search: &SearchArgs,
    run: &RunArgs,
) -> Result<()> {
    let threads = run.thread_pool()?;
    let classroom = Classroom { pairs, path, tokenizer, threads: &threads, search };
    let mut entries = Vec::new();
    for (at, (arm, _)) in family.alternatives().iter().enumerate() {
        for seed in (0..recipe.seeds as u64).map(|nth| recipe.train.seed.wrapping_add(nth)) {
            let mut recipe = recipe.clone();
            (recipe.alternative, recipe.train.seed) = (Some(at), seed);
            let lesson = classroom.lesson(&recipe)?;
            let (params, tokens) = (lesson.parameters()?, lesson.target_tokens_a_step());
            entries.push(Entry {
                arm: (*arm).to_owned(),
                seed,
                params,
                tokens,
                steps: recipe.train.steps,
                recipe,
            });
        }
    }
    let name = recipe.name();
    let comparison = Comparison {
        program: Lesson::PROGRAM,
        title: family.title(),
        unit: Lesson::UNIT,
        chance: (tokenizer.vocab_size() as f64).ln(),
        data: Data { name: &name, path: path.to_owned(), fingerprint: pairs.fingerprint() },
    };
    comparison.run(&classroom, recipe, &entries, run)
}
