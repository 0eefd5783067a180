//! What a model is judged by: conversations that it has not learned from.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use gradus::data::{Conversation, OnMalformed, Role, find, read_conversations};
use gradus::train;
use support::{Usage, begun_with, check_text, say};

use crate::train::PROGRAM;
use crate::train::material::{Material, Sourced};
use crate::train::recipe::Recipe;

/// Conversations that were held out.
pub struct HeldOut {
    pub all: Vec<Sourced>,
    /// The tokens that a conversation had in training, if that is known.
    pub context: Option<usize>,
    /// Where they come from, in words.
    pub origin: String,
}

impl HeldOut {
    /// Without files, what the training held out that the folder of the model is from. With files, all of them; but of a file that
    /// the training read, only what it held out.
    ///
    /// # Errors
    /// If a file cannot be read, if there is nothing left, or if there are neither files nor a training.
    pub fn find(folder: &Path, data: &[String], most: usize) -> Result<Self> {
        let trained = folder.join(train::STATE_FILE).exists();
        let recipe: Option<Recipe> = trained.then(|| begun_with(folder, PROGRAM)).transpose()?;
        let context = recipe.as_ref().filter(|recipe| recipe.base.is_some()).map(Recipe::context);
        let (all, origin) = match (recipe, data) {
            (Some(recipe), []) => {
                let cure = "the texts of the training cannot be read: give --data";
                let all = Material::read(&recipe, |name| Ok(find(name)?)).context(cure)?.held_out;
                (all, format!("the share of {} that the training held out", recipe.eval_split))
            }
            (None, []) => {
                let folder = folder.display();
                let problem = format!(
                    "{folder} does not say what its model was trained on: give conversations by --data"
                );
                return Err(Usage(problem).into());
            }
            (recipe, files) => (read(files, recipe.as_ref(), most)?, "all that --data has".to_owned()),
        };
        ensure!(
            !all.is_empty(),
            "no conversation is left that the model was not trained on: give others by --data"
        );
        Ok(HeldOut { all, context, origin })
    }

    /// Questions that are answered in words, with the answer of a person.
    pub fn questions(&self) -> impl Iterator<Item = (Conversation, &str)> {
        self.all.iter().filter_map(|Sourced { conversation, .. }| {
            let count =
                conversation.messages.iter().take_while(|message| message.role != Role::Assistant).count();
            let answer = conversation.messages.get(count).filter(|answer| answer.tool_calls.is_empty())?;
            let messages = conversation.messages[..count].to_vec();
            Some((Conversation { messages, tools: conversation.tools.clone() }, answer.content.as_str()))
        })
    }
}

/// Reads files, without what a training has learned from.
fn read(files: &[String], trained: Option<&Recipe>, most: usize) -> Result<Vec<Sourced>> {
    let learned: Vec<PathBuf> = trained.map_or(Vec::new(), |recipe| {
        recipe.data.iter().filter_map(|name| fs::canonicalize(find(name).ok()?).ok()).collect()
    });
    let mut all = Vec::new();
    for name in files {
        let path = find(name)?;
        check_text(&path)?;
        let left = most - all.len();
        let (found, skipped) = read_conversations(&path, Some(left), OnMalformed::Skip)?;
        let total = found.len();
        let mut found: Vec<Sourced> =
            (1..).zip(found).map(|(number, one)| Sourced::new(one, name, number)).collect();
        let known = fs::canonicalize(&path).is_ok_and(|path| learned.contains(&path));
        match trained.filter(|_| known) {
            Some(recipe) => {
                found.retain(|one| one.conversation.is_held_out(recipe.eval_split));
                say!("{name}: {total} conversations, of which {} were held out", found.len());
            }
            None => say!("{name}: {total} conversations"),
        }
        if skipped.count() > 0 {
            say!("{skipped}");
        }
        all.extend(found);
    }
    Ok(all)
}
