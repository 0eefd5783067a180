//! `trainer_state.json`: the run as the trainer of `transformers` describes one. What we need to go on stands in a file of our own.

use std::path::Path;

use anyhow::{Context, Result};
use gradus::checkpoint::write_atomically;
use serde_json::{Value, json};
use support::{Log, Report, Standing, checkpoint};

use super::recipe::Recipe;

const FILE: &str = "trainer_state.json";

/// Writes the file. `epochs_a_step` is the share of all conversations that a step reads, and `parameters` those of the model.
pub fn write(
    folder: &Path,
    standing: Standing<'_>,
    recipe: &Recipe,
    epochs_a_step: f64,
    parameters: usize,
) -> Result<()> {
    let state = describe(standing, recipe, epochs_a_step, parameters);
    let text = serde_json::to_string_pretty(&state).context("a description is plain JSON")?;
    Ok(write_atomically(&folder.join(FILE), format!("{text}\n").as_bytes())?)
}

fn describe(
    Standing { folder, step, validate_every, history }: Standing<'_>,
    recipe: &Recipe,
    epochs_a_step: f64,
    parameters: usize,
) -> Value {
    let epoch = |step: usize| step.saturating_sub(recipe.reading.steps()) as f64 * epochs_a_step;
    let log = |&Log { step, loss, learning_rate }: &Log| {
        (step, json!({"epoch": epoch(step), "learning_rate": learning_rate, "loss": loss, "step": step}))
    };
    let report = |&Report { step, val, .. }: &Report| {
        (step, json!({"epoch": epoch(step), "eval_loss": val, "step": step}))
    };
    let first = history.first.map(|loss| (0, json!({"epoch": 0.0, "eval_loss": loss, "step": 0})));
    let reports = first.into_iter().chain(history.reports.iter().map(report));
    let mut entries: Vec<(usize, Value)> = history.logs.iter().map(log).chain(reports).collect();
    entries.sort_by_key(|(step, _)| *step); // of a log and a report of one step, the log stays first
    let best_step = history.best_step();
    let kept = best_step.filter(|step| history.checkpoints.contains(step));
    json!({
        "best_global_step": best_step,
        "best_metric": history.stopping.best(),
        "best_model_checkpoint": kept.map(|step| checkpoint(folder, step).display().to_string()),
        "epoch": epoch(step),
        "eval_steps": validate_every,
        "global_step": step,
        "is_hyper_param_search": false,
        "is_local_process_zero": true,
        "is_world_process_zero": true,
        "log_history": entries.into_iter().map(|(_, entry)| entry).collect::<Vec<_>>(),
        "logging_steps": recipe.log_every,
        "max_steps": recipe.train.steps,
        "num_input_tokens_seen": history.tokens,
        "num_train_epochs": epoch(recipe.train.steps).ceil() as u64,
        "save_steps": validate_every,
        "stateful_callbacks": {},
        // Each parameter is multiplied and added once forward and twice backward.
        "total_flos": 6.0 * parameters as f64 * history.tokens as f64,
        "train_batch_size": recipe.train.batch,
        "trial_name": null,
        "trial_params": null,
    })
}
