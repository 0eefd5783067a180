//! All that a training run remembers, on disk: so that a run that was stopped goes on bit for bit.

use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Trainer;
use crate::checkpoint::{CheckpointError, Entry, TensorFile, read, write};
use crate::engine::Engine;
use crate::model::Model;

/// The file's name in a checkpoint's folder.
pub const FILE: &str = "training.safetensors";

/// How far a run has come, with what only its caller knows: random generators, data positions, settings.
#[derive(Serialize, Deserialize)]
pub struct Progress<C> {
    /// Steps made.
    pub step: usize,
    /// What the caller needs in order to go on.
    pub caller: C,
}

impl<M: Model, E: Engine> Trainer<M, E> {
    /// Saves the whole state of the run into a folder: weights, averages, what the optimizer remembers, the difficulty of
    /// bigrams, and what the caller adds. A state that was there before is replaced in one instant.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn save_state(&mut self, folder: &Path, caller: impl Serialize) -> Result<(), CheckpointError> {
        let progress = Progress { step: self.done, caller };
        let difficulty: Vec<E::Real> = self.difficulty();
        let mut entries: Vec<Entry<'_, E::Real>> = vec![("params", [1, self.params.len()], &self.params)];
        if let Some(ema) = &self.ema {
            entries.push(("ema", [1, ema.params().len()], ema.params()));
        }
        if !difficulty.is_empty() {
            entries.push(("difficulty", [1, difficulty.len()], &difficulty));
        }
        for (name, numbers) in self.optimizer.state() {
            entries.push((name, [1, numbers.len()], numbers));
        }
        write(&folder.join(FILE), &progress, &entries)
    }

    /// What the caller added to the state in a folder, without restoring anything: enough to build the trainer for it.
    ///
    /// # Errors
    /// If there is none, or it is damaged.
    pub fn peek_state<C: DeserializeOwned>(folder: &Path) -> Result<C, CheckpointError> {
        read(&folder.join(FILE), |bytes| Ok(TensorFile::<Progress<C>>::parse(bytes)?.description.caller))
    }

    /// Restores a state that a run with the same model and settings has saved, and returns what its caller added.
    ///
    /// # Errors
    /// If there is none, or it is damaged, or of another model or other settings. The trainer is then to be thrown away.
    pub fn restore_state<C: DeserializeOwned>(&mut self, folder: &Path) -> Result<C, CheckpointError> {
        read(&folder.join(FILE), |bytes| {
            let contents = TensorFile::<Progress<C>>::parse(bytes)?;
            let fill = |name: &str, to: &mut [E::Real]| -> Result<(), String> {
                let mut numbers = Vec::with_capacity(to.len());
                contents.read(name, [1, to.len()], &mut numbers)?;
                to.copy_from_slice(&numbers);
                Ok(())
            };
            fill("params", &mut self.params)?;
            if let Some(ema) = &mut self.ema {
                fill("ema", ema.params_mut())?;
            }
            for (name, numbers) in self.optimizer.state() {
                fill(name, numbers)?;
            }
            if let Some(weighting) = &mut self.weighting {
                let mut numbers: Vec<f32> = Vec::new();
                contents.read("difficulty", [1, weighting.state().len()], &mut numbers)?;
                weighting.state().copy_from_slice(&numbers);
            }
            let known = 1
                + usize::from(self.ema.is_some())
                + usize::from(self.weighting.is_some())
                + self.optimizer.state().len();
            if contents.len() != known {
                return Err(format!("it remembers {} things where this run has {known}", contents.len()));
            }
            self.done = contents.description.step;
            self.optimizer.set_steps(self.done);
            Ok(contents.description.caller)
        })
    }

    /// The table of difficulties in the engine's numbers; empty if there is none.
    fn difficulty(&mut self) -> Vec<E::Real> {
        use crate::real::Real;
        let table = self.weighting.as_mut().map_or(&mut [][..], |weighting| weighting.state());
        table.iter().map(|x| E::Real::from_f64(f64::from(*x))).collect()
    }
}
