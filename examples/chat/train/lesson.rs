//! What is trained: a model on conversations.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::Result;
use gradus::checkpoint::{StoredAs, llama};
use gradus::data::{Batch, Conversation, ConversationTokens, Epochs, Role};
use gradus::fast::FastEngine;
use gradus::generate::{Sampler, Sampling, Stop, generate_text};
use gradus::model::{Decoder, Model};
use gradus::random::Random;
use gradus::tokenizer::Tokenizer;
use gradus::train::{Settings, Trainer};
use support::{Data, Standing, Task, TrainArgs};

use super::material::Encoded;
use super::reading::Reading;
use super::recipe::Recipe;
use super::state;
use crate::template::Template;

/// The tokens of a batch of held-out conversations: about as many, so that memory is not what limits validation.
pub const VALIDATION: usize = 2048;

/// The most tokens of a reply that is shown on the way.
const SHOWN: usize = 80;

/// The tokens of a text that is to go on, shown while there is plain text to learn from.
const BEGINNING: usize = 16;

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
    /// Plain text to begin with.
    pub reading: Option<Reading>,
    /// A question that was held out, to be answered on the way.
    pub question: Conversation,
    pub order: RefCell<Epochs>,
    /// Whether the model knows something before its first step.
    pub knows: bool,
    /// How many of the newest checkpoints stay.
    pub keep: usize,
    /// Where a copy with the adapter merged goes.
    pub merge_to: Option<&'a Path>,
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
        self.recipe.model()
    }

    fn tokenizer(&self) -> &dyn Tokenizer {
        self.tokenizer
    }

    fn data(&self) -> Data<'_> {
        let text = self.reading.iter().flat_map(Reading::all);
        let all = self.train.all.iter().chain(&self.held_out.all).chain(text);
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
        let TrainArgs { batch: size, accumulate, .. } = self.recipe.train;
        let before = self.pretrain_steps() * accumulate;
        if let Some(reading) = self.reading.as_ref().filter(|_| number < before) {
            return reading.fill(batch, number * size, size);
        }
        let (number, mut order) = (number - before, self.order.borrow_mut());
        for at in number * size..(number + 1) * size {
            self.train.all[order.item(at)].push_to(batch);
        }
    }

    fn validation(&self) -> Vec<Batch> {
        batches(&self.held_out.all)
    }

    fn validates_first(&self) -> bool {
        self.knows
    }

    fn pretrain_steps(&self) -> usize {
        self.recipe.reading.steps()
    }

    fn pretrain_validation(&self) -> Vec<Batch> {
        self.reading.as_ref().map_or_else(Vec::new, |reading| batches(reading.held_out()))
    }

    fn keep(&self) -> usize {
        self.keep
    }

    fn sample(&self, trainer: &mut Trainer<Decoder, FastEngine>, random: &mut Random) -> String {
        let rendered = self.template.render(&self.question, true, SystemTime::UNIX_EPOCH);
        let Some((prompt, _)) = rendered.ok().and_then(|text| text.tokens(self.tokenizer).ok()) else {
            return String::new();
        };
        let reads = self.reading.as_ref().filter(|_| trainer.steps_done() <= self.pretrain_steps());
        let prompt = reads.map_or(prompt, |reading| {
            let start = &reading.held_out()[0].tokens;
            start[..start.len().min(BEGINNING)].to_vec()
        });
        let (engine, model, params) = trainer.split_mut();
        let stop = Stop { tokens: self.recipe.known().tokens().eos, ..Stop::after(SHOWN) };
        let mut sampler = Sampler::new(Sampling { temperature: 0.0, ..Sampling::default() });
        let parts = (engine, model, &*params);
        let reply = generate_text(parts, self.tokenizer, &prompt, &stop, &mut sampler, random, |_| {});
        if reads.is_some() {
            return format!("\nread: {}\nsaid: {}\n", self.tokenizer.decode(&prompt), reply.text.trim());
        }
        let asked = self.question.messages.last().map_or("", |message| &message.content);
        format!("\nasked: {asked}\nsaid: {}\n", reply.text.trim())
    }

    fn settings(&self) -> Settings {
        let train = &self.recipe.train;
        let ema_decay = (train.ema > 0.0).then_some(train.ema);
        Settings {
            schedule: train.schedule(0.0),
            restart: self.pretrain_steps(),
            ema_decay,
            ..train.settings()
        }
    }

    fn save_model(&self, folder: &Path, model: &Decoder, params: &[f32]) -> Result<()> {
        let base = self.recipe.known();
        if model.adapters().is_some() {
            return self.recipe.lora.save(folder, (model, params), base, self.tokenizer);
        }
        let whole = base.language_model(model.clone(), params.to_vec(), self.tokenizer.spec());
        Ok(llama::export(folder, &whole, StoredAs::F32)?)
    }

    fn save_more(&self, folder: &Path, standing: Standing<'_>) -> Result<()> {
        let parameters = self.recipe.model()?.layout().len();
        state::write(folder, standing, self.recipe, self.epochs_a_step(), parameters)
    }

    fn conclude(&self, folder: &Path) -> Result<()> {
        let Some(to) = self.merge_to else { return Ok(()) };
        self.recipe.lora.merge(folder, to, self.recipe.known(), self.tokenizer)
    }
}

/// All of them, in batches of about as many tokens.
fn batches(all: &[ConversationTokens]) -> Vec<Batch> {
    let mut batches = vec![Batch::new()];
    for one in all {
        if batches.last().is_some_and(|batch| batch.len() >= VALIDATION) {
            batches.push(Batch::new());
        }
        one.push_to(batches.last_mut().expect("there is one"));
    }
    batches
}
