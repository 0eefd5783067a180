//! The state of a training run on disk, so that a run that was stopped continues bit for bit.

use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{LossScaler, Trainer};
use crate::checkpoint::{CheckpointError, Entry, TensorFile, read, write};
use crate::engine::Engine;
use crate::model::Model;
use crate::params::Layout;
use crate::real::Real;

/// The file's name in a checkpoint's folder.
pub const FILE: &str = "training.safetensors";

/// How far a run has come, with what only the caller knows: random generators, data positions, settings.
#[derive(Serialize, Deserialize)]
pub struct Progress<C> {
    /// Steps made.
    pub step: usize,
    /// A fingerprint of the frozen parameters, which the state does not hold. `None` if nothing is frozen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frozen: Option<u64>,
    /// The loss scaler, if the run has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss_scaler: Option<LossScaler>,
    /// What the caller needs in order to continue.
    pub caller: C,
}

impl<M: Model, E: Engine> Trainer<M, E> {
    /// Saves the state of the run into a folder: trainable parameters, averages, what the optimizer remembers, the
    /// difficulty of bigrams, the loss scaler, and what the caller adds. A state that was there before is replaced in one instant.
    ///
    /// Frozen parameters are not saved: they are still where they came from. Only their fingerprint is.
    ///
    /// # Errors
    /// If the system refuses, or a number is NaN or infinite.
    pub fn save_state(&mut self, folder: &Path, caller: impl Serialize) -> Result<(), CheckpointError> {
        let layout = self.model.layout();
        let progress = Progress {
            step: self.done,
            frozen: fingerprint(layout, &self.params),
            loss_scaler: self.loss_scaler,
            caller,
        };
        let params = layout.gather_trainable(&self.params);
        let difficulty: Vec<E::Real> = self.difficulty();
        let mut entries: Vec<Entry<'_, E::Real>> = vec![("params", [1, params.len()], &params)];
        if let Some(ema) = &self.ema {
            entries.push(("ema", [1, ema.average().len()], ema.average()));
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

    /// Restores the state that a run with the same model, settings and frozen parameters has saved. Returns what its
    /// caller added.
    ///
    /// # Errors
    /// If there is none, or it is damaged, or belongs to another model, to other settings or to other frozen
    /// parameters. Do not use the trainer after an error: it may be restored in part.
    pub fn restore_state<C: DeserializeOwned>(&mut self, folder: &Path) -> Result<C, CheckpointError> {
        read(&folder.join(FILE), |bytes| {
            let contents = TensorFile::<Progress<C>>::parse(bytes)?;
            if contents.description.frozen != fingerprint(self.model.layout(), &self.params) {
                return Err(
                    "its frozen parameters are not those of this run. Start from the same checkpoint \
                            and freeze the same parameters"
                        .to_owned(),
                );
            }
            let fill = |name: &str, to: &mut [E::Real]| -> Result<(), String> {
                let mut numbers = Vec::with_capacity(to.len());
                contents.read(name, [1, to.len()], &mut numbers)?;
                to.copy_from_slice(&numbers);
                Ok(())
            };
            let layout = self.model.layout();
            let mut params = layout.gather_trainable(&self.params);
            fill("params", &mut params)?;
            layout.scatter_trainable(&params, &mut self.params);
            if let Some(ema) = &mut self.ema {
                fill("ema", ema.average_mut())?;
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
                return Err(format!("it holds {} arrays where this run has {known}", contents.len()));
            }
            let Progress { step, loss_scaler, caller, .. } = contents.description;
            self.loss_scaler = match (loss_scaler, self.settings.loss_scaler) {
                (None, none_or_new) => none_or_new.map(LossScaler::at_start), // it was begun without one
                (Some(saved), Some(_)) if saved.is_plausible(step) => Some(saved),
                (Some(saved), Some(_)) => return Err(format!("{saved:?} after {step} steps is impossible")),
                (Some(_), None) => return Err("it has a loss scaler, and this run has none".to_owned()),
            };
            self.done = step;
            self.optimizer.set_steps(self.updates());
            Ok(caller)
        })
    }

    /// The table of difficulties in the engine's numbers; empty if there is none.
    fn difficulty(&mut self) -> Vec<E::Real> {
        let table = self.weighting.as_mut().map_or(&mut [][..], |weighting| weighting.state());
        table.iter().map(|x| E::Real::from_f64(f64::from(*x))).collect()
    }
}

/// A hash of which parameters are frozen and of every bit of them (FNV-1a over whole numbers). `None` if none are.
fn fingerprint<R: Real>(layout: &Layout, params: &[R]) -> Option<u64> {
    let frozen = layout.specs().iter().filter(|spec| !spec.trainable);
    let bits = frozen.flat_map(|spec| {
        let numbers = params[spec.range()].iter().map(|x| x.to_f64().to_bits());
        std::iter::once(spec.offset as u64).chain(numbers)
    });
    let mix = |hash: u64, bits: u64| (hash ^ bits).wrapping_mul(0x0100_0000_01b3);
    (layout.trainable_len() < layout.len()).then(|| bits.fold(0xcbf2_9ce4_8422_2325, mix))
}
