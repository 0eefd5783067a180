//! What is trained: a model on conversations.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::Result;
use gradus::checkpoint::{StoredAs, llama};
use gradus::data::{Batch, Conversation, ConversationTokens, Epochs, Role};
use gradus::fast::FastEngine;
use gradus::generate::{Sampler, Sampling, Stop, generate_text};
use gradus::model::{Decoder, DecoderConfig, Model};
use gradus::random::Random;
use gradus::tokenizer::Tokenizer;
use gradus::train::{Settings, Trainer};
use support::{Data, Standing, Task, TrainArgs, check_memory};

use super::material::Encoded;
use super::recipe::Recipe;
use super::state;
use crate::template::Template;

/// The tokens of a batch of held-out conversations: about as many, so that memory is not what limits validation.
const VALIDATION: usize = 2048;

/// The most tokens of a reply that is shown on the way.
const SHOWN: usize = 80;

/// A training on conversations.
pub struct Lesson<'a> {
    pub recipe: &'a Recipe,
    /// What people call the data.
    pub name: String,
    pub files: Vec<PathBuf>,
    pub tokenizer: &'a dyn Tokenizer,
    pub template: &'a Template,
    pub train: Encoded,
    pub held_out: Encoded,
    /// A question that was held out, to be answered on the way.
    pub question: Conversation,
    pub order: RefCell<Epochs>,
}

impl Lesson<'_> {
    /// The beginning of a held-out conversation, up to the first question.
    pub fn question_of(conversation: &Conversation) -> Conversation {
        let count =
            conversation.messages.iter().take_while(|message| message.role != Role::Assistant).count();
        let messages = conversation.messages[..count].to_vec();
        Conversation { messages, tools: conversation.tools.clone() }
    }

    /// The share of all conversations that a step reads.
    fn epochs_a_step(&self) -> f64 {
        let TrainArgs { batch, accumulate, .. } = self.recipe.train;
        batch.saturating_mul(accumulate) as f64 / self.train.all.len() as f64
    }
}

impl Task for Lesson<'_> {
    type Model = Decoder;
    type Recipe = Recipe;
    const PROGRAM: &'static str = super::PROGRAM;
    const UNIT: &'static str = "nats a token";
    const VALIDATE_EVERY: usize = 500;

    fn recipe(&self) -> &Recipe {
        self.recipe
    }

    fn train_args(&self) -> &TrainArgs {
        &self.recipe.train
    }

    fn model(&self) -> Result<Decoder> {
        let model = self.recipe.model()?;
        let TrainArgs { batch, accumulate, weighting, .. } = self.recipe.train;
        let longest = self.train.all.iter().map(|one| one.tokens.len()).max().unwrap_or(1);
        let tokens = batch.saturating_mul(longest);
        let config = DecoderConfig { context: longest, ..model.config().clone() };
        let precision = self.recipe.train.precision();
        check_memory(&config, tokens, tokens.saturating_mul(accumulate), weighting, precision)?;
        Ok(model)
    }

    fn tokenizer(&self) -> &dyn Tokenizer {
        self.tokenizer
    }

    fn data(&self) -> Data<'_> {
        let all = self.train.all.iter().chain(&self.held_out.all);
        let path = self.files.first().cloned().unwrap_or_default();
        Data { name: &self.name, path, fingerprint: ConversationTokens::fingerprint(all) }
    }

    fn files(&self) -> Vec<PathBuf> {
        self.files.clone()
    }

    fn log_every(&self) -> usize {
        self.recipe.log_every
    }

    fn fill(&self, number: usize, batch: &mut Batch, _: &mut Random) {
        batch.clear();
        let (size, mut order) = (self.recipe.train.batch, self.order.borrow_mut());
        for at in number * size..(number + 1) * size {
            self.train.all[order.item(at)].push_to(batch);
        }
    }

    fn validation(&self) -> Vec<Batch> {
        let mut all = vec![Batch::new()];
        for one in &self.held_out.all {
            if all.last().is_some_and(|batch| batch.len() >= VALIDATION) {
                all.push(Batch::new());
            }
            one.push_to(all.last_mut().expect("there is one"));
        }
        all
    }

    fn sample(&self, trainer: &mut Trainer<Decoder, FastEngine>, random: &mut Random) -> String {
        let rendered = self.template.render(&self.question, true, SystemTime::UNIX_EPOCH);
        let Some((prompt, _)) = rendered.ok().and_then(|text| text.tokens(self.tokenizer).ok()) else {
            return String::new();
        };
        let (engine, model, params) = trainer.split_mut();
        let stop = Stop { tokens: self.recipe.known().tokens().eos, ..Stop::after(SHOWN) };
        let mut sampler = Sampler::new(Sampling { temperature: 0.0, ..Sampling::default() });
        let parts = (engine, model, &*params);
        let reply = generate_text(parts, self.tokenizer, &prompt, &stop, &mut sampler, random, |_| {});
        let asked = self.question.messages.last().map_or("", |message| &message.content);
        format!("\nasked: {asked}\nsaid: {}\n", reply.text.trim())
    }

    fn settings(&self) -> Settings {
        let train = &self.recipe.train;
        let ema_decay = (train.ema > 0.0).then_some(train.ema);
        Settings { schedule: train.schedule(0.0), ema_decay, ..train.settings() }
    }

    fn save_model(&self, folder: &Path, model: &Decoder, params: &[f32]) -> Result<()> {
        let base = self.recipe.known();
        let whole = base.language_model(model.clone(), params.to_vec(), self.tokenizer.spec());
        Ok(llama::export(folder, &whole, StoredAs::F32)?)
    }

    fn save_more(&self, folder: &Path, standing: Standing<'_>) -> Result<()> {
        let parameters = self.recipe.model()?.layout().len();
        state::write(folder, standing, self.recipe, self.epochs_a_step(), parameters)
    }
}
